"""One run of a check: a function at a point, its derivatives there, and comparisons that report.

`ROUNDING` and `DIFFERENCE` say how far two ways to the same number may be apart.
"""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from types import TracebackType
from typing import Any

import numpy as np

from ..backend import asnumpy
from ..core import aval_str, dtype_of, namespace_of, shape_of
from ..tree import tree_flatten, tree_leaves, tree_unflatten
from .report import RuleError, name_of, reproduction, rule_error, two_numbers
from .rule import Library, as_rule

__all__ = ["Run", "directions"]

# What two ways to the same number may differ by, relative to their size or to 1: where only rounding parts
# them, and where one of them is a central difference of functions of that precision.
ROUNDING = {2: 3e-2, 4: 1e-4, 8: 1e-10}
DIFFERENCE = {2: 2e-1, 4: 3e-3, 8: 1e-6}
COMPLEX_STEP = 1e-20


def directions(like: Sequence[Any], rng: np.random.Generator) -> list:
    """Arrays of the shapes and dtypes of `like`, together of length one, each |component| at least 0.1/√n.

    So no single element's derivative can hide behind a coefficient that happens to be small. They are
    read-only.

    >>> (v,) = directions([np.zeros(4)], np.random.default_rng(0))
    >>> bool(np.isclose(v @ v, 1)), bool(abs(v).min() >= 0.05)
    (True, True)
    """

    def component(shape: tuple) -> np.ndarray:
        return rng.uniform(0.2, 1.8, shape) * (1 - 2 * rng.integers(0, 2, shape))

    raw = [
        component(shape_of(x)) + (1j * component(shape_of(x)) if dtype_of(x).kind == "c" else 0) for x in like
    ]
    length = norm(raw) or 1.0
    return [
        protected(namespace_of(x).asarray(v / length, dtype=dtype_of(x)))[()]
        for v, x in zip(raw, like, strict=True)
    ]


