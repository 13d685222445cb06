"""Linear algebra by plain numbers: conventions, results, errors, and what drawn cases do not reach."""

import math

import numpy as np
import pytest
from cases.linalg import TALL, WIDE, A, S, definite, spread

import minigrad as mg
from minigrad import linalg
from minigrad.testing import check_rule, directions

RNG = np.random.default_rng(0)
ONE_RESULT = (linalg.inv, linalg.det, linalg.cholesky, linalg.eigvalsh, linalg.svdvals, linalg.pinv)


# ----- Results -----


@pytest.mark.parametrize(
    "f, fields",
    [
        (linalg.eigh, ("eigenvalues", "eigenvectors")),
        (linalg.qr, ("Q", "R")),
        (linalg.svd, ("U", "S", "Vh")),
        (linalg.slogdet, ("sign", "logabsdet")),
    ],
)
def test_results_have_the_names_of_numpys_and_are_trees(f, fields):
    numpys = getattr(np.linalg, f.__name__)
    assert f(S)._fields == numpys(S)._fields == fields
    y, dy = mg.jvp(f, (S,), (A,))
    z, J = mg.linearize(numpys, S)
    for result in (y, dy, z, J(A)):
        assert type(result) is type(f(S)) and result._fields == fields
    ct = type(y)(*map(np.ones_like, y))
    np.testing.assert_allclose(np.sum(J.T(ct) * A), sum(map(np.sum, dy)), rtol=1e-12)


def test_factors_of_a_traced_matrix_multiply_to_it():
    t = RNG.standard_normal(A.shape)

    def again(a):
        u, s, vh = np.linalg.svd(a)
        q, r = np.linalg.qr(a)
        low = np.linalg.cholesky(np.matmul(a, a.swapaxes(-1, -2)))
        return u * s[..., None, :] @ vh, q @ r, low @ low.swapaxes(-1, -2)

    product = np.matmul(A, t.swapaxes(-1, -2))
    wants = t, t, product + product.swapaxes(-1, -2)
    for found, want in zip(mg.jvp(again, (A,), (t,))[1], wants, strict=True):
        np.testing.assert_allclose(found, want, atol=1e-13)


def test_the_tangents_of_factors_keep_their_structure():
    t = RNG.standard_normal((4, 3))
    (q, r), (dq, dr) = mg.jvp(linalg.qr, (TALL[0],), (t,))
    assert not np.tril(dr, -1).any()
    np.testing.assert_allclose(q.T @ dq + dq.T @ q, 0, atol=1e-14)
    assert not np.triu(mg.jvp(linalg.cholesky, (S[0],), (t[:3],))[1], 1).any()


def test_integers_and_lists_are_taken_as_float64():
    for f in (*ONE_RESULT, linalg.norm):
        y = f([[2, 1], [1, 2]])
        assert y.dtype == np.float64
        np.testing.assert_allclose(y, getattr(np.linalg, f.__name__)([[2, 1], [1, 2]]), rtol=1e-14)
    assert mg.grad(lambda b: linalg.solve([[2, 0], [0, 4]], b).sum())(np.ones(2)).tolist() == [0.5, 0.25]


def test_half_precision_is_computed_in_single_and_comes_back():
    a = S[0].astype(np.float16)
    for f in ONE_RESULT:
        want = getattr(np.linalg, f.__name__)(a.astype(np.float32))
        assert f(a).dtype == np.float16
        np.testing.assert_array_equal(f(a), want.astype(np.float16))
    assert linalg.matrix_rank(a) == 3


def test_empty_matrices_and_stacks_have_empty_derivatives():
    for shape in ((0, 3, 3), (2, 0, 0)):
        a = np.zeros(shape)
        for f in ONE_RESULT:
            assert mg.grad(lambda a, f=f: mg.sum(f(a)))(a).shape == shape
    np.testing.assert_array_equal(linalg.det(np.zeros((2, 0, 0))), 1)


# ----- Conventions -----


