"""First-order methods: SGD with momentum, RMSProp, Adam. One primal pass and one reverse pass a step."""

import math
from typing import Any

from minigrad import backend_of

from .base import Loss, Optimizer, Predict, StepInfo, Tree


class SGD(Optimizer):
    """v ← momentum v + g ; w ← w - lr v, or with `nesterov` w ← w - lr (g + momentum v), as in PyTorch.

    >>> import numpy as np
    >>> opt = SGD({"w": np.ones(1)}, lr=0.1)
    >>> info = opt.step(lambda m: m["w"], lambda y: (y ** 2).sum())
    >>> info.loss, opt.w
    (1.0, array([0.8]))
    """

    def __init__(
        self,
        model: Tree,
        lr: float = 0.1,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(model, weight_decay)
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov=True needs momentum > 0")
        self.lr, self.momentum, self.nesterov = lr, momentum, nesterov
        self.v = self.w * 0

    def step(self, predict: Predict, loss: Loss) -> StepInfo:
        value, g = self._value_and_grad(predict, loss)
        self.v *= self.momentum
        self.v += g
        self.w -= self.lr * (g + self.momentum * self.v if self.nesterov else self.v)
        self.count += 1
        return StepInfo(self.count - 1, value, self.plan())

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"v": self.v}


class RMSProp(Optimizer):
    """s ← alpha s + (1 - alpha) g² ; w ← w - lr g / (√s + eps) (Tieleman and Hinton 2012, lecture 6.5).

    >>> import numpy as np
    >>> opt = RMSProp({"w": np.ones(1)}, lr=0.1, alpha=0.0)
    >>> info = opt.step(lambda m: m["w"], lambda y: (y ** 2).sum())
    >>> opt.w.round(6)
    array([0.9])
    """

    def __init__(
        self,
        model: Tree,
        lr: float = 0.001,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(model, weight_decay)
        self.lr, self.alpha, self.eps = lr, alpha, eps
        self.s = self.w * 0

    def step(self, predict: Predict, loss: Loss) -> StepInfo:
        value, g = self._value_and_grad(predict, loss)
        self.s *= self.alpha
        self.s += (1 - self.alpha) * g * g
        self.w -= self.lr * g / (backend_of(g).xp.sqrt(self.s) + self.eps)
        self.count += 1
        return StepInfo(self.count - 1, value, self.plan())

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"s": self.s}


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1): w ← w - lr m̂ / (√v̂ + eps), with bias-corrected moments m̂, v̂.

    >>> import numpy as np
    >>> opt = Adam({"w": np.ones(1)}, lr=0.1)
    >>> info = opt.step(lambda m: m["w"], lambda y: (y ** 2).sum())
    >>> opt.w.round(6)
    array([0.9])
    """

    def __init__(
        self,
        model: Tree,
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(model, weight_decay)
        self.lr, self.betas, self.eps = lr, betas, eps
        self.m, self.v = self.w * 0, self.w * 0

    def step(self, predict: Predict, loss: Loss) -> StepInfo:
        value, g = self._value_and_grad(predict, loss)
        b1, b2 = self.betas
        t = self.count + 1
        self.m *= b1
        self.m += (1 - b1) * g
        self.v *= b2
        self.v += (1 - b2) * g * g
        v_hat = backend_of(g).xp.sqrt(self.v) / math.sqrt(1 - b2**t)
        self.w -= self.lr / (1 - b1**t) * self.m / (v_hat + self.eps)
        self.count += 1
        return StepInfo(self.count - 1, value, self.plan())

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"m": self.m, "v": self.v}
