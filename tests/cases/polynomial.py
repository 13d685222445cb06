"""Convolution of vectors, polynomials and interpolation."""

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

import minigrad as mg

from .builders import Case, X, Y, layout, normal, of, shapes
from .cumulative import LINE, coordinates


def convolution(op: Callable, analytic: bool = True) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        args = [layout(draw, normal(rng, (draw(st.integers(1, 5)),))) for _ in range(2)]
        mode = draw(st.sampled_from(["full", "same", "valid"]))
        return Case(lambda a, v: op(a, v, mode), tuple(args), analytic)

    return case


def polyval_case(draw: Callable, rng: np.random.Generator) -> Case:
    p = layout(draw, normal(rng, (draw(st.integers(1, 4)),)))
    return Case(mg.polyval, (p, layout(draw, normal(rng, draw(shapes())))), True)


def vander_case(draw: Callable, rng: np.random.Generator) -> Case:
    n, increasing = draw(st.none() | st.integers(0, 4)), draw(st.booleans())
    x = rng.uniform(0.3, 1.4, draw(st.integers(0, 4))) * rng.choice([-1, 0, 1])  # a row of zeros, too
    return Case(lambda x: mg.vander(x, n, increasing), (layout(draw, x),))


def interp_case(draw: Callable, rng: np.random.Generator) -> Case:
    n = draw(st.integers(1, 5))
    xp, fp = coordinates(rng, n), normal(rng, (n,))
    ends = [xp[0] - 1, *xp, xp[-1] + 1]
    gap = rng.integers(0, n + 1, draw(shapes(max_dims=2)))
    x = np.take(ends, gap) + np.take(np.diff(ends), gap) * rng.uniform(0.1, 0.9, gap.shape)
    args = layout(draw, x), layout(draw, xp), layout(draw, fp)
    kind = draw(st.sampled_from(["plain", "left", "right", "period"]))
    if kind == "plain":
        return Case(mg.interp, args)
    if kind != "period":
        return Case(lambda x, xp, fp, end: mg.interp(x, xp, fp, **{kind: end}), (*args, np.array(0.7)))
    period, turn = float(xp[-1] - xp[0] + 2), rng.permutation(n)  # the seam is one unit beyond the ends
    x = x + period * rng.integers(-1, 2, x.shape)
    return Case(lambda x, xp, fp: mg.interp(x, xp, fp, period=period), (np.array(x), xp[turn], fp[turn]))


CASES: dict[str, Callable] = {"convolve": convolution(mg.convolve)}

# Zero derivative wherever there is one: the functions themselves.
CONSTANTS: dict[str, Callable] = {}

# Public operations made of primitives.
COMPOSITES: dict[str, Callable] = {
    "correlate": convolution(mg.correlate, analytic=False),
    "polyval": polyval_case,
    "vander": vander_case,
    "interp": interp_case,
}

A, V, W = X[0, 0], Y[1, 1, :3], Y[0, 1, :2]
VECTORS = [(A, V), (V, A), (A, W), (W, A), (A, Y[1, 2]), (V, V[:1])]
CONVOLUTIONS = [of(a, v, mode) for a, v in VECTORS for mode in ("full", "same", "valid")]

# Calls whose values are compared with those of the function of the same name in NumPy.
NUMPY_CALLS: dict[str, list] = {
    "convolve": [*CONVOLUTIONS, of(A, V)],
    "correlate": [*CONVOLUTIONS, of(A, V)],
    "interp": [
        of(2 * X, LINE, A),
        of(LINE, LINE, A),
        of(2 * X, LINE, A, left=-1.0, right=np.float64(2)),
        of(9 * X, LINE[::-1], A, period=2.5),
        of(X, LINE[:1], A[:1]),
        of(0.6, LINE, A),
    ],
    "polyval": [of(A, X), of([1.0, 2.0], X), of(A, 2.0)],
    "vander": [of(A), of(A, 3), of(A, increasing=True), of(A, 0)],
}

# Checked to third order, too.
THIRD = {"convolve", "interp"}
