"""CurveBall against dense linear algebra: the numbered invariants of the algorithm, from its equations.

Notation as in the paper: J = dy/dw, Hl and Jl the loss's Hessian and gradient at y, g = Jᵀ Jl,
Ĥ = Jᵀ Hl J + λ I, dz = Ĥ z + g; the step minimises m(d) = g·d + ½ dᵀ Ĥ d over d = rho z - beta dz.
"""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn, optim

LAM = 0.3


class Dense(NamedTuple):
    """One step's problem written out as matrices."""

    J: np.ndarray
    Hl: np.ndarray
    Jl: np.ndarray
    g: np.ndarray
    H: np.ndarray  # Ĥ


def small_net(seed: int) -> tuple:
    """A tanh network on twelve examples of three classes, softmax cross entropy, all float64."""
    rng = np.random.default_rng(seed)
    x, labels = rng.normal(size=(12, 4)), rng.integers(0, 3, 12)
    model = nn.mlp((4, 5, 3), rng, dtype=np.float64)
    return model, lambda m: m(x, train=True), nn.SoftmaxCrossEntropy(labels)


def dense(opt: optim.CurveBall, predict, loss, lam: float) -> Dense:
    y, J = mg.linearize(lambda w: predict(opt.unravel(w)), opt.w.copy())
    matrix = np.stack([J(e).ravel() for e in np.eye(opt.w.size)], axis=1)
    _, Jl, H = mg.quadratic(loss, y)
    Hl = np.stack([H(e.reshape(y.shape)).ravel() for e in np.eye(y.size)], axis=1)
    g = matrix.T @ Jl.ravel()
    return Dense(matrix, Hl, Jl.ravel(), g, matrix.T @ Hl @ matrix + lam * np.eye(opt.w.size))


def stepped(seed: int, steps: int = 3, lam: float = LAM) -> tuple:
    """An optimizer after some steps, and its problem."""
    model, predict, loss = small_net(seed)
    opt = optim.CurveBall(model, lam=lam, adapt_lam=False)
    for _ in range(steps):
        opt.step(predict, loss)
    return opt, predict, loss


