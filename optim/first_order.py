"""First-order methods: SGD with momentum, RMSProp, Adam. One primal pass and one reverse pass a step.

A learning rate or momentum is a number, or a function of the step's number from 0 (`schedules.py`).
"""

import math
from typing import Any

from minigrad import backend_of, value_and_grad

from .base import Array, Loss, Optimizer, Predict, StepInfo, Tree, dot
from .schedules import Schedule, at


class FirstOrder(Optimizer):
    """An optimizer whose step is a function of the gradient: a subclass says which, in `update(g)`."""

    def step(self, predict: Predict, loss: Loss) -> StepInfo:
        w, wd = self.w, self.weight_decay
        with self._buffers_back_on_error():
            value, g = value_and_grad(lambda w: loss(predict(self.unravel(w))))(w)
            value = float(value)
            if wd:
                value, g = value + wd / 2 * dot(w, w), g + wd * w
            self._check_loss(value)
            self._check_gradient(dot(g, g))
        self.update(g)
        self.count += 1
        passes = {"primal": 1, "jvp": 0, "vjp": 1}
        return self._done(StepInfo(self.count - 1, value, passes), w=w, g=g)

    def update(self, g: Array) -> None:
        """Moves `w` in place, given the gradient `g` at it."""
        raise NotImplementedError


class SGD(FirstOrder):
    """v ← mu v + g ; w ← w - lr v, with mu = `momentum`; with `nesterov`, w ← w - lr (g + mu' v).

    mu' is the momentum of the next step, for w is where the gradient is taken: ahead of the iterate theta of
    Sutskever, Martens, Dahl and Hinton 2013 (eq. 3 and 4, velocity -lr v) by the momentum to come,
    w_t = theta_t - lr mu_t v_t. With a constant momentum this is PyTorch's rule.

    >>> import numpy as np
    >>> opt = SGD({"w": np.ones(1)}, lr=0.1)
    >>> info = opt.step(lambda m: m["w"], lambda y: (y ** 2).sum())
    >>> info.loss, opt.w
    (1.0, array([0.8]))
    """

    def __init__(
        self,
        model: Tree,
        lr: float | Schedule = 0.1,
        momentum: float | Schedule = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(model, weight_decay)
        if nesterov and not momentum:
            raise ValueError("SGD: nesterov=True needs momentum > 0")
        self.lr, self.momentum, self.nesterov = lr, momentum, nesterov
        self.v = self.w * 0

    def update(self, g: Array) -> None:
        t = self.count
        self.v *= at(self.momentum, t)
        self.v += g
        self.w -= at(self.lr, t) * (g + at(self.momentum, t + 1) * self.v if self.nesterov else self.v)

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"v": self.v}


class RMSProp(FirstOrder):
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
        lr: float | Schedule = 0.001,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(model, weight_decay)
        self.lr, self.alpha, self.eps = lr, alpha, eps
        self.s = self.w * 0

    def update(self, g: Array) -> None:
        self.s *= self.alpha
        self.s += (1 - self.alpha) * g * g
        self.w -= at(self.lr, self.count) * g / (backend_of(g).xp.sqrt(self.s) + self.eps)

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"s": self.s}


class Adam(FirstOrder):
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
        lr: float | Schedule = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(model, weight_decay)
        self.lr, self.betas, self.eps = lr, betas, eps
        self.m, self.v = self.w * 0, self.w * 0

    def update(self, g: Array) -> None:
        b1, b2 = self.betas
        t = self.count + 1
        self.m *= b1
        self.m += (1 - b1) * g
        self.v *= b2
        self.v += (1 - b2) * g * g
        v_hat = backend_of(g).xp.sqrt(self.v) / math.sqrt(1 - b2**t)
        self.w -= at(self.lr, self.count) / (1 - b1**t) * self.m / (v_hat + self.eps)

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"m": self.m, "v": self.v}
