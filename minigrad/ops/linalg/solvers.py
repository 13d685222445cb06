"""Linear systems, inverses and determinants.

X = A⁻¹B has dX = A⁻¹(dB - dA X), and its transpose in B is a solve with Aᵀ.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...core import Primitive, shape_of
from ...rules import defjvp, deflinear, defwhole
from ..elementwise import where
from ..many import front_to_last, last_to_front, one_by_one
from ..products import matmul
from ..reduce import sum as _sum
from ..shape import expand_dims, moveaxis, reshape, squeeze
from .common import T, below, floating, lapack, mm, square_matrices, stacked_flops

# ----- Systems -----


def solve(a: Any, b: Any) -> Any:
    """x with a x = b: `a` (..., n, n), `b` a vector (n,) or matrices (..., n, k), stacks broadcasting.

    Raises LinAlgError when a matrix is singular.

    >>> solve(np.array([[2.0, 0.0], [0.0, 4.0]]), np.ones(2))
    array([0.5 , 0.25])
    """
    a, b = square_matrices("solve", a, ": lstsq solves systems that are not square"), floating(b)
    n, sb = shape_of(a)[-1], shape_of(b)
    if not sb or sb[0 if len(sb) == 1 else -2] != n:
        raise ValueError(
            f"solve: b of shape {sb} does not fit a of shape {shape_of(a)}: "
            f"b is a vector ({n},) or a stack of matrices (..., {n}, k)"
        )
    return squeeze(lapack(_solve, a, expand_dims(b, 1)), -1) if len(sb) == 1 else lapack(_solve, a, b)


def _solve_shape(a: Any, b: Any) -> tuple[int, ...]:
    sa, sb = shape_of(a), shape_of(b)
    return (*np.broadcast_shapes(sa[:-2], sb[:-2]), *sb[-2:])


def _solve_flops(args: Any, outs: Any, params: dict) -> float:
    n, k = outs[0][-2:]  # one LU decomposition a system, then two triangular solves
    return math.prod(outs[0][:-2]) * (2 * n**3 // 3 + 2 * n * n * k)


def _impl_solve(xp: Any, a: Any, b: Any) -> Any:
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])  # CuPy's solve does not broadcast
    return xp.linalg.solve(*[xp.broadcast_to(x, (*stack, *x.shape[-2:])) for x in (a, b)])


_solve: Primitive = Primitive("solve", _impl_solve, doc="A⁻¹B")
deflinear(
    _solve,
    _solve_shape,
    None,
    lambda ct, a, b: _solve(T(a), ct),
    jvps=[lambda t, ans, a, b: -_solve(a, matmul(t, ans))],
)
_solve.flops = _solve_flops


def _solve_batch(args: Any, params: dict, batched: Any) -> Any:
    """Right-hand sides side by side, so that each matrix is decomposed once for all of them."""
    if batched != (1,):
        return one_by_one(_solve, args, params, batched)
    a, b = args
    return last_to_front(_solve(a, front_to_last(b)), shape_of(b)[0])


_solve.batch = _solve_batch


def solve_triangular(
    a: Any, b: Any, trans: int | str = 0, lower: bool = False, unit_diagonal: bool = False
) -> Any:
    """x with tri(a) x = b, tri(a)ᵀ x = b for `trans` 1 or "T": SciPy's, for stacks, too.

    Only the upper triangle of `a` is read (the lower one with `lower`), without its diagonal, taken as ones,
    with `unit_diagonal`: the rest has zero derivative. It costs a general solve. `b` as in `solve`.

    >>> solve_triangular(np.array([[2.0, 2.0], [9.0, 1.0]]), np.array([4.0, 1.0]))
    array([1., 1.])
    """
    a = square_matrices("solve_triangular", a)
    if trans not in (0, 1, "N", "T"):
        raise ValueError(f"solve_triangular: trans is {trans!r}: use 0 or 'N' for a, 1 or 'T' for aᵀ")
    a = where(below(a), a, 0.0) if lower else where(below(a, -1), 0.0, a)
    if unit_diagonal:
        a = where(below(a) & ~below(a, -1), 1.0, a)
    return solve(T(a) if trans in (1, "T") else a, b)


def tensorsolve(a: Any, b: Any, axes: Sequence[int] | None = None) -> Any:
    """x with tensordot(a, x, x.ndim) = b, after the `axes` of `a` are moved to the end.

    >>> tensorsolve(np.eye(6).reshape(2, 3, 6), np.ones((2, 3))).shape
    (6,)
    """
    if axes is not None:
        a = moveaxis(a, axes, range(-len(axes), 0))
    shape = shape_of(a)[len(shape_of(b)) :]
    n = math.prod(shape)
    if math.prod(shape_of(a)) != n * n:
        raise np.linalg.LinAlgError(
            f"tensorsolve: a of shape {shape_of(a)} and b of shape {shape_of(b)} make no square system: "
            "the product of a's first b.ndim lengths must be that of the others"
        )
    return reshape(solve(reshape(a, (n, n)), reshape(b, (-1,))), shape)


# ----- Inverses -----


def inv(a: Any) -> Any:
    """The inverse of matrices `a` (..., n, n). Raises LinAlgError when one is singular.

    >>> inv(np.array([[2.0, 0.0], [0.0, 4.0]]))
    array([[0.5 , 0.  ],
           [0.  , 0.25]])
    """
    return lapack(inverse, square_matrices("inv", a, ": pinv inverts matrices that are not square"))


inverse: Primitive = Primitive("inv", lambda xp, a: xp.linalg.inv(a), doc="A⁻¹")
defjvp(inverse, lambda t, ans, a: -mm(ans, t, ans))
inverse.flops = stacked_flops(2)


def tensorinv(a: Any, ind: int = 2) -> Any:
    """The inverse of `a` for tensordot over its first `ind` axes.

    >>> tensorinv(np.eye(6).reshape(2, 3, 6)).shape
    (6, 2, 3)
    """
    if ind <= 0:
        raise ValueError(f"tensorinv: ind is {ind}: it counts the first axes of a, and is at least 1")
    shape = shape_of(a)
    flat = reshape(a, (math.prod(shape[:ind]), math.prod(shape[ind:])))
    return reshape(inv(flat), (*shape[ind:], *shape[:ind]))


# ----- Determinants -----


class SlogdetResult(NamedTuple):
    """Sign of a determinant, and the logarithm of its absolute value."""

    sign: Any
    logabsdet: Any


def slogdet(a: Any) -> SlogdetResult:
    """Sign and log |det| of matrices `a` (..., n, n), without overflow; the sign is a constant.

    A singular matrix has (0, -inf), and no derivative: LinAlgError.

    >>> slogdet(np.array([[2.0, 0.0], [0.0, -3.0]])).sign
    np.float64(-1.0)
    """
    return SlogdetResult(*lapack(_slogdet, square_matrices("slogdet", a)))


def _slogdet_rule(primals: Any, tangents: Any) -> tuple[Any, Any]:
    (a,), (t,) = primals, tangents
    return _slogdet(a), (None, _sum(T(inverse(a)) * t, (-2, -1)))  # d log |det A| = tr(A⁻¹ dA)


_slogdet = Primitive(
    "slogdet", lambda xp, a: tuple(xp.linalg.slogdet(a)), multiple=True, doc="sign and log |det A|"
)
defwhole(_slogdet, _slogdet_rule)


def det(a: Any) -> Any:
    """The determinant of matrices `a` (..., n, n).

    Its derivative is right for singular matrices, too: the cofactors, from singular values without a
    division. Higher derivatives need a matrix that is not singular.

    >>> float(det(np.array([[2.0, 0.0], [0.0, 3.0]])))
    6.0
    """
    return lapack(_det, square_matrices("det", a))


def _impl_cofactors(xp: Any, a: Any) -> Any:
    u, s, vh = xp.linalg.svd(a)
    i = xp.arange(a.shape[-1])
    others = xp.prod(xp.where(i[:, None] == i[None, :], 1.0, s[..., None, :]), axis=-1)
    sign = xp.linalg.det(u) * xp.linalg.det(vh)
    return sign[..., None, None] * ((u * others[..., None, :]) @ vh)


def _cofactors_rule(t: Any, c: Any, a: Any) -> Any:
    """C = det(A) A⁻ᵀ has dC = (<C, dA> C - C dAᵀ C) / det(A)."""
    return (_sum(c * t, (-2, -1), keepdims=True) * c - mm(c, T(t), c)) / _det(a)[..., None, None]


_det: Primitive = Primitive("det", lambda xp, a: xp.linalg.det(a), doc="determinant of A")
_cofactors: Primitive = Primitive("cofactors", _impl_cofactors, doc="det(A) A⁻ᵀ, also of a singular A")
defjvp(_det, lambda t, ans, a: _sum(_cofactors(a) * t, (-2, -1)))
defjvp(_cofactors, _cofactors_rule)
_det.flops = _slogdet.flops = stacked_flops(2 / 3)
# A full svd (8, 9, 4), two determinants, the products of the other singular values, a matrix product.
_cofactors.flops = stacked_flops(8 + 2 * 2 / 3 + 1 + 2, 9, 4)
