"""Batch normalisation, fused: y = γ x̂ + β, x̂ = r (x - mean x), r = (var x + ε)^-½, over all axes but one.

Its Jacobian in x is γ r P, P u = u - mean(u) - x̂ mean(x̂ u), and P is self-adjoint: forward and reverse mode
are one reduction and one affine pass each, which also adds a shortcut and applies relu where wanted.
Residuals are outputs of primitives, so every order is right.
"""

import math
from collections.abc import Sequence
from typing import Any

from ..backend import kernels_of
from ..core import Primitive, aval_str, shape_of, touched
from ..rules import defjoint, defwhole, no_bytes, no_flops, promote
from .activations import relu_mask
from .elementwise import constant, multiply
from .reduce import mean
from .reduce import sum as _sum

__all__ = ["batch_norm", "batch_norm_with_statistics"]


def batch_norm(
    x: Any, gamma: Any, beta: Any, eps: float = 1e-5, shortcut: Any = None, relu: bool = False
) -> Any:
    """`x` (..., C) normalised over all axes but the last, times `gamma` (C,) plus `beta` (C,).

    The variance is the biased one (divided by the number of rows), as in Ioffe and Szegedy 2015, algorithm 1.
    `shortcut`, shaped like x, is added; with `relu`, what is negative then becomes 0. Raises ValueError for
    shapes that do not fit.

    >>> import numpy as np
    >>> x = np.array([[1.0], [3.0]])
    >>> batch_norm(x, np.ones(1), np.zeros(1), eps=0.0)
    array([[-1.],
           [ 1.]])
    >>> batch_norm(x, np.ones(1), np.zeros(1), eps=0.0, shortcut=x - 2, relu=True)
    array([[0.],
           [2.]])
    """
    return batch_norm_with_statistics(x, gamma, beta, eps, shortcut, relu)[0]


