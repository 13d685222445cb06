"""Running sums, products and extrema; differences and integrals along an axis."""

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

import minigrad as mg
from minigrad.core import PRIMITIVES
from minigrad.ops.cumulative import recurrence

from .builders import AXES, Case, X, distinct, layout, normal, of, positive, shapes
from .reductions import HOLED, INITIAL, WHERE, masked, with_nan, with_zeros


def running(op: Callable, values: Callable, analytic: bool = True) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        shape = draw(shapes())
        axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1)) if shape else None
        return Case(lambda x: op(x, axis), (layout(draw, values(rng, shape)),), analytic)

    return case


def from_empty(op: Callable, values: Callable) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        shape = draw(shapes())
        axis = draw(st.integers(-len(shape), len(shape) - 1)) if len(shape) > 1 else None
        how = {"axis": axis, "include_initial": draw(st.booleans())}
        return Case(lambda x: op(x, **how), (layout(draw, values(rng, shape)),), True)

    return case


def recurrence_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1))
    axis, reverse = draw(st.integers(0, len(shape) - 1)), draw(st.booleans())
    links = (*shape[:axis], max(shape[axis] - 1, 0), *shape[axis + 1 :])
    args = layout(draw, with_zeros(rng, links)), layout(draw, normal(rng, shape))
    return Case(lambda a, b: recurrence(a, b, axis=axis, reverse=reverse), args, True)


def running_argmax(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1))
    axis = draw(st.integers(0, len(shape) - 1))
    place = PRIMITIVES["running_argmax"]
    return Case(lambda x: place(x, axis=axis), (layout(draw, distinct(rng, shape)),))


def diff_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1))
    axis, n = draw(st.integers(-len(shape), len(shape) - 1)), draw(st.integers(0, 3))
    x = layout(draw, normal(rng, shape))
    if draw(st.booleans()) or n == 0:  # what is joined on for no differences is not there
        return Case(lambda x: mg.diff(x, n, axis), (x,), True)
    ends = [normal(rng, draw(st.sampled_from([(), x.take([], axis).shape, shape]))) for _ in range(2)]
    return Case(lambda x, a, b: mg.diff(x, n, axis, prepend=a, append=b), (x, *map(np.array, ends)), True)


def ediff1d_case(draw: Callable, rng: np.random.Generator) -> Case:
    x = layout(draw, normal(rng, draw(shapes())))
    if draw(st.booleans()):
        return Case(mg.ediff1d, (x,), True)
    ends = np.array(normal(rng, ())), normal(rng, (2,))
    return Case(lambda x, a, b: mg.ediff1d(x, to_end=a, to_begin=b), (x, *ends), True)


def coordinates(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.cumsum(positive(rng, (n,))) + 0.5


def gradient_case(draw: Callable, rng: np.random.Generator) -> Case:
    order = draw(st.integers(1, 2))
    shape = draw(shapes(min_dims=1, max_dims=2, min_side=order + 1))
    some = st.integers(-len(shape), len(shape) - 1)
    axis = draw(st.none() | some | st.sampled_from([tuple(range(len(shape)))]))
    of_axis = [shape[axis]] if isinstance(axis, int) else shape
    kind = draw(st.sampled_from(["one", "number", "coordinates", "both"]))
    h: list = []
    if kind == "number":
        h = [np.array(positive(rng, ()))]
    elif kind != "one":
        h = [coordinates(rng, n) for n in of_axis]
        if kind == "both":
            h[0] = np.array(0.7)
    f = layout(draw, normal(rng, shape))
    return Case(lambda f, *h: mg.gradient(f, *h, axis=axis, edge_order=order), (f, *h), True)


def trapezoid_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    y, kind = layout(draw, normal(rng, shape)), draw(st.sampled_from(["one", "dx", "vector", "array"]))
    if kind == "one":
        return Case(lambda y: mg.trapezoid(y, axis=axis), (y,), True)
    if kind == "dx":
        return Case(lambda y, dx: mg.trapezoid(y, dx=dx, axis=axis), (y, np.array(0.7)), True)
    x = coordinates(rng, shape[axis]) if kind == "vector" else normal(rng, shape)
    return Case(lambda y, x: mg.trapezoid(y, x, axis=axis), (y, x), True)


def unwrap_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1))
    axis, period = draw(st.integers(-len(shape), len(shape) - 1)), np.array(1.5)
    steps = rng.uniform(-0.4, 0.4, shape) + rng.integers(-2, 3, shape)  # no step is half a period
    p = layout(draw, np.cumsum(1.5 * steps, axis))
    return Case(lambda p, period: mg.unwrap(p, axis=axis, period=period), (p, period))


