"""Pooling in C: the functions of `generic` without its `xp`, in single and double precision.

The loops are in pooling.c; images are shared out to threads.
"""

import ctypes
import functools
from pathlib import Path

import numpy as np

from . import compiler, cpu, memory, threads
from .c_conv import at, room
from .generic import Array, Padding, Pair, out_hw

NAMES = ("pool_index", "pool_gather", "pool_scatter", "window_sum", "window_spread")

_CELLS = 256  # of a window at most: they are numbered in bytes, and larger ones are left to NumPy


def pool_index(x: Array, size: Pair, stride: Pair, padding: Padding) -> Array:
    """Offset i*kw+j of the first maximum of each window; a NaN is a maximum, padding never is."""
    if size[0] * size[1] > _CELLS:
        return cpu.pool_index(x, size, stride, padding)
    hw = out_hw(x.shape[1:3], size, stride, padding)
    index = memory.empty((x.shape[0], *hw, x.shape[3]), np.uint8)
    _run("pool_index", x.dtype, x.shape, hw, size, stride, padding, x, index, needs_room=True)
    return index


def pool_gather(x: Array, index: Array, size: Pair, stride: Pair, padding: Padding) -> Array:
    """The cell of each window that `index` names: (N,H,W,C) -> (N,OH,OW,C)."""
    if index.dtype != np.uint8:
        return cpu.pool_gather(x, index, size, stride, padding)
    y = memory.empty(index.shape, x.dtype)
    _run("pool_gather", x.dtype, x.shape, y.shape[1:3], size, stride, padding, x, index, y)
    return y


def pool_scatter(ct: Array, index: Array, hw: Pair, size: Pair, stride: Pair, padding: Padding) -> Array:
    """Transpose of pool_gather: (N,OH,OW,C) -> (N,H,W,C)."""
    if index.dtype != np.uint8:
        return cpu.pool_scatter(ct, index, hw, size, stride, padding)
    dx = memory.empty((ct.shape[0], *hw, ct.shape[3]), ct.dtype)
    _run("pool_scatter", ct.dtype, dx.shape, ct.shape[1:3], size, stride, padding, ct, index, dx)
    return dx


def window_sum(x: Array, size: Pair, stride: Pair, padding: Padding) -> Array:
    """Sum over each window, padding counting as zero: (N,H,W,C) -> (N,OH,OW,C)."""
    y = memory.empty((x.shape[0], *out_hw(x.shape[1:3], size, stride, padding), x.shape[3]), x.dtype)
    _run("window_sum", x.dtype, x.shape, y.shape[1:3], size, stride, padding, x, y)
    return y


def window_spread(ct: Array, hw: Pair, size: Pair, stride: Pair, padding: Padding) -> Array:
    """Transpose of window_sum: (N,OH,OW,C) -> (N,H,W,C)."""
    dx = memory.empty((ct.shape[0], *hw, ct.shape[3]), ct.dtype)
    _run("window_spread", ct.dtype, dx.shape, ct.shape[1:3], size, stride, padding, ct, dx)
    return dx


def _run(
    name: str,
    dtype: np.dtype,
    images: tuple[int, ...],
    hw: Pair,
    size: Pair,
    stride: Pair,
    padding: Padding,
    *arrays: Array,
    needs_room: bool = False,
) -> None:
    """The C function `name` for images of a shape and results of height and width `hw`."""
    sizes = *images[1:], *hw, *size, *stride, padding[0][0], padding[1][0]
    geometry = (ctypes.c_int64 * len(sizes))(*sizes)
    dense, function = [np.ascontiguousarray(a) for a in arrays], compiler.function(library(), name, dtype)

    def work(part: slice) -> None:
        own = [ctypes.c_void_p(room(2 * images[3] * dtype.itemsize))] if needs_room else []
        function(geometry, *map(at, dense), *own, ctypes.c_int64(part.start), ctypes.c_int64(part.stop))

    threads.share(work, images[0], max(a.size for a in arrays))


@functools.cache
def library() -> ctypes.CDLL:
    """pooling.c, compiled for this machine; raises an error where that does not work."""
    return compiler.library(Path(__file__).with_name("pooling.c"))
