"""What is measured, as plain data that every library can build: networks, their weights and images; a chain.

A network is a list of layers. Weights have minigrad's layouts (filters OHWI, matrices (in, out)) and order.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

Layers = tuple[tuple, ...]
LAM = 1.0  # the damping in a CurveBall step
LINKS = 100  # of six operations each


class Network(NamedTuple):
    """Layers and the shape of one input; softmax cross entropy over `classes` of `batch` examples."""

    layers: Layers
    image: tuple[int, ...]
    classes: int
    batch: int
    kind: str = "network"

    def arrays(self) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray, np.ndarray]:
        """Weights (He normal, as for training), a direction in their space, inputs and labels.

        >>> w, z, x, labels = Network(mlp((4, 3)), (4,), 3, 2).arrays()
        >>> [a.shape for a in w], x.shape, labels.shape
        ([(4, 3), (3,)], (2, 4), (2,))
        """
        rng = np.random.default_rng(0)
        weights = [w.astype(np.float32) for w in parameters(self.layers, rng)]
        direction = [0.01 * rng.standard_normal(w.shape, dtype=np.float32) for w in weights]
        inputs = rng.standard_normal((self.batch, *self.image), dtype=np.float32)
        return weights, direction, inputs, rng.integers(0, self.classes, self.batch)


class Chain(NamedTuple):
    """A scalar function of `6 * links` operations on ten numbers, where arithmetic costs nothing."""

    links: int = LINKS
    kind: str = "chain"


# ----- Networks -----


def mlp(sizes: tuple[int, ...]) -> Layers:
    """Linear layers with tanh between them."""
    pairs = zip(sizes[:-1], sizes[1:], strict=True)
    return tuple(layer for pair in pairs for layer in (("linear", *pair), ("tanh",)))[:-1]


def resnet(depth: int, width: int = 16, classes: int = 10) -> Layers:
    """minigrad's `nn.resnet`, and with more or fewer channels: stages of width, 2 width and 4 width."""
    layers = [*conv_norm(3, width, 3, 1, relu=True)]
    n_in = width
    for n_out in (width, 2 * width, 4 * width):
        for _ in range((depth - 2) // 6):
            shortcut = (("subsample", 2, n_out - n_in),) if n_out > n_in else ()
            layers.append(block(n_in, n_out, shortcut))
            n_in = n_out
    return (*layers, ("mean",), ("linear", n_in, classes))


def resnet18(classes: int = 10) -> Layers:
    """minigrad's `nn.resnet18`."""
    layers = [*conv_norm(3, 64, 3, 1, relu=True)]
    n_in = 64
    for n_out in (64, 128, 256, 512):
        for _ in range(2):
            shortcut = conv_norm(n_in, n_out, 1, 2) if n_out > n_in else ()
            layers.append(block(n_in, n_out, shortcut))
            n_in = n_out
    return (*layers, ("mean",), ("linear", n_in, classes))


def block(n_in: int, n_out: int, shortcut: Layers) -> tuple:
    """Two convolutions beside a shortcut; batch norm of the second, the sum and relu are the block's."""
    body = (*conv_norm(n_in, n_out, 3, n_out // n_in, relu=True), ("conv", n_out, n_out, 3, 1))
    return ("residual", body, shortcut, n_out)


def conv_norm(n_in: int, n_out: int, size: int, stride: int, relu: bool = False) -> Layers:
    return (("conv", n_in, n_out, size, stride), ("norm", n_out, relu))


def parameters(layers: Layers, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Every layer's arrays in turn. Gains and shifts differ from 1 and 0, so that none can be forgotten."""
    for layer in layers:
        match layer:
            case "conv", n_in, n_out, size, _:
                yield rng.standard_normal((n_out, size, size, n_in)) * (2 / (size * size * n_in)) ** 0.5
            case "norm", n, _:
                yield 1 + 0.1 * rng.standard_normal(n)
                yield 0.1 * rng.standard_normal(n)
            case "linear", n_in, n_out:
                yield rng.standard_normal((n_in, n_out)) * (2 / (n_in + n_out)) ** 0.5
                yield 0.1 * rng.standard_normal(n_out)
            case "residual", body, shortcut, n:
                yield from parameters((*body, *shortcut, ("norm", n, True)), rng)


def apply(layers: Layers, ops: Any, x: Any, weights: Iterator[Any]) -> Any:
    """The network's outputs, by a library's functions `ops`; takes its weights from the iterator in turn."""
    for layer in layers:
        match layer:
            case "conv", _, _, size, stride:
                x = ops.conv(x, next(weights), stride, size // 2)
            case "norm", _, relu:
                x = ops.norm(x, next(weights), next(weights))
                x = ops.relu(x) if relu else x
            case "linear", _, _:
                x = ops.linear(x, next(weights), next(weights))
            case "residual", body, shortcut, _:
                y = apply(body, ops, x, weights)
                x = apply(shortcut, ops, x, weights)
                x = ops.relu(ops.norm(y, next(weights), next(weights)) + x)
            case "subsample", stride, extra:
                x = ops.subsample(x, stride, extra)
            case (name,):  # mean or tanh
                x = getattr(ops, name)(x)
    return x


def model(g: Any, z: list, Jz: Any, HJz: Any, dz: list, Jdz: Any, HJdz: Any) -> list:
    """a11 a12 a22 b1 b2 of CurveBall's quadratic model on dz and z, which are lists of a library's arrays."""

    def dot(a: list, b: list) -> Any:
        return sum((s * t).sum() for s, t in zip(a, b, strict=True))

    a11 = dot([Jdz], [HJdz]) + LAM * dot(dz, dz)
    a12 = dot([Jz], [HJdz]) + LAM * dot(dz, z)
    a22 = dot([Jz], [HJz]) + LAM * dot(z, z)
    return [a11, a12, a22, dot([g], [Jdz]), dot([g], [Jz])]


# ----- The chain -----


def chain(xp: Any, links: int = LINKS) -> Callable[[Any], Any]:
    """Sines, sums, differences and products, by the functions of a namespace like NumPy."""
    a, b = np.linspace(0.9, 1.1, 10), np.linspace(-0.1, 0.1, 10)

    def f(x: Any) -> Any:
        for _ in range(links):
            y = xp.sin(x)
            y = y * a
            y = y + b
            x = xp.tanh(y)
            x = x * y
            x = x - y
        return xp.sum(x)

    return f
