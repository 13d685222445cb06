"""Discrete Fourier transforms, `mg.fft`: NumPy's functions, normalisations and argument names.

The matrix of a transform is symmetric: fft and ifft are their own transposes. That of rfft, which gives half
of the spectrum of a real signal, is hfft with the inner frequencies halved, and that of irfft is ihfft with
them doubled. Cotangents pair as in `minigrad.ops.complex`. Half precision gives complex64, as in NumPy.
"""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core import Primitive, aval_str, namespace_of, shape_of
from ..rules import astype, deflinear, multiply
from .complex import complex_dtype, conjugate, is_complex, real_dtype
from .rearrange import pad, roll
from .reduce import axes_of
from .shape import as_array, reshape

__all__ = [
    "fft",
    "fft2",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfft2",
    "irfftn",
    "rfft",
    "rfft2",
    "rfftn",
]

Axes = Sequence[int] | None

# ----- Complex transforms -----


def fft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """yₖ = Σⱼ aⱼ exp(-2πi jk/n) along `axis`, of `a` cut or filled up with zeros to length `n`.

    `norm` is "backward" (or None: as above), "ortho" (divided by √n) or "forward" (divided by n). Raises
    ValueError for another norm or n < 1.

    >>> fft(np.array([1.0, 2.0]))
    array([ 3.+0.j, -1.+0.j])
    """
    return _transform("fft", _fft, a, _one_length("fft", n), (axis,), norm)


def ifft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """aⱼ = 1/n Σₖ yₖ exp(2πi jk/n): the inverse of `fft`, with the same arguments.

    >>> ifft(np.array([3.0, -1.0]))
    array([1.+0.j, 2.+0.j])
    """
    return _transform("ifft", _ifft, a, _one_length("ifft", n), (axis,), norm)


def fft2(a: Any, s: Sequence[int] | None = None, axes: Axes = (-2, -1), norm: str | None = None) -> Any:
    """`fftn` over two axes.

    >>> fft2(np.ones((2, 2)))[0, 0]
    np.complex128(4+0j)
    """
    return _transform("fft2", _fft, a, s, axes, norm)


def ifft2(a: Any, s: Sequence[int] | None = None, axes: Axes = (-2, -1), norm: str | None = None) -> Any:
    """`ifftn` over two axes.

    >>> ifft2(np.ones((2, 2)))[0, 0]
    np.complex128(1+0j)
    """
    return _transform("ifft2", _ifft, a, s, axes, norm)


def fftn(a: Any, s: Sequence[int] | None = None, axes: Axes = None, norm: str | None = None) -> Any:
    """`fft` over several `axes` (None: all), cut or filled up to lengths `s`; -1 leaves one as it is.

    Raises ValueError for `s` without `axes`, or an axis that is named twice.

    >>> fftn(np.ones((2, 2)))[0, 0]
    np.complex128(4+0j)
    """
    return _transform("fftn", _fft, a, s, axes, norm)


def ifftn(a: Any, s: Sequence[int] | None = None, axes: Axes = None, norm: str | None = None) -> Any:
    """The inverse of `fftn`, with the same arguments.

    >>> ifftn(np.ones((2, 2)))[0, 0]
    np.complex128(1+0j)
    """
    return _transform("ifftn", _ifft, a, s, axes, norm)


def _transform(name: str, prim: Primitive, a: Any, s: Sequence[int] | None, axes: Axes, norm: Any) -> Any:
    a = as_array(a)
    axes, lengths = _axes_and_lengths(name, a, s, axes)
    a, norm = _resized(a, axes, lengths), _norm(name, norm)
    return prim(_complex(a), axes=axes, norm=norm) if axes else a


def _fft_flops(args: Any, outs: Any, params: dict) -> float:
    points = math.prod(outs[0][i] for i in params["axes"])
    return round(5 * math.prod(outs[0]) * math.log2(points))


_fft = Primitive(
    "fft", lambda xp, a, axes, norm: xp.fft.fftn(a, axes=axes, norm=norm), doc="discrete Fourier transform"
)
_ifft = Primitive(
    "ifft", lambda xp, a, axes, norm: xp.fft.ifftn(a, axes=axes, norm=norm), doc="inverse Fourier transform"
)
deflinear(_fft, lambda a, **how: shape_of(a), lambda ct, a, **how: _fft(ct, **how))
deflinear(_ifft, lambda a, **how: shape_of(a), lambda ct, a, **how: _ifft(ct, **how))
_fft.flops = _ifft.flops = _fft_flops

# ----- Real signals, half of the spectrum -----


def rfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The first n // 2 + 1 elements of `fft` of a real `a`; the others are their conjugates.

    Raises TypeError for a complex `a`.

    >>> rfft(np.array([1.0, 2.0, 3.0]))[0]
    np.complex128(6+0j)
    """
    return _to_half("rfft", a, _one_length("rfft", n), (axis,), norm)


def irfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The inverse of `rfft`: a real signal of length `n`, 2 (m - 1) for `a` of length m by default.

    The imaginary parts of the first and, for an even n, of the last element are not read.

    >>> irfft(np.array([3.0, -1.0]))
    array([1., 2.])
    """
    return _from_half("irfft", a, _one_length("irfft", n), (axis,), norm)


def rfft2(a: Any, s: Sequence[int] | None = None, axes: Axes = (-2, -1), norm: str | None = None) -> Any:
    """`rfftn` over two axes.

    >>> rfft2(np.ones((2, 2))).shape
    (2, 2)
    """
    return _to_half("rfft2", a, s, axes, norm)


def irfft2(a: Any, s: Sequence[int] | None = None, axes: Axes = (-2, -1), norm: str | None = None) -> Any:
    """`irfftn` over two axes.

    >>> irfft2(np.ones((2, 2))).shape
    (2, 2)
    """
    return _from_half("irfft2", a, s, axes, norm)


def rfftn(a: Any, s: Sequence[int] | None = None, axes: Axes = None, norm: str | None = None) -> Any:
    """`rfft` over the last of `axes`, then `fft` over the others; arguments as in `fftn`.

    >>> rfftn(np.ones((2, 4))).shape
    (2, 3)
    """
    return _to_half("rfftn", a, s, axes, norm)


def _to_half(name: str, a: Any, s: Sequence[int] | None, axes: Axes, norm: str | None) -> Any:
    a = as_array(a)
    if is_complex(a):
        raise TypeError(f"{name}: {aval_str(a)} is complex: half of its spectrum is not all of it, use fft")
    axes, lengths = _axes_and_lengths(name, a, s, axes, least=1)
    a, norm = _resized(a, axes, lengths), _norm(name, norm)
    half = _rfft(a, axis=axes[-1], norm=norm, dtype=complex_dtype(a))
    return _fft(half, axes=axes[:-1], norm=norm) if axes[:-1] else half


def irfftn(a: Any, s: Sequence[int] | None = None, axes: Axes = None, norm: str | None = None) -> Any:
    """The inverse of `rfftn`: `ifft` over all `axes` but the last, then `irfft`; arguments as in `fftn`.

    >>> irfftn(np.ones((2, 3))).shape
    (2, 4)
    """
    return _from_half("irfftn", a, s, axes, norm)


