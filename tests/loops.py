"""Operations as loops over numbers that count: what the formulas of FLOPs are compared with in test_cost.py.

Each loop is written from the definition, with the parameters of the primitive of its name, and sums start at
zero: so a multiply-add counts 2.
"""

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np


class Number:
    """A number that adds up what is done with it: `done` operations by all together."""

    done = 0

    def __init__(self, value: Any) -> None:
        self.value = value


def value(x: Any) -> Any:
    return x.value if isinstance(x, Number) else x


def function(cost: int, f: Callable) -> Callable:
    """`f` of Numbers: a truth if it gives one, and a Number otherwise."""

    def counted(*xs: Any) -> Any:
        Number.done += cost
        y = f(*map(value, xs))
        return y if isinstance(y, bool) else Number(y)

    return counted


def swapped(f: Callable) -> Callable:
    return lambda x, y: f(y, x)


for _name in ("add", "sub", "mul", "truediv"):
    setattr(Number, f"__{_name}__", function(1, getattr(operator, _name)))
    setattr(Number, f"__r{_name}__", swapped(function(1, getattr(operator, _name))))
for _name in ("lt", "le", "gt", "ge", "eq", "ne", "neg", "abs"):
    setattr(Number, f"__{_name}__", function(1, getattr(operator, _name)))
Number.sqrt, Number.conjugate = function(1, math.sqrt), function(1, float.conjugate)

sqrt, floor, trunc, largest, least = (function(1, f) for f in (math.sqrt, math.floor, math.trunc, max, min))
exp, exp2, log, log2, log1p, sin = (
    function(10, f) for f in (math.exp, lambda x: 2.0**x, math.log, math.log2, math.log1p, math.sin)
)


def choose(condition: bool, x: Any, y: Any) -> Any:
    """One of two, which is an operation as well."""
    Number.done += 1
    return x if condition else y


def numbers(x: Any) -> Any:
    """Floating point as Numbers, anything else as it is."""
    return np.frompyfunc(Number, 1, 1)(x) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def values(x: Any) -> np.ndarray:
    return np.asarray(np.frompyfunc(value, 1, 1)(x)).astype(float)


def full(shape: tuple, x: float) -> np.ndarray:
    return np.full(shape, Number(x), object)


def zeros(*shape: int) -> np.ndarray:
    return full(shape, 0.0)


# ----- Sums, products and order along axes -----


