"""Checks of higher derivatives, and `check_rule`, which makes all checks that apply."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backend import HOME
from ..core import dtype_of, namespace_of, shape_of
from ..tree import tree_leaves, tree_map
from .identities import dot, jvp, linear, vjp
from .rule import Library, as_rule
from .run import Run

__all__ = ["check_grads", "check_hvp", "check_rule"]

MODES = ("fwd", "rev", "lin")


def check_rule(
    f: Callable,
    args: Sequence[Any],
    order: int = 2,
    modes: Sequence[str] = MODES,
    analytic: bool = False,
    seed: int = 0,
    rtol: float | None = None,
) -> None:
    """Every check that applies, from the exact ones to the numeric ones and on to derivatives of `order`.

    `args` is a tuple of arrays (any shape; float16, float32 or float64) or of trees of them. With `analytic`,
    first derivatives are compared with a complex step. Order two is that of `check_hvp`, and beyond it, or
    where `f` has one mode only, `check_grads` goes on, in mixtures of `modes`. A `Rule` written by hand has
    order one only. Raises RuleError with the first identity that does not hold.

    >>> check_rule(np.tanh, (np.array([0.1, 0.2]),), order=3)
    """
    rule = as_rule(f)
    both = rule.jvp is not None and rule.vjp is not None
    options: dict = {"order": order if order != 2 else None, "analytic": analytic or None}
    with Run("check_rule", f, args, seed, rtol, **options, modes=changed(modes)) as run:
        if both:
            dot(run)
        linear(run)
        jvp(run, analytic) if rule.jvp is not None else vjp(run, analytic)
        if rule.library is not None and order > 1:
            if both:
                hvp(run)
            if order > 2 or not both:
                grads(run, order, modes)


def check_hvp(f: Callable, args: Sequence[Any], seed: int = 0, rtol: float | None = None) -> None:
    """Hessian products of a scalar made of f: three mixtures of modes agree, and are the numbers.

    The scalar is Σ c·y + ½ y·y over the outputs y, of second order even for a linear f. Forward over reverse
    gives H u and reverse over reverse Hᵀ u: that they agree says that H is symmetric, too. H u is compared
    with the central difference of the gradient, element by element.

    >>> check_hvp(lambda x: np.exp(x[0]) * x[1], (np.array([0.5, 2.0]),))
    """
    with Run("check_hvp", f, args, seed, rtol) as run:
        hvp(run)


def check_grads(
    f: Callable,
    args: Sequence[Any],
    order: int = 2,
    modes: Sequence[str] = MODES,
    seed: int = 0,
    rtol: float | None = None,
) -> None:
    """The derivatives of orders 1 to `order` of a scalar made of f, by every mixture of `modes`.

    Modes are "fwd" (jvp), "rev" (the gradient) and "lin" (linearize). Of each order, all mixtures give one
    number, and it is the central difference of the order below. The scalar is that of `check_hvp`, each
    derivative along a direction of its own. Raises ValueError for an unknown mode, and for a `Rule` written
    by hand, whose derivatives cannot be differentiated.

    >>> check_grads(lambda x: np.sin(x) * x, (np.array([0.5, 2.0]),), order=3)
    """
    with Run("check_grads", f, args, seed, rtol, order=order, modes=changed(modes)) as run:
        grads(run, order, modes)


def changed(modes: Sequence[str]) -> tuple | None:
    if not set(modes) <= set(MODES):
        raise ValueError(f"check_grads: modes are among {MODES}, not {tuple(modes)}")
    return None if tuple(modes) == MODES else tuple(modes)


# ----- The checks on a run -----


def hvp(run: Run) -> None:
    library, g, u = run.composition(), scalar(run), run.tree_of(run.t)
    gradient = library_gradient(library, g)
    first = library.jvp(gradient, run.args, u)[1]  # type: ignore[misc]
    run.like("the Hessian product", first, run.args)
    products = {
        "rev_over_rev": library.vjp(gradient, *run.args)[1](u),  # type: ignore[misc]
        "rev_over_fwd": library_gradient(library, along(library, "fwd", g, u))(*run.args),
    }
    for mode, other in products.items():
        words, identity = "mixtures of modes disagree at order 2", f"H u by fwd_over_rev = H u by {mode}"
        run.close(words, identity, tree_leaves(first), tree_leaves(other))
    numbers, _, allowed = run.numbers(run.t, gradient)
    words = "the Hessian product is not the derivative of the gradient"
    identity = "H u = (grad g(x + h u) - grad g(x - h u)) / 2h"
    run.close(words, identity, tree_leaves(first), numbers, allowed)


def grads(run: Run, order: int, modes: Sequence[str]) -> None:
    library, g = run.composition(), scalar(run)
    has = {"fwd": library.jvp, "rev": library.vjp, "lin": library.linearize}
    modes = [mode for mode in modes if has[mode] is not None]
    ways = [run.tree_of(run.directions(run.leaves)) for _ in range(order)]

    def derivative(word: Sequence[str]) -> Callable:
        h = g
        for mode, v in zip(word, ways, strict=False):
            h = along(library, mode, h, v)
        return h

    for k in range(1, order + 1):
        first, *others = itertools.product(modes, repeat=k)
        value = derivative(first)(*run.args)
        for word in others:
            names = "_over_".join(reversed(first)), "_over_".join(reversed(word))
            identity = f"D{k} g by {names[0]} = D{k} g by {names[1]}"
            other = derivative(word)(*run.args)
            run.close(f"modes disagree at order {k}", identity, [value], [other], factor=10)
        numbers, _, allowed = run.numbers(tree_leaves(ways[k - 1]), derivative(first[:-1]))
        one, below = f"D{k} g", f"D{k - 1} g" if k > 1 else "g"
        identity = f"{one} = ({below}(x + h t) - {below}(x - h t)) / 2h"
        run.close(f"order {k} is not the derivative of order {k - 1}", identity, [value], numbers, allowed)


def scalar(run: Run) -> Callable:
    """Σ c·y + ½ y·y over the outputs y of f, with a fixed random c."""
    cs = run.directions(run.values)

    def g(*x: Any) -> Any:
        ys = tree_leaves(run.rule.value(*x))
        return product([c + 0.5 * y for c, y in zip(cs, ys, strict=True)], ys)

    g.__name__, g.__wrapped__ = run.rule.__name__, run.rule.value  # type: ignore[attr-defined]
    return g


# ----- Derivatives along one direction: from a scalar function to a scalar function -----


def along(library: Library, mode: str, g: Callable, v: tuple) -> Callable:
    """x -> D g(x) v, by one mode of a library."""
    if mode == "fwd":
        return lambda *x: library.jvp(g, x, like(v, x))[1]  # type: ignore[misc]
    if mode == "rev":
        gradient = library_gradient(library, g)
        return lambda *x: product(tree_leaves(gradient(*x)), tree_leaves(like(v, x)))
    return lambda *x: library.linearize(g, *x)[1](*like(v, x))  # type: ignore[misc]


def library_gradient(library: Library, g: Callable) -> Callable:
    """x -> the gradient of the scalar g, a tuple with one tree an argument."""

    def gradient(*x: Any) -> tuple:
        y, pull = library.vjp(g, *x)  # type: ignore[misc]
        xp = namespace_of(y) if type(y) in HOME else np  # y may be another library's tracer
        return pull(xp.ones(shape_of(y), dtype_of(y))[()])

    return gradient


def product(a: Sequence[Any], b: Sequence[Any]) -> Any:
    """⟨a, b⟩ by methods that arrays of every library have."""
    total: Any = None
    for x, y in zip(a, b, strict=True):
        term = (x * y).sum()
        term = term.real if dtype_of(term).kind == "c" else term
        total = term if total is None else total + term
    return total


def like(v: tuple, x: tuple) -> tuple:
    """The direction v in the dtypes of x."""
    return tree_map(lambda v, x: v if dtype_of(v) == dtype_of(x) else v.astype(dtype_of(x)), v, x)
