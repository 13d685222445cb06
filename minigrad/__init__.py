"""minigrad: derivatives of NumPy and CuPy programs, forwards and backwards, to any order.

A derivative is a linear map: `linearize` runs a program once and hands that map over as an object.
Layers are in `minigrad.nn`, optimizers in `minigrad.optim`.
"""

import os as _os

from . import core as _core
from . import protocols as _protocols  # noqa: F401  (puts NumPy's protocols on tracers)
from .backend import asnumpy, backend_of, to_device
from .custom import checkpoint, custom_jvp, custom_vjp
from .errors import LeakedTracerError, MissingRuleError, MixedBackendError, NonlinearError, PassMismatch
from .forward import jvp
from .inspect import Recording, Table, debug_nans, diff, explain, show_rule, summary, trace
from .linear import Cost, LinearMap, linear_transpose, linearize
from .ops import complex as _complex
from .ops import fft, linalg, special
from .ops.activations import *  # noqa: F403
from .ops.complex import *  # noqa: F403
from .ops.conv import conv2d, conv2d_filter, conv2d_input
from .ops.create import *  # noqa: F403
from .ops.cumulative import *  # noqa: F403
from .ops.diagonals import diag, diagflat, diagonal, tril, triu
from .ops.differences import ediff1d, gradient, trapezoid, unwrap
from .ops.elementwise.choices import *  # noqa: F403
from .ops.elementwise.constants import *  # noqa: F403
from .ops.elementwise.functions import *  # noqa: F403
from .ops.exponential import *  # noqa: F403
from .ops.index import *  # noqa: F403
from .ops.join import *  # noqa: F403
from .ops.loss import softmax_cross_entropy
from .ops.nan import *  # noqa: F403
from .ops.norm import batch_norm
from .ops.order import *  # noqa: F403
from .ops.polynomial import *  # noqa: F403
from .ops.pool import avg_pool2d, max_pool2d
from .ops.products import *  # noqa: F403
from .ops.rearrange import *  # noqa: F403
from .ops.reduce import *  # noqa: F403
from .ops.shape import (
    atleast_1d,
    atleast_2d,
    atleast_3d,
    broadcast_arrays,
    broadcast_to,
    concatenate,
    expand_dims,
    matrix_transpose,
    moveaxis,
    permute_dims,
    reshape,
    rollaxis,
    split,
    squeeze,
    stack,
    swapaxes,
    transpose,
    unstack,
)
from .ops.special import erf, i0, sinc
from .ops.statistics import *  # noqa: F403
from .ops.windows import *  # noqa: F403
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

# Every rule is in place now: those that are for real numbers only shall say so.
_complex.complete(_core.PRIMITIVES.values())

_core.OWN.update(name for name in _core.PRIMITIVES if not name.startswith(("custom_", "checkpoint")))

__version__ = "0.1.0"

if _os.environ.get("MINIGRAD_TRACE"):
    from .inspect import environment as _environment

    _environment.start(_os.environ.pop("MINIGRAD_TRACE"))