def by_line(f: Callable, x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
    """`f` of the elements along `axis`, for each place of the other axes."""
    out = np.empty([1 if i in axis else n for i, n in enumerate(x.shape)], object)
    for place in np.ndindex(*out.shape):
        out[place] = f(x[tuple(slice(None) if i in axis else k for i, k in enumerate(place))].ravel())
    return out if keepdims else out.squeeze(axis)


def reduced(f: Callable, start: float) -> Callable:
    """The reduction that adds one element after the other to what it has, by `f`."""

    def loops(x: Any, axis: tuple[int, ...], keepdims: bool) -> Any:
        return by_line(lambda line: functools.reduce(f, line, Number(start)), x, axis, keepdims)

    return loops


def first(better: Callable) -> Callable:
    """The place of the first element that none is better than."""

    def of_line(line: Any) -> int:
        best = 0
        for k in range(len(line)):
            best = k if better(line[k], line[best]) else best
        return best

    return lambda x, axis, keepdims: by_line(of_line, x, (axis,), keepdims)


def running(f: Callable, start: float) -> Callable:
    def loops(x: Any, axis: int, reverse: bool) -> Any:
        out, x = np.empty_like(x), np.flip(x, axis) if reverse else x
        for place in np.ndindex(*x.shape[:axis], *x.shape[axis + 1 :]):
            place = (*place[:axis], slice(None), *place[axis:])
            out[place] = list(itertools.accumulate(x[place], f, initial=Number(start)))[1:]
        return np.flip(out, axis) if reverse else out

    return loops


def sum_to(x: Any, shape: tuple[int, ...]) -> Any:
    out = zeros(*shape)
    lead = x.ndim - len(shape)
    for place in np.ndindex(*x.shape):
        out[tuple(k % n for k, n in zip(place[lead:], shape, strict=True))] += x[place]
    return out


def running_argmax(x: Any, axis: int) -> Any:
    (n,) = x.shape
    at, top, step = list(range(n)), list(x), 1
    while step < n:
        wins = [top[k] > top[k - step] for k in range(step, n)]
        at = at[:step] + [choose(w, at[k], at[k - step]) for k, w in enumerate(wins, step)]
        top = top[:step] + [choose(w, top[k], top[k - step]) for k, w in enumerate(wins, step)]
        step *= 2
    return np.array(at)


def logsumexp(x: Any, axis: tuple[int, ...], keepdims: bool = True) -> Any:
    def of_line(line: Any) -> Any:
        top = functools.reduce(largest, line, Number(-math.inf))
        return log(sum([exp(v - top) for v in line], Number(0.0))) + top

    return by_line(of_line, x, axis, keepdims)


def softmax(x: Any, axis: tuple[int, ...]) -> Any:
    def of_line(line: Any) -> Any:
        top = functools.reduce(largest, line, Number(-math.inf))
        powers = [exp(v - top) for v in line]
        total = sum(powers, Number(0.0))
        return [p / total for p in powers]

    return np.array([of_line(line) for line in x])


def binary_search(a: Any, v: Any, **how: Any) -> Any:
    def place(x: Any) -> int:
        low, high = 0, len(a)
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if a[middle] < x else (low, middle)
        return low

    return np.array([place(x) for x in v])


def convolve(a: Any, v: Any, mode: str) -> Any:
    n, m = len(a), len(v)
    places = range(n + m - 1) if mode == "full" else range(m - 1, n)
    out = zeros(len(places))
    for k, place in enumerate(places):
        for j in range(m):
            if 0 <= place - j < n:
                out[k] += a[place - j] * v[j]
    return out


# ----- Products -----


def matmul(a: Any, b: Any) -> Any:
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (np.broadcast_to(x, (*stack, *x.shape[-2:])) for x in (a, b))
    out = zeros(*stack, a.shape[-2], b.shape[-1])
    for place in np.ndindex(*out.shape):
        for k in range(a.shape[-1]):
            out[place] += a[(*place[:-1], k)] * b[(*place[:-2], k, place[-1])]
    return out


def einsum(*factors: Any, ins: tuple[str, ...], out: str) -> Any:
    """A nested loop over all indices for each contraction; of three factors the last two come first."""
    if len(factors) == 3:
        between = "".join(sorted(set(ins[1] + ins[2]) & set(ins[0] + out)))
        two = einsum(*factors[1:], ins=ins[1:], out=between)
        return einsum(factors[0], two, ins=(ins[0], between), out=out)
    sizes = {c: n for t, x in zip(ins, factors, strict=True) for c, n in zip(t, x.shape, strict=True)}
    y = zeros(*[sizes[c] for c in out])
    for place in itertools.product(*map(range, sizes.values())):
        at = dict(zip(sizes, place, strict=True))
        term = product([x[tuple(at[c] for c in t)] for t, x in zip(ins, factors, strict=True)])
        goes = tuple(at[c] for c in out)
        y[goes] = y[goes] + term if set(sizes) != set(out) else term
    return y


def product(terms: Any) -> Any:
    return functools.reduce(operator.mul, terms)


# ----- Convolution and pooling: padding is made of numbers like all others -----


# The shapes of images, of filters, and of what comes of them; and of what comes of pooling those images.
IMAGES, FILTERS, RESULTS, POOLED = (2, 5, 4, 2), (4, 3, 2, 1), (2, 3, 3, 4), (2, 2, 2, 2)


def padded(x: Any, padding: tuple, fill: float = 0.0) -> Any:
    (n, h, w, c), ((top, bottom), (left, right)) = x.shape, padding
    out = full((n, h + top + bottom, w + left + right, c), fill)
    out[:, top : top + h, left : left + w] = x
    return out


def cropped(x: Any, hw: tuple, padding: tuple) -> Any:
    (top, _), (left, _) = padding
    return x[:, top : top + hw[0], left : left + hw[1]]


def products(y: tuple, w: tuple, stride: tuple, dilation: tuple, groups: int) -> Iterator[tuple]:
    """The places in padded images, filters and results that meet in a convolution."""
    for n, a, b, o in np.ndindex(*y):
        for i, j, c in np.ndindex(*w[1:]):
            channel = o // (w[0] // groups) * w[3] + c
            at = n, a * stride[0] + i * dilation[0], b * stride[1] + j * dilation[1], channel
            yield at, (o, i, j, c), (n, a, b, o)


def conv2d(x: Any, w: Any, padding: tuple, **how: Any) -> Any:
    y, x = zeros(*RESULTS), padded(x, padding)
    for at_x, at_w, at_y in products(y.shape, w.shape, **how):
        y[at_y] += x[at_x] * w[at_w]
    return y


def conv2d_tangent(dx: Any, dw: Any, x: Any, w: Any, **how: Any) -> Any:
    return conv2d(dx, w, **how) + conv2d(x, dw, **how)


def conv2d_input(ct: Any, w: Any, hw: tuple, padding: tuple, **how: Any) -> Any:
    dx = padded(zeros(*IMAGES), padding)
    for at_x, at_w, at_y in products(ct.shape, w.shape, **how):
        dx[at_x] += ct[at_y] * w[at_w]
    return cropped(dx, hw, padding)


def conv2d_filter(x: Any, ct: Any, kernel: tuple, padding: tuple, **how: Any) -> Any:
    dw, x = zeros(*FILTERS), padded(x, padding)
    for at_x, at_w, at_y in products(ct.shape, dw.shape, **how):
        dw[at_w] += x[at_x] * ct[at_y]
    return dw


def cells(y: tuple, size: tuple, stride: tuple) -> Iterator[tuple]:
    for n, a, b, c in np.ndindex(*y):
        for i, j in np.ndindex(*size):
            yield (n, a * stride[0] + i, b * stride[1] + j, c), (n, a, b, c), i * size[1] + j


def pool_index(x: Any, size: tuple, stride: tuple, padding: tuple) -> Any:
    x, best = padded(x, padding, -math.inf), full(POOLED, -math.inf)
    index = np.zeros(POOLED, int)
    for at_x, at_y, cell in cells(POOLED, size, stride):
        if x[at_x] > best[at_y]:
            best[at_y], index[at_y] = x[at_x], cell
    return index


def pool_scatter(ct: Any, index: Any, hw: tuple, size: tuple, stride: tuple, padding: tuple) -> Any:
    dx = padded(zeros(*IMAGES), padding)
    for at_x, at_y, cell in cells(POOLED, size, stride):
        if index[at_y] == cell:
            dx[at_x] += ct[at_y]
    return cropped(dx, hw, padding)


def window_sum(x: Any, size: tuple, stride: tuple, padding: tuple) -> Any:
    y, x = zeros(*POOLED), padded(x, padding)
    for at_x, at_y, _ in cells(POOLED, size, stride):
        y[at_y] += x[at_x]
    return y


def window_spread(ct: Any, hw: tuple, size: tuple, stride: tuple, padding: tuple) -> Any:
    dx = padded(zeros(*IMAGES), padding)
    for at_x, at_y, _ in cells(POOLED, size, stride):
        dx[at_x] += ct[at_y]
    return cropped(dx, hw, padding)


# ----- Batch norm, channel by channel -----


def batch_norm_residuals(x: Any, gamma: Any, beta: Any, shortcut: Any, eps: float, relu: bool) -> tuple:
    n = len(x)
    y, xhat, mu, r = np.empty_like(x), np.empty_like(x), np.empty_like(gamma), np.empty_like(gamma)
    for c in range(len(gamma)):
        mu[c] = sum(x[:, c], Number(0.0)) / n
        deviation = x[:, c] - mu[c]
        r[c] = 1 / sqrt(sum(deviation * deviation, Number(0.0)) / n + eps)
        xhat[:, c] = deviation * r[c]
        y[:, c] = xhat[:, c] * gamma[c] + beta[c]
    y = y if shortcut is None else y + shortcut
    return (where_positive(y, y) if relu else y), xhat, mu, r


def batch_norm(*args: Any, **params: Any) -> tuple:
    y, _, mu, r = batch_norm_residuals(*args, **params)
    return y, mu, r


def where_positive(gate: Any, x: Any) -> Any:
    """x where the gate is positive, 0 elsewhere."""
    kept = [v if g > 0 else Number(0.0) for g, v in zip(gate.ravel(), x.ravel(), strict=True)]
    return np.array(kept, object).reshape(x.shape)


def batch_norm_tangent(
    u: Any, dgamma: Any, dbeta: Any, ds: Any, xhat: Any, r: Any, gamma: Any, gate: Any
) -> Any:
    n, y = len(xhat), np.empty_like(xhat)
    for c in range(len(gamma)):
        if u is None:
            y[:, c] = xhat[:, c] * dgamma[c] + dbeta[c]
            continue
        a, total, product = gamma[c] * r[c], sum(u[:, c], Number(0.0)), sum(u[:, c] * xhat[:, c], Number(0.0))
        b, level = dgamma[c] - a * product / n, dbeta[c] - a * total / n
        y[:, c] = u[:, c] * a + xhat[:, c] * b + level
    y = y if ds is None else y + ds
    return y if gate is None else where_positive(gate, y)


def batch_norm_transpose(ct: Any, xhat: Any, r: Any, gamma: Any, gate: Any) -> tuple:
    ct = ct if gate is None else where_positive(gate, ct)
    n, dx, dgamma, dbeta = len(xhat), np.empty_like(xhat), np.empty_like(gamma), np.empty_like(gamma)
    for c in range(len(gamma)):
        dgamma[c], dbeta[c] = sum(ct[:, c] * xhat[:, c], Number(0.0)), sum(ct[:, c], Number(0.0))
        a = gamma[c] * r[c]
        dx[:, c] = ct[:, c] * a + xhat[:, c] * -(a * dgamma[c] / n) + -(a * dbeta[c] / n)
    return dx, dgamma, dbeta, ct


# ----- Linear algebra -----


def decomposed(a: Any) -> Any:
    """L and U in one matrix, in place, without pivots."""
    n = len(a)
    for k in range(n):
        for i in range(k + 1, n):
            a[i, k] = a[i, k] / a[k, k]
            for j in range(k + 1, n):
                a[i, j] -= a[i, k] * a[k, j]
    return a


def determinant(a: Any) -> Any:
    return product(np.diag(decomposed(a.copy())))


def solve(a: Any, b: Any) -> Any:
    n, a, x = len(a), decomposed(a.copy()), b.copy()
    for c in range(b.shape[1]):
        for i in range(n):
            for k in range(i):
                x[i, c] -= a[i, k] * x[k, c]
        for i in reversed(range(n)):
            for k in range(i + 1, n):
                x[i, c] -= a[i, k] * x[k, c]
            x[i, c] = x[i, c] / a[i, i]
    return x


def inverse(a: Any) -> Any:
    """Gauss and Jordan, in place."""
    n, a = len(a), a.copy()
    for k in range(n):
        pivot = a[k, k]
        a[k, k] = Number(1.0)
        a[k] = a[k] / pivot
        for i in [i for i in range(n) if i != k]:
            factor, a[i, k] = a[i, k], Number(0.0)
            for j in range(n):
                a[i, j] -= factor * a[k, j]
    return a


def cholesky(a: Any) -> Any:
    n, out = len(a), zeros(*a.shape)
    for j in range(n):
        for i in range(j, n):
            total = a[i, j]
            for k in range(j):
                total = total - out[i, k] * out[j, k]
            out[i, j] = sqrt(total) if i == j else total / out[j, j]
    return out


def qr(a: Any, mode: str) -> tuple:
    """Householder's reflections: to the columns behind each, and from the last to the first to those of Q."""
    (m, n), a = a.shape, a.copy()
    k = min(m, n)
    width = m if mode == "complete" else k
    vs = []
    for j in range(k - (m <= n)):  # the last of a wide matrix would reflect a number
        v = a[j:, j].copy()
        length = sqrt(sum(v * v, Number(0.0)))
        v[0] = v[0] + length if v[0] > 0 else v[0] - length
        scale = 2 / sum(v * v, Number(0.0))
        vs.append((v, scale))
        for c in range(j, n):
            a[j:, c] -= v * (scale * sum(v * a[j:, c], Number(0.0)))
    q = numbers(np.eye(m, width))
    for j, (v, scale) in reversed([*enumerate(vs)]):
        for c in range(j, width):
            q[j:, c] -= v * (scale * sum(v * q[j:, c], Number(0.0)))
    return q, a[:width]


def transform(x: list) -> list:
    """Cooley and Tukey, radix 2: pairs of real Numbers."""
    n = len(x)
    if n == 1:
        return x
    even, odd, out = transform(x[::2]), transform(x[1::2]), [None] * n
    for k in range(n // 2):
        (a, b), (c, d) = odd[k], (math.cos(2 * math.pi * k / n), -math.sin(2 * math.pi * k / n))
        re, im = a * c - b * d, a * d + b * c
        out[k] = even[k][0] + re, even[k][1] + im
        out[k + n // 2] = even[k][0] - re, even[k][1] - im
    return out
