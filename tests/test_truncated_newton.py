"""Conjugate gradient against SciPy's, truncated Newton against dense linear algebra."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import dense, loss_now, network_with_state, rosenbrock, small_net, squares
from scipy.optimize import least_squares
from scipy.sparse.linalg import cg as scipy_cg

import minigrad as mg
from minigrad import nn
from minigrad.optim.cg import cg
from minigrad.optim.truncated_newton import TruncatedNewton

seeds = st.integers(0, 2**31)


def system(seed, n, kappa=100.0):
    """A symmetric positive definite matrix and a right-hand side."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    return q @ np.diag(np.geomspace(1, kappa, n)) @ q.T, rng.normal(size=n)


def scipy_iterates(A, b, x0, steps):
    found = []
    scipy_cg(A, b, x0=x0, rtol=0, atol=1e-300, maxiter=steps, callback=lambda x: found.append(x.copy()))
    return found


# ----- Conjugate gradient -----


@given(seeds, st.booleans())
def test_the_iterates_are_those_of_scipy(seed, warm):
    A, b = system(seed, 12)
    x0 = np.random.default_rng(seed + 1).normal(size=12) if warm else np.zeros(12)
    for k, x in enumerate(scipy_iterates(A, b, x0, 9), 1):
        it = cg(lambda v: A @ v, b, x0, steps=k, progress=0.0)[-1]
        assert it.iteration == k
        np.testing.assert_allclose(it.x, x, rtol=1e-6, atol=1e-8)
        assert it.value == pytest.approx(0.5 * x @ A @ x - b @ x, rel=1e-8)


