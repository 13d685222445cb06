"""CIFAR-10 with random small convolutional networks: the same budget of steps and batches for each solver.

python examples/random_networks.py --data-dir DIR
python examples/random_networks.py --fast             # scikit-learn's digits, enlarged
"""

import sys
from typing import Any

import numpy as np
from data import Dataset
from lab import Experiment, Place, Results, Settings, main, markdown
from training import Classification, canvas, colour, failures, over_seeds, train

from minigrad import nn
from minigrad.nn.init import as_rng

SETTINGS: Settings = {
    "data": "cifar10",
    "images": 3200,  # 50 steps an epoch
    "test_images": 1000,
    "batch_size": 64,
    "epochs": 2,
    "networks": 30,
    "generator_seed": 0,
    "mflop": 1.0,  # at most, of a forward pass of one image
    # λ and learning rates by whether there is batch norm, as for the basic network of the paper.
    "with": {"lam": 1.0, "lr": 0.1},
    "without": {"lam": 10.0, "lr": 0.01},
    "adam_lr": 1e-3,
}
FAST: Settings = {
    "data": "digits32",
    "images": 320,
    "test_images": 200,
    "batch_size": 32,
    "networks": 4,
    "mflop": 1.0,
}
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU}
SIDE, CHANNELS, CLASSES = 32, 3, 10


class RandomNetworks(Classification):
    def model(self, settings: Settings, data: Dataset) -> nn.Module:
        return network(settings["network"], settings["seed"])


# ----- The generator -----


def plan(rng: np.random.Generator, mflop: float) -> Settings:
    """A random network as data: the first drawn that takes from a tenth of `mflop` to all of it.

    `blocks`: each a convolution of `width` filters, `size` x `size`, with a `stride`; then, if it is
    `residual`, another one beside a shortcut; then a `pool` ("max", "avg" or none) of 2 x 2.
    """
    while True:
        drawn = {
            "activation": str(rng.choice(list(ACTIVATIONS))),
            "batch_norm": bool(rng.integers(2)),
            "residual": bool(rng.integers(2)),
            "head": str(rng.choice(["global pool", "linear"])),
            "blocks": [
                {
                    "width": int(rng.choice([8, 12, 16, 24, 32, 48])),
                    "size": int(rng.choice([1, 3, 5], p=[0.2, 0.6, 0.2])),
                    "stride": int(rng.choice([1, 2])),
                    "pool": str(rng.choice(["none", "none", "max", "avg"])),
                }
                for _ in range(rng.integers(2, 7))
            ],
        }
        if mflop / 10 <= flops(drawn) / 1e6 <= mflop:
            return drawn


def flops(drawn: Settings) -> int:
    """Of a forward pass of one image: two for each product in convolutions and linear layers."""
    total, side, n_in = 0, SIDE, CHANNELS
    for block in drawn["blocks"]:
        width, side = block["width"], after_stride(side, block["stride"])
        per_input = 2 * side**2 * block["size"] ** 2 * width
        total += per_input * (n_in + width * drawn["residual"])
        side, n_in = after_pool(side, block["pool"]), width
    return total + 2 * CLASSES * n_in * (1 if drawn["head"] == "global pool" else side**2)


def after_stride(side: int, stride: int) -> int:
    return (side - 1) // stride + 1


def after_pool(side: int, pool: str) -> int:
    return side // 2 if pool != "none" and side > 1 else side


def network(drawn: Settings, rng: nn.init.Rng) -> nn.Module:
    """The network of a plan, with weights from `rng`, for images of 32 x 32 x 3."""
    rng, activation = as_rng(rng), ACTIVATIONS[drawn["activation"]]
    layers: list[nn.Module] = []
    side, n_in = SIDE, CHANNELS

    def convolution(n_in: int, n_out: int, size: int, stride: int) -> list[nn.Module]:
        conv = nn.Conv2d(n_in, n_out, size, rng, stride, size // 2, bias=not drawn["batch_norm"])
        return [conv, nn.BatchNorm(n_out)] if drawn["batch_norm"] else [conv]

    for block in drawn["blocks"]:
        width = block["width"]
        layers += [*convolution(n_in, width, block["size"], block["stride"]), activation()]
        if drawn["residual"]:
            layers += [nn.Residual(nn.Sequential(*convolution(width, width, block["size"], 1))), activation()]
        side, n_in = after_stride(side, block["stride"]), width
        if after_pool(side, block["pool"]) < side:
            layers.append(nn.MaxPool2d(2) if block["pool"] == "max" else nn.AvgPool2d(2))
            side = after_pool(side, block["pool"])
    if drawn["head"] == "global pool":
        return nn.Sequential(*layers, nn.GlobalAvgPool(), nn.Linear(n_in, CLASSES, rng))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(n_in * side**2, CLASSES, rng))


def words(drawn: Settings) -> str:
    """A plan in one line.

    >>> block = {"width": 8, "size": 3, "stride": 2, "pool": "max"}
    >>> kinds = {"activation": "relu", "batch_norm": True, "residual": False, "head": "linear"}
    >>> words(kinds | {"blocks": [block]})
    '8(3)/2 max, relu, batch norm, linear'
    """
    blocks = []
    for block in drawn["blocks"]:
        stride = f"/{block['stride']}" if block["stride"] > 1 else ""
        pool = "" if block["pool"] == "none" else f" {block['pool']}"
        blocks.append(f"{block['width']}({block['size']}){stride}{pool}")
    kinds = [k for k in ("batch_norm", "residual") if drawn[k]]
    return ", ".join([" ".join(blocks), drawn["activation"], *kinds, drawn["head"]]).replace("_", " ")


