"""Elementwise arithmetic, functions, kinks and comparisons."""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import minigrad as mg
from minigrad.core import dtype_of, result_dtype

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
    like,
    nonzero,
    normal,
    of,
    positive,
    shapes,
    times,
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
        return Case(lambda x: mg.where(like(x, mask), x, 0.5), (layout(draw, normal(rng, a)),), True)
    return Case(
        lambda x, y: mg.where(like(x, mask), x, y), tuple(layout(draw, normal(rng, s)) for s in (a, b)), True
    )


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


def float_power_case(draw: Callable, rng: np.random.Generator) -> Case:
    # In double precision, and back: as every other case it is to keep the dtype of its arguments.
    def f(x: Any, y: Any) -> Any:
        return mg.astype(mg.float_power(x, y), result_dtype((x, y)))

    return binary(f, positive, normal, False)(draw, rng)


def heaviside_case(draw: Callable, rng: np.random.Generator) -> Case:
    a, b = broadcastable(draw, 2)
    signs = rng.integers(-1, 2, a)
    return Case(
        lambda y: mg.heaviside(mg.astype(like(y, signs), dtype_of(y)), y), (layout(draw, normal(rng, b)),)
    )


def ldexp_case(draw: Callable, rng: np.random.Generator) -> Case:
    a, b = broadcastable(draw, 2)
    n = rng.integers(-2, 3, b)
    return Case(lambda x: mg.ldexp(x, like(x, n)), (layout(draw, normal(rng, a)),))


def select_case(draw: Callable, rng: np.random.Generator) -> Case:
    a, b, c = broadcastable(draw, 3)
    masks = tuple(rng.random((2, *a)) < 0.4)
    args = [layout(draw, normal(rng, s)) for s in (a, b, c)]
    return Case(lambda x, y, z: mg.select(like(x, masks), [x, y], z), tuple(args), True)


