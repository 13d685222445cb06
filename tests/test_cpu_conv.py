"""Convolution in NumPy: every way to cut it into tiles and products gives what the generic kernels give."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigrad.backend import cpu_conv, generic, threads

TOLERANCE = {"f2": 2e-2, "f4": 2e-5, "f8": 1e-12}
SAME = ((1, 1), (1, 1))


def normal(seed, shape, dtype="f8"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def assert_like(actual, expected, dtype="f8"):
    assert actual.dtype == np.dtype(dtype) and actual.shape == expected.shape and actual.flags.c_contiguous
    scale = max(1.0, np.abs(expected, dtype=np.float64).max(initial=0))
    np.testing.assert_allclose(actual, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype] * scale)


def assert_all_like_generic(x, w, how, dtype="f8"):
    hw, kernel = x.shape[1:3], w.shape[1:3]
    y = generic.conv2d(np, x, w, *how)
    ct = normal(9, y.shape, dtype)
    changed = generic.conv2d_tangent(np, 1 - x, w + 1, x, w, *how)
    assert_like(cpu_conv.conv2d(x, w, *how), y, dtype)
    assert_like(cpu_conv.conv2d_tangent(1 - x, w + 1, x, w, *how), changed, dtype)
    assert_like(cpu_conv.conv2d_input(ct, w, hw, *how), generic.conv2d_input(np, ct, w, hw, *how), dtype)
    dw = generic.conv2d_filter(np, x, ct, kernel, *how)
    assert_like(cpu_conv.conv2d_filter(x, ct, kernel, *how), dw, dtype)


@st.composite
def convolutions(draw):
    """Images, filters and how; half of the filters are 3 x 3 with stride 1, which have a way of their own."""
    small, pad = st.integers(1, 3), st.tuples(st.integers(0, 2), st.integers(0, 2))
    three = draw(st.booleans())
    kernel = (3, 3) if three else draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    stride = (1, 1) if three else draw(st.tuples(small, small))
    dilation, padding = draw(st.tuples(st.integers(1, 2), st.integers(1, 2))), (draw(pad), draw(pad))
    hw = tuple(
        draw(st.integers(max(1, d * (k - 1) + 1 - sum(p)), 11))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    )
    groups, channels = draw(small), st.sampled_from([1, 2, 3, 8, 16, 17, 32, 130])
    n, c, o = draw(st.integers(0, 5)), draw(channels), draw(channels)
    return (n, *hw, c * groups), (o * groups, *kernel, c), (stride, padding, dilation, groups)


@settings(max_examples=150, deadline=None)
@given(
    case=convolutions(),
    dtype=st.sampled_from(["f4", "f8"]),
    tile=st.sampled_from([1, 3000, 1 << 19]),
    tall=st.sampled_from([1, 256]),
)
def test_conv_equals_generic_in_tiles_of_any_size(case, dtype, tile, tall):
    x_shape, w_shape, how = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_conv, "_TILE", tile)
        patch.setattr(cpu_conv, "_TALL", tall)
        assert_all_like_generic(normal(0, x_shape, dtype), normal(1, w_shape, dtype), how, dtype)


@pytest.mark.parametrize(
    ("shape", "filters", "stride"),
    [
        ((8, 32, 32, 16), (16, 3, 3, 16), 1),
        ((8, 8, 8, 64), (64, 3, 3, 64), 1),
        ((4, 4, 4, 256), (9, 3, 3, 256), 2),
    ],
)
def test_single_precision_is_as_exact_as_a_sum_of_taps(shape, filters, stride):
    x, w, how = normal(0, shape, "f4"), normal(1, filters, "f4"), ((stride, stride), SAME)
    wide = x.astype("f8"), w.astype("f8")
    exact = generic.conv2d(np, *wide, *how)
    ct = normal(2, exact.shape, "f4")

    truths = (
        exact,
        generic.conv2d_input(np, ct.astype("f8"), wide[1], shape[1:3], *how),
        generic.conv2d_filter(np, wide[0], ct.astype("f8"), (3, 3), *how),
    )
    cases = {
        "conv2d": (x, w, *how),
        "conv2d_input": (ct, w, shape[1:3], *how),
        "conv2d_filter": (x, ct, (3, 3), *how),
    }
    for (name, args), truth in zip(cases.items(), truths, strict=True):
        ours, plain = getattr(cpu_conv, name)(*args), getattr(generic, name)(np, *args)
        assert np.linalg.norm(ours - truth) < 3 * np.linalg.norm(plain - truth)


def test_arrays_with_gaps_and_half_precision():
    x, w = (
        normal(0, (6, 7, 5, 8)).transpose(1, 0, 2, 3)[..., ::2],
        normal(1, (3, 3, 4, 8)).transpose(3, 0, 1, 2),
    )
    assert_all_like_generic(x, w, ((1, 1), SAME))
    assert_all_like_generic(x.astype("f2"), w.astype("f2"), ((1, 1), SAME), "f2")


def test_whole_and_complex_numbers():
    how = ((1, 1), SAME)
    x, w = np.arange(2 * 5 * 4 * 3).reshape(2, 5, 4, 3), np.arange(-40, 41).reshape(3, 3, 3, 3)
    assert np.array_equal(
        cpu_conv.conv2d(x, w, *how), generic.conv2d(np, x.astype("f8"), w.astype("f8"), *how)
    )
    real, imaginary = cpu_conv.conv2d(x * 1.0, w * 1.0, *how), cpu_conv.conv2d(x * 1.0, w[::-1] * 1.0, *how)
    np.testing.assert_allclose(cpu_conv.conv2d(x + 0j, w + 1j * w[::-1], *how), real + 1j * imaginary)


def test_only_results_that_meet_a_nan_are_nan():
    x, w = normal(0, (3, 8, 6, 2)), normal(1, (2, 3, 3, 2))
    x[1, 4, 3] = x[1, 0, 0] = x[2, 7, 5] = np.nan
    for padding in (SAME, ((0, 0), (0, 0))):
        y, expected = cpu_conv.conv2d(x, w, (1, 1), padding), generic.conv2d(np, x, w, (1, 1), padding)
        assert np.array_equal(np.isnan(y), np.isnan(expected))


def test_the_number_of_threads_changes_nothing_but_rounding(monkeypatch):
    x, w, how = normal(0, (7, 16, 16, 16)), normal(1, (16, 3, 3, 16)), ((1, 1), SAME)
    for count in ("1", "2", "3", "16"):
        monkeypatch.setenv("MINIGRAD_NUM_THREADS", count)
        threads.workers.cache_clear()
        threads.queue.cache_clear()
        assert_all_like_generic(x, w, how)
        again = [cpu_conv.conv2d_filter(x, x, (3, 3), *how) for _ in range(2)]
        assert np.array_equal(*again)
    threads.workers.cache_clear()
    threads.queue.cache_clear()


def test_all_threads_have_work_whatever_the_batch():
    def tiles(n, size, o=16):
        shape = np.empty((n, size, size, o), "f4")
        return cpu_conv._Plan(shape, shape, *cpu_conv._axes((3, 3), (1, 1), SAME, (1, 1))).tiles

    for n, size in ((128, 32), (1, 64), (3, 8), (127, 8), (2, 16)):
        assert len(tiles(n, size)) % threads.workers() == 0 or len(tiles(n, size)) > 4 * threads.workers()


def test_filters_of_no_channels_and_images_of_none():
    for c, o in ((0, 2), (2, 0), (0, 0)):
        how = (1, 2), ((1, 1), (0, 0)), (1, 1), 1
        assert_all_like_generic(normal(0, (2, 5, 4, c)), normal(1, (o, 3, 2, c)), how)
