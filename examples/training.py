"""Training runs of the experiments: resumable bit for bit, with curves, the figure and tables of them all.

The same seed gives every solver the same initial weights and the same batches in the same order.
"""

import dataclasses
import json
import math
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from data import Dataset, batches, epoch_rng, eval_batches, load, prefetch
from lab import COLOURS, Place, Results, Settings, markdown, rounded, spread
from train import on_device

import minigrad as mg
from minigrad import nn, optim

POINTS = 10  # of the curve, an epoch
CHECKPOINT_SECONDS = 60.0
EVALUATED = 500  # images at a time, when nothing is learnt


def solver_runs(shared: Settings, solvers: dict[str, Settings], seeds: list[int]) -> dict[str, Settings]:
    """A run for each seed and solver."""
    return {
        f"{solver}, seed {seed}": shared | own | {"solver": solver, "seed": seed}
        for seed in seeds
        for solver, own in solvers.items()
    }


class Classification:
    """What is learnt, from which images, and how well: here labels, by the softmax's cross entropy."""

    score, unit = "test accuracy", "%"

    def data(self, settings: Settings, data_dir: str | None) -> Dataset:
        return dataset(settings["data"], data_dir, settings.get("images"), settings.get("test_images"))

    def model(self, settings: Settings, data: Dataset) -> nn.Module:
        image, classes = data.train_x.shape[1:], len(data.classes)
        return nn.build(settings["model"], image, classes, settings["seed"], settings.get("dtype", "float32"))

    def loss(self, x: Any, labels: Any) -> nn.Loss:
        return nn.SoftmaxCrossEntropy(labels)

    def scores(self, y: Any, x: Any, labels: Any) -> Any:
        """One number an image, whose mean is the score."""
        return 100.0 * (y.argmax(axis=1) == labels)


def train(settings: Settings, place: Place, task: Classification | None = None) -> dict[str, Any]:
    """One training run, from where an earlier call left it, up to `place.epochs` for now: its curves as JSON.

    `settings`: data, model, optimizer and its `options`, batch_size, epochs, seed. Schedules in the options
    are data: {"sutskever": 0.99}, or {"piecewise": [[epochs, value], ...]}.
    Seconds are those of training alone. A run whose numbers stop being finite ends there, as "failed"; so is
    called, too, one whose loss in the end is over twice what it was at first.
    """
    run = Run(settings, place, task or Classification())
    failed, outcome = {}, {}
    try:
        # What overflows is found by its result, and ends the run with a reason.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            run.go_on(min(settings["epochs"], place.epochs or settings["epochs"]))
            outcome = run.outcome()
        first = run.far["curve"]["loss"][0]
        if outcome["loss"] > 2 * first:
            failed = {
                "failed": f"diverged: the loss of the last epoch is {outcome['loss']}, at first {first}"
            }
    except (FloatingPointError, np.linalg.LinAlgError) as e:
        failed = {"failed": str(e)}
    ended = run.far["epoch"] == settings["epochs"] or not outcome
    unfinished = {} if ended else {"unfinished": True}
    sums = {"parameters": nn.count_parameters(run.opt.model), "steps": run.opt.count}
    return failed | unfinished | sums | outcome | {k: run.far[k] for k in ("seconds", "curve", "tests")}


