"""NumPy's own operations where the result is large: written into memory that is used again.

Small results are NumPy's, at NumPy's speed. Sums and products of large arrays run on all threads.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import memory
from .memory import LARGE
from .threads import share

Array = Any
NAMES = ("zeros", "matmul", "concatenate")

zeros = memory.zeros


def elementwise(ufunc: np.ufunc) -> Callable[[Any, Any], Any]:
    """A ufunc of two arguments.

    >>> elementwise(np.add)(np.ones(2), 1.0)
    array([2., 2.])
    """

    def apply(x: Any, y: Any) -> Any:
        if type(x) is type(y) is np.ndarray and (x.nbytes >= LARGE or y.nbytes >= LARGE) and _plain(x, y):
            return _apply(ufunc, x, y)
        return ufunc(x, y)

    return apply


def matmul(a: Array, b: Array) -> Array:
    """The matrix product over the last two axes.

    >>> matmul(np.ones((2, 3)), np.ones((3, 1)))
    array([[3.],
           [3.]])
    """
    if a.ndim == b.ndim == 2 and len(a) * b.shape[1] * a.itemsize >= LARGE and _plain(a, b):
        return np.matmul(a, b, out=memory.empty((len(a), b.shape[1]), a.dtype))
    return np.matmul(a, b)


def concatenate(arrays: Sequence[Array], axis: int) -> Array:
    """Arrays joined along an axis.

    >>> concatenate([np.ones(1), np.zeros(1)], 0)
    array([1., 0.])
    """
    first = arrays[0]
    if sum(x.nbytes for x in arrays) < LARGE or not _plain(*arrays):
        return np.concatenate(arrays, axis)
    shape = list(first.shape)
    shape[axis] = sum(x.shape[axis] for x in arrays)
    return np.concatenate(arrays, axis, out=memory.empty(tuple(shape), first.dtype))


def _plain(*arrays: Array) -> bool:
    """Whether they are of one type and dtype, of numbers as NumPy's results are."""
    dtype = arrays[0].dtype
    return (
        dtype.kind == "f"
        and dtype.isnative
        and all(type(x) is np.ndarray and x.dtype is dtype for x in arrays)
    )


def _apply(ufunc: np.ufunc, x: Array, y: Array) -> Array:
    out = memory.empty(np.broadcast_shapes(x.shape, y.shape), x.dtype)
    arrays = [np.broadcast_to(a, out.shape) if a.shape != out.shape else a for a in (x, y)]
    if all(a.flags.c_contiguous for a in arrays):
        arrays, flat = [a.reshape(-1) for a in arrays], out.reshape(-1)
    else:
        flat = out

    def work(part: slice) -> None:
        ufunc(*[a[part] for a in arrays], out=flat[part])

    share(work, len(flat), out.size)
    return out
