"""Special functions: `mg.special`, with the names and signatures of `scipy.special`.

Values come from scipy (from CuPy for its arrays), which is imported when the first of them is computed; erf,
expit and sinc need neither. Derivatives are formulas of Abramowitz and Stegun (A&S), Handbook of Mathematical
Functions, 1964. Orders, and the parameters a and b of the incomplete functions, are constants.
"""

import importlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core import Primitive, unboxed
from ..errors import MissingRuleError
from ..rules import defpartial, elementwise_flops
from . import exponential
from .elementwise import (
    cos,
    elementwise,
    equal,
    exp,
    less,
    less_equal,
    log,
    log1p,
    logaddexp,
    logical_and,
    sigmoid,
    sign,
    sin,
    where,
)
from .exponential import logsumexp
from .reduce import Axis, any

__all__ = [
    "beta",
    "betainc",
    "betaln",
    "digamma",
    "entr",
    "erf",
    "erfc",
    "erfcinv",
    "erfcx",
    "erfinv",
    "exp1",
    "expi",
    "expit",
    "gamma",
    "gammainc",
    "gammaincc",
    "gammaln",
    "i0",
    "i0e",
    "i1",
    "i1e",
    "iv",
    "ive",
    "j0",
    "j1",
    "jv",
    "kl_div",
    "log_expit",
    "log_ndtr",
    "log_softmax",
    "logit",
    "logsumexp",
    "multigammaln",
    "ndtr",
    "ndtri",
    "polygamma",
    "psi",
    "rel_entr",
    "rgamma",
    "sinc",
    "softmax",
    "xlog1py",
    "xlogy",
    "y0",
    "y1",
    "yn",
]


def special(name: str, doc: str, *partials: Callable | None, flops: int = 30) -> Primitive:
    """A primitive with scipy's value and `partial(ans, *args)` for each argument, as in `elementwise`."""

    def impl(xp: Any, *args: Any) -> Any:
        return _like(_scipy(xp, name)(*args), args)

    return elementwise(name, doc, impl, *partials, flops=flops)


HOUSES = {"numpy": "scipy.special", "cupy": "cupyx.scipy.special"}


def _scipy(xp: Any, name: str) -> Callable:
    """scipy's function of that name, or CuPy's."""
    if xp.__name__ not in HOUSES:
        raise NotImplementedError(f"minigrad.special.{name}: {xp.__name__} has no special functions")
    try:
        house = importlib.import_module(HOUSES[xp.__name__])
    except ImportError:
        raise ImportError(f"minigrad.special.{name} needs scipy: pip install scipy") from None
    if not hasattr(house, name):
        raise NotImplementedError(f"minigrad.special.{name}: {house.__name__} has no {name}")
    return getattr(house, name)


def _like(out: Any, args: Any) -> Any:
    """`out` in the dtype of its floating-point arguments: scipy computes half precision in single."""
    dtypes = {a.dtype for a in args if hasattr(a, "dtype")}
    dtype = np.result_type(*dtypes) if dtypes else out.dtype
    return out if dtype.kind != "f" or dtype == out.dtype else out.astype(dtype)


def _constant(name: str, argument: str) -> Callable:
    def partial(ans: Any, *args: Any) -> Any:
        raise MissingRuleError(
            f"minigrad.special.{name} has no derivative in its argument {argument}: keep it constant, "
            "with minigrad.stop_gradient where it is computed"
        )

    return partial


# ----- Gamma and its relatives (A&S 6) -----

