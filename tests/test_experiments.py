"""The experiments: what they share, and the small ones themselves, with the numbers that they must show."""

import importlib
import json
import re
import sys
import types
from pathlib import Path

import lab
import linear_network
import numpy as np
import pytest
import quadratics
import rosenbrock
import solvers

from minigrad import nn, optim

# ----- What they share -----


class Toy:
    """An experiment of two runs that counts what it is asked to do."""

    def __init__(self, **settings):
        self.settings = {"factor": 2, "numbers": [1, 2, 3]} | settings
        self.done = []

    def experiment(self):
        return lab.Experiment(
            "toy", self.settings, {"numbers": [1]}, self.runs, self.run, self.tables, self.draw, True
        )

    def runs(self, settings):
        return {name: settings | {"power": k} for k, name in enumerate(("first", "second"), 1)}

    def run(self, settings, place):
        self.done.append(place.folder.name)
        return {"values": [(settings["factor"] * n) ** settings["power"] for n in settings["numbers"]]}

    def tables(self, results):
        return {
            "sums": lab.markdown(["run", "sum"], [[name, sum(r["values"])] for name, r in results.items()])
        }

    def draw(self, results):
        from matplotlib.figure import Figure

        return Figure(figsize=(1, 1))

    def __call__(self, out, *arguments):
        return lab.main(self.experiment(), ["--out", str(out), *arguments])


