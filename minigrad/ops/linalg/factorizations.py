"""Factorizations: Cholesky, QR, eigenvalues of symmetric matrices, singular values.

Each rule solves the differentiated factorization for the differentials of the factors. Where a sign is free,
it is the one LAPACK chose.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...core import Primitive, aval_str, shape_of
from ...rules import defjvp, defwhole
from ..elementwise import where
from ..reduce import sum as _sum
from .common import (
    T,
    below,
    lapack,
    matrices,
    mirrored,
    mm,
    safe_reciprocal,
    square_matrices,
    stacked_flops,
)
from .solvers import inverse

# ----- Cholesky -----


def cholesky(a: Any, *, upper: bool = False) -> Any:
    """The lower triangular L with L Lᵀ = a for positive definite `a` (..., n, n); its transpose with `upper`.

    As in NumPy only the lower triangle of `a` is read (the upper one with `upper`), so the derivative in the
    other one is zero. Raises LinAlgError when a matrix is not positive definite.

    >>> cholesky(np.array([[4.0, 2.0], [2.0, 5.0]]))
    array([[2., 0.],
           [1., 2.]])
    """
    a = square_matrices("cholesky", a)
    return T(lapack(_cholesky, T(a))) if upper else lapack(_cholesky, a)


def _cholesky_rule(t: Any, factor: Any, a: Any) -> Any:
    """dL = L Φ(L⁻¹ dA L⁻ᵀ), where Φ takes the lower triangle with half of the diagonal (Murray 2016)."""
    w = inverse(factor)
    m = mm(w, mirrored(t), T(w))
    return mm(factor, where(below(m), where(below(m, -1), m, 0.5 * m), 0.0))


_cholesky = Primitive("cholesky", lambda xp, a: xp.linalg.cholesky(a), doc="lower triangular L with L Lᵀ = A")
defjvp(_cholesky, _cholesky_rule)
_cholesky.flops = stacked_flops(1 / 3)

# ----- QR -----


class QRResult(NamedTuple):
    """A matrix with orthonormal columns and an upper triangular one."""

    Q: Any
    R: Any


def qr(a: Any, mode: str = "reduced") -> Any:
    """Q with orthonormal columns (..., m, k) and upper triangular R (..., k, n), Q R = a, k = min(m, n).

    `mode` is "reduced", "complete" (Q is (m, m), R (m, n); with a derivative if m <= n) or "r" (R alone).
    The derivative raises LinAlgError where the first k columns of `a` are linearly dependent.

    >>> qr(np.eye(2)).R
    array([[1., 0.],
           [0., 1.]])
    """
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"qr: mode is {mode!r}: use 'reduced', 'complete' or 'r'")
    q, r = lapack(_qr, matrices("qr", a), mode="reduced" if mode == "r" else mode)
    return r if mode == "r" else QRResult(q, r)


def _qr_rule(primals: Any, tangents: Any, mode: str) -> tuple[Any, Any]:
    """With C = Qᵀ dA R⁻¹, Ω = Qᵀ dQ is the skew matrix that has the lower triangle of C; dR = Qᵀ dA - Ω R.

    A wide matrix takes Q from its first m columns.
    """
    (a,), (t,) = primals, tangents
    m, n = shape_of(a)[-2:]
    if mode == "complete" and m > n:
        raise ValueError(
            f"qr: the columns of Q that complete {aval_str(a)} are not unique and have no derivative: "
            "use mode='reduced'"
        )
    q, r = ans = _qr(a, mode=mode)
    k = min(m, n)
    over_r = mm(t[..., :k], inverse(r[..., :k]))
    c = mm(T(q), over_r)
    lower = where(below(c, -1), c, 0.0)
    omega = lower - T(lower)
    dq = mm(q, omega) if m <= n else mm(q, omega) + (over_r - mm(q, c))
    dr = mm(T(q), t) - mm(omega, r)
    return ans, (dq, where(below(dr, -1), 0.0, dr))


_qr = Primitive(
    "qr", lambda xp, a, mode: tuple(xp.linalg.qr(a, mode=mode)), multiple=True, doc="Q and R with Q R = A"
)
defwhole(_qr, _qr_rule)


def _qr_flops(args: Sequence[Any], outs: Sequence[tuple], params: dict) -> int:
    """Each of min(m, n) reflections meets the columns of A behind it, and on the way back those of Q."""
    *stack, m, n = shape_of(args[0])
    return math.prod(stack) * sum(4 * (m - j) * (n - j + outs[0][-1] - j) for j in range(min(m, n)))


_qr.flops = _qr_flops

# ----- Eigenvalues of symmetric matrices -----


class EighResult(NamedTuple):
    """Eigenvalues in ascending order (..., n), and the eigenvectors as columns (..., n, n)."""

    eigenvalues: Any
    eigenvectors: Any


def eigh(a: Any, UPLO: str = "L") -> EighResult:
    """Eigenvalues and eigenvectors of symmetric matrices `a` (..., n, n), of which one triangle is read.

    UPLO is "L" for the lower triangle or "U"; the derivative in the other one is zero. Eigenvectors have the
    signs that LAPACK chose; those of an eigenvalue that is not simple have no derivative, and what would
    divide by the difference of two equal eigenvalues is taken as zero. There only sums over all eigenvalues
    have the right derivative, to first order: not exp(a) = V exp(w) Vᵀ.

    >>> eigh(np.array([[1.0, 0.0], [0.0, 3.0]])).eigenvalues
    array([1., 3.])
    """
    return EighResult(*lapack(_eigh, square_matrices("eigh", a), upper=_is_upper("eigh", UPLO)))


def eigvalsh(a: Any, UPLO: str = "L") -> Any:
    """Eigenvalues (..., n) of symmetric matrices `a` (..., n, n) in ascending order; UPLO as in `eigh`.

    >>> eigvalsh(np.array([[1.0, 0.0], [0.0, 3.0]]))
    array([1., 3.])
    """
    return lapack(_eigvalsh, square_matrices("eigvalsh", a), upper=_is_upper("eigvalsh", UPLO))


def _is_upper(name: str, uplo: str) -> bool:
    if uplo.upper() not in ("L", "U"):
        raise ValueError(f"{name}: UPLO is {uplo!r}: use 'L' for the lower triangle or 'U' for the upper one")
    return uplo.upper() == "U"


def _eigh_rule(primals: Any, tangents: Any, upper: bool) -> tuple[Any, Any]:
    """With M = Vᵀ dA V: dw = diag M, dV = V (M / (wⱼ - wᵢ)), 0 on the diagonal."""
    (a,), (t,) = primals, tangents
    w, v = ans = _eigh(a, upper=upper)
    tv = mm(mirrored(t, upper), v)
    return ans, (_sum(v * tv, -2), mm(v, mm(T(v), tv) * safe_reciprocal(_differences(w))))


def _eigvalsh_rule(t: Any, w: Any, a: Any, upper: bool) -> Any:
    _, v = _eigh(a, upper=upper)
    return _sum(v * mm(mirrored(t, upper), v), -2)


def _differences(w: Any) -> Any:
    """wⱼ - wᵢ in row i, column j."""
    return w[..., None, :] - w[..., :, None]


_eigh = Primitive(
    "eigh",
    lambda xp, a, upper: tuple(xp.linalg.eigh(a, UPLO="U") if upper else xp.linalg.eigh(a)),
    multiple=True,
    doc="eigenvalues and eigenvectors of a symmetric A",
)
_eigvalsh = Primitive(
    "eigvalsh",
    lambda xp, a, upper: xp.linalg.eigvalsh(a, UPLO="U") if upper else xp.linalg.eigvalsh(a),
    doc="eigenvalues of a symmetric A",
)
defwhole(_eigh, _eigh_rule)
defjvp(_eigvalsh, _eigvalsh_rule)
_eigh.flops = stacked_flops(9)
_eigvalsh.flops = stacked_flops(4 / 3)

# ----- Singular values -----


class SVDResult(NamedTuple):
    """U diag(S) Vh = A: orthonormal columns of U and rows of Vh, singular values S in descending order."""

    U: Any
    S: Any
    Vh: Any


def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """U, S, Vh with U diag(S) Vh = a for `a` (..., m, n); S alone with compute_uv=False.

    With `full_matrices`, U is (m, m) and Vh (n, n), with a derivative only if m = n; otherwise (m, k) and
    (k, n), k = min(m, n). The vectors of a singular value that is zero or not simple have no derivative, and
    what would divide by zero there is taken as zero. The derivative of each singular value is uᵀ dA v.

    >>> svd(np.array([[0.0, 2.0], [1.0, 0.0]])).S
    array([2., 1.])
    """
    a = matrices("svd", a)
    return SVDResult(*lapack(_svd, a, full=full_matrices)) if compute_uv else lapack(_svdvals, a)


def svdvals(a: Any) -> Any:
    """Singular values (..., min(m, n)) of `a` (..., m, n) in descending order.

    >>> svdvals(np.array([[0.0, 2.0], [1.0, 0.0]]))
    array([2., 1.])
    """
    return lapack(_svdvals, matrices("svdvals", a))


def _svd_rule(primals: Any, tangents: Any, full: bool) -> tuple[Any, Any]:
    """With K = Uᵀ dA V: dS = diag K, and the skew Uᵀ dU and Vᵀ dV have the sum and the difference

    (K + Kᵀ) / (sⱼ - sᵢ) and (K - Kᵀ) / (sⱼ + sᵢ), which needs no squares of S as the usual form does. A tall
    matrix turns U out of its own columns, too, a wide one V.
    """
    (a,), (t,) = primals, tangents
    m, n = shape_of(a)[-2:]
    if full and m != n:
        raise ValueError(
            f"svd: the vectors that complete those of {aval_str(a)} are not unique and have no derivative: "
            "use full_matrices=False"
        )
    u, s, vh = ans = _svd(a, full=full)
    v, tv = T(vh), mm(t, T(vh))
    k = mm(T(u), tv)
    total = (k + T(k)) * safe_reciprocal(_differences(s))
    rest = (k - T(k)) * safe_reciprocal(s[..., None, :] + s[..., :, None])
    du, dv = mm(u, 0.5 * (total + rest)), mm(v, 0.5 * (total - rest))
    if m > n:
        du = du + (tv - mm(u, k)) * safe_reciprocal(s)[..., None, :]
    if n > m:
        dv = dv + (mm(T(t), u) - mm(v, T(k))) * safe_reciprocal(s)[..., None, :]
    return ans, (du, _sum(u * tv, -2), T(dv))


def _svdvals_rule(t: Any, s: Any, a: Any) -> Any:
    u, _, vh = _svd(a, full=False)
    return _sum(u * mm(t, T(vh)), -2)


def singular_values(xp: Any, a: Any) -> Any:
    if hasattr(xp.linalg, "svdvals"):
        return xp.linalg.svdvals(a)
    return xp.linalg.svd(a, compute_uv=False)  # CuPy


_svd = Primitive(
    "svd",
    lambda xp, a, full: tuple(xp.linalg.svd(a, full_matrices=full)),
    multiple=True,
    doc="U, S and Vh with U diag(S) Vh = A",
)
_svdvals = Primitive("svdvals", singular_values, doc="singular values of A")
defwhole(_svd, _svd_rule)
defjvp(_svdvals, _svdvals_rule)
_thin_svd_flops, _full_svd_flops = stacked_flops(14, 8), stacked_flops(8, 9, 4)
_svd.flops = lambda args, outs, params: (_full_svd_flops if params["full"] else _thin_svd_flops)(
    args, outs, params
)
_svdvals.flops = stacked_flops(4, -4 / 3)
