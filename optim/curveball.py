"""CurveBall: a Newton step kept as a momentum buffer, improved by one step of its own each iteration.

"Small Steps and Giant Leaps: Minimal Newton Solvers for Deep Learning", Henriques, Ehrhardt, Albanie and
Vedaldi, arXiv 1805.08095. Beyond SGD it needs two forward-mode passes, on the linearization SGD's gradient
uses.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad as mg

from .base import Loss, Optimizer, Predict, StepInfo, Tree, dot
from .damping import LambdaRule
from .quadratic import QuadraticModel


@dataclass(frozen=True)
class CurveBallInfo(StepInfo):
    """`rho`, `beta` of z ← rho z - beta dz, the `lam` used, and in steps that look at λ (None in others):

    `predicted`, the change of the loss by the damped model, and `ratio`, the actual change divided by it.
    """

    rho: float
    beta: float
    lam: float
    predicted: float | None
    ratio: float | None


class CurveBall(Optimizer):
    """CurveBall with automatic rho, beta and λ (unless given or switched off).

    Each step, with J the derivative of `predict` at w, H the Hessian map of the loss at y, Ĥ = Jᵀ H J + λ I:

        dz = Ĥ z + g                          steepest descent direction of the model at z
        (beta, rho) minimise the model over   rho z - beta dz
        z ← rho z - beta dz ;  w ← w + z

    `lam`: damping at the start; 1 suits networks with batch norm, 10 those without (the authors' README).
    `rho`, `beta`: fixed values in place of automatic ones; then only one forward-mode pass is run.
    `adapt_lam`: every 5 steps, λ follows the ratio of actual to predicted change, for one more primal pass.

    >>> opt = CurveBall({"w": np.zeros(2)}, lam=0.0)
    >>> for _ in range(2):
    ...     info = opt.step(lambda m: m["w"] * np.array([1.0, 10.0]), lambda y: ((y - 1.0) ** 2).sum())
    >>> opt.w.round(6)
    array([1. , 0.1])
    """

    def __init__(
        self,
        model: Tree,
        lam: float = 1.0,
        rho: float | None = None,
        beta: float | None = None,
        adapt_lam: bool = True,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(model, weight_decay)
        if lam < 0:
            raise ValueError(f"CurveBall: lam={lam} must not be negative")
        if (rho is None) != (beta is None):
            raise ValueError("CurveBall: rho and beta are solved for together: give both, or neither")
        self.lam, self.rho, self.beta, self.adapt_lam = float(lam), rho, beta, adapt_lam
        self.lam_rule = LambdaRule()
        self.z = self.w * 0

    def plan(self, step: int | None = None) -> dict[str, int]:
        step = self.count if step is None else step
        return {"primal": 1 + self._looks_at_lam(step), "jvp": 1 + self._needs_model(step), "vjp": 1}

    def step(self, predict: Predict, loss: Loss) -> CurveBallInfo:
        w, z, lam, wd = self.w, self.z, self.lam, self.weight_decay
        damping = lam + wd
        passes: Counter[str] = Counter()
        with self._buffers_back_on_error() as buffers:
            passes["primal"] += 1
            y, J = mg.linearize(lambda w: predict(self.unravel(w)), w)
            if not hasattr(y, "shape"):
                raise TypeError(
                    f"CurveBall: predict returned a {type(y).__name__}, but J z and the Hessian meet in one "
                    "array: join the outputs with minigrad.concatenate"
                )
            value, g, H = mg.quadratic(loss, y)
            before = float(value) + wd / 2 * dot(w, w)
            self._check_loss(before)

            passes["jvp"] += 1
            Jz = J(z)  # forward-mode pass 1
            HJz = H(Jz)
            passes["vjp"] += 1
            dz = J.T(g + HJz) + damping * z  # the reverse-mode pass: dz = Ĥ z + g
            if wd:
                dz += wd * w
            dzdz = dot(dz, dz)
            self._check_gradient(dzdz)

            if self._needs_model(self.count):
                passes["jvp"] += 1
                Jdz = J(dz)  # forward-mode pass 2
                HJdz = H(Jdz)
                # The model on the directions (dz, z): A from Ĥ, b from the gradient, all in output space.
                a11 = dot(Jdz, HJdz) + damping * dzdz
                a12 = dot(Jz, HJdz) + damping * dot(dz, z)
                a22 = dot(Jz, HJz) + damping * dot(z, z)
                b = [dot(g, Jdz) + wd * dot(w, dz), dot(g, Jz) + wd * dot(w, z)]
                model = QuadraticModel(np.array([[a11, a12], [a12, a22]]), np.array(b))
                if self.rho is None and a11 <= 0 < dzdz:
                    raise ValueError(
                        f"CurveBall step {self.count}: the loss has no curvature along dz, so rho and beta "
                        "have no automatic values: use lam > 0, or give rho and beta"
                    )
        c = model.minimum() if self.rho is None else np.array([-self.beta, self.rho])  # type: ignore[operator]
        beta, rho = -float(c[0]), float(c[1])

        z *= rho
        z -= beta * dz
        w += z

        predicted = ratio = None
        if self._looks_at_lam(self.count):
            del J  # its residuals are not needed any more, and the next pass takes their place
            passes["primal"] += 1
            with mg.keeping_buffers(
                self.model, start=buffers
            ):  # the masks of this step, and no new statistics
                after = self._loss_now(predict, loss) + wd / 2 * dot(w, w)
            predicted = model(c)
            if predicted and math.isfinite(after):
                ratio = (after - before) / predicted
                self.lam = self.lam_rule(lam, ratio)
        self.count += 1
        info = CurveBallInfo(self.count - 1, before, dict(passes), rho, beta, lam, predicted, ratio)
        return self._done(info, w=w, z=z, dz=dz)

    def _looks_at_lam(self, step: int) -> bool:
        return self.adapt_lam and self.lam_rule.due(step)

    def _needs_model(self, step: int) -> bool:
        return self.rho is None or self._looks_at_lam(step)

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"z": self.z, "lam": self.lam}
