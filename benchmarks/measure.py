"""Libraries measured in turn: a process for each (A B A B), the same arithmetic proved first, all times kept.

Results are plain data, ready for JSON: for each row of a table and each peer, one number a round.
"""

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .peers import Peer

ROOT = Path(__file__).parent.parent
PAUSE = 0.05  # seconds before a turn: the others' idle threads stop spinning in less
AGREE = 5e-3  # relative, in single precision through dozens of layers; a wrong layer differs by far more

Values = dict[str, dict[str, list[float]]]  # row: peer: one number a round


class Failed(Exception):
    """A library is missing, or cannot do what was asked of it."""


class Worker:
    """A peer in its own process; `ask` calls a method of `worker.Library` there."""

    def __init__(self, peer: Peer) -> None:
        command = [sys.executable, "-m", "benchmarks.worker", peer.module, peer.options]
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
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@contextmanager
def at_work(peer: Peer) -> Iterator[Worker]:
    worker = Worker(peer)
    try:
        yield worker
    finally:
        worker.close()


def in_turn(
    peers: Sequence[Peer], problem: Any, rows: Sequence[str], rounds: int, least: float = 0.1
) -> dict[str, Any]:
    """Seconds of each job (`rows`) of `problem` by each peer, `rounds` times in turn.

    A peer that is missing, and a job that a peer does not have or cannot do, are named under "skipped". Raises
    ValueError when two peers do not compute the same.
    """
    skipped: dict[str, str] = {}
    versions: dict[str, str] = {}
    workers: dict[str, Worker] = {}
    jobs: dict[str, list[str]] = {}
    with ExitStack() as stack:
        for peer in peers:
            worker = stack.enter_context(at_work(peer))
            try:
                found = worker.ask("versions")
                jobs[peer.name] = worker.ask("build", problem)
            except Failed as error:
                skipped[peer.name] = str(error)
            else:
                versions |= found
                workers[peer.name] = worker
        able: dict[str, list[str]] = {}
        differences: dict[str, dict[str, float]] = {}
        for row in rows:
            answers: dict[str, list[np.ndarray]] = {}
            for name in [name for name in workers if row in jobs[name]]:
                try:
                    answers[name] = workers[name].ask("answer", row)
                except Failed as error:
                    skipped[f"{name}, {row}"] = str(error)
            able[row] = list(answers)
            differences[row] = compared(row, answers)
        values: Values = {row: {name: [] for name in able[row]} for row in rows}
        for _ in range(rounds):
            for row in rows:
                for name in able[row]:
                    time.sleep(PAUSE)
                    values[row][name].append(workers[name].ask("run", row, least))
    return {"versions": versions, "skipped": skipped, "differences": differences, "values": values}


def compared(row: str, answers: dict[str, list[np.ndarray]]) -> dict[str, float]:
    """How far each peer's answer is from that of the first, relative to its length."""
    far: dict[str, float] = {}
    for name, answer in answers.items():
        first = next(iter(answers.values()))
        far[name] = max(
            float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in zip(answer, first, strict=True)
        )
        if not far[name] < AGREE:
            raise ValueError(f"{row}: {name} differs from {next(iter(answers))} by {far[name]:.1e}")
    return far


def peaks(peers: Sequence[Peer], problem: Any, rows: Sequence[str], rounds: int) -> dict[str, Any]:
    """Peak memory in bytes of a whole process that does nothing but one job, three times."""
    skipped: dict[str, str] = {}
    versions: dict[str, str] = {}
    values: Values = {row: {} for row in rows}
    for _ in range(rounds):
        for row in rows:
            for peer in peers:
                with at_work(peer) as worker:
                    try:
                        versions |= worker.ask("versions")
                        if row not in worker.ask("build", problem):
                            continue
                        for _ in range(3):
                            worker.ask("run", row, 0.0)
                    except Failed as error:
                        skipped[f"{peer.name}, {row}"] = str(error)
                    else:
                        values[row].setdefault(peer.name, []).append(worker.ask("peak"))
    return {"versions": versions, "skipped": skipped, "values": values}


def imports(modules: Sequence[str], rounds: int) -> dict[str, Any]:
    """Seconds from the start of Python to its end with one import, and with none."""
    values: Values = {"nothing": {"python": []}, "import": {}}
    skipped: dict[str, str] = {}
    for _ in range(rounds):
        for module in ["", *modules]:
            if module in skipped:
                continue
            start = time.perf_counter()
            code = f"import {module}" if module else ""
            done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
            seconds = time.perf_counter() - start
            if done.returncode:
                skipped[module] = done.stderr.strip().splitlines()[-1]
            else:
                row, name = ("import", module) if module else ("nothing", "python")
                values[row].setdefault(name, []).append(seconds)
    return {"versions": {}, "skipped": skipped, "values": values}