class Run:
    """One run: its optimizer, and how far it is, all of which the checkpoint holds.

    `far`: the epoch (from 0) it is in, the losses of that epoch's steps, seconds and passes so far, and the
    columns of the curve (ten points an epoch) and of the tests (one after each epoch).
    """

    def __init__(self, settings: Settings, place: Place, task: Classification) -> None:
        self.settings, self.task, self.device = settings, task, place.device
        self.dtype = settings.get("dtype", "float32")
        self.data = task.data(settings, place.data_dir)
        self.steps = len(self.data.train_x) // settings["batch_size"]  # an epoch
        self.opt = self.optimizer()
        self.path = place.folder / "checkpoint.safetensors"
        self.far = resume(self.path, settings, self.opt) or {
            "epoch": 0,
            "losses": [],
            "seconds": 0.0,
            "passes": {"primal": 0, "jvp": 0, "vjp": 0},
            "curve": {},
            "tests": {},
        }

    def optimizer(self) -> optim.Optimizer:
        model = on_device(self.task.model(self.settings, self.data), self.device)
        options = {k: schedule(v, self.steps) for k, v in self.settings["options"].items()}
        return optim.build(self.settings["optimizer"], model, **options)

    def go_on(self, epochs: int) -> None:
        """Trains until `epochs` are done."""
        if self.far["epoch"] < epochs:
            # What is compiled at its first use shall not count, so a first step is made and thrown away.
            self.step(self.optimizer(), *next(self.batches(0)))
        while self.far["epoch"] < epochs:
            self.train_epoch()
            loss, score = self.evaluate(self.data.test_x, self.data.test_y)
            far = self.far
            row = {"loss": float(np.mean(far["losses"])), "test_loss": loss, "score": score}
            far["epoch"] += 1
            append(far["tests"], {"epoch": far["epoch"], **self.so_far(), **row, "device": self.device})
            far["losses"] = []
            self.checkpoint()

    def train_epoch(self) -> None:
        """The rest of the epoch's steps."""
        far, saved = self.far, time.monotonic()
        source = self.batches(far["epoch"])
        done = len(far["losses"])
        next(islice(source, done, done), None)  # passes over the batches that were done before
        start = time.perf_counter()
        for x, labels in prefetch(source):
            info = self.step(self.opt, x, labels)
            now = time.perf_counter()
            far["seconds"] += now - start
            far["losses"].append(info.loss)
            for kind in far["passes"]:
                far["passes"][kind] += info.passes.get(kind, 0)
            k = len(far["losses"])
            if (first := last_point(k - 1, self.steps)) < last_point(k, self.steps):
                own = {name: getattr(info, name) for name in ("rho", "beta", "lam") if hasattr(info, name)}
                row = {"epoch": far["epoch"] + k / self.steps, "loss": float(np.mean(far["losses"][first:]))}
                append(far["curve"], {**row, **self.so_far(), **own})
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                self.checkpoint()
                saved = time.monotonic()
            start = time.perf_counter()

    def step(self, opt: optim.Optimizer, x: Any, labels: Any) -> optim.StepInfo:
        x, labels = mg.to_device(x, self.device), mg.to_device(labels, self.device)
        return opt.step(lambda model: model(x, train=True), self.task.loss(x, labels))

    def batches(self, epoch: int) -> Iterator[Any]:
        rng = epoch_rng(self.settings["seed"], epoch)
        return batches(self.data, self.settings["batch_size"], rng, dtype=self.dtype)

    def so_far(self) -> dict[str, Any]:
        return {"step": self.opt.count, "seconds": self.far["seconds"], **self.far["passes"]}

    def evaluate(self, images: Any, labels: Any) -> tuple[float, float]:
        """Mean loss and mean score of the model, as it is used after training, on these images."""
        loss = score = 0.0
        for x, y in eval_batches(images, labels, self.data, EVALUATED, self.dtype):
            x, y = mg.to_device(x, self.device), mg.to_device(y, self.device)
            out = self.opt.model(x)
            loss += float(self.task.loss(x, y)(out)) * len(y)
            score += float(self.task.scores(out, x, y).sum())
        if not math.isfinite(loss):
            raise FloatingPointError(f"after step {self.opt.count} the loss in evaluation mode is {loss}")
        return loss / len(labels), score / len(labels)

    def outcome(self) -> dict[str, float]:
        """The numbers that tables show: after the last epoch so far."""
        tests = self.far["tests"]
        whole, _ = self.evaluate(self.data.train_x, self.data.train_y)
        last = {"loss": tests["loss"][-1], "test_loss": tests["test_loss"][-1], "score": tests["score"][-1]}
        return last | {"train_loss": rounded(whole)}

    def checkpoint(self) -> None:
        state = {"settings": self.settings, "far": self.far, "optimizer": self.opt.state_dict()}
        nn.save_state(self.path, state)


def resume(path: Path, settings: Settings, opt: optim.Optimizer) -> dict[str, Any] | None:
    """Puts `opt` where the checkpoint was written, if there is one, and gives what is known of the run."""
    if not path.exists():
        return None
    state = nn.load_state(path)
    if state["settings"] != json.loads(json.dumps(settings)):
        raise ValueError(f"{path} is of a run with other settings: move it away, or choose another --out")
    opt.load_state_dict(state["optimizer"])
    return state["far"]


