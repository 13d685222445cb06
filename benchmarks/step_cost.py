"""What a CurveBall step costs beside an SGD step: time, arithmetic and peak memory, on resnet(20), batch 128.

    python -m benchmarks.step_cost          # prints the table, writes benchmarks/results/step_cost.json

Time is measured in turn in one process (A B C A B C), memory as the peak of one process for each step.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import minigrad as mg
from minigrad import nn, optim

from .kept import RESULTS, keep

FIVE = "curveball, 5 steps with one lambda test"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depth", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--peak", choices=("nothing", "forward", "sgd", "curveball"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        print(peak(args.peak, args.depth, args.batch_size))
        return
    memory = {kind: peak_of_process(kind, args) for kind in ("nothing", "forward", "sgd", "curveball")}
    seconds = times(sweeps(args.depth, args.batch_size), args.rounds)
    seconds |= times(steps(args.depth, args.batch_size), args.rounds)
    flops = arithmetic(args.depth, args.batch_size)
    report(args, seconds, memory, flops)


def problem(depth: int, batch: int) -> tuple:
    """Images and labels of CIFAR's shape: cost does not depend on what they show."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, 32, 32, 3), dtype=np.float32)
    return lambda model: model(x, train=True), nn.SoftmaxCrossEntropy(rng.integers(0, 10, batch))


def sweeps(depth: int, batch: int) -> dict[str, Callable[[], object]]:
    """A plain primal pass, and one pass each way over a stored linearization."""
    predict, _ = problem(depth, batch)
    model = nn.resnet(depth)
    w, unravel = mg.ravel(model)
    y, J = mg.linearize(lambda w: predict(unravel(w)), w)
    return {"forward": lambda: predict(model), "J(z)": lambda: J(w), "J.T(ct)": lambda: J.T(y)}


def steps(depth: int, batch: int) -> dict[str, Callable[[], object]]:
    predict, loss = problem(depth, batch)
    sgd = optim.SGD(nn.resnet(depth), lr=0.1, momentum=0.9)
    curveball = optim.CurveBall(nn.resnet(depth), adapt_lam=False)
    adapting = optim.CurveBall(nn.resnet(depth))
    return {
        "sgd": lambda: sgd.step(predict, loss),
        "curveball": lambda: curveball.step(predict, loss),
        FIVE: lambda: [adapting.step(predict, loss) for _ in range(5)],
    }


def times(jobs: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for k in range(rounds + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if k:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return seconds


def arithmetic(depth: int, batch: int) -> dict[str, float]:
    """Floating-point operations of convolutions and matrix products, from the recorded linear programs."""
    predict, _ = problem(depth, batch)
    w, unravel = mg.ravel(nn.resnet(depth))
    products = ("conv2d", "conv2d_tangent", "matmul")

    def count(J: mg.LinearMap) -> int:
        return sum(J.cost.ops[name].flops or 0 for name in products if name in J.cost.ops)

    jvp = count(mg.linearize(lambda w: predict(unravel(w)), w)[1])
    # Along the images alone each product occurs once, as in the primal pass.
    model, rng = nn.resnet(depth), np.random.default_rng(0)
    x = rng.standard_normal((batch, 32, 32, 3), dtype=np.float32)
    primal = count(mg.linearize(lambda x: model(x, train=True), x)[1])
    return {
        "primal": primal,
        "jvp": jvp,
        "sgd": primal + jvp,
        "curveball": primal + 3 * jvp,
        "curveball over sgd": (primal + 3 * jvp) / (primal + jvp),
    }


def peak(kind: str, depth: int, batch: int) -> int:
    """Peak resident memory in bytes of this process after three steps."""
    predict, loss = problem(depth, batch)
    model = nn.resnet(depth)
    opt = optim.SGD(model, momentum=0.9) if kind == "sgd" else optim.CurveBall(model)
    for _ in range(0 if kind == "nothing" else 3):
        if kind == "forward":
            predict(model)
        else:
            opt.step(predict, loss)
    # Not getrusage's ru_maxrss: on Linux a new process inherits that of the one that started it.
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def peak_of_process(kind: str, args: argparse.Namespace) -> int:
    command = [sys.executable, "-m", "benchmarks.step_cost", "--peak", kind]
    command += ["--depth", str(args.depth), "--batch-size", str(args.batch_size)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def report(args: argparse.Namespace, seconds: dict, memory: dict, flops: dict) -> None:
    median = {name: statistics.median(values) for name, values in seconds.items()}
    ratios = {
        "curveball step / sgd step": median["curveball"] / median["sgd"],
        "the same with one lambda test in 5 steps": median[FIVE] / 5 / median["sgd"],
        "the same by arithmetic of products": flops["curveball over sgd"],
        "J(z) / forward": median["J(z)"] / median["forward"],
        "J.T(ct) / forward": median["J.T(ct)"] / median["forward"],
        "peak memory curveball / sgd": memory["curveball"] / memory["sgd"],
    }
    machine = (
        f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"
    )
    print(f"resnet({args.depth}), batch {args.batch_size}, float32; {machine}, NumPy {np.__version__}\n")
    print(f"{'':42}{'median ms':>10}{'min':>9}{'max':>9}")
    for name, values in seconds.items():
        print(f"{name:42}{1e3 * median[name]:10.1f}{1e3 * min(values):9.1f}{1e3 * max(values):9.1f}")
    print()
    for name, value in memory.items():
        print(f"{'peak memory, ' + name:42}{value / 1e6:10.0f} MB")
    print()
    for name, value in ratios.items():
        print(f"{name:42}{value:10.3f}")
    keep(
        RESULTS / "step_cost.json",
        json.dumps(
            {
                "machine": machine,
                "numpy": np.__version__,
                "settings": vars(args),
                "seconds": seconds,
                "peak_bytes": memory,
                "flops": flops,
                "ratios": ratios,
            },
            indent=1,
        ),
    )


if __name__ == "__main__":
    main()
