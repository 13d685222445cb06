"""Joining and cutting along named axes: hstack, vstack, block, hsplit, array_split, append, meshgrid.

All are `concatenate`, `split` and broadcasting under the names NumPy has for them.
"""

from collections.abc import Sequence
from typing import Any

from ..core import shape_of
from .reduce import axes_of
from .shape import (
    as_array,
    atleast_1d,
    atleast_2d,
    atleast_3d,
    broadcast_arrays,
    concatenate,
    cut,
    ravel_array,
    reshape,
    split,
    transpose,
)

__all__ = [
    "append",
    "array_split",
    "block",
    "column_stack",
    "dsplit",
    "dstack",
    "hsplit",
    "hstack",
    "meshgrid",
    "vsplit",
    "vstack",
]

# ----- Joining -----


def hstack(tup: Sequence[Any]) -> Any:
    """Arrays side by side: joined along the second axis, vectors along their only one.

    >>> hstack([np.zeros(1), np.ones(2)])
    array([0., 1., 1.])
    """
    arrays = [atleast_1d(x) for x in tup]
    return concatenate(arrays, 0 if arrays and len(shape_of(arrays[0])) == 1 else 1)


def vstack(tup: Sequence[Any]) -> Any:
    """Arrays one below the other: joined along the first axis, a vector counting as a row.

    >>> vstack([np.zeros(2), np.ones(2)]).shape
    (2, 2)
    """
    return concatenate([atleast_2d(x) for x in tup], 0)


def dstack(tup: Sequence[Any]) -> Any:
    """Arrays one behind the other: joined along the third axis.

    >>> dstack([np.zeros((2, 3)), np.ones((2, 3))]).shape
    (2, 3, 2)
    """
    return concatenate([atleast_3d(x) for x in tup], 2)


def column_stack(tup: Sequence[Any]) -> Any:
    """Vectors and matrices side by side, a vector counting as a column.

    >>> column_stack([np.zeros(3), np.ones(3)]).shape
    (3, 2)
    """
    return concatenate([transpose(atleast_2d(x)) if len(shape_of(x)) < 2 else x for x in tup], 1)


def append(x: Any, values: Any, axis: int | None = None) -> Any:
    """`values` behind `x` along `axis`; without one, both as vectors.

    >>> append(np.zeros(1), 1.0)
    array([0., 1.])
    """
    return concatenate([x, as_array(values, x)], axis)


def block(arrays: Any) -> Any:
    """An array put together from blocks in nested lists: the innermost are joined along the last axis.

    Raises ValueError for lists that are empty or not all nested as deep.

    >>> block([[np.eye(2), np.zeros((2, 1))], [np.ones((1, 3))]])
    array([[1., 0., 0.],
           [0., 1., 0.],
           [1., 1., 1.]])
    """
    depths, ndims = zip(*_blocks(arrays, 0), strict=True)
    if len(set(depths)) > 1:
        raise ValueError(
            f"block: the lists are nested {min(depths)} deep in one place, {max(depths)} in another"
        )
    depth, ndim = depths[0], max(depths[0], *ndims)

    def join(part: Any, level: int) -> Any:
        if isinstance(part, list):
            return concatenate([join(p, level - 1) for p in part], -level)
        shape = shape_of(part)
        return reshape(as_array(part), (1,) * (ndim - len(shape)) + shape)

    return join(arrays, depth)


def _blocks(part: Any, depth: int) -> list[tuple[int, int]]:
    """For each block: how deep it stands in lists, and how many axes it has."""
    if not isinstance(part, list):
        return [(depth, len(shape_of(part)))]
    if not part:
        raise ValueError("block: there is an empty list among the blocks")
    return [pair for p in part for pair in _blocks(p, depth + 1)]


# ----- Cutting -----


def array_split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Any]:
    """As `split`, but sections need not be equal: the first ones are longer by one.

    >>> [part.size for part in array_split(np.ones(5), 3)]
    [2, 2, 1]
    """
    if hasattr(indices_or_sections, "__len__"):
        return split(x, indices_or_sections, axis)
    sections = int(indices_or_sections)  # type: ignore[arg-type]
    if sections < 1:
        raise ValueError(f"array_split: {sections} sections are asked for: there must be one at least")
    x = as_array(x)
    (axis,) = axes_of(x, axis)
    length, longer = divmod(shape_of(x)[axis], sections)
    return cut(x, [i * length + min(i, longer) for i in range(1, sections)], axis)


def hsplit(x: Any, indices_or_sections: int | Sequence[int]) -> list[Any]:
    """`x` cut along its second axis, a vector along its only one; as `split`.

    >>> [part.shape for part in hsplit(np.ones((2, 4)), 2)]
    [(2, 2), (2, 2)]
    """
    return _split_along("hsplit", x, indices_or_sections, 1 if len(shape_of(x)) > 1 else 0)


def vsplit(x: Any, indices_or_sections: int | Sequence[int]) -> list[Any]:
    """`x`, of two axes at least, cut along the first; as `split`.

    >>> [part.shape for part in vsplit(np.ones((4, 2)), 2)]
    [(2, 2), (2, 2)]
    """
    return _split_along("vsplit", x, indices_or_sections, 0, least=2)


def dsplit(x: Any, indices_or_sections: int | Sequence[int]) -> list[Any]:
    """`x`, of three axes at least, cut along the third; as `split`.

    >>> [part.shape for part in dsplit(np.ones((2, 2, 4)), 2)]
    [(2, 2, 2), (2, 2, 2)]
    """
    return _split_along("dsplit", x, indices_or_sections, 2, least=3)


def _split_along(name: str, x: Any, parts: int | Sequence[int], axis: int, least: int = 1) -> list[Any]:
    if len(shape_of(x)) < least:
        raise ValueError(f"{name}: an array of shape {shape_of(x)} has fewer than {least} axes: see split")
    return split(x, parts, axis)


# ----- Grids -----


def meshgrid(*xi: Any, copy: bool = True, sparse: bool = False, indexing: str = "xy") -> tuple:
    """The coordinates of a grid from those along its axes; with "xy" the first one goes along columns.

    `sparse` leaves them unrepeated, to be broadcast later. `copy` is as in NumPy, and without effect.

    >>> x, y = meshgrid(np.arange(3.0), np.arange(2.0))
    >>> x.shape, float(y[1, 0])
    ((2, 3), 1.0)
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing is {indexing!r}: use 'xy' or 'ij'")
    n = len(xi)
    places = [1, 0, *range(2, n)] if indexing == "xy" and n > 1 else list(range(n))
    vectors = [ravel_array(as_array(x)) for x in xi]
    along = [
        reshape(v, [shape_of(v)[0] if i == place else 1 for i in range(n)])
        for place, v in zip(places, vectors, strict=True)
    ]
    return tuple(along) if sparse else broadcast_arrays(*along)
