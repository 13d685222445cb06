"""Reductions and running sums without the NaNs, where the derivative is exactly zero."""

import math
from typing import Any

from .cumulative import cumprod, cumsum, prod
from .elementwise import isnan, logical_and, logical_not, sqrt
from .elementwise import where as pick
from .reduce import Axis, all, any, argmax, argmin, max, mean, min, only, sum, var

__all__ = [
    "nanargmax",
    "nanargmin",
    "nancumprod",
    "nancumsum",
    "nanmax",
    "nanmean",
    "nanmin",
    "nanprod",
    "nanstd",
    "nansum",
    "nanvar",
]


def nansum(
    x: Any,
    axis: Axis = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Sum over `axis` of what is not NaN.

    >>> float(nansum([1.0, np.nan]))
    1.0
    """
    return sum(x, axis, dtype, keepdims=keepdims, initial=initial, where=valid(x, where))


def nanmean(
    x: Any, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False, where: Any = True
) -> Any:
    """Mean over `axis` of what is not NaN; NaN, with derivative zero, where there is nothing else.

    >>> float(nanmean([1.0, np.nan]))
    1.0
    """
    return mean(x, axis, dtype, keepdims=keepdims, where=valid(x, where))


def nanvar(x: Any, axis: Axis = None, dtype: Any = None, *, where: Any = True, **how: Any) -> Any:
    """Variance over `axis` of what is not NaN, with the arguments of `var`; NaN if that is `ddof` or fewer.

    >>> float(nanvar([1.0, 3.0, np.nan]))
    1.0
    """
    return var(x, axis, dtype, where=valid(x, where), **how)


def nanstd(x: Any, axis: Axis = None, dtype: Any = None, **how: Any) -> Any:
    """Standard deviation over `axis` of what is not NaN, with the arguments of `var`.

    >>> float(nanstd([1.0, 3.0, np.nan]))
    1.0
    """
    return sqrt(nanvar(x, axis, dtype, **how))


def nanmax(
    x: Any, axis: Axis = None, *, keepdims: bool = False, initial: Any = None, where: Any = True
) -> Any:
    """Maximum over `axis` of what is not NaN; NaN, with derivative zero, where there is nothing else.

    >>> float(nanmax([1.0, np.nan]))
    1.0
    """
    top = max(pick(isnan(x), -math.inf, x), axis, keepdims=keepdims, initial=initial, where=where)
    return top if initial is not None else pick(all(isnan(x), axis, keepdims=keepdims), math.nan, top)


def nanmin(
    x: Any, axis: Axis = None, *, keepdims: bool = False, initial: Any = None, where: Any = True
) -> Any:
    """Minimum over `axis` of what is not NaN; NaN, with derivative zero, where there is nothing else.

    >>> float(nanmin([1.0, np.nan]))
    1.0
    """
    low = min(pick(isnan(x), math.inf, x), axis, keepdims=keepdims, initial=initial, where=where)
    return low if initial is not None else pick(all(isnan(x), axis, keepdims=keepdims), math.nan, low)


def nanargmax(x: Any, axis: int | None = None, *, keepdims: bool = False) -> Any:
    """Index of the (first) maximum of what is not NaN; raises ValueError where there is nothing else.

    >>> int(nanargmax([np.nan, 3.0]))
    1
    """
    return argmax(_some("nanargmax", x, axis, -math.inf), axis, keepdims=keepdims)


def nanargmin(x: Any, axis: int | None = None, *, keepdims: bool = False) -> Any:
    """Index of the (first) minimum of what is not NaN; raises ValueError where there is nothing else.

    >>> int(nanargmin([np.nan, 3.0]))
    1
    """
    return argmin(_some("nanargmin", x, axis, math.inf), axis, keepdims=keepdims)


def nancumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """Running sums along `axis` in which NaN counts as 0, with derivative zero.

    >>> nancumsum([1.0, np.nan, 3.0])
    array([1., 1., 4.])
    """
    return cumsum(only(x, valid(x), 0), axis, dtype)


def nanprod(x: Any, axis: Axis = None, dtype: Any = None, *, where: Any = True, **how: Any) -> Any:
    """Product over `axis` of what is not NaN, with the arguments of `prod`.

    >>> float(nanprod([2.0, np.nan, 3.0]))
    6.0
    """
    return prod(x, axis, dtype, where=valid(x, where), **how)


def nancumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """Running products along `axis` in which NaN counts as 1, with derivative zero.

    >>> nancumprod([2.0, np.nan, 3.0])
    array([2., 2., 6.])
    """
    return cumprod(only(x, valid(x), 1), axis, dtype)


# ----- Helpers -----


def _some(name: str, x: Any, axis: int | None, other: float) -> Any:
    if any(all(isnan(x), axis)):
        raise ValueError(f"{name}: a slice has nothing but NaN")
    return pick(isnan(x), other, x)


def valid(x: Any, where: Any = True) -> Any:
    """Where `x` is not NaN and `where` holds."""
    return logical_not(isnan(x)) if where is True else logical_and(logical_not(isnan(x)), where)
