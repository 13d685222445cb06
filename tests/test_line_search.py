"""The strong-Wolfe line search: its conditions where it ends, hard functions, and what is no function."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.optimize
from hypothesis import given

import minigrad as mg
from minigrad import optim

SEEDS = st.integers(0, 2**32 - 1)


def holds(phi, found, c1, c2):
    """Are the strong Wolfe conditions true at `found`, whose value and slope are those of `phi`?"""
    (value, slope), (value_0, slope_0) = phi(found.alpha), phi(0.0)
    assert (found.value, found.slope) == (value, slope)
    return value <= value_0 + c1 * found.alpha * slope_0 and abs(slope) <= -c2 * slope_0


def search(phi, **settings):
    """`strong_wolfe` on `phi`, with the steps it tried."""
    tried = []

    def counted(alpha):
        tried.append(alpha)
        return phi(alpha)

    found = optim.strong_wolfe(counted, *phi(0.0), **settings)
    assert found.evaluations == len(tried)
    return found, tried


def waves(seed):
    """A parabola and five waves on it: many minima, bounded below, going down at 0."""
    rng = np.random.default_rng(seed)
    q, height, often, where = rng.uniform(0.01, 3), *rng.uniform([[0.0], [0.1], [0]], [[1], [6], [6]], (3, 5))
    slope = (height * often * np.cos(where)).sum()
    b = -slope - rng.uniform(0.1, 10)
    return lambda a: (
        float(q * a * a + b * a + (height * np.sin(often * a + where)).sum()),
        float(2 * q * a + b + (height * often * np.cos(often * a + where)).sum()),
    )


@given(SEEDS, st.floats(-3, 3), st.sampled_from([(1e-4, 0.9), (1e-4, 0.1), (0.1, 0.2), (1e-3, 2e-3)]))
def test_the_conditions_hold_at_what_is_returned(seed, log_alpha, constants):
    phi = waves(seed)
    c1, c2 = constants
    found, tried = search(phi, alpha=10**log_alpha, c1=c1, c2=c2)
    assert found.wolfe and holds(phi, found, c1, c2) and found.alpha == tried[-1]
    assert tried[0] == 10**log_alpha


# Moré and Thuente 1994, "Line search algorithms with guaranteed sufficient decrease", section 5.
def far(a):
    return -a / (a * a + 2), (a * a - 2) / (a * a + 2) ** 2


def quintic(a):
    x = a + 0.004
    return x**5 - 2 * x**4, 5 * x**4 - 8 * x**3


def yanai(b1, b2):
    def gamma(b):
        return math.sqrt(1 + b * b) - b

    def phi(a):
        r, s = math.hypot(1 - a, b2), math.hypot(a, b1)
        return gamma(b1) * r + gamma(b2) * s, gamma(b1) * (a - 1) / r + gamma(b2) * a / s

    return phi


@pytest.mark.parametrize(
    "phi, c1, c2",
    [
        (far, 1e-3, 0.1),
        (quintic, 0.1, 0.2),
        (yanai(1e-3, 1e-3), 1e-3, 2e-3),
        (yanai(1e-2, 1e-3), 1e-3, 2e-3),
        (yanai(1e-3, 1e-2), 1e-3, 2e-3),
    ],
    ids=["far", "quintic", "yanai 4", "yanai 5", "yanai 6"],
)
@pytest.mark.parametrize("alpha", [1e-3, 0.1, 10.0, 1e3])
def test_the_functions_of_more_and_thuente(phi, c1, c2, alpha):
    found, tried = search(phi, alpha=alpha, c1=c1, c2=c2)
    assert found.wolfe and holds(phi, found, c1, c2)
    assert len(tried) <= 15


@given(SEEDS)
def test_steps_are_scipy_s_or_as_good(seed):
    """Down Rosenbrock's function from random places: the same conditions, at about the same cost."""
    x = np.random.default_rng(seed).uniform(-2, 2, 6)
    d = -scipy.optimize.rosen_der(x)
    d /= np.linalg.norm(d)

    def phi(a):
        return float(scipy.optimize.rosen(x + a * d)), float(scipy.optimize.rosen_der(x + a * d) @ d)

    found, tried = search(phi, c1=1e-4, c2=0.1)
    assert holds(phi, found, 1e-4, 0.1)
    theirs, evaluations, *_ = scipy.optimize.line_search(
        scipy.optimize.rosen, scipy.optimize.rosen_der, x, d, c1=1e-4, c2=0.1, maxiter=50
    )
    assert theirs is not None and len(tried) <= evaluations + 5


