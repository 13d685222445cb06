"""What cases are built of: numbers away from kinks, shapes, memory layouts, and the common forms of a case.

A case is `case(draw, rng) -> Case(f, args)`: structure drawn from hypothesis, numbers from a seeded
generator. The arguments are scaled so that values and derivatives are of order one.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import minigrad as mg
from minigrad import testing
from minigrad.core import namespace_of
from minigrad.testing import (  # noqa: F401  (the families of cases take them from here)
    Case,
    distinct,
    fractional,
    inside,
    nonzero,
    normal,
    positive,
    shapes,
    tied,
)


def layout(draw: Callable, x: np.ndarray) -> np.ndarray:
    """`x` in one of several memory layouts, and read-only: a rule that writes into its input fails."""
    return draw(testing.layouts(x))


def like(x: Any, constant: Any) -> Any:
    """A constant of a case, an array or an index with some, in the library of `x`, beside which it stands."""
    if isinstance(constant, tuple):
        return tuple([like(x, part) for part in constant])
    return namespace_of(x).asarray(constant) if isinstance(constant, (np.ndarray, np.generic)) else constant


def broadcastable(draw: Callable, n: int) -> tuple:
    return draw(testing.broadcastable_shapes(n))


def axes(draw: Callable, ndim: int, least: int = 0) -> Any:
    """None, an axis or a tuple of at least `least`, counted from the front or the back."""
    return draw(testing.axes(ndim, least))


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
    return lambda c: mg.linear_transpose(f, mg.zeros_like(c, shape=shape))(c)[0]


def times(case: Callable) -> Callable:
    """A case of a function that is constant almost everywhere: its first argument where that is positive."""

    def product(draw: Callable, rng: np.random.Generator) -> Case:
        f, args, _ = case(draw, rng)
        return Case(lambda *xs: mg.where(mg.greater(mg.astype(f(*xs), float), 0), xs[0], 0.0), args)

    return product


def of(*args: Any, **kwargs: Any) -> tuple[tuple, dict]:
    """A call to compare with NumPy's."""
    return args, kwargs


X, Y = np.random.default_rng(3).standard_normal((2, 2, 3, 4))
X[0, 0], Y[0, 0, :2] = Y[0, 0], 0.0
POSITIVE, INSIDE, THIN = np.abs(X) + 0.1, np.tanh(X), X[:1, :, :1]
AXES: list[dict] = [{}, {"axis": 1}, {"axis": (0, -1)}, {"axis": -2, "keepdims": True}, {"keepdims": True}]
