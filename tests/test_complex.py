"""Complex numbers: inside a function and in its output, but not in its arguments."""

import numpy as np
import pytest
from cases.complexes import complex_normal

import minigrad as mg
from minigrad.core import PRIMITIVES
from minigrad.ops.complex import RULES, SAME
from minigrad.testing import check_dot, check_hvp, check_jvp

RNG = np.random.default_rng(0)
X, Z = RNG.standard_normal(6), complex_normal(RNG, (6,))

ON_ONE_ARGUMENT = {
    "jvp": lambda f, x: mg.jvp(f, (x,), (x,)),
    "linearize": mg.linearize,
    "vjp": mg.vjp,
    "grad": lambda f, x: mg.grad(f)(x),
    "value_and_grad": lambda f, x: mg.value_and_grad(f)(x),
    "hvp": lambda f, x: mg.hvp(f, (x,), (x,)),
    "hvp rev_over_rev": lambda f, x: mg.hvp(f, (x,), (x,), mode="rev_over_rev"),
    "hvp rev_over_fwd": lambda f, x: mg.hvp(f, (x,), (x,), mode="rev_over_fwd"),
    "jacfwd": lambda f, x: mg.jacfwd(f)(x),
    "jacrev": lambda f, x: mg.jacrev(f)(x),
    "hessian": lambda f, x: mg.hessian(f)(x),
    "linear_transpose": mg.linear_transpose,
    "ggn_vp": lambda f, x: mg.ggn_vp(lambda x: x, f, x, x),
}


# ----- Where complex numbers may not be -----


@pytest.mark.parametrize("transform", ON_ONE_ARGUMENT)
def test_a_complex_argument_is_refused_by_every_transformation(transform):
    for z, what in ((Z, r"complex128\[6\]"), (Z.astype(np.complex64), r"complex64\[6\]"), (2j, "complex128")):
        with pytest.raises(TypeError, match=rf"argument\[0\] is {what}.*complex numbers are not supported"):
            ON_ONE_ARGUMENT[transform](lambda z: mg.sum(mg.abs(z)), z)


def test_the_argument_of_an_inner_transformation_may_not_be_complex_either():
    for inner in (lambda z: mg.jvp(mg.abs, (z,), (z,))[1], mg.grad(lambda z: mg.sum(mg.abs(z)))):
        with pytest.raises(TypeError, match="complex numbers are not supported"):
            mg.grad(lambda x, inner=inner: mg.sum(mg.abs(inner(mg.fft.fft(x)))))(X)
    with pytest.raises(TypeError, match="complex numbers are not supported"):
        mg.ggn_vp(mg.fft.fft, lambda y: mg.sum(mg.abs(y)), X, X)


@pytest.mark.parametrize("transform", [name for name in ON_ONE_ARGUMENT if "g" in name or "h" in name])
def test_a_gradient_needs_a_real_output(transform):
    if transform in ("linear_transpose", "ggn_vp"):
        return
    with pytest.raises(TypeError, match=r"returned complex128\[\].*take its real part or absolute value"):
        ON_ONE_ARGUMENT[transform](lambda x: mg.sum(mg.fft.fft(x)), X)


def test_jacrev_leaves_complex_outputs_to_jacfwd():
    with pytest.raises(TypeError, match=r"jacrev: .* returned complex128\[6\]: jacfwd takes complex outputs"):
        mg.jacrev(mg.fft.fft)(X)


REAL_ONLY = {
    "maximum": lambda z: mg.maximum(z, 0.0),
    "minimum": lambda z: mg.minimum(0.0, z),
    "max": mg.max,
    "min": mg.min,
    "argmax": mg.argmax,
    "clip": lambda z: mg.clip(z, 0.0, 1.0),
    "sort": mg.sort,
    "median": mg.median,
    "relu": mg.relu,
    "sigmoid": mg.sigmoid,
    "softplus": mg.softplus,
    "erf": mg.erf,
    "floor": mg.floor,
    "ceil": mg.ceil,
    "arctan2": lambda z: mg.arctan2(z, 1.0),
    "<": lambda z: z < 1,
    "<=": lambda z: z <= 1,
    ">": lambda z: 1 > z,
    ">=": lambda z: 1 >= z,
    "softmax": mg.softmax,
    "logsumexp": mg.logsumexp,
    "eigh": lambda z: mg.linalg.eigh(mg.outer(z, z)).eigenvalues,
    "svd": lambda z: mg.linalg.svdvals(mg.outer(z, z)),
}


