"""Functions that are constant almost everywhere: comparisons, logic, signs and rounding.

Their derivative is zero wherever there is one, so nothing of them is recorded.
"""

import math
from collections.abc import Callable

from ...core import Primitive
from ...rules import broadcast_shape, defzero, elementwise_flops

__all__ = [
    "allclose",
    "ceil",
    "equal",
    "fix",
    "floor",
    "floor_divide",
    "greater",
    "greater_equal",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "isneginf",
    "isposinf",
    "less",
    "less_equal",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "not_equal",
    "rint",
    "round",
    "sign",
    "signbit",
    "trunc",
]


def constant(name: str, doc: str, impl: Callable | str, flops: int = 1) -> Primitive:
    """A primitive whose derivative is zero wherever it exists."""
    prim = Primitive(name, impl, doc=doc)
    defzero(prim)
    prim.flops = elementwise_flops(flops)
    return prim


# ----- Comparisons and logic -----

equal = constant("equal", "x == y", "equal")
not_equal = constant("not_equal", "x != y", "not_equal")
less = constant("less", "x < y", "less")
less_equal = constant("less_equal", "x <= y", "less_equal")
greater = constant("greater", "x > y", "greater")
greater_equal = constant("greater_equal", "x >= y", "greater_equal")
logical_not = constant("logical_not", "not x", "logical_not")
logical_and = constant("logical_and", "x and y", "logical_and")
logical_or = constant("logical_or", "x or y", "logical_or")
logical_xor = constant("logical_xor", "either x or y", "logical_xor")


isclose = constant(
    "isclose",
    "is |a - b| <= atol + rtol |b|",
    lambda xp, *args, **how: xp.isclose(*args, **how),
    flops=6,
)
allclose = constant(
    "allclose",
    "is |a - b| <= atol + rtol |b| everywhere",
    lambda xp, *args, **how: xp.allclose(*args, **how),
)
allclose.flops = lambda args, outs, params: 7 * math.prod(broadcast_shape(*args[:2]))

# ----- Signs and kinds of numbers -----

sign = constant("sign", "-1, 0 or 1", "sign")
signbit = constant("signbit", "is x negative, -0 included", "signbit")
isnan = constant("isnan", "is x not a number", "isnan")
isinf = constant("isinf", "is x infinite", "isinf")
isfinite = constant("isfinite", "is x neither infinite nor NaN", "isfinite")
isposinf = constant("isposinf", "is x plus infinity", lambda xp, x: xp.equal(x, float("inf")))
isneginf = constant("isneginf", "is x minus infinity", lambda xp, x: xp.equal(x, -float("inf")))

# ----- Rounding -----

floor = constant("floor", "largest integer below", "floor")
ceil = constant("ceil", "smallest integer above", "ceil")
trunc = constant("trunc", "next integer towards zero", "trunc")
fix = trunc
rint = constant("rint", "nearest integer, halves to the even one", "rint")
round = constant(
    "round",
    "nearest integer, or decimal",
    lambda xp, x, decimals=0: xp.round(x, decimals) if decimals else xp.round(x),
)
floor_divide = constant("floor_divide", "largest integer below x / y", "floor_divide", flops=2)