def quadratic_problem(seed: int = 0, n: int = 8, kappa: float = 100.0) -> tuple:
    """½ wᵀ H w - c·w as a linear model under squared error: predict, loss, H and the gradient function."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    A = np.sqrt(np.geomspace(1, kappa, n) / 2)[:, None] * q.T
    t = rng.normal(size=n)
    loss = nn.SquaredError(t, reduction="sum")
    return (lambda tree: mg.matmul(A, tree["w"])), loss, 2 * A.T @ A, lambda w: 2 * A.T @ (A @ w - t)


seeds = st.integers(0, 2**31)


@given(seeds)
def test_1_reverse_mode_is_the_adjoint_of_forward_mode_in_a_training_network(seed):
    rng = np.random.default_rng(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, rng, padding=1, dtype=np.float64), nn.BatchNorm(4, dtype=np.float64), nn.ReLU(),
        nn.MaxPool2d(2), nn.Dropout(0.4, rng), nn.Flatten(), nn.Linear(16, 3, rng, dtype=np.float64),
    )  # fmt: skip
    x = rng.normal(size=(5, 4, 4, 2))
    w, unravel = mg.ravel(model)
    counter = model.layers[4].count
    y, J = mg.linearize(lambda w: unravel(w)(x, train=True), w)
    v, u = rng.normal(size=w.shape), rng.normal(size=y.shape)
    Jv = J(v)
    assert np.vdot(u, Jv) == pytest.approx(np.vdot(J.T(u), v), rel=1e-10)

    def again(w):
        counter.value = 0  # the same mask
        return unravel(w)(x, train=True)

    # Double backward: J v is the gradient in u of <Jᵀ u, v>.
    twice = mg.grad(lambda u: (mg.vjp(again, w)[1](u)[0] * v).sum())(u)
    np.testing.assert_allclose(twice, Jv, rtol=1e-10, atol=1e-12)
    h = 1e-6
    np.testing.assert_allclose((again(w + h * v) - again(w - h * v)) / (2 * h), Jv, rtol=1e-5, atol=1e-6)


@given(seeds)
def test_2_to_5_the_step_is_the_model_s_minimum_in_the_plane_of_z_and_dz(seed):
    opt, predict, loss = stepped(seed)
    d = dense(opt, predict, loss, LAM)
    z, w = opt.z.copy(), opt.w.copy()
    dz = d.H @ z + d.g
    info = opt.step(predict, loss)

    b1, b2 = d.Jl @ d.J @ dz, d.Jl @ d.J @ z
    assert b1 == pytest.approx(d.g @ dz, rel=1e-9)  # 2
    assert b2 == pytest.approx(d.g @ z, rel=1e-9)
    a12, a22 = dz @ d.H @ z, z @ d.H @ z
    assert a12 + b1 == pytest.approx(dz @ dz, rel=1e-9)  # 3
    assert a22 + b2 == pytest.approx(z @ dz, rel=1e-9)

    np.testing.assert_allclose(opt.z, info.rho * z - info.beta * dz, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(opt.w, w + opt.z, rtol=1e-15)
    r = d.g + d.H @ opt.z  # 4
    scale = np.linalg.norm(d.g)
    assert abs(r @ z) <= 1e-8 * scale * np.linalg.norm(z)
    assert abs(r @ dz) <= 1e-8 * scale * np.linalg.norm(dz)

    def m(s):
        return d.g @ s + 0.5 * s @ d.H @ s

    assert m(opt.z) == pytest.approx(0.5 * d.g @ opt.z, rel=1e-7)  # 5
    assert m(opt.z) == pytest.approx(-0.5 * opt.z @ d.H @ opt.z, rel=1e-7)
    cauchy = b1 / (dz @ d.H @ dz)
    for rho, beta in ((0.9, 0.1), (0.0, cauchy), (info.rho + 0.01, info.beta), (info.rho, info.beta * 1.01)):
        assert m(opt.z) <= m(rho * z - beta * dz) + 1e-12 * abs(m(opt.z))
    assert d.g @ opt.z < 0


@given(seeds)
def test_6_the_first_step_is_the_cauchy_step(seed):
    opt, predict, loss = stepped(seed, steps=0)
    d = dense(opt, predict, loss, LAM)
    info = opt.step(predict, loss)
    assert info.rho == 0.0
    assert info.beta == pytest.approx(d.g @ d.g / (d.g @ d.H @ d.g), rel=1e-10)
    np.testing.assert_allclose(opt.z, -info.beta * d.g, rtol=1e-10, atol=1e-14)


def test_6_without_damping_the_first_step_on_a_quadratic_is_an_exact_line_search():
    predict, loss, _, gradient = quadratic_problem()
    opt = optim.CurveBall({"w": np.ones(8)}, lam=0.0)
    g0 = gradient(opt.w)
    opt.step(predict, loss)
    assert abs(gradient(opt.w) @ g0) < 1e-10 * (g0 @ g0)


def test_6_with_growing_damping_beta_becomes_one_over_lambda():
    predict, loss, _, _ = quadratic_problem()
    info = optim.CurveBall({"w": np.ones(8)}, lam=1e9).step(predict, loss)
    assert info.beta == pytest.approx(1e-9, rel=1e-6)


@given(seeds, st.floats(0.01, 100))
def test_7_scaling_loss_and_lambda_together_changes_only_beta(seed, c):
    model, predict, loss = small_net(seed)
    one = optim.CurveBall(mg.tree_map(np.copy, model), lam=LAM, adapt_lam=False)
    other = optim.CurveBall(mg.tree_map(np.copy, model), lam=c * LAM, adapt_lam=False)
    for _ in range(3):
        a, b = one.step(predict, loss), other.step(predict, lambda y: loss(y) * c)
        assert b.rho == pytest.approx(a.rho, rel=1e-6, abs=1e-9)
        assert b.beta == pytest.approx(a.beta / c, rel=1e-6)
        np.testing.assert_allclose(other.z, one.z, rtol=1e-6, atol=1e-10)


@given(seeds)
def test_8_the_softmax_hessian_in_closed_form(seed):
    rng = np.random.default_rng(seed)
    y, labels, v = rng.normal(size=(6, 5)), rng.integers(0, 5, 6), rng.normal(size=(6, 5))
    loss = nn.SoftmaxCrossEntropy(labels)
    value, g, H = loss.quadratic(y)
    assert value == pytest.approx(loss(y), rel=1e-14)
    np.testing.assert_allclose(g, mg.grad(loss)(y), rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(H(v), mg.hvp(loss, (y,), (v,)), rtol=1e-10, atol=1e-14)
    p = np.exp(y) / np.exp(y).sum(-1, keepdims=True)
    np.testing.assert_allclose(H(v), (p * v - p * (p * v).sum(-1, keepdims=True)) / 6, rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(H(np.ones_like(y)), 0, atol=1e-15)
    assert np.vdot(v, H(v)) >= 0


def test_9_on_a_linear_loss_fixed_curveball_is_sgd_with_momentum():
    rng = np.random.default_rng(0)
    A, c, start = rng.normal(size=(6, 4)), rng.normal(size=6), rng.normal(size=4)
    curveball = optim.CurveBall({"w": start}, lam=0.0, rho=0.9, beta=0.05, adapt_lam=False)
    sgd = optim.SGD({"w": start}, lr=0.05, momentum=0.9)
    for _ in range(10):
        for opt in (curveball, sgd):
            opt.step(lambda m: mg.matmul(A, m["w"]), lambda y: (c * y).sum())
        np.testing.assert_allclose(curveball.w, sgd.w, rtol=1e-12)
        np.testing.assert_allclose(-curveball.z / 0.05, sgd.v, rtol=1e-12)


def test_9_automatic_mode_says_that_a_linear_loss_has_no_curvature():
    opt = optim.CurveBall({"w": np.ones(2)}, lam=0.0)
    with pytest.raises(ValueError, match="no curvature along dz.*lam > 0"):
        opt.step(lambda m: m["w"], lambda y: y.sum())
    np.testing.assert_array_equal(opt.w, 1.0)


def test_10_fixed_rho_and_beta_converge_to_a_newton_step_with_extra_damping():
    opt, predict, loss = stepped(1, steps=0)
    frozen, d = opt.w.copy(), dense(opt, predict, loss, LAM)
    opt = optim.CurveBall(opt.model, lam=LAM, rho=0.8, beta=0.5, adapt_lam=False)
    for _ in range(400):
        opt.w[:] = frozen
        opt.step(predict, loss)
    extra = (1 - 0.8) / 0.5
    np.testing.assert_allclose(
        opt.z, -np.linalg.solve(d.H + extra * np.eye(d.g.size), d.g), rtol=1e-9, atol=1e-12
    )


def test_10_automatic_mode_keeps_an_exact_newton_step():
    opt, predict, loss = stepped(2, steps=0)
    d = dense(opt, predict, loss, LAM)
    newton = -np.linalg.solve(d.H, d.g)
    opt.z[:] = newton
    info = opt.step(predict, loss)
    assert info.rho == pytest.approx(1.0, rel=1e-9)
    np.testing.assert_allclose(opt.z, newton, rtol=1e-9, atol=1e-14)


def conjugate_gradient(w, gradient, H, steps):
    """Textbook CG on ½ wᵀ H w - c·w; the iterates after each step."""
    out, r = [], -gradient(w)
    p = r
    for _ in range(steps):
        alpha = r @ r / (p @ H @ p)
        w, r_new = w + alpha * p, r - alpha * (H @ p)
        p, r = r_new + (r_new @ r_new) / (r @ r) * p, r_new
        out.append(w)
    return out


def test_12_iterates_one_and_two_are_conjugate_gradient_s_and_the_third_is_not():
    predict, loss, H, gradient = quadratic_problem()
    opt = optim.CurveBall({"w": np.zeros(8)}, lam=0.0)
    iterates = []
    for _ in range(3):
        opt.step(predict, loss)
        iterates.append(opt.w.copy())
    cg = conjugate_gradient(np.zeros(8), gradient, H, 3)
    np.testing.assert_allclose(iterates[0], cg[0], rtol=1e-12)
    np.testing.assert_allclose(iterates[1], cg[1], rtol=1e-9)
    assert np.linalg.norm(iterates[2] - cg[2]) > 1e-3 * np.linalg.norm(cg[2])


def test_12_with_two_parameters_every_step_from_the_second_is_damped_gauss_newton():
    def residuals(m):
        u, v = m["w"][0], m["w"][1]
        return mg.stack([1 - u, 10 * (v - u * u)])  # Rosenbrock's function is the sum of their squares

    loss = nn.SquaredError(np.zeros(2), reduction="sum")
    opt = optim.CurveBall({"w": np.array([-0.25, -0.25])}, lam=1.0, adapt_lam=False)
    opt.step(residuals, loss)
    for _ in range(8):
        d = dense(opt, residuals, loss, 1.0)
        opt.step(residuals, loss)
        np.testing.assert_allclose(opt.z, -np.linalg.solve(d.H, d.g), rtol=1e-8, atol=1e-13)


@given(seeds, st.floats(1e-3, 1e3))
def test_15_on_an_exact_quadratic_the_ratio_lies_between_one_and_two(seed, lam):
    predict, loss, H, _ = quadratic_problem(seed % 1000)
    opt = optim.CurveBall({"w": np.ones(8)}, lam=lam)
    for k in range(6):
        now = opt.lam
        info = opt.step(predict, loss)
        if k % 5 == 0:
            d = opt.z
            damped = d @ H @ d + now * d @ d
            assert info.ratio == pytest.approx(1 + now * (d @ d) / damped, rel=1e-6)
            assert 1 - 1e-6 <= info.ratio <= 2 + 1e-6
            assert opt.lam <= now
            assert info.predicted == pytest.approx(-0.5 * damped, rel=1e-6)


def test_15_without_damping_the_ratio_is_one():
    predict, loss, _, _ = quadratic_problem()
    assert optim.CurveBall({"w": np.ones(8)}, lam=0.0).step(predict, loss).ratio == pytest.approx(
        1.0, rel=1e-10
    )


def test_16_lambda_changes_by_at_most_a_thousandth_a_step():
    predict, loss, _, _ = quadratic_problem(kappa=1.5)
    opt = optim.CurveBall({"w": np.ones(8)}, lam=1e6)  # so large that it falls at every chance
    lams = [opt.step(predict, loss).lam for _ in range(700)]
    assert lams[695] / lams[0] == pytest.approx(0.999**695, rel=1e-10)  # half in 693 steps
    rule = optim.LambdaRule()
    assert rule(1.0, 0.49) == 1 / 0.999**5 and rule(1.0, 0.5) == rule(1.0, 1.5) == 1.0
    assert rule(1.0, 1.51) == 0.999**5


def test_17_lambda_is_only_touched_in_every_fifth_step():
    model, predict, loss = small_net(3)
    opt = optim.CurveBall(model, lam=10.0)
    for k in range(16):
        plan, before = opt.plan(), opt.lam
        info = opt.step(predict, loss)
        assert info.lam == before
        assert (info.ratio is not None) == (k % 5 == 0)
        assert info.passes == plan == {"primal": 2 if k % 5 == 0 else 1, "jvp": 2, "vjp": 1}
        if k % 5:
            assert opt.lam == before
    assert opt.lam != 10.0


def test_18_the_two_by_two_system_is_solved_to_the_last_digits_it_has():
    """Two parameters, condition 1000: two steps end at the minimum; a pseudo-inverse cut at 1e-12 fails."""
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(2, 2)))
    A, t = np.sqrt([0.5, 500.0])[:, None] * q, rng.normal(size=2)
    opt = optim.CurveBall({"w": np.ones(2)}, lam=0.0)
    for _ in range(2):
        opt.step(lambda m: mg.matmul(A, m["w"]), nn.SquaredError(t, reduction="sum"))
    assert np.linalg.norm(2 * A.T @ (A @ opt.w - t)) < 1e-6


@given(seeds, st.floats(1e-9, 1.0), st.floats(1e-5, 1.0))
def test_18_the_minimum_does_not_depend_on_the_lengths_of_the_directions(seed, length, angle):
    rng = np.random.default_rng(seed)
    H = np.diag(np.geomspace(1, 100, 6))
    p, q = rng.normal(size=(2, 6))
    P = np.stack([p, length * (p + angle * q)], axis=1)  # short, and nearly parallel
    g = rng.normal(size=6)
    c = optim.QuadraticModel(P.T @ H @ P, P.T @ g).minimum()
    basis, _ = np.linalg.qr(np.stack([p, q], axis=1))
    best = -basis @ np.linalg.solve(basis.T @ H @ basis, basis.T @ g)

    def m(s):
        return g @ s + 0.5 * s @ H @ s

    assert m(P @ c) <= m(best) + 1e-3 * abs(m(best))


# ----- Beyond the paper -----


@given(seeds)
def test_zg_the_step_is_the_model_s_minimum_in_the_plane_of_z_and_g(seed):
    model, predict, loss = small_net(seed)
    opt = optim.CurveBall(model, lam=LAM, adapt_lam=False, directions="zg")
    for _ in range(3):
        opt.step(predict, loss)
    d, z = dense(opt, predict, loss, LAM), opt.z.copy()
    info = opt.step(predict, loss)
    np.testing.assert_allclose(opt.z, info.rho * z - info.beta * d.g, rtol=1e-9, atol=1e-13)
    r = d.g + d.H @ opt.z
    scale = np.linalg.norm(d.g)
    assert abs(r @ z) <= 1e-8 * scale * np.linalg.norm(z)
    assert abs(r @ d.g) <= 1e-8 * scale * scale
    assert info.passes == {"primal": 1, "jvp": 2, "vjp": 1}


def test_zg_is_conjugate_gradient_on_a_quadratic_and_ends_after_n_steps():
    predict, loss, H, gradient = quadratic_problem(kappa=10.0)
    opt = optim.CurveBall({"w": np.zeros(8)}, lam=0.0, directions="zg", adapt_lam=False)
    for k, w in enumerate(conjugate_gradient(np.zeros(8), gradient, H, 8)):
        opt.step(predict, loss)
        np.testing.assert_allclose(opt.w, w, rtol=0, atol=1e-10 * np.linalg.norm(w), err_msg=str(k))
    assert np.linalg.norm(gradient(opt.w)) < 1e-10 * np.linalg.norm(gradient(np.zeros(8)))


def test_zg_with_fixed_values_is_sgd_with_momentum_and_runs_its_passes_alone():
    model, predict, loss = small_net(7)
    opt = optim.CurveBall(model, rho=0.9, beta=0.1, adapt_lam=False, directions="zg")
    sgd = optim.SGD(small_net(7)[0], lr=0.1, momentum=0.9)
    for _ in range(5):
        info = opt.step(predict, loss)
        assert info.passes == sgd.step(predict, loss).passes == opt.plan() | {"jvp": 0}
    np.testing.assert_allclose(opt.w, sgd.w, rtol=1e-12)


@given(seeds)
def test_hessian_the_step_is_that_of_the_dense_hessian_where_it_is_positive(seed):
    model, predict, loss = small_net(seed)
    opt = optim.CurveBall(model, lam=3.0, curvature="hessian", weight_decay=0.2)
    for _ in range(3):
        opt.step(predict, loss)
    f = lambda w: loss(predict(opt.unravel(w))) + 0.1 * (w**2).sum()  # noqa: E731
    w, z, lam = opt.w.copy(), opt.z.copy(), opt.lam
    H = mg.hessian(f)(w) + lam * np.eye(w.size)
    g = mg.grad(f)(w)
    dz = H @ z + g
    P = np.stack([dz, z], axis=1)
    minus_beta, rho = -np.linalg.solve(P.T @ H @ P, P.T @ g)
    plan = opt.plan()
    with mg.trace() as t:
        info = opt.step(predict, loss)
    t.check(plan)
    assert plan == info.passes
    assert (info.rho, info.beta) == pytest.approx((rho, -minus_beta), rel=1e-5)
    np.testing.assert_allclose(opt.z, P @ [minus_beta, rho], rtol=1e-6, atol=1e-10)


def test_hessian_where_it_is_negative_the_step_goes_downhill():
    opt = optim.CurveBall({"w": np.array([0.5])}, lam=0.0, curvature="hessian", adapt_lam=False)
    opt.step(lambda m: m["w"], lambda y: mg.cos(y).sum())  # curvature -cos(0.5), gradient -sin(0.5)
    np.testing.assert_allclose(opt.w, 0.5 + np.tan(0.5), rtol=1e-12)


def test_reuse_solves_for_rho_and_beta_in_every_kth_step_and_uses_their_mean_between():
    model, predict, loss = small_net(8)
    opt = optim.CurveBall(model, lam=1.0, adapt_lam=False, reuse=4)
    infos, mean = [], None
    for k in range(13):
        plan = opt.plan()
        with mg.trace() as t:
            infos.append(opt.step(predict, loss))
        t.check(plan)
        assert plan == infos[-1].passes == {"primal": 1, "jvp": 2 if k in (0, 1, 4, 8, 12) else 1, "vjp": 1}
        values = np.array([infos[k].rho, infos[k].beta])
        if k == 1:
            mean = values
        elif k and k % 4 == 0:
            assert (values != mean).all()
            mean = 0.9 * mean + 0.1 * values
        elif k:
            np.testing.assert_allclose(values, mean, rtol=1e-14)
    cheap = optim.CurveBall(model, adapt_lam=False, reuse=4, directions="zg")
    assert [cheap.plan(k)["jvp"] for k in range(6)] == [2, 2, 0, 0, 2, 0]
    assert [optim.CurveBall(model, reuse=3).plan(k)["jvp"] for k in range(6)] == [2, 2, 1, 2, 1, 2]


def test_reuse_goes_on_bit_for_bit_between_two_solutions():
    def run(opt, steps):
        for _ in range(steps):
            opt.step(*small_net(9)[1:])
        return opt

    whole = run(optim.CurveBall(small_net(9)[0], reuse=6, adapt_lam=False), 10)
    first = run(optim.CurveBall(small_net(9)[0], reuse=6, adapt_lam=False), 3)
    second = optim.CurveBall(small_net(9)[0], reuse=6, adapt_lam=False)
    second.load_state_dict(first.state_dict())
    assert run(second, 7).w.tobytes() == whole.w.tobytes()


@given(seeds, st.sampled_from(["zdz", "zg"]), st.sampled_from([1, 4]))
def test_safeguard_the_loss_on_the_batch_never_rises(seed, directions, reuse):
    model, predict, loss = small_net(seed)
    opt = optim.CurveBall(
        model, lam=1e-4, directions=directions, reuse=reuse, safeguard=True, weight_decay=0.01
    )
    now = lambda: float(loss(predict(opt.model))) + 0.005 * (opt.w**2).sum()  # noqa: E731
    scales = []
    for _ in range(25):
        before, w = now(), opt.w.copy()
        info = opt.step(predict, loss)
        assert now() <= before == pytest.approx(info.loss, rel=1e-12)
        np.testing.assert_allclose(opt.w, w + opt.z, rtol=0, atol=1e-15)
        tries = 1 + (-int(np.log2(info.scale)) if info.scale else 20)
        assert info.passes["primal"] == 1 + tries
        scales.append(info.scale)
    assert all(s == 0 or np.log2(s) == int(np.log2(s)) for s in scales)


def test_safeguard_shrinks_what_would_rise_and_rejects_what_never_falls():
    steep = lambda y: (mg.sqrt(1 + 1e4 * y**2)).sum()  # noqa: E731  # Newton's step goes far beyond 0
    opt = optim.CurveBall({"w": np.array([1.0])}, lam=0.0, safeguard=True, adapt_lam=False)
    first = opt.step(lambda m: m["w"], steep)
    assert 0 < first.scale < 1 and abs(opt.w[0]) < 1

    start = opt.w.copy()
    info = opt.step(lambda m: m["w"] if (mg.stop_gradient(m["w"]) == start).all() else m["w"] * np.nan, steep)
    assert info.scale == 0 and info.passes["primal"] == 22
    np.testing.assert_array_equal(opt.w, start)
    np.testing.assert_array_equal(opt.z, 0)


def test_safeguard_evaluations_see_the_same_mask_and_leave_no_trace():
    _, x, loss = network_with_state()
    plain, guarded = (optim.CurveBall(network_with_state()[0], safeguard=s) for s in (False, True))
    for _ in range(4):
        infos = [opt.step(lambda m: m(x, train=True), loss) for opt in (plain, guarded)]
        assert infos[0].loss == infos[1].loss and infos[1].scale == 1
    for (_, a), (_, b) in zip(mg.tree_buffers(plain.model), mg.tree_buffers(guarded.model), strict=True):
        np.testing.assert_array_equal(a.value, b.value)


@pytest.mark.parametrize("safeguard", [False, True])
def test_a_trial_that_is_interrupted_leaves_all_as_it_was(safeguard):
    model, x, loss = network_with_state()
    opt = optim.CurveBall(model, safeguard=safeguard)
    for _ in range(5):
        opt.step(lambda m: m(x, train=True), loss)
    before, calls = opt.state_dict(), []

    def predict(m):
        calls.append(m)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return m(x, train=True)

    with pytest.raises(KeyboardInterrupt):
        opt.step(predict, loss)
    after = opt.state_dict()
    for part in (before, before["buffers"]):
        for key, value in part.items():
            if key != "buffers":
                np.testing.assert_array_equal((after if part is before else after["buffers"])[key], value)


def test_a_step_beyond_all_numbers_raises_lambda():
    opt = optim.CurveBall({"w": np.array([3.0])}, lam=1.0)
    start = opt.w.copy()

    def predict(m):
        return m["w"] if (mg.stop_gradient(m["w"]) == start).all() else m["w"] * np.inf

    info = opt.step(predict, lambda y: (y**2).sum())
    assert info.ratio == -np.inf and opt.lam > 1.0


def test_curvature_beyond_all_numbers_stops_the_step():
    opt = optim.CurveBall({"w": np.zeros(1)}, lam=0.0)
    with np.errstate(over="ignore"), pytest.raises(FloatingPointError, match="curvature along it is not"):
        opt.step(lambda m: m["w"] * 1e120, lambda y: (y**2 + 1e-20 * y).sum())  # g = 1e100, J g = 1e220
    np.testing.assert_array_equal(opt.w, 0.0)


@pytest.mark.parametrize(
    "setting, says",
    [
        ({"directions": "gz"}, "'zdz' or 'zg'"),
        ({"curvature": "fisher"}, "'ggn' or 'hessian'"),
        ({"reuse": 0}, "at least 1"),
    ],
)
def test_unknown_settings_are_named(setting, says):
    with pytest.raises(ValueError, match=f"CurveBall: {next(iter(setting))}=.*{says}"):
        optim.CurveBall({"w": np.ones(1)}, **setting)


# ----- What the step must not do -----


def network_with_state(dtype=np.float64):
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Linear(4, 6, rng, dtype=dtype),
        nn.BatchNorm(6, dtype=dtype),
        nn.ReLU(),
        nn.Dropout(0.5, rng),
        nn.Linear(6, 3, rng, dtype=dtype),
    )
    return model, rng.normal(size=(20, 4)).astype(dtype), nn.SoftmaxCrossEntropy(rng.integers(0, 3, 20))


def test_the_extra_loss_evaluation_sees_the_same_mask_and_leaves_no_trace():
    model, x, loss = network_with_state()
    norm, dropout = model.layers[1], model.layers[3]
    opt = optim.CurveBall(model, lam=1.0)
    before = float(loss(model(x, train=True)))
    after_one = [b.value for _, b in mg.tree_buffers(model)]
    norm.running_mean.value, norm.running_var.value, dropout.count.value = np.zeros(6), np.ones(6), 0

    info = opt.step(lambda m: m(x, train=True), loss)
    assert info.passes["primal"] == 2 and dropout.count.value == 1
    assert info.loss == before
    for (_, b), value in zip(mg.tree_buffers(model), after_one, strict=True):
        np.testing.assert_array_equal(b.value, value)

    dropout.count.value = 0  # the mask of the step, at the new parameters
    after = float(loss(model(x, train=True)))
    assert info.ratio == pytest.approx((after - before) / info.predicted, rel=1e-12)


def test_one_linearization_serves_all_derivative_passes(monkeypatch):
    """The network's primal operations run once a step: counted where they compute."""
    rng = np.random.default_rng(0)
    model = nn.resnet(8, channels=1, rng=rng)
    x, labels = rng.normal(size=(4, 8, 8, 1)).astype(np.float32), rng.integers(0, 10, 4)
    calls = {"forward": 0, "conv2d": 0, "conv2d_tangent": 0, "batch_norm": 0, "matmul": 0}

    def counted(name, impl):
        def wrapped(*args, **params):
            calls[name] += 1
            return impl(*args, **params)

        return wrapped

    # "batch_norm_residuals" is the primal of batch norm under differentiation, "batch_norm" the one without.
    for name in ("conv2d", "conv2d_tangent", "batch_norm_residuals", "batch_norm", "matmul"):
        prim = mg.core.PRIMITIVES[name]
        monkeypatch.setattr(prim, "numpy", counted(name.removesuffix("_residuals"), prim.numpy))

    def predict(m):
        calls["forward"] += 1
        return m(x, train=True)

    opt = optim.CurveBall(model)
    opt.step(predict, nn.SoftmaxCrossEntropy(labels))
    for key in calls:
        calls[key] = 0
    info = opt.step(predict, nn.SoftmaxCrossEntropy(labels))
    convolutions = 7
    assert info.passes == {"primal": 1, "jvp": 2, "vjp": 1}
    assert calls["forward"] == 1 and calls["batch_norm"] == convolutions
    # The input of the first layer does not move in a jvp; the reverse pass uses the two transposes of conv2d,
    # which are other primitives.
    assert calls["conv2d"] == convolutions + 2
    assert calls["conv2d_tangent"] == 2 * (convolutions - 1)
    assert calls["matmul"] == 1 + 2 * 2 + 2


