"""Two-dimensional convolution (cross-correlation) and its two transposes, a closed family of bilinear maps.

x is (N, H, W, C), w is (O, kh, kw, C/groups), the result (N, H', W', O) with
H' = (H + top + bottom - dilation (kh - 1) - 1) // stride + 1. The tangent is one primitive: one pass.
"""

import math
from typing import Any

import numpy as np

from ..backend import kernels_of
from ..core import Primitive, aval_str, shape_of
from ..rules import add, defjoint, deflinear, defwhole, promote
from .many import fold_first, front_to_last, last_to_front, one_by_one, split_first

__all__ = ["conv2d", "conv2d_filter", "conv2d_input"]

Pair = int | tuple[int, int]
Padding = int | tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]


def conv2d(
    x: Any, w: Any, stride: Pair = 1, padding: Padding = 0, dilation: Pair = 1, groups: int = 1
) -> Any:
    """Convolution of images `x` (N, H, W, C) with filters `w` (O, kh, kw, C/groups): (N, H', W', O).

    `padding` is n, (vertical, horizontal) or ((top, bottom), (left, right)), of zeros. Raises ValueError for
    shapes that do not fit. FLOPs: 2 N H' W' O kh kw C/groups.

    >>> conv2d(np.ones((1, 3, 3, 1)), np.ones((1, 3, 3, 1)), padding=1)[0, :, :, 0]
    array([[4., 6., 4.],
           [6., 9., 6.],
           [4., 6., 4.]])
    """
    geometry = _geometry(stride, padding, dilation, groups)
    sx, sw = shape_of(x), shape_of(w)
    if len(sx) != 4 or len(sw) != 4 or sx[3] != sw[3] * groups or sw[0] % groups:
        raise ValueError(
            f"conv2d: images {aval_str(x)} and filters {aval_str(w)} with groups={groups} do not fit: "
            "images are (N, H, W, C), filters (O, kh, kw, C/groups), and O must divide by groups"
        )
    if min(_out_hw(sx[1:3], sw[1:3], geometry)) < 1:
        raise ValueError(
            f"conv2d: filters {aval_str(w)} are larger than the padded images {aval_str(x)}: pad more"
        )
    return _conv2d(*promote(x, w), **geometry)


