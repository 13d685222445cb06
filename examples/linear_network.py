"""A degenerate linear network of two layers: loss against iterations and passes, solver by solver.

W₁ W₂ x is to be y = A x on 1000 samples x from N(0, I), with 6 inputs, 6 hidden units and 10 outputs; A is
diag(1, ..., 1e-5) times a matrix of U[0, 1] (the problem of Rahimi and Recht, of condition 1e5). The loss is
the mean over samples of |W₁ W₂ x - y|². Each seed draws A, x and the start of W₁ and W₂ from N(0, 1). An
iteration is one `step` on all samples, in float64; a pass of Levenberg-Marquardt's carries 64 directions at
once. Learning rates are chosen on other seeds, where a level that is not reached counts as 2000 iterations.
"""

import sys
from typing import Any, NamedTuple

import numpy as np
from lab import COLOURS, Experiment, Place, Results, Settings, main, markdown
from solvers import SOLVERS, best, build, reached

from minigrad import nn

FULL: Settings = {
    "inputs": 6,
    "hidden": 6,
    "outputs": 10,
    "smallest": 1e-5,
    "samples": 1000,
    "levels": [0.1, 1e-2, 1e-4],
    "end": 1e-6,  # of the loss
    "limit": 2000,  # iterations
    "seeds": list(range(10)),
    "many": {"levels": [0.1], "end": 0.1, "seeds": list(range(200))},
    "tuning_seeds": [1000, 1001, 1002],
    "grids": {  # of learning rates, the likely ones first: the others are left once they are slower
        "SGD": [2e-2, 1e-2, 4e-2, 5e-3],
        "Nesterov": [2e-2, 1e-2, 4e-2, 5e-3],
        "RMSProp": [0.05, 0.1, 0.02, 0.2],
        "Adam": [0.5, 1.0, 0.2, 2.0],
    },
    "solvers": SOLVERS,
}
FAST: Settings = {
    "samples": 100,
    "levels": [1.0, 0.1],
    "end": 0.1,
    "limit": 100,
    "seeds": [0, 1],
    "many": {"levels": [0.1], "end": 0.1, "seeds": [0, 1, 2, 3]},
    "tuning_seeds": [1000],
}
MANY = "CurveBall, many seeds"


class Network(NamedTuple):
    W1: Any  # (outputs, hidden)
    W2: Any  # (hidden, inputs)


def runs(settings: Settings) -> dict[str, Settings]:
    own = {k: v for k, v in settings.items() if k not in ("solvers", "grids", "many")}
    out = {
        name: own | {"solver": solver, "grid": settings["grids"].get(name)}
        for name, solver in settings["solvers"].items()
    }
    return out | {MANY: out["CurveBall"] | settings["many"]}


def run(settings: Settings, place: Place) -> dict[str, Any]:
    """By seed: iterations and passes to each level (None: not reached), and the way: k, passes, loss."""
    lr = None
    if settings["grid"]:
        lr = best(settings["grid"], lambda lr, bound: cost(settings, lr, bound))
    found = [descend(settings, lr, seed) for seed in settings["seeds"]]
    return {"lr": lr, **{key: [f[key] for f in found] for key in found[0]}}


def cost(settings: Settings, lr: float, bound: float) -> float:
    """Iterations to all levels on all tuning seeds, the limit for one not reached; it stops at `bound`."""
    total = 0.0
    for seed in settings["tuning_seeds"]:
        if total < bound:
            there = descend(settings, lr, seed)["iterations"]
            total += sum(settings["limit"] if k is None else k for k in there)
    return total


def descend(settings: Settings, lr: float | None, seed: int) -> dict[str, Any]:
    network, x, y = problem(settings, seed)
    opt, loss = build(settings["solver"], network, lr), nn.SquaredError(y)
    iterations: list[int | None] = [None] * len(settings["levels"])
    passes, spent, way, diverged = list(iterations), 0, [], False
    for k in range(settings["limit"] + 1):
        try:
            # What overflows is found by the optimizer, which says so.
            with np.errstate(over="ignore", invalid="ignore"):
                info = opt.step(lambda m: x @ m.W2.T @ m.W1.T, loss)
        except FloatingPointError:
            diverged = True
            break
        for i, level in enumerate(settings["levels"]):
            if info.loss < level and iterations[i] is None:
                iterations[i], passes[i] = k, spent  # info.loss is that after k steps, before this one
        ended = info.loss < settings["end"]
        if len(str(k).rstrip("0")) <= 2 or ended:  # two digits are enough for a picture
            way.append([k, spent, info.loss])
        if ended:
            break
        spent += sum(info.passes.values())
    return {"iterations": iterations, "passes": passes, "way": way, "diverged": diverged}


