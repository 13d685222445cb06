"""Libraries measured in turn: a process for each (A B A B), the same arithmetic proved first, all times kept.

Results are plain data, ready for JSON.
"""

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .peers import Peer

ROOT = Path(__file__).parent.parent
PAUSE = 0.05  # seconds before a turn: the others' idle threads stop spinning in less
AGREE = (
    1e-2  # relative: where a relu rounds to the other side of 0, J jumps, by 3e-3 in single precision here
)

Values = dict[str, dict[str, list[float]]]  # by job and entry, one number a round


class Failed(Exception):
    """A library is missing, or cannot do what was asked of it."""


class Worker:
    """A peer in its own process; `ask` calls a method of `worker.Library` there."""

    def __init__(self, peer: Peer) -> None:
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.worker", peer.module, peer.options]
        env = os.environ | dict(peer.env)
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def ask(self, request: str, *args: Any) -> Any:
        """The answer; raises Failed with the error's message, or when the process has ended."""
        assert self.process.stdin and self.process.stdout
        try:
            pickle.dump((request, *args), self.process.stdin)
            self.process.stdin.flush()
            good, answer = pickle.load(self.process.stdout)
        except (EOFError, BrokenPipeError):
            raise Failed(f"its process ended with status {self.process.wait()}") from None
        if not good:
            raise Failed(answer)
        return answer

    def close(self) -> None:
        self.process.communicate()


@contextmanager
def at_work(peer: Peer) -> Iterator[Worker]:
    worker = Worker(peer)
    try:
        yield worker
    finally:
        worker.close()


class Entry(NamedTuple):
    """A line of a table: a library at work on a problem."""

    name: str
    peer: Peer
    problem: Any


def in_turn(entries: Sequence[Entry], jobs: Sequence[str], rounds: int, least: float = 0.1) -> dict[str, Any]:
    """Seconds of each job by each entry, `rounds` times in turn; of short jobs, medians of `least` seconds.

    A library that is missing, and a job that one cannot do, are named under "skipped". Raises ValueError when
    two libraries do not compute the same of one problem.
    """
    skipped: dict[str, str] = {}
    versions: dict[str, str] = {}
    workers: dict[str, Worker] = {}
    able: dict[str, list[str]] = {job: [] for job in jobs}
    differences: dict[str, dict[str, float]] = {job: {} for job in jobs}
    with ExitStack() as stack:
        for entry in entries:
            worker = stack.enter_context(at_work(entry.peer))
            try:
                found = worker.ask("versions")
                built = worker.ask("build", entry.problem)
            except Failed as error:
                skipped[entry.name] = str(error)
            else:
                versions |= found
                workers[entry.name] = worker
                for job in [job for job in jobs if job in built]:
                    able[job].append(entry.name)
        for job in jobs:
            references: dict[Any, list[np.ndarray]] = {}
            for entry in [entry for entry in entries if entry.name in able[job]]:
                try:
                    answer = workers[entry.name].ask("answer", job)
                except Failed as error:
                    able[job].remove(entry.name)
                    skipped[f"{entry.name}, {job}"] = str(error)
                else:
                    reference = references.setdefault(entry.problem, answer)
                    far = differences[job][entry.name] = difference(answer, reference)
                    if not far < AGREE:
                        raise ValueError(f"{job}: {entry.name} differs from the first entry by {far:.1e}")
        values: Values = {job: {name: [] for name in able[job]} for job in jobs}
        for _ in range(rounds):
            for job in jobs:
                for name in able[job]:
                    time.sleep(PAUSE)
                    values[job][name].append(workers[name].ask("run", job, least))
    return {"versions": versions, "skipped": skipped, "differences": differences, "values": values}


def difference(answer: list[np.ndarray], reference: list[np.ndarray]) -> float:
    """How far an answer is from another, relative to its length.

    >>> difference([np.ones(4)], [np.full(4, 2.0)])
    0.5
    """
    pairs = zip(answer, reference, strict=True)
    return max(float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in pairs)


def peaks(entries: Sequence[Entry], jobs: Sequence[str]) -> dict[str, Any]:
    """Peak memory in bytes of a process that does one job alone, three times, or "nothing" at all."""
    skipped: dict[str, str] = {}
    versions: dict[str, str] = {}
    values: Values = {job: {} for job in ("nothing", *jobs)}
    for job in values:
        for entry in [entry for entry in entries if entry.name not in skipped]:
            with at_work(entry.peer) as worker:
                try:
                    versions |= worker.ask("versions")
                    there = worker.ask("build", entry.problem)
                    for _ in range(3 if job in there else 0):
                        worker.ask("run", job, 0.0)
                    if job in ("nothing", *there):
                        values[job][entry.name] = [worker.ask("peak")]
                except Failed as error:
                    skipped[entry.name] = str(error)
    return {"versions": versions, "skipped": skipped, "values": values}


def imports(modules: Sequence[str], rounds: int) -> dict[str, Any]:
    """Seconds that Python takes from its start to its end with one import, and with none ("nothing")."""
    skipped: dict[str, str] = {}
    values: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name in [name for name in ("nothing", *modules) if name not in skipped]:
            code = "" if name == "nothing" else f"import {name}"
            start = time.perf_counter()
            done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
            seconds = time.perf_counter() - start
            if done.returncode:
                skipped[name] = done.stderr.strip().splitlines()[-1]
            else:
                values.setdefault(name, []).append(seconds)
    found = [name for name in modules if name in values and "." not in name and name != "minigrad"]
    versions = {name: metadata.version(name) for name in found}
    return {"versions": versions, "skipped": skipped, "values": {"import": values}}