def off_powers(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    """Not at powers of two, where the exponent changes."""
    return rng.uniform(0.55, 0.95, shape) * rng.choice([-4.0, -1.0, 0.5, 2.0], shape)


def dividends(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    """No multiples of `divisors`."""
    return rng.integers(-3, 3, shape) + 0.3


def divisors(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    return rng.choice([0.5, -1.0, 2.0], shape)


def beyond_one(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    return rng.uniform(1.3, 3, shape)


def astype_case(draw: Callable, rng: np.random.Generator) -> Case:
    # The type in between is wider than those of the argument, so that nothing is lost.
    x = layout(draw, normal(rng, draw(shapes())))
    return Case(lambda x: mg.astype(mg.sin(mg.astype(x, np.complex128)), dtype_of(x)), (x,))


FUNCTIONS_OF_ONE = (
    "abs arcsinh arctan cbrt ceil cos cosh exp exp2 expm1 fabs fix floor frexp isfinite "
    "isinf isnan isneginf isposinf logical_not modf nan_to_num negative reciprocal rint round "
    "sign signbit sin sinh square tan tanh trunc"
)
FUNCTIONS_OF_TWO = (
    "add allclose arctan2 copysign equal fmax fmin greater greater_equal heaviside hypot isclose less "
    "less_equal logaddexp logaddexp2 logical_and logical_or logical_xor maximum minimum multiply not_equal "
    "subtract"
)
REMAINDERS = "divmod floor_divide fmod mod remainder"
ODD = np.array([np.nan, np.inf, -np.inf, -0.0, 1.5])


CASES: dict[str, Callable] = {
    "add": binary(mg.add),
    "subtract": binary(mg.subtract),
    "multiply": binary(mg.multiply),
    "divide": binary(mg.divide, normal, nonzero),
    "negative": unary(mg.negative),
    "power": power_case,
    "square": unary(mg.square),
    "sqrt": unary(mg.sqrt, positive),
    "cbrt": unary(mg.cbrt, nonzero, analytic=False),
    "ldexp": ldexp_case,
    "remainder": binary(mg.remainder, dividends, divisors, analytic=False),
    "fmod": binary(mg.fmod, dividends, divisors, analytic=False),
    "reciprocal": unary(mg.reciprocal, nonzero),
    "exp": unary(mg.exp),
    "exp2": unary(mg.exp2),
    "expm1": unary(mg.expm1),
    "log": unary(mg.log, positive),
    "log2": unary(mg.log2, positive),
    "log10": unary(mg.log10, positive),
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
    "arcsinh": unary(mg.arcsinh),
    "arccosh": unary(mg.arccosh, beyond_one),
    "arctanh": unary(mg.arctanh, inside),
    "sigmoid": unary(mg.sigmoid, analytic=False),
    "logaddexp": binary(mg.logaddexp, analytic=False),
    "logaddexp2": binary(mg.logaddexp2, analytic=False),
    "softplus": unary(mg.softplus, analytic=False),
    "relu": unary(mg.relu, nonzero, analytic=False),
    "relu_mask": relu_mask_case,
    "absolute": unary(mg.abs, nonzero, analytic=False),
    "fabs": unary(mg.fabs, nonzero, analytic=False),
    "copysign": binary(mg.copysign, nonzero, nonzero, analytic=False),
    "hypot": binary(mg.hypot, nonzero, nonzero, analytic=False),
    "heaviside": heaviside_case,
    "maximum": apart(mg.maximum),
    "minimum": apart(mg.minimum),
    "fmax": apart(mg.fmax),
    "fmin": apart(mg.fmin),
    "wins": wins_case,
    "clip": clip_case,
    "where": where_case,
    "astype": astype_case,
}

# Zero derivative wherever there is one: the functions themselves.
CONSTANTS: dict[str, Callable] = {
    "sign": unary(mg.sign, nonzero),
    "signbit": unary(mg.signbit, nonzero),
    "floor": unary(mg.floor, fractional),
    "ceil": unary(mg.ceil, fractional),
    "round": unary(mg.round, fractional),
    "rint": unary(mg.rint, fractional),
    "trunc": unary(mg.trunc, fractional),
    "floor_divide": binary(mg.floor_divide, dividends, divisors, analytic=False),
    "exponent": unary(lambda x: mg.frexp(x)[1], off_powers),
    "isclose": apart(mg.isclose),
    "allclose": apart(mg.allclose),
    "equal": apart(mg.equal),
    "not_equal": apart(mg.not_equal),
    "less": apart(mg.less),
    "less_equal": apart(mg.less_equal),
    "greater": apart(mg.greater),
    "greater_equal": apart(mg.greater_equal),
    "logical_not": unary(mg.logical_not, nonzero),
    "logical_and": binary(mg.logical_and, nonzero, nonzero, analytic=False),
    "logical_or": binary(mg.logical_or, nonzero, nonzero, analytic=False),
    "logical_xor": binary(mg.logical_xor, nonzero, nonzero, analytic=False),
    "isnan": unary(mg.isnan),
    "isinf": unary(mg.isinf),
    "isfinite": unary(mg.isfinite),
    "isposinf": unary(mg.isposinf),
    "isneginf": unary(mg.isneginf),
    "stop_gradient": unary(mg.stop_gradient, nonzero),
}

# Public operations made of primitives.
COMPOSITES: dict[str, Callable] = {
    "silu": unary(mg.silu, analytic=False),
    "gelu": unary(mg.gelu, analytic=False),
    "deg2rad": unary(mg.deg2rad),
    "radians": unary(mg.radians),
    "rad2deg": unary(lambda x: mg.rad2deg(0.02 * x)),
    "degrees": unary(lambda x: mg.degrees(0.02 * x)),
    "float_power": float_power_case,
    "mod": binary(mg.mod, dividends, divisors, analytic=False),
    "divmod": binary(mg.divmod, dividends, divisors, analytic=False),
    "modf": unary(mg.modf, fractional, analytic=False),
    "frexp": unary(lambda x: mg.frexp(x)[0], off_powers, analytic=False),
    "fix": times(unary(mg.fix, fractional)),
    "nan_to_num": unary(mg.nan_to_num, analytic=False),
    "select": select_case,
}

# Calls whose values are compared with those of the function of the same name in NumPy.
NUMPY_CALLS: dict[str, list] = {
    **{name: [of(X), of(X[0, 1, 2]), of(X.astype(np.float32))] for name in FUNCTIONS_OF_ONE.split()},
    **{name: [of(X, Y), of(X, 0.5), of(0.5, X)] for name in FUNCTIONS_OF_TWO.split()},
    **{name: [of(POSITIVE), of(POSITIVE.astype(np.float32))] for name in "log log2 log10 log1p sqrt".split()},
    **{name: [of(INSIDE)] for name in ("arcsin", "arccos", "arctanh")},
    **{name: [of(X, POSITIVE), of(X, -0.5), of(7.5, POSITIVE)] for name in REMAINDERS.split()},
    **{name: [of(X), of(X[0, 1, 2])] for name in ("deg2rad", "rad2deg", "radians", "degrees")},
    "arccosh": [of(1 + POSITIVE)],
    "float_power": [of(POSITIVE, Y), of(POSITIVE.astype(np.float32), 2), of(3, -2)],
    "ldexp": [of(X, 3), of(X, np.array([0, 1, -2, 5]))],
    "nan_to_num": [of(X), of(ODD), of(ODD.astype(np.float32)), of(ODD, nan=1.0, posinf=2.0, neginf=-3.0)],
    "select": [of([X > 0, Y > 0], [X, Y]), of([X > 1, Y > 0], [X, 2 * Y], 0.5)],
    "divide": [of(X, POSITIVE), of(X, 0.5), of(0.5, X)],
    "power": [of(POSITIVE, Y), of(X, 2), of(2.0, X)],
    "round": [of(10 * X), of(X, 1)],
    "clip": [of(X, -0.5, 0.5), of(X, None, 0.5), of(X, Y - 1, Y + 1)],
    "where": [of(X > 0, X, Y), of(X > 0, X, 0.0)],
}

ONE_DTYPE = {"relu_mask", "wins"}

# Checked to third order, too.
THIRD = {
    "relu",
    "sigmoid",
    "divide",
    "power",
    "logaddexp",
    "logaddexp2",
    "hypot",
    "remainder",
    "arccosh",
    "cbrt",
}
