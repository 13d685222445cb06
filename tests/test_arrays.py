"""Moving, indexing and multiplying arrays: conventions by plain numbers, and the words of errors."""

import tracemalloc

import numpy as np
import pytest

import minigrad as mg

X = np.arange(6.0).reshape(2, 3)


def message(call, *args, **kwargs):
    """The one line of the ValueError, TypeError or IndexError that a call raises."""
    with pytest.raises((ValueError, TypeError, IndexError)) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    assert text and "\n" not in text
    return text


def gradient(f, x=X):
    return mg.grad(lambda x: mg.sum(f(x)))(x)


# ----- Rearranging -----


def test_pad_gives_what_is_repeated_its_derivative_as_often_as_it_appears():
    x = np.array([1.0, 2.0, 3.0])
    for mode, count in (
        ("edge", [3, 1, 2]),
        ("reflect", [1, 3, 2]),
        ("symmetric", [2, 2, 2]),
        ("wrap", [2, 2, 2]),
    ):
        assert gradient(lambda x, mode=mode: mg.pad(x, (2, 1), mode), x).tolist() == count
    around = mg.jacrev(lambda v: mg.pad(X, ((1, 0), (0, 2)), constant_values=v))(2.0)
    assert around.tolist() == [[1, 1, 1, 1, 1], [0, 0, 0, 1, 1], [0, 0, 0, 1, 1]]


def test_a_padding_of_infinity_or_nan_leaves_the_rest_alone():
    for value in (np.inf, np.nan):
        assert mg.pad(np.ones(1), 1, constant_values=value)[1] == 1
        assert (
            gradient(lambda x, value=value: mg.pad(x, 1, constant_values=value)[1:-1, 1:-1]).tolist()
            == [[1] * 3] * 2
        )


def test_repeat_and_tile_add_up_what_they_repeat():
    assert gradient(lambda x: np.repeat(x, [0, 1, 3], axis=1)).tolist() == [[0, 1, 3]] * 2
    assert gradient(lambda x: np.tile(x, (2, 1, 2))).tolist() == [[4] * 3] * 2
    assert gradient(lambda x: np.resize(x, 8)).tolist() == [[2, 2, 1], [1, 1, 1]]


def test_insert_delete_and_append_share_the_derivative_out():
    dx, dv = mg.grad(lambda x, v: (np.insert(x, [0, 2], v, axis=1) * np.arange(5.0)).sum(), (0, 1))(
        X, np.ones((2, 2))
    )
    assert dx.tolist() == [[1, 2, 4]] * 2 and dv.tolist() == [[0, 3]] * 2
    assert gradient(lambda x: np.delete(x, -1, axis=1)).tolist() == [[1, 1, 0]] * 2
    assert gradient(lambda x: np.append(x, x[0])).tolist() == [[2] * 3, [1] * 3]


def test_values_put_into_an_array_take_its_dtype_and_their_cotangents_their_own():
    x, v = np.ones((2, 3), np.float32), np.float64(2)
    for f in (
        lambda x, v: mg.insert(x, 1, v),
        lambda x, v: mg.index_set(x, 0, v),
        lambda x, v: mg.index_add(x, [0, 0], v),
        lambda x, v: mg.pad(x, 1, constant_values=v),
    ):
        y, pull = mg.vjp(f, x, v)
        dx, dv = pull(np.ones_like(y))
        assert y.dtype == dx.dtype == np.float32 and dv.dtype == np.float64


def test_sliding_windows_are_views_and_their_transpose_adds_overlaps_up():
    assert gradient(lambda x: mg.sliding_window_view(x, 2), np.zeros(4)).tolist() == [1, 2, 2, 1]
    y = mg.sliding_window_view(X, (2, 2))
    assert y.shape == (1, 2, 2, 2) and np.shares_memory(y, X)
    via_numpy = gradient(lambda x: np.lib.stride_tricks.sliding_window_view(x, window_shape=2, axis=-1) ** 2)
    assert via_numpy.tolist() == [[0, 4, 4], [6, 16, 10]]


def test_windows_of_a_long_signal_take_no_more_memory_than_what_is_made_of_them():
    signal, kernel = np.ones(20_000), np.ones(1_000)
    tracemalloc.start()
    _, J = mg.linearize(lambda x: mg.matmul(mg.sliding_window_view(x, 1_000), kernel), signal)
    J(signal)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * signal.nbytes  # the windows written out would be a thousand signals


