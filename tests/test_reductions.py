"""Reductions, running sums and products, order and quantiles: the conventions, by plain numbers."""

import itertools
import math

import numpy as np
import pytest

import minigrad as mg

NAN, INF = math.nan, math.inf


def gradient(f, x):
    return mg.grad(lambda x: mg.sum(f(x)))(np.array(x, float)).tolist()


# ----- Products with zeros -----


@pytest.mark.parametrize(
    "x, want",
    [
        ([2.0, 3.0, 4.0], [12, 8, 6]),
        ([2.0, 0.0, 4.0], [0, 8, 0]),
        ([0.0, 3.0, 0.0], [0, 0, 0]),
        ([5.0], [1]),
        ([], []),
    ],
)
def test_the_derivative_of_a_product_is_the_product_of_the_others(x, want):
    assert gradient(mg.prod, x) == want


def test_higher_derivatives_of_products_with_zeros_are_those_of_the_polynomial():
    x = np.array([0.0, 3.0, 0.0, 2.0])
    H = mg.hessian(mg.prod)(x)
    third = mg.jacfwd(mg.hessian(mg.prod))(x)
    for i, j, k in itertools.product(range(4), repeat=3):
        without = [v for n, v in enumerate(x) if n not in (i, j)]
        assert H[i, j] == (0 if i == j else math.prod(without))
        without = [v for n, v in enumerate(x) if n not in (i, j, k)]
        assert third[i, j, k] == (math.prod(without) if len({i, j, k}) == 3 else 0)


def test_products_over_several_axes_leave_out_one_element_each():
    x = np.array([[[2.0, 0.0], [3.0, 1.0]], [[5.0, 7.0], [1.0, 2.0]]])
    g = mg.grad(lambda x: mg.prod(x, axis=(0, -1)).sum())(x)
    assert g.tolist() == [[[0, 70], [2, 6]], [[0, 0], [6, 3]]]


def test_running_products_have_the_jacobian_of_their_polynomials():
    x = np.array([2.0, 0.0, 3.0, 0.0, 5.0])
    want = [
        [math.prod(x[[i for i in range(k + 1) if i != j]]) if j <= k else 0 for j in range(5)]
        for k in range(5)
    ]
    assert mg.jacfwd(mg.cumprod)(x).tolist() == want
    assert mg.jacrev(mg.cumprod)(x).tolist() == want


def test_a_long_product_is_differentiated_without_a_loop_over_its_elements():
    x = np.ones(200_000)
    _, J = mg.linearize(mg.cumprod, x)
    assert len(J) < 10
    np.testing.assert_array_equal(J(x), np.arange(1, x.size + 1))
    np.testing.assert_array_equal(J.T(x), np.arange(x.size, 0, -1))


# ----- Masks and initial values -----


def test_elements_that_the_mask_leaves_out_have_derivative_zero_whatever_they_are():
    x, mask = np.array([1.0, NAN, 3.0, INF]), np.array([True, False, True, False])
    for op, want in (
        (mg.sum, [1, 0, 1, 0]),
        (mg.mean, [0.5, 0, 0.5, 0]),
        (mg.prod, [3, 0, 1, 0]),
        (mg.var, [-1, 0, 1, 0]),
        (mg.std, [-0.5, 0, 0.5, 0]),
        (lambda x, where: mg.max(x, where=where, initial=0.0), [0, 0, 1, 0]),
        (lambda x, where: mg.min(x, where=where, initial=9.0), [1, 0, 0, 0]),
    ):
        assert gradient(lambda x, op=op: op(x, where=mask), x) == want


def test_initial_values_are_differentiated_like_elements():
    x = np.array([2.0, 3.0])
    ops = ((mg.sum, 1), (mg.prod, 6), (lambda x, initial: mg.max(x, initial=initial), 1))
    for op, want in ops:
        assert mg.grad(lambda c, op=op: op(x, initial=c))(4.0) == want
    dx, dc = mg.grad(lambda x, c: mg.max(x, initial=c), (0, 1))(x, 3.0)
    assert (dx.tolist(), dc) == ([0, 0.5], 0.5)
    assert mg.max(np.zeros((0, 2)), 0, initial=7.0).tolist() == [7, 7]


