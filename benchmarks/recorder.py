"""What it costs to look: the recorder off and on, an operation and a CurveBall step of resnet(20), batch 128.

    python -m benchmarks.recorder           # prints the tables, writes benchmarks/results/recorder.json

With and without a recording run in turn in one process (A B A B). Of operations on ten numbers the fastest of
many repeats counts, of steps the median.
"""

import argparse
import json
import os
import platform
import statistics
import time
import timeit
from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.core import LOCAL

from .kept import RESULTS, keep
from .problems import LINKS, chain
from .step_cost import steps


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    data = {
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "lookup_us": 10 * min(timeit.repeat("r.recorder is None", number=10**5, globals={"r": LOCAL})),
        "operations": operations(args.repeats),
        "step": step(args.rounds),
    }
    report(data)
    keep(RESULTS / "recorder.json", json.dumps(data, indent=1))


class Functions:
    """minigrad's functions in the place of a namespace: operators of plain arrays would not be seen."""

    sin, tanh, sum = mg.sin, mg.tanh, mg.sum


def operations(repeats: int) -> dict[str, dict[str, float]]:
    """For each kind of pass over a chain of 6 LINKS operations: how many operations and equations of a record
    are noted, µs each off and on."""
    x, v = np.linspace(0.1, 1.0, 10), np.ones(10)
    f = chain(Functions)

    def value() -> Any:
        y = x
        for _ in range(2 * LINKS):
            y = mg.tanh(mg.add(mg.multiply(y, x), v))
        return y

    _, J = mg.linearize(f, x)
    with mg.trace():
        _, recorded = mg.linearize(f, x)
    g = mg.grad(f)
    calls: dict[str, tuple[Callable, Callable]] = {
        "value": (value, value),
        "J(t)": (lambda: J(v), lambda: recorded(v)),
        "J.T(ct)": (lambda: J.T(1.0), lambda: recorded.T(1.0)),
        "jvp": (lambda: mg.jvp(f, (x,), (v,)),) * 2,
        "linearize": (lambda: mg.linearize(f, x),) * 2,
        "grad": (lambda: g(x),) * 2,
    }
    rows = {}
    for name, (plain, watched) in calls.items():
        off, on, written = [], [], []
        for _ in range(repeats):
            off.append(seconds(plain))
            with mg.trace() as t:
                on.append(seconds(watched))
                start = time.perf_counter()
            written.append(time.perf_counter() - start)
        n = len(t.ops) + sum(len(p.equations) for p in t.walk())
        rows[name] = {
            "noted": n,
            "off_us": 1e6 * min(off) / n,
            "on_us": 1e6 * min(on) / n,
            "written_us": 1e6 * min(written) / n,
        }
    return rows


def step(rounds: int) -> dict[str, Any]:
    jobs = steps(20, 128)
    sgd, curveball = jobs["sgd"], jobs["curveball"]
    off, on = [], []
    for k in range(rounds + 1):
        plain = seconds(curveball)
        start = time.perf_counter()
        with mg.trace() as t:
            curveball()
        if k:  # the first round warms up
            off.append(plain)
            on.append(time.perf_counter() - start)
    with mg.trace() as beside:
        sgd()
    start = time.perf_counter()
    page = t.to_html()
    return {
        "off_s": off,
        "on_s": on,
        "operations": len(t.ops),
        "html_s": time.perf_counter() - start,
        "html_bytes": len(page.encode()),
        "json_bytes": len(t.to_json().encode()),
        "chrome_bytes": len(t.to_chrome().encode()),
        "flops curveball": sum(op.flops for op in t.ops),
        "flops sgd": sum(op.flops for op in beside.ops),
        "flops by pass": {f"{p.number} {p.kind} {p.label}": sum(op.flops for op in p.all_ops) for p in t},
    }


def seconds(call: Callable) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def report(data: dict[str, Any]) -> None:
    print(f"{data['machine']}, Python {data['python']}, NumPy {data['numpy']}\n")
    print(f"off: one look-up an operation, {data['lookup_us']:.3f} µs\n")
    print(f"{'µs':16}{'noted':>8}{'off':>8}{'on':>8}{'more':>8}{'to write down':>16}")
    for name, row in data["operations"].items():
        more = row["on_us"] - row["off_us"]
        print(
            f"{name:16}{row['noted']:8}{row['off_us']:8.2f}{row['on_us']:8.2f}{more:8.2f}"
            f"{row['written_us']:16.2f}"
        )
    s = data["step"]
    off, on = (1e3 * statistics.median(s[k]) for k in ("off_s", "on_s"))
    print(f"\nCurveBall step, resnet(20), batch 128: {s['operations']} operations")
    for name, key in (("not recorded", "off_s"), ("recorded, and written down", "on_s")):
        ms = [1e3 * v for v in s[key]]
        print(f"  {name:28}{statistics.median(ms):8.1f} ms ({min(ms):.1f} to {max(ms):.1f})")
    fastest = min(s["on_s"]) / min(s["off_s"])
    print(f"  {'ratio of medians':28}{on / off:8.4f}   (of the fastest {fastest:.4f})")
    ratio = s["flops curveball"] / s["flops sgd"]
    print(f"  FLOPs CurveBall / SGD       {ratio:8.4f}   ({s['flops curveball']} / {s['flops sgd']})")
    print(
        f"  HTML {s['html_bytes'] / 1e3:.0f} kB in {s['html_s']:.3f} s, JSON {s['json_bytes'] / 1e3:.0f} kB,",
        end=" ",
    )
    print(f"Chrome {s['chrome_bytes'] / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
