"""Sequences of coefficients and samples: convolution, polynomials and linear interpolation."""

from typing import Any

from ..core import Primitive, dtype_of, namespace_of, shape_of, unboxed
from ..rules import deflinear
from .complex import conjugate
from .elementwise import equal, floor, greater, less, logical_or, maximum, minimum, power, where
from .index import searchsorted, take
from .order import argsort
from .shape import as_array, concatenate, ravel_array, reshape

__all__ = ["convolve", "correlate", "interp", "polyval", "vander"]


# ----- Convolution -----


def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """Σⱼ a[k - j] v[j] of two vectors: wherever they overlap ("full"), in the middle of that, as long as the
    longer one ("same"), or where they overlap fully ("valid"). The product of polynomials is "full".

    Raises ValueError for another mode, empty vectors and more than one axis.

    >>> convolve([1.0, 2.0], [1.0, 3.0])
    array([1., 5., 6.])
    """
    a, v = _vector("convolve", a), _vector("convolve", v)
    return _convolved(v, a, mode) if shape_of(v) > shape_of(a) else _convolved(a, v, mode)


def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    """Σⱼ a[k + j] v̄[j] of two vectors, with the modes of `convolve`.

    >>> correlate([1.0, 2.0, 3.0], [1.0, 1.0])
    array([3., 5.])
    """
    a, v = _vector("correlate", a), conjugate(_vector("correlate", v))
    return _convolved(v, a[::-1], mode)[::-1] if shape_of(v) > shape_of(a) else _convolved(a, v[::-1], mode)


def _vector(name: str, x: Any) -> Any:
    x = as_array(x)
    if len(shape_of(x)) > 1 or shape_of(x) == (0,):
        raise ValueError(f"{name}: takes two vectors that are not empty, not shape {shape_of(x)}")
    return ravel_array(x)


def _convolved(a: Any, v: Any, mode: str) -> Any:
    if mode in ("full", "valid"):
        return _convolve(a, v, mode=mode)
    if mode != "same":
        raise ValueError(f"convolve: no mode {mode!r}: use 'full', 'same' or 'valid'")
    (n,), (m,) = shape_of(a), shape_of(v)
    return _convolve(a, v, mode="full")[(m - 1) // 2 : (m - 1) // 2 + n]


def _convolve_shape(a: Any, v: Any, mode: str) -> tuple[int, ...]:
    (n,), (m,) = shape_of(a), shape_of(v)
    return (n + m - 1 if mode == "full" else n - m + 1,)


def _in_first(ct: Any, a: Any, v: Any, mode: str) -> Any:
    return _convolve(ct, v[::-1], mode="valid" if mode == "full" else "full")


def _in_second(ct: Any, a: Any, v: Any, mode: str) -> Any:
    return (
        _convolve(ct, a[::-1], mode="valid") if mode == "full" else _convolve(a, ct[::-1], mode="valid")[::-1]
    )


_convolve: Primitive = Primitive(
    "convolve", lambda xp, a, v, mode: xp.convolve(a, v, mode), doc="convolution of two vectors"
)
deflinear(_convolve, _convolve_shape, _in_first, _in_second)
_convolve.flops = lambda args, outs, params: (
    2 * shape_of(args[1])[0] * (outs if params["mode"] == "valid" else [shape_of(args[0])])[0][0]
)


# ----- Polynomials -----


def polyval(p: Any, x: Any) -> Any:
    """The polynomial with the coefficients `p`, highest power first, at `x`, by Horner's rule.

    >>> float(polyval([1.0, 0.0, 2.0], 3.0))
    11.0
    """
    p, x = p if isinstance(p, (list, tuple)) else as_array(p), as_array(x)
    y = unboxed(namespace_of(x).zeros(shape_of(x), dtype=dtype_of(x)))
    for i in range(shape_of(p)[0]):
        y = y * x + p[i] if i else y + p[i]
    return y


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """Vandermonde's matrix: in each row the powers of an element of the vector `x`, falling from N - 1 to 0.

    `N` is the length of `x` unless given. Raises ValueError for anything but a vector.

    >>> vander([2.0, 3.0], 3)
    array([[4., 2., 1.],
           [9., 3., 1.]])
    """
    x = as_array(x)
    if len(shape_of(x)) != 1:
        raise ValueError(f"vander: takes a vector, not shape {shape_of(x)}")
    n = shape_of(x)[0] if N is None else N
    exponents = range(n) if increasing else range(n - 1, -1, -1)
    return power(reshape(x, (-1, 1)), namespace_of(x).asarray(list(exponents), dtype=dtype_of(x)))


# ----- Interpolation -----


def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Any:
    """At `x`, the polygon through the points (`xp`, `fp`), xp increasing; outside of it `left` and `right`,
    by default fp[0] and fp[-1]. With `period` the points repeat, in any order.

    At a point of the polygon the derivative in x is the slope to its right (to its left, at the last), and
    outside it is zero. The dtype is the arguments', where NumPy computes in float64.

    Raises ValueError when there are no points, or not as many xp as fp.

    >>> float(interp(1.5, [1.0, 2.0], [10.0, 20.0]))
    15.0
    """
    x, xp, fp = as_array(x), as_array(xp), as_array(fp)
    if len(shape_of(xp)) != 1 or shape_of(xp) != shape_of(fp) or not shape_of(xp)[0]:
        raise ValueError(f"interp: xp of shape {shape_of(xp)} and fp of shape {shape_of(fp)} are no points")
    if period is not None:
        x, xp, fp = _periodic(x, xp, fp, abs(period))
    last = shape_of(xp)[0] - 1
    left, right = fp[0] if left is None else left, fp[last] if right is None else right
    i = minimum(maximum(searchsorted(xp, x, side="right") - 1, 0), max(last - 1, 0))
    j = minimum(i + 1, last)
    x0, x1, y0, y1 = take(xp, i), take(xp, j), take(fp, i), take(fp, j)
    before, after = less(x, xp[0]), greater(x, xp[last])
    moved = where(logical_or(before, after), 0.0, x - x0)
    y = y0 + (y1 - y0) * (moved / where(equal(i, j), 1.0, x1 - x0))
    return where(before, left, where(after, right, y))


def _periodic(x: Any, xp: Any, fp: Any, period: Any) -> tuple[Any, Any, Any]:
    """All points in one period and sorted, with a neighbour from the periods before and after."""
    x, xp = x - period * floor(x / period), xp - period * floor(xp / period)
    order = argsort(xp)
    xp, fp = take(xp, order), take(fp, order)
    return (
        x,
        concatenate([xp[-1:] - period, xp, xp[:1] + period]),
        concatenate([fp[-1:], fp, fp[:1]]),
    )
