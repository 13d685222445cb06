"""Products of arrays."""

from collections.abc import Callable

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import strategies as st

import minigrad as mg

from .builders import Case, X, Y, layout, normal, of, shapes


def matmul_case(draw: Callable, rng: np.random.Generator) -> Case:
    pattern = hnp.mutually_broadcastable_shapes(
        signature=np.matmul.signature, max_dims=2, max_side=3, min_side=0
    )
    args = [layout(draw, normal(rng, s)) for s in draw(pattern).input_shapes]
    return Case(lambda a, b: mg.matmul(a, b), tuple(args), True)


def einsum_case(draw: Callable, rng: np.random.Generator) -> Case:
    """One to three operands; repeated, summed, stretched letters, ellipsis, explicit and implicit output."""
    sizes = {c: draw(st.integers(1, 3)) for c in "ijKl"}
    dots = draw(st.booleans())
    batch = draw(shapes(max_dims=2, min_side=1, max_side=2))
    terms, args = [], []
    for _ in range(draw(st.integers(1, 3))):
        letters = draw(st.lists(st.sampled_from(sorted(sizes)), max_size=3))
        stretched = draw(st.sampled_from([None, None, *letters]))  # of length one here
        before = [1 if c == stretched else sizes[c] for c in letters]
        term = "".join(letters)
        if dots:
            k, own = draw(st.integers(0, len(letters))), draw(st.integers(0, len(batch)))
            lead = [draw(st.sampled_from([1, n])) for n in batch[len(batch) - own :]]
            before[k:k] = lead
            term = term[:k] + "..." + term[k:]
        terms.append(term)
        args.append(layout(draw, normal(rng, tuple(before))))
    subscripts = draw(st.sampled_from([",", ", "])).join(terms)
    if draw(st.booleans()):
        used = sorted(set("".join(terms)) - {"."})
        out = "".join(draw(st.permutations(used))[: draw(st.integers(0, len(used)))])
        k = draw(st.integers(0, len(out)))
        subscripts += "->" + (out[:k] + "..." + out[k:] if dots else out)
    return Case(lambda *xs: mg.einsum(subscripts, *xs), tuple(args), True)


def dot_case(draw: Callable, rng: np.random.Generator) -> Case:
    a, b = draw(shapes(min_side=1, max_side=3)), list(draw(shapes(min_side=1, max_side=3)))
    if a and b:
        b[-2 if len(b) > 1 else 0] = a[-1]
    args = layout(draw, normal(rng, a)), layout(draw, normal(rng, tuple(b)))
    return Case(lambda a, b: mg.dot(a, b), args, True)


def tensordot_case(draw: Callable, rng: np.random.Generator) -> Case:
    common = draw(st.lists(st.integers(0, 3), max_size=2))
    a, b = draw(shapes(max_dims=2, max_side=3)), draw(shapes(max_dims=2, max_side=3))
    n = len(common)
    if draw(st.booleans()):
        left, right, how = (*a, *common), (*common, *b), n
    else:
        left, right = (*common, *a), (*b, *common)
        how = list(range(n)), list(range(-n, 0))
    args = layout(draw, normal(rng, left)), layout(draw, normal(rng, right))
    return Case(lambda a, b: mg.tensordot(a, b, how), args, True)


def outer_case(draw: Callable, rng: np.random.Generator) -> Case:
    args = [layout(draw, normal(rng, draw(shapes(max_dims=2, max_side=3, min_side=1)))) for _ in "ab"]
    return Case(lambda a, b: mg.outer(a, b), tuple(args), True)


def gufunc_case(op: Callable, signature: str) -> Callable:
    """A case of a product over the last axes, broadcast over those before."""

    def case(draw: Callable, rng: np.random.Generator) -> Case:
        pattern = hnp.mutually_broadcastable_shapes(signature=signature, max_dims=2, max_side=3, min_side=0)
        args = [layout(draw, normal(rng, s)) for s in draw(pattern).input_shapes]
        return Case(lambda a, b: op(a, b), tuple(args))

    return case


def vecdot_case(draw: Callable, rng: np.random.Generator) -> Case:
    f, args, _ = gufunc_case(mg.vecdot, "(n),(n)->()")(draw, rng)
    axis = draw(st.integers(-min(a.ndim for a in args), -1))
    turned = tuple(np.moveaxis(a, -1, axis) for a in args)
    return Case(lambda a, b: mg.vecdot(a, b, axis=axis), turned)


def inner_case(draw: Callable, rng: np.random.Generator) -> Case:
    a, b = draw(shapes(max_dims=2, max_side=3)), draw(shapes(max_dims=2, max_side=3))
    if a and b:
        b = (*b[:-1], a[-1])
    args = layout(draw, normal(rng, a)), layout(draw, normal(rng, b))
    return Case(lambda a, b: mg.inner(a, b), args, True)


def vdot_case(draw: Callable, rng: np.random.Generator) -> Case:
    m, n = draw(st.tuples(*[st.integers(0, 3)] * 2))
    args = layout(draw, normal(rng, (m, n))), layout(draw, normal(rng, (n * m,)))
    return Case(lambda a, b: mg.vdot(a, b), args)


def kron_case(draw: Callable, rng: np.random.Generator) -> Case:
    args = [layout(draw, normal(rng, draw(shapes(max_side=2)))) for _ in "ab"]
    return Case(lambda a, b: mg.kron(a, b), tuple(args), True)