def test_the_first_step_needs_no_z_and_later_steps_lower_the_loss():
    model, predict, loss = small_net(5)
    opt = optim.CurveBall(model, lam=0.1)
    losses = [opt.step(predict, loss).loss for _ in range(60)]
    assert losses[-1] < 0.2 * losses[0]
    assert all(np.isfinite(losses))


def test_fixed_mode_runs_one_forward_pass_and_uses_the_given_values():
    model, predict, loss = small_net(6)
    opt = optim.CurveBall(model, lam=1.0, rho=0.9, beta=0.1, adapt_lam=False)
    assert opt.plan() == {"primal": 1, "jvp": 1, "vjp": 1}
    info = opt.step(predict, loss)
    assert (info.rho, info.beta, info.passes) == (0.9, 0.1, opt.plan())
    adapting = optim.CurveBall(mg.tree_map(np.copy, model), lam=1.0, rho=0.9, beta=0.1)
    assert adapting.plan() == {"primal": 2, "jvp": 2, "vjp": 1}  # the prediction needs the second jvp
    info = adapting.step(predict, loss)
    assert info.ratio is not None and adapting.plan() == {"primal": 1, "jvp": 1, "vjp": 1}


def test_fixed_mode_predicts_the_model_s_value_at_its_step():
    opt, predict, loss = stepped(7, steps=0)
    d = dense(opt, predict, loss, LAM)
    opt = optim.CurveBall(opt.model, lam=LAM, rho=0.9, beta=0.1)
    info = opt.step(predict, loss)
    assert info.predicted == pytest.approx(d.g @ opt.z + 0.5 * opt.z @ d.H @ opt.z, rel=1e-9)


