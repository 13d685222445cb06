"""The array kernels: generic against plain loops, cpu and c against generic, transposes against the adjoint
identity <f(x), y> = <x, f'(y)>.
"""

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigrad.backend import c_conv, c_norm, c_pool, cpu, cpu_conv, generic, threads
from minigrad.backend.choice import IN_NUMPY

TOLERANCE = {np.dtype("f2"): 2e-2, np.dtype("f4"): 2e-5, np.dtype("f8"): 1e-12}
fast = settings(max_examples=60, deadline=None)


def oracle(name):
    return lambda *args: getattr(generic, name)(np, *args)


NEEDS_CC = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
FAST = {"cpu": cpu_conv, "c": pytest.param(c_conv, marks=NEEDS_CC)}
BACKENDS = pytest.mark.parametrize("get", [oracle, IN_NUMPY.get], ids=["generic", "cpu"])
CONVOLVERS = pytest.mark.parametrize(
    "get",
    [
        oracle,
        IN_NUMPY.get,
        pytest.param(lambda name: getattr(c_conv, name), marks=NEEDS_CC),
    ],
    ids=["generic", "cpu", "c"],
)
POOLERS = pytest.mark.parametrize(
    "get",
    [
        oracle,
        lambda name: getattr(cpu, name),
        pytest.param(lambda name: getattr(c_pool, name), marks=NEEDS_CC),
    ],
    ids=["generic", "cpu", "c"],
)
NORMALISERS = pytest.mark.parametrize(
    "get",
    [
        oracle,
        IN_NUMPY.get,
        pytest.param(lambda name: getattr(c_norm, name), marks=NEEDS_CC),
    ],
    ids=["generic", "cpu", "c"],
)
FAST_CONVOLVERS = pytest.mark.parametrize("kernels", FAST.values(), ids=FAST)


def assert_like(actual, expected, dtype):
    dtype = np.dtype(dtype)
    assert actual.dtype == dtype and actual.shape == expected.shape and actual.flags.c_contiguous
    scale = max(1.0, np.abs(expected, dtype=np.float64).max(initial=0))
    np.testing.assert_allclose(actual, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


def normal(seed, shape, dtype, contiguous=True):
    """Random numbers; on request as a view with gaps and swapped axes."""
    rng = np.random.default_rng(seed)
    if contiguous:
        return rng.standard_normal(shape).astype(dtype)
    wide = rng.standard_normal((*shape[:-1][::-1], 2 * shape[-1])).astype(dtype)
    axes = (*range(len(shape) - 1)[::-1], len(shape) - 1)
    return wide.transpose(axes)[..., ::2]


def inner(a, b):
    return np.sum(a.astype(np.float64) * b.astype(np.float64))


@st.composite
def convolutions(draw):
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    pad = st.tuples(st.integers(0, 2), st.integers(0, 2))
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = (draw(pad), draw(pad))
    hw = tuple(
        draw(st.integers(max(1, d * (k - 1) + 1 - sum(p)), 11))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    )
    groups, channels = draw(st.integers(1, 3)), st.one_of(st.integers(1, 4), st.integers(1, 70))
    n, c, o = draw(st.integers(0, 4)), draw(channels), draw(channels)
    seed, dense = draw(st.integers(0, 99)), draw(st.booleans())
    return (
        (n, *hw, c * groups),
        (o * groups, *kernel, c),
        (draw(pairs), padding, dilation, groups),
        seed,
        dense,
    )


@st.composite
def pools(draw):
    size = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = tuple((draw(st.integers(0, k - 1)), draw(st.integers(0, k - 1))) for k in size)
    hw = tuple(draw(st.integers(max(1, k - sum(p)), 9)) for k, p in zip(size, padding, strict=True))
    shape = (draw(st.integers(0, 4)), *hw, draw(st.integers(1, 3)))
    return shape, (size, stride, padding), draw(st.integers(0, 99)), draw(st.booleans())


# ---- convolution


def conv_by_loops(x, w, stride, padding, dilation, groups):
    x = np.pad(x, ((0, 0), *padding, (0, 0)))
    (n, h, wd, _), (o, kh, kw, c) = x.shape, w.shape
    oh = (h - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (wd - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, oh, ow, o))
    for b, r, q, f, i, j, k in np.ndindex(n, oh, ow, o, kh, kw, c):
        channel = f // (o // groups) * c + k
        row, col = r * stride[0] + i * dilation[0], q * stride[1] + j * dilation[1]
        y[b, r, q, f] += x[b, row, col, channel] * w[f, i, j, k]
    return y


@CONVOLVERS
@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [
        ((1, 1), ((0, 0), (0, 0)), (1, 1), 1),
        ((2, 1), ((1, 0), (2, 1)), (1, 1), 1),
        ((1, 3), ((1, 1), (1, 1)), (2, 1), 2),
    ],
)
def test_conv2d_by_loops(get, stride, padding, dilation, groups):
    x, w = normal(0, (2, 6, 5, 2 * groups), "f8"), normal(1, (2 * groups, 3, 2, 2), "f8")
    expected = conv_by_loops(x, w, stride, padding, dilation, groups)
    assert_like(get("conv2d")(x, w, stride, padding, dilation, groups), expected, "f8")


