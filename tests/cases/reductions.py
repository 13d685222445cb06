"""Reductions over axes, with and without a mask, an initial value and NaNs."""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import minigrad as mg
from minigrad.core import dtype_of

from .builders import (
    AXES,
    Case,
    X,
    axes,
    distinct,
    layout,
    like,
    nonzero,
    normal,
    of,
    over_axes,
    reduction,
    shapes,
)


def extremum_place(op: Callable, draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1, min_side=1))
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    return Case(lambda x: op(x, axis=axis, keepdims=True), (layout(draw, distinct(rng, shape)),))


def with_zeros(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    return nonzero(rng, shape) * (rng.random(shape) < 0.7)


def with_nan(values: Callable) -> Callable:
    """Numbers, and one NaN among them."""

    def holed(rng: np.random.Generator, shape: tuple) -> np.ndarray:
        x = np.array(values(rng, shape))
        if x.size > 1:
            x.flat[rng.integers(x.size)] = np.nan
        return x

    return holed


def masked(
    op: Callable, values: Callable = normal, side: int = 0, least: int = 0, initial: bool = True, **case: bool
) -> Callable:
    """A reduction, often with a mask that leaves one element out, or with a traced initial value."""
    plain = reduction(op, values, least=least, side=side, **case)

    def some(draw: Callable, rng: np.random.Generator) -> Case:
        kind = draw(st.sampled_from(["plain", "where", "initial"] if initial else ["plain", "where"]))
        if kind == "plain":
            return plain(draw, rng)
        shape = draw(shapes(min_dims=min(least, 1), min_side=max(side, 1)))
        axis, mask = axes(draw, len(shape), least), np.ones(shape, bool)
        x, first = layout(draw, values(rng, shape)), np.array(0.07)
        if kind == "initial":
            where = draw(st.sampled_from([True, rng.random(shape) < 0.7]))
            return Case(lambda x, first: op(x, axis=axis, initial=first, where=like(x, where)), (x, first))
        mask.flat[rng.integers(mask.size)] = False
        return Case(
            lambda x: op(x, axis=axis, where=like(x, mask), **({"initial": 0.07} if initial else {})), (x,)
        )

    return some


def var_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1, min_side=2))
    axis = axes(draw, len(shape), 1)
    x = layout(draw, normal(rng, shape))
    kind = draw(st.sampled_from(["ddof", "correction", "mean"]))
    if kind == "mean":
        centre = normal(rng, np.mean(x, axis, keepdims=True).shape)
        return Case(lambda x, mean: mg.var(x, axis, mean=mean), (x, centre))
    how = {kind: draw(st.integers(0, 1))}
    return Case(lambda x: mg.var(x, axis=axis, keepdims=True, **how), (x,))


def nan_place(op: Callable) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        shape = draw(shapes(min_dims=1, min_side=2))
        axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1))
        x = layout(draw, with_nan(distinct)(rng, shape))

        def f(x: Any) -> Any:
            later = mg.greater(op(x, axis=axis, keepdims=True), 0)
            return mg.nansum(x * mg.astype(later, dtype_of(x)), 0)

        return Case(f, (x,))

    return case


CASES: dict[str, Callable] = {
    "sum": masked(mg.sum),
    "max": masked(mg.max, distinct, side=1, analytic=False),
    "min": masked(mg.min, distinct, side=1, analytic=False),
    "logsumexp": reduction(mg.logsumexp),
    "softmax": over_axes(mg.softmax),
    "log_softmax": over_axes(mg.log_softmax),
}

# Zero derivative wherever there is one: the functions themselves.
CONSTANTS: dict[str, Callable] = {
    "argmax": lambda draw, rng: extremum_place(mg.argmax, draw, rng),
    "argmin": lambda draw, rng: extremum_place(mg.argmin, draw, rng),
    "any": reduction(lambda x, axis, keepdims: mg.any(x, axis=axis, keepdims=True), nonzero),
    "all": reduction(lambda x, axis, keepdims: mg.all(x, axis=axis, keepdims=True), nonzero),
    "count_nonzero": reduction(lambda x, axis, keepdims: mg.count_nonzero(x, axis, keepdims=True), nonzero),
}

# Public operations made of primitives.
COMPOSITES: dict[str, Callable] = {
    "mean": masked(mg.mean, least=1, side=2, initial=False),
    "var": var_case,
    "std": masked(mg.std, distinct, least=1, side=3, initial=False, analytic=False),
    "ptp": reduction(mg.ptp, distinct, analytic=False, least=1, side=2),
    "nansum": masked(mg.nansum, with_nan(normal), analytic=False),
    "nanmean": masked(mg.nanmean, with_nan(normal), least=1, side=3, initial=False, analytic=False),
    "nanvar": masked(mg.nanvar, with_nan(normal), least=1, side=3, initial=False, analytic=False),
    "nanstd": masked(mg.nanstd, with_nan(distinct), least=1, side=4, initial=False, analytic=False),
    "nanmax": masked(mg.nanmax, with_nan(distinct), least=1, side=2, analytic=False),
    "nanmin": masked(mg.nanmin, with_nan(distinct), least=1, side=2, analytic=False),
    "nanargmax": nan_place(mg.nanargmax),
    "nanargmin": nan_place(mg.nanargmin),
}

HOLED = X.copy()
HOLED[0, 1, 2] = HOLED[1, 0, 0] = HOLED[1, 2, 3] = np.nan
MASK = X > -0.5
WHERE: list[dict] = [{**axis, "where": MASK} for axis in AXES]
INITIAL: list[dict] = [{**axis, "initial": 0.5, "where": MASK} for axis in AXES] + [{"initial": 0.5}]

# Calls whose values are compared with those of the function of the same name in NumPy.
NUMPY_CALLS: dict[str, list] = {
    "sum": [of(X, **how) for how in AXES + WHERE + INITIAL] + [of(X, 1, np.float32), of(X, dtype=np.float32)],
    "mean": [of(X, **how) for how in AXES + WHERE] + [of(X, 1, np.float32)],
    **{name: [of(X, **how) for how in AXES + INITIAL] for name in ("max", "min")},
    "ptp": [of(X, **how) for how in AXES],
    **{
        name: [of(X, **axis, ddof=n) for axis in AXES for n in (0, 1)]
        + [of(X, **how) for how in WHERE]
        + [of(X, 0, correction=1), of(X, 1, mean=X[:, :1]), of(np.float32(X), 1, np.float64)]
        for name in ("var", "std")
    },
    **{name: [of(X), of(X, axis=1), of(X, axis=-1)] for name in ("argmax", "argmin")},
    **{name: [of(HOLED), of(HOLED, axis=1), of(X, axis=-1)] for name in ("nanargmax", "nanargmin")},
    **{name: [of(X > 0, **how) for how in AXES + WHERE] for name in ("any", "all")},
    "count_nonzero": [of(x, **axis) for x in (X > 0, np.trunc(X)) for axis in AXES],
    "nansum": [of(HOLED, **how) for how in AXES + WHERE + INITIAL],
    "nanmean": [of(HOLED, **how) for how in AXES + WHERE],
    **{name: [of(HOLED, **axis, ddof=n) for axis in AXES for n in (0, 1)] for name in ("nanvar", "nanstd")},
    **{name: [of(HOLED, **how) for how in AXES + INITIAL] for name in ("nanmax", "nanmin")},
}

# Checked to third order, too.
THIRD = {"softmax", "log_softmax", "logsumexp", "nanvar", "std"}