def test_a_maximum_with_a_mask_needs_an_initial_value():
    with pytest.raises(ValueError, match="max: where= needs initial="):
        mg.max(np.ones(2), where=[True, False])


def test_the_mean_of_nothing_is_nan_with_derivative_zero():
    for op in (mg.mean, mg.var):
        assert np.isnan(op(np.ones(2), where=False))
        assert gradient(lambda x, op=op: op(x, where=False), [1, 2]) == [0, 0]


def test_var_takes_one_name_of_its_correction():
    x = np.array([1.0, 3.0])
    assert mg.var(x, correction=1) == mg.var(x, ddof=1) == 2
    with pytest.raises(ValueError, match="two names"):
        mg.var(x, ddof=1, correction=1)


# ----- NaN -----

NAN_FUNCTIONS = [
    mg.nansum, mg.nanmean, mg.nanprod, mg.nanmax, mg.nanmin, mg.nanvar, mg.nanstd, mg.nanmedian,
    lambda x: mg.nanquantile(x, 0.3), lambda x: mg.nanpercentile(x, 30), mg.nancumsum, mg.nancumprod,
]  # fmt: skip


@pytest.mark.parametrize("op", NAN_FUNCTIONS)
def test_the_derivative_is_exactly_zero_at_a_nan_and_elsewhere_that_without_it(op):
    x = np.array([2.0, NAN, 0.5, 1.0])
    weights = np.array([1.0, 0.0, 2.0, -1.0])[: max(np.size(op(x)), 1)]
    whole = np.delete(x, 1)
    g = gradient(lambda x: mg.sum(weights * op(x)), x)
    assert g[1] == 0
    short = weights if len(weights) == 1 else np.delete(weights, 1)
    np.testing.assert_allclose(np.delete(g, 1), gradient(lambda x: mg.sum(short * op(x)), whole), rtol=1e-14)
    t = np.array([1.0, 5.0, 2.0, 3.0])
    with_nan, without = mg.jvp(op, (x,), (t,))[1], mg.jvp(op, (whole,), (np.delete(t, 1),))[1]
    np.testing.assert_allclose(np.delete(with_nan, 1) if np.ndim(with_nan) else with_nan, without, rtol=1e-14)


@pytest.mark.parametrize("op", [mg.nanmean, mg.nanmax, mg.nanmin, mg.nanvar, mg.nanmedian])
def test_nothing_but_nan_gives_nan_with_derivative_zero(op):
    x = np.array([[NAN, NAN], [2.0, 3.0]])
    y, dy = mg.jvp(lambda x: op(x, axis=1), (x,), (np.ones((2, 2)),))
    assert np.isnan(y).tolist() == [True, False] and dy[0] == 0
    assert gradient(lambda x: op(x, axis=1), x)[0] == [0, 0]


@pytest.mark.parametrize("op", [mg.nanargmax, mg.nanargmin])
def test_there_is_no_place_of_the_extremum_among_nothing_but_nan(op):
    with pytest.raises(ValueError, match="nothing but NaN"):
        op(np.array([[NAN, NAN], [1.0, 2.0]]), axis=1)


# ----- Order -----


def test_sorting_is_stable_so_equals_take_their_derivatives_along_in_order():
    x, w = np.array([2.0, 1.0, 2.0, 1.0]), np.array([1.0, 10.0, 100.0, 1000.0])
    for kind in (None, "quicksort", "stable"):
        assert mg.argsort(x, kind=kind).tolist() == [1, 3, 0, 2]
        assert gradient(lambda x, kind=kind: w * mg.sort(x, kind=kind), x) == [100, 1, 1000, 10]


