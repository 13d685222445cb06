"""Special functions, with values from scipy."""

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

import minigrad as mg

from .builders import Case, X, binary, inside, layout, nonzero, normal, of, over_axes, positive, shapes, unary

special = mg.special


def between(low: float, high: float) -> Callable:
    def values(rng: np.random.Generator, shape: tuple) -> np.ndarray:
        return rng.uniform(low, high, shape)

    return values


def given(op: Callable, constants: list[tuple], values: Callable) -> Callable:
    """A case of op(*constants, x) with one of several tuples of constants."""

    def case(draw: Callable, rng: np.random.Generator) -> Case:
        parameters = draw(st.sampled_from(constants))
        return Case(lambda x: op(*parameters, x), (layout(draw, values(rng, draw(shapes()))),))

    return case


def real(op: Callable, values: Callable) -> Callable:
    return unary(op, values, analytic=False)


def real2(op: Callable, left: Callable, right: Callable) -> Callable:
    return binary(op, left, right, analytic=False)


def multigammaln_case(draw: Callable, rng: np.random.Generator) -> Case:
    d = draw(st.integers(1, 3))
    x = layout(draw, rng.uniform(1.4, 4, draw(shapes())))
    return Case(lambda x: special.multigammaln(x, d), (x,))


PROBABILITY, UP, LARGE = between(0.2, 0.8), between(0.8, 3), between(1, 4)
ORDERS = [(0,), (1,), (2,), (3,)]

CASES: dict[str, Callable] = {
    "gamma": real(special.gamma, UP),
    "gammaln": real(special.gammaln, UP),
    "rgamma": real(special.rgamma, between(-1.2, 2)),
    "digamma": real(special.digamma, UP),
    "polygamma": given(special.polygamma, ORDERS, LARGE),
    "beta": real2(special.beta, UP, UP),
    "betaln": real2(special.betaln, UP, UP),
    "gammainc": given(special.gammainc, [(0.5,), (1.0,), (2.5,)], positive),
    "gammaincc": given(special.gammaincc, [(0.5,), (1.0,), (2.5,)], positive),
    "betainc": given(special.betainc, [(0.5, 2.0), (1.0, 1.5), (3.0, 0.5)], PROBABILITY),
    "erf": real(mg.erf, normal),
    "erfc": real(special.erfc, normal),
    "erfcx": real(special.erfcx, between(-1, 4)),
    "erfinv": real(special.erfinv, inside),
    "erfcinv": real(special.erfcinv, PROBABILITY),
    "ndtr": real(special.ndtr, normal),
    "log_ndtr": real(special.log_ndtr, between(-3, 3)),
    "ndtri": real(special.ndtri, PROBABILITY),
    "logit": real(special.logit, PROBABILITY),
    "xlogy": real2(special.xlogy, nonzero, positive),
    "xlog1py": real2(special.xlog1py, nonzero, inside),
    "entr": real(special.entr, positive),
    "rel_entr": real2(special.rel_entr, positive, positive),
    "i0": real(special.i0, normal),
    "i1": real(special.i1, normal),
    "i0e": real(special.i0e, nonzero),
    "i1e": real(special.i1e, nonzero),
    "iv": given(special.iv, [*ORDERS, (0.5,)], positive),
    "ive": given(special.ive, [*ORDERS, (0.5,)], positive),
    "j0": real(special.j0, normal),
    "j1": real(special.j1, normal),
    "jv": given(special.jv, [*ORDERS, (0.5,)], positive),
    "y0": real(special.y0, LARGE),
    "y1": real(special.y1, LARGE),
    "yn": given(special.yn, ORDERS, LARGE),
    "expi": real(special.expi, UP),
    "exp1": real(special.exp1, UP),
    "sinc": unary(mg.sinc, between(-2, 2)),
}

# Public operations made of primitives.
COMPOSITES: dict[str, Callable] = {
    "special.expit": real(special.expit, normal),
    "special.log_expit": real(special.log_expit, normal),
    "special.kl_div": real2(special.kl_div, positive, positive),
    "special.multigammaln": multigammaln_case,
    "special.psi": real(special.psi, UP),
    "special.softmax": over_axes(special.softmax),
    "special.log_softmax": over_axes(special.log_softmax),
}

# Calls whose values are compared with those of the function of the same name in NumPy.
NUMPY_CALLS: dict[str, list] = {name: [of(X), of(3 * X), of(0.0)] for name in ("i0", "sinc")}

# Checked to third order, too.
THIRD = {
    "beta",
    "betainc",
    "digamma",
    "erf",
    "erfc",
    "erfcx",
    "gammainc",
    "gammaln",
    "i1e",
    "j1",
    "log_ndtr",
    "logit",
    "ndtri",
    "polygamma",
    "rel_entr",
    "rgamma",
    "sinc",
    "special.log_expit",
    "xlogy",
}
