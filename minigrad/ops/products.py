"""Products: matmul, einsum, cross, and what they give (dot, inner, outer, tensordot, kron, ...).

All are linear in each factor, so their derivatives are products again. `vdot`, `vecdot` and `vecmat` take the
complex conjugate of their first argument.
"""

import math
from collections.abc import Sequence
from string import ascii_letters
from typing import Any

import numpy as np

from ..backend import kernels_of
from ..batch import aligned
from ..core import Primitive, dtype_of, namespace_of, shape_of, touched
from ..rules import broadcast_shape, deflinear, elementwise_flops
from .complex import conjugate
from .many import fold_first, front_to_last, last_to_front, split_first
from .reduce import axes_of
from .shape import as_array, expand_dims, moveaxis, ravel_array, reshape, squeeze, swapaxes, transpose

__all__ = [
    "cross",
    "dot",
    "einsum",
    "inner",
    "kron",
    "matmul",
    "matvec",
    "outer",
    "tensordot",
    "vdot",
    "vecdot",
    "vecmat",
]

# ----- Of matrices and vectors -----


def matmul(a: Any, b: Any) -> Any:
    """The matrix product `a @ b` over the last two axes; vectors and leading axes as in NumPy.

    >>> matmul(np.ones((2, 3)), np.ones(3))
    array([3., 3.])
    """
    sa, sb = shape_of(a), shape_of(b)
    if not sa or not sb or sa[-1] != sb[-2 if len(sb) > 1 else 0]:
        raise ValueError(
            f"matmul: shapes {sa} and {sb} do not match: "
            "the last axis of the first and the second last of the second must be equal"
        )
    if len(sa) == 1:
        out = matmul(expand_dims(a, 0), b)
        return squeeze(out, -1 if len(sb) == 1 else -2)
    if len(sb) == 1:
        return squeeze(_matmul(a, expand_dims(b, 1)), -1)
    return _matmul(a, b)


def _matmul_shape(a: Any, b: Any) -> tuple[int, ...]:
    sa, sb = shape_of(a), shape_of(b)
    return (*np.broadcast_shapes(sa[:-2], sb[:-2]), sa[-2], sb[-1])


_matmul = Primitive(
    "matmul", lambda xp, a, b: kernels_of(xp).matmul(a, b), doc="matrix product over the last two axes"
)
deflinear(
    _matmul,
    _matmul_shape,
    lambda ct, a, b: _matmul(ct, swapaxes(b, -1, -2)),
    lambda ct, a, b: _matmul(swapaxes(a, -1, -2), ct),
)


def _matmul_batch(args: Sequence[Any], params: dict, batched: tuple[int, ...]) -> Any:
    a, b = args
    if (
        batched == (0,) and len(shape_of(a)) == 3 and len(shape_of(b)) == 2
    ):  # k matrices are one with more rows
        return split_first(_matmul(fold_first(a), b), shape_of(a)[0])
    if batched == (1,) and len(shape_of(a)) == 2 and len(shape_of(b)) == 3:  # ... or with more columns
        return last_to_front(_matmul(a, front_to_last(b)), shape_of(b)[0])
    return _matmul(*aligned(args, batched))


_matmul.batch = _matmul_batch
_matmul.flops = lambda args, outs, params: 2 * shape_of(args[0])[-1] * math.prod(outs[0])


def dot(a: Any, b: Any) -> Any:
    """NumPy's dot: inner or matrix product; beyond two axes the sum over a's last and b's second last.

    >>> float(dot(np.ones(3), np.ones(3)))
    3.0
    """
    na, nb = len(shape_of(a)), len(shape_of(b))
    if na == 0 or nb == 0:
        return a * b
    return matmul(a, b) if na <= 2 and nb <= 2 else tensordot(a, b, ((na - 1,), (max(nb - 2, 0),)))


def matvec(x1: Any, x2: Any) -> Any:
    """Matrices times vectors over the last axes, (..., m, n) and (..., n) to (..., m), broadcast before them.

    >>> matvec(np.ones((5, 2, 3)), np.ones(3)).shape
    (5, 2)
    """
    _check_core("matvec", x1, x2, 2, 1)
    return squeeze(_matmul(as_array(x1), expand_dims(x2, -1)), -1)


