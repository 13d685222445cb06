"""The parts of the suite: what is measured, by whom, and the ratios that are looked at, as plain data.

A part returns its title, the unit in which the table shows values (`scale` times what was measured), what
`measure` found, and ratios or fits.
"""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np

from .measure import Entry, Values, imports, in_turn, peaks
from .peers import AUTOGRAD, COMPILED, CURVLINOPS, DOUBLE, JAX, NUMPY, OURS, TORCH, TORCH_FUNC
from .problems import Chain, Layers, Network, block, conv_norm, mlp, resnet, resnet18

PASSES = ("forward", "gradient", "jvp", "J(z), stored", "gradient + GGN product", "CurveBall step")
PEERS = [*OURS, *TORCH, COMPILED, DOUBLE, JAX]
C, PLAIN = (peer.name for peer in OURS)
EAGER = [peer.name for peer in TORCH]
OTHERS = [peer.name for peer in PEERS if peer not in OURS]
# One block, in the place of the large networks where the run shall be fast.
SMALL = (*conv_norm(3, 4, 3, 1, True), block(4, 8, (("subsample", 2, 4),)), ("mean",), ("linear", 8, 10))


def images(layers: Layers, batch: int) -> Network:
    return Network(layers, (32, 32, 3), 10, batch)


def residual(name: str, layers: Layers, batch: int, fast: bool) -> tuple[str, list[Entry]]:
    """Title and entries for a network and all peers; where fast, without compilation and a second layout."""
    problem = images(SMALL, 2) if fast else images(layers, batch)
    title = f"{'one block' if fast else name}, batch {problem.batch}, images 32x32x3, float32"
    peers = [peer for peer in PEERS if not (fast and peer in (COMPILED, TORCH[1]))]
    return title, [Entry(peer.name, peer, problem) for peer in peers]


def resnet20_part(rounds: int, fast: bool) -> dict[str, Any]:
    title, entries = residual("resnet(20)", resnet(20), 128, fast)
    data = in_turn(entries, PASSES, rounds)
    v, step, g, jvp = data["values"], "CurveBall step", "gradient", "J(z), stored"
    data["ratios"] = [
        ratio(v, "CurveBall step: {} / {}", (step, [C]), (step, OTHERS), 0.6),
        ratio(v, "CurveBall step: {} / {}", (step, [PLAIN]), (step, OTHERS), 1.0),
        *(ratio(v, "{}: CurveBall step / gradient", (step, [us]), (g, [us]), 2.5) for us in (C, PLAIN)),
        *(ratio(v, "{}: J(z), stored / forward", (jvp, [us]), ("forward", [us]), 2.1) for us in (C, PLAIN)),
        ratio(v, "gradient: {} / {}", (g, [C]), (g, EAGER), 1.0),
        ratio(v, "gradient: {} / {}", (g, [C]), (g, [JAX.name]), 0.35),
        ratio(v, "gradient: {} / {}", (g, [PLAIN]), (g, EAGER), 1.6),
    ]
    return {"title": title, **MS, **data}


def resnet18_part(rounds: int, fast: bool) -> dict[str, Any]:
    title, entries = residual("resnet18()", resnet18(), 32, fast)
    data = in_turn(entries, PASSES, rounds)
    data["ratios"] = [
        ratio(data["values"], f"{job}: {{}} / {{}}", (job, [us]), (job, OTHERS))
        for job in ("gradient", "CurveBall step")
        for us in (C, PLAIN)
    ]
    return {"title": title, **MS, **data}


def mlp_part(rounds: int, fast: bool) -> dict[str, Any]:
    """GGN products of two tanh MLPs, on a linearization that is kept, and with it."""
    networks: dict[str, tuple[int, ...]] = {
        "small": (784, 128, 64, 32, 10),
        "large": (784, 1000, 500, 250, 30),
    }
    if fast:
        networks = {"tiny": (4, 3, 2)}
    cases = {
        f"{name}, {batch}": Network(mlp(sizes), sizes[:1], sizes[-1], batch)
        for name, sizes in networks.items()
        for batch in ((2,) if fast else (128, 512))
    }
    peers = [*OURS, TORCH_FUNC, CURVLINOPS, JAX]
    entries = [Entry(f"{case}: {peer.name}", peer, p) for case, p in cases.items() for peer in peers]
    g, stored = "gradient", "GGN product, stored"
    data = in_turn(entries, (g, stored, "GGN product"), rounds)
    data["ratios"] = []
    for case in cases:
        ours, func = [f"{case}: {C}"], [f"{case}: {TORCH_FUNC.name}"]
        data["ratios"] += [
            ratio(data["values"], "{}: GGN product, stored / gradient", (stored, ours), (g, ours), 1.2),
            ratio(data["values"], "GGN product, stored, {} / {}", (stored, ours), (stored, func), 0.6),
        ]
    sizes = ", ".join(f"{name} {'-'.join(map(str, sizes))}" for name, sizes in networks.items())
    return {"title": f"tanh MLPs ({sizes}) by batch, float32", **MS, **data}


