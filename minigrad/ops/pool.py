"""Pooling: windows of images, reduced by their maximum or mean.

A maximum is a gather at the place of the (first) largest element, and that place is a constant almost
everywhere: so max pooling is a linear gather after an argmax, right at every order without a rule of its own.
"""

import math
from typing import Any

from ..backend import kernels_of
from ..core import Primitive, aval_str, nbytes_of, shape_of, size_of
from ..rules import deflinear, defzero, no_flops
from .conv import Padding, Pair, pads, pair, window_count
from .many import fold_first, split_first

__all__ = ["avg_pool2d", "max_pool2d"]


def max_pool2d(x: Any, size: Pair, stride: Pair | None = None, padding: Padding = 0) -> Any:
    """Maximum over windows, (N, H, W, C) -> (N, H', W', C); the first of equals takes the derivative.

    `stride` is `size` by default; padding never wins. Raises ValueError when a window does not fit, or when
    one could lie in padding alone.

    >>> max_pool2d(np.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    """
    geometry = _geometry(x, size, stride, padding)
    if any(p >= k for k, ps in zip(geometry["size"], geometry["padding"], strict=True) for p in ps):
        raise ValueError(
            f"max_pool2d: padding {padding} is as large as the window {size}: a window could hold no element"
        )
    return _pool_gather(x, _pool_index(x, **geometry), **geometry)


def avg_pool2d(x: Any, size: Pair, stride: Pair | None = None, padding: Padding = 0) -> Any:
    """Mean over windows of `size`, (N, H, W, C) -> (N, H', W', C); padding counts as zeros, as in PyTorch.

    >>> avg_pool2d(np.arange(16.0).reshape(1, 4, 4, 1), 2)[0, :, :, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    """
    geometry = _geometry(x, size, stride, padding)
    return _window_sum(x, **geometry) / (geometry["size"][0] * geometry["size"][1])


_pool_index = Primitive(
    "pool_index",
    lambda xp, x, **g: kernels_of(xp).pool_index(x, *g.values()),
    doc="place of each window's first maximum",
)
defzero(_pool_index)

_pool_gather = Primitive(
    "pool_gather",
    lambda xp, x, index, **g: kernels_of(xp).pool_gather(x, index, *g.values()),
    doc="one element of each window",
)
_pool_scatter = Primitive(
    "pool_scatter",
    lambda xp, ct, index, hw, **g: kernels_of(xp).pool_scatter(ct, index, hw, *g.values()),
    doc="transpose of pool_gather",
)
deflinear(
    _pool_gather,
    lambda x, index, **g: shape_of(index),
    lambda ct, x, index, **g: _pool_scatter(ct, index, hw=shape_of(x)[1:3], **g),
)
deflinear(
    _pool_scatter,
    lambda ct, index, hw, **g: (shape_of(ct)[0], *hw, shape_of(ct)[3]),
    lambda ct, c, index, hw, **g: _pool_gather(ct, index, **g),
)

_window_sum = Primitive(
    "window_sum", lambda xp, x, **g: kernels_of(xp).window_sum(x, *g.values()), doc="sum over each window"
)
_window_spread = Primitive(
    "window_spread",
    lambda xp, ct, hw, **g: kernels_of(xp).window_spread(ct, hw, *g.values()),
    doc="transpose of window_sum",
)
deflinear(
    _window_sum,
    lambda x, **g: _out_shape(shape_of(x), g),
    lambda ct, x, **g: _window_spread(ct, hw=shape_of(x)[1:3], **g),
)
deflinear(
    _window_spread,
    lambda ct, hw, **g: (shape_of(ct)[0], *hw, shape_of(ct)[3]),
    lambda ct, c, hw, **g: _window_sum(ct, **g),
)


for _prim in (_window_sum, _window_spread):  # k batches of images are one batch
    _prim.batch = lambda args, params, batched, prim=_prim: split_first(
        prim(fold_first(args[0]), **params), shape_of(args[0])[0]
    )


def _window_flops(windows: tuple[int, ...], params: dict) -> int:
    """One operation for each cell of each window, cells of padding included."""
    return math.prod(windows) * params["size"][0] * params["size"][1]


_pool_index.flops = _window_sum.flops = lambda args, outs, params: _window_flops(outs[0], params)
_window_spread.flops = lambda args, outs, params: _window_flops(shape_of(args[0]), params)
_pool_scatter.flops = lambda args, outs, params: size_of(args[0])
_pool_gather.flops = no_flops
_pool_gather.bytes = lambda args, outs, params: 2 * nbytes_of(outs[0]) + nbytes_of(args[1])


def _geometry(x: Any, size: Pair, stride: Pair | None, padding: Padding) -> dict[str, Any]:
    geometry = {
        "size": pair(size, "size"),
        "stride": pair(size if stride is None else stride, "stride"),
        "padding": pads(padding),
    }
    if len(shape_of(x)) != 4:
        raise ValueError(f"pooling takes images (N, H, W, C), got {aval_str(x)}")
    if not all(shape_of(x)[1:3]):
        raise ValueError(f"pooling: images {aval_str(x)} have no pixels")
    if min(_out_shape(shape_of(x), geometry)[1:3]) < 1:
        raise ValueError(f"pooling: the window {size} is larger than the padded images {aval_str(x)}")
    return geometry


def _out_shape(shape: tuple[int, ...], g: dict[str, Any]) -> tuple[int, ...]:
    hw = (
        window_count(n, p, k, s)
        for n, p, k, s in zip(shape[1:3], g["padding"], g["size"], g["stride"], strict=True)
    )
    return shape[0], *hw, shape[3]
