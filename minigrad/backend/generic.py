"""Reference kernels on arrays: NHWC data, OHWI filters, any array API namespace `xp` comes first.

Written to be obviously right: each kernel is a sum over the taps of its window. The fast ones are tested
against these.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

Array = Any
Pair = tuple[int, int]
Padding = tuple[Pair, Pair]  # ((top, bottom), (left, right))

NAMES = (
    "conv2d conv2d_tangent conv2d_input conv2d_filter "
    "pool_index pool_gather pool_scatter window_sum window_spread "
    "batch_norm batch_norm_tangent batch_norm_transpose relu relu_mask zeros matmul concatenate"
).split()


def kernels_on(xp: Any) -> SimpleNamespace:
    """All kernels of this file on one namespace: the kernels of a library that has none of its own."""
    return SimpleNamespace(**{name: partial(globals()[name], xp) for name in NAMES})


# ---- convolution and its two transposes


def conv2d(
    xp: Any, x: Array, w: Array, stride: Pair, padding: Padding, dilation: Pair = (1, 1), groups: int = 1
) -> Array:
    """Cross-correlation: x (N,H,W,C), w (O,kh,kw,C/groups) -> (N,OH,OW,O)."""
    if groups > 1:
        pairs = zip(_parts(x, groups, -1), _parts(w, groups, 0), strict=True)
        return xp.concat([conv2d(xp, a, b, stride, padding, dilation) for a, b in pairs], axis=-1)
    hw = out_hw(x.shape[1:3], w.shape[1:3], stride, padding, dilation)
    padded, wide = _pad(xp, _widen(xp, x), padding), _widen(xp, w)
    y = xp.zeros((x.shape[0], *hw, w.shape[0]), dtype=padded.dtype)
    for i, j, rows, cols in taps(w.shape[1:3], hw, stride, dilation):
        y += xp.matmul(padded[:, rows, cols, :], xp.matrix_transpose(wide[:, i, j, :]))
    return xp.astype(y, x.dtype, copy=False)


def conv2d_tangent(
    xp: Any,
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
    how = stride, padding, dilation, groups
    wide = [_widen(xp, a) for a in (dx, dw, x, w)]
    dy = conv2d(xp, wide[0], wide[3], *how) + conv2d(xp, wide[2], wide[1], *how)
    return xp.astype(dy, x.dtype, copy=False)


def conv2d_input(
    xp: Any,
    ct: Array,
    w: Array,
    hw: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """Transpose of conv2d in x: ct (N,OH,OW,O) -> (N,H,W,C)."""
    if groups > 1:
        pairs = zip(_parts(ct, groups, -1), _parts(w, groups, 0), strict=True)
        dxs = [conv2d_input(xp, a, b, hw, stride, padding, dilation) for a, b in pairs]
        return xp.concat(dxs, axis=-1)
    ct_wide, wide = _widen(xp, ct), _widen(xp, w)
    dx = xp.zeros((ct.shape[0], *_padded_hw(hw, padding), w.shape[3]), dtype=ct_wide.dtype)
    for i, j, rows, cols in taps(w.shape[1:3], ct.shape[1:3], stride, dilation):
        dx[:, rows, cols, :] += xp.matmul(ct_wide, wide[:, i, j, :])
    return _in_rows(xp, _crop(dx, hw, padding), ct.dtype)


def conv2d_filter(
    xp: Any,
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
        pairs = zip(_parts(x, groups, -1), _parts(ct, groups, -1), strict=True)
        dws = [conv2d_filter(xp, a, b, kernel, stride, padding, dilation) for a, b in pairs]
        return xp.concat(dws, axis=0)
    padded, ct_wide = _pad(xp, _widen(xp, x), padding), _widen(xp, ct)
    dw = xp.zeros((ct.shape[3], *kernel, x.shape[3]), dtype=padded.dtype)
    for i, j, rows, cols in taps(kernel, ct.shape[1:3], stride, dilation):
        dw[:, i, j, :] = xp.tensordot(ct_wide, padded[:, rows, cols, :], axes=((0, 1, 2), (0, 1, 2)))
    return xp.astype(dw, x.dtype, copy=False)


# ---- pooling; padding must be smaller than the window


def pool_index(xp: Any, x: Array, size: Pair, stride: Pair, padding: Padding) -> Array:
    """Offset i*kw+j of the first maximum of each window; a NaN is a maximum, padding never is."""
    hw = out_hw(x.shape[1:3], size, stride, padding)
    padded = _pad(xp, x, padding, -xp.inf)
    inside = _pad(xp, xp.ones((1, *x.shape[1:]), dtype=xp.bool), padding, False)
    cells = list(taps(size, hw, stride))
    best = xp.full((x.shape[0], *hw, x.shape[3]), -xp.inf, dtype=x.dtype)
    for _, _, rows, cols in cells:
        best = xp.maximum(best, padded[:, rows, cols, :])  # keeps NaN
    index = xp.zeros(best.shape, dtype=xp.uint8 if len(cells) <= 256 else xp.int32)
    searching = xp.ones(best.shape, dtype=xp.bool)
    for k, (_, _, rows, cols) in enumerate(cells):
        cell = xp.ascontiguousarray(padded[:, rows, cols, :])
        hit = searching & inside[:, rows, cols, :] & ((cell == best) | xp.isnan(cell))
        index += xp.astype(hit, index.dtype) * k
        searching &= ~hit
    return index


def pool_gather(xp: Any, x: Array, index: Array, size: Pair, stride: Pair, padding: Padding) -> Array:
    """The cell of each window that `index` names: (N,H,W,C) -> (N,OH,OW,C)."""
    (_, h, w, c), (n, oh, ow, _) = x.shape, index.shape
    row = (xp.arange(oh) * stride[0] - padding[0][0])[:, None, None] + index // size[1]
    col = (xp.arange(ow) * stride[1] - padding[1][0])[:, None] + index % size[1]
    image = xp.arange(n)[:, None, None, None]
    return xp.take(xp.reshape(x, (-1,)), ((image * h + row) * w + col) * c + xp.arange(c))


def pool_scatter(
    xp: Any, ct: Array, index: Array, hw: Pair, size: Pair, stride: Pair, padding: Padding
) -> Array:
    """Transpose of pool_gather: (N,OH,OW,C) -> (N,H,W,C)."""
    wide = _widen(xp, ct)
    dx = xp.zeros((ct.shape[0], *_padded_hw(hw, padding), ct.shape[3]), dtype=wide.dtype)
    for i, j, rows, cols in taps(size, ct.shape[1:3], stride):
        dx[:, rows, cols, :] += xp.where(index == i * size[1] + j, wide, 0)
    return _in_rows(xp, _crop(dx, hw, padding), ct.dtype)


def window_sum(xp: Any, x: Array, size: Pair, stride: Pair, padding: Padding) -> Array:
    """Sum over each window, padding counting as zero: (N,H,W,C) -> (N,OH,OW,C)."""
    hw = out_hw(x.shape[1:3], size, stride, padding)
    padded = _pad(xp, _widen(xp, x), padding)
    y = xp.zeros((x.shape[0], *hw, x.shape[3]), dtype=padded.dtype)
    for _, _, rows, cols in taps(size, hw, stride):
        y += padded[:, rows, cols, :]
    return xp.astype(y, x.dtype, copy=False)


def window_spread(xp: Any, ct: Array, hw: Pair, size: Pair, stride: Pair, padding: Padding) -> Array:
    """Transpose of window_sum: (N,OH,OW,C) -> (N,H,W,C)."""
    wide = _widen(xp, ct)
    dx = xp.zeros((ct.shape[0], *_padded_hw(hw, padding), ct.shape[3]), dtype=wide.dtype)
    for _, _, rows, cols in taps(size, ct.shape[1:3], stride):
        dx[:, rows, cols, :] += wide
    return _in_rows(xp, _crop(dx, hw, padding), ct.dtype)


# ---- batch normalisation over all axes but the last


def batch_norm(
    xp: Any,
    x: Array,
    gamma: Array,
    beta: Array,
    eps: float,
    shortcut: Array | None = None,
    relu: bool = False,
) -> tuple[Array, ...]:
    """(y, xhat, mean, rstd): y = gamma xhat + beta, plus shortcut, through relu; with the biased variance."""
    mean = _mean(xp, x)
    deviation = x - mean
    rstd = (_mean(xp, deviation * deviation) + eps) ** -0.5
    xhat = deviation * rstd
    y = xhat * gamma + beta
    y = y if shortcut is None else y + shortcut
    y = xp.maximum(y, 0) if relu else y
    return tuple(_in_rows(xp, a, x.dtype) for a in (y, xhat, mean, rstd))


def batch_norm_tangent(
    xp: Any,
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
    dy = xp.zeros(xhat.shape, dtype=xhat.dtype)
    if dx is not None:
        dy = dy + gamma * rstd * (dx - _mean(xp, dx) - xhat * _mean(xp, _widen(xp, xhat) * dx))
    if dgamma is not None:
        dy = dy + dgamma * xhat
    if dbeta is not None:
        dy = dy + dbeta
    if dshortcut is not None:
        dy = dy + dshortcut
    return _in_rows(xp, dy if y is None else xp.where(y > 0, dy, 0), xhat.dtype)


def batch_norm_transpose(
    xp: Any, ct: Array, xhat: Array, rstd: Array, gamma: Array, y: Array | None = None
) -> tuple[Array, Array, Array, Array]:
    """(dx, dgamma, dbeta, dshortcut) for the cotangent of y, which is given if it is a relu's."""
    ct = ct if y is None else relu_mask(xp, ct, y)
    dx = batch_norm_tangent(xp, ct, None, None, xhat, rstd, gamma)  # self-adjoint in x
    axes = tuple(range(ct.ndim - 1))
    dgamma = xp.sum(_widen(xp, xhat) * ct, axis=axes, dtype=xp.float64)
    dbeta = xp.sum(ct, axis=axes, dtype=xp.float64)
    return dx, xp.astype(dgamma, ct.dtype), xp.astype(dbeta, ct.dtype), ct


