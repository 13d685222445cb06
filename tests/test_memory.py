"""Memory that is used again: blocks come back with the last array on them, and a repeated step makes none."""

import threading

import numpy as np
import pytest

import minigrad as mg
from minigrad.backend import memory
from minigrad.backend.memory import LARGE, LINE, SLACK, Pool

N = LARGE // 8  # doubles of the smallest array that is large


@pytest.fixture
def pool(monkeypatch):
    """A pool of this test's own."""
    pool = Pool()
    monkeypatch.setattr(memory, "POOL", pool)
    return pool


def address(x):
    return x.__array_interface__["data"][0]


def test_an_array_is_like_any_other(pool):
    x = memory.empty((2, N // 2), np.float64)
    assert type(x) is np.ndarray and x.shape == (2, N // 2) and x.dtype is np.dtype(np.float64)
    assert x.flags.c_contiguous and x.flags.writeable and x.flags.aligned and address(x) % LINE == 0
    assert not memory.zeros((N,), np.float32).any()
    assert memory.empty_like(np.ones((N, 2), np.float32).T).flags.c_contiguous


def test_small_arrays_are_numpys_own(pool):
    assert memory.empty((N - 1,), np.float64).flags.owndata and pool.made == 0
    assert memory.empty((0, N), np.float64).shape == (0, N)


def test_a_block_comes_back_with_the_last_array_on_it(pool):
    x = memory.empty((N,), np.float64)
    place, part = address(x), x.reshape(2, -1)[1:]
    del x
    other = memory.empty((N,), np.float64)
    assert address(other) != place and pool.made == 2
    del part
    assert address(memory.empty((N,), np.float64)) == place and pool.made == 2


def test_sizes_do_not_mix_and_the_dtype_does_not_matter(pool):
    memory.empty((N,), np.float64)
    memory.empty((2 * N,), np.float32)
    assert pool.made == 1
    memory.empty((N + 1,), np.float64)
    assert pool.made == 2


def test_no_more_is_kept_than_was_in_use_at_once(pool):
    """A thousand sizes, one after the other."""
    for extra in range(1000):
        memory.empty((N + extra,), np.float64)
        assert pool.held <= SLACK * pool.most
    assert pool.made == 1000 and pool.most == 8 * (N + 999)


def test_what_cannot_be_had_does_not_count(pool):
    with pytest.raises(MemoryError):
        memory.empty((1 << 50,), np.float64)
    assert (pool.in_use, pool.most, pool.held, pool.made) == (0, 0, 0, 0)


def test_sizes_longest_unused_go_first():
    pool = Pool()
    for size in (10, 4, 5, 4):
        pool.give(pool.take(size))
    assert pool.made == 3 and pool.held == 19
    pool.take(6)
    assert pool.made == 4 and pool.held == 9 + 6
    assert {size: len(blocks) for size, blocks in pool.free.items()} == {10: 0, 5: 1, 4: 1, 6: 0}


def test_threads_share_one_pool(pool):
    """Each writes its number on its blocks and finds it there when all have had their turn."""
    wrong = []

    def work(k):
        for _ in range(300):
            mine = [memory.empty((N,), np.float64) for _ in range(3)]
            for x in mine:
                x[::512] = k
            wrong.extend(x for x in mine if (x[::512] != k).any())

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert pool.held == pool.made * 8 * N <= SLACK * pool.most <= SLACK * 4 * 6 * 8 * N


def test_what_is_returned_is_never_written_to_again():
    """Results of earlier sweeps keep their values while later ones run."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(s) for s in ((8, 32, 32, 8), (8, 3, 3, 8)))
    y, J = mg.linearize(lambda x: mg.relu(mg.conv2d(x, w, padding=1)), x)
    first, copies = J(x), [y.copy(), J(x).copy()]
    for _ in range(5):
        J.T(J(2 * x))
    assert (y == copies[0]).all() and (first == copies[1]).all()
