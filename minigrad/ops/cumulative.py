"""Products, and running sums, products and extrema along an axis.

Products are differentiated without a division, so zeros among the factors do no harm, at any order: the
derivative of a running product is a linear recurrence, and the derivatives of that are recurrences again.
"""

import builtins
import math
from collections.abc import Callable, Sequence
from typing import Any

from ..core import Primitive, dtype_of, namespace_of, shape_of
from ..rules import broadcast_to, defjvp, deflinear, defzero, input_flops
from .elementwise import negative
from .index import take_along_axis
from .reduce import Axis, along, axes_of, cast, only, sum
from .shape import as_array, concatenate

__all__ = [
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "cumulative_prod",
    "cumulative_sum",
    "prod",
]


# ----- Sums -----


def cumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """Running sums along `axis`; of the flattened `x` without one.

    >>> cumsum([1.0, 2.0, 3.0])
    array([1., 3., 6.])
    """
    x, axis = along(cast(x, dtype), axis)
    return _cumsum(x, axis=axis, reverse=False)


def cumulative_sum(
    x: Any, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """Running sums along `axis`, from the empty sum 0 on with `include_initial`.

    Raises ValueError when there are several axes and none is given.

    >>> cumulative_sum([1.0, 2.0], include_initial=True)
    array([0., 1., 3.])
    """
    x, axis = _one_axis("cumulative_sum", x, axis)
    out = cumsum(x, axis, dtype)
    return concatenate([edge(out, axis, 0), out], axis) if include_initial else out


def _impl_cumulative(kind: str) -> Any:
    def impl(xp: Any, x: Any, axis: int, reverse: bool) -> Any:
        run = getattr(xp, f"cumulative_{kind}", None) or getattr(xp, f"cum{kind}")  # CuPy has one new name
        return xp.flip(run(xp.flip(x, axis=axis), axis=axis), axis=axis) if reverse else run(x, axis=axis)

    return impl


_cumsum = Primitive("cumsum", _impl_cumulative("sum"), doc="running sums along an axis")
deflinear(
    _cumsum,
    lambda x, axis, reverse: shape_of(x),
    lambda ct, x, axis, reverse: _cumsum(ct, axis=axis, reverse=not reverse),
)
_cumsum.batch = lambda args, params, batched: _cumsum(
    args[0], axis=params["axis"] + 1, reverse=params["reverse"]
)
_cumsum.flops = input_flops


# ----- Products -----


def prod(
    x: Any,
    axis: Axis = None,
    dtype: Any = None,
    *,
    keepdims: bool = False,
    initial: Any = None,
    where: Any = True,
) -> Any:
    """Product over `axis`, of the elements where `where` holds, times `initial`.

    The derivative in an element is the product of the others, zeros or not.

    >>> float(prod([2.0, 3.0]))
    6.0
    """
    x = only(cast(as_array(x), dtype), where, 1)
    out = _prod(x, axis=axes_of(x, axis), keepdims=keepdims)
    return out if initial is None else out * initial


def cumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """Running products along `axis`; of the flattened `x` without one.

    >>> cumprod([1.0, 2.0, 3.0])
    array([1., 2., 6.])
    """
    x, axis = along(cast(x, dtype), axis)
    return _cumprod(x, axis=axis, reverse=False)


def cumulative_prod(
    x: Any, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Any:
    """Running products along `axis`, from the empty product 1 on with `include_initial`.

    Raises ValueError when there are several axes and none is given.

    >>> cumulative_prod([2.0, 3.0], include_initial=True)
    array([1., 2., 6.])
    """
    x, axis = _one_axis("cumulative_prod", x, axis)
    out = cumprod(x, axis, dtype)
    return concatenate([edge(out, axis, 1), out], axis) if include_initial else out


def _impl_recurrence(xp: Any, a: Any, b: Any, axis: int, reverse: bool) -> Any:
    dtype = xp.result_type(a, b)
    a = xp.astype(xp.moveaxis(a, axis, 0), dtype)
    h = xp.astype(xp.moveaxis(b, axis, 0), dtype)
    # After each round a link spans twice as many places and each h has heard from as many (Hillis and
    # Steele, Comm. ACM 29 (1986) 1170-1183): log n array operations in the place of n numbers one by one.
    step = 1
    while step < h.shape[0]:
        if reverse:
            h[:-step, ...] = h[:-step, ...] + a * h[step:, ...]
        else:
            h[step:, ...] = h[step:, ...] + a * h[:-step, ...]
        rest = max(a.shape[0] - step, 0)
        a = a[:rest, ...] * a[a.shape[0] - rest :, ...]
        step *= 2
    return xp.moveaxis(h, 0, axis)


_prod = Primitive("prod", "prod", doc="product over axes")
_cumprod = Primitive("cumprod", _impl_cumulative("prod"), doc="running products along an axis")
recurrence: Primitive = Primitive(
    "recurrence", _impl_recurrence, doc="h[k+1] = a[k] h[k] + b[k+1] from h[0] = b[0], along an axis"
)


def _others(x: Any, axis: tuple[int, ...]) -> Any:
    """For each element the product of the others over `axis`: of those before it and those after it."""
    out = 1.0
    for i in axis:
        before, after = (_next(_cumprod(x, axis=i, reverse=r), i, 1, r) for r in (False, True))
        out = out * (before * after)
        x = _prod(x, axis=(i,), keepdims=True)
    return out


def _next(y: Any, axis: int, first: float, reverse: bool) -> Any:
    """`y` moved on by one place along `axis`; `first` enters."""
    end = edge(y, axis, first, min(1, shape_of(y)[axis]))
    return concatenate([cut(y, axis, 1, None), end] if reverse else [end, cut(y, axis, None, -1)], axis)


def _cumprod_jvp(t: Any, ans: Any, x: Any, axis: int, reverse: bool) -> Any:
    # y[k+1] = x[k+1] y[k], so dy[k+1] = x[k+1] dy[k] + dx[k+1] y[k].
    links = cut(x, axis, None, -1) if reverse else cut(x, axis, 1, None)
    return recurrence(links, t * _next(ans, axis, 1, reverse), axis=axis, reverse=reverse)


def _recurrence_in_links(t: Any, ans: Any, a: Any, b: Any, axis: int, reverse: bool) -> Any:
    # h[k+1] = a[k] h[k] + b[k+1], so dh[k+1] = a[k] dh[k] + da[k] h[k].
    end = edge(b, axis, 0, min(1, shape_of(b)[axis]))
    pushed = t * (cut(ans, axis, 1, None) if reverse else cut(ans, axis, None, -1))
    pushed = concatenate([pushed, end] if reverse else [end, pushed], axis)
    return recurrence(a, pushed, axis=axis, reverse=reverse)


def _recurrence_batch(args: Any, params: dict, batched: tuple[int, ...]) -> Any:
    k = shape_of(args[batched[0]])[0]
    a, b = [x if i in batched else broadcast_to(x, shape=(k, *shape_of(x))) for i, x in enumerate(args)]
    return recurrence(a, b, axis=params["axis"] + 1, reverse=params["reverse"])


defjvp(_prod, lambda t, ans, x, axis, keepdims: sum(t * _others(x, axis), axis, keepdims=keepdims))
defjvp(_cumprod, _cumprod_jvp)
deflinear(
    recurrence,
    lambda a, b, axis, reverse: shape_of(b),
    None,
    lambda ct, a, b, axis, reverse: recurrence(a, ct, axis=axis, reverse=not reverse),
    jvps=[_recurrence_in_links],
)
recurrence.batch = _recurrence_batch
_prod.flops = _cumprod.flops = input_flops


def _rounds_flops(link: int, merge: int) -> Callable:
    """In the round that reaches back `step` places: so many for each place that can, and for each link."""

    def flops(args: Sequence[Any], outs: Sequence[tuple], params: dict) -> int:
        n = outs[0][params["axis"]]
        steps = [1 << k for k in range((max(n, 1) - 1).bit_length())]
        one = builtins.sum(link * (n - step) + merge * max(n - 2 * step, 0) for step in steps)
        return one * math.prod(outs[0]) // max(n, 1)

    return flops


recurrence.flops = _rounds_flops(2, 1)


# ----- Extrema -----


def cummax(x: Any, axis: int | None = None) -> Any:
    """Running maxima along `axis`, as of np.maximum.accumulate; the first of equals takes the derivative.

    >>> cummax([1.0, 3.0, 2.0])
    array([1., 3., 3.])
    """
    x, axis = along(x, axis)
    return take_along_axis(x, _running_argmax(x, axis=axis), axis)


def cummin(x: Any, axis: int | None = None) -> Any:
    """Running minima along `axis`, as of np.minimum.accumulate; the first of equals takes the derivative.

    >>> cummin([3.0, 1.0, 2.0])
    array([3., 1., 1.])
    """
    return negative(cummax(negative(x), axis))


def _impl_running_argmax(xp: Any, x: Any, axis: int) -> Any:
    top = xp.astype(xp.moveaxis(x, axis, 0), x.dtype)
    places = xp.reshape(xp.arange(top.shape[0]), (-1, *[1] * (top.ndim - 1)))
    at = xp.astype(xp.broadcast_to(places, top.shape), places.dtype)
    step = 1
    while step < top.shape[0]:  # as in a recurrence: each place hears from twice as many before it
        late, early = top[step:, ...], top[:-step, ...]
        wins = xp.logical_or(late > early, xp.logical_and(xp.isnan(late), xp.logical_not(xp.isnan(early))))
        at[step:, ...] = xp.where(wins, at[step:, ...], at[:-step, ...])
        top[step:, ...] = xp.where(wins, late, early)
        step *= 2
    return xp.moveaxis(at, 0, axis)


_running_argmax = Primitive("running_argmax", _impl_running_argmax, doc="index of the running maximum")
defzero(_running_argmax)
_running_argmax.flops = _rounds_flops(3, 0)  # a comparison, two choices


# ----- Along an axis -----


def _one_axis(name: str, x: Any, axis: int | None) -> tuple[Any, int]:
    x = as_array(x)
    if axis is None and len(shape_of(x)) > 1:
        raise ValueError(f"{name}: which axis? x has {len(shape_of(x))} of them")
    return along(x, axis)


def cut(x: Any, axis: int, start: int | None, stop: int | None) -> Any:
    part = slice(*slice(start, stop).indices(shape_of(x)[axis]))
    return x[(*(slice(None),) * axis, part, ...)]


def edge(x: Any, axis: int, value: float, n: int = 1) -> Any:
    """`value` in the shape of `n` slices of `x` across `axis`."""
    shape = shape_of(x)
    return namespace_of(x).full((*shape[:axis], n, *shape[axis + 1 :]), value, dtype=dtype_of(x))
