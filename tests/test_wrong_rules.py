"""The kit has teeth: rules that are wrong the way rules go wrong, each beside its right twin.

Every wrong one is caught by the checks at the usual number of examples, and every right one passes at ten
times that number, with the same value, the same arguments and the same checks.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.core import Primitive
from minigrad.rules import broadcast_shape, defjvp, deflinear, defwhole, defzero, sum_to
from minigrad.testing import (
    Rule,
    RuleError,
    arrays,
    broadcastable_arrays,
    check_constant,
    check_dtypes,
    distinct,
    given_rule,
    inside,
    nonzero,
    normal,
    positive,
    seeds,
    shapes,
    tied,
)


class Pair(NamedTuple):
    """A wrong rule, how it is wrong, its right twin, what they are checked at, and how."""

    name: str
    how: str
    wrong: Any
    right: Any
    args: st.SearchStrategy
    kwargs: Any = None
    check: Callable | None = None  # check(f, args) in place of all those of given_rule
    options: dict = {}
    error: type = RuleError


# ----- How a rule is put on a value: each returns wrong and right -----

_numbers = itertools.count()


def primitive(impl: Callable, define: Callable) -> Primitive:
    prim = Primitive(f"_twin_{next(_numbers)}", impl)
    define(prim)
    return prim


def by_jvp(value: Callable, wrong: Any, right: Any) -> tuple:
    """Nonlinear: one jvp rule an argument."""
    many = [rules if isinstance(rules, tuple) else (rules,) for rules in (wrong, right)]
    return tuple(
        primitive(lambda xp, *xs, **params: value(*xs, **params), lambda p, rules=rules: defjvp(p, *rules))
        for rules in many
    )


def by_transpose(value: Callable, shape: Callable, wrong: Any, right: Any) -> tuple:
    """Linear: one transpose an argument."""
    many = [rules if isinstance(rules, tuple) else (rules,) for rules in (wrong, right)]
    return tuple(
        primitive(
            lambda xp, *xs, **params: value(*xs, **params),
            lambda p, rules=rules: deflinear(p, shape, *rules),
        )
        for rules in many
    )


def by_hand(value: Callable, jvps: tuple = (None, None), vjps: tuple = (None, None)) -> tuple:
    """Plain NumPy, outside minigrad: (wrong, right) jvps, (wrong, right) vjps."""
    return tuple(Rule(value, jvp, vjp) for jvp, vjp in zip(jvps, vjps, strict=True))


def by_composition(wrong: Callable, right: Callable) -> tuple:
    return wrong, right


def pair(name: str, how: str, twins: tuple, args: Any, kwargs: Any = None, **rest: Any) -> Pair:
    """Checked at order one, where most of them go wrong, unless `order` says otherwise."""
    fields = {k: rest.pop(k) for k in ("check", "error") if k in rest}
    return Pair(name, how, *twins, args, kwargs, options={"order": 1} | rest, **fields)


# ----- Arguments -----


def one(values: Callable = normal, shape: Any = None, dtype: Any = "float64") -> st.SearchStrategy:
    return st.tuples(arrays(values, shape, dtype))


def two(values: Callable = normal) -> st.SearchStrategy:
    return broadcastable_arrays(2, values)


def same(*values: Callable, shape: Any = None) -> st.SearchStrategy:
    """Arrays of one shape."""
    drawn = shapes() if shape is None else shape
    return drawn.flatmap(lambda s: st.tuples(*[arrays(v, s) for v in values]))


VECTORS = shapes(1, 1, 2, 5)
MATRICES = shapes(2, 2, 2, 4)
SQUARE = st.integers(2, 3).map(lambda n: (n, n))
SOLID = shapes(2, 3, 2, 3)


def regular(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    """Square matrices far from singular, and not symmetric."""
    return 2 * np.eye(shape[-1]) + rng.uniform(-0.5, 0.5, shape)


def an_axis(x: np.ndarray, *others: np.ndarray) -> dict:
    return {"axis": st.integers(-x.ndim, x.ndim - 1)}


def bare(x: Any) -> Any:
    """The array under any tracers: smuggled past the rules, its own derivative is lost."""
    while hasattr(x, "primal"):
        x = x.primal
    return x


def shape_without(x: Any, axis: int) -> tuple:
    return tuple(n for i, n in enumerate(x.shape) if i != axis % len(x.shape))


# ----- First derivatives of elementwise functions -----

FORMULAS = [
    pair(
        "cos",
        "the sign",
        by_jvp(np.cos, lambda t, ans, x: t * mg.sin(x), lambda t, ans, x: -t * mg.sin(x)),
        one(),
    ),
    pair(
        "square", "a factor", by_jvp(np.square, lambda t, ans, x: t * x, lambda t, ans, x: 2 * t * x), one()
    ),
    pair(
        "sqrt",
        "half forgotten",
        by_jvp(np.sqrt, lambda t, ans, x: t / ans, lambda t, ans, x: 0.5 * t / ans),
        one(positive),
    ),
    pair(
        "product with sine",
        "a missing term in y",
        by_jvp(
            lambda x, y: x * np.sin(y),
            (lambda t, ans, x, y: t * mg.sin(y), None),
            (lambda t, ans, x, y: t * mg.sin(y), lambda t, ans, x, y: t * x * mg.cos(y)),
        ),
        two(),
    ),
    pair(
        "sine of 2x",
        "chain rule forgotten",
        by_jvp(
            lambda x: np.sin(2 * x),
            lambda t, ans, x: t * mg.cos(2 * x),
            lambda t, ans, x: 2 * t * mg.cos(2 * x),
        ),
        one(),
    ),
    pair(
        "quotient",
        "divided by y once instead of twice",
        by_jvp(
            np.divide,
            (lambda t, ans, x, y: t / y, lambda t, ans, x, y: -t * x / y),
            (lambda t, ans, x, y: t / y, lambda t, ans, x, y: -t * ans / y),
        ),
        two(nonzero),
    ),
    pair(
        "tanh",
        "residual from the wrong point: the input for the output",
        by_jvp(np.tanh, lambda t, ans, x: t * (1 - x * x), lambda t, ans, x: t * (1 - ans * ans)),
        one(),
    ),
    pair(
        "softplus",
        "sigmoid of -x",
        by_jvp(
            lambda x: np.logaddexp(0, x),
            lambda t, ans, x: t * mg.sigmoid(-x),
            lambda t, ans, x: t * mg.sigmoid(x),
        ),
        one(),
    ),
    pair(
        "log1p",
        "the derivative of log",
        by_jvp(np.log1p, lambda t, ans, x: t / x, lambda t, ans, x: t / (1 + x)),
        one(positive),
    ),
    pair(
        "abs",
        "slope one everywhere",
        by_jvp(np.abs, lambda t, ans, x: t, lambda t, ans, x: t * mg.sign(x)),
        one(nonzero),
    ),
    pair(
        "rectifier",
        "the mask the wrong way round",
        by_jvp(
            lambda x: np.maximum(x, 0),
            lambda t, ans, x: mg.where(mg.less(x, 0), t, 0.0),
            lambda t, ans, x: mg.where(mg.greater(x, 0), t, 0.0),
        ),
        one(nonzero),
    ),
    pair(
        "clip",
        "passes the tangent outside, too",
        by_jvp(
            lambda x: np.clip(x, -0.1, 0.1),
            lambda t, ans, x: t,
            lambda t, ans, x: mg.where(mg.less(mg.abs(x), 0.1), t, 0.0),
        ),
        one(nonzero),
    ),
    pair(
        "minimum",
        "the masks of maximum",
        by_jvp(
            np.minimum,
            (
                lambda t, ans, x, y: mg.where(mg.greater(x, y), t, 0.0),
                lambda t, ans, x, y: mg.where(mg.greater(y, x), t, 0.0),
            ),
            (
                lambda t, ans, x, y: mg.where(mg.less(x, y), t, 0.0),
                lambda t, ans, x, y: mg.where(mg.less(y, x), t, 0.0),
            ),
        ),
        two(distinct),
    ),
    pair(
        "power",
        "log x forgotten in the exponent's part",
        by_jvp(
            np.power,
            (lambda t, ans, x, y: t * y * x ** (y - 1), lambda t, ans, x, y: t * ans),
            (lambda t, ans, x, y: t * y * x ** (y - 1), lambda t, ans, x, y: t * ans * mg.log(x)),
        ),
        two(positive),
    ),
    pair(
        "arctan2",
        "x and y swapped",
        by_jvp(
            np.arctan2,
            (lambda t, ans, y, x: t * y / (x * x + y * y), lambda t, ans, y, x: -t * x / (x * x + y * y)),
            (lambda t, ans, y, x: t * x / (x * x + y * y), lambda t, ans, y, x: -t * y / (x * x + y * y)),
        ),
        two(nonzero),
    ),
    pair(
        "whole power",
        "the parameter n ignored",
        by_jvp(lambda x, n: x**n, lambda t, ans, x, n: 2 * t * x, lambda t, ans, x, n: n * t * x ** (n - 1)),
        one(nonzero),
        {"n": st.integers(2, 4)},
    ),
    pair(
        "rounding",
        "straight through: the slope of x",
        by_jvp(np.round, lambda t, ans, x: t, None),
        one(lambda rng, shape: rng.integers(-2, 2, shape) + rng.uniform(-0.3, 0.3, shape)),
    ),
]

# ----- Conventions at ties: a central difference is the mean of both sides -----

TIES = [
    pair(
        "maximum at ties",
        "the tangent of both, whole",
        by_jvp(
            np.maximum,
            (
                lambda t, ans, x, y: mg.where(mg.greater_equal(x, y), t, 0.0),
                lambda t, ans, x, y: mg.where(mg.greater_equal(y, x), t, 0.0),
            ),
            (
                lambda t, ans, x, y: t * (mg.greater(x, y) + 0.5 * mg.equal(x, y)),
                lambda t, ans, x, y: t * (mg.greater(y, x) + 0.5 * mg.equal(x, y)),
            ),
        ),
        same(tied, tied),
        order=1,
    ),
    pair(
        "maximum at ties, first",
        "the tangent of the first instead of half of both",
        by_jvp(
            np.maximum,
            (
                lambda t, ans, x, y: mg.where(mg.greater_equal(x, y), t, 0.0),
                lambda t, ans, x, y: mg.where(mg.greater(y, x), t, 0.0),
            ),
            (
                lambda t, ans, x, y: t * (mg.greater(x, y) + 0.5 * mg.equal(x, y)),
                lambda t, ans, x, y: t * (mg.greater(y, x) + 0.5 * mg.equal(x, y)),
            ),
        ),
        same(tied, tied),
        order=1,
    ),
    pair(
        "greatest of two rows at ties",
        "the first of equals instead of their mean",
        by_jvp(
            lambda x: np.max(x, 0),
            lambda t, ans, x: mg.where(mg.greater_equal(x[0], x[1]), t[0], t[1]),
            lambda t, ans, x: mg.mean(
                mg.where(mg.equal(x, ans), t, mg.sum(mg.where(mg.equal(x, ans), t, 0.0), 0)), 0
            ),
        ),
        one(tied, st.integers(1, 4).map(lambda n: (2, n))),
        order=1,
    ),
]

# ----- Linear operations: the transpose -----


def window_sums(x: Any, k: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(x, k, -1).sum(-1)


def spread(ct: Any, n: int, k: int, shift: int) -> Any:
    """The transpose of window_sums, each window moved by `shift`."""
    m = n - k + 1
    index = np.minimum(np.arange(m)[:, None] + np.arange(k) + shift, n - 1)
    return mg.scatter(mg.expand_dims(ct, -1) * np.ones(k), (Ellipsis, index), (*ct.shape[:-1], n))


def flipped(x: Any, axis: int) -> Any:
    return x[(slice(None),) * axis + (slice(None, None, -1),)]


TRANSPOSES = [
    pair(
        "twice",
        "three times on the way back",
        by_transpose(lambda x: 2 * x, lambda x: x.shape, lambda ct, x: 3 * ct, lambda ct, x: 2 * ct),
        one(),
    ),
    pair(
        "sum along an axis",
        "spread along the other axis, which is as long",
        by_transpose(
            lambda x: x.sum(1),
            lambda x: x.shape[:1],
            lambda ct, x: mg.broadcast_to(ct, x.shape),
            lambda ct, x: mg.broadcast_to(ct[:, None], x.shape),
        ),
        one(shape=SQUARE),
    ),
    pair(
        "mean",
        "the sum's transpose",
        by_transpose(
            lambda x: x.mean(0),
            lambda x: x.shape[1:],
            lambda ct, x: mg.broadcast_to(ct, x.shape),
            lambda ct, x: mg.broadcast_to(ct, x.shape) / x.shape[0],
        ),
        one(shape=SOLID),
    ),
    pair(
        "product of matrices",
        "the transposed matrix forgotten in the left factor",
        by_transpose(
            np.matmul,
            lambda a, b: (a.shape[0], b.shape[1]),
            (lambda ct, a, b: ct @ b, lambda ct, a, b: a.T @ ct),
            (lambda ct, a, b: ct @ b.T, lambda ct, a, b: a.T @ ct),
        ),
        same(normal, normal, shape=SQUARE),
    ),
    pair(
        "product of matrices, on the right",
        "the order of the factors, in one argument only",
        by_transpose(
            np.matmul,
            lambda a, b: (a.shape[0], b.shape[1]),
            (lambda ct, a, b: ct @ b.T, lambda ct, a, b: ct @ a.T),
            (lambda ct, a, b: ct @ b.T, lambda ct, a, b: a.T @ ct),
        ),
        same(normal, normal, shape=SQUARE),
    ),
    pair(
        "transpose of axes",
        "the permutation instead of its inverse",
        by_transpose(
            lambda x: np.transpose(x, (1, 2, 0)),
            lambda x: (x.shape[1], x.shape[2], x.shape[0]),
            lambda ct, x: mg.transpose(ct, (1, 2, 0)),
            lambda ct, x: mg.transpose(ct, (2, 0, 1)),
        ),
        one(shape=st.integers(2, 3).map(lambda n: (n, n, n))),
    ),
    pair(
        "roll",
        "the same way again instead of back",
        by_transpose(
            lambda x: np.roll(x, 1),
            lambda x: x.shape,
            lambda ct, x: mg.concatenate([ct[-1:], ct[:-1]]),
            lambda ct, x: mg.concatenate([ct[1:], ct[:1]]),
        ),
        one(shape=shapes(1, 1, 3, 5)),
    ),
    pair(
        "flip",
        "along the wrong axis",
        by_transpose(lambda x: x[::-1], lambda x: x.shape, lambda ct, x: ct[:, ::-1], lambda ct, x: ct[::-1]),
        one(shape=SOLID),
    ),
    pair(
        "cumulative sum",
        "not reversed",
        by_transpose(
            np.cumsum,
            lambda x: x.shape,
            lambda ct, x: np.tril(np.ones(x.shape * 2)) @ ct,
            lambda ct, x: np.triu(np.ones(x.shape * 2)) @ ct,
        ),
        one(shape=VECTORS),
    ),
    pair(
        "sort",
        "the permutation instead of its inverse",
        by_jvp(
            np.sort,
            lambda t, ans, x: mg.take(t, np.argsort(np.argsort(bare(x)))),
            lambda t, ans, x: mg.take(t, np.argsort(bare(x))),
        ),
        one(shape=shapes(1, 1, 3, 5)).filter(
            lambda args: np.ptp(args[0]) > 0 and len(set(args[0])) == args[0].size
        ),
    ),
    pair(
        "rows by index",
        "a row taken twice gets one cotangent only",
        by_transpose(
            lambda x: x[[0, 1, 0]],
            lambda x: (3, *x.shape[1:]),
            lambda ct, x: mg.concatenate(
                [ct[1:2] * 0 + ct[2:], ct[1:2], np.zeros((x.shape[0] - 2, *x.shape[1:]))]
            ),
            lambda ct, x: mg.concatenate(
                [ct[:1] + ct[2:], ct[1:2], np.zeros((x.shape[0] - 2, *x.shape[1:]))]
            ),
        ),
        one(shape=SOLID),
    ),
    pair(
        "padding",
        "cut one too late",
        by_transpose(
            lambda x: np.pad(x, (1, 2)),
            lambda x: (x.shape[0] + 3,),
            lambda ct, x: ct[2:-1],
            lambda ct, x: ct[1:-2],
        ),
        one(shape=VECTORS),
    ),
    pair(
        "outer sum",
        "broadcasting undone along the wrong axis, as long as the right one",
        by_transpose(
            lambda x: x[:, None] + np.zeros(x.size),
            lambda x: x.shape * 2,
            lambda ct, x: mg.sum(ct, 0),
            lambda ct, x: mg.sum(ct, 1),
        ),
        one(shape=VECTORS),
    ),
    pair(
        "broadcasting",
        "undone by the mean instead of the sum",
        by_transpose(
            lambda x: np.broadcast_to(x, (3, *x.shape)),
            lambda x: (3, *x.shape),
            lambda ct, x: mg.mean(ct, 0),
            lambda ct, x: mg.sum(ct, 0),
        ),
        one(),
    ),
    pair(
        "multiply, only when shapes differ",
        "the smaller factor's cotangent divided by how often it was repeated",
        by_transpose(
            np.multiply,
            broadcast_shape,
            (
                lambda ct, x, y: (
                    sum_to(ct * y, shape=x.shape) * (math.prod(x.shape) / max(1, math.prod(ct.shape)))
                ),
                lambda ct, x, y: ct * x,
            ),
            (lambda ct, x, y: ct * y, lambda ct, x, y: ct * x),
        ),
        two(),
    ),
    pair(
        "differences",
        "the sign on the way back",
        by_transpose(
            np.diff,
            lambda x: (x.shape[0] - 1,),
            lambda ct, x: mg.pad(ct, (0, 1)) - mg.pad(ct, (1, 0)),
            lambda ct, x: mg.pad(ct, (1, 0)) - mg.pad(ct, (0, 1)),
        ),
        one(shape=VECTORS),
    ),
    pair(
        "window sums",
        "windows off by one",
        by_transpose(
            window_sums,
            lambda x, k: (*x.shape[:-1], x.shape[-1] - k + 1),
            lambda ct, x, k: spread(ct, x.shape[-1], k, 1),
            lambda ct, x, k: spread(ct, x.shape[-1], k, 0),
        ),
        one(shape=shapes(1, 2, 3, 5)),
        {"k": st.integers(1, 3)},
    ),
    pair(
        "flip along any axis",
        "right for axes counted from the front, off by one for those from the back",
        by_transpose(
            lambda x, axis: np.flip(x, axis),
            lambda x, axis: x.shape,
            lambda ct, x, axis: flipped(ct, axis if axis >= 0 else (axis + 1) % len(x.shape)),
            lambda ct, x, axis: flipped(ct, axis % len(x.shape)),
        ),
        one(shape=SOLID),
        an_axis,
    ),
    pair(
        "join",
        "the second occurrence of an argument forgotten",
        by_transpose(
            lambda x: np.concatenate([x, x]),
            lambda x: (2 * x.shape[0], *x.shape[1:]),
            lambda ct, x: ct[: x.shape[0]],
            lambda ct, x: ct[: x.shape[0]] + ct[x.shape[0] :],
        ),
        one(shape=SOLID),
    ),
]


def conv_twins(wrong: tuple, right: tuple) -> tuple:
    def shape(x: Any, w: Any, stride: Any, padding: Any) -> tuple:
        return mg.conv2d(np.zeros(x.shape), np.zeros(w.shape), stride, padding).shape

    return by_transpose(lambda x, w, stride, padding: mg.conv2d(x, w, stride, padding), shape, wrong, right)


def conv_x(ct: Any, x: Any, w: Any, stride: Any, padding: Any) -> Any:
    return mg.conv2d_input(ct, w, x.shape[1:3], stride=stride, padding=padding)


def conv_w(ct: Any, x: Any, w: Any, stride: Any, padding: Any) -> Any:
    return mg.conv2d_filter(x, ct, w.shape[1:3], stride=stride, padding=padding)


def images(n: int) -> st.SearchStrategy:
    return st.tuples(arrays(normal, (2, n, n, 1)), arrays(normal, (2, 2, 2, 1)))


NETWORKS = [
    pair(
        "convolution, padding",
        "padding before and after swapped: right where they are equal",
        conv_twins(
            (lambda ct, x, w, stride, padding: conv_x(ct, x, w, stride, [p[::-1] for p in padding]), conv_w),
            (conv_x, conv_w),
        ),
        images(3),
        {"stride": st.just(1), "padding": st.sampled_from([((0, 0), (1, 1)), ((0, 1), (1, 0))])},
    ),
    pair(
        "convolution, filter",
        "the filter's cotangent flipped, as a mathematician's convolution would",
        conv_twins(
            (conv_x, lambda ct, *args, **kw: conv_w(ct, *args, **kw)[:, ::-1, ::-1]), (conv_x, conv_w)
        ),
        images(4),
        {"stride": st.integers(1, 2), "padding": st.just(((0, 0), (0, 0)))},
    ),
    pair(
        "convolution, stride",
        "the rows the stride left out counted from the other end",
        conv_twins(
            (
                lambda ct, *args, **kw: (
                    mg.flip(conv_x(ct, *args, **kw), 1) if kw["stride"] == 2 else conv_x(ct, *args, **kw)
                ),
                conv_w,
            ),
            (conv_x, conv_w),
        ),
        images(5),
        {"stride": st.integers(1, 2), "padding": st.just(((0, 0), (0, 0)))},
    ),
]

# ----- Functions of matrices and along axes -----


def softmax(x: Any, axis: int) -> np.ndarray:
    e = np.exp(x)
    return e / e.sum(axis, keepdims=True)


def softmax_tangent(t: Any, ans: Any, axis: int) -> Any:
    return ans * (t - mg.sum(t * ans, axis, keepdims=True))


def standardize(x: Any, eps: float) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x) + eps)


def standardize_tangent(t: Any, ans: Any, x: Any, eps: float) -> Any:
    size = mg.sqrt(mg.mean(x * x) + eps)
    return t / size - x * mg.mean(x * t) / size**3


def norm_twins(wrong: Callable, right: Callable) -> tuple:
    return by_jvp(standardize, wrong, right)


WHOLE = [
    pair(
        "softmax",
        "the parameter axis ignored: always the last",
        by_jvp(
            softmax,
            lambda t, ans, x, axis: softmax_tangent(t, ans, -1),
            lambda t, ans, x, axis: softmax_tangent(t, ans, axis),
        ),
        one(shape=SOLID),
        an_axis,
    ),
    pair(
        "softmax over a negative axis",
        "one axis to the left, when counted from the back",
        by_jvp(
            softmax,
            lambda t, ans, x, axis: softmax_tangent(t, ans, axis if axis >= 0 else (axis - 1) % x.ndim),
            lambda t, ans, x, axis: softmax_tangent(t, ans, axis),
        ),
        one(shape=SOLID),
        an_axis,
    ),
    pair(
        "normalisation",
        "the parameter eps ignored",
        norm_twins(
            lambda t, ans, x, eps: standardize_tangent(t, ans, x, 0.0),
            lambda t, ans, x, eps: standardize_tangent(t, ans, x, eps),
        ),
        one(nonzero, VECTORS),
        {"eps": st.sampled_from([0.1, 0.01])},
    ),
    pair(
        "normalisation, its scale",
        "the scale taken for a constant",
        norm_twins(
            lambda t, ans, x, eps: t / mg.sqrt(mg.mean(x * x) + eps),
            lambda t, ans, x, eps: standardize_tangent(t, ans, x, eps),
        ),
        one(nonzero, VECTORS),
        {"eps": st.sampled_from([0.1, 0.01])},
    ),
    pair(
        "variance",
        "divided by n, whatever ddof says",
        by_jvp(
            lambda x, ddof: np.var(x, ddof=ddof),
            lambda t, ans, x, ddof: 2 * mg.sum(t * (x - mg.mean(x))) / x.size,
            lambda t, ans, x, ddof: 2 * mg.sum(t * (x - mg.mean(x))) / (x.size - ddof),
        ),
        one(shape=VECTORS),
        {"ddof": st.integers(0, 1)},
    ),
    pair(
        "quadratic form",
        "2 A x: right for symmetric A only",
        by_jvp(
            lambda a, x: x @ a @ x,
            (lambda t, ans, a, x: x @ t @ x, lambda t, ans, a, x: 2 * (t @ (a @ x))),
            (lambda t, ans, a, x: x @ t @ x, lambda t, ans, a, x: t @ (a @ x) + x @ (a @ t)),
        ),
        st.integers(2, 3).flatmap(lambda n: st.tuples(arrays(regular, (n, n)), arrays(normal, (n,)))),
    ),
    pair(
        "inverse",
        "the direction transposed: right for symmetric ones only",
        by_jvp(np.linalg.inv, lambda t, ans, a: -ans @ t.T @ ans, lambda t, ans, a: -ans @ t @ ans),
        one(regular, SQUARE),
    ),
    pair(
        "determinant",
        "the inverse not transposed",
        by_jvp(
            np.linalg.det,
            lambda t, ans, a: ans * mg.sum(mg.linalg.inv(a) * t),
            lambda t, ans, a: ans * mg.sum(mg.linalg.inv(a).T * t),
        ),
        one(regular, SQUARE),
    ),
    pair(
        "product of a vector",
        "each factor divided out of the wrong neighbour",
        by_jvp(
            np.prod,
            lambda t, ans, x: mg.sum(ans / mg.flip(x, 0) * t),
            lambda t, ans, x: mg.sum(ans / x * t),
        ),
        one(nonzero, VECTORS),
    ),
    pair(
        "x times itself",
        "one of the two occurrences",
        by_jvp(lambda x: x * x, lambda t, ans, x: t * x, lambda t, ans, x: t * x + x * t),
        one(),
    ),
]

# ----- Right once, wrong later: orders two and three, and modes -----


def cube_prime(x: Any) -> Any:
    return 3 * x * x


def whole_rule(good: bool) -> Callable:
    def rule(primals: Any, tangents: Any) -> tuple:
        (x, y), (dx, dy) = primals, tangents
        parts = [p for p in (None if dx is None else dx * y, None if dy is None else dy * x) if p is not None]
        return x * y, sum(parts[1:], parts[0]) if good else dx * y + dy * x

    return rule


def fourth_twins(second: Callable) -> tuple:
    """x⁴ by way of a primitive 12 x² whose own rule is given."""
    prime = primitive(lambda xp, x: 12 * x**2, lambda p: defjvp(p, lambda t, ans, x: t * second(x)))
    third = primitive(lambda xp, x: 4 * x**3, lambda p: defjvp(p, lambda t, ans, x: t * prime(x)))
    return primitive(lambda xp, x: x**4, lambda p: defjvp(p, lambda t, ans, x: t * third(x)))


HIGHER = [
    pair(
        "cube",
        "a raw array kept as residual",
        by_jvp(
            lambda x: x**3, lambda t, ans, x: t * cube_prime(bare(x)), lambda t, ans, x: t * cube_prime(x)
        ),
        one(nonzero),
        order=2,
    ),
    pair(
        "exp",
        "the raw output kept as residual",
        by_jvp(np.exp, lambda t, ans, x: t * bare(ans), lambda t, ans, x: t * ans),
        one(),
        order=2,
    ),
    pair(
        "logsumexp",
        "its softmax taken for a constant",
        by_jvp(
            lambda x: np.log(np.sum(np.exp(x))),
            lambda t, ans, x: mg.sum(t * mg.stop_gradient(mg.exp(x - ans))),
            lambda t, ans, x: mg.sum(t * mg.exp(x - ans)),
        ),
        one(shape=VECTORS),
        order=2,
    ),
    pair(
        "scaled by the square of a weight",
        "a raw array in the transpose",
        tuple(
            (lambda scale: lambda x, w: scale(x, w * w))(
                primitive(
                    lambda xp, t, w: t * w,
                    lambda p, rule=rule: deflinear(
                        p, broadcast_shape, rule, jvps=[None, lambda t, ans, x, w: x * t]
                    ),
                )
            )
            for rule in (lambda ct, t, w: ct * bare(w), lambda ct, t, w: ct * w)
        ),
        same(normal, normal),
        order=2,
    ),
    pair(
        "fourth power",
        "wrong at order three only",
        (fourth_twins(lambda x: 24 * bare(x) * 0), fourth_twins(lambda x: 24 * x)),
        one(nonzero),
        order=3,
        modes=("fwd", "rev"),
    ),
    pair(
        "fourth power, a factor",
        "a factor at order three only",
        (fourth_twins(lambda x: 12 * x), fourth_twins(lambda x: 24 * x)),
        one(nonzero),
        order=3,
        modes=("fwd", "rev"),
    ),
    pair(
        "sine, recorded",
        "wrong in linearize only",
        by_jvp(
            np.sin,
            lambda t, ans, x: t * (mg.cos(x) if hasattr(t, "number") else 1.0),
            lambda t, ans, x: t * mg.cos(x),
        ),
        one(),
    ),
    pair(
        "sine, differentiated twice",
        "wrong where the primal is traced",
        by_jvp(
            np.sin,
            lambda t, ans, x: t * mg.cos(x) * (2.0 if hasattr(x, "primal") else 1.0),
            lambda t, ans, x: t * mg.cos(x),
        ),
        one(),
        order=2,
    ),
    pair(
        "product",
        "crashes when one factor is a constant: its tangent is None",
        tuple(
            primitive(lambda xp, x, y: x * y, lambda p, good=good: defwhole(p, whole_rule(good)))
            for good in (False, True)
        ),
        same(normal, normal),
        error=TypeError,
    ),
    pair(
        "square, not linear",
        "the tangent squared",
        by_jvp(np.square, lambda t, ans, x: 2 * x * t * t, lambda t, ans, x: 2 * x * t),
        one(),
        error=mg.NonlinearError,
    ),
    pair(
        "two sines",
        "one of two outputs wrong",
        by_composition(lambda x: (mg.sin(x), mg.stop_gradient(mg.cos(x))), lambda x: (mg.sin(x), mg.cos(x))),
        one(),
    ),
]

# ----- Constants by their rule: no number can tell -----

through = [
    primitive(lambda xp, x: x, define) for define in (lambda p: defjvp(p, lambda t, ans, x: t), defzero)
]

CONSTANT = [
    pair("stop_gradient", "lets the derivative through", tuple(through), one(), check=check_constant),
    pair(
        "rounding, as a constant",
        "straight through",
        by_jvp(np.round, lambda t, ans, x: t, None),
        one(),
        check=check_constant,
    ),
]

# ----- By hand, in plain NumPy: what an engine would put right, or cannot see -----


def pull_of(cotangents: Callable) -> Callable:
    """vjp(primals) out of (value, cotangents(c, *primals))."""
    value, back = cotangents
    return lambda primals: (value(*primals), lambda c: back(c, *primals))


def sine_jvp(scale: Any) -> Callable:
    return lambda x, t: (np.sin(x[0]), scale(np.cos(x[0]) * t[0]))


def random_dropout(again: bool) -> Callable:
    def vjp(primals: tuple) -> tuple:
        mask = np.ones(primals[0].shape) * 0.5
        rng = np.random.default_rng(7)

        def pull(c: Any) -> tuple:
            return (c * (rng.random(c.shape) if again else mask),)

        return 0.5 * primals[0], pull

    return vjp


def exp_pull(spoil: bool) -> Callable:
    def vjp(primals: tuple) -> tuple:
        y = np.array(np.exp(primals[0]))
        kept = y.copy()

        def pull(c: Any) -> tuple:
            if spoil:
                kept[...] *= c
                return (kept.copy(),)
            return (kept * c,)

        return y, pull

    return vjp


def written(x: Any, into: bool) -> Any:
    """x - mean(x), computed in place or not."""
    if into:
        x -= x.mean()
        return x
    return x - x.mean()


def tangent_written(into: bool) -> Callable:
    def jvp(primals: tuple, tangents: tuple) -> tuple:
        (x,), (t,) = primals, tangents
        if into:
            t *= 2 * x
            return x * x, t
        return x * x, t * (2 * x)

    return jvp


def cotangent_written(into: bool) -> Callable:
    def vjp(primals: tuple) -> tuple:
        (x,) = primals

        def pull(c: Any) -> tuple:
            if into:
                c *= 2 * x
                return (c,)
            return (c * 2 * x,)

        return x * x, pull

    return vjp


def bias_vjp(keepdims: bool) -> Callable:
    return pull_of((lambda x, b: x + b, lambda c, x, b: (c, c.sum(1, keepdims=keepdims))))


def row_bias_vjp(good: bool) -> Callable:
    return pull_of((lambda x, b: x + b, lambda c, x, b: (c, c.sum(0) if good else c)))


def layer_norm(x: Any) -> Any:
    deviation = x - x.mean(-1, keepdims=True)
    return deviation / np.sqrt((deviation**2).mean(-1, keepdims=True) + 0.1)


def layer_norm_back(c: Any, x: Any, middle: bool = True) -> tuple:
    deviation = x - x.mean(-1, keepdims=True)
    size = np.sqrt((deviation**2).mean(-1, keepdims=True) + 0.1)
    y = deviation / size
    centre = c.mean(-1, keepdims=True) if middle else 0.0
    return ((c - centre - y * (c * y).mean(-1, keepdims=True)) / size,)


def cross_entropy(x: Any) -> Any:
    """The mean over rows of -log softmax(x)[label], where the label is the row's number."""
    n = len(x)
    return -np.mean(np.log(softmax(x, -1))[np.arange(n), np.arange(n) % x.shape[1]])


