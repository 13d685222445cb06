"""Which of several values: where and select, the larger or smaller of two, clip, numbers for NaN.

What is not chosen gets exactly zero derivative. Conventions: maximum, minimum, fmax and fmin split ties
evenly, clip passes the derivative on the closed interval.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...core import Primitive, dtype_of, result_dtype
from ...rules import broadcasts, defjoint, defjvp, defpartial, elementwise_flops, fit
from .constants import constant, equal, greater, greater_equal, isnan, less, less_equal, logical_and

__all__ = [
    "clip",
    "fmax",
    "fmin",
    "maximum",
    "minimum",
    "nan_to_num",
    "select",
    "where",
]

# ----- By a condition -----

_where = Primitive("where", "where", doc="x where c is true, else y")


def _where_jvp(primals: Any, tangents: Any, params: dict) -> tuple[Any, Any]:
    ans = _where(*primals)
    _, a, b = tangents
    if a is None and b is None:
        return ans, None
    return ans, fit(_where(primals[0], 0.0 if a is None else a, 0.0 if b is None else b), ans)


defjoint(
    _where,
    broadcasts,
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


def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    """From each of `choicelist` the elements where its condition is the first that holds, else `default`.

    Raises ValueError when the lists differ in length or are empty.

    >>> x = np.array([-2.0, 0.5, 3.0])
    >>> select([x < 0, x < 1], [-x, x * x], 1.0)
    array([2.  , 0.25, 1.  ])
    """
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ValueError(
            f"select: {len(condlist)} conditions and {len(choicelist)} choices: "
            "there must be as many, and at least one"
        )
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        default = where(condition, choice, default)
    return default


def nan_to_num(x: Any, *, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    """`x` with numbers in place of NaN and infinities: by default 0 and the largest numbers of its dtype.

    The derivative is 1 where `x` is finite, 0 elsewhere.

    >>> nan_to_num(np.array([np.nan, 1.0, np.inf]), posinf=9.0)
    array([0., 1., 9.])
    """
    if dtype_of(x).kind != "f":
        return x
    top = float(np.finfo(dtype_of(x)).max)
    x = where(equal(x, math.inf), top if posinf is None else posinf, x)
    x = where(equal(x, -math.inf), -top if neginf is None else neginf, x)
    return where(isnan(x), nan, x)


# ----- By size -----

maximum = Primitive("maximum", "maximum", doc="larger of x and y")
minimum = Primitive("minimum", "minimum", doc="smaller of x and y")
fmax = Primitive("fmax", "fmax", doc="larger of x and y, NaN being none")
fmin = Primitive("fmin", "fmin", doc="smaller of x and y, NaN being none")

defpartial(maximum, lambda ans, x, y: _wins(x, y), lambda ans, x, y: _wins(y, x))
defpartial(minimum, lambda ans, x, y: _wins(y, x), lambda ans, x, y: _wins(x, y))
defpartial(
    fmax,
    lambda ans, x, y: _wins(_or(x, -math.inf), _or(y, -math.inf)),
    lambda ans, x, y: _wins(_or(y, -math.inf), _or(x, -math.inf)),
)
defpartial(
    fmin,
    lambda ans, x, y: _wins(_or(y, math.inf), _or(x, math.inf)),
    lambda ans, x, y: _wins(_or(x, math.inf), _or(y, math.inf)),
)

for _prim in (maximum, minimum, fmax, fmin):
    _prim.flops = elementwise_flops(1)


def _half_of_each(xp: Any, x: Any, y: Any) -> Any:
    dtype = result_dtype((x, y))
    above = xp.asarray(xp.greater(x, y), dtype=dtype) + xp.asarray(xp.greater_equal(x, y), dtype=dtype)
    return 0.5 * above


_wins: Primitive = constant("wins", "1 where x > y, ½ where they are equal, else 0", _half_of_each, flops=4)


def _or(x: Any, number: float) -> Any:
    """x, and `number` where it is NaN."""
    return where(isnan(x), number, x)


_clip = Primitive(
    "clip", lambda xp, x, lo, hi: xp.minimum(xp.maximum(x, lo), hi), doc="x limited to [lo, hi]"
)
defjvp(
    _clip,
    lambda t, ans, x, lo, hi: where(logical_and(greater_equal(x, lo), less_equal(x, hi)), t, 0.0),
    lambda t, ans, x, lo, hi: where(less(x, lo), t, 0.0),
    lambda t, ans, x, lo, hi: where(greater(x, hi), t, 0.0),
)
_clip.flops = elementwise_flops(2)


def clip(x: Any, min: Any = None, max: Any = None) -> Any:
    """`x` limited to [min, max]; None is no limit. The derivative is 1 on the closed interval, 0 outside.

    >>> float(clip(3.0, 0.0, 2.0))
    2.0
    """
    return _clip(x, -math.inf if min is None else min, math.inf if max is None else max)
