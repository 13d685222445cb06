"""The training experiments: runs that go on bit for bit, curves that add up, failures that are kept."""

import json
import math
import re

import autoencoder
import cifar_basic
import lab
import mnist_mlp
import numpy as np
import pytest
import random_networks
import resnet18
import training
from hypothesis import given
from hypothesis import strategies as st
from lab import Place
from matplotlib.figure import Figure

import minigrad as mg
from minigrad import nn, optim

SETTINGS = {
    "data": "digits",
    "model": "mlp",
    "optimizer": "curveball",
    "options": {"lam": 1.0},
    "batch_size": 64,  # 22 steps an epoch
    "epochs": 3,
    "seed": 0,
    "solver": "CurveBall",
}
PARTS = ("curve", "tests")


def place(folder, epochs=None):
    folder.mkdir(exist_ok=True, parents=True)
    return Place(folder, None, "cpu", epochs)


def without_seconds(result):
    plain = {k: v for k, v in result.items() if k not in ("seconds", "unfinished", *PARTS)}
    return plain | {k: {c: v for c, v in result[k].items() if c != "seconds"} for k in PARTS}


def weights(folder):
    return nn.load_state(folder / "checkpoint.safetensors")["optimizer"]["w"].tobytes()


@pytest.mark.parametrize(
    ("model", "optimizer", "options"),
    [
        ("mlp", "curveball", {"lam": 1.0}),
        ("mlp", "adam", {"lr": 1e-3}),
        ("mlp", "sgd", {"lr": {"piecewise": [[1, 0.1], [2, 0.01]]}, "momentum": {"sutskever": 0.9}}),
        ("resnet8", "curveball", {"lam": 1.0}),  # with running averages
    ],
)
def test_stopping_between_epochs_and_within_one_changes_no_bit(
    tmp_path, monkeypatch, model, optimizer, options
):
    settings = SETTINGS | {"model": model, "optimizer": optimizer, "options": options, "epochs": 2}
    settings |= {"batch_size": 256}  # 5 steps an epoch
    whole = training.train(settings, place(tmp_path / "whole"))

    broken = place(tmp_path / "broken", epochs=1)
    first = training.train(settings, broken)
    assert first["unfinished"] and first["steps"] == 5
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    step, count = training.Run.step, 0

    def stops(self, *args):
        nonlocal count
        count += 1
        if count == 5:  # after the one that is thrown away, and three more
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(training.Run, "step", stops)
    with pytest.raises(KeyboardInterrupt):
        training.train(settings, place(tmp_path / "broken"))
    monkeypatch.setattr(training.Run, "step", step)
    assert len(nn.load_state(tmp_path / "broken" / "checkpoint.safetensors")["far"]["losses"]) == 3
    resumed = training.train(settings, place(tmp_path / "broken"))

    assert "unfinished" not in resumed and without_seconds(resumed) == without_seconds(whole)
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")
    assert resumed["seconds"] > first["seconds"] and sorted(resumed["curve"]["seconds"])[0] > 0


def test_a_run_that_is_done_stays_as_it_is(tmp_path):
    settings = SETTINGS | {"epochs": 1}
    first = training.train(settings, place(tmp_path))
    assert training.train(settings, place(tmp_path)) == first
    json.dumps(first, allow_nan=False)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    training.train(SETTINGS, place(tmp_path, epochs=1))
    with pytest.raises(ValueError, match="other settings"):
        training.train(SETTINGS | {"seed": 1}, place(tmp_path))


def test_every_solver_starts_alike_and_sees_the_same_batches(tmp_path, monkeypatch):
    seen = {}
    step = training.Run.step

    def watched(self, opt, x, labels):
        own = seen.setdefault(self.opt.name, {"start": self.opt.w.copy(), "batches": []})
        own["batches"].append(x.tobytes() + labels.tobytes())
        return step(self, opt, x, labels)

    monkeypatch.setattr(training.Run, "step", watched)
    for optimizer, options in (("curveball", {}), ("sgd", {"lr": 0.1}), ("adam", {})):
        settings = SETTINGS | {"optimizer": optimizer, "options": options, "epochs": 1}
        training.train(settings, place(tmp_path / optimizer))
    first, *others = seen.values()
    assert len(others) == 2 and len(set(first["batches"])) == 22
    for own in others:
        assert own["start"].tobytes() == first["start"].tobytes() and own["batches"] == first["batches"]