def test_diagonals_go_in_and_out():
    assert gradient(lambda x: np.diagonal(x, offset=1)).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert mg.jacfwd(lambda v: np.diag(v, k=1))(np.ones(1)).tolist() == [[[0], [1]], [[0], [0]]]
    assert mg.grad(lambda x: np.trace(x @ x.T))(X).tolist() == (2 * X).tolist()
    assert gradient(lambda x: np.triu(x, k=1)).tolist() == [[0, 1, 1], [0, 0, 1]]


# ----- Joining, cutting, making -----


def test_cutting_and_joining_again_is_recorded_as_two_operations():
    for cut in (lambda x: mg.split(x, 100), mg.unstack, list):
        _, J = mg.linearize(
            lambda x, cut=cut: mg.concatenate([mg.atleast_1d(part) for part in cut(x)]), np.ones(100)
        )
        names = [node.prim.name for node in J.nodes]
        assert names.count("split") == 1 and "getitem" not in names and names.count("concatenate") == 1


def test_split_takes_places_in_any_order_as_slices_do():
    for places in ([-2], [2, 1], [7], [-9, 1], []):
        ours, numpys = mg.split(X, places, 1), np.split(X, places, 1)
        assert [a.tolist() for a in ours] == [a.tolist() for a in numpys]
        dx = gradient(lambda x, places=places: mg.concatenate(mg.split(x, places, 1), 1))
        assert (
            dx.tolist()
            == gradient(lambda x, places=places: mg.concatenate(np.split(x, places, 1), 1)).tolist()
        )


def test_array_stacks_traced_values_as_they_are_nested():
    def rotation(t):
        return mg.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])

    assert mg.jacfwd(rotation)(0.0).tolist() == [[0, -1], [1, 0]]
    assert mg.jacrev(lambda x: mg.array((x[0], [1, 2, x[1, 2]])))(X)[1, 2, 1, 2] == 1
    mixed = mg.vjp(lambda x: mg.array([x, 2.0, 3]), np.float32(1))[0]
    assert mixed.dtype == np.float32 and mixed.tolist() == [1, 2, 3]
    assert mg.vjp(lambda x: mg.array([x, 2], dtype=float), np.float32(1))[0].dtype == np.float64
    assert mg.vjp(lambda x: mg.array([[x], []][:1]), 1.0)[0].shape == (1, 1)


def test_numpy_block_takes_nested_lists_of_traced_arrays():
    dx = gradient(lambda x: np.block([[x, 2 * x], [np.ones((1, 3)), x[:1]]]))
    assert dx.tolist() == [[4] * 3, [3] * 3]


def test_full_and_full_like_take_traced_values():
    assert mg.grad(lambda v: mg.full((2, 3), v).sum())(1.0) == 6
    assert mg.grad(lambda v: mg.full_like(np.float32([1, 2]), v).sum())(1.0) == 2
    assert mg.vjp(lambda v: mg.full_like(np.float32([1, 2]), v), 1.0)[0].dtype == np.float32
    assert (
        mg.vjp(lambda x: np.empty_like(x) + np.zeros_like(x) + np.full_like(x, 2), X)[0].tolist()
        == [[2] * 3] * 2
    )


def test_linspace_reaches_its_ends_exactly():
    for start, stop in ((0.1, 0.7), (-1e9, 1e-9), (np.float32(0.1), np.float32(0.3))):
        y = mg.linspace(start, stop, 7)
        assert y[0] == start and y[-1] == stop
    assert mg.jacfwd(lambda a: np.linspace(a, 2.0, num=3))(1.0).tolist() == [1, 0.5, 0]
    (dstart, dstop) = mg.grad(lambda a, b: np.linspace(a, b, 4, retstep=True)[1], (0, 1))(0.0, 3.0)
    assert dstart == pytest.approx(-1 / 3) and dstop == pytest.approx(1 / 3)
    np.testing.assert_allclose(mg.jacfwd(lambda b: np.geomspace(1.0, b, 3))(4.0), [0, 0.25, 1])
    np.testing.assert_allclose(mg.grad(lambda b: np.logspace(0.0, 2.0, 3, base=b).sum())(10.0), 21)