@given(seeds, st.integers(1, 20))
def test_after_n_iterations_the_system_is_solved(seed, n):
    A, b = system(seed, n, 10.0)
    last = cg(lambda v: A @ v, b, np.zeros(n), steps=n + 3, progress=0.0)[-1]
    np.testing.assert_allclose(last.x, np.linalg.solve(A, b), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("warm", [False, True])
def test_each_iteration_costs_one_product_and_a_warm_start_another(warm):
    A, b = system(0, 60)
    calls = []
    cg(lambda v: calls.append(1) or A @ v, b, np.ones(60) * warm, steps=7)
    assert len(calls) == 7 + warm
    calls.clear()
    (only,) = cg(lambda v: calls.append(1) or A @ v, b * 0, b * 0, steps=7)  # solved already
    assert not calls and only.iteration == 0 and not only.x.any()


def test_the_iterates_that_are_kept_stand_further_and_further_apart():
    A, b = system(1, 200, 1e6)
    kept = [it.iteration for it in cg(lambda v: A @ v, b, b * 0, steps=100, progress=0.0)]
    assert kept == [*sorted({math.ceil(1.3**j) for j in range(18) if 1.3**j <= 100}), 100]
    values = [it.value for it in cg(lambda v: A @ v, b, b * 0, steps=100, progress=0.0)]
    assert values == sorted(values, reverse=True)


def test_the_search_ends_where_the_last_tenth_of_it_gained_little():
    a, b = np.geomspace(1, 1e4, 300), np.random.default_rng(2).normal(size=300)

    def search(steps, progress):
        return cg(lambda v: a * v, b, b * 0, steps, progress)[-1]

    phi = [0.5 * x @ (a * x) - b @ x for x in (search(k, 0.0).x for k in range(200))]
    for progress in (1e-2, 5e-4, 1e-5):
        stalls = [
            i > (k := max(10, i // 10)) and phi[i] < 0 and (phi[i] - phi[i - k]) / phi[i] < k * progress
            for i in range(200)
        ]
        assert search(400, progress).iteration == stalls.index(True)
    assert stalls.index(True) > 110
    far = cg(lambda v: a * v, b, b * 0 + 1e3, 400)  # φ > 0 says nothing about progress
    assert next(it for it in far if it.iteration > 11).value > 0 > far[-1].value


def test_without_curvature_the_search_ends():
    A, b = np.diag([1.0, 2.0, -1.0]), np.array([1.0, 1.0, 0.1])
    (*_, before, last) = cg(lambda v: A @ v, b, b * 0, steps=50)
    assert last.iteration < 3 and last.value < before.value
    (first,) = cg(lambda v: -v, b, b * 0, steps=50)
    np.testing.assert_array_equal(first.x, b)  # the first direction itself
    assert first.iteration == 1 and first.value == pytest.approx(-1.5 * b @ b)


def test_a_product_that_is_not_finite_is_told():
    with pytest.raises(
        FloatingPointError, match="conjugate gradient: the product of iteration 1 is not finite"
    ):
        cg(lambda v: v * np.nan, np.ones(3), np.zeros(3), steps=5)


def test_vectors_of_float32_have_scalars_of_float64():
    """A million equal entries: summed in float32 one by one, they would lose digits."""
    b = np.full(10**6, 0.1, np.float32)
    (it,) = cg(lambda v: v * np.float32(3), b, b * 0, steps=1)
    assert it.x.dtype == np.float32 and type(it.value) is float
    assert it.value == pytest.approx(-(10**6) * float(np.float32(0.1)) ** 2 / 6, rel=1e-7)


# ----- One step -----


def curved(seed, wd=0.0, lam=0.3):
    """Eight parameters, of which conjugate gradient finds the step in eight iterations."""
    rng = np.random.default_rng(seed)
    A, t, x, c = rng.normal(size=(12, 8)), rng.normal(size=12), rng.normal(size=8), 1 / np.sqrt(8)
    opt = TruncatedNewton({"w": x}, lam=lam, weight_decay=wd)
    return opt, lambda m: mg.tanh(c * mg.matmul(A, m["w"])), lambda y: mg.log(mg.cosh(y - t)).sum()


@given(seeds, st.floats(0.1, 10), st.sampled_from([0.0, 0.7]))
def test_many_iterations_find_the_dense_damped_newton_step(seed, lam, wd):
    opt, predict, loss = curved(seed, wd, lam)
    for _ in range(2):  # the second from a warm start
        g, G = dense(opt, predict, loss)
        w = opt.w.copy()
        g, G = g + wd * w, G + wd * np.eye(8)
        info = opt.step(predict, loss)
        newton = -np.linalg.solve(G + info.lam * np.eye(8), g)
        np.testing.assert_allclose(opt.d, newton, rtol=1e-6, atol=1e-8 * np.abs(newton).max())
        if info.taken == info.cg:
            np.testing.assert_allclose(opt.w - w, info.size * newton, rtol=1e-5, atol=1e-7)
            predicted = g @ newton + 0.5 * newton @ G @ newton  # without lam
            assert info.predicted == pytest.approx(predicted, rel=1e-7)
            if info.size == 1:
                after = loss_now(opt, predict, loss) + wd / 2 * opt.w @ opt.w
                assert info.ratio == pytest.approx((after - info.loss) / predicted, rel=1e-5)


def test_lambda_follows_the_ratio():
    opt, predict, loss = curved(1, lam=1e3)
    for _ in range(40):
        before = opt.lam
        info = opt.step(predict, loss)
        assert info.lam == before
        if info.ratio is not None:
            assert opt.lam == pytest.approx(
                before * (2 / 3 if info.ratio > 0.75 else 1.5 if info.ratio < 0.25 else 1)
            )
    assert opt.lam < 1.0


def test_without_damping_linear_least_squares_is_solved_in_a_step():
    rng = np.random.default_rng(0)
    A, t = rng.normal(size=(30, 7)), rng.normal(size=30)
    opt = TruncatedNewton({"w": rng.normal(size=7)}, lam=0.0)
    info = opt.step(lambda m: mg.matmul(A, m["w"]), nn.SquaredError(t, reduction="sum"))
    np.testing.assert_allclose(opt.w, np.linalg.lstsq(A, t, rcond=None)[0], rtol=1e-8)
    assert info.ratio == pytest.approx(1.0, rel=1e-9) and opt.lam == 0


def test_weight_decay_is_the_same_as_writing_it_into_the_outputs():
    rng = np.random.default_rng(1)
    A, t, wd = rng.normal(size=(12, 8)), rng.normal(size=12), 0.7
    predict = lambda m: mg.tanh(mg.matmul(A, m["w"]))  # noqa: E731
    one, other = TruncatedNewton({"w": np.ones(8)}, weight_decay=wd), TruncatedNewton({"w": np.ones(8)})
    for _ in range(7):
        a = one.step(predict, nn.SquaredError(t, reduction="sum"))
        b = other.step(lambda m: mg.concatenate([predict(m), np.sqrt(wd / 2) * m["w"]]),
                       nn.SquaredError(np.concatenate([t, np.zeros(8)]), reduction="sum"))  # fmt: skip
        assert a.loss == pytest.approx(b.loss, rel=1e-9)
        assert (a.lam, a.taken, a.size) == (b.lam, b.taken, b.size)
        np.testing.assert_allclose(one.w, other.w, rtol=1e-6, atol=1e-9)


def test_the_next_search_begins_near_the_last_solution():
    opt, predict, loss = curved(2)
    first = opt.step(predict, loss)
    assert first.passes["jvp"] == first.cg and first.passes["vjp"] == 1 + first.cg
    second = opt.step(predict, loss)  # one more product, to know the residual of the start
    assert second.passes["jvp"] == second.cg + 1 and second.passes["vjp"] == second.cg + 2
    model, predict, loss = small_net(0)
    opt = TruncatedNewton(model, max_cg=1)
    opt.step(predict, loss)
    g, G = dense(opt, predict, loss)
    d = 0.95 * opt.d
    lam = opt.lam
    r = -g - G @ d - lam * d
    opt.step(predict, loss)
    np.testing.assert_allclose(opt.d, d + r @ r / (r @ G @ r + lam * r @ r) * r, rtol=1e-9, atol=1e-13)


# ----- To the minimum -----


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_rosenbrock(lam):
    start = np.array([-0.25, -0.25])
    opt = TruncatedNewton({"w": start}, lam=lam)
    losses = [opt.step(rosenbrock, squares).loss for _ in range(40)]
    assert next(k for k, f in enumerate(losses) if f < 1e-4) <= 20
    scipy = least_squares(lambda w: [1 - w[0], 10 * (w[1] - w[0] ** 2)], start, method="lm")
    np.testing.assert_allclose(opt.w, scipy.x, rtol=1e-7)


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    x, labels = load_digits(return_X_y=True)
    return x / 16 - 0.3, labels


@given(seeds, st.sampled_from(["float32", "float64"]), st.sampled_from([1e-4, 0.1, 10.0]))
@settings(max_examples=4)
def test_the_loss_of_a_batch_never_rises(digits, seed, dtype, lam):
    rng = np.random.default_rng(seed)
    model = nn.Sequential(
        nn.Linear(64, 12, rng, dtype=np.dtype(dtype)),
        nn.BatchNorm(12, dtype=np.dtype(dtype)),
        nn.Tanh(),
        nn.Dropout(0.2, rng),
        nn.Linear(12, 10, rng, dtype=np.dtype(dtype)),
    )
    opt = TruncatedNewton(model, lam=lam, max_cg=20)
    mask, eps = model.layers[3].count, float(np.finfo(dtype).eps)
    for k in range(30):
        chosen = rng.integers(0, 1797, 60)
        x, loss = digits[0][chosen].astype(dtype), nn.SoftmaxCrossEntropy(digits[1][chosen])
        before = loss_now(opt, lambda m, x=x: m(x, train=True), loss)
        info = opt.step(lambda m, x=x: m(x, train=True), loss)
        assert info.loss == pytest.approx(before, rel=4 * eps)
        assert mask.value == k + 1
        mask.value = k
        after = loss_now(opt, lambda m, x=x: m(x, train=True), loss)
        mask.value = k + 1
        assert after <= before * (1 + 2 * eps)
    assert opt.w.dtype == dtype


def test_it_trains_a_network(digits):
    x, loss = digits[0][:300], nn.SoftmaxCrossEntropy(digits[1][:300])
    opt = TruncatedNewton(nn.mlp((64, 12, 10), np.random.default_rng(0), dtype=np.float64))
    infos = [opt.step(lambda m: m(x), loss) for _ in range(20)]
    assert infos[-1].loss < 0.01 and any(i.taken < i.cg for i in infos)


# ----- Steps that are shortened or not taken -----


def test_an_earlier_iterate_is_taken_where_the_loss_is_lower():
    """λ far too small: conjugate gradient goes too far."""
    model, predict, loss = small_net(3)
    opt = TruncatedNewton(model, lam=1e-8)
    w = opt.w.copy()
    g, G = dense(opt, predict, loss)
    kept = cg(lambda v: G @ v + 1e-8 * v, -g, g * 0, steps=250)
    info = opt.step(predict, loss)

    def loss_at(d):
        opt.w[:] = w + d
        return loss_now(opt, predict, loss)

    end, losses = opt.w.copy(), [loss_at(it.x) for it in kept]
    (k,) = [k for k, it in enumerate(kept) if it.iteration == info.taken]
    assert k < len(kept) - 1 and info.size == 1
    assert losses[k] == min(losses[k:]) and (k == 0 or losses[k - 1] >= losses[k])
    np.testing.assert_allclose(end - w, kept[k].x, rtol=1e-6, atol=1e-9)
    assert info.passes["primal"] == 1 + len(kept) - k + (k > 0)  # back to the first that is worse


def test_a_step_too_long_is_shortened_until_the_loss_falls():
    """Newton on √(1 + y²) goes from y to -y³."""
    opt = TruncatedNewton({"w": np.array([3.0])}, lam=0.0)
    info = opt.step(lambda m: m["w"], lambda y: mg.sqrt(1 + y * y).sum())
    f = lambda y: math.sqrt(1 + y * y)  # noqa: E731
    assert info.accepted and 0 < info.size < 1 and info.ratio < 0
    d, slope = -3 - 27, 3 / f(3)
    assert opt.w[0] == pytest.approx(3 + info.size * d, rel=1e-12)
    assert f(opt.w[0]) <= f(3) + 1e-2 * info.size * slope * d
    longer = info.size / 0.8
    assert f(3 + longer * d) > f(3) + 1e-2 * longer * slope * d


def test_a_step_that_lowers_the_loss_by_next_to_nothing_is_still_too_long():
    """From y, a step of size s goes to y - s (y + y³), the mirror image at s = 2 / (1 + y²)."""
    y = math.sqrt(2 / (0.8**8 * 1.001) - 1)
    opt = TruncatedNewton({"w": np.array([y])}, lam=0.0)
    info = opt.step(lambda m: m["w"], lambda y: mg.sqrt(1 + y * y).sum())
    assert abs(y - 0.8**8 * (y + y**3)) < y and info.size == pytest.approx(0.8**9)


def test_a_loss_that_is_not_finite_after_the_step_counts_as_risen():
    opt = TruncatedNewton({"w": np.array([10.0])}, lam=0.0)
    info = opt.step(lambda m: mg.log(m["w"]), squares)  # Gauss-Newton goes to 10 (1 - log 10) < 0
    assert info.accepted and info.size < 1 and 0 < opt.w[0] < 10 and info.ratio == -math.inf
    for _ in range(20):
        opt.step(lambda m: mg.log(m["w"]), squares)
    assert opt.w[0] == pytest.approx(1.0, abs=1e-6)


def test_where_nothing_lowers_the_loss_the_parameters_stay():
    opt, predict, loss = curved(4)
    opt.step(predict, loss)
    w, lam, calls = opt.w.copy(), opt.lam, []

    def poisoned(m):
        calls.append(1)
        return predict(m) * (1.0 if len(calls) == 1 else np.nan)

    info = opt.step(poisoned, loss)
    np.testing.assert_array_equal(opt.w, w)
    np.testing.assert_array_equal(opt.d, 0.0)
    assert not info.accepted and opt.lam == 1.5 * lam and opt.count == 2
    assert info.passes["primal"] == len(calls)
    assert info.size == pytest.approx(0.8**60)
    assert opt.step(predict, loss).accepted


def test_a_start_that_leads_uphill_is_dropped():
    A, t = np.diag(np.geomspace(1, 100, 8)), np.ones(8)
    opt = TruncatedNewton({"w": np.zeros(8)}, max_cg=1)
    opt.d[:] = -100.0
    info = opt.step(lambda m: mg.matmul(A, m["w"]), nn.SquaredError(t))
    assert not info.accepted and info.predicted > 0 and info.ratio is None and opt.lam == 1.5
    assert not opt.w.any() and not opt.d.any()
    assert opt.step(lambda m: mg.matmul(A, m["w"]), nn.SquaredError(t)).accepted


def test_a_slope_uphill_allows_no_rise():
    opt = TruncatedNewton({"w": np.zeros(1)}, lam=0.0)
    opt.d[:] = (np.pi - 0.005 + 1) / 0.95  # of which conjugate gradient takes the gradient, 1
    info = opt.step(lambda m: mg.sin(m["w"]), lambda y: y.sum())  # to sin(0.005)
    assert not info.accepted and opt.w[0] == 0.0


def test_where_the_loss_has_no_curvature_the_step_is_along_the_gradient():
    opt = TruncatedNewton({"w": np.zeros(2)}, lam=0.0)
    info = opt.step(lambda m: m["w"], lambda y: (y * np.array([1.0, 2.0])).sum())
    np.testing.assert_array_equal(opt.w, [-1.0, -2.0])
    assert info.accepted and info.ratio == 1.0
    opt = TruncatedNewton({"w": np.array([0.5])}, lam=0.1)  # curvature -cos y: it goes down all the same
    for _ in range(20):
        info = opt.step(lambda m: m["w"], lambda y: mg.cos(y).sum())
    assert info.loss == pytest.approx(-1.0)


def test_at_the_minimum_it_rests():
    opt, predict, loss = curved(5)
    for _ in range(30):
        opt.step(predict, loss)
    lam, w = opt.lam, opt.w.copy()
    for _ in range(5):
        info = opt.step(predict, loss)
        assert info.ratio is None and info.passes["primal"] < 15
    np.testing.assert_allclose(opt.w, w, rtol=1e-6, atol=1e-8)
    assert opt.lam <= lam * 1.5**5


def test_trials_see_the_same_mask_and_leave_no_trace():
    model, batches = network_with_state()
    dropout = model.layers[3]
    opt = TruncatedNewton(model, lam=1e-6)
    predict, loss = batches[0]
    with mg.keeping_buffers(model):
        before = float(loss(predict(model)))
        statistics = [b.value for _, b in mg.tree_buffers(model)]
    info = opt.step(predict, loss)
    assert info.passes["primal"] > 2 and dropout.count.value == 1
    assert info.loss == pytest.approx(before, rel=1e-14)
    for (_, b), value in zip(mg.tree_buffers(model), statistics, strict=True):
        np.testing.assert_allclose(b.value, value, rtol=1e-14)


@pytest.mark.parametrize("fails_in_call", [1, 2, 5])
def test_an_error_in_a_step_leaves_parameters_buffers_and_warm_start(fails_in_call):
    model, batches = network_with_state()
    opt = TruncatedNewton(model)
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
    after = opt.state_dict()
    assert before.pop("buffers").keys() == (buffers := after.pop("buffers")).keys() and len(buffers) == 3
    for key, value in before.items():
        np.testing.assert_array_equal(after[key], value)


def test_what_is_not_finite_at_the_parameters_stops_the_step():
    opt = TruncatedNewton({"w": np.ones(2)})
    with pytest.raises(FloatingPointError, match="TruncatedNewton step 0: the loss is nan"):
        opt.step(lambda m: m["w"] * np.nan, squares)
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="its gradient is not"):
        opt.step(lambda m: mg.sqrt(m["w"] - 1), lambda y: y.sum())
    np.testing.assert_array_equal(opt.w, 1.0)
    assert opt.count == 0 and opt.lam == 1.0


# ----- Passes, state, settings -----


def test_the_passes_of_a_step_can_be_seen_and_are_counted():
    model, batches = network_with_state()
    opt = TruncatedNewton(model)
    for batch in batches:
        plan = opt.plan()
        with mg.trace() as t:
            info = opt.step(*batch)
        t.check(plan)
        assert {kind: t.count(kind) for kind in plan} == info.passes


def test_a_saved_run_goes_on_bit_for_bit(tmp_path):
    runs = []
    for save in (False, True):
        model, batches = network_with_state(np.float32)
        opt, infos = TruncatedNewton(model), []
        for k in range(8):
            if save and k == 4:
                nn.save_state(tmp_path / "state", opt.state_dict())
                opt = TruncatedNewton(network_with_state(np.float32)[0], lam=7.0)
                opt.load_state_dict(nn.load_state(tmp_path / "state"))
            infos.append(opt.step(*batches[k % 5]))
        runs.append((opt.w.tobytes(), infos, opt.lam))
    assert runs[0] == runs[1]


def test_float32_parameters_stay_float32_and_step_like_float64():
    ws = []
    for dtype in (np.float32, np.float64):
        model, predict, loss = small_net(5, dtype)
        opt = TruncatedNewton(model)
        for _ in range(5):
            opt.step(predict, loss)
        arrays = opt.w, opt.d, *mg.tree_leaves(model)
        assert {a.dtype for a in arrays} == {np.dtype(dtype)}
        ws.append(opt.w.astype(float))
    np.testing.assert_allclose(ws[0], ws[1], atol=1e-3)


@pytest.mark.parametrize("settings, message", [
    ({"lam": -1.0}, "lam=-1.0 must not be negative"), ({"max_cg": 0}, "max_cg=0 must be at least 1"),
    ({"weight_decay": -0.1}, "weight_decay=-0.1 must not be negative"),
    ({"lam": math.nan}, "lam=nan must not"),
])  # fmt: skip
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        TruncatedNewton({"w": np.ones(2)}, **settings)
