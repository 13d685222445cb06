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
        scaled to ones on its diagonal; what is then below 1e-13 of the largest is rounding and left out.

        >>> QuadraticModel(np.diag([2.0, 0.0]), np.array([1.0, 0.0])).minimum()
        array([-0.5,  0. ])
        """
        diag = np.diag(self.A)
        scale = np.divide(
            1.0,
            np.sqrt(diag, where=diag > 0, out=np.ones_like(diag)),
            where=diag > 0,
            out=np.zeros_like(diag),
        )
        c = np.linalg.lstsq(self.A * np.outer(scale, scale), -self.b * scale, rcond=1e-13)[0]
        return c * scale
