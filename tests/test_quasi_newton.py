"""BFGS and L-BFGS against SciPy, and against the equations of Nocedal and Wright written with matrices."""

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given

import minigrad as mg
from minigrad import nn, optim

SEEDS = st.integers(0, 2**32 - 1)
METHODS = [optim.BFGS, optim.LBFGS]


def step(opt, f):
    return opt.step(lambda m: m["x"], f)


def minimise(opt, f, tolerance, most=500):
    """Steps on `f` until no entry of its gradient is above `tolerance`: the steps, all evaluations of f."""
    evaluations = 0
    for steps in range(most):
        if abs(mg.grad(f)(opt.w)).max() <= tolerance:
            return steps, evaluations
        evaluations += step(opt, f).evaluations
    raise AssertionError(f"{most} steps were not enough")


# ----- Beside SciPy -----


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def logistic():
    """Logistic regression with a ridge on 200 examples of 20 features that differ in size."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 20)) * np.geomspace(0.1, 10, 20)
    signs = np.sign(X @ rng.normal(size=20) + rng.normal(size=200))
    return lambda w: mg.mean(mg.softplus(-signs * (X @ w))) + 0.01 * (w * w).sum()


PROBLEMS = pytest.mark.parametrize(
    "f, x",
    [
        (rosenbrock, np.array([-1.2, 1.0])),
        (rosenbrock, np.tile([-1.2, 1.0], 5)),
        (logistic(), np.zeros(20)),
    ],
    ids=["rosenbrock 2", "rosenbrock 10", "logistic"],
)


@PROBLEMS
def test_bfgs_goes_on_from_its_first_estimate_like_scipy(f, x):
    """SciPy starts from the identity; given H after one step, it takes as many steps to the same place."""
    opt = optim.BFGS({"x": x})
    step(opt, f)
    theirs = scipy.optimize.minimize(
        f, opt.w.copy(), jac=mg.grad(f), method="BFGS", options={"gtol": 1e-7, "hess_inv0": opt.H.copy()}
    )
    steps, evaluations = minimise(opt, f, 1e-7)
    np.testing.assert_allclose(opt.w, theirs.x, atol=1e-5)
    assert 0.8 * theirs.nit <= steps <= 1.15 * theirs.nit and evaluations <= 1.15 * theirs.nfev


@PROBLEMS
def test_lbfgs_takes_the_steps_of_scipy_s(f, x):
    theirs = scipy.optimize.minimize(
        f, x, jac=mg.grad(f), method="L-BFGS-B", options={"gtol": 1e-7, "ftol": 0.0, "maxcor": 10}
    )
    opt = optim.LBFGS({"x": x})
    steps, evaluations = minimise(opt, f, 1e-7)
    np.testing.assert_allclose(opt.w, theirs.x, atol=1e-5)
    assert 0.8 * theirs.nit <= steps <= 1.15 * theirs.nit and evaluations <= 1.15 * theirs.nfev


# ----- The equations -----


def inverse_hessian(pairs, gamma):
    """H after `pairs`, from gamma I: eq. 6.17 as it is printed."""
    eye = np.eye(pairs[0][0].size)
    H = gamma * eye
    for s, y in pairs:
        rho = 1 / (y @ s)
        H = (eye - rho * np.outer(s, y)) @ H @ (eye - rho * np.outer(y, s)) + rho * np.outer(s, s)
    return H


def random_pairs(rng, k, n=6):
    """Steps and what a positive definite Hessian makes of them, another one each time."""
    pairs = []
    for _ in range(k):
        A = rng.normal(size=(n, n))
        s = rng.normal(size=n)
        pairs.append((s, A @ A.T @ s + 0.1 * s))
    return pairs


def after(method, pairs, **settings):
    opt = method({"x": 0 * pairs[0][0]}, **settings)
    for s, y in pairs:
        opt.update(s, y, optim.base.dot(s, y))
        opt.pairs += 1
    return opt


@given(SEEDS, st.integers(1, 8))
def test_bfgs_is_equation_6_17_from_equation_6_20(seed, k):
    pairs = random_pairs(np.random.default_rng(seed), k)
    H = after(optim.BFGS, pairs).H
    s, y = pairs[0]
    expected = inverse_hessian(pairs, (s @ y) / (y @ y))
    np.testing.assert_allclose(H, expected, rtol=1e-6, atol=1e-9 * abs(expected).max())
    np.testing.assert_array_equal(H, H.T)
    np.testing.assert_allclose(H @ pairs[-1][1], pairs[-1][0], rtol=1e-6, atol=1e-8)
    assert np.linalg.eigvalsh(H).min() > 0


@given(SEEDS, st.integers(1, 6), st.integers(1, 14))
def test_lbfgs_is_that_of_the_last_pairs_from_equation_7_20(seed, memory, k):
    rng = np.random.default_rng(seed)
    pairs, g = random_pairs(rng, k), rng.normal(size=6)
    opt = after(optim.LBFGS, pairs, memory=memory)
    s, y = pairs[-1]
    H = inverse_hessian(pairs[-memory:], (s @ y) / (y @ y))
    np.testing.assert_allclose(opt.direction(g), -H @ g, rtol=1e-6, atol=1e-9 * abs(H).max())


@given(SEEDS)
def test_every_step_makes_an_estimate_of_its_own_pair(seed):
    """Down a function with flat and with steep places: H y = s, H symmetric positive definite."""
    f, g = rosenbrock, mg.grad(rosenbrock)
    opt = optim.BFGS({"x": np.random.default_rng(seed).uniform(-2, 2, 4)})
    for _ in range(25):
        before = opt.w.copy()
        info = step(opt, f)
        s, y = opt.w - before, g(opt.w) - g(before)
        assert info.kept and info.wolfe and opt.pairs == info.step + 1
        assert f(opt.w) <= info.loss + 1e-4 * g(before) @ s and abs(g(opt.w) @ s) <= -0.9 * g(before) @ s
        np.testing.assert_array_equal(opt.H, opt.H.T)
        np.testing.assert_allclose(opt.H @ y, s, rtol=1e-5, atol=1e-6 * abs(s).max())
        np.linalg.cholesky(opt.H)
        if abs(g(opt.w)).max() < 1e-4:
            break


@given(SEEDS)
@pytest.mark.parametrize("settings", [{"memory": 1}, {"memory": 9}, None])
def test_with_an_exact_search_a_quadratic_takes_n_steps_those_of_conjugate_gradient(settings, seed):
    """Nocedal and Wright, theorem 6.4 and section 7.2; n = 6, condition 100."""
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    A, c = q * np.geomspace(1, 100, 6) @ q.T, rng.normal(size=6)

    def f(x):
        return 0.5 * (x * (A @ x)).sum() - (c * x).sum()

    method = optim.BFGS if settings is None else optim.LBFGS
    opt = method({"x": np.zeros(6)}, c1=1e-10, c2=1e-9, **(settings or {}))
    x, r = np.zeros(6), c.copy()
    p = r
    for _ in range(6):
        alpha = (r @ r) / (p @ A @ p)
        x, r, old = x + alpha * p, r - alpha * A @ p, r
        p = r + (r @ r) / (old @ old) * p
        step(opt, f)
        np.testing.assert_allclose(opt.w, x, rtol=1e-6, atol=1e-7 * abs(x).max())
    np.testing.assert_allclose(opt.w, np.linalg.solve(A, c), rtol=1e-6, atol=1e-8)


# ----- One function a step -----


def network(dtype=np.float32):
    """A network with batch norm and dropout, and a batch for it."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Linear(4, 8, rng, dtype=dtype),
        nn.BatchNorm(8, dtype=dtype),
        nn.Tanh(),
        nn.Dropout(0.3, rng),
        nn.Linear(8, 3, rng, dtype=dtype),
    )
    x, labels = rng.normal(size=(16, 4)).astype(dtype), rng.integers(0, 3, 16)
    return model, lambda m: m(x, train=True), nn.SoftmaxCrossEntropy(labels)