def test_nan_is_sorted_to_the_end_and_takes_its_derivative_along():
    assert gradient(lambda x: np.array([1.0, 2.0, 3.0]) * mg.sort(x), [NAN, 5, 4]) == [3, 2, 1]


def test_a_partition_has_the_kth_element_in_its_place():
    x = np.random.default_rng(0).permutation(np.arange(9.0))
    y = mg.partition(x, 4)
    assert y[4] == 4 and max(y[:4]) < 4 < min(y[5:])
    assert gradient(lambda x: mg.partition(x, 4)[4], x) == (x == 4).tolist()


def test_running_extrema_give_the_derivative_to_the_first_of_equals():
    x = [1.0, 3.0, 3.0, 2.0]
    assert mg.cummax(x).tolist() == [1, 3, 3, 3] and gradient(mg.cummax, x) == [1, 3, 0, 0]
    assert mg.cummin(x).tolist() == [1, 1, 1, 1] and gradient(mg.cummin, x) == [4, 0, 0, 0]
    x = np.array([[1.0, NAN, 3.0], [2.0, 0.0, 5.0]])
    np.testing.assert_array_equal(mg.cummax(x, 1), np.maximum.accumulate(x, 1))
    np.testing.assert_array_equal(mg.cummin(x, 1), np.minimum.accumulate(x, 1))


# ----- Quantiles -----


def test_the_median_is_one_element_or_the_mean_of_two():
    assert gradient(mg.median, [5, 1, 3]) == [0, 0, 1]
    assert gradient(mg.median, [5, 1, 3, 2]) == [0, 0, 0.5, 0.5]
    assert np.isnan(mg.median([1.0, NAN])) and gradient(mg.median, [1, NAN]) == [0, 0]
    assert mg.median([1.0, 2.0, INF]) == 2 and gradient(mg.median, [1, 2, INF]) == [0, 1, 0]


def test_a_quantile_has_the_slope_of_the_sorted_elements_in_q():
    x = np.array([7.0, 1.0, 2.0])
    slope = mg.grad(lambda q: mg.quantile(x, q))
    # To the right at an element, to the left at the last.
    assert [slope(q) for q in (0.0, 0.25, 0.5, 0.75, 1.0)] == [2, 2, 10, 10, 10]
    assert mg.grad(lambda q: mg.percentile(x, q))(25.0) == pytest.approx(0.02)
    for method in ("lower", "higher", "nearest", "midpoint"):
        assert mg.grad(lambda q, method=method: mg.quantile(x, q, method=method) + 0 * q)(0.3) == 0


def test_quantiles_refuse_what_has_no_answer():
    x = np.ones(3)
    with pytest.raises(ValueError, match="between 0 and 1"):
        mg.quantile(x, [0.5, 1.1])
    with pytest.raises(ValueError, match="between 0 and 100"):
        mg.percentile(x, -1)
    with pytest.raises(ValueError, match="no method 'inverted_cdf'"):
        mg.quantile(x, 0.5, method="inverted_cdf")
    with pytest.raises(ValueError, match="no elements"):
        mg.median(np.ones((2, 0)), axis=1)


def test_a_list_of_quantiles_keeps_the_dtype_and_an_array_promotes():
    x = np.arange(5, dtype=np.float32)
    assert mg.quantile(x, 0.5).dtype == mg.quantile(x, [0.1, 0.2]).dtype == np.float32
    assert mg.quantile(x, np.array([0.1])).dtype == np.float64
    assert mg.quantile(np.arange(4), 0.5).dtype == np.float64


def test_half_precision_finds_quantiles_among_more_elements_than_it_can_count():
    x = np.sort(np.random.default_rng(0).standard_normal(5001)).astype(np.float16)
    assert mg.quantile(x, 0.9) == x[4500] and mg.grad(lambda x: mg.quantile(x, 0.9))(x)[4500] == 1


# ----- Weighted means and covariances -----


