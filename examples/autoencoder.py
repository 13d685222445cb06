"""MNIST's deep autoencoder, 784-1000-500-250-30-250-500-1000-784: a classic test of second-order methods.

python examples/autoencoder.py --data-dir DIR --epochs 2    # on a CPU; a later call goes on, on a GPU perhaps
python examples/autoencoder.py --fast                       # scikit-learn's digits, 64-64-32-8-32-64-64

Hinton and Salakhutdinov 2006 trained it layer by layer; Martens 2010 and Sutskever et al. 2013 did without.
They have logistic units; here they are tanh with Xavier's weights, which start without care for symmetry. The
code is linear, the outputs are logits, the loss is the cross entropy with pixels in [0, 1], summed over them.
"""

import dataclasses
import itertools
import math
import sys
from typing import Any

from data import Dataset
from lab import Experiment, Place, Results, Settings, main
from training import Classification, draw, failures, solver_runs, steady, table, train

import minigrad as mg
from minigrad import nn

SETTINGS: Settings = {
    "data": "mnist",
    "sizes": [1000, 500, 250, 30],  # of the encoder; the decoder goes back
    "white": 255,  # the stored value that is 1
    "batch_size": 500,
    "epochs": 50,
    "seeds": [0],
    "solvers": {
        "CurveBall": {"optimizer": "curveball", "options": {"lam": 1.0}},
        "CurveBall zg": {"optimizer": "curveball", "options": {"lam": 1.0, "directions": "zg"}},
        "Nesterov": {
            "optimizer": "sgd",
            "options": {"lr": 0.001, "momentum": {"sutskever": 0.99}, "nesterov": True},
        },
        "Adam": {"optimizer": "adam", "options": {"lr": 1e-3}},
        "Truncated Newton": {"optimizer": "truncated_newton", "options": {"lam": 1.0, "max_cg": 10}},
    },
}
FAST: Settings = {"data": "digits", "sizes": [64, 32, 8], "white": 16, "batch_size": 100, "epochs": 2}


class Autoencoder(Classification):
    """The labels are not looked at: what is learnt is the image."""

    score, unit = "squared error", "an image"

    def data(self, settings: Settings, data_dir: str | None) -> Dataset:
        data = super().data(settings, data_dir)
        return dataclasses.replace(data, mean=(0.0,), std=(float(settings["white"]),))

    def model(self, settings: Settings, data: Dataset) -> nn.Module:
        pixels, code = math.prod(data.train_x.shape[1:]), settings["sizes"]
        sizes = [pixels, *code, *code[-2::-1], pixels]
        rng = nn.init.as_rng(settings["seed"])
        layers: list[nn.Module] = []
        for k, (n_in, n_out) in enumerate(itertools.pairwise(sizes), start=1):
            layers.append(nn.Linear(n_in, n_out, rng))
            if k not in (len(code), len(sizes) - 1):  # the code and the outputs are linear
                layers.append(nn.Tanh())
        return nn.Sequential(nn.Flatten(), *layers)

    def loss(self, x: Any, labels: Any) -> nn.Loss:
        return nn.BinaryCrossEntropy(flat(x))

    def scores(self, y: Any, x: Any, labels: Any) -> Any:
        return mg.sum(mg.square(mg.sigmoid(y) - flat(x)), 1)


def flat(x: Any) -> Any:
    return x.reshape(len(x), -1)


TASK = Autoencoder()


def runs(settings: Settings) -> dict[str, Settings]:
    shared = {k: settings[k] for k in ("data", "sizes", "white", "batch_size", "epochs")}
    return solver_runs(shared, settings["solvers"], settings["seeds"])


def run(settings: Settings, place: Place) -> dict[str, Any]:
    return train(settings, place, TASK)


def tables(results: Results) -> dict[str, str]:
    return {"solvers": table(steady(results), TASK), "failures": failures(results)}


def figure(results: Results) -> Any:
    own = next(iter(results.values()))["settings"]
    return draw(results, f"Autoencoder {'-'.join(map(str, own['sizes']))} and back, {own['data']}")


EXPERIMENT = Experiment("autoencoder", SETTINGS, FAST, runs, run, tables, figure, trains=True)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