gamma = special("gamma", "Γ(x)", lambda ans, x: ans * digamma(x))
gammaln = special("gammaln", "log |Γ(x)|", lambda ans, x: digamma(x))
rgamma: Primitive = special("rgamma", "1 / Γ(x), 0 at the poles of Γ", lambda ans, x: _rgamma_slope(x))
polygamma: Primitive = special(
    "polygamma",
    "n-th derivative of digamma",
    _constant("polygamma", "n"),
    lambda ans, n, x: polygamma(n + 1, x),
)
digamma: Primitive = special("digamma", "derivative of log Γ", lambda ans, x: polygamma(1, x))
psi = digamma
beta = special(
    "beta",
    "B(a, b) = Γ(a) Γ(b) / Γ(a + b)",
    lambda ans, a, b: ans * (digamma(a) - digamma(a + b)),
    lambda ans, a, b: ans * (digamma(b) - digamma(a + b)),
)
betaln = special(
    "betaln",
    "log |B(a, b)|",
    lambda ans, a, b: digamma(a) - digamma(a + b),
    lambda ans, a, b: digamma(b) - digamma(a + b),
)


def _rgamma_slope(x: Any) -> Any:
    # -ψ / Γ is infinity times zero at the poles; by reflection 1 / Γ(x) = Γ(1 - x) sin(πx) / π.
    left = less(x, 0.5)
    a, b = where(left, x, 0.5), where(left, 1.0, x)
    reflected = gamma(1 - a) * (cos(math.pi * a) - digamma(1 - a) * sin(math.pi * a) / math.pi)
    return where(left, reflected, -digamma(b) * rgamma(b))


def multigammaln(a: Any, d: int) -> Any:
    """Logarithm of the multivariate gamma function of dimension `d`, elementwise in `a` > (d - 1) / 2.

    The sum over j < d of gammaln(a - j / 2), plus d (d - 1) log(π) / 4. Raises ValueError where `a` is too
    small or `d` is no positive integer.

    >>> round(float(multigammaln(3.0, 1)), 6)
    0.693147
    """
    if d != int(d) or d < 1:
        raise ValueError(f"multigammaln: d must be a positive integer, not {d}")
    if any(less_equal(a, 0.5 * (d - 1))):
        raise ValueError(f"multigammaln: a must be larger than (d - 1) / 2 = {0.5 * (d - 1)}")
    return sum(gammaln(a - 0.5 * j) for j in range(int(d))) + d * (d - 1) / 4 * math.log(math.pi)


gammainc = special(
    "gammainc",
    "regularized lower incomplete gamma function P(a, x)",
    _constant("gammainc", "a"),
    lambda ans, a, x: _gamma_density(a, x),
)
gammaincc = special(
    "gammaincc",
    "regularized upper incomplete gamma function 1 - P(a, x)",
    _constant("gammaincc", "a"),
    lambda ans, a, x: -_gamma_density(a, x),
)
betainc = special(
    "betainc",
    "regularized incomplete beta function I(a, b, x)",
    _constant("betainc", "a"),
    _constant("betainc", "b"),
    lambda ans, a, b, x: exp(xlogy(a - 1, x) + xlog1py(b - 1, -x) - betaln(a, b)),
)


def _gamma_density(a: Any, x: Any) -> Any:
    return exp(xlogy(a - 1, x) - x - gammaln(a))


# ----- Error functions and the normal distribution (A&S 7) -----

_ROOT_PI = math.sqrt(math.pi)

erf = elementwise(
    "erf",
    "error function 2/√π ∫₀ˣ exp(-t²) dt",
    lambda xp, x: _erf(xp, x),
    lambda ans, x: (2 / _ROOT_PI) * exp(-x * x),
    flops=20,
)
erfc = special("erfc", "1 - erf x", lambda ans, x: (-2 / _ROOT_PI) * exp(-x * x))
erfinv = special("erfinv", "inverse of erf", lambda ans, x: (_ROOT_PI / 2) * exp(ans * ans))
erfcinv = special("erfcinv", "inverse of erfc", lambda ans, x: (-_ROOT_PI / 2) * exp(ans * ans))
ndtr = special(
    "ndtr", "normal distribution function Φ", lambda ans, x: exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
)
ndtri = special("ndtri", "inverse of Φ", lambda ans, p: math.sqrt(2 * math.pi) * exp(0.5 * ans * ans))
log_ndtr = special("log_ndtr", "log Φ(x)", lambda ans, x: _log_ndtr_slope(ans, x))