def test_averages_refuse_weights_that_do_not_fit_or_cancel():
    x = np.ones((2, 3))
    with pytest.raises(TypeError, match="need an axis"):
        mg.average(x, weights=np.ones(3))
    with pytest.raises(ValueError, match="do not match"):
        mg.average(x, axis=0, weights=np.ones(3))
    with pytest.raises(ZeroDivisionError, match="sum to zero"):
        mg.average(x, axis=0, weights=[1.0, -1.0])


def test_averages_are_differentiated_in_their_weights():
    x, w = np.array([1.0, 5.0]), np.array([1.0, 3.0])
    # (w1 x1 + w2 x2) / (w1 + w2) = 4
    assert mg.grad(lambda w: mg.average(x, weights=w))(w).tolist() == [-0.75, 0.25]


def test_covariances_keep_single_precision():
    x = np.random.default_rng(0).standard_normal((2, 5)).astype(np.float32)
    assert mg.cov(x).dtype == mg.corrcoef(x).dtype == np.float32
    assert mg.cov(x, dtype=np.float64).dtype == np.float64


# ----- Along an axis -----


def test_interpolation_takes_the_slope_to_the_right_and_zero_outside():
    xp, fp = np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0, 3.0])
    x = np.array([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0])
    assert mg.interp(x, xp, fp).tolist() == [0, 0, 1, 2, 2.5, 3, 3]
    assert gradient(lambda x: mg.interp(x, xp, fp), x) == [0, 2, 2, 0.5, 0.5, 0.5, 0]
    assert mg.grad(lambda fp: mg.interp(x, xp, fp).sum())(fp).tolist() == [2.5, 2, 2.5]
    assert gradient(lambda x: mg.interp(x, xp, fp), [-INF, INF]) == [0, 0]
    assert mg.grad(lambda fp: mg.interp(INF, xp, fp))(fp).tolist() == [0, 0, 1]
    with pytest.raises(ValueError, match="no points"):
        mg.interp(x, xp, fp[:2])


def test_slopes_are_exact_for_parabolas_on_any_grid():
    x = np.array([0.0, 0.5, 2.0, 3.0])
    np.testing.assert_allclose(mg.gradient(x * x, x, edge_order=2), 2 * x, atol=1e-14)
    for order, n in ((1, 1), (2, 2)):
        with pytest.raises(ValueError, match=f"{order + 1} are needed"):
            mg.gradient(np.ones(n), edge_order=order)
    with pytest.raises(TypeError, match="2 spacings for 1 axes"):
        mg.gradient(x, 1.0, 2.0)
    with pytest.raises(ValueError, match="coordinates have shape"):
        mg.gradient(x, x[:2])


def test_unwrapping_moves_by_constants():
    x = np.array([0.0, 5.0, 9.0, 2.0])
    assert gradient(lambda x: mg.unwrap(x, period=4.0), x) == [1, 1, 1, 1]
    for steps in ([2.0, -2.0], [-2.0, 2.0], [2.0, 2.0]):  # of just half a period
        x = np.cumsum([0.0, *steps])
        assert mg.unwrap(x, period=4.0).tolist() == np.unwrap(x, period=4.0).tolist()


def test_numbers_and_empty_arrays_are_taken_as_numpy_takes_them():
    for name in (
        "cumsum",
        "cumprod",
        "cumulative_sum",
        "cumulative_prod",
        "ediff1d",
        "prod",
        "ptp",
        "median",
    ):
        np.testing.assert_array_equal(getattr(mg, name)(2.0), getattr(np, name)(2.0))
    for name in ("cumsum", "cumprod", "sort", "argsort", "diff", "ediff1d", "prod", "nanprod", "nansum"):
        ours = getattr(mg, name)
        np.testing.assert_array_equal(ours(np.ones(0)), getattr(np, name)(np.ones(0)))
        assert gradient(lambda x, f=ours: x * mg.sum(f(x)), []) == []
    for name in ("cumulative_sum", "cumulative_prod"):
        with pytest.raises(ValueError, match="which axis"):
            getattr(mg, name)(np.ones((2, 2)))
    with pytest.raises(ValueError, match="no neighbours"):
        mg.diff(1.0)
    with pytest.raises(ValueError, match="negative order"):
        mg.diff([1.0], -1)


