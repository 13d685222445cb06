"""How k arrays along a leading axis become one: in rows or channels, for the `batch` rules of operations.

Where no such way is known, the primitive is run for one after the other.
"""

from collections.abc import Sequence
from typing import Any

from ..core import Primitive, shape_of
from .index import take
from .shape import moveaxis, reshape, stack


def fold_first(x: Any) -> Any:
    """(k, n, ...) as (k n, ...)."""
    k, n, *rest = shape_of(x)
    return reshape(x, (k * n, *rest))


def split_first(y: Any, k: int) -> Any:
    """(k n, ...) as (k, n, ...)."""
    n, *rest = shape_of(y)
    return reshape(y, (k, n // k if k else 0, *rest))


def front_to_last(x: Any) -> Any:
    """(k, ..., c) as (..., k c)."""
    k, *rest, c = shape_of(x)
    return reshape(moveaxis(x, 0, -2), (*rest, k * c))


def last_to_front(y: Any, k: int) -> Any:
    """(..., k c) as (k, ..., c)."""
    *rest, c = shape_of(y)
    return moveaxis(reshape(y, (*rest, k, c // k if k else 0)), -2, 0)


def one_by_one(prim: Primitive, args: Sequence[Any], params: dict, batched: Sequence[int]) -> Any:
    """The primitive on each slice of its batched arguments, the results stacked."""
    slices = range(shape_of(args[batched[0]])[0])
    outs = [
        prim(*[take(a, j, 0) if i in batched else a for i, a in enumerate(args)], **params) for j in slices
    ]
    return tuple([stack(ys) for ys in zip(*outs, strict=True)]) if prim.multiple else stack(outs)