def files(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_an_experiment_leaves_its_numbers_a_figure_and_each_run(tmp_path, capsys):
    assert Toy()(tmp_path) == 0
    names = {"toy.json", "toy.png", "toy/first/run.json", "toy/second/run.json"}
    assert {p.as_posix() for p in files(tmp_path)} == names
    kept = json.loads((tmp_path / "toy.json").read_text())
    assert kept["settings"] == {"factor": 2, "numbers": [1, 2, 3]}
    assert kept["runs"]["second"] == {
        "settings": {"factor": 2, "numbers": [1, 2, 3], "power": 2},
        "values": [4, 16, 36],
    }
    assert kept["environment"]["numpy"] == np.__version__
    assert "| second | 56 |" in capsys.readouterr().out


def test_a_second_call_does_nothing_and_gives_the_same_files(tmp_path):
    Toy()(tmp_path)
    before, again = files(tmp_path), Toy()
    assert again(tmp_path) == 0 and again.done == []
    assert files(tmp_path) == before


def test_the_fast_version_has_settings_and_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy = Toy()
    assert lab.main(toy.experiment(), ["--fast"]) == 0 and lab.main(toy.experiment(), []) == 0
    fast, full = (
        json.loads((tmp_path / "runs" / name / "toy.json").read_text())["runs"]["first"]["values"]
        for name in ("experiments-fast", "experiments")
    )
    assert (fast, full) == ([2], [2, 4, 6])


@pytest.mark.parametrize("other", [{"factor": 3}, {"numbers": [1, 2]}, {"more": True}])
def test_runs_with_other_settings_are_refused_in_one_line(tmp_path, capsys, other):
    Toy()(tmp_path)
    before = files(tmp_path)
    capsys.readouterr()
    assert Toy(**other)(tmp_path) == 2
    printed = capsys.readouterr()
    (key,) = other
    assert printed.out == "" and len(printed.err.splitlines()) == 1
    assert str(tmp_path / "toy" / "first" / "run.json") in printed.err
    assert f"now it is {other[key]!r}" in printed.err and key in printed.err and "--out" in printed.err
    assert files(tmp_path) == before


def test_a_setting_that_is_gone_is_another_setting_too(tmp_path, capsys):
    Toy(more=1)(tmp_path)
    assert Toy()(tmp_path) == 2
    assert "was made with more = 1, now it is None" in capsys.readouterr().err


def test_only_some_runs_and_then_the_others(tmp_path):
    toy = Toy()
    assert toy(tmp_path, "--only", "sec") == 0 and toy.done == ["second"]
    assert list(json.loads((tmp_path / "toy.json").read_text())["runs"]) == ["second"]
    assert toy(tmp_path) == 0 and toy.done == ["second", "first"]
    assert list(json.loads((tmp_path / "toy.json").read_text())["runs"]) == ["first", "second"]
    whole = tmp_path / "whole"
    Toy()(whole)
    assert (tmp_path / "toy.json").read_bytes() == (whole / "toy.json").read_bytes()


def test_only_what_is_not_there_is_an_error(tmp_path, capsys):
    assert Toy()(tmp_path, "--only", "third") == 2
    assert capsys.readouterr().err == "toy.py: no run is called like --only third\n"
    assert files(tmp_path) == {}


class Cut(BaseException):
    """What ends a run from outside."""


def test_a_run_that_is_cut_is_done_again_and_the_one_before_it_is_not(tmp_path):
    toy = Toy()

    def run(settings, place):
        if settings["power"] == 2:
            raise Cut
        return Toy.run(toy, settings, place)

    toy.run = run
    with pytest.raises(Cut):
        toy(tmp_path)
    assert [p.as_posix() for p in files(tmp_path)] == ["toy/first/run.json"]
    del toy.run
    assert toy(tmp_path) == 0 and toy.done == ["first", "second"]


def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    lab.write(path, {"settings": {}, "values": [1, 2]})
    before, complete = path.read_bytes(), Path.write_text

    def half(self, text, *arguments, **more):
        complete(self, text[: len(text) // 2])
        raise Cut

    monkeypatch.setattr(Path, "write_text", half)
    for target in (path, tmp_path / "new.json"):
        with pytest.raises(Cut):
            lab.write(target, {"settings": {}, "values": [3, 4]})
    assert path.read_bytes() == before and not (tmp_path / "new.json").exists()


def test_a_device_that_no_run_would_heed_is_refused(tmp_path, capsys):
    experiment = Toy().experiment()._replace(trains=False)
    with pytest.raises(SystemExit):
        lab.main(experiment, ["--device", "cuda", "--out", str(tmp_path)])
    assert "unrecognized arguments: --device cuda" in capsys.readouterr().err


def test_an_unfinished_run_is_shown_and_taken_up_again(tmp_path):
    toy = Toy()
    toy.run = lambda settings, place: Toy.run(toy, settings, place) | {"unfinished": place.epochs == 1}
    toy(tmp_path, "--epochs", "1")
    assert json.loads((tmp_path / "toy.json").read_text())["runs"]["first"]["unfinished"]
    toy(tmp_path)
    toy(tmp_path)
    assert toy.done == ["first", "second"] * 2


@pytest.mark.parametrize("error", [RuntimeError("it went wrong"), ValueError("it went wrong")])
def test_an_error_of_a_run_is_one_line(tmp_path, capsys, error):
    toy = Toy()

    def run(settings, place):
        raise error

    toy.run = run
    assert toy(tmp_path) == 2
    assert capsys.readouterr().err == "toy.py: it went wrong\n"


def test_json_keeps_every_digit_and_lists_of_numbers_on_one_line(tmp_path):
    values = np.random.default_rng(0).normal(size=40).tolist()
    lab.write(tmp_path / "a.json", {"settings": {"k": 1}, "values": values, "text": "a  b"})
    text = (tmp_path / "a.json").read_text()
    assert json.loads(text) == {"settings": {"k": 1}, "values": values, "text": "a  b"}
    assert len(text.splitlines()) == 7


def test_a_page_gets_its_tables_from_the_numbers_kept_beside_it(tmp_path, monkeypatch):
    module = types.ModuleType("toy")
    module.EXPERIMENT = Toy().experiment()
    monkeypatch.setitem(sys.modules, "toy", module)
    Toy()(tmp_path)
    page = "# Page\n\n<!-- toy: sums -->\nold\n<!-- end -->\n\ntext <!-- toy: sums --><!-- end -->\n"
    filled = lab.fill(page, tmp_path)
    assert filled.count("| run | sum |\n|---|--:|\n| first | 12 |\n| second | 56 |\n\n<!-- end -->") == 2
    assert filled.startswith("# Page\n\n<!-- toy: sums -->\n\n| run") and "old" not in filled
    assert lab.fill(filled, tmp_path) == filled
    with pytest.raises(KeyError):
        lab.fill("<!-- toy: others --><!-- end -->", tmp_path)


# ----- Each script -----


@pytest.mark.parametrize("module", [rosenbrock, linear_network, quadratics], ids=lambda m: m.__name__)
def test_the_fast_version_of_a_script(tmp_path, capsys, module):
    experiment = module.EXPERIMENT
    assert lab.main(experiment, ["--fast", "--out", str(tmp_path)]) == 0
    kept = json.loads((tmp_path / f"{experiment.name}.json").read_text())
    assert list(kept["runs"]) == list(experiment.runs(experiment.settings | experiment.fast))
    assert (tmp_path / f"{experiment.name}.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    for name, table in experiment.tables(kept["runs"]).items():
        assert f"\n{name}\n\n{table}\n" in printed


@pytest.mark.parametrize("module", [rosenbrock, linear_network, quadratics], ids=lambda m: m.__name__)
def test_one_run_alone_can_be_shown(tmp_path, module):
    assert lab.main(module.EXPERIMENT, ["--fast", "--out", str(tmp_path), "--only", "CurveBall zg"]) == 0


def test_the_grid_s_best_is_found_though_the_others_stop_early():
    asked = []

    def cost(lr, bound):
        asked.append(bound)
        return min(abs(np.log10(lr)) + 1, bound)

    assert solvers.best([0.1, 10.0, 1.0, 100.0], cost) == 1.0
    assert asked == [float("inf"), 2.0, 2.0, 1.0]


# ----- Rosenbrock's function -----

ROSENBROCK = rosenbrock.runs(rosenbrock.FULL)


def test_curveball_needs_13_iterations_with_or_without_noise():
    settings = ROSENBROCK["CurveBall"]
    assert rosenbrock.cell(settings, "fixed", None)["iterations"] == [13]
    for top in (1.0, 3.0):
        iterations = rosenbrock.cell(settings, "fixed", top)["iterations"]
        assert len(iterations) == 100
        assert abs(np.mean(iterations) - 13.1) <= 0.5 and np.std(iterations) <= 0.5


@pytest.mark.parametrize("name", [name for name, own in ROSENBROCK.items() if own["grid"]])
def test_runs_side_by_side_are_those_that_each_has_alone(name):
    settings = ROSENBROCK[name] | {"tolerance": 5.0, "limit": 60}
    starts, factors = rosenbrock.draw_runs(settings, 3, 4, "random", 1.0)
    seen = []
    for rate in settings["grid"][0] * np.array([1, 3, 30]):
        together = rosenbrock.descend(settings, rate, starts, factors)
        alone = [rosenbrock.descend(settings, rate, starts[[k]], factors[[k]]) for k in range(4)]
        for key in ("iterations", "passes"):
            assert together[key] == [one[key][0] for one in alone]
        seen += together["iterations"]
    assert any(seen) and None in seen  # it was worth looking


def test_a_search_that_gives_up_early_has_the_same_costs_below_its_bound():
    settings = ROSENBROCK["SGD"] | {"tolerance": 0.5, "limit": 100}
    drawn = rosenbrock.draw_runs(settings, 3, 6, "random", 1.0)
    whole = rosenbrock.descend(settings, 1e-3, *drawn)["cost"]
    assert rosenbrock.descend(settings, 1e-3, *drawn, whole + 1)["cost"] == whole
    for bound in (whole, whole / 2, 1):
        assert rosenbrock.descend(settings, 1e-3, *drawn, bound)["cost"] >= bound


def test_a_run_that_flies_off_has_failed_and_is_counted():
    settings = ROSENBROCK["SGD"] | {"limit": 50}
    starts, factors = rosenbrock.draw_runs(settings, 0, 4, "random", None)
    found = rosenbrock.descend(settings, 0.1, starts, factors)
    assert found["iterations"] == found["passes"] == [None] * 4 and found["cost"] == 4 * 100
    assert solvers.reached([13, None, 14, 12]) == "13.0 ± 1.0 (3 of 4)"
    assert solvers.reached([None]) == "– (0 of 1)"


def test_the_noise_multiplies_the_second_term():
    w = np.random.default_rng(0).normal(size=(5, 2))
    e = 0.3
    r = rosenbrock.residuals(w) * np.array([1, 10 * np.sqrt(e)])
    expected = (1 - w[:, 0]) ** 2 + 100 * e * (w[:, 1] - w[:, 0] ** 2) ** 2
    np.testing.assert_allclose((r**2).sum(1), expected)
    np.testing.assert_allclose(rosenbrock.rosenbrock(*w.T), expected + 70 * (w[:, 1] - w[:, 0] ** 2) ** 2)


def test_with_two_parameters_curveball_is_damped_gauss_newton():
    rng, loss = np.random.default_rng(0), nn.SquaredError(np.zeros((1, 2)), reduction="sum")
    opt = optim.CurveBall(np.array([[-0.25, -0.25]]))
    for k in range(8):
        s, u, lam = np.array([1, 10 * np.sqrt(rng.uniform(0, 3))]), opt.w[0], opt.lam
        J = s[:, None] * np.array([[-1, 0], [-2 * u, 1]])
        r = rosenbrock.residuals(opt.w[None])[0] * s
        step = -np.linalg.solve(2 * J.T @ J + lam * np.eye(2), 2 * J.T @ r)
        opt.step(lambda w, s=s: rosenbrock.residuals(w) * s, loss)
        assert (np.linalg.norm(opt.z - step) < 1e-9 * np.linalg.norm(step)) == (k > 0)


# ----- The degenerate linear network -----


def network(seeds, **more):
    settings = linear_network.runs(linear_network.FULL)["CurveBall"]
    return linear_network.run(settings | {"levels": [0.1], "end": 0.1, "seeds": seeds} | more, None)


def test_curveball_needs_about_33_iterations_to_a_loss_of_a_tenth():
    iterations = [k for (k,) in network(range(10))["iterations"]]
    error = 11 / np.sqrt(10)  # of a mean of ten
    assert abs(np.mean(iterations) - 33) < 2 * error


@pytest.mark.slow
def test_of_200_seeds_curveball_needs_31_and_deviates_by_11():
    iterations = [k for (k,) in network(range(200))["iterations"]]
    assert abs(np.mean(iterations) - 31) < 1 and abs(np.std(iterations) - 11) < 1


def test_the_network_s_problem_is_the_one_described():
    start, x, y = linear_network.problem(linear_network.FULL, 0)
    assert (start.W1.shape, start.W2.shape, x.shape, y.shape) == ((10, 6), (6, 6), (1000, 6), (1000, 10))
    A = np.linalg.lstsq(x, y, rcond=None)[0].T
    np.testing.assert_allclose(A.max(1) <= np.linspace(1, 1e-5, 10), True)
    assert (A > 0).all() and 1e5 / 30 < A[0].max() / A[9].max() < 30e5
    found = network([0], end=np.inf)  # the first loss is that of the start
    expected = ((x @ start.W2.T @ start.W1.T - y) ** 2).sum(1).mean()
    np.testing.assert_allclose(found["way"][0][0][2], expected)


def test_iterations_and_passes_are_those_before_the_loss_is_seen():
    found = network([0], levels=[1e9, 0.1])
    assert found["iterations"][0][0] == found["passes"][0][0] == 0
    k, spent, loss = found["way"][0][-1]
    assert (k, spent) == (found["iterations"][0][1], found["passes"][0][1]) and loss < 0.1
    assert spent == 4 * k + -(-k // 5)  # λ takes another pass in every fifth step, from the first one on


def test_a_network_that_diverges_is_counted():
    settings = linear_network.runs(linear_network.FULL)["SGD"] | {"seeds": [0], "samples": 10}
    found = linear_network.descend(settings, 1.0, 0)
    assert found["diverged"] and found["iterations"] == [None] * 3


def test_medians_hold_where_runs_are_over():
    k, spent, loss = linear_network.together(
        [[[0, 0, 9.0], [1, 2, 5.0], [2, 4, 3.0]], [[0, 0, 8.0], [1, 5, 1.0]]]
    )
    np.testing.assert_array_equal(k, [1, 2])
    np.testing.assert_array_equal(spent, [[2, 4], [5, 5]])
    np.testing.assert_array_equal(loss, [[5, 3], [1, 1]])


# ----- Quadratics -----


def quadratic(spectrum, kappa, method, **more):
    settings = quadratics.runs(quadratics.FULL)[f"{quadratics.problem(spectrum, kappa)}, {method}"]
    return quadratics.run(settings | more, None)


CASES = [(s, kappa) for s in quadratics.FULL["spectra"] for kappa in quadratics.FULL["conditions"]]


@pytest.mark.parametrize("spectrum, kappa", CASES)
def test_two_iterates_of_curveball_are_those_of_cg_and_the_third_is_not(spectrum, kappa):
    for seed in quadratic(spectrum, kappa, "CurveBall", limit=50)["from CG"]:
        assert max(seed[:2]) < 1e-14 and min(seed[2:]) > 1e-4


@pytest.mark.parametrize("kappa", quadratics.FULL["conditions"])
def test_all_iterates_in_span_of_z_and_g_are_those_of_cg(kappa):
    for seed in quadratic("equal steps", kappa, "CurveBall zg")["from CG"]:
        assert len(seed) == 50 and max(seed) < 1e-10


@pytest.mark.parametrize("spectrum, kappa", CASES)
def test_each_step_in_span_of_z_and_g_is_cg_s_from_the_same_point(spectrum, kappa):
    found = quadratic(spectrum, kappa, "CurveBall zg")
    assert max(map(max, found["steps from CG"])) < 1e-10
    assert min(map(max, quadratic(spectrum, kappa, "CurveBall", limit=50)["steps from CG"])) > 0.1


def test_where_rounding_leads_cg_elsewhere_it_leads_zg_no_further():
    for kappa in quadratics.FULL["conditions"]:
        moved = quadratic("equal ratios", kappa, "CG, w* changed")["from CG"]
        zg = quadratic("equal ratios", kappa, "CurveBall zg")["from CG"]
        assert min(map(max, moved)) > 1e-6
        assert max(map(max, zg)) < 10 * max(map(max, moved))


def test_zg_needs_less_than_a_hundred_iterations_where_curveball_needs_thousands():
    zg, cg = (quadratic("equal ratios", 1e4, m)["iterations"] for m in ("CurveBall zg", "CG"))
    assert all(abs(a - b) <= 8 for a, b in zip(zg, cg, strict=True)) and max(zg) < 90
    slow = quadratic("equal ratios", 1e4, "CurveBall", limit=2000, seeds=[0])
    assert slow["iterations"] == [None] and slow["gaps"][0][-1][0] == 2000


def test_the_methods_beside_it_minimise_too():
    found = {m: quadratic("equal ratios", 1e2, m)["iterations"] for m in quadratics.METHODS}
    assert (
        max(found["CG"])
        < min(found["heavy ball"])
        < max(found["heavy ball"])
        < min(found["steepest descent"])
    )


# ----- The page -----

PAGE = Path(__file__).parent.parent / "docs" / "experiments.md"
KEPT = PAGE.with_suffix("")


def test_the_page_shows_what_is_kept():
    page = PAGE.read_text()
    assert lab.fill(page, KEPT) == page
    shown = set(re.findall(r"<!-- (\w+): ", page))
    assert shown == {path.stem for path in KEPT.glob("*.json")}
    assert all(f"experiments/{name}.png)" in page for name in shown)


@pytest.mark.parametrize("kept", sorted(KEPT.glob("*.json")), ids=lambda path: path.stem)
def test_what_is_kept_was_made_with_the_settings_of_its_script(kept):
    experiment = importlib.import_module(kept.stem).EXPERIMENT
    data = json.loads(kept.read_text())
    wanted = json.loads(json.dumps(experiment.runs(experiment.settings)))
    assert data["settings"] == json.loads(json.dumps(experiment.settings))
    assert data["runs"] and all(run["settings"] == wanted[name] for name, run in data["runs"].items())
