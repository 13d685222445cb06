"""Real functions that go through complex numbers: parts, angles, Fourier transforms, general eigenvalues."""

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import minigrad as mg
from minigrad.core import dtype_of, result_dtype

from .builders import Case, X, Y, axes, broadcastable, layout, like, nonzero, normal, of, shapes


def through(op: Callable, left: Callable = normal, right: Callable = normal) -> Callable:
    """`op` of x + iy, as a sum of its parts with random weights."""

    def case(draw: Callable, rng: np.random.Generator) -> Case:
        a, b = broadcastable(draw, 2)
        args = layout(draw, left(rng, a)), layout(draw, right(rng, b))
        weights = complex_normal(rng, np.broadcast_shapes(a, b))
        return Case(lambda x, y: back(like(x, weights) * op(x + 1j * y), x, y), args)

    return case


def back(z: Any, *xs: Any) -> Any:
    """The real part, in the dtype of the arguments: half precision has no complex counterpart."""
    return mg.astype(mg.real(z), result_dtype(xs))


def complex_normal(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    return normal(rng, shape) + 1j * normal(rng, shape)


def transform(op: Callable, draw_axes: Callable, one: bool = False, half: str = "") -> Callable:
    """A Fourier transform: `draw_axes(draw, ndim)`, lengths or none, normalisation; of real or complex input.

    `one`: it takes n and axis, not s and axes. `half`: "in" or "out" has half of the frequencies.
    """

    def case(draw: Callable, rng: np.random.Generator) -> Case:
        shape = list(draw(shapes(min_dims=1 if one else 2, max_dims=3, min_side=0)))
        where = draw_axes(draw, len(shape))
        chosen = range(len(shape)) if where is None else [where] if one else where
        for i in chosen:
            shape[i] = max(shape[i], 1)
        lengths = [draw(st.integers(1, 5)) for _ in chosen] if draw(st.booleans()) else None
        if half == "in" and lengths is None:
            shape[chosen[-1]] = max(shape[chosen[-1]], 2)
        how: dict[str, Any] = {"norm": draw(st.sampled_from([None, "backward", "ortho", "forward"]))}
        if one:
            how |= {"axis": where, "n": lengths and lengths[0]}
        else:
            how |= {"axes": list(chosen) if lengths else where, "s": lengths}
        real_only = half == "out" or draw(st.booleans())
        args = [layout(draw, normal(rng, tuple(shape))) for _ in range(1 if real_only else 2)]
        weights = complex_normal(rng, op(args[0], **how).shape)

        def f(x: Any, *y: Any) -> Any:
            return back(like(x, weights) * op(x + 1j * y[0] if y else x, **how), x, *y)

        return Case(f, tuple(args))

    return case


def one_axis(draw: Callable, ndim: int) -> int:
    return draw(st.integers(-ndim, ndim - 1))


def two_axes(draw: Callable, ndim: int) -> tuple:
    return tuple(draw(st.permutations(range(-ndim, 0)))[:2])


def some_axes(draw: Callable, ndim: int) -> tuple | None:
    several = st.permutations(range(-ndim, 0)).flatmap(
        lambda order: st.integers(1, ndim).map(lambda k: tuple(order[:k]))
    )
    return draw(st.none() | several)


def shift(op: Callable) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        shape = draw(shapes())
        where = axes(draw, len(shape))
        return Case(lambda x: op(x, axes=where), (layout(draw, normal(rng, shape)),), True)

    return case


def right_half(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    return rng.uniform(0.3, 2, shape)


def real_if_close_case(draw: Callable, rng: np.random.Generator) -> Case:
    tiny = draw(st.sampled_from([0, 1e-9, 1.0]))  # real for the first two
    tol = draw(st.sampled_from([1e-3, 2.0**40]))
    return through(lambda z: mg.real_if_close(mg.real(z) + 1j * tiny * mg.imag(z), tol), right=nonzero)(
        draw, rng
    )


def question(op: Callable) -> Callable:
    """What is asked of x + i times a mask is a constant, and says where x is not zero."""

    def case(draw: Callable, rng: np.random.Generator) -> Case:
        shape = draw(shapes())
        mask = rng.random(shape) < 0.5
        return Case(
            lambda x: mg.where(op(x + 1j * mg.astype(like(x, mask), dtype_of(x))), x, 0.0),
            (layout(draw, nonzero(rng, shape)),),
        )

    return case


def eigen(op: Callable) -> Callable:
    """Parts of what `op` gives; eigenvalues are apart, and each eigenvector has one largest component."""

    def case(draw: Callable, rng: np.random.Generator) -> Case:
        stack, n = draw(shapes(max_dims=1, max_side=2)), draw(st.integers(0, 3))
        a = np.zeros((*stack, n, n))
        for i in np.ndindex(stack) if n else ():
            a[i] = well_separated(rng, n)
        weights = [complex_normal(rng, out.shape) for out in op(a)]
        # Squares: the sign of an eigenvector is LAPACK's, and changes from one matrix to the next.
        return Case(
            lambda a: tuple(back(like(a, c) * out * out, a) for c, out in zip(weights, op(a), strict=True)),
            (layout(draw, a),),
        )

    return case


def well_separated(rng: np.random.Generator, n: int) -> np.ndarray:
    while True:
        a = normal(rng, (n, n))
        w, v = np.linalg.eig(a)
        gaps = np.abs(w[:, None] - w) + 9 * np.eye(n)
        sizes = np.sort(np.abs(v), axis=0)
        if gaps.min() > 0.7 and np.linalg.cond(v) < 6 and (n == 1 or np.min(sizes[-1] - sizes[-2]) > 0.1):
            return a


CASES: dict[str, Callable] = {
    "imag": through(mg.imag),
    "conjugate": through(mg.conjugate),
    "angle": through(mg.angle, right_half),
    "fft": transform(mg.fft.fft, one_axis, one=True),
    "ifft": transform(mg.fft.ifft, one_axis, one=True),
    "rfft": transform(mg.fft.rfft, one_axis, one=True, half="out"),
    "irfft": transform(mg.fft.irfft, one_axis, one=True, half="in"),
    "eig": eigen(mg.linalg.eig),
    "eigvals": eigen(lambda a: (mg.linalg.eigvals(a),)),
}

# Public operations made of primitives, and primitives that have a rule of their own for complex numbers.
COMPOSITES: dict[str, Callable] = {
    "absolute of complex": through(mg.abs, right_half),
    "sign of complex": through(mg.sign, right_half),
    "real": through(mg.real),
    "conj": through(mg.conj),
    "iscomplex": question(mg.iscomplex),
    "isreal": question(mg.isreal),
    "real_if_close": real_if_close_case,
    "fft.hfft": transform(mg.fft.hfft, one_axis, one=True, half="in"),
    "fft.ihfft": transform(mg.fft.ihfft, one_axis, one=True, half="out"),
    "fft.fft2": transform(mg.fft.fft2, two_axes),
    "fft.ifft2": transform(mg.fft.ifft2, two_axes),
    "fft.rfft2": transform(mg.fft.rfft2, two_axes, half="out"),
    "fft.irfft2": transform(mg.fft.irfft2, two_axes, half="in"),
    "fft.fftn": transform(mg.fft.fftn, some_axes),
    "fft.ifftn": transform(mg.fft.ifftn, some_axes),
    "fft.rfftn": transform(mg.fft.rfftn, some_axes, half="out"),
    "fft.irfftn": transform(mg.fft.irfftn, some_axes, half="in"),
    "fft.fftshift": shift(mg.fft.fftshift),
    "fft.ifftshift": shift(mg.fft.ifftshift),
}

Z, TURN = X + 1j * Y, np.array([[[0.0, -2.0], [1.0, 1.0]], [[0.5, -1.0], [1.0, 0.5]]])
PARTS = [of(X), of(Z), of(X[0, 1, 2]), of(Z[0, 1, 2]), of(X.astype(np.float32)), of(Z.astype(np.complex64))]
ONE_AXIS = [of(X), of(X, 3), of(X, 6, 1), of(X, axis=0, norm="ortho"), of(X, norm="forward")]
SEVERAL = [
    of(X),
    of(X, (3, 5), (0, -1)),
    of(X, (-1, 2), (2, 1), norm="ortho"),
    of(X, axes=(1, 0), norm="forward"),
]

# Calls whose values are compared with those of the function of the same name in NumPy.
NUMPY_CALLS: dict[str, list] = {
    **{name: PARTS for name in ("real", "imag", "conj", "conjugate", "iscomplex", "isreal", "angle")},
    "real_if_close": [of(Z), of(X), of(X + 1e-14j), of(X + 1e-12j), of(X + 1e-3j, tol=0.1)],
    **{
        f"fft.{name}": [*ONE_AXIS, of(Z, 5, -2), of(Z.astype(np.complex64))]
        for name in ("fft", "ifft", "irfft", "hfft")
    },
    **{f"fft.{name}": [*ONE_AXIS, of(X.astype(np.float32))] for name in ("rfft", "ihfft")},
    **{f"fft.{k}fft{n}": [*SEVERAL, of(Z, (3, 2), (0, 1))] for k in ("", "i", "ir") for n in "2n"},
    **{f"fft.rfft{n}": SEVERAL for n in "2n"},
    **{f"fft.{k}fftshift": [of(X), of(X, 1), of(X, (0, -1)), of(Z, ())] for k in ("", "i")},
    **{f"linalg.{name}": [of(TURN), of(TURN[0]), of(TURN.astype(np.float32))] for name in ("eig", "eigvals")},
}

# Checked to third order, too.
THIRD = {"angle", "absolute of complex", "sign of complex", "irfft", "eig"}