# ---- rectifier


def relu(xp: Any, x: Array) -> Array:
    """max(x, 0); NaN stays NaN."""
    return xp.reshape(xp.ascontiguousarray(xp.maximum(x, 0)), x.shape)


def relu_mask(xp: Any, t: Array, y: Array) -> Array:
    """t where y > 0, else 0: tangent and transpose of relu."""
    return xp.reshape(xp.ascontiguousarray(xp.where(y > 0, t, 0)), t.shape)


# ---- results that may be large


def zeros(xp: Any, shape: tuple[int, ...], dtype: Any) -> Array:
    """Zeros that are going to be written to."""
    return xp.zeros(shape, dtype=dtype)


def matmul(xp: Any, a: Array, b: Array) -> Array:
    return xp.matmul(a, b)


def concatenate(xp: Any, arrays: Sequence[Array], axis: int) -> Array:
    return xp.concat(arrays, axis=axis)


# ---- helpers


def out_hw(hw: Pair, size: Pair, stride: Pair, padding: Padding, dilation: Pair = (1, 1)) -> Pair:
    """How many windows fit along each axis."""
    (h, w), (kh, kw), (sh, sw), (dh, dw) = _padded_hw(hw, padding), size, stride, dilation
    return (h - dh * (kh - 1) - 1) // sh + 1, (w - dw * (kw - 1) - 1) // sw + 1


