"""Many directions through one record: at once (`J.many`) beside one by one: `python -m benchmarks.jacobian`.

Both ways run in turn in one process; medians, and their ratio. The raw times (seconds) are kept in
benchmarks/results/jacobian.json.
"""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from minigrad import nn

from .kept import RESULTS, keep

REPEATS = 15


def cases() -> dict[str, tuple[Callable, Callable]]:
    """Name: (all directions at once, one after the other)."""
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((100, 100)) / 10 for _ in range(4)]

    def mlp(x: Any) -> Any:
        for w in weights:
            x = np.tanh(w @ x)
        return x

    _, J = mg.linearize(mlp, rng.standard_normal(100))
    units = np.eye(100)

    model, images = nn.resnet(8, channels=1, dtype=np.float64), rng.standard_normal((4, 8, 8, 1))
    y, K = mg.linearize(lambda x: model(x, train=True), images)
    rows = np.eye(y.size).reshape(y.size, *y.shape)
    vector, unravel = mg.ravel(model)
    _, L = mg.linearize(lambda w: unravel(w)(images, train=True), vector)
    tangents = rng.standard_normal((20, vector.size))
    return {
        "tanh MLP, 100 tangents": (lambda: J.many(units), lambda: [J(t) for t in units]),
        "tanh MLP, 100 cotangents": (lambda: J.T.many(units), lambda: [J.T(c) for c in units]),
        "resnet(8), batch 4, 40 cotangents": (lambda: K.T.many(rows), lambda: [K.T(c) for c in rows]),
        "resnet(8), 20 parameter tangents": (lambda: L.many(tangents), lambda: [L(t) for t in tangents]),
    }


def main() -> None:
    seconds: dict[str, dict[str, list[float]]] = {}
    print(f"{'ms (medians)':36}{'at once':>10}{'one by one':>12}{'ratio':>8}")
    for name, calls in cases().items():
        times: dict[str, list[float]] = {"at once": [], "one by one": []}
        for _ in range(REPEATS):
            for way, call in zip(times, calls, strict=True):
                start = time.perf_counter()
                call()
                times[way].append(time.perf_counter() - start)
        seconds[name] = times
        once, each = (1e3 * statistics.median(t) for t in times.values())
        print(f"{name:36}{once:10.2f}{each:12.2f}{each / once:8.1f}")
    data = {"numpy": np.__version__, "minigrad": mg.__version__, "seconds": seconds}
    keep(RESULTS / "jacobian.json", json.dumps(data))


if __name__ == "__main__":
    main()
