"""One library in a process of its own, which does a job when it is asked to: `python -m benchmarks.worker`.

Requests and answers are pickles on stdin and stdout. So libraries measured in turn share neither memory nor
thread pools.
"""

import importlib
import os
import pickle
import statistics
import sys
import time
import traceback
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np


def main(module: str, options: str) -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not mix with the answers
    library: Library | None = None
    while True:
        try:
            request, *args = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            if library is None:
                library = Library(module, dict(pair.split("=") for pair in options.split()))
            reply = (True, getattr(library, request)(*args))
        except Exception as error:
            if not isinstance(error, ModuleNotFoundError):  # a library that is not installed is no surprise
                traceback.print_exc()
            reply = (False, f"{type(error).__name__}: {error}")
        pickle.dump(reply, answers)
        answers.flush()


class Library:
    """A module of benchmarks.peers and the jobs it has built; each method is a request."""

    def __init__(self, module: str, options: dict[str, str]) -> None:
        self.module = importlib.import_module(f"benchmarks.peers.{module}")
        self.options = options

    def versions(self) -> dict[str, str]:
        return {name: metadata.version(name) for name in self.module.VERSIONS}

    def build(self, problem: Any) -> None:
        self.jobs = getattr(self.module, problem.kind)(problem, **self.options)

    def has(self, job: str) -> bool:
        return job in self.jobs

    def answer(self, job: str) -> list[np.ndarray]:
        """What a job computes, in minigrad's layouts. The first run of a job compiles and warms up."""
        return self.module.plain(self.jobs[job]())

    def run(self, job: str, least: float) -> float:
        """Seconds of a run; of short ones, the median of as many as take `least` seconds together."""
        call = self.jobs[job]
        times: list[float] = []
        while sum(times) < least or not times:
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    def peak(self) -> int:
        """The most memory that this process held at any time, in bytes."""
        # Not getrusage's ru_maxrss: on Linux a new process inherits that of the one that started it.
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])


if __name__ == "__main__":
    main(*sys.argv[1:])