def test_cholesky_and_eigh_have_no_derivative_in_the_triangle_they_do_not_read():
    for f, lower in (
        (linalg.cholesky, True),
        (lambda a: linalg.cholesky(a, upper=True), False),
        (linalg.eigvalsh, True),
        (lambda a: linalg.eigvalsh(a, "U"), False),
        (lambda a: linalg.eigh(a, "U").eigenvectors, False),
    ):
        g = mg.grad(lambda a, f=f: mg.sum(mg.sin(f(a))))(S[0])
        np.testing.assert_array_equal(g != 0, np.tri(3) if lower else np.tri(3).T)


def test_a_symmetric_direction_moves_eigenvalues_whichever_triangle_is_read():
    t = S[1]
    one, other = (mg.jvp(lambda a, u=u: linalg.eigvalsh(a, u), (S[0],), (t,))[1] for u in "LU")
    np.testing.assert_allclose(one, other, rtol=1e-13)


def test_equal_eigenvalues_have_derivatives_and_their_vectors_zero():
    t = np.array([[1.0, 5.0], [5.0, 3.0]])
    (_, _), (dw, dv) = mg.jvp(linalg.eigh, (np.eye(2),), (t,))
    assert dw.tolist() == [1, 3] and not dv.any()
    np.testing.assert_allclose(mg.grad(lambda a: mg.sum(linalg.eigvalsh(a) ** 3))(np.eye(2)), 3 * np.eye(2))


def test_through_the_vectors_of_equal_eigenvalues_a_derivative_is_not_right_as_the_conventions_say():
    def exp(a):
        w, v = linalg.eigh(a)
        return (v * mg.exp(w)) @ v.T

    t = np.array([[1.0, 5.0], [5.0, 3.0]])
    np.testing.assert_allclose(mg.jvp(exp, (np.eye(2),), (t,))[1], np.e * np.diag([1.0, 3.0]))
    apart = np.diag([1.0, 1.001])  # eigenvalues that differ, by however little
    np.testing.assert_allclose(mg.jvp(exp, (apart,), (t,))[1], np.e * t, rtol=2e-3)
    np.testing.assert_allclose(mg.jvp(lambda a: linalg.norm(a, "nuc"), (np.eye(2),), (t,))[1], 4)


def test_singular_vectors_of_equal_and_zero_values_have_finite_derivatives():
    for a in (np.eye(3), np.zeros((3, 2)), np.diag([2.0, 0.0])):
        for part in mg.jvp(lambda a: linalg.svd(a, full_matrices=False), (a,), (np.ones_like(a),))[1]:
            assert np.all(np.isfinite(part))
    assert mg.grad(lambda a: linalg.svdvals(a).sum())(np.diag([2.0, 0.0])).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("rank", range(5))
def test_the_derivative_of_a_determinant_is_right_at_any_rank(rank):
    a = spread(RNG, (), 4, rank) @ spread(RNG, (), rank, 4) if rank else np.zeros((4, 4))
    minors = [[np.delete(np.delete(a, i, 0), j, 1) for j in range(4)] for i in range(4)]
    want = [[(-1) ** (i + j) * np.linalg.det(minors[i][j]) for j in range(4)] for i in range(4)]
    np.testing.assert_allclose(mg.grad(linalg.det)(a), want, atol=1e-14)


def test_the_sign_of_a_determinant_is_a_constant():
    y, J = mg.linearize(lambda a: linalg.slogdet(a).sign, A)
    assert len(J) == 0 and y.tolist() == np.sign(np.linalg.det(A)).tolist()
    assert linalg.slogdet(np.zeros((2, 2))) == (0, -math.inf)


def test_the_norm_of_zero_has_derivative_zero():
    for ord in (None, 2, 3, 1.5, 1, math.inf):
        g = mg.grad(lambda x, ord=ord: linalg.norm(x, ord))(np.zeros(3))
        assert g.tolist() == [0, 0, 0], ord
    x = np.array([[0.0, 0.0], [3.0, 4.0]])
    rows = mg.grad(lambda x: mg.sum(linalg.norm(x, axis=1)))(x)
    np.testing.assert_allclose(rows, [[0, 0], [0.6, 0.8]], rtol=1e-15)
    assert not mg.grad(linalg.norm)(np.zeros((2, 2))).any()
    assert mg.hvp(linalg.norm, (x,), (x,)) == pytest.approx(0, abs=1e-15)


