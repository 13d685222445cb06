"""Convolution in C: the functions and layouts of `generic` without its `xp`, in single and double precision.

The loops are in convolution.c. Here the filters are brought into the order it reads, the transpose in the
images becomes convolutions, and all threads are sent to take bands of it: ctypes lets go of Python's lock.
"""

import ctypes
import functools
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import compiler, memory, threads
from .generic import Array, Padding, Pair, out_hw

NAMES = ("conv2d", "conv2d_tangent", "conv2d_input", "conv2d_filter")

_BAND = (
    1 << 15
)  # numbers of the images that a thread looks at together: they should stay in one core's L2 cache
_PIXELS = 96  # so many at least share one reading of all filters
_SUMS = 1 << 20  # elements of all partial sums of a derivative in the filters
_TASKS = 16  # pieces that it is cut into: they keep several threads equally busy
_END = 8  # the end of a tile takes about as long as so many taps
_SPEED = 16  # multiplications in the time of one operation of NumPy


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
    x, ct, o = np.ascontiguousarray(x), np.ascontiguousarray(ct), ct.shape[3]
    dw = memory.empty((o, *kernel, x.shape[3]), x.dtype)
    if not dw.size:
        return dw
    how = _layout(
        x.shape, ct.shape, ct.strides, x.dtype, kernel, stride, dilation, (padding[0][0], padding[1][0]), 1
    )
    # How the sum is parted depends on the shapes alone, so its bits do not depend on the number of threads.
    taps, blocks = dw[0].size // how.lists, -(-o // _width(x.dtype))
    size = blocks * _width(x.dtype) * how.lists * -(-taps // _tile_rows(x.dtype)) * _tile_rows(x.dtype)
    parts = max(1, min(_TASKS, how.rows, _SUMS // size))
    cuts = min(blocks, -(-_TASKS // parts))
    sums, next_task = memory.empty((parts, size), x.dtype), ctypes.c_int64(0)
    add_up, fold = (
        compiler.function(library(), "conv2d_filter", x.dtype),
        compiler.function(library(), "conv2d_fold", x.dtype),
    )

    def work(part: slice) -> None:
        add_up(
            how.numbers, *_at([x], ct, sums), *_numbers(parts, cuts), ctypes.byref(next_task), *_rooms(how)
        )

    def finish(part: slice) -> None:
        fold(*_numbers(o, how.lists, taps, parts), *_at(sums, dw), *_numbers(part.start, part.stop))

    threads.share(work, threads.workers(), ct.size * dw[0].size // _SPEED)
    threads.share(finish, blocks, sums.size)
    return dw


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
    """Work for as many threads as call do(), of so many multiplications."""

    do: Callable[[], None]
    cost: int


def _run(jobs: list[_Job]) -> None:
    """All jobs, each by all threads."""

    def work(part: slice) -> None:
        for job in jobs:
            job.do()

    threads.share(work, threads.workers(), sum(job.cost for job in jobs) // _SPEED)


def _convolve(xs: list[Array], ws: list[Array], y: Array, stride: Pair, dilation: Pair, offset: Pair) -> _Job:
    """y[n, r, q] = the sum of w[:, i, j] x[n, r sh + i dh - top, q sw + j dw - left] over all x and w."""
    x, w, taps = xs[0], ws[0], [_packed(w) for w in ws]
    how = _layout(x.shape, y.shape, y.strides, x.dtype, w.shape[1:3], stride, dilation, offset, len(xs))
    function, next_row = compiler.function(library(), "conv2d", x.dtype), ctypes.c_int64(0)

    def do() -> None:
        function(how.numbers, *_at(xs, taps, y), ctypes.byref(next_row), *_rooms(how))

    return _Job(do, len(xs) * y.size * w[:1].size)


class _Layout(NamedTuple):
    """The geometry as convolution.c reads it, what is needed of it here, and the bytes of room to work in."""

    numbers: ctypes.Array
    rows: int
    lists: int
    tables: int
    band: int


@functools.lru_cache(maxsize=256)
def _layout(
    x: tuple[int, ...],
    y: tuple[int, ...],
    y_strides: tuple[int, ...],
    dtype: np.dtype,
    kernel: Pair,
    stride: Pair,
    dilation: Pair,
    offset: Pair,
    inputs: int,
) -> _Layout:
    """For images and results of these shapes."""
    (_, h, w, c), (n, oh, ow, o) = x, y
    # Taps that meet nothing but zeros are left out, one position of the window after the other, where that is
    # less work than all positions at once.
    meets = [
        sum(0 <= r * s + i * d - off < size for i in range(k) for r in range(count))
        for size, count, k, s, d, off in zip((h, w), (oh, ow), kernel, stride, dilation, offset, strict=True)
    ]
    useful, everything = math.prod(meets), kernel[0] * kernel[1] * oh * ow
    lists = kernel[0] * kernel[1] if useful * (c + _END) < everything * c else 1
    padded = lists == 1 and useful < everything

    reach = max((kernel[0] - 1) * dilation[0] + 1, 0)  # there may be no taps at all
    line = max((ow - 1) * stride[1] + (kernel[1] - 1) * dilation[1] + 1, 0) * c
    fit = _BAND // inputs // max(line, 1)
    whole = fit // max(oh * stride[0] + reach, 1) * oh  # rows of images that fit whole
    deep = max(whole, (fit - reach) // stride[0] + 1, _PIXELS // max(ow, 1), 1)
    images = (deep + oh - 2) // max(oh, 1) + 1
    room = (deep * stride[0] + images * reach) * line if padded else 0

    strides = (s // dtype.itemsize for s in y_strides[:3])
    sizes = h, w, c, oh, ow, o, *kernel, *stride, *dilation, *offset
    numbers = *sizes, *strides, n * oh, deep, inputs, room, lists, padded
    tables, band = kernel[0] * kernel[1] * c + lists * (2 * deep * ow + 64), inputs * room
    packed = (ctypes.c_int64 * len(numbers))(*numbers)
    return _Layout(packed, n * oh, lists, 8 * tables, band * dtype.itemsize)


class _Room(threading.local):
    """Memory that a thread works in, call after call."""

    memory = np.empty(0, np.uint8)


_ROOM = _Room()


def room(size: int) -> int:
    """The address of so many bytes for this thread to work in, until it asks again."""
    if _ROOM.memory.nbytes < size:
        _ROOM.memory = np.empty(size, np.uint8)
    return _ROOM.memory.ctypes.data


def _rooms(how: _Layout) -> tuple[ctypes.c_void_p, ctypes.c_void_p]:
    """Room for tables of places and for a band."""
    start = room(how.tables + how.band)
    return ctypes.c_void_p(start), ctypes.c_void_p(start + how.tables)


def _packed(w: Array) -> Array:
    """Filters as convolution.c reads them, in blocks of output channels."""
    if any(s % w.itemsize for s in w.strides):  # a field of records, say
        w = np.ascontiguousarray(w)
    blocks, pack = -(-len(w) // _width(w.dtype)), compiler.function(library(), "conv2d_pack", w.dtype)
    packed = memory.empty((blocks * _width(w.dtype) * w[:1].size,), w.dtype)
    shape, strides = (
        (ctypes.c_int64 * 4)(*w.shape),
        (ctypes.c_int64 * 4)(*(s // w.itemsize for s in w.strides)),
    )

    def work(part: slice) -> None:
        pack(shape, strides, *_at(w, packed), *_numbers(part.start, part.stop))

    threads.share(work, blocks, w.size)
    return packed


def at(x: Array | None) -> ctypes.c_void_p:
    """A pointer to an array; None is null."""
    # x.ctypes.data says the same, more slowly.
    return ctypes.c_void_p(None if x is None else x.__array_interface__["data"][0])


def _at(*arrays: Array | list[Array]) -> list[Any]:
    """Pointers to arrays, and to pointers for a list of them."""
    return [(ctypes.c_void_p * len(a))(*map(at, a)) if isinstance(a, list) else at(a) for a in arrays]


def _numbers(*numbers: int) -> list[ctypes.c_int64]:
    return [ctypes.c_int64(n) for n in numbers]


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


@functools.cache
def _width(dtype: np.dtype) -> int:
    """How many output channels are a block."""
    return ctypes.c_int64.in_dll(library(), f"width_{dtype}").value


@functools.cache
def _tile_rows(dtype: np.dtype) -> int:
    return ctypes.c_int64.in_dll(library(), f"tile_rows_{dtype}").value


@functools.cache
def library() -> ctypes.CDLL:
    """convolution.c, compiled for this machine; raises an error where that does not work."""
    return compiler.library(Path(__file__).with_name("convolution.c"))
