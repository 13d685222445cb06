"""CIFAR-10 with the paper's basic network, without and with batch norm.

python examples/cifar_basic.py --data-dir DIR --epochs 2    # on a CPU; a later call goes on, on a GPU perhaps
python examples/cifar_basic.py --fast                       # scikit-learn's digits, enlarged

Images are normalised by channel; the authors' code subtracts the mean image, normalises the contrast of each
image and whitens (ZCA). Flips and shifts by up to 2 pixels are those of their code.
"""

import sys
from typing import Any

from lab import Experiment, Place, Results, Settings, main
from training import Classification, canvas, failures, legend, panels, solver_runs, steady, table, train

SETTINGS: Settings = {
    "data": "cifar10",
    "batch_size": 128,
    "seeds": [0],
    # λ at the start as in the README of the authors' code, epochs and learning rates as in AutoNN's models.
    "networks": {
        "basic_cifar": {"epochs": 100, "lam": 10.0, "lr": 0.01},
        "basic_cifar_bn": {"epochs": 40, "lam": 1.0, "lr": 0.1},
    },
    "adam_lr": 1e-3,
}
FAST: Settings = {
    "data": "digits32",
    "images": 320,
    "test_images": 200,
    "batch_size": 32,
    "networks": {
        "basic_cifar": {"epochs": 2, "lam": 10.0, "lr": 0.01},
        "basic_cifar_bn": {"epochs": 2, "lam": 1.0, "lr": 0.1},
    },
}
TASK = Classification()


def runs(settings: Settings) -> dict[str, Settings]:
    shared = {k: settings[k] for k in ("data", "images", "test_images", "batch_size") if k in settings}
    found = {}
    for model, own in settings["networks"].items():
        lam = {"lam": own["lam"]}
        solvers = {
            "CurveBall": {"optimizer": "curveball", "options": lam},
            "CurveBall zg": {"optimizer": "curveball", "options": lam | {"directions": "zg"}},
            "CurveBall reuse 5": {"optimizer": "curveball", "options": lam | {"reuse": 5}},
            "SGD": {"optimizer": "sgd", "options": {"lr": own["lr"], "momentum": 0.9}},
            "Adam": {"optimizer": "adam", "options": {"lr": settings["adam_lr"]}},
        }
        network = {"model": model, "epochs": own["epochs"]}
        for name, run in solver_runs(shared | network, solvers, settings["seeds"]).items():
            found[f"{model}, {name}"] = run
    return found


def run(settings: Settings, place: Place) -> dict[str, Any]:
    return train(settings, place, TASK)


def of(model: str, results: Results) -> Results:
    return {name: run for name, run in results.items() if run["settings"]["model"] == model}


def tables(results: Results) -> dict[str, str]:
    found = {model: table(of(model, steady(results)), TASK) for model in SETTINGS["networks"]}
    return found | {"failures": failures(results)}


def draw(results: Results) -> Any:
    models = SETTINGS["networks"]
    data = next(iter(results.values()))["settings"]["data"]
    title = " (above) and ".join(models) + f" (below) on {data}"
    figure, axes = canvas(title, rows=len(models))
    for row, model in zip(axes, models, strict=True):
        panels(row, of(model, steady(results)))
    legend(axes)
    return figure


EXPERIMENT = Experiment("cifar_basic", SETTINGS, FAST, runs, run, tables, draw, trains=True)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
