"""Exponentials that are summed up: logsumexp, softmax and its logarithm. None of them overflows."""

import math
from collections.abc import Sequence
from typing import Any

from ..core import Primitive, shape_of, size_of
from ..rules import defjvp, elementwise_flops
from .elementwise import exp
from .reduce import Axis, axes_of, keep, reduced_shape
from .reduce import sum as _sum

__all__ = [
    "log_softmax",
    "logsumexp",
    "softmax",
]


def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """log Σ eˣ over `axis`, without overflow.

    >>> float(logsumexp([1000.0, 1000.0]))
    1000.6931471805599
    """
    return _logsumexp(x, axis=axes_of(x, axis), keepdims=keepdims)


def _impl_logsumexp(xp: Any, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    top = xp.max(x, axis=axis, keepdims=True)
    top = xp.where(xp.isfinite(top), top, xp.zeros_like(top))  # all -inf: log 0 = -inf, and not NaN
    total = xp.sum(xp.exp(x - top), axis=axis, keepdims=keepdims)
    return xp.log(total) + xp.reshape(top, total.shape)


_logsumexp = Primitive("logsumexp", _impl_logsumexp, doc="log of the sum of exponentials over axes")
defjvp(
    _logsumexp,
    lambda t, ans, x, axis, keepdims: _sum(
        t * exp(x - keep(ans, shape_of(x), axis)), axis=axis, keepdims=keepdims
    ),
)


def _logsumexp_flops(args: Sequence[Any], outs: Sequence[tuple], params: dict) -> int:
    """Maximum, difference, exponential and sum for each element; a logarithm and the maximum for each sum."""
    return 13 * size_of(args[0]) + 11 * math.prod(reduced_shape(shape_of(args[0]), params["axis"], True))


_logsumexp.flops = _logsumexp_flops


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
_softmax.flops = elementwise_flops(14)


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
_log_softmax.flops = lambda args, outs, params: _logsumexp_flops(args, outs, params) + size_of(args[0])
