"""Reductions: sum, mean, variance, extrema, and the exponential family (logsumexp, softmax, log_softmax).

`axis` is None, an int or a tuple, as in NumPy. max and min split ties evenly; argmax and argmin take the
first.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import Primitive, dtype_of, shape_of
from ..rules import astype, broadcast_to, defjvp, deflinear, defzero, elementwise_flops, input_flops
from .elementwise import equal, exp, sqrt, square
from .shape import reshape

__all__ = [
    "all",
    "any",
    "argmax",
    "argmin",
    "log_softmax",
    "logsumexp",
    "max",
    "mean",
    "min",
    "softmax",
    "std",
    "sum",
    "var",
]

Axis = int | Sequence[int] | None


def sum(x: Any, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Any:
    """Sum over `axis`.

    >>> float(sum([1.0, 2.0]))
    3.0
    """
    x = x if dtype is None else astype(x, dtype=np.dtype(dtype))
    return _sum(x, axis=axes_of(x, axis), keepdims=keepdims)


_sum = Primitive(
    "sum", lambda xp, x, axis, keepdims: xp.sum(x, axis=axis, keepdims=keepdims), doc="sum over axes"
)
deflinear(
    _sum,
    lambda x, axis, keepdims: reduced_shape(shape_of(x), axis, keepdims),
    lambda ct, x, axis, keepdims: broadcast_to(_keep(ct, shape_of(x), axis), shape=shape_of(x)),
)
_sum.flops = input_flops


def mean(x: Any, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Any:
    """Mean over `axis`.

    >>> float(mean([1.0, 2.0]))
    1.5
    """
    return sum(x, axis, keepdims, dtype) / _count(x, axis)


def var(x: Any, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Any:
    """Variance over `axis`, of squared deviations divided by n - `ddof`.

    >>> float(var([1.0, 3.0]))
    1.0
    """
    return sum(square(x - mean(x, axis, keepdims=True)), axis, keepdims) / (_count(x, axis) - ddof)


def std(x: Any, axis: Axis = None, keepdims: bool = False, ddof: int = 0) -> Any:
    """Standard deviation over `axis`; its derivative is infinite where the deviation is zero.

    >>> float(std([1.0, 3.0]))
    1.0
    """
    return sqrt(var(x, axis, keepdims, ddof))


def max(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Maximum over `axis`; equal maxima share the derivative evenly.

    >>> float(max([1.0, 3.0]))
    3.0
    """
    return _max(x, axis=axes_of(x, axis), keepdims=keepdims)


