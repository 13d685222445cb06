"""Shapes: reshape, transpose, broadcast, concatenate, stack, split, and a tree's vector.

All are linear, move data without arithmetic, and are each other's transposes.
"""

import builtins
import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from ..backend import kernels_of
from ..core import Primitive, dtype_of, namespace_of, shape_of, size_of
from ..rules import broadcast_to as _broadcast_to
from ..rules import defjoint, deflinear, fit, no_bytes, no_flops

__all__ = [
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_arrays",
    "broadcast_to",
    "concatenate",
    "expand_dims",
    "matrix_transpose",
    "moveaxis",
    "permute_dims",
    "ravel_array",
    "reshape",
    "rollaxis",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "transpose",
    "unstack",
]

# ----- Another shape of the same size -----


def reshape(x: Any, shape: int | Sequence[int], order: str = "C") -> Any:
    """`x` with another shape of the same size; one length may be -1.

    Elements keep their order by rows; raises ValueError for another `order`, or a shape of another size.

    >>> reshape(np.arange(4.0), (2, -1)).shape
    (2, 2)
    """
    if order != "C":
        raise ValueError(
            f"reshape: order={order!r} is not supported: transpose before and after, "
            "reshape(x.T, shape[::-1]).T goes by columns"
        )
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


def ravel_array(x: Any, order: str = "C") -> Any:
    """`x` as a vector (`minigrad.ravel` does it for trees).

    >>> ravel_array(np.ones((2, 3))).shape
    (6,)
    """
    return reshape(x, (size_of(x),), order)


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


def atleast_1d(*arrays: Any) -> Any:
    """Each array with one axis at least; a tuple of them when there are several.

    >>> atleast_1d(2.0)
    array([2.])
    """
    return _each(lambda shape: shape or (1,), arrays)


def atleast_2d(*arrays: Any) -> Any:
    """Each array with two axes at least, new ones in front; a tuple of them when there are several.

    >>> atleast_2d(np.ones(3)).shape
    (1, 3)
    """
    return _each(lambda shape: (1,) * (2 - len(shape)) + shape, arrays)


def atleast_3d(*arrays: Any) -> Any:
    """Each array with three axes at least: (n,) becomes (1, n, 1), (m, n) becomes (m, n, 1), as in NumPy.

    >>> atleast_3d(np.ones(3)).shape
    (1, 3, 1)
    """
    return _each(lambda shape: shape if len(shape) > 2 else (*(1,) * (2 - len(shape)), *shape, 1), arrays)


def _each(shape: Callable, arrays: Sequence[Any]) -> Any:
    out = tuple(reshape(as_array(x), shape(shape_of(x))) for x in arrays)
    return out if len(out) != 1 else out[0]


# ----- Axes in another order -----


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


_transpose = Primitive("transpose", lambda xp, x, axes: xp.permute_dims(x, axes), doc="axes in another order")
deflinear(
    _transpose,
    lambda x, axes: tuple(shape_of(x)[i] for i in axes),
    lambda ct, x, axes: _transpose(ct, axes=tuple(int(i) for i in np.argsort(axes))),
)


permute_dims = transpose


def matrix_transpose(x: Any) -> Any:
    """`x` with its last two axes exchanged; raises ValueError when there are fewer.

    >>> matrix_transpose(np.ones((5, 2, 3))).shape
    (5, 3, 2)
    """
    if len(shape_of(x)) < 2:
        raise ValueError(f"matrix_transpose: an array of shape {shape_of(x)} has no two axes to exchange")
    return swapaxes(x, -1, -2)


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


def rollaxis(x: Any, axis: int, start: int = 0) -> Any:
    """`x` with `axis` moved in front of the axis that is at `start`; `moveaxis` is easier to read.

    >>> rollaxis(np.ones((2, 3, 4)), 2, 1).shape
    (2, 4, 3)
    """
    ndim = len(shape_of(x))
    (axis,) = np.lib.array_utils.normalize_axis_tuple(axis, ndim)
    (start,) = np.lib.array_utils.normalize_axis_tuple(start, ndim + 1) if start >= 0 else (start + ndim,)
    return moveaxis(x, axis, start - (axis < start))


# ----- Broadcasting -----


def broadcast_to(x: Any, shape: int | Sequence[int]) -> Any:
    """`x` repeated to `shape`.

    >>> broadcast_to(1.0, (2,))
    array([1., 1.])
    """
    return _broadcast_to(x, shape=(shape,) if isinstance(shape, int) else tuple(shape))


