"""Order: sort, partition, and the permutations that do it.

A permutation is a constant, so a sorted array is the array gathered by its argsort: each element takes its
derivative along. Sorting is stable, so equal elements keep their order; NaN goes last.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import Primitive
from ..rules import defzero, input_flops
from .index import take_along_axis
from .reduce import along
from .shape import as_array

__all__ = ["argpartition", "argsort", "lexsort", "partition", "sort"]


def sort(x: Any, axis: int | None = -1, kind: str | None = None, *, stable: bool | None = None) -> Any:
    """`x` sorted along `axis`, or flattened and sorted for None; always stable, whatever `kind` says.

    >>> sort([3.0, 1.0, 2.0])
    array([1., 2., 3.])
    """
    x, axis = along(x, axis)
    return take_along_axis(x, argsort(x, axis), axis)


def partition(x: Any, kth: int | Sequence[int], axis: int | None = -1) -> Any:
    """`x` with the elements at `kth` along `axis` in their sorted places, smaller ones before, larger behind.

    >>> float(partition([3.0, 1.0, 2.0], 1)[1])
    2.0
    """
    x, axis = along(x, axis)
    return take_along_axis(x, argpartition(x, kth, axis), axis)


def argsort(x: Any, axis: int | None = -1, kind: str | None = None, *, stable: bool | None = None) -> Any:
    """The indices that sort `x` along `axis`; always stable, whatever `kind` says.

    >>> argsort([3.0, 1.0, 2.0])
    array([1, 2, 0])
    """
    x, axis = along(x, axis)
    return _argsort(x, axis=axis)


def argpartition(x: Any, kth: int | Sequence[int], axis: int | None = -1) -> Any:
    """The indices that partition `x` along `axis`.

    >>> int(argpartition([3.0, 1.0, 2.0], 1)[1])
    2
    """
    x, axis = along(x, axis)
    return _argpartition(x, kth=kth, axis=axis)


def lexsort(keys: Any, axis: int = -1) -> Any:
    """The indices that sort along `axis` by the last of `keys`, and by the ones before it where that ties.

    >>> lexsort(([2.0, 1.0, 0.0], [0.0, 0.0, 1.0]))
    array([1, 0, 2])
    """
    order, *others = [as_array(keys[i]) for i in range(len(keys))]
    order = argsort(order, axis)
    for key in others:
        order = take_along_axis(order, argsort(take_along_axis(key, order, axis), axis), axis)
    return order


def _impl_argsort(xp: Any, x: Any, axis: int) -> Any:
    return xp.argsort(x, axis=axis, **({"stable": True} if xp is np else {}))  # others sort stably by default


def _sort_flops(args: Sequence[Any], outs: Sequence[tuple], params: dict) -> int:
    """n log₂ n comparisons for each slice."""
    return round(math.prod(outs[0]) * math.log2(max(outs[0][params["axis"]], 1)))


_argsort = Primitive("argsort", _impl_argsort, doc="indices that sort along an axis")
_argpartition = Primitive(
    "argpartition",
    lambda xp, x, kth, axis: xp.argpartition(x, kth, axis=axis),
    doc="indices that put some elements in their sorted places",
)
for _prim in (_argsort, _argpartition):
    defzero(_prim)
_argsort.flops = _sort_flops
_argpartition.flops = input_flops