def cross_entropy_back(c: Any, x: Any, mean: bool = True, label: bool = True) -> tuple:
    n = len(x)
    p = softmax(x, -1)
    if label:
        p[np.arange(n), np.arange(n) % x.shape[1]] -= 1
    return (c * p / (n if mean else 1),)


def strided_sums(x: Any, w: Any) -> Any:
    """y[i] = Σ_k w[k] x[2i + k]: a convolution of stride two."""
    return np.array([w @ x[2 * i : 2 * i + 2] for i in range(len(x) // 2)])


def strided_back(c: Any, x: Any, w: Any, stride: int) -> tuple:
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for i in range(len(x) // 2):
        dx[stride * i : stride * i + 2] += c[i] * w
        dw += c[i] * x[2 * i : 2 * i + 2]
    return dx, dw


def pooled(x: Any) -> Any:
    return x.reshape(-1, 2).max(1)


def pooled_back(c: Any, x: Any, shift: int) -> tuple:
    dx = np.zeros_like(x)
    dx[(2 * np.arange(len(c)) + x.reshape(-1, 2).argmax(1) + shift) % len(x)] = c
    return (dx,)


def rows_back(good: bool) -> Callable:
    """The gradient of Σ x² along rows; the wrong one cannot reshape an empty array."""

    def back(c: Any, x: Any) -> tuple:
        if good:
            return (2 * x * c[..., None],)
        rows = x.reshape(-1, x.shape[-1])
        return ((2 * rows * c.reshape(-1, 1)).reshape(x.shape),)

    return back


def memory_order(order: Any) -> Callable:
    weights = np.arange(1.0, 13.0)

    def back(c: Any, x: Any) -> tuple:
        return ((c * weights[: x.size]).reshape(x.shape, order=order(x)),)

    return pull_of((lambda x: x.ravel() @ weights[: x.size], back))


CONSTANT_64 = np.float64(2.0)
NARROW = {"dtype": "float32"}

BY_HAND = [
    pair(
        "sine of singles",
        "the tangent widened to float64",
        by_hand(np.sin, (sine_jvp(lambda t: t * CONSTANT_64 / 2), sine_jvp(lambda t: t))),
        one(**NARROW),
    ),
    pair(
        "doubling of singles",
        "the cotangent widened by an np.float64 constant",
        by_hand(
            lambda x: 2 * x,
            vjps=(
                pull_of((lambda x: 2 * x, lambda c, x: (c * CONSTANT_64,))),
                pull_of((lambda x: 2 * x, lambda c, x: (c * 2,))),
            ),
        ),
        one(**NARROW),
    ),
    pair(
        "scaled sine",
        "an np.float64 constant in the value",
        by_composition(lambda x: CONSTANT_64 * mg.sin(x), lambda x: 2.0 * mg.sin(x)),
        one(),
        check=check_dtypes,
    ),
    pair(
        "softplus, constants",
        "an array of float64 in the value",
        by_composition(lambda x: mg.logaddexp(np.zeros(1), x), lambda x: mg.logaddexp(0.0, x)),
        one(),
        check=check_dtypes,
    ),
    pair(
        "bias of a column",
        "broadcasting undone without keepdims: (n,) for (n, 1), which NumPy broadcasts along",
        by_hand(lambda x, b: x + b, vjps=(bias_vjp(False), bias_vjp(True))),
        MATRICES.flatmap(lambda s: st.tuples(arrays(shape=s), arrays(shape=(s[0], 1)))),
    ),
    pair(
        "bias of a row",
        "broadcasting not undone at all",
        by_hand(lambda x, b: x + b, vjps=(row_bias_vjp(False), row_bias_vjp(True))),
        MATRICES.flatmap(lambda s: st.tuples(arrays(shape=s), arrays(shape=s[1:]))),
    ),
    pair(
        "squares of rows",
        "cannot do without rows",
        by_hand(
            lambda x: (x**2).sum(-1),
            vjps=tuple(pull_of((lambda x: (x**2).sum(-1), rows_back(good))) for good in (False, True)),
        ),
        one(shape=shapes(2, 3, 0, 3)),
        error=ValueError,
    ),
    pair(
        "sine of a number",
        "a tangent of shape (1,) for 0-d",
        by_hand(
            np.sin, (lambda x, t: (np.sin(x[0]), np.atleast_1d(np.cos(x[0]) * t[0])), sine_jvp(lambda t: t))
        ),
        one(shape=shapes(0, 1, 1, 3)),
    ),
    pair(
        "centred",
        "the input overwritten",
        by_hand(
            lambda x: x - x.mean(),
            vjps=tuple(
                pull_of((lambda x, into=into: written(x, into), lambda c, x: (c - c.mean(),)))
                for into in (True, False)
            ),
        ),
        one(shape=SOLID),
    ),
    pair(
        "square, tangent",
        "the tangent overwritten",
        by_hand(np.square, (tangent_written(True), tangent_written(False))),
        one(shape=SOLID),
    ),
    pair(
        "square, cotangent",
        "the cotangent overwritten",
        by_hand(np.square, vjps=(cotangent_written(True), cotangent_written(False))),
        one(shape=SOLID),
    ),
    pair(
        "exp, residual",
        "the residual overwritten: the second reverse pass is wrong",
        by_hand(np.exp, vjps=(exp_pull(True), exp_pull(False))),
        one(),
    ),
    pair(
        "dropout",
        "a new mask on the way back",
        by_hand(lambda x: 0.5 * x, vjps=(random_dropout(True), random_dropout(False))),
        one(shape=SOLID),
    ),
    pair(
        "weighted sum",
        "the cotangent laid out in the order of memory",
        by_hand(
            lambda x: x.ravel() @ np.arange(1.0, 13.0)[: x.size],
            vjps=(
                memory_order(lambda x: "F" if x.flags.f_contiguous else "C"),
                memory_order(lambda x: "C"),
            ),
        ),
        one(shape=shapes(2, 2, 2, 3)),
    ),
    pair(
        "square by a kernel",
        "the input taken for contiguous",
        by_hand(
            np.square,
            (
                lambda x, t: (x[0] ** 2, 2 * x[0].ravel("K").reshape(x[0].shape) * t[0]),
                lambda x, t: (x[0] ** 2, 2 * x[0] * t[0]),
            ),
        ),
        one(shape=SOLID),
    ),
    pair(
        "absolute tangent",
        "the tangent without its sign",
        by_hand(np.sin, (lambda x, t: (np.sin(x[0]), np.abs(np.cos(x[0]) * t[0])), sine_jvp(lambda t: t))),
        one(shape=SOLID),
    ),
    pair(
        "affine tangent",
        "a constant added to the tangent",
        by_hand(np.sin, (lambda x, t: (np.sin(x[0]), np.cos(x[0]) * t[0] + 1e-4), sine_jvp(lambda t: t))),
        one(shape=SOLID),
    ),
    pair(
        "value beside the tangent",
        "the jvp's own value is another",
        by_hand(
            np.sin, (lambda x, t: (np.tan(x[0]), np.cos(x[0]) * t[0]), sine_jvp(lambda t: t)), (None, None)
        ),
        one(),
    ),
    pair(
        "layer norm",
        "the mean's term missing",
        by_hand(
            layer_norm,
            vjps=(
                pull_of((layer_norm, lambda c, x: layer_norm_back(c, x, middle=False))),
                pull_of((layer_norm, layer_norm_back)),
            ),
        ),
        one(shape=SOLID),
    ),
    pair(
        "cross entropy",
        "one for the label not taken off",
        by_hand(
            cross_entropy,
            vjps=(
                pull_of((cross_entropy, lambda c, x: cross_entropy_back(c, x, label=False))),
                pull_of((cross_entropy, cross_entropy_back)),
            ),
        ),
        one(shape=MATRICES),
    ),
    pair(
        "cross entropy, mean",
        "not divided by the number of rows",
        by_hand(
            cross_entropy,
            vjps=(
                pull_of((cross_entropy, lambda c, x: cross_entropy_back(c, x, mean=False))),
                pull_of((cross_entropy, cross_entropy_back)),
            ),
        ),
        one(shape=MATRICES),
    ),
    pair(
        "convolution by hand",
        "the stride forgotten on the way back",
        by_hand(
            strided_sums,
            vjps=tuple(
                pull_of((strided_sums, lambda c, x, w, s=s: strided_back(c, x, w, s))) for s in (1, 2)
            ),
        ),
        st.tuples(arrays(shape=st.sampled_from([(4,), (6,)])), arrays(shape=(2,))),
    ),
    pair(
        "max pooling by hand",
        "off by one",
        by_hand(
            pooled, vjps=tuple(pull_of((pooled, lambda c, x, s=s: pooled_back(c, x, s))) for s in (1, 0))
        ),
        st.tuples(arrays(inside, st.sampled_from([(4,), (6,)]), repeat=False)),
    ),
    pair(
        "two modes",
        "forward and reverse mode by different formulas: both factors of a product, or one",
        by_hand(
            np.multiply,
            (lambda x, t: (x[0] * x[1], t[0] * x[1] + x[0] * t[1]),) * 2,
            (
                pull_of((np.multiply, lambda c, x, y: (c * y, c * y))),
                pull_of((np.multiply, lambda c, x, y: (c * y, c * x))),
            ),
        ),
        same(normal, normal),
    ),
    pair(
        "sum along axes",
        "the tangent summed over one axis of several",
        by_hand(
            lambda x, axis: x.sum(axis),
            (
                lambda x, t, axis: (x[0].sum(axis), t[0].sum(axis) if axis != (0, 1) else t[0].sum(0)),
                lambda x, t, axis: (x[0].sum(axis), t[0].sum(axis)),
            ),
        ),
        one(shape=MATRICES),
        {"axis": st.sampled_from([0, 1, None, (0, 1)])},
    ),
]

PAIRS = [*FORMULAS, *TIES, *TRANSPOSES, *NETWORKS, *WHOLE, *HIGHER, *CONSTANT, *BY_HAND]
USUAL = settings().max_examples
each_pair = pytest.mark.parametrize("pair", PAIRS, ids=[p.name.replace(" ", "_") for p in PAIRS])


def run(pair: Pair, rule: Any, examples: int) -> int:
    """How many examples pass; the first that does not raises."""
    ran = itertools.count()
    if pair.check is None:
        test = given_rule(rule, pair.args, pair.kwargs, **pair.options)(lambda: next(ran))
    else:

        def passes(args: tuple, seed: int) -> None:
            pair.check(rule, args)
            next(ran)

        test = given(args=pair.args, seed=seeds())(passes)
    kept = settings(max_examples=examples, phases=[Phase.generate], report_multiple_bugs=False)
    kept(test)()
    return next(ran)


def test_there_are_45_wrong_rules_at_least_and_no_two_of_a_name():
    assert len(PAIRS) >= 45 and len({p.name for p in PAIRS}) == len(PAIRS)
    assert all(p.how for p in PAIRS)


@each_pair
def test_the_wrong_rule_is_caught(pair):
    with pytest.raises(pair.error):
        run(pair, pair.wrong, USUAL)


@each_pair
def test_its_right_twin_passes(pair, record_property):
    record_property("generated cases", run(pair, pair.right, USUAL))


@pytest.mark.slow
@each_pair
def test_its_right_twin_passes_at_ten_times_the_examples(pair, record_property):
    record_property("generated cases", run(pair, pair.right, 10 * USUAL))