def vecmat(x1: Any, x2: Any) -> Any:
    """Vectors times matrices over the last axes, (..., m) and (..., m, n) to (..., n), broadcast before them.

    >>> vecmat(np.ones(3), np.ones((5, 3, 2))).shape
    (5, 2)
    """
    _check_core("vecmat", x1, x2, 1, 2)
    return squeeze(_matmul(expand_dims(conjugate(x1), -2), as_array(x2)), -2)


def vecdot(x1: Any, x2: Any, axis: int = -1) -> Any:
    """Inner products of the vectors along `axis`, broadcast over the other axes.

    >>> vecdot(np.ones((5, 3)), np.ones(3))
    array([3., 3., 3., 3., 3.])
    """
    if axis != -1:
        x1, x2 = moveaxis(x1, axis, -1), moveaxis(x2, axis, -1)
    _check_core("vecdot", x1, x2, 1, 1)
    return squeeze(_matmul(expand_dims(conjugate(x1), -2), expand_dims(x2, -1)), (-2, -1))


def _check_core(name: str, a: Any, b: Any, na: int, nb: int) -> None:
    """Do the last `na` axes of `a` and the last `nb` of `b` fit together, as matrix or vector each?"""
    sa, sb = shape_of(a), shape_of(b)
    if len(sa) < na or len(sb) < nb or sa[-1] != sb[-nb]:
        raise ValueError(f"{name}: shapes {sa} and {sb} do not match in the axes that are summed over")


def inner(a: Any, b: Any) -> Any:
    """Sum of products over the last axes of both; a product where one is a number.

    >>> inner(np.ones((2, 3)), np.ones((4, 3))).shape
    (2, 4)
    """
    if not shape_of(a) or not shape_of(b):
        return as_array(a) * b
    _check_core("inner", a, b, 1, 1)
    return tensordot(a, b, (-1, -1))


def vdot(a: Any, b: Any) -> Any:
    """Inner product of two arrays of one size, taken as vectors.

    >>> float(vdot(np.ones((2, 3)), np.ones(6)))
    6.0
    """
    a, b = ravel_array(conjugate(a)), ravel_array(b)
    _check_core("vdot", a, b, 1, 1)
    return matmul(a, b)


def kron(a: Any, b: Any) -> Any:
    """Kronecker product: each element of `a` times the whole of `b`, in blocks.

    >>> kron(np.array([1.0, 2.0]), np.array([1.0, 1.0]))
    array([1., 1., 2., 2.])
    """
    ndim = max(len(shape_of(a)), len(shape_of(b)))
    sa, sb = [(1,) * (ndim - len(shape_of(x))) + shape_of(x) for x in (a, b)]
    left = reshape(a, [n for length in sa for n in (length, 1)])
    right = reshape(b, [n for length in sb for n in (1, length)])
    return reshape(left * right, [m * n for m, n in zip(sa, sb, strict=True)])


def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Any:
    """Vector products a x b in three dimensions; the vectors stand along `axis`, or one axis for each array.

    >>> cross(np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
    array([0., 0., 1.])
    """
    axisa, axisb, axisc = (axisa, axisb, axisc) if axis is None else (axis, axis, axis)
    a, b = moveaxis(a, axisa, -1), moveaxis(b, axisb, -1)
    m, n = shape_of(a)[-1], shape_of(b)[-1]
    if m != 3 or n != 3:
        raise ValueError(f"cross: vectors of length {m} and {n} were given: both must have three components")
    return moveaxis(_cross(a, b), -1, axisc)


_cross = Primitive("cross", lambda xp, a, b: xp.linalg.cross(a, b), doc="vector products over the last axis")
# a · (b x c) stays the same when its vectors change places in a circle.
deflinear(_cross, broadcast_shape, lambda ct, a, b: _cross(b, ct), lambda ct, a, b: _cross(ct, a))
_cross.flops = elementwise_flops(3)


def outer(a: Any, b: Any) -> Any:
    """Products of every element of `a` with every element of `b`, a matrix.

    >>> outer(np.ones(2), np.ones(3)).shape
    (2, 3)
    """
    return reshape(a, (-1, 1)) * reshape(b, (1, -1))