def test_any_scalar_loss_is_as_good_as_its_closed_form():
    model, predict, loss = small_net(8)
    a = optim.CurveBall(mg.tree_map(np.copy, model))
    b = optim.CurveBall(mg.tree_map(np.copy, model))
    for _ in range(3):
        a.step(predict, loss)
        b.step(predict, lambda y: mg.mean(mg.softmax_cross_entropy(y, loss.labels)))
        np.testing.assert_allclose(b.w, a.w, rtol=1e-9)


def test_weight_decay_is_the_same_as_writing_it_into_the_outputs():
    predict, loss, _, _ = quadratic_problem()
    wd, targets = 0.7, np.concatenate([loss.targets, np.zeros(8)])
    one = optim.CurveBall({"w": np.ones(8)}, lam=0.2, weight_decay=wd)
    other = optim.CurveBall({"w": np.ones(8)}, lam=0.2)
    for _ in range(7):
        a = one.step(predict, loss)
        b = other.step(lambda m: mg.concatenate([predict(m), np.sqrt(wd / 2) * m["w"]]),
                       nn.SquaredError(targets, reduction="sum"))  # fmt: skip
        assert a.loss == pytest.approx(b.loss, rel=1e-12)
        assert (a.ratio is None) == (b.ratio is None)
        np.testing.assert_allclose(one.w, other.w, rtol=1e-8, atol=1e-12)
    assert one.lam == other.lam


