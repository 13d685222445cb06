"""Making arrays of numbers and traced values: array, full, zeros_like, linspace and their kind.

NumPy's namesakes make plain arrays of what they are given; these carry derivatives.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..core import Tracer, dtype_of, namespace_of, result_dtype, shape_of
from ..rules import astype as _astype
from ..rules import broadcast_shape
from .elementwise import floor, power
from .shape import as_array, broadcast_to, moveaxis, reshape, stack

__all__ = [
    "array",
    "astype",
    "full",
    "full_like",
    "geomspace",
    "linspace",
    "logspace",
    "ones_like",
    "zeros_like",
]


def array(x: Any, dtype: Any = None) -> Any:
    """An array of numbers, arrays and traced values in nested lists or tuples, stacked as they are nested.

    Python numbers take the dtype of the arrays beside them. Raises ValueError where shapes differ.

    >>> from minigrad import jacfwd
    >>> jacfwd(lambda x: array([[x[0], 2.0], [0.0, x[0] * x[1]]]))(np.array([3.0, 4.0]))[1, 1]
    array([4., 3.])
    """
    leaves = list(_leaves(x))
    if not any(hasattr(leaf, "shape") for leaf in leaves):
        return np.array(x, dtype)
    xp = namespace_of(next(leaf for leaf in leaves if hasattr(leaf, "shape")))
    dtype = result_dtype(leaves) if dtype is None else np.dtype(dtype)

    def stacked(part: Any) -> Any:
        if isinstance(part, (list, tuple)):
            return stack([stacked(p) for p in part]) if part else xp.zeros((0,), dtype=dtype)
        return astype(part, dtype) if hasattr(part, "shape") else xp.asarray(part, dtype=dtype)

    return stacked(x)


def _leaves(x: Any) -> Iterator[Any]:
    if isinstance(x, (list, tuple)):
        for part in x:
            yield from _leaves(part)
    else:
        yield x


def astype(x: Any, dtype: Any) -> Any:
    """`x` in another dtype; to one that is not floating point, the derivative is zero.

    >>> astype(np.array([1.5]), np.float32)
    array([1.5], dtype=float32)
    """
    return _astype(as_array(x), dtype=np.dtype(dtype))


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Any:
    """An array of `shape` filled with `fill_value`, a number or an array that broadcasts to it.

    >>> full((2,), 3.0)
    array([3., 3.])
    """
    if not isinstance(fill_value, Tracer):
        return _filled(namespace_of(fill_value), shape, fill_value, dtype)
    value = fill_value if dtype is None else astype(fill_value, dtype)
    return broadcast_to(value, tuple(int(n) for n in np.atleast_1d(shape)))


def full_like(x: Any, fill_value: Any, dtype: Any = None, shape: Any = None) -> Any:
    """An array filled with `fill_value`, with the shape and dtype of `x` unless others are given.

    >>> full_like(np.ones(2), 3.0)
    array([3., 3.])
    """
    shape, dtype = shape_of(x) if shape is None else shape, dtype_of(x) if dtype is None else dtype
    if isinstance(fill_value, Tracer):
        return full(shape, fill_value, dtype)
    return _filled(namespace_of(x), shape, fill_value, dtype)


def _filled(xp: Any, shape: Any, value: Any, dtype: Any) -> Any:
    if not hasattr(value, "shape"):
        return xp.full(shape, value, dtype=dtype)
    out = xp.empty(shape, dtype=value.dtype if dtype is None else dtype)
    out[...] = value
    return out


def zeros_like(x: Any, dtype: Any = None, shape: Any = None) -> Any:
    """Zeros with the shape and dtype of `x` unless others are given.

    >>> zeros_like(np.ones(2))
    array([0., 0.])
    """
    return full_like(x, 0, dtype, shape)


def ones_like(x: Any, dtype: Any = None, shape: Any = None) -> Any:
    """Ones with the shape and dtype of `x` unless others are given.

    >>> ones_like(np.zeros(2))
    array([1., 1.])
    """
    return full_like(x, 1, dtype, shape)


# ----- From start to stop, along a new axis -----


def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """`num` numbers at equal distances from `start` to `stop`, which is left out unless `endpoint`.

    Arrays are broadcast, and the numbers stand along the new `axis`. With `retstep`, (numbers, step).

    >>> linspace(0.0, 1.0, 3)
    array([0. , 0.5, 1. ])
    """
    s, start, stop = _steps(num, endpoint, start, stop)
    y = moveaxis(start * (1 - s) + stop * s, 0, axis)
    if dtype is not None:
        y = astype(floor(y) if np.dtype(dtype).kind in "iu" else y, dtype)
    parts = num - 1 if endpoint else num
    return (y, (stop - start) / parts if parts > 0 else np.nan) if retstep else y


def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10.0,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """`num` powers of `base`, their exponents at equal distances from `start` to `stop`; as `linspace`.

    >>> logspace(0.0, 2.0, 3)
    array([  1.,  10., 100.])
    """
    s, start, stop, base = _steps(num, endpoint, start, stop, base)
    y = moveaxis(power(base, start * (1 - s) + stop * s), 0, axis)
    return y if dtype is None else astype(y, dtype)


def geomspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0
) -> Any:
    """`num` numbers in equal ratios from `start` to `stop`, which have one sign; as `linspace`.

    >>> geomspace(1.0, 4.0, 3)
    array([1., 2., 4.])
    """
    s, start, stop = _steps(num, endpoint, start, stop)
    y = moveaxis(start * power(stop / start, s), 0, axis)
    return y if dtype is None else astype(y, dtype)


def _steps(num: int, endpoint: bool, *ends: Any) -> list[Any]:
    """`num` numbers from 0 to 1 along a new first axis, and the ends, to be broadcast with them."""
    if num < 0:
        raise ValueError(f"linspace and its kind: num is {num}, and must not be negative")
    ends = tuple(x if isinstance(x, (int, float)) else as_array(x) for x in ends)
    xp = namespace_of(next((x for x in ends if hasattr(x, "shape")), None))
    s = xp.arange(num, dtype=result_dtype((*ends, 1.0))) / max(num - 1 if endpoint else num, 1)
    return [reshape(s, (num, *[1] * len(broadcast_shape(*ends)))), *ends]
