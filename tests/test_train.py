"""The training example as a user runs it: on real data, by its command line, into a run folder."""

import json
import subprocess
import sys
from pathlib import Path

import compare
import numpy as np
import pytest
import train
from run import draw

import minigrad as mg
from minigrad import nn, optim

ROOT = Path(__file__).parent.parent


def run(tmp_path, *arguments):
    status = train.main([*arguments, "--out", str(tmp_path)])
    folders = sorted(p for p in tmp_path.iterdir() if p.is_dir())
    return status, folders[-1] if folders else None


def log(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_default_run_reaches_97_percent_on_the_digits(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "train.py"), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    rows = log(tmp_path / "digits-resnet8-curveball-0")
    assert rows[-1]["test_accuracy"] >= 0.97
    assert "test accuracy 9" in done.stdout and "after 220 steps" in done.stdout
    for word in ("loss", "test acc", "ρ", "β", "λ"):
        assert word in done.stdout


def test_a_run_leaves_a_log_a_checkpoint_a_plot_and_its_settings(tmp_path):
    status, folder = run(tmp_path, "--steps", "13", "--seed", "3")
    assert status == 0 and folder.name == "digits-resnet8-curveball-3"
    assert sorted(p.name for p in folder.iterdir()) == [
        "checkpoint.safetensors", "config.json", "curves.png", "log.jsonl",
    ]  # fmt: skip
    rows = log(folder)
    assert [r["step"] for r in rows] == list(range(13))
    assert {"loss", "rho", "beta", "lam", "epoch", "seconds"} <= rows[0].keys()
    assert [r["step"] for r in rows if "ratio" in r] == [0, 5, 10]
    assert [r["step"] for r in rows if "test_accuracy" in r] == [10, 12]  # after each epoch, and at the end
    assert json.loads((folder / "config.json").read_text())["seed"] == 3
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")

    state = nn.load_state(folder / "checkpoint.safetensors")
    opt = optim.CurveBall(nn.build("resnet8", (8, 8, 1), 10))
    opt.load_state_dict(state["optimizer"])
    assert opt.count == 13 and np.isfinite(opt.w).all()


@pytest.mark.parametrize("optimizer", ["curveball", "sgd", "adam", "rmsprop"])
def test_a_seed_repeats_bit_for_bit(tmp_path, optimizer):
    states = []
    for k in range(2):
        _, folder = run(tmp_path / str(k), "--steps", "3", "--optimizer", optimizer, "--batch-size", "32")
        states.append(nn.load_state(folder / "checkpoint.safetensors")["optimizer"])
    assert states[0]["w"].tobytes() == states[1]["w"].tobytes()


def test_double_precision_and_other_models_train(tmp_path):
    status, folder = run(tmp_path, "--model", "mlp", "--dtype", "float64", "--steps", "30")
    rows = log(folder)
    assert status == 0 and rows[-1]["loss"] < 0.5 * rows[0]["loss"]
    assert nn.load_state(folder / "checkpoint.safetensors")["optimizer"]["w"].dtype == np.float64


def test_a_second_run_does_not_touch_the_first(tmp_path):
    _, first = run(tmp_path, "--model", "mlp", "--steps", "1")
    _, second = run(tmp_path, "--model", "mlp", "--steps", "1")
    assert (first.name, second.name) == ("digits-mlp-curveball-0", "digits-mlp-curveball-0-2")


@pytest.mark.parametrize("good, kept", [(14, 11), (4, 0)])  # in the second epoch, and before any test
def test_a_nan_stops_the_run_with_step_and_layer_and_keeps_the_last_good_checkpoint(
    tmp_path, monkeypatch, capsys, good, kept
):
    build = nn.build

    class Poison(nn.Module):
        """Passes some training batches, and spoils the next."""

        def __init__(self):
            self.seen = mg.Buffer(0)

        def forward(self, x, train):
            self.seen.value += train
            return x * np.float32("nan") if train and self.seen.value > good else x

    def poisoned(*args):
        model = build(*args)
        model.layers.insert(3, Poison())
        return model

    monkeypatch.setattr(nn, "build", poisoned)
    status, folder = run(tmp_path, "--optimizer", "sgd", "--steps", "40")
    message = capsys.readouterr().err
    assert status == 1 and message.count("\n") == 1
    assert f"SGD step {good}: the loss is nan" in message
    assert "first in multiply: " in message and "layer model.layers[3]: Poison" in message
    assert f"last good checkpoint, of step {kept}," in message and str(folder) in message
    state = nn.load_state(folder / "checkpoint.safetensors")["optimizer"]
    assert state["count"] == kept and np.isfinite(state["w"]).all()
    assert len(log(folder)) == good and (folder / "curves.png").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--data", "mnist"], "--data-dir"),
        (["--data", "cifar10", "--data-dir", "nowhere"], "nowhere: no such folder"),
        (["--model", "resnet21"], "unknown model 'resnet21': use one of mlp, lenet"),
        (["--model", "lenet"], "images of 8 x 8 are too small"),
        (["--batch-size", "2000"], "--batch-size 2000: there are only 1437 training images"),
    ],
)
def test_bad_settings_are_one_line_that_names_the_thing(tmp_path, capsys, arguments, message):
    status, folder = run(tmp_path, *arguments)
    error = capsys.readouterr().err
    assert status == 2 and folder is None
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--optimizer", "newton"], ["--steps", "0"], ["--epochs", "x"]])
def test_impossible_arguments_are_refused_by_the_command_line(tmp_path, capsys, arguments):
    with pytest.raises(SystemExit):
        run(tmp_path, *arguments)
    assert arguments[1] in capsys.readouterr().err


def test_curves_show_what_was_logged_and_no_accuracy_before_the_first_test():
    config = {"model": "mlp", "data": "digits", "optimizer": "sgd", "batch_size": 8}
    rows = [{"step": 0, "loss": 2.0}, {"step": 1, "loss": 1.0}]
    loss, accuracy = draw(rows, config).axes
    assert list(loss.lines[0].get_ydata()) == [2.0, 1.0] and len(accuracy.lines[0].get_ydata()) == 0
    _, accuracy = draw([*rows, {"step": 2, "loss": 0.5, "test_accuracy": 0.9}], config).axes
    assert list(accuracy.lines[0].get_xydata()[0]) == [2.0, 90.0]


def test_compare_draws_runs_and_keeps_their_numbers(tmp_path, capsys):
    for optimizer in ("curveball", "sgd"):
        run(tmp_path / "runs", "--model", "mlp", "--optimizer", optimizer, "--steps", "12")
    out = tmp_path / "picture.png"
    assert compare.main([*map(str, (tmp_path / "runs").iterdir()), "--out", str(out)]) == 0
    runs = json.loads(out.with_suffix(".json").read_text())
    assert sorted(r["optimizer"] for r in runs) == ["curveball", "sgd"]
    assert all(len(r["loss"]) == 12 and 0 < r["test_accuracy"] <= 1 for r in runs)
    assert out.read_bytes().startswith(b"\x89PNG")
    assert compare.main([str(tmp_path), "--out", str(out)]) == 2
    assert "is no run folder" in capsys.readouterr().err
