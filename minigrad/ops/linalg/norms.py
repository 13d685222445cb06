"""Norms of vectors and matrices, and condition numbers.

They are composed of sums, extrema and singular values. The derivative of a 2-norm or p-norm at zero is zero
(a subgradient); extrema share theirs evenly among equals; |x| has slope 0 at 0.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from ...core import shape_of
from ...rules import astype
from ..complex import real_dtype, squared_modulus
from ..elementwise import abs as _abs
from ..elementwise import equal, not_equal, power, sqrt, where
from ..reduce import axes_of
from ..reduce import max as _max
from ..reduce import min as _min
from ..reduce import sum as _sum
from ..shape import expand_dims, moveaxis, squeeze
from .common import floating, matrices, square_matrices
from .factorizations import svdvals
from .solvers import inv

Axis = int | Sequence[int] | None


def norm(x: Any, ord: Any = None, axis: Axis = None, keepdims: bool = False) -> Any:
    """Norm of `x`: of vectors for one axis, of matrices for two, of all elements without `ord` and `axis`.

    `ord` of a vector is 2 (default), 1, inf, -inf, 0 (how many are not zero, a constant) or any number p; of
    a matrix 'fro' (default), 'nuc', 1, -1, inf, -inf, 2 or -2. Raises ValueError for another.

    >>> float(norm(np.array([3.0, 4.0])))
    5.0
    """
    x = floating(x)
    ndim = len(shape_of(x))
    axes = axes_of(x, axis)
    if axis is None and (ord is None or (ord == "fro" and ndim == 2)):
        return _root(x, 2, axes, keepdims)
    if len(axes) == 1:
        return _vector_norm(x, 2 if ord is None else ord, axes, keepdims)
    if len(axes) == 2:
        return _matrix_norm(x, "fro" if ord is None else ord, axes, keepdims)
    raise ValueError(
        f"norm: {len(axes)} axes of shape {shape_of(x)} with ord={ord!r}: "
        "give the axis of vectors or the two of matrices"
    )


def vector_norm(x: Any, *, axis: Axis = None, keepdims: bool = False, ord: float = 2) -> Any:
    """Norm of the vectors over `axis`, one, several together, or all; `ord` as in `norm`.

    >>> float(vector_norm(np.array([[3.0], [4.0]])))
    5.0
    """
    x = floating(x)
    return _vector_norm(x, ord, axes_of(x, axis), keepdims)


def matrix_norm(x: Any, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """Norm of matrices `x` (..., m, n); `ord` as in `norm`.

    >>> float(matrix_norm(np.array([[3.0, 0.0], [0.0, 4.0]]), ord=2))
    4.0
    """
    x = matrices("matrix_norm", x)
    return _matrix_norm(x, ord, axes_of(x, (-2, -1)), keepdims)


def cond(x: Any, p: Any = None) -> Any:
    """Condition number of matrices `x` (..., m, n): the largest singular value divided by the smallest.

    That is for `p` None or 2, and -2 is its inverse. With any other `p` of `norm` it is |x| |x⁻¹| of square
    matrices, and raises LinAlgError when one is singular.

    >>> float(cond(np.array([[1.0, 0.0], [0.0, 4.0]])))
    4.0
    """
    if p in (None, 2, -2):
        s = svdvals(matrices("cond", x))
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    x = square_matrices("cond", x, ": p=2 takes any matrix")
    return matrix_norm(x, ord=p) * matrix_norm(inv(x), ord=p)


# ----- Vectors -----


def _vector_norm(x: Any, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    if isinstance(ord, str) or ord is None:
        raise ValueError(f"norm: a vector has no norm {ord!r}: use a number, or two axes for a matrix")
    if ord == math.inf:
        return _max(_abs(x), axes, keepdims=keepdims)
    if ord == -math.inf:
        return _min(_abs(x), axes, keepdims=keepdims)
    if ord == 0:
        return _sum(astype(not_equal(x, 0), dtype=real_dtype(x)), axes, keepdims=keepdims)
    return _sum(_abs(x), axes, keepdims=keepdims) if ord == 1 else _root(x, ord, axes, keepdims)


def _root(x: Any, p: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """(Σ |x|ᵖ)^(1/p), with derivative 0 where the sum is 0."""
    p = float(p)
    total = _sum(squared_modulus(x) if p == 2 else power(_abs(x), p), axes, keepdims=keepdims)
    zero = equal(total, 0)
    safe = where(zero, 1.0, total)
    return where(zero, 0.0, sqrt(safe) if p == 2 else power(safe, 1 / p))


# ----- Matrices -----


def _matrix_norm(x: Any, ord: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    if ord == "fro":
        return _root(x, 2, axes, keepdims)
    if ord in SPECTRAL:
        out = SPECTRAL[ord](svdvals(moveaxis(x, axes, (-2, -1))), -1)
        return expand_dims(out, axes) if keepdims else out
    if ord not in SUMS:
        raise ValueError(f"norm: a matrix has no norm {ord!r}: use 'fro', 'nuc', 1, -1, 2, -2, inf or -inf")
    extremum, summed = SUMS[ord]
    out = extremum(_sum(_abs(x), axes[summed], keepdims=True), axes[1 - summed], keepdims=True)
    return out if keepdims else squeeze(out, axes)


SPECTRAL: dict[Any, Callable] = {"nuc": _sum, 2: _max, -2: _min}
SUMS: dict[Any, tuple[Callable, int]] = {
    1: (_max, 0),
    -1: (_min, 0),
    math.inf: (_max, 1),
    -math.inf: (_min, 1),
}
