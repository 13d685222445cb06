"""The quadratic model of the loss on a few directions, and its minimum: where rho and beta come from.

m(c) = b·c + ½ cᵀ A c for the step d = Σ c_k p_k, with A_ij = p_iᵀ Ĥ p_j and b_i = g·p_i. All of it is
float64.
"""

from typing import NamedTuple

import numpy as np


class QuadraticModel(NamedTuple):
    """`A` (k, k), symmetric positive semidefinite, and `b` (k,)."""

    A: np.ndarray
    b: np.ndarray

    def __call__(self, c: np.ndarray) -> float:
        """The predicted change of the loss for coefficients `c`.

        >>> QuadraticModel(np.eye(1), np.ones(1))(np.array([-1.0]))
        -0.5
        """
        return float(self.b @ c + 0.5 * c @ self.A @ c)

    def minimum(self) -> np.ndarray:
        """The coefficients c = -A⁻¹ b; a direction without length gets 0, near-parallel ones share.

        The directions differ in length by orders of magnitude and become nearly parallel, so A is first
        scaled to ones on its diagonal; what is then below 1e-13 of the largest is rounding and left out. An
        indefinite A has no minimum: its eigenvalues' absolute values then say how far to go downhill
        (saddle-free Newton, Dauphin et al. 2014, arXiv 1406.2572).

        >>> QuadraticModel(np.diag([2.0, 0.0]), np.array([1.0, 0.0])).minimum()
        array([-0.5,  0. ])
        >>> QuadraticModel(np.array([[-2.0]]), np.array([1.0])).minimum()
        array([-0.5])
        """
        length = np.sqrt(np.abs(np.diag(self.A)))
        scale = np.divide(1.0, length, where=length > 0, out=np.zeros_like(length))
        e, V = np.linalg.eigh(self.A * np.outer(scale, scale))
        e = np.abs(e)
        kept = e > 1e-13 * e.max()
        c = -V[:, kept] @ (V[:, kept].T @ (self.b * scale) / e[kept])
        return c * scale
