"""Activations of networks: relu, softplus, silu, gelu (sigmoid and tanh are elementwise functions).

All are elementwise, do not overflow and keep the dtype; relu'(0) = 0.
"""

import math
from typing import Any

from ..backend import kernels_of
from ..core import Primitive, shape_of, unboxed
from ..rules import deflinear, defwhole, elementwise_flops
from .elementwise import elementwise, greater, sigmoid, where
from .special import erf

__all__ = ["gelu", "relu", "silu", "softplus"]


def silu(x: Any) -> Any:
    """x σ(x) (Elfwing et al. 2017), elementwise.

    >>> float(silu(0.0))
    0.0
    """
    return x * sigmoid(x)


def gelu(x: Any) -> Any:
    """x Φ(x) with the exact normal distribution function Φ (Hendrycks and Gimpel 2016), elementwise.

    >>> float(gelu(0.0))
    0.0
    """
    return x * (0.5 * (1 + erf(x * math.sqrt(0.5))))


softplus = elementwise(
    "softplus",
    "log(1 + eˣ)",
    lambda xp, x: xp.logaddexp(x, xp.zeros_like(x)),
    lambda ans, x: sigmoid(x),
    flops=20,
)


def _relu_rule(primals: Any, tangents: Any) -> tuple[Any, Any]:
    y = relu(*primals)
    return y, None if tangents[0] is None else relu_mask(tangents[0], y)


# The mask is read off the output, which the next layer keeps anyway, and is 0 at 0: relu'(0) = 0 (Bertoin et
# al. 2021).
relu = Primitive("relu", lambda xp, x: unboxed(kernels_of(xp).relu(xp.asarray(x))), doc="max(x, 0)")
defwhole(relu, _relu_rule)
relu.flops = elementwise_flops(1)

relu_mask = Primitive(
    "relu_mask",
    lambda xp, t, y: unboxed(kernels_of(xp).relu_mask(xp.asarray(t), xp.asarray(y))),
    doc="t where y > 0, else 0; its own transpose",
)
deflinear(relu_mask, lambda t, y: shape_of(t), lambda ct, t, y: relu_mask(ct, y))
# Beside many tangents there may be one y, which the kernel does not repeat.
relu_mask.batch = lambda args, params, batched: where(greater(args[1], 0), args[0], 0.0)
relu_mask.flops = elementwise_flops(1)
