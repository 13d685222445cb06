"""JAX's jobs, each compiled as a whole; images NHWC, filters HWIO. A result counts when it is there."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..problems import LAM, Network, apply, model

VERSIONS = ("jax", "jaxlib")
Jobs = dict[str, Callable[[], tuple]]


def network(problem: Network) -> Jobs:
    weights, direction, images, numbers = problem.arrays()
    w, z = ([as_jax(a) for a in arrays] for arrays in (weights, direction))
    x, labels = jnp.asarray(images), jnp.asarray(numbers)  # arguments below: else they were constants

    def f(w: Any, x: Any) -> Any:
        return apply(problem.layers, Operations, x, iter(w))

    def loss(w: Any, x: Any, labels: Any) -> Any:
        y = f(w, x)
        return (jax.nn.logsumexp(y, 1) - jnp.take_along_axis(y, labels[:, None], 1)[:, 0]).mean()

    def linear(w: Any, x: Any) -> tuple:
        """Outputs, the derivative and its transpose, from one linearization."""
        y, J = jax.linearize(lambda w: f(w, x), w)
        transposed = jax.linear_transpose(J, w)
        return y, J, lambda ct: transposed(ct)[0]

    def ggn(w: Any, z: Any, x: Any, labels: Any) -> tuple:
        y, J, back = linear(w, x)
        return (back(quadratic(y, labels)[1](J(z))),)

    def gradient_and_ggn(w: Any, z: Any, x: Any, labels: Any) -> tuple:
        y, J, back = linear(w, x)
        g, H = quadratic(y, labels)
        return (back(g + H(J(z))),)

    def curveball(w: Any, z: Any, x: Any, labels: Any) -> tuple:
        y, J, back = linear(w, x)
        g, H = quadratic(y, labels)
        Jz = J(z)
        HJz = H(Jz)
        dz = [d + LAM * t for d, t in zip(back(g + HJz), z, strict=True)]
        Jdz = J(dz)
        return dz, Jz, Jdz, jnp.stack(model(g, z, Jz, HJz, dz, Jdz, H(Jdz)))

    stored: list = []

    def at_w() -> tuple:
        if not stored:
            stored.extend(jax.jit(lambda w, x: jax.linearize(lambda w: f(w, x), w))(w, x))
        return tuple(stored)

    push = jax.jit(lambda J, z: (J(z),))
    product = jax.jit(lambda y, J, z, labels: jax.linear_transpose(J, z)(quadratic(y, labels)[1](J(z))))
    whole = {
        "forward": (lambda w, x: (f(w, x),), w, x),
        "gradient": (lambda w, x, labels: jax.value_and_grad(loss)(w, x, labels)[1:], w, x, labels),
        "jvp": (lambda w, z, x: jax.jvp(lambda w: f(w, x), (w,), (z,))[1:], w, z, x),
        "GGN product": (ggn, w, z, x, labels),
        "gradient + GGN product": (gradient_and_ggn, w, z, x, labels),
        "CurveBall step": (curveball, w, z, x, labels),
    }
    jobs = {name: ready(jax.jit(job), *args) for name, (job, *args) in whole.items()}
    return jobs | {
        "J(z), stored": lambda: jax.block_until_ready(push(at_w()[1], z)),
        "GGN product, stored": lambda: jax.block_until_ready(product(*at_w(), z, labels)),
    }


def ready(job: Callable, *args: Any) -> Callable[[], tuple]:
    return lambda: jax.block_until_ready(job(*args))


class Operations:
    relu, tanh = jax.nn.relu, jnp.tanh

    @staticmethod
    def conv(x: Any, w: Any, stride: int, padding: int) -> Any:
        around = [(padding, padding)] * 2
        names = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, w, (stride, stride), around, dimension_numbers=names)

    @staticmethod
    def norm(x: Any, gamma: Any, beta: Any) -> Any:
        mean = x.mean((0, 1, 2))
        var = (x * x).mean((0, 1, 2)) - mean * mean  # as Flax does by default: a quarter quicker than x.var
        return (x - mean) * (gamma * jax.lax.rsqrt(var + 1e-5)) + beta

    @staticmethod
    def linear(x: Any, w: Any, b: Any) -> Any:
        return x @ w + b

    @staticmethod
    def subsample(x: Any, stride: int, extra: int) -> Any:
        return jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (0, extra)))

    @staticmethod
    def mean(x: Any) -> Any:
        return x.mean((1, 2))


def quadratic(y: Any, labels: Any) -> tuple[Any, Callable]:
    """Gradient and Hessian map of softmax cross entropy, in closed form as minigrad has them."""
    p, n = jax.nn.softmax(y), len(y)
    g = (p - jax.nn.one_hot(labels, y.shape[1])) / n
    return g, lambda v: (p * v - p * (p * v).sum(1, keepdims=True)) / n


def as_jax(a: np.ndarray) -> Any:
    """Filters OHWI to HWIO."""
    return jnp.asarray(a.transpose(1, 2, 3, 0) if a.ndim == 4 else a)


def plain(result: tuple) -> list[np.ndarray]:
    def vector(arrays: list) -> np.ndarray:
        parts = [np.asarray(a) for a in arrays]
        return np.concatenate([(a.transpose(3, 0, 1, 2) if a.ndim == 4 else a).ravel() for a in parts])

    return [vector(part) if isinstance(part, list) else np.asarray(part) for part in result]