def conv2d_input(
    ct: Any,
    w: Any,
    input_size: tuple[int, int],
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Any:
    """The transpose of `conv2d` in the images: `ct` (N, H', W', O) to (N, H, W, C), `input_size` = (H, W).

    >>> conv2d_input(np.ones((1, 1, 1, 1)), np.ones((1, 2, 2, 1)), (2, 2))[0, :, :, 0]
    array([[1., 1.],
           [1., 1.]])
    """
    geometry = _geometry(stride, padding, dilation, groups)
    out = (*shape_of(ct)[:1], *_out_hw(input_size, shape_of(w)[1:3], geometry), shape_of(w)[0])
    if shape_of(ct) != out:
        raise ValueError(
            f"conv2d_input: the cotangent is {aval_str(ct)}, but images of {input_size} under filters "
            f"{aval_str(w)} give {out}"
        )
    return _conv2d_input(*promote(ct, w), hw=tuple(input_size), **geometry)


def conv2d_filter(
    x: Any,
    ct: Any,
    kernel_size: tuple[int, int],
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Any:
    """The transpose of `conv2d` in the filters: from `ct` (N, H', W', O) to (O, kh, kw, C/groups).

    >>> conv2d_filter(np.ones((1, 2, 2, 1)), np.ones((1, 1, 1, 1)), (2, 2))[0, :, :, 0]
    array([[1., 1.],
           [1., 1.]])
    """
    geometry = _geometry(stride, padding, dilation, groups)
    out = (shape_of(x)[0], *_out_hw(shape_of(x)[1:3], kernel_size, geometry))
    if shape_of(ct)[:3] != out:
        raise ValueError(
            f"conv2d_filter: the cotangent is {aval_str(ct)}, but images {aval_str(x)} under filters of "
            f"{kernel_size} give {(*out, 'O')}"
        )
    return _conv2d_filter(*promote(x, ct), kernel=tuple(kernel_size), **geometry)


_conv2d = Primitive(
    "conv2d", lambda xp, x, w, **g: kernels_of(xp).conv2d(x, w, *g.values()), doc="convolution, NHWC and OHWI"
)
_conv2d_tangent = Primitive(
    "conv2d_tangent",
    lambda xp, dx, dw, x, w, **g: kernels_of(xp).conv2d_tangent(dx, dw, x, w, *g.values()),
    doc="conv2d(dx, w) + conv2d(x, dw)",
)
_conv2d_input = Primitive(
    "conv2d_input",
    lambda xp, ct, w, hw, **g: kernels_of(xp).conv2d_input(ct, w, hw, *g.values()),
    doc="transpose of conv2d in the images",
)
_conv2d_filter = Primitive(
    "conv2d_filter",
    lambda xp, x, ct, kernel, **g: kernels_of(xp).conv2d_filter(x, ct, kernel, *g.values()),
    doc="transpose of conv2d in the filters",
)

# With y = conv(x, w) and <conv(x, w), c> = <x, conv_input(c, w)> = <w, conv_filter(x, c)>, read each equation
# from every side: the six transposes below are all of them.
deflinear(
    _conv2d,
    lambda x, w, **g: _out_shape(x, w, g),
    lambda ct, x, w, **g: _conv2d_input(ct, w, hw=shape_of(x)[1:3], **g),
    lambda ct, x, w, **g: _conv2d_filter(x, ct, kernel=shape_of(w)[1:3], **g),
)
deflinear(
    _conv2d_input,
    lambda c, w, hw, **g: (shape_of(c)[0], *hw, shape_of(w)[3] * g["groups"]),
    lambda ct, c, w, hw, **g: _conv2d(ct, w, **g),
    lambda ct, c, w, hw, **g: _conv2d_filter(ct, c, kernel=shape_of(w)[1:3], **g),
)
deflinear(
    _conv2d_filter,
    lambda x, c, kernel, **g: (shape_of(c)[3], *kernel, shape_of(x)[3] // g["groups"]),
    lambda ct, x, c, kernel, **g: _conv2d_input(c, ct, hw=shape_of(x)[1:3], **g),
    lambda ct, x, c, kernel, **g: _conv2d(x, ct, **g),
)


def _tangent(dx: Any, dw: Any, x: Any, w: Any, **g: Any) -> Any:
    """conv2d(dx, w) + conv2d(x, dw), where None is zero."""
    if dx is None or dw is None:
        return None if dx is dw else _conv2d(x, dw, **g) if dx is None else _conv2d(dx, w, **g)
    return _conv2d_tangent(dx, dw, x, w, **g)


def _tangent_rule(primals: Any, tangents: Any, **g: Any) -> tuple[Any, Any]:
    """The tangent of conv2d(u, w) + conv2d(x, v): it moves with u and v, and likewise with x and w."""
    u, v, x, w = primals
    du, dv, dx, dw = tangents
    terms = [t for t in (_tangent(du, dv, x, w, **g), _tangent(dx, dw, u, v, **g)) if t is not None]
    return _conv2d_tangent(*primals, **g), add(*terms) if len(terms) == 2 else terms[0]


defwhole(_conv2d, lambda primals, tangents, **g: (_conv2d(*primals, **g), _tangent(*tangents, *primals, **g)))
defjoint(
    _conv2d_tangent,
    lambda args, g: _out_shape(args[2], args[3], g),
    lambda ct, args, g, linear: [
        _conv2d_filter(args[2], ct, kernel=shape_of(args[3])[1:3], **g)
        if i
        else _conv2d_input(ct, args[3], hw=shape_of(args[2])[1:3], **g)
        for i in linear
    ],
    (0, 1),
    lambda primals, tangents, g: _tangent_rule(primals, tangents, **g),
)

_conv2d.flops = lambda args, outs, params: _flops(outs[0], shape_of(args[1]))
_conv2d_tangent.flops = lambda args, outs, params: 2 * _flops(outs[0], shape_of(args[3])) + math.prod(outs[0])
_conv2d_input.flops = lambda args, outs, params: _flops(shape_of(args[0]), shape_of(args[1]))
_conv2d_filter.flops = lambda args, outs, params: _flops(shape_of(args[1]), outs[0])


# ----- Many at once: k batches of images are one batch, k sets of filters (or of channels) are one set -----


def _conv2d_batch(args: Any, params: dict, batched: tuple[int, ...]) -> Any:
    x, w = args
    if batched == (0,):
        return split_first(_conv2d(fold_first(x), w, **params), shape_of(x)[0])
    if batched == (1,) and params["groups"] == 1:
        return last_to_front(_conv2d(x, fold_first(w), **params), shape_of(w)[0])
    return one_by_one(_conv2d, args, params, batched)


def _conv2d_input_batch(args: Any, params: dict, batched: tuple[int, ...]) -> Any:
    ct, w = args
    if batched == (0,):
        return split_first(_conv2d_input(fold_first(ct), w, **params), shape_of(ct)[0])
    if batched == (1,) and params["groups"] == 1:
        return last_to_front(_conv2d_input(ct, front_to_last(w), **params), shape_of(w)[0])
    return one_by_one(_conv2d_input, args, params, batched)


def _conv2d_filter_batch(args: Any, params: dict, batched: tuple[int, ...]) -> Any:
    x, ct = args
    if batched == (1,) and params["groups"] == 1:
        return split_first(_conv2d_filter(x, front_to_last(ct), **params), shape_of(ct)[0])
    if batched == (0,) and params["groups"] == 1:
        return last_to_front(_conv2d_filter(front_to_last(x), ct, **params), shape_of(x)[0])
    return one_by_one(_conv2d_filter, args, params, batched)


def _conv2d_tangent_batch(args: Any, params: dict, batched: tuple[int, ...]) -> Any:
    dx, dw, x, w = args
    if batched == (0, 1):  # many directions at one point
        return add(_conv2d_batch((dx, w), params, (0,)), _conv2d_batch((x, dw), params, (1,)))
    return one_by_one(_conv2d_tangent, args, params, batched)


_conv2d.batch, _conv2d_tangent.batch = _conv2d_batch, _conv2d_tangent_batch
_conv2d_input.batch, _conv2d_filter.batch = _conv2d_input_batch, _conv2d_filter_batch


def _flops(y: tuple[int, ...], w: tuple[int, ...]) -> int:
    return 2 * math.prod(y) * math.prod(w[1:])


def _geometry(stride: Pair, padding: Padding, dilation: Pair, groups: int) -> dict[str, Any]:
    # The kernels take these by position, in this order.
    geometry = {
        "stride": pair(stride, "stride"),
        "padding": pads(padding),
        "dilation": pair(dilation, "dilation"),
        "groups": groups,
    }
    if groups < 1:
        raise ValueError(f"groups={groups}: must be at least 1")
    return geometry


def pair(n: Any, name: str) -> tuple[int, int]:
    """n or (a, b) as two positive ints."""
    a, b = (n, n) if isinstance(n, (int, np.integer)) else n
    if a < 1 or b < 1:
        raise ValueError(f"{name}={n}: must be at least 1")
    return int(a), int(b)


def pads(padding: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Any form of padding as ((top, bottom), (left, right))."""
    v, h = (padding, padding) if isinstance(padding, (int, np.integer)) else padding
    (top, bottom), (left, right) = ((p, p) if isinstance(p, (int, np.integer)) else p for p in (v, h))
    if min(top, bottom, left, right) < 0:
        raise ValueError(f"padding={padding}: must not be negative")
    return (int(top), int(bottom)), (int(left), int(right))


def window_count(size: int, pad: tuple[int, int], reach: int, stride: int) -> int:
    """How many windows that span `reach` cells fit along one axis."""
    return (size + pad[0] + pad[1] - reach) // stride + 1


def _out_shape(x: Any, w: Any, g: dict[str, Any]) -> tuple[int, ...]:
    return shape_of(x)[0], *_out_hw(shape_of(x)[1:3], shape_of(w)[1:3], g), shape_of(w)[0]


def _out_hw(hw: Any, kernel: Any, g: dict[str, Any]) -> tuple[int, int]:
    h, w = (
        window_count(n, p, d * (k - 1) + 1, s)
        for n, k, s, p, d in zip(hw, kernel, g["stride"], g["padding"], g["dilation"], strict=True)
    )
    return h, w
