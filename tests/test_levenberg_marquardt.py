"""Levenberg-Marquardt against dense linear algebra and SciPy's least squares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import dense, loss_now, network_with_state, rosenbrock, small_net, squares
from scipy.optimize import least_squares

import minigrad as mg
from minigrad import nn
from minigrad.optim.gauss_newton import GaussNewton
from minigrad.optim.levenberg_marquardt import TRIES, LevenbergMarquardt, cholesky_solve

seeds = st.integers(0, 2**31)

# ----- One step -----


@given(seeds, st.floats(1e-3, 10), st.sampled_from([0.0, 0.7]))
def test_a_step_is_the_dense_damped_solve(seed, lam, wd):
    model, predict, loss = small_net(seed)
    opt = LevenbergMarquardt(model, lam=lam, weight_decay=wd)
    g, G = dense(opt, predict, loss)
    w, n = opt.w.copy(), opt.w.size
    g, G = g + wd * w, G + wd * np.eye(n)
    info = opt.step(predict, loss)
    d = -np.linalg.solve(G + info.lam * np.eye(n), g)
    assert info.accepted and info.lam == pytest.approx(lam * 10 ** (info.tries - 1))
    np.testing.assert_allclose(opt.w - w, d, rtol=1e-10, atol=1e-10 * np.abs(d).max())
    predicted = g @ d + 0.5 * d @ G @ d  # without lam
    assert info.predicted == pytest.approx(predicted, rel=1e-9)
    after = loss_now(opt, predict, loss) + wd / 2 * opt.w @ opt.w
    assert info.ratio == pytest.approx((after - info.loss) / predicted, rel=1e-8)


@pytest.mark.parametrize("n", [1, 63, 64, 65, 130])
def test_the_matrix_is_made_in_blocks(n):
    rng = np.random.default_rng(n)
    A, t = rng.normal(size=(20, n)), rng.normal(size=20)
    opt = LevenbergMarquardt({"w": rng.normal(size=n)}, weight_decay=0.5)
    predict, loss = lambda m: mg.tanh(mg.matmul(A, m["w"])), lambda y: ((y - t) ** 4).sum()
    model = GaussNewton(opt, predict, loss, [])
    g, G = dense(opt, predict, loss)
    np.testing.assert_allclose(model.matrix(), G + 0.5 * np.eye(n), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(model.g, g + 0.5 * opt.w, rtol=1e-11)
    assert dict(model.passes) == {"primal": 1, **{k: opt.plan()[k] for k in ("jvp", "vjp")}}
    v = rng.normal(size=n)
    np.testing.assert_allclose(model.product(v), G @ v + 0.5 * v, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n", [1, 5, 64, 200])
def test_cholesky_solve_solves_what_is_positive_definite(n):
    rng = np.random.default_rng(n)
    B = rng.normal(size=(n, n))
    G, b = B @ B.T, rng.normal(size=n)
    before = G.copy()
    np.testing.assert_allclose(cholesky_solve(G, 0.3, b), np.linalg.solve(G + 0.3 * np.eye(n), b), rtol=1e-9)
    np.testing.assert_array_equal(G, before)
    assert cholesky_solve(-np.eye(n), 0.5, b) is None
    assert cholesky_solve(np.zeros((n, n)), 0.0, b) is None


def test_without_damping_one_step_solves_linear_least_squares():
    rng = np.random.default_rng(0)
    A, t = rng.normal(size=(30, 7)), rng.normal(size=30)
    opt = LevenbergMarquardt({"w": rng.normal(size=7)}, lam=0.0)
    info = opt.step(lambda m: mg.matmul(A, m["w"]), nn.SquaredError(t, reduction="sum"))
    np.testing.assert_allclose(opt.w, np.linalg.lstsq(A, t, rcond=None)[0], rtol=1e-11)
    assert info.ratio == pytest.approx(1.0, rel=1e-12) and info.tries == 1
    assert info.loss + info.predicted == pytest.approx(((A @ opt.w - t) ** 2).sum(), rel=1e-12)


def test_any_scalar_loss_is_as_good_as_its_closed_form():
    model, predict, loss = small_net(8)
    a, b = (LevenbergMarquardt(mg.tree_map(np.copy, model)) for _ in range(2))
    for _ in range(3):
        a.step(predict, loss)
        b.step(predict, lambda y: mg.mean(mg.softmax_cross_entropy(y, loss.labels)))
        np.testing.assert_allclose(b.w, a.w, rtol=1e-9)


def test_weight_decay_is_the_same_as_writing_it_into_the_outputs():
    rng = np.random.default_rng(1)
    A, t, wd = rng.normal(size=(12, 8)), rng.normal(size=12), 0.7
    predict = lambda m: mg.tanh(mg.matmul(A, m["w"]))  # noqa: E731
    one = LevenbergMarquardt({"w": np.ones(8)}, weight_decay=wd)
    other = LevenbergMarquardt({"w": np.ones(8)})
    for _ in range(7):
        a = one.step(predict, nn.SquaredError(t, reduction="sum"))
        b = other.step(lambda m: mg.concatenate([predict(m), np.sqrt(wd / 2) * m["w"]]),
                       nn.SquaredError(np.concatenate([t, np.zeros(8)]), reduction="sum"))  # fmt: skip
        assert a.loss == pytest.approx(b.loss, rel=1e-10)
        assert (a.lam, a.tries) == (b.lam, b.tries)
        np.testing.assert_allclose(one.w, other.w, rtol=1e-7, atol=1e-10)


# ----- To the minimum -----


def test_rosenbrock_takes_between_10_and_20_steps():
    start = np.array([-0.25, -0.25])
    opt = LevenbergMarquardt({"w": start}, lam=1.0)
    losses = [opt.step(rosenbrock, squares).loss for _ in range(25)]
    assert 10 <= next(k for k, f in enumerate(losses) if f < 1e-4) <= 20
    assert losses == sorted(losses, reverse=True)
    scipy = least_squares(lambda w: [1 - w[0], 10 * (w[1] - w[0] ** 2)], start, method="lm", xtol=1e-14)
    np.testing.assert_allclose(opt.w, scipy.x, rtol=1e-9)


@pytest.mark.parametrize("start", [(1.0, 1.0, 0.0), (5.0, 0.1, 1.0), (0.5, 3.0, -2.0)])
def test_an_exponential_is_fitted_as_scipy_fits_it(start):
    rng = np.random.default_rng(3)
    t = np.linspace(0, 4, 40)
    data = 2.5 * np.exp(-1.3 * t) + 0.5 + 0.05 * rng.normal(size=40)
    opt = LevenbergMarquardt({"w": np.array(start)})
    for _ in range(60):
        w = opt.w.copy()
        opt.step(lambda m: m["w"][0] * np.exp(-m["w"][1] * t) + m["w"][2] - data, squares)
    scipy = least_squares(lambda w: w[0] * np.exp(-w[1] * t) + w[2] - data, start, method="lm",
                          xtol=1e-15, ftol=1e-15, gtol=1e-15)  # fmt: skip
    np.testing.assert_allclose(opt.w, scipy.x, rtol=1e-6)
    np.testing.assert_allclose(opt.w, w, rtol=1e-7)  # it has come to rest


def test_at_the_minimum_rounding_does_not_move_lambda():
    rng = np.random.default_rng(4)
    A, t = rng.normal(size=(30, 3)), rng.normal(size=30)
    opt = LevenbergMarquardt({"w": np.zeros(3)})
    for _ in range(40):
        info = opt.step(lambda m: mg.sinh(mg.matmul(A, m["w"])), nn.SquaredError(t))
    assert info.ratio is None and info.tries == 1 and opt.lam < 1


# ----- Steps that are not taken -----


def test_a_step_that_would_raise_the_loss_is_tried_again_from_the_same_linearization():
    """Newton on √(1 + y²) goes from y to -y³."""
    calls = []

    def predict(m):
        calls.append(m["w"])
        return m["w"]

    opt = LevenbergMarquardt({"w": np.array([3.0])}, lam=1e-3)
    plan = opt.plan()
    with mg.trace() as t:
        info = opt.step(predict, lambda y: mg.sqrt(1 + y * y).sum())
    assert info.accepted and info.tries > 1 and info.ratio > 0
    assert info.lam == pytest.approx(1e-3 * 10 ** (info.tries - 1), rel=1e-14)
    assert len(calls) == 1 + info.tries and float(np.sqrt(1 + opt.w[0] ** 2)) < info.loss
    assert info.passes == {"primal": 1 + info.tries, "jvp": 1, "vjp": 2}
    t.check(plan)
    assert {kind: t.count(kind) for kind in info.passes} == info.passes


def test_a_loss_that_is_not_finite_after_the_step_counts_as_risen():
    opt = LevenbergMarquardt({"w": np.array([10.0])}, lam=0.0)
    info = opt.step(lambda m: mg.log(m["w"]), squares)  # Gauss-Newton goes to 10 (1 - log 10) < 0
    assert info.accepted and info.tries > 1 and 0 < opt.w[0] < 10
    for _ in range(20):
        opt.step(lambda m: mg.log(m["w"]), squares)
    assert opt.w[0] == pytest.approx(1.0, abs=1e-9)


def test_where_nothing_lowers_the_loss_the_parameters_stay_and_lambda_has_grown():
    calls = []

    def predict(m):
        calls.append(1)
        return m["w"] * (1.0 if len(calls) == 1 else np.nan)

    opt = LevenbergMarquardt({"w": np.arange(1.0, 4.0)}, lam=1e-12)
    info = opt.step(predict, squares)
    np.testing.assert_array_equal(opt.w, np.arange(1.0, 4.0))
    assert (info.accepted, info.tries, info.ratio) == (False, TRIES, -np.inf) and opt.count == 1
    assert opt.lam == pytest.approx(10 * info.lam) and opt.lam > 1e4
    calls.clear()
    info = opt.step(predict, squares)  # until what is promised is lost in rounding
    assert not info.accepted and info.tries < TRIES and info.ratio is None
    assert -info.predicted < 1e-15 * info.loss


def test_an_indefinite_matrix_is_damped_until_it_is_positive_definite():
    opt = LevenbergMarquardt({"w": np.array([1.0, 2.0])}, lam=1e-6)
    info = opt.step(lambda m: m["w"], lambda y: mg.cos(y).sum())  # curvature -cos y: -0.54 and 0.42
    assert info.accepted and info.lam == pytest.approx(1.0) and info.tries == 7
    np.testing.assert_allclose(opt.w, [1 + np.sin(1) / (1 - np.cos(1)), 2 + np.sin(2) / (1 - np.cos(2))])


def test_no_damping_grows_from_the_rounding_of_the_matrix():
    opt = LevenbergMarquardt({"w": np.array([0.0, 1.0])}, lam=0.0)
    info = opt.step(lambda m: m["w"][:1] - 3, squares)  # G = diag(2, 0)
    assert info.accepted and info.tries == 2 and 0 < opt.lam < 1e-14
    np.testing.assert_allclose(opt.w, [3.0, 1.0], rtol=1e-12)
    with pytest.raises(ValueError, match="LevenbergMarquardt step 0: the loss has no curvature: use lam > 0"):
        LevenbergMarquardt({"w": np.ones(2)}, lam=0.0).step(lambda m: m["w"], lambda y: y.sum())


def test_trials_see_the_same_mask_and_leave_no_trace():
    model, batches = network_with_state()
    norm, dropout = model.layers[1], model.layers[3]
    opt = LevenbergMarquardt(model, lam=1e-6)
    predict, loss = batches[0]
    with mg.keeping_buffers(model):
        before = float(loss(predict(model)))
        statistics = [b.value for _, b in mg.tree_buffers(model)]
    info = opt.step(predict, loss)
    assert info.passes["primal"] == 1 + info.tries and dropout.count.value == 1
    assert info.loss == pytest.approx(before, rel=1e-14)
    for (_, b), value in zip(mg.tree_buffers(model), statistics, strict=True):
        np.testing.assert_allclose(b.value, value, rtol=1e-14)
    assert norm.running_mean.value.any()
    dropout.count.value = 0  # the mask of the step, at the new parameters
    after = loss_now(opt, predict, loss)
    assert info.ratio == pytest.approx((after - before) / info.predicted, rel=1e-10)


@pytest.mark.parametrize("fails_in_call", [1, 2, 3])
def test_an_error_in_a_step_leaves_parameters_and_buffers(fails_in_call):
    model, batches = network_with_state()
    opt = LevenbergMarquardt(model, lam=1e-9)
    opt.step(*batches[0])
    before, calls = opt.state_dict(), []

    def predict(m):
        calls.append(1)
        y = batches[1][0](m)
        if len(calls) == fails_in_call:
            raise KeyboardInterrupt
        return y if len(calls) == 1 else y * np.nan

    with pytest.raises(KeyboardInterrupt):
        opt.step(predict, batches[1][1])
    same_state(opt.state_dict(), before)


def same_state(a, b):
    for key, value in b.items():
        for name, x in value.items() if key == "buffers" else [(key, value)]:
            np.testing.assert_array_equal(a["buffers"][name] if key == "buffers" else a[key], x)


def test_what_is_not_finite_at_the_parameters_stops_the_step():
    opt = LevenbergMarquardt({"w": np.ones(2)})
    with pytest.raises(FloatingPointError, match="LevenbergMarquardt step 0: the loss is nan"):
        opt.step(lambda m: m["w"] * np.nan, squares)
    with (
        np.errstate(over="ignore"),
        pytest.raises(FloatingPointError, match="but not the Gauss-Newton matrix"),
    ):
        opt.step(lambda m: m["w"] * 1e200, lambda y: (y * 1e-200).sum() + ((y - 1e200) ** 2).sum() * 1e-60)
    np.testing.assert_array_equal(opt.w, 1.0)
    assert opt.count == 0 and opt.lam == 1.0


# ----- State and settings -----


def test_a_saved_run_goes_on_bit_for_bit(tmp_path):
    runs = []
    for save in (False, True):
        model, batches = network_with_state(np.float32)
        opt, infos = LevenbergMarquardt(model), []
        for k in range(8):
            if save and k == 4:
                nn.save_state(tmp_path / "state", opt.state_dict())
                opt = LevenbergMarquardt(network_with_state(np.float32)[0], lam=7.0)
                opt.load_state_dict(nn.load_state(tmp_path / "state"))
            infos.append(opt.step(*batches[k % 5]))
        runs.append((opt.w.tobytes(), infos, opt.lam))
    assert runs[0] == runs[1]


def test_float32_parameters_stay_float32_and_step_like_float64():
    ws, lams = [], []
    for dtype in (np.float32, np.float64):
        model, predict, loss = small_net(5, dtype)
        opt = LevenbergMarquardt(model)
        for _ in range(3):
            info = opt.step(predict, loss)
        assert opt.w.dtype == dtype and {a.dtype for a in mg.tree_leaves(model)} == {np.dtype(dtype)}
        ws.append(opt.w.astype(float))
        lams.append(info.lam)
    assert lams[0] == lams[1]
    np.testing.assert_allclose(ws[0], ws[1], atol=1e-3)


@pytest.mark.parametrize("settings, message", [
    ({"lam": -1.0}, "lam=-1.0 must not be negative"), ({"lam": np.nan}, "lam=nan must not"),
    ({"lam": np.inf}, "lam=inf must not"),
    ({"weight_decay": -0.1}, "weight_decay=-0.1 must not be negative"),
])  # fmt: skip
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LevenbergMarquardt({"w": np.ones(2)}, **settings)


def test_large_models_and_several_outputs_are_refused_with_the_way_out():
    with pytest.raises(ValueError, match="has 5,001 parameters, .* 5,000 at most: use TruncatedNewton"):
        LevenbergMarquardt({"w": np.ones(5_001)})
    opt = LevenbergMarquardt({"w": np.ones(2)})
    with pytest.raises(TypeError, match="predict returned a tuple.*minigrad.concatenate"):
        opt.step(lambda m: (m["w"], m["w"]), lambda y: (y[0] * y[1]).sum())