def test_convolutions_refuse_what_is_no_vector():
    for bad in (np.ones((2, 2)), np.ones(0)):
        with pytest.raises(ValueError, match="two vectors"):
            mg.convolve(bad, np.ones(2))
    with pytest.raises(ValueError, match="no mode 'half'"):
        mg.correlate(np.ones(2), np.ones(2), "half")


def test_powers_of_zero_in_vandermondes_matrix_are_polynomials():
    J = mg.jacfwd(lambda x: mg.vander(x, 4, increasing=True))(np.zeros(1))
    assert J.ravel().tolist() == [0, 1, 0, 0]


# ----- On tracers -----


def test_methods_and_ufunc_methods_of_tracers_are_numpys():
    x = np.array([[3.0, 1.0, 2.0], [0.5, 4.0, 1.5]])
    w = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    pairs = [
        (lambda x: x.prod(axis=1), lambda x: mg.prod(x, 1)),
        (lambda x: x.cumsum(1), lambda x: mg.cumsum(x, 1)),
        (lambda x: x.cumprod(), mg.cumprod),
        (lambda x: x.ptp(0), lambda x: mg.ptp(x, 0)),
        (lambda x: x * x.argsort(), lambda x: x * mg.argsort(x)),
        (lambda x: np.multiply.reduce(x), lambda x: mg.prod(x, 0)),
        (lambda x: np.logaddexp.reduce(x, axis=1), lambda x: mg.logsumexp(x, 1)),
        (lambda x: np.add.accumulate(x), lambda x: mg.cumsum(x, 0)),
        (lambda x: np.multiply.accumulate(x, axis=1), lambda x: mg.cumprod(x, 1)),
        (lambda x: np.maximum.accumulate(x), lambda x: mg.cummax(x, 0)),
        (lambda x: np.minimum.accumulate(x, 1), lambda x: mg.cummin(x, 1)),
        (lambda x: np.sum(x, 1, float) * w.sum(1), lambda x: mg.sum(x, 1) * w.sum(1)),
    ]
    for numpys, ours in pairs:
        np.testing.assert_array_equal(mg.jacrev(numpys)(x), mg.jacrev(ours)(x))


@pytest.mark.parametrize(
    "f, message",
    [
        (np.unique, "constant places"),
        (lambda x: x.sort(), r"np.sort\(x\)"),
        (lambda x: x.partition(1), r"np.partition\(x, kth\)"),
        (np.subtract.accumulate, "no derivative of np.subtract.accumulate"),
    ],
)
def test_what_cannot_work_on_tracers_says_what_to_do_instead(f, message):
    with pytest.raises(TypeError, match=message):
        mg.grad(lambda x: mg.sum(f(x)))(np.ones(3))


def test_unique_values_can_be_taken_at_constant_places():
    def f(x):
        return x[np.unique(mg.stop_gradient(x), return_index=True)[1]] ** 2

    assert gradient(f, [3, 1, 3]) == [6, 2, 0]


@pytest.mark.parametrize("f", [mg.cumsum, mg.cumprod, lambda x: mg.sum(x, 0, keepdims=True), mg.prod])
def test_jacobians_of_many_directions_at_once_are_those_of_one_after_the_other(f):
    x = np.array([[2.0, 0.0, 3.0], [1.0, 4.0, 0.5]])
    _, J = mg.linearize(f, x)
    one_by_one = [J(e.reshape(x.shape)) for e in np.eye(x.size)]
    J_f, J_r = mg.jacfwd(f)(x), mg.jacrev(f)(x)
    np.testing.assert_array_equal(J_f.reshape(-1, x.size), np.stack(one_by_one, -1).reshape(-1, x.size))
    np.testing.assert_array_equal(J_f, J_r)
