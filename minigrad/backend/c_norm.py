"""Batch norm and relu in C: the functions of `generic` without its `xp`, in single and double precision.

Batch norm is one pass that adds up and one that writes, over parts of the pixels that are shared out to
threads. The loops are in norm.c.
"""

import ctypes
import functools
import math
from pathlib import Path
from typing import Any

import numpy as np

from . import compiler, memory, threads
from .c_conv import at, room
from .generic import Array

NAMES = ("batch_norm", "batch_norm_tangent", "batch_norm_transpose", "relu", "relu_mask")

_PART = 1 << 14  # elements of a part at least, and
_PARTS = 64  # parts at most: they depend on shapes alone, and so do the bits of sums


def batch_norm(
    x: Array, gamma: Array, beta: Array, eps: float, shortcut: Array | None = None, relu: bool = False
) -> tuple[Array, Array, Array, Array]:
    """(y, xhat, mean, rstd): y = gamma xhat + beta, plus shortcut, through relu; with the biased variance."""
    if not x.size:
        zero, one = np.zeros_like(gamma), np.full_like(gamma, eps**-0.5)
        return memory.empty_like(x), memory.empty_like(x), zero, one
    x, gamma, beta, shortcut = (_dense(a) for a in (x, gamma, beta, shortcut))
    y, xhat, mean, rstd = (memory.empty_like(a) for a in (x, x, gamma, gamma))
    sums = _sums("deviations", x, x)
    before = (
        at(x),
        at(sums),
        at(gamma),
        at(beta),
        ctypes.c_double(eps),
        at(shortcut),
        ctypes.c_int64(relu),
    )
    _run("normalise", x, *before, *map(at, (xhat, y, mean, rstd)))
    return y, xhat, mean, rstd


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
    dx, xhat = _dense(dx), _dense(xhat)
    sums = None if dx is None else _sums("products", dx, dx, xhat, None, None)
    return _affine(dx, xhat, sums, rstd, gamma, dgamma, dbeta, dshortcut, y)


def batch_norm_transpose(
    ct: Array, xhat: Array, rstd: Array, gamma: Array, y: Array | None = None
) -> tuple[Array, Array, Array, Array]:
    """(dx, dgamma, dbeta, dshortcut) for the cotangent of y, which is given if it is a relu's."""
    ct, xhat, y = _dense(ct), _dense(xhat), _dense(y)
    masked = ct if y is None else memory.empty_like(ct)
    sums = _sums("products", ct, ct, xhat, y, masked)
    dbeta, dgamma = sums.sum(0).astype(ct.dtype)
    return _affine(masked, xhat, sums, rstd, gamma, None, None, None, None), dgamma, dbeta, masked


def relu(x: Array) -> Array:
    """max(x, 0); NaN stays NaN."""
    return _elementwise("relu", x)


def relu_mask(t: Array, y: Array) -> Array:
    """t where y > 0, else 0: tangent and transpose of relu."""
    return _elementwise("relu_mask", t, y)


def _elementwise(name: str, *arrays: Array) -> Array:
    dense = [_dense(x) for x in arrays]
    result, run = memory.empty_like(dense[0]), compiler.function(library(), name, dense[0].dtype)

    def work(part: slice) -> None:
        run(*map(at, dense), at(result), ctypes.c_int64(part.start), ctypes.c_int64(part.stop))

    threads.share(work, result.size, result.size)
    return result.reshape(arrays[0].shape)  # a dense array has an axis at least


def _affine(u: Array | None, xhat: Array, sums: Array | None, *arrays: Array | None) -> Array:
    """gamma rstd P u + dgamma xhat + dbeta + dshortcut, masked by y; `arrays` are rstd and so on."""
    dense = [_dense(a) for a in arrays]
    dy = memory.empty_like(xhat)
    _run("affine", xhat, *map(at, (u, xhat, sums, *dense, dy)))
    return dy


def _sums(name: str, x: Array, *arrays: Array | None) -> Array:
    """Both sums of each channel in each part of arrays like x, in double."""
    shape = _shape(x.shape, x.dtype)
    sums = np.zeros((shape[3], 2, shape[1]))
    _run(name, x, *map(at, arrays), at(sums))
    return sums


def _run(name: str, x: Array, *args: Any) -> None:
    """A pass over all parts of arrays like x."""
    function, shape = compiler.function(library(), name, x.dtype), _shape(x.shape, x.dtype)
    size = 32 * shape[1] * shape[2]

    def work(part: slice) -> None:
        parts = ctypes.c_int64(part.start), ctypes.c_int64(part.stop)
        function(shape, *args, ctypes.c_void_p(room(size)), *parts)

    threads.share(work, shape[3] if x.size else 0, x.size)


@functools.lru_cache(maxsize=256)
def _shape(shape: tuple[int, ...], dtype: np.dtype) -> ctypes.Array:
    """Pixels, channels, how many pixels are a row, and how many parts there are of them."""
    pixels, c = math.prod(shape[:-1]), shape[-1]
    chunk = ctypes.c_int64.in_dll(library(), f"chunk_{dtype}").value
    repeat = chunk // math.gcd(c, chunk) if c < 4 * chunk else 1
    parts = max(1, min(_PARTS, pixels * c // _PART, pixels // repeat))
    return (ctypes.c_int64 * 4)(pixels, c, repeat, parts)


def _dense(x: Any) -> Any:
    return None if x is None else np.ascontiguousarray(x)


@functools.cache
def library() -> ctypes.CDLL:
    """norm.c, compiled for this machine; raises an error where that does not work."""
    return compiler.library(Path(__file__).with_name("norm.c"))
