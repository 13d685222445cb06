"""NumPy kernels: the functions and layouts of `generic` without its `xp`, in tiles that stay in cache.

Images, or rows of a matrix, are shared out to one thread per core (MINIGRAD_NUM_THREADS); sums run in a fixed
order.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import generic, memory
from .generic import Array
from .threads import share as _share

NAMES = (
    "pool_index pool_gather pool_scatter window_sum window_spread "
    "batch_norm batch_norm_tangent batch_norm_transpose relu relu_mask"
).split()

_TILE = 1 << 18  # elements of a scratch buffer: about one core's L2 cache in single precision
_LANE = 1024  # elements of a row in elementwise work: long enough to hide NumPy's cost per inner loop


def _half_as_single(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy has no fast arithmetic in half precision, and sums need more of it: run in single, round once."""

    @functools.wraps(kernel)
    def wrapped(*args: Any) -> Any:
        if not any(isinstance(a, np.ndarray) and a.dtype == np.float16 for a in args):
            return kernel(*args)
        y = kernel(*(a.astype(np.float32) if isinstance(a, np.ndarray) else a for a in args))
        return tuple(a.astype(np.float16) for a in y) if isinstance(y, tuple) else y.astype(np.float16)

    return wrapped


# ---- pooling


def _by_image(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """The generic kernel on a few images at a time; its array arguments all begin with the images."""

    @functools.wraps(kernel)
    def tiled(*args: Any) -> Array:
        n, cost = len(args[0]), max(a.size for a in args if isinstance(a, np.ndarray))

        def work(images: slice) -> list[Array]:
            mine = [a[images] if isinstance(a, np.ndarray) else a for a in args]
            tiles = _tiles(images.stop - images.start, step)
            return [kernel(np, *(a[t] if isinstance(a, np.ndarray) else a for a in mine)) for t in tiles]

        step = max(1, _TILE // 4 * n // max(cost, 1))
        return np.concatenate([y for part in _share(work, n, cost) for y in part]) if n else kernel(np, *args)

    return tiled


pool_index = _by_image(generic.pool_index)
pool_gather = _by_image(generic.pool_gather)
pool_scatter = _by_image(generic.pool_scatter)
window_sum = functools.partial(generic.window_sum, np)  # tiling it was measured slower
window_spread = _by_image(generic.window_spread)


# ---- batch normalisation over all axes but the last


@_half_as_single
def batch_norm(
    x: Array, gamma: Array, beta: Array, eps: float, shortcut: Array | None = None, relu: bool = False
) -> tuple[Array, Array, Array, Array]:
    """(y, xhat, mean, rstd): y = gamma xhat + beta, plus shortcut, through relu; with the biased variance."""
    c, pixels = x.shape[-1], x.size // max(x.shape[-1], 1)
    rows, beside = _lanes(x), None if shortcut is None else _lanes(shortcut)
    y, xhat = memory.empty_like(rows), memory.empty_like(rows)
    tiles = _lane_tiles(rows)
    counts = np.array([(t.stop - t.start) * rows.shape[1] // c for t in tiles], np.float64)[:, None]
    means, squares = np.zeros((2, len(tiles), c))

    def moments(part: slice) -> None:
        scratch = memory.empty_like(rows[tiles[0]])
        for k in range(part.start, part.stop):
            tile, d = rows[tiles[k]], scratch[: tiles[k].stop - tiles[k].start]
            mean = (_fold(tile, c) / counts[k]).astype(x.dtype)
            np.subtract(tile, _repeat(mean, rows), out=d)
            error = _fold(d, c) / counts[k]  # of the mean: single precision loses digits when it is large
            np.multiply(d, d, out=d)
            means[k] = mean + error
            squares[k] = _fold(d, c) - counts[k] * error**2

    # Within a tile the mean comes first, then the deviations from it; tiles combine as in Chan, Golub,
    # LeVeque 1979.
    _share(moments, len(tiles), x.size)
    mean = (counts * means).sum(0) / max(pixels, 1)
    var = (squares + counts * (means - mean) ** 2).sum(0) / max(pixels, 1)
    rstd = (var + eps) ** -0.5
    centre, scale, a, b = (_repeat(v.astype(x.dtype), rows) for v in (mean, rstd, gamma, beta))

    def normalise(part: slice) -> None:
        for t in tiles[part]:
            np.subtract(rows[t], centre, out=xhat[t])
            np.multiply(xhat[t], scale, out=xhat[t])
            np.multiply(xhat[t], a, out=y[t])
            np.add(y[t], b, out=y[t])
            if beside is not None:
                np.add(y[t], beside[t], out=y[t])
            if relu:
                np.maximum(y[t], 0, out=y[t])

    _share(normalise, len(tiles), x.size)
    return y.reshape(x.shape), xhat.reshape(x.shape), mean.astype(x.dtype), rstd.astype(x.dtype)


@_half_as_single
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
    c, pixels = xhat.shape[-1], max(xhat.size // max(xhat.shape[-1], 1), 1)
    scale = gamma * rstd
    along = np.zeros(c) if dgamma is None else dgamma
    level = np.zeros(c) if dbeta is None else dbeta
    if dx is not None:
        sum_dx, sum_product = _moments(dx, xhat)
        along = along - scale * sum_product / pixels
        level = level - scale * sum_dx / pixels
    return _affine(None if dx is None else (dx, scale), xhat, along, level, dshortcut, y)


@_half_as_single
def batch_norm_transpose(
    ct: Array, xhat: Array, rstd: Array, gamma: Array, y: Array | None = None
) -> tuple[Array, Array, Array, Array]:
    """(dx, dgamma, dbeta, dshortcut) for the cotangent of y, which is given if it is a relu's."""
    ct = ct if y is None else relu_mask(ct, y)
    pixels = max(xhat.size // max(xhat.shape[-1], 1), 1)
    dbeta, dgamma = _moments(ct, xhat)
    scale = gamma * rstd
    dx = _affine((ct, scale), xhat, -scale * dgamma / pixels, -scale * dbeta / pixels)
    return dx, dgamma.astype(ct.dtype), dbeta.astype(ct.dtype), ct


def _moments(u: Array, xhat: Array) -> tuple[Array, Array]:
    """Per-channel sums of u and of xhat * u, in double."""
    c, a, b = u.shape[-1], _lanes(u), _lanes(xhat)
    tiles = _lane_tiles(a)
    sums = np.zeros((2, len(tiles), c))

    def work(part: slice) -> None:
        scratch = memory.empty_like(a[tiles[0]])
        for k in range(part.start, part.stop):
            product = np.multiply(a[tiles[k]], b[tiles[k]], out=scratch[: tiles[k].stop - tiles[k].start])
            sums[0, k] = _fold(a[tiles[k]], c)
            sums[1, k] = _fold(product, c)

    _share(work, len(tiles), u.size)
    total = sums.sum(1)
    return total[0], total[1]


def _affine(
    scaled: tuple[Array, Array] | None,
    xhat: Array,
    along: Array,
    level: Array,
    plus: Array | None = None,
    gate: Array | None = None,
) -> Array:
    """u * scale + xhat * along + level + plus, 0 where not gate > 0; `scaled` is (u, scale) or None.

    The coefficients are per channel.
    """
    rows = _lanes(xhat)
    beside, mask = (None if a is None else _lanes(a) for a in (plus, gate))
    y = memory.empty_like(rows)
    tiles = _lane_tiles(rows)
    b, c = (_repeat(v.astype(xhat.dtype), rows) for v in (along, level))
    u, a = (None, b) if scaled is None else (_lanes(scaled[0]), _repeat(scaled[1].astype(xhat.dtype), rows))

    def work(part: slice) -> None:
        scratch = memory.empty_like(rows[tiles[0]])
        for t in tiles[part]:
            np.multiply(rows[t], b, out=y[t])
            np.add(y[t], c, out=y[t])
            if u is not None:
                np.add(y[t], np.multiply(u[t], a, out=scratch[: t.stop - t.start]), out=y[t])
            if beside is not None:
                np.add(y[t], beside[t], out=y[t])
            if mask is not None:
                np.copyto(y[t], 0, where=~(mask[t] > 0))

    _share(work, len(tiles), xhat.size)
    return y.reshape(xhat.shape)


def _lanes(x: Array) -> Array:
    """x as rows of several pixels each: one pixel's few channels are too short for NumPy's inner loop."""
    c = max(x.shape[-1], 1)
    pixels, lane = x.size // c, 1
    while lane * c < _LANE and pixels and pixels % (2 * lane) == 0:
        lane *= 2
    return np.ascontiguousarray(x).reshape(pixels // lane, lane * x.shape[-1])


def _lane_tiles(rows: Array) -> list[slice]:
    return list(_tiles(len(rows), max(1, _TILE // 2 // max(rows.shape[1], 1))))


def _repeat(v: Array, rows: Array) -> Array:
    """A per-channel vector, repeated to the length of a row of lanes."""
    return np.tile(v, rows.shape[1] // max(len(v), 1))


def _fold(tile: Array, c: int) -> Array:
    """Per-channel sum of a few rows of lanes, in double."""
    return np.add.reduce(tile, axis=0).reshape(-1, c).sum(0, dtype=np.float64)


# ---- rectifier


def relu(x: Array) -> Array:
    """max(x, 0); NaN stays NaN."""
    flat = np.ascontiguousarray(x).reshape(-1)
    y = memory.empty_like(flat)
    _share(lambda part: np.maximum(flat[part], 0, out=y[part]), flat.size, flat.size)
    return y.reshape(x.shape)


def relu_mask(t: Array, y: Array) -> Array:
    """t where y > 0, else 0: tangent and transpose of relu."""
    # np.where is ten times slower, and a product with the mask would turn a masked inf into NaN.
    bits = np.dtype(f"i{t.itemsize}")
    source, gate = np.ascontiguousarray(t).reshape(-1).view(bits), np.ascontiguousarray(y).reshape(-1)
    out = memory.empty_like(source)

    def work(part: slice) -> None:
        step = min(_TILE // 2, part.stop - part.start)
        positive, mask = np.empty(step, bool), np.empty(step, bits)
        for tile in _tiles(part.stop - part.start, step):
            here, count = slice(part.start + tile.start, part.start + tile.stop), tile.stop - tile.start
            np.greater(gate[here], 0, out=positive[:count])
            np.negative(positive[:count].view(np.int8), out=mask[:count])
            np.bitwise_and(source[here], mask[:count], out=out[here])

    _share(work, source.size, source.size)
    return out.view(t.dtype).reshape(t.shape)


# ---- tiles


def _tiles(n: int, step: int) -> Iterator[slice]:
    return (slice(i, min(i + step, n)) for i in range(0, n, max(step, 1)))
