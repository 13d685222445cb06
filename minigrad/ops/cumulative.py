"""Along an axis: running sums, products and extrema, and what goes with them: differences and integrals.

Products are differentiated without a division, so zeros among the factors do no harm, at any order: the
derivative of a running product is a linear recurrence, and the derivatives of that are recurrences again.
"""

import math
from typing import Any

from ..core import Primitive, dtype_of, namespace_of, shape_of
from ..rules import astype, broadcast_to, defjvp, deflinear, defzero, input_flops
from .elementwise import abs, ceil, floor, greater, less, negative, where
from .index import take_along_axis
from .reduce import Axis, along, axes_of, cast, only, sum, valid
from .shape import as_array, concatenate, ravel_array, reshape

__all__ = [
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "cumulative_prod",
    "cumulative_sum",
    "diff",
    "ediff1d",
    "gradient",
    "nancumprod",
    "nancumsum",
    "nanprod",
    "prod",
    "trapezoid",
    "unwrap",
]


# ----- Sums -----


def cumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """Running sums along `axis`; of the flattened `x` without one.

    >>> cumsum([1.0, 2.0, 3.0])
    array([1., 3., 6.])
    """
    x, axis = along(cast(x, dtype), axis)
    return _cumsum(x, axis=axis, reverse=False)


def nancumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """Running sums along `axis` in which NaN counts as 0, with derivative zero.

    >>> nancumsum([1.0, np.nan, 3.0])
    array([1., 1., 4.])
    """
    return cumsum(only(x, valid(x), 0), axis, dtype)


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
    return concatenate([_edge(out, axis, 0), out], axis) if include_initial else out


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


def nanprod(x: Any, axis: Axis = None, dtype: Any = None, *, where: Any = True, **how: Any) -> Any:
    """Product over `axis` of what is not NaN, with the arguments of `prod`.

    >>> float(nanprod([2.0, np.nan, 3.0]))
    6.0
    """
    return prod(x, axis, dtype, where=valid(x, where), **how)


def cumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """Running products along `axis`; of the flattened `x` without one.

    >>> cumprod([1.0, 2.0, 3.0])
    array([1., 2., 6.])
    """
    x, axis = along(cast(x, dtype), axis)
    return _cumprod(x, axis=axis, reverse=False)


def nancumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """Running products along `axis` in which NaN counts as 1, with derivative zero.

    >>> nancumprod([2.0, np.nan, 3.0])
    array([2., 2., 6.])
    """
    return cumprod(only(x, valid(x), 1), axis, dtype)


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
    return concatenate([_edge(out, axis, 1), out], axis) if include_initial else out


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
    edge = _edge(y, axis, first, min(1, shape_of(y)[axis]))
    return concatenate([_cut(y, axis, 1, None), edge] if reverse else [edge, _cut(y, axis, None, -1)], axis)


def _cumprod_jvp(t: Any, ans: Any, x: Any, axis: int, reverse: bool) -> Any:
    # y[k+1] = x[k+1] y[k], so dy[k+1] = x[k+1] dy[k] + dx[k+1] y[k].
    links = _cut(x, axis, None, -1) if reverse else _cut(x, axis, 1, None)
    return recurrence(links, t * _next(ans, axis, 1, reverse), axis=axis, reverse=reverse)


def _recurrence_in_links(t: Any, ans: Any, a: Any, b: Any, axis: int, reverse: bool) -> Any:
    # h[k+1] = a[k] h[k] + b[k+1], so dh[k+1] = a[k] dh[k] + da[k] h[k].
    edge = _edge(b, axis, 0, min(1, shape_of(b)[axis]))
    pushed = t * (_cut(ans, axis, 1, None) if reverse else _cut(ans, axis, None, -1))
    pushed = concatenate([pushed, edge] if reverse else [edge, pushed], axis)
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
recurrence.flops = lambda args, outs, params: (
    3 * math.prod(outs[0]) * (max(outs[0][params["axis"]], 1) - 1).bit_length()
)


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
_running_argmax.flops = lambda args, outs, params: (
    math.prod(outs[0]) * (max(outs[0][params["axis"]], 1) - 1).bit_length()
)


# ----- Differences -----


