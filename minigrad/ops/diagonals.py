"""Diagonals and triangles of matrices: diag, diagonal, trace, tril, triu."""

from typing import Any

from ..core import Primitive, namespace_of, shape_of, size_of
from ..rules import deflinear, no_bytes, no_flops
from .elementwise import where
from .reduce import sum
from .shape import as_array, moveaxis, ravel_array

__all__ = [
    "diag",
    "diagflat",
    "diagonal",
    "trace",
    "tril",
    "triu",
]


def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The elements x[i, i + offset] of the matrices over two axes, as a new last axis.

    >>> diagonal(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([1., 4.])
    """
    if len(shape_of(x)) < 2:
        raise ValueError(f"diagonal: an array of shape {shape_of(x)} has no two axes")
    return _diagonal(moveaxis(as_array(x), (axis1, axis2), (-2, -1)), offset=int(offset))


def diag(x: Any, k: int = 0) -> Any:
    """The matrix with a vector `x` on its `k`-th diagonal, or the `k`-th diagonal of a matrix `x`.

    >>> diag(np.array([1.0, 2.0]))
    array([[1., 0.],
           [0., 2.]])
    """
    ndim = len(shape_of(x))
    if ndim not in (1, 2):
        raise ValueError(f"diag: an array of shape {shape_of(x)} is no vector and no matrix: see diagonal")
    if ndim == 2:
        return diagonal(x, k)
    n = size_of(x) + abs(int(k))
    return _on_diagonal(as_array(x), shape=(n, n), offset=int(k))


def diagflat(x: Any, k: int = 0) -> Any:
    """The matrix with the elements of `x` on its `k`-th diagonal.

    >>> diagflat(np.array([[1.0, 2.0]])).shape
    (2, 2)
    """
    return diag(ravel_array(x), k)


def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Any:
    """Sum of the diagonal of the matrices over two axes.

    >>> float(trace(np.eye(3)))
    3.0
    """
    return sum(diagonal(x, offset, axis1, axis2), -1, dtype=dtype)


def tril(x: Any, k: int = 0) -> Any:
    """The matrices over the last two axes with zeros above the `k`-th diagonal.

    >>> tril(np.ones((2, 2)))
    array([[1., 0.],
           [1., 1.]])
    """
    return where(_triangle(x, k), x, 0)


def triu(x: Any, k: int = 0) -> Any:
    """The matrices over the last two axes with zeros below the `k`-th diagonal.

    >>> triu(np.ones((2, 2)))
    array([[1., 1.],
           [0., 1.]])
    """
    return where(_triangle(x, k - 1), 0, x)


def _triangle(x: Any, k: int) -> Any:
    xp, shape = namespace_of(x), shape_of(x)
    if not shape:
        raise ValueError("tril, triu: a number has no triangle; an array of one axis or more has")
    return xp.tril(xp.ones((*shape, shape[0])[-2:] if len(shape) == 1 else shape[-2:], dtype=bool), k=int(k))


def _place(shape: tuple[int, ...], offset: int) -> tuple[int, slice]:
    """How long a diagonal of matrices is, and where it stands in their elements by rows."""
    rows, columns = shape[-2:]
    start = offset if offset >= 0 else -offset * columns
    n = max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)
    return n, slice(start, start + (n - 1) * (columns + 1) + 1, columns + 1) if n else slice(0)


def _impl_on_diagonal(xp: Any, values: Any, shape: tuple[int, ...], offset: int) -> Any:
    out = xp.zeros((*shape[:-2], shape[-2] * shape[-1]), dtype=values.dtype)
    out[(..., _place(shape, offset)[1])] = values
    return xp.reshape(out, shape)


_diagonal = Primitive(
    "diagonal",
    lambda xp, x, offset: xp.diagonal(x, offset, -2, -1),
    doc="diagonals of the matrices over the last two axes",
)
deflinear(
    _diagonal,
    lambda x, offset: (*shape_of(x)[:-2], _place(shape_of(x), offset)[0]),
    lambda ct, x, offset: _on_diagonal(ct, shape=shape_of(x), offset=offset),
)
_on_diagonal: Primitive = Primitive("on_diagonal", _impl_on_diagonal, doc="zeros with values on one diagonal")
deflinear(
    _on_diagonal,
    lambda values, shape, offset: shape,
    lambda ct, values, shape, offset: _diagonal(ct, offset=offset),
)

# Many at once: a leading axis stays where it is.
_diagonal.batch = lambda args, params, batched: _diagonal(args[0], **params)
_on_diagonal.batch = lambda args, params, batched: _on_diagonal(
    args[0], **params | {"shape": (shape_of(args[0])[0], *params["shape"])}
)
_diagonal.flops = _on_diagonal.flops = no_flops
_diagonal.bytes = no_bytes
