"""Elementwise arithmetic and functions: a column of values beside a column of derivatives.

All broadcast like NumPy and keep float32 as float32. Conventions at kinks: relu'(0) = 0, abs'(0) = 0,
maximum and minimum split ties evenly, clip passes the derivative on the closed interval.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..backend import kernels_of
from ..core import Primitive, result_dtype, shape_of
from ..rules import (
    add,
    broadcast_shape,
    defjoint,
    deflinear,
    defpartial,
    defwhole,
    defzero,
    elementwise_flops,
    fit,
    multiply,
)

__all__ = [
    "abs",
    "add",
    "arccos",
    "arcsin",
    "arctan",
    "arctan2",
    "clip",
    "cos",
    "cosh",
    "divide",
    "erf",
    "exp",
    "expm1",
    "gelu",
    "log",
    "log1p",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "power",
    "reciprocal",
    "relu",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "sinh",
    "softplus",
    "sqrt",
    "square",
    "subtract",
    "tan",
    "tanh",
    "where",
    "ceil",
    "floor",
    "round",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "logical_not",
    "logical_and",
    "logical_or",
    "isnan",
    "isinf",
    "isfinite",
]


def elementwise(name: str, doc: str, impl: Callable, *partials: Callable, flops: float = 1) -> Primitive:
    """A primitive with `partial(ans, *args)` for each argument: the derivative, element by element."""
    prim = Primitive(name, impl, doc=doc)
    defpartial(prim, *partials)
    prim.flops = elementwise_flops(flops)
    return prim


# ----- Arithmetic (add and multiply stand in rules.py: the engine computes with them) -----

negative = Primitive("negative", lambda xp, x: xp.negative(x), doc="-x")
deflinear(negative, broadcast_shape, lambda ct, x: negative(ct))

divide = Primitive("divide", lambda xp, x, y: xp.true_divide(x, y), doc="x / y")
deflinear(
    divide,
    broadcast_shape,
    lambda ct, x, y: divide(ct, y),
    jvps=[None, lambda t, ans, x, y: divide(negative(multiply(t, ans)), y)],
)


def _subtract_jvp(primals: Any, tangents: Any, params: dict) -> tuple[Any, Any]:
    ans = subtract(*primals)
    a, b = tangents
    if a is None or b is None:
        return ans, fit(negative(b) if a is None else a, ans)
    return ans, fit(subtract(a, b), ans)


subtract = Primitive("subtract", lambda xp, x, y: xp.subtract(x, y), doc="x - y")
defjoint(
    subtract,
    lambda args, params: broadcast_shape(*args),
    lambda ct, args, params, linear: [negative(ct) if i else ct for i in linear],
    (0, 1),
    _subtract_jvp,
)

for _prim in (negative, divide, subtract):
    _prim.flops = elementwise_flops(1)


def _power_in_base(ans: Any, x: Any, y: Any) -> Any:
    # y x^(y-1), but 0 where y is 0: 0 * 0^-1 would be NaN.
    if isinstance(y, (int, float)):
        return y * x if y == 2 else 0.0 * x if y == 0 else y * power(x, y - 1)
    return y * power(x, where(equal(y, 0), 1.0, y - 1))


def _power_in_exponent(ans: Any, x: Any, y: Any) -> Any:
    # 0^y is 0 for every y > 0, so its derivative in y is 0 there and not 0 * log 0.
    return ans * log(where(equal(x, 0), 1.0, x))


power = elementwise(
    "power", "x ** y", lambda xp, x, y: xp.power(x, y), _power_in_base, _power_in_exponent, flops=10
)
square = elementwise("square", "x²", lambda xp, x: xp.square(x), lambda ans, x: 2 * x)
sqrt = elementwise("sqrt", "√x", lambda xp, x: xp.sqrt(x), lambda ans, x: 0.5 / ans)
reciprocal = elementwise("reciprocal", "1 / x", lambda xp, x: 1 / x, lambda ans, x: -ans * ans)

# ----- Exponentials and trigonometry (10 FLOPs an element, as they are usually counted) -----

exp = elementwise("exp", "eˣ", lambda xp, x: xp.exp(x), lambda ans, x: ans, flops=10)
expm1 = elementwise("expm1", "eˣ - 1", lambda xp, x: xp.expm1(x), lambda ans, x: ans + 1, flops=10)
log = elementwise("log", "natural logarithm", lambda xp, x: xp.log(x), lambda ans, x: 1 / x, flops=10)
log1p = elementwise("log1p", "log(1 + x)", lambda xp, x: xp.log1p(x), lambda ans, x: 1 / (1 + x), flops=10)
sin = elementwise("sin", "sine", lambda xp, x: xp.sin(x), lambda ans, x: cos(x), flops=10)
cos: Primitive = elementwise("cos", "cosine", lambda xp, x: xp.cos(x), lambda ans, x: -sin(x), flops=10)
tan = elementwise("tan", "tangent", lambda xp, x: xp.tan(x), lambda ans, x: 1 + ans * ans, flops=10)
arcsin = elementwise(
    "arcsin", "inverse sine", lambda xp, x: xp.arcsin(x), lambda ans, x: 1 / sqrt(1 - x * x), flops=10
)
arccos = elementwise(
    "arccos", "inverse cosine", lambda xp, x: xp.arccos(x), lambda ans, x: -1 / sqrt(1 - x * x), flops=10
)
arctan = elementwise(
    "arctan", "inverse tangent", lambda xp, x: xp.arctan(x), lambda ans, x: 1 / (1 + x * x), flops=10
)
arctan2 = elementwise(
    "arctan2",
    "angle of (y, x)",
    lambda xp, y, x: xp.arctan2(y, x),
    lambda ans, y, x: x / (x * x + y * y),
    lambda ans, y, x: -y / (x * x + y * y),
    flops=12,
)
sinh = elementwise("sinh", "hyperbolic sine", lambda xp, x: xp.sinh(x), lambda ans, x: cosh(x), flops=10)
cosh: Primitive = elementwise(
    "cosh", "hyperbolic cosine", lambda xp, x: xp.cosh(x), lambda ans, x: sinh(x), flops=10
)
tanh = elementwise(
    "tanh", "hyperbolic tangent", lambda xp, x: xp.tanh(x), lambda ans, x: 1 - ans * ans, flops=10
)
erf = elementwise(
    "erf",
    "error function 2/√π ∫₀ˣ exp(-t²) dt",
    lambda xp, x: _erf(xp, x),
    lambda ans, x: (2 / math.sqrt(math.pi)) * exp(-x * x),
    flops=20,
)

# ----- Activations -----

sigmoid = elementwise(
    "sigmoid", "1 / (1 + e⁻ˣ)", lambda xp, x: _sigmoid(xp, x), lambda ans, x: ans * (1 - ans), flops=13
)
softplus = elementwise(
    "softplus",
    "log(1 + eˣ)",
    lambda xp, x: xp.logaddexp(x, xp.zeros_like(x)),
    lambda ans, x: sigmoid(x),
    flops=20,
)


def _sigmoid(xp: Any, x: Any) -> Any:
    e = xp.exp(-xp.abs(x))  # never overflows, and keeps every digit of the small values for negative x
    return xp.where(xp.greater_equal(x, 0), xp.ones_like(e), e) / (1 + e)


def silu(x: Any) -> Any:
    """x σ(x) (Elfwing et al. 2017), elementwise.

    >>> float(silu(0.0))
    0.0
    """
    return x * sigmoid(x)


def gelu(x: Any) -> Any:
    """x Φ(x) with the exact normal distribution function Φ (Hendrycks and Gimpel 2016), elementwise.

    >>> float(gelu(0.0))
    0.0
    """
    return x * (0.5 * (1 + erf(x * math.sqrt(0.5))))


def _relu_rule(primals: Any, tangents: Any) -> tuple[Any, Any]:
    y = relu(*primals)
    return y, None if tangents[0] is None else _relu_mask(tangents[0], y)


# The mask is read off the output, which the next layer keeps anyway, and is 0 at 0: relu'(0) = 0 (Bertoin et
# al. 2021).
relu = Primitive("relu", lambda xp, x: kernels_of(xp).relu(xp.asarray(x))[()], doc="max(x, 0)")
defwhole(relu, _relu_rule)
relu.flops = elementwise_flops(1)

_relu_mask = Primitive(
    "relu_mask",
    lambda xp, t, y: kernels_of(xp).relu_mask(xp.asarray(t), xp.asarray(y))[()],
    doc="t where y > 0, else 0; its own transpose",
)
deflinear(_relu_mask, lambda t, y: shape_of(t), lambda ct, t, y: _relu_mask(ct, y))
_relu_mask.flops = elementwise_flops(1)

# ----- Kinks -----

abs = elementwise("absolute", "|x|", lambda xp, x: xp.abs(x), lambda ans, x: sign(x))
maximum = elementwise(
    "maximum",
    "larger of x and y",
    lambda xp, x, y: xp.maximum(x, y),
    lambda ans, x, y: _wins(x, y),
    lambda ans, x, y: _wins(y, x),
)
minimum = elementwise(
    "minimum",
    "smaller of x and y",
    lambda xp, x, y: xp.minimum(x, y),
    lambda ans, x, y: _wins(y, x),
    lambda ans, x, y: _wins(x, y),
)

_wins: Primitive = Primitive(
    "wins",
    lambda xp, x, y: (xp.greater(x, y) + 0.5 * xp.equal(x, y)).astype(result_dtype((x, y))),
    doc="1 where x > y, ½ where they are equal, else 0",
)
defzero(_wins)
_wins.flops = elementwise_flops(3)

_clip = Primitive(
    "clip", lambda xp, x, lo, hi: xp.minimum(xp.maximum(x, lo), hi), doc="x limited to [lo, hi]"
)
defpartial(
    _clip,
    lambda ans, x, lo, hi: logical_and(greater_equal(x, lo), less_equal(x, hi)),
    lambda ans, x, lo, hi: less(x, lo),
    lambda ans, x, lo, hi: greater(x, hi),
)
_clip.flops = elementwise_flops(2)


def clip(x: Any, min: Any = None, max: Any = None) -> Any:
    """`x` limited to [min, max]; None is no limit. The derivative is 1 on the closed interval, 0 outside.

    >>> float(clip(3.0, 0.0, 2.0))
    2.0
    """
    return _clip(x, -math.inf if min is None else min, math.inf if max is None else max)


_where = Primitive("where", lambda xp, c, x, y: xp.where(c, x, y), doc="x where c is true, else y")


def _where_jvp(primals: Any, tangents: Any, params: dict) -> tuple[Any, Any]:
    ans = _where(*primals)
    _, a, b = tangents
    if a is None and b is None:
        return ans, None
    return ans, fit(_where(primals[0], 0.0 if a is None else a, 0.0 if b is None else b), ans)


defjoint(
    _where,
    lambda args, params: broadcast_shape(*args),
    lambda ct, args, params, linear: [_where(args[0], *((ct, 0.0) if i == 1 else (0.0, ct))) for i in linear],
    (1, 2),
    _where_jvp,
)
_where.flops = elementwise_flops(1)


def where(condition: Any, x: Any, y: Any) -> Any:
    """Elements of `x` where `condition` holds, else of `y`; the other side gets exactly zero derivative.

    A NaN that is only computed on the side not taken still spoils the derivative (0 · NaN): guard it with
    a second `where` around the argument, where(x > 0, log(where(x > 0, x, 1)), 0).

    >>> float(where(True, 1.0, 2.0))
    1.0
    """
    return _where(condition, x, y)


# ----- Constants almost everywhere -----


def constant(name: str, doc: str, impl: Callable) -> Primitive:
    prim = Primitive(name, impl, doc=doc)
    defzero(prim)
    prim.flops = elementwise_flops(1)
    return prim


sign: Primitive = constant("sign", "-1, 0 or 1", lambda xp, x: xp.sign(x))
floor = constant("floor", "largest integer below", lambda xp, x: xp.floor(x))
ceil = constant("ceil", "smallest integer above", lambda xp, x: xp.ceil(x))
round = constant("round", "nearest integer, or decimal", lambda xp, x, decimals=0: xp.round(x, decimals))
equal = constant("equal", "x == y", lambda xp, x, y: xp.equal(x, y))
not_equal = constant("not_equal", "x != y", lambda xp, x, y: xp.not_equal(x, y))
less: Primitive = constant("less", "x < y", lambda xp, x, y: xp.less(x, y))
less_equal: Primitive = constant("less_equal", "x <= y", lambda xp, x, y: xp.less_equal(x, y))
greater: Primitive = constant("greater", "x > y", lambda xp, x, y: xp.greater(x, y))
greater_equal: Primitive = constant("greater_equal", "x >= y", lambda xp, x, y: xp.greater_equal(x, y))
logical_not = constant("logical_not", "not x", lambda xp, x: xp.logical_not(x))
logical_and: Primitive = constant("logical_and", "x and y", lambda xp, x, y: xp.logical_and(x, y))
logical_or = constant("logical_or", "x or y", lambda xp, x, y: xp.logical_or(x, y))
isnan = constant("isnan", "is x not a number", lambda xp, x: xp.isnan(x))
isinf = constant("isinf", "is x infinite", lambda xp, x: xp.isinf(x))
isfinite = constant("isfinite", "is x neither infinite nor NaN", lambda xp, x: xp.isfinite(x))


# ----- The error function: NumPy has none -----

# Rational Chebyshev approximations of W. J. Cody, Math. Comp. 23 (1969) 631-637, for |x| <= 0.46875 (A, B),
# up to 4 (C, D) and beyond (P, Q); relative error below 1e-16. Highest power first.
_A = (
    1.85777706184603153e-1,
    3.16112374387056560,
    1.13864154151050156e2,
    3.77485237685302021e2,
    3.20937758913846947e3,
)
_B = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)
_C = (
    2.15311535474403846e-8,
    5.64188496988670089e-1,
    8.88314979438837594,
    6.61191906371416295e1,
    2.98635138197400131e2,
    8.81952221241769090e2,
    1.71204761263407058e3,
    2.05107837782607147e3,
    1.23033935479799725e3,
)
_D = (
    1.0,
    1.57449261107098347e1,
    1.17693950891312499e2,
    5.37181101862009858e2,
    1.62138957456669019e3,
    3.29079923573345963e3,
    4.36261909014324716e3,
    3.43936767414372164e3,
    1.23033935480374942e3,
)
_P = (
    1.63153871373020978e-2,
    3.05326634961232344e-1,
    3.60344899949804439e-1,
    1.25781726111229246e-1,
    1.60837851487422766e-2,
    6.58749161529837803e-4,
)
_Q = (
    1.0,
    2.56852019228982242,
    1.87295284992346725,
    5.27905102951428412e-1,
    6.05183413124413191e-2,
    2.33520497626869185e-3,
)


def _erf(xp: Any, x: Any) -> Any:
    x = xp.asarray(x)
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(float)
    # Half precision cannot hold the coefficients: their sums overflow.
    a = xp.minimum(xp.abs(x.astype(np.result_type(dtype, np.float32))), 6)  # erf(6) is 1 in double precision
    s = a * a
    small = a * _ratio(_A, _B, xp.minimum(s, 1))
    middle = 1 - xp.exp(-s) * _ratio(_C, _D, a)
    u = 1 / xp.maximum(s, 1)
    large = 1 - xp.exp(-s) / xp.maximum(a, 1) * (1 / math.sqrt(math.pi) - u * _ratio(_P, _Q, u))
    out = xp.where(a <= 0.46875, small, xp.where(a <= 4, middle, large))
    return xp.copysign(out, x).astype(dtype)[()]


def _ratio(p: tuple[float, ...], q: tuple[float, ...], x: Any) -> Any:
    top, bottom = p[0], q[0]
    for c, d in zip(p[1:], q[1:], strict=True):
        top, bottom = top * x + c, bottom * x + d
    return top / bottom
