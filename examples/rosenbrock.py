"""Rosenbrock's function, with and without noise: how many iterations each solver takes, and what they cost.

f(u, v) = (1 - u)² + 100 e (v - u²)² is |r|² with r = (1 - u, 10 √e (v - u²)). The factor e is 1, or drawn
from U[0, 1] or U[0, 3] once in an iteration, which is one `step`: all of its passes see one function. A run
ends after the first iteration with f < 1e-4 at e = 1, and has failed if it flies off or needs over 10,000.
Learning rates are chosen on other seeds; in that, a failure counts as 20,000 iterations. Passes are counted
as the solvers report them; one of Levenberg-Marquardt's carries both directions at once.

With two parameters, span{z, dz} is the plane: from its second iteration on CurveBall is damped Gauss-Newton,
(G + λ I) z = -g. So this shows its damping at work, and not how good its step is in many dimensions.
"""

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from lab import COLOURS, Experiment, Place, Results, Settings, main, markdown
from solvers import SOLVERS, best, build, reached

import minigrad as mg
from minigrad import nn

FULL: Settings = {
    "tolerance": 1e-4,
    "limit": 10_000,  # iterations; a run that needs more has failed
    "noise": {"no noise": None, "U[0, 1]": 1.0, "U[0, 3]": 3.0},  # the upper end of e
    "start": [-0.25, -0.25],
    "box": 2.0,  # random starts are uniform in [-box, box]²
    "runs": 100,
    "seed": 0,
    "tuning_runs": 20,
    "tuning_seed": 1,
    "grids": {  # of learning rates, the likely ones first: the others are left once they are slower
        "SGD": [1e-3, 5e-4, 2e-3, 2e-4, 5e-3, 1e-4],
        "Nesterov": [1e-3, 5e-4, 2e-3, 2e-4, 5e-3, 1e-4],
        "RMSProp": [1e-3, 5e-4, 2e-3, 5e-3, 1e-2, 2e-4],
        "Adam": [0.1, 0.05, 0.2, 0.02, 0.5, 1.0, 0.01],
    },
    "solvers": SOLVERS,
}
FAST: Settings = {
    "limit": 60,
    "runs": 4,
    "tuning_runs": 2,
    "grids": {"SGD": [1e-3], "Nesterov": [1e-3], "RMSProp": [0.02], "Adam": [0.2]},
}
STARTS = {"fixed": "fixed start", "random": "random starts"}


def runs(settings: Settings) -> dict[str, Settings]:
    shared = {k: v for k, v in settings.items() if k not in ("solvers", "grids")}
    return {
        name: {**shared, "solver": solver, "grid": settings["grids"].get(name)}
        for name, solver in settings["solvers"].items()
    }


def run(settings: Settings, place: Place) -> dict[str, Any]:
    """Iterations and passes of all runs of one solver, None where it failed, and its way without noise."""
    cells = {
        start: {noise: cell(settings, start, top) for noise, top in settings["noise"].items()}
        for start in STARTS
    }
    lr = cells["fixed"]["no noise"]["lr"]
    path = descend(settings, lr, *draw_runs(settings, settings["seed"], 1, "fixed", None))["path"]
    every = math.ceil(len(path) / 300)
    return {"cells": cells, "path": path[:-1:every] + path[-1:]}