# ----- Indexing -----


def test_index_set_and_index_add_are_assignments_that_make_a_new_array():
    x = X.copy()
    dx, dv = mg.grad(lambda x, v: (mg.index_set(x, (0, slice(1, None)), v) ** 2).sum(), (0, 1))(x, 5.0)
    assert dx.tolist() == [[0, 0, 0], [6, 8, 10]] and dv == 20 and (x == X).all()
    assert mg.index_set(x, x > 4, 0.0).tolist() == [[0, 1, 2], [3, 4, 0]]
    assert mg.index_set(x, ([0, 1], [0, 0]), [7, 8]).tolist() == [[7, 1, 2], [8, 4, 5]]
    assert mg.index_add(x, ([0, 0], [0, 0]), [7, 8]).tolist() == [[15, 1, 2], [3, 4, 5]]
    assert mg.grad(lambda v: mg.index_add(x, [1, 1], v).sum())(1.0) == 6


def test_index_set_refuses_an_index_that_reaches_an_element_twice():
    for index in ([0, 0], ([1, 1], [2, -1]), np.array([0, -2])):
        text = message(mg.index_set, X, index, 1.0)
        assert "index_set" in text and "(2, 3) twice" in text and "index_add" in text


def test_the_transpose_of_a_gather_adds_up_in_every_precision():
    index = np.zeros(5000, int)
    for dtype in (np.float16, np.float32, np.float64, np.longdouble):
        total = mg.scatter(np.ones(5000, dtype), index, (2,))
        assert total.dtype == dtype and total.tolist() == [5000, 0]
    assert mg.scatter(np.ones(2, complex) * 1j, [0, 0], (1,)).tolist() == [2j]
    assert mg.scatter(np.array([2**60, 1]), [0, 0], (1,)).tolist() == [2**60 + 1]


@pytest.mark.parametrize("dtype", "f2 f4 f8 longdouble c8 c16 clongdouble i1 i8 u4".split())
def test_a_scatter_is_what_numpy_adds_one_by_one(dtype):
    rng = np.random.default_rng(0)
    for shape, index in (
        ((7,), rng.integers(-7, 7, 50)),
        ((4, 3), (rng.integers(0, 4, 20), rng.integers(-3, 3, (2, 20)))),
        ((4, 3, 2), (slice(1, None), rng.integers(0, 3, 9))),
        ((3, 2), np.zeros(0, int)),
    ):
        values = (10 * rng.standard_normal(np.empty(shape)[index].shape)).astype(dtype)
        want = np.zeros(shape, dtype)
        np.add.at(want, index, values)
        got = mg.scatter(values, index, shape)
        assert got.dtype == want.dtype and got.shape == shape
        np.testing.assert_allclose(
            got, want, rtol=1e-2 if dtype == "f2" else 1e-5, atol=0.1 * (dtype == "f2")
        )


def test_positions_are_plain_integers_also_of_traced_arrays():
    def f(x):
        for found in (
            np.nonzero(x),
            (np.flatnonzero(x > 2), np.argwhere(x), x.nonzero()[0], x.searchsorted(1.0)),
        ):
            assert all(isinstance(i, (np.ndarray, np.integer)) and i.dtype.kind == "i" for i in found)
        return (
            x[np.nonzero(x > 2)].sum() * np.searchsorted(x, 2.5)
            + np.digitize(2.5, x) * x[np.unravel_index(1, (5,))]
        )

    assert mg.grad(f)(np.arange(5.0)).tolist() == [0, 3, 0, 3, 3]
    assert mg.grad(lambda x: mg.grad(lambda y: x[mg.nonzero(x > 1)][0] * y)(x[0]))(
        np.arange(3.0)
    ).tolist() == [0, 0, 1]


def test_nonzero_of_a_linear_variable_is_refused_as_it_has_no_value():
    with pytest.raises(mg.NonlinearError, match="flatnonzero"):
        mg.linear_transpose(lambda x: x[mg.flatnonzero(x)], np.ones(3))


