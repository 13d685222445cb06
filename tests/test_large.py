"""Large results of NumPy's own operations are those of NumPy, on memory that is used again."""

import numpy as np
import pytest

from minigrad.backend import large, memory
from minigrad.backend.memory import LARGE

N = LARGE // 8


def normal(*shape, dtype=np.float64):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(dtype)


def check(got, want, pooled=True):
    assert type(got) is type(want) and got.dtype == want.dtype and np.array_equal(got, want)
    assert not pooled or type(memory_of(got)) is memory.Lease


def memory_of(x):
    while isinstance(x.base, np.ndarray):
        x = x.base
    return x.base


@pytest.mark.parametrize("ufunc", [np.add, np.multiply])
def test_elementwise(ufunc):
    f = large.elementwise(ufunc)
    x, y, row, column = normal(64, N // 32), normal(64, N // 32) + 1, normal(N // 32), normal(64, 1)
    for a, b in ((x, y), (x, row), (row, x), (x, column), (x.T, y.T), (x, x[::-1]), (x, normal(1, 1))):
        check(f(a, b), ufunc(a, b))
    cube = normal(4, 8, N // 32)
    check(f(cube, column[:8]), ufunc(cube, column[:8]))
    for a, b in ((x, 2.0), (x, y.astype("f4")), (x.astype(int), y.astype(int)), (x[:1], y[:1]), (2.0, 3.0)):
        check(f(a, b), ufunc(a, b), pooled=False)
    assert f(x, np.float64(2.0)).dtype == x.dtype
    with pytest.raises(ValueError, match="broadcast"):
        f(x, normal(3))


def test_what_is_not_plain_is_numpys_alone():
    """Other bytes, other types, other kinds of numbers."""
    x = normal(2, N)
    for odd in (x.astype(">f8"), np.ma.masked_array(x, x > 0), x.astype(int), x > 0, x + 1j):
        for got, want in (
            (large.elementwise(np.add)(odd, odd), np.add(odd, odd)),
            (large.concatenate([odd, odd], 0), np.concatenate([odd, odd], 0)),
        ):
            check(np.asarray(got), np.asarray(want), pooled=False)
            assert type(got) is type(want)


def test_matmul():
    a, b = normal(N // 64, 40), normal(40, 64)
    for x, y in ((a, b), (np.asfortranarray(a), b), (b.T, a.T), (a.astype("f4"), b.astype("f4"))):
        check(large.matmul(x, y), x @ y, pooled=x.dtype == np.float64)
    for x, y in ((a[:3], b), (normal(2, N // 64, 40), b), (a, b.astype("f4")), (a[0], b), (a, b[:, 0])):
        check(large.matmul(x, y), x @ y, pooled=False)


def test_concatenate():
    a, b = normal(2, N), normal(2, 3)
    check(large.concatenate([a, b], 1), np.concatenate([a, b], 1))
    check(large.concatenate([a, a[:0], a[:1]], 0), np.concatenate([a, a[:1]], 0))
    check(large.concatenate([a, b], -1), np.concatenate([a, b], -1))
    check(
        large.concatenate([a, a.astype("f4")], 0),
        np.concatenate([a, a.astype("f4")]),
        False,
    )
    check(large.concatenate([b, b], 0), np.concatenate([b, b]), False)
