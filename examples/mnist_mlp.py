"""MNIST with a small tanh network: CurveBall without tuning beside the best of grids of learning rates.

python examples/mnist_mlp.py --data-dir DIR    # the folder of MNIST/raw
python examples/mnist_mlp.py --fast            # scikit-learn's digits instead
"""

import math
import sys
from typing import Any

import numpy as np
from lab import Experiment, Place, Results, Settings, main, markdown
from training import (
    Classification,
    below_start,
    by_solver,
    canvas,
    colour,
    failures,
    legend,
    mean,
    over_seeds,
    panels,
    solver_runs,
    steady,
    table,
    train,
)

SETTINGS: Settings = {
    "data": "mnist",
    "model": "mlp",  # 784-128-64-32-10, tanh
    "batch_size": 128,
    "epochs": 10,
    "seeds": [0, 1, 2],
    "solvers": {
        "CurveBall": {"optimizer": "curveball", "options": {"lam": 1.0}},
        "CurveBall fixed λ": {"optimizer": "curveball", "options": {"lam": 1.0, "adapt_lam": False}},
        "CurveBall zg": {"optimizer": "curveball", "options": {"lam": 1.0, "directions": "zg"}},
        "CurveBall reuse 5": {"optimizer": "curveball", "options": {"lam": 1.0, "reuse": 5}},
        "CurveBall safeguard": {"optimizer": "curveball", "options": {"lam": 1.0, "safeguard": True}},
    },
    "grids": {  # every learning rate with every seed
        "SGD": {"optimizer": "sgd", "options": {"momentum": 0.9}, "lr": [0.01, 0.03, 0.1, 0.3]},
        "Nesterov": {
            "optimizer": "sgd",
            "options": {"momentum": {"sutskever": 0.99}, "nesterov": True},
            "lr": [0.003, 0.01, 0.03, 0.1, 0.3],
        },
        "Adam": {"optimizer": "adam", "options": {}, "lr": [1e-4, 3e-4, 1e-3, 3e-3, 1e-2]},
        "RMSProp": {"optimizer": "rmsprop", "options": {}, "lr": [1e-4, 3e-4, 1e-3, 3e-3]},
    },
}
FAST: Settings = {
    "data": "digits",
    "batch_size": 32,
    "epochs": 4,
    "seeds": [0, 1],
    "grids": {
        "SGD": SETTINGS["grids"]["SGD"] | {"lr": [0.03, 0.1]},
        "Adam": SETTINGS["grids"]["Adam"] | {"lr": [1e-3, 1e-2]},
    },
}
TASK = Classification()


def runs(settings: Settings) -> dict[str, Settings]:
    solvers = dict(settings["solvers"])
    for family, own in settings["grids"].items():
        for lr in own["lr"]:
            one = {"optimizer": own["optimizer"], "options": own["options"] | {"lr": lr}, "family": family}
            solvers[f"{family} lr {lr:g}"] = one
    shared = {k: settings[k] for k in ("data", "model", "batch_size", "epochs")}
    return solver_runs(shared, solvers, settings["seeds"])


def run(settings: Settings, place: Place) -> dict[str, Any]:
    return train(settings, place, TASK)


def tables(results: Results) -> dict[str, str]:
    results = steady(results)
    shown = untuned_and_best(results)
    return {"comparison": comparison(shown), "all": table(results, TASK), "failures": failures(results)}


def untuned_and_best(results: Results) -> Results:
    """The runs without a grid, and of each grid those with the learning rate of the lowest final loss: among
    those without failures, or, where every learning rate has some, with the fewest."""
    shown = {name: run for name, run in results.items() if "family" not in run["settings"]}
    for family in dict.fromkeys(run["settings"].get("family") for run in results.values()):
        losses = grid(results, family) if family else {}
        of = {
            lr: {
                name: run
                for name, run in results.items()
                if run["settings"].get("family") == family and run["settings"]["options"]["lr"] == lr
            }
            for lr in losses
        }
        if losses:
            lr = min(losses, key=lambda lr: (sum("failed" in run for run in of[lr].values()), losses[lr]))
            for name, run in of[lr].items():
                shown[name] = run | {"settings": run["settings"] | {"solver": f"{family} (lr {lr:g})"}}
    return shown


