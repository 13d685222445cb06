"""Levenberg-Marquardt: damped Gauss-Newton steps from the dense matrix, for models of few parameters.

Levenberg 1944, Marquardt 1963; here for every loss that has a Hessian, not only for squares.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad as mg

from .base import Array, Loss, Optimizer, Predict, StepInfo, Tree, dot
from .damping import LambdaRule
from .gauss_newton import BLOCK, GaussNewton

LARGEST = 5_000  # parameters: the matrix takes 200 MB
TRIES = 20


@dataclass(frozen=True)
class LevenbergMarquardtInfo(StepInfo):
    """Of the last of `tries` steps that were tried: its `lam`, and whether it was `accepted`.

    `predicted` is the change of the loss by the model without damping, `ratio` the actual change divided by
    it: None where rounding hides the change, -inf where the loss was not finite, or where G + λ I was not
    positive definite (then `predicted` is None).
    """

    lam: float
    predicted: float | None
    ratio: float | None
    tries: int
    accepted: bool


class LevenbergMarquardt(Optimizer):
    """w ← w + d with (G + λ I) d = -g, G = Jᵀ H J the Gauss-Newton matrix, by Cholesky in float64.

    A step that would raise the loss of its batch is not taken: λ grows tenfold (Marquardt 1963) and another
    is tried, up to 20 from one linearization; after these the parameters stay. λ also grows where the loss
    fell by less than ¼ of what the model *without* damping predicts, and shrinks where by more than ¾
    (Nocedal and Wright, chapters 4 and 10), so on an exact quadratic it always shrinks. λ = 0, the
    Gauss-Newton method, is a start like any other: it grows from the rounding of G.

    `lam`: λ at the start. Raises ValueError for more than 5,000 parameters.

    >>> x, y = np.arange(4.0), 2 * np.exp(np.arange(4) / 2)
    >>> opt = LevenbergMarquardt({"a": np.ones(()), "b": np.ones(())})
    >>> for _ in range(10):
    ...     info = opt.step(lambda m: m["a"] * np.exp(m["b"] * x) - y, lambda r: (r**2).sum())
    >>> opt.w.round(6)
    array([2. , 0.5])
    """

    def __init__(self, model: Tree, lam: float = 1.0, weight_decay: float = 0.0) -> None:
        super().__init__(model, weight_decay)
        if not 0 <= lam < math.inf:
            raise ValueError(f"LevenbergMarquardt: lam={lam} must not be negative, infinite or NaN")
        if self.w.size > LARGEST:
            raise ValueError(
                f"LevenbergMarquardt: the model has {self.w.size:,} parameters, and a dense matrix is made "
                f"for {LARGEST:,} at most: use TruncatedNewton"
            )
        self.lam = float(lam)
        self.lam_rule = LambdaRule(every=1, factor=0.1, low=0.25, high=0.75)

    def plan(self, step: int | None = None) -> dict[str, Any]:
        blocks = math.ceil(self.w.size / BLOCK)
        return {"primal": None, "jvp": blocks, "vjp": 1 + blocks}

    def step(self, predict: Predict, loss: Loss) -> LevenbergMarquardtInfo:
        lam_next, tries, accepted = self.lam, 0, False
        ratio: float | None = -math.inf
        with self._buffers_back_on_error() as buffers:
            model = GaussNewton(self, predict, loss, buffers)
            g, G = model.g.astype(np.float64), model.matrix()
            largest = float(abs(G.diagonal()).max())
            self._check_matrix(largest)
            rounding = float(np.finfo(self.w.dtype).eps) * largest  # less damping changes nothing
            while not accepted and ratio is not None and tries < TRIES:
                tries += 1
                lam, predicted, ratio = lam_next, None, -math.inf
                d = cholesky_solve(G, lam, -g)
                if d is not None:
                    predicted = dot(g, d) + 0.5 * dot(d, G @ d)
                    after = model.loss_at(d)
                    ratio, accepted = model.ratio(after, predicted), after <= model.value
                if ratio is not None:
                    lam_next = self.lam_rule(lam if accepted else max(lam, rounding), ratio)
        if accepted:
            self.w[...] = model.w + d
        self.lam = lam_next
        self.count += 1
        info = LevenbergMarquardtInfo(
            self.count - 1, model.value, dict(model.passes), lam, predicted, ratio, tries, accepted
        )
        return self._done(info, w=self.w, g=g)

    def _check_matrix(self, largest: float) -> None:
        if not math.isfinite(largest):
            raise FloatingPointError(
                f"{self.name} step {self.count}: the loss and its gradient are finite, but not the Gauss-"
                "Newton matrix; parameters are as before the step: look for overflow, scale the data"
            )
        if not largest and not self.lam:
            raise ValueError(f"{self.name} step {self.count}: the loss has no curvature: use lam > 0")

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"lam": self.lam}


def cholesky_solve(G: Array, lam: float, b: Array) -> Array | None:
    """x with (G + lam I) x = b; None where that is not positive definite.

    >>> cholesky_solve(np.diag([1.0, 3.0]), 1.0, np.array([2.0, 2.0]))
    array([1. , 0.5])
    """
    xp = mg.backend_of(G).xp
    A = G.copy()
    A.reshape(-1)[:: b.size + 1] += lam
    try:
        L = xp.linalg.cholesky(A)
    except np.linalg.LinAlgError:
        return None
    x = _forward(L.T[::-1, ::-1], _forward(L, b)[::-1])[::-1]
    return x if math.isfinite(dot(x, x)) else None  # where NumPy raises, CuPy gives NaN


def _forward(L: Array, b: Array, block: int = 64) -> Array:
    """x with L x = b for a lower triangular L."""
    solve = mg.backend_of(L).xp.linalg.solve
    x = b.copy()
    for i in range(0, b.size, block):
        rows = slice(i, i + block)
        x[rows] = solve(L[rows, rows], b[rows] - L[rows, :i] @ x[:i])
    return x