def test_the_curve_adds_up(tmp_path):
    result = training.train(SETTINGS, place(tmp_path))
    curve, tests = result["curve"], result["tests"]
    assert len({len(column) for column in curve.values()}) == 1
    assert curve["step"] == [e * 22 + k for e in range(3) for k in (3, 5, 7, 9, 11, 14, 16, 18, 20, 22)]
    assert curve["epoch"] == pytest.approx([s / 22 for s in curve["step"]], rel=1e-5)
    # λ is looked at in steps 0, 5, 10, ..., for one more primal pass.
    assert curve["primal"] == [s + math.ceil(s / 5) for s in curve["step"]]
    assert curve["jvp"] == [2 * s for s in curve["step"]] and curve["vjp"] == curve["step"]
    assert {"rho", "beta", "lam"} <= curve.keys() and sorted(curve["seconds"]) == curve["seconds"]
    assert tests["epoch"] == [1, 2, 3] and tests["step"] == [22, 44, 66] and len(tests["seconds"]) == 3
    # A point is the mean since the last one, so ten of them, weighted, are the mean of the epoch.
    lengths = np.diff([0, *curve["step"]]).reshape(3, 10)
    losses = np.array(curve["loss"]).reshape(3, 10)
    np.testing.assert_allclose((lengths * losses).sum(1) / 22, tests["loss"], rtol=1e-5)
    assert result["loss"] == tests["loss"][-1] and result["score"] == tests["score"][-1] > 90

    opt = optim.CurveBall(nn.build("mlp", (8, 8, 1), 10, 0))
    opt.load_state_dict(nn.load_state(tmp_path / "checkpoint.safetensors")["optimizer"])
    assert opt.count == 66
    data = training.dataset("digits")
    x = ((data.train_x - data.mean) / data.std).astype(np.float32)
    assert result["train_loss"] == pytest.approx(
        float(nn.SoftmaxCrossEntropy(data.train_y)(opt.model(x))), rel=1e-4
    )
    assert mg.backend_of(opt.w).name == "numpy"


@pytest.mark.parametrize(
    ("options", "reason"), [({"lr": 1e30}, "finite|inf|nan"), ({"lr": 100.0}, "diverged")]
)
def test_a_run_that_fails_is_kept_with_its_reason(tmp_path, options, reason):
    settings = SETTINGS | {"optimizer": "sgd", "options": options, "epochs": 2}
    settings |= {"model": "lenet", "data": "digits32", "images": 640} if "finite" in reason else {}
    result = training.train(settings, place(tmp_path))
    assert re.search(reason, result["failed"]) and "unfinished" not in result
    assert result["steps"] == 44 if reason == "diverged" else 0 < result["steps"] < 20
    run = json.loads(json.dumps({"settings": settings, **result}, allow_nan=False))
    results = {"bad": run, "good": run | {"settings": settings | {"solver": "Adam"}}}
    del results["good"]["failed"]
    assert "| bad |" in training.failures(results) and run["failed"] in training.failures(results)
    assert training.by_solver(results).keys() == {"Adam"}