def grid(results: Results, family: str) -> dict[float, float]:
    """The training loss of the last epoch by learning rate: mean over the seeds, infinite if one failed."""
    losses: dict[float, list[float]] = {}
    for run in results.values():
        if run["settings"].get("family") == family:
            lr = run["settings"]["options"]["lr"]
            losses.setdefault(lr, []).append(math.inf if "failed" in run else run["loss"])
    return {lr: float(np.mean(own)) for lr, own in sorted(losses.items())}


def comparison(shown: Results) -> str:
    """Training loss (mean over an epoch) and accuracy after equal epochs and after equal seconds, of the
    seeds that did not fail, and how many did."""
    solvers = by_solver(shown)
    if not solvers:
        return "No run succeeded."
    epochs = min(run["tests"]["epoch"][-1] for own in solvers.values() for run in own)
    # As long as the fastest took for these epochs: further than that, not all of them were trained.
    seconds = min(float(mean(own, "tests", "seconds")[epochs - 1]) for own in solvers.values())
    head = ["solver", f"loss in epoch {epochs}", "test accuracy after it, %"]
    head += [f"loss by {seconds:.1f} s", "test accuracy then, %", "epochs by then", "failed"]
    lines = []
    for solver in dict.fromkeys(run["settings"]["solver"] for run in shown.values()):
        own = solvers.get(solver, [])
        seeds = sum(run["settings"]["solver"] == solver for run in shown.values())
        then = {k: [at_seconds(run, k, seconds) for run in own] for k in ("loss", "score", "epoch")}
        lines.append(
            [
                solver,
                over_seeds([run["tests"]["loss"][epochs - 1] for run in own], 4),
                over_seeds([run["tests"]["score"][epochs - 1] for run in own], 2),
                over_seeds(then["loss"], 4),
                over_seeds(then["score"], 2),
                over_seeds(then["epoch"]),
                f"{seeds - len(own)} of {seeds}",
            ]
        )
    return markdown(head, lines)


def at_seconds(run: dict[str, Any], column: str, seconds: float) -> float:
    """A column of the tests, on the line between those before and after so many seconds of training."""
    return float(np.interp(seconds, run["tests"]["seconds"], run["tests"][column]))


def draw(results: Results) -> Any:
    results = steady(results)
    shown = untuned_and_best(results)
    data = next(iter(results.values()))["settings"]["data"]
    figure, axes = canvas(
        f"{data}, tanh network 128-64-32: CurveBall untuned, others the best of a grid", rows=2
    )
    panels(axes[0], shown)
    rates, error, damping = axes[1]
    for family in dict.fromkeys(run["settings"].get("family") for run in results.values()):
        losses = grid(results, family) if family else {}
        rates.loglog(list(losses), list(losses.values()), "o-", color=colour(family or ""), markersize=4)
    for solver, own in by_solver(shown).items():
        wrong = 100 - mean(own, "tests", "score")
        error.semilogy(mean(own, "tests", "epoch"), wrong, color=colour(solver), lw=1.2)
        if "lam" in own[0]["curve"]:
            line = mean(own, "curve", "lam")
            damping.plot(mean(own, "curve", "epoch"), line, color=colour(solver), lw=1.2)
            rates.axhline(np.mean([run["loss"] for run in own]), color=colour(solver), lw=0.8, ls="--")
    rates.set(xlabel="learning rate (dashed: no learning rate)", ylabel="training loss, last epoch")
    below_start(rates, shown)
    error.set(xlabel="epochs", ylabel="test error, %")
    damping.set(xlabel="epochs", ylabel="λ of CurveBall")
    legend(axes)
    return figure


EXPERIMENT = Experiment("mnist_mlp", SETTINGS, FAST, runs, run, tables, draw, trains=True)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
