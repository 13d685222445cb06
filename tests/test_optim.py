"""What all optimizers share, and the first-order ones against their formulas written out on plain numbers."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim

SETTINGS = {
    "curveball": {},
    "sgd": {"lr": 0.1, "momentum": 0.9},
    "adam": {"lr": 0.01},
    "rmsprop": {"lr": 0.01},
    "bfgs": {},
    "lbfgs": {"memory": 3},
    "lm": {},
    "truncated_newton": {},
}


def problem(dtype=np.float32):
    """A network with everything a state must hold: batch norm's running statistics and a dropout counter."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Linear(4, 8, rng, dtype=dtype),
        nn.BatchNorm(8, dtype=dtype),
        nn.Tanh(),
        nn.Dropout(0.2, rng),
        nn.Linear(8, 3, rng, dtype=dtype),
    )
    xs = rng.normal(size=(12, 16, 4)).astype(dtype)
    labels = rng.integers(0, 3, (12, 16))
    return model, [
        (lambda m, x=x: m(x, train=True), nn.SoftmaxCrossEntropy(t)) for x, t in zip(xs, labels, strict=True)
    ]


def gradients(steps):
    return np.random.default_rng(1).normal(size=(steps, 5))


def run(opt, gs):
    """Steps whose gradient is g whatever w is: the loss is linear."""
    for g in gs:
        opt.step(lambda m: m["w"], lambda y, g=g: (g * y).sum())
    return opt.w


def test_sgd_is_lr_times_gradient():
    gs = gradients(6)
    np.testing.assert_allclose(run(optim.SGD({"w": np.ones(5)}, lr=0.2), gs), 1 - 0.2 * gs.sum(0), rtol=1e-12)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_with_momentum_follows_pytorch_s_rule(nesterov):
    w, v = np.ones(5), np.zeros(5)
    for g in gradients(6):
        v = 0.9 * v + g
        w = w - 0.2 * (g + 0.9 * v if nesterov else v)
    opt = optim.SGD({"w": np.ones(5)}, lr=0.2, momentum=0.9, nesterov=nesterov)
    np.testing.assert_allclose(run(opt, gradients(6)), w, rtol=1e-12)


def test_rmsprop_divides_by_the_running_root_mean_square():
    w, s = np.ones(5), np.zeros(5)
    for g in gradients(6):
        s = 0.9 * s + 0.1 * g**2
        w = w - 0.01 * g / (np.sqrt(s) + 1e-8)
    opt = optim.RMSProp({"w": np.ones(5)}, lr=0.01, alpha=0.9)
    np.testing.assert_allclose(run(opt, gradients(6)), w, rtol=1e-12)


