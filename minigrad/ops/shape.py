"""Rearranging: reshape, transpose, broadcast, pad, concatenate, stack, split, and a tree's vector.

All are linear, move data without arithmetic, and are each other's transposes.
"""

import builtins
import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from ..core import Primitive, dtype_of, namespace_of, shape_of, size_of
from ..rules import broadcast_to as _broadcast_to
from ..rules import defjoint, deflinear, fit, no_flops

__all__ = [
    "broadcast_to",
    "concatenate",
    "expand_dims",
    "moveaxis",
    "pad",
    "ravel_array",
    "reshape",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "transpose",
]


def reshape(x: Any, shape: int | Sequence[int]) -> Any:
    """`x` with another shape of the same size; one length may be -1.

    >>> reshape(np.arange(4.0), (2, -1)).shape
    (2, 2)
    """
    shape = (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(int(n) for n in shape)
    size = size_of(x)
    if shape.count(-1) == 1:
        rest = -math.prod(shape)
        if rest == 0 or size % rest:
            raise ValueError(f"reshape: an array of shape {shape_of(x)} does not fit into shape {shape}")
        shape = tuple(size // rest if n == -1 else n for n in shape)
    if math.prod(shape) != size or any(n < 0 for n in shape):
        raise ValueError(f"reshape: an array of shape {shape_of(x)} does not fit into shape {shape}")
    return x if shape == shape_of(x) else _reshape(x, shape=shape)


_reshape = Primitive(
    "reshape", lambda xp, x, shape: xp.reshape(x, shape), doc="another shape of the same size"
)
deflinear(_reshape, lambda x, shape: shape, lambda ct, x, shape: _reshape(ct, shape=shape_of(x)))


def ravel_array(x: Any) -> Any:
    """`x` as a vector (`minigrad.ravel` does it for trees).

    >>> ravel_array(np.ones((2, 3))).shape
    (6,)
    """
    return reshape(x, (-1,))


def expand_dims(x: Any, axis: int | Sequence[int]) -> Any:
    """`x` with axes of length one put in so that they stand at `axis`.

    >>> expand_dims(np.ones(3), 0).shape
    (1, 3)
    """
    axes = tuple(axis) if isinstance(axis, Sequence) else (axis,)
    shape = list(shape_of(x))
    for i in sorted(np.lib.array_utils.normalize_axis_tuple(axes, len(shape) + len(axes))):
        shape.insert(i, 1)
    return reshape(x, shape)


def squeeze(x: Any, axis: int | Sequence[int] | None = None) -> Any:
    """`x` without its axes of length one, or without those at `axis`; raises ValueError if one is longer.

    >>> squeeze(np.ones((1, 3))).shape
    (3,)
    """
    shape = shape_of(x)
    axes = (
        tuple(i for i, n in enumerate(shape) if n == 1)
        if axis is None
        else np.lib.array_utils.normalize_axis_tuple(axis, len(shape))
    )
    if any(shape[i] != 1 for i in axes):
        raise ValueError(f"squeeze: axes {axes} of shape {shape} are not all of length one")
    return reshape(x, [n for i, n in enumerate(shape) if i not in axes])


def transpose(x: Any, axes: Sequence[int] | None = None) -> Any:
    """`x` with its axes in the order `axes`; reversed by default.

    >>> transpose(np.ones((2, 3))).shape
    (3, 2)
    """
    ndim = len(shape_of(x))
    order = (
        tuple(reversed(range(ndim)))
        if axes is None
        else np.lib.array_utils.normalize_axis_tuple(tuple(axes), ndim)
    )
    if len(order) != ndim:
        raise ValueError(f"transpose: axes {axes} do not name each of the {ndim} axes once")
    return _transpose(x, axes=order)


_transpose = Primitive("transpose", lambda xp, x, axes: xp.transpose(x, axes), doc="axes in another order")
deflinear(
    _transpose,
    lambda x, axes: tuple(shape_of(x)[i] for i in axes),
    lambda ct, x, axes: _transpose(ct, axes=tuple(int(i) for i in np.argsort(axes))),
)


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """`x` with two axes exchanged.

    >>> swapaxes(np.ones((2, 3, 4)), 0, 2).shape
    (4, 3, 2)
    """
    order = list(range(len(shape_of(x))))
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return transpose(x, order)


def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Any:
    """`x` with the axes `source` moved to the places `destination`, the others in their order.

    >>> moveaxis(np.ones((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    ndim = len(shape_of(x))
    src = np.lib.array_utils.normalize_axis_tuple(source, ndim)  # type: ignore[arg-type]
    dst = np.lib.array_utils.normalize_axis_tuple(destination, ndim)  # type: ignore[arg-type]
    order = [i for i in range(ndim) if i not in src]
    for d, s in sorted(zip(dst, src, strict=True)):
        order.insert(d, s)
    return transpose(x, order)


def broadcast_to(x: Any, shape: int | Sequence[int]) -> Any:
    """`x` repeated to `shape`.

    >>> broadcast_to(1.0, (2,))
    array([1., 1.])
    """
    return _broadcast_to(x, shape=(shape,) if isinstance(shape, int) else tuple(shape))


def pad(x: Any, width: Any, value: float = 0.0) -> Any:
    """`x` with `value` around it; `width` as in NumPy: n, (before, after), or a pair an axis.

    >>> pad(np.ones(1), (1, 2))
    array([0., 1., 0., 0.])
    """
    ndim = len(shape_of(x))
    pairs = tuple((int(a), int(b)) for a, b in np.broadcast_to(width, (ndim, 2)))
    if any(n < 0 for pair in pairs for n in pair):
        raise ValueError(f"pad: width {width} is negative: take a slice instead")
    padded = _pad(x, width=pairs)
    if value == 0:
        return padded
    frame = namespace_of(x).ones(shape_of(padded), dtype_of(x))
    frame[tuple(slice(a, a + n) for n, (a, _) in zip(shape_of(x), pairs, strict=True))] = 0
    return padded + value * frame


_pad = Primitive("pad", lambda xp, x, width: xp.pad(x, width), doc="zeros around x")
deflinear(
    _pad,
    lambda x, width: tuple(n + a + b for n, (a, b) in zip(shape_of(x), width, strict=True)),
    lambda ct, x, width: ct[tuple(slice(a, a + n) for n, (a, _) in zip(shape_of(x), width, strict=True))],
)


def concatenate(arrays: Sequence[Any], axis: int | None = 0) -> Any:
    """`arrays` one after the other along `axis`; None joins them as vectors.

    >>> concatenate([np.ones(1), np.zeros(2)])
    array([1., 0., 0.])
    """
    if axis is None:
        arrays, axis = [reshape(x, (-1,)) for x in arrays], 0
    (axis,) = np.lib.array_utils.normalize_axis_tuple(axis, len(shape_of(arrays[0])))
    return _concatenate(*arrays, axis=axis)


def _concatenate_jvp(primals: Any, tangents: Any, params: dict) -> tuple[Any, Any]:
    ans = _concatenate(*primals, **params)
    zeros = [
        namespace_of(x).zeros(shape_of(x), dtype_of(x)) if t is None else t
        for x, t in zip(primals, tangents, strict=True)
    ]
    return ans, fit(_concatenate(*zeros, **params), ans)


def _concatenate_shape(args: Any, params: dict) -> tuple[int, ...]:
    axis, shape = params["axis"], list(shape_of(args[0]))
    shape[axis] = builtins.sum(shape_of(x)[axis] for x in args)
    return tuple(shape)


def _concatenate_transpose(ct: Any, args: Any, params: dict, linear: tuple[int, ...]) -> list[Any]:
    axis = params["axis"]
    ends = list(accumulate(shape_of(x)[axis] for x in args))
    lead = (slice(None),) * axis
    return [ct[(*lead, slice(ends[i] - shape_of(args[i])[axis], ends[i]))] for i in linear]


_concatenate = Primitive(
    "concatenate", lambda xp, *xs, axis: xp.concatenate(xs, axis=axis), doc="arrays joined along an axis"
)
defjoint(_concatenate, _concatenate_shape, _concatenate_transpose, None, _concatenate_jvp)


def stack(arrays: Sequence[Any], axis: int = 0) -> Any:
    """`arrays` of one shape, joined along a new axis.

    >>> stack([np.ones(2), np.zeros(2)]).shape
    (2, 2)
    """
    return concatenate([expand_dims(x, axis) for x in arrays], axis)


def split(x: Any, sections: int | Sequence[int], axis: int = 0) -> list[Any]:
    """`x` cut along `axis` into equal `sections`, or before each of the indices `sections`.

    >>> [part.shape for part in split(np.ones(6), [2])]
    [(2,), (4,)]
    """
    (axis,) = np.lib.array_utils.normalize_axis_tuple(axis, len(shape_of(x)))
    n = shape_of(x)[axis]
    if isinstance(sections, int):
        if n % sections:
            raise ValueError(f"split: an axis of length {n} does not divide into {sections} equal parts")
        sections = range(n // sections, n, n // sections) if n else [0] * (sections - 1)
    ends = [*sections, n]
    lead = (slice(None),) * axis
    return [x[(*lead, slice(a, b))] for a, b in zip([0, *ends[:-1]], ends, strict=True)]


# ----- The vector a tree unravels from (minigrad.ravel) -----


def _impl_unravel(xp: Any, v: Any, shapes: tuple[tuple[int, ...], ...]) -> tuple[Any, ...]:
    ends = list(accumulate(math.prod(s) for s in shapes))
    return tuple(v[a:b].reshape(s) for a, b, s in zip([0, *ends[:-1]], ends, shapes, strict=True))


def _unravel_jvp(primals: Any, tangents: Any, params: dict) -> tuple[Any, Any]:
    return unravel_vector(*primals, **params), unravel_vector(*tangents, **params)


def _unravel_transpose(cts: tuple, args: Any, params: dict, linear: tuple[int, ...]) -> list[Any]:
    like = next(ct for ct in cts if ct is not None)
    xp, dtype = namespace_of(like), args[0].dtype
    return [
        concatenate(
            [
                xp.zeros(math.prod(s), dtype) if ct is None else reshape(ct, (-1,))
                for ct, s in zip(cts, params["shapes"], strict=True)
            ]
        )
    ]


unravel_vector = Primitive(
    "unravel", _impl_unravel, multiple=True, doc="views of a vector, one for each shape"
)
defjoint(unravel_vector, lambda args, params: list(params["shapes"]), _unravel_transpose, (0,), _unravel_jvp)

for _prim in (_reshape, _transpose, _pad, _concatenate, unravel_vector):
    _prim.flops = no_flops
