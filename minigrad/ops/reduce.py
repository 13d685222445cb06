"""Reductions: sum, mean, variance, extrema, and which element is the largest.

`axis` is None, an int or a tuple, and `where` a mask that broadcasts to `x`, as in NumPy. max and min split
ties evenly; argmax and argmin take the first.
"""

import builtins
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core import Primitive, dtype_of, shape_of
from ..rules import astype, broadcast_to, defjvp, deflinear, defzero, input_flops
from .complex import squared_modulus
from .elementwise import equal, greater, maximum, minimum, sqrt
from .elementwise import where as pick
from .shape import as_array, ravel_array, reshape

__all__ = [
    "all",
    "any",
    "argmax",
    "argmin",
    "count_nonzero",
    "max",
    "mean",
    "min",
    "ptp",
    "std",
    "sum",
    "var",
]

Axis = int | Sequence[int] | None


def sum(
    x: Any,
    axis: Axis = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Sum over `axis`, of the elements where `where` holds, plus `initial`.

    >>> float(sum([1.0, 2.0]))
    3.0
    """
    x = only(cast(x, dtype), where, 0)
    total = _sum(x, axis=axes_of(x, axis), keepdims=keepdims)
    return total if initial is None else total + initial


_sum = Primitive("sum", "sum", doc="sum over axes")
deflinear(
    _sum,
    lambda x, axis, keepdims: reduced_shape(shape_of(x), axis, keepdims),
    lambda ct, x, axis, keepdims: broadcast_to(keep(ct, shape_of(x), axis), shape=shape_of(x)),
)
_sum.batch = lambda args, params, batched: _sum(
    args[0], axis=tuple(i + 1 for i in params["axis"]), keepdims=params["keepdims"]
)
_sum.flops = input_flops


def mean(x: Any, axis: Axis = None, dtype: Any = None, *, keepdims: bool = False, where: Any = True) -> Any:
    """Mean over `axis`, of the elements where `where` holds: NaN, with derivative zero, if it holds nowhere.

    >>> float(mean([1.0, 2.0]))
    1.5
    """
    total = sum(x, axis, dtype, keepdims=keepdims, where=where)
    return total / count(x, axis) if where is True else _over(total, _holds(x, axis, keepdims, where))


def var(
    x: Any,
    axis: Axis = None,
    dtype: Any = None,
    *,
    ddof: float = 0,
    keepdims: bool = False,
    where: Any = True,
    mean: Any = None,
    correction: float | None = None,
) -> Any:
    """Variance over `axis`, of squared deviations divided by n - `ddof` (`correction` is another name).

    `mean`, where it is known already, has the shape that keepdims=True gives it.

    >>> float(var([1.0, 3.0]))
    1.0
    """
    if correction is not None:
        if ddof != 0:
            raise ValueError("var: ddof and correction are two names of one thing: give one of them")
        ddof = correction
    x = cast(x, dtype)
    centre = _mean(x, axis, keepdims=True, where=where) if mean is None else mean
    total = sum(squared_modulus(only(x, where, 0) - centre), axis, keepdims=keepdims, where=where)
    if where is True:
        return total / builtins.max(count(x, axis) - ddof, 0)
    return _over(total, _holds(x, axis, keepdims, where) - ddof)


_mean = mean


def std(x: Any, axis: Axis = None, dtype: Any = None, **how: Any) -> Any:
    """Standard deviation over `axis`, with the arguments of `var`; its derivative is infinite at zero.

    >>> float(std([1.0, 3.0]))
    1.0
    """
    return sqrt(var(x, axis, dtype, **how))


def max(x: Any, axis: Axis = None, *, keepdims: bool = False, initial: Any = None, where: Any = True) -> Any:
    """Maximum over `axis`, of `initial` and the elements where `where` holds; equals share the derivative.

    Raises ValueError for a `where` without `initial`.

    >>> float(max([1.0, 3.0]))
    3.0
    """
    return _extremum(_max, maximum, x, axis, keepdims, initial, where)


def min(x: Any, axis: Axis = None, *, keepdims: bool = False, initial: Any = None, where: Any = True) -> Any:
    """Minimum over `axis`, of `initial` and the elements where `where` holds; equals share the derivative.

    Raises ValueError for a `where` without `initial`.

    >>> float(min([1.0, 3.0]))
    1.0
    """
    return _extremum(_min, minimum, x, axis, keepdims, initial, where)


def _extremum(
    prim: Primitive, of_two: Callable, x: Any, axis: Axis, keepdims: bool, initial: Any, where: Any
) -> Any:
    axes = axes_of(x, axis)
    if initial is None:
        if where is not True:
            raise ValueError(f"{prim.name}: where= needs initial=, the result where it holds nowhere")
        return prim(x, axis=axes, keepdims=keepdims)
    if count(x, axis) == 0:
        return broadcast_to(cast(initial, dtype_of(x)), shape=reduced_shape(shape_of(x), axes, keepdims))
    return of_two(prim(only(x, where, initial), axis=axes, keepdims=keepdims), initial)


def ptp(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """Peak to peak: maximum minus minimum over `axis`.

    >>> float(ptp([1.0, 3.0, 2.0]))
    2.0
    """
    return max(x, axis, keepdims=keepdims) - min(x, axis, keepdims=keepdims)


def _extremum_jvp(t: Any, ans: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    ties = astype(equal(x, keep(ans, shape_of(x), axis)), dtype=dtype_of(x))
    return _sum(t * (ties / _sum(ties, axis=axis, keepdims=True)), axis=axis, keepdims=keepdims)


_max = Primitive("max", "max", doc="maximum over axes")
_min = Primitive("min", "min", doc="minimum over axes")
for _prim in (_max, _min):
    defjvp(_prim, _extremum_jvp)
    _prim.flops = input_flops


# ----- Constants almost everywhere -----


def argmax(x: Any, axis: int | None = None, *, keepdims: bool = False) -> Any:
    """Index of the (first) maximum.

    >>> int(argmax([1.0, 3.0]))
    1
    """
    return _argmax(x, axis=axis, keepdims=keepdims)


def argmin(x: Any, axis: int | None = None, *, keepdims: bool = False) -> Any:
    """Index of the (first) minimum.

    >>> int(argmin([1.0, 3.0]))
    0
    """
    return _argmin(x, axis=axis, keepdims=keepdims)


def any(x: Any, axis: Axis = None, *, keepdims: bool = False, where: Any = True) -> Any:
    """Is an element true, of those where `where` holds?

    >>> bool(any([False, True]))
    True
    """
    return _any(only(x, where, False), axis=axes_of(x, axis), keepdims=keepdims)


def all(x: Any, axis: Axis = None, *, keepdims: bool = False, where: Any = True) -> Any:
    """Is every element true, of those where `where` holds?

    >>> bool(all([False, True]))
    False
    """
    return _all(only(x, where, True), axis=axes_of(x, axis), keepdims=keepdims)


def count_nonzero(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """The number of elements over `axis` that are not zero.

    >>> int(count_nonzero([0.0, 2.0]))
    1
    """
    return _count_nonzero(x, axis=axes_of(x, axis), keepdims=keepdims)


def _impl_count_nonzero(xp: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    x = xp.asarray(x)
    ones = x if xp.isdtype(x.dtype, "bool") else xp.not_equal(x, 0)
    return xp.sum(xp.asarray(ones, dtype=xp.int64), axis=axis, keepdims=keepdims)


_argmax = Primitive(
    "argmax",
    "argmax",
    doc="index of the maximum",
)
_argmin = Primitive(
    "argmin",
    "argmin",
    doc="index of the minimum",
)
_any = Primitive("any", "any", doc="is any element true")
_all = Primitive("all", "all", doc="are all elements true")
_count_nonzero = Primitive("count_nonzero", _impl_count_nonzero, doc="number of elements that are not zero")
for _prim in (_argmax, _argmin, _any, _all, _count_nonzero):
    defzero(_prim)
    _prim.flops = input_flops


# ----- Axes -----


def axes_of(x: Any, axis: Axis) -> tuple[int, ...]:
    """`axis` as a tuple of axes from 0 on; raises numpy.exceptions.AxisError when out of range."""
    ndim = len(shape_of(x))
    if axis is None:
        return tuple(range(ndim))
    return np.lib.array_utils.normalize_axis_tuple(axis, ndim)  # type: ignore[arg-type]


def along(x: Any, axis: int | None) -> tuple[Any, int]:
    """`x` as an array and one axis of it from 0 on: the only one of the flattened `x` for None."""
    x = as_array(x)
    if axis is None:
        return ravel_array(x), 0
    (axis,) = axes_of(x, axis)
    return x, axis


def reduced_shape(shape: tuple[int, ...], axis: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    return tuple(1 if i in axis else n for i, n in enumerate(shape) if keepdims or i not in axis)


def keep(x: Any, shape: tuple[int, ...], axis: tuple[int, ...]) -> Any:
    """A reduced `x` with its axes of length one put back."""
    full = reduced_shape(shape, axis, True)
    return x if shape_of(x) == full else reshape(x, full)


def count(x: Any, axis: Axis) -> int:
    """The number of elements that a reduction of `x` over `axis` makes one of."""
    shape = shape_of(x)
    return math.prod([shape[i] for i in axes_of(x, axis)])


# ----- Masks and dtypes -----


def cast(x: Any, dtype: Any) -> Any:
    """`x` in `dtype`, or as it is for None."""
    return x if dtype is None else astype(x, dtype=np.dtype(dtype))


def only(x: Any, where: Any, other: Any) -> Any:
    """`x` where `where` holds, and `other` elsewhere."""
    return x if where is True else pick(where, x, other)


def _holds(x: Any, axis: Axis, keepdims: bool, where: Any) -> Any:
    return count_nonzero(broadcast_to(where, shape=shape_of(x)), axis, keepdims=keepdims)


def _over(total: Any, n: Any) -> Any:
    """total / n, but NaN with derivative zero where n is not positive."""
    n = astype(n, dtype=dtype_of(total))
    some = greater(n, 0)
    return pick(some, total / pick(some, n, 1), math.nan)
