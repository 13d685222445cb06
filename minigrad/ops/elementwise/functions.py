"""Arithmetic, powers, exponentials, trigonometry: a column of values beside a column of derivatives.

Conventions at kinks: abs'(0) = 0, with another sign from copysign, too; hypot has derivative 0 at (0, 0);
logaddexp(-∞, -∞) gives each argument half; remainder and fmod have the derivative of the piece that their
value is on.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...core import Primitive, dtype_of, result_dtype
from ...rules import (
    add,
    astype,
    broadcast_shape,
    broadcasts,
    defjoint,
    defjvp,
    deflinear,
    defpartial,
    elementwise_flops,
    fit,
    multiply,
)
from .choices import where
from .constants import constant, equal, floor_divide, isinf, logical_and, rint, sign, trunc

__all__ = [
    "abs",
    "add",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "cbrt",
    "copysign",
    "cos",
    "cosh",
    "deg2rad",
    "degrees",
    "divide",
    "divmod",
    "exp",
    "exp2",
    "expm1",
    "fabs",
    "float_power",
    "fmod",
    "frexp",
    "heaviside",
    "hypot",
    "ldexp",
    "log",
    "log10",
    "log1p",
    "log2",
    "logaddexp",
    "logaddexp2",
    "mod",
    "modf",
    "multiply",
    "negative",
    "power",
    "rad2deg",
    "radians",
    "reciprocal",
    "remainder",
    "sigmoid",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "subtract",
    "tan",
    "tanh",
]


def elementwise(
    name: str, doc: str, impl: Callable | str, *partials: Callable | None, flops: int = 1
) -> Primitive:
    """A primitive with `partial(ans, *args)` for each argument: the derivative, element by element."""
    prim = Primitive(name, impl, doc=doc)
    defpartial(prim, *partials)
    prim.flops = elementwise_flops(flops)
    return prim


# ----- Arithmetic (add and multiply stand in rules.py: the engine computes with them) -----

negative = Primitive("negative", "negative", doc="-x")
deflinear(negative, broadcast_shape, lambda ct, x: negative(ct))

divide = Primitive("divide", "divide", doc="x / y")
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


subtract = Primitive("subtract", "subtract", doc="x - y")
defjoint(
    subtract,
    broadcasts,
    lambda ct, args, params, linear: [negative(ct) if i else ct for i in linear],
    (0, 1),
    _subtract_jvp,
)

ldexp = Primitive("ldexp", "ldexp", doc="x 2ⁿ with integer n")
deflinear(ldexp, broadcast_shape, lambda ct, x, n: ldexp(ct, n))

for _prim in (negative, divide, subtract, ldexp):
    _prim.flops = elementwise_flops(1)


def _power_in_base(ans: Any, x: Any, y: Any) -> Any:
    # y x^(y-1), but 0 where y is 0: 0 * 0^-1 would be NaN.
    if isinstance(y, (int, float)):
        return y * x if y == 2 else 0.0 * x if y == 0 else y * power(x, y - 1)
    return y * power(x, where(equal(y, 0), 1.0, y - 1))


def _power_in_exponent(ans: Any, x: Any, y: Any) -> Any:
    # 0^y is 0 for every y > 0, so its derivative in y is 0 there and not 0 * log 0.
    base = where(equal(x, 0), 1.0, x)
    # A negative base has a complex logarithm.
    return ans * log(fit(base, ans) if dtype_of(ans).kind == "c" else base)


power = elementwise("power", "x ** y", "pow", _power_in_base, _power_in_exponent, flops=10)
square = elementwise("square", "x²", "square", lambda ans, x: 2 * x)
sqrt = elementwise("sqrt", "√x", "sqrt", lambda ans, x: 0.5 / ans)
cbrt = elementwise("cbrt", "∛x", "cbrt", lambda ans, x: 1 / (3 * ans * ans), flops=10)
reciprocal = elementwise("reciprocal", "1 / x", lambda xp, x: xp.divide(1, x), lambda ans, x: -ans * ans)


def float_power(x: Any, y: Any) -> Any:
    """`x ** y` in double precision, as NumPy has it, for integers and negative exponents, too.

    >>> float(float_power(2, -1))
    0.5
    """
    wide = np.result_type(result_dtype((x, y)), np.float64)
    return power(astype(x, dtype=wide), astype(y, dtype=wide))


# ----- Exponentials and trigonometry (10 FLOPs an element, as they are usually counted) -----

_LN2, _LN10 = math.log(2), math.log(10)

exp = elementwise("exp", "eˣ", "exp", lambda ans, x: ans, flops=10)
exp2 = elementwise("exp2", "2ˣ", "exp2", lambda ans, x: _LN2 * ans, flops=10)
expm1 = elementwise("expm1", "eˣ - 1", "expm1", lambda ans, x: ans + 1, flops=10)
log = elementwise("log", "natural logarithm", "log", lambda ans, x: 1 / x, flops=10)
log2 = elementwise("log2", "logarithm to base 2", "log2", lambda ans, x: (1 / _LN2) / x, flops=10)
log10 = elementwise("log10", "logarithm to base 10", "log10", lambda ans, x: (1 / _LN10) / x, flops=10)
log1p = elementwise("log1p", "log(1 + x)", "log1p", lambda ans, x: 1 / (1 + x), flops=10)
sin = elementwise("sin", "sine", "sin", lambda ans, x: cos(x), flops=10)
cos: Primitive = elementwise("cos", "cosine", "cos", lambda ans, x: -sin(x), flops=10)
tan = elementwise("tan", "tangent", "tan", lambda ans, x: 1 + ans * ans, flops=10)
arcsin = elementwise("arcsin", "inverse sine", "asin", lambda ans, x: 1 / sqrt((1 - x) * (1 + x)), flops=10)
arccos = elementwise(
    "arccos",
    "inverse cosine",
    "acos",
    lambda ans, x: -1 / sqrt((1 - x) * (1 + x)),
    flops=10,
)
arctan = elementwise("arctan", "inverse tangent", "atan", lambda ans, x: 1 / (1 + x * x), flops=10)
arctan2 = elementwise(
    "arctan2",
    "angle of (y, x)",
    "atan2",
    lambda ans, y, x: x / (x * x + y * y),
    lambda ans, y, x: -y / (x * x + y * y),
    flops=10,
)
sinh = elementwise("sinh", "hyperbolic sine", "sinh", lambda ans, x: cosh(x), flops=10)
cosh: Primitive = elementwise("cosh", "hyperbolic cosine", "cosh", lambda ans, x: sinh(x), flops=10)
tanh = elementwise("tanh", "hyperbolic tangent", "tanh", lambda ans, x: 1 - ans * ans, flops=10)
arcsinh = elementwise("arcsinh", "inverse of sinh", "asinh", lambda ans, x: 1 / sqrt(1 + x * x), flops=10)
arccosh = elementwise(
    "arccosh",
    "inverse of cosh",
    "acosh",
    lambda ans, x: 1 / (sqrt(x - 1) * sqrt(x + 1)),
    flops=10,
)
arctanh = elementwise("arctanh", "inverse of tanh", "atanh", lambda ans, x: 1 / ((1 - x) * (1 + x)), flops=10)
sigmoid = elementwise(
    "sigmoid", "1 / (1 + e⁻ˣ)", lambda xp, x: _sigmoid(xp, x), lambda ans, x: ans * (1 - ans), flops=13
)
logaddexp = elementwise(
    "logaddexp",
    "log(eˣ + eʸ), without overflow",
    "logaddexp",
    lambda ans, x, y: sigmoid(_gap(x, y)),
    lambda ans, x, y: sigmoid(_gap(y, x)),
    flops=22,
)
logaddexp2 = elementwise(
    "logaddexp2",
    "log2(2ˣ + 2ʸ), without overflow",
    "logaddexp2",
    lambda ans, x, y: sigmoid(_LN2 * _gap(x, y)),
    lambda ans, x, y: sigmoid(_LN2 * _gap(y, x)),
    flops=23,
)


def _sigmoid(xp: Any, x: Any) -> Any:
    e = xp.exp(-xp.abs(x))  # never overflows, and keeps every digit of the small values for negative x
    return xp.where(xp.greater_equal(x, 0), xp.ones_like(e), e) / (1 + e)


def _gap(x: Any, y: Any) -> Any:
    """x - y, but 0 where both are the same infinity."""
    same = logical_and(equal(x, y), isinf(x))
    return where(same, 0.0, x) - where(same, 0.0, y)


def deg2rad(x: Any) -> Any:
    """Degrees as radians.

    >>> float(deg2rad(180.0))
    3.141592653589793
    """
    return multiply(x, math.pi / 180)


def rad2deg(x: Any) -> Any:
    """Radians as degrees.

    >>> float(rad2deg(math.pi))
    180.0
    """
    return multiply(x, 180 / math.pi)


radians, degrees = deg2rad, rad2deg

# ----- Kinks -----

abs = elementwise("absolute", "|x|", "abs", lambda ans, x: sign(x))
fabs = elementwise("fabs", "|x| in floating point", "fabs", lambda ans, x: sign(x))
copysign: Primitive = elementwise(
    "copysign",
    "|x| with the sign of y",
    "copysign",
    lambda ans, x, y: copysign(1.0, y) * sign(x),
    None,
)
hypot = elementwise(
    "hypot",
    "√(x² + y²), without overflow",
    "hypot",
    lambda ans, x, y: x / _length(ans),
    lambda ans, x, y: y / _length(ans),
    flops=4,
)
heaviside = elementwise(
    "heaviside",
    "0 for x < 0, 1 for x > 0, y at 0",
    "heaviside",
    None,
    lambda ans, x, y: equal(x, 0),
)


def _length(r: Any) -> Any:
    """r, and infinity where it is 0, so that x / r is 0 to every order there."""
    return where(equal(r, 0), math.inf, r)


# ----- Remainders: x less a multiple of y, whose factor is constant almost everywhere -----

remainder = Primitive("remainder", "remainder", doc="x - y ⌊x / y⌋, signed like y")
defjvp(remainder, lambda t, ans, x, y: t, lambda t, ans, x, y: negative(multiply(t, floor_divide(x, y))))
mod = remainder

# The factor is read off the value: x / y itself may have been rounded up to the next integer.
fmod = Primitive("fmod", "fmod", doc="x - y trunc(x / y), signed like x")
defjvp(fmod, lambda t, ans, x, y: t, lambda t, ans, x, y: negative(multiply(t, rint((x - ans) / y))))

for _prim in (remainder, fmod):
    _prim.flops = elementwise_flops(4)


def divmod(x: Any, y: Any) -> tuple[Any, Any]:
    """`(x // y, x % y)`; the first is a constant to derivatives.

    >>> divmod(np.array([7.0]), 2)
    (array([3.]), array([1.]))
    """
    return floor_divide(x, y), remainder(x, y)


def modf(x: Any) -> tuple[Any, Any]:
    """Fractional and integer part, both with the sign of `x`; the second is a constant to derivatives.

    >>> modf(np.array([-1.5]))
    (array([-0.5]), array([-1.]))
    """
    finite = where(isinf(x), 0.0, x)
    return finite - trunc(finite), trunc(x)


_exponent = constant("exponent", "n where x = m 2ⁿ with ½ <= |m| < 1", lambda xp, x: xp.frexp(x)[1])


def frexp(x: Any) -> tuple[Any, Any]:
    """m and n of x = m 2ⁿ with ½ <= |m| < 1; the integer n is a constant to derivatives.

    >>> frexp(np.array([6.0]))
    (array([0.75]), array([3], dtype=int32))
    """
    n = _exponent(x)
    return ldexp(x, -n), n
