"""minigrad's jobs: those of a network and those of a chain of operations."""

from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.nn.models import Subsample
from minigrad.optim.base import dot

from .. import problems
from ..problems import LAM, Chain, Layers, Network

VERSIONS = ("numpy",)
Jobs = dict[str, Callable[[], tuple]]


def network(problem: Network) -> Jobs:
    """Passes over a network at weights `w`, a vector, along a direction `z`.

    >>> jobs = network(Network(problems.mlp((4, 3)), (4,), 3, 2))
    >>> jobs["forward"]()[0].shape, jobs["gradient"]()[0].shape
    ((2, 3), (15,))
    """
    weights, direction, x, labels = problem.arrays()
    loss = nn.SoftmaxCrossEntropy(labels)
    _, unravel = mg.ravel(module(problem.layers))
    w, z = (np.concatenate([a.ravel() for a in arrays]) for arrays in (weights, direction))
    stored: list = []

    def predict(w: Any) -> Any:
        return unravel(w)(x, train=True)

    def at_w() -> tuple:
        """The linearization that is stored, and the Hessian map there."""
        if not stored:
            y, J = mg.linearize(predict, w)
            stored.extend([J, mg.quadratic(loss, y)[2]])
        return tuple(stored)

    def stored_ggn() -> tuple:
        J, H = at_w()
        return (J.T(H(J(z))),)

    def gradient_and_ggn() -> tuple:
        y, J = mg.linearize(predict, w)
        _, g, H = mg.quadratic(loss, y)
        return (J.T(g + H(J(z))),)

    return {
        "forward": lambda: (predict(w),),
        "gradient": lambda: (mg.value_and_grad(lambda w: loss(predict(w)))(w)[1],),
        "jvp": lambda: (mg.jvp(predict, (w,), (z,))[1],),
        "J(z), stored": lambda: (at_w()[0](z),),
        "GGN product, stored": stored_ggn,
        "GGN product": lambda: (mg.ggn_vp(predict, loss, w, z),),
        "gradient + GGN product": gradient_and_ggn,
        "CurveBall step": lambda: curveball(predict, loss, w, z),
    }


def curveball(predict: Callable, loss: nn.Loss, w: np.ndarray, z: np.ndarray) -> tuple:
    """A step of `optim.CurveBall` up to its 2x2 system: dz, J z, J dz, and a11 a12 a22 b1 b2."""
    y, J = mg.linearize(predict, w)
    _, g, H = mg.quadratic(loss, y)
    Jz = J(z)
    HJz = H(Jz)
    dz = J.T(g + HJz) + LAM * z
    Jdz = J(dz)
    HJdz = H(Jdz)
    a = dot(Jdz, HJdz) + LAM * dot(dz, dz), dot(Jz, HJdz) + LAM * dot(dz, z), dot(Jz, HJz) + LAM * dot(z, z)
    return dz, Jz, Jdz, np.array([*a, dot(g, Jdz), dot(g, Jz)])


def module(layers: Layers) -> nn.Module:
    """A network from minigrad's layers."""

    def made(layer: tuple) -> nn.Module:
        match layer:
            case "conv", n_in, n_out, size, stride:
                return nn.Conv2d(n_in, n_out, size, 0, stride, size // 2, bias=False)
            case "norm", n, relu:
                return nn.BatchNorm(n, relu=relu)
            case "linear", n_in, n_out:
                return nn.Linear(n_in, n_out, 0)
            case "residual", body, shortcut, n:
                return nn.Residual(
                    module(body), module(shortcut) if shortcut else None, nn.BatchNorm(n, relu=True)
                )
            case "subsample", stride, extra:
                return Subsample(stride, extra)
        return {"mean": nn.GlobalAvgPool, "tanh": nn.Tanh}[layer[0]]()

    return nn.Sequential(*map(made, layers))


def chain(problem: Chain) -> Jobs:
    f = problems.chain(mg, problem.links)
    x, v = np.linspace(0.1, 1.0, 10), np.ones(10)
    _, J = mg.linearize(f, x)
    g = mg.grad(f)
    return {
        "value": lambda: (f(x),),
        "jvp": lambda: (mg.jvp(f, (x,), (v,))[1],),
        "gradient": lambda: (g(x),),
        "Hessian product": lambda: (mg.hvp(f, (x,), (v,)),),
        "linearize": lambda: (mg.linearize(f, x)[0],),
        "J(t), stored": lambda: (J(v),),
        "J.T(ct), stored": lambda: (J.T(1.0),),
    }


def plain(result: tuple) -> list[np.ndarray]:
    return [np.asarray(part) for part in result]
