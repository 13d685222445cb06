"""Elementwise functions where no difference quotient sees: kinks, infinities, NaN, cancellation."""

import math

import numpy as np
import pytest

import minigrad as mg


def gradients(f, *args):
    """The derivative of each element of f in each argument."""
    y, pull = mg.vjp(f, *args)
    return [np.asarray(g).tolist() for g in pull(np.ones_like(y))]


def slope(f):
    return lambda x: mg.jvp(f, (x,), (np.ones_like(x),))[1]


def slopes(f, x, order):
    """The derivative of that order of an elementwise f."""
    for _ in range(order):
        f = slope(f)
    return f(x)


# ----- Kinks -----


def test_fmax_and_fmin_split_ties_and_leave_nan_out():
    nan = np.nan
    x, y = np.array([1.0, 2.0, 3.0, nan, 1.0, nan]), np.array([2.0, 2.0, 2.0, 1.0, nan, nan])
    assert gradients(mg.fmax, x, y) == [[0, 0.5, 1, 0, 1, 0.5], [1, 0.5, 0, 1, 0, 0.5]]
    assert gradients(mg.fmin, x, y) == [[1, 0.5, 0, 0, 1, 0.5], [0, 0.5, 1, 1, 0, 0.5]]


def test_hypot_has_derivative_zero_at_the_origin_to_every_order():
    assert gradients(mg.hypot, 0.0, 0.0) == [0, 0]
    assert not mg.hessian(lambda v: mg.hypot(v[0], v[1]))(np.zeros(2)).any()
    for size in (1e200, 1e-200):
        assert gradients(mg.hypot, 3 * size, 4 * size) == pytest.approx([0.6, 0.8], rel=1e-15)


def test_copysign_turns_the_slope_with_the_sign_and_is_flat_at_zero():
    x, y = np.array([2.0, 2.0, -2.0, -2.0, 0.0, 2.0]), np.array([1.0, -1.0, 1.0, -1.0, -1.0, -0.0])
    assert gradients(mg.copysign, x, y) == [[1, -1, -1, 1, 0, -1], [0] * 6]


def test_fabs_is_flat_at_zero_and_makes_integers_floating_point():
    assert gradients(mg.fabs, np.array([-2.0, -0.0, 3.0])) == [[-1, 0, 1]]
    assert mg.fabs(np.array([-2])).dtype == np.float64


def test_remainders_have_the_derivative_of_the_piece_their_value_is_on():
    x, y = np.array([5.0, 6.0, -5.0, 5.0, -5.0]), np.array([3.0, 3.0, 3.0, -3.0, -3.0])
    assert gradients(mg.remainder, x, y) == [[1] * 5, [-1, -2, 2, 2, -1]]
    assert gradients(mg.fmod, x, y) == [[1] * 5, [-1, -2, 1, 1, -1]]
    assert gradients(lambda x, y: mg.divmod(x, y)[0], x, y) == [[0] * 5] * 2
    # 0.1 is a little more than a tenth and goes into 1 nine times, though the quotient is rounded to 10.
    assert 1.0 / 0.1 == 10
    assert gradients(mg.remainder, 1.0, 0.1) == gradients(mg.fmod, 1.0, 0.1) == [1, -9]


