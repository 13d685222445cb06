"""Batch normalisation, fused: y = γ x̂ + β, x̂ = r (x - mean x), r = (var x + ε)^-½, over all axes but one.

Its Jacobian in x is γ r P, P u = u - mean(u) - x̂ mean(x̂ u), and P is self-adjoint: forward and reverse mode
are one reduction and one affine pass each. Residuals are outputs of primitives, so every order is right.
"""

import math
from collections.abc import Callable
from typing import Any

from ..backend import kernels_of
from ..core import Primitive, aval_str, shape_of
from ..rules import defjoint, defwhole, no_bytes, no_flops, promote
from .elementwise import constant, multiply
from .reduce import mean
from .reduce import sum as _sum

__all__ = ["batch_norm", "batch_norm_with_statistics"]


def batch_norm(x: Any, gamma: Any, beta: Any, eps: float = 1e-5) -> Any:
    """`x` (..., C) normalised over all axes but the last, times `gamma` (C,) plus `beta` (C,).

    The variance is the biased one (divided by the number of rows), as in Ioffe and Szegedy 2015, algorithm 1.

    >>> import numpy as np
    >>> batch_norm(np.array([[1.0], [3.0]]), np.ones(1), np.zeros(1), eps=0.0)
    array([[-1.],
           [ 1.]])
    """
    return batch_norm_with_statistics(x, gamma, beta, eps)[0]


def batch_norm_with_statistics(x: Any, gamma: Any, beta: Any, eps: float = 1e-5) -> tuple[Any, Any, Any]:
    """`batch_norm(x, gamma, beta, eps)` beside the mean and the reciprocal deviation r it used, (C,) each.

    The two statistics are for running averages: they come as constants, without a derivative.

    >>> import numpy as np
    >>> batch_norm_with_statistics(np.array([[1.0], [3.0]]), np.ones(1), np.zeros(1), eps=0.0)[1]
    array([2.])
    """
    sx = shape_of(x)
    if len(sx) < 2 or shape_of(gamma) != sx[-1:] or shape_of(beta) != sx[-1:]:
        raise ValueError(
            f"batch_norm: gamma {aval_str(gamma)} and beta {aval_str(beta)} do not fit x {aval_str(x)}: "
            "x is (..., C), gamma and beta are (C,)"
        )
    return _batch_norm(*promote(x, gamma, beta), eps=eps)


def _rule(primals: Any, tangents: Any, eps: float) -> tuple[Any, Any]:
    y, xhat, mu, r = _residuals(*primals, eps=eps)
    return (y, _statistic(mu), _statistic(r)), (_tangent(*tangents, xhat, r, primals[1]), None, None)


def _residuals_rule(primals: Any, tangents: Any, eps: float) -> tuple[Any, Any]:
    """All four outputs with their tangents: dx̂ = r P dx, dμ = mean(dx), dr = -r² mean(x̂ dx)."""
    y, xhat, mu, r = out = _residuals(*primals, eps=eps)
    dx, gamma = tangents[0], primals[1]
    dy = _tangent(*tangents, xhat, r, gamma)
    if dx is None:
        return out, (dy, None, None, None)
    return out, (dy, r * _project(dx, xhat), _mean(dx), -(r * r) * _mean(xhat * dx))


def _tangent_rule(primals: Any, tangents: Any) -> tuple[Any, Any]:
    """d of [γ r P u + dγ x̂ + dβ]: linear in (u, dγ, dβ), with x̂, r and γ as residuals that may move, too."""
    u, dgamma, dbeta, xhat, r, gamma = primals
    *inner, dxhat, dr, dg = tangents
    ans = _tangent(*primals)
    terms = [_tangent(*inner, xhat, r, gamma)] if any(t is not None for t in inner) else []
    if u is not None:
        terms += _residual_terms(u, xhat, r, gamma, dxhat, dr, dg)
    if dgamma is not None and dxhat is not None:
        terms.append(multiply(dxhat, dgamma))
    return ans, _total(terms)


def _transpose_rule(primals: Any, tangents: Any) -> tuple[Any, Any]:
    """d of (γ r P c, Σ x̂ c, Σ c): linear in c, with x̂, r and γ as residuals that may move, too."""
    c, xhat, r, gamma = primals
    dc, dxhat, dr, dg = tangents
    ans = _transpose(*primals)
    tx, tg, tb = (None, None, None) if dc is None else _transpose(dc, xhat, r, gamma)
    tx = _total(([] if tx is None else [tx]) + _residual_terms(c, xhat, r, gamma, dxhat, dr, dg))
    if dxhat is not None:
        moved = _sum(dxhat * c, _rows(c))
        tg = moved if tg is None else tg + moved
    return ans, (tx, tg, tb)


