"""Linear algebra, `mg.linalg`: NumPy's functions on matrices (..., n, n) and stacks of them.

Derivatives follow Giles 2008 ("Collected matrix derivative results for forward and reverse mode algorithmic
differentiation") and are written with solve, inv and matmul, so that every order follows. They are those of
what NumPy computes: cholesky and eigh read one triangle, and so does the derivative. Half precision, which
LAPACK does not have, is computed in single. A singular matrix raises numpy.linalg.LinAlgError, as in NumPy.
"""

from ..products import cross, matmul, outer, tensordot, vecdot
from ..shape import matrix_transpose
from .eigen import eig, eigvals
from .factorizations import cholesky, eigh, eigvalsh, qr, svd, svdvals
from .least_squares import lstsq, matrix_rank, pinv
from .matrices import diagonal, matrix_power, multi_dot, trace
from .norms import cond, matrix_norm, norm, vector_norm
from .solvers import det, inv, slogdet, solve, solve_triangular, tensorinv, tensorsolve

__all__ = [
    "cholesky",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "inv",
    "lstsq",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "multi_dot",
    "norm",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
    "tensordot",
    "tensorinv",
    "tensorsolve",
    "trace",
    "vecdot",
    "vector_norm",
]
