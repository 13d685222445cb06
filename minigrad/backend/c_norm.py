"""Batch norm and the mask of relu in C: functions of `generic` without its `xp`, for floats and for doubles.

Batch norm is one pass that adds up and one that writes, over rows of several pixels that are shared out to
threads. The loops are in kernels.c.
"""

import functools
from collections.abc import Callable
from ctypes import CDLL, c_int64, c_void_p
from pathlib import Path

import numpy as np

from . import compiler, cpu, memory, threads
from .generic import Array

NAMES = ("batch_norm", "batch_norm_tangent", "batch_norm_transpose", "relu_mask")


def batch_norm(
    x: Array, gamma: Array, beta: Array, eps: float, shortcut: Array | None = None, relu: bool = False
) -> tuple[Array, Array, Array, Array]:
    """(y, xhat, mean, rstd): y = gamma xhat + beta, plus shortcut, through relu; with the biased variance."""
    pixels = _pixels(x)
    # Deviations from any pixel of the batch are small where deviations from zero would lose digits.
    shift = x.reshape(-1, x.shape[-1])[0] if x.size else np.zeros(x.shape[-1], x.dtype)
    sums, squares = _sums("deviations", x, shift)
    mean, var = shift + sums / pixels, np.maximum(squares / pixels - (sums / pixels) ** 2, 0)
    rstd = (var + eps) ** -0.5
    xhat, y = _pass("normalise", [x], [mean, rstd, gamma, beta], 2)
    y = y if shortcut is None else cpu.add(y, shortcut)
    y = cpu.relu(y) if relu else y
    return y, xhat, mean.astype(x.dtype), rstd.astype(x.dtype)


def batch_norm_tangent(
    dx: Array | None,
    dgamma: Array | None,
    dbeta: Array | None,
    xhat: Array,
    rstd: Array,
    gamma: Array,
    dshortcut: Array | None = None,
    y: Array | None = None,
) -> Array:
    """Change of y for changes of x, gamma, beta and shortcut; None is zero. y is given if it is a relu's."""
    dy = _tangent(dx, dgamma, dbeta, xhat, rstd, gamma)
    dy = dy if dshortcut is None else cpu.add(dy, dshortcut)
    return dy if y is None else relu_mask(dy, y)


def _tangent(dx, dgamma, dbeta, xhat, rstd, gamma):
    zero = np.zeros_like(gamma)
    along, level = (zero if d is None else d for d in (dgamma, dbeta))
    if dx is None:
        return _pass("affine", [xhat, xhat], [zero, along, level], 1)[0]
    total, product = _sums("products", dx, xhat)
    scale, share = gamma * rstd, gamma * rstd / _pixels(xhat)
    return _pass("affine", [dx, xhat], [scale, along - share * product, level - share * total], 1)[0]


def batch_norm_transpose(
    ct: Array, xhat: Array, rstd: Array, gamma: Array, y: Array | None = None
) -> tuple[Array, Array, Array, Array]:
    """(dx, dgamma, dbeta, dshortcut) for the cotangent of y, which is given if it is a relu's."""
    ct = ct if y is None else relu_mask(ct, y)
    dbeta, dgamma = _sums("products", ct, xhat)
    scale, share = gamma * rstd, gamma * rstd / _pixels(xhat)
    (dx,) = _pass("affine", [ct, xhat], [scale, -share * dgamma, -share * dbeta], 1)
    return dx, dgamma.astype(ct.dtype), dbeta.astype(ct.dtype), ct


def relu_mask(t: Array, y: Array) -> Array:
    """t where y > 0, else 0: tangent and transpose of relu."""
    source, gate = (np.ascontiguousarray(a).reshape(-1) for a in (t, y))
    masked = memory.empty_like(source)
    run = _loop("relu_mask", t.dtype)
    threads.share(lambda part: run(1, source[part], gate[part], masked[part]), t.size, t.size)
    return masked.reshape(t.shape)


def _sums(name: str, x: Array, other: Array) -> tuple[Array, Array]:
    """The two sums of each channel, in double; `other` is like x, or one number for each channel."""
    rows, c = cpu._lanes(x), x.shape[-1]
    beside = cpu._lanes(other) if other.shape == x.shape else cpu._repeat(other, rows)
    tiles = cpu._lane_tiles(rows)
    parts = np.zeros((len(tiles), 2, rows.shape[1]))
    run = _loop(name, x.dtype)

    def work(part: slice) -> None:
        for k in range(part.start, part.stop):
            second = beside[tiles[k]] if beside.ndim == 2 else beside
            run(len(rows[tiles[k]]), rows[tiles[k]], second, parts[k, 0], parts[k, 1])

    threads.share(
        work, len(tiles), x.size
    )  # the tiles depend on the shape alone, and so do the bits of the sums
    total = parts.sum(0).reshape(2, -1, c).sum(1)
    return total[0], total[1]


def _pass(name: str, arrays: list[Array], factors: list[Array], results: int) -> list[Array]:
    """So many new arrays from arrays of one shape and factors for each channel."""
    shape, dtype = arrays[0].shape, arrays[0].dtype
    inputs = [cpu._lanes(a) for a in arrays]
    vectors = [cpu._repeat(v.astype(dtype), inputs[0]) for v in factors]
    outputs = [memory.empty_like(inputs[0]) for _ in range(results)]
    run = _loop(name, dtype)

    def work(part: slice) -> None:
        whole = [[a[part] for a in some] for some in (inputs, outputs)]
        run(part.stop - part.start, *whole[0], *vectors, *whole[1])

    threads.share(work, len(inputs[0]), inputs[0].size)
    return [y.reshape(shape) for y in outputs]


def _loop(name: str, dtype: np.dtype) -> Callable[..., None]:
    """The C function `name` as run(rows, arrays...); the first array tells the width of a row."""
    function = library()[f"{name}_{dtype}"]

    def run(rows: int, *arrays: Array) -> None:
        pointers = [c_void_p(a.ctypes.data) for a in arrays]
        function(c_int64(rows), c_int64(arrays[0].shape[-1]), *pointers)

    return run


@functools.cache
def library() -> CDLL:
    """kernels.c, compiled for this machine; raises an error where that does not work."""
    return compiler.library(Path(__file__).with_name("kernels.c"))


def _pixels(x: Array) -> int:
    return max(x.size // max(x.shape[-1], 1), 1)