@CONVOLVERS
def test_conv2d_plain_numbers(get):
    x = np.arange(9.0).reshape(1, 3, 3, 1)
    w = np.array([1.0, 10.0, 100.0, 1000.0]).reshape(1, 2, 2, 1)
    none = ((0, 0), (0, 0))
    y = get("conv2d")(x, w, (1, 1), none, (1, 1), 1)
    assert y[0, :, :, 0].tolist() == [[4310, 5421], [7643, 8754]]
    one = np.array([[1.0, 0], [0, 2]]).reshape(1, 2, 2, 1)
    dx = get("conv2d_input")(one, w, (3, 3), (1, 1), none, (1, 1), 1)
    assert dx[0, :, :, 0].tolist() == [[1, 10, 0], [100, 1002, 20], [0, 200, 2000]]
    dw = get("conv2d_filter")(x, one, (2, 2), (1, 1), none, (1, 1), 1)
    assert dw[0, :, :, 0].tolist() == [[8, 11], [17, 20]]


@FAST_CONVOLVERS
@fast
@given(case=convolutions(), dtype=st.sampled_from(["f4", "f8"]))
def test_fast_conv_equals_generic(kernels, case, dtype):
    x_shape, w_shape, how, seed, dense = case
    x, w = normal(seed, x_shape, dtype, dense), normal(seed + 1, w_shape, dtype, dense)
    before = x.copy(), w.copy()
    y = generic.conv2d(np, x, w, *how)
    ct = normal(seed + 2, y.shape, dtype, dense)
    hw, kernel = x_shape[1:3], w_shape[1:3]
    assert_like(kernels.conv2d(x, w, *how), y, dtype)
    assert_like(kernels.conv2d_input(ct, w, hw, *how), generic.conv2d_input(np, ct, w, hw, *how), dtype)
    dw = generic.conv2d_filter(np, x, ct, kernel, *how)
    assert_like(kernels.conv2d_filter(x, ct, kernel, *how), dw, dtype)
    changed = generic.conv2d_tangent(np, -x, w + 1, x, w, *how)
    assert_like(kernels.conv2d_tangent(-x, w + 1, x, w, *how), changed, dtype)
    assert np.array_equal(x, before[0]) and np.array_equal(w, before[1])