def test_a_command_keeps_a_failed_run_and_goes_on_with_an_unfinished_one(tmp_path, capsys):
    solvers = {
        "SGD": {"optimizer": "sgd", "options": {"lr": 100.0}},
        "Adam": {"optimizer": "adam", "options": {"lr": 1e-3}},
    }
    fast = mnist_mlp.FAST | {"solvers": solvers, "grids": {}, "seeds": [0], "epochs": 2}
    experiment = mnist_mlp.EXPERIMENT._replace(fast=fast, draw=lambda results: Figure((1, 1)))
    assert lab.main(experiment, ["--fast", "--out", str(tmp_path), "--epochs", "1"]) == 0
    first = json.loads((tmp_path / "mnist_mlp.json").read_text())["runs"]
    assert all(run["unfinished"] and run["tests"]["epoch"] == [1] for run in first.values())
    assert lab.main(experiment, ["--fast", "--out", str(tmp_path)]) == 0
    runs = json.loads((tmp_path / "mnist_mlp.json").read_text())["runs"]
    assert not any("unfinished" in run for run in runs.values())
    assert runs["Adam, seed 0"]["tests"]["loss"][:1] == first["Adam, seed 0"]["tests"]["loss"]
    assert "diverged" in runs["SGD, seed 0"]["failed"] and "failed" not in runs["Adam, seed 0"]
    said = capsys.readouterr().out
    assert "| 1 of 1 |" in said and "| 0 of 1 |" in said and "diverged" in said
    assert lab.main(experiment, ["--fast", "--out", str(tmp_path)]) == 0
    assert "SGD, seed 0:" not in capsys.readouterr().out  # nothing is left to do


# ----- The MNIST network's choice of learning rates -----


def made(solver, losses, seconds, family=None, lr=None, failed=False):
    settings = {"solver": solver, "data": "mnist", "options": {"lr": lr}}
    settings |= {"family": family} if family else {}
    n = len(losses)
    tests = {
        "epoch": list(range(1, n + 1)),
        "seconds": seconds,
        "loss": losses,
        "score": [90.0 + k for k in range(n)],
    }
    return {"settings": settings, "loss": losses[-1], "tests": tests} | ({"failed": "x"} if failed else {})


def test_the_best_learning_rate_has_the_lowest_mean_loss_and_no_failure():
    results = {
        "CurveBall": made("CurveBall", [0.4, 0.2], [4.0, 8.0]),
        "a0": made("SGD lr 0.1", [0.9, 0.30], [1.0, 2.0], "SGD", 0.1),
        "a1": made("SGD lr 0.1", [0.9, 0.10], [1.0, 2.0], "SGD", 0.1),
        "b0": made("SGD lr 0.2", [0.9, 0.24], [1.0, 3.0], "SGD", 0.2),
        "b1": made("SGD lr 0.2", [0.9, 0.24], [1.0, 5.0], "SGD", 0.2),
        "c0": made("SGD lr 0.3", [0.9, 0.01], [1.0, 2.0], "SGD", 0.3),
        "c1": made("SGD lr 0.3", [0.9, 0.01], [1.0, 2.0], "SGD", 0.3, failed=True),
    }
    assert mnist_mlp.grid(results, "SGD") == {0.1: 0.2, 0.2: 0.24, 0.3: math.inf}
    shown = mnist_mlp.untuned_and_best(results)
    assert list(shown) == ["CurveBall", "a0", "a1"]
    assert shown["a0"]["settings"]["solver"] == "SGD (lr 0.1)"
    assert training.colour("SGD (lr 0.1)") == lab.COLOURS["SGD"]


def test_the_comparison_is_after_equal_epochs_and_after_the_seconds_of_the_fastest():
    shown = {
        "CurveBall": made("CurveBall", [0.4, 0.2], [4.0, 8.0]),
        "SGD": made("SGD", [0.9, 0.3], [2.0, 5.0]),
    }
    head, _, curveball, sgd = mnist_mlp.comparison(shown).splitlines()
    assert "loss in epoch 2" in head and "loss by 5.0 s" in head
    # A quarter of the way from 4 s to 8 s
    assert [c.strip() for c in curveball.split("|")[1:-1]] == [
        "CurveBall", "0.2000", "91.00", "0.3500", "90.25", "1.2", "0 of 1",
    ]  # fmt: skip
    assert [c.strip() for c in sgd.split("|")[1:-1]] == [
        "SGD", "0.3000", "91.00", "0.3000", "91.00", "2.0", "0 of 1",
    ]  # fmt: skip


