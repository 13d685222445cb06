"""Special functions: values against scipy, conventions where they are not smooth, tails, refusals."""

import sys

import numpy as np
import pytest

import minigrad as mg
from minigrad.ops import special as module

scipy_special = pytest.importorskip("scipy.special")

X = np.concatenate([np.linspace(-4.9, 5, 34), [1e-8, 12.3, 40.0]])
POSITIVE = np.abs(X) + 0.01
INSIDE = np.linspace(0.01, 0.99, 37)
CALLS = {
    **dict.fromkeys("gamma gammaln rgamma digamma psi".split(), (X,)),
    **dict.fromkeys("erf erfc erfcx ndtr log_ndtr expit log_expit".split(), (X / 2,)),
    **dict.fromkeys("i0 i1 i0e i1e j0 j1 expi".split(), (X,)),
    **dict.fromkeys("y0 y1 exp1 entr".split(), (POSITIVE,)),
    **dict.fromkeys("erfcinv ndtri logit".split(), (INSIDE,)),
    **dict.fromkeys("beta betaln rel_entr kl_div".split(), (POSITIVE, INSIDE)),
    **dict.fromkeys("iv ive jv yn polygamma".split(), (3, POSITIVE)),
    **dict.fromkeys("gammainc gammaincc".split(), (1.5, POSITIVE)),
    "erfinv": (2 * INSIDE - 1,),
    "betainc": (0.5, 2.0, INSIDE),
    "xlogy": (X, POSITIVE),
    "xlog1py": (X, INSIDE),
    "multigammaln": (POSITIVE + 1, 3),
    "logsumexp": (X.reshape(1, -1) / 4,),
    "softmax": (X.reshape(1, -1) / 4,),
    "log_softmax": (X.reshape(1, -1) / 4,),
    "sinc": (X,),
}


def test_every_special_function_is_compared_with_scipy():
    assert set(CALLS) == set(module.__all__)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_values_are_scipys_in_the_dtype_of_the_arguments(name, dtype):
    args = [a.astype(dtype) if isinstance(a, np.ndarray) else a for a in CALLS[name]]
    wide = [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in args]
    eps = np.finfo(dtype).eps
    with np.errstate(all="ignore"):  # half precision overflows
        ours, theirs = getattr(mg.special, name)(*args), getattr(scipy_special, name)(*wide)
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, theirs.astype(dtype), rtol=max(1e-13, 60 * eps), atol=10 * eps)


@pytest.mark.parametrize("name", [n for n in CALLS if isinstance(getattr(scipy_special, n), np.ufunc)])
def test_scipys_ufuncs_of_tracers_are_minigrads(name):
    *constants, x = CALLS[name]
    ours, theirs = (
        mg.jvp(lambda x, m=m: getattr(m, name)(*constants, x), (x,), (np.ones_like(x),))
        for m in (mg.special, scipy_special)
    )
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_ufuncs_of_the_same_name_are_not_taken_for_scipys():
    impostor = np.frompyfunc(lambda x: x, 1, 1)
    with pytest.raises(TypeError, match="no derivative of"):
        mg.grad(impostor)(1.0)
    with pytest.raises(TypeError, match="no derivative of np.zetac"):
        mg.grad(scipy_special.zetac)(1.0)


# ----- Without scipy -----


