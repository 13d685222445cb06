"""Sliding windows: views of every place a window can stand at; overlaps add up in the transpose."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import Primitive, dtype_of, shape_of, size_of
from ..rules import deflinear, no_bytes, no_flops
from .reduce import Axis
from .shape import as_array

__all__ = [
    "sliding_window_view",
]


def sliding_window_view(x: Any, window_shape: int | Sequence[int], axis: Axis = None) -> Any:
    """Every window of `window_shape` along `axis`, as new last axes: a view, nothing is copied.

    The transpose adds the windows up where they overlap. `axis` may name an axis more than once; without
    it there is one window length an axis. Raises ValueError when the window is longer than the array.

    >>> sliding_window_view(np.arange(4.0), 3)
    array([[0., 1., 2.],
           [1., 2., 3.]])
    """
    x = as_array(x)
    window = tuple(int(n) for n in np.atleast_1d(window_shape))
    axes = (
        tuple(range(len(shape_of(x))))
        if axis is None
        else np.lib.array_utils.normalize_axis_tuple(axis, len(shape_of(x)), allow_duplicate=True)  # type: ignore[arg-type]
    )
    if len(window) != len(axes) or any(n < 0 for n in window):
        raise ValueError(
            f"sliding_window_view: a window of shape {window} does not fit axes {axes} of shape {shape_of(x)}"
        )
    if any(n < 1 for n in _places(x, window, axes)):
        raise ValueError(
            f"sliding_window_view: a window of shape {window} is longer than shape {shape_of(x)}: pad first"
        )
    return _windows(x, window=window, axis=axes)


def _places(x: Any, window: tuple[int, ...], axis: tuple[int, ...]) -> tuple[int, ...]:
    """How many places the window has along each axis."""
    places = list(shape_of(x))
    for i, n in zip(axis, window, strict=True):
        places[i] -= n - 1
    return tuple(places)


def _impl_add_windows(
    xp: Any, ct: Any, shape: tuple[int, ...], window: tuple[int, ...], axis: tuple[int, ...]
) -> Any:
    # Half precision adds up in single.
    out = xp.zeros(shape, dtype=xp.float32 if dtype_of(ct) == np.float16 else ct.dtype)
    places = ct.shape[: len(shape)]
    for cell in itertools.product(*map(range, window)):
        start = [0] * len(shape)
        for i, k in zip(axis, cell, strict=True):
            start[i] += k
        out[tuple(slice(a, a + n) for a, n in zip(start, places, strict=True))] += ct[(..., *cell)]
    return xp.astype(out, ct.dtype, copy=False)


_windows = Primitive(
    "sliding_windows",
    lambda xp, x, window, axis: xp.lib.stride_tricks.sliding_window_view(x, window, axis=axis),
    doc="every window of an array, as a view",
)
deflinear(
    _windows,
    lambda x, window, axis: (*_places(x, window, axis), *window),
    lambda ct, x, window, axis: _add_windows(ct, shape=shape_of(x), window=window, axis=axis),
)
_add_windows: Primitive = Primitive(
    "add_windows", _impl_add_windows, doc="windows added up where they overlap"
)
deflinear(
    _add_windows,
    lambda ct, shape, window, axis: shape,
    lambda t, ct, shape, window, axis: _windows(t, window=window, axis=axis),
)

# Many at once: a leading axis stays where it is.
_windows.batch = lambda args, params, batched: _windows(
    args[0], window=params["window"], axis=_behind(params["axis"])
)
_add_windows.batch = lambda args, params, batched: _add_windows(
    args[0],
    shape=(shape_of(args[0])[0], *params["shape"]),
    window=params["window"],
    axis=_behind(params["axis"]),
)
_windows.flops, _windows.bytes = no_flops, no_bytes
_add_windows.flops = lambda args, outs, params: size_of(args[0])


def _behind(axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(i + 1 for i in axes)
