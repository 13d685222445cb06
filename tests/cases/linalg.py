"""Linear algebra: matrices with singular values between 0.6 and 2 that keep apart, and stacks of them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import minigrad as mg

from .builders import Case, X, Y, axes, layout, nonzero, normal, of, shapes


def stacks(draw: Callable) -> tuple:
    return draw(shapes(max_dims=2, max_side=2))


def orthonormal(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    return np.linalg.qr(normal(rng, shape)).Q


def spread(rng: np.random.Generator, stack: tuple, m: int, n: int) -> np.ndarray:
    """Matrices (*stack, m, n) of full rank: U diag(s) Vᵀ."""
    k = min(m, n)
    u, v = orthonormal(rng, (*stack, m, k)), orthonormal(rng, (*stack, n, k))
    return (u * values(k)) @ np.swapaxes(v, -1, -2)


def definite(rng: np.random.Generator, stack: tuple, n: int) -> np.ndarray:
    """Symmetric matrices with those numbers for eigenvalues."""
    q = orthonormal(rng, (*stack, n, n))
    return (q * values(n)) @ np.swapaxes(q, -1, -2)


def values(k: int) -> np.ndarray:
    return np.linspace(2, 0.6, k) if k > 1 else np.ones(k)


def square(op: Callable, least: int = 0, analytic: bool = False) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        n = draw(st.integers(least, 4))
        return Case(lambda a: op(a), (layout(draw, spread(rng, stacks(draw), n, n)),), analytic)

    return case


def rectangular(op: Callable, least: int = 0) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        m, n = draw(st.integers(least, 4)), draw(st.integers(least, 4))
        return Case(lambda a: op(a), (layout(draw, spread(rng, stacks(draw), m, n)),))

    return case


def one_triangle(op: Callable, how: list[dict]) -> Callable:
    """Of `op`, which reads one triangle: at a symmetric matrix, in directions that are not symmetric."""

    def case(draw: Callable, rng: np.random.Generator) -> Case:
        params = draw(st.sampled_from(how))
        a = definite(rng, stacks(draw), draw(st.integers(0, 4)))
        return Case(lambda a: op(a, **params), (layout(draw, a),))

    return case


def solve_case(draw: Callable, rng: np.random.Generator) -> Case:
    n, k = draw(st.integers(0, 3)), draw(st.integers(0, 2))
    stack = stacks(draw)
    left = draw(st.sampled_from([(), stack]))
    right = draw(st.sampled_from([(n,), *[(*s, n, k) for s in ((), stack, (2, *stack), (1,) * len(stack))]]))
    args = layout(draw, spread(rng, left, n, n)), layout(draw, normal(rng, right))
    return Case(lambda a, b: mg.linalg.solve(a, b), args, True)


def solve_triangular_case(draw: Callable, rng: np.random.Generator) -> Case:
    n, stack = draw(st.integers(0, 3)), stacks(draw)
    how = {
        "trans": draw(st.sampled_from([0, 1, "N", "T"])),
        "lower": draw(st.booleans()),
        "unit_diagonal": draw(st.booleans()),
    }
    a = np.eye(n) + 0.3 * normal(rng, (*stack, n, n)).clip(-1, 1)
    b = normal(rng, draw(st.sampled_from([(n,), (*stack, n, 2)])))
    return Case(
        lambda a, b: mg.linalg.solve_triangular(a, b, **how), (layout(draw, a), layout(draw, b)), True
    )


def tensorsolve_case(draw: Callable, rng: np.random.Generator) -> Case:
    b, x = draw(st.sampled_from([((4,), (2, 2)), ((2, 3), (6,)), ((2, 2), (4, 1))]))
    n = math.prod(b)
    a = spread(rng, (), n, n).reshape(*b, *x)
    moved = draw(st.booleans())
    if moved:  # the axes of x stand first
        a = np.moveaxis(a, range(len(b), a.ndim), range(len(x)))
    how = tuple(range(len(x))) if moved else None
    args = layout(draw, a), layout(draw, normal(rng, b))
    return Case(lambda a, b: mg.linalg.tensorsolve(a, b, how), args, True)


def tensorinv_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape, ind = draw(st.sampled_from([((2, 2, 4), 2), ((4, 2, 2), 1), ((1, 2, 2), 2)]))
    n = math.prod(shape[:ind])
    a = layout(draw, spread(rng, (), n, n).reshape(shape))
    return Case(lambda a: mg.linalg.tensorinv(a, ind), (a,), True)


def lstsq_case(draw: Callable, rng: np.random.Generator) -> Case:
    m, n = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    args = spread(rng, (), m, n), normal(rng, draw(st.sampled_from([(m,), (m, 2)])))

    def f(a: Any, b: Any) -> Any:
        x, residuals, _, s = mg.linalg.lstsq(a, b)
        return x, residuals, s

    return Case(f, tuple(layout(draw, a) for a in args))


def matrix_power_case(draw: Callable, rng: np.random.Generator) -> Case:
    n = draw(st.integers(-3, 5))
    return square(lambda a: mg.linalg.matrix_power(a, n), analytic=True)(draw, rng)


def multi_dot_case(draw: Callable, rng: np.random.Generator) -> Case:
    sizes = draw(st.lists(st.integers(0, 3), min_size=3, max_size=5))
    arrays = [normal(rng, s) for s in zip(sizes, sizes[1:], strict=False)]
    if draw(st.booleans()):
        arrays[0] = normal(rng, sizes[1:2])
    if draw(st.booleans()):
        arrays[-1] = normal(rng, sizes[-2:-1])
    return Case(lambda *xs: mg.linalg.multi_dot(xs), tuple(layout(draw, a) for a in arrays), True)


VECTOR_ORDERS = [2, 1, 3, 1.5, -1, -2.5, math.inf, -math.inf]
MATRIX_ORDERS = ["fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf]


def norm_case(draw: Callable, rng: np.random.Generator) -> Case:
    keepdims = draw(st.booleans())
    if draw(st.booleans()):
        x = nonzero(rng, draw(shapes(min_side=1, max_side=3)))
        ord, axis = None, None
        if x.ndim and draw(st.booleans()):
            ord, axis = draw(st.sampled_from([None, *VECTOR_ORDERS])), draw(st.integers(-x.ndim, x.ndim - 1))
    else:
        x = spread(rng, stacks(draw), draw(st.integers(1, 3)), draw(st.integers(1, 3)))
        axis = tuple(draw(st.permutations(range(-x.ndim, 0)))[:2])
        ord, x = draw(st.sampled_from([None, *MATRIX_ORDERS])), np.moveaxis(x, (-2, -1), axis)
        axis = axis if x.ndim > 2 else draw(st.sampled_from([None, axis]))
    return Case(lambda x: mg.linalg.norm(x, ord, axis, keepdims), (layout(draw, x),))


def vector_norm_case(draw: Callable, rng: np.random.Generator) -> Case:
    x = nonzero(rng, draw(shapes(min_side=1, max_side=3)))
    how: dict = {"axis": axes(draw, x.ndim), "keepdims": draw(st.booleans())}
    how["ord"] = draw(st.sampled_from(VECTOR_ORDERS))
    return Case(lambda x: mg.linalg.vector_norm(x, **how), (layout(draw, x),))


def matrix_norm_case(draw: Callable, rng: np.random.Generator) -> Case:
    how = {"keepdims": draw(st.booleans()), "ord": draw(st.sampled_from(MATRIX_ORDERS))}
    return rectangular(lambda x: mg.linalg.matrix_norm(x, **how), least=1)(draw, rng)


def cond_case(draw: Callable, rng: np.random.Generator) -> Case:
    p = draw(st.sampled_from([None, *MATRIX_ORDERS]))
    kind = rectangular if p in (None, 2, -2) else square
    return kind(lambda x: mg.linalg.cond(x, p), least=1)(draw, rng)


def offset(op: Callable) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        x = normal(rng, (*stacks(draw), draw(st.integers(1, 4)), draw(st.integers(1, 4))))
        k = draw(st.integers(1 - x.shape[-2], x.shape[-1] - 1))
        return Case(lambda x: op(x, offset=k), (layout(draw, x),), True)

    return case


def of_spectrum(a: Any) -> Any:
    """sin of a symmetric matrix, which does not depend on the signs of its eigenvectors."""
    w, v = mg.linalg.eigh(a)
    return mg.matmul(v * mg.sin(w)[..., None, :], mg.swapaxes(v, -1, -2))


def polar(a: Any) -> Any:
    """The orthogonal factor of the polar decomposition, which does not depend on signs."""
    u, _, vh = mg.linalg.svd(a, full_matrices=False)
    return mg.matmul(u, vh)


CASES: dict[str, Callable] = {
    "solve": solve_case,
    "inv": square(mg.linalg.inv, analytic=True),
    "det": square(mg.linalg.det, analytic=True),
    "cofactors": square(mg.grad(lambda a: mg.sum(mg.linalg.det(a)))),
    "slogdet": square(lambda a: tuple(mg.linalg.slogdet(a))),
    "pinv": rectangular(mg.linalg.pinv),
    "cholesky": one_triangle(mg.linalg.cholesky, [{}, {"upper": True}]),
    "qr": rectangular(lambda a: tuple(mg.linalg.qr(a))),
    "eigh": one_triangle(lambda a, **how: tuple(mg.linalg.eigh(a, **how)), [{}, {"UPLO": "U"}]),
    "eigvalsh": one_triangle(mg.linalg.eigvalsh, [{}, {"UPLO": "U"}]),
    "svd": rectangular(lambda a: tuple(mg.linalg.svd(a, full_matrices=False))),
    "svdvals": rectangular(mg.linalg.svdvals),
}

# Zero derivative wherever there is one: the functions themselves.
CONSTANTS: dict[str, Callable] = {
    "matrix_rank": rectangular(lambda a: mg.linalg.matrix_rank(a)[..., None, None], least=1),
}

# Public operations made of primitives.
COMPOSITES: dict[str, Callable] = {
    "linalg.solve_triangular": solve_triangular_case,
    "linalg.tensorsolve": tensorsolve_case,
    "linalg.tensorinv": tensorinv_case,
    "linalg.lstsq": lstsq_case,
    "linalg.matrix_power": matrix_power_case,
    "linalg.multi_dot": multi_dot_case,
    "linalg.norm": norm_case,
    "linalg.vector_norm": vector_norm_case,
    "linalg.matrix_norm": matrix_norm_case,
    "linalg.cond": cond_case,
    "linalg.diagonal": offset(mg.linalg.diagonal),
    "linalg.trace": offset(mg.linalg.trace),
    "linalg.qr": rectangular(lambda a: mg.linalg.qr(a, "r")),
    "linalg.svd": square(lambda a: tuple(mg.linalg.svd(a))),
    "linalg.eigh": one_triangle(of_spectrum, [{}]),
    "polar decomposition": rectangular(polar),
}

_rng = np.random.default_rng(5)
A, TALL, WIDE = spread(_rng, (2,), 3, 3), spread(_rng, (2,), 4, 3), spread(_rng, (2,), 2, 4)
S, FOUR = definite(_rng, (2,), 3), spread(_rng, (), 4, 4)
LOWER, UPPER = np.tril(S) + np.triu(X[:, :, :3], 1), np.triu(S) + np.tril(X[:, :, :3], -1)
B = Y[0, :, :2]

# Calls whose values are compared with those of the function of the same name in NumPy.
NUMPY_CALLS: dict[str, list] = {
    "linalg.solve": [of(A, B), of(A[0], B), of(A, B[:, 0]), of(A[0], np.stack([B, 2 * B])), of(A, [1, 2, 3])],
    "linalg.inv": [of(A), of(A[0]), of([[2, 1], [1, 3]])],
    "linalg.det": [of(A), of(A[0]), of(np.ones((2, 2)))],
    "linalg.slogdet": [of(A), of(-A[0])],
    "linalg.pinv": [of(A), of(TALL), of(WIDE), of(TALL, 0.5), of(TALL, rtol=np.array([0.4, 0.8]))],
    "linalg.lstsq": [of(TALL[0], Y[0].T), of(TALL[0], Y[0, 0]), of(WIDE[0], B[:2]), of(A[0], B, 0.5)],
    "linalg.matrix_rank": [of(A), of(np.ones((3, 2))), of(X[0, 0]), of(TALL, 1.0), of(TALL, rtol=0.5)],
    "linalg.tensorsolve": [of(FOUR.reshape(2, 2, 4), B[:2]), of(FOUR.reshape(2, 4, 2), Y[0, 0] + 1, (0, 2))],
    "linalg.tensorinv": [of(FOUR.reshape(2, 2, 4)), of(FOUR.reshape(4, 2, 2), ind=1)],
    "linalg.cholesky": [of(LOWER), of(LOWER[0]), of(UPPER, upper=True)],
    "linalg.qr": [of(A), of(TALL), of(WIDE), of(A, "complete"), of(WIDE, "complete"), of(TALL, mode="r")],
    "linalg.eigh": [of(LOWER), of(UPPER[0], "U")],
    "linalg.eigvalsh": [of(LOWER), of(UPPER[0], UPLO="u")],
    "linalg.svd": [of(A), of(TALL, full_matrices=False), of(WIDE, False), of(TALL, compute_uv=False)],
    "linalg.svdvals": [of(A), of(WIDE)],
    "linalg.matrix_power": [*[of(A, n) for n in range(-2, 4)], of([[1, 2], [3, 4]], 5)],
    "linalg.multi_dot": [
        of([X[0], Y[0].T]),
        of([X[0], Y[0].T, A[0]]),
        of([X[0, 0], Y[0].T, A[0], B, B[1]]),
    ],
    "linalg.norm": [
        of(X),
        of(X, keepdims=True),
        *[of(X[0, 0], ord) for ord in [None, 0, *VECTOR_ORDERS]],
        *[of(X, ord, axis=1, keepdims=True) for ord in (None, 0, 1, 2, 3, math.inf)],
        *[of(TALL[0], ord) for ord in [None, *MATRIX_ORDERS]],
        *[of(TALL, ord, axis=(-1, 0)) for ord in [None, *MATRIX_ORDERS]],
        *[of(TALL, ord, axis=(0, 2), keepdims=True) for ord in (None, 1, 2)],
    ],
    "linalg.vector_norm": [of(X), of(X, axis=(0, 2), ord=3), of(X, axis=-1, keepdims=True, ord=math.inf)],
    "linalg.matrix_norm": [of(TALL), of(TALL, ord=1), of(TALL, ord="nuc", keepdims=True)],
    "linalg.cond": [of(A), *[of(A, p) for p in MATRIX_ORDERS], of(TALL, 2)],
    "linalg.diagonal": [of(X), of(X, offset=1), of(X, offset=-1)],
    "linalg.trace": [of(X), of(X, offset=1), of(X, offset=-1)],
    "linalg.vecdot": [of(X, Y), of(X, Y[0], axis=-2)],
    "linalg.cross": [of(X[..., :3], Y[..., :3]), of(X, Y, axis=1), of([1, 2, 3], [4, 5, 6])],
    "linalg.matrix_transpose": [of(X)],
    "linalg.matmul": [of(X, Y.swapaxes(1, 2))],
    "linalg.outer": [of(X[0, 0], Y[0, 0])],
    "linalg.tensordot": [of(X, Y, axes=3), of(X, Y, axes=([0, 1], [0, 1]))],
}

# Checked to third order, too.
THIRD = {"solve", "inv", "det", "slogdet", "pinv", "cholesky", "qr", "eigh", "svd", "linalg.lstsq"}