def test_counting_norm_and_rank_are_constants():
    assert mg.grad(lambda x: linalg.norm(x, 0))(np.array([1.0, 0.0])).tolist() == [0, 0]
    y, J = mg.linearize(linalg.matrix_rank, A)
    assert len(J) == 0 and y.tolist() == [3, 3]


def test_singular_values_cut_off_by_pinv_and_lstsq_stay_cut_off():
    u, v = np.linalg.qr(RNG.standard_normal((4, 2))).Q, np.linalg.qr(RNG.standard_normal((3, 2))).Q
    b = RNG.standard_normal(4)

    def both(s):  # all matrices of rank two with these singular vectors
        a = mg.matmul(u * s, v.T)
        x, residuals, rank, _ = linalg.lstsq(a, b, rcond=1e-10)
        assert rank == 2 and residuals.shape == (0,)
        return linalg.pinv(a, 1e-10), x

    s = np.array([2.0, 0.5])
    check_rule(both, (s,))
    np.testing.assert_allclose(both(s)[0], (v / s) @ u.T, atol=1e-14)


def test_least_squares_satisfies_the_normal_equations():
    a, b = TALL[0], RNG.standard_normal((4, 2))
    x, residuals, rank, s = linalg.lstsq(a, b)
    np.testing.assert_allclose(a.T @ (a @ x), a.T @ b, atol=1e-14)
    np.testing.assert_allclose(residuals, np.sum((a @ x - b) ** 2, 0), atol=1e-14)
    assert rank == 3 and s.shape == (3,)
    # The residual is smallest at x: its derivative in b is 2 (b - a x), with none by way of x.
    g = mg.grad(lambda b: linalg.lstsq(a, b)[1].sum())(b)
    np.testing.assert_allclose(g, 2 * (b - a @ x), atol=1e-13)


# ----- Order three, at stacks, and through NumPy's names -----


@pytest.mark.parametrize(
    "f, args",
    [
        (lambda a, b: np.linalg.solve(a, b), (A, RNG.standard_normal((3, 2)))),
        (lambda a: np.linalg.inv(a), (A,)),
        (lambda a: tuple(np.linalg.eigh(a)), (S,)),
        (lambda a: tuple(np.linalg.svd(a, full_matrices=False)), (WIDE,)),
        (lambda a: tuple(np.linalg.qr(a)), (WIDE,)),
        (lambda a: tuple(np.linalg.qr(a, "complete")), (A,)),
        (lambda a: np.linalg.cholesky(a, upper=True), (S,)),
        (lambda a: np.linalg.pinv(a), (WIDE,)),
        (lambda a: np.linalg.cond(a, "fro"), (A,)),
        (lambda a: np.linalg.norm(a, "nuc", axis=(0, 2)), (TALL,)),
        (lambda a: np.linalg.matrix_power(a, -3), (A,)),
    ],
)
def test_third_derivatives(f, args):
    check_rule(f, args, order=3)


def test_the_hessian_of_log_det_is_the_negative_product_of_inverses():
    u, v = directions((S[0], S[1]), RNG)
    w = np.linalg.inv(S[0])
    found = mg.hvp(lambda a: linalg.slogdet(a).logabsdet, (S[0],), (u,))
    assert np.sum(found * v) == pytest.approx(-np.trace(w @ u @ w @ v), rel=1e-12)


def test_the_second_derivative_of_an_eigenvalue_is_that_of_perturbation_theory():
    a, t = definite(RNG, (), 4), RNG.standard_normal((4, 4))
    t = t + t.T
    w, v = np.linalg.eigh(a)
    m = v.T @ t @ v
    want = [2 * sum(m[i, j] ** 2 / (w[i] - w[j]) for j in range(4) if j != i) for i in range(4)]
    along = lambda a: mg.jvp(linalg.eigvalsh, (a,), (t,))[1]  # noqa: E731
    np.testing.assert_allclose(mg.jvp(along, (a,), (t,))[1], want, rtol=1e-11)


def test_a_chain_is_multiplied_in_the_cheapest_order():
    shapes = [(30, 2), (2, 30), (30, 2), (2,)]
    arrays = [RNG.standard_normal(s) for s in shapes]
    _, J = mg.linearize(lambda *xs: linalg.multi_dot(xs), *arrays)
    np.testing.assert_allclose(linalg.multi_dot(arrays), np.linalg.multi_dot(arrays), rtol=1e-12)
    assert J.cost.flops < 2 * 30 * 2 * 30


