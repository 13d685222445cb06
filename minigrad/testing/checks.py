"""The checks: each states an identity of derivatives and tries it at one point along random directions.

`f` is any function that minigrad can differentiate, or a `Rule`; `args` a tuple with one tree of arrays an
argument. A check passes in silence or raises `RuleError`. Arguments and directions are handed over read-only:
a rule that writes into one fails.
"""

import itertools
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from ..backend import HOME, asnumpy
from ..core import aval_str, dtype_of, namespace_of, shape_of
from ..linear import linear_transpose
from ..tree import tree_flatten, tree_leaves, tree_map, tree_unflatten
from .report import RuleError, name_of, reproduction, rule_error, two_numbers
from .rule import MINIGRAD, Library, as_rule

__all__ = [
    "check_constant",
    "check_dot",
    "check_dtypes",
    "check_grads",
    "check_hvp",
    "check_jvp",
    "check_linear",
    "check_rule",
    "check_vjp",
    "directions",
]

# What two ways to the same number may differ by, relative to their size or to 1: where only rounding parts
# them, and where one of them is a central difference of functions of that precision.
ROUNDING = {2: 3e-2, 4: 1e-4, 8: 1e-10}
DIFFERENCE = {2: 2e-1, 4: 3e-3, 8: 1e-6}
COMPLEX_STEP = 1e-20
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
    first derivatives are compared with a complex step. A `Rule` written by hand has order one only.
    Raises RuleError with the first identity that does not hold.

    >>> check_rule(np.tanh, (np.array([0.1, 0.2]),), order=3)
    """
    rule = as_rule(f)
    if rule.jvp is not None and rule.vjp is not None:
        check_dot(f, args, seed, rtol)
    check_linear(f, args, seed, rtol)
    if rule.jvp is not None:
        check_jvp(f, args, analytic, seed, rtol)
    else:
        check_vjp(f, args, analytic, seed, rtol)
    if rule.library is not None and order > 1:
        if rule.jvp is not None and rule.vjp is not None:
            check_hvp(f, args, seed, rtol)
        check_grads(f, args, order, modes, seed, rtol)


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
        forward, backward = run.need("jvp"), run.need("vjp")
        t = run.directions(run.leaves)
        y, dy = forward(run.args, run.tree_of(t))
        ys, y_def = tree_flatten(y)
        run.close("the value under jvp is another", "y of jvp(f, x, t) = f(x)", ys, run.values())
        run.like("the tangent", dy, y)
        tangents = [tree_leaves(dy)]
        if run.rule.linearize is not None:
            y, J = run.rule.linearize(run.args)
            run.close("the value under linearize is another", "y = f(x)", tree_leaves(y), run.values())
            tangents += [tree_leaves(J(*run.tree_of(t))), tree_leaves(J(*run.tree_of(t)))]
            words = "linearize and jvp give different tangents"
            run.close(words, "J(t) = jvp(f, x, t)", tangents[1], tangents[0])
            run.same("J gives another tangent when called again", "J(t) = J(t)", tangents[1], tangents[2])
        y, pull = backward(run.args)
        run.close("the value under vjp is another", "y of vjp(f, x) = f(x)", tree_leaves(y), run.values())
        c = run.directions(ys)
        cts = pull(tree_unflatten(y_def, c))
        run.like("the cotangent", cts, run.args)
        one, other = inner(tangents[-1], c), inner(t, tree_leaves(cts))
        words = "reverse mode is not the adjoint of forward mode"
        run.close(words, "<J t, c> = <t, J.T c>", [one], [other])
        again = pull(tree_unflatten(y_def, c))
        words = "the reverse pass gives another cotangent when run again"
        run.same(words, "J.T(c) = J.T(c)", tree_leaves(cts), tree_leaves(again))


def check_linear(f: Callable, args: Sequence[Any], seed: int = 0, rtol: float | None = None) -> None:
    """A derivative is a linear map: J(2u - v/2) = 2 J u - J v / 2, and the same of Jᵀ.

    Of functions a library differentiates also: J t is the sum of what each argument alone contributes. And
    of those minigrad differentiates: transposing t ↦ J(t) by `linear_transpose` gives J.T.

    >>> check_linear(lambda x, y: x * y, (np.ones(2), np.ones(2)))
    """
    with Run("check_linear", f, args, seed, rtol) as run:
        u, v = run.directions(run.leaves), run.directions(run.leaves)
        if run.rule.jvp is not None:

            def push(t: list) -> list:
                return tree_leaves(run.rule.jvp(run.args, run.tree_of(t))[1])  # type: ignore[misc]

            run.linear("forward mode", "J", push, u, v)
            if run.rule.library is not None and len(run.args) > 1:
                run.sum_of_parts(push(u), run.tree_of(u))
        if run.rule.vjp is not None:
            y, pull = run.rule.vjp(run.args)
            ys, y_def = tree_flatten(y)
            c, d = run.directions(ys), run.directions(ys)

            def pull_leaves(c: list) -> list:
                return tree_leaves(pull(tree_unflatten(y_def, c)))

            run.linear("reverse mode", "J.T", pull_leaves, c, d)
            if run.rule.library is MINIGRAD:
                _, J = run.rule.linearize(run.args)  # type: ignore[misc]
                turned = linear_transpose(J, *run.args)(tree_unflatten(y_def, c))
                words = "the transpose of t -> J(t) is not the reverse mode"
                run.close(words, "linear_transpose(J)(c) = J.T(c)", tree_leaves(turned), pull_leaves(c))


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
        t = run.directions(run.leaves)
        y, dy = run.need("jvp")(run.args, run.tree_of(t))
        run.like("the tangent", dy, y)
        run.close("the value under jvp is another", "y of jvp(f, x, t) = f(x)", tree_leaves(y), run.values())
        numbers, formula, allowed = run.numbers(t, analytic)
        words = "forward mode is not the derivative of the value"
        run.close(words, f"J t = {formula}", tree_leaves(dy), numbers, allowed)


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
        t = run.directions(run.leaves)
        y, pull = run.need("vjp")(run.args)
        ys, y_def = tree_flatten(y)
        run.close("the value under vjp is another", "y of vjp(f, x) = f(x)", ys, run.values())
        c = run.directions(ys)
        cts = pull(tree_unflatten(y_def, c))
        run.like("the cotangent", cts, run.args)
        again = tree_leaves(pull(tree_unflatten(y_def, c)))
        words = "the reverse pass gives another cotangent when run again"
        run.same(words, "J.T(c) = J.T(c)", tree_leaves(cts), again)
        numbers, formula, allowed = run.numbers(t, analytic)
        words = "reverse mode is not the transposed derivative of the value"
        one, other = inner(t, tree_leaves(cts)), inner(numbers, c)
        run.close(words, f"<t, J.T c> = <c, J t>, J t = {formula}", [one], [other], allowed)


def check_hvp(f: Callable, args: Sequence[Any], seed: int = 0, rtol: float | None = None) -> None:
    """Hessian products of a scalar made of f: three mixtures agree, ⟨H u, v⟩ = ⟨u, H v⟩, and numbers.

    The scalar is Σ c·y + ½ y·y over the outputs y, of second order even for a linear f. H u is compared with
    the central difference of the gradient, element by element.

    >>> check_hvp(lambda x: np.exp(x[0]) * x[1], (np.array([0.5, 2.0]),))
    """
    with Run("check_hvp", f, args, seed, rtol) as run:
        library, g = run.composition(), run.scalar()
        gradient = library_gradient(library, g)
        u, v = run.directions(run.leaves), run.directions(run.leaves)

        def product(mode: str, t: list) -> list:
            if mode == "fwd_over_rev":
                return tree_leaves(library.jvp(gradient, run.args, run.tree_of(t))[1])  # type: ignore[misc]
            inside = along(library, mode[-3:], g, run.tree_of(t))
            return tree_leaves(library_gradient(library, inside)(*run.args))

        first = product("fwd_over_rev", u)
        run.like("the Hessian product", run.tree_of(first), run.args)
        for mode in ("rev_over_rev", "rev_over_fwd"):
            words, identity = "mixtures of modes disagree at order 2", f"H u by fwd_over_rev = H u by {mode}"
            run.close(words, identity, first, product(mode, u))
        one, other = inner(first, v), inner(u, product("fwd_over_rev", v))
        run.close("the Hessian is not symmetric", "<H u, v> = <u, H v>", [one], [other])
        numbers, _, allowed = run.numbers(u, False, gradient)
        words = "the Hessian product is not the derivative of the gradient"
        run.close(words, "H u = (grad g(x + h u) - grad g(x - h u)) / 2h", first, numbers, allowed)


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
    options = {"order": order, "modes": None if tuple(modes) == MODES else tuple(modes)}
    with Run("check_grads", f, args, seed, rtol, **options) as run:
        library, g = run.composition(), run.scalar()
        has = {"fwd": library.jvp, "rev": library.vjp, "lin": library.linearize}
        if not set(modes) <= set(MODES):
            raise ValueError(f"check_grads: modes are among {MODES}, not {tuple(modes)}")
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
                words, identity = (
                    f"modes disagree at order {k}",
                    f"D{k} g by {names[0]} = D{k} g by {names[1]}",
                )
                run.close(words, identity, [value], [derivative(word)(*run.args)], factor=10)
            t = tree_leaves(ways[k - 1])
            numbers, _, allowed = run.numbers(t, False, derivative(first[:-1]))
            words = f"order {k} is not the derivative of order {k - 1}"
            one, below = f"D{k} g", f"D{k - 1} g" if k > 1 else "g"
            identity = f"{one} = ({below}(x + h t) - {below}(x - h t)) / 2h"
            run.close(words, identity, [value], numbers, allowed)


def check_constant(f: Callable, args: Sequence[Any], seed: int = 0) -> None:
    """The derivative of f is exactly zero: of a piecewise constant function, or through `stop_gradient`.

    Numbers cannot tell: f may well vary, but by its rule it is a constant. Raises RuleError.

    >>> import minigrad as mg
    >>> check_constant(mg.stop_gradient, (np.ones(3),))
    """
    with Run("check_constant", f, args, seed, None) as run:
        words = "the derivative is not zero, but f is a constant by its rule"
        if run.rule.jvp is not None:
            y, dy = run.rule.jvp(run.args, run.tree_of(run.directions(run.leaves)))
            run.like("the tangent", dy, y)
            run.same(words, "J t = 0", tree_leaves(dy), [0 * asnumpy(v) for v in tree_leaves(dy)])
        if run.rule.vjp is not None:
            y, pull = run.rule.vjp(run.args)
            ys, y_def = tree_flatten(y)
            cts = pull(tree_unflatten(y_def, run.directions(ys)))
            run.like("the cotangent", cts, run.args)
            run.same(words, "J.T c = 0", tree_leaves(cts), [0 * asnumpy(v) for v in tree_leaves(cts)])


def check_dtypes(f: Callable, args: Sequence[Any], dtypes: Sequence[Any] = ("float32", "float16")) -> None:
    """dtype in = dtype out: for arguments of each of `dtypes`, values, tangents and cotangents have it, too.

    Raises RuleError; a function that promotes on purpose is not one for this check.

    >>> check_dtypes(lambda x: 2.0 * np.sin(x), (np.ones(3),))
    """
    for dtype in dtypes:
        given = tree_map(lambda x, dtype=dtype: namespace_of(x).asarray(x, dtype=dtype)[()], tuple(args))
        with Run("check_dtypes", f, args, 0, None, dtypes=(np.dtype(dtype).name,)) as run:
            run.replace(given)
            ys, y_def = tree_flatten(run.rule(*run.args))
            run.typed("the value", ys, dtype)
            if run.rule.jvp is not None:
                y, dy = run.rule.jvp(run.args, run.tree_of(run.directions(run.leaves)))
                run.typed("the tangent", tree_leaves(dy), dtype)
            if run.rule.vjp is not None:
                _, pull = run.rule.vjp(run.args)
                cts = pull(tree_unflatten(y_def, run.directions(ys)))
                run.typed("the cotangent", tree_leaves(cts), dtype)


def directions(like: Sequence[Any], rng: np.random.Generator) -> list:
    """Arrays of the shapes and dtypes of `like`, together of length one, each |component| at least 0.1/√n.

    So no single element's derivative can hide behind a coefficient that happens to be small. They are
    read-only.

    >>> (v,) = directions([np.zeros(4)], np.random.default_rng(0))
    >>> bool(np.isclose(v @ v, 1)), bool(abs(v).min() >= 0.05)
    (True, True)
    """

    def component(shape: tuple) -> np.ndarray:
        return rng.uniform(0.2, 1.8, shape) * rng.choice([-1.0, 1.0], shape)

    raw = [
        component(shape_of(x)) + (1j * component(shape_of(x)) if dtype_of(x).kind == "c" else 0) for x in like
    ]
    length = norm(raw) or 1.0
    units = []
    for v, x in zip(raw, like, strict=True):
        unit = namespace_of(x).asarray(v / length, dtype=dtype_of(x))
        units.append(protected(unit)[()])
    return units


# ----- One run of a check -----


class Run:
    """The arguments of a check, protected, and comparisons that report what they are about when they fail."""

    def __init__(
        self, check: str, f: Callable, args: Sequence[Any], seed: int, rtol: float | None, **options: Any
    ) -> None:
        self.check, self.f, self.rtol = check, f, rtol
        self.rule, self.rng = as_rule(f), np.random.default_rng(seed)
        self.options = options | ({} if check == "check_dtypes" else {"seed": seed}) | {"rtol": rtol}
        self.given = tuple(args)
        self.replace(self.given)

    def replace(self, args: tuple) -> None:
        leaves, self.treedef = tree_flatten(args)
        if not leaves:
            raise ValueError(f"{self.check}: args holds no arrays to differentiate by")
        self.leaves = [protected(x) for x in leaves]
        self.args = tree_unflatten(self.treedef, self.leaves)
        self._values: list | None = None

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

    def values(self) -> list:
        """What f returns without any derivative."""
        if self._values is None:
            self._values = tree_leaves(self.rule(*self.args))
        return self._values

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

    def scalar(self) -> Callable:
        """Σ c·y + ½ y·y over the outputs y of f, with a fixed random c."""
        cs = self.directions(self.values())

        def g(*x: Any) -> Any:
            ys = tree_leaves(self.rule.value(*x))
            return product([c + 0.5 * y for c, y in zip(cs, ys, strict=True)], ys)

        g.__name__, g.__wrapped__ = self.rule.__name__, self.rule.value  # type: ignore[attr-defined]
        return g

    def numbers(self, t: Sequence[Any], analytic: bool, f: Callable | None = None) -> tuple[list, str, float]:
        """The derivative of f along t as numbers, the formula, and what they may be off by."""
        f = f or self.rule.value
        x = [wide(a) for a in self.leaves]
        exact = self.tolerance(self.leaves)
        if analytic:
            moved = f(*self.tree_of([a + 1j * COMPLEX_STEP * v for a, v in zip(x, t, strict=True)]))
            numbers = [np.imag(asnumpy(y)) / COMPLEX_STEP for y in tree_leaves(moved)]
            return numbers, "Im f(x + i h t) / h", exact
        ys = tree_leaves(f(*self.tree_of(x)))
        step = 2.0 ** np.floor(np.log2(np.cbrt(max([np.finfo(dtype_of(y)).eps for y in ys], default=1.0))))
        up, down = (
            tree_leaves(f(*self.tree_of([a + s * step * wide(v) for a, v in zip(x, t, strict=True)])))
            for s in (1, -1)
        )
        numbers = [(asnumpy(a) - asnumpy(b)) / (2 * step) for a, b in zip(up, down, strict=True)]
        formula = f"(f(x + h t) - f(x - h t)) / 2h, h = {step:.3g}"
        return numbers, formula, self.rtol or max(exact, tolerance(ys, DIFFERENCE))

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
        allowed = rtol * max(1.0, norm(one), norm(other))
        off = norm([np.subtract(full(a), full(b)) for a, b in zip(one, other, strict=True)])
        if not off <= allowed:  # NaN is not close
            raise self.error(words, identity, two_numbers(one, other, off, allowed))

    def same(self, words: str, identity: str, one: Sequence[Any], other: Sequence[Any]) -> None:
        off = norm([np.subtract(full(a), full(b)) for a, b in zip(one, other, strict=True)])
        if not off == 0:
            raise self.error(words, identity, two_numbers(one, other, off, 0))

    def like(self, what: str, found: Any, model: Any) -> None:
        """Has each array the shape and dtype of its model, in a tree of the same structure?"""
        (leaves, found_def), (models, model_def) = tree_flatten(found), tree_flatten(model)
        one, other = [", ".join(map(aval_str, arrays)) for arrays in (leaves, models)]
        if one != other or found_def != model_def:
            one, other = (f"{s} in {d}" if found_def != model_def else s for s, d in
                          ((one, found_def), (other, model_def)))  # fmt: skip
            identity = f"{what} has the shape and dtype of what it belongs to"
            raise self.error(f"{what} is {one}, but should be {other}", identity, [])

    def typed(self, what: str, found: Sequence[Any], dtype: Any) -> None:
        names = [aval_str(a) for a in found]
        if any(dtype_of(a) != np.dtype(dtype) for a in found):
            words = f"{what} is {', '.join(names)} for arguments of {np.dtype(dtype).name}"
            raise self.error(words, "dtype in = dtype out", [])

    def linear(self, mode: str, name: str, way: Callable, u: list, v: list) -> None:
        mixed = [protected(2 * a - 0.5 * b) for a, b in zip(u, v, strict=True)]
        whole = way(mixed)
        parts = [2 * full(a) - 0.5 * full(b) for a, b in zip(way(u), way(v), strict=True)]
        rtol = self.tolerance(whole)
        identity = f"{name}(2u - v/2) = 2 {name}(u) - {name}(v)/2"
        self.close(f"{mode} is not linear in its direction", identity, whole, parts, rtol)

    def sum_of_parts(self, whole: list, t: tuple) -> None:
        """J t against the sum of what each argument contributes when the others are constants."""
        library, total = self.composition(), [0.0 * full(a) for a in whole]
        for i, (x, v) in enumerate(zip(self.args, t, strict=True)):
            part = lambda x, i=i: self.rule.value(*self.args[:i], x, *self.args[i + 1 :])  # noqa: E731
            term = tree_leaves(library.jvp(part, (x,), (v,))[1])  # type: ignore[misc]
            total = [a + full(b) for a, b in zip(total, term, strict=True)]
        words = "an argument contributes something else when the others are constants"
        self.close(words, "J t = J_1 t_1 + J_2 t_2 + ...", whole, total, self.tolerance(whole))


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


# ----- Arrays -----


def protected(x: Any) -> Any:
    """A read-only view of a NumPy array; anything else as it is."""
    if type(x) is np.ndarray:
        x = x.view()
        x.flags.writeable = False
    return x


def wide(x: Any) -> Any:
    """x in double precision at least."""
    dtype = np.result_type(dtype_of(x), np.float64)
    return x if dtype_of(x) == dtype else namespace_of(x).asarray(x, dtype=dtype)[()]


def full(x: Any) -> np.ndarray:
    return wide(asnumpy(x))


def tolerance(arrays: Sequence[Any], table: dict[int, float]) -> float:
    """The entry of the least precise of the arrays."""
    sizes = [np.finfo(dtype_of(a)).dtype.itemsize for a in arrays if dtype_of(a).kind in "fc"]
    return max([table[min(size, 8)] for size in sizes], default=0)


def norm(arrays: Sequence[Any]) -> float:
    return float(np.sqrt(sum(np.sum(np.square(np.abs(full(a)))) for a in arrays)))


def inner(a: Sequence[Any], b: Sequence[Any]) -> float:
    """Re Σ a b: of complex outputs, too, their cotangents are taken without conjugation."""
    return float(np.real(sum(np.sum(full(x) * full(y)) for x, y in zip(a, b, strict=True))))
