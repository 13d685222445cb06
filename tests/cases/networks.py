"""Convolution, pooling, batch norm and losses."""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import minigrad as mg
from minigrad.core import dtype_of
from minigrad.testing import convolutions, poolings

from .builders import Case, distinct, layout, like, normal, positive, transposed


def conv_case(draw: Callable, rng: np.random.Generator) -> Case:
    conv = draw(convolutions())
    args = layout(draw, normal(rng, conv.x)), layout(draw, normal(rng, conv.w))
    return Case(lambda x, w: mg.conv2d(x, w, **conv.params), args, True)


def conv_tangent_case(draw: Callable, rng: np.random.Generator) -> Case:
    f, args, _ = conv_case(draw, rng)
    ts = tuple(layout(draw, normal(rng, a.shape)) for a in args)
    return Case(lambda *xs: mg.jvp(f, xs[:2], xs[2:])[1], (*args, *ts))


def conv_input_case(draw: Callable, rng: np.random.Generator) -> Case:
    conv = draw(convolutions())
    args = layout(draw, normal(rng, conv.y)), layout(draw, normal(rng, conv.w))
    return Case(lambda c, w: mg.conv2d_input(c, w, conv.x[1:3], **conv.params), args, True)


def conv_filter_case(draw: Callable, rng: np.random.Generator) -> Case:
    conv = draw(convolutions())
    args = layout(draw, normal(rng, conv.x)), layout(draw, normal(rng, conv.y))
    return Case(lambda x, c: mg.conv2d_filter(x, c, conv.w[1:3], **conv.params), args, True)


def max_pool_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape, params = draw(poolings())
    return Case(lambda x: mg.max_pool2d(x, **params), (layout(draw, distinct(rng, shape)),))


def pool_scatter_case(draw: Callable, rng: np.random.Generator) -> Case:
    f, (x,), _ = max_pool_case(draw, rng)
    return Case(lambda x, c: mg.vjp(f, x)[1](c)[0], (x, layout(draw, normal(rng, f(x).shape))))


def avg_pool_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape, params = draw(poolings())
    return Case(lambda x: mg.avg_pool2d(x, **params), (layout(draw, normal(rng, shape)),), True)


def window_spread_case(draw: Callable, rng: np.random.Generator) -> Case:
    f, (x,), _ = avg_pool_case(draw, rng)
    return Case(transposed(f, x.shape), (layout(draw, normal(rng, f(x).shape)),))


def batch_norm_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(
        st.sampled_from([(3, 1), (5, 3), (2, 3, 2), (2, 2, 2, 3), (3, 4, 1, 2)])
    )  # three rows at least: two would always become ±1
    eps = draw(st.sampled_from([1e-5, 1e-3, 0.1]))
    args = [distinct(rng, shape), normal(rng, shape[-1:]), normal(rng, shape[-1:])]
    relu = draw(st.booleans())
    if draw(st.booleans()):
        args.append(normal(rng, shape))
    return Case(
        lambda x, g, b, s=None: mg.batch_norm(x, g, b, eps, s, relu), tuple(layout(draw, a) for a in args)
    )


def batch_norm_tangent_case(draw: Callable, rng: np.random.Generator) -> Case:
    f, args, _ = batch_norm_case(draw, rng)
    ts = tuple(layout(draw, normal(rng, a.shape)) for a in args)
    n, k = len(args), draw(st.sampled_from([0, len(args) - 1, None]))
    if k is not None:  # one argument alone moves
        alone = lambda *xs: mg.jvp(lambda a: f(*xs[:k], a, *xs[k + 1 : n]), (xs[k],), (xs[n],))[1]  # noqa: E731
        return Case(alone, (*args, ts[k]))
    return Case(lambda *xs: mg.jvp(f, xs[:n], xs[n:])[1], (*args, *ts))


def batch_norm_transpose_case(draw: Callable, rng: np.random.Generator) -> Case:
    f, args, _ = batch_norm_case(draw, rng)
    c = layout(draw, normal(rng, args[0].shape))
    keep = draw(st.sampled_from([slice(0, None), slice(0, 1), slice(1, None)]))
    return Case(lambda *xs: mg.vjp(f, *xs[:-1])[1](xs[-1])[keep], (*args, c))


def cross_entropy_case(draw: Callable, rng: np.random.Generator) -> Case:
    n, c = draw(st.integers(0, 3)), draw(st.integers(1, 4))
    labels = rng.integers(0, c, n)
    return Case(
        lambda x: mg.softmax_cross_entropy(x, like(x, labels)), (layout(draw, normal(rng, (n, c))),), True
    )


def network_case(draw: Callable, rng: np.random.Generator) -> Case:
    """A convolution, batch norm, rectifier, pool and cross entropy, in the weights."""
    x, labels = normal(rng, (3, 4, 4, 2)), rng.integers(0, 2, 3)
    stride = draw(st.integers(1, 2))

    def f(w: Any, gamma: Any, beta: Any) -> Any:
        images = mg.astype(like(w, x), dtype_of(w))
        y = mg.batch_norm(mg.conv2d(images, w, stride, 1), gamma, beta, 0.1)
        return mg.softmax_cross_entropy(mg.sum(mg.max_pool2d(mg.relu(y), 2), (1, 2)), like(w, labels))

    args = 0.5 * normal(rng, (2, 3, 3, 2)), positive(rng, (2,)), normal(rng, (2,))
    return Case(f, tuple(layout(draw, a) for a in args))


CASES: dict[str, Callable] = {
    "conv2d": conv_case,
    "conv2d_tangent": conv_tangent_case,
    "conv2d_input": conv_input_case,
    "conv2d_filter": conv_filter_case,
    "pool_index": max_pool_case,
    "pool_gather": max_pool_case,
    "pool_scatter": pool_scatter_case,
    "window_sum": avg_pool_case,
    "window_spread": window_spread_case,
    "batch_norm": batch_norm_case,
    "batch_norm_residuals": batch_norm_tangent_case,
    "batch_norm_tangent": batch_norm_tangent_case,
    "batch_norm_transpose": batch_norm_transpose_case,
    "batch_statistic": batch_norm_tangent_case,
}

# Zero derivative wherever there is one: the functions themselves.
CONSTANTS: dict[str, Callable] = {}

# Public operations made of primitives.
COMPOSITES: dict[str, Callable] = {
    "softmax_cross_entropy": cross_entropy_case,
    "network": network_case,
}

# Calls whose values are compared with those of the function of the same name in NumPy.
NUMPY_CALLS: dict[str, list] = {}

# These take directions of their own type along with the primals, so mixing them is an error.
ONE_DTYPE = {"conv2d_tangent", "pool_scatter", "batch_norm_transpose"}
ONE_DTYPE |= {name for name, case in CASES.items() if case is batch_norm_tangent_case}

# Checked to third order, too.
THIRD = {
    "batch_norm",
    "conv2d",
    "conv2d_input",
    "conv2d_filter",
    "pool_gather",
    "pool_scatter",
    "window_sum",
    "window_spread",
    "softmax_cross_entropy",
    "network",
    "batch_norm_tangent",
    "batch_norm_transpose",
}