def tensordot(a: Any, b: Any, axes: Any = 2) -> Any:
    """Sum of products over `axes`: the last n of `a` with the first n of `b`, or a pair of axis lists.

    >>> tensordot(np.ones((2, 3)), np.ones((3, 4)), 1).shape
    (2, 4)
    """
    sa, sb = shape_of(a), shape_of(b)
    if isinstance(axes, int):
        axes = (tuple(range(len(sa) - axes, len(sa))), tuple(range(axes)))
    ia, ib = axes_of(a, axes[0]), axes_of(b, axes[1])
    if [sa[i] for i in ia] != [sb[i] for i in ib]:
        raise ValueError(f"tensordot: axes {ia} of shape {sa} and axes {ib} of shape {sb} do not match")
    ra, rb = [i for i in range(len(sa)) if i not in ia], [i for i in range(len(sb)) if i not in ib]
    n = math.prod([sa[i] for i in ia])
    left = reshape(transpose(a, (*ra, *ia)), (math.prod([sa[i] for i in ra]), n))
    right = reshape(transpose(b, (*ib, *rb)), (n, math.prod([sb[i] for i in rb])))
    return reshape(_matmul(left, right), [sa[i] for i in ra] + [sb[i] for i in rb])


# ----- Over any indices -----


def einsum(*operands: Any, optimize: Any = True) -> Any:
    """Einstein summation, any form NumPy takes: repeated letters, ellipsis, implicit output, lists of axes.

    The order of contraction is always optimized, here and in the derivatives, whatever `optimize` says.

    >>> einsum("ij,j->i", np.ones((2, 3)), np.ones(3))
    array([3., 3.])
    >>> einsum(np.ones((2, 3)), [0, 1], np.ones(3), [1], [0])
    array([3., 3.])
    """
    if isinstance(operands[0], str):
        subscripts, *factors = operands
    else:
        subscripts, factors = _lists_of_axes(operands)
    factors = [as_array(x) for x in factors]
    ins, out = _explicit(subscripts, [len(shape_of(x)) for x in factors])
    sizes = _sizes(factors, ins)
    for term, x in zip(ins, factors, strict=True):
        for letter, n in zip(term, shape_of(x), strict=True):
            if n not in (1, sizes[letter]):
                raise ValueError(
                    f"einsum {subscripts!r}: index {letter!r} has length {sizes[letter]} and {n}"
                )
    return _einsum(*factors, ins=tuple(ins), out=out)


def _lists_of_axes(operands: Sequence[Any]) -> tuple[str, list[Any]]:
    """einsum's form x, [0, 1], y, [1, 2], [0, 2] as subscripts and factors."""
    letters = "".join(sorted(ascii_letters))  # an implicit output is in this order

    def term(axes: Sequence[Any]) -> str:
        return "".join("..." if i is Ellipsis else letters[i] for i in axes)

    n = len(operands) // 2
    subscripts = ",".join(term(axes) for axes in operands[1 : 2 * n : 2])
    return subscripts + ("->" + term(operands[-1]) if len(operands) % 2 else ""), list(operands[: 2 * n : 2])


def _impl_einsum(xp: Any, *operands: Any, ins: tuple[str, ...], out: str) -> Any:
    return xp.einsum(
        f"{','.join(ins)}->{out}", *operands, **({"optimize": True} if len(operands) > 1 else {})
    )


def _einsum_transpose(ct: Any, args: Sequence[Any], params: dict, linear: tuple[int, ...]) -> list[Any]:
    """The factor's place is taken by the cotangent, and the result's by the factor.

    A letter that only the factor has, or has at full length, was summed away: ones bring it back. A letter it
    has twice (a diagonal) comes back as two letters joined by an identity matrix.
    """
    (i,) = linear
    ins, out = params["ins"], params["out"]
    others = [(term, x) for k, (term, x) in enumerate(zip(ins, args, strict=True)) if k != i]
    terms, factors = [out, *[t for t, _ in others]], [ct, *[x for _, x in others]]
    xp, dtype, shape = namespace_of(ct), dtype_of(ct), shape_of(args[i])
    fresh = iter([c for c in ascii_letters if c not in "".join(ins) + out])
    target = ""
    for letter, n in zip(ins[i], shape, strict=True):
        if letter in target:
            twin = next(fresh)
            terms.append(letter + twin)
            factors.append(xp.eye(n, dtype=dtype))
            letter = twin
        elif not any(letter in t and _length(t, x, letter) == n for t, x in zip(terms, factors, strict=True)):
            terms.append(letter)
            factors.append(xp.ones((n,), dtype=dtype))
        target += letter
    return [einsum(f"{','.join(terms)}->{target}", *factors)]