CASES: dict[str, Callable] = {
    "cumsum": running(mg.cumsum, normal),
    "prod": masked(mg.prod, with_zeros),
    "cumprod": running(mg.cumprod, with_zeros),
    "recurrence": recurrence_case,
}

# Zero derivative wherever there is one: the functions themselves.
CONSTANTS: dict[str, Callable] = {"running_argmax": running_argmax}

# Public operations made of primitives.
COMPOSITES: dict[str, Callable] = {
    "nancumsum": running(mg.nancumsum, with_nan(normal), analytic=False),
    "nancumprod": running(mg.nancumprod, with_nan(with_zeros), analytic=False),
    "nanprod": masked(mg.nanprod, with_nan(with_zeros), analytic=False),
    "cumulative_sum": from_empty(mg.cumulative_sum, normal),
    "cumulative_prod": from_empty(mg.cumulative_prod, with_zeros),
    "cummax": running(mg.cummax, distinct, analytic=False),
    "cummin": running(mg.cummin, distinct, analytic=False),
    "diff": diff_case,
    "ediff1d": ediff1d_case,
    "gradient": gradient_case,
    "trapezoid": trapezoid_case,
    "unwrap": unwrap_case,
}

LINE = np.array([0.5, 0.7, 1.2, 2.0])
RUNNING: list[dict] = [{}, {"axis": 1}, {"axis": -1}, {"axis": 0, "dtype": np.float32}]
FROM_EMPTY = [
    of(X, axis=1),
    of(X, axis=-1, include_initial=True),
    of(LINE, include_initial=True),
    of(LINE, dtype=np.float32),
]

# Calls whose values are compared with those of the function of the same name in NumPy.
NUMPY_CALLS: dict[str, list] = {
    **{name: [of(X, **how) for how in RUNNING] for name in ("cumsum", "cumprod")},
    **{name: [of(HOLED, **how) for how in RUNNING] for name in ("nancumsum", "nancumprod")},
    **{name: FROM_EMPTY for name in ("cumulative_sum", "cumulative_prod")},
    "prod": [of(X, **how) for how in AXES + WHERE + INITIAL] + [of(X, 1, np.float32)],
    "nanprod": [of(HOLED, **how) for how in AXES + WHERE + INITIAL],
    "diff": [of(X), of(X, 2, 1), of(X, 0), of(X, 5), of(X, prepend=1.0), of(X, axis=0, append=X[:1])],
    "ediff1d": [of(X), of(X, 1.0), of(X, to_begin=LINE, to_end=LINE)],
    "gradient": [
        of(X),
        of(X, 0.3, axis=1),
        of(X, 0.5, 2.0, axis=(0, -1)),
        of(X, LINE, axis=2),
        of(X, LINE, axis=2, edge_order=2),
        of(LINE, edge_order=2),
        of(X[0], 0.25, LINE, edge_order=2),
    ],
    "trapezoid": [of(X), of(X, dx=0.3), of(X, LINE), of(X, axis=1), of(X, np.cumsum(X, 1), axis=1)],
    "unwrap": [
        of(9 * X),
        of(9 * X, axis=0),
        of(9 * X, 4.0),
        of(9 * X, period=3.0),
        of(np.arange(5.0) * 3, period=6.0),
    ],
}

# Checked to third order, too.
THIRD = {"prod", "cumprod", "recurrence", "nanprod", "gradient"}

# The slopes along each axis have the dtype of that axis and of the samples.
ONE_DTYPE = {"gradient"}
