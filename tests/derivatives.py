"""Checks of derivative rules: forward mode against reverse mode, against numbers, and order by order.

Each takes a function `f` of float64 arrays, which returns an array or a tuple of arrays, and a tuple `args`.
Each raises AssertionError with the function, the shapes and both numbers. Scale a case so that its values and
derivatives are of order one: numbers are compared relative to their size, or to 1 where they are smaller.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.core import aval_str, describe

Args = Sequence[Any]

# Half of the digits go to the difference, half to the step: the best a central difference can do (a power of
# two, so that x + h is exact where x is).
STEP = 2.0 ** np.floor(np.log2(np.cbrt(np.finfo(float).eps)))
COMPLEX_STEP = 1e-20
MODES = ("fwd_over_rev", "rev_over_rev", "rev_over_fwd")


def directions(rng: np.random.Generator, args: Args) -> tuple:
    """Arrays like `args`, together of length one, in which every |component| is at least 0.1/√n.

    So no single element's derivative can hide behind a coefficient that happens to be small. They are
    read-only: a rule that writes into a tangent or cotangent fails.
    """
    raw = [rng.uniform(0.2, 1.8, np.shape(a)) * rng.choice([-1.0, 1.0], np.shape(a)) for a in args]
    length = np.sqrt(sum(np.sum(v * v) for v in raw)) or 1.0
    units = [np.array(v / length, a.dtype) for v, a in zip(raw, args, strict=True)]
    for v in units:
        v.flags.writeable = False
    return tuple(v[()] for v in units)


def check_dot(f: Callable, args: Args, rng: np.random.Generator, rtol: float = 1e-10) -> None:
    """⟨J t, c⟩ = ⟨t, Jᵀ c⟩, J t is the tangent of jvp, and J t and Jᵀ c are shaped and typed like y and args.

    There is no step size: the identity holds to rounding, at kinks, too. J and J.T give the same when used
    again, so no pass has spoilt what is recorded.
    """
    t = directions(rng, args)
    y, J = mg.linearize(f, *args)
    c = directions(rng, leaves(y))
    ct = c if isinstance(y, tuple) else c[0]
    forward, backward = leaves(J(*t)), leaves(J.T(ct))
    assert_like(f, "tangent", forward, leaves(y))
    assert_like(f, "cotangent", backward, args)
    assert_close(f, args, "linearize(f)(t) and jvp(f, t)", forward, leaves(mg.jvp(f, args, t)[1]), rtol)
    assert_close(f, args, "<J t, c> and <t, J.T c>", [inner(forward, c)], [inner(t, backward)], rtol)
    assert_close(f, args, "the first and second J(t)", forward, leaves(J(*t)), rtol=0)
    assert_close(f, args, "the first and second J.T(c)", backward, leaves(J.T(ct)), rtol=0)


def check_jvp(f: Callable, args: Args, rng: np.random.Generator, complex_step: bool = False) -> None:
    """The tangent of jvp against a number: a central difference of `f`, good to 1e-6.

    With `complex_step`, for an `f` whose NumPy functions are analytic and take complex numbers, the imaginary
    part of f(x + iht) / h with h = 1e-20: nothing cancels, so it is good to 1e-10.
    """
    t = directions(rng, args)
    dy = leaves(mg.jvp(f, tuple(args), t)[1])
    if complex_step:
        moved = leaves(f(*[x + 1j * COMPLEX_STEP * v for x, v in zip(args, t, strict=True)]))
        assert_close(
            f, args, "jvp and complex step", dy, [np.imag(y) / COMPLEX_STEP for y in moved], rtol=1e-10
        )
    else:
        assert_close(f, args, "jvp and central difference", dy, central_difference(f, args, t), rtol=1e-6)


def check_order2(f: Callable, args: Args, rng: np.random.Generator) -> None:
    """Hessian products of a scalar made of `f`: three modes agree, symmetric, the difference of gradients."""
    g, nums = scalar(f, args, rng), tuple(range(len(args)))
    u, v = directions(rng, args), directions(rng, args)
    first, *others = [leaves(mg.hvp(g, args, u, mode=mode)) for mode in MODES]
    assert_like(f, "Hessian product", first, args)
    for mode, other in zip(MODES[1:], others, strict=True):
        assert_close(f, args, f"hvp {MODES[0]} and {mode}", first, other, rtol=1e-10)
    turned = leaves(mg.hvp(g, args, v))
    assert_close(f, args, "<H u, v> and <u, H v>", [inner(first, v)], [inner(u, turned)], rtol=1e-10)
    numeric = central_difference(mg.grad(g, nums), args, u)
    assert_close(f, args, "hvp and central difference of the gradient", first, numeric, rtol=1e-6)


def check_order(f: Callable, args: Args, rng: np.random.Generator, order: int) -> None:
    """The derivative of a scalar made of `f` along `order` directions: one number, by every mixture of modes.

    It is also compared with the central difference of the derivative one order lower.
    """
    g = scalar(f, args, rng)
    along = [directions(rng, args) for _ in range(order)]
    words = [*itertools.product([forward, reverse], repeat=order), (recorded,) * order]
    values = [derivative(g, word, along)(*args) for word in words]
    for word, value in zip(words[1:], values[1:], strict=True):
        names = " of ".join(mode.__name__ for mode in reversed(word))
        assert_close(f, args, f"order {order}: all forward and {names}", values[:1], [value], rtol=1e-9)
    lower = derivative(g, words[0][:-1], along[:-1])
    numeric = central_difference(lower, args, along[-1])
    assert_close(f, args, f"order {order} and central difference of order {order - 1}", values[:1], numeric)


# ----- Derivatives along one direction: from a scalar function to a scalar function -----


def forward(g: Callable, v: tuple) -> Callable:
    return lambda *x: mg.jvp(g, x, v)[1]


def reverse(g: Callable, v: tuple) -> Callable:
    return lambda *x: traced_inner(mg.grad(g, tuple(range(len(x))))(*x), v)


def recorded(g: Callable, v: tuple) -> Callable:
    return lambda *x: mg.linearize(g, *x)[1](*v)


def derivative(g: Callable, modes: Sequence[Callable], along: Sequence[tuple]) -> Callable:
    """`g` differentiated by each of `modes` in turn, along the direction beside it."""
    for mode, v in zip(modes, along, strict=True):
        g = mode(g, v)
    return g


def scalar(f: Callable, args: Args, rng: np.random.Generator) -> Callable:
    """Σ c·y + ½ y·y over the outputs of `f`, with a fixed random c: of second order even for a linear f."""
    cs = directions(rng, leaves(f(*args)))

    def g(*x: Any) -> Any:
        ys = leaves(f(*x))
        return traced_inner([c + 0.5 * y for c, y in zip(cs, ys, strict=True)], ys)

    g.__name__, g.__wrapped__ = getattr(f, "__name__", "f"), f  # type: ignore[attr-defined]
    return g


def central_difference(f: Callable, args: Args, t: Args, step: float = STEP) -> list:
    """(f(x + ht) - f(x - ht)) / 2h, one array an output."""
    up, down = (leaves(f(*[x + s * step * v for x, v in zip(args, t, strict=True)])) for s in (1, -1))
    return [(a - b) / (2 * step) for a, b in zip(up, down, strict=True)]


# ----- Comparisons -----


def assert_close(
    f: Callable, args: Args, what: str, one: Sequence[Any], other: Sequence[Any], rtol: float = 1e-6
) -> None:
    """Do two lists of arrays agree, in the length of their difference, to `rtol`?"""
    size = max(1.0, norm(one), norm(other))
    off = norm([np.subtract(a, b) for a, b in zip(one, other, strict=True)])
    if not off <= rtol * size:  # NaN is not close
        shapes = ", ".join(aval_str(a) for a in args)
        raise AssertionError(
            f"{describe(f)} at {shapes}: {what} differ by {off:.3g} (allowed {rtol * size:.3g}):\n"
            f"{show(one)}\n{show(other)}"
        )


def assert_like(f: Callable, what: str, found: Sequence[Any], models: Sequence[Any]) -> None:
    """Has each array the shape and dtype of its model?"""
    one, other = [", ".join(aval_str(a) for a in arrays) for arrays in (found, models)]
    if one != other:
        raise AssertionError(f"{describe(f)}: {what} is {one}, but should be {other}")


def leaves(y: Any) -> list:
    return list(y) if isinstance(y, (tuple, list)) else [y]


def inner(a: Sequence[Any], b: Sequence[Any]) -> float:
    return float(sum(np.sum(np.multiply(x, y)) for x, y in zip(a, b, strict=True)))


def traced_inner(a: Sequence[Any], b: Sequence[Any]) -> Any:
    total = mg.sum(a[0] * b[0])
    for x, y in zip(a[1:], b[1:], strict=True):
        total = total + mg.sum(x * y)
    return total


def norm(arrays: Sequence[Any]) -> float:
    return float(np.sqrt(sum(np.sum(np.square(np.abs(a))) for a in arrays)))


def show(arrays: Sequence[Any]) -> str:
    return "; ".join(np.array2string(np.asarray(a), precision=12, threshold=20) for a in arrays)