def cell(settings: Settings, start: str, noise: float | None) -> dict[str, Any]:
    def drawn(number: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        number = 1 if start == "fixed" and noise is None else number  # where there is no chance
        return draw_runs(settings, seed, number, start, noise)

    lr = None
    if settings["grid"]:
        tuning = drawn(settings["tuning_runs"], settings["tuning_seed"])
        lr = best(settings["grid"], lambda lr, bound: descend(settings, lr, *tuning, bound)["cost"])
    starts, factors = drawn(settings["runs"], settings["seed"])
    # The steps of methods with a learning rate are elementwise, so their runs go side by side in one vector.
    groups = [slice(None)] if lr else [slice(k, k + 1) for k in range(len(starts))]
    found = [descend(settings, lr, starts[k], factors[k]) for k in groups]
    return {"lr": lr, **{key: [n for one in found for n in one[key]] for key in ("iterations", "passes")}}


def draw_runs(
    settings: Settings, seed: int, number: int, start: str, noise: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Starts (number, 2) and the factors e (number, limit); run k has a generator of its own."""
    limit, box = settings["limit"], settings["box"]
    starts, factors = np.empty((number, 2)), np.ones((number, limit))
    for k in range(number):
        rng = np.random.default_rng([seed, k])
        starts[k] = rng.uniform(-box, box, 2)
        if noise is not None:
            factors[k] = rng.uniform(0, noise, limit)
    if start == "fixed":
        starts[:] = settings["start"]
    return starts, factors


def descend(
    settings: Settings, lr: float | None, starts: np.ndarray, factors: np.ndarray, bound: float = math.inf
) -> dict[str, Any]:
    """Runs side by side: iterations and passes of each, None if it failed; the way of the first.

    `cost` is the sum of iterations, 2 `limit` for a failure; once it is sure to reach `bound`, all stops.
    """
    count, limit = len(starts), settings["limit"]
    opt = build(settings["solver"], starts, lr)
    loss = nn.SquaredError(np.zeros_like(starts), reduction="sum")
    iterations, passes = np.full(count, 2 * limit), np.zeros(count, int)
    going, spent, path = np.ones(count, bool), 0, []
    for k in range(limit + 1):
        f = rosenbrock(*opt.model.T)
        path.append([k, *opt.model[0].tolist()])
        here = going & (f < settings["tolerance"])
        iterations[here], passes[here] = k, spent
        # A run that flies off is stopped long before it overflows, where it would end those beside it.
        going &= ~here & (f < 1e8)
        if k == limit or not going.any() or np.where(going, k, iterations).sum() >= bound:
            break
        # A run that is over has no residuals any more, and so no gradient.
        scale = np.stack([np.ones(count), 10 * np.sqrt(factors[:, k])], 1) * going[:, None]
        try:
            info = opt.step(lambda w, scale=scale: residuals(w) * scale, loss)  # type: ignore[misc]
            spent += sum(info.passes.values())
        except FloatingPointError:  # of one run alone: those side by side were stopped before
            break
    reached = iterations <= limit
    return {
        "cost": float(iterations.sum()),
        "iterations": [int(n) if r else None for n, r in zip(iterations, reached, strict=True)],
        "passes": [int(n) if r else None for n, r in zip(passes, reached, strict=True)],
        "path": path,
    }


def rosenbrock(u: Any, v: Any) -> Any:
    """f at e = 1."""
    return (1 - u) ** 2 + 100 * (v - u**2) ** 2


def residuals(w: Any) -> Any:
    """(1 - u, v - u²) of each row (u, v) of w: times (1, 10 √e), they are r."""
    u, v = w[:, 0], w[:, 1]
    return mg.stack([1 - u, v - u * u], 1)


# ----- What is shown -----


def tables(results: Results) -> dict[str, str]:
    def table(rows: Results, shown: Callable[[dict[str, Any]], Any], *kinds: str) -> str:
        where = {kind: f", {STARTS[kind]}" if len(kinds) > 1 else "" for kind in kinds}
        head = [noise + where[kind] for kind in kinds for noise in FULL["noise"]]
        lines = [
            [n, *(shown(c) for kind in kinds for c in r["cells"][kind].values())] for n, r in rows.items()
        ]
        return markdown(["solver", *head], lines)

    tuned = {name: r for name, r in results.items() if r["settings"]["grid"]}
    out = {}
    for key in ("iterations", "passes"):
        for kind, words in STARTS.items():
            out[f"{key}, {words}"] = table(results, lambda c, key=key: reached(c[key]), kind)  # type: ignore[misc]
    out["learning rates"] = table(tuned, lambda c: f"{c['lr']:g}", *STARTS)
    return out


def draw(results: Results) -> Any:
    """The ways without noise from the fixed start over the contour lines, a panel a solver."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8.5), layout="constrained")
    axes = figure.subplots(3, 4).ravel()
    u, v = np.meshgrid(np.linspace(-1.0, 1.6, 300), np.linspace(-0.8, 1.6, 300))
    for axis, (name, r) in zip(axes, results.items(), strict=False):
        axis.contour(
            u, v, rosenbrock(u, v), 10.0 ** np.arange(-2, 3, 0.5), colors="lightgray", linewidths=0.8
        )
        way = np.array(r["path"])
        axis.plot(way[:, 1], way[:, 2], ".-", color=COLOURS[name], linewidth=1, markersize=4)
        axis.plot(*way[0, 1:], "ko", markersize=4)
        axis.plot(1, 1, "k*", markersize=9)
        (n,) = r["cells"]["fixed"]["no noise"]["iterations"]
        axis.set_title(f"{name}: {'not reached' if n is None else n}", fontsize=10)
        axis.set_xlim(-1.0, 1.6)
        axis.set_ylim(-0.8, 1.6)
        axes[-1].loglog(way[1:, 0], rosenbrock(*way[1:, 1:].T), color=COLOURS[name])
    for axis in axes[len(results) : -1]:
        axis.set_axis_off()
    axes[-1].set_title("f, by iteration", fontsize=10)
    figure.suptitle("(u, v) from (-0.25, -0.25) without noise, and the number of iterations to f < 1e-4")
    return figure


EXPERIMENT = Experiment("rosenbrock", FULL, FAST, runs, run, tables, draw)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