@CONVOLVERS
@pytest.mark.parametrize("groups", [1, 2])
def test_conv2d_tangent_is_the_change_of_conv2d(get, groups):
    x, dx = normal(0, (2, 6, 5, 4), "f8"), normal(1, (2, 6, 5, 4), "f8")
    w, dw = normal(2, (4, 3, 2, 4 // groups), "f8"), normal(3, (4, 3, 2, 4 // groups), "f8")
    how = ((2, 1), ((1, 0), (2, 1)), (1, 2), groups)
    forth, back = (get("conv2d")(x + t * dx, w + t * dw, *how) for t in (0.5, -0.5))
    assert_like(get("conv2d_tangent")(dx, dw, x, w, *how), forth - back, "f8")  # exact: conv2d is bilinear


@CONVOLVERS
@fast
@given(case=convolutions())
def test_conv_adjoints(get, case):
    x_shape, w_shape, how, seed, dense = case
    x, w = normal(seed, x_shape, "f8", dense), normal(seed + 1, w_shape, "f8", dense)
    y = get("conv2d")(x, w, *how)
    ct = normal(seed + 2, y.shape, "f8", dense)
    dx, dw = get("conv2d_input")(ct, w, x_shape[1:3], *how), get("conv2d_filter")(x, ct, w_shape[1:3], *how)
    assert inner(y, ct) == pytest.approx(inner(x, dx), rel=1e-9, abs=1e-9)
    assert inner(y, ct) == pytest.approx(inner(w, dw), rel=1e-9, abs=1e-9)


@FAST_CONVOLVERS
@pytest.mark.parametrize("budget", [64, 2000, 1 << 18])
def test_conv_in_tiles_of_any_size(monkeypatch, kernels, budget):
    """Part of an image at a time, a few images and a remainder, all at once."""
    monkeypatch.setattr(cpu_conv, "_TILE", budget)
    monkeypatch.setattr(c_conv, "_BAND", budget)
    monkeypatch.setattr(c_conv, "_PIXELS", budget // 100)
    monkeypatch.setattr(c_conv, "_SUMS", budget)
    c_conv._layout.cache_clear()
    x, w = normal(0, (5, 13, 11, 4), "f8"), normal(1, (3, 3, 3, 4), "f8")
    for stride in ((1, 1), (2, 2)):
        how = (stride, ((1, 1), (1, 0)), (1, 1), 1)
        y = generic.conv2d(np, x, w, *how)
        assert_like(kernels.conv2d(x, w, *how), y, "f8")
        assert_like(kernels.conv2d_tangent(x, w, x, w, *how), 2 * y, "f8")
        dx = generic.conv2d_input(np, y, w, (13, 11), *how)
        assert_like(kernels.conv2d_input(y, w, (13, 11), *how), dx, "f8")
        dw = generic.conv2d_filter(np, x, y, (3, 3), *how)
        assert_like(kernels.conv2d_filter(x, y, (3, 3), *how), dw, "f8")
    c_conv._layout.cache_clear()


@NEEDS_CC
@fast
@given(case=convolutions(), end=st.sampled_from([-1000, 10**9]), dtype=st.sampled_from(["f4", "f8"]))
def test_conv_in_c_at_each_position_of_the_window_or_at_all_at_once(case, end, dtype):
    x_shape, w_shape, how, seed, dense = case
    x, w = normal(seed, x_shape, dtype, dense), normal(seed + 1, w_shape, dtype, dense)
    y = generic.conv2d(np, x, w, *how)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(c_conv, "_END", end)
        c_conv._layout.cache_clear()
        assert_like(c_conv.conv2d_tangent(x, w, x, w, *how), 2 * y, dtype)
        dw = generic.conv2d_filter(np, x, y, w_shape[1:3], *how)
        assert_like(c_conv.conv2d_filter(x, y, w_shape[1:3], *how), dw, dtype)
    c_conv._layout.cache_clear()


def test_cpu_is_deterministic():
    x, w = normal(0, (64, 16, 16, 16), "f4"), normal(1, (16, 3, 3, 16), "f4")
    how = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    once = [
        cpu_conv.conv2d(x, w, *how),
        cpu_conv.conv2d_filter(x, x, (3, 3), *how),
        *cpu.batch_norm(x, w[0, 0, 0], w[1, 0, 0], 1e-5),
    ]
    for _ in range(3):
        again = [cpu_conv.conv2d(x, w, *how), cpu_conv.conv2d_filter(x, x, (3, 3), *how)]
        again += cpu.batch_norm(x, w[0, 0, 0], w[1, 0, 0], 1e-5)
        assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))


def test_thread_count_is_honoured_and_changes_nothing_but_rounding(monkeypatch):
    x, w = normal(0, (16, 16, 16, 16), "f4"), normal(1, (16, 3, 3, 16), "f4")
    how = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    results = []
    for count in ("1", "3"):
        monkeypatch.setenv("MINIGRAD_NUM_THREADS", count)
        threads.workers.cache_clear()
        assert threads.workers() == int(count)
        results.append(
            [cpu_conv.conv2d(x, w, *how), cpu_conv.conv2d_filter(x, x, (3, 3), *how), cpu.relu_mask(x, x)]
        )
    threads.workers.cache_clear()
    for a, b in zip(*results, strict=True):
        assert_like(a, b, "f4")


@NEEDS_CC
@pytest.mark.parametrize("stride", [(1, 1), (2, 2)])
def test_thread_count_changes_no_bit_of_the_kernels_in_c(monkeypatch, stride):
    x, w = normal(0, (16, 16, 16, 16), "f4"), normal(1, (24, 3, 3, 16), "f4")
    how = (stride, ((1, 1), (1, 1)), (1, 1), 1)
    gamma, beta = w[:2, 0, 0]
    results = []
    for count in ("1", "2", "3"):
        monkeypatch.setenv("MINIGRAD_NUM_THREADS", count)
        threads.workers.cache_clear()
        threads.queue.cache_clear()
        y = c_conv.conv2d(x, w, *how)
        dx, dw = c_conv.conv2d_input(y, w, (16, 16), *how), c_conv.conv2d_filter(x, y, (3, 3), *how)
        results.append(
            (y, c_conv.conv2d_tangent(dx, dw, x, w, *how), dx, dw, *c_norm.batch_norm(x, gamma, beta, 1e-5))
        )
    threads.workers.cache_clear()
    threads.queue.cache_clear()
    for other in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], other, strict=True))