def test_operators_of_division_with_remainder():
    for f in (
        lambda x: x % 3.0,
        lambda x: divmod(x, 3.0)[1],
        lambda x: x - 3.0 * (x // 3.0),
        lambda x: np.mod(x, 3.0),
    ):
        assert mg.value_and_grad(f)(7.5) == (1.5, 1)
    for f in (lambda x: 7.5 % x, lambda x: divmod(7.5, x)[1], lambda x: 7.5 - x * (7.5 // x)):
        assert mg.value_and_grad(f)(3.0) == (1.5, -2)
    a, b = np.array([7.5, 1.0]), np.array([2.0, 4.0])
    assert gradients(lambda b: a % b, b) == [[-3, 0]]


def test_heaviside_passes_its_second_argument_at_zero():
    assert gradients(mg.heaviside, np.array([-1.0, 0.0, 1.0]), np.array([3.0, 4.0, 5.0])) == [
        [0] * 3,
        [0, 1, 0],
    ]


def test_nan_to_num_passes_finite_numbers():
    x = np.array([np.nan, np.inf, -np.inf, -2.0], np.float32)
    top = np.finfo(np.float32).max
    assert mg.nan_to_num(x).tolist() == [0, top, -top, -2] and mg.nan_to_num(x).dtype == np.float32
    assert gradients(mg.nan_to_num, x) == [[0, 0, 0, 1]]
    assert mg.nan_to_num(np.array([1, 2])).dtype == np.int64


def test_parts_of_infinities_and_of_zero():
    x = np.array([np.inf, -np.inf, 0.0, -2.25])
    for ours, numpys in zip(mg.modf(x) + mg.frexp(x), np.modf(x) + np.frexp(x), strict=True):
        np.testing.assert_array_equal(ours, numpys)
    assert gradients(lambda x: mg.modf(x)[0], x[2:]) == [[1, 1]]
    assert gradients(lambda x: mg.frexp(x)[0], x[2:]) == [[1, 0.25]]


# ----- Infinities, overflow, cancellation -----


@pytest.mark.parametrize("f", [mg.logaddexp, mg.logaddexp2])
def test_logaddexp_neither_overflows_nor_makes_nan_of_infinities(f):
    inf = np.inf
    x, y = np.array([-inf, -inf, inf, inf, 900.0, 3.0]), np.array([-inf, 1.0, inf, 1.0, -900.0, 3.0])
    in_x, in_y = gradients(f, x, y)
    assert in_x == [0.5, 0, 0.5, 1, 1, 0.5] and in_y == [0.5, 1, 0.5, 0, 0, 0.5]
    second = slopes(lambda x: f(x, y), x, 2)
    np.testing.assert_allclose(
        second, [0, 0, 0, 0, 0, 0.25 * (math.log(2) if f is mg.logaddexp2 else 1)], rtol=1e-15
    )
    # Near 1e6 a difference with the value has lost six digits; a difference of the arguments has not.
    assert gradients(f, 1e6, 1e6 + 1)[0] == pytest.approx(
        1 / (1 + (2 if f is mg.logaddexp2 else math.e)), rel=1e-15
    )


def test_inverse_functions_keep_their_digits_near_the_ends_of_their_domains():
    d = 2.0**-40
    for f, x, want in (
        (mg.arcsin, 1 - d, 1 / math.sqrt(d * (2 - d))),
        (mg.arccos, d - 1, -1 / math.sqrt(d * (2 - d))),
        (mg.arctanh, 1 - d, 1 / (d * (2 - d))),
        (mg.arccosh, 1 + d, 1 / math.sqrt(d * (2 + d))),
    ):
        assert mg.grad(f)(x) == pytest.approx(want, rel=1e-15)
    with np.errstate(divide="ignore"):
        assert mg.grad(mg.cbrt)(0.0) == np.inf


def test_sinc_and_its_derivatives_keep_their_digits_near_zero():
    x = np.array([0.0, 1e-9, 1e-5, 1e-3, 0.02])
    u = np.pi * x
    series = [
        1 - u**2 / 6 + u**4 / 120 - u**6 / 5040,
        np.pi * (-u / 3 + u**3 / 30 - u**5 / 840 + u**7 / 45360),
        np.pi**2 * (-1 / 3 + u**2 / 10 - u**4 / 168 + u**6 / 6480),
        np.pi**3 * (u / 5 - u**3 / 42 + u**5 / 1080 - u**7 / 55440),
    ]
    for order, want in enumerate(series):
        np.testing.assert_allclose(slopes(mg.sinc, x, order), want, rtol=1e-14)


@pytest.mark.parametrize("order", range(5))
def test_the_two_formulas_of_sinc_meet(order):
    edge = (order + 1) / np.pi
    below, above = slopes(mg.sinc, np.array([edge * (1 - 1e-15), edge * (1 + 1e-15)]), order)
    assert below == pytest.approx(above, rel=1e-12)


# ----- The rest -----


def test_select_takes_the_first_condition_that_holds_and_is_numpys():
    x, y = np.array([-2.0, 0.5, 3.0, 9.0]), np.array([1.0, 2.0, 3.0, 4.0])

    def f(module, x, y):
        return module.select([x < 0, x < 1, x < 5], [-x, x * y, 3.0], y)

    np.testing.assert_array_equal(f(mg, x, y), f(np, x, y))
    want = [[-1, 2, 0, 0], [0, 0.5, 0, 1]]
    assert gradients(lambda x, y: f(mg, x, y), x, y) == gradients(lambda x, y: f(np, x, y), x, y) == want
    with pytest.raises(ValueError, match="2 conditions and 1 choices"):
        mg.select([x < 0, x > 1], [x])
    with pytest.raises(ValueError, match="at least one"):
        mg.select([], [])


def test_float_power_computes_in_double_precision():
    x = np.array([1.5, 2.0], np.float32)
    assert mg.float_power(x, 2).dtype == np.float64 and mg.float_power(np.array([2]), -1)[0] == 0.5
    assert mg.grad(lambda x: mg.float_power(x, 3).sum())(x).dtype == np.float32


def test_ufuncs_that_are_one_in_numpy_are_one_here():
    assert mg.mod is mg.remainder
    for name in ("acos", "asinh", "atan2", "pow", "abs", "conj", "true_divide"):
        assert getattr(np, name) in mg.protocols.UFUNCS
