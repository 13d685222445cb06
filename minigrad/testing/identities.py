"""Checks of first derivatives: each states an identity and tries it at one point along random directions.

`f` is any function that minigrad can differentiate, or a `Rule`; `args` a tuple with one tree of arrays an
argument. A check passes in silence or raises `RuleError`. Arguments and directions are handed over read-only:
a rule that writes into one fails.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backend import asnumpy
from ..core import namespace_of
from ..linear import linear_transpose
from ..tree import tree_leaves, tree_map, tree_unflatten
from .rule import MINIGRAD
from .run import Run, full, inner, protected

__all__ = ["check_constant", "check_dot", "check_dtypes", "check_jvp", "check_linear", "check_vjp"]


def check_dot(f: Callable, args: Sequence[Any], seed: int = 0, rtol: float | None = None) -> None:
    """Reverse mode is the adjoint of forward mode: ⟨J t, c⟩ = ⟨t, Jᵀ c⟩.

    There is no step size: the identity holds to rounding, in every precision and at kinks, too. On the way:
    the value is the same with derivatives and without; J t and Jᵀ c have the shapes and dtypes of the
    value and of `args`; `linearize` and `jvp` give the same tangent; and the same again when asked again, so
    that no pass has spoilt what is kept, and nothing is random. (Claerbout, Earth Soundings Analysis, 1992.)

    Raises RuleError, and ValueError for a `Rule` that has only one mode.

    >>> check_dot(lambda x, y: x @ y, (np.ones((2, 3)), np.ones(3)))
    """
    with Run("check_dot", f, args, seed, rtol) as run:
        dot(run)


def check_linear(f: Callable, args: Sequence[Any], seed: int = 0, rtol: float | None = None) -> None:
    """A derivative is a linear map: J(2u - v/2) = 2 J u - J v / 2, and the same of Jᵀ.

    Of functions a library differentiates also: J t is the sum of what each argument alone contributes. And
    of those minigrad differentiates: transposing t ↦ J(t) by `linear_transpose` gives J.T.

    >>> check_linear(lambda x, y: x * y, (np.ones(2), np.ones(2)))
    """
    with Run("check_linear", f, args, seed, rtol) as run:
        linear(run)


def check_jvp(
    f: Callable,
    args: Sequence[Any],
    analytic: bool = False,
    seed: int = 0,
    rtol: float | None = None,
) -> None:
    """Forward mode against a number: J t = (f(x + ht) - f(x - ht)) / 2h, along a t of length one.

    float16 and float32 arguments are differenced in float64, and where f then still returns less, the step is
    that of its result: h = ∛ε. With `analytic`, for an f whose NumPy functions take complex numbers, the
    imaginary part of f(x + iht) / h with h = 1e-20: nothing cancels, so it is good to 1e-10 (Squire and
    Trapp, SIAM Review 40, 1998). At a tie of two, a central difference is the mean of both sides.

    >>> check_jvp(np.sin, (np.float32([0.5, 1.0]),), analytic=True)
    """
    with Run("check_jvp", f, args, seed, rtol, analytic=analytic or None) as run:
        jvp(run, analytic)


def check_vjp(
    f: Callable,
    args: Sequence[Any],
    analytic: bool = False,
    seed: int = 0,
    rtol: float | None = None,
) -> None:
    """Reverse mode against a number, for a rule without forward mode: ⟨t, Jᵀ c⟩ = ⟨c, J t⟩.

    J t is the number of `check_jvp`.

    >>> from minigrad.testing import Rule
    >>> cube = Rule(lambda x: x**3, vjp=lambda x: (x[0] ** 3, lambda c: (3 * x[0] ** 2 * c,)))
    >>> check_vjp(cube, (np.array([0.5, 1.0]),))
    """
    with Run("check_vjp", f, args, seed, rtol, analytic=analytic or None) as run:
        vjp(run, analytic)


def check_constant(f: Callable, args: Sequence[Any], seed: int = 0) -> None:
    """The derivative of f is exactly zero: of a piecewise constant function, or through `stop_gradient`.

    Numbers cannot tell: f may well vary, but by its rule it is a constant. Raises RuleError.

    >>> import minigrad as mg
    >>> check_constant(mg.stop_gradient, (np.ones(3),))
    """
    with Run("check_constant", f, args, seed, None) as run:
        words = "the derivative is not zero, but f is a constant by its rule"
        if run.rule.jvp is not None:
            run.same(words, "J t = 0", run.tangent, [0 * asnumpy(v) for v in run.tangent])
        if run.rule.vjp is not None:
            _, cotangent, _ = run.reverse
            run.same(words, "J.T c = 0", cotangent, [0 * asnumpy(v) for v in cotangent])


def check_dtypes(
    f: Callable, args: Sequence[Any], dtypes: Sequence[Any] = ("float32", "float16"), seed: int = 0
) -> None:
    """dtype in = dtype out: for arguments of each of `dtypes`, values, tangents and cotangents have it, too.

    Raises RuleError; a function that promotes on purpose is not one for this check.

    >>> check_dtypes(lambda x: 2.0 * np.sin(x), (np.ones(3),))
    """
    for dtype in dtypes:
        cast = tree_map(lambda x, dtype=dtype: namespace_of(x).asarray(x, dtype=dtype)[()], tuple(args))
        with Run("check_dtypes", f, cast, seed, None, dtypes=(np.dtype(dtype).name,)) as run:
            run.typed("the value", run.values, dtype)
            if run.rule.jvp is not None:
                run.typed("the tangent", run.tangent, dtype)
            if run.rule.vjp is not None:
                run.typed("the cotangent", run.reverse[1], dtype)


# ----- The checks on a run: `check_rule` makes several on one -----


def dot(run: Run) -> None:
    for mode in ("jvp", "vjp"):
        run.need(mode)
    if run.rule.linearize is not None:
        t = run.tree_of(run.t)
        once, again = tree_leaves(run.linearized(*t)), tree_leaves(run.linearized(*t))
        run.close("linearize and jvp give different tangents", "J(t) = jvp(f, x, t)", once, run.tangent)
        run.same("J gives another tangent when called again", "J(t) = J(t)", once, again)
    adjoint(run)
    pulled_twice(run)


def adjoint(run: Run) -> None:
    c, cotangent, _ = run.reverse
    words = "reverse mode is not the adjoint of forward mode"
    run.close(words, "<J t, c> = <t, J.T c>", [inner(run.tangent, c)], [inner(run.t, cotangent)])


def pulled_twice(run: Run) -> None:
    c, once, pull = run.reverse
    run.same("the reverse pass gives another cotangent when run again", "J.T(c) = J.T(c)", once, pull(c))


def linear(run: Run) -> None:
    if run.rule.jvp is not None:

        def push(t: list) -> list:
            return tree_leaves(run.need("jvp")(run.args, run.tree_of(t))[1])

        combined(run, "forward mode", "J", push, run.t, run.tangent)
        if run.rule.library is not None and len(run.args) > 1:
            sum_of_parts(run)
    if run.rule.vjp is not None:
        c, cotangent, pull = run.reverse
        combined(run, "reverse mode", "J.T", pull, c, cotangent)
        if run.rule.library is MINIGRAD:
            turned = linear_transpose(run.linearized, *run.args)(tree_unflatten(run.linearized.out_tree, c))
            words = "the transpose of t -> J(t) is not the reverse mode"
            run.close(words, "linear_transpose(J)(c) = J.T(c)", tree_leaves(turned), cotangent)


def combined(run: Run, mode: str, name: str, way: Callable, u: list, way_u: list) -> None:
    v = run.directions(u)
    whole = way([protected(2 * a - 0.5 * b) for a, b in zip(u, v, strict=True)])
    parts = [2 * full(a) - 0.5 * full(b) for a, b in zip(way_u, way(v), strict=True)]
    identity = f"{name}(2u - v/2) = 2 {name}(u) - {name}(v)/2"
    words = f"{mode} is not linear in its direction"
    run.close(words, identity, whole, parts, run.tolerance(whole))


def sum_of_parts(run: Run) -> None:
    """J t against the sum of what each argument contributes when the others are constants."""
    library, total = run.composition(), [0.0 * full(a) for a in run.tangent]
    for i, (x, v) in enumerate(zip(run.args, run.tree_of(run.t), strict=True)):
        part = lambda x, i=i: run.rule.value(*run.args[:i], x, *run.args[i + 1 :])  # noqa: E731
        term = tree_leaves(library.jvp(part, (x,), (v,))[1])  # type: ignore[misc]
        total = [a + full(b) for a, b in zip(total, term, strict=True)]
    words = "an argument contributes something else when the others are constants"
    run.close(words, "J t = J_1 t_1 + J_2 t_2 + ...", run.tangent, total, run.tolerance(run.tangent))


def jvp(run: Run, analytic: bool) -> None:
    numbers, formula, allowed = run.complex_step(run.t) if analytic else run.numbers(run.t)
    words = "forward mode is not the derivative of the value"
    run.close(words, f"J t = {formula}", run.tangent, numbers, allowed)


def vjp(run: Run, analytic: bool) -> None:
    c, cotangent, _ = run.reverse
    pulled_twice(run)
    numbers, formula, allowed = run.complex_step(run.t) if analytic else run.numbers(run.t)
    words = "reverse mode is not the transposed derivative of the value"
    one, other = inner(run.t, cotangent), inner(numbers, c)
    run.close(words, f"<t, J.T c> = <c, J t>, J t = {formula}", [one], [other], allowed)
