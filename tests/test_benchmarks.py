"""The benchmark suite: the right networks, the right step, libraries that are missing, and what is kept."""

import doctest
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from benchmarks import kept, measure, parts, problems, table
from benchmarks.measure import Entry, Failed, at_work, in_turn, peaks
from benchmarks.peers import NUMPY, OURS, Peer, minigrad_
from benchmarks.problems import LAM, Chain, Network
from minigrad import nn, optim
from minigrad.optim.quadratic import QuadraticModel

ROOT = Path(__file__).parent.parent
SMALL = parts.images(parts.SMALL, 2)
NOBODY = Peer("nobody", "nobody_")


@pytest.mark.parametrize("module", [kept, measure, minigrad_, parts, problems, table])
def test_doctests(module):
    assert doctest.testmod(module).failed == 0


# ----- What is measured -----


@pytest.mark.parametrize(
    "layers, model",
    [
        (problems.resnet(8), nn.resnet(8)),
        (problems.resnet(20), nn.resnet(20)),
        (problems.resnet18(), nn.resnet18()),
        (problems.mlp((48, 5, 4, 3)), nn.Sequential(nn.Flatten(), nn.mlp((48, 5, 4, 3)))),
    ],
)
def test_a_network_is_minigrads_own(layers, model):
    built = minigrad_.module(layers)
    weights = Network(layers, (4, 4, 3), 10, 2).arrays()[0]
    assert [w.shape for w in weights] == [w.shape for w in mg.tree_leaves(model)]
    vector = np.concatenate([w.ravel() for w in weights])
    x = np.random.default_rng(0).standard_normal((2, 4, 4, 3), np.float32)
    ours, theirs = (mg.ravel(m)[1](vector) for m in (built, model))
    shaped = x.reshape(2, -1) if layers[0][0] == "linear" else x
    np.testing.assert_array_equal(ours(shaped, train=True), theirs(x, train=True))


def test_width_multiplies_channels():
    shapes = [w.shape for w in mg.tree_leaves(minigrad_.module(problems.resnet(8, width=4)))]
    assert shapes[0] == (4, 3, 3, 3) and shapes[-2] == (16, 10)


def test_the_curveball_row_is_the_step_of_the_optimizer():
    weights, direction, x, labels = SMALL.arrays()
    dz, _, _, numbers = minigrad_.network(SMALL)["CurveBall step"]()
    a11, a12, a22, b1, b2 = numbers
    c = QuadraticModel(np.array([[a11, a12], [a12, a22]]), np.array([b1, b2])).minimum()

    w, z = (np.concatenate([a.ravel() for a in arrays]) for arrays in (weights, direction))
    opt = optim.CurveBall(mg.ravel(minigrad_.module(SMALL.layers))[1](w), lam=LAM, adapt_lam=False)
    opt.z[:] = z
    info = opt.step(lambda m: m(x, train=True), nn.SoftmaxCrossEntropy(labels))
    np.testing.assert_allclose([-info.beta, info.rho], c, rtol=1e-6)
    np.testing.assert_allclose(opt.z, c[1] * z + c[0] * dz, rtol=1e-4, atol=1e-6)


def test_rows_agree_with_one_another():
    (y,), (g,), (t,), (J,), (stored,), (ggn,), (both,), (dz, Jz, Jdz, _) = [
        job() for job in minigrad_.network(SMALL).values()
    ]
    z = np.concatenate([a.ravel() for a in SMALL.arrays()[1]])
    assert y.shape == (2, 10)
    for one, other in [(t, J), (t, Jz), (stored, ggn), (both, g + ggn), (dz, both + LAM * z)]:
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5 * np.abs(other).max())
    assert Jdz.shape == y.shape


# ----- How it is measured -----


def test_a_missing_library_is_named_and_left_out():
    entries = [Entry(peer.name, peer, Chain(1)) for peer in (NOBODY, NUMPY, OURS[1])]
    data = in_turn(entries, ["value", "jvp"], rounds=2, least=0.0)
    assert list(data["skipped"]) == ["nobody"] and "No module named" in data["skipped"]["nobody"]
    assert {job: list(times) for job, times in data["values"].items()} == {
        "value": ["numpy", "minigrad numpy"],
        "jvp": ["minigrad numpy"],
    }
    assert all(
        len(some) == 2 and min(some) > 0 for times in data["values"].values() for some in times.values()
    )
    assert data["differences"]["value"]["minigrad numpy"] < 1e-12
    assert data["versions"] == {"numpy": np.__version__}
    assert list(peaks(entries[:1], [])["skipped"]) == ["nobody"]


