"""What the rules of linear algebra are written with: precision, triangles, products of several matrices."""

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from ...core import Primitive, aval_str, dtype_of, namespace_of, result_dtype, shape_of
from ...rules import astype
from ..elementwise import equal, where
from ..products import matmul
from ..shape import as_array, swapaxes


def floating(x: Any) -> Any:
    """`x` as an array of floating point: lists and integers are converted, as in NumPy."""
    x = as_array(x)
    return x if dtype_of(x).kind in "fc" else astype(x, dtype=np.dtype(float))


def lapack(prim: Primitive, *args: Any, **params: Any) -> Any:
    """`prim` of arrays in their common dtype; half precision goes through single and back."""
    args = tuple(map(floating, args))
    dtype = result_dtype(args)
    work = np.dtype(np.float32) if dtype == np.float16 else dtype
    out = prim(*[_cast(a, work) for a in args], **params)
    if work == dtype:
        return out
    outs = [_cast(o, dtype) if dtype_of(o) == work else o for o in (out if prim.multiple else [out])]
    return tuple(outs) if prim.multiple else outs[0]


def _cast(x: Any, dtype: np.dtype) -> Any:
    return x if dtype_of(x) == dtype else astype(x, dtype=dtype)


def square_matrices(name: str, a: Any, instead: str = "") -> Any:
    """`a` as floating-point matrices (..., n, n); raises LinAlgError when they are not square."""
    a, shape = floating(a), shape_of(a)
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise np.linalg.LinAlgError(
            f"{name}: {aval_str(a)} is not a square matrix or a stack of them, (..., n, n){instead}"
        )
    return a


def matrices(name: str, a: Any) -> Any:
    """`a` as floating-point matrices (..., m, n); raises LinAlgError when it has less than two axes."""
    a = floating(a)
    if len(shape_of(a)) < 2:
        raise np.linalg.LinAlgError(
            f"{name}: {aval_str(a)} is not a matrix or a stack of them, (..., m, n): reshape it to two axes"
        )
    return a


def T(x: Any) -> Any:
    return swapaxes(x, -1, -2)


def mm(*factors: Any) -> Any:
    """The product of matrices, from the left."""
    return reduce(matmul, factors)


def below(x: Any, k: int = 0) -> Any:
    """A mask for the last two axes of `x`: true on the k-th diagonal and below."""
    xp, (m, n) = namespace_of(x), shape_of(x)[-2:]
    return xp.arange(m)[:, None] + k >= xp.arange(n)[None, :]


def mirrored(x: Any, upper: bool = False) -> Any:
    """The symmetric matrices that have the lower (or upper) triangle of `x`."""
    lower, rest = (T(x), x) if upper else (x, T(x))
    return where(below(x), lower, rest)


def safe_reciprocal(d: Any) -> Any:
    """1 / d, and 0 where d is 0."""
    zero = equal(d, 0)
    return where(zero, 0.0, 1 / where(zero, 1.0, d))


# ----- Costs: those of Golub and Van Loan, Matrix Computations -----


def stacked_flops(long: float, short: float = 0, square: float = 0) -> Callable:
    """`long` m n k + `short` k³ + `square` max(m, n)² k, k = min(m, n), for each (m, n) matrix given."""

    def flops(args: Sequence[Any], outs: Sequence[tuple], params: dict) -> int:
        *stack, m, n = shape_of(args[0])
        k = min(m, n)
        return math.prod(stack) * round(long * m * n * k + short * k**3 + square * max(m, n) ** 2 * k)

    return flops