def broadcast_arrays(*arrays: Any) -> tuple:
    """All `arrays`, each repeated to the shape they broadcast to.

    >>> [x.shape for x in broadcast_arrays(np.ones((2, 1)), np.ones(3))]
    [(2, 3), (2, 3)]
    """
    shape = np.broadcast_shapes(*map(shape_of, arrays))
    return tuple(x if shape_of(x) == shape else _broadcast_to(x, shape=shape) for x in arrays)


# ----- Joining and cutting -----


def concatenate(arrays: Sequence[Any], axis: int | None = 0) -> Any:
    """`arrays` one after the other along `axis`; None joins them as vectors.

    >>> concatenate([np.ones(1), np.zeros(2)])
    array([1., 0., 0.])
    """
    arrays = _alike(arrays)
    if not arrays:
        raise ValueError("concatenate: there are no arrays to join")
    if axis is None:
        arrays, axis = [ravel_array(x) for x in arrays], 0
    shapes = [shape_of(x) for x in arrays]
    (axis,) = np.lib.array_utils.normalize_axis_tuple(axis, len(shapes[0]))
    if len({len(s) for s in shapes}) > 1 or len({(*s[:axis], *s[axis + 1 :]) for s in shapes}) > 1:
        raise ValueError(f"concatenate: shapes {', '.join(map(str, shapes))} differ in more than axis {axis}")
    return _concatenate(*arrays, axis=axis)