# ---- pooling


@POOLERS
def test_pool_plain_numbers(get):
    x = np.array([[3.0, 1, 2], [3, 5, 5], [0, -1, -2]]).reshape(1, 3, 3, 1)
    how = ((2, 2), (1, 1), ((0, 0), (0, 0)))
    index = get("pool_index")(x, *how)
    assert index[0, :, :, 0].tolist() == [[3, 2], [1, 0]] and index.dtype == np.uint8
    assert get("pool_gather")(x, index, *how)[0, :, :, 0].tolist() == [[5, 5], [5, 5]]
    ct = np.array([[1.0, 2], [4, 8]]).reshape(1, 2, 2, 1)
    assert get("pool_scatter")(ct, index, (3, 3), *how)[0, :, :, 0].tolist() == [
        [0, 0, 0],
        [0, 15, 0],
        [0, 0, 0],
    ]
    assert get("window_sum")(x, *how)[0, :, :, 0].tolist() == [[12, 13], [7, 7]]
    spread = get("window_spread")(ct, (3, 3), *how)[0, :, :, 0]
    assert spread.tolist() == [[1, 3, 2], [5, 15, 10], [4, 12, 8]]
    assert get("pool_index")(np.zeros((1, 20, 20, 1)), (17, 17), *how[1:]).dtype == np.int32


@POOLERS
def test_pool_padding_never_wins_and_nan_always_does(get):
    how = ((2, 2), (2, 2), ((1, 1), (1, 1)))
    x = np.full((1, 2, 2, 1), -np.inf)
    index = get("pool_index")(x, *how)
    assert index[0, :, :, 0].tolist() == [[3, 2], [1, 0]]  # the only cell of each window that is not padding
    assert np.array_equal(get("pool_gather")(x, index, *how), x)

    x = np.array([[1.0, np.nan], [np.nan, np.inf]], "f4").reshape(1, 2, 2, 1)
    how = ((2, 2), (2, 2), ((0, 0), (0, 0)))
    index = get("pool_index")(x, *how)
    assert index.item() == 1 and np.isnan(get("pool_gather")(x, index, *how).item())