class Run:
    """A function at its arguments, which are protected, with one direction and one cotangent of the run.

    What several checks ask for is worked out once; what comparisons find wrong they raise as RuleError.
    """

    def __init__(
        self, check: str, f: Callable, args: Sequence[Any], seed: int, rtol: float | None, **options: Any
    ) -> None:
        self.check, self.f, self.rtol = check, f, rtol
        self.rule, self.rng, self.given = as_rule(f), np.random.default_rng(seed), tuple(args)
        self.options = options | {"seed": seed, "rtol": rtol}
        leaves, self.treedef = tree_flatten(self.given)
        if not leaves:
            raise ValueError(f"{check}: args holds no arrays to differentiate by")
        self.leaves = [protected(x) for x in leaves]
        self.args = tree_unflatten(self.treedef, self.leaves)

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(e, ValueError) and "read-only" in str(e):
            words = "the function or its rule writes into an argument, tangent or cotangent"
            raise self.error(
                words, "arrays that were handed over stay as they are", [f"ValueError: {e}"]
            ) from e
        if isinstance(e, Exception) and not isinstance(e, RuleError):
            code = reproduction(self.check, self.f, self.given, self.options)
            e.add_note(f"in {self.check} of {name_of(self.f)}. To see it again:\n\n{code}")

    def error(self, words: str, identity: str, facts: Sequence[str]) -> RuleError:
        return rule_error(self.check, self.f, self.given, self.options, words, identity, facts)

    def tree_of(self, leaves: Sequence[Any]) -> tuple:
        return tree_unflatten(self.treedef, leaves)

    def directions(self, like: Sequence[Any]) -> list:
        return directions(like, self.rng)

    def need(self, mode: str) -> Callable:
        way = getattr(self.rule, mode)
        if way is None:
            raise ValueError(f"{self.check} needs the {mode} of {self.rule.__name__}, which has none")
        return way

    def composition(self) -> Library:
        if self.rule.library is None:
            raise ValueError(
                f"{self.check}: {self.rule.__name__} was written by hand, so its derivative has none; "
                "orders above one need a Library"
            )
        return self.rule.library

    # ----- The derivatives at the point -----

    @cached_property
    def values(self) -> list:
        """What f returns without any derivative."""
        return tree_leaves(self.rule(*self.args))

    @cached_property
    def t(self) -> list:
        return self.directions(self.leaves)

    @cached_property
    def tangent(self) -> list:
        """J t by forward mode."""
        y, dy = self.need("jvp")(self.args, self.tree_of(self.t))
        self.like("the tangent", dy, y)
        self.close("the value under jvp is another", "y of jvp(f, x, t) = f(x)", tree_leaves(y), self.values)
        return tree_leaves(dy)

    @cached_property
    def linearized(self) -> Any:
        """J."""
        y, J = self.need("linearize")(self.args)
        self.close("the value under linearize is another", "y = f(x)", tree_leaves(y), self.values)
        return J

    @cached_property
    def reverse(self) -> tuple[list, list, Callable]:
        """A cotangent c, Jᵀ c by reverse mode, and the map from one to the other."""
        y, pull = self.need("vjp")(self.args)
        ys, y_def = tree_flatten(y)
        self.close("the value under vjp is another", "y of vjp(f, x) = f(x)", ys, self.values)
        c = self.directions(ys)
        cts = pull(tree_unflatten(y_def, c))
        self.like("the cotangent", cts, self.args)
        return c, tree_leaves(cts), lambda c: tree_leaves(pull(tree_unflatten(y_def, c)))

    # ----- The derivatives as numbers -----

    @cached_property
    def wide_leaves(self) -> list:
        """The arguments in double precision."""
        return [wide(a) for a in self.leaves]

    @cached_property
    def precision(self) -> list:
        """What f returns for them: its dtypes are what a difference of f is as good as."""
        if all(a is b for a, b in zip(self.wide_leaves, self.leaves, strict=True)):
            return self.values
        return tree_leaves(self.rule.value(*self.tree_of(self.wide_leaves)))

    def numbers(self, t: Sequence[Any], f: Callable | None = None) -> tuple[list, str, float]:
        """The central difference of f along t, the formula, and what it may be off by."""
        f = f or self.rule.value
        eps = max([float(np.finfo(dtype_of(y)).eps) for y in self.precision], default=1.0)
        step = 2.0 ** math.floor(math.log2(eps ** (1 / 3)))
        moves = [step * wide(v) for v in t]
        up = tree_leaves(f(*self.tree_of([a + v for a, v in zip(self.wide_leaves, moves, strict=True)])))
        down = tree_leaves(f(*self.tree_of([a - v for a, v in zip(self.wide_leaves, moves, strict=True)])))
        numbers = [(asnumpy(a) - asnumpy(b)) / (2 * step) for a, b in zip(up, down, strict=True)]
        allowed = self.rtol or max(tolerance(self.leaves, ROUNDING), tolerance(self.precision, DIFFERENCE))
        return numbers, f"(f(x + h t) - f(x - h t)) / 2h, h = {step:.3g}", allowed

    def complex_step(self, t: Sequence[Any]) -> tuple[list, str, float]:
        """Likewise, by one step into the imaginary."""
        moved = [a + 1j * COMPLEX_STEP * v for a, v in zip(self.wide_leaves, t, strict=True)]
        ys = tree_leaves(self.rule.value(*self.tree_of(moved)))
        numbers = [np.imag(asnumpy(y)) / COMPLEX_STEP for y in ys]
        return numbers, "Im f(x + i h t) / h", self.tolerance()

    def tolerance(self, *arrays: Sequence[Any]) -> float:
        return self.rtol or max(tolerance(a, ROUNDING) for a in (self.leaves, *arrays))

    # ----- Comparisons -----

    def close(
        self,
        words: str,
        identity: str,
        one: Sequence[Any],
        other: Sequence[Any],
        rtol: float | None = None,
        factor: float = 1,
    ) -> None:
        """Do two lists of arrays agree, in the length of their difference?"""
        shapes = [[shape_of(a) for a in arrays] for arrays in (one, other)]
        if shapes[0] != shapes[1]:
            facts = [f"one side   has shapes {shapes[0]}", f"the other  has shapes {shapes[1]}"]
            raise self.error(words, identity, facts)
        rtol = rtol or factor * self.tolerance(one, other)
        a, b = [full(x) for x in one], [full(x) for x in other]
        off = apart(a, b)
        if not off <= rtol:  # NaN is not close
            allowed = rtol * max(1.0, norm(a), norm(b))
            if not off <= allowed:
                raise self.error(words, identity, two_numbers(one, other, off, allowed))

    def same(self, words: str, identity: str, one: Sequence[Any], other: Sequence[Any]) -> None:
        off = apart([full(x) for x in one], [full(x) for x in other])
        if not off == 0:
            raise self.error(words, identity, two_numbers(one, other, off, 0))

    def like(self, what: str, found: Any, model: Any) -> None:
        """Has each array the shape and dtype of its model, in a tree of the same structure?"""
        (leaves, found_def), (models, model_def) = tree_flatten(found), tree_flatten(model)
        one, other = [[(shape_of(a), dtype_of(a)) for a in arrays] for arrays in (leaves, models)]
        if one != other or found_def != model_def:
            is_, should = (
                ", ".join(map(aval_str, arrays)) + (f" in {tree}" if found_def != model_def else "")
                for arrays, tree in ((leaves, found_def), (models, model_def))
            )
            identity = f"{what} has the shape and dtype of what it belongs to"
            raise self.error(f"{what} is {is_}, but should be {should}", identity, [])

    def typed(self, what: str, found: Sequence[Any], dtype: Any) -> None:
        if any(dtype_of(a) != np.dtype(dtype) for a in found):
            words = f"{what} is {', '.join(map(aval_str, found))} for arguments of {np.dtype(dtype).name}"
            raise self.error(words, "dtype in = dtype out", [])


# ----- Arrays -----


def protected(x: Any) -> Any:
    """A read-only view of a NumPy array; anything else as it is."""
    if type(x) is np.ndarray:
        x = x.view()
        x.flags.writeable = False
    return x


def wide(x: Any) -> Any:
    """x in double precision at least."""
    dtype = dtype_of(x)
    if dtype.kind in "fc" and itemsize(dtype) >= 8:
        return x
    return namespace_of(x).asarray(x, dtype=np.result_type(dtype, np.float64))[()]


def full(x: Any) -> np.ndarray:
    return wide(asnumpy(x))


def itemsize(dtype: np.dtype) -> int:
    """Bytes of a number, or of its real part."""
    return dtype.itemsize // (2 if dtype.kind == "c" else 1)


def tolerance(arrays: Sequence[Any], table: dict[int, float]) -> float:
    """The entry of the least precise of the arrays."""
    dtypes = [dtype_of(a) for a in arrays]
    return max([table[min(itemsize(d), 8)] for d in dtypes if d.kind in "fc"], default=0)


def norm(arrays: Sequence[Any]) -> float:
    return math.sqrt(sum([float(np.vdot(a, a).real) for a in arrays]))


def apart(one: Sequence[Any], other: Sequence[Any]) -> float:
    return norm([a - b for a, b in zip(one, other, strict=True)])


def inner(a: Sequence[Any], b: Sequence[Any]) -> float:
    """Re Σ a b: of complex outputs, too, their cotangents are taken without conjugation."""
    return float(np.real(sum([np.sum(full(x) * full(y)) for x, y in zip(a, b, strict=True)])))
