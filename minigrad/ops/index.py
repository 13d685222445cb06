"""Indexing: `x[index]` and `take`, with the scatter that is their transpose.

An index is a constant: integers, slices, None, Ellipsis, boolean masks and integer arrays, as NumPy takes
them.
"""

from typing import Any

import numpy as np

from ..core import Primitive, Tracer, shape_of, size_of
from ..rules import deflinear, no_flops
from .reduce import axes_of
from .shape import reshape

__all__ = ["getitem", "scatter", "take"]


def getitem(x: Any, index: Any) -> Any:
    """`x[index]`.

    >>> float(getitem(np.arange(3.0), 1))
    1.0
    """
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(i, Tracer) for i in parts):
        raise TypeError("an index cannot be differentiated: use minigrad.stop_gradient and an integer array")
    return _getitem(x, index=index)


def scatter(values: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of `shape` with `values` added at `index`, repeatedly where it repeats: getitem's transpose.

    >>> scatter(np.ones(3), np.array([0, 0, 2]), (4,))
    array([2., 0., 1., 0.])
    """
    return _scatter(values, index=index, shape=tuple(shape))


def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """Slices of `x` along `axis` at integer `indices`; of the flattened `x` without an axis.

    >>> take(np.arange(3.0), [2, 0])
    array([2., 0.])
    """
    if axis is None:
        return getitem(reshape(x, (-1,)), np.asarray(indices))
    (axis,) = axes_of(x, axis)
    return getitem(
        x, (slice(None),) * axis + (np.asarray(indices) if isinstance(indices, (list, tuple)) else indices,)
    )


def _is_basic(index: Any) -> bool:
    """Does the index reach each element at most once?"""
    parts = index if isinstance(index, tuple) else (index,)
    return all(i is None or i is Ellipsis or isinstance(i, (int, np.integer, slice)) for i in parts)


def _impl_scatter(xp: Any, values: Any, index: Any, shape: tuple[int, ...]) -> Any:
    out = xp.zeros(shape, values.dtype)
    if _is_basic(index):
        out[index] = values
    else:
        xp.add.at(out, index, values)
    return out


_getitem = Primitive("getitem", lambda xp, x, index: xp.asarray(x)[index], doc="x[index]")
_scatter = Primitive("scatter", _impl_scatter, doc="values added into zeros at an index")


def _indexed_shape(x: Any, index: Any) -> tuple[int, ...]:
    # A view of one element repeated: NumPy's own indexing rules, without the data.
    return np.broadcast_to(np.empty((), bool), shape_of(x))[_on_host(index)].shape


def _on_host(index: Any) -> Any:
    if isinstance(index, tuple):
        return tuple(map(_on_host, index))
    return index.get() if hasattr(index, "get") else index


deflinear(_getitem, _indexed_shape, lambda ct, x, index: _scatter(ct, index=index, shape=shape_of(x)))
deflinear(
    _scatter, lambda values, index, shape: shape, lambda ct, values, index, shape: _getitem(ct, index=index)
)
_getitem.flops = no_flops
_scatter.flops = lambda args, outs, params: 0 if _is_basic(params["index"]) else size_of(args[0])