@pytest.mark.parametrize("name", REAL_ONLY)
def test_functions_for_real_numbers_say_so_when_they_meet_complex_ones(name):
    def program(x):
        return mg.sum(mg.real(mg.fft.fft(x) * REAL_ONLY[name](mg.fft.fft(x))))

    for run in (lambda: mg.jvp(program, (X,), (X,)), lambda: mg.grad(program)(X)):
        with pytest.raises(TypeError, match="complex numbers are not supported") as caught:
            run()
        assert "\n" not in str(caught.value) and "minigrad.real" in str(caught.value)


# ----- Rules by plain numbers -----


def test_the_gradient_of_the_energy_in_the_spectrum_is_the_signal():
    energy = mg.grad(lambda x: mg.sum(mg.abs(mg.fft.fft(x)) ** 2))(X)
    np.testing.assert_allclose(energy, 2 * 6 * X, rtol=1e-13)  # Parseval: Σ|y|² = n Σ x²
    unitary = mg.grad(lambda x: mg.sum(mg.abs(mg.fft.fft(x, norm="ortho")) ** 2))(X)
    np.testing.assert_allclose(unitary, 2 * X, rtol=1e-13)
    curvature = mg.hessian(lambda x: mg.sum(mg.abs(mg.fft.fft(x)) ** 2))(X)
    np.testing.assert_allclose(curvature, 12 * np.eye(6), atol=1e-12)


def test_the_gradient_of_one_line_of_the_power_spectrum():
    # |Σ x ωʲ|² with ω = exp(-2πi 2/6) has the derivative 2 Re(conj(y₂) ωʲ).
    wave = np.exp(-2j * np.pi * 2 * np.arange(6) / 6)
    y = np.sum(X * wave)
    for transform in (mg.fft.fft, mg.fft.rfft, np.fft.fft, np.fft.rfft):
        line = mg.grad(lambda x, transform=transform: mg.abs(transform(x)[2]) ** 2)(X)
        np.testing.assert_allclose(line, 2 * np.real(np.conj(y) * wave), rtol=1e-12)


def test_a_filter_applied_in_frequency_is_a_circular_convolution():
    kernel = RNG.standard_normal(6)
    matrix = np.array([[kernel[(i - j) % 6] for j in range(6)] for i in range(6)])

    def convolve(x):
        return mg.fft.irfft(mg.fft.rfft(x) * np.fft.rfft(kernel), 6)

    np.testing.assert_allclose(convolve(X), matrix @ X, rtol=1e-12)
    np.testing.assert_allclose(mg.linearize(convolve, X)[1].T(X), matrix.T @ X, rtol=1e-12)
    np.testing.assert_allclose(mg.jacrev(convolve)(X), matrix, atol=1e-14)
    np.testing.assert_allclose(mg.jacfwd(convolve)(X), matrix, atol=1e-14)


def test_the_pairing_of_complex_outputs_is_the_real_part_of_the_product():
    y, f_vjp = mg.vjp(mg.fft.fft, X)
    t, ct = RNG.standard_normal(6), complex_normal(RNG, (6,))
    tangent = mg.jvp(mg.fft.fft, (X,), (t,))[1]
    np.testing.assert_allclose(tangent, np.fft.fft(t), rtol=1e-13)
    assert y.dtype == tangent.dtype == np.complex128 and f_vjp(ct)[0].dtype == np.float64
    assert np.sum(np.real(ct * tangent)) == pytest.approx(np.sum(f_vjp(ct)[0] * t), rel=1e-12)
    np.testing.assert_allclose(mg.linear_transpose(mg.fft.fft, X)(ct)[0], f_vjp(ct)[0], rtol=1e-13)
    jacobian = mg.jacfwd(mg.fft.fft)(X)
    np.testing.assert_allclose(jacobian, np.fft.fft(np.eye(6)), atol=1e-14)
    one = np.eye(6, dtype=complex)[4]
    np.testing.assert_allclose(f_vjp(one)[0], jacobian[4].real, atol=1e-14)
    np.testing.assert_allclose(f_vjp(-1j * one)[0], jacobian[4].imag, atol=1e-14)
    with pytest.raises(TypeError, match=r"cotangent is float64\[6\], but its output is complex128\[6\]"):
        f_vjp(X)


