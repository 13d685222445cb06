"""Convolution in NumPy: the functions and layouts of `generic` without its `xp`, as matrix products.

Nothing is copied into a matrix of patches: in a row of pixels that lies flat in memory, the windows of a
filter row are runs that overlap, but every third or so does not, and these are the rows of a matrix for BLAS.
It must work on the calling thread: tiles of the images are shared out to threads here.
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from . import memory
from .cpu import _half_as_single, _tiles
from .generic import Array, Padding, Pair, out_hw
from .threads import share_products, workers

NAMES = ("conv2d", "conv2d_tangent", "conv2d_input", "conv2d_filter")

_TILE = 1 << 20  # elements of all scratch buffers of a thread
_TALL = 256  # rows that a product has if it can
_LONG = 128  # channels of which a single pixel makes a product as efficient as a whole window does


@_half_as_single
def conv2d(
    x: Array, w: Array, stride: Pair, padding: Padding, dilation: Pair = (1, 1), groups: int = 1
) -> Array:
    """Cross-correlation: x (N,H,W,C), w (O,kh,kw,C/groups) -> (N,OH,OW,O)."""
    return _conv2d([(x, w)], stride, padding, dilation, groups)


@_half_as_single
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
    """Change of conv2d(x, w) for changes of both: conv2d(dx, w) + conv2d(x, dw)."""
    return _conv2d([(dx, w), (x, dw)], stride, padding, dilation, groups)


@_half_as_single
def conv2d_input(
    ct: Array, w: Array, hw: Pair, stride: Pair, padding: Padding, dilation: Pair = (1, 1), groups: int = 1
) -> Array:
    """Transpose of conv2d in x: ct (N,OH,OW,O) -> (N,H,W,C)."""
    if groups > 1:
        pairs = zip(np.split(ct, groups, -1), np.split(w, groups), strict=True)
        return np.concatenate([conv2d_input(a, b, hw, stride, padding, dilation) for a, b in pairs], -1)
    # Inputs a stride apart meet the same taps: neighbours become channels of a convolution with stride 1, and
    # each phase of the rows is one of its own.
    (o, kh, kw, c), (sh, sw) = w.shape, stride
    wide = -(-hw[1] // sw)
    dx = memory.empty((len(ct), hw[0], wide * sw, c), ct.dtype)
    across = list(_meetings(range(sw), kw, sw, dilation[1], padding[1][0]))
    cols = _Axis(1, sorted({shift for shift, _, _ in across}))
    for phase in range(min(sh, hw[0])):
        down = sorted(_meetings([phase], kh, sh, dilation[0], padding[0][0]))
        taps = np.zeros((len(down), len(cols.shifts), o, sw, c), w.dtype)
        for k, (_, i, _) in enumerate(down):
            for shift, j, u in across:
                taps[k, cols.shifts.index(shift), :, u] = w[:, i, j]
        y = dx.reshape(len(ct), hw[0], wide, sw * c)[:, phase::sh]
        rows = _Axis(1, [shift for shift, _, _ in down])
        _convolve([(ct, taps.reshape(*taps.shape[:3], sw * c))], y, rows, cols)
    return np.ascontiguousarray(dx[:, :, : hw[1]])


@_half_as_single
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
    if not x.size or not ct.size:
        return np.zeros((ct.shape[3], *kernel, x.shape[3]), x.dtype)
    dw = _correlate(x, ct, *_axes(kernel, stride, padding, dilation))
    return np.ascontiguousarray(dw.transpose(3, 0, 1, 2))


def _conv2d(
    pairs: list[tuple[Array, Array]], stride: Pair, padding: Padding, dilation: Pair, groups: int
) -> Array:
    """The sum of the convolutions of (images, filters)."""
    if groups > 1:
        parts = [list(zip(np.split(x, groups, -1), np.split(w, groups), strict=True)) for x, w in pairs]
        each = [_conv2d(list(part), stride, padding, dilation, 1) for part in zip(*parts, strict=True)]
        return np.concatenate(each, -1)
    x, w = pairs[0]
    y = memory.empty(
        (len(x), *out_hw(x.shape[1:3], w.shape[1:3], stride, padding, dilation), len(w)), x.dtype
    )
    taps = [(x, w.transpose(1, 2, 3, 0)) for x, w in pairs]
    _convolve(taps, y, *_axes(w.shape[1:3], stride, padding, dilation))
    return y


class _Axis(NamedTuple):
    """Along one axis: result u meets the inputs u * stride + shift, for each of the ascending shifts."""

    stride: int
    shifts: list[int]


def _axes(kernel: Pair, stride: Pair, padding: Padding, dilation: Pair) -> list[_Axis]:
    return [
        _Axis(s, [i * d - before for i in range(k)])
        for k, s, (before, _), d in zip(kernel, stride, padding, dilation, strict=True)
    ]


def _meetings(
    inputs: Sequence[int], kernel: int, stride: int, dilation: int, pad: int
) -> Iterator[tuple[int, int, int]]:
    """(shift, tap, u): inputs u + stride * m meet the tap at the results m + shift."""
    for u in inputs:
        for tap in range(kernel):
            if (u + pad - tap * dilation) % stride == 0:
                yield (u + pad - tap * dilation) // stride, tap, u


# ---- one pass over all tiles


def _convolve(pairs: list[tuple[Array, Array]], y: Array, rows: _Axis, cols: _Axis) -> None:
    """y[n, r, q] sums x[n, row i of r, column j of q] @ w[i, j] over taps and pairs; w is (kh,kw,C,O)."""
    x, o = pairs[0][0], y.shape[-1]
    if not pairs[0][1].size:
        y[...] = 0
        return
    plan = _Plan(x, y, rows, cols)
    matrices = [plan.matrices(w) for _, w in pairs]

    tiles = iter(plan.tiles)

    def work(part: slice) -> None:
        lines = _Lines(plan, x.shape[3], x.dtype)
        sums, spare = memory.empty((2, plan.stack, plan.windows * o), x.dtype)
        for images, first in tiles:  # whoever is free takes the next
            target = sums
            for (source, _), factors in zip(pairs, matrices, strict=True):
                lines.load(source[images], first)
                for windows, factor in zip(lines.windows, factors, strict=True):
                    np.matmul(windows, factor, out=plan.grouped(target, o))
                    if target is spare:
                        np.add(sums, spare, out=sums)
                    target = spare
            plan.write(sums, spare[0], y[images, first : first + plan.deep * plan.step])

    share_products(work, workers(), y.size * pairs[0][1][..., 0].size)


def _correlate(x: Array, ct: Array, rows: _Axis, cols: _Axis) -> Array:
    """The (kh,kw,C,O) that sums x[n, row i of r, column j of q] times ct[n, r, q] over all n, r and q."""
    c, o = x.shape[3], ct.shape[3]
    plan = _Plan(x, ct, rows, cols)
    shape = len(plan.products) + 1, plan.stack, plan.apart, plan.length * c, o

    def work(part: slice) -> Array:
        # Who adds up what must not depend on who is free: each thread has its own tiles.
        count, team = len(plan.tiles), workers()
        lines, changes = _Lines(plan, c, x.dtype), _Changes(plan, o, x.dtype)
        *totals, spare = memory.zeros(shape, x.dtype)
        for images, first in plan.tiles[count * part.start // team : count * part.stop // team]:
            lines.load(x[images], first)
            changes.load(ct[images], first)
            for windows, total in zip(lines.windows, totals, strict=True):
                np.matmul(windows.swapaxes(2, 3), changes.grouped, out=spare)
                np.add(total, spare, out=total)
        return np.stack([total.sum(1) for total in totals])

    totals = share_products(work, workers(), ct.size * len(rows.shifts) * len(cols.shifts) * c)
    return plan.taps(reduce(np.add, totals))


class _Plan:
    """How a convolution is cut into tiles, and a tile into products.

    A tile has `images` images and `deep` steps of their result rows. A step is one row, and each row of the
    filter makes a product of its own; or two rows, which Winograd's F(2, 3) (Lavin, Gray 2016) gets from four
    rows of input by a `stack` of four products instead of six. Of the windows, of `length` pixels, every
    `apart`-th overlaps no other.
    """

    def __init__(self, x: Array, y: Array, rows: _Axis, cols: _Axis) -> None:
        (n, _, w, c), (_, oh, self.width, o) = x.shape, y.shape
        self.rows, self.cols = rows, cols
        consecutive = list(range(rows.shifts[0], rows.shifts[0] + 3))
        self.fast = rows == (1, consecutive) and oh > 1 and x.dtype.kind in "fc"
        self.step, self.stack, self.phases = (2, 4, 2) if self.fast else (1, 1, rows.stride)
        self.reach = (rows.shifts[-1] - rows.shifts[0] + self.fast) // self.phases

        taps, left = len(cols.shifts), cols.shifts[0]
        joined = cols.shifts == list(range(left, left + taps)) and c < _LONG
        runs = [slice(0, taps)] if joined else [slice(j, j + 1) for j in range(taps)]
        self.products = [(line, run) for line in range(1 if self.fast else len(rows.shifts)) for run in runs]
        self.length = taps if joined else 1
        self.apart = -(-self.length // cols.stride)

        # The zeros between two rows of pixels are the padding of both.
        span = (self.width - 1) * cols.stride + cols.shifts[-1] - left + 1
        self.lead, begin = min(max(-left, 0), span), max(left, 0)
        self.seen = slice(begin, max(min(w, left + span), begin))
        pixels = self.seen.stop - begin
        between = max(self.lead, span - self.lead - pixels)
        self.pitch = -(-max(pixels + between, self.width * cols.stride) // cols.stride) * cols.stride
        self.places = self.pitch // cols.stride

        steps = -(-oh // self.step)
        cost = self.pitch * c * (self.phases + 4 * self.fast) + self.places * o * 2 * self.stack
        most = max(_TILE // cost, _TALL // self.places, 1)
        self.images = _evenly(n, max(most // steps, 1), workers())
        parts = list(_tiles(n, self.images))
        self.deep = _evenly(steps, max(most // self.images, 1), -(-workers() // max(len(parts), 1)))
        self.tiles = [(images, k * self.step) for images in parts for k in range(0, steps, self.deep)]
        count = self.deep * self.images * self.places
        self.windows = -(-count // self.apart) * self.apart
        self.slack = (self.windows - count + span) * cols.stride

    def matrices(self, w: Array) -> list[Array]:
        """The right factors of the products, from filters (kh,kw,C,O)."""
        if self.fast:
            even, odd = (w[:1] + w[2:]) / 2, w[1:2] / 2
            w = np.concatenate([w[:1], even + odd, even - odd, w[2:]])
        w = w.reshape(-1, self.stack, *w.shape[1:])
        matrices = [w[line][:, run] for line, run in self.products]
        return [m.reshape(self.stack, 1, -1, w.shape[-1]) for m in matrices]

    def taps(self, products: Array) -> Array:
        """The transpose of `matrices`: filters (kh,kw,C,O)."""
        lines = self.products[-1][0] + 1
        w = products.reshape(
            lines, -1, self.stack, self.length, products.shape[-2] // self.length, products.shape[-1]
        )
        w = w.swapaxes(1, 2).reshape(lines, self.stack, -1, *w.shape[4:])
        if not self.fast:
            return w[:, 0]
        first, add, subtract, last = w[0]
        return np.stack([first + (add + subtract) / 2, (add - subtract) / 2, (add + subtract) / 2 - last])

    def grouped(self, places: Array, o: int) -> Array:
        """Numbers for each place of a tile, as matrices that fit those of the windows."""
        return places.reshape(self.stack, -1, self.apart, o).swapaxes(1, 2)

    def write(self, sums: Array, spare: Array, y: Array) -> None:
        """The rows y (images, rows, OW, O) from the sums of products."""
        n, r, _, o = y.shape
        count, y = self.deep * self.images * self.places * o, y.swapaxes(0, 1)

        def rows(places: Array, start: int) -> Array:
            places = places[:count].reshape(self.deep, self.images, self.places, o)
            return places[: len(range(start, r, self.step)), :n, : self.width]

        if not self.fast:
            y[...] = rows(sums[0], 0)
            return
        a, b, c, d = sums
        np.add(b, c, out=spare)
        np.add(rows(a, 0), rows(spare, 0), out=y[::2])
        np.subtract(b, c, out=spare)
        np.subtract(rows(spare, 1), rows(d, 1), out=y[1::2])


class _Lines:
    """Scratch memory for a tile in the order row, image, pixel, channel; and the windows in it."""

    def __init__(self, plan: _Plan, c: int, dtype: np.dtype) -> None:
        self.plan = plan
        row = plan.images * plan.pitch * c
        size, slack = plan.deep * row, plan.slack * c
        flat = memory.zeros((plan.phases, size + plan.reach * row + slack), dtype)
        self.planes = flat[:, : size + plan.reach * row].reshape(plan.phases, -1, plan.images, plan.pitch, c)
        if plan.fast:
            self.pairs = flat[:, :size], flat[:, row : row + size]
            self.combined = memory.zeros((4, size + slack), dtype)
            lines = [self.combined]
        else:
            shifts = [shift - plan.rows.shifts[0] for shift in plan.rows.shifts]
            lines = [flat[s % plan.phases, s // plan.phases * row :][None] for s in shifts]
        self.windows = [self._windows(lines[line], run.start, c) for line, run in plan.products]

    def _windows(self, lines: Array, tap: int, c: int) -> Array:
        plan = self.plan
        begin = (plan.cols.shifts[tap] - plan.cols.shifts[0]) * c
        step = plan.cols.stride * c * lines.itemsize
        shape = len(lines), plan.apart, plan.windows // plan.apart, plan.length * c
        strides = lines.strides[0], step, step * plan.apart, lines.itemsize
        return np.lib.stride_tricks.as_strided(lines[:, begin:], shape, strides)

    def load(self, x: Array, first: int) -> None:
        """The rows of the images x that the result rows from `first` on meet."""
        plan = self.plan
        _copy_rows(self.planes, x[:, :, plan.seen], first * plan.rows.stride + plan.rows.shifts[0], plan.lead)
        if plan.fast:
            here, below = self.pairs
            combined = self.combined[:, : here.shape[1]]
            np.subtract(here, below, out=combined[::3])
            np.add(here[1], below[0], out=combined[1])
            np.subtract(below[0], here[1], out=combined[2])


class _Changes:
    """Scratch memory for the cotangents of a tile, zero where a window belongs to no result."""

    def __init__(self, plan: _Plan, o: int, dtype: np.dtype) -> None:
        count = plan.deep * plan.images * plan.places * o
        self.lines = memory.zeros((plan.stack, plan.windows * o), dtype)
        planes = self.lines[::3, :count]
        self.planes = planes.reshape(plan.step, plan.deep, plan.images, plan.places, o)
        self.grouped = plan.grouped(self.lines, o)

    def load(self, ct: Array, first: int) -> None:
        _copy_rows(self.planes, ct, first, 0)
        if len(self.lines) == 4:
            upper, both, difference, lower = self.lines
            np.add(upper, lower, out=both)
            np.subtract(upper, lower, out=difference)


def _copy_rows(planes: Array, x: Array, first: int, lead: int) -> None:
    """planes[p, t] = row first + p + t len(planes) of the images x, from pixel `lead` on; zeros outside x."""
    n, h, w, _ = x.shape
    step, depth = planes.shape[:2]
    for start, plane in enumerate(planes, first):
        begin = min(max(0, -(start // step)), depth)
        end = min(max(begin, -((start - h) // step)), depth)
        for outside in plane[:begin], plane[end:], plane[:, n:]:
            if outside.size:
                outside[...] = 0
        rows = x[:, start + begin * step : start + end * step : step]
        plane[begin:end, :n, lead : lead + w] = rows.swapaxes(0, 1)


def _evenly(n: int, most: int, shares: int) -> int:
    """A size, not above `most`, of the parts of n things, such that the parts can be shared out evenly."""
    return -(-n // (-(-n // (most * shares)) * shares)) if n else 1