def _from_half(name: str, a: Any, s: Sequence[int] | None, axes: Axes, norm: str | None) -> Any:
    a = as_array(a)
    axes, lengths = _axes_and_lengths(name, a, s, axes, least=1)
    n = lengths[-1] if s is not None else 2 * (lengths[-1] - 1)
    _check_length(name, n)
    half, norm = _resized(a, axes, (*lengths[:-1], n // 2 + 1)), _norm(name, norm)
    half = _ifft(_complex(half), axes=axes[:-1], norm=norm) if axes[:-1] else half
    return _irfft(_complex(half), n=n, axis=axes[-1], norm=norm, dtype=real_dtype(half))


def hfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The real `fft` of a signal of length `n` that is its own mirrored conjugate; `a` is its first half.

    >>> hfft(np.array([1.0, 2.0]))
    array([ 3., -1.])
    """
    swapped = SWAPPED[_norm("hfft", norm)]
    return _from_half("hfft", conjugate(as_array(a)), _one_length("hfft", n), (axis,), swapped)


def ihfft(a: Any, n: int | None = None, axis: int = -1, norm: str | None = None) -> Any:
    """The inverse of `hfft`: the first half of `ifft` of a real `a`.

    >>> ihfft(np.array([3.0, -1.0])).real
    array([1., 2.])
    """
    swapped = SWAPPED[_norm("ihfft", norm)]
    return conjugate(_to_half("ihfft", a, _one_length("ihfft", n), (axis,), swapped))


SWAPPED = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


def _rfft_transpose(ct: Any, a: Any, axis: int, norm: str, dtype: np.dtype) -> Any:
    """Re Σₖ cₖ Σⱼ tⱼ ωʲᵏ = Σⱼ tⱼ Re Σₖ cₖ ωʲᵏ, and hfft(c) counts each inner k twice, as itself and as -k."""
    n = shape_of(a)[axis]
    return hfft(multiply(ct, _weights(ct, n, axis, 0.5)), n, axis, norm)


def _irfft_transpose(ct: Any, a: Any, n: int, axis: int, norm: str, dtype: np.dtype) -> Any:
    return multiply(ihfft(ct, n, axis, norm), _weights(a, n, axis, 2.0))


def _weights(a: Any, n: int, axis: int, inner: float) -> Any:
    """1 for the frequencies of a half spectrum that stand for themselves alone, `inner` for the others."""
    m = n // 2 + 1
    inside = [inner if 0 < k < n - k else 1.0 for k in range(m)]
    weights = namespace_of(a).asarray(inside, dtype=real_dtype(a))
    return reshape(weights, (m,) + (1,) * (-1 - axis))  # the axis is counted from the back


def _half_shape(a: Any, axis: int, **how: Any) -> tuple[int, ...]:
    return _with_length(shape_of(a), axis, shape_of(a)[axis] // 2 + 1)


def _with_length(shape: tuple[int, ...], axis: int, n: int) -> tuple[int, ...]:
    axis += len(shape)
    return (*shape[:axis], n, *shape[axis + 1 :])


_rfft = Primitive(
    "rfft",
    lambda xp, a, axis, norm, dtype: xp.fft.rfft(a, axis=axis, norm=norm),
    doc="first half of the Fourier transform of a real signal",
)
_irfft = Primitive(
    "irfft",
    lambda xp, a, n, axis, norm, dtype: xp.asarray(xp.fft.irfft(a, n=n, axis=axis, norm=norm), dtype=dtype),
    doc="real signal of length n from the first half of its spectrum",
)
deflinear(_rfft, _half_shape, _rfft_transpose)
deflinear(_irfft, lambda a, n, axis, **how: _with_length(shape_of(a), axis, n), _irfft_transpose)
_rfft.flops = lambda args, outs, params: _real_flops(shape_of(args[0]), params["axis"])
_irfft.flops = lambda args, outs, params: _real_flops(outs[0], params["axis"])


for _prim in (_fft, _ifft, _rfft, _irfft):
    _prim.batch = lambda args, params, batched, prim=_prim: prim(*args, **params)


def _real_flops(shape: tuple[int, ...], axis: int) -> int:
    return round(2.5 * math.prod(shape) * math.log2(shape[axis]))


# ----- Order of frequencies -----


def fftshift(x: Any, axes: int | Sequence[int] | None = None) -> Any:
    """`x` with the zero frequency moved from the front to the middle of `axes` (None: all).

    >>> fftshift(np.array([0.0, 1.0, -1.0]))
    array([-1.,  0.,  1.])
    """
    return _shifted(x, axes, lambda n: n // 2)


def ifftshift(x: Any, axes: int | Sequence[int] | None = None) -> Any:
    """The inverse of `fftshift`.

    >>> ifftshift(np.array([-1.0, 0.0, 1.0]))
    array([ 0.,  1., -1.])
    """
    return _shifted(x, axes, lambda n: -(n // 2))


def _shifted(x: Any, axes: int | Sequence[int] | None, shift: Callable[[int], int]) -> Any:
    x = as_array(x)
    where = axes_of(x, axes)
    return roll(x, [shift(shape_of(x)[i]) for i in where], where) if where else x


# ----- Arguments -----


def _axes_and_lengths(
    name: str, a: Any, s: Sequence[int] | None, axes: Axes, least: int = 0
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if s is not None and axes is None:
        raise ValueError(f"{name}: lengths s={tuple(s)} need their axes, axes=(...)")
    """The axes, counted from the back, so that they are the same behind a batch axis; and their lengths."""
    shape = shape_of(a)
    where = tuple(i - len(shape) for i in axes_of(a, None if axes is None else tuple(axes)))
    if len(where) < least:
        raise ValueError(f"{name}: there is no axis to transform: {aval_str(a)} with axes={axes}")
    asked = (-1,) * len(where) if s is None else tuple(map(operator.index, s))
    if len(asked) != len(where):
        raise ValueError(f"{name}: {len(asked)} lengths s={asked} for {len(where)} axes {where}")
    lengths = tuple(shape[i] if n == -1 else n for i, n in zip(where, asked, strict=True))
    for n in lengths:
        _check_length(name, n)
    return where, lengths


def _one_length(name: str, n: int | None) -> tuple[int] | None:
    if n is None:
        return None
    _check_length(name, n)
    return (n,)


def _check_length(name: str, n: int) -> None:
    if n < 1:
        raise ValueError(f"{name}: a transform of {n} points: the length is 1 at least")


def _norm(name: str, norm: str | None) -> str:
    if norm is not None and norm not in SWAPPED:
        raise ValueError(f"{name}: norm is {norm!r}: use 'backward', 'ortho' or 'forward'")
    return norm or "backward"


def _resized(a: Any, axes: tuple[int, ...], lengths: Sequence[int]) -> Any:
    """`a` cut at the end of each axis, or filled up with zeros there."""
    shape = shape_of(a)
    after = {i + len(shape): n for i, n in zip(axes, lengths, strict=True)}
    if any(n < shape[i] for i, n in after.items()):
        a = a[tuple(slice(min(after.get(i, n), n)) for i, n in enumerate(shape))]
    if any(n > shape[i] for i, n in after.items()):
        a = pad(a, [(0, max(after.get(i, n) - n, 0)) for i, n in enumerate(shape)])
    return a


def _complex(a: Any) -> Any:
    return a if is_complex(a) else astype(a, dtype=complex_dtype(a))
