"""What the checks work on: a function, and how it is differentiated, by minigrad or by anything else.

A `Rule` is a function with derivatives written by hand; a `Library` makes rules out of functions, by its own
jvp and vjp, and so can differentiate them again. minigrad is one such library.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from ..forward import jvp
from ..linear import linearize
from ..transforms import vjp

__all__ = ["Case", "Library", "Rule"]


class Case(NamedTuple):
    """A function and arguments to check it at; `analytic`: its NumPy functions take complex numbers."""

    f: Callable
    args: tuple
    analytic: bool = False


class Rule:
    """A function with its derivatives as plain callables: a rule of any library, or of none.

    `value(*primals) -> y`, `jvp(primals, tangents) -> (y, dy)` and `vjp(primals) -> (y, pull)`, where
    `pull(ct)` is a tuple with one cotangent for each primal. One of jvp and vjp may be missing; the checks do
    what the other one allows. Tangents and cotangents have the shapes and dtypes of what they belong to.
    Raises ValueError when both are missing.

    >>> from minigrad.testing import check_rule
    >>> square = Rule(np.square, jvp=lambda x, t: (x[0] ** 2, 2 * x[0] * t[0]), name="square")
    >>> check_rule(square, (np.array([1.0, 2.0]),))
    """

    linearize: Callable | None = None  # linearize(primals) -> (y, J), as minigrad's
    library: Library | None = None
    bound: tuple[Rule, dict] | None = None

    def __init__(
        self, value: Callable, jvp: Callable | None = None, vjp: Callable | None = None, name: str = ""
    ) -> None:
        if jvp is None and vjp is None:
            raise ValueError("a Rule needs a jvp, a vjp, or both: without them there is nothing to check")
        self.value, self.jvp, self.vjp = value, jvp, vjp
        self.__name__ = name or getattr(value, "__name__", "rule")

    def __call__(self, *args: Any) -> Any:
        return self.value(*args)

    def bind(self, **kwargs: Any) -> Rule:
        """This rule with keyword arguments given to value, jvp and vjp.

        >>> power = Rule(lambda x, n: x**n, lambda x, t, n: (x[0] ** n, n * x[0] ** (n - 1) * t[0]))
        >>> power.bind(n=3)(2.0)
        8.0
        """
        value, jvp, vjp = (way and partial(way, **kwargs) for way in (self.value, self.jvp, self.vjp))
        rule = Rule(value, jvp, vjp, self.__name__)  # type: ignore[arg-type]
        rule.bound = self, kwargs
        return rule

    def __repr__(self) -> str:
        return f"Rule({self.__name__})"


class Library(NamedTuple):
    """How a library differentiates: `jvp(f, primals, tangents) -> (y, dy)`, `vjp(f, *primals) -> (y, pull)`.

    Either may be None. What they return must be differentiable by them again, so that orders two and more
    can be checked. minigrad is `Library(mg.jvp, mg.vjp, mg.linearize)`.

    >>> import minigrad as mg
    >>> from minigrad.testing import check_grads
    >>> check_grads(Library(mg.jvp, mg.vjp).rule(np.sin), (np.array([0.5]),), order=3)
    """

    jvp: Callable | None
    vjp: Callable | None
    linearize: Callable | None = None

    def rule(self, f: Callable, name: str = "") -> Rule:
        """`f` as this library differentiates it."""
        rule = Rule(
            f,
            self.jvp and partial(self.jvp, f),
            None if self.vjp is None else lambda primals: self.vjp(f, *primals),  # type: ignore[misc]
            name,
        )
        rule.library = self
        if self.linearize is not None:
            rule.linearize = lambda primals: self.linearize(f, *primals)  # type: ignore[misc]
        return rule


MINIGRAD = Library(jvp, vjp, linearize)


def as_rule(f: Callable) -> Rule:
    """A rule as it is; anything else as minigrad differentiates it."""
    return f if isinstance(f, Rule) else MINIGRAD.rule(f)