def test_many_right_hand_sides_are_solved_at_once():
    b = RNG.standard_normal((3, 2))
    J = mg.jacrev(lambda b: linalg.solve(A, b))(b)
    assert J.shape == (2, 3, 2, 3, 2)
    np.testing.assert_allclose(J[:, :, 1, :, 1], np.linalg.inv(A), atol=1e-14)
    np.testing.assert_allclose(mg.jacfwd(lambda b: linalg.solve(A, b))(b), J, atol=1e-14)
    in_a = mg.jacfwd(lambda a: linalg.solve(a, b))(A[0])
    np.testing.assert_allclose(mg.jacrev(lambda a: linalg.solve(a, b))(A[0]), in_a, atol=1e-14)


# ----- Errors -----


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: linalg.inv(TALL), np.linalg.LinAlgError, r"inv: float64\[2,4,3\] is not a square.*pinv"),
        (lambda: linalg.solve(TALL, np.ones(4)), np.linalg.LinAlgError, r"solve: float64\[2,4,3\].*lstsq"),
        (lambda: linalg.solve(A, np.ones(4)), ValueError, r"b of shape \(4,\) does not fit.*\(3,\) or"),
        (lambda: linalg.solve(np.ones((2, 2)), np.ones(2)), np.linalg.LinAlgError, "Singular"),
        (lambda: linalg.inv(np.zeros((2, 2))), np.linalg.LinAlgError, "Singular"),
        (lambda: mg.grad(lambda a: linalg.slogdet(a)[1])(np.ones((2, 2))), np.linalg.LinAlgError, "Singular"),
        (lambda: linalg.cholesky(-S), np.linalg.LinAlgError, "positive definite"),
        (lambda: linalg.det(np.ones(3)), np.linalg.LinAlgError, r"det: float64\[3\] is not a square matrix"),
        (
            lambda: linalg.svd(np.ones(3)),
            np.linalg.LinAlgError,
            r"svd: float64\[3\] is not a matrix.*reshape",
        ),
        (lambda: mg.jvp(linalg.svd, (TALL,), (TALL,)), ValueError, "not unique.*full_matrices=False"),
        (
            lambda: mg.jvp(lambda a: linalg.qr(a, "complete"), (TALL,), (TALL,)),
            ValueError,
            r"qr: .* complete float64\[2,4,3\].*mode='reduced'",
        ),
        (lambda: linalg.qr(A, "raw"), ValueError, "mode is 'raw': use 'reduced'"),
        (lambda: linalg.eigh(S, "X"), ValueError, "eigh: UPLO is 'X'"),
        (lambda: linalg.solve_triangular(A, A, trans=2), ValueError, "trans is 2: use 0"),
        (lambda: linalg.norm(A, 2), ValueError, r"3 axes of shape \(2, 3, 3\) with ord=2: give"),
        (lambda: linalg.norm(A[0], 3), ValueError, "a matrix has no norm 3: use 'fro'"),
        (lambda: linalg.norm(A[0, 0], "fro"), ValueError, "a vector has no norm 'fro'"),
        (lambda: linalg.cond(TALL, 1), np.linalg.LinAlgError, r"cond: float64\[2,4,3\].*p=2"),
        (lambda: linalg.tensorinv(A, 0), ValueError, "ind is 0"),
        (lambda: linalg.tensorinv(TALL), np.linalg.LinAlgError, r"\[8,3\] is not a square"),
        (lambda: linalg.tensorsolve(TALL, np.ones(2)), np.linalg.LinAlgError, "no square system"),
        (lambda: linalg.lstsq(A, np.ones(2)), np.linalg.LinAlgError, "a is one matrix"),
        (lambda: linalg.matrix_power(A, 0.5), TypeError, "integer"),
        (lambda: linalg.multi_dot([A[0]]), ValueError, "two or more"),
    ],
)
def test_errors_name_the_shape_and_the_way_out(call, error, message):
    with pytest.raises(error, match=message) as found:
        call()
    assert "\n" not in str(found.value)
