"""Convolution in C: the functions and layouts of `generic` without its `xp`, in single and double precision.

The loops are in kernels.c. Here the filters are brought into the order it reads, the transpose in the images
becomes convolutions, and rows of images are shared out to threads: ctypes lets go of Python's lock.
"""

import ctypes
import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import compiler, cpu, memory
from .generic import Array, Padding, Pair, out_hw

NAMES = ("conv2d", "conv2d_tangent", "conv2d_input", "conv2d_filter")

_TILE = 1 << 14  # elements of a scratch buffer: part of one core's L2 cache
_SHARES = 1 << 10  # as even as that is the work of the threads
_SUMS = 1 << 24  # elements of all partial sums of a derivative in the filters


def conv2d(
    x: Array, w: Array, stride: Pair, padding: Padding, dilation: Pair = (1, 1), groups: int = 1
) -> Array:
    """Cross-correlation: x (N,H,W,C), w (O,kh,kw,C/groups) -> (N,OH,OW,O)."""
    return _sum_of_convolutions([x], [w], stride, padding, dilation, groups)


def conv2d_tangent(
    dx: Array,
    dw: Array,
    x: Array,
    w: Array,
    stride: Pair,
    padding: Padding,
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """Change of conv2d(x, w) for changes of both, in one pass: conv2d(dx, w) + conv2d(x, dw)."""
    return _sum_of_convolutions([dx, x], [w, dw], stride, padding, dilation, groups)


def conv2d_input(
    ct: Array, w: Array, hw: Pair, stride: Pair, padding: Padding, dilation: Pair = (1, 1), groups: int = 1
) -> Array:
    """Transpose of conv2d in x: ct (N,OH,OW,O) -> (N,H,W,C)."""
    if groups > 1:
        pairs = zip(np.split(ct, groups, -1), np.split(w, groups), strict=True)
        return np.concatenate([conv2d_input(a, b, hw, stride, padding, dilation) for a, b in pairs], -1)
    ct, dx = np.ascontiguousarray(ct), memory.empty((ct.shape[0], *hw, w.shape[3]), ct.dtype)
    pieces = []
    for rows, row_taps, dh, top in _phases(hw[0], w.shape[1], stride[0], dilation[0], padding[0][0]):
        for cols, col_taps, dw, left in _phases(hw[1], w.shape[2], stride[1], dilation[1], padding[1][0]):
            taps = w[:, row_taps, col_taps][:, ::-1, ::-1].transpose(3, 1, 2, 0)
            pieces.append(_convolve([ct], [taps], dx[:, rows, cols], (1, 1), (dh, dw), (top, left)))
    _run(pieces)
    return dx


def conv2d_filter(
    x: Array,
    ct: Array,
    kernel: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """Transpose of conv2d in w: x (N,H,W,C), ct (N,OH,OW,O) -> (O,kh,kw,C/groups)."""
    if groups > 1:
        pairs = zip(np.split(x, groups, -1), np.split(ct, groups, -1), strict=True)
        return np.concatenate([conv2d_filter(a, b, kernel, stride, padding, dilation) for a, b in pairs])
    x, o, size = np.ascontiguousarray(x), ct.shape[3], kernel[0] * kernel[1] * x.shape[3]
    ct = np.ascontiguousarray(_whole_vectors(ct, -1))
    # How the sum is parted depends on the shapes alone, so its bits do not depend on the number of threads.
    rows, most = ct.shape[0] * ct.shape[1], _SUMS // max(size * ct.shape[3], 1)
    count = min(rows, 16 if most >= 16 else max(most, 1))
    parts = memory.zeros((count, size, ct.shape[3]), x.dtype)
    offset = padding[0][0], padding[1][0]
    geometry, index_size, scratch_size = _geometry(x, ct, kernel, stride, dilation, offset, 1)
    function = library()[f"conv2d_filter_{x.dtype}"]

    def work(some: slice) -> None:
        index, scratch = np.empty(index_size, np.int64), np.empty(scratch_size, x.dtype)
        for k in range(some.start, some.stop):
            share = ctypes.c_int64(rows * k // count), ctypes.c_int64(rows * (k + 1) // count)
            function(geometry, *map(_pointer, (x, ct, parts[k])), *share, _pointer(index), _pointer(scratch))

    cpu._share(work, count, ct.size * size)
    return np.ascontiguousarray(parts.sum(0)[:, :o].T).reshape(o, *kernel, x.shape[3])


def _sum_of_convolutions(
    xs: list[Array], ws: list[Array], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """The sum of the convolutions of each of `xs`, all of one shape, with its filters."""
    if groups > 1:
        images = zip(*(np.split(x, groups, -1) for x in xs), strict=True)
        filters = zip(*(np.split(w, groups) for w in ws), strict=True)
        pairs = zip(images, filters, strict=True)
        return np.concatenate(
            [_sum_of_convolutions(list(a), list(b), stride, padding, dilation, 1) for a, b in pairs], -1
        )
    hw = out_hw(xs[0].shape[1:3], ws[0].shape[1:3], stride, padding, dilation)
    y = memory.empty((xs[0].shape[0], *hw, ws[0].shape[0]), xs[0].dtype)
    dense = [np.ascontiguousarray(x) for x in xs]
    _run([_convolve(dense, ws, y, stride, dilation, (padding[0][0], padding[1][0]))])
    return y


class _Job(NamedTuple):
    """Work that can be done row by row: do(from, to), on so many rows, by so many multiplications."""

    do: Callable[[int, int], None]
    rows: int
    cost: int


def _run(jobs: list[_Job]) -> None:
    """All jobs, the same share of each on every thread."""

    def work(part: slice) -> None:
        for job in jobs:
            job.do(job.rows * part.start // _SHARES, job.rows * part.stop // _SHARES)

    cpu._share(work, _SHARES, sum(job.cost for job in jobs))


def _convolve(xs: list[Array], ws: list[Array], y: Array, stride: Pair, dilation: Pair, offset: Pair) -> _Job:
    """y[n, r, q] = the sum of w[:, i, j] x[n, r sh + i dh - top, q sw + j dw - left] over all x and w."""
    if not ws[0].size:  # no channels, or a phase that no tap meets
        y[...] = 0
        return _Job(lambda start, stop: None, 0, 0)
    x, w, taps = xs[0], ws[0], [_in_blocks(w) for w in ws]
    geometry, index_size, scratch_size = _geometry(x, y, w.shape[1:3], stride, dilation, offset, len(xs))
    function = library()[f"conv2d_{x.dtype}"]

    def do(start: int, stop: int) -> None:
        index, scratch = np.empty(index_size, np.int64), np.empty((len(xs), scratch_size), x.dtype)
        share = ctypes.c_int64(start), ctypes.c_int64(stop)
        work = _pointer(index), _pointer(scratch), ctypes.c_int64(scratch_size)
        function(geometry, _pointers(xs), _pointers(taps), _pointer(y), *share, *work)

    return _Job(do, y.shape[0] * y.shape[1], len(xs) * y.size * w[:1].size)


def _geometry(
    x: Array, y: Array, kernel: Pair, stride: Pair, dilation: Pair, offset: Pair, inputs: int
) -> tuple[ctypes.Array, int, int]:
    """What kernels.c must know of arrays shaped like x and y, and the sizes of the buffers it works in."""
    (_, h, w, c), (_, oh, ow, o) = x.shape, y.shape
    reach = (kernel[0] - 1) * dilation[0] + 1
    line = ((ow - 1) * stride[1] + (kernel[1] - 1) * dilation[1] + 1) * c
    deep = min(oh, max(1, (_TILE // inputs // max(line, 1) - reach) // stride[0] + 1))
    strides = (s // y.itemsize for s in y.strides[:3])
    numbers = (h, w, c, oh, ow, o, *kernel, *stride, *dilation, *offset, *strides, deep, inputs)
    index_size = kernel[0] * kernel[1] * c + 2 * deep * ow + 64
    return (ctypes.c_int64 * len(numbers))(*numbers), index_size, ((deep - 1) * stride[0] + reach) * line


def _pointer(x: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.ctypes.data)


def _pointers(arrays: list[Array]) -> ctypes.Array:
    return (ctypes.c_void_p * len(arrays))(*(x.ctypes.data for x in arrays))


def _phases(
    size: int, kernel: int, stride: int, dilation: int, pad: int
) -> Iterator[tuple[slice, slice, int, int]]:
    """The transpose of a strided convolution along one axis, as convolutions with stride 1.

    Input u meets tap i and output p where p stride + i dilation = u + pad, so every stride-th input meets the
    same taps. For each such phase: its inputs, its taps, and the dilation and the offset with which the taps,
    flipped, run over the outputs.
    """
    common = math.gcd(stride, dilation)
    for u in range(min(stride, size)):
        meets = (i for i in range(kernel) if (u + pad - i * dilation) % stride == 0)
        first = next(meets, kernel)
        taps = slice(first, kernel, stride // common)
        last = range(first, kernel, stride // common)[-1] if first < kernel else 0
        yield slice(u, size, stride), taps, dilation // common, (last * dilation - u - pad) // stride


def _in_blocks(w: Array) -> Array:
    """Filters as kernels.c reads them: blocks of 2 vectors of output channels, the last perhaps of 1."""
    w = _whole_vectors(w.reshape(len(w), -1), 0)
    both = 2 * _lanes(w.dtype)
    count, taps = len(w) // both, w.shape[1]
    pairs = w[: count * both].reshape(count, both, taps)
    return np.concatenate([pairs.swapaxes(1, 2).ravel(), w[count * both :].T.ravel()])


def _whole_vectors(x: Array, axis: int) -> Array:
    """x with zeros after the end of an axis, up to a whole number of vectors."""
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, -x.shape[axis] % _lanes(x.dtype))
    return np.pad(x, widths) if any(widths[axis]) else x


def _lanes(dtype: np.dtype) -> int:
    """How many numbers a vector holds."""
    return ctypes.c_int64.in_dll(library(), f"lanes_{dtype}").value


@functools.cache
def library() -> ctypes.CDLL:
    """kernels.c, compiled for this machine; raises an error where that does not work."""
    return compiler.library(Path(__file__).with_name("kernels.c"))