def _concatenate_jvp(primals: Any, tangents: Any, params: dict) -> tuple[Any, Any]:
    ans = _concatenate(*primals, **params)
    zeros = [
        namespace_of(x).zeros(shape_of(x), dtype=dtype_of(x)) if t is None else t
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
    return [ct[(*lead, slice(ends[i] - shape_of(args[i])[axis], ends[i]), ...)] for i in linear]


_concatenate = Primitive(
    "concatenate",
    lambda xp, *xs, axis: kernels_of(xp).concatenate(xs, axis),
    doc="arrays joined along an axis",
)
defjoint(_concatenate, _concatenate_shape, _concatenate_transpose, None, _concatenate_jvp)


def stack(arrays: Sequence[Any], axis: int = 0) -> Any:
    """`arrays` of one shape, joined along a new axis.

    >>> stack([np.ones(2), np.zeros(2)]).shape
    (2, 2)
    """
    arrays = _alike(arrays)
    shapes = {shape_of(x): None for x in arrays}
    if len(shapes) > 1:
        raise ValueError(
            f"stack: shapes {', '.join(map(str, shapes))} differ: concatenate joins along an axis"
        )
    return concatenate([expand_dims(x, axis) for x in arrays], axis)


def split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Any]:
    """`x` cut along `axis` into equal sections, or before each of the indices.

    >>> [part.shape for part in split(np.ones(6), [2])]
    [(2,), (4,)]
    """
    x = as_array(x)
    (axis,) = np.lib.array_utils.normalize_axis_tuple(axis, len(shape_of(x)))
    n = shape_of(x)[axis]
    if np.ndim(indices_or_sections) == 0:
        sections = int(indices_or_sections)  # type: ignore[arg-type]
        if sections < 1 or n % sections:
            raise ValueError(
                f"split: an axis of length {n} does not divide into {sections} equal parts: "
                "array_split makes parts that differ by one"
            )
        return cut(x, [n // sections * i for i in range(1, sections)], axis)
    return cut(x, [int(i) for i in indices_or_sections], axis)  # type: ignore[union-attr]


def unstack(x: Any, axis: int = 0) -> tuple:
    """The slices of `x` along `axis`, as a tuple.

    >>> unstack(np.array([1.0, 2.0]))
    (array(1.), array(2.))
    """
    x = as_array(x)
    if not shape_of(x):
        raise ValueError("unstack: a 0-d array has no axis to cut along")
    (axis,) = np.lib.array_utils.normalize_axis_tuple(axis, len(shape_of(x)))
    n = shape_of(x)[axis]
    return tuple(squeeze(part, axis) for part in cut(x, range(1, n), axis)) if n else ()


def cut(x: Any, places: Sequence[int], axis: int) -> list[Any]:
    """`x` cut along `axis` before each place; a negative one counts from the end, as in a slice."""
    n = shape_of(x)[axis]
    places = [max(i + n, 0) if i < 0 else min(i, n) for i in places]
    pairs = tuple(zip([0, *places], [*places, n], strict=True))
    if places == sorted(places):
        return list(_split(x, pairs=pairs, axis=axis))
    return [x[(*(slice(None),) * axis, slice(a, max(a, b)), ...)] for a, b in pairs]


def _split_jvp(primals: Any, tangents: Any, params: dict) -> tuple[Any, Any]:
    return _split(*primals, **params), _split(*tangents, **params)


def _split_shapes(args: Any, params: dict) -> list[tuple[int, ...]]:
    shape, axis = shape_of(args[0]), params["axis"]
    return [(*shape[:axis], b - a, *shape[axis + 1 :]) for a, b in params["pairs"]]


def _split_transpose(cts: tuple, args: Any, params: dict, linear: tuple[int, ...]) -> list[Any]:
    xp = namespace_of(next(ct for ct in cts if ct is not None))
    shapes = _split_shapes(args, params)
    parts = [
        xp.zeros(s, dtype=dtype_of(args[0])) if ct is None else ct for ct, s in zip(cts, shapes, strict=True)
    ]
    return [concatenate(parts, params["axis"])]


_split = Primitive(
    "split",
    lambda xp, x, pairs, axis: tuple([x[(*(slice(None),) * axis, slice(a, b), ...)] for a, b in pairs]),
    multiple=True,
    doc="views of an array, one after the other along an axis",
)
defjoint(_split, _split_shapes, _split_transpose, (0,), _split_jvp)


# ----- The vector a tree unravels from (minigrad.ravel) -----


def _impl_unravel(xp: Any, v: Any, shapes: tuple[tuple[int, ...], ...]) -> tuple[Any, ...]:
    ends = list(accumulate(math.prod(s) for s in shapes))
    return tuple([xp.reshape(v[a:b], s) for a, b, s in zip([0, *ends[:-1]], ends, shapes, strict=True)])


def _unravel_jvp(primals: Any, tangents: Any, params: dict) -> tuple[Any, Any]:
    return unravel_vector(*primals, **params), unravel_vector(*tangents, **params)


def _unravel_transpose(cts: tuple, args: Any, params: dict, linear: tuple[int, ...]) -> list[Any]:
    like = next(ct for ct in cts if ct is not None)
    xp, dtype = namespace_of(like), args[0].dtype
    return [
        concatenate(
            [
                xp.zeros(math.prod(s), dtype=dtype) if ct is None else reshape(ct, (-1,))
                for ct, s in zip(cts, params["shapes"], strict=True)
            ]
        )
    ]


unravel_vector = Primitive(
    "unravel", _impl_unravel, multiple=True, doc="views of a vector, one for each shape"
)
defjoint(unravel_vector, lambda args, params: list(params["shapes"]), _unravel_transpose, (0,), _unravel_jvp)

for _prim in (_reshape, _transpose, _concatenate, _split, unravel_vector):
    _prim.flops = no_flops
for _prim in (_reshape, _transpose, _split, unravel_vector):
    _prim.bytes = no_bytes


# ----- Many at once: a leading axis stays where it is -----


def _concatenate_batch(args: Sequence[Any], params: dict, batched: Sequence[int]) -> Any:
    k = shape_of(args[batched[0]])[0]
    full = [x if i in batched else _broadcast_to(x, shape=(k, *shape_of(x))) for i, x in enumerate(args)]
    return _concatenate(*full, axis=params["axis"] + 1)


def _unravel_batch(args: Sequence[Any], params: dict, batched: Sequence[int]) -> tuple:
    (v,), shapes = args, params["shapes"]
    parts = cut(v, list(accumulate(math.prod(s) for s in shapes[:-1])), 1)
    return tuple([reshape(part, (shape_of(v)[0], *s)) for part, s in zip(parts, shapes, strict=True)])


_reshape.batch = lambda args, params, batched: reshape(args[0], (shape_of(args[0])[0], *params["shape"]))
_transpose.batch = lambda args, params, batched: _transpose(
    args[0], axes=(0, *[i + 1 for i in params["axes"]])
)
_split.batch = lambda args, params, batched: _split(args[0], pairs=params["pairs"], axis=params["axis"] + 1)
_concatenate.batch, unravel_vector.batch = _concatenate_batch, _unravel_batch


def as_array(x: Any, like: Any = None) -> Any:
    """Numbers and lists of them as arrays of the library of `like`; arrays and tracers as they are."""
    if hasattr(x, "shape") and (like is None or not isinstance(x, np.generic)):
        return x
    return np.asarray(x) if like is None else namespace_of(like).asarray(x)


def _alike(arrays: Sequence[Any]) -> list[Any]:
    like = next((x for x in arrays if hasattr(x, "shape")), None)
    return [as_array(x, like) for x in arrays]
