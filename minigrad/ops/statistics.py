"""Statistics: weighted means, covariances and quantiles.

A quantile is gathered from the sorted elements, which take their derivatives along, and interpolated between
two of them; the place between the two depends on q, so it has a derivative in q, too.
"""

import builtins
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import Tracer, dtype_of, namespace_of, result_dtype, shape_of, unboxed
from ..rules import astype, broadcast_to
from .complex import conjugate
from .elementwise import (
    ceil,
    clip,
    equal,
    floor,
    greater_equal,
    isfinite,
    isnan,
    less_equal,
    logical_and,
    logical_not,
    maximum,
    minimum,
    sqrt,
    where,
)
from .elementwise import round as nearest_even
from .index import take_along_axis
from .order import sort
from .products import matmul
from .reduce import Axis, all, any, axes_of, cast, count, count_nonzero, mean, reduced_shape, sum
from .shape import as_array, concatenate, moveaxis, ravel_array, reshape, squeeze, transpose

__all__ = [
    "average",
    "corrcoef",
    "cov",
    "median",
    "nanmedian",
    "nanpercentile",
    "nanquantile",
    "percentile",
    "quantile",
]


# ----- Means and covariances -----


def average(
    x: Any, axis: Axis = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False
) -> Any:
    """Mean over `axis` with `weights`, shaped like `x` or like its axes `axis`; a pair with `returned`.

    The second of the pair is the sum of the weights. Raises ZeroDivisionError where that is zero, TypeError
    or ValueError for weights of another shape.

    >>> float(average([1.0, 4.0], weights=[2.0, 1.0]))
    2.0
    """
    x = as_array(x)
    if weights is None:
        out = mean(x, axis, keepdims=keepdims)
        total: Any = unboxed(namespace_of(out).full(shape_of(out), count(x, axis), dtype=dtype_of(out)))
        return (out, total) if returned else out
    weights = _fitted(weights, x, axis)
    products = x * weights
    total = sum(cast(weights, dtype_of(products)), axis, keepdims=keepdims)
    if any(equal(total, 0)):
        raise ZeroDivisionError("average: the weights sum to zero")
    out = sum(products, axis, keepdims=keepdims) / total
    return (out, broadcast_to(cast(total, dtype_of(out)), shape=shape_of(out))) if returned else out


def _fitted(weights: Any, x: Any, axis: Axis) -> Any:
    """Weights with axes of length one where they are to be repeated."""
    weights, shape, axes = as_array(weights), shape_of(x), axes_of(x, axis)
    if shape_of(weights) == shape:
        return weights
    if axis is None:
        raise TypeError(f"average: weights of shape {shape_of(weights)} for shape {shape} need an axis")
    if shape_of(weights) != tuple(shape[i] for i in axes):
        raise ValueError(
            f"average: weights of shape {shape_of(weights)} do not match shape {shape} at {axes}"
        )
    in_order = transpose(weights, sorted(range(len(axes)), key=axes.__getitem__))
    return reshape(in_order, [n if i in axes else 1 for i, n in enumerate(shape)])


def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Any:
    """Covariance matrix of the variables in the rows of `m` and `y` (in the columns without `rowvar`).

    Divided by n - `ddof`, which is 1, or 0 with `bias`. `fweights` says how often an observation was made,
    `aweights` how much it matters. Float32 stays float32, where NumPy computes in float64.

    >>> cov([[1.0, 3.0], [1.0, 5.0]])
    array([[2., 4.],
           [4., 8.]])
    """
    x = _variables(m, rowvar, dtype)
    if y is not None:
        x = concatenate([x, _variables(y, rowvar, dtype)])
    ddof = (0 if bias else 1) if ddof is None else ddof
    weights, freedom = None, builtins.max(shape_of(x)[1] - ddof, 0)
    given = [astype(as_array(w), dtype=dtype_of(x)) for w in (fweights, aweights) if w is not None]
    for w in given:
        if shape_of(w) != shape_of(x)[1:]:
            raise ValueError(f"cov: weights of shape {shape_of(w)} for {shape_of(x)[1]} observations")
        weights = w if weights is None else weights * w
    centre, total = average(x, 1, weights, returned=True, keepdims=True)
    if weights is not None:
        total = total[0, 0] if shape_of(x)[0] else total
        freedom = total - (ddof if aweights is None else ddof * sum(weights * given[-1]) / total)
    x = x - centre
    return squeeze(matmul(x, conjugate(transpose(x if weights is None else x * weights))) / freedom)


def _variables(m: Any, rowvar: bool, dtype: Any) -> Any:
    m = cast(as_array(m), dtype)
    m = m if dtype_of(m).kind in "fc" else astype(m, dtype=np.dtype(float))
    if len(shape_of(m)) > 2:
        raise ValueError(f"cov: variables and observations are two axes, but the shape is {shape_of(m)}")
    return (
        transpose(m)
        if len(shape_of(m)) == 2 and not rowvar
        else reshape(m, (1, -1) if len(shape_of(m)) < 2 else shape_of(m))
    )


def corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Any:
    """Correlation coefficients of the variables that `cov` takes, limited to [-1, 1].

    >>> corrcoef([1.0, 2.0, 4.0], [3.0, 2.0, 0.0])
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    c = cov(x, y, rowvar, dtype=dtype)
    if not shape_of(c):
        return c / c
    i = namespace_of(c).arange(shape_of(c)[0])
    deviation = sqrt(c[i, i])
    return clip(c / deviation[:, None] / deviation, -1, 1)


# ----- Quantiles -----


def median(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """Median over `axis`: the middle element, or the mean of two; NaN where there is a NaN.

    >>> float(median([3.0, 1.0, 2.0]))
    2.0
    """
    return _quantile(x, 0.5, 1, axis, "linear", keepdims, False)


def quantile(x: Any, q: Any, axis: Axis = None, *, method: str = "linear", keepdims: bool = False) -> Any:
    """The values below which lie shares `q` of the elements over `axis`; the axes of `q` come first.

    `method` is one of NumPy's that interpolate, "linear", "hazen", "weibull", "median_unbiased",
    "normal_unbiased", "interpolated_inverted_cdf", or "lower", "higher", "nearest", "midpoint", which are
    constant in q. NaN where there is a NaN. In q, the derivative at an element is the one to its right (to
    its left, at the last). Python numbers and lists `q` do not widen the dtype, arrays do.

    Raises ValueError for another method, for q outside [0, 1], and when there are no elements.

    >>> quantile([1.0, 2.0, 4.0], [0.5, 0.75])
    array([2., 3.])
    """
    return _quantile(x, q, 1, axis, method, keepdims, False)


def percentile(x: Any, q: Any, axis: Axis = None, *, method: str = "linear", keepdims: bool = False) -> Any:
    """`quantile` with `q` in percent.

    >>> float(percentile([1.0, 2.0, 4.0], 75))
    3.0
    """
    return _quantile(x, q, 100, axis, method, keepdims, False)


def nanmedian(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """Median over `axis` of what is not NaN; NaN, with derivative zero, where there is nothing else.

    >>> float(nanmedian([3.0, np.nan, 1.0]))
    2.0
    """
    return _quantile(x, 0.5, 1, axis, "linear", keepdims, True)


def nanquantile(x: Any, q: Any, axis: Axis = None, *, method: str = "linear", keepdims: bool = False) -> Any:
    """`quantile` of what is not NaN; NaN, with derivative zero, where there is nothing else.

    >>> float(nanquantile([1.0, np.nan, 2.0, 4.0], 0.75))
    3.0
    """
    return _quantile(x, q, 1, axis, method, keepdims, True)


def nanpercentile(
    x: Any, q: Any, axis: Axis = None, *, method: str = "linear", keepdims: bool = False
) -> Any:
    """`nanquantile` with `q` in percent.

    >>> float(nanpercentile([1.0, np.nan, 2.0, 4.0], 75))
    3.0
    """
    return _quantile(x, q, 100, axis, method, keepdims, True)


def _between(alpha: float, beta: float) -> Callable:
    """Hyndman and Fan, The American Statistician 50 (1996) 361-365, equation 3, counted from 0."""
    return lambda n, q: n * q + (alpha + q * (1 - alpha - beta)) - 1


# The place of the quantile q among n sorted elements.
PLACES: dict[str, Callable] = {
    "linear": lambda n, q: (n - 1) * q,
    "hazen": _between(1 / 2, 1 / 2),
    "weibull": _between(0, 0),
    "median_unbiased": _between(1 / 3, 1 / 3),
    "normal_unbiased": _between(3 / 8, 3 / 8),
    "interpolated_inverted_cdf": _between(0, 1),
    "lower": lambda n, q: floor((n - 1) * q),
    "higher": lambda n, q: ceil((n - 1) * q),
    "nearest": lambda n, q: nearest_even((n - 1) * q),
    "midpoint": lambda n, q: (floor((n - 1) * q) + ceil((n - 1) * q)) / 2,
}


def _quantile(x: Any, q: Any, whole: int, axis: Axis, method: str, keepdims: bool, skip_nan: bool) -> Any:
    if method not in PLACES:
        raise ValueError(f"quantile: no method {method!r} with a derivative: use one of {', '.join(PLACES)}")
    if not all(logical_and(greater_equal(q, 0), less_equal(q, whole))):
        raise ValueError(f"quantile: q must lie between 0 and {whole}")
    x = as_array(x)
    shape, axes, size = shape_of(x), axes_of(x, axis), count(x, axis)
    if size == 0:
        raise ValueError(f"quantile: no elements over axes {axes} of shape {shape}")
    dtype = result_dtype([x, q]) if hasattr(q, "dtype") else dtype_of(x)
    dtype = dtype if dtype.kind == "f" else np.dtype(float)
    q = q if isinstance(q, Tracer) else namespace_of(x).asarray(q)
    share = astype(ravel_array(q), dtype=np.dtype(float)) / whole  # half precision cannot count to 2049

    rest = [i for i in range(len(shape)) if i not in axes]
    columns = reshape(transpose(x, (*rest, *axes)), (*[shape[i] for i in rest], size))
    holes = isnan(columns)
    if skip_nan:
        found = count_nonzero(logical_not(holes), -1, keepdims=True)
        spoilt = equal(found, 0)
        n: Any = astype(maximum(found, 1), dtype=np.dtype(float))
    else:
        spoilt, n = any(holes, -1, keepdims=True), float(size)
    place = clip(PLACES[method](n, share), 0, n - 1)
    below = minimum(floor(place), maximum(n - 2, 0))
    g = astype(place - below, dtype=dtype)
    i = broadcast_to(astype(below, dtype=np.dtype(int)), shape=(*shape_of(columns)[:-1], shape_of(share)[0]))
    ordered = sort(columns)  # NaN last
    low, high = take_along_axis(ordered, i, -1), take_along_axis(ordered, minimum(i + 1, size - 1), -1)
    out = where(spoilt, math.nan, _share_of(low, 1 - g) + _share_of(high, g))
    return unboxed(reshape(moveaxis(out, -1, 0), (*shape_of(q), *reduced_shape(shape, axes, keepdims))))


def _share_of(x: Any, g: Any) -> Any:
    """g x, but 0 where g is 0, be x infinite or NaN."""
    return g * where(logical_and(equal(g, 0), logical_not(isfinite(x))), 0.0, x)