def min(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """Minimum over `axis`; equal minima share the derivative evenly.

    >>> float(min([1.0, 3.0]))
    1.0
    """
    return _min(x, axis=axes_of(x, axis), keepdims=keepdims)


def _extremum_jvp(t: Any, ans: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    ties = astype(equal(x, _keep(ans, shape_of(x), axis)), dtype=dtype_of(x))
    return _sum(t * (ties / _sum(ties, axis=axis, keepdims=True)), axis=axis, keepdims=keepdims)


_max = Primitive(
    "max", lambda xp, x, axis, keepdims: xp.max(x, axis=axis, keepdims=keepdims), doc="maximum over axes"
)
_min = Primitive(
    "min", lambda xp, x, axis, keepdims: xp.min(x, axis=axis, keepdims=keepdims), doc="minimum over axes"
)
for _prim in (_max, _min):
    defjvp(_prim, _extremum_jvp)
    _prim.flops = input_flops


# ----- Exponential family -----


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """log Σ eˣ over `axis`, without overflow.

    >>> float(logsumexp([1000.0, 1000.0]))
    1000.6931471805599
    """
    return _logsumexp(x, axis=axes_of(x, axis), keepdims=keepdims)


def _impl_logsumexp(xp: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    top = xp.max(x, axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, 0).astype(top.dtype)  # all -inf: log 0 = -inf, and not NaN
    out = xp.log(xp.sum(xp.exp(x - top), axis=axis, keepdims=True)) + top
    return out if keepdims else out.reshape(reduced_shape(out.shape, axis, False))[()]


_logsumexp = Primitive("logsumexp", _impl_logsumexp, doc="log of the sum of exponentials over axes")
defjvp(
    _logsumexp,
    lambda t, ans, x, axis, keepdims: _sum(
        t * exp(x - _keep(ans, shape_of(x), axis)), axis=axis, keepdims=keepdims
    ),
)
_logsumexp.flops = lambda args, outs, params: 13 * input_flops(args, outs, params)


def softmax(x: Any, axis: Axis = -1) -> Any:
    """eˣ / Σ eˣ over `axis`.

    >>> softmax([0.0, 0.0])
    array([0.5, 0.5])
    """
    return _softmax(x, axis=axes_of(x, axis))


def _impl_softmax(xp: Any, x: Any, axis: tuple[int, ...]) -> Any:
    e = xp.exp(x - xp.max(x, axis=axis, keepdims=True))
    return e / xp.sum(e, axis=axis, keepdims=True)


_softmax = Primitive("softmax", _impl_softmax, doc="exponentials divided by their sum")
defjvp(_softmax, lambda t, ans, x, axis: ans * (t - _sum(ans * t, axis=axis, keepdims=True)))
_softmax.flops = elementwise_flops(13)


def log_softmax(x: Any, axis: Axis = -1) -> Any:
    """x - log Σ eˣ over `axis`, without overflow.

    >>> log_softmax([0.0, 0.0])
    array([-0.69314718, -0.69314718])
    """
    return _log_softmax(x, axis=axes_of(x, axis))


_log_softmax = Primitive(
    "log_softmax", lambda xp, x, axis: x - _impl_logsumexp(xp, x, axis, True), doc="logarithm of softmax"
)
defjvp(_log_softmax, lambda t, ans, x, axis: t - _sum(exp(ans) * t, axis=axis, keepdims=True))
_log_softmax.flops = elementwise_flops(14)


# ----- Constants almost everywhere -----


def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Index of the (first) maximum.

    >>> int(argmax([1.0, 3.0]))
    1
    """
    return _argmax(x, axis=axis, keepdims=keepdims)


def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """Index of the (first) minimum.

    >>> int(argmin([1.0, 3.0]))
    0
    """
    return _argmin(x, axis=axis, keepdims=keepdims)


_argmax = Primitive(
    "argmax",
    lambda xp, x, axis, keepdims: xp.argmax(x, axis=axis, keepdims=keepdims),
    doc="index of the maximum",
)
_argmin = Primitive(
    "argmin",
    lambda xp, x, axis, keepdims: xp.argmin(x, axis=axis, keepdims=keepdims),
    doc="index of the minimum",
)
any = Primitive(
    "any",
    lambda xp, x, axis=None, keepdims=False: xp.any(x, axis=axis, keepdims=keepdims),
    doc="is any element true",
)
all = Primitive(
    "all",
    lambda xp, x, axis=None, keepdims=False: xp.all(x, axis=axis, keepdims=keepdims),
    doc="are all elements true",
)
for _prim in (_argmax, _argmin, any, all):
    defzero(_prim)
    _prim.flops = input_flops


# ----- Axes -----


def axes_of(x: Any, axis: Axis) -> tuple[int, ...]:
    """`axis` as a tuple of axes from 0 on; raises numpy.exceptions.AxisError when out of range."""
    ndim = len(shape_of(x))
    if axis is None:
        return tuple(range(ndim))
    return np.lib.array_utils.normalize_axis_tuple(axis, ndim)  # type: ignore[arg-type]


def reduced_shape(shape: tuple[int, ...], axis: tuple[int, ...], keepdims: bool) -> tuple[int, ...]:
    return tuple(1 if i in axis else n for i, n in enumerate(shape) if keepdims or i not in axis)


def _keep(x: Any, shape: tuple[int, ...], axis: tuple[int, ...]) -> Any:
    """A reduced `x` with its axes of length one put back."""
    full = reduced_shape(shape, axis, True)
    return x if shape_of(x) == full else reshape(x, full)


def _count(x: Any, axis: Axis) -> int:
    shape = shape_of(x)
    return math.prod([shape[i] for i in axes_of(x, axis)])