# ----- The experiment -----


def runs(settings: Settings) -> dict[str, Settings]:
    shared = {k: settings[k] for k in ("data", "images", "test_images", "batch_size", "epochs")}
    found = {}
    for k in range(settings["networks"]):
        drawn = plan(np.random.default_rng([settings["generator_seed"], k]), settings["mflop"])
        own = settings["with" if drawn["batch_norm"] else "without"]
        solvers = {
            "CurveBall": {"optimizer": "curveball", "options": {"lam": own["lam"]}},
            "CurveBall zg": {"optimizer": "curveball", "options": {"lam": own["lam"], "directions": "zg"}},
            "SGD": {"optimizer": "sgd", "options": {"lr": own["lr"], "momentum": 0.9}},
            "Adam": {"optimizer": "adam", "options": {"lr": settings["adam_lr"]}},
        }
        for solver, how in solvers.items():
            run = shared | how | {"solver": solver, "seed": k, "network": drawn}
            found[f"network {k:02}, {solver}"] = run
    return found


def run(settings: Settings, place: Place) -> dict[str, Any]:
    return train(settings, place, RandomNetworks())


def final_losses(results: Results) -> dict[str, dict[int, float]]:
    """The training loss of the last epoch by solver and network, of runs that did not fail."""
    losses: dict[str, dict[int, float]] = {}
    for run in results.values():
        own = losses.setdefault(run["settings"]["solver"], {})
        if "failed" not in run:
            own[run["settings"]["seed"]] = run["loss"]
    return losses


def wins(losses: dict[str, dict[int, float]]) -> dict[str, int]:
    """For how many networks each solver has the lowest loss of them all; one that failed cannot."""
    count = dict.fromkeys(losses, 0)
    for k in sorted({k for own in losses.values() for k in own}):
        count[min((own[k], solver) for solver, own in losses.items() if k in own)[1]] += 1
    return count


def tables(results: Results) -> dict[str, str]:
    losses = final_losses(results)
    won = wins(losses)
    summary, head = [], ["solver", "loss: median", "quarter below", "quarter above", "worst", "lowest for"]
    for solver, own in losses.items():
        good = [r for r in results.values() if r["settings"]["solver"] == solver and "failed" not in r]
        all_of_it = [r for r in results.values() if r["settings"]["solver"] == solver]
        # Where a solver failed is its worst loss: left out, that would make the rest look better.
        ranked = [*own.values(), *[np.inf] * (len(all_of_it) - len(own))]
        quartiles = np.quantile(ranked, (0.5, 0.25, 0.75, 1), method="higher")
        summary.append(
            [
                solver,
                *(f"{q:.3f}" if q < np.inf else "failed" for q in quartiles),
                won[solver],
                over_seeds([r["score"] for r in good]),
                over_seeds([1000 * r["seconds"] / r["steps"] for r in good]),
                f"{len(all_of_it) - len(good)} of {len(all_of_it)}",
            ]
        )
    head += ["test accuracy, %", "ms a step", "failed"]
    plans = {r["settings"]["seed"]: r["settings"]["network"] for r in results.values()}
    networks = [
        [words(drawn), f"{flops(drawn) / 1e6:.2f}"]
        + [f"{own[k]:.3f}" if k in own else "failed" for own in losses.values()]
        for k, drawn in plans.items()
    ]
    return {
        "solvers": markdown(head, summary),
        "networks": markdown(["network", "MFLOP", *losses], networks),
        "failures": failures(results),
    }


def draw(results: Results) -> Any:
    losses = final_losses(results)
    won = wins(losses)
    data = next(iter(results.values()))["settings"]["data"]
    figure, axes = canvas(f"Random networks on {data}: training loss of the last epoch")
    boxes, each, bars = axes[0]
    first, names = next(iter(losses.values())), list(losses)
    order = sorted({k for own in losses.values() for k in own}, key=lambda k: first.get(k, np.inf))
    for x, (solver, own) in enumerate(losses.items()):
        jitter = np.random.default_rng(0).uniform(-0.15, 0.15, len(own))
        boxes.boxplot(list(own.values()), positions=[x], widths=0.5, showfliers=False)
        boxes.plot(x + jitter, list(own.values()), ".", color=colour(solver))
        there = [(i, own[k]) for i, k in enumerate(order) if k in own]
        each.plot(*zip(*there, strict=True), ".-", color=colour(solver), label=solver, lw=0.8)
        failed = [i for i, k in enumerate(order) if k not in own]
        each.plot(
            failed, [0.98] * len(failed), "x", color=colour(solver), transform=each.get_xaxis_transform()
        )
        bars.bar(x, won[solver], color=colour(solver))
    boxes.set(ylabel="training loss")
    each.set(xlabel=f"network, in the order of {names[0]}'s loss (cross: failed)", ylabel="training loss")
    bars.yaxis.get_major_locator().set_params(integer=True)
    bars.set(ylabel=f"lowest of the {len(names)}, of {len(order)} networks")
    for axis in (boxes, bars):
        axis.set_xticks(range(len(names)), names)
    each.legend()
    return figure


EXPERIMENT = Experiment("random_networks", SETTINGS, FAST, runs, run, tables, draw, trains=True)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