@given(SEEDS, st.floats(-2, 2))
def test_a_cubic_is_solved_exactly(seed, log_alpha):
    """(a - p)² (a + q) + r goes down from 0 to p: the cubic through two points around p is the function."""
    p, q, r = np.random.default_rng(seed).uniform([0.1, 2.1, -1], [1, 5, 1]).tolist()

    def phi(a):
        return (a - p) ** 2 * (a + q * p) + r, 2 * (a - p) * (a + q * p) + (a - p) ** 2

    found, _ = search(phi, alpha=10**log_alpha, c2=2e-4)
    assert found.wolfe and found.alpha == pytest.approx(p, rel=1e-3)


def test_a_step_over_a_hill_is_turned_back():
    """Down a valley, over a hill, and down without end: only left of the hill does the slope flatten."""

    def phi(a):
        rise = 1 / (1 + math.exp(-2 * (a - 5)))
        return -0.5 * a + 4.8 * rise, -0.5 + 9.6 * rise * (1 - rise)

    found, tried = search(phi, c2=0.1)
    value, slope = phi(10.0)
    assert tried[1] == 10.0 and phi(1.0)[0] < value < -1e-2 and slope < -0.4
    assert found.wolfe and 1 < found.alpha < 10


# ----- What is too far, and what is no function -----


def test_what_is_not_finite_is_too_far():
    def barrier(a):  # defined left of 1
        if a >= 1:
            return (math.nan, math.nan) if a > 50 else (math.inf, -1.0)
        return -a - 0.1 * math.log(1 - a), -1 + 0.1 / (1 - a)

    for alpha in (0.5, 1.0, 10.0, 1e6):
        found, _ = search(barrier, alpha=alpha, c2=0.1)
        assert found.wolfe and holds(barrier, found, 1e-4, 0.1)
    for fall in ((-math.inf, -1.0), (-5.0, math.nan), (-5.0, -math.inf)):
        found, _ = search(lambda a, fall=fall: (-a, -1.0) if a < 3 else fall)
        assert not found.wolfe and 0 < found.alpha < 3 and found.value == -found.alpha


def test_without_such_a_step_it_is_the_lowest_seen_at_worst_none():
    down, tried = search(lambda a: (-a, -1.0))  # without end
    assert (down.alpha, down.wolfe, down.evaluations) == (max(tried), False, 25) and down.alpha > 1e9
    up, tried = search(lambda a: (a, 1.0 if a else -1.0))
    assert up == (0.0, 0.0, -1.0, 25, False) and min(tried) < 1e-6
    assert search(lambda a: (a, 1.0 if a else -1.0), most=3)[0].evaluations == 3


@given(st.lists(st.tuples(st.floats(), st.floats()), min_size=1, max_size=30))
def test_whatever_it_is_told_the_value_does_not_rise(told):
    told = iter([*told, *[(1.0, -1.0)] * 30])
    seen = {0.0: (0.5, -1.0)}

    def phi(a):
        seen[a] = next(told)
        return seen[a]

    found = optim.strong_wolfe(phi, 0.5, -1.0)
    assert found.value <= 0.5 and found.alpha in seen and math.isfinite(found.alpha)
    if found.wolfe:
        assert found.value <= 0.5 - 1e-4 * found.alpha and abs(found.slope) <= 0.9
    else:
        assert found.value == min(v for v, s in seen.values() if math.isfinite(v) and math.isfinite(s))


def test_what_makes_no_sense_is_refused():
    def phi(a):
        raise AssertionError

    assert optim.strong_wolfe(phi, 1.0, 0.0) == (0.0, 1.0, 0.0, 0, True)
    for slope in (1.0, math.nan):
        with pytest.raises(ValueError, match=f"slope {slope} at 0: the direction must go down"):
            optim.strong_wolfe(phi, 1.0, slope)
    for c1, c2 in ((0.0, 0.5), (0.5, 0.1), (0.1, 1.0)):
        with pytest.raises(ValueError, match="0 < c1 < c2 < 1"):
            optim.strong_wolfe(phi, 1.0, -1.0, c1=c1, c2=c2)


# ----- Value and slope -----


@pytest.mark.parametrize("wd", [0.0, 0.3])
def test_value_and_slope_are_one_forward_mode_pass(wd):
    rng = np.random.default_rng(0)
    A, w, d = rng.normal(size=(7, 5)), rng.normal(size=5), rng.normal(size=5)

    def f(w):
        return (np.tanh(A @ w) ** 2).sum()

    phi = optim.along(f, w, d, wd)
    with mg.trace() as t:
        value, slope = phi(0.7)
    t.check({"jvp": 1})
    x = w + 0.7 * d
    assert value == pytest.approx(f(x) + wd / 2 * x @ x, rel=1e-14)
    assert slope == pytest.approx((mg.grad(f)(x) + wd * x) @ d, rel=1e-12)