def test_choose_and_bincount_follow_their_integers():
    a, b = mg.grad(lambda a, b: np.choose(np.array([0, 1, 1]), [a, b]).sum(), (0, 1))(np.ones(3), 2.0)
    assert a.tolist() == [1, 0, 0] and b == 2
    assert mg.jacfwd(lambda w: np.bincount([0, 2, 0], weights=w))(np.ones(3)).tolist() == [
        [1, 0, 1],
        [0, 0, 0],
        [0, 1, 0],
    ]
    assert mg.bincount([0, 1], np.float32([1, 2])).dtype == np.float32


# ----- Products -----


def test_cross_is_its_own_derivative():
    a, b, c = np.eye(3)
    assert mg.grad(lambda a: np.cross(a, b) @ c)(a).tolist() == np.cross(b, c).tolist()
    assert mg.grad(lambda b: np.cross(a, b) @ c)(b).tolist() == np.cross(c, a).tolist()


def test_einsum_takes_lists_of_axes_and_orders_its_contractions():
    assert mg.grad(lambda x: np.einsum(x, [0, 1], x, [0, 1]))(X).tolist() == (2 * X).tolist()
    assert mg.einsum(X, [5, 2]).shape == (3, 2)
    n = 100  # one nested loop over four indices would take a minute
    a = np.ones((n, n))
    assert mg.grad(lambda a: np.einsum("ij,jk,kl->il", a, a, a, optimize=True).sum())(a)[0, 0] == 3 * n**2


def test_vecdot_takes_an_axis_through_numpy():
    if hasattr(np, "vecdot"):
        assert mg.grad(lambda x: np.vecdot(x, x, axis=0).sum())(X).tolist() == (2 * X).tolist()


# ----- Methods and functions of traced arrays -----


def test_traced_arrays_have_the_methods_of_arrays():
    def f(x):
        assert x.nbytes == 48 and x.itemsize == 8 and x.mT.shape == (3, 2)
        assert x.reshape(3, 2, order="C").shape == x.reshape((3, -1)).shape == (3, 2)
        assert x.astype("f4", copy=False).dtype == np.float32 and x.flatten("C").shape == (6,)
        parts = (
            x.repeat(2, axis=0),
            x.diagonal(1),
            x.trace(),
            x.take([0], axis=1),
            x.compress([True, False], axis=0),
        )
        return sum(part.sum() for part in parts) + x.copy().swapaxes(0, 1)[0, 0] + x.squeeze().ravel()[0]

    assert gradient(f).tolist() == [[7, 4, 3], [3, 3, 3]]


def test_numpy_functions_that_only_look_or_copy_work_on_traced_arrays():
    def f(x):
        assert np.shape(x) == (2, 3) and np.ndim(x) == 2 and np.size(x) == 6
        return np.copy(x, order="K") + np.concatenate([[1.0, 2.0, 3.0], x[0]])[:3] + np.astype(x, np.float64)

    assert gradient(f).tolist() == [[2] * 3] * 2


def test_the_array_may_be_given_by_the_name_numpy_has_for_it():
    dx = gradient(lambda x: np.roll(a=x, shift=1) + np.flip(m=x) + np.tile(A=x, reps=1))
    assert dx.tolist() == [[3] * 3] * 2


@pytest.mark.parametrize(
    ("use", "name"),
    [
        (lambda x: np.put(x, [0], 1.0), "np.put"),
        (lambda x: np.copyto(x, 1.0), "np.copyto"),
        (lambda x: np.place(x, X > 1, [1.0]), "np.place"),
        (lambda x: np.putmask(x, X > 1, 1.0), "np.putmask"),
        (lambda x: np.put_along_axis(x, np.array([[0]]), 1.0, 1), "np.put_along_axis"),
        (lambda x: np.fill_diagonal(x, 1.0), "np.fill_diagonal"),
        (lambda x: np.add.at(x, 0, 1.0), "np.add.at"),
        (lambda x: x.fill(1.0), ".fill()"),
        (lambda x: x.put([0], 1.0), ".put()"),
        (lambda x: x.resize(2, 2), ".resize()"),
        (lambda x: x.__setitem__(0, 1.0), "assignment"),
    ],
)
def test_what_writes_into_an_array_names_what_makes_a_new_one(use, name):
    text = message(gradient, use)
    assert (
        name in text and "tracers are values" in text and "minigrad.index_set" in text and "index_add" in text
    )


