"""Products: matmul, einsum and what they give (dot, tensordot, outer).

All are linear in each factor, so their derivatives are products again.
"""

import math
from collections.abc import Sequence
from string import ascii_letters
from typing import Any

import numpy as np

from ..core import Primitive, dtype_of, namespace_of, shape_of
from ..rules import deflinear
from .reduce import axes_of
from .shape import expand_dims, reshape, squeeze, swapaxes, transpose

__all__ = ["dot", "einsum", "matmul", "outer", "tensordot"]


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


_matmul = Primitive("matmul", lambda xp, a, b: xp.matmul(a, b), doc="matrix product over the last two axes")
deflinear(
    _matmul,
    _matmul_shape,
    lambda ct, a, b: _matmul(ct, swapaxes(b, -1, -2)),
    lambda ct, a, b: _matmul(swapaxes(a, -1, -2), ct),
)
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


def einsum(subscripts: str, *operands: Any) -> Any:
    """Einstein summation, any form NumPy takes as a string: repeated letters, ellipsis, implicit output.

    >>> einsum("ij,j->i", np.ones((2, 3)), np.ones(3))
    array([3., 3.])
    """
    ins, out = _explicit(subscripts, [len(shape_of(x)) for x in operands])
    sizes: dict[str, int] = {}
    for term, x in zip(ins, operands, strict=True):
        for letter, n in zip(term, shape_of(x), strict=True):
            if sizes.setdefault(letter, n) != n:
                if 1 not in (n, sizes[letter]):
                    raise ValueError(
                        f"einsum {subscripts!r}: index {letter!r} has length {sizes[letter]} and {n}"
                    )
                sizes[letter] = max(n, sizes[letter])
    return _einsum(*operands, ins=tuple(ins), out=out)


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
            factors.append(xp.ones(n, dtype))
        target += letter
    return [einsum(f"{','.join(terms)}->{target}", *factors)]


def _length(term: str, x: Any, letter: str) -> int:
    return shape_of(x)[term.index(letter)]


def _einsum_shape(args: Sequence[Any], params: dict) -> tuple[int, ...]:
    sizes = _sizes(args, params["ins"])
    return tuple(sizes[c] for c in params["out"])


def _einsum_flops(args: Sequence[Any], outs: Sequence[tuple], params: dict) -> int:
    """Of one nested loop over all indices; NumPy may find an order that needs fewer."""
    sizes = _sizes(args, params["ins"])
    return max(len(args), 1) * math.prod(list(sizes.values()))


def _einsum_jvp(primals: Sequence[Any], tangents: Sequence[Any], params: dict) -> tuple[Any, Any]:
    ans, total = _einsum(*primals, **params), None
    for i, t in enumerate(tangents):
        if t is not None:
            term = _einsum(*primals[:i], t, *primals[i + 1 :], **params)
            total = term if total is None else total + term
    return ans, total


_einsum = Primitive("einsum", _impl_einsum, doc="Einstein summation")
_einsum.linear = frozenset((i,) for i in range(len(ascii_letters)))
_einsum.shape, _einsum.transpose, _einsum.jvp, _einsum.flops = (
    _einsum_shape,
    _einsum_transpose,
    _einsum_jvp,
    _einsum_flops,
)


def _sizes(args: Sequence[Any], ins: Sequence[str]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for term, x in zip(ins, args, strict=True):
        for letter, n in zip(term, shape_of(x), strict=True):
            sizes[letter] = max(n, sizes.get(letter, 0)) if n else 0
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
    ins = [t.replace("...", "".join(dots[len(dots) - w :])) for t, w in zip(terms, widths, strict=True)]
    if arrow:
        return ins, right.replace("...", "".join(dots))
    letters = "".join(ins)
    return ins, "".join(dots) + "".join(
        sorted(c for c in set(letters) if letters.count(c) == 1 and c not in dots)
    )
