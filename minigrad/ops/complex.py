"""Complex numbers inside real functions: parts, conjugate, angle, and which rules hold for them.

Arguments of a transformation are real, but what is computed in between may be complex: the spectrum of a
signal, the eigenvalues of a matrix. Cotangents then belong to the pairing

    P(c, t) = Re Σ c t        (no conjugation)

which is linear over the reals in c and in t, and zero for every t only if c = 0. A map L that is linear over
the complex numbers has P(c, L t) = P(Lᵀ c, t) with the plain transpose Lᵀ: so the rules of multiply, matmul,
einsum, fft and of every analytic function are those of real numbers, letter by letter. What is linear over
the reals alone has a transpose that is read off in the same way:

    Re t         (c real)    c Re t = Re((c + 0i) t)             c + 0i
    Im t         (c real)    c Im t = Re(-i c t)                 -i c
    conj(t)                  Re(c conj(t)) = Re(conj(c) t)       conj(c)
    t + 0i       (t real)    Re(c t) = Re(c) t                   Re c

|z|, sign z and angle z have rules for complex z; every other function that is neither linear nor analytic has
one for real numbers only, and says so when it meets complex ones.

An output may be complex, too: `jvp`, `linearize` and `jacfwd` give its complex tangent, and the transposed
map (`vjp`, `linear_transpose`) takes a complex cotangent in the pairing above. For y = f(x), ct = 1 gives
the derivative of Re y, and ct = -1j that of Im y.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..core import Primitive, dtype_of, namespace_of, shape_of, unboxed
from ..rules import astype, broadcast_shape, deflinear, elementwise_flops, fit, multiply, no_bytes, no_flops
from .elementwise import abs as absolute
from .elementwise import equal, sign, square, where

__all__ = ["angle", "conj", "conjugate", "imag", "iscomplex", "isreal", "real", "real_if_close"]


# ----- Parts -----


def real(x: Any) -> Any:
    """The real part of `x`, elementwise; a real `x` itself.

    >>> real(np.array([1 + 2j, 3.0]))
    array([1., 3.])
    """
    x = _array(x)
    return astype(x, dtype=real_dtype(x)) if is_complex(x) else x


def imag(x: Any) -> Any:
    """The imaginary part of `x`, elementwise; zeros for a real `x`.

    >>> imag(np.array([1 + 2j, 3.0]))
    array([2., 0.])
    """
    x = _array(x)
    if is_complex(x):
        return _imag(x, dtype=real_dtype(x))
    return unboxed(namespace_of(x).zeros(shape_of(x), dtype=dtype_of(x)))


_imag = Primitive("imag", lambda xp, x, dtype: xp.imag(x), doc="imaginary part")
deflinear(
    _imag,
    lambda x, dtype: shape_of(x),
    lambda ct, x, dtype: multiply(astype(ct, dtype=dtype_of(x)), -1j),
)
_imag.batch = lambda args, params, batched: _imag(*args, **params)
_imag.flops, _imag.bytes = no_flops, no_bytes


def conjugate(x: Any) -> Any:
    """The complex conjugate of `x`, elementwise; a real `x` itself.

    >>> conjugate(1 + 2j)
    np.complex128(1-2j)
    """
    x = _array(x)
    return _conjugate(x) if is_complex(x) else x


conj = conjugate

_conjugate = Primitive("conjugate", "conj", doc="complex conjugate")
deflinear(_conjugate, broadcast_shape, lambda ct, x: conjugate(ct))
_conjugate.flops = elementwise_flops(1)


def angle(z: Any, deg: bool = False) -> Any:
    """The angle of `z` with the positive real axis in (-π, π], in degrees with `deg`.

    The derivative is Im(dz / z), also where the value jumps from π to -π. There is none at z = 0; for real
    numbers, whose angle is 0 or π, it is zero.

    >>> float(angle(1j, deg=True))
    90.0
    """
    radians = _angle(_array(z))
    return radians * (180 / math.pi) if deg else radians


def _impl_angle(xp: Any, z: Any) -> Any:
    if xp.isdtype(z.dtype, "complex floating"):
        return xp.atan2(xp.imag(z), xp.real(z))
    return xp.atan2(xp.zeros_like(z), z)


def _angle_jvp(primals: Sequence[Any], tangents: Sequence[Any], params: dict) -> tuple[Any, Any]:
    (z,), (t,) = primals, tangents
    ans = _angle(z)
    return ans, fit(imag(t / z), ans) if is_complex(z) else None


_angle = Primitive("angle", _impl_angle, doc="angle with the positive real axis, in radians")
_angle.jvp, _angle.flops = _angle_jvp, elementwise_flops(10)


def squared_modulus(x: Any) -> Any:
    """|x|², which for a real `x` is x²."""
    return real(x * conjugate(x)) if is_complex(x) else square(x)


# ----- Questions -----


def iscomplex(x: Any) -> Any:
    """Is the imaginary part not zero, elementwise; a constant.

    >>> iscomplex(np.array([1 + 2j, 3.0]))
    array([ True, False])
    """
    return imag(x) != 0


def isreal(x: Any) -> Any:
    """Is the imaginary part zero, elementwise; a constant.

    >>> isreal(np.array([1 + 2j, 3.0]))
    array([False,  True])
    """
    return imag(x) == 0


def real_if_close(a: Any, tol: float = 100) -> Any:
    """The real part of `a` if every imaginary part is below `tol` (above 1: in units of machine precision).

    Which of the two it is, is decided by the values and is a constant for the derivative.

    >>> real_if_close(np.array([2 + 1e-16j]))
    array([2.])
    """
    a = _array(a)
    if not is_complex(a):
        return a
    limit = tol * float(np.finfo(dtype_of(a)).eps) if tol > 1 else tol
    return real(a) if bool(namespace_of(a).all(absolute(imag(a)) < limit)) else a


# ----- Dtypes and arrays -----


def is_complex(x: Any) -> bool:
    return dtype_of(x).kind == "c"


def complex_dtype(x: Any) -> np.dtype:
    """The complex dtype NumPy computes in for `x`: complex64 for single and half precision."""
    return np.result_type(dtype_of(x) if is_complex(x) else real_dtype(x), np.complex64)


def real_dtype(x: Any) -> np.dtype:
    """The dtype of the parts of a complex `x`, and of a real one in floating point."""
    dtype = dtype_of(x)
    return np.finfo(dtype).dtype if dtype.kind == "c" else np.result_type(dtype, 1.0)


def _array(x: Any) -> Any:
    """`x` itself, or the array or NumPy scalar that a list or number stands for."""
    return x if hasattr(x, "shape") else np.asarray(x)[()]


# ----- Rules for complex arguments, beside those for real ones -----


def _absolute_rule(primals: Sequence[Any], tangents: Sequence[Any], params: dict) -> tuple[Any, Any]:
    """d|z| = Re(conj(sign z) dz), which is 0 at z = 0."""
    (z,), (t,) = primals, tangents
    return absolute(z), real(conjugate(sign(z)) * t)


def _sign_rule(primals: Sequence[Any], tangents: Sequence[Any], params: dict) -> tuple[Any, Any]:
    """sign z = z / |z| turns without stretching: i sign z Im(conj(sign z) dz) / |z|, which is 0 at z = 0."""
    (z,), (t,) = primals, tangents
    ans, size = sign(z), absolute(z)
    return ans, ans * (imag(conjugate(ans) * t) / where(equal(size, 0), 1.0, size)) * 1j


RULES: dict[str, Callable] = {"absolute": _absolute_rule, "sign": _sign_rule}

# Those whose one rule is right for both: analytic, or constant, or the user's own.
SAME = """
    power square sqrt reciprocal exp expm1 exp2 log log1p log2 log10 sin cos tan arcsin arccos arctan
    sinh cosh tanh arcsinh arccosh arctanh prod cumprod inv eig eigvals angle
    equal not_equal isclose allclose isnan isinf isfinite logical_not logical_and logical_or logical_xor
    any all count_nonzero round rint stop_gradient
    _function
""".split()


def complete(prims: Iterable[Primitive]) -> None:
    """Give every nonlinear primitive its rule for complex arguments: its own, the real one, or a refusal."""
    for prim in prims:
        if prim.jvp is not None and not prim.linear and prim.name not in SAME:
            prim.jvp = _either(prim.jvp, RULES.get(prim.name, _refuse))


def _either(for_real: Callable, for_complex: Callable) -> Callable:
    def jvp(primals: Sequence[Any], tangents: Sequence[Any], params: dict) -> tuple[Any, Any]:
        for x in primals:
            if hasattr(x, "dtype") and dtype_of(x).kind == "c":
                return for_complex(primals, tangents, params)
        return for_real(primals, tangents, params)

    return jvp


def _refuse(primals: Sequence[Any], tangents: Sequence[Any], params: dict) -> tuple[Any, Any]:
    raise TypeError(
        "complex numbers are not supported there, its derivative is one for real numbers: "
        "take minigrad.real, imag or abs first"
    )