def cross_case(draw: Callable, rng: np.random.Generator) -> Case:
    pattern = hnp.mutually_broadcastable_shapes(signature="(3),(3)->(3)", max_dims=2, max_side=3, min_side=0)
    args = [layout(draw, normal(rng, s)) for s in draw(pattern).input_shapes]
    params = {}
    if draw(st.booleans()):
        places = [draw(st.integers(-a.ndim, a.ndim - 1)) for a in args]
        args = [np.moveaxis(a, -1, i) for a, i in zip(args, places, strict=True)]
        params = {"axisa": places[0], "axisb": places[1], "axisc": draw(st.sampled_from([0, -1]))}
    return Case(lambda a, b: mg.cross(a, b, **params), tuple(args), True)


CASES: dict[str, Callable] = {
    "matmul": matmul_case,
    "einsum": einsum_case,
    "cross": cross_case,
}

# Zero derivative wherever there is one: the functions themselves.
CONSTANTS: dict[str, Callable] = {}

# Public operations made of primitives.
COMPOSITES: dict[str, Callable] = {
    "dot": dot_case,
    "tensordot": tensordot_case,
    "outer": outer_case,
    "inner": inner_case,
    "vdot": vdot_case,
    "kron": kron_case,
    "vecdot": vecdot_case,
    "matvec": gufunc_case(mg.matvec, "(m,n),(n)->(m)"),
    "vecmat": gufunc_case(mg.vecmat, "(m),(m,n)->(n)"),
}

# Calls whose values are compared with those of the function of the same name in NumPy.
NUMPY_CALLS: dict[str, list] = {
    "dot": [
        of(X[0], Y[0].T),
        of(X[0, 0], Y[0, 0]),
        of(X, Y[0].T),
        of(X, 2.0),
        of(X, Y.swapaxes(1, 2)),
        of(X, Y[0, 0]),
        of(X[0, 0], Y.swapaxes(1, 2)),
        of(X[:, :0], Y[:0].swapaxes(1, 2)),
        of(X[..., :0], Y[:, :0, :]),
        of(2.0, 3.0),
        of([1.0, 2.0], [3.0, 4.0]),
    ],
    "outer": [of(X, Y[0]), of(X[0, 0], 2.0), of(X[:0], Y)],
    "inner": [
        of(X, Y),
        of(X[0], Y[0, 0]),
        of(X[0, 0], Y),
        of(X, 2.0),
        of(2.0, X),
        of(X[..., :0], Y[0, :, :0]),
    ],
    "vdot": [of(X, Y), of(X[0], Y[0].ravel()), of(2.0, 3.0), of(X[:0], Y[:0])],
    "kron": [of(X[0], Y[0]), of(X[0, 0], Y), of(X, Y[0, :2]), of(X, 2.0), of(X[0, 0], Y[0, 0]), of(X[:0], Y)],
    "cross": [
        of(X[..., :3], Y[..., :3]),
        of(X[..., :3], Y[0, 0, :3]),
        of(X, Y, axis=1),
        of(X, np.moveaxis(Y, 1, 0), axisa=1, axisb=0, axisc=0),
        of([1.0, 2.0, 3.0], [3, 2, 1]),
    ],
    "vecdot": [
        of(X, Y),
        of(X, Y[0, 0]),
        of(X, Y, axis=0),
        of(X, Y[0, :, :1], axis=-2),
        of(X[..., :0], Y[..., :0]),
    ],
    "matvec": [of(X, Y[0, 0]), of(X, Y[:, 0]), of(X[..., :0], Y[0, 0, :0])],
    "vecmat": [of(X[0, :, 0], Y), of(X[..., 0], Y)],
    "matmul": [of(X, Y.swapaxes(1, 2)), of(X, Y[0, 0]), of(Y[0, 0], X.swapaxes(1, 2)), of(Y[0, 0], X[0, 0])],
    "tensordot": [
        of(X, np.moveaxis(Y, 0, -1)),
        of(X, Y, axes=3),
        of(X, Y, ([0, 1], [0, 1])),
        of(X, Y, axes=0),
        of(X, Y, axes=(0, 0)),
        of(X, Y, axes=([-1, 0], [2, 0])),
        of(X, Y, ([], [])),
        of(X[..., :0], Y[..., :0], (2, 2)),
        of(2.0, X, 0),
    ],
    "einsum": [
        of("...j,kj->...k", X, Y[0]),
        of("ijk->", X),
        of("kji", X),
        of("ii->i", X[0, :, :3]),
        of(X, [0, 1, 2], Y[0], [1, 2], [0]),
        of(X, [2, 0, 1]),
        of(X, [Ellipsis, 30], Y[0], [3, 30], [Ellipsis, 3]),
        of(X[0], [50, 3], Y[0], [50, 3]),
        of("ij,jk,kl->il", X[0], Y[0].T, X[1], optimize=True),
        of("ij,j->i", X[0], Y[0, 0], optimize="greedy"),
        of("i,j", X[0, 0], Y[0, :, 0]),
        of(",i", 2.0, X[0, 0]),
        of("", 2.0),
        of("ij,jk", X[0, :, :0], Y[0, :0]),
        of("ij,jk->ik", X[0, :1, :0], Y[0, :1]),
        of("i...,i...", X, Y),
    ],
}

# Checked to third order, too.
THIRD = {"einsum", "matmul", "cross"}
