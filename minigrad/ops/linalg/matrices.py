"""Diagonals, traces, powers and chains of matrices."""

from collections.abc import Sequence
from operator import index
from typing import Any

from ...core import dtype_of, namespace_of, shape_of
from ..diagonals import diagonal as _diagonal
from ..diagonals import trace as _trace
from ..products import matmul
from ..shape import as_array
from .common import square_matrices
from .solvers import inv


def diagonal(x: Any, *, offset: int = 0) -> Any:
    """The elements x[..., i, i + offset] of matrices `x` (..., m, n).

    >>> diagonal(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([1., 4.])
    """
    return _diagonal(x, offset, -2, -1)


def trace(x: Any, *, offset: int = 0, dtype: Any = None) -> Any:
    """Sum of the diagonal of matrices `x` (..., m, n).

    >>> float(trace(np.eye(3)))
    3.0
    """
    return _trace(x, offset, -2, -1, dtype)


def matrix_power(a: Any, n: int) -> Any:
    """Matrices `a` (..., k, k) to the whole power `n`, by squaring; a negative one takes the inverse.

    >>> matrix_power(np.array([[1.0, 1.0], [0.0, 1.0]]), 3)
    array([[1., 3.],
           [0., 1.]])
    """
    a, n = as_array(a), index(n)
    square_matrices("matrix_power", a)
    if n == 0:
        xp = namespace_of(a)
        return xp.zeros(shape_of(a), dtype=dtype_of(a)) + xp.eye(shape_of(a)[-1], dtype=dtype_of(a))
    a, n, out = (inv(a), -n, None) if n < 0 else (a, n, None)
    while n:
        if n % 2:
            out = a if out is None else matmul(out, a)
        n //= 2
        a = matmul(a, a) if n else a
    return out


def multi_dot(arrays: Sequence[Any]) -> Any:
    """The product of two or more matrices in the order that needs the fewest operations.

    The first and the last may be vectors.

    >>> multi_dot([np.ones((2, 3)), np.ones((3, 4)), np.ones(4)])
    array([12., 12.])
    """
    arrays = list(arrays)
    if len(arrays) < 2 or not all(len(shape_of(a)) == 2 for a in arrays[1:-1]):
        raise ValueError(
            f"multi_dot: shapes {', '.join(str(shape_of(a)) for a in arrays)} make no chain: "
            "it takes two or more matrices, of which the first and the last may be vectors"
        )
    first, last = shape_of(arrays[0]), shape_of(arrays[-1])
    sizes = [1 if len(first) == 1 else first[0], *[shape_of(a)[0] for a in arrays[1:]]]
    sizes.append(1 if len(last) == 1 else last[-1])
    return _product(_cheapest(sizes), arrays)


def _cheapest(sizes: Sequence[int]) -> Any:
    """The order of least work for matrices sizes[i] x sizes[i + 1]: a tree of pairs of their numbers."""
    n = len(sizes) - 1
    best: dict[tuple[int, int], tuple[int, Any]] = {(i, i): (0, i) for i in range(n)}
    for i, j in ((i, i + width) for width in range(1, n) for i in range(n - width)):
        ways = [(best[i, k], best[k + 1, j], sizes[i] * sizes[k + 1] * sizes[j + 1]) for k in range(i, j)]
        (c1, left), (c2, right), c = min(ways, key=lambda way: way[0][0] + way[1][0] + way[2])
        best[i, j] = c1 + c2 + c, (left, right)
    return best[0, n - 1][1]


def _product(tree: Any, arrays: Sequence[Any]) -> Any:
    return matmul(*[_product(t, arrays) for t in tree]) if isinstance(tree, tuple) else arrays[tree]