def last_point(k: int, steps: int) -> int:
    """The step of the epoch at which the curve's last point lies, after `k` of its `steps`.

    >>> [last_point(k, 25) for k in (0, 2, 3, 4, 5, 24, 25)]
    [0, 0, 3, 3, 5, 23, 25]
    """
    return -(-(k * POINTS // steps) * steps // POINTS)


def schedule(value: Any, steps: int) -> Any:
    """An option of an optimizer as it is, or the schedule that a dict describes; `steps` make an epoch.

    >>> schedule({"piecewise": [[1, 0.1], [2, 0.01]]}, 5)(5), schedule(0.1, 5)
    (0.01, 0.1)
    """
    if not isinstance(value, dict):
        return value
    ((name, setting),) = value.items()
    return {
        "sutskever": lambda: optim.sutskever(setting),
        "piecewise": lambda: optim.piecewise(*setting, every=steps),
    }[name]()


def append(columns: dict[str, list], row: dict[str, Any]) -> None:
    for name, value in row.items():
        columns.setdefault(name, []).append(rounded(value))


# ----- Images and networks -----


def dataset(
    name: str, data_dir: str | None = None, images: int | None = None, test_images: int | None = None
) -> Dataset:
    """`data.load`, or only the first so many images of it. There also is "digits32": scikit-learn's digits as
    32x32 images of three channels, each pixel repeated 4 x 4 times, for networks that expect CIFAR-10's.

    >>> dataset("digits32", images=100).train_x.shape
    (100, 32, 32, 3)
    """
    data = load("digits" if name == "digits32" else name, data_dir)
    if name == "digits32":
        train_x, test_x = (x.repeat(4, 1).repeat(4, 2).repeat(3, 3) for x in (data.train_x, data.test_x))
        data = dataclasses.replace(
            data, name=name, train_x=train_x, test_x=test_x, mean=data.mean * 3, std=data.std * 3
        )
    return dataclasses.replace(
        data,
        train_x=data.train_x[:images],
        train_y=data.train_y[:images],
        test_x=data.test_x[:test_images],
        test_y=data.test_y[:test_images],
    )


# ----- Tables and figures -----


def by_solver(results: Results) -> dict[str, list[dict[str, Any]]]:
    """The runs of each solver, those that failed left out: what means over seeds are taken of."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for run in results.values():
        if "failed" not in run:
            groups.setdefault(run["settings"]["solver"], []).append(run)
    return groups


def steady(results: Results) -> Results:
    """The results with seconds as if each step had taken the same time: the lower decile of its kind's steps.

    Of one kind are the steps of a network by an optimizer with the same options but for learning rate and λ.
    Runs on a machine that does other work as well are held up, by chance; what a step takes by itself shows
    in the fastest tenth of the stretches between two points of their curves. The JSON file has raw seconds.
    """
    times: dict[str, list[float]] = {}
    for run in results.values():
        if "seconds" in run["curve"]:
            steps, seconds = ([0, *run["curve"][k]] for k in ("step", "seconds"))
            times.setdefault(kind(run), []).extend(np.diff(seconds) / np.diff(steps))
    out = {}
    for name, run in results.items():
        if kind(run) in times:
            each = float(np.quantile(times[kind(run)], 0.1))
            curve, tests = (
                part | {"seconds": [each * k for k in part.get("step", [])]}
                for part in (run["curve"], run["tests"])
            )
            run = run | {"seconds": each * run["steps"], "curve": curve, "tests": tests}
        out[name] = run
    return out


def kind(run: dict[str, Any]) -> str:
    """What a step's work depends on."""
    own = run["settings"]
    options = {k: v for k, v in own["options"].items() if k not in ("lr", "lam")}
    return json.dumps([own.get("model"), own["optimizer"], options], sort_keys=True)


def table(results: Results, task: Classification) -> str:
    """A row a solver: mean ± standard deviation over its seeds, after the epochs that it has done."""
    head = ["solver", "epochs", "loss, last epoch", "loss, training images", "loss, test images"]
    head += [f"{task.score}, {task.unit}", "seconds", "ms a step", "passes a step", "failed"]
    lines = []
    for solver in dict.fromkeys(run["settings"]["solver"] for run in results.values()):
        own = [run for run in results.values() if run["settings"]["solver"] == solver]
        good = [run for run in own if "failed" not in run]
        per_step = [1000 * run["seconds"] / run["steps"] for run in good]
        passes = [sum(run["curve"][k][-1] for k in ("primal", "jvp", "vjp")) / run["steps"] for run in good]
        lines.append(
            [
                solver,
                "/".join(str(n) for n in sorted({run["tests"]["epoch"][-1] for run in good})) or "–",
                *(over_seeds([run[k] for run in good], 4) for k in ("loss", "train_loss", "test_loss")),
                over_seeds([run["score"] for run in good], 2),
                over_seeds([run["seconds"] for run in good]),
                over_seeds(per_step, 2),
                f"{np.mean(passes):.1f}" if good else "–",
                f"{len(own) - len(good)} of {len(own)}",
            ]
        )
    return markdown(head, lines)


def over_seeds(values: list[float], digits: int = 1) -> str:
    """As `spread`, but one seed has no deviation.

    >>> over_seeds([2.0]), over_seeds([1.0, 3.0])
    ('2.0', '2.0 ± 1.4')
    """
    return f"{values[0]:.{digits}f}" if len(values) == 1 else spread(values, digits)


def failures(results: Results) -> str:
    """The runs that failed, with their reasons."""
    lines = [[name, f"{run['steps']}: {run['failed']}"] for name, run in results.items() if "failed" in run]
    return markdown(["run", "step and reason"], lines) if lines else "No run failed."


def draw(results: Results, title: str) -> Any:
    """A figure of three panels: the training loss against epochs, seconds and passes, a line a solver."""
    figure, axes = canvas(title)
    panels(axes[0], steady(results))
    legend(axes)
    return figure


def canvas(title: str, rows: int = 1) -> tuple[Any, Any]:
    """A figure with a title, and its axes, (rows, 3)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 1 + 4.2 * rows), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(rows, 3, squeeze=False)
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    return figure, axes


def panels(axes: Any, results: Results) -> None:
    """Mean training loss over the seeds (the band: from least to most) against three measures of effort.

    Runs that failed are dotted, each by itself, as far as they went.
    """
    lines = [(solver, runs, "-") for solver, runs in by_solver(results).items()]
    failed = [run for run in results.values() if "failed" in run and run["curve"]]
    lines += [(f"{run['settings']['solver']} (failed)", [run], ":") for run in failed]
    named = set()
    for solver, runs, style in lines:
        loss = rows(runs, "curve", "loss")
        passes = sum(mean(runs, "curve", kind) for kind in ("primal", "jvp", "vjp"))
        label = "" if solver in named else solver
        named.add(solver)
        for axis, effort in zip(
            axes, (mean(runs, "curve", "epoch"), mean(runs, "curve", "seconds"), passes), strict=True
        ):
            axis.semilogy(effort, loss.mean(0), label=label, color=colour(solver), lw=1.2, ls=style)
            axis.fill_between(effort, loss.min(0), loss.max(0), color=colour(solver), alpha=0.15, lw=0)
    for axis, label in zip(
        axes, ("epochs", "seconds of training", "passes: primal + forward + reverse"), strict=True
    ):
        axis.set(xlabel=label, ylabel="training loss")
        below_start(axis, results)


def legend(axes: Any) -> None:
    """One legend below the figure: each name once, whichever of the axes have it."""
    lines = {label: line for axis in axes.flat for line, label in pairs(axis)}
    axes.flat[0].figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=5)


def pairs(axis: Any) -> Any:
    return zip(*axis.get_legend_handles_labels(), strict=True)


def below_start(axis: Any, results: Results) -> None:
    """Cuts a loss axis off at three times the largest loss at the start: what diverges leaves the picture."""
    starts = [run["curve"]["loss"][0] for run in results.values() if run["curve"]]
    axis.set_ylim(top=min(axis.get_ylim()[1], 3 * max(starts, default=1.0)))


def colour(solver: str) -> str:
    """Of a solver's name, or of what comes before a bracket in it."""
    return COLOURS.get(solver.partition(" (")[0], "tab:gray")


def rows(runs: list[dict[str, Any]], part: str, column: str) -> np.ndarray:
    """One column of the runs' curve or tests, (runs, points): as many points as all of them have."""
    points = min(len(run[part][column]) for run in runs)
    return np.array([run[part][column][:points] for run in runs])


def mean(runs: list[dict[str, Any]], part: str, column: str) -> np.ndarray:
    return rows(runs, part, column).mean(axis=0)