def batch_norm_with_statistics(
    x: Any, gamma: Any, beta: Any, eps: float = 1e-5, shortcut: Any = None, relu: bool = False
) -> tuple[Any, Any, Any]:
    """`batch_norm` of the same arguments beside the mean and the reciprocal deviation r it used, (C,) each.

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
    if shortcut is None:
        return _batch_norm(*promote(x, gamma, beta), None, eps=eps, relu=relu)
    if shape_of(shortcut) != sx:
        raise ValueError(f"batch_norm: the shortcut is {aval_str(shortcut)}, but x is {aval_str(x)}")
    return _batch_norm(*promote(x, gamma, beta, shortcut), eps=eps, relu=relu)


def _rule(primals: Any, tangents: Any, eps: float, relu: bool) -> tuple[Any, Any]:
    y, xhat, mu, r = _residuals(*primals, eps=eps, relu=relu)
    dy = _moved(tangents, xhat, r, primals[1], y if relu else None)
    return (y, _statistic(mu), _statistic(r)), (dy, None, None)


def _residuals_rule(primals: Any, tangents: Any, eps: float, relu: bool) -> tuple[Any, Any]:
    """All four outputs with their tangents: dx̂ = r P dx, dμ = mean(dx), dr = -r² mean(x̂ dx)."""
    y, xhat, mu, r = out = _residuals(*primals, eps=eps, relu=relu)
    dx, gamma = tangents[0], primals[1]
    dy = _moved(tangents, xhat, r, gamma, y if relu else None)
    if dx is None:
        return out, (dy, None, None, None)
    return out, (dy, r * _project(dx, xhat), _mean(dx), -(r * r) * _mean(xhat * dx))


def _tangent_rule(primals: Any, tangents: Any) -> tuple[Any, Any]:
    """d of [γ r P u + dγ x̂ + dβ + ds]: linear in u, dγ, dβ and ds; the residuals x̂, r and γ may move, too."""
    u, dgamma, _, _, xhat, r, gamma, y = primals
    *inner, dxhat, dr, dg, _ = tangents
    ans = _tangent(*primals)
    terms = [] if u is None else _residual_terms(u, xhat, r, gamma, dxhat, dr, dg)
    if dgamma is not None and dxhat is not None:
        terms.append(multiply(dxhat, dgamma))
    if terms and y is not None:
        terms = [relu_mask(_total(terms), y)]
    if any(t is not None for t in inner):
        terms.append(_moved(inner, xhat, r, gamma, y))
    return ans, _total(terms)


def _transpose_rule(primals: Any, tangents: Any) -> tuple[Any, Any]:
    """d of (γ r P c, Σ x̂ c, Σ c, c): linear in c; the residuals x̂, r and γ may move, too."""
    _, xhat, r, gamma, y = primals
    dc, dxhat, dr, dg, _ = tangents
    ans = _transpose(*primals)
    c = ans[3]  # behind the mask of relu
    tx, tg, tb, ts = (None,) * 4 if dc is None else _transpose(dc, xhat, r, gamma, y)
    tx = _total(([] if tx is None else [tx]) + _residual_terms(c, xhat, r, gamma, dxhat, dr, dg))
    if dxhat is not None:
        moved = _sum(dxhat * c, _rows(c))
        tg = moved if tg is None else tg + moved
    return ans, (tx, tg, tb, ts)


def _moved(tangents: Sequence[Any], xhat: Any, r: Any, gamma: Any, y: Any) -> Any:
    """The tangent of y for those of x, γ, β and shortcut; where only the last moves, no affine pass."""
    *own, dshortcut = tangents
    if any(t is not None for t in own):
        return _tangent(*tangents, xhat, r, gamma, y)
    return dshortcut if y is None else relu_mask(dshortcut, y)


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


def _impl_tangent(
    xp: Any, u: Any, dgamma: Any, dbeta: Any, dshortcut: Any, xhat: Any, r: Any, gamma: Any, y: Any
) -> Any:
    return kernels_of(xp).batch_norm_tangent(u, dgamma, dbeta, xhat, r, gamma, dshortcut, y)


def _impl_residuals(
    xp: Any, x: Any, gamma: Any, beta: Any, shortcut: Any, eps: float, relu: bool
) -> tuple[Any, Any, Any, Any]:
    return kernels_of(xp).batch_norm(x, gamma, beta, eps, shortcut, relu)


def _impl_batch_norm(xp: Any, *args: Any, **params: Any) -> tuple[Any, Any, Any]:
    y, _, mu, r = _impl_residuals(xp, *args, **params)
    return y, mu, r


def _transposed_tangent(ct: Any, args: Any, params: dict, linear: tuple[int, ...]) -> list[Any]:
    cts = _transpose(ct, *args[4:])
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
    _impl_residuals,
    multiple=True,
    doc="y with the x̂, mean and r that its derivatives need",
)
defwhole(_residuals, _residuals_rule)

_tangent = Primitive(
    "batch_norm_tangent", _impl_tangent, doc="γ r P u + dγ x̂ + dβ + ds, 0 where y is given and not positive"
)
defjoint(
    _tangent,
    lambda args, params: shape_of(args[4]),
    _transposed_tangent,
    (0, 1, 2, 3),
    lambda primals, tangents, params: _tangent_rule(primals, tangents),
)

_transpose = Primitive(
    "batch_norm_transpose",
    lambda xp, c, xhat, r, gamma, y: kernels_of(xp).batch_norm_transpose(c, xhat, r, gamma, y),
    multiple=True,
    doc="(γ r P c, Σ x̂ c, Σ c, c), with 0 for c where y is given and not positive",
)
defjoint(
    _transpose,
    lambda args, params: [shape_of(args[0]), *[shape_of(args[0])[-1:]] * 2, shape_of(args[0])],
    lambda cts, args, params, linear: [_tangent(*cts, *args[1:])],
    (0,),
    lambda primals, tangents, params: _transpose_rule(primals, tangents),
)


def _flops(args: Sequence[Any], outs: Sequence[tuple], params: dict) -> int:
    """Mean and deviation 2, variance 2, x̂ 1, y 2 an element; Σ / n and r = 1 / √(Σ / n + ε) a channel."""
    element = 7 + (args[3] is not None) + params["relu"]
    return element * math.prod(outs[0]) + 5 * outs[0][-1]


def _tangent_flops(args: Sequence[Any], outs: Sequence[tuple], params: dict) -> int:
    """Sums of u and x̂ u take 3, u a + x̂ b + c takes 4: a = γ r, b = dγ - a Σ x̂ u / n, c = dβ - a Σ u / n."""
    u, _, _, dshortcut, *_, y = args
    element, channel = (2, 0) if u is None else (7, 7)
    element += (dshortcut is not None) + (y is not None)
    return element * math.prod(outs[0]) + channel * outs[0][-1]


def _transpose_flops(args: Sequence[Any], outs: Sequence[tuple], params: dict) -> int:
    return (7 + (args[4] is not None)) * math.prod(outs[0]) + 7 * outs[0][-1]


def _transpose_bytes(args: Sequence[Any], outs: Sequence[Any], params: dict) -> int:
    """Without relu the shortcut's cotangent is c itself."""
    return touched(args, outs if args[4] is not None else outs[:3], params)


_batch_norm.flops = _residuals.flops = _flops
_tangent.flops, _transpose.flops, _transpose.bytes = _tangent_flops, _transpose_flops, _transpose_bytes


def _rows(x: Any) -> tuple[int, ...]:
    return tuple(range(len(shape_of(x)) - 1))


def _mean(x: Any) -> Any:
    return mean(x, _rows(x))


def _total(terms: list[Any]) -> Any:
    total = None
    for term in terms:
        total = term if total is None else total + term
    return total