def test_the_comparison_counts_seeds_that_failed_and_keeps_solvers_of_which_all_did():
    results = {
        "0": made("CurveBall", [0.4, 0.2], [4.0, 8.0]),
        "1": made("CurveBall", [0.4, 9.0], [4.0, 8.0], failed=True),
        "a0": made("SGD lr 0.1", [0.9, 0.3], [1.0, 2.0], "SGD", 0.1, failed=True),
        "a1": made("SGD lr 0.1", [0.9, 0.3], [1.0, 2.0], "SGD", 0.1, failed=True),
        "b0": made("SGD lr 0.2", [0.9, 0.5], [1.0, 2.0], "SGD", 0.2),
        "b1": made("SGD lr 0.2", [0.9, 0.3], [1.0, 2.0], "SGD", 0.2, failed=True),
        "c0": made("Adam lr 1", [0.9, 0.3], [1.0, 2.0], "Adam", 1, failed=True),
    }
    _, _, *lines = mnist_mlp.comparison(mnist_mlp.untuned_and_best(results)).splitlines()
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in lines]
    assert [row[:2] + row[-1:] for row in rows] == [
        ["CurveBall", "0.2000", "1 of 2"], ["SGD (lr 0.2)", "0.5000", "1 of 2"],
        ["Adam (lr 1)", "–", "1 of 1"],
    ]  # fmt: skip


# ----- The autoencoder -----


def test_the_autoencoder_has_the_classic_sizes_and_scores_squared_errors(tmp_path):
    settings = autoencoder.runs(autoencoder.SETTINGS)["Adam, seed 0"] | {"data": "digits", "white": 16}
    task = autoencoder.Autoencoder()
    data = task.data(settings, None)
    x = next(training.batches(data, 20, np.random.default_rng(0), dtype="float64"))[0]
    assert x.min() == 0 and x.max() == 1
    model = task.model(settings, data)
    sizes = [m.weight.shape[1] for m in model.layers if isinstance(m, nn.Linear)]
    assert sizes == [1000, 500, 250, 30, 250, 500, 1000, 64]
    kinds = [type(m).__name__ for m in model.layers]
    code = kinds.index("Flatten") + 1 + 2 * 3
    assert kinds[code : code + 2] == ["Linear", "Linear"] and kinds[-1] == "Linear"
    assert kinds.count("Tanh") == 6 and not set(kinds) - {"Flatten", "Linear", "Tanh"}
    y = model(x)
    p, pixels = 1 / (1 + np.exp(-y)), x.reshape(20, -1)
    np.testing.assert_allclose(task.scores(y, x, None), ((p - pixels) ** 2).sum(1), rtol=1e-6)
    entropy = -(pixels * np.log(p) + (1 - pixels) * np.log(1 - p)).sum() / 20
    assert float(task.loss(x, None)(y)) == pytest.approx(entropy, rel=1e-6)


# ----- Random networks -----


@given(seed=st.integers(0, 2**32), mflop=st.sampled_from([0.3, 1.0, 2.0, 5.0]))
def test_a_random_network_is_valid_small_enough_and_the_same_for_the_same_seed(seed, mflop):
    drawn = random_networks.plan(np.random.default_rng(seed), mflop)
    assert drawn == random_networks.plan(np.random.default_rng(seed), mflop)
    assert json.loads(json.dumps(drawn)) == drawn
    assert mflop / 10 <= random_networks.flops(drawn) / 1e6 <= mflop
    model, again = (random_networks.network(drawn, seed) for _ in range(2))
    x = np.random.default_rng(0).standard_normal((4, 32, 32, 3)).astype(np.float32)
    y = model(x, train=True)
    assert y.shape == (4, 10) and np.isfinite(y).all()
    assert y.tobytes() == again(x, train=True).tobytes()
    g = mg.grad(lambda m: nn.SoftmaxCrossEntropy(np.arange(4))(m(x, train=True)))(model)
    assert all(np.isfinite(leaf).all() for leaf in mg.tree_leaves(g))