def _residual_terms(u: Any, xhat: Any, r: Any, gamma: Any, dxhat: Any, dr: Any, dg: Any) -> list[Any]:
    """The parts of d[γ r P u] that come from x̂, r and γ, for a fixed u."""
    terms = []
    if dxhat is not None:
        terms.append(-(gamma * r) * (dxhat * _mean(xhat * u) + xhat * _mean(dxhat * u)))
    if dr is not None:
        terms.append((gamma * dr) * _project(u, xhat))
    if dg is not None:
        terms.append((dg * r) * _project(u, xhat))
    return terms


def _project(u: Any, xhat: Any) -> Any:
    """P u = u - mean(u) - x̂ mean(x̂ u)."""
    return u - _mean(u) - xhat * _mean(xhat * u)


def _impl_tangent(xp: Any, u: Any, dgamma: Any, dbeta: Any, xhat: Any, r: Any, gamma: Any) -> Any:
    return kernels_of(xp).batch_norm_tangent(u, dgamma, dbeta, xhat, r, gamma)


def _impl_batch_norm(xp: Any, x: Any, gamma: Any, beta: Any, eps: float) -> tuple[Any, Any, Any]:
    y, _, mu, r = kernels_of(xp).batch_norm(x, gamma, beta, eps)
    return y, mu, r


def _transposed_tangent(ct: Any, args: Any, params: dict, linear: tuple[int, ...]) -> list[Any]:
    cts = _transpose(ct, *args[3:])
    return [cts[i] for i in linear]


# The statistics that are returned stay constants when an outer transformation differentiates the residuals.
_statistic = constant("batch_statistic", "a statistic of the batch as a constant", lambda xp, x: x)
_statistic.flops, _statistic.bytes = no_flops, no_bytes

_batch_norm = Primitive(
    "batch_norm", _impl_batch_norm, multiple=True, doc="normalised x, with mean and r as constants"
)
defwhole(_batch_norm, _rule)

_residuals = Primitive(
    "batch_norm_residuals",
    lambda xp, x, gamma, beta, eps: kernels_of(xp).batch_norm(x, gamma, beta, eps),
    multiple=True,
    doc="y with the x̂, mean and r that its derivatives need",
)
defwhole(_residuals, _residuals_rule)

_tangent = Primitive("batch_norm_tangent", _impl_tangent, doc="γ r P u + dγ x̂ + dβ")
defjoint(
    _tangent,
    lambda args, params: shape_of(args[3]),
    _transposed_tangent,
    (0, 1, 2),
    lambda primals, tangents, params: _tangent_rule(primals, tangents),
)

_transpose = Primitive(
    "batch_norm_transpose",
    lambda xp, c, xhat, r, gamma: kernels_of(xp).batch_norm_transpose(c, xhat, r, gamma),
    multiple=True,
    doc="(γ r P c, Σ x̂ c, Σ c)",
)
defjoint(
    _transpose,
    lambda args, params: [shape_of(args[0]), shape_of(args[0])[-1:], shape_of(args[0])[-1:]],
    lambda cts, args, params, linear: [_tangent(*cts, *args[1:])],
    (0,),
    lambda primals, tangents, params: _transpose_rule(primals, tangents),
)


def _flops(element: int, channel: int) -> Callable:
    """So many operations for each element of the result, and so many for each channel."""
    return lambda args, outs, params: element * math.prod(outs[0]) + channel * outs[0][-1]


# Mean and deviation 2, variance 2, x̂ 1, y 2; and r is 1 / √(Σ / n + ε), the mean Σ / n.
_batch_norm.flops = _residuals.flops = _flops(7, 5)
# The sums of u and x̂ u take 3, u a + x̂ b + c takes 4; and a = γ r, b = dγ - a Σ x̂ u / n, c = dβ - a Σ u / n.
_both, _without_u = _flops(7, 7), _flops(2, 0)
_tangent.flops = lambda args, outs, params: (_without_u if args[0] is None else _both)(args, outs, params)
_transpose.flops = _both


def _rows(x: Any) -> tuple[int, ...]:
    return tuple(range(len(shape_of(x)) - 1))


def _mean(x: Any) -> Any:
    return mean(x, _rows(x))


def _total(terms: list[Any]) -> Any:
    total = None
    for term in terms:
        total = term if total is None else total + term
    return total