def test_libraries_that_compute_something_else_are_not_compared(monkeypatch):
    monkeypatch.setattr(measure, "AGREE", 0.0)  # now even the same is not the same
    with pytest.raises(ValueError, match="value: numpy differs"):
        in_turn([Entry("numpy", NUMPY, Chain(1))], ["value"], rounds=1)


def test_a_failed_request_and_a_dead_process_are_told():
    with at_work(NUMPY) as worker:
        with pytest.raises(Failed, match="AttributeError"):  # raw NumPy has no networks
            worker.ask("build", SMALL)
        worker.ask("build", Chain(1))
        assert worker.ask("has", "value") and not worker.ask("has", "jvp")
        worker.process.kill()
        with pytest.raises(Failed, match="status -9"):
            worker.ask("run", "value", 0.0)


def test_a_process_that_ends_takes_no_others_along(monkeypatch):
    ask, killed = measure.Worker.ask, []

    def kill_the_first(worker, request, *args):
        if request == "run" and not killed:
            killed.append(worker.process.kill())
        return ask(worker, request, *args)

    monkeypatch.setattr(measure.Worker, "ask", kill_the_first)
    data = in_turn([Entry(p.name, p, Chain(1)) for p in (NUMPY, OURS[1])], ["value"], rounds=2, least=0.0)
    assert list(data["skipped"]) == ["numpy, value"] and "status -9" in data["skipped"]["numpy, value"]
    assert [(name, len(some)) for name, some in data["values"]["value"].items()] == [("minigrad numpy", 2)]


def test_memory_is_that_of_each_process():
    big = SMALL._replace(batch=256)
    data = peaks([Entry("small", OURS[1], SMALL), Entry("big", OURS[1], big)], ["gradient"])
    (small,), (large,) = data["values"]["gradient"].values()
    images = 256 * 32 * 32 * 4 * 4  # bytes of what one layer of the block puts out
    assert small + 3 * images < large < small + 100 * images


# ----- What is kept and shown -----


def test_the_command_keeps_and_shows_its_parts(tmp_path):
    names = ["resnet20", "mlp", "overhead", "scaling", "startup"]
    out = run(*names, "--fast", "--rounds", "1", "--results", tmp_path)
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(names)
    for name in names:
        data = json.loads((tmp_path / f"{name}.json").read_text())
        text = table.table(data)
        assert text in out
        assert data["machine"]["processor"] and data["machine"]["cores"] and data["date"]
        lines = text.split("\n\n")[1].splitlines()
        assert lines[0].split() == " ".join(data["values"]).split()
        assert len({len(line) for line in lines}) == 1
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- mlp -->old<!-- end -->\nafter <!-- other -->kept<!-- end -->\n")
    run("--write", page, "--results", tmp_path)
    before, shown, after = page.read_text().split("```")
    assert before.startswith("before\n<!-- mlp -->") and "<!-- other -->kept<!-- end -->" in after
    assert shown.removeprefix("text\n").rstrip() == table.table(
        json.loads((tmp_path / "mlp.json").read_text())
    )


def run(*args):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *map(str, args)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "results" / "a.json"
    kept.keep(path, "old")
    monkeypatch.setattr(kept.os, "replace", lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        kept.keep(path, "new")
    assert path.read_text() == "old"


def test_the_page_shows_what_is_kept():
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    assert kept.written(page, kept.RESULTS) == page
    for name in parts.PARTS:
        assert f"<!-- {name} -->" in page and (kept.RESULTS / f"{name}.json").exists()


def test_ratios_of_what_was_not_measured_are_not_made_up():
    values = {"step": {"ours": [1.0]}}
    ratio = parts.ratio(values, "{} / {}", ("step", ["ours"]), ("step", ["theirs"]), 0.5)
    assert ratio == {"label": "ours / theirs", "median": None, "min": None, "asked": 0.5}
    assert table.ratio_line(ratio) == ["ours / theirs", "-", "-", "<= 0.5"]
    missed = table.ratio_line(ratio | {"median": 0.6, "min": 0.4})
    assert missed == ["ours / theirs", "0.60", "0.40", "<= 0.5  MISSED"]


def test_a_line_is_fitted_to_minima():
    times = {f"batch {n}": [1e9, 3 + 2.0 * n] for n in (1, 2, 4)}
    fit = parts.line(times, "step", "batch", [1, 2, 4])
    np.testing.assert_allclose([fit["slope"], fit["start"]], [2, 3])
    assert fit["deviation"] < 1e-12
    times["batch 4"] = [22.0]
    assert 0.1 < parts.line(times, "step", "batch", [1, 2, 4])["deviation"] < 0.5