def _log_ndtr_slope(ans: Any, x: Any) -> Any:
    # φ / Φ: far to the left both vanish, and erfcx has the quotient; to the right erfcx overflows.
    left = less(x, 0)
    a, b = where(left, x, 0.0), where(left, 0.0, x)
    tail = math.sqrt(2 / math.pi) / erfcx(-math.sqrt(0.5) * a)
    return where(left, tail, exp(-0.5 * b * b - where(left, 0.0, ans)) / math.sqrt(2 * math.pi))


def erfcx(x: Any) -> Any:
    """exp(x²) erfc(x), elementwise, without overflow for positive `x`.

    >>> round(float(erfcx(10.0)), 6)
    0.056141
    """
    return _erfcx(x, n=0)


def _impl_erfcx(xp: Any, x: Any, n: int) -> Any:
    e = _scipy(xp, "erfcx")(x)
    if n == 0:
        return _like(e, (x,))
    # E[n] = (E[n-2] / 2 - x E[n-1]) / n with E[-1] = 2/√π, which cancels for large x; there the ratios
    # E[n] / E[n-1] come from n = ∞ downwards, as a continued fraction.
    wide = xp.asarray(x, dtype=e.dtype)
    before, near = 2 / _ROOT_PI, e
    for k in range(1, n + 1):
        before, near = near, (0.5 * before - wide * near) / k
    far, beyond, ratio = e, xp.maximum(wide, 2), 0.0
    for k in range(60 + n, 0, -1):
        ratio = 0.5 / (beyond + (k + 1) * ratio)
        if k <= n:
            far = far * ratio
    return _like(unboxed(xp.where(wide < 2, near, far)), (x,))


# The n-th repeated integral of erfc times exp(x²) is again and again its own derivative (A&S 7.2.9).
_erfcx = Primitive("erfcx", _impl_erfcx, doc="exp(x²) times the n-th repeated integral of erfc")
defpartial(_erfcx, lambda ans, x, n: -2 * (n + 1) * _erfcx(x, n=n + 1))
_erfcx.flops = elementwise_flops(30)

# ----- Logistic function and entropies -----

expit = sigmoid
logit = special("logit", "log(p / (1 - p)), inverse of expit", lambda ans, p: 1 / (p * (1 - p)), flops=12)
xlogy: Primitive = special(
    "xlogy",
    "x log y, 0 where x is 0; there and at y <= 0 the derivatives are 0",
    lambda ans, x, y: log(where(_void(x, y), 1.0, y)),
    lambda ans, x, y: where(_void(x, y), 0.0, x) / where(_void(x, y), 1.0, y),
    flops=11,
)
xlog1py: Primitive = special(
    "xlog1py",
    "x log(1 + y), 0 where x is 0; there and at y <= -1 the derivatives are 0",
    lambda ans, x, y: log1p(where(_void(x, y + 1), 0.0, y)),
    lambda ans, x, y: where(_void(x, y + 1), 0.0, x) / (1 + where(_void(x, y + 1), 0.0, y)),
    flops=11,
)
entr = special("entr", "-x log x, 0 at 0 and -∞ below", lambda ans, x: -1 - log(x), flops=12)
rel_entr = special(
    "rel_entr",
    "x log(x / y), 0 where x is 0 and ∞ outside; at (0, 0) the derivatives are 0",
    lambda ans, x, y: where(_both_zero(x, y), 0.0, 1 + log(_ratio_of(x, y))),
    lambda ans, x, y: where(_both_zero(x, y), 0.0, -_ratio_of(x, y)),
    flops=12,
)


def _void(x: Any, y: Any) -> Any:
    """Is x log y zero by convention alone?"""
    return logical_and(equal(x, 0), less_equal(y, 0))


