"""Eigenvalues and eigenvectors of general matrices: complex numbers inside real functions.

With A V = V diag(w) and C = V⁻¹ dA V: dw = diag C, and dV = V (C / (wⱼ - wᵢ)) but for the scale of the
columns (Giles 2008, section 3.1), which follows from what LAPACK does: each column has length one, and its
largest component is real.
"""

from typing import Any, NamedTuple

from ...core import Primitive, shape_of
from ...rules import defwhole
from ..complex import conjugate, imag, real
from ..elementwise import abs as absolute
from ..index import take_along_axis
from ..reduce import argmax
from ..reduce import sum as _sum
from .common import lapack, mm, safe_reciprocal, square_matrices, stacked_flops
from .matrices import diagonal
from .solvers import solve


class EigResult(NamedTuple):
    """Eigenvalues (..., n) in no order, and the eigenvectors as columns (..., n, n); both complex."""

    eigenvalues: Any
    eigenvectors: Any


def eig(a: Any) -> EigResult:
    """Eigenvalues and eigenvectors of matrices `a` (..., n, n); complex, also where NumPy's are all real.

    A column of the eigenvectors has length one and a real largest component; its sign is LAPACK's. Vectors
    have no derivative where two components are largest, or an eigenvalue is not simple: what equal ones
    would contribute is left out. Sums over all eigenvalues have the right first derivative there, too. A
    matrix without a basis of eigenvectors has none: LinAlgError, or huge numbers.

    >>> eig(np.array([[0.0, -1.0], [1.0, 0.0]])).eigenvalues
    array([0.+1.j, 0.-1.j])
    """
    return EigResult(*lapack(_eig, square_matrices("eig", a)))


def eigvals(a: Any) -> Any:
    """Eigenvalues (..., n) of matrices `a` (..., n, n), as in `eig`; that of one which is not simple has no
    derivative.

    >>> eigvals(np.array([[0.0, -1.0], [1.0, 0.0]]))
    array([0.+1.j, 0.-1.j])
    """
    return lapack(_eigvals, square_matrices("eigvals", a))


def _eig_rule(primals: Any, tangents: Any) -> tuple[Any, Any]:
    """dv = u - γ v: Re γ = Re(vᴴ u) keeps the length, Im γ = Im(uₘ / vₘ) the phase of the largest vₘ."""
    (a,), (t,) = primals, tangents
    w, v = ans = _eig(a)
    if not shape_of(a)[-1]:
        return ans, (None, None)
    c = solve(v, mm(t, v))
    u = mm(v, c * safe_reciprocal(w[..., None, :] - w[..., :, None]))
    stretch = real(_sum(conjugate(v) * u, -2, keepdims=True))
    m = argmax(absolute(v), -2, keepdims=True)
    turn = imag(take_along_axis(u, m, -2) / take_along_axis(v, m, -2))
    return ans, (diagonal(c), u - v * stretch - v * turn * 1j)


def _eigvals_rule(primals: Any, tangents: Any) -> tuple[Any, Any]:
    (a,), (t,) = primals, tangents
    w, v = _eig(a)
    return w, diagonal(solve(v, mm(t, v)))


def _impl_eig(xp: Any, a: Any) -> tuple[Any, Any]:
    w, v = xp.linalg.eig(a)
    return _complex(xp, w), _complex(xp, v)


def _complex(xp: Any, x: Any) -> Any:
    """NumPy gives real results where all eigenvalues are real: their dtype would depend on the numbers."""
    return xp.astype(x, xp.result_type(x, xp.complex64), copy=False)


_eig = Primitive("eig", _impl_eig, multiple=True, doc="eigenvalues and eigenvectors of A")
_eigvals = Primitive(
    "eigvals",
    lambda xp, a: _complex(xp, xp.linalg.eigvals(a)),
    doc="eigenvalues of A",
)
defwhole(_eig, _eig_rule)
defwhole(_eigvals, _eigvals_rule)
_eig.flops = stacked_flops(25)
_eigvals.flops = stacked_flops(10)