def diff(x: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """Differences of neighbours along `axis`, taken `n` times, with `prepend` and `append` joined on first.

    >>> diff([1.0, 3.0, 6.0])
    array([2., 3.])
    """
    x = as_array(x)
    if n < 0:
        raise ValueError(f"diff: n is {n}, but there are no differences of negative order")
    if not shape_of(x):
        raise ValueError("diff: a number has no neighbours: x must have an axis")
    (axis,) = axes_of(x, axis)
    if n == 0:
        return x
    ends = [None if end is None else _end(end, x, axis) for end in (prepend, append)]
    x = concatenate([part for part in (ends[0], x, ends[1]) if part is not None], axis)
    for _ in range(n):
        x = _cut(x, axis, 1, None) - _cut(x, axis, None, -1)
    return x


def _end(end: Any, x: Any, axis: int) -> Any:
    end = _number_like(end, x)
    shape = shape_of(x)
    return end if shape_of(end) else broadcast_to(end, shape=(*shape[:axis], 1, *shape[axis + 1 :]))


def ediff1d(x: Any, to_end: Any = None, to_begin: Any = None) -> Any:
    """Differences of neighbours in the flattened `x`, between `to_begin` and `to_end`.

    >>> ediff1d([1.0, 3.0, 6.0], to_begin=0.0)
    array([0., 2., 3.])
    """
    x = as_array(x)
    parts = [to_begin, diff(ravel_array(x)), to_end]
    return concatenate([ravel_array(_number_like(p, x)) for p in parts if p is not None])


def gradient(f: Any, *varargs: Any, axis: Axis = None, edge_order: int = 1) -> Any:
    """Slopes of the samples `f` along each axis, a tuple if there are several: central differences inside.

    `varargs` is the spacing: nothing (1), one number for all axes, or a number or the coordinates an axis.
    At the ends the difference is one-sided, of order `edge_order` (1 or 2). Inside, with slopes s and s' over
    the steps h and h' to the left and right, it is (h' s + h s') / (h + h'), exact for parabolas.

    Raises ValueError for fewer than `edge_order` + 1 samples or coordinates that do not match.

    >>> gradient([0.0, 1.0, 4.0])
    array([1., 2., 3.])
    """
    f = as_array(f)
    shape, axes = shape_of(f), axes_of(f, axis)
    if edge_order not in (1, 2):
        raise ValueError(f"gradient: edge_order is {edge_order}, but must be 1 or 2")
    if len(varargs) == 1 and not shape_of(varargs[0]):
        varargs = varargs * len(axes)
    spacings = varargs or [1.0] * len(axes)
    if len(spacings) != len(axes):
        raise TypeError(f"gradient: {len(varargs)} spacings for {len(axes)} axes")
    for i in axes:
        if shape[i] < edge_order + 1:
            raise ValueError(f"gradient: axis {i} has {shape[i]} samples, but {edge_order + 1} are needed")
    slopes = tuple(_slopes(f, _steps(h, f, i), i, edge_order) for i, h in zip(axes, spacings, strict=True))
    return slopes[0] if len(slopes) == 1 else slopes


def _slopes(f: Any, h: Any, axis: int, edge_order: int) -> Any:
    s = diff(f, axis=axis) / h
    s0, s1, h0, h1 = (
        _cut(s, axis, None, -1),
        _cut(s, axis, 1, None),
        _cut(h, 0, None, -1),
        _cut(h, 0, 1, None),
    )
    inside = (h1 * s0 + h0 * s1) / (h0 + h1)
    if edge_order == 1:
        ends = _cut(s, axis, None, 1), _cut(s, axis, -1, None)
    else:
        bend = (s1 - s0) / (h0 + h1)  # half of the second derivative
        ends = (
            _cut(s, axis, None, 1) - _cut(h, 0, None, 1) * _cut(bend, axis, None, 1),
            _cut(s, axis, -1, None) + _cut(h, 0, -1, None) * _cut(bend, axis, -1, None),
        )
    return concatenate([ends[0], inside, ends[1]], axis)


def _steps(h: Any, f: Any, axis: int) -> Any:
    """The distances between samples along `axis`, shaped to go with differences of `f`."""
    h, n = _number_like(h, f), shape_of(f)[axis]
    if not shape_of(h):
        h = broadcast_to(h, shape=(n - 1,))
    elif shape_of(h) == (n,):
        h = diff(h)
    else:
        raise ValueError(
            f"gradient: axis {axis} has {n} samples, but the coordinates have shape {shape_of(h)}"
        )
    return reshape(h, (n - 1, *[1] * (len(shape_of(f)) - 1 - axis)))


# ----- Integrals -----


def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """Integral of the samples `y` along `axis` by trapezoids, over the coordinates `x` or at distance `dx`.

    >>> float(trapezoid([0.0, 1.0, 2.0]))
    2.0
    """
    y = as_array(y)
    (axis,) = axes_of(y, axis)
    if x is not None:
        x = as_array(x)
        dx = diff(x, axis=axis) if len(shape_of(x)) > 1 else diff(x)
        if len(shape_of(x)) == 1:
            dx = reshape(dx, (-1, *[1] * (len(shape_of(y)) - 1 - axis)))
    return sum(dx * (_cut(y, axis, 1, None) + _cut(y, axis, None, -1)) / 2, axis)


def unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: Any = 2 * math.pi) -> Any:
    """`p` with multiples of `period` added, so that no step along `axis` is longer than half a period.

    Steps shorter than `discont` stay as they are. How many periods are added is a constant.

    >>> unwrap([0.0, 5.0], period=4)
    array([0., 1.])
    """
    p = as_array(p)
    (axis,) = axes_of(p, axis)
    step = diff(p, axis=axis)
    half = period / 2
    # A step of just half a period keeps its sign.
    turns = where(greater(step, 0), ceil((step - half) / period), floor((step + half) / period))
    turns = where(less(abs(step), half if discont is None else discont), 0.0, turns)
    total = concatenate([_edge(p, axis, 0), cumsum(astype(turns, dtype=dtype_of(p)), axis)], axis)
    return p - period * total


# ----- Along an axis -----


def _one_axis(name: str, x: Any, axis: int | None) -> tuple[Any, int]:
    x = as_array(x)
    if axis is None and len(shape_of(x)) > 1:
        raise ValueError(f"{name}: which axis? x has {len(shape_of(x))} of them")
    return along(x, axis)


def _cut(x: Any, axis: int, start: int | None, stop: int | None) -> Any:
    part = slice(*slice(start, stop).indices(shape_of(x)[axis]))
    return x[(*(slice(None),) * axis, part, ...)]


def _edge(x: Any, axis: int, value: float, n: int = 1) -> Any:
    """`value` in the shape of `n` slices of `x` across `axis`."""
    shape = shape_of(x)
    return namespace_of(x).full((*shape[:axis], n, *shape[axis + 1 :]), value, dtype=dtype_of(x))


def _number_like(x: Any, like: Any) -> Any:
    """`x` as an array; a Python number in the dtype of `like`, if that is floating point."""
    if isinstance(x, (int, float)) and dtype_of(like).kind == "f":
        return namespace_of(like).asarray(x, dtype=dtype_of(like))
    return as_array(x, like)
