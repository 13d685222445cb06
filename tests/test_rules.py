"""The derivative rules of every primitive: structure of the cases from hypothesis, numbers from a seed.

`CASES` names each primitive and draws a function that reaches it through public operations, with arguments
away from kinks. The first tests below run all of them; the others pin down what no difference quotient sees.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from derivatives import (
    assert_close,
    assert_like,
    check_dot,
    check_jvp,
    check_order,
    check_order2,
    derivative,
    directions,
    forward,
    leaves,
    reverse,
    scalar,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.core import PRIMITIVES, Primitive
from minigrad.ops.norm import batch_norm_with_statistics
from minigrad.rules import defjvp, deflinear, elementwise_flops

OURS = {
    name: p for name, p in PRIMITIVES.items() if p.impl.__module__.startswith("minigrad") and name[0] != "_"
}
SEEDS = st.integers(0, 2**32 - 1)

# Shares of the examples that the profile in conftest.py asks for: 20, or 200 when intense.
half, quarter = (settings(max_examples=settings().max_examples // n) for n in (2, 4))


class Case(NamedTuple):
    """A function and arguments; `analytic`: its NumPy functions take complex numbers."""

    f: Callable
    args: tuple
    analytic: bool = False


# ----- Numbers, away from kinks and poles -----


def normal(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    return rng.standard_normal(shape)


def nonzero(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    return rng.uniform(0.2, 2, shape) * rng.choice([-1, 1], shape)


def positive(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    return rng.uniform(0.3, 2, shape)


def inside(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    return rng.uniform(-0.8, 0.8, shape)


def fractional(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    """Neither integers nor halves, so that floor, ceil and round are constant around them."""
    return rng.integers(-2, 2, shape) + rng.choice([0.25, 0.75], shape)


def distinct(rng: np.random.Generator, *shapes: tuple) -> Any:
    """Arrays (one for one shape) that have no number twice, taken together."""
    sizes = [math.prod(s) for s in shapes]
    numbers = (rng.permutation(sum(sizes)) + 0.5) / max(sum(sizes), 1) * 4 - 2
    parts = np.split(numbers, np.cumsum(sizes)[:-1])
    arrays = [p.reshape(s) for p, s in zip(parts, shapes, strict=True)]
    return arrays if len(shapes) > 1 else arrays[0]


def layout(draw: Callable, x: np.ndarray) -> np.ndarray:
    """`x` in one of several memory layouts, and read-only: a rule that writes into its input fails."""
    kind = draw(st.sampled_from(["rows", "columns", "gaps", "backwards"]))
    x = np.array(x)
    if kind == "columns":
        x = x.T.copy().T
    elif kind == "gaps" and x.ndim:
        x = np.repeat(x, 2, axis=-1)[..., ::2]
    elif kind == "backwards" and x.ndim:
        x = x[::-1].copy()[::-1]
    x.flags.writeable = False
    return x


# ----- Structure -----


def shapes(min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 4) -> st.SearchStrategy:
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side)


def broadcastable(draw: Callable, n: int) -> tuple:
    pattern = hnp.mutually_broadcastable_shapes(num_shapes=n, max_dims=3, max_side=3, min_side=0)
    return draw(pattern).input_shapes


def axes(draw: Callable, ndim: int, least: int = 0) -> Any:
    """None, an axis or a tuple of at least `least`, counted from the front or the back."""
    if ndim == 0:
        return draw(st.sampled_from([None, ()])) if least == 0 else None
    one = st.integers(-ndim, ndim - 1)
    several = st.lists(one, min_size=least, max_size=ndim, unique_by=lambda i: i % ndim).map(tuple)
    return draw(st.one_of(st.none(), one, several))


# ----- Builders of cases -----


def unary(op: Callable, values: Callable = normal, analytic: bool = True, **params: Any) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        return Case(lambda x: op(x, **params), (layout(draw, values(rng, draw(shapes()))),), analytic)

    return case


def binary(
    op: Callable, left: Callable = normal, right: Callable = normal, analytic: bool = True
) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        a, b = broadcastable(draw, 2)
        args = layout(draw, left(rng, a)), layout(draw, right(rng, b))
        number = draw(st.sampled_from([None, None, "left", "right"]))  # a Python number on one side
        if number == "left":
            k = float(left(rng, ()))
            return Case(lambda y: op(k, y), args[1:], analytic)
        if number == "right":
            k = float(right(rng, ()))
            return Case(lambda x: op(x, k), args[:1], analytic)
        return Case(lambda x, y: op(x, y), args, analytic)

    return case


def apart(op: Callable) -> Callable:
    """A binary case whose arguments have no number in common."""

    def case(draw: Callable, rng: np.random.Generator) -> Case:
        args = distinct(rng, *broadcastable(draw, 2))
        return Case(lambda x, y: op(x, y), tuple(layout(draw, a) for a in args))

    return case


def reduction(
    op: Callable, values: Callable = normal, analytic: bool = True, least: int = 0, side: int = 1
) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        shape = draw(shapes(min_dims=min(least, 1), min_side=side))
        axis, keepdims = axes(draw, len(shape), least), draw(st.booleans())
        return Case(
            lambda x: op(x, axis=axis, keepdims=keepdims), (layout(draw, values(rng, shape)),), analytic
        )

    return case


def over_axes(op: Callable) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        shape = draw(shapes(min_side=1))
        axis = axes(draw, len(shape))
        return Case(lambda x: op(x, axis=axis), (layout(draw, normal(rng, shape)),), True)

    return case


def transposed(f: Callable, shape: tuple) -> Callable:
    """The transpose of a linear `f`, as a function of the cotangent."""
    return lambda c: mg.linear_transpose(f, np.zeros(shape, c.dtype))(c)[0]


def times(case: Callable) -> Callable:
    """A case of a function that is constant almost everywhere: its first argument where that is positive."""

    def product(draw: Callable, rng: np.random.Generator) -> Case:
        f, args, _ = case(draw, rng)
        return Case(lambda *xs: xs[0] * mg.greater(f(*xs), 0), args)

    return product


# ----- Cases of each family -----


def power_case(draw: Callable, rng: np.random.Generator) -> Case:
    kind = draw(st.sampled_from(["number", "array", "base"]))
    if kind == "number":
        y = draw(st.sampled_from([2, 3, -1, 1, 0, 2.0, 0.5, -1.5, 0.0]))
        values = positive if isinstance(y, float) else nonzero
        return Case(lambda x: mg.power(x, y), (layout(draw, values(rng, draw(shapes()))),), True)
    if kind == "base":
        return Case(lambda y: mg.power(1.5, y), (layout(draw, normal(rng, draw(shapes()))),), True)
    return binary(mg.power, positive, normal)(draw, rng)


def where_case(draw: Callable, rng: np.random.Generator) -> Case:
    c, a, b = broadcastable(draw, 3)
    mask = rng.random(c) < 0.5
    if draw(st.booleans()):
        return Case(lambda x: mg.where(mask, x, 0.5), (layout(draw, normal(rng, a)),), True)
    return Case(lambda x, y: mg.where(mask, x, y), tuple(layout(draw, normal(rng, s)) for s in (a, b)), True)


def clip_case(draw: Callable, rng: np.random.Generator) -> Case:
    a, b, c = broadcastable(draw, 3)
    x = layout(draw, rng.choice([-1, 1], a) * (rng.choice([0.2, 1.5], a) + rng.uniform(0, 0.2, a)))
    kind = draw(st.sampled_from(["arrays", "numbers", "below", "above"]))
    if kind == "arrays":
        lo, hi = layout(draw, rng.uniform(-1, -0.6, b)), layout(draw, rng.uniform(0.6, 1, c))
        return Case(lambda x, lo, hi: mg.clip(x, lo, hi), (x, lo, hi))
    limits = {"numbers": (-1.0, 0.7), "below": (-1.0, None), "above": (None, 0.7)}[kind]
    return Case(lambda x: mg.clip(x, *limits), (x,))


def relu_mask_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes())
    args = layout(draw, nonzero(rng, shape)), layout(draw, normal(rng, shape))
    return Case(lambda x, t: mg.jvp(mg.relu, (x,), (t,))[1], args)


def wins_case(draw: Callable, rng: np.random.Generator) -> Case:
    op, shape = draw(st.sampled_from([mg.maximum, mg.minimum])), draw(shapes())
    args = [layout(draw, a) for a in (*distinct(rng, shape, shape), normal(rng, shape), normal(rng, shape))]
    return Case(lambda x, y, t, u: mg.jvp(op, (x, y), (t, u))[1], tuple(args))


def astype_case(draw: Callable, rng: np.random.Generator) -> Case:
    # The type in between is wider than all others, so that nothing is lost.
    x = layout(draw, normal(rng, draw(shapes())))
    return Case(lambda x: mg.sin(x.astype(np.longdouble)).astype(x.dtype), (x,))


def broadcast_case(draw: Callable, rng: np.random.Generator) -> Case:
    pattern = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3, min_side=0))
    x = layout(draw, normal(rng, pattern.input_shapes[0]))
    return Case(lambda x: mg.broadcast_to(x, pattern.result_shape), (x,), True)


def sum_to_case(draw: Callable, rng: np.random.Generator) -> Case:
    f, (x,), _ = broadcast_case(draw, rng)
    return Case(transposed(f, x.shape), (layout(draw, normal(rng, np.shape(f(x)))),))


def reshape_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes())
    size = math.prod(shape)
    new = draw(st.sampled_from([(-1,), -1, (1, size), (size, 1, 1), shape[::-1], (*shape, 1)]))
    if size == 0 and -1 in np.atleast_1d(new):
        new = shape[::-1]
    return Case(lambda x: mg.reshape(x, new), (layout(draw, normal(rng, shape)),), True)


def transpose_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(max_dims=4, max_side=3))
    order = rng.permutation(len(shape)).tolist() if draw(st.integers(0, 3)) else None
    if order and draw(st.booleans()):
        order = [i - len(shape) for i in order]
    return Case(lambda x: mg.transpose(x, order), (layout(draw, normal(rng, shape)),), True)


def pad_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1, max_side=3))
    n = st.integers(0, 2)
    pair = st.tuples(n, n)
    width = draw(st.one_of(n, pair, st.tuples(*[pair] * len(shape))))
    value = draw(st.sampled_from([0.0, 1.5]))
    return Case(lambda x: mg.pad(x, width, value), (layout(draw, normal(rng, shape)),), True)


def joined(draw: Callable, rng: np.random.Generator) -> tuple[list, int]:
    """One to three arrays that differ in the length of one axis, and that axis."""
    shape = list(draw(shapes(min_dims=1, max_side=3)))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    args = []
    for n in draw(st.lists(st.integers(0, 3), min_size=1, max_size=3)):
        shape[axis] = n
        args.append(layout(draw, normal(rng, tuple(shape))))
    return args, axis


def concatenate_case(draw: Callable, rng: np.random.Generator) -> Case:
    args, axis = joined(draw, rng)
    at = draw(st.sampled_from([axis, None]))
    if draw(st.booleans()):  # the same array twice: two cotangents meet
        return Case(lambda *xs: mg.concatenate([*xs, xs[0]], at), tuple(args), True)
    return Case(lambda *xs: mg.concatenate(xs, at), tuple(args), True)


def unravel_case(draw: Callable, rng: np.random.Generator) -> Case:
    parts = draw(st.lists(shapes(max_dims=2, max_side=3), min_size=1, max_size=3))
    v = layout(draw, normal(rng, (sum(math.prod(s) for s in parts),)))
    used = draw(st.integers(1, len(parts)))  # the last ones may have no cotangent

    def f(v: Any) -> Any:
        _, unravel = mg.ravel([np.zeros(s, v.dtype) for s in parts])
        return tuple(unravel(v)[:used])

    return Case(f, (v,))


def indexed(draw: Callable) -> tuple[tuple, Any]:
    """A shape and an index into it, of any kind NumPy has."""
    shape = draw(shapes(min_dims=1, min_side=1))
    kind = draw(st.sampled_from(["basic", "advanced", "mask", "repeated", "mixed", "list"]))
    if kind == "basic":
        return shape, draw(hnp.basic_indices(shape, allow_newaxis=True))
    if kind == "advanced":
        result = hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3)
        return shape, draw(hnp.integer_array_indices(shape, result_shape=result))
    if kind == "mask":
        depth = draw(st.integers(1, len(shape)))
        return shape, draw(hnp.arrays(bool, shape[:depth]))
    rows = draw(st.lists(st.integers(-shape[0], shape[0] - 1), min_size=1, max_size=4))
    if kind == "list":
        return shape, rows
    rows = np.array(rows * 2)
    if kind == "repeated":
        return shape, rows
    extra = draw(st.sampled_from([(None,), (Ellipsis,), (slice(None, None, -1),), (Ellipsis, None)]))
    keep = extra if len(shape) > 1 or slice not in map(type, extra) else ()
    return shape, draw(st.sampled_from([(rows, *keep), (None, rows, *keep)]))


def getitem_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape, index = indexed(draw)
    return Case(lambda x: mg.getitem(x, index), (layout(draw, normal(rng, shape)),), True)


def scatter_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape, index = indexed(draw)
    values = layout(draw, normal(rng, np.empty(shape)[index].shape))
    return Case(lambda v: mg.scatter(v, index, shape), (values,), True)


def matmul_case(draw: Callable, rng: np.random.Generator) -> Case:
    pattern = hnp.mutually_broadcastable_shapes(
        signature=np.matmul.signature, max_dims=2, max_side=3, min_side=0
    )
    args = [layout(draw, normal(rng, s)) for s in draw(pattern).input_shapes]
    return Case(lambda a, b: mg.matmul(a, b), tuple(args), True)


def einsum_case(draw: Callable, rng: np.random.Generator) -> Case:
    """One to three operands; repeated, summed, stretched letters, ellipsis, explicit and implicit output."""
    sizes = {c: draw(st.integers(1, 3)) for c in "ijKl"}
    dots = draw(st.booleans())
    batch = draw(shapes(max_dims=2, min_side=1, max_side=2))
    terms, args = [], []
    for _ in range(draw(st.integers(1, 3))):
        letters = draw(st.lists(st.sampled_from(sorted(sizes)), max_size=3))
        stretched = draw(st.sampled_from([None, None, *letters]))  # of length one here
        before = [1 if c == stretched else sizes[c] for c in letters]
        term = "".join(letters)
        if dots:
            k, own = draw(st.integers(0, len(letters))), draw(st.integers(0, len(batch)))
            lead = [draw(st.sampled_from([1, n])) for n in batch[len(batch) - own :]]
            before[k:k] = lead
            term = term[:k] + "..." + term[k:]
        terms.append(term)
        args.append(layout(draw, normal(rng, tuple(before))))
    subscripts = draw(st.sampled_from([",", ", "])).join(terms)
    if draw(st.booleans()):
        used = sorted(set("".join(terms)) - {"."})
        out = "".join(draw(st.permutations(used))[: draw(st.integers(0, len(used)))])
        k = draw(st.integers(0, len(out)))
        subscripts += "->" + (out[:k] + "..." + out[k:] if dots else out)
    return Case(lambda *xs: mg.einsum(subscripts, *xs), tuple(args), True)


PAIR_1_2 = st.tuples(st.integers(1, 2), st.integers(1, 2))


def number_or_pair(draw: Callable, pair: tuple) -> Any:
    return pair[0] if pair[0] == pair[1] and draw(st.booleans()) else pair


def paddings(draw: Callable, most: tuple[int, int]) -> tuple[tuple, Any]:
    """Padding written out, and in one of the forms that mean it."""
    full = tuple((draw(st.integers(0, m)), draw(st.integers(0, m))) for m in most)
    if all(a == b for a, b in full):
        return full, number_or_pair(draw, (full[0][0], full[1][0]))
    return full, full


class Conv(NamedTuple):
    x: tuple
    w: tuple
    y: tuple
    params: dict


def convolution(draw: Callable) -> Conv:
    kernel, dilation, stride = draw(PAIR_1_2), draw(PAIR_1_2), draw(PAIR_1_2)
    full, padding = paddings(draw, (2, 2))
    hw = tuple(
        draw(st.integers(max(1, d * (k - 1) + 1 - sum(p)), 5))
        for k, d, p in zip(kernel, dilation, full, strict=True)
    )
    groups, n = draw(st.integers(1, 2)), draw(st.integers(0, 2))
    c, o = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    out = tuple(
        (a + sum(p) - d * (k - 1) - 1) // s + 1
        for a, p, d, k, s in zip(hw, full, dilation, kernel, stride, strict=True)
    )
    params = {
        "stride": number_or_pair(draw, stride),
        "padding": padding,
        "dilation": number_or_pair(draw, dilation),
        "groups": groups,
    }
    return Conv((n, *hw, c * groups), (o * groups, *kernel, c), (n, *out, o * groups), params)


def conv_case(draw: Callable, rng: np.random.Generator) -> Case:
    conv = convolution(draw)
    args = layout(draw, normal(rng, conv.x)), layout(draw, normal(rng, conv.w))
    return Case(lambda x, w: mg.conv2d(x, w, **conv.params), args, True)


def conv_input_case(draw: Callable, rng: np.random.Generator) -> Case:
    conv = convolution(draw)
    args = layout(draw, normal(rng, conv.y)), layout(draw, normal(rng, conv.w))
    return Case(lambda c, w: mg.conv2d_input(c, w, conv.x[1:3], **conv.params), args, True)


def conv_filter_case(draw: Callable, rng: np.random.Generator) -> Case:
    conv = convolution(draw)
    args = layout(draw, normal(rng, conv.x)), layout(draw, normal(rng, conv.y))
    return Case(lambda x, c: mg.conv2d_filter(x, c, conv.w[1:3], **conv.params), args, True)


def pooling(draw: Callable) -> tuple[tuple, dict]:
    size = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride = draw(st.none() | PAIR_1_2)
    full, padding = paddings(draw, (size[0] - 1, size[1] - 1))
    hw = tuple(draw(st.integers(max(1, k - sum(p)), 5)) for k, p in zip(size, full, strict=True))
    shape = (draw(st.integers(0, 2)), *hw, draw(st.integers(1, 2)))
    return shape, {"size": number_or_pair(draw, size), "stride": stride, "padding": padding}


def max_pool_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape, params = pooling(draw)
    return Case(lambda x: mg.max_pool2d(x, **params), (layout(draw, distinct(rng, shape)),))


def pool_scatter_case(draw: Callable, rng: np.random.Generator) -> Case:
    f, (x,), _ = max_pool_case(draw, rng)
    return Case(lambda x, c: mg.vjp(f, x)[1](c)[0], (x, layout(draw, normal(rng, f(x).shape))))


def avg_pool_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape, params = pooling(draw)
    return Case(lambda x: mg.avg_pool2d(x, **params), (layout(draw, normal(rng, shape)),), True)


def window_spread_case(draw: Callable, rng: np.random.Generator) -> Case:
    f, (x,), _ = avg_pool_case(draw, rng)
    return Case(transposed(f, x.shape), (layout(draw, normal(rng, f(x).shape)),))


def batch_norm_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(
        st.sampled_from([(3, 1), (5, 3), (2, 3, 2), (2, 2, 2, 3), (3, 4, 1, 2)])
    )  # three rows at least: two would always become ±1
    eps = draw(st.sampled_from([1e-5, 1e-3, 0.1]))
    args = distinct(rng, shape), normal(rng, shape[-1:]), normal(rng, shape[-1:])
    return Case(lambda *xs: mg.batch_norm(*xs, eps=eps), tuple(layout(draw, a) for a in args))


def batch_norm_tangent_case(draw: Callable, rng: np.random.Generator) -> Case:
    f, args, _ = batch_norm_case(draw, rng)
    ts = tuple(layout(draw, normal(rng, a.shape)) for a in args)
    if draw(st.booleans()):  # gamma and beta without a tangent
        return Case(lambda x, g, b, t: mg.jvp(lambda x: f(x, g, b), (x,), (t,))[1], (*args, ts[0]))
    return Case(lambda *xs: mg.jvp(f, xs[:3], xs[3:])[1], (*args, *ts))


def batch_norm_transpose_case(draw: Callable, rng: np.random.Generator) -> Case:
    f, args, _ = batch_norm_case(draw, rng)
    c = layout(draw, normal(rng, args[0].shape))
    keep = draw(st.sampled_from([slice(0, 3), slice(0, 1), slice(1, 3)]))
    return Case(lambda *xs: mg.vjp(f, *xs[:3])[1](xs[3])[keep], (*args, c))


# Zero derivative wherever there is one: the functions themselves.
CONSTANTS: dict[str, Callable] = {
    "sign": unary(mg.sign, nonzero),
    "floor": unary(mg.floor, fractional),
    "ceil": unary(mg.ceil, fractional),
    "round": unary(mg.round, fractional),
    "equal": apart(mg.equal),
    "not_equal": apart(mg.not_equal),
    "less": apart(mg.less),
    "less_equal": apart(mg.less_equal),
    "greater": apart(mg.greater),
    "greater_equal": apart(mg.greater_equal),
    "logical_not": unary(mg.logical_not, nonzero),
    "logical_and": binary(mg.logical_and, nonzero, nonzero, analytic=False),
    "logical_or": binary(mg.logical_or, nonzero, nonzero, analytic=False),
    "isnan": unary(mg.isnan),
    "isinf": unary(mg.isinf),
    "isfinite": unary(mg.isfinite),
    "argmax": lambda draw, rng: extremum_place(mg.argmax, draw, rng),
    "argmin": lambda draw, rng: extremum_place(mg.argmin, draw, rng),
    "any": reduction(lambda x, axis, keepdims: mg.any(x, axis=axis, keepdims=True), nonzero),
    "all": reduction(lambda x, axis, keepdims: mg.all(x, axis=axis, keepdims=True), nonzero),
    "stop_gradient": unary(mg.stop_gradient, nonzero),
}


def extremum_place(op: Callable, draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1, min_side=1))
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    return Case(lambda x: op(x, axis=axis, keepdims=True), (layout(draw, distinct(rng, shape)),))


CASES: dict[str, Callable] = {
    # the engine's own, arithmetic
    "add": binary(mg.add),
    "subtract": binary(mg.subtract),
    "multiply": binary(mg.multiply),
    "divide": binary(mg.divide, normal, nonzero),
    "negative": unary(mg.negative),
    "broadcast_to": broadcast_case,
    "sum_to": sum_to_case,
    "astype": astype_case,
    "power": power_case,
    "square": unary(mg.square),
    "sqrt": unary(mg.sqrt, positive),
    "reciprocal": unary(mg.reciprocal, nonzero),
    # elementwise functions
    "exp": unary(mg.exp),
    "expm1": unary(mg.expm1),
    "log": unary(mg.log, positive),
    "log1p": unary(mg.log1p, inside),
    "sin": unary(mg.sin),
    "cos": unary(mg.cos),
    "tan": unary(mg.tan, inside),
    "arcsin": unary(mg.arcsin, inside),
    "arccos": unary(mg.arccos, inside),
    "arctan": unary(mg.arctan),
    "arctan2": binary(mg.arctan2, nonzero, nonzero, analytic=False),
    "sinh": unary(mg.sinh),
    "cosh": unary(mg.cosh),
    "tanh": unary(mg.tanh),
    "erf": unary(mg.erf, analytic=False),
    "sigmoid": unary(mg.sigmoid, analytic=False),
    "softplus": unary(mg.softplus, analytic=False),
    "relu": unary(mg.relu, nonzero, analytic=False),
    "relu_mask": relu_mask_case,
    "absolute": unary(mg.abs, nonzero, analytic=False),
    "maximum": apart(mg.maximum),
    "minimum": apart(mg.minimum),
    "wins": wins_case,
    "clip": clip_case,
    "where": where_case,
    # shape and index
    "reshape": reshape_case,
    "transpose": transpose_case,
    "pad": pad_case,
    "concatenate": concatenate_case,
    "unravel": unravel_case,
    "getitem": getitem_case,
    "scatter": scatter_case,
    # reductions and products
    "sum": reduction(mg.sum, side=0),
    "max": reduction(mg.max, distinct, analytic=False),
    "min": reduction(mg.min, distinct, analytic=False),
    "logsumexp": reduction(mg.logsumexp),
    "softmax": over_axes(mg.softmax),
    "log_softmax": over_axes(mg.log_softmax),
    "matmul": matmul_case,
    "einsum": einsum_case,
    # networks
    "conv2d": conv_case,
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
CASES |= {name: times(case) for name, case in CONSTANTS.items()}


# ----- Public operations made of primitives -----


def reshaping(op: Callable, draw_params: Callable) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        shape = draw(shapes(min_dims=1, max_side=3))
        params = draw_params(draw, shape)
        return Case(lambda x: op(x, *params), (layout(draw, normal(rng, shape)),), True)

    return case


def any_axis(draw: Callable, ndim: int) -> int:
    return draw(st.integers(-ndim, ndim - 1))


def squeeze_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=2))
    ones = [i for i, n in enumerate(shape) if n == 1]
    axis = draw(st.sampled_from([None, tuple(ones), *ones, *[i - len(shape) for i in ones]]))
    return Case(lambda x: mg.squeeze(x, axis), (layout(draw, normal(rng, shape)),), True)


def stack_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes())
    axis = any_axis(draw, len(shape) + 1)
    args = [layout(draw, normal(rng, shape)) for _ in range(draw(st.integers(1, 3)))]
    return Case(lambda *xs: mg.stack(xs, axis), tuple(args), True)


def split_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = list(draw(shapes(min_dims=1)))
    axis = any_axis(draw, len(shape))
    sections = draw(st.integers(1, 3) | st.lists(st.integers(0, shape[axis]), max_size=3).map(sorted))
    if isinstance(sections, int):
        shape[axis] = sections * draw(st.integers(0, 2))
    x = layout(draw, normal(rng, tuple(shape)))
    return Case(lambda x: tuple(mg.split(x, sections, axis)), (x,), True)


def dot_case(draw: Callable, rng: np.random.Generator) -> Case:
    a, b = draw(shapes(min_side=1, max_side=3)), list(draw(shapes(min_side=1, max_side=3)))
    if a and b:
        b[-2 if len(b) > 1 else 0] = a[-1]
    args = layout(draw, normal(rng, a)), layout(draw, normal(rng, tuple(b)))
    return Case(lambda a, b: mg.dot(a, b), args, True)


def tensordot_case(draw: Callable, rng: np.random.Generator) -> Case:
    common = draw(st.lists(st.integers(0, 3), max_size=2))
    a, b = draw(shapes(max_dims=2, max_side=3)), draw(shapes(max_dims=2, max_side=3))
    n = len(common)
    if draw(st.booleans()):
        left, right, how = (*a, *common), (*common, *b), n
    else:
        left, right = (*common, *a), (*b, *common)
        how = list(range(n)), list(range(-n, 0))
    args = layout(draw, normal(rng, left)), layout(draw, normal(rng, right))
    return Case(lambda a, b: mg.tensordot(a, b, how), args, True)


def take_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1, min_side=1))
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    n = math.prod(shape) if axis is None else shape[axis]
    indices = draw(st.integers(-n, n - 1) | st.lists(st.integers(-n, n - 1), min_size=1, max_size=4))
    return Case(lambda x: mg.take(x, indices, axis), (layout(draw, normal(rng, shape)),), True)


def outer_case(draw: Callable, rng: np.random.Generator) -> Case:
    args = [layout(draw, normal(rng, draw(shapes(max_dims=2, max_side=3, min_side=1)))) for _ in "ab"]
    return Case(lambda a, b: mg.outer(a, b), tuple(args), True)


def cross_entropy_case(draw: Callable, rng: np.random.Generator) -> Case:
    n, c = draw(st.integers(0, 3)), draw(st.integers(1, 4))
    labels = rng.integers(0, c, n)
    return Case(lambda x: mg.softmax_cross_entropy(x, labels), (layout(draw, normal(rng, (n, c))),), True)


def network_case(draw: Callable, rng: np.random.Generator) -> Case:
    """A convolution, batch norm, rectifier, pool and cross entropy, in the weights."""
    x, labels = normal(rng, (3, 4, 4, 2)), rng.integers(0, 2, 3)
    stride = draw(st.integers(1, 2))

    def f(w: Any, gamma: Any, beta: Any) -> Any:
        y = mg.batch_norm(mg.conv2d(x.astype(w.dtype), w, stride, 1), gamma, beta, 0.1)
        return mg.softmax_cross_entropy(mg.sum(mg.max_pool2d(mg.relu(y), 2), (1, 2)), labels)

    args = 0.5 * normal(rng, (2, 3, 3, 2)), positive(rng, (2,)), normal(rng, (2,))
    return Case(f, tuple(layout(draw, a) for a in args))


COMPOSITES: dict[str, Callable] = {
    "silu": unary(mg.silu, analytic=False),
    "gelu": unary(mg.gelu, analytic=False),
    "mean": reduction(mg.mean),
    "var": reduction(mg.var, analytic=True),
    "std": reduction(mg.std, distinct, least=1, side=2),
    "expand_dims": reshaping(mg.expand_dims, lambda draw, s: (any_axis(draw, len(s) + 1),)),
    "swapaxes": reshaping(mg.swapaxes, lambda draw, s: (any_axis(draw, len(s)), any_axis(draw, len(s)))),
    "moveaxis": reshaping(mg.moveaxis, lambda draw, s: (any_axis(draw, len(s)), any_axis(draw, len(s)))),
    "squeeze": squeeze_case,
    "stack": stack_case,
    "split": split_case,
    "dot": dot_case,
    "tensordot": tensordot_case,
    "outer": outer_case,
    "take": take_case,
    "softmax_cross_entropy": cross_entropy_case,
    "network": network_case,
}
EVERYTHING = CASES | COMPOSITES
HEAVY = {"network", "conv2d", "conv2d_input", "conv2d_filter", "pool_scatter", "batch_norm_transpose"}
HEAVY |= {name for name, case in CASES.items() if case is batch_norm_tangent_case}


def drawn(name: str, draw: Callable, seed: int) -> tuple[Case, np.random.Generator]:
    rng = np.random.default_rng(seed)
    case = EVERYTHING[name](draw, rng)

    def f(*args: Any) -> Any:
        return case.f(*args)

    f.__name__ = name
    return case._replace(f=f), rng


def some_arguments(case: Case, draw: Callable) -> Case:
    """The case as a function of some of its arguments, the others constant."""
    n = len(case.args)
    free = sorted(draw(st.sets(st.integers(0, n - 1), min_size=1)))

    def f(*xs: Any) -> Any:
        full = list(case.args)
        for i, x in zip(free, xs, strict=True):
            full[i] = x
        return case.f(*full)

    f.__name__ = case.f.__name__
    return Case(f, tuple(case.args[i] for i in free), case.analytic)


@contextmanager
def watching(prim: Primitive) -> Iterator[set]:
    """The set of (rule, argument position) pairs of a primitive that run meanwhile."""
    ran: set = set()
    jvp, transpose = prim.jvp, prim.transpose

    def watched_jvp(primals: Any, tangents: Any, params: Any) -> Any:
        ran.update(("jvp", i) for i, t in enumerate(tangents) if t is not None)
        return jvp(primals, tangents, params)

    def watched_transpose(ct: Any, args: Any, params: Any, linear: Any) -> Any:
        ran.update(("transpose", i) for i in linear)
        return transpose(ct, args, params, linear)

    prim.jvp, prim.transpose = watched_jvp, watched_transpose if transpose else None
    try:
        yield ran
    finally:
        prim.jvp, prim.transpose = jvp, transpose


EACH_CASE = pytest.mark.parametrize("name", EVERYTHING)
LIGHT = pytest.mark.parametrize("name", [n for n in EVERYTHING if n not in HEAVY])


# ----- Every primitive -----


@pytest.mark.parametrize("name", OURS)
def test_every_primitive_has_a_case_a_flops_formula_and_a_line_of_documentation(name):
    assert name in CASES, f"add a case for {name} to CASES"
    assert OURS[name].flops is not None and OURS[name].doc
    assert OURS[name].jvp is not None


def public_names() -> set[str]:
    ops = (mg.ops.elementwise, mg.ops.reduce, mg.ops.linalg, mg.ops.shape, mg.ops.index)
    return {name for module in ops for name in module.__all__}


def test_every_public_operation_has_a_case():
    reached = {"abs": "absolute", "ravel_array": "reshape"}
    assert {reached.get(name, name) for name in public_names()} <= set(EVERYTHING)


@EACH_CASE
def test_forward_and_reverse_mode_are_adjoint_and_each_rule_runs(name):
    @given(st.data(), SEEDS)
    def run(data, seed):
        case, rng = drawn(name, data.draw, seed)
        check_dot(case.f, case.args, rng)
        if len(case.args) > 1:
            part = some_arguments(case, data.draw)
            check_dot(part.f, part.args, rng)

    if name not in OURS:
        run()
        return
    prim = OURS[name]
    with watching(prim) as ran:
        run()
    assert any(rule == "jvp" for rule, _ in ran), f"no jvp rule of {name} ran"
    for group in prim.linear:
        # Einsum and concatenate take any number of arguments: three are enough.
        for i in [i for i in group if i < 3]:
            want = ("transpose", max(i, 0))
            assert want in ran, f"the transpose of {name} in argument {want[1]} did not run"


@EACH_CASE
@given(st.data(), SEEDS)
def test_tangents_agree_with_numerical_derivatives(name, data, seed):
    case, rng = drawn(name, data.draw, seed)
    check_jvp(case.f, case.args, rng, complex_step=case.analytic)


@LIGHT
@given(st.data(), SEEDS)
def test_second_derivatives_agree_in_three_modes_and_with_numbers(name, data, seed):
    case, rng = drawn(name, data.draw, seed)
    check_order2(case.f, case.args, rng)


@pytest.mark.parametrize("name", sorted(HEAVY))
@half
@given(st.data(), SEEDS)
def test_second_derivatives_of_the_large_cases_agree(name, data, seed):
    case, rng = drawn(name, data.draw, seed)
    check_order2(case.f, case.args, rng)


THIRD = ["batch_norm", "conv2d", "conv2d_input", "conv2d_filter", "pool_gather", "pool_scatter", "window_sum"]
THIRD += ["window_spread", "softmax_cross_entropy", "network", "softmax", "log_softmax", "logsumexp", "relu"]
THIRD += [
    "batch_norm_tangent",
    "batch_norm_transpose",
    "sigmoid",
    "divide",
    "power",
    "einsum",
    "matmul",
    "erf",
]


@pytest.mark.parametrize("name", THIRD)
@half
@given(st.data(), SEEDS)
def test_third_derivatives_agree_in_every_mixture_of_modes(name, data, seed):
    case, rng = drawn(name, data.draw, seed)
    check_order(case.f, case.args, rng, order=3)


@pytest.mark.parametrize("name", CONSTANTS)
@quarter
@given(st.data(), SEEDS)
def test_piecewise_constant_functions_record_nothing_and_have_zero_derivative(name, data, seed):
    f, args, _ = CONSTANTS[name](data.draw, np.random.default_rng(seed))
    with watching(OURS[name]) as ran:
        y, J = mg.linearize(f, *args)
    assert ran and len(J) == 0
    t = directions(np.random.default_rng(seed), args)
    assert not np.any(mg.jvp(f, args, t)[1]) and not np.any(J(*t))
    assert_like(f, "cotangent", leaves(J.T(np.ones_like(y))), args)
    assert not any(np.any(ct) for ct in leaves(J.T(np.ones_like(y))))


@EACH_CASE
@quarter
@given(st.data(), SEEDS)
def test_printed_programs_have_a_cost_without_unknowns(name, data, seed):
    case, _ = drawn(name, data.draw, seed)
    _, J = mg.linearize(case.f, *case.args)
    assert J.cost.unknown == () and J.cost.flops >= 0
    assert f"{len(J)} equations" in str(J)


# ----- Dtypes -----


def assert_dtypes(case: Case, rng: np.random.Generator) -> None:
    """Value, tangent, cotangent and Hessian product carry the dtypes of the value and of the arguments."""
    t = directions(rng, case.args)
    y, J = mg.linearize(case.f, *case.args)
    assert_like(case.f, "value", leaves(y), leaves(case.f(*case.args)))
    assert_like(case.f, "tangent of jvp", leaves(mg.jvp(case.f, case.args, t)[1]), leaves(y))
    assert_like(case.f, "tangent of linearize", leaves(J(*t)), leaves(y))
    c = directions(rng, leaves(y))
    assert_like(case.f, "cotangent", leaves(J.T(c if isinstance(y, tuple) else c[0])), case.args)
    second = mg.hvp(scalar(case.f, case.args, rng), case.args, t)
    assert_like(case.f, "Hessian product", leaves(second), case.args)


@EACH_CASE
@half
@given(st.data(), st.sampled_from([np.float32, np.float32, np.float16]), SEEDS)
def test_single_and_half_precision_are_kept_throughout(name, data, dtype, seed):
    case, rng = drawn(name, data.draw, seed)
    case = case._replace(args=tuple(a.astype(dtype) for a in case.args))
    assert {np.asarray(y).dtype for y in leaves(case.f(*case.args))} == {np.dtype(dtype)}
    assert_dtypes(case, rng)


# These take directions of their own type along with the primals, so mixing them is an error.
NEEDS_ONE_DTYPE = {"relu_mask", "wins", "pool_scatter", "batch_norm_transpose"}
NEEDS_ONE_DTYPE |= {n for n in CASES if CASES[n] is batch_norm_tangent_case}


@pytest.mark.parametrize("name", [n for n in EVERYTHING if n not in NEEDS_ONE_DTYPE])
@quarter
@given(st.data(), SEEDS)
def test_mixed_precisions_promote_and_derivatives_have_the_dtype_of_their_primal(name, data, seed):
    case, rng = drawn(name, data.draw, seed)
    dtypes = [data.draw(st.sampled_from([np.float32, np.float64])) for _ in case.args]
    case = case._replace(args=tuple(a.astype(d) for a, d in zip(case.args, dtypes, strict=True)))
    if name not in CONSTANTS:  # of their arguments only the first is in the result
        assert {np.asarray(y).dtype for y in leaves(case.f(*case.args))} == {np.result_type(*dtypes)}
    assert_dtypes(case, rng)


@pytest.mark.parametrize("mixed", [(np.float32, np.float64), (np.float64, np.float32)])
def test_convolutions_and_batch_norm_promote_mixed_precision_like_numpy(mixed):
    rng = np.random.default_rng(0)
    x, w, c = (rng.standard_normal(s) for s in ((2, 4, 4, 2), (3, 3, 3, 2), (2, 2, 2, 3)))
    a, b = mixed
    calls = [
        (mg.conv2d, (x, w)),
        (lambda c, w: mg.conv2d_input(c, w, (4, 4)), (c, w)),
        (lambda x, c: mg.conv2d_filter(x, c, (3, 3)), (x, c)),
        (lambda x, gamma: mg.batch_norm(x, gamma, np.float32([0, 1])), (x, np.array([1.0, 2.0]))),
    ]
    for f, (one, other) in calls:
        y = f(one.astype(a), other.astype(b))
        assert y.dtype == np.float64
        np.testing.assert_allclose(y, f(one, other), rtol=1e-5, atol=1e-5)
        dx, dw = mg.vjp(f, one.astype(a), other.astype(b))[1](np.ones_like(y))
        assert (dx.dtype, dw.dtype) == mixed


# ----- Batch norm: fused against composed -----


def composed_batch_norm(x: Any, gamma: Any, beta: Any, eps: float) -> Any:
    rows = tuple(range(len(x.shape) - 1))
    deviation = x - mg.mean(x, rows)
    return gamma * (deviation / mg.sqrt(mg.mean(deviation * deviation, rows) + eps)) + beta


@half
@given(st.sampled_from([(3, 1), (6, 2), (2, 3, 2), (2, 3, 2, 3)]), st.sampled_from([1e-5, 0.1]), SEEDS)
def test_fused_batch_norm_is_the_composed_one_at_orders_0_to_3(shape, eps, seed):
    rng = np.random.default_rng(seed)
    args = distinct(rng, shape), normal(rng, shape[-1:]), normal(rng, shape[-1:])
    c, along = normal(rng, shape), [directions(rng, args) for _ in range(3)]
    fs = [lambda *xs, f=f: f(*xs, eps=eps) for f in (mg.batch_norm, composed_batch_norm)]
    gs = [lambda *xs, f=f: mg.sum(c * f(*xs) + mg.sin(f(*xs))) for f in fs]
    assert_close(mg.batch_norm, args, "values", *[[f(*args)] for f in fs], rtol=1e-12)
    tangents = [leaves(mg.jvp(f, args, along[0])[1]) for f in fs]
    assert_close(mg.batch_norm, args, "tangents", *tangents, rtol=1e-10)
    gradients = [mg.grad(g, (0, 1, 2))(*args) for g in gs]
    assert_close(mg.batch_norm, args, "gradients", *gradients, rtol=1e-10)
    for mode in ("fwd_over_rev", "rev_over_rev", "rev_over_fwd"):
        products = [mg.hvp(g, args, along[0], mode=mode) for g in gs]
        assert_close(mg.batch_norm, args, f"Hessian products {mode}", *products, rtol=1e-10)
    for word in [(forward,) * 3, (reverse, forward, forward), (forward, reverse, reverse), (reverse,) * 3]:
        thirds = [[derivative(g, word, along)(*args)] for g in gs]
        assert_close(mg.batch_norm, args, "third derivatives", *thirds, rtol=1e-10)


@pytest.mark.parametrize("argnums", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_batch_norm_can_be_differentiated_in_some_of_its_arguments(argnums):
    rng = np.random.default_rng(1)
    args = [normal(rng, (5, 2)), normal(rng, (2,)), normal(rng, (2,))]

    def g(f: Callable) -> Callable:
        return lambda *xs: mg.sum(mg.sin(f(*xs, 1e-3)))

    ones, others = (mg.grad(g(f), argnums)(*args) for f in (mg.batch_norm, composed_batch_norm))
    assert_close(mg.batch_norm, args, f"gradients in {argnums}", ones, others, rtol=1e-10)


def test_statistics_of_batch_norm_are_constants_at_every_level():
    x = normal(np.random.default_rng(2), (5, 2))

    def mean(s: Any) -> Any:
        return mg.sum(batch_norm_with_statistics(s * x, np.ones(2), np.ones(2))[1])

    assert mg.grad(mean)(1.0) == 0
    # d/ds d/du [u mean(s u x)] at u = 1, with the mean a constant for both.
    assert mg.jvp(lambda s: mg.jvp(lambda u: u * mean(s * u), (1.0,), (1.0,))[1], (1.0,), (1.0,))[1] == 0


# ----- Conventions, by plain numbers -----


def test_maximum_and_minimum_split_ties_evenly():
    x, y = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0])
    for op, in_x in ((mg.maximum, [0.0, 0.5, 1.0]), (mg.minimum, [1.0, 0.5, 0.0])):
        dx, dy = mg.grad(lambda x, y, op=op: op(x, y).sum(), (0, 1))(x, y)
        assert dx.tolist() == in_x and dy.tolist() == [1 - d for d in in_x]
    assert mg.grad(lambda x: mg.maximum(x, 2.0))(2.0) == 0.5


def test_max_and_min_share_the_derivative_among_equals():
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    by_row = mg.grad(lambda x: mg.max(x, axis=1).sum())(x)
    np.testing.assert_array_equal(by_row, [[0, 1 / 2, 1 / 2], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_array_equal(mg.grad(mg.max)(x), [[0, 1 / 2, 1 / 2], [0, 0, 0]])
    np.testing.assert_array_equal(mg.grad(mg.min)(x), [[1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(mg.grad(lambda x: mg.min(x, -1).sum())(x)[1], [1 / 3, 1 / 3, 1 / 3])


def test_max_pool_gives_the_derivative_to_the_first_of_equals():
    x = np.array([[1.0, 1.0], [1.0, 1.0]]).reshape(1, 2, 2, 1)
    dx = mg.grad(lambda x: mg.max_pool2d(x, 2).sum())(x)
    assert dx.ravel().tolist() == [1, 0, 0, 0]
    late = np.array([[0.0, 2.0], [2.0, 1.0]]).reshape(1, 2, 2, 1)
    assert mg.grad(lambda x: mg.max_pool2d(x, 2).sum())(late).ravel().tolist() == [0, 1, 0, 0]


def test_relu_and_abs_have_slope_zero_at_zero():
    x = np.array([-2.0, -0.0, 0.0, 3.0])
    assert mg.grad(lambda x: mg.relu(x).sum())(x).tolist() == [0, 0, 0, 1]
    assert mg.jvp(mg.relu, (x,), (np.ones(4),))[1].tolist() == [0, 0, 0, 1]
    assert mg.grad(lambda x: mg.abs(x).sum())(x).tolist() == [-1, 0, 0, 1]


def test_clip_has_slope_one_on_the_closed_interval():
    x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert mg.grad(lambda x: mg.clip(x, -1.0, 1.0).sum())(x).tolist() == [0, 1, 1, 1, 0]
    in_lo, in_hi = mg.grad(lambda lo, hi: mg.clip(x, lo, hi).sum(), (0, 1))(-1.0, 1.0)
    assert (in_lo, in_hi) == (1, 1)
    assert mg.grad(lambda x: mg.clip(x, None, 1.0).sum())(x).tolist() == [1, 1, 1, 1, 0]
    assert mg.grad(lambda x: mg.clip(x, 0.0).sum())(x).tolist() == [0, 0, 1, 1, 1]


def test_powers_of_zero_have_the_derivatives_of_polynomials():
    y = np.array([0.0, 1.0, 2.0, 3.0])
    zero = np.zeros(4)
    in_x, in_y = mg.grad(lambda x, y: mg.power(x, y).sum(), (0, 1))(zero, y)
    assert in_x.tolist() == [0, 1, 0, 0] and in_y.tolist() == [0, 0, 0, 0]
    curvature = mg.hvp(lambda x: mg.power(x, y).sum(), (zero,), (np.ones(4),))
    assert curvature.tolist() == [0, 0, 2, 0]
    for n, first, second in ((0, 0, 0), (1, 1, 0), (2, 0, 2), (3, 0, 0), (0.0, 0, 0), (2.0, 0, 2)):
        f = lambda x, n=n: mg.power(x, n)  # noqa: E731
        assert mg.grad(f)(0.0) == first and mg.grad(mg.grad(f))(0.0) == second


def test_powers_of_negative_numbers_work_for_whole_exponents():
    assert mg.grad(lambda x: x**3)(-2.0) == 12
    assert mg.grad(lambda x: mg.power(x, np.float64(3)))(-2.0) == 12


def test_where_gives_exactly_zero_to_the_side_not_taken():
    c = np.array([True, False])
    x, y = np.array([1.0, np.inf]), np.array([np.nan, 2.0])
    dx, dy = mg.grad(lambda x, y: mg.where(c, x, y).sum(), (0, 1))(x, y)
    assert dx.tolist() == [1, 0] and dy.tolist() == [0, 1]
    tangent = mg.jvp(
        lambda x, y: mg.where(c, x, y), (x, y), (np.array([3.0, np.inf]), np.array([np.nan, 4.0]))
    )[1]
    assert tangent.tolist() == [3, 4]


def test_relu_blocks_infinities_and_passes_nan_of_its_input():
    x = np.array([-1.0, 1.0])
    assert mg.jvp(mg.relu, (x,), (np.array([np.inf, 2.0]),))[1].tolist() == [0, 2]
    assert np.isnan(mg.relu(np.array([np.nan]))[0])


SCALAR_OPS = [
    mg.sin, mg.exp, mg.sqrt, mg.square, mg.reciprocal, mg.erf, mg.sigmoid, mg.softplus, mg.silu, mg.gelu,
    mg.relu, mg.abs, mg.sum, mg.mean, mg.max, mg.logsumexp, mg.negative,
    lambda x: mg.maximum(x, 0.25), lambda x: mg.minimum(2, x), lambda x: mg.clip(x, 0, 1),
    lambda x: mg.where(True, x, 1.0), lambda x: 2 ** x, lambda x: x ** 2, lambda x: 1 / x, lambda x: 3 - x,
]  # fmt: skip


@pytest.mark.parametrize("op", SCALAR_OPS)
@pytest.mark.parametrize("kind", [float, np.float32, np.float64, np.array])
def test_python_numbers_numpy_scalars_and_0d_arrays_are_differentiated_alike(op, kind):
    x = kind(0.5)
    if kind is np.array:
        x = x.astype(np.float64)
    want = (op(0.5 + 1e-6) - op(0.5 - 1e-6)) / 2e-6
    gradient = mg.grad(op)(x)
    assert gradient == pytest.approx(float(want), rel=1e-5) and np.shape(gradient) == ()
    assert np.asarray(gradient).dtype == np.asarray(x).dtype
    mg.linearize(op, x)


def test_take_flattens_a_list_as_it_does_an_array():
    assert mg.take([[1.0, 2.0], [3.0, 4.0]], [3, 0]).tolist() == [4, 1]


# ----- Values -----


def of(*args: Any, **kwargs: Any) -> tuple[tuple, dict]:
    return args, kwargs


FUNCTIONS_OF_ONE = (
    "abs arctan ceil cos cosh exp expm1 floor isfinite isinf isnan logical_not negative reciprocal"
)
FUNCTIONS_OF_ONE += " round sign sin sinh square tan tanh"
FUNCTIONS_OF_TWO = (
    "add arctan2 equal greater greater_equal less less_equal logical_and logical_or maximum minimum"
)
FUNCTIONS_OF_TWO += " multiply not_equal subtract"
X, Y = np.random.default_rng(3).standard_normal((2, 2, 3, 4))
X[0, 0], Y[0, 0, :2] = Y[0, 0], 0.0
POSITIVE, INSIDE, THIN = np.abs(X) + 0.1, np.tanh(X), X[:1, :, :1]
AXES: list[dict] = [{}, {"axis": 1}, {"axis": (0, -1)}, {"axis": -2, "keepdims": True}, {"keepdims": True}]

NUMPY_CALLS: dict[str, list[tuple[tuple, dict]]] = {
    **{name: [of(X), of(X[0, 1, 2]), of(X.astype(np.float32))] for name in FUNCTIONS_OF_ONE.split()},
    **{name: [of(X, Y), of(X, 0.5), of(0.5, X)] for name in FUNCTIONS_OF_TWO.split()},
    **{name: [of(POSITIVE), of(POSITIVE.astype(np.float32))] for name in ("log", "sqrt", "log1p")},
    **{name: [of(INSIDE)] for name in ("arcsin", "arccos")},
    **{name: [of(X, **axis) for axis in AXES] for name in ("sum", "mean", "max", "min")},
    **{name: [of(X, **axis, ddof=n) for axis in AXES for n in (0, 1)] for name in ("var", "std")},
    **{name: [of(X), of(X, axis=1), of(X, axis=-1)] for name in ("argmax", "argmin")},
    **{name: [of(X > 0, **axis) for axis in AXES] for name in ("any", "all")},
    "divide": [of(X, POSITIVE), of(X, 0.5), of(0.5, X)],
    "power": [of(POSITIVE, Y), of(X, 2), of(2.0, X)],
    "round": [of(10 * X), of(X, 1)],
    "clip": [of(X, -0.5, 0.5), of(X, None, 0.5), of(X, Y - 1, Y + 1)],
    "where": [of(X > 0, X, Y), of(X > 0, X, 0.0)],
    "broadcast_to": [of(X, (5, 2, 3, 4)), of(X[:1], (2, 3, 4))],
    "concatenate": [of([X, Y]), of([X, Y], -1), of([X, Y[:, :1]], axis=1), of([X, Y], axis=None)],
    "expand_dims": [of(X, 0), of(X, -1), of(X, (0, 2))],
    "moveaxis": [of(X, 0, -1), of(X, (0, 1), (-1, 0))],
    "pad": [of(X, 1), of(X, (1, 2)), of(X, ((0, 1), (2, 0), (0, 0)))],
    "reshape": [of(X, (4, 6)), of(X, -1), of(X, (2, -1, 2))],
    "split": [of(X, 2), of(X, [1, 3], axis=-1), of(X, 3, 1)],
    "squeeze": [of(THIN), of(THIN, 0), of(THIN, axis=(0, 2))],
    "stack": [of([X, Y]), of([X, Y], -1), of([X, Y], axis=1)],
    "swapaxes": [of(X, 0, -1), of(X, 1, 1)],
    "transpose": [of(X), of(X, (1, 2, 0)), of(X, (-1, 0, 1))],
    "take": [of(X, 3), of(X, [1, 0, 1], axis=1), of(X, np.array([[0, -1]]), -1), of(X, [[5], [2]])],
    "dot": [of(X[0], Y[0].T), of(X[0, 0], Y[0, 0]), of(X, Y[0].T), of(X, 2.0), of(X, Y.swapaxes(1, 2))],
    "outer": [of(X, Y[0]), of(X[0, 0], 2.0)],
    "matmul": [of(X, Y.swapaxes(1, 2)), of(X, Y[0, 0]), of(Y[0, 0], X.swapaxes(1, 2)), of(Y[0, 0], X[0, 0])],
    "tensordot": [of(X, np.moveaxis(Y, 0, -1)), of(X, Y, axes=3), of(X, Y, ([0, 1], [0, 1]))],
    "einsum": [of("...j,kj->...k", X, Y[0]), of("ijk->", X), of("kji", X), of("ii->i", X[0, :, :3])],
}


def test_every_operation_that_numpy_has_is_compared_with_it():
    assert {n for n in public_names() if hasattr(np, n)} == set(NUMPY_CALLS)


@pytest.mark.parametrize("name", NUMPY_CALLS)
def test_operations_have_the_values_of_their_numpy_namesakes(name):
    for args, kwargs in NUMPY_CALLS[name]:
        ours, numpys = (getattr(m, name)(*args, **kwargs) for m in (mg, np))
        assert isinstance(ours, list) == isinstance(numpys, list)
        for y, want in zip(leaves(ours), leaves(numpys), strict=True):
            assert np.shape(y) == np.shape(want) and np.asarray(y).dtype == np.asarray(want).dtype
            np.testing.assert_allclose(y, want, rtol=1e-14, atol=1e-15)


def float_arrays(args: tuple) -> list:
    """The arguments, one level of lists unpacked, that are arrays of floating point."""
    flat = [a for arg in args for a in (arg if isinstance(arg, list) else [arg])]
    return [a for a in flat if isinstance(a, np.ndarray) and a.dtype.kind == "f"]


@pytest.mark.parametrize("name", NUMPY_CALLS)
def test_numpy_functions_of_tracers_are_minigrads(name):
    for args, kwargs in NUMPY_CALLS[name]:
        xs = float_arrays(args)
        if not xs:
            continue

        def call(module: Any, *xs: Any, args: tuple = args, kwargs: dict = kwargs) -> Any:
            it = iter(xs)
            is_x = [id(x) for x in float_arrays(args)]

            def put(a: Any) -> Any:
                return [put(b) for b in a] if isinstance(a, list) else next(it) if id(a) in is_x else a

            return getattr(module, name)(*map(put, args), **kwargs)

        t = directions(np.random.default_rng(4), xs)
        ours, numpys = (mg.jvp(lambda *xs, m=m: call(m, *xs), tuple(xs), t) for m in (mg, np))
        for one, other in zip(ours, numpys, strict=True):
            for y, want in zip(leaves(one), leaves(other), strict=True):
                np.testing.assert_array_equal(y, want)


def test_erf_is_accurate_to_the_last_digits():
    x = np.concatenate(
        [np.linspace(-7, 7, 2001), np.logspace(-300, 0, 61), [0.46875, 4.0, 6.0, 1e300, np.inf]]
    )
    want = np.array([math.erf(v) for v in x])
    np.testing.assert_allclose(mg.erf(x), want, rtol=1e-15, atol=0)
    single = x[(np.abs(x) > 1e-30) & (np.abs(x) < 1e30)].astype(np.float32)
    assert mg.erf(single).dtype == np.float32
    np.testing.assert_allclose(mg.erf(single), [math.erf(v) for v in single], rtol=5e-7, atol=0)
    assert np.signbit(mg.erf(-0.0)) and np.isnan(mg.erf(np.nan))


def test_the_exponential_family_agrees_with_scipy_and_does_not_overflow():
    special = pytest.importorskip("scipy.special")
    for x in (X, 1000 * X, X + 1e4, -1e4 + X):
        for axis in (-1, 0, (0, 2), None):
            for ours, theirs in (
                (mg.logsumexp, special.logsumexp),
                (mg.softmax, special.softmax),
                (mg.log_softmax, special.log_softmax),
            ):
                np.testing.assert_allclose(ours(x, axis=axis), theirs(x, axis=axis), rtol=1e-10, atol=1e-12)
        for op in (mg.logsumexp, lambda x: mg.softmax(x).std(), lambda x: mg.log_softmax(x).mean()):
            assert np.all(np.isfinite(mg.grad(op)(x)))
    with np.errstate(divide="ignore"):  # log 0 warns, as NumPy's does
        assert mg.logsumexp(np.array([-np.inf, -np.inf])) == -np.inf
    assert mg.logsumexp(np.array([-np.inf, 2.0])) == 2
    assert mg.softmax(np.array([-np.inf, 0.0])).tolist() == [0, 1]


def test_activations_agree_with_scipy_and_do_not_overflow():
    special = pytest.importorskip("scipy.special")
    x = np.concatenate([np.linspace(-30, 30, 121), [-800.0, 800.0]])
    np.testing.assert_allclose(mg.sigmoid(x), special.expit(x), rtol=1e-14, atol=1e-300)
    np.testing.assert_allclose(mg.softplus(x), np.logaddexp(0, x), rtol=1e-14)
    np.testing.assert_allclose(mg.silu(x), x * special.expit(x), rtol=1e-14, atol=1e-13)
    np.testing.assert_allclose(mg.gelu(x), x * special.ndtr(x), rtol=1e-13, atol=1e-14)
    np.testing.assert_array_equal(mg.relu(x), np.maximum(x, 0))
    for op in (mg.sigmoid, mg.softplus, mg.silu, mg.gelu, mg.tanh):
        assert np.all(np.isfinite(mg.grad(lambda x, op=op: op(x).sum())(x)))


# ----- Checkers that cannot fail check nothing: each is shown a wrong rule -----


def wrong(name: str, impl: Callable, define: Callable) -> Primitive:
    prim = Primitive(f"_wrong_{name}", lambda xp, *args: impl(*args))
    define(prim)
    prim.flops = elementwise_flops(1)
    return prim


def bare(x: Any) -> Any:
    """The array under any tracers: smuggled past the rules, its own derivative is lost."""
    while hasattr(x, "primal"):
        x = x.primal
    return x


def same_shape(*args: Any) -> tuple:
    return np.shape(bare(args[-1]))


wrong_sign = wrong("sign", np.cos, lambda p: defjvp(p, lambda t, ans, x: t * mg.sin(x)))
missing_term = wrong(
    "term", lambda x, y: x * np.sin(y), lambda p: defjvp(p, lambda t, ans, x, y: t * mg.sin(y))
)
wrong_scale = wrong("scale", lambda x: 2 * x, lambda p: deflinear(p, lambda x: x.shape, lambda ct, x: 3 * ct))
raw_residual = wrong(
    "residual", lambda x: x**3, lambda p: defjvp(p, lambda t, ans, x: t * (3 * bare(x) ** 2))
)
raw_in_transpose = wrong(
    "transpose",
    lambda t, w: t * w,
    lambda p: deflinear(
        p,
        lambda t, w: t.shape,
        lambda ct, t, w: ct * bare(w),
        jvps=[None, lambda t, ans, x, w: x * t],
    ),
)
depends_on_mode = wrong(
    "mode", np.sin, lambda p: defjvp(p, lambda t, ans, x: t * (mg.cos(x) if hasattr(t, "source") else 1.0))
)
third_order_prime = wrong(
    "prime", lambda x: 4 * x**3, lambda p: defjvp(p, lambda t, ans, x: t * (12 * bare(x) ** 2))
)
third_order = wrong("third", lambda x: x**4, lambda p: defjvp(p, lambda t, ans, x: t * third_order_prime(x)))

ARGS_1 = (np.array([0.5, 0.9, 1.3]),)
ARGS_2 = (np.array([0.5, 0.9, 1.3]), np.array([0.4, -0.7, 1.1]))
IN_TANGENT = "jvp and central difference"


def weights_in_transpose(x: Any, w: Any) -> Any:
    return raw_in_transpose(x, w * w)


@pytest.mark.parametrize(
    "checker, f, args, message",
    [
        (check_jvp, wrong_sign, ARGS_1, IN_TANGENT),
        (check_jvp, missing_term, ARGS_2, IN_TANGENT),
        (check_dot, wrong_scale, ARGS_1, "<J t, c> and <t, J.T c>"),
        (check_dot, depends_on_mode, ARGS_1, r"linearize\(f\)\(t\) and jvp"),
        (check_order2, raw_residual, ARGS_1, "hvp and central difference of the gradient"),
        (check_order2, weights_in_transpose, ARGS_2, "hvp fwd_over_rev and rev_over_|<H u, v>"),
        (
            lambda *a: check_order(*a, order=2),
            raw_residual,
            ARGS_1,
            "order 2 and central difference of order 1",
        ),
        (lambda *a: check_order(*a, order=3), third_order, ARGS_1, "order 3"),
    ],
)
def test_each_checker_fails_on_a_wrong_rule(checker, f, args, message):
    with pytest.raises(AssertionError, match=message) as error:
        checker(f, args, np.random.default_rng(5))
    assert "float64[3]" in str(error.value)


def test_a_complex_step_finds_a_wrong_rule():
    with pytest.raises(AssertionError, match="complex step"):
        check_jvp(wrong_sign, ARGS_1, np.random.default_rng(5), complex_step=True)


def test_wrong_rules_pass_the_checks_of_what_they_do_right():
    # So that the failures above are for the reason they are meant to have.
    rng = np.random.default_rng(6)
    check_dot(wrong_sign, ARGS_1, rng)
    check_dot(missing_term, ARGS_2, rng)
    check_jvp(wrong_scale, ARGS_1, rng)
    for checker in (check_dot, check_jvp):
        checker(raw_residual, ARGS_1, rng)
        checker(weights_in_transpose, ARGS_2, rng)
        checker(third_order, ARGS_1, rng)
    check_order2(third_order, ARGS_1, rng)


def test_checkers_notice_a_wrong_shape_or_dtype_and_nan():
    f, x = np.sin, np.ones(2)
    with pytest.raises(AssertionError, match=r"float32\[2\], but should be float64\[2\]"):
        assert_like(f, "tangent", [x.astype(np.float32)], [x])
    with pytest.raises(AssertionError, match="cotangent is float64"):
        assert_like(f, "cotangent", [x[:1]], [x])
    with pytest.raises(AssertionError, match="differ by nan"):
        assert_close(f, [x], "values", [x], [x * np.nan])


def test_directions_have_length_one_and_no_small_component():
    rng = np.random.default_rng(7)
    args = np.zeros((3, 4)), np.zeros((), np.float32), np.zeros(0)
    units = directions(rng, args)
    assert [(np.shape(u), u.dtype) for u in units] == [(a.shape, a.dtype) for a in args]
    flat = np.concatenate([np.ravel(u) for u in units])
    assert np.linalg.norm(flat) == pytest.approx(1) and np.abs(flat).min() >= 0.1 / math.sqrt(flat.size)
    assert (flat > 0).any() and (flat < 0).any()


def test_erf_is_right_to_the_last_digit_of_half_precision():
    special = pytest.importorskip("scipy.special")
    x = np.linspace(-6, 6, 241).astype(np.float16)
    y = mg.erf(x)
    assert y.dtype == np.float16
    np.testing.assert_allclose(y, special.erf(x.astype(float)), rtol=2**-11, atol=2**-24)