@given(seed=st.integers(0, 2**32))
def test_the_flops_of_a_plan_are_those_of_its_convolutions_and_matrices(seed):
    drawn = random_networks.plan(np.random.default_rng(seed), 2.0)
    model = random_networks.network(drawn, 0)
    x = np.zeros((1, 32, 32, 3), np.float32)
    with mg.trace() as recording:
        model(x)
    counted = sum(op.flops for op in recording.ops if op.primitive in ("conv2d", "matmul"))
    assert counted == random_networks.flops(drawn)


def test_random_networks_are_of_every_kind():
    plans = [run["network"] for run in random_networks.runs(random_networks.SETTINGS).values()]
    count = random_networks.SETTINGS["networks"]
    assert count >= 30
    assert len(plans) == 4 * count and len({random_networks.words(p) for p in plans}) == count
    for k, kinds in {"activation": 4, "batch_norm": 2, "residual": 2, "head": 2}.items():
        assert len({p[k] for p in plans}) == kinds
    assert {len(p["blocks"]) for p in plans} == {2, 3, 4, 5, 6}
    assert {b["pool"] for p in plans for b in p["blocks"]} == {"none", "max", "avg"}


def test_wins_go_to_the_lowest_loss_of_those_that_did_not_fail():
    losses = {"A": {0: 1.0, 1: 2.0}, "B": {0: 0.5, 1: 3.0, 2: 9.0}, "C": {}}
    assert random_networks.wins(losses) == {"A": 1, "B": 2, "C": 0}


# ----- Every experiment as its command -----


@pytest.mark.parametrize(
    "experiment",
    [
        pytest.param(module.EXPERIMENT, id=module.__name__, marks=[pytest.mark.slow] if slow else [])
        for module, slow in [
            (mnist_mlp, False),
            (cifar_basic, True),
            (random_networks, False),
            (resnet18, True),
            (autoencoder, False),
        ]
    ],
)
def test_the_fast_version_writes_numbers_tables_and_a_figure(tmp_path, experiment, capsys):
    assert lab.main(experiment, ["--fast", "--out", str(tmp_path)]) == 0
    kept = json.loads((tmp_path / f"{experiment.name}.json").read_text())
    assert kept["runs"].keys() == experiment.runs(experiment.settings | experiment.fast).keys()
    assert (tmp_path / f"{experiment.name}.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    for name, table in experiment.tables(kept["runs"]).items():
        assert name in said and table in said


def test_without_its_data_an_experiment_says_what_to_get(tmp_path, capsys):
    assert lab.main(cifar_basic.EXPERIMENT, ["--out", str(tmp_path)]) == 2
    assert "--data-dir" in capsys.readouterr().err


def test_schedules_come_from_data():
    momentum = training.schedule({"sutskever": 0.9}, 10)
    assert [momentum(t) for t in (0, 250, 5000)] == [0.5, 0.75, 0.9]
    with pytest.raises(KeyError):
        training.schedule({"cosine": 1.0}, 10)


def test_seconds_that_a_busy_machine_added_are_not_shown():
    def run(solver, lr, ms):
        steps = [10, 20, 30]
        seconds = np.cumsum([10 * m / 1000 for m in ms]).tolist()
        return {
            "settings": {"solver": solver, "model": "mlp", "optimizer": solver, "options": {"lr": lr}},
            "steps": 30,
            "seconds": sum(10 * m / 1000 for m in ms),
            "curve": {"step": steps, "seconds": seconds},
            "tests": {"step": [30], "seconds": seconds[-1:]},
        }

    results = {
        "a": run("sgd", 0.1, [2, 4, 50]),
        "b": run("sgd", 0.2, [2, 2, 2]),
        "c": run("adam", 0.1, [4, 3, 3]),
        "d": run("lbfgs", 0.1, []) | {"curve": {}, "tests": {}, "failed": "at once"},
    }
    shown = training.steady(results)
    assert [shown[k]["seconds"] for k in "abc"] == pytest.approx([0.06, 0.06, 0.09])
    assert shown["a"]["curve"]["seconds"] == pytest.approx([0.02, 0.04, 0.06])
    assert shown["c"]["tests"]["seconds"] == pytest.approx([0.09])
    assert shown["d"] == results["d"] and results["a"]["seconds"] == pytest.approx(0.56)
