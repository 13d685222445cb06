"""Differences along an axis and what undoes them: diff, gradient, the trapezoidal rule, unwrap."""

import math
from typing import Any

from ..core import dtype_of, namespace_of, shape_of
from ..rules import astype, broadcast_to
from .cumulative import cumsum, cut, edge
from .elementwise import abs, ceil, floor, greater, less, where
from .reduce import Axis, axes_of, sum
from .shape import as_array, concatenate, ravel_array, reshape

__all__ = [
    "diff",
    "ediff1d",
    "gradient",
    "trapezoid",
    "unwrap",
]


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
        x = cut(x, axis, 1, None) - cut(x, axis, None, -1)
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
        cut(s, axis, None, -1),
        cut(s, axis, 1, None),
        cut(h, 0, None, -1),
        cut(h, 0, 1, None),
    )
    inside = (h1 * s0 + h0 * s1) / (h0 + h1)
    if edge_order == 1:
        ends = cut(s, axis, None, 1), cut(s, axis, -1, None)
    else:
        bend = (s1 - s0) / (h0 + h1)  # half of the second derivative
        ends = (
            cut(s, axis, None, 1) - cut(h, 0, None, 1) * cut(bend, axis, None, 1),
            cut(s, axis, -1, None) + cut(h, 0, -1, None) * cut(bend, axis, -1, None),
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
    return sum(dx * (cut(y, axis, 1, None) + cut(y, axis, None, -1)) / 2, axis)


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
    total = concatenate([edge(p, axis, 0), cumsum(astype(turns, dtype=dtype_of(p)), axis)], axis)
    return p - period * total


# ----- Helpers -----


def _number_like(x: Any, like: Any) -> Any:
    """`x` as an array; a Python number in the dtype of `like`, if that is floating point."""
    if isinstance(x, (int, float)) and dtype_of(like).kind == "f":
        return namespace_of(like).asarray(x, dtype=dtype_of(like))
    return as_array(x, like)