def test_float32_parameters_stay_float32():
    model, x, loss = network_with_state(np.float32)
    opt = optim.CurveBall(model)
    for _ in range(3):
        opt.step(lambda m: m(x, train=True), loss)
    assert {a.dtype for a in (opt.w, opt.z, *mg.tree_leaves(opt.model))} == {np.dtype(np.float32)}
    assert model.layers[1].running_mean.value.dtype == np.float32


@pytest.mark.parametrize("settings, message", [
    ({"lam": -1.0}, "lam=-1.0 must not be negative"), ({"rho": 0.9}, "give both, or neither"),
    ({"weight_decay": -0.1}, "weight_decay=-0.1 must not be negative"),
    ({"reuse": 0}, "reuse=0 must be"), ({"reuse": 2.5}, "reuse=2.5 must be"),
    ({"rho": 0.9, "beta": 0.1, "reuse": 5}, "reuse is for rho and beta that are solved for"),
    ({"lam": np.nan}, "lam=nan must not"), ({"weight_decay": np.nan}, "weight_decay=nan must not"),
])  # fmt: skip
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        optim.CurveBall({"w": np.ones(2)}, **settings)


def test_several_outputs_are_refused_with_the_way_out():
    opt = optim.CurveBall({"w": np.ones(2)})
    with pytest.raises(TypeError, match="predict returned a tuple.*minigrad.concatenate"):
        opt.step(lambda m: (m["w"], m["w"]), lambda y: (y[0] * y[1]).sum())
