"""Schedules against the formulas they are named for, and SGD under them against the papers' recursions."""

import math

import numpy as np
import pytest

from minigrad import optim

A = np.diag([1.0, 4.0, 9.0])


def quadratic_steps(opt, steps):
    """`opt.w` before each step on ½ wᵀ A w, and at the end."""
    seen = [opt.w.copy()]
    for _ in range(steps):
        opt.step(lambda m: m["w"], lambda w: 0.5 * (w * (A @ w)).sum())
        seen.append(opt.w.copy())
    return np.array(seen)


def test_sutskever_is_equation_5():
    mu = optim.sutskever(0.99, every=250)
    for t in range(0, 20_000, 37):
        assert mu(t) == pytest.approx(min(1 - 2 ** (-1 - math.log2(t // 250 + 1)), 0.99), rel=1e-14)
    assert mu(249) == 0.5 and mu(250) == 0.75 and mu(10**6) == 0.99
    with pytest.raises(ValueError, match=r"mu_max=1.0 must lie in \[0, 1\)"):
        optim.sutskever(1.0)
    with pytest.raises(ValueError, match="every=0 steps must be at least 1"):
        optim.sutskever(every=0)


def test_piecewise_has_each_value_for_its_length_and_then_the_last():
    lr = optim.piecewise((3, 0.01), (80, 0.1), (10, 0.01), (27, 0.001), every=391)
    epochs = [0.01] * 3 + [0.1] * 80 + [0.01] * 10 + [0.001] * 30
    for epoch, value in enumerate(epochs):
        assert lr(391 * epoch) == lr(391 * epoch + 390) == value
    assert [optim.piecewise((2, 5.0))(t) for t in range(4)] == [5.0] * 4
    for pieces in ((), ((0, 0.1), (1, 0.2))):
        with pytest.raises(ValueError, match="lengths of at least 1"):
            optim.piecewise(*pieces)


@pytest.mark.parametrize("mu", [lambda t: 0.9, optim.sutskever(0.95, every=3), lambda t: 0.9 * (t % 4 > 0)])
def test_nesterov_with_any_momentum_is_the_paper_s_two_sequences(mu):
    """Sutskever et al. 2013, eq. 3 and 4; the parameters are where it takes its gradients, theta + mu v."""
    epsilon = 0.05
    theta, v = np.ones(3), np.zeros(3)
    ahead = [theta.copy()]
    for t in range(25):
        v = mu(t) * v - epsilon * A @ (theta + mu(t) * v)
        theta = theta + v
        ahead.append(theta + mu(t + 1) * v)
    opt = optim.SGD({"w": np.ones(3)}, lr=epsilon, momentum=mu, nesterov=True)
    np.testing.assert_allclose(quadratic_steps(opt, 25), ahead, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("lr, momentum", [(0.05, 0.9), (lambda t: np.float64(0.05), lambda t: 0.9)])
def test_constants_are_pytorch_s_rule_to_the_last_bit(lr, momentum, nesterov):
    opt = optim.SGD({"w": np.ones(3, np.float32)}, lr=lr, momentum=momentum, nesterov=nesterov)
    w, v = np.ones(3, np.float32), np.zeros(3, np.float32)
    for g in np.random.default_rng(0).normal(size=(25, 3)).astype(np.float32):
        v = 0.9 * v + g
        w = w - 0.05 * (g + 0.9 * v if nesterov else v)
        opt.step(lambda m: m["w"], lambda y, g=g: (g * y).sum())
        np.testing.assert_array_equal(opt.w, w)
    assert opt.w.dtype == w.dtype == np.float32


@pytest.mark.parametrize("method", [optim.SGD, optim.RMSProp, optim.Adam])
def test_a_learning_rate_counts_from_step_0_and_goes_on_after_loading(method):
    """With gradient 1 in every step, Adam's and RMSProp's step is their rate, too (alpha = 0)."""
    rates = [0.5, 0.25, 0.125, 0.0625]
    settings = {"alpha": 0.0} if method is optim.RMSProp else {}

    def make():
        return method({"w": np.zeros(1)}, lr=rates.__getitem__, **settings)

    opt, moved = make(), []
    for k in range(4):
        if k == 2:
            state = opt.state_dict()
            opt = make()
            opt.load_state_dict(state)
        before = opt.w.copy()
        opt.step(lambda m: m["w"], lambda y: y.sum())
        moved.append(before - opt.w)
    np.testing.assert_allclose(np.concatenate(moved), rates, rtol=1e-6)