def problem(settings: Settings, seed: int) -> tuple[Network, np.ndarray, np.ndarray]:
    """The network at its start, the samples (samples, inputs) and their targets (samples, outputs)."""
    s, rng = settings, np.random.default_rng(seed)
    A = np.linspace(1, s["smallest"], s["outputs"])[:, None] * rng.random((s["outputs"], s["inputs"]))
    x = rng.normal(size=(s["samples"], s["inputs"]))
    W1, W2 = rng.normal(size=(s["outputs"], s["hidden"])), rng.normal(size=(s["hidden"], s["inputs"]))
    return Network(W1, W2), x, x @ A.T


# ----- What is shown -----


def tables(results: Results) -> dict[str, str]:
    solvers = {name: r for name, r in results.items() if name != MANY}
    out = {}
    for key in ("iterations", "passes"):
        rows = []
        for name, r in solvers.items():
            cells = [reached(list(level)) for level in zip(*r[key], strict=True)]
            rows.append([name, *cells, sum(r["diverged"]), "–" if r["lr"] is None else f"{r['lr']:g}"])
        levels = [f"to {level:g}" for r in list(solvers.values())[:1] for level in r["settings"]["levels"]]
        out[key] = markdown(["solver", *levels, "diverged", "learning rate"], rows)
    if MANY in results:
        there = [k for (k,) in results[MANY]["iterations"]]
        tens = [np.mean([k for k in there[i : i + 10] if k is not None]) for i in range(0, len(there), 10)]
        row = [f"CurveBall, {len(there)} seeds", reached(there), f"{min(tens):.0f} to {max(tens):.0f}"]
        level = results[MANY]["settings"]["levels"][0]
        out["many seeds"] = markdown(["iterations", f"to {level:g}", "means of ten seeds each"], [row])
    return out


def draw(results: Results) -> Any:
    """Loss against iterations, median and range over seeds, in two panels; medians against passes."""
    from matplotlib.figure import Figure

    solvers = {name: r for name, r in results.items() if name != MANY}
    figure = Figure(figsize=(15, 5), layout="constrained")
    axes = figure.subplots(1, 3, sharey=True)
    for name, r in solvers.items():
        k, spent, loss = together(r["way"])
        middle = np.median(loss, 0)
        own = (axes[0], axes[1]) if name == "CurveBall" else (axes[0] if r["settings"]["grid"] else axes[1],)
        for axis in own:
            axis.loglog(k, middle, color=COLOURS[name], label=name)
            axis.fill_between(k, loss.min(0), loss.max(0), color=COLOURS[name], alpha=0.12, linewidth=0)
        axes[2].loglog(np.median(spent, 0), middle, color=COLOURS[name], label=name)
    for axis, what in zip(axes, ("iteration", "iteration", "passes"), strict=True):
        axis.set_xlabel(what)
        if axis.lines:
            axis.legend(fontsize=8, loc="lower left")
    axes[0].set_ylabel("mean loss: median and range over seeds")
    axes[0].set_ylim(5e-7, 1e3)
    return figure


def together(ways: list[list[list[float]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Iterations (k,), and passes and losses (seeds, k); a run that is over stays where it was."""
    ks = np.array(sorted({point[0] for way in ways for point in way if point[0]}))
    at = [np.searchsorted([point[0] for point in way], ks, side="right") - 1 for way in ways]
    columns = [np.array(way)[i] for way, i in zip(ways, at, strict=True)]
    return ks, np.array([c[:, 1] for c in columns]), np.array([c[:, 2] for c in columns])


EXPERIMENT = Experiment("linear_network", FULL, FAST, runs, run, tables, draw)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