def _both_zero(x: Any, y: Any) -> Any:
    return logical_and(equal(x, 0), equal(y, 0))


def _ratio_of(x: Any, y: Any) -> Any:
    return where(_both_zero(x, y), 1.0, x) / where(_both_zero(x, y), 1.0, y)


def kl_div(x: Any, y: Any) -> Any:
    """x log(x / y) - x + y, elementwise: `rel_entr` made convex and nonnegative.

    >>> float(kl_div(1.0, 1.0))
    0.0
    """
    return rel_entr(x, y) - x + y


def log_expit(x: Any) -> Any:
    """log(1 / (1 + e⁻ˣ)), elementwise, without overflow.

    >>> float(log_expit(-1000.0))
    -1000.0
    """
    return -logaddexp(-x, 0.0)


def softmax(x: Any, axis: Axis = None) -> Any:
    """eˣ / Σ eˣ over `axis`; over all elements without one, as scipy has it (`mg.softmax`: the last axis).

    >>> softmax(np.zeros((1, 2)))
    array([[0.5, 0.5]])
    """
    return exponential.softmax(x, axis)


def log_softmax(x: Any, axis: Axis = None) -> Any:
    """log of `softmax` over `axis`; over all elements without one, as scipy has it.

    >>> log_softmax(np.zeros((1, 2)))
    array([[-0.69314718, -0.69314718]])
    """
    return exponential.log_softmax(x, axis)


# ----- Bessel functions (A&S 9): the derivative of order v is made of the orders v - 1 and v + 1 -----

j0 = special("j0", "Bessel function J of order 0", lambda ans, x: -j1(x))
j1: Primitive = special("j1", "Bessel function J of order 1", lambda ans, x: 0.5 * (j0(x) - jv(2, x)))
y0 = special("y0", "Bessel function Y of order 0", lambda ans, x: -y1(x))
y1: Primitive = special("y1", "Bessel function Y of order 1", lambda ans, x: 0.5 * (y0(x) - yn(2, x)))
i0 = special("i0", "modified Bessel function I of order 0", lambda ans, x: i1(x))
i1: Primitive = special(
    "i1", "modified Bessel function I of order 1", lambda ans, x: 0.5 * (i0(x) + iv(2, x))
)
i0e = special("i0e", "exp(-|x|) i0(x)", lambda ans, x: i1e(x) - sign(x) * ans)
i1e: Primitive = special("i1e", "exp(-|x|) i1(x)", lambda ans, x: 0.5 * (i0e(x) + ive(2, x)) - sign(x) * ans)
jv: Primitive = special(
    "jv",
    "Bessel function J of order v",
    _constant("jv", "v"),
    lambda ans, v, x: 0.5 * (jv(v - 1, x) - jv(v + 1, x)),
)
yn: Primitive = special(
    "yn",
    "Bessel function Y of integer order n",
    _constant("yn", "n"),
    lambda ans, n, x: 0.5 * (yn(n - 1, x) - yn(n + 1, x)),
)
iv: Primitive = special(
    "iv",
    "modified Bessel function I of order v",
    _constant("iv", "v"),
    lambda ans, v, x: 0.5 * (iv(v - 1, x) + iv(v + 1, x)),
)
ive: Primitive = special(
    "ive",
    "exp(-|x|) iv(v, x)",
    _constant("ive", "v"),
    lambda ans, v, x: 0.5 * (ive(v - 1, x) + ive(v + 1, x)) - sign(x) * ans,
)

# ----- Integrals -----

expi = special("expi", "exponential integral Ei", lambda ans, x: exp(x) / x)
exp1 = special("exp1", "exponential integral E₁", lambda ans, x: -exp(-x) / x)


def sinc(x: Any) -> Any:
    """sin(πx) / (πx), 1 at 0, elementwise; its derivatives keep their digits near 0, at every order.

    >>> sinc(np.array([0.0, 0.5]))
    array([1.        , 0.63661977])
    """
    return _sinc(x, n=0)