def _length(term: str, x: Any, letter: str) -> int:
    return shape_of(x)[term.index(letter)]


def _einsum_shape(args: Sequence[Any], params: dict) -> tuple[int, ...]:
    sizes = _sizes(args, params["ins"])
    return tuple(sizes[c] for c in params["out"])


def _einsum_flops(args: Sequence[Any], outs: Sequence[tuple], params: dict) -> int:
    """Of one nested loop a contraction, in NumPy's order: products, and a sum where an index goes."""
    terms, out, total = list(params["ins"]), params["out"], 0
    sizes, stand_ins = _sizes(args, terms), [np.broadcast_to(0.0, shape_of(x)) for x in args]
    for group in np.einsum_path(f"{','.join(terms)}->{out}", *stand_ins, optimize="greedy")[0][1:]:
        letters = set("".join(terms[i] for i in group))
        terms = [t for i, t in enumerate(terms) if i not in group]
        kept = letters & set(out + "".join(terms))
        total += (len(group) - 1 + (kept != letters)) * math.prod(sizes[c] for c in letters)
        terms.append("".join(kept))
    return total


def _einsum_bytes(args: Sequence[Any], outs: Sequence[Any], params: dict) -> int:
    """One array whose indices all stay gives a view."""
    return (
        0 if len(args) == 1 and set(params["ins"][0]) == set(params["out"]) else touched(args, outs, params)
    )


def _einsum_jvp(primals: Sequence[Any], tangents: Sequence[Any], params: dict) -> tuple[Any, Any]:
    ans, total = _einsum(*primals, **params), None
    for i, t in enumerate(tangents):
        if t is not None:
            term = _einsum(*primals[:i], t, *primals[i + 1 :], **params)
            total = term if total is None else total + term
    return ans, total


def _einsum_batch(args: Sequence[Any], params: dict, batched: Sequence[int]) -> Any:
    ins, out = params["ins"], params["out"]
    k = next(c for c in ascii_letters if c not in "".join(ins))
    return _einsum(*args, ins=tuple([k + t if i in batched else t for i, t in enumerate(ins)]), out=k + out)


_einsum = Primitive("einsum", _impl_einsum, doc="Einstein summation")
_einsum.batch = _einsum_batch
_einsum.linear = frozenset((i,) for i in range(len(ascii_letters)))
_einsum.shape, _einsum.transpose, _einsum.jvp = _einsum_shape, _einsum_transpose, _einsum_jvp
_einsum.flops, _einsum.bytes = _einsum_flops, _einsum_bytes


def _sizes(args: Sequence[Any], ins: Sequence[str]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for term, x in zip(ins, args, strict=True):
        for letter, n in zip(term, shape_of(x), strict=True):
            sizes[letter] = n if sizes.get(letter, 1) == 1 else sizes[letter]
    return sizes


def _explicit(subscripts: str, ndims: Sequence[int]) -> tuple[list[str], str]:
    """Subscripts with the output written out and letters for each ellipsis (right-aligned, as in NumPy)."""
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(ndims):
        raise ValueError(f"einsum {subscripts!r}: {len(terms)} operands are named, {len(ndims)} were given")
    spare = [c for c in ascii_letters if c not in text]
    widths = [n - len(t.replace("...", "")) for t, n in zip(terms, ndims, strict=True)]
    for t, n, width in zip(terms, ndims, widths, strict=True):
        if width < 0 or (width and "..." not in t):
            raise ValueError(f"einsum {subscripts!r}: {t!r} does not fit an array of {n} axes")
    dots = spare[: max(widths)] if any("..." in t for t in terms) else []
    if dots and arrow and "..." not in right:
        raise ValueError(f"einsum {subscripts!r}: the operands have axes under '...', the output must, too")
    ins = [t.replace("...", "".join(dots[len(dots) - w :])) for t, w in zip(terms, widths, strict=True)]
    if arrow:
        return ins, right.replace("...", "".join(dots))
    letters = "".join(ins)
    return ins, "".join(dots) + "".join(
        sorted(c for c in set(letters) if letters.count(c) == 1 and c not in dots)
    )
