"""NumPy speaks to traced values: operators, ufuncs, functions and methods, with NumPy's values."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import core
from minigrad.tree import tree_leaves


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def assert_plain(tree):
    assert not any(isinstance(leaf, core.Tracer) for leaf in tree_leaves(tree))


X, Y = draw(3, 4), draw(3, 4, seed=5) + 4  # Y is positive
PROGRAMS = {
    "sin @": lambda x, y: np.sin(x) @ y.T,
    "operators": lambda x, y: -x + y * 2 - x / y + (+x) ** 2 - abs(x),
    "reflected scalars": lambda x, y: 1 + x - (2 - y) * (3 * x) / (4 / y) + 2**x,
    "array on the left, *": lambda x, y: X * x + Y / y - (X - x) + (Y**x),
    "array on the left, @": lambda x, y: X.T @ x + np.ones(3) @ y,
    "array on the right": lambda x, y: x * X + y / Y - (x - X) + (y**X) + (x @ Y.T).sum(),
    "NumPy scalar on the left": lambda x, y: np.float64(2) * x + np.float64(3) / y - np.float64(1) ** x,
    "list on either side": lambda x, y: [1.0, 2.0, 3.0, 4.0] * x + y * [1.0, 0.0, 1.0, 0.0],
    "augmented assignment": lambda x, y: augmented(x, y),
    "broadcasting": lambda x, y: (
        (x[0] + X).sum(0) + (X - y[0]).sum(0) * (x[:, :1] * y[1] / X).sum() + (y[0] ** X)[0]
    ),
    "comparisons": lambda x, y: x * (x > 0) + y * (X - 1 <= x) + x * (x == y) + y * (x != 0) + x * (1 < y),
    "basic indexing": lambda x, y: x[1] * y[:, None, 2:3] + x[..., -1].sum() + y[::-1, ::2].sum(),
    "array indexing": lambda x, y: x[[0, 2, 2], [1, 1, 3]] + y[np.array([1, 1, 0]), 2],
    "mask": lambda x, y: x[x > 0].sum() * y[Y > 4],
    "T and reshape": lambda x, y: x.T.reshape(2, -1) * y.reshape((2, 6)) + x.reshape(-1, 6),
    "transpose": lambda x, y: (
        x.transpose() + y.transpose(1, 0) + np.transpose(x, (1, 0)) + y.transpose((1, 0))
    ),
    "methods": lambda x, y: (
        x.sum(0) + y.mean(axis=0) + x.max(axis=0) - y.min(0) + x.var(0) + y.std(0, ddof=1)
    ),
    "more methods": lambda x, y: (
        x.ravel() @ y.flatten() + x.clip(-1, 1).swapaxes(0, 1).sum() + y.take([1, 0], axis=1).dot(np.ones(2))
    ),
    "constants by method": lambda x, y: (
        x * x.any(axis=0) + y.round(decimals=1) * x + x.all() + y[y.argmax(0), 0]
    ),
    "copy and squeeze": lambda x, y: x[None].squeeze(0).copy() * np.copy(y) + np.squeeze(y[:, None], axis=1),
    "astype": lambda x, y: x.astype(np.float32).astype(float) * y.astype("f8"),
    "sum": lambda x, y: np.sum(x) + np.sum(y, axis=1, keepdims=True) + np.sum(x, axis=(0, 1)),
    "mean, var, std": lambda x, y: np.mean(x, axis=0) + np.var(y) + np.std(x, axis=1, keepdims=True),
    "max, min": lambda x, y: np.max(x, axis=1) * np.min(y, axis=1) + np.amax(x) - np.amin(y, axis=0).sum(),
    "maximum, minimum": lambda x, y: np.maximum(x, 0.1) + np.minimum(X + 0.5, y) + np.maximum(x, y),
    "reduce of a ufunc": lambda x, y: np.add.reduce(x) + np.maximum.reduce(y, axis=0) - np.minimum.reduce(x),
    "reduce over all axes": lambda x, y: np.add.reduce(x, axis=None) * np.add.reduce(y, axis=(0, 1)),
    "where": lambda x, y: np.where(x > 0, x, y) + np.where(X > 0, 1.0, x) + np.where(y > 4, y, 2.0),
    "concatenate": lambda x, y: (
        np.concatenate([x, X, 2 * y], axis=1) @ np.ones(12) + np.concatenate((x, y))[:3, 0]
    ),
    "concatenate as vectors": lambda x, y: np.concatenate([x, y[0]], axis=None),
    "stack": lambda x, y: np.stack([x, y, X], axis=-1) * 2,
    "split": lambda x, y: np.split(x, 2, axis=1)[1] * np.split(y, [2], axis=1)[0] + np.split(x, 3)[0][0, 0],
    "einsum": lambda x, y: np.einsum("ij,kj->ik", x, y, optimize=True) + np.einsum("ij->", x * y),
    "tensordot": lambda x, y: np.tensordot(x, y, axes=([1], [1])) + np.tensordot(x, y, 2),
    "dot, outer, matmul": lambda x, y: np.dot(x, y.T) + np.outer(x[:, 0], y[:, 1]) + np.matmul(x, y.T),
    "clip": lambda x, y: np.clip(x, -0.5, 0.5) + np.clip(y, a_min=4.0, a_max=None) + np.clip(x, min=0, max=1),
    "pad": lambda x, y: np.pad(x, 1).sum() + np.pad(y, pad_width=((1, 0), (0, 2)), constant_values=2.0),
    "pad mode": lambda x, y: np.pad(x, ((0, 0), (1, 1)), "constant") @ np.ones(6) * y[:, 0],
    "reshape": lambda x, y: np.reshape(x, (4, 3)) + np.ravel(y).reshape(4, 3) + np.reshape(x, -1)[0],
    "axes": lambda x, y: np.swapaxes(x, 0, 1) + np.moveaxis(y, 0, 1) + np.expand_dims(x, 0).sum(0).T,
    "broadcast_to": lambda x, y: np.broadcast_to(x[0], (3, 4)) * y + np.broadcast_to(x, (2, 3, 4)).sum(0),
    "take": lambda x, y: np.take(x, [0, 2], axis=0) + np.take(y, np.array([5, 1])).sum(),
    "like": lambda x, y: np.zeros_like(x) + np.ones_like(y) * x + np.full_like(y, 3.0) * y,
    "exponentials": lambda x, y: (
        np.exp(x) + np.log(y) + np.expm1(x) * np.log1p(y) + np.sqrt(y) + np.square(x)
    ),
    "trigonometry": lambda x, y: np.sin(x) + np.cos(y) * np.tan(x / 4) + np.arctan(x) + np.arctan2(x, y),
    "hyperbolics": lambda x, y: (
        np.tanh(x) + np.sinh(x) * np.cosh(y / 8) + np.arcsin(x / 12) * np.arccos(y / 12)
    ),
    "arithmetic": lambda x, y: (
        np.add(x, y) * np.subtract(y, 1) / np.multiply(2, y) - np.negative(np.divide(x, y))
    ),
    "powers": lambda x, y: (
        np.power(y, 1.5) + y**x + np.reciprocal(y) + np.absolute(x) + np.positive(x) + y**-1
    ),
    "steps": lambda x, y: (
        np.sign(x) * y + np.floor(y) * x + np.ceil(x) + np.round(y, 1) * x + np.isfinite(x) * x
    ),
    "questions": lambda x, y: (
        np.shape(x)[0] * x + np.ndim(y) * y + np.size(x) * x + (np.argmax(x) + np.argmin(y))
    ),
}


def augmented(x, y):
    z = 1 * x
    z += y
    z *= 2
    return z + x


@pytest.mark.parametrize("name", PROGRAMS)
def test_plain_numpy_code_has_the_same_values_and_right_derivatives(name):
    f = PROGRAMS[name]
    expected, dx, dy = f(X, Y), draw(3, 4, seed=8), draw(3, 4, seed=9)
    value, tangent = mg.jvp(f, (X, Y), (dx, dy))
    np.testing.assert_allclose(value, expected, rtol=1e-15, atol=1e-15)
    assert np.shape(value) == np.shape(expected) and value.dtype == np.asarray(expected).dtype
    assert type(value) is type(expected)
    if name == "astype":
        return  # float32 in between: too coarse for a difference quotient
    h = 1e-6
    difference = (f(X + h * dx, Y + h * dy) - f(X - h * dx, Y - h * dy)) / (2 * h)
    np.testing.assert_allclose(tangent, difference, rtol=1e-6, atol=1e-7)
    _, J = mg.linearize(f, X, Y)
    np.testing.assert_allclose(J(dx, dy), tangent, rtol=1e-13, atol=1e-13)
    c = draw(*np.shape(value), seed=3)
    gx, gy = J.T(c if np.ndim(c) else np.float64(c))
    np.testing.assert_allclose((gx * dx).sum() + (gy * dy).sum(), np.sum(c * tangent), rtol=1e-11, atol=1e-11)


def test_augmented_assignment_to_a_tracer_makes_a_new_value():
    def f(x):
        y = x
        y += 1.0
        return x  # NumPy would have changed it, too

    assert mg.jvp(f, (X,), (X,))[0] is X


@pytest.mark.parametrize(
    "f",
    [
        lambda x: 2 * x + 1.5,
        lambda x: (1 - x) / 3 + 2.0 / (4 + x * x),
        lambda x: x**2 + x**0.5 + 2**x + x**-1,
        lambda x: np.maximum(x, 0.0) + np.minimum(1, x) + np.clip(x, 0.1, 3) + np.where(x > 1, x, 0.0),
        lambda x: x.mean(axis=0) + x.var() + np.std(x) + x.max() + np.linspace(0, 1, 3, dtype="f4"),
        lambda x: mg.relu(x) + mg.sigmoid(x) + mg.softplus(x) + mg.gelu(x) + mg.silu(x) + mg.erf(x),
        lambda x: mg.softmax(x) + mg.log_softmax(x) + mg.logsumexp(x, -1, keepdims=True),
        lambda x: np.pad(x, 1, constant_values=2.0) * np.float32(3),
        lambda x: np.einsum("ij,kj->ik", x, x) + np.outer(x[0], x[1]) @ x.T,
        lambda x: x[np.array([0, 0])] + np.concatenate([x, 2 * x])[:2] * np.arange(3, dtype=np.int8),
    ],
)
def test_float32_stays_float32_beside_python_numbers(f):
    x = np.abs(draw(3, 3)).astype(np.float32) + np.float32(0.5)
    y, dy = mg.jvp(f, (x,), (x,))
    assert y.dtype == dy.dtype == f(x).dtype == np.float32
    _, J = mg.linearize(f, x)
    assert J(x).dtype == J.T(y).dtype == np.float32
    assert mg.hvp(lambda x: f(x).sum(), (x,), (x,)).dtype == np.float32


def test_tangents_follow_the_promotion_of_their_values_and_cotangents_come_back():
    x, c = np.ones(3, np.float32), np.ones((2, 3))
    for f in (
        lambda x: x + c,
        lambda x: x * c,
        lambda x: c - x,
        lambda x: np.where(c > 2, x, c),
        lambda x: x / c,
    ):
        y, dy = mg.jvp(f, (x,), (x,))
        assert y.dtype == dy.dtype == np.float64 and y.shape == dy.shape == (2, 3)
        back = mg.linearize(f, x)[1].T(c)
        assert back.dtype == np.float32 and back.shape == (3,)
    assert mg.jvp(lambda x: x.astype(np.float64), (x,), (x,))[1].dtype == np.float64
    assert mg.grad(lambda x: x.astype(np.float64).sum())(x).dtype == np.float32


def test_the_answer_to_a_comparison_is_a_plain_array():
    seen = []
    mg.jvp(lambda x: seen.extend([x > 0, x == x, x.argmax(), np.isnan(x), x[0] < 1]) or x, (X,), (X,))
    assert_plain(seen)
    assert seen[0].dtype == bool


def test_filled_arrays_come_from_the_array_library_of_the_values():
    # A stand-in for CuPy: NumPy's zeros beside its arrays would be an error there.
    class Foreign(np.ndarray):
        pass

    class Namespace:
        def __getattr__(self, name):
            return lambda *a, **k: getattr(np, name)(*a, **k).view(Foreign)

    from minigrad.backend import HOME, NUMPY, Backend

    HOME[Foreign] = Backend("foreign", Namespace(), NUMPY.kernels)
    try:
        seen = []
        x = np.ones(3).view(Foreign)
        mg.jvp(
            lambda x: seen.extend([np.zeros_like(x), np.ones_like(x), np.full_like(x, 2.0)]) or x, (x,), (x,)
        )
    finally:
        del HOME[Foreign]
    assert [type(s) for s in seen] == [Foreign] * 3
    assert [s[0] for s in seen] == [0, 1, 2]
