"""CIFAR-10 with the paper's ResNet-18: the stem for large images kept, so that the last stage sees one pixel.

python examples/resnet18.py --data-dir DIR --epochs 1    # on a CPU; a later call goes on, on a GPU perhaps
python examples/resnet18.py --fast                       # scikit-learn's digits, enlarged

Images as in cifar_basic.py.
"""

import sys
from typing import Any

from lab import Experiment, Place, Results, Settings, main
from training import Classification, draw, failures, solver_runs, steady, table, train

SETTINGS: Settings = {
    "data": "cifar10",
    "model": "resnet18_imagenet",
    "batch_size": 128,
    "epochs": 120,
    "seeds": [0],
    "solvers": {
        "CurveBall": {"optimizer": "curveball", "options": {"lam": 1.0}},
        "CurveBall zg": {"optimizer": "curveball", "options": {"lam": 1.0, "directions": "zg"}},
        "SGD": {  # the learning rates of the authors' code, by epochs
            "optimizer": "sgd",
            "options": {
                "lr": {"piecewise": [[3, 0.01], [80, 0.1], [10, 0.01], [27, 0.001]]},
                "momentum": 0.9,
            },
        },
        "Adam": {"optimizer": "adam", "options": {"lr": 1e-3}},
    },
}
FAST: Settings = {"data": "digits32", "images": 64, "test_images": 100, "batch_size": 16, "epochs": 1}
TASK = Classification()


def runs(settings: Settings) -> dict[str, Settings]:
    shared = {k: v for k, v in settings.items() if k not in ("solvers", "seeds")}
    return solver_runs(shared, settings["solvers"], settings["seeds"])


def run(settings: Settings, place: Place) -> dict[str, Any]:
    return train(settings, place, TASK)


def tables(results: Results) -> dict[str, str]:
    return {"solvers": table(steady(results), TASK), "failures": failures(results)}


def figure(results: Results) -> Any:
    data = next(iter(results.values()))["settings"]["data"]
    return draw(results, f"ResNet-18 with the stem for large images, {data}")


EXPERIMENT = Experiment("resnet18", SETTINGS, FAST, runs, run, tables, figure, trains=True)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
