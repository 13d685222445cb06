"""Losses: `loss(y)` is a scalar, `loss.quadratic(y)` its value, gradient and Hessian map in closed form.

The Hessian map H(v) is the paper's H_L v (arXiv 1805.08095): cheap, in output space, positive semidefinite.
Each example's loss is summed over its outputs; `reduction` "mean" divides by the number of examples N.
"""

from collections.abc import Callable
from typing import Any

import minigrad as mg
from minigrad.core import aval_str
from minigrad.ops.loss import check_labels

Array = Any
Quadratic = tuple[Array, Array, Callable[[Array], Array]]


class Loss:
    """A scalar loss over a batch of outputs, (N, ...)."""

    def __init__(self, reduction: str = "mean") -> None:
        if reduction not in ("mean", "sum"):
            raise ValueError(
                f"{type(self).__name__}: reduction {reduction!r} is unknown: use 'mean' or 'sum'"
            )
        self.reduction = reduction

    def __call__(self, y: Array) -> Array:
        """The loss at outputs `y`, a scalar of their dtype; differentiable."""
        raise NotImplementedError

    def quadratic(self, y: Array) -> Quadratic:
        """Value, gradient (like `y`) and Hessian map (from arrays like `y` to arrays like `y`) at `y`."""
        raise NotImplementedError

    def _scale(self, y: Array) -> float:
        if not y.shape or not y.shape[0]:
            raise ValueError(f"{type(self).__name__}: outputs {aval_str(y)} hold no examples")
        return 1 / y.shape[0] if self.reduction == "mean" else 1.0

    def _check(self, y: Array, targets: Array) -> None:
        if y.shape != targets.shape:
            raise ValueError(
                f"{type(self).__name__}: outputs {aval_str(y)} do not fit targets {aval_str(targets)}"
            )


class SoftmaxCrossEntropy(Loss):
    """-log softmax(y)[label] for logits y (N, C) and integer labels (N,).

    With p = softmax(y): gradient (p - onehot) / N and H v = (p∘v - p (p·v)) / N, row by row.

    >>> import numpy as np
    >>> value, g, H = SoftmaxCrossEntropy(np.array([0])).quadratic(np.zeros((1, 2)))
    >>> g, H(np.array([[1.0, 1.0]]))
    (array([[-0.5,  0.5]]), array([[0., 0.]]))
    """

    def __init__(self, labels: Array, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.labels = labels

    def __call__(self, y: Array) -> Array:
        return mg.sum(mg.softmax_cross_entropy(y, self.labels)) * self._scale(y)

    def quadratic(self, y: Array) -> Quadratic:
        check_labels(y, self.labels)
        s, p = self._scale(y), mg.softmax(y)
        hot = mg.equal(self.labels[:, None], mg.backend_of(self.labels).xp.arange(y.shape[1]))
        g = mg.where(hot, p - 1, p) * s
        return self(y), g, lambda v: (p * v - p * mg.sum(p * v, -1, keepdims=True)) * s


class SquaredError(Loss):
    """Σ (y - t)², without a factor ½: gradient 2 (y - t) / N and H v = 2 v / N.

    >>> import numpy as np
    >>> float(SquaredError(np.zeros((2, 3)))(np.ones((2, 3))))
    3.0
    """

    def __init__(self, targets: Array, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.targets = targets

    def __call__(self, y: Array) -> Array:
        self._check(y, self.targets)
        return mg.sum(mg.square(y - self.targets)) * self._scale(y)

    def quadratic(self, y: Array) -> Quadratic:
        s = self._scale(y)
        return self(y), (y - self.targets) * (2 * s), lambda v: v * (2 * s)


class BinaryCrossEntropy(Loss):
    """Σ softplus(y) - t y, logits y, targets t in [0, 1]: gradient (σ(y) - t) / N, H v = σ (1 - σ) v / N.

    >>> import numpy as np
    >>> float(BinaryCrossEntropy(np.ones((1, 1)))(np.zeros((1, 1))).round(4))
    0.6931
    """

    def __init__(self, targets: Array, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.targets = targets

    def __call__(self, y: Array) -> Array:
        self._check(y, self.targets)
        return mg.sum(mg.softplus(y) - self.targets * y) * self._scale(y)

    def quadratic(self, y: Array) -> Quadratic:
        s, p = self._scale(y), mg.sigmoid(y)
        return self(y), (p - self.targets) * s, lambda v: p * (1 - p) * v * s
