"""Sorting and the permutations that do it."""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import minigrad as mg

from .builders import Case, X, Y, distinct, layout, like, of, shapes, times


def along(op: Callable) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        shape = draw(shapes(min_dims=1))
        axis = draw(st.integers(-len(shape), len(shape) - 1))
        return Case(lambda x: op(x, axis), (layout(draw, distinct(rng, shape)),))

    return case


def flattened(op: Callable) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        if draw(st.booleans()):
            return along(op)(draw, rng)
        return Case(lambda x: op(x, None), (layout(draw, distinct(rng, draw(shapes()))),))

    return case


def partitioned(op: Callable) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        shape = draw(shapes(min_dims=1, min_side=1))
        axis = draw(st.integers(-len(shape), len(shape) - 1))
        kth: Any = st.integers(-shape[axis], shape[axis] - 1)
        kth = draw(kth | st.lists(kth, min_size=1, max_size=2).map(tuple))
        return Case(lambda x: op(x, kth, axis), (layout(draw, distinct(rng, shape)),))

    return case


def lexsort_place(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    coarse = rng.integers(0, 2, shape).astype(float)  # with ties, which the first key decides
    return Case(lambda x: mg.lexsort((x, like(x, coarse)), axis), (layout(draw, distinct(rng, shape)),))


CASES: dict[str, Callable] = {}

# Zero derivative wherever there is one: the functions themselves.
CONSTANTS: dict[str, Callable] = {
    "argsort": along(mg.argsort),
    "argpartition": partitioned(mg.argpartition),
}

# Public operations made of primitives.
COMPOSITES: dict[str, Callable] = {
    "sort": flattened(mg.sort),
    "partition": partitioned(mg.partition),
    "lexsort": times(lexsort_place),
}

# Calls whose values are compared with those of the function of the same name in NumPy. A partition of three
# elements at the second leaves nothing to chance.
NUMPY_CALLS: dict[str, list] = {
    "sort": [of(X), of(X, 0), of(X, axis=None), of(X, -2, kind="stable"), of(X, 1, stable=True)],
    "argsort": [of(X), of(X, 0), of(X, axis=None, kind="stable"), of(np.round(X), 1, stable=True)],
    "partition": [of(X, 1, 1), of(X, (1, 2), axis=-1), of(X, 0, 0)],
    "argpartition": [of(X, 1, 1), of(X, (1, 2), axis=-1), of(X, 0, 0)],
    "lexsort": [of((X, np.round(Y))), of((X[0], np.round(Y[0])), 0), of(np.round(X)), of((X,), axis=1)],
}
