"""What the engine costs an operation, beside HIPS autograd: `python -m benchmarks.overhead`.

A chain of operations on arrays of ten elements, where arithmetic costs nothing. Both libraries run in turn in
one process; of many repeats the fastest counts, as on a shared machine only noise is added to it.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg

LINKS = 100  # of six operations each
RAW_US = 0.45  # the targets are for a machine on which a raw NumPy call takes this long
TARGETS = {"jvp": 5.0, "grad": 9.5, "hvp fwd/rev": 25.0, "linearize": 5.0, "replay J": 3.0}
TIMES_FASTER = 1.9


def chain(xp: Any) -> Callable:
    """A scalar function of 6 LINKS operations: sines, sums, differences and products."""
    a, b = np.linspace(0.9, 1.1, 10), np.linspace(-0.1, 0.1, 10)

    def f(x: Any) -> Any:
        for _ in range(LINKS):
            y = xp.sin(x)
            y = y * a
            y = y + b
            x = xp.tanh(y)
            x = x * y
            x = x - y
        return xp.sum(x)

    return f


def minigrad_columns(x: np.ndarray, v: np.ndarray) -> dict[str, Callable]:
    f = chain(mg)
    _, J = mg.linearize(f, x)
    g = mg.grad(f)
    return {
        "value": lambda: f(x),
        "jvp": lambda: mg.jvp(f, (x,), (v,)),
        "grad": lambda: g(x),
        "hvp fwd/rev": lambda: mg.hvp(f, (x,), (v,)),
        "linearize": lambda: mg.linearize(f, x),
        "replay J": lambda: J(v),
        "replay J.T": lambda: J.T(1.0),
    }


def autograd_columns(x: np.ndarray, v: np.ndarray) -> dict[str, Callable]:
    """The same columns; autograd has no record to replay, so its next best stands there."""
    import autograd
    import autograd.numpy as anp

    f = chain(anp)
    push, g, pull = autograd.make_jvp(f)(x), autograd.grad(f), autograd.make_vjp(f)(x)[0]
    product = autograd.make_jvp(g)(x)
    return {
        "value": lambda: f(x),
        "jvp": lambda: push(v),
        "grad": lambda: g(x),
        "hvp fwd/rev": lambda: product(v),
        "linearize": lambda: autograd.make_vjp(f)(x),  # its record: good for reverse sweeps only
        "replay J": lambda: push(v),  # runs f again
        "replay J.T": lambda: pull(1.0),
    }


def fastest(calls: dict[str, Callable], repeats: int) -> dict[str, list[float]]:
    """Seconds of each call, repeat by repeat; the calls take turns, so that noise falls on all of them."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--out", type=Path, help="keep the raw times (seconds) as JSON")
    args = parser.parse_args()

    x, v = np.linspace(0.1, 1.0, 10), np.ones(10)
    libraries: dict[str, dict[str, Callable]] = {"numpy": {"value": lambda: chain(np)(x)}}
    libraries["minigrad"] = minigrad_columns(x, v)
    try:
        libraries["autograd"] = autograd_columns(x, v)
    except ImportError:
        print("autograd is not installed (pip install autograd): its column is left out")
    calls = {f"{lib}/{name}": call for lib, table in libraries.items() for name, call in table.items()}
    times = fastest(calls, args.repeats)
    us = {name: 1e6 * min(t) / (6 * LINKS) for name, t in times.items()}
    report(us)
    if args.out:
        import importlib.metadata as metadata

        versions = {"python": platform.python_version(), "numpy": np.__version__, "minigrad": mg.__version__}
        if "autograd" in libraries:
            versions["autograd"] = metadata.version("autograd")
        data = {
            "versions": versions,
            "machine": platform.processor(),
            "ops": 6 * LINKS,
            "us": us,
            "seconds": times,
        }
        args.out.write_text(json.dumps(data))


def report(us: dict[str, float]) -> None:
    """The table; a target is scaled by what a raw NumPy call takes here."""
    raw = us["numpy/value"]
    scale = raw / RAW_US
    print(f"µs an operation; raw NumPy {raw:.3f}, so targets are scaled by {scale:.2f}")
    print(
        f"{'':14}{'minigrad':>10}{'target':>10}{'autograd':>10}{'times faster':>14} (asked: {TIMES_FASTER})"
    )
    for name in [key.partition("/")[2] for key in us if key.startswith("minigrad/")]:
        ours, theirs = us[f"minigrad/{name}"], us.get(f"autograd/{name}")
        target = f"{TARGETS[name] * scale:.2f}" if name in TARGETS else ""
        peer, ratio = ("", "") if theirs is None else (f"{theirs:.2f}", f"{theirs / ours:.2f}")
        print(f"{name:14}{ours:10.2f}{target:>10}{peer:>10}{ratio:>14}")


if __name__ == "__main__":
    main()
