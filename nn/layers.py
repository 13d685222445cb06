"""Layers: each a Module of a few lines over minigrad's operations. Images are (N, H, W, C).

Layers with random weights take `rng`, a numpy Generator or a seed; all take `dtype` for their parameters.
"""

import math
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.backend import backend_of
from minigrad.ops.conv import Padding, Pair, pair
from minigrad.ops.norm import batch_norm_with_statistics

from .init import Rng, as_rng, he_normal, normal, xavier_uniform
from .module import Module

Array = Any
DType = Any


class Linear(Module):
    """y = x W + b: (..., n_in) -> (..., n_out); W is (n_in, n_out), Xavier uniform, b zero or None.

    >>> Linear(3, 2, rng=0)(np.ones((5, 3), np.float32)).shape
    (5, 2)
    """

    def __init__(self, n_in: int, n_out: int, rng: Rng, bias: bool = True, dtype: DType = np.float32) -> None:
        self.weight = xavier_uniform(rng, (n_in, n_out), n_in, n_out, dtype)
        self.bias = np.zeros(n_out, dtype) if bias else None

    def forward(self, x: Array, train: bool) -> Array:
        y = mg.matmul(x, self.weight)
        return y if self.bias is None else mg.add(y, self.bias)


class Conv2d(Module):
    """Convolution (N, H, W, n_in) -> (N, H', W', n_out); weight (n_out, kh, kw, n_in / groups), He normal.

    `padding` is n, (vertical, horizontal) or ((top, bottom), (left, right)).

    >>> Conv2d(3, 8, 3, rng=0, padding=1)(np.ones((1, 5, 5, 3), np.float32)).shape
    (1, 5, 5, 8)
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        size: Pair,
        rng: Rng,
        stride: Pair = 1,
        padding: Padding = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        dtype: DType = np.float32,
    ) -> None:
        if n_in % groups or n_out % groups:
            raise ValueError(
                f"Conv2d: {n_in} input and {n_out} output channels do not divide into {groups} groups"
            )
        shape = (n_out, *pair(size, "size"), n_in // groups)
        self.weight = he_normal(rng, shape, math.prod(shape[1:]), dtype)
        self.bias = np.zeros(n_out, dtype) if bias else None
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    def forward(self, x: Array, train: bool) -> Array:
        y = mg.conv2d(x, self.weight, self.stride, self.padding, self.dilation, self.groups)
        return y if self.bias is None else mg.add(y, self.bias)


class BatchNorm(Module):
    """Batch normalisation over all axes but the last (Ioffe and Szegedy 2015): gain `gamma`, shift `beta`.

    With train=True, statistics are the batch's, and the running averages (Buffers) move towards them by
    `momentum`, the variance as its unbiased estimate. With train=False, the running averages are used. In the
    same pass a shortcut, shaped like x, may be added, and with `relu` what is negative becomes 0.

    >>> norm = BatchNorm(2)
    >>> norm(np.array([[1, 2], [3, 6]], np.float32), train=True).mean(axis=0)
    array([0., 0.], dtype=float32)
    >>> norm.running_mean.value
    array([0.2, 0.4], dtype=float32)
    """

    def __init__(
        self,
        n: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        dtype: DType = np.float32,
        relu: bool = False,
    ) -> None:
        self.gamma, self.beta = np.ones(n, dtype), np.zeros(n, dtype)
        self.eps, self.momentum, self.relu = eps, momentum, relu
        self.running_mean, self.running_var = mg.Buffer(np.zeros(n, dtype)), mg.Buffer(np.ones(n, dtype))

    def forward(self, x: Array, train: bool, shortcut: Array | None = None) -> Array:
        if not train:
            scale = self.gamma / mg.sqrt(self.running_var.value + self.eps)
            y = mg.add(mg.multiply(x, scale), self.beta - self.running_mean.value * scale)
            if shortcut is not None:
                if shortcut.shape != x.shape:
                    raise ValueError(f"BatchNorm: the shortcut is {shortcut.shape}, but x is {x.shape}")
                y = mg.add(y, shortcut)
            return mg.relu(y) if self.relu else y
        rows = x.size // x.shape[-1]
        if rows < 2:
            raise ValueError(
                f"BatchNorm: a batch of shape {x.shape} has one row a channel, whose variance is no "
                "estimate: use a larger batch, or train=False"
            )
        y, mean, r = batch_norm_with_statistics(x, self.gamma, self.beta, self.eps, shortcut, self.relu)
        var = (1 / (r * r) - self.eps) * (rows / (rows - 1))
        for running, now in ((self.running_mean, mean), (self.running_var, var)):
            running.value = (1 - self.momentum) * running.value + self.momentum * now
        return y


class LayerNorm(Module):
    """Each row (last axis) normalised to mean 0 and variance 1, times `gamma` plus `beta` (Ba et al. 2016).

    >>> LayerNorm(2)(np.array([[1, 3]], np.float32)).round(3)
    array([[-1.,  1.]], dtype=float32)
    """

    def __init__(self, n: int, eps: float = 1e-5, dtype: DType = np.float32) -> None:
        self.gamma, self.beta, self.eps = np.ones(n, dtype), np.zeros(n, dtype), eps

    def forward(self, x: Array, train: bool) -> Array:
        centred = x - mg.mean(x, -1, keepdims=True)
        return (
            self.gamma * (centred / mg.sqrt(mg.mean(mg.square(centred), -1, keepdims=True) + self.eps))
            + self.beta
        )


class Dropout(Module):
    """With train=True, zeroes each element with probability `p` and divides the others by 1 - p.

    The mask is a function of `key` and of a counter (a Buffer) that each primal pass with train=True
    advances: setting the counter back draws the same mask again.

    >>> layer = Dropout(0.5, rng=0)
    >>> layer(np.ones(4)), layer.count
    (array([1., 1., 1., 1.]), Buffer(0))
    """

    def __init__(self, p: float, rng: Rng) -> None:
        if not 0 <= p < 1:
            raise ValueError(f"Dropout: p={p} must be at least 0 and less than 1")
        self.p = p
        self.key = int(as_rng(rng).integers(2**63))
        self.count = mg.Buffer(0)

    def forward(self, x: Array, train: bool) -> Array:
        if not train or self.p == 0:
            return x
        generator = np.random.Generator(np.random.Philox(key=self.key, counter=[0, 0, 0, self.count.value]))
        self.count.value += 1
        keep = (generator.random(x.shape, dtype=np.float32) >= self.p) / (1 - self.p)
        return x * backend_of(mg.stop_gradient(x)).xp.asarray(keep, dtype=x.dtype)


class Embedding(Module):
    """Rows of a table (n, width), N(0, 1), picked by integers: (...) -> (..., width).

    >>> Embedding(10, 4, rng=0)(np.array([1, 2, 1])).shape
    (3, 4)
    """

    def __init__(self, n: int, width: int, rng: Rng, dtype: DType = np.float32) -> None:
        self.weight = normal(rng, (n, width), 1.0, dtype)

    def forward(self, x: Array, train: bool) -> Array:
        if x.dtype.kind not in "iu":
            raise TypeError(f"Embedding: indices are {x.dtype.name}, but must be integers")
        n = self.weight.shape[0]
        if x.size and not (0 <= int(x.min()) and int(x.max()) < n):
            raise ValueError(
                f"Embedding: indices reach from {x.min()} to {x.max()}, but the table has rows 0 to {n - 1}"
            )
        return mg.take(self.weight, x, 0)


class MaxPool2d(Module):
    """Maximum over windows; `stride` is `size` by default.

    >>> MaxPool2d(2)(np.ones((1, 4, 4, 3))).shape
    (1, 2, 2, 3)
    """

    def __init__(self, size: Pair, stride: Pair | None = None, padding: Padding = 0) -> None:
        self.size, self.stride, self.padding = size, stride, padding

    def forward(self, x: Array, train: bool) -> Array:
        return mg.max_pool2d(x, self.size, self.stride, self.padding)


class AvgPool2d(Module):
    """Mean over windows, padding counted as zeros; `stride` is `size` by default.

    >>> AvgPool2d(2)(np.ones((1, 4, 4, 3))).shape
    (1, 2, 2, 3)
    """

    def __init__(self, size: Pair, stride: Pair | None = None, padding: Padding = 0) -> None:
        self.size, self.stride, self.padding = size, stride, padding

    def forward(self, x: Array, train: bool) -> Array:
        return mg.avg_pool2d(x, self.size, self.stride, self.padding)


class GlobalAvgPool(Module):
    """Mean over height and width: (N, H, W, C) -> (N, C).

    >>> GlobalAvgPool()(np.ones((1, 4, 4, 3))).shape
    (1, 3)
    """

    def forward(self, x: Array, train: bool) -> Array:
        return mg.mean(x, (1, 2))


class Flatten(Module):
    """(N, ...) -> (N, everything else).

    >>> Flatten()(np.ones((2, 4, 4, 3))).shape
    (2, 48)
    """

    def forward(self, x: Array, train: bool) -> Array:
        return mg.reshape(x, (x.shape[0], -1)) if x.shape[0] else mg.reshape(x, (0, math.prod(x.shape[1:])))


class Sequential(Module):
    """Layers one after the other.

    >>> Sequential(Flatten(), Linear(4, 2, rng=0))(np.ones((3, 2, 2), np.float32)).shape
    (3, 2)
    """

    def __init__(self, *layers: Module) -> None:
        self.layers = list(layers)

    def forward(self, x: Array, train: bool) -> Array:
        for layer in self.layers:
            x = layer(x, train)
        return x


class Residual(Module):
    """body(x) + shortcut(x); the shortcut is x itself where none is given (He et al. 2016).

    With a `norm` the body's output is normalised first, and its sum with the shortcut is part of that pass.

    >>> Residual(ReLU())(np.array([-1.0, 2.0]))
    array([-1.,  4.])
    """

    def __init__(self, body: Module, shortcut: Module | None = None, norm: "BatchNorm | None" = None) -> None:
        self.body, self.shortcut, self.norm = body, shortcut, norm

    def forward(self, x: Array, train: bool) -> Array:
        y = self.body(x, train)
        beside = x if self.shortcut is None else self.shortcut(x, train)
        return mg.add(y, beside) if self.norm is None else self.norm(y, train, beside)


# ----- Activations -----


class ReLU(Module):
    """max(x, 0), with derivative 0 at 0.

    >>> ReLU()(np.array([-1.0, 2.0]))
    array([0., 2.])
    """

    def forward(self, x: Array, train: bool) -> Array:
        return mg.relu(x)


class Tanh(Module):
    """Hyperbolic tangent.

    >>> Tanh()(np.zeros(1))
    array([0.])
    """

    def forward(self, x: Array, train: bool) -> Array:
        return mg.tanh(x)


class Sigmoid(Module):
    """1 / (1 + e⁻ˣ).

    >>> Sigmoid()(np.zeros(1))
    array([0.5])
    """

    def forward(self, x: Array, train: bool) -> Array:
        return mg.sigmoid(x)


class GELU(Module):
    """x Φ(x), with the exact normal distribution function Φ.

    >>> GELU()(np.zeros(1))
    array([0.])
    """

    def forward(self, x: Array, train: bool) -> Array:
        return mg.gelu(x)


class Softplus(Module):
    """log(1 + eˣ).

    >>> Softplus()(np.zeros(1)).round(4)
    array([0.6931])
    """

    def forward(self, x: Array, train: bool) -> Array:
        return mg.softplus(x)


class SiLU(Module):
    """x σ(x).

    >>> SiLU()(np.zeros(1))
    array([0.])
    """

    def forward(self, x: Array, train: bool) -> Array:
        return mg.silu(x)