def overhead_part(rounds: int, fast: bool) -> dict[str, Any]:
    """The bounds in raw NumPy calls are those in µs on a machine on which such a call takes 0.45 µs."""
    problem = Chain(2) if fast else Chain()
    raw = {"jvp": 11.1, "gradient": 21.1, "Hessian product": 55.6, "linearize": 11.1, "J(t), stored": 6.7}
    jobs = ["value", *raw, "J.T(ct), stored"]
    entries = [Entry(peer.name, peer, problem) for peer in (NUMPY, OURS[0], AUTOGRAD)]
    data = in_turn(entries, jobs, rounds)
    v = data["values"]
    data["ratios"] = [
        *(ratio(v, f"{job}: {{}} / {{}}", (job, [C]), (job, [AUTOGRAD.name]), 0.53) for job in jobs[1:]),
        *(ratio(v, f"{job}: {{}} / {{}}", (job, [C]), ("value", [NUMPY.name]), raw[job]) for job in raw),
    ]
    title = f"a chain of {6 * problem.links} operations on ten numbers, float64"
    return {"title": title, "unit": "µs an operation", "scale": 1e6 / (6 * problem.links), **data}


def memory_part(rounds: int, fast: bool) -> dict[str, Any]:
    title, entries = residual("resnet(20)", resnet(20), 128, fast)
    step = "CurveBall step"
    data = peaks(entries, (step,) if fast else ("forward", "gradient", step))
    v = data["values"]
    data["ratios"] = [
        ratio(v, f"{step}: {{}} / {{}}", (step, [name]), (step, EAGER), 0.9) for name in (C, PLAIN)
    ]
    return {
        "title": f"peak memory of a process that does one job: {title}",
        "unit": "MB",
        "scale": 1e-6,
        **data,
    }


def scaling_part(rounds: int, fast: bool) -> dict[str, Any]:
    """Our time by batch, depth and width; straight lines through the first two."""
    jobs = ("gradient", "CurveBall step")
    if fast:
        grids = {"batch": {n: images(SMALL, n) for n in (1, 2, 4)}}
    else:
        grids = {
            "batch": {n: images(resnet(20), n) for n in (16, 32, 64, 128, 256, 512)},
            "depth": {n: images(resnet(n), 128) for n in (8, 14, 20, 32, 44, 56)},
            "width": {n: images(resnet(20, n), 128) for n in (4, 8, 16, 32)},
        }
    entries = [Entry(f"{axis} {n}", OURS[0], p) for axis, grid in grids.items() for n, p in grid.items()]
    data = in_turn(entries, jobs, rounds)
    data["fits"] = [
        line(data["values"][job], f"{job} by {axis}", axis, list(grids[axis]))
        for axis in ("batch", "depth")
        if axis in grids
        for job in jobs
    ]
    title = f"{C}: {'one block' if fast else 'resnet(20), batch 128, width 16'}, and one of these changed"
    return {"title": title, **MS, **data}


def startup_part(rounds: int, fast: bool) -> dict[str, Any]:
    data = imports(("numpy", "minigrad", "minigrad.optim", "autograd", "torch", "jax"), rounds)
    return {"title": "start, import, end of a Python process", **MS, **data, "ratios": []}


PARTS: dict[str, Callable[[int, bool], dict[str, Any]]] = {
    "resnet20": resnet20_part,
    "resnet18": resnet18_part,
    "mlp": mlp_part,
    "overhead": overhead_part,
    "memory": memory_part,
    "scaling": scaling_part,
    "startup": startup_part,
}
MS = {"unit": "ms", "scale": 1e3}

# ----- What is computed of the values -----

Side = tuple[str, Sequence[str]]  # a job, and the entries of which the fastest counts


def ratio(values: Values, label: str, over: Side, under: Side, asked: float | None = None) -> dict[str, Any]:
    """One job's time by another's: of medians, and of minima. None where a side was not measured.

    >>> times = {"step": {"a": [2.0, 3.0, 4.0], "b": [6.0, 6.0, 6.0]}}
    >>> ratio(times, "{} by {}", ("step", ["a"]), ("step", ["b", "c"]), 0.6)
    {'label': 'a by b', 'median': 0.5, 'min': 0.3333333333333333, 'asked': 0.6}
    """
    found = []
    for job, names in (over, under):
        there = [name for name in names if name in values[job]]
        found.append(min(((median(values[job][name]), name) for name in there), default=(None, names[0])))
    (a, first), (b, second) = found
    out: dict[str, Any] = {"label": label.format(first, second), "median": None, "min": None, "asked": asked}
    if a is not None and b is not None:
        out["median"] = a / b
        out["min"] = min(values[over[0]][first]) / min(values[under[0]][second])
    return out


def line(times: dict[str, list[float]], label: str, axis: str, sizes: list[int]) -> dict[str, Any]:
    """The line through minima that makes relative deviations least, and the largest of these.

    Minima, because what disturbs a run only adds to its time, and to long runs more.

    >>> line({"batch 1": [3.0], "batch 2": [5.0]}, "step", "batch", [1, 2])["slope"].round(3)
    np.float64(2.0)
    """
    y = np.array([min(times[f"{axis} {n}"]) for n in sizes])
    slope, start = np.polyfit(sizes, y, 1, w=1 / y)
    deviation = float(np.max(np.abs((slope * np.array(sizes) + start) / y - 1)))
    return {"label": label, "slope": slope, "start": start, "deviation": deviation}
