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

HALVINGS = 20  # of a step, before it is rejected
MEMORY = 0.9  # of the running means of rho and beta


@dataclass(frozen=True)
class CurveBallInfo(StepInfo):
    """`rho`, `beta` of z ← rho z - beta dz, the `lam` used, and in steps that look at λ (None in others):

    `predicted`, the change of the loss by the damped model, and `ratio`, the actual change over it: -inf
    where the loss was not finite any more.
    `scale`: how much of that step was taken; 1 but where `safeguard` shrank it, 0 where it was rejected.
    """

    rho: float
    beta: float
    lam: float
    predicted: float | None
    ratio: float | None
    scale: float


class CurveBall(Optimizer):
    """CurveBall with automatic rho, beta and λ (unless given or switched off).

    Each step, with J the derivative of `predict` at w, H the Hessian map of the loss at y, Ĥ = Jᵀ H J + λ I:

        dz = Ĥ z + g                          steepest descent direction of the model at z
        (beta, rho) minimise the model over   rho z - beta dz
        z ← rho z - beta dz ;  w ← w + z

    `lam`: damping at the start; 1 suits networks with batch norm, 10 those without (the authors' README).
    `rho`, `beta`: fixed values in place of automatic ones; then only one forward-mode pass is run.
    `adapt_lam`: every 5 steps, λ follows the ratio of actual to predicted change, for one more primal pass.

    Beyond the paper:
    `directions="zg"`: g in the place of dz, at the same cost; on a quadratic, at λ = 0, that is conjugate
    gradient.
    `curvature="hessian"`: Ĥ = ∇²(loss ∘ predict) + λ I in the place of Gauss and Newton's: the primal pass is
    that of the gradient, with the reverse-mode pass inside, and forward-mode passes go over both. Where Ĥ is
    indefinite, absolute values of curvatures say how far to go downhill.
    `reuse`: rho and beta are solved for in every `reuse`-th step, the second one, and those that look at λ.
    Other steps use the running mean of what was solved for (weight 0.9; the last values alone may be too long
    for the next batch, again and again), with one forward-mode pass less for dz, without any for g.
    `safeguard`: the loss on the batch never rises: z is halved until it does not, for a primal pass each
    time; after 20 times the step is rejected and z is 0.

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
        directions: str = "zdz",
        curvature: str = "ggn",
        reuse: int = 1,
        safeguard: bool = False,
    ) -> None:
        super().__init__(model, weight_decay)
        if not 0 <= lam < math.inf:
            raise ValueError(f"CurveBall: lam={lam} must not be negative, infinite or NaN")
        if (rho is None) != (beta is None):
            raise ValueError("CurveBall: rho and beta are solved for together: give both, or neither")
        if directions not in ("zdz", "zg"):
            raise ValueError(f"CurveBall: directions={directions!r} is unknown: use 'zdz' or 'zg'")
        if curvature not in ("ggn", "hessian"):
            raise ValueError(f"CurveBall: curvature={curvature!r} is unknown: use 'ggn' or 'hessian'")
        if reuse < 1 or reuse != int(reuse):
            raise ValueError(f"CurveBall: reuse={reuse} must be at least 1, and whole")
        if reuse > 1 and rho is not None:
            raise ValueError("CurveBall: reuse is for rho and beta that are solved for, but these are given")
        self.lam, self.rho, self.beta, self.adapt_lam = float(lam), rho, beta, adapt_lam
        self.directions, self.curvature, self.reuse, self.safeguard = directions, curvature, reuse, safeguard
        self.lam_rule = LambdaRule()
        self.z = self.w * 0
        self.mean_rho = self.mean_beta = 0.0

    def plan(self, step: int | None = None) -> dict[str, Any]:
        step = self.count if step is None else step
        primal = None if self.safeguard else 1 + self._looks_at_lam(step)
        forward = self._needs_model(step) + (self.directions == "zdz" or self._needs_model(step))
        return {"primal": primal, "jvp": forward, "vjp": int(self.curvature == "ggn")}

    def step(self, predict: Predict, loss: Loss) -> CurveBallInfo:
        w, z, lam, wd = self.w, self.z, self.lam, self.weight_decay
        damping = lam + wd
        rho = self.mean_rho if self.rho is None else self.rho
        beta = self.mean_beta if self.beta is None else self.beta
        passes = Counter(primal=0, jvp=0, vjp=0)
        with self._buffers_back_on_error() as buffers:
            passes["primal"] += 1
            value, g, J, H = self._linearized(predict, loss)
            before = float(value) + wd / 2 * dot(w, w)
            self._check_loss(before)

            if self.directions == "zdz" or self._needs_model(self.count):
                passes["jvp"] += 1
                Jz = J(z)  # forward-mode pass 1
                HJz = H(Jz)
            passes["vjp"] += self.curvature == "ggn"
            if self.directions == "zdz":
                dz = J.T(g + HJz) + damping * z  # the reverse-mode pass: dz = Ĥ z + g
            else:
                dz = J.T(g)
            if wd:
                dz = dz + wd * w
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
                if not np.isfinite(model.A).all():
                    raise FloatingPointError(
                        f"CurveBall step {self.count}: the gradient is finite, but the curvature along it is "
                        "not; parameters are as before the step: raise the damping"
                    )
                if self.rho is None:
                    if a11 == 0 < dzdz:
                        raise ValueError(
                            f"CurveBall step {self.count}: the loss has no curvature along dz, so rho and "
                            "beta have no automatic values: use lam > 0, or give rho and beta"
                        )
                    minus_beta, rho = model.minimum().tolist()
                    beta = -minus_beta
            del J, H  # their residuals are not needed any more, and the next pass takes their place

            trial = self.safeguard or self._looks_at_lam(self.count)
            start = (w.copy(), z.copy()) if trial else None
            z *= rho
            z -= beta * dz
            w += z

            predicted = ratio = None
            scale = 1.0
            try:
                if trial:
                    after = self._loss_after(predict, loss, buffers, passes)
                if self._looks_at_lam(self.count):
                    predicted = model(np.array([-beta, rho]))
                    if predicted:
                        ratio = (after - before) / predicted if math.isfinite(after) else -math.inf
                        self.lam = self.lam_rule(lam, ratio)
                while self.safeguard and scale and not after <= before:  # a NaN is no better than a rise
                    scale = scale / 2 if scale > 0.5**HALVINGS else 0.0
                    z[:] = 0.5 * z if scale else 0.0
                    w[:] = start[0] + z  # type: ignore[index]
                    after = self._loss_after(predict, loss, buffers, passes) if scale else before
            except BaseException:
                w[:], z[:] = start  # type: ignore[misc]
                self.lam = lam
                raise
        if self.rho is None and self._needs_model(self.count) and self.count:  # at 0 there is no z, so no rho
            old = MEMORY if self.count > 1 else 0.0
            self.mean_rho = old * self.mean_rho + (1 - old) * rho
            self.mean_beta = old * self.mean_beta + (1 - old) * beta
        self.count += 1
        info = CurveBallInfo(self.count - 1, before, dict(passes), rho, beta, lam, predicted, ratio, scale)
        return self._done(info, w=w, z=z, dz=dz)

    def _linearized(self, predict: Predict, loss: Loss) -> tuple[Any, Any, Any, Any]:
        """The loss, and g, J, H at w: the gradient of the loss is Jᵀ g, and Ĥ = Jᵀ H J + λ I."""
        w = self.w
        if self.curvature == "hessian":
            (value, g), K = mg.linearize(mg.value_and_grad(lambda w: loss(predict(self.unravel(w)))), w)
            return value, g, Identity(), lambda v: K(v)[1]
        y, J = mg.linearize(lambda w: predict(self.unravel(w)), w)
        if not hasattr(y, "shape"):
            raise TypeError(
                f"CurveBall: predict returned a {type(y).__name__}, but J z and the Hessian meet in one "
                "array: join the outputs with minigrad.concatenate"
            )
        value, g, H = mg.quadratic(loss, y)
        return value, g, J, H

    def _loss_after(self, predict: Predict, loss: Loss, buffers: list[Any], passes: Counter[str]) -> float:
        """The loss at w as it is now, with the masks of this step, and without new statistics."""
        passes["primal"] += 1
        with mg.keeping_buffers(self.model, start=buffers):
            return self._loss_now(predict, loss) + self.weight_decay / 2 * dot(self.w, self.w)

    def _looks_at_lam(self, step: int) -> bool:
        return self.adapt_lam and self.lam_rule.due(step)

    def _needs_model(self, step: int) -> bool:
        solves = self.rho is None and (step % self.reuse == 0 or step == 1)
        return solves or self._looks_at_lam(step)

    def _state(self) -> dict[str, Any]:
        means = {"mean_rho": self.mean_rho, "mean_beta": self.mean_beta}
        return super()._state() | {"z": self.z, "lam": self.lam} | means


class Identity:
    """J where the outputs are the parameters: then H is the Hessian of the whole loss."""

    def __call__(self, v: Any) -> Any:
        return v

    @property
    def T(self) -> "Identity":
        return self
