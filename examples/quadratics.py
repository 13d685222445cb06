"""CurveBall on quadratics without noise, beside conjugate gradient and what else there is for them.

f(w) = ½ (w - w*)ᵀ H (w - w*) from w = 0, with w* from N(0, I). H is diagonal, for no method here sees a
rotation; its eigenvalues go from 1 to the condition number in equal steps, or in equal ratios. CurveBall
runs at λ = 0. Its first two iterates are those of conjugate gradient (CG); in span{z, g} all are.

That is in exact arithmetic. How far rounding alone can lead CG, its run from a w* changed in the last digit
shows; and each step is compared to the one that CG would do from the same point, after the same step.
"""

import sys
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
from lab import COLOURS, Experiment, Place, Results, Settings, main, markdown

from minigrad import optim

FULL: Settings = {
    "n": 50,
    "spectra": ["equal steps", "equal ratios"],
    "conditions": [1e2, 1e4],
    "seeds": [0, 1, 2],
    "tolerance": 1e-8,  # of f(w) / f(0)
    "limit": 30_000,
    "compared": 50,  # iterations
}
FAST: Settings = {"conditions": [1e2], "seeds": [0]}

Array = np.ndarray


def runs(settings: Settings) -> dict[str, Settings]:
    own = {k: v for k, v in settings.items() if k not in ("spectra", "conditions")}
    return {
        f"{problem(spectrum, kappa)}, {method}": own
        | {"spectrum": spectrum, "kappa": kappa, "method": method}
        for spectrum in settings["spectra"]
        for kappa in settings["conditions"]
        for method in METHODS
    }


def problem(spectrum: str, kappa: float) -> str:
    return f"{spectrum}, condition {kappa:g}"


def run(settings: Settings, place: Place) -> dict[str, Any]:
    """By seed: iterations to the tolerance (None: not reached), f(w) / f(0) on the way, distances from CG."""
    n, kappa = settings["n"], settings["kappa"]
    h = np.linspace(1, kappa, n) if settings["spectrum"] == "equal steps" else np.geomspace(1, kappa, n)
    found = [
        one(Quadratic(h, np.random.default_rng(s).standard_normal((n,))), settings) for s in settings["seeds"]
    ]
    return {key: [f[key] for f in found] for key in found[0]}


def one(f: "Quadratic", settings: Settings) -> dict[str, Any]:
    compared = settings["compared"]
    beside = list(islice(conjugate_gradient(f), compared + 1))
    before, z = 0 * f.h, 0 * f.h
    iterations, gaps, apart, steps_apart = None, [], [], []
    for k, w in enumerate(METHODS[settings["method"]](f)):
        gap = f(w) / f(0 * w)
        if len(str(k).rstrip("0")) <= 2:  # two digits
            gaps.append([k, gap])
        if 0 < k <= compared:
            apart.append(distance(w, beside[k], f.w_star))
        if k and iterations is None:
            expected, z, before = cg_step(f, before, z), w - before, w
            steps_apart.append(distance(z, expected, expected))
        if gap < settings["tolerance"] and iterations is None:
            iterations = k
        if k == settings["limit"] or (iterations is not None and k >= compared):
            break
    return {
        "iterations": iterations,
        "gaps": gaps,
        "from CG": apart,
        "steps from CG": steps_apart[:compared],
    }


class Quadratic:
    """f with H = diag(h): a loss of the outputs y = w, so J = I and the curvature is all the loss's."""

    def __init__(self, h: Array, w_star: Array) -> None:
        self.h, self.w_star = h, w_star

    def __call__(self, w: Any) -> Any:
        return (self.h * (w - self.w_star) ** 2).sum() / 2

    def gradient(self, w: Array) -> Array:
        return self.h * (w - self.w_star)

    def quadratic(self, w: Array) -> tuple[Any, Array, Callable[[Array], Array]]:
        return self(w), self.gradient(w), lambda v: self.h * v


def distance(a: Array, b: Array, scale: Array) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(scale))


# ----- Methods: the iterates from w = 0 -----


def stepping(make: Callable[[Quadratic], optim.Optimizer]) -> Callable[[Quadratic], Iterator[Array]]:
    def iterates(f: Quadratic) -> Iterator[Array]:
        opt = make(f)
        while True:
            yield opt.w.copy()
            opt.step(lambda w: w, f)

    return iterates


def curveball(f: Quadratic, directions: str = "zdz") -> optim.Optimizer:
    return optim.CurveBall(0 * f.h, lam=0.0, adapt_lam=False, directions=directions)


def heavy_ball(f: Quadratic) -> optim.Optimizer:
    """Polyak's, with the learning rate and momentum that are best for the ends of the spectrum."""
    low, high = np.sqrt(f.h.min()), np.sqrt(f.h.max())
    return optim.SGD(0 * f.h, lr=4 / (high + low) ** 2, momentum=((high - low) / (high + low)) ** 2)


