"""Quasi-Newton methods: BFGS with a dense inverse Hessian, and L-BFGS with the last few pairs of it.

Nocedal and Wright 2006, "Numerical Optimization", chapters 6 and 7. The line search asks for value and slope
along the direction, which is what one forward-mode pass gives.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad as mg

from .base import Array, Loss, Optimizer, Predict, StepInfo, Tree, dot
from .line_search import along, strong_wolfe


@dataclass(frozen=True)
class QuasiNewtonInfo(StepInfo):
    """The step is `alpha` d, found in `evaluations` forward-mode passes.

    `wolfe`: the strong Wolfe conditions hold at it; if not, it is the best of those tried, at worst 0.
    `kept`: the step's pair (s, y) went into the estimate.
    """

    alpha: float
    evaluations: int
    wolfe: bool
    kept: bool


class QuasiNewton(Optimizer):
    """w ← w + alpha d, with d = -H g and an inverse Hessian H estimated from pairs (s, y).

    s is a step and y the change of the gradient over it, of one function: both gradients, and the line search
    between them, are on the mini-batch that `step` was given, with the same dropout masks, and only the first
    pass moves the Buffers. The next step computes its gradient anew, even if it is given the same function.
    A pair is left out unless s·y > 1e-8 |s| |y|. Without pairs d is -g; when no step along d goes down, all
    pairs are forgotten. `c1` and `c2` are those of `strong_wolfe`.
    """

    def __init__(self, model: Tree, c1: float = 1e-4, c2: float = 0.9, weight_decay: float = 0.0) -> None:
        super().__init__(model, weight_decay)
        self.c1, self.c2 = c1, c2
        self.pairs = 0  # that H was made of

    def plan(self, step: int | None = None) -> dict[str, Any]:
        """The passes of a step; "jvp" is None: as many as the line search needs.

        >>> LBFGS({"w": np.ones(2)}).plan()
        {'primal': 2, 'jvp': None, 'vjp': 2}
        """
        return {"primal": 2, "jvp": None, "vjp": 2}

    def step(self, predict: Predict, loss: Loss) -> QuasiNewtonInfo:
        w = self.w
        with self._buffers_back_on_error() as buffers:

            def f(w: Array) -> Array:
                return loss(predict(self.unravel(w)))

            def again(w: Array) -> Array:  # with the masks of this step, and no new statistics
                with mg.keeping_buffers(self.model, start=buffers):
                    return f(w)

            value, g, gg = self._gradient(f, w)
            d = self.direction(g) if self.pairs else -g
            slope = dot(g, d)
            if self.pairs and not slope < 0:  # rounding has spoiled the estimate
                self.pairs, d, slope = 0, -g, -gg
            first = 1.0 if self.pairs else 1 / max(1.0, math.sqrt(gg))
            phi = along(again, w, d, self.weight_decay)
            found = strong_wolfe(phi, value, slope, first, self.c1, self.c2)
            s = found.alpha * d
            _, y, _ = self._gradient(again, w + s)
            y -= g
        sy = dot(s, y)
        kept = sy > 1e-8 * math.sqrt(dot(s, s)) * math.sqrt(dot(y, y))
        if kept:
            self.update(s, y, sy)
            self.pairs += 1
        elif found.alpha == 0:
            self.pairs = 0
        w += s
        self.count += 1
        info = QuasiNewtonInfo(
            step=self.count - 1,
            loss=value,
            passes=self.plan() | {"jvp": found.evaluations},
            alpha=found.alpha,
            evaluations=found.evaluations,
            wolfe=found.wolfe,
            kept=kept,
        )
        return self._done(info, w=w, g=g, d=d)

    def direction(self, g: Array) -> Array:
        """-H g."""
        raise NotImplementedError

    def update(self, s: Array, y: Array, sy: float) -> None:
        """Puts the pair (s, y) into H; `sy` is s·y."""
        raise NotImplementedError

    def _gradient(self, f: Any, w: Array) -> tuple[float, Array, float]:
        """Value and gradient g with weight decay, and g·g; FloatingPointError unless they are finite."""
        value, g = mg.value_and_grad(f)(w)
        value, wd = float(value), self.weight_decay
        if wd:
            value, g = value + wd / 2 * dot(w, w), g + wd * w
        self._check_loss(value)
        gg = dot(g, g)
        self._check_gradient(gg)
        return value, g, gg

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"pairs": self.pairs}


class BFGS(QuasiNewton):
    """BFGS: a dense inverse Hessian, in float64, for up to 10,000 parameters.

    H ← (I - rho s yᵀ) H (I - rho y sᵀ) + rho s sᵀ with rho = 1 / s·y (Nocedal and Wright, eq. 6.17), from
    (s·y / y·y) I at the first pair (eq. 6.20).

    >>> opt = BFGS({"w": np.zeros(2)}, c2=0.01)
    >>> for _ in range(3):
    ...     info = opt.step(lambda m: m["w"] * np.array([1.0, 10.0]), lambda y: ((y - 1.0) ** 2).sum())
    >>> opt.w.round(6)
    array([1. , 0.1])
    """

    def __init__(self, model: Tree, c1: float = 1e-4, c2: float = 0.9, weight_decay: float = 0.0) -> None:
        super().__init__(model, c1, c2, weight_decay)
        n = self.w.size
        if n > 10_000:
            raise ValueError(
                f"BFGS: the dense inverse Hessian of {n:,} parameters would take {8e-9 * n * n:.1f} GB: "
                "use LBFGS, which keeps a few vectors"
            )
        self.H = mg.backend_of(self.w).xp.eye(n)

    def direction(self, g: Array) -> Array:
        return -(self.H @ g).astype(g.dtype)

    def update(self, s: Array, y: Array, sy: float) -> None:
        xp = mg.backend_of(s).xp
        s, y = s.astype(np.float64), y.astype(np.float64)
        if not self.pairs:
            self.H[...] = sy / dot(y, y) * xp.eye(s.size)
        # Eq. 6.17 multiplied out is H + s vᵀ + v sᵀ, symmetric to the last bit.
        Hy = self.H @ y
        v = (1 + dot(y, Hy) / sy) / (2 * sy) * s - Hy / sy
        sv = xp.outer(s, v)
        self.H += sv + sv.T

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"H": self.H}


class LBFGS(QuasiNewton):
    """L-BFGS: H as BFGS makes it of the last `memory` pairs, from (s·y / y·y) I of the newest (eq. 7.20).

    H itself is never written down: two loops over the pairs multiply by it (algorithm 7.4).

    >>> opt = LBFGS({"w": np.zeros(2)}, c2=0.01)
    >>> for _ in range(3):
    ...     info = opt.step(lambda m: m["w"] * np.array([1.0, 10.0]), lambda y: ((y - 1.0) ** 2).sum())
    >>> opt.w.round(6)
    array([1. , 0.1])
    """

    def __init__(
        self,
        model: Tree,
        memory: int = 10,
        c1: float = 1e-4,
        c2: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(model, c1, c2, weight_decay)
        if memory < 1:
            raise ValueError(f"LBFGS: memory={memory} must be at least 1")
        # Pair k is in row k % memory.
        self.S, self.Y = (mg.backend_of(self.w).xp.zeros((memory, self.w.size), self.w.dtype) for _ in "sy")
        self.sy = np.ones(memory)

    def direction(self, g: Array) -> Array:
        S, Y, memory = self.S, self.Y, len(self.sy)
        rows = [k % memory for k in range(max(self.pairs - memory, 0), self.pairs)]  # the oldest first
        rho = (1 / self.sy).tolist()
        a = {}
        q = -g
        for i in reversed(rows):
            a[i] = rho[i] * dot(S[i], q)
            q -= a[i] * Y[i]
        newest = rows[-1]
        q *= 1 / (rho[newest] * dot(Y[newest], Y[newest]))
        for i in rows:
            b = rho[i] * dot(Y[i], q)
            q += (a[i] - b) * S[i]
        return q

    def update(self, s: Array, y: Array, sy: float) -> None:
        i = self.pairs % len(self.sy)
        self.S[i], self.Y[i], self.sy[i] = s, y, sy

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"S": self.S, "Y": self.Y, "sy": self.sy}
