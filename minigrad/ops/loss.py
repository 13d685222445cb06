"""Losses of single examples: cross entropy with the softmax folded in.

Losses over a batch, with value, gradient and Hessian map in closed form, are objects of `minigrad.nn`.
"""

from typing import Any

from ..core import aval_str, dtype_of, namespace_of, shape_of, size_of
from .exponential import log_softmax
from .index import getitem

__all__ = ["check_labels", "softmax_cross_entropy"]


def softmax_cross_entropy(logits: Any, labels: Any) -> Any:
    """-log softmax(logits)[label] for each row: (N, C) and integer labels (N,) -> (N,).

    Raises ValueError for labels that do not fit.

    >>> softmax_cross_entropy(np.zeros((1, 2)), np.array([1]))
    array([0.69314718])
    """
    check_labels(logits, labels)
    rows = namespace_of(labels).arange(shape_of(labels)[0])
    return -getitem(log_softmax(logits, -1), (rows, labels))


def check_labels(logits: Any, labels: Any) -> None:
    """Raises ValueError or TypeError unless `labels` (N,) are integers that index columns of `logits`."""
    shape = shape_of(logits)
    if len(shape) != 2 or shape_of(labels) != shape[:1]:
        raise ValueError(
            f"softmax_cross_entropy: logits {aval_str(logits)} need integer labels of shape {shape[:1]}, "
            f"got {aval_str(labels)}"
        )
    if dtype_of(labels).kind not in "iu":
        raise TypeError(
            f"softmax_cross_entropy: labels are {aval_str(labels)}, but must be integers: use .astype(int)"
        )
    if not size_of(labels):
        return
    xp = namespace_of(labels)
    low, high = int(xp.min(labels)), int(xp.max(labels))
    if low < 0 or high >= shape[1]:
        raise ValueError(
            f"softmax_cross_entropy: labels reach from {low} to {high}, "
            f"but logits {aval_str(logits)} have classes 0 to {shape[1] - 1}"
        )
