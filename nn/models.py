"""Models: the networks of the CurveBall paper's experiments and the residual networks for CIFAR.

Each is a function that returns a Module; `build` finds one by name. Images are (N, H, W, C).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import minigrad as mg

from .init import Rng, as_rng, normal
from .layers import (
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Flatten,
    GlobalAvgPool,
    Linear,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
    Tanh,
)
from .module import Module

DType = Any
RESNET_DEPTHS = (8, 14, 20, 32, 44, 56, 110)
VGG_STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
NAMES = (
    "mlp",
    "lenet",
    "basic_cifar",
    "basic_cifar_bn",
    *(f"resnet{d}" for d in sorted((*RESNET_DEPTHS, 18))),
    "resnet18_imagenet",
    *(f"vgg{d}" for d in VGG_STAGES),
)


def build(
    name: str, image: tuple[int, int, int], classes: int, rng: Rng = 0, dtype: DType = np.float32
) -> Module:
    """The model called `name` for images of shape `image` (H, W, C); raises ValueError for an unknown name.

    >>> build("resnet8", (8, 8, 1), 10)(np.ones((2, 8, 8, 1), np.float32)).shape
    (2, 10)
    """
    kind = name.rstrip("0123456789")
    depth = name[len(kind) :]
    if name not in NAMES:
        raise ValueError(f"unknown model {name!r}: use one of {', '.join(NAMES)}")
    if kind == "mlp":
        return Sequential(Flatten(), *mlp((math.prod(image), 128, 64, 32, classes), rng, dtype=dtype).layers)
    if kind == "lenet":
        return lenet(image, classes, rng, dtype)
    if kind.startswith("basic_cifar"):
        return basic_cifar(kind.endswith("_bn"), classes, image[2], rng, dtype)
    if name in ("resnet18", "resnet18_imagenet"):
        return resnet18(classes, image[2], rng, dtype, stem="cifar" if depth else "imagenet")
    return {"resnet": resnet, "vgg": vgg}[kind](int(depth), classes, image[2], rng, dtype)


def mlp(
    sizes: Sequence[int], rng: Rng = 0, activation: type[Module] = Tanh, dtype: DType = np.float32
) -> Sequential:
    """Linear layers of these sizes with an activation between them: (N, sizes[0]) -> (N, sizes[-1]).

    >>> mlp((4, 3, 2))(np.ones((5, 4), np.float32)).shape
    (5, 2)
    """
    rng = as_rng(rng)
    layers: list[Module] = []
    for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True):
        layers += [Linear(n_in, n_out, rng, dtype=dtype), activation()]
    return Sequential(*layers[:-1])


def lenet(
    image: tuple[int, int, int] = (28, 28, 1), classes: int = 10, rng: Rng = 0, dtype: DType = np.float32
) -> Sequential:
    """Two 5x5 convolutions with max pooling, two linear layers: LeNet with 20, 50, 500 units and relu.

    >>> lenet()(np.ones((1, 28, 28, 1), np.float32)).shape
    (1, 10)
    """
    rng = as_rng(rng)
    h, w, channels = image
    if min(h, w) < 16:
        raise ValueError(
            f"lenet: images of {h} x {w} are too small for two 5x5 convolutions with pooling: use at "
            "least 16 x 16"
        )
    flat = ((h - 4) // 2 - 4) // 2 * (((w - 4) // 2 - 4) // 2) * 50
    return Sequential(
        Conv2d(channels, 20, 5, rng, dtype=dtype),
        ReLU(),
        MaxPool2d(2),
        Conv2d(20, 50, 5, rng, dtype=dtype),
        ReLU(),
        MaxPool2d(2),
        Flatten(),
        Linear(flat, 500, rng, dtype=dtype),
        ReLU(),
        Linear(500, classes, rng, dtype=dtype),
    )


def basic_cifar(
    batch_norm: bool = True, classes: int = 10, channels: int = 3, rng: Rng = 0, dtype: DType = np.float32
) -> Sequential:
    """The paper's basic CIFAR network for 32x32 images: 145,578 parameters, and 384 more with batch norm.

    Three 5x5 convolutions with 3x3 pooling of stride 2, a 4x4 and a 1x1 convolution; weights N(0, std²) with
    std 0.01 in the first layer and 0.05 after it (AutoNN's BasicCifarNet).

    >>> basic_cifar()(np.ones((1, 32, 32, 3), np.float32)).shape
    (1, 10)
    """
    rng = as_rng(rng)

    def block(
        n_in: int, n_out: int, size: int, padding: int, std: float, pool: Module | None
    ) -> list[Module]:
        conv = Conv2d(n_in, n_out, size, rng, padding=padding, dtype=dtype)
        conv.weight = normal(rng, conv.weight.shape, std, dtype)
        then = BatchNorm(n_out, dtype=dtype, relu=True) if batch_norm else ReLU()
        return [conv, then, *([pool] if pool else [])]

    last = Conv2d(64, classes, 1, rng, dtype=dtype)
    last.weight = normal(rng, last.weight.shape, 0.05, dtype)
    return Sequential(
        *block(channels, 32, 5, 2, 0.01, MaxPool2d(3, 2, 1)),
        *block(32, 32, 5, 2, 0.05, AvgPool2d(3, 2, 1)),
        *block(32, 64, 5, 2, 0.05, AvgPool2d(3, 2, 1)),
        *block(64, 64, 4, 0, 0.05, None),
        last,
        Flatten(),
    )


def resnet(
    depth: int, classes: int = 10, channels: int = 3, rng: Rng = 0, dtype: DType = np.float32
) -> Sequential:
    """The CIFAR residual network of He et al. 2016, section 4.2: depth 6n + 2, 16 to 64 channels.

    Shortcuts that change size take every second pixel and add zero channels (their option A).

    >>> resnet(8)(np.ones((1, 32, 32, 3), np.float32)).shape
    (1, 10)
    """
    if depth not in RESNET_DEPTHS:
        raise ValueError(f"resnet: depth {depth} is unknown: use one of {RESNET_DEPTHS}, or resnet18()")
    rng = as_rng(rng)
    layers = conv_bn(channels, 16, 3, rng, 1, dtype, relu=True)
    n_in = 16
    for n_out in (16, 32, 64):
        for _ in range((depth - 2) // 6):
            stride = n_out // n_in
            shortcut = Subsample(stride, n_out - n_in) if stride > 1 else None
            layers.append(basic_block(n_in, n_out, stride, shortcut, rng, dtype))
            n_in = n_out
    return Sequential(*layers, GlobalAvgPool(), Linear(64, classes, rng, dtype=dtype))


def resnet18(
    classes: int = 10, channels: int = 3, rng: Rng = 0, dtype: DType = np.float32, stem: str = "cifar"
) -> Sequential:
    """ResNet-18: a stem, then stages of 64, 128, 256, 512 channels, two blocks each (He et al. 2016).

    `stem`: "cifar", a 3x3 convolution that keeps the size of 32x32 images; or "imagenet", 7x7 with stride 2
    and max pooling with stride 2, which leave a quarter of height and width. Shortcuts that change size are
    1x1 convolutions (option B).

    >>> resnet18(stem="imagenet")(np.ones((1, 32, 32, 3), np.float32)).shape
    (1, 10)
    """
    if stem not in ("cifar", "imagenet"):
        raise ValueError(f"resnet18: stem {stem!r} is unknown: use 'cifar' or 'imagenet'")
    rng = as_rng(rng)
    size, stride = (3, 1) if stem == "cifar" else (7, 2)
    layers = conv_bn(channels, 64, size, rng, stride, dtype, relu=True)
    layers += [MaxPool2d(3, 2, 1)] if stem == "imagenet" else []
    n_in = 64
    for n_out in (64, 128, 256, 512):
        for _ in range(2):
            stride = n_out // n_in
            shortcut = Sequential(*conv_bn(n_in, n_out, 1, rng, stride, dtype)) if stride > 1 else None
            layers.append(basic_block(n_in, n_out, stride, shortcut, rng, dtype))
            n_in = n_out
    return Sequential(*layers, GlobalAvgPool(), Linear(512, classes, rng, dtype=dtype))


def vgg(
    depth: int = 11, classes: int = 10, channels: int = 3, rng: Rng = 0, dtype: DType = np.float32
) -> Sequential:
    """VGG with batch norm for 32x32 images (Simonyan and Zisserman 2015), in five pooled stages.

    >>> vgg(11)(np.ones((1, 32, 32, 3), np.float32)).shape
    (1, 10)
    """
    if depth not in VGG_STAGES:
        raise ValueError(f"vgg: depth {depth} is unknown: use one of {tuple(VGG_STAGES)}")
    rng = as_rng(rng)
    layers: list[Module] = []
    n_in = channels
    for n_out, repeats in zip((64, 128, 256, 512, 512), VGG_STAGES[depth], strict=True):
        for _ in range(repeats):
            layers += conv_bn(n_in, n_out, 3, rng, 1, dtype, relu=True)
            n_in = n_out
        layers.append(MaxPool2d(2))
    return Sequential(*layers, GlobalAvgPool(), Linear(512, classes, rng, dtype=dtype))


# ----- Parts -----


def conv(n_in: int, n_out: int, size: int, rng: Rng, stride: int, dtype: DType) -> Conv2d:
    """A convolution that keeps the size (but for `stride`); batch norm behind it makes a bias needless."""
    return Conv2d(n_in, n_out, size, rng, stride, size // 2, bias=False, dtype=dtype)


def conv_bn(
    n_in: int, n_out: int, size: int, rng: Rng, stride: int, dtype: DType, relu: bool = False
) -> list[Module]:
    return [conv(n_in, n_out, size, rng, stride, dtype), BatchNorm(n_out, dtype=dtype, relu=relu)]


def basic_block(
    n_in: int, n_out: int, stride: int, shortcut: Module | None, rng: Rng, dtype: DType
) -> Residual:
    """Two 3x3 convolutions beside a shortcut, with batch norm, and relu after their sum."""
    body = Sequential(
        *conv_bn(n_in, n_out, 3, rng, stride, dtype, relu=True), conv(n_out, n_out, 3, rng, 1, dtype)
    )
    return Residual(body, shortcut, BatchNorm(n_out, dtype=dtype, relu=True))


class Subsample(Module):
    """Every `stride`-th pixel, with `extra` zero channels added at the end: a shortcut without parameters.

    >>> Subsample(2, 3)(np.ones((1, 4, 4, 1))).shape
    (1, 2, 2, 4)
    """

    def __init__(self, stride: int, extra: int) -> None:
        self.stride, self.extra = stride, extra

    def forward(self, x: Any, train: bool) -> Any:
        return mg.pad(x[:, :: self.stride, :: self.stride], ((0, 0), (0, 0), (0, 0), (0, self.extra)))
