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

# How far results may differ, relative to their length. Where a relu's argument rounds to the other side of 0,
# its derivative is another: in deep networks of single precision that makes 3e-3; a wrong layer makes more.
AGREE = 1e-2

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
    versions: dict[str, str] = {}
    skipped: dict[str, str] = {}
    workers: dict[Entry, Worker] = {}
    with ExitStack() as stack:
        for entry in entries:
            worker = stack.enter_context(at_work(entry.peer))
            try:
                versions |= worker.ask("versions")
                worker.ask("build", entry.problem)
                workers[entry] = worker
            except Failed as error:
                skipped[entry.name] = str(error)
        differences = {job: agreement(job, workers, skipped) for job in jobs}
        values: Values = {job: {name: [] for name in differences[job]} for job in jobs}
        for _ in range(rounds):
            for job in jobs:
                for entry, worker in workers.items():
                    if entry.name in values[job]:
                        time.sleep(PAUSE)
                        try:
                            values[job][entry.name].append(worker.ask("run", job, least))
                        except Failed as error:  # as when its process was killed: the others go on
                            skipped[f"{entry.name}, {job}"] = str(error)
                            del values[job][entry.name]
    return {"versions": versions, "skipped": skipped, "differences": differences, "values": values}


def agreement(job: str, workers: dict[Entry, Worker], skipped: dict[str, str]) -> dict[str, float]:
    """How far the result of each entry that does the job is from that of the first with the same problem."""
    first: dict[Any, list[np.ndarray]] = {}
    far: dict[str, float] = {}
    for entry, worker in workers.items():
        try:
            if not worker.ask("has", job):
                continue
            answer = worker.ask("answer", job)
        except Failed as error:
            skipped[f"{entry.name}, {job}"] = str(error)
            continue
        far[entry.name] = difference(answer, first.setdefault(entry.problem, answer))
        if not far[entry.name] < AGREE:
            raise ValueError(f"{job}: {entry.name} differs by {far[entry.name]:.1e} from {next(iter(far))}")
    return far


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
                    worker.ask("build", entry.problem)
                    if job == "nothing" or worker.ask("has", job):
                        for _ in range(0 if job == "nothing" else 3):
                            worker.ask("run", job, 0.0)
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
