"""Indexing: `x[index]`, what adds or puts values there, choices by index or mask, and searches.

An index is a constant: integers, slices, None, Ellipsis, boolean masks and integer arrays, as NumPy takes
them. So is what a search finds: plain integers, also in the functions of traced arrays.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..backend import kernels_of
from ..core import Primitive, Tracer, dtype_of, namespace_of, nbytes_of, shape_of, size_of, touched
from ..rules import astype, defjoint, deflinear, defzero, input_flops, no_flops
from .elementwise import equal, where
from .reduce import axes_of
from .shape import as_array, broadcast_arrays, broadcast_to, ravel_array, reshape

__all__ = [
    "argwhere",
    "bincount",
    "choose",
    "compress",
    "digitize",
    "extract",
    "flatnonzero",
    "getitem",
    "index_add",
    "index_set",
    "nonzero",
    "scatter",
    "searchsorted",
    "take",
    "take_along_axis",
]


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


def index_add(x: Any, index: Any, values: Any) -> Any:
    """A new array: `x` with `values`, in its dtype, added at `index`, repeatedly where it repeats.

    >>> index_add(np.ones(3), [0, 0], 5.0)
    array([11.,  1.,  1.])
    """
    return x + scatter(_for(x, index, values), index, shape_of(x))


def index_set(x: Any, index: Any, values: Any) -> Any:
    """A new array: `x` with `values`, in its dtype, in the place of `x[index]`.

    Raises ValueError when the index reaches an element twice, as no rule says which value stays.

    >>> index_set(np.ones(3), 0, 5.0)
    array([5., 1., 1.])
    """
    values = _for(x, index, values)
    if not _reaches_once(index):
        xp = namespace_of(x)
        reached = _impl_getitem(xp, xp.reshape(xp.arange(size_of(x)), shape_of(x)), index)
        if size_of(xp.unique_values(reached)) != size_of(reached):
            raise ValueError(
                f"index_set: the index reaches an element of shape {shape_of(x)} twice, "
                "and no rule says which value stays: index_add adds them up"
            )
    return _index_set(as_array(x), values, index=index)


def _for(x: Any, index: Any, values: Any) -> Any:
    """`values` as `x[index] = values` takes them: in the dtype of x and the shape of x[index]."""
    return broadcast_to(astype(as_array(values, x), dtype=dtype_of(x)), _indexed_shape(x, index))


_getitem = Primitive("getitem", lambda xp, x, index: _impl_getitem(xp, x, index), doc="x[index]")
_scatter = Primitive(
    "scatter",
    lambda xp, values, index, shape: _impl_scatter(xp, values, index, shape),
    doc="values added into zeros at an index",
)
_index_set = Primitive(
    "index_set",
    lambda xp, x, values, index: _impl_index_set(xp, x, values, index),
    doc="x with x[index] = values",
)


def _impl_getitem(xp: Any, x: Any, index: Any) -> Any:
    x = xp.asarray(x)
    last = index[-1] if type(index) is tuple and index else index
    if hasattr(last, "shape") and dtype_of(last).kind in "iu":
        before = index[:-1] if type(index) is tuple else ()
        if all(type(i) is slice and i == slice(None) for i in before):
            return xp.take(x, last, axis=len(before))
    return x[index]


def _impl_scatter(xp: Any, values: Any, index: Any, shape: tuple[int, ...]) -> Any:
    if _reaches_once(index):
        out = kernels_of(xp).zeros(shape, values.dtype)
        _put(xp, out, index, values)
        return out
    n = math.prod(shape)
    places = _impl_getitem(xp, xp.reshape(xp.arange(n), shape), index)
    values = xp.reshape(xp.broadcast_to(values, places.shape), (-1,))
    return xp.reshape(_sums(xp, values, xp.reshape(places, (-1,)), n), shape)


def _sums(xp: Any, values: Any, places: Any, n: int) -> Any:
    """The sum of the values at each of n places, floating-point ones in double precision."""
    dtype = dtype_of(values)
    if dtype.kind == "c" and dtype.itemsize <= 16:
        return xp.astype(
            _sums(xp, xp.real(values), places, n) + 1j * _sums(xp, xp.imag(values), places, n), values.dtype
        )
    if dtype.kind == "f" and dtype.itemsize <= 8:
        return xp.astype(xp.bincount(places, weights=values, minlength=n), values.dtype, copy=False)
    return _sums_in_rounds(xp, values, places, n)


def _sums_in_rounds(xp: Any, values: Any, places: Any, n: int) -> Any:
    """The same for integers and extended precision: one value a place in each round."""
    out, order = xp.zeros(n, dtype=values.dtype), xp.argsort(places)
    values, places = values[order], places[order]
    while places.shape[0]:
        first = xp.concat([xp.ones(1, dtype=bool), places[1:] != places[:-1]])
        out[places[first]] += values[first]
        values, places = values[~first], places[~first]
    return out


def _impl_index_set(xp: Any, x: Any, values: Any, index: Any) -> Any:
    out = xp.asarray(x, copy=True)
    _put(xp, out, index, values)
    return out


def _put(xp: Any, out: Any, index: Any, values: Any) -> None:
    """out[index] = values, in which index may hold None."""
    if any(i is None for i in (index if isinstance(index, tuple) else (index,))):
        index = tuple(i for i in index if i is not None) if isinstance(index, tuple) else ...
        values = xp.reshape(values, out[index].shape) if hasattr(values, "shape") else values
    out[index] = values


def _reaches_once(index: Any) -> bool:
    """Can no element be reached twice? So it is with slices, numbers and a mask."""
    arrays = _arrays(index)
    return not arrays or (len(arrays) == 1 and dtype_of(arrays[0]).kind == "b")


def _arrays(index: Any) -> list[Any]:
    """The arrays in an index; there are none in a basic one, which gives a view."""
    return [as_array(i) for i in (index if isinstance(index, tuple) else (index,)) if not _is_basic(i)]


def _is_basic(part: Any) -> bool:
    return part is None or part is Ellipsis or isinstance(part, (int, np.integer, slice))


def _indexed_shape(x: Any, index: Any) -> tuple[int, ...]:
    # A view of one element repeated: NumPy's own indexing rules, without the data.
    return np.broadcast_to(np.empty((), bool), shape_of(x))[_stand_in(index)].shape


def _stand_in(index: Any) -> Any:
    """A NumPy array that selects as many elements, for the arrays of another library in an index."""
    if isinstance(index, tuple):
        return tuple(map(_stand_in, index))
    if isinstance(index, np.ndarray) or not getattr(index, "shape", ()):
        return index
    if dtype_of(index).kind != "b":
        return np.broadcast_to(0, index.shape)
    count = int(namespace_of(index).count_nonzero(index))
    return np.arange(size_of(index)).reshape(index.shape) < count


def _index_set_jvp(primals: Any, tangents: Any, params: dict) -> tuple[Any, Any]:
    (x, _), (dx, dvalues), index = primals, tangents, params["index"]
    if dx is None:
        return _index_set(*primals, index=index), _scatter(dvalues, index=index, shape=shape_of(x))
    return _index_set(*primals, index=index), _index_set(dx, 0.0 if dvalues is None else dvalues, index=index)


deflinear(_getitem, _indexed_shape, lambda ct, x, index: _scatter(ct, index=index, shape=shape_of(x)))
deflinear(
    _scatter, lambda values, index, shape: shape, lambda ct, values, index, shape: _getitem(ct, index=index)
)
defjoint(
    _index_set,
    lambda args, params: shape_of(args[0]),
    lambda ct, args, params, linear: [
        _getitem(ct, **params) if i else _index_set(ct, 0.0, **params) for i in linear
    ],
    (0, 1),
    _index_set_jvp,
)


def _batched(index: Any, shape: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
    """`index` for behind a leading axis, and the shape that what it goes into is to have there.

    Arrays in an index can bring their axes to the front; so they become one, of places in the flat array.
    """
    parts = index if isinstance(index, tuple) else (index,)
    if all(map(_is_basic, parts)):
        return (slice(None), *parts), shape
    xp = namespace_of(next((i for i in parts if hasattr(i, "shape")), None))
    n = math.prod(shape)
    return (slice(None), _impl_getitem(xp, xp.reshape(xp.arange(n), shape), index)), (n,)


def _getitem_batch(args: Sequence[Any], params: dict, batched: Sequence[int]) -> Any:
    k, *shape = shape_of(args[0])
    index, flat = _batched(params["index"], tuple(shape))
    return _getitem(reshape(args[0], (k, *flat)), index=index)


def _scatter_batch(args: Sequence[Any], params: dict, batched: Sequence[int]) -> Any:
    k, shape = shape_of(args[0])[0], params["shape"]
    index, flat = _batched(params["index"], shape)
    return reshape(_scatter(args[0], index=index, shape=(k, *flat)), (k, *shape))


def _index_set_batch(args: Sequence[Any], params: dict, batched: Sequence[int]) -> Any:
    (x, values), k = args, shape_of(args[batched[0]])[0]
    shape = shape_of(x)[1:] if 0 in batched else shape_of(x)
    index, flat = _batched(params["index"], shape)
    x = reshape(x if 0 in batched else broadcast_to(x, (k, *shape)), (k, *flat))
    return reshape(_index_set(x, values, index=index), (k, *shape))


_getitem.batch, _scatter.batch, _index_set.batch = _getitem_batch, _scatter_batch, _index_set_batch
_getitem.flops = _index_set.flops = no_flops
_scatter.flops = lambda args, outs, params: 0 if _reaches_once(params["index"]) else size_of(args[0])


def _getitem_bytes(args: Sequence[Any], outs: Sequence[Any], params: dict) -> int:
    """The index and what it names are read, the result is written: the rest of the array is not touched."""
    arrays = _arrays(params["index"])
    return sum(map(nbytes_of, arrays)) + 2 * nbytes_of(outs[0]) if arrays else 0


def _bytes_with_index(args: Sequence[Any], outs: Sequence[Any], params: dict) -> int:
    return touched(args, outs, params) + sum(map(nbytes_of, _arrays(params["index"])))


_getitem.bytes, _scatter.bytes, _index_set.bytes = _getitem_bytes, _bytes_with_index, _bytes_with_index


# ----- Elements along an axis -----


def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """Slices of `x` along `axis` at integer `indices`; of the flattened `x` without an axis.

    >>> take(np.arange(3.0), [2, 0])
    array([2., 0.])
    """
    x = as_array(x)
    if axis is None:
        x, axis = ravel_array(x), 0
    (axis,) = axes_of(x, axis)
    indices = _positions(x, indices)
    rest = (...,) if isinstance(indices, int) and axis + 1 < len(shape_of(x)) else ()
    return getitem(x, (*(slice(None),) * axis, indices, *rest))


def take_along_axis(x: Any, indices: Any, axis: int | None = -1) -> Any:
    """Elements of `x` at `indices` along `axis`, which have as many axes as `x`: what argsort finds.

    >>> take_along_axis(np.array([[3.0, 4.0]]), np.array([[1, 0]]), axis=1)
    array([[4., 3.]])
    """
    x = as_array(x)
    if axis is None:
        x, axis = ravel_array(x), 0
    (axis,) = axes_of(x, axis)
    indices, xp = _positions(x, indices), namespace_of(x)
    shape = shape_of(x)
    if len(shape_of(indices)) != len(shape):
        raise ValueError(
            f"take_along_axis: indices of shape {shape_of(indices)} must have as many axes as shape {shape}"
        )
    places = [xp.reshape(xp.arange(n), (-1, *[1] * (len(shape) - 1 - i))) for i, n in enumerate(shape)]
    return getitem(x, (*places[:axis], indices, *places[axis + 1 :]))


def compress(condition: Any, x: Any, axis: int | None = None) -> Any:
    """Slices of `x` along `axis` where the vector `condition` holds; of the flattened `x` without an axis.

    >>> compress([True, False, True], np.arange(3.0))
    array([0., 2.])
    """
    if len(shape_of(condition)) != 1:
        raise ValueError(f"compress: the condition has shape {shape_of(condition)}, but must be a vector")
    return take(x, flatnonzero(condition), axis)


def extract(condition: Any, x: Any) -> Any:
    """The elements of `x` where `condition`, of the same size, holds: a vector.

    >>> extract([[True, False]], np.array([[3.0, 4.0]]))
    array([3.])
    """
    return take(x, flatnonzero(condition))


def _positions(x: Any, indices: Any) -> Any:
    if isinstance(indices, (int, np.integer)):
        return int(indices)
    if isinstance(indices, Tracer):
        return indices
    xp = namespace_of(x)
    indices = xp.asarray(indices)
    empty_list = size_of(indices) == 0 and dtype_of(indices).kind == "f"
    return xp.astype(indices, xp.int64) if empty_list else indices


# ----- One of several arrays -----


def choose(a: Any, choices: Sequence[Any]) -> Any:
    """Elements of the array in `choices` that the integers `a` name, all broadcast together.

    Raises ValueError when `a` names an array that is not there.

    >>> choose([1, 0], [np.zeros(2), np.ones(2)])
    array([1., 0.])
    """
    a, *arrays = broadcast_arrays(as_array(a), *map(as_array, choices))
    xp = namespace_of(a)
    if xp.any(a < 0) or xp.any(a >= len(arrays)):
        raise ValueError(f"choose: the integers must name one of {len(arrays)} arrays, from 0 on")
    out = arrays[0]
    for i, x in enumerate(arrays[1:], 1):
        out = where(equal(a, i), x, out)
    return out


# ----- Positions: constants -----


def nonzero(x: Any) -> tuple:
    """Where `x` is not zero: an integer array an axis, such that x[nonzero(x)] are those elements.

    >>> nonzero(np.array([0.0, 5.0]))
    (array([1]),)
    """
    if not shape_of(x):
        raise ValueError("nonzero: a number has no axes: use atleast_1d")
    places, shape = flatnonzero(x), shape_of(x)
    steps = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    return tuple([places // step % n for step, n in zip(steps, shape, strict=True)])


def argwhere(x: Any) -> Any:
    """Where `x` is not zero: one row of integers an element.

    >>> argwhere(np.array([0.0, 5.0]))
    array([[1]])
    """
    if shape_of(x):
        xp = namespace_of(x)
        return xp.stack(nonzero(x), axis=-1)
    places = flatnonzero(x)
    return namespace_of(places).zeros((size_of(places), 0), dtype=dtype_of(places))


def flatnonzero(x: Any) -> Any:
    """Where the flattened `x` is not zero.

    >>> flatnonzero(np.array([[0.0, 5.0]]))
    array([1])
    """
    return _flatnonzero(as_array(x))


def searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Any:
    """Where `v` is to be put into the sorted vector `a` so that it stays sorted.

    >>> int(searchsorted([1.0, 2.0], 1.5))
    1
    """
    return _searchsorted(as_array(a), as_array(v), side=side, sorter=sorter)


def digitize(x: Any, bins: Any, right: bool = False) -> Any:
    """The number of the interval between monotonic `bins` that each element of `x` lies in.

    Intervals are open at their right end, with `right` at their left end.

    >>> digitize(np.array([0.5, 1.5]), [0.0, 1.0])
    array([1, 2])
    """
    return _digitize(as_array(x), as_array(bins), right=bool(right))


def bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each integer from 0 on occurs in the vector `x`; with `weights`, the sum of theirs.

    >>> bincount([0, 2, 2], [1.0, 2.0, 3.0])
    array([1., 0., 5.])
    """
    x = as_array(x)
    counts = namespace_of(x).bincount(x, minlength=minlength)
    if weights is None:
        return counts
    weights = as_array(weights)
    if shape_of(weights) != shape_of(x):
        raise ValueError(
            f"bincount: weights of shape {shape_of(weights)} for integers of shape {shape_of(x)}"
        )
    weights = astype(weights, dtype=np.dtype(float)) if dtype_of(weights).kind in "biu" else weights
    return scatter(weights, x, shape_of(counts))


_flatnonzero = Primitive(
    "flatnonzero", lambda xp, x: xp.nonzero(xp.reshape(x, (-1,)))[0], doc="where the flattened x is not zero"
)
_searchsorted = Primitive(
    "searchsorted",
    lambda xp, a, v, side, sorter: xp.searchsorted(a, v, side=side, sorter=sorter),
    doc="where v belongs in the sorted a",
)
_digitize = Primitive(
    "digitize", lambda xp, x, bins, right: xp.digitize(x, bins, right=right), doc="the interval x lies in"
)
for _prim in (_flatnonzero, _searchsorted, _digitize):
    defzero(_prim)
_flatnonzero.flops = input_flops
# A comparison for each halving of the sorted vector.
_searchsorted.flops = lambda args, outs, params: math.prod(outs[0]) * size_of(args[0]).bit_length()
_digitize.flops = lambda args, outs, params: math.prod(outs[0]) * size_of(args[1]).bit_length()
