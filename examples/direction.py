"""How near is CurveBall's z to the exact damped Newton direction d* = -(G + λ I)⁻¹ g, along a run?

In some steps d* is solved for by conjugate gradient on the step's own batch, and compared to the z that the
step arrives at, and to the gradient: by the angle, and by the decrease of the quadratic model.
"""

import math
import sys
from typing import Any

import numpy as np
from data import batches, epoch_rng, load
from lab import COLOURS, Experiment, Place, Results, Settings, main, markdown

import minigrad as mg
from minigrad import nn, optim
from minigrad.optim.base import dot
from minigrad.optim.cg import cg

FULL: Settings = {
    "networks": {
        "MNIST MLP": {"data": "mnist", "model": "mlp", "lam": 1.0, "steps": 1407, "every": 50},
        "CIFAR basic + BN": {
            "data": "cifar10", "model": "basic_cifar_bn", "lam": 1.0, "steps": 391, "every": 40,
        },
    },
    "batch_size": 128,
    "seed": 0,
    "directions": ["zdz", "zg"],
    "most": 1000,
}  # fmt: skip
FAST: Settings = {
    "networks": {
        "digits MLP": {"data": "digits", "model": "mlp", "lam": 1.0, "steps": 60, "every": 10},
        "digits resnet8": {"data": "digits", "model": "resnet8", "lam": 1.0, "steps": 9, "every": 4},
    },
    "batch_size": 32,
}


def runs(settings: Settings) -> dict[str, Settings]:
    rest = {k: v for k, v in settings.items() if k not in ("networks", "directions")}
    return {
        f"{name}, {'CurveBall' if kind == 'zdz' else 'CurveBall zg'}": rest | own | {"directions": kind}
        for name, own in settings["networks"].items()
        for kind in settings["directions"]
    }


def run(settings: Settings, place: Place) -> dict[str, Any]:
    """Columns: step, loss, rho, lam; angles' cosines and shares of the model's decrease, of z and of -g."""
    images = load(settings["data"], place.data_dir)
    model = nn.build(settings["model"], images.train_x.shape[1:], len(images.classes), settings["seed"])
    opt = optim.CurveBall(model, lam=settings["lam"], directions=settings["directions"])
    columns: dict[str, list] = {}
    while opt.count < settings["steps"]:
        epoch = opt.count // (len(images.train_x) // settings["batch_size"])
        for x, labels in batches(images, settings["batch_size"], epoch_rng(settings["seed"], epoch)):
            predict = lambda m, x=x: m(x, train=True)  # noqa: E731
            loss, looked = nn.SoftmaxCrossEntropy(labels), opt.count % settings["every"] == 0
            if looked:
                newton = Newton(opt, predict, loss, settings["most"])
            info = opt.step(predict, loss)
            if looked:
                row = {"step": info.step, "loss": info.loss, "rho": info.rho, "lam": info.lam}
                for name, value in (row | newton.beside(opt.z)).items():
                    columns.setdefault(name, []).append(value)
            if opt.count == settings["steps"]:
                break
    return columns


class Newton:
    """The quadratic model m(d) = g·d + ½ dᵀ (G + λ I) d of the batch at w, and its minimum d*."""

    def __init__(self, opt: optim.CurveBall, predict: Any, loss: Any, most: int) -> None:
        with mg.keeping_buffers(opt.model):
            y, self.J = mg.linearize(lambda w: predict(opt.unravel(w)), opt.w.copy())
        _, dL, self.H = mg.quadratic(loss, y)
        self.lam, self.g = opt.lam, self.J.T(dL)
        found = cg(self.product, -self.g, self.g * 0, most, progress=1e-7)[-1]
        self.d, self.iterations = found.x, found.iteration

    def product(self, v: Any) -> Any:
        return self.J.T(self.H(self.J(v))) + self.lam * v

    def beside(self, z: Any) -> dict[str, float]:
        r = self.product(self.d) + self.g
        c = -dot(self.g, self.g) / dot(self.g, self.product(self.g))  # the best step along -g
        least = self.m(self.d)
        return {
            "cosine of z": cosine(z, self.d),
            "cosine of -g": cosine(-self.g, self.d),
            "decrease by z": self.m(z) / least,
            "decrease by -g": self.m(c * self.g) / least,
            "length of z": math.sqrt(dot(z, z) / dot(self.d, self.d)),
            "iterations": self.iterations,
            "residual": math.sqrt(dot(r, r) / dot(self.g, self.g)),
        }

    def m(self, d: Any) -> float:
        return dot(self.g, d) + dot(d, self.product(d)) / 2


def cosine(a: Any, b: Any) -> float:
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


# ----- What came out -----


def tables(results: Results) -> dict[str, str]:
    rows = []
    for name, columns in results.items():
        later = slice(1, None)  # in the first step z is the best step along -g
        shown = ("cosine of z", "cosine of -g", "decrease by z", "decrease by -g", "length of z")
        rows.append(
            [
                name,
                *(f"{np.median(columns[k][later]):.3f}" for k in shown),
                f"{np.median(columns['iterations']):.0f}",
                f"{max(columns['residual']):.0e}",
            ]
        )
    head = ["medians", "cos(z, d\\*)", "cos(-g, d\\*)", "m(z) / m(d\\*)", "m along -g / m(d\\*)"]
    return {"direction": markdown([*head, "length of z / d\\*", "CG iterations for d\\*", "residual"], rows)}


def draw(results: Results) -> Any:
    from matplotlib.figure import Figure

    networks = list(dict.fromkeys(name.rpartition(", ")[0] for name in results))
    figure = Figure(figsize=(5.5 * len(networks), 7), layout="constrained")
    axes = figure.subplots(2, len(networks), squeeze=False, sharex="col")
    for name, columns in results.items():
        network, _, solver = name.rpartition(", ")
        for row, what, label in zip(
            axes[:, networks.index(network)],
            ("cosine of {}", "decrease by {}"),
            ("cosine with d*", "decrease of the model, share of d*'s"),
            strict=True,
        ):
            row.plot(
                columns["step"],
                columns[what.format("z")],
                "o-",
                ms=3,
                label=f"z of {solver}",
                color=COLOURS[solver],
            )
            row.plot(
                columns["step"],
                columns[what.format("-g")],
                ":",
                label=f"-g on the way of {solver}",
                color=COLOURS[solver],
            )
            row.set_ylabel(label)
            row.set_ylim(0, 1.02)
        axes[0, networks.index(network)].set_title(network)
        axes[1, networks.index(network)].set_xlabel("step")
    axes[0, 0].legend()
    return figure


EXPERIMENT = Experiment("direction", FULL, FAST, runs, run, tables, draw)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