@pytest.mark.parametrize("method", METHODS)
def test_a_step_moves_the_buffers_once_and_its_loss_does_not_rise(method):
    model, predict, loss = network()
    opt = method(model, weight_decay=0.01)
    for k in range(15):
        before = [b.value for _, b in mg.tree_buffers(model)]
        with mg.keeping_buffers(model):
            predict(model)
            once = [b.value for _, b in mg.tree_buffers(model)]
        info = opt.step(predict, loss)
        for (_, b), expected in zip(mg.tree_buffers(model), once, strict=True):
            np.testing.assert_array_equal(b.value, expected)
        with mg.keeping_buffers(model, start=before):
            now = float(loss(predict(model))) + 0.005 * optim.base.dot(opt.w, opt.w)
        assert now < info.loss and info.step == k


def test_both_gradients_of_a_pair_have_the_masks_of_the_step():
    model, predict, loss = network(np.float64)
    opt = optim.BFGS(model)
    for _ in range(3):
        start, w = [b.value for _, b in mg.tree_buffers(model)], opt.w.copy()
        opt.step(predict, loss)
        g = []
        for x in (w, opt.w):
            with mg.keeping_buffers(model, start=start):
                g.append(mg.grad(lambda w: loss(predict(opt.unravel(w))))(x))
        np.testing.assert_allclose(opt.H @ (g[1] - g[0]), opt.w - w, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_the_passes_of_a_step_are_seen(method):
    model, predict, loss = network()
    opt = method(model)
    for _ in range(4):
        with mg.trace() as t:
            info = opt.step(predict, loss)
        assert [p.kind for p in t] == ["primal", "vjp", *["jvp"] * info.evaluations, "primal", "vjp"]
        assert info.passes == {"primal": 2, "jvp": info.evaluations, "vjp": 2} and info.evaluations > 0
        (noted,) = t.steps
        assert (noted["alpha"], noted["kept"]) == (info.alpha, True) and noted["norms"].keys() == {*"wgd"}


@pytest.mark.parametrize("method", METHODS)
def test_single_precision_stays_single(method):
    model, predict, loss = network()
    opt = method(model)
    for _ in range(5):
        opt.step(predict, loss)
    assert opt.w.dtype == opt.direction(opt.w).dtype == np.float32
    if method is optim.BFGS:
        s, y = (np.array(x, np.float32) for x in ([0.1, 0.2, 0.3], [0.3, 0.2, 0.1]))
        H = after(optim.BFGS, [(s, y)]).H
        assert opt.H.dtype == H.dtype == np.float64
        np.testing.assert_allclose(H @ y.astype(np.float64), s, rtol=1e-14)


# ----- Where nothing is to be learnt -----


@pytest.mark.parametrize("method", METHODS)
def test_a_step_without_curvature_leaves_the_estimate(method):
    opt = method({"x": np.ones(3)})
    info = step(opt, lambda x: x.sum())
    assert not info.kept and not info.wolfe and info.alpha > 1 and opt.pairs == 0
    opt = method({"x": np.zeros(3)})
    step(opt, rosenbrock)
    state = opt.state_dict()
    assert state["pairs"] == 1
    info = step(opt, lambda x: (np.arange(3) * x).sum())
    assert not info.kept and info.loss > (np.arange(3) * opt.w).sum()
    for key in ("H",) if method is optim.BFGS else ("S", "Y", "sy"):
        np.testing.assert_array_equal(opt.state_dict()[key], state[key])


@pytest.mark.parametrize("method", METHODS)
def test_where_no_step_goes_down_nothing_moves_and_the_pairs_are_forgotten(method):
    def deceiving(x):  # its slope has the wrong sign
        return 2 * mg.stop_gradient((x * x).sum()) - (x * x).sum()

    opt = method({"x": np.zeros(3)})
    for _ in range(2):
        step(opt, rosenbrock)
    assert opt.pairs == 2
    before = opt.w.copy()
    info = step(opt, deceiving)
    assert (info.alpha, info.wolfe, info.kept, opt.pairs) == (0.0, False, False, 0)
    np.testing.assert_array_equal(opt.w, before)
    alpha = step(opt, rosenbrock).alpha
    np.testing.assert_allclose(opt.w, before - alpha * mg.grad(rosenbrock)(before), rtol=1e-15)


@pytest.mark.parametrize("method", METHODS)
def test_an_estimate_that_leads_up_is_given_up(method):
    opt = method({"x": np.zeros(3)})
    for _ in range(2):
        step(opt, rosenbrock)
    if method is optim.BFGS:
        opt.H *= -1
    else:
        opt.sy *= -1
    before = opt.w.copy()
    info = step(opt, rosenbrock)
    np.testing.assert_allclose(opt.w, before - info.alpha * mg.grad(rosenbrock)(before), rtol=1e-15)
    assert info.kept and opt.pairs == 1


@pytest.mark.parametrize("method", METHODS)
def test_a_pair_of_negative_curvature_is_left_out(method):
    opt = method({"x": np.ones(3)})
    info = step(opt, lambda x: -(x * x).sum())
    assert info.alpha > 1 and not info.kept and opt.pairs == 0


@pytest.mark.parametrize("method", METHODS)
def test_weight_decay_is_the_same_function_with_its_square_added(method):
    a, b = (method({"x": np.array([-1.2, 1.0, 0.5])}, weight_decay=wd) for wd in (0.5, 0.0))
    for _ in range(12):
        one, two = step(a, rosenbrock), step(b, lambda x: rosenbrock(x) + 0.25 * (x * x).sum())
        assert (one.evaluations, one.kept) == (two.evaluations, two.kept)
        np.testing.assert_allclose([one.loss, one.alpha], [two.loss, two.alpha], rtol=1e-8)
        np.testing.assert_allclose(a.w, b.w, rtol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_at_a_minimum_it_stays(method):
    opt = method({"x": np.zeros(3)})
    info = step(opt, lambda x: (x * x).sum())
    assert (info.alpha, info.evaluations, info.kept) == (0.0, 0, False) and not opt.w.any()


@pytest.mark.parametrize("method", METHODS)
def test_a_gradient_that_is_lost_at_the_new_place_takes_the_step_back(method):
    """The loss turns NaN in the last pass of a step, when the search has ended."""

    def run(spoilt):
        model, predict, loss = network()
        opt = method(model)
        opt.step(predict, loss)
        before, calls = opt.state_dict(), []

        def counted(m):
            calls.append(1)
            return predict(m) * np.float32("nan" if len(calls) == spoilt else 1.0)

        if spoilt is None:
            opt.step(counted, loss)
            return len(calls)
        with pytest.raises(FloatingPointError, match=f"{method.__name__} step 1: the loss is nan"):
            opt.step(counted, loss)
        now = opt.state_dict()
        for path, value in before.pop("buffers").items():
            np.testing.assert_array_equal(now["buffers"][path], value)
        for key, value in before.items():
            np.testing.assert_array_equal(now[key], value)

    run(spoilt=run(spoilt=None))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"BFGS: .* of 10,001 parameters would take 0.8 GB: use LBFGS"):
        optim.BFGS({"x": np.zeros(10_001)})
    with pytest.raises(ValueError, match="LBFGS: memory=0 must be at least 1"):
        optim.LBFGS({"x": np.zeros(2)}, memory=0)
