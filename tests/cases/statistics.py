"""Weighted means, covariances and quantiles."""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import minigrad as mg
from minigrad.ops.statistics import PLACES

from .builders import (
    AXES,
    POSITIVE,
    Case,
    X,
    Y,
    axes,
    distinct,
    layout,
    like,
    normal,
    of,
    positive,
    reduction,
    shapes,
)
from .reductions import HOLED, with_nan


def average_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1, min_side=1))
    axis, keepdims = axes(draw, len(shape), 1), draw(st.booleans())
    x, kind = layout(draw, normal(rng, shape)), draw(st.sampled_from(["none", "all", "axis"]))
    how: dict[str, Any] = {"axis": axis, "keepdims": keepdims, "returned": draw(st.booleans())}
    if kind == "none":
        return Case(lambda x: mg.average(x, axis, keepdims=keepdims), (x,), True)
    one = (axis,) if isinstance(axis, int) else axis
    weights = positive(rng, shape if kind == "all" or axis is None else tuple(shape[i] for i in one))
    return Case(lambda x, w: mg.average(x, weights=w, **how), (x, layout(draw, weights)))


def cov_case(draw: Callable, rng: np.random.Generator) -> Case:
    k, n = draw(st.integers(1, 3)), draw(st.integers(3, 5))
    m = normal(rng, (n,)) if k == 1 else normal(rng, (k, n))
    kind = draw(st.sampled_from(["plain", "columns", "bias", "two", "weights"]))
    if kind == "columns" and k > 1:
        return Case(lambda m: mg.cov(m, rowvar=False), (layout(draw, m.T),))
    if kind == "two":
        return Case(lambda m, y: mg.cov(m, y, ddof=0), (layout(draw, m), normal(rng, (2, n))))
    if kind == "weights":
        often = draw(st.sampled_from([None, np.arange(1, n + 1)]))
        args = layout(draw, m), positive(rng, (n,))
        return Case(lambda m, w: mg.cov(m, fweights=like(m, often), aweights=w), args)
    return Case(lambda m: mg.cov(m, bias=kind == "bias"), (layout(draw, m),))


def corrcoef_case(draw: Callable, rng: np.random.Generator) -> Case:
    k, n = draw(st.integers(2, 3)), draw(st.integers(4, 6))
    m = layout(draw, normal(rng, (k, n)) + 2 * np.eye(k, n))
    if draw(st.booleans()):
        return Case(lambda m: mg.corrcoef(m.T, rowvar=False), (m,))
    return Case(lambda m, y: mg.corrcoef(m, y), (m, normal(rng, (n,)) + np.arange(n) / 2))


def quantiles(op: Callable, whole: int, values: Callable, side: int) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        shape = draw(shapes(min_dims=1, min_side=side))
        axis, keepdims = axes(draw, len(shape), 1), draw(st.booleans())
        x, method = layout(draw, values(rng, shape)), draw(st.sampled_from(list(PLACES)))
        q: Any = whole * rng.random(draw(st.sampled_from([(), (2,), (0,), (1, 2)])))
        # A traced q keeps away from the elements, where its derivative jumps.
        n = np.mean(np.ones(shape), axis, keepdims=True).size
        n = x.size // n
        if values is distinct and n > 1 and draw(st.booleans()):
            q = whole * (rng.integers(0, n - 1, q.shape) + rng.uniform(0.2, 0.8, q.shape)) / (n - 1)
            return Case(lambda x, q: op(x, q, axis, keepdims=keepdims), (x, np.array(q)))
        q = q.tolist() if q.ndim == 1 else float(q.flat[0]) if q.size else 0.5 * whole
        return Case(lambda x: op(x, q, axis, method=method, keepdims=keepdims), (x,))

    return case


# Public operations made of primitives.
COMPOSITES: dict[str, Callable] = {
    "average": average_case,
    "cov": cov_case,
    "corrcoef": corrcoef_case,
    "median": reduction(mg.median, distinct, analytic=False, least=1),
    "quantile": quantiles(mg.quantile, 1, distinct, 1),
    "percentile": quantiles(mg.percentile, 100, distinct, 1),
    "nanmedian": reduction(mg.nanmedian, with_nan(distinct), analytic=False, least=1, side=2),
    "nanquantile": quantiles(mg.nanquantile, 1, with_nan(distinct), 2),
    "nanpercentile": quantiles(mg.nanpercentile, 100, with_nan(distinct), 2),
}

ROWS, TIMES = X[0], np.array([1, 2, 0, 3])


def levels(x: np.ndarray, whole: int) -> list:
    by_axis = [of(x, 0.3 * whole, **axis) for axis in AXES]
    by_method = [of(x, [0.0, 0.31 * whole, whole], 1, method=method) for method in PLACES]
    return [*by_axis, *by_method, of(x, [0.1 * whole, 0.5 * whole], axis=(0, 2), keepdims=True)]


# Calls whose values are compared with those of the function of the same name in NumPy.
NUMPY_CALLS: dict[str, list] = {
    "average": [of(X, **axis) for axis in AXES]
    + [of(X, **axis, weights=POSITIVE) for axis in AXES]
    + [
        of(X, 1, POSITIVE[0, :, 0]),
        of(X, (2, 0), POSITIVE[:, 0].T),
        of(X, 1, POSITIVE[0, :, 0], keepdims=True),
    ],
    "cov": [
        of(ROWS),
        of(ROWS[0]),
        of(ROWS, Y[0]),
        of(ROWS.T, rowvar=False),
        of(ROWS, bias=True),
        of(ROWS, ddof=2),
        of(ROWS, fweights=TIMES),
        of(ROWS, aweights=POSITIVE[0, 0]),
        of(ROWS, fweights=TIMES, aweights=POSITIVE[0, 0]),
    ],
    "corrcoef": [of(ROWS), of(ROWS, Y[0]), of(ROWS.T, rowvar=False), of(ROWS[0])],
    "median": [of(x, **axis) for x in (X, HOLED) for axis in AXES],
    "nanmedian": [of(HOLED, **axis) for axis in AXES],
    "quantile": levels(X, 1) + [of(HOLED, 0.3, 1), of(X, np.array([[0.1], [0.5]]), (0, 2))],
    "percentile": levels(X, 100),
    "nanquantile": levels(HOLED, 1),
    "nanpercentile": levels(HOLED, 100),
}

# Checked to third order, too.
THIRD = {"corrcoef", "quantile"}