@fast
@given(pools(), st.sampled_from(["f2", "f4", "f8"]))
def test_cpu_pools_equal_generic(case, dtype):
    assert_pools_equal_generic(cpu, case, dtype)


@NEEDS_CC
@fast
@given(pools(), st.sampled_from(["f4", "f8"]), st.booleans())
def test_c_pools_equal_generic(case, dtype, many_cells):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(c_pool, "_CELLS", 0 if many_cells else 256)
        assert_pools_equal_generic(c_pool, case, dtype)


def assert_pools_equal_generic(kernels, case, dtype):
    shape, how, seed, dense = case
    x = np.round(normal(seed, shape, dtype, dense))  # with ties
    index = kernels.pool_index(x, *how)
    assert index.dtype == np.uint8 and np.array_equal(index, generic.pool_index(np, x, *how))
    assert_like(kernels.pool_gather(x, index, *how), generic.pool_gather(np, x, index, *how), dtype)
    assert_like(kernels.window_sum(x, *how), generic.window_sum(np, x, *how), dtype)
    ct, hw = normal(seed + 1, index.shape, dtype, dense), shape[1:3]
    assert_like(
        kernels.pool_scatter(ct, index, hw, *how), generic.pool_scatter(np, ct, index, hw, *how), dtype
    )
    assert_like(kernels.window_spread(ct, hw, *how), generic.window_spread(np, ct, hw, *how), dtype)