def steepest_descent(f: Quadratic) -> Iterator[Array]:
    """With exact line searches."""
    w = 0 * f.h
    while True:
        yield w
        g = f.gradient(w)
        w = w - (g @ g) / (g @ (f.h * g)) * g


def conjugate_gradient(f: Quadratic) -> Iterator[Array]:
    """The textbook's (Hestenes and Stiefel 1952; Nocedal and Wright, algorithm 5.2)."""
    w = 0 * f.h
    r = f.gradient(w)
    p = -r
    while True:
        yield w
        rr, Hp = r @ r, f.h * p
        alpha = rr / (p @ Hp)
        w, r = w + alpha * p, r + alpha * Hp
        p = (r @ r) / rr * p - r


def cg_step(f: Quadratic, w: Array, z: Array) -> Array:
    """The step that CG does at `w` after the step `z`: along -g made conjugate to z, as far as is best."""
    g, Hz = f.gradient(w), f.h * z
    p = -g + ((g @ Hz) / (z @ Hz) * z if z.any() else 0)
    return -(g @ p) / (p @ (f.h * p)) * p


METHODS: dict[str, Callable[[Quadratic], Iterator[Array]]] = {
    "CurveBall": stepping(curveball),
    "CurveBall zg": stepping(lambda f: curveball(f, "zg")),
    "CG": conjugate_gradient,
    "CG, w* changed": lambda f: conjugate_gradient(Quadratic(f.h, np.nextafter(f.w_star, np.inf))),
    "heavy ball": stepping(heavy_ball),
    "steepest descent": steepest_descent,
}


# ----- What is shown -----


def tables(results: Results) -> dict[str, str]:
    problems = by_problem(results)
    methods = [m for m in METHODS if any(m in own for own in problems.values())]
    iterations = [
        [m, *(span(own[m]["iterations"]) if m in own else "–" for own in problems.values())] for m in methods
    ]
    apart = [
        [f"{m} ({name})", *(f"{worst(r['from CG'], k):.0e}" for k in (1, 2, 3, None)), worst_step(r)]
        for name, own in problems.items()
        for m, r in own.items()
        if m.startswith("C") and m != "CG"
    ]
    head = ["at most, over seeds", "iteration 1", "2", "3", "all compared", "a step from CG's"]
    return {
        "iterations": markdown(["method", *problems], iterations),
        "distance from CG": markdown(head, apart),
    }


def by_problem(results: Results) -> dict[str, Results]:
    out: dict[str, Results] = {}
    for r in results.values():
        own = r["settings"]
        out.setdefault(problem(own["spectrum"], own["kappa"]), {})[own["method"]] = r
    return out


def span(values: list[int | None]) -> str:
    """The least and the most.

    >>> span([85, 87, 86]), span([30]), span([5, None])
    ('85 to 87', '30', '5 to not reached')
    """
    ends = sorted(float("inf") if v is None else v for v in values)
    words = ["not reached" if v == float("inf") else f"{v:.0f}" for v in (ends[0], ends[-1])]
    return words[0] if words[0] == words[1] else " to ".join(words)


def worst(seeds: list[list[float]], iteration: int | None) -> float:
    return max(max(own) if iteration is None else own[iteration - 1] for own in seeds)


def worst_step(r: dict[str, Any]) -> str:
    return f"{worst(r['steps from CG'], None):.0e}"


def draw(results: Results) -> Any:
    """For each problem f(w) / f(0), and below the distance of the iterates from CG's."""
    from matplotlib.figure import Figure

    colours = COLOURS | {
        "CG": "black", "CG, w* changed": "tab:gray", "heavy ball": "tab:orange", "steepest descent": "tab:red"
    }  # fmt: skip
    problems = by_problem(results)
    figure = Figure(figsize=(3.6 * len(problems), 6.4), layout="constrained")
    axes = figure.subplots(2, len(problems), squeeze=False, sharey="row")
    for (title, own), (above, below) in zip(problems.items(), axes.T, strict=True):
        for method, r in own.items():
            style = {"color": colours[method], "linestyle": "--" if method.startswith("CG") else "-"}
            for k, (gaps, apart) in enumerate(zip(r["gaps"], r["from CG"], strict=True)):
                label = None if k else method
                above.loglog(*np.array(gaps[1:]).T, label=label, linewidth=1, **style)
                if method.startswith("C") and method != "CG":
                    shown = np.maximum(apart, 1e-17)
                    below.semilogy(range(1, len(apart) + 1), shown, label=label, linewidth=1, **style)
        above.set_title(title, fontsize=10)
        above.set_ylim(1e-9, 2)
        above.set_xlabel("iteration")
        below.set_xlabel("iteration")
    axes[0, 0].set_ylabel("f(w) / f(0)")
    axes[1, 0].set_ylabel("|w - w of CG| / |w*|")
    axes[0, 0].legend(fontsize=8)
    axes[1, 0].legend(fontsize=8)
    return figure


EXPERIMENT = Experiment("quadratics", FULL, FAST, runs, run, tables, draw)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