def test_a_missing_scipy_is_named_and_what_needs_none_works(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    for name, args in (("gammaln", (2.0,)), ("erfcx", (2.0,)), ("polygamma", (1, 2.0))):
        with pytest.raises(ImportError) as error:
            getattr(mg.special, name)(*args)
        assert str(error.value) == f"minigrad.special.{name} needs scipy: pip install scipy"
    for f in (mg.special.erf, mg.special.expit, mg.special.log_expit, mg.special.sinc, mg.special.softmax):
        assert np.isfinite(mg.grad(lambda x, f=f: f(x))(0.3))


def test_a_library_that_lacks_a_function_is_named(monkeypatch):
    monkeypatch.setitem(module.HOUSES, "numpy", "numpy")
    assert mg.special.i0(0.0) == 1
    with pytest.raises(NotImplementedError, match=r"minigrad\.special\.iv: numpy has no iv"):
        mg.special.iv(1, 2.0)


# ----- Constants -----


@pytest.mark.parametrize(
    ("name", "args", "argument"),
    [
        ("polygamma", (1.0, 2.0), "n"),
        ("iv", (1.0, 2.0), "v"),
        ("ive", (1.0, 2.0), "v"),
        ("jv", (1.0, 2.0), "v"),
        ("yn", (1.0, 2.0), "n"),
        ("gammainc", (1.0, 2.0), "a"),
        ("gammaincc", (1.0, 2.0), "a"),
        ("betainc", (1.0, 2.0, 0.5), "a"),
        ("betainc", (1.0, 2.0, 0.5), "b"),
    ],
)
def test_a_derivative_in_an_order_is_refused_by_name(name, args, argument):
    f, i = getattr(mg.special, name), {"b": 1}.get(argument, 0)
    with pytest.raises(mg.MissingRuleError) as error:
        mg.grad(f, i)(*args)
    text = str(error.value)
    assert f"minigrad.special.{name} has no derivative in its argument {argument}" in text
    assert "stop_gradient" in text
    assert np.isfinite(mg.grad(f, len(args) - 1)(*args))
    held = [mg.stop_gradient(a) for a in args[:-1]]
    assert mg.grad(lambda a: a * f(*held, args[-1]))(1.0) == f(*args)


def test_multigammaln_checks_its_arguments():
    with pytest.raises(ValueError, match="positive integer, not 1.5"):
        mg.special.multigammaln(3.0, 1.5)
    with pytest.raises(ValueError, match="larger than"):
        mg.grad(lambda a: mg.special.multigammaln(a, 4))(1.5)


# ----- Where they are not smooth, and far out -----


def gradients(f, *args):
    """The derivative of each element of f in each argument."""
    y, pull = mg.vjp(f, *args)
    return [np.asarray(g).tolist() for g in pull(np.ones_like(y))]


def test_x_log_y_has_derivative_zero_where_only_convention_makes_it_zero():
    x, y = np.array([0.0, 0.0, 0.0, 2.0]), np.array([0.0, -1.0, 3.0, 4.0])
    assert gradients(mg.special.xlogy, x, y) == [[0, 0, np.log(3.0), np.log(4.0)], [0, 0, 0, 0.5]]
    assert gradients(mg.special.xlog1py, x, y - 1) == [[0, 0, np.log1p(2.0), np.log1p(3.0)], [0, 0, 0, 0.5]]
    H = mg.hessian(lambda v: mg.special.xlogy(v[0], v[1]))
    assert not H(np.zeros(2)).any()
    assert H(np.array([0.0, 4.0])).tolist() == [[0, 0.25], [0.25, 0]]


def test_entropies_at_the_border_of_their_domains():
    assert gradients(mg.special.rel_entr, 0.0, 0.0) == [0, 0]
    with np.errstate(divide="ignore"):
        assert gradients(mg.special.rel_entr, 0.0, 2.0) == [-np.inf, 0]
        assert gradients(mg.special.entr, 0.0) == [np.inf]
    assert gradients(mg.special.kl_div, 2.0, 2.0) == [0, 0]


def test_the_reciprocal_of_gamma_has_derivatives_at_the_poles_of_gamma():
    # 1/Γ(x) = x + γx² - ... at 0, and (-1)ⁿ n! is its slope at -n.
    n = np.arange(5.0)
    slopes = gradients(mg.special.rgamma, -n)[0]
    np.testing.assert_allclose(slopes, (-1) ** n * scipy_special.factorial(n), rtol=1e-14)
    assert mg.grad(mg.grad(mg.special.rgamma))(0.0) == pytest.approx(2 * np.euler_gamma, rel=1e-14)


def test_scaled_bessel_functions_have_the_slope_of_one_side_less_none_at_zero():
    assert gradients(mg.special.i0e, 0.0) == [0]
    assert gradients(mg.special.i1e, 0.0) == [0.5]
    assert gradients(mg.special.i0, 0.0) == [0] and gradients(mg.special.j1, 0.0) == [0.5]
    assert gradients(mg.i0, np.array([1.0])) == gradients(np.i0, np.array([1.0]))


def test_derivatives_of_erfcx_and_log_ndtr_keep_their_digits_in_the_tails():
    # Asymptotic series of A&S 7.1.23, three terms of which are enough at 1e4 and beyond.
    for x in (1e4, 1e7, 1e12):
        first = mg.grad(mg.special.erfcx)
        assert first(x) == pytest.approx(-(x**-2) / np.sqrt(np.pi) * (1 - 1.5 / x**2), rel=1e-14)
        assert mg.grad(first)(x) == pytest.approx(2 * x**-3 / np.sqrt(np.pi) * (1 - 3 / x**2), rel=1e-14)
    slope = mg.grad(mg.special.log_ndtr)
    assert slope(-1e8) == pytest.approx(1e8, rel=1e-15) and slope(-1e4) == pytest.approx(
        1e4 + 1e-4, rel=1e-15
    )
    assert mg.grad(slope)(-1e8) == pytest.approx(-1, rel=1e-14)
    assert slope(30.0) == pytest.approx(np.exp(-450) / np.sqrt(2 * np.pi), rel=1e-12)
    for x in (-1e100, -40.0, 0.0, 40.0, 1e100):
        assert np.isfinite([slope(x), mg.grad(slope)(x)]).all()


def test_derivatives_of_the_incomplete_functions_at_the_ends():
    assert gradients(lambda x: mg.special.gammainc(1.0, x), 0.0) == [1]
    assert gradients(lambda x: mg.special.gammainc(2.0, x), 0.0) == [0]
    assert gradients(lambda x: mg.special.gammainc(300.0, x), 300.0)[0] == pytest.approx(0.0230265, rel=1e-5)
    ends = gradients(lambda x: mg.special.betainc(1.0, 1.0, x), np.array([0.0, 1.0]))[0]
    assert ends == pytest.approx([1, 1])


def test_softmax_of_the_namespace_goes_over_all_elements_as_scipys():
    x = np.arange(6.0).reshape(2, 3)
    for name in ("softmax", "log_softmax"):
        for axis in (None, 0, -1):
            np.testing.assert_allclose(
                getattr(mg.special, name)(x, axis=axis),
                getattr(scipy_special, name)(x, axis=axis),
                rtol=1e-14,
            )
