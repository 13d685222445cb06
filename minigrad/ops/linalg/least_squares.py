"""Pseudo-inverse, least squares and rank: what counts the singular values above a threshold.

The rank is a constant, and the derivatives are those at constant rank (Golub and Pereyra 1973).
"""

from typing import Any

import numpy as np

from ...core import Primitive, dtype_of, shape_of
from ...rules import astype, defjvp, defzero, promote
from ..products import matmul
from ..reduce import sum as _sum
from ..shape import reshape
from .common import T, floating, lapack, matrices, mm, stacked_flops
from .factorizations import singular_values, svdvals


def pinv(a: Any, rcond: Any = None, *, rtol: Any = None) -> Any:
    """The Moore-Penrose inverse of matrices `a` (..., m, n): (..., n, m).

    Singular values below `rcond` (also called `rtol`; a number or an array (...)) times the largest count as
    zero; the default is 1e-15.

    >>> pinv(np.array([[1.0], [1.0]]))
    array([[0.5, 0.5]])
    """
    rcond = rcond if rtol is None else rtol
    return lapack(_pinv, matrices("pinv", a), rcond=1e-15 if rcond is None else _per_matrix(rcond))


def _impl_pinv(xp: Any, a: Any, rcond: Any) -> Any:
    u, s, vh = xp.linalg.svd(a, full_matrices=False)
    keep = s > rcond * _largest(s)
    reciprocal = xp.where(keep, 1 / xp.where(keep, s, 1.0), 0.0)
    return xp.matrix_transpose(vh) @ (reciprocal[..., None] * xp.matrix_transpose(u))


def _pinv_rule(t: Any, p: Any, a: Any, rcond: Any) -> Any:
    """dP = -P dA P + P Pᵀ dAᵀ (1 - A P) + (1 - P A) dAᵀ Pᵀ P."""
    left, right = mm(p, T(p), T(t)), mm(T(t), T(p), p)
    return (left - mm(left, a, p)) + (right - mm(p, a, right)) - mm(p, t, p)


_pinv: Primitive = Primitive("pinv", _impl_pinv, doc="Moore-Penrose inverse of A")
defjvp(_pinv, _pinv_rule)
_pinv.flops = stacked_flops(16, 8)


def lstsq(a: Any, b: Any, rcond: float | None = None) -> tuple[Any, Any, Any, Any]:
    """The shortest x that minimises |b - a x|², with residuals, rank and singular values of `a` (m, n).

    `b` is (m,) or (m, k). Singular values below `rcond` times the largest count as zero; None is machine
    precision times max(m, n), and -1 machine precision. The residuals |b - a x|² are empty, as in NumPy,
    unless m > n and the rank is n.

    >>> x, residuals, rank, s = lstsq(np.array([[1.0], [1.0]]), np.array([1.0, 3.0]))
    >>> x, residuals
    (array([2.]), array([2.]))
    """
    a, b = promote(floating(a), floating(b))
    if len(shape_of(a)) != 2 or len(shape_of(b)) not in (1, 2) or shape_of(a)[0] != shape_of(b)[0]:
        raise np.linalg.LinAlgError(
            f"lstsq: a of shape {shape_of(a)} and b of shape {shape_of(b)} do not fit: "
            "a is one matrix (m, n), b is (m,) or (m, k)"
        )
    m, n = shape_of(a)
    rcond = max(m, n) * _eps(a) if rcond is None else _eps(a) if rcond == -1 else rcond
    rank = astype(matrix_rank(a, rtol=rcond), dtype=np.dtype(np.int32))
    x = matmul(pinv(a, rcond), b)
    residual = b - matmul(a, x)
    squares = _sum(reshape(residual * residual, (m, -1 if len(shape_of(b)) > 1 else 1)), 0)
    return x, squares if m > n and rank == n else squares[:0], rank, svdvals(a)


def matrix_rank(a: Any, tol: Any = None, *, rtol: Any = None) -> Any:
    """How many singular values of `a` (..., m, n) are above `tol`: a constant.

    `tol` is `rtol` times the largest by default, and `rtol` machine precision times max(m, n); both are
    numbers or arrays (...). A vector has rank 1, or 0 if it is zero.

    >>> int(matrix_rank(np.ones((2, 2))))
    1
    """
    a = floating(a)
    a = a if len(shape_of(a)) > 1 else reshape(a, (1, -1))
    rtol = max(shape_of(a)[-2:]) * _eps(a) if rtol is None else _per_matrix(rtol)
    return lapack(_matrix_rank, a, tol=_per_matrix(tol), rtol=rtol)


def _impl_matrix_rank(xp: Any, a: Any, tol: Any, rtol: Any) -> Any:
    s = singular_values(xp, a)
    return xp.count_nonzero(s > (rtol * _largest(s) if tol is None else tol), axis=-1)


def _largest(s: Any) -> Any:
    """The first of the singular values of each matrix, if it has any."""
    return s[..., : min(s.shape[-1], 1)]


_matrix_rank = Primitive("matrix_rank", _impl_matrix_rank, doc="number of singular values above a threshold")
defzero(_matrix_rank)
_matrix_rank.flops = stacked_flops(4, -4 / 3)


def _eps(a: Any) -> float:
    return float(np.finfo(dtype_of(a)).eps)


def _per_matrix(limit: Any) -> Any:
    """A number, or an array of them with an axis for the singular values of each matrix."""
    return np.asarray(limit)[..., None] if shape_of(limit) else limit
