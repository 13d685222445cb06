"""Elementwise arithmetic, functions, kinks and comparisons."""

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

import minigrad as mg

from .builders import (
    INSIDE,
    POSITIVE,
    Case,
    X,
    Y,
    apart,
    binary,
    broadcastable,
    distinct,
    fractional,
    inside,
    layout,
    nonzero,
    normal,
    of,
    positive,
    shapes,
    unary,
)


def power_case(draw: Callable, rng: np.random.Generator) -> Case:
    kind = draw(st.sampled_from(["number", "array", "base"]))
    if kind == "number":
        y = draw(st.sampled_from([2, 3, -1, 1, 0, 2.0, 0.5, -1.5, 0.0]))
        values = positive if isinstance(y, float) else nonzero
        return Case(lambda x: mg.power(x, y), (layout(draw, values(rng, draw(shapes()))),), True)
    if kind == "base":
        return Case(lambda y: mg.power(1.5, y), (layout(draw, normal(rng, draw(shapes()))),), True)
    return binary(mg.power, positive, normal)(draw, rng)


def where_case(draw: Callable, rng: np.random.Generator) -> Case:
    c, a, b = broadcastable(draw, 3)
    mask = rng.random(c) < 0.5
    if draw(st.booleans()):
        return Case(lambda x: mg.where(mask, x, 0.5), (layout(draw, normal(rng, a)),), True)
    return Case(lambda x, y: mg.where(mask, x, y), tuple(layout(draw, normal(rng, s)) for s in (a, b)), True)


def clip_case(draw: Callable, rng: np.random.Generator) -> Case:
    a, b, c = broadcastable(draw, 3)
    x = layout(draw, rng.choice([-1, 1], a) * (rng.choice([0.2, 1.5], a) + rng.uniform(0, 0.2, a)))
    kind = draw(st.sampled_from(["arrays", "numbers", "below", "above"]))
    if kind == "arrays":
        lo, hi = layout(draw, rng.uniform(-1, -0.6, b)), layout(draw, rng.uniform(0.6, 1, c))
        return Case(lambda x, lo, hi: mg.clip(x, lo, hi), (x, lo, hi))
    limits = {"numbers": (-1.0, 0.7), "below": (-1.0, None), "above": (None, 0.7)}[kind]
    return Case(lambda x: mg.clip(x, *limits), (x,))


def relu_mask_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes())
    args = layout(draw, nonzero(rng, shape)), layout(draw, normal(rng, shape))
    return Case(lambda x, t: mg.jvp(mg.relu, (x,), (t,))[1], args)


def wins_case(draw: Callable, rng: np.random.Generator) -> Case:
    op, shape = draw(st.sampled_from([mg.maximum, mg.minimum])), draw(shapes())
    args = [layout(draw, a) for a in (*distinct(rng, shape, shape), normal(rng, shape), normal(rng, shape))]
    return Case(lambda x, y, t, u: mg.jvp(op, (x, y), (t, u))[1], tuple(args))


def astype_case(draw: Callable, rng: np.random.Generator) -> Case:
    # The type in between is wider than all others, so that nothing is lost.
    x = layout(draw, normal(rng, draw(shapes())))
    return Case(lambda x: mg.sin(x.astype(np.longdouble)).astype(x.dtype), (x,))


FUNCTIONS_OF_ONE = (
    "abs arctan ceil cos cosh exp expm1 floor isfinite isinf isnan logical_not negative reciprocal "
    "round sign sin sinh square tan tanh"
)
FUNCTIONS_OF_TWO = (
    "add arctan2 equal greater greater_equal less less_equal logical_and logical_or maximum minimum "
    "multiply not_equal subtract"
)


CASES: dict[str, Callable] = {
    "add": binary(mg.add),
    "subtract": binary(mg.subtract),
    "multiply": binary(mg.multiply),
    "divide": binary(mg.divide, normal, nonzero),
    "negative": unary(mg.negative),
    "power": power_case,
    "square": unary(mg.square),
    "sqrt": unary(mg.sqrt, positive),
    "reciprocal": unary(mg.reciprocal, nonzero),
    "exp": unary(mg.exp),
    "expm1": unary(mg.expm1),
    "log": unary(mg.log, positive),
    "log1p": unary(mg.log1p, inside),
    "sin": unary(mg.sin),
    "cos": unary(mg.cos),
    "tan": unary(mg.tan, inside),
    "arcsin": unary(mg.arcsin, inside),
    "arccos": unary(mg.arccos, inside),
    "arctan": unary(mg.arctan),
    "arctan2": binary(mg.arctan2, nonzero, nonzero, analytic=False),
    "sinh": unary(mg.sinh),
    "cosh": unary(mg.cosh),
    "tanh": unary(mg.tanh),
    "erf": unary(mg.erf, analytic=False),
    "sigmoid": unary(mg.sigmoid, analytic=False),
    "softplus": unary(mg.softplus, analytic=False),
    "relu": unary(mg.relu, nonzero, analytic=False),
    "relu_mask": relu_mask_case,
    "absolute": unary(mg.abs, nonzero, analytic=False),
    "maximum": apart(mg.maximum),
    "minimum": apart(mg.minimum),
    "wins": wins_case,
    "clip": clip_case,
    "where": where_case,
    "astype": astype_case,
}

# Zero derivative wherever there is one: the functions themselves.
CONSTANTS: dict[str, Callable] = {
    "sign": unary(mg.sign, nonzero),
    "floor": unary(mg.floor, fractional),
    "ceil": unary(mg.ceil, fractional),
    "round": unary(mg.round, fractional),
    "equal": apart(mg.equal),
    "not_equal": apart(mg.not_equal),
    "less": apart(mg.less),
    "less_equal": apart(mg.less_equal),
    "greater": apart(mg.greater),
    "greater_equal": apart(mg.greater_equal),
    "logical_not": unary(mg.logical_not, nonzero),
    "logical_and": binary(mg.logical_and, nonzero, nonzero, analytic=False),
    "logical_or": binary(mg.logical_or, nonzero, nonzero, analytic=False),
    "isnan": unary(mg.isnan),
    "isinf": unary(mg.isinf),
    "isfinite": unary(mg.isfinite),
    "stop_gradient": unary(mg.stop_gradient, nonzero),
}

# Public operations made of primitives.
COMPOSITES: dict[str, Callable] = {
    "silu": unary(mg.silu, analytic=False),
    "gelu": unary(mg.gelu, analytic=False),
}

# Calls whose values are compared with those of the function of the same name in NumPy.
NUMPY_CALLS: dict[str, list] = {
    **{name: [of(X), of(X[0, 1, 2]), of(X.astype(np.float32))] for name in FUNCTIONS_OF_ONE.split()},
    **{name: [of(X, Y), of(X, 0.5), of(0.5, X)] for name in FUNCTIONS_OF_TWO.split()},
    **{name: [of(POSITIVE), of(POSITIVE.astype(np.float32))] for name in ("log", "sqrt", "log1p")},
    **{name: [of(INSIDE)] for name in ("arcsin", "arccos")},
    "divide": [of(X, POSITIVE), of(X, 0.5), of(0.5, X)],
    "power": [of(POSITIVE, Y), of(X, 2), of(2.0, X)],
    "round": [of(10 * X), of(X, 1)],
    "clip": [of(X, -0.5, 0.5), of(X, None, 0.5), of(X, Y - 1, Y + 1)],
    "where": [of(X > 0, X, Y), of(X > 0, X, 0.0)],
}

ONE_DTYPE = {"relu_mask", "wins"}

# Checked to third order, too.
THIRD = {"relu", "sigmoid", "divide", "power", "erf"}