def taps(
    size: Pair, hw: Pair, stride: Pair, dilation: Pair = (1, 1)
) -> Iterator[tuple[int, int, slice, slice]]:
    """For each cell (i, j) of the window: the rows and columns of padded input it meets on its way."""
    for i in range(size[0]):
        for j in range(size[1]):
            top, left = i * dilation[0], j * dilation[1]
            yield (
                i,
                j,
                slice(top, top + (hw[0] - 1) * stride[0] + 1, stride[0]),
                slice(left, left + (hw[1] - 1) * stride[1] + 1, stride[1]),
            )


def _padded_hw(hw: Pair, padding: Padding) -> Pair:
    return hw[0] + sum(padding[0]), hw[1] + sum(padding[1])


def _pad(xp: Any, x: Array, padding: Padding, value: float = 0) -> Array:
    (n, h, w, c), (top, left) = x.shape, (padding[0][0], padding[1][0])
    padded = xp.full((n, *_padded_hw((h, w), padding), c), value, dtype=x.dtype)
    padded[:, top : top + h, left : left + w, :] = x
    return padded


def _crop(x: Array, hw: Pair, padding: Padding) -> Array:
    (top, _), (left, _) = padding
    return x[:, top : top + hw[0], left : left + hw[1], :]


def _parts(x: Array, groups: int, axis: int) -> list[Array]:
    """`x` in equal parts along its first or last axis."""
    n = x.shape[axis] // groups
    cuts = [slice(k * n, (k + 1) * n) for k in range(groups)]
    return [x[cut, ...] if axis == 0 else x[..., cut] for cut in cuts]


def _in_rows(xp: Any, x: Array, dtype: Any) -> Array:
    """`x` in `dtype`, its elements one after the other in memory."""
    return xp.ascontiguousarray(xp.astype(x, dtype, copy=False))


def _widen(xp: Any, x: Array) -> Array:
    """Half precision adds up in single."""
    return xp.astype(x, xp.result_type(x.dtype, xp.float32), copy=False)


def _mean(xp: Any, x: Array) -> Array:
    """Per-channel mean, added up in double; of nothing, zero."""
    total = xp.sum(x, axis=tuple(range(x.ndim - 1)), dtype=xp.float64)
    return total * (x.shape[-1] / max(x.size, 1))
