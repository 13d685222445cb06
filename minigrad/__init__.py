"""minigrad: derivatives of NumPy and CuPy programs, forwards and backwards, to any order.

A derivative is a linear map: `linearize` runs a program once and hands that map over as an object.
Layers are in `minigrad.nn`, optimizers in `minigrad.optim`.
"""

from . import protocols as _protocols  # noqa: F401  (puts NumPy's protocols on tracers)
from .backend import asnumpy, backend_of, to_device
from .errors import LeakedTracerError, MissingRuleError, MixedBackendError, NonlinearError
from .forward import jvp
from .linear import Cost, LinearMap, linear_transpose, linearize
from .ops.conv import conv2d, conv2d_filter, conv2d_input
from .ops.elementwise import *  # noqa: F403
from .ops.index import getitem, scatter, take
from .ops.loss import softmax_cross_entropy
from .ops.norm import batch_norm
from .ops.pool import avg_pool2d, max_pool2d
from .ops.products import dot, einsum, matmul, outer, tensordot
from .ops.reduce import *  # noqa: F403
from .ops.shape import (
    broadcast_to,
    concatenate,
    expand_dims,
    moveaxis,
    pad,
    reshape,
    split,
    squeeze,
    stack,
    swapaxes,
    transpose,
)
from .transforms import (
    ggn_vp,
    grad,
    hessian,
    hvp,
    jacfwd,
    jacrev,
    quadratic,
    stop_gradient,
    value_and_grad,
    vjp,
)
from .tree import (
    Buffer,
    keeping_buffers,
    ravel,
    register_node,
    tree_buffers,
    tree_flatten,
    tree_leaves,
    tree_map,
    tree_unflatten,
)

__version__ = "0.1.0"
