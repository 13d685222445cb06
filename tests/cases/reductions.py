"""Reductions over axes."""

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

import minigrad as mg

from .builders import AXES, Case, X, distinct, layout, nonzero, of, over_axes, reduction, shapes


def extremum_place(op: Callable, draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1, min_side=1))
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    return Case(lambda x: op(x, axis=axis, keepdims=True), (layout(draw, distinct(rng, shape)),))


CASES: dict[str, Callable] = {
    "sum": reduction(mg.sum, side=0),
    "max": reduction(mg.max, distinct, analytic=False),
    "min": reduction(mg.min, distinct, analytic=False),
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
}

# Public operations made of primitives.
COMPOSITES: dict[str, Callable] = {
    "mean": reduction(mg.mean),
    "var": reduction(mg.var, analytic=True),
    "std": reduction(mg.std, distinct, least=1, side=2),
}

# Calls whose values are compared with those of the function of the same name in NumPy.
NUMPY_CALLS: dict[str, list] = {
    **{name: [of(X, **axis) for axis in AXES] for name in ("sum", "mean", "max", "min")},
    **{name: [of(X, **axis, ddof=n) for axis in AXES for n in (0, 1)] for name in ("var", "std")},
    **{name: [of(X), of(X, axis=1), of(X, axis=-1)] for name in ("argmax", "argmin")},
    **{name: [of(X > 0, **axis) for axis in AXES] for name in ("any", "all")},
}

# Checked to third order, too.
THIRD = {"softmax", "log_softmax", "logsumexp"}