def test_a_list_of_traced_values_is_sent_to_minigrad_array():
    assert "minigrad.array" in message(gradient, lambda x: np.array([x[0, 0], x[1, 1]]))


# ----- Errors -----


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mg.reshape(X, (2, 2)), ("reshape", "(2, 3)", "(2, 2)")),
        (lambda: mg.reshape(X, (3, 2), order="F"), ("order='F'", "reshape(x.T, shape[::-1]).T")),
        (lambda: mg.concatenate([X, X.T]), ("concatenate", "(2, 3), (3, 2)", "axis 0")),
        (lambda: mg.concatenate([X, X[0]]), ("concatenate", "(2, 3), (3,)")),
        (lambda: mg.concatenate([]), ("concatenate", "no arrays")),
        (lambda: mg.stack([X, X[0]]), ("stack", "(2, 3), (3,)", "concatenate")),
        (lambda: mg.array([X, X[0]]), ("stack", "(2, 3), (3,)")),
        (lambda: mg.split(X, 2, 1), ("split", "length 3", "2 equal parts", "array_split")),
        (lambda: mg.array_split(X, 0), ("array_split", "0 sections")),
        (lambda: mg.vsplit(X[0], 1), ("vsplit", "(3,)", "2 axes")),
        (lambda: mg.unstack(1.0), ("unstack", "0-d")),
        (lambda: mg.block([[X], X]), ("block", "1 deep", "2 in another")),
        (lambda: mg.block([[]]), ("block", "empty list")),
        (lambda: mg.matrix_transpose(X[0]), ("matrix_transpose", "(3,)")),
        (lambda: mg.meshgrid(X, indexing="yx"), ("meshgrid", "'yx'", "'xy' or 'ij'")),
        (lambda: mg.rot90(X, 1, (0, -2)), ("rot90", "(0, -2)", "two different axes")),
        (lambda: mg.repeat(X, -1), ("repeat", "-1", "negative")),
        (lambda: mg.pad(X, -1), ("pad", "-1 is negative", "slice")),
        (lambda: mg.pad(X, 1, "median"), ("pad", "mode='median'", "edge, reflect")),
        (lambda: mg.diagonal(X[0]), ("diagonal", "(3,)")),
        (lambda: mg.diag(np.ones((1, 2, 3))), ("diag", "(1, 2, 3)", "diagonal")),
        (lambda: mg.tril(1.0), ("tril", "triangle")),
        (lambda: mg.sliding_window_view(X, 4, 1), ("sliding_window_view", "(4,)", "(2, 3)", "pad")),
        (lambda: mg.sliding_window_view(X, 2), ("sliding_window_view", "(2,)", "(2, 3)")),
        (lambda: mg.linspace(0.0, 1.0, -1), ("linspace", "-1")),
        (lambda: mg.take_along_axis(X, [0], 0), ("take_along_axis", "(1,)", "(2, 3)")),
        (lambda: mg.compress(X > 0, X), ("compress", "(2, 3)", "vector")),
        (lambda: mg.choose([0, 2], [X[0, :2], X[1, :2]]), ("choose", "2 arrays")),
        (lambda: mg.nonzero(1.0), ("nonzero", "atleast_1d")),
        (lambda: mg.bincount([0, 1], [1.0]), ("bincount", "(1,)", "(2,)")),
        (lambda: mg.inner(X, X.T), ("inner", "(2, 3) and (3, 2)")),
        (lambda: mg.vdot(X, X[0]), ("vdot", "(6,) and (3,)")),
        (lambda: mg.vecdot(X, X.T), ("vecdot", "(2, 3) and (3, 2)")),
        (lambda: mg.matvec(X, X.T), ("matvec", "(2, 3) and (3, 2)")),
        (lambda: mg.vecmat(X[0], X), ("vecmat", "(3,) and (2, 3)")),
        (lambda: mg.cross(X, X[:, :2]), ("cross", "3 and 2", "three components")),
        (lambda: mg.einsum("i...->i", X), ("einsum 'i...->i'", "'...'", "output")),
    ],
)
def test_each_error_names_the_function_the_shapes_and_the_way_out(call, words):
    text = message(call)
    for word in words:
        assert word in text, f"{word!r} is missing in: {text}"
