"""Truncated Newton, in deep learning "Hessian-free": conjugate gradient on one recorded linearization.

Martens, "Deep learning via Hessian-free optimization", 2010; Martens and Sutskever 2012. No preconditioner.
"""

import math
from dataclasses import dataclass
from typing import Any

from .base import Loss, Optimizer, Predict, StepInfo, Tree, dot
from .cg import cg
from .damping import LambdaRule
from .gauss_newton import GaussNewton

DECAY = 0.95  # of the last solution, where the next search for one begins (Martens and Sutskever 2012)
ARMIJO, SHORTER, TRIES = 1e-2, 0.8, 60


@dataclass(frozen=True)
class TruncatedNewtonInfo(StepInfo):
    """`cg` iterations were run at `lam`; the step is `size` times the iterate after `taken` of them.

    `predicted` is the change of the loss by the model without damping for size 1, `ratio` the actual change
    there divided by it (None where rounding hides it). Not `accepted`: nothing lowered the loss.
    """

    lam: float
    cg: int
    taken: int
    size: float
    predicted: float
    ratio: float | None
    accepted: bool


class TruncatedNewton(Optimizer):
    """w ← w + size d, where (G + λ I) d ≈ -g by conjugate gradient, G = Jᵀ H J, which is never formed.

    Each product is a forward-mode and a reverse-mode pass over the one linearization that gave g. The search
    begins at 0.95 times the last solution and ends where it stalls (`cg.py`). Then it goes back over the
    iterates it kept for as long as the loss of the same batch falls, and shortens the step by 0.8 until the
    loss falls by 0.01 of what its slope promises. The loss of a batch never rises: where nothing lowers it,
    the parameters stay and the next search begins at 0.

    λ grows by 3/2 where the loss fell by less than ¼ of what the model *without* damping predicts, or did
    not fall, and shrinks by 2/3 where by more than ¾ (Martens 2010, section 4.1). λ = 0 stays 0.

    `lam`: λ at the start. `max_cg`: the most iterations of conjugate gradient in a step.

    >>> import numpy as np
    >>> opt = TruncatedNewton({"w": np.zeros(2)}, lam=0.0)
    >>> info = opt.step(lambda m: m["w"] * np.array([1.0, 10.0]), lambda y: ((y - 1.0) ** 2).sum())
    >>> opt.w.round(6), info.passes["jvp"] == info.cg
    (array([1. , 0.1]), True)
    """

    def __init__(self, model: Tree, lam: float = 1.0, max_cg: int = 250, weight_decay: float = 0.0) -> None:
        super().__init__(model, weight_decay)
        if not 0 <= lam < math.inf:
            raise ValueError(f"TruncatedNewton: lam={lam} must not be negative, infinite or NaN")
        if max_cg < 1:
            raise ValueError(f"TruncatedNewton: max_cg={max_cg} must be at least 1")
        self.lam, self.max_cg = float(lam), max_cg
        self.lam_rule = LambdaRule(every=1, factor=2 / 3, low=0.25, high=0.75)
        self.d = self.w * 0  # the last solution

    def plan(self, step: int | None = None) -> dict[str, Any]:
        return dict.fromkeys(("primal", "jvp", "vjp"))

    def step(self, predict: Predict, loss: Loss) -> TruncatedNewtonInfo:
        lam = self.lam
        with self._buffers_back_on_error() as buffers:
            model = GaussNewton(self, predict, loss, buffers)
            g, before = model.g, model.value
            iterates = cg(lambda v: model.product(v) + lam * v, -g, DECAY * self.d, self.max_cg)

            best, after = iterates[-1], model.loss_at(iterates[-1].x)
            for it in reversed(iterates[:-1]):
                value = model.loss_at(it.x)
                if value < after:
                    best, after = it, value
                elif after < before:
                    break
            d = best.x
            predicted = best.value - lam / 2 * dot(d, d)
            ratio = model.ratio(after, predicted)

            size, slope = 1.0, min(dot(g, d), 0.0)
            for _ in range(TRIES if -slope > model.rounding else 0):
                if after <= before + ARMIJO * size * slope:
                    break
                size *= SHORTER
                after = model.loss_at(size * d)
            accepted = after <= before + ARMIJO * size * slope
        if accepted:
            self.w[...] = model.w + size * d
        self.d[...] = iterates[-1].x if accepted else 0
        if ratio is not None or not accepted:
            self.lam = self.lam_rule(lam, -math.inf if ratio is None else ratio)
        self.count += 1
        info = TruncatedNewtonInfo(
            self.count - 1, before, dict(model.passes), lam,
            iterates[-1].iteration, best.iteration, size, predicted, ratio, accepted,
        )  # fmt: skip
        return self._done(info, w=self.w, g=g, d=self.d)

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"d": self.d, "lam": self.lam}
