"""Small problems for optimizers of second order, and their steps written out as matrices."""

import numpy as np

import minigrad as mg
from minigrad import nn


def small_net(seed, dtype=np.float64):
    """A tanh network of 43 parameters on twelve examples of three classes: model, predict, loss."""
    rng = np.random.default_rng(seed)
    x, labels = rng.normal(size=(12, 4)).astype(dtype), rng.integers(0, 3, 12)
    model = nn.mlp((4, 5, 3), rng, dtype=dtype)
    return model, lambda m: m(x, train=True), nn.SoftmaxCrossEntropy(labels)


def rosenbrock(m):
    """Residuals whose squares add up to (1 - u)² + 100 (v - u²)²."""
    u, v = m["w"][0], m["w"][1]
    return mg.stack([1 - u, 10 * (v - u * u)])


def squares(y):
    return (y**2).sum()


def network_with_state(dtype=np.float64):
    """Batch norm's running statistics and a dropout counter: model, and five batches (predict, loss)."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Linear(4, 6, rng, dtype=dtype),
        nn.BatchNorm(6, dtype=dtype),
        nn.Tanh(),
        nn.Dropout(0.3, rng),
        nn.Linear(6, 3, rng, dtype=dtype),
    )
    xs, labels = rng.normal(size=(5, 20, 4)).astype(dtype), rng.integers(0, 3, (5, 20))
    return model, [
        (lambda m, x=x: m(x, train=True), nn.SoftmaxCrossEntropy(t)) for x, t in zip(xs, labels, strict=True)
    ]


def dense(opt, predict, loss):
    """The gradient and the Gauss-Newton matrix Jᵀ H J at opt.w, column by column, without weight decay."""
    y, J = mg.linearize(lambda w: predict(opt.unravel(w)), opt.w.copy())
    _, slope, H = mg.quadratic(loss, y)
    matrix = np.stack([J(e).ravel() for e in np.eye(opt.w.size, dtype=opt.w.dtype)], axis=1)
    Hl = np.stack([np.ravel(H(e.reshape(y.shape))) for e in np.eye(y.size, dtype=y.dtype)], axis=1)
    return matrix.T @ np.ravel(slope), matrix.T @ Hl @ matrix


def loss_now(opt, predict, loss):
    """The loss of a batch at the parameters as they are, with masks and statistics left alone."""
    with mg.keeping_buffers(opt.model):
        return float(loss(predict(opt.model)))
