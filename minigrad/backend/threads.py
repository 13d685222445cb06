"""One piece of work on all cores: it is cut into parts, and whoever is free takes the next.

Parts get smaller towards the end, so that nobody waits long for another, and nobody waits for a thread that
has not woken up yet. What a part computes must not depend on who computes it.
"""

import contextvars
import functools
import itertools
import os
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, RLock, Thread
from typing import Any

ENOUGH = 1 << 18  # elements, or multiplications, that are worth waking a thread for


def share(work: Callable[[slice], Any], n: int, cost: int) -> list[Any]:
    """work(part) for consecutive parts of range(n), on all threads if `cost` is ENOUGH; results in order.

    >>> share(lambda part: part.stop - part.start, 3, cost=1)
    [3]
    """
    team = workers() if cost >= ENOUGH else 1
    if team == 1 or n < 2:
        return [work(slice(0, n))] if n else []
    job = Job(work, parts(n, team))
    for _ in range(min(team, n) - 1):
        # Such as np.errstate: each thread needs a copy of its own.
        queue().put((contextvars.copy_context(), job))
    return job.finish()


def share_products(work: Callable[[slice], Any], n: int, cost: int) -> list[Any]:
    """share() of work that calls BLAS, which meanwhile works on the thread that calls it."""

    def alone(part: slice) -> Any:
        with blas().limit(limits=1, user_api="blas"):  # where each thread has a limit of its own
            return work(part)

    # Where there is one limit for all, threads that set it at the same time would put back each other's.
    with ONE_AT_A_TIME, blas().limit(limits=1, user_api="blas"):
        return share(alone, n, cost)


ONE_AT_A_TIME = RLock()


def parts(n: int, team: int) -> list[slice]:
    """range(n) in parts, each as long as half of what is left for each thread, but not too short."""
    cuts = [0]
    while cuts[-1] < n:
        cuts.append(cuts[-1] + max((n - cuts[-1]) // (2 * team), n // (16 * team), 1))
    return [slice(a, min(b, n)) for a, b in itertools.pairwise(cuts)]


class Job:
    """Parts of some work, and who knows when the last is done."""

    def __init__(self, work: Callable[[slice], Any], todo: list[slice]) -> None:
        self.work: Callable[[slice], Any] | None = work
        self.todo = iter(enumerate(todo))
        self.results: list[Any] = [None] * len(todo)
        self.done = itertools.count(1)
        self.error: BaseException | None = None
        self.all_done = Lock()
        self.all_done.acquire()

    def run(self) -> None:
        for k, part in self.todo:
            try:
                self.results[k] = self.work(part)  # type: ignore[misc]
            except BaseException as error:
                self.error = error
            if next(self.done) == len(self.results):
                self.all_done.release()

    def finish(self) -> list[Any]:
        self.run()
        self.all_done.acquire()
        # A thread that wakes up late finds this job in the queue: it must not keep arrays alive until then.
        results, self.results, self.work = self.results, [], None
        if self.error is not None:
            raise self.error
        return results


@functools.cache
def workers() -> int:
    """How many threads share the work: MINIGRAD_NUM_THREADS, or the cores this process may use."""
    wanted = os.environ.get("MINIGRAD_NUM_THREADS")
    if wanted:
        if not wanted.isdecimal():
            raise ValueError(f"MINIGRAD_NUM_THREADS={wanted}: must be a number of threads, such as 4")
        return max(1, int(wanted))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def queue() -> "SimpleQueue[tuple[contextvars.Context, Job]]":
    """Jobs for the other threads, which begin to look here at the first call."""
    jobs: SimpleQueue[tuple[contextvars.Context, Job]] = SimpleQueue()

    def serve() -> None:
        while True:
            context, job = jobs.get()
            context.run(job.run)
            del context, job  # while it waits, a thread keeps nothing alive

    for k in range(workers() - 1):
        Thread(target=serve, name=f"minigrad {k + 1}", daemon=True).start()
    return jobs


@functools.cache
def blas() -> Any:
    # Imported here, because only the kernels in NumPy need it.
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=queue.cache_clear)  # threads do not survive a fork
