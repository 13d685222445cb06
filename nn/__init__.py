"""Layers, losses and models: pytrees of arrays over minigrad's operations. Images are NHWC, filters OHWI."""

from .checkpoint import load_state, save_state
from .init import as_rng, he_normal, normal, xavier_uniform
from .layers import (
    GELU,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    Dropout,
    Embedding,
    Flatten,
    GlobalAvgPool,
    LayerNorm,
    Linear,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)
from .losses import BinaryCrossEntropy, Loss, SoftmaxCrossEntropy, SquaredError
from .models import basic_cifar, build, lenet, mlp, resnet, resnet18, vgg
from .module import Module, count_parameters


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)
    known = ", ".join(sorted(n for n in globals() if n[0].isupper()))
    raise AttributeError(
        f"unknown layer, loss or function minigrad.nn.{name}: the layers and losses are {known}"
    )
