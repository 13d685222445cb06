"""What cases are built of: numbers away from kinks, shapes, memory layouts, and the common forms of a case.

A case is `case(draw, rng) -> Case(f, args)`: structure drawn from hypothesis, numbers from a seeded
generator. The arguments are scaled so that values and derivatives are of order one.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import strategies as st

import minigrad as mg


class Case(NamedTuple):
    """A function and arguments; `analytic`: its NumPy functions take complex numbers."""

    f: Callable
    args: tuple
    analytic: bool = False


def normal(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    return rng.standard_normal(shape)


def nonzero(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    return rng.uniform(0.2, 2, shape) * rng.choice([-1, 1], shape)


def positive(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    return rng.uniform(0.3, 2, shape)


def inside(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    return rng.uniform(-0.8, 0.8, shape)


def fractional(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    """Neither integers nor halves, so that floor, ceil and round are constant around them."""
    return rng.integers(-2, 2, shape) + rng.choice([0.25, 0.75], shape)


def distinct(rng: np.random.Generator, *shapes: tuple) -> Any:
    """Arrays (one for one shape) that have no number twice, taken together."""
    sizes = [math.prod(s) for s in shapes]
    numbers = (rng.permutation(sum(sizes)) + 0.5) / max(sum(sizes), 1) * 4 - 2
    parts = np.split(numbers, np.cumsum(sizes)[:-1])
    arrays = [p.reshape(s) for p, s in zip(parts, shapes, strict=True)]
    return arrays if len(shapes) > 1 else arrays[0]


def layout(draw: Callable, x: np.ndarray) -> np.ndarray:
    """`x` in one of several memory layouts, and read-only: a rule that writes into its input fails."""
    kind = draw(st.sampled_from(["rows", "columns", "gaps", "backwards"]))
    x = np.array(x)
    if kind == "columns":
        x = x.T.copy().T
    elif kind == "gaps" and x.ndim:
        x = np.repeat(x, 2, axis=-1)[..., ::2]
    elif kind == "backwards" and x.ndim:
        x = x[::-1].copy()[::-1]
    x.flags.writeable = False
    return x


def shapes(min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 4) -> st.SearchStrategy:
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side)


def broadcastable(draw: Callable, n: int) -> tuple:
    pattern = hnp.mutually_broadcastable_shapes(num_shapes=n, max_dims=3, max_side=3, min_side=0)
    return draw(pattern).input_shapes


def axes(draw: Callable, ndim: int, least: int = 0) -> Any:
    """None, an axis or a tuple of at least `least`, counted from the front or the back."""
    if ndim == 0:
        return draw(st.sampled_from([None, ()])) if least == 0 else None
    one = st.integers(-ndim, ndim - 1)
    several = st.lists(one, min_size=least, max_size=ndim, unique_by=lambda i: i % ndim).map(tuple)
    return draw(st.one_of(st.none(), one, several))


def unary(op: Callable, values: Callable = normal, analytic: bool = True, **params: Any) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        return Case(lambda x: op(x, **params), (layout(draw, values(rng, draw(shapes()))),), analytic)

    return case


def binary(
    op: Callable, left: Callable = normal, right: Callable = normal, analytic: bool = True
) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        a, b = broadcastable(draw, 2)
        args = layout(draw, left(rng, a)), layout(draw, right(rng, b))
        number = draw(st.sampled_from([None, None, "left", "right"]))  # a Python number on one side
        if number == "left":
            k = float(left(rng, ()))
            return Case(lambda y: op(k, y), args[1:], analytic)
        if number == "right":
            k = float(right(rng, ()))
            return Case(lambda x: op(x, k), args[:1], analytic)
        return Case(lambda x, y: op(x, y), args, analytic)

    return case


def apart(op: Callable) -> Callable:
    """A binary case whose arguments have no number in common."""

    def case(draw: Callable, rng: np.random.Generator) -> Case:
        args = distinct(rng, *broadcastable(draw, 2))
        return Case(lambda x, y: op(x, y), tuple(layout(draw, a) for a in args))

    return case


def reduction(
    op: Callable, values: Callable = normal, analytic: bool = True, least: int = 0, side: int = 1
) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        shape = draw(shapes(min_dims=min(least, 1), min_side=side))
        axis, keepdims = axes(draw, len(shape), least), draw(st.booleans())
        return Case(
            lambda x: op(x, axis=axis, keepdims=keepdims), (layout(draw, values(rng, shape)),), analytic
        )

    return case


def over_axes(op: Callable) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        shape = draw(shapes(min_side=1))
        axis = axes(draw, len(shape))
        return Case(lambda x: op(x, axis=axis), (layout(draw, normal(rng, shape)),), True)

    return case


def transposed(f: Callable, shape: tuple) -> Callable:
    """The transpose of a linear `f`, as a function of the cotangent."""
    return lambda c: mg.linear_transpose(f, np.zeros(shape, c.dtype))(c)[0]


def times(case: Callable) -> Callable:
    """A case of a function that is constant almost everywhere: its first argument where that is positive."""

    def product(draw: Callable, rng: np.random.Generator) -> Case:
        f, args, _ = case(draw, rng)
        return Case(lambda *xs: xs[0] * mg.greater(f(*xs), 0), args)

    return product


def of(*args: Any, **kwargs: Any) -> tuple[tuple, dict]:
    """A call to compare with NumPy's."""
    return args, kwargs


X, Y = np.random.default_rng(3).standard_normal((2, 2, 3, 4))
X[0, 0], Y[0, 0, :2] = Y[0, 0], 0.0
POSITIVE, INSIDE, THIN = np.abs(X) + 0.1, np.tanh(X), X[:1, :, :1]
AXES: list[dict] = [{}, {"axis": 1}, {"axis": (0, -1)}, {"axis": -2, "keepdims": True}, {"keepdims": True}]