def test_adam_follows_algorithm_1():
    w, m, v = np.ones(5), np.zeros(5), np.zeros(5)
    for t, g in enumerate(gradients(6), 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(run(optim.Adam({"w": np.ones(5)}, lr=0.01), gradients(6)), w, rtol=1e-12)


@pytest.mark.parametrize("name", SETTINGS)
def test_weight_decay_adds_its_gradient_and_its_loss(name):
    predict, loss = lambda m: m["w"], lambda y: ((y - 3.0) ** 2).sum()
    start = {"w": np.arange(4.0)}
    a = optim.build(name, start, weight_decay=0.5, **SETTINGS[name])
    b = optim.build(name, start, **SETTINGS[name])
    info = a.step(predict, loss)
    assert info.loss == pytest.approx(loss(start["w"]) + 0.25 * (start["w"] ** 2).sum(), rel=1e-14)
    b.step(predict, lambda y: loss(y) + 0.25 * (y**2).sum())
    np.testing.assert_allclose(a.w, b.w, rtol=1e-12)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_module_stays_the_same_object_and_views_the_vector(name):
    model, batches = problem()
    opt = optim.build(name, model, **SETTINGS[name])
    assert opt.model is model and model.layers[0].weight.base is opt.w
    before = model.layers[0].weight.copy()
    opt.step(*batches[0])
    assert (model.layers[0].weight != before).all()
    np.testing.assert_array_equal(np.concatenate([a.ravel() for a in mg.tree_leaves(model)]), opt.w)


def test_other_trees_stay_untouched():
    tree = {"w": np.ones(3), "more": (np.zeros(2), [np.ones(1)])}
    opt = optim.SGD(tree, lr=1.0)
    opt.step(lambda m: m["w"] * m["more"][1][0], lambda y: y.sum())
    np.testing.assert_array_equal(tree["w"], 1.0)
    np.testing.assert_array_equal(opt.model["w"], 0.0)
    assert opt.model["more"][1][0].base is opt.w


@pytest.mark.parametrize("name", SETTINGS)
def test_a_saved_run_goes_on_bit_for_bit(name, tmp_path):
    def continued(path=None):
        model, batches = problem()
        opt = optim.build(name, model, **SETTINGS[name])
        infos = []
        for k, batch in enumerate(batches):
            if k == 6 and path:
                nn.save_state(path, opt.state_dict())
                opt = optim.build(name, problem()[0], **SETTINGS[name])
                opt.load_state_dict(nn.load_state(path))
            infos.append(opt.step(*batch))
        return opt, infos

    whole, infos = continued()
    resumed, infos_again = continued(tmp_path / "state.safetensors")
    assert whole.w.tobytes() == resumed.w.tobytes()
    assert infos == infos_again
    for (_, a), (_, b) in zip(mg.tree_buffers(whole.model), mg.tree_buffers(resumed.model), strict=True):
        np.testing.assert_array_equal(a.value, b.value)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_same_seed_gives_the_same_bits(name):
    runs = []
    for _ in range(2):
        model, batches = problem()
        opt = optim.build(name, model, **SETTINGS[name])
        for batch in batches[:4]:
            opt.step(*batch)
        runs.append(opt.w.tobytes())
    assert runs[0] == runs[1]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_loss_that_is_not_finite_stops_the_step_and_leaves_the_parameters(name):
    opt = optim.build(name, {"w": np.ones(2)}, **SETTINGS[name])
    opt.step(lambda m: m["w"], lambda y: (y**2).sum())
    before = opt.w.copy()
    with pytest.raises(FloatingPointError, match=f"{opt.name} step 1: the loss is nan"):
        opt.step(lambda m: m["w"] * np.nan, lambda y: (y**2).sum())
    with (
        np.errstate(divide="ignore", invalid="ignore"),
        pytest.raises(FloatingPointError, match="loss is finite, but its gradient is not"),
    ):
        opt.step(lambda m: mg.sqrt(m["w"] - mg.stop_gradient(m["w"])), lambda y: (y**2).sum() + y.sum())
    np.testing.assert_array_equal(opt.w, before)
    assert opt.count == 1


def test_a_state_of_another_optimizer_or_model_is_refused():
    opt = optim.SGD({"w": np.ones(3)})
    with pytest.raises(ValueError, match="SGD: this is the state of 'Adam'"):
        opt.load_state_dict(optim.Adam({"w": np.ones(3)}).state_dict())
    with pytest.raises(ValueError, match=r"SGD: w is float64\[4\] in the state, but float64\[3\] here"):
        opt.load_state_dict(optim.SGD({"w": np.ones(4)}).state_dict())
    with pytest.raises(ValueError, match="buffers"):
        opt.load_state_dict(optim.SGD({"w": np.ones(3), "n": mg.Buffer(0)}).state_dict())


def test_parameters_must_be_distinct_floats_of_one_dtype():
    with pytest.raises(
        TypeError, match=r"SGD: model\['n'\] is int64\[2\]: parameters must be floating point"
    ):
        optim.SGD({"w": np.ones(2), "n": np.arange(2)})
    shared = np.ones(2)
    with pytest.raises(ValueError, match=r"model\['a'\] and model\['b'\] are the same array"):
        optim.SGD({"a": shared, "b": shared})
    with pytest.raises(TypeError, match="one vector has one dtype"):
        optim.SGD({"a": np.ones(2), "b": np.ones(2, np.float32)})
    with pytest.raises(ValueError, match="holds no arrays"):
        optim.SGD(nn.ReLU())


def test_unknown_names_list_the_known_ones():
    with pytest.raises(
        ValueError, match="unknown optimizer 'newton': use one of curveball, sgd, adam, rmsprop, "
    ):
        optim.build("newton", {"w": np.ones(2)})
    with pytest.raises(ValueError, match="nesterov=True needs momentum"):
        optim.SGD({"w": np.ones(2)}, nesterov=True)


@pytest.mark.parametrize("name", SETTINGS)
def test_plan_and_info_name_the_passes_that_really_run(name, monkeypatch):
    """Counted where they run: calls of predict, forward sweeps and backward sweeps of linear maps.

    A pass with dual numbers calls predict, too, and is one forward sweep. None in a plan is any number.
    """
    counts = {"primal": 0, "jvp": 0, "vjp": 0}

    def counted(kind, sweep):
        def wrapped(*args, **kwargs):
            counts[kind] += 1
            return sweep(*args, **kwargs)

        return wrapped

    dual_numbers = mg.jvp

    def jvp(*args):
        primal = counts["primal"]
        out = dual_numbers(*args)
        counts["primal"] = primal
        return out

    monkeypatch.setattr(mg, "jvp", counted("jvp", jvp))
    monkeypatch.setattr(mg.LinearMap, "push", counted("jvp", mg.LinearMap.push))
    monkeypatch.setattr(mg.LinearMap, "pull", counted("vjp", mg.LinearMap.pull))
    model, batches = problem()
    opt = optim.build(name, model, **SETTINGS[name])
    for predict, loss in batches[:7]:
        for kind in counts:
            counts[kind] = 0
        plan = opt.plan()
        passes = opt.step(counted("primal", predict), loss).passes
        assert passes == counts == {k: counts[k] if n is None else n for k, n in plan.items()}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_step_that_fails_leaves_the_buffers_as_they_were(name):
    model, batches = problem()
    opt = optim.build(name, model, **SETTINGS[name])
    opt.step(*batches[0])
    before = opt.state_dict()
    predict, loss = batches[1]
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        opt.step(lambda m: predict(m) * np.float32("nan"), loss)
    after = opt.state_dict()
    np.testing.assert_array_equal(after["w"], before["w"])
    for path, value in before["buffers"].items():
        np.testing.assert_array_equal(after["buffers"][path], value)