@POOLERS
@fast
@given(case=pools())
def test_pool_adjoints(get, case):
    shape, how, seed, dense = case
    x = normal(seed, shape, "f8", dense)
    index = get("pool_index")(x, *how)
    picked, summed = get("pool_gather")(x, index, *how), get("window_sum")(x, *how)
    ct = normal(seed + 1, index.shape, "f8", dense)
    scattered, spread = (
        get("pool_scatter")(ct, index, shape[1:3], *how),
        get("window_spread")(ct, shape[1:3], *how),
    )
    assert inner(picked, ct) == pytest.approx(inner(x, scattered), rel=1e-9, abs=1e-9)
    assert inner(summed, ct) == pytest.approx(inner(x, spread), rel=1e-9, abs=1e-9)
    padded = np.pad(x, ((0, 0), *how[2], (0, 0)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, how[0], (1, 2))[:, :: how[1][0], :: how[1][1]]
    assert np.array_equal(picked, windows.max((-2, -1)))


@FAST_CONVOLVERS
def test_filters_that_are_a_field_of_records(kernels):
    """Their strides are no multiples of their size."""
    x, w, how = normal(0, (2, 5, 5, 3), "f8"), normal(1, (4, 3, 3, 3), "f8"), ((1, 1), ((1, 1), (1, 1)))
    records = np.zeros(w.shape, [("tag", "i1"), ("w", "f8")])
    records["w"] = w
    assert_like(kernels.conv2d(x, records["w"], *how), generic.conv2d(np, x, w, *how), "f8")


# ---- batch normalisation and rectifier


@NORMALISERS
def test_batch_norm_plain_numbers(get):
    x = np.array([[1.0, 10], [3, 10]])
    y, xhat, mean, rstd = get("batch_norm")(x, np.array([2.0, 3]), np.array([5.0, 7]), 0.25)
    assert mean.tolist() == [2, 10] and rstd.tolist() == [1.25**-0.5, 2]
    np.testing.assert_allclose(xhat, [[-(1.25**-0.5), 0], [1.25**-0.5, 0]])
    np.testing.assert_allclose(y, xhat * [2, 3] + [5, 7])


@NORMALISERS
@pytest.mark.parametrize("shape", [(64, 32, 32, 3), (1001, 7), (33, 5, 5, 130)])
def test_batch_norm_far_from_zero(get, shape):
    x = (normal(0, shape, "f8") + 1000).astype("f4")
    c, axes, exact = shape[-1], tuple(range(len(shape) - 1)), x.astype("f8")
    y, _, mean, rstd = get("batch_norm")(x, np.ones(c, "f4"), np.zeros(c, "f4"), 1e-5)
    expected = (exact - exact.mean(axes)) / np.sqrt(exact.var(axes) + 1e-5)
    np.testing.assert_allclose(mean, exact.mean(axes), rtol=1e-7)
    np.testing.assert_allclose(rstd, 1 / np.sqrt(exact.var(axes) + 1e-5), rtol=1e-6)
    np.testing.assert_allclose(y, expected, atol=1e-4)  # half a unit in the last place of the mean is 3e-5
    constant = get("batch_norm")(np.full(shape, 1000.1, "f4"), np.ones(c, "f4"), np.zeros(c, "f4"), 1e-5)
    assert np.abs(constant[1]).max() < 1e-2 and constant[3] == pytest.approx(1e-5**-0.5, rel=1e-4)


@NORMALISERS
def test_an_outlier_in_front_costs_no_digits(get):
    """A first pixel of zeros, say, far from the mean of all others."""
    x = normal(0, (200_000, 4), "f4") + 1000
    x[0] = 0
    rstd = get("batch_norm")(x, np.ones(4, "f4"), np.zeros(4, "f4"), 1e-5)[3]
    np.testing.assert_allclose(rstd, 1 / np.sqrt(x.astype("f8").var(0) + 1e-5), rtol=1e-5)


norms = st.fixed_dictionaries(
    {
        "shape": st.builds(
            lambda lead, c: (*lead, c),
            st.lists(st.integers(0, 9), min_size=1, max_size=3),
            st.sampled_from([1, 2, 3, 16, 50, 130]),
        ),
        "dense": st.booleans(),
        "present": st.tuples(*[st.booleans()] * 5),
    }
)


def assert_batch_norms_equal_generic(kernels, dtype, shape, dense, present):
    """With any of the tangents, a shortcut and relu present."""
    x, u, s = (normal(seed, shape, dtype, dense) for seed in (0, 1, 2))
    gamma, beta, dgamma, dbeta = normal(3, (4, shape[-1]), dtype)
    shortcut, relu = s if present[3] else None, present[4]
    y, xhat, mean, rstd = generic.batch_norm(np, x, gamma, beta, 0.1, shortcut, relu)
    for a, b in zip(
        kernels.batch_norm(x, gamma, beta, 0.1, shortcut, relu), (y, xhat, mean, rstd), strict=True
    ):
        assert_like(a, b, dtype)
    changes = [v if here else None for v, here in zip((u, dgamma, dbeta), present[:3], strict=True)]
    gate = y if relu else None
    assert_like(
        kernels.batch_norm_tangent(*changes, xhat, rstd, gamma, shortcut, gate),
        generic.batch_norm_tangent(np, *changes, xhat, rstd, gamma, shortcut, gate),
        dtype,
    )
    *expected, masked = generic.batch_norm_transpose(np, u, xhat, rstd, gamma, gate)
    *back, ct = kernels.batch_norm_transpose(u, xhat, rstd, gamma, gate)
    for a, b in zip(back, expected, strict=True):
        assert_like(a, b, dtype)
    assert (ct == masked).all()


@fast
@given(norms, st.sampled_from(["f2", "f4", "f8"]))
def test_cpu_elementwise_equals_generic(case, dtype):
    assert_batch_norms_equal_generic(cpu, dtype, **case)
    x, u = (normal(seed, case["shape"], dtype, case["dense"]) for seed in (0, 1))
    assert_like(cpu.relu(x), generic.relu(np, x), dtype)
    assert_like(cpu.relu_mask(u, x), generic.relu_mask(np, u, x), dtype)


@NEEDS_CC
@fast
@given(norms, st.sampled_from(["f4", "f8"]))
def test_c_elementwise_equals_generic(case, dtype):
    assert_batch_norms_equal_generic(c_norm, dtype, **case)
    x, u = (normal(seed, case["shape"], dtype, case["dense"]) for seed in (0, 1))
    assert_like(c_norm.relu(x), generic.relu(np, x), dtype)
    assert_like(c_norm.relu_mask(u, x), generic.relu_mask(np, u, x), dtype)


@NORMALISERS
def test_batch_norm_derivatives(get):
    x, dx, ct = (normal(seed, (5, 3, 2), "f8") for seed in range(3))
    gamma, beta, dgamma, dbeta = normal(3, (4, 2), "f8")

    def forward(t):
        return get("batch_norm")(x + t * dx, gamma + t * dgamma, beta + t * dbeta, 1e-3)

    _, xhat, _, rstd = forward(0.0)
    dy = get("batch_norm_tangent")(dx, dgamma, dbeta, xhat, rstd, gamma)
    np.testing.assert_allclose(dy, (forward(1e-6)[0] - forward(-1e-6)[0]) / 2e-6, atol=1e-7)
    back = get("batch_norm_transpose")(ct, xhat, rstd, gamma)
    assert inner(dy, ct) == pytest.approx(sum(map(inner, back, (dx, dgamma, dbeta))))


@NORMALISERS
def test_relu_keeps_nan(get):
    x = np.array([-1.0, 0, 2, np.nan, -np.inf, np.inf], "f4")
    np.testing.assert_array_equal(get("relu")(x), [0, 0, 2, np.nan, 0, np.inf])


@NORMALISERS
@pytest.mark.parametrize("pixels", [6, 600])
def test_relu_of_batch_norm_keeps_nan_and_masks_infinity(get, pixels):
    x, shortcut, one = normal(0, (pixels, 3), "f4"), np.zeros((pixels, 3), "f4"), np.ones(3, "f4")
    shortcut[:3, 1] = np.nan, -np.inf, np.inf
    y, xhat, _, rstd = get("batch_norm")(x, one, one, 0.1, shortcut, True)
    np.testing.assert_array_equal(y[:3, 1], [np.nan, 0, np.inf])
    assert np.isfinite(y[:, [0, 2]]).all() and (y[:, [0, 2]] >= 0).all()
    dy = get("batch_norm_tangent")(x, one, one, xhat, rstd, one, shortcut, y)
    np.testing.assert_array_equal(dy[:3, 1], [0, 0, np.inf])
    ct = x.copy()
    ct[:2, 1] = np.nan, np.inf
    *back, masked = get("batch_norm_transpose")(ct, xhat, rstd, one, y)
    assert all(np.isfinite(a).all() for a in back)
    np.testing.assert_array_equal(masked, np.where(y > 0, ct, 0))


@BACKENDS
def test_a_single_number_goes_through_relu_as_an_array_without_axes(get):
    x = np.array(2.0)
    assert get("relu")(x).shape == get("relu_mask")(x, x).shape == ()


@NORMALISERS
def test_relu_masks_nan_and_infinity(get):
    x = np.array([-1.0, 0, 2, np.nan, -np.inf, np.inf], "f4")
    t = np.array([np.nan, np.inf, 1, 2, -np.inf, -np.inf], "f4")
    np.testing.assert_array_equal(get("relu_mask")(t, x), [0, 0, 1, 0, 0, -np.inf])


@BACKENDS
def test_half_precision_and_empty_batches(get):
    how = ((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    for dtype, n in (("f2", 3), ("f4", 0)):
        x, w = normal(0, (n, 5, 5, 2), dtype), normal(1, (4, 3, 3, 2), dtype)
        y = get("conv2d")(x, w, *how)
        assert_like(y, generic.conv2d(np, x.astype("f8"), w.astype("f8"), *how), dtype)
        dw = generic.conv2d_filter(np, x.astype("f8"), y.astype("f8"), (3, 3), *how)
        assert_like(get("conv2d_filter")(x, y, (3, 3), *how), dw, dtype)
        assert_like(get("conv2d_tangent")(x, w, x, w, *how), 2 * y.astype("f8"), dtype)
        assert get("conv2d_input")(y, w, (5, 5), *how).dtype == np.dtype(dtype)
        assert all(a.dtype == np.dtype(dtype) for a in get("batch_norm")(x, w[0, 0, 0], w[1, 0, 0], 1e-5))
