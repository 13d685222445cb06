"""The loss of one batch around the parameters to second order, after Gauss and Newton, and trial steps on it.

What Levenberg-Marquardt and truncated Newton share: one linearization, and the question whether it was right.
"""

import math
from collections import Counter

import numpy as np

import minigrad as mg
from minigrad.batch import sweep

from .base import Array, Loss, Optimizer, Predict, dot

BLOCK = 64  # directions that one sweep carries


class GaussNewton:
    """m(d) = g·d + ½ dᵀ G d, the change of the loss from w to w + d, with G = Jᵀ H J + wd I.

    J is the derivative of `predict` at w, H the Hessian of `loss` at the outputs. `value` is the loss at w
    with weight decay, `rounding` the least change of it that can be seen, `g` its gradient; `passes` counts
    all that is run. `buffers` are the Buffers' values from before the step. Raises FloatingPointError when
    value or gradient are not finite.
    """

    def __init__(self, opt: Optimizer, predict: Predict, loss: Loss, buffers: list) -> None:
        self.opt, self.predict, self.loss, self.buffers = opt, predict, loss, buffers
        self.wd = opt.weight_decay
        self.w = w = opt.w.copy()  # trials move opt.w, and J keeps views of what it was recorded at
        self.passes: Counter[str] = Counter(primal=1, jvp=0, vjp=1)
        y, self.J = mg.linearize(lambda w: predict(opt.unravel(w)), w)
        if not hasattr(y, "shape"):
            raise TypeError(
                f"{opt.name}: predict returned a {type(y).__name__}, but J v and the Hessian meet in one "
                "array: join the outputs with minigrad.concatenate"
            )
        value, slope, self.H = mg.quadratic(loss, y)
        self.value = float(value) + self.wd / 2 * dot(w, w)
        opt._check_loss(self.value)
        self.rounding = float(np.finfo(w.dtype).eps) * abs(self.value)
        self.g = self.J.T(slope)
        if self.wd:
            self.g = self.g + self.wd * w
        opt._check_gradient(dot(self.g, self.g))

    def product(self, v: Array) -> Array:
        """G v: one forward-mode and one reverse-mode pass (Schraudolph 2002, section 3)."""
        self.passes.update(jvp=1, vjp=1)
        Gv = self.J.T(self.H(self.J(v)))
        return Gv + self.wd * v if self.wd else Gv

    def matrix(self) -> Array:
        """G, (n, n) in float64, in ⌈n / 64⌉ passes of each kind, each with 64 directions at once."""
        n, xp = self.w.size, mg.backend_of(self.w).xp
        G = xp.empty((n, n), np.float64)
        for i in range(0, n, BLOCK):
            self.passes.update(jvp=1, vjp=1)
            V = self.J.many(xp.eye(min(BLOCK, n - i), n, i, dtype=self.w.dtype))
            (HV,) = sweep(lambda vs: [self.H(vs[0])], [V])
            G[i : i + BLOCK] = self.J.T.many(HV)
        G.reshape(-1)[:: n + 1] += self.wd
        return G

    def loss_at(self, d: Array) -> float:
        """The loss at w + d, infinity where it is not finite: the same masks, and no new statistics.

        One primal pass, which leaves parameters and Buffers as they are.
        """
        opt = self.opt
        self.passes["primal"] += 1
        try:
            opt.w[...] = self.w + d
            # Too long a step may overflow: that is an answer here.
            with np.errstate(all="ignore"), mg.keeping_buffers(opt.model, start=self.buffers):
                value = opt._loss_now(self.predict, self.loss) + self.wd / 2 * dot(opt.w, opt.w)
        finally:
            opt.w[...] = self.w
        return value if math.isfinite(value) else math.inf

    def ratio(self, after: float, predicted: float) -> float | None:
        """Actual change of the loss over the `predicted` one; None for no fall beyond the loss's rounding."""
        return (after - self.value) / predicted if -predicted > self.rounding else None