def test_every_analytic_function_takes_complex_numbers():
    """Functions of z that NumPy has and that are not constant, at points away from branch cuts and poles."""
    x, y = np.multiply(RNG.uniform(0.3, 0.9, (2, 4)), [[1, -1, 1, -1], [1, 1, -1, -1]])
    constant = set("isnan isinf isfinite equal not_equal logical_not round rint any all".split())
    names = [n for n in SAME if isinstance(getattr(np, n, None), np.ufunc) and getattr(np, n).nin == 1]
    assert len(set(names) - constant) >= 15
    for name in [*(set(names) - constant), "negative", "conjugate", "angle", "absolute", "sign"]:
        op = getattr(mg, {"absolute": "abs"}.get(name, name))

        def parts(x, y, op=op):
            w = op(x + 1j * y)
            return mg.real(w), mg.imag(w)

        check_dot(parts, (x, y))
        check_jvp(parts, (x, y))
        check_hvp(parts, (x, y))
        z = complex_normal(RNG, (3,))
        np.testing.assert_allclose(op(z), getattr(np, name)(z), rtol=1e-14)


def test_the_functions_that_take_complex_numbers_exist():
    assert set(SAME) | set(RULES) <= set(PRIMITIVES)


PROGRAMS = {
    "power": lambda x, y: mg.real((x + 1j * y) ** (y - 1j * x)),
    "power of a number": lambda x, y: mg.real(2.0 ** (x + 1j * y) + (-2.0) ** (x + 1j * y)),
    "power of negative numbers": lambda x, y: mg.imag((-x) ** (x + 1j * y)),
    "power to a number": lambda x, y: mg.imag((x + 1j * y) ** 3),
    "divide": lambda x, y: mg.real((x + 1j) / (y - 2j * x)),
    "subtract": lambda x, y: mg.imag(x - 1j * y * x),
    "matmul": lambda x, y: mg.abs((x + 1j * y) @ (Z[:5] * x)),
    "einsum": lambda x, y: mg.imag(mg.einsum("i,j,i->j", x + 1j * y, y, Z[:5])),
    "where": lambda x, y: mg.real(mg.where(X[:5] > 0, x * 1j, y * Z[:5]) ** 2),
    "concatenate": lambda x, y: mg.imag(mg.concatenate([x, 1j * y]) ** 2),
    "cumsum": lambda x, y: mg.abs(mg.cumsum(x + 1j * y)),
    "index": lambda x, y: mg.imag((x * 1j + y)[np.array([0, 2, 2])] ** 2),
    "var": lambda x, y: mg.var(x + 1j * y),
    "std": lambda x, y: mg.std(x + 1j * y),
    "norm": lambda x, y: mg.linalg.norm(x + 1j * y),
    "norm of order 3": lambda x, y: mg.linalg.norm(x + 1j * y, 3),
    "vdot": lambda x, y: mg.real(mg.vdot(x + 1j * y, y + 2j * x) * Z[0]),
    "prod": lambda x, y: mg.imag(mg.prod(x + 1j * y)),
    "solve": lambda x, y: mg.imag(mg.linalg.solve(np.eye(5) + 1j * mg.outer(x, y), y + 2j * x)),
    "inv": lambda x, y: mg.abs(mg.linalg.inv(np.eye(5) + 1j * mg.outer(x, y))),
    "complex eig": lambda x, y: mg.imag(mg.linalg.eigvals(np.diag(np.arange(5)) + 0.1j * mg.outer(x, y))),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_linear_maps_products_and_norms_take_complex_numbers(name):
    args = RNG.uniform(0.3, 0.9, 5), RNG.uniform(0.2, 0.7, 5)
    f = PROGRAMS[name]
    check_dot(f, args)
    check_jvp(f, args)
    check_hvp(f, args)


@pytest.mark.parametrize("name", ["var", "std", "norm", "vdot"])
def test_products_and_norms_of_complex_numbers_have_numpys_values(name):
    calls = {"norm": (mg.linalg.norm, np.linalg.norm, (Z,)), "vdot": (mg.vdot, np.vdot, (Z, Z + 1j))}
    ours, numpys, args = calls.get(name) or (getattr(mg, name), getattr(np, name), (Z,))
    assert np.asarray(ours(*args)).dtype == np.asarray(numpys(*args)).dtype
    np.testing.assert_allclose(ours(*args), numpys(*args), rtol=1e-13)


# ----- Conventions -----


def test_absolute_value_and_sign_have_derivative_zero_at_zero():
    def f(x, y):
        return mg.sum(mg.abs(x + 1j * y))

    dx, dy = mg.grad(f, (0, 1))(np.array([0.0, 3.0]), np.array([0.0, 4.0]))
    np.testing.assert_allclose([dx, dy], [[0, 0.6], [0, 0.8]], rtol=1e-14)
    zero = np.zeros(1)
    assert mg.jvp(lambda x: mg.real(mg.sign(x + 0j)), (zero,), (np.ones(1),))[1] == 0


def test_the_angle_has_a_derivative_where_its_value_jumps():
    turn = mg.grad(lambda y: mg.angle(-2 + 1j * y))
    assert turn(0.0) == turn(-0.0) == -0.5
    assert mg.grad(lambda y: mg.angle(-2 + 1j * y, deg=True))(0.0) == pytest.approx(-90 / np.pi)
    assert mg.angle(1j, deg=True) == 90 and mg.angle(-1.0) == np.pi
    assert mg.grad(lambda x: mg.sum(x * mg.angle(x)))(np.array([-1.0, 2.0])).tolist() == [np.pi, 0]


def test_parts_of_a_real_tracer_are_that_tracer_and_zeros():
    def f(x):
        assert np.real(x) is x and x.real is x and np.conj(x) is x and x.conj() is x and x.conjugate() is x
        assert not np.any(np.imag(x)) and type(x.imag) is np.ndarray and x.imag.dtype == x.dtype
        assert np.isreal(x).all() and not np.iscomplex(x).any() and np.real_if_close(x) is x
        z = np.fft.fft(x)
        return z.real + z.conj().imag + z.conjugate().imag + np.real(z) + np.imag(z)

    for run in (lambda x: mg.jvp(f, (x,), (x,))[1], lambda x: mg.linearize(f, x)[1](x)):
        np.testing.assert_allclose(run(X), 2 * np.fft.fft(X).real - np.fft.fft(X).imag, rtol=1e-13)
    mg.linear_transpose(lambda x: x.real + x.conj(), X)


def test_a_complex_tracer_converted_to_real_keeps_its_real_part():
    c = np.array([1 + 2j, 3j, 4.0])
    dx = mg.grad(lambda x: mg.sum((x * c).astype(float)))(np.ones(3))
    assert dx.tolist() == [1, 0, 4] and dx.dtype == np.float64


def test_lists_and_numbers_have_parts_as_in_numpy():
    for x in ([1j, 2], 1 + 2j, 3.0, [[1.0, -2.0]], np.float32(-1), np.array(2j), [1, 2]):
        for name in ("real", "imag", "conj", "angle", "iscomplex", "isreal", "real_if_close"):
            ours, want = getattr(mg, name)(x), getattr(np, name)(x)
            np.testing.assert_allclose(ours, want, rtol=1e-15)
            assert np.asarray(ours).dtype == np.asarray(want).dtype


def test_real_if_close_decides_by_the_values():
    tiny = X + 1e-15j
    assert mg.real_if_close(tiny).dtype == np.float64 and mg.real_if_close(tiny, 2).dtype == np.complex128
    back = mg.grad(lambda x: mg.sum(mg.real_if_close(mg.fft.ifft(mg.fft.fft(x))) * X))(np.ones(6))
    np.testing.assert_allclose(back, X, rtol=1e-13)


@pytest.mark.parametrize(("kind", "wide"), [(np.float16, np.complex64), (np.float32, np.complex64)])
def test_single_and_half_precision_go_through_complex64(kind, wide):
    x = X.astype(kind)
    for ours, numpys in ((mg.fft.fft, np.fft.fft), (mg.fft.rfft, np.fft.rfft), (mg.fft.ihfft, np.fft.ihfft)):
        assert ours(x).dtype == numpys(x).dtype == wide
        np.testing.assert_allclose(ours(x), numpys(x), rtol=1e-5, atol=1e-6)
    for name in ("irfft", "hfft", "irfft2", "irfftn"):
        ours, want = (getattr(m.fft, name)(np.stack([x, x])) for m in (mg, np))
        assert ours.dtype == want.dtype
        np.testing.assert_allclose(ours, want, rtol=1e-2 if kind is np.float16 else 1e-5, atol=1e-3)
    y, back = mg.vjp(lambda x: mg.fft.irfft(mg.fft.rfft(x) * 1j), x)
    assert y.dtype == np.float32 and back(y)[0].dtype == kind
    assert mg.grad(lambda x: mg.sum(mg.abs(mg.fft.fft(x) * 2j)))(x).dtype == kind


# ----- Arguments of the Fourier transforms -----


@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"])
def test_lengths_axes_and_normalisations_are_checked(name):
    transform = getattr(mg.fft, name)
    for n in (0, -1):
        with pytest.raises(ValueError, match=f"{name}: a transform of {n} points"):
            transform(X, n)
    with pytest.raises(ValueError, match=f"{name}: norm is 'unit': use 'backward', 'ortho' or 'forward'"):
        transform(X, norm="unit")
    with pytest.raises(np.exceptions.AxisError):
        transform(X, axis=1)
    with pytest.raises(np.exceptions.AxisError):
        transform(1.0)
    with pytest.raises(TypeError):
        transform(X, 2.5)


def test_transforms_over_several_axes_check_them():
    x = np.ones((2, 3))
    with pytest.raises(ValueError, match=r"fftn: lengths s=\(2, 2\) need their axes"):
        mg.fft.fftn(x, (2, 2))
    with pytest.raises(ValueError, match=r"irfft2: 1 lengths s=\(2,\) for 2 axes"):
        mg.fft.irfft2(x, (2,))
    with pytest.raises(ValueError, match="repeated axis"):
        mg.fft.fft2(x, axes=(0, 0))
    with pytest.raises(ValueError, match="rfftn: there is no axis to transform"):
        mg.fft.rfftn(x, axes=())
    with pytest.raises(TypeError, match=r"rfft: complex128\[6\] is complex"):
        mg.fft.rfft(Z)
    with pytest.raises(ValueError, match="irfft: a transform of 0 points"):
        mg.fft.irfft(np.ones(1))
    assert mg.fft.fftn(x, axes=()) is x
    np.testing.assert_array_equal(mg.fft.fftn(x, [4, -1], [0, 1]), np.fft.fftn(x, [4, -1], [0, 1]))


def test_lists_and_integers_are_transformed_as_in_numpy():
    for name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft", "fftshift"):
        ours, numpys = getattr(mg.fft, name), getattr(np.fft, name)
        for x in ([1, 2, 4], np.arange(5, dtype=np.int8), np.array([True, False, True])):
            assert ours(x).dtype == numpys(x).dtype
            np.testing.assert_allclose(ours(x), numpys(x), atol=1e-14)


def test_cost_counts_five_n_log_n():
    J = mg.linearize(mg.fft.fft, np.ones((3, 8)))[1]
    assert J.cost.ops["fft"].flops == 3 * 5 * 8 * 3
    J = mg.linearize(lambda x: mg.fft.irfft(mg.fft.rfft(x)), np.ones((3, 8)))[1]
    assert J.cost.ops["rfft"].flops == J.cost.ops["irfft"].flops == 3 * 5 * 8 * 3 / 2


# ----- General eigenvalues -----


def test_eigenvectors_keep_their_length_and_the_phase_of_their_largest_component():
    a, t = RNG.standard_normal((2, 4, 4))
    (w, v), (dw, dv) = mg.jvp(mg.linalg.eig, (a,), (t,))
    assert w.dtype == v.dtype == dv.dtype == np.complex128
    np.testing.assert_allclose(t @ v + a @ dv, dv * w + v * dw, atol=1e-12)
    np.testing.assert_allclose(np.sum(np.conj(v) * dv, 0).real, 0, atol=1e-13)
    largest = np.argmax(np.abs(v), 0), np.arange(4)
    np.testing.assert_allclose(dv[largest].imag, 0, atol=1e-13)


def test_functions_of_all_eigenvalues_are_differentiated_where_some_are_equal():
    a = np.diag([1.0, 1.0, 2.0])
    cubes = mg.grad(lambda a: mg.sum(mg.real(mg.linalg.eigvals(a) ** 3)))(a)
    np.testing.assert_allclose(cubes, np.diag([3.0, 3.0, 12.0]), atol=1e-13)
    dv = mg.jvp(mg.linalg.eig, (a,), (np.ones((3, 3)),))[1].eigenvectors
    assert np.all(np.isfinite(dv)) and not dv[:2, :2].any()


def test_the_trace_and_the_determinant_are_the_sum_and_the_product_of_the_eigenvalues():
    a = RNG.standard_normal((2, 3, 3))
    total = mg.grad(lambda a: mg.sum(mg.real(mg.linalg.eigvals(a))))(a)
    np.testing.assert_allclose(total, np.broadcast_to(np.eye(3), (2, 3, 3)), atol=1e-12)
    product = mg.grad(lambda a: mg.sum(mg.real(mg.prod(mg.linalg.eigvals(a), axis=-1))))(a)
    np.testing.assert_allclose(product, mg.grad(lambda a: mg.sum(mg.linalg.det(a)))(a), atol=1e-11)


def test_eig_needs_square_matrices():
    for f in (mg.linalg.eig, mg.linalg.eigvals):
        with pytest.raises(np.linalg.LinAlgError, match="not a square matrix"):
            f(np.ones((2, 3)))
        assert mg.jvp(f, (np.ones((0, 0)),), (np.ones((0, 0)),))[1] is not None
