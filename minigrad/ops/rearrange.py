"""Rearranging: roll, flip, repeat, tile, pad, insert, delete.

All move data without arithmetic. The signatures are NumPy's; what is repeated adds up in the transpose.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend import kernels_of
from ..core import Primitive, dtype_of, namespace_of, shape_of, size_of
from ..rules import astype, deflinear, no_flops
from .create import array
from .index import take
from .reduce import axes_of
from .shape import (
    as_array,
    broadcast_to,
    concatenate,
    expand_dims,
    moveaxis,
    ravel_array,
    reshape,
    swapaxes,
)

__all__ = [
    "delete",
    "flip",
    "fliplr",
    "flipud",
    "insert",
    "pad",
    "repeat",
    "resize",
    "roll",
    "rot90",
    "tile",
]

Axis = int | Sequence[int] | None

# ----- In another order -----


def roll(x: Any, shift: int | Sequence[int], axis: Axis = None) -> Any:
    """`x` with its elements moved on by `shift` places along `axis`, the last ones to the front.

    Several shifts and axes are taken in pairs; without an axis the flattened array is rolled.

    >>> roll(np.arange(4.0), 1)
    array([3., 0., 1., 2.])
    """
    x = as_array(x)
    if axis is None:
        return reshape(roll(ravel_array(x), shift, 0), shape_of(x))
    pairs = [(int(s), axes_of(x, int(a))[0]) for s, a in np.broadcast(shift, axis)]
    return _roll(x, shift=tuple(s for s, _ in pairs), axis=tuple(a for _, a in pairs))


_roll = Primitive(
    "roll", lambda xp, x, shift, axis: xp.roll(x, shift, axis=axis), doc="elements moved on along axes"
)
deflinear(
    _roll,
    lambda x, shift, axis: shape_of(x),
    lambda ct, x, shift, axis: _roll(ct, shift=tuple(-s for s in shift), axis=axis),
)


def flip(x: Any, axis: Axis = None) -> Any:
    """`x` backwards along `axis`, or along every axis.

    >>> flip(np.arange(3.0))
    array([2., 1., 0.])
    """
    x = as_array(x)
    axes = axes_of(x, axis)
    return x[tuple(slice(None, None, -1 if i in axes else None) for i in range(len(shape_of(x))))]


def flipud(x: Any) -> Any:
    """`x` backwards along its first axis.

    >>> flipud(np.array([[1.0], [2.0]]))
    array([[2.],
           [1.]])
    """
    return flip(x, 0)


def fliplr(x: Any) -> Any:
    """`x` backwards along its second axis.

    >>> fliplr(np.array([[1.0, 2.0]]))
    array([[2., 1.]])
    """
    return flip(x, 1)


def rot90(x: Any, k: int = 1, axes: Sequence[int] = (0, 1)) -> Any:
    """`x` turned `k` times by a right angle, from the first of two `axes` to the second.

    >>> rot90(np.array([[1.0, 2.0]]))
    array([[2.],
           [1.]])
    """
    x = as_array(x)
    if len(axes) != 2 or len({axes_of(x, i) for i in axes}) != 2:
        raise ValueError(f"rot90: axes {axes} of shape {shape_of(x)} are not two different axes")
    if k % 2 == 0:
        return flip(x, axes) if k % 4 else x
    return swapaxes(flip(x, axes[1]), *axes) if k % 4 == 1 else flip(swapaxes(x, *axes), axes[1])


# ----- More than once -----


def repeat(x: Any, repeats: int | Sequence[int], axis: int | None = None) -> Any:
    """Each element of `x` `repeats` times along `axis` (one number, or one for each element).

    Without an axis the flattened array is repeated.

    >>> repeat(np.array([1.0, 2.0]), 2)
    array([1., 1., 2., 2.])
    """
    x = as_array(x)
    if axis is None:
        return repeat(ravel_array(x), repeats, 0)
    (axis,) = axes_of(x, axis)
    n = shape_of(x)[axis]
    if np.size(repeats) != 1:
        return take(x, np.repeat(np.arange(n), repeats), axis)
    times = int(np.reshape(repeats, ()))
    if times < 0:
        raise ValueError(f"repeat: repeats is {times}, and must not be negative")
    before, after = shape_of(x)[:axis], shape_of(x)[axis + 1 :]
    return reshape(
        broadcast_to(expand_dims(x, axis + 1), (*before, n, times, *after)), (*before, n * times, *after)
    )


def tile(x: Any, reps: int | Sequence[int]) -> Any:
    """`x` laid out `reps` times along each of the last axes, with new axes in front where `reps` has more.

    >>> tile(np.array([1.0, 2.0]), 2)
    array([1., 2., 1., 2.])
    """
    times = tuple(int(n) for n in np.atleast_1d(reps))
    shape = shape_of(x)
    ndim = max(len(shape), len(times))
    times, shape = (1,) * (ndim - len(times)) + times, (1,) * (ndim - len(shape)) + shape
    apart = reshape(x, [n for length in shape for n in (1, length)])
    laid = broadcast_to(apart, [n for pair in zip(times, shape, strict=True) for n in pair])
    return reshape(laid, [k * n for k, n in zip(times, shape, strict=True)])


def resize(x: Any, new_shape: int | Sequence[int]) -> Any:
    """The elements of `x` by rows, over and over, in an array of `new_shape`; zeros when there are none.

    >>> resize(np.array([1.0, 2.0]), (3,))
    array([1., 2., 1.])
    """
    shape = tuple(int(n) for n in np.atleast_1d(new_shape))
    size = math.prod(shape)
    if not size_of(x):
        return namespace_of(x).zeros(shape, dtype=dtype_of(x))
    return reshape(tile(ravel_array(x), -(-size // size_of(x)))[:size], shape)


# ----- Something around, in between, away -----

MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = 0) -> Any:
    """`x` with `pad_width` elements around it: n, (before, after), or a pair an axis.

    `mode` is "constant", with `constant_values` given as `pad_width` is and in the dtype of `x`, or says
    which elements are repeated: "edge", "reflect", "symmetric" or "wrap". Raises ValueError for another.

    >>> pad(np.ones(1), (1, 2))
    array([0., 1., 0., 0.])
    """
    x = as_array(x)
    ndim = len(shape_of(x))
    pairs = tuple((int(a), int(b)) for a, b in np.broadcast_to(pad_width, (ndim, 2)))
    if any(n < 0 for pair in pairs for n in pair):
        raise ValueError(f"pad: width {pad_width} is negative: take a slice instead")
    if mode not in MODES:
        raise ValueError(f"pad: mode={mode!r} has no derivative here: use one of {', '.join(MODES)}")
    if mode == "constant":
        if isinstance(constant_values, (int, float)) and constant_values == 0:
            return _pad(x, width=pairs)
        if isinstance(constant_values, (list, tuple)):
            constant_values = array(constant_values)
        values = broadcast_to(astype(as_array(constant_values, x), dtype=dtype_of(x)), (ndim, 2))
        for axis, widths in enumerate(pairs):
            shape = shape_of(x)
            ends = [
                broadcast_to(values[axis, i], (*shape[:axis], n, *shape[axis + 1 :]))
                for i, n in enumerate(widths)
            ]
            x = concatenate([ends[0], x, ends[1]], axis)
        return x
    for axis, widths in enumerate(pairs):
        if any(widths):
            x = take(x, np.pad(np.arange(shape_of(x)[axis]), widths, mode), axis)  # type: ignore[call-overload]
    return x


def _impl_pad(xp: Any, x: Any, width: tuple[tuple[int, int], ...]) -> Any:
    out = kernels_of(xp).zeros(_padded_shape(x, width), x.dtype)
    out[_inside(x, width)] = x
    return out


def _padded_shape(x: Any, width: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    return tuple(n + a + b for n, (a, b) in zip(shape_of(x), width, strict=True))


def _inside(x: Any, width: tuple[tuple[int, int], ...]) -> tuple[slice, ...]:
    return tuple(slice(a, a + n) for n, (a, _) in zip(shape_of(x), width, strict=True))


_pad = Primitive("pad", _impl_pad, doc="zeros around x")
deflinear(_pad, _padded_shape, lambda ct, x, width: ct[_inside(x, width)])


def insert(x: Any, obj: Any, values: Any, axis: int | None = None) -> Any:
    """`x` with `values`, in its dtype, put in along `axis` before the index, indices or slice `obj`.

    Without an axis into the flattened array. The indices count in `x` as it is given.

    >>> insert(np.zeros(2), 1, 5.0)
    array([0., 5., 0.])
    """
    x, values = as_array(x), astype(as_array(values, x), dtype=dtype_of(x))
    if axis is None:
        x, axis = ravel_array(x), 0
    (axis,) = axes_of(x, axis)
    shape = shape_of(x)
    old = np.arange(shape[axis])
    added = np.insert(old, obj, -1).size - old.size
    values = reshape(values, (1,) * (len(shape) - len(shape_of(values))) + shape_of(values))
    if not isinstance(obj, slice) and np.ndim(obj) == 0:
        values = moveaxis(values, 0, axis)  # one place takes any number of slices, the first axis of values
    if added == 1:
        added = shape_of(values)[axis]
    values = broadcast_to(values, (*shape[:axis], added, *shape[axis + 1 :]))
    order = np.insert(old, obj, np.arange(old.size, old.size + added))
    return take(concatenate([x, values], axis), order, axis)


def delete(x: Any, obj: Any, axis: int | None = None) -> Any:
    """`x` without the slices along `axis` at the index, indices, mask or slice `obj`.

    Without an axis, elements of the flattened array go.

    >>> delete(np.arange(3.0), 1)
    array([0., 2.])
    """
    x = as_array(x)
    if axis is None:
        x, axis = ravel_array(x), 0
    (axis,) = axes_of(x, axis)
    stays = np.zeros(shape_of(x)[axis], bool)
    stays[np.delete(np.arange(stays.size), obj)] = True
    return moveaxis(moveaxis(x, axis, 0)[namespace_of(x).asarray(stays)], 0, axis)


# ----- Many at once: a leading axis stays where it is -----

_roll.batch = lambda args, params, batched: _roll(
    args[0], shift=params["shift"], axis=tuple(i + 1 for i in params["axis"])
)
_pad.batch = lambda args, params, batched: _pad(args[0], width=((0, 0), *params["width"]))

for _prim in (_roll, _pad):
    _prim.flops = no_flops
