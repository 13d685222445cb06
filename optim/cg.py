"""Conjugate gradient (Hestenes and Stiefel 1952) for truncated Newton: it stops early and keeps its way."""

import math
from collections.abc import Callable
from typing import NamedTuple

from .base import Array, dot


class Iterate(NamedTuple):
    """x after `iteration` iterations, and `value` = φ(x) = ½ xᵀ A x - b·x."""

    iteration: int
    x: Array
    value: float


def cg(
    product: Callable[[Array], Array],
    b: Array,
    x0: Array,
    steps: int,
    progress: float = 5e-4,
) -> list[Iterate]:
    """Minimises φ(x) = ½ xᵀ A x - b·x from `x0` with `product(v)` = A v; the iterates, the last one last.

    A is symmetric. The search ends after `steps` iterations; or where φ < 0 has fallen by less than k
    `progress` of itself in the last k = max(10, i / 10) of i iterations (Martens 2010, section 4.4); or where
    A has no curvature along the next direction p: x then stays, but in the first iteration it moves by p
    (Nocedal and Wright, algorithm 7.1). Kept are the iterates ⌈1.3^j⌉ (Martens 2010, section 4.7) and the
    last. Each iteration costs one product, a start that is not 0 another. Scalars are float64 whatever
    the dtype of `b`. Raises FloatingPointError for a product that is not finite.

    >>> import numpy as np
    >>> A, b = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([3.0, 0.0])
    >>> cg(lambda v: A @ v, b, np.zeros(2), steps=2)[-1].x.round(12)
    array([ 2., -1.])
    """
    x = x0.copy()
    r = b - product(x) if dot(x, x) else b.copy()  # b - A x
    p, rr = r.copy(), dot(r, r)
    values = [_value(x, b, r)]
    i, curvature, keep, kept = 0, 1.0, 1.0, []
    while rr and curvature > 0 and i < steps and not _stalls(values, progress):
        Ap = product(p)
        curvature = dot(p, Ap)
        if not math.isfinite(curvature):
            raise FloatingPointError(
                f"conjugate gradient: the product of iteration {i + 1} is not finite: look for overflow in "
                "the derivatives, scale the data, or raise the damping"
            )
        if curvature <= 0 and i:
            break
        i += 1
        alpha = rr / curvature if curvature > 0 else 1.0
        x += alpha * p
        r -= alpha * Ap
        values.append(_value(x, b, r))
        if i >= keep:
            kept.append(Iterate(i, x.copy(), values[-1]))
            while keep <= i:
                keep *= 1.3
        old, rr = rr, dot(r, r)
        p *= rr / old
        p += r
    return [k for k in kept if k.iteration < i] + [Iterate(i, x, values[-1])]


def _value(x: Array, b: Array, r: Array) -> float:
    """φ(x) = -½ x·(b + r) with r = b - A x: it needs no product."""
    return -0.5 * (dot(x, b) + dot(x, r))


def _stalls(values: list[float], progress: float) -> bool:
    i = len(values) - 1
    k = max(10, i // 10)
    return i > k and values[i] < 0 and (values[i] - values[i - k]) / values[i] < k * progress
