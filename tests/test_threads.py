"""Sharing work out: every part is done once, in any order, and results and errors come back."""

import os
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.backend import threads
from minigrad.backend.threads import ENOUGH, parts, share, share_products


@pytest.fixture
def four(monkeypatch):
    """Four threads, whatever the machine has."""
    monkeypatch.setattr(threads, "workers", lambda: 4)
    threads.queue.cache_clear()
    yield
    threads.queue.cache_clear()


@given(st.integers(0, 3000), st.integers(1, 70))
def test_parts_follow_one_another_and_get_no_longer(n, team):
    cut = parts(n, team)
    assert [i for part in cut for i in range(part.start, part.stop)] == list(range(n))
    lengths = [part.stop - part.start for part in cut]
    assert all(lengths) and lengths[:-1] == sorted(lengths[:-1], reverse=True)
    assert max(lengths, default=0) <= max(n / (2 * team), 1)


def test_results_come_in_order_from_several_threads(four):
    names = set()

    def work(part):
        names.add(threading.current_thread().name)
        time.sleep(0.002)
        return list(range(part.start, part.stop))

    results = share(work, 50, ENOUGH)
    assert [i for part in results for i in part] == list(range(50))
    assert names == {"MainThread", "minigrad 1", "minigrad 2", "minigrad 3"}


def test_little_work_stays_on_this_thread(four):
    assert share(lambda part: (part, threading.current_thread()), 5, ENOUGH - 1) == [
        (slice(0, 5), threading.main_thread())
    ]
    assert share(lambda part: part, 0, ENOUGH) == []


def test_an_error_in_any_part_is_raised_when_all_are_done(four):
    done = []

    def work(part):
        if part.start == 0:
            raise KeyError("first")
        done.append(part)

    with pytest.raises(KeyError, match="first"):
        share(work, 40, ENOUGH)
    assert len(done) == len(parts(40, 4)) - 1


def test_work_may_share_out_work_of_its_own(four):
    def inner(part):
        return sum(range(part.start, part.stop))

    totals = share(lambda part: sum(share(inner, 1000, ENOUGH)), 16, ENOUGH)
    assert set(totals) == {499500}


def test_a_thread_that_is_late_keeps_nothing_alive(four):
    """All others are busy with a part that lasts."""
    go = threading.Event()
    busy = threading.Thread(target=lambda: share(lambda part: go.wait(), 4, ENOUGH))
    busy.start()
    x = np.ones(3)
    alive = weakref.ref(x)
    assert share(lambda part, x=x: x[part].sum(), 3, ENOUGH) == [1, 1, 1]
    del x
    assert alive() is None
    go.set()
    busy.join()


def test_blas_has_one_thread_while_products_are_shared_out(four):
    def count():
        return [library.num_threads for library in threads.blas().lib_controllers]

    before = count()
    if not before:
        pytest.skip("NumPy's BLAS is none that threadpoolctl knows")
    seen = share_products(lambda part: count(), 8, ENOUGH)
    assert seen == [[1] * len(before)] * len(parts(8, 4)) and count() == before
    with pytest.raises(ZeroDivisionError):
        share_products(lambda part: 1 / 0, 8, ENOUGH)
    assert count() == before


def test_blas_has_its_threads_back_when_several_callers_are_done(four):
    def count():
        return [library.num_threads for library in threads.blas().lib_controllers]

    before, seen = count(), []

    def call():
        for _ in range(20):
            seen.extend(share_products(lambda part: count(), 8, ENOUGH))

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    call()
    for caller in callers:
        caller.join()
    assert len(seen) == 80 * len(parts(8, 4)) and all(n == [1] * len(before) for n in seen)
    assert count() == before


def test_threads_see_what_numpy_does_about_errors(four):
    def work(part):
        time.sleep(0.002)  # so that each thread takes some
        x = np.full(3, 1e300)
        return np.isinf(x * x).all()

    with np.errstate(over="ignore"):  # a warning would be an error here
        assert all(share(work, 50, ENOUGH))
    errors = []

    def attempt(part):
        try:
            work(part)
        except FloatingPointError:
            errors.append(part)

    with np.errstate(over="raise"):
        share(attempt, 50, ENOUGH)
    assert len(errors) == len(parts(50, 4))


def test_kernels_run_in_a_child_after_a_fork():
    program = (
        "import os, numpy as np, minigrad as mg\n"
        "f = lambda: float(mg.conv2d(np.ones((8, 32, 32, 8)), np.ones((8, 3, 3, 8))).sum())\n"
        "y, child = f(), os.fork()\n"
        "if not child: os._exit(0 if f() == y else 1)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0"
    )
    env = os.environ | {"MINIGRAD_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", program], check=True, env=env, timeout=60)


def test_how_many_threads_is_for_the_environment_to_say():
    for given_, wanted in (("3", 3), ("0", 1), ("", None)):
        program = "from minigrad.backend.threads import workers; print(workers())"
        env = os.environ | {"MINIGRAD_NUM_THREADS": given_}
        out = subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True, env=env
        )
        assert int(out.stdout) == (wanted or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize("kernels", ["c", "numpy", ""])
def test_a_number_of_threads_that_is_none_is_named(kernels):
    program = "import numpy as np, minigrad as mg; mg.relu(np.ones((600, 600)))"
    env = os.environ | {"MINIGRAD_NUM_THREADS": "abc", "MINIGRAD_CPU_KERNELS": kernels}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env)
    assert "MINIGRAD_NUM_THREADS=abc: must be a number of threads" in done.stderr.splitlines()[-1]
    assert "slower kernels" not in done.stderr


def test_bits_do_not_depend_on_who_does_what(four):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s, np.float32) for s in ((16, 32, 32, 16), (16, 3, 3, 16)))
    first = mg.grad(lambda w: (mg.conv2d(x, w) ** 2).sum())(w)
    assert all((mg.grad(lambda w: (mg.conv2d(x, w) ** 2).sum())(w) == first).all() for _ in range(5))