def _impl_sinc(xp: Any, x: Any, n: int) -> Any:
    u = xp.asarray(x) * math.pi
    far = xp.abs(u) > n + 1
    # u S[n] + n S[n-1] = sin(u + nπ/2) divides rounding by u again and again; near 0 the series is summed.
    v = xp.where(far, u, 1.0)
    away = xp.sin(v) / v
    for k in range(1, n + 1):
        away = (xp.sin(v + k * (math.pi / 2)) - k * away) / v
    w = xp.where(far, 0.0, u)
    first, series = (n + 1) // 2, 0.0
    for k in range(first + 12 + 2 * n, first - 1, -1):
        series = series * (w * w) + (-1) ** k / ((2 * k + 1) * math.factorial(2 * k - n))
    return unboxed(math.pi**n * xp.where(far, away, series * w if n % 2 else series))


_sinc = Primitive("sinc", _impl_sinc, doc="n-th derivative of sin(πx) / (πx)")
defpartial(_sinc, lambda ans, x, n: _sinc(x, n=n + 1))
_sinc.flops = lambda args, outs, params: (12 + 14 * params["n"]) * math.prod(outs[0])


# ----- The error function without scipy -----

# Rational Chebyshev approximations of W. J. Cody, Math. Comp. 23 (1969) 631-637, for |x| <= 0.46875 (A, B),
# up to 4 (C, D) and beyond (P, Q); relative error below 1e-16. Highest power first.
_A = (
    1.85777706184603153e-1,
    3.16112374387056560,
    1.13864154151050156e2,
    3.77485237685302021e2,
    3.20937758913846947e3,
)
_B = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)
_C = (
    2.15311535474403846e-8,
    5.64188496988670089e-1,
    8.88314979438837594,
    6.61191906371416295e1,
    2.98635138197400131e2,
    8.81952221241769090e2,
    1.71204761263407058e3,
    2.05107837782607147e3,
    1.23033935479799725e3,
)
_D = (
    1.0,
    1.57449261107098347e1,
    1.17693950891312499e2,
    5.37181101862009858e2,
    1.62138957456669019e3,
    3.29079923573345963e3,
    4.36261909014324716e3,
    3.43936767414372164e3,
    1.23033935480374942e3,
)
_P = (
    1.63153871373020978e-2,
    3.05326634961232344e-1,
    3.60344899949804439e-1,
    1.25781726111229246e-1,
    1.60837851487422766e-2,
    6.58749161529837803e-4,
)
_Q = (
    1.0,
    2.56852019228982242,
    1.87295284992346725,
    5.27905102951428412e-1,
    6.05183413124413191e-2,
    2.33520497626869185e-3,
)


def _erf(xp: Any, x: Any) -> Any:
    x = xp.asarray(x)
    dtype = x.dtype if xp.isdtype(x.dtype, "real floating") else xp.float64
    # Half precision cannot hold the coefficients: their sums overflow.
    x = xp.asarray(x, dtype=xp.result_type(dtype, xp.float32))
    a = xp.minimum(xp.abs(x), 6)  # erf(6) is 1 in double precision
    s = a * a
    small = a * _ratio(_A, _B, xp.minimum(s, 1))
    middle = 1 - xp.exp(-s) * _ratio(_C, _D, a)
    u = 1 / xp.maximum(s, 1)
    large = 1 - xp.exp(-s) / xp.maximum(a, 1) * (1 / _ROOT_PI - u * _ratio(_P, _Q, u))
    out = xp.where(a <= 0.46875, small, xp.where(a <= 4, middle, large))
    return unboxed(xp.asarray(xp.copysign(out, x), dtype=dtype))


def _ratio(p: tuple[float, ...], q: tuple[float, ...], x: Any) -> Any:
    top, bottom = p[0], q[0]
    for c, d in zip(p[1:], q[1:], strict=True):
        top, bottom = top * x + c, bottom * x + d
    return top / bottom
