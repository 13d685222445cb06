"""Every error is one line that names the thing and the way out; so its words are tested."""

import sys

import numpy as np
import pytest

import minigrad as mg
from minigrad import core, nn, optim, rules
from minigrad.backend import HOME, NUMPY, Backend

X = np.ones((2, 3))
F4 = np.ones(3, np.float32)


def message(error, call, *args, **kwargs):
    """The text of the `error` (exactly this class) that a call raises."""
    with pytest.raises(error) as caught:
        call(*args, **kwargs)
    assert type(caught.value) is error
    text = str(caught.value)
    assert text and "\n" not in text and len(text) < 400
    return text


def inside(f, x=X):
    """A call of `f` on a tracer."""

    def traced(x):
        return f(x)

    return lambda: mg.jvp(traced, (x,), (x,))


def says(text, *words):
    for word in words:
        assert word in text, f"{word!r} is missing in: {text}"


# ----- Arguments of the transformations -----

TRANSFORMS = {
    "jvp": lambda f, x: mg.jvp(f, (x,), (x,)),
    "linearize": lambda f, x: mg.linearize(f, x),
    "vjp": lambda f, x: mg.vjp(f, x),
    "grad": lambda f, x: mg.grad(f)(x),
    "value_and_grad": lambda f, x: mg.value_and_grad(f)(x),
    "jacfwd": lambda f, x: mg.jacfwd(f)(x),
    "jacrev": lambda f, x: mg.jacrev(f)(x),
    "hessian": lambda f, x: mg.hessian(f)(x),
    "linear_transpose": lambda f, x: mg.linear_transpose(f, x),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize(
    ("x", "what", "hint"),
    [
        (np.arange(3), "int64[3]", "x.astype(float)"),
        (np.array([True]), "bool[1]", "x.astype(float)"),
        (2, "int64[]", "x.astype(float)"),
        (np.ones(2, complex), "complex128[2]", "complex numbers are not supported"),
        (1j, "complex128[]", "complex numbers are not supported"),
        ("f8", "str", "derivatives need floating point"),
        (float, "type", "derivatives need floating point"),
        ({1, 2}, "set", "derivatives need floating point"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_arguments_that_have_no_derivative_are_named_with_their_dtype(name, x, what, hint):
    text = message(TypeError, TRANSFORMS[name], lambda x: x, x)
    says(text, f"argument[0] is {what};", hint)


def test_the_place_of_a_wrong_leaf_is_written_as_python_would():
    tree = {"layers": [np.ones(2), {"w": np.arange(2)}]}
    text = message(TypeError, mg.grad(lambda p: 1.0), tree)
    says(text, "argument[0]['layers'][1]['w'] is int64[2]")


def test_jvp_needs_tuples():
    says(message(TypeError, mg.jvp, np.sin, X, X), "tuple of primals", "jvp(f, (x,), (dx,))")


@pytest.mark.parametrize(
    ("y", "what"),
    [
        (X, "float64[2,3]"),
        (np.ones(1), "float64[1]"),
        (3, "int"),
        ([1.0], "list"),
        (np.int64(3), "int64[]"),
        (None, "NoneType"),
    ],
)
def test_a_gradient_needs_a_scalar_and_says_what_it_got(y, what):
    def program(x):
        return y

    text = message(TypeError, mg.grad(program), X)
    says(text, "program (test_errors.py:", f"returned {what},", "sum or average the output")


def test_argnums_out_of_range_are_named():
    says(message(ValueError, mg.grad(np.sin, argnums=2), 1.0), "argnums 2 of sin", "called with 1 arguments")
    says(message(ValueError, mg.jacfwd(np.sin, argnums=(0, -2)), 1.0), "jacfwd: argnums (0, -2)")


def test_tangents_and_cotangents_must_have_the_shape_and_dtype_of_their_primals():
    f = lambda x: np.sin(x["a"])  # noqa: E731
    x = {"a": F4}
    for run in (lambda t: mg.jvp(f, (x,), (t,)), mg.linearize(f, x)[1]):
        text = message(ValueError, run, {"a": np.ones(4, np.float32)})
        says(text, "tangent[0]['a'] is float32[4], but its primal is float32[3]")
        text = message(TypeError, run, {"a": np.ones(3)})
        says(text, "tangent[0]['a'] is float64[3], but its primal is float32[3]", ".astype('float32')")
        says(message(ValueError, run, {"b": F4}), "({b: *},)", "({a: *},)")
    _, J = mg.linearize(f, x)
    for run in (J.T, mg.vjp(f, x)[1]):
        text = message(ValueError, run, np.ones(4, np.float32))
        says(text, "transpose of <lambda>", "cotangent is float32[4], but its output is float32[3]")
        text = message(TypeError, run, np.ones(3))
        says(text, "cotangent is float64[3], but its output is float32[3]", ".astype('float32')")
        says(message(ValueError, run, [F4]), "the cotangent is [*], the output was *")
    says(message(ValueError, J, x, x), "tangents are", "the primals were")
    says(message(ValueError, mg.hvp, f, (x,), ()), "1 primals, but 0 tangents")
    says(message(ValueError, mg.hvp, f, (x,), (x,), mode="rev"), "unknown mode 'rev'", "'fwd_over_rev'")


# ----- What a tracer cannot do -----


@pytest.mark.parametrize(
    ("use", "what"),
    [
        (lambda x: float(x[0, 0]), "float() of float64[]"),
        (lambda x: int(x[0, 0]), "int() of float64[]"),
        (lambda x: complex(x[0, 0]), "complex() of float64[]"),
        (lambda x: [1, 2, 3][x[0, 0]], "indexing with the value of float64[]"),
        (lambda x: x.sum().item(), ".item() of float64[]"),
        (lambda x: x.tolist(), ".tolist() of float64[2,3]"),
        (lambda x: np.asarray(x), "conversion to a plain array of float64[2,3]"),
        (lambda x: np.array([x[0], x[1]]), "conversion to a plain array of float64[3]"),
    ],
)
def test_a_traced_value_cannot_become_a_plain_number(use, what):
    text = message(TypeError, inside(use))
    says(text, f"{what} inside jvp of traced (test_errors.py:", "minigrad.stop_gradient")


def test_a_traced_array_has_no_truth_value():
    says(message(ValueError, inside(lambda x: x if x > 0 else -x)), "ambiguous")
    says(message(ValueError, inside(lambda x: x if x else -x)), "ambiguous")


def test_assignment_into_a_traced_array_names_what_to_use_instead():
    def assign(x):
        x[0] = 1.0

    text = message(TypeError, inside(assign))
    says(text, "assignment into float64[2,3] inside jvp of traced", "minigrad.where, concatenate or scatter")


def test_assignment_of_a_traced_array_into_a_plain_one_is_refused():
    def assign(x):
        np.zeros((2, 3))[:] = x

    says(message(TypeError, inside(assign)), "conversion to a plain array")
    with pytest.raises(
        ValueError, match="setting an array element"
    ) as caught:  # NumPy's words, ours below them
        inside(lambda x: np.zeros(3).__setitem__(0, x[0, 0]))()
    says(str(caught.value.__cause__), "float() of float64[] inside jvp of traced", "minigrad.stop_gradient")


@pytest.mark.parametrize(
    "use",
    [
        lambda x: np.add(x, 1, out=np.zeros((2, 3))),
        lambda x: np.sum(x, axis=0, out=np.zeros(3)),
        lambda x: np.ones((2, 3)).__iadd__(x),
        lambda x: np.add.reduce(x, out=np.zeros(3)),
        lambda x: np.matmul(x, x.T, out=np.zeros((2, 2))),
    ],
)
def test_out_is_refused(use):
    says(message(TypeError, inside(use)), "with out=: tracers are values", "use the result")


@pytest.mark.parametrize(
    ("use", "name"),
    [
        (np.cumsum, "np.cumsum"),
        (np.sort, "np.sort"),
        (np.cbrt, "np.cbrt"),
        (np.add.accumulate, "np.add.accumulate"),
        (np.multiply.reduce, "np.multiply.reduce"),
        (lambda x: np.add.outer(x, x), "np.add.outer"),
    ],
)
def test_a_numpy_function_without_a_rule_is_named(use, name):
    says(message(TypeError, inside(use)), f"no derivative of {name}:", "write it with minigrad's operations")


def test_forms_of_numpy_functions_that_are_not_supported_say_so():
    says(message(TypeError, inside(lambda x: np.pad(x, 1, mode="edge"))), "mode='edge'", "mode='constant'")
    says(message(TypeError, inside(lambda x: np.einsum(x, [0, 1], [0]))), "np.einsum", "as a string")
    says(message(TypeError, inside(lambda x: np.sin(x, where=X > 0))), "np.sin with where=", "leave it out")


def test_an_index_cannot_be_differentiated():
    says(message(TypeError, inside(lambda x: x[x])), "index cannot be differentiated", "stop_gradient")
    says(message(TypeError, inside(lambda x: x[0, x[0]])), "index cannot be differentiated")


def test_length_and_iteration_of_a_number_are_type_errors_as_in_numpy():
    says(message(TypeError, inside(lambda x: len(x.sum()))), "len() of the 0-d array float64[]")
    says(message(TypeError, inside(lambda x: list(x.sum()))), "iteration over the 0-d array float64[]")


# ----- Rules -----


@pytest.fixture
def bare():
    """A primitive without rules, which the other tests do not see."""
    prim = core.Primitive("bare", lambda xp, x: xp.asarray(x) ** 3, doc="of a test")
    yield prim
    del core.PRIMITIVES["bare"]


def test_a_missing_rule_says_how_to_write_one(bare):
    text = message(mg.MissingRuleError, inside(lambda x: bare(x)))
    says(
        text,
        "bare has no derivative rule",
        "in jvp of traced",
        "minigrad.rules.defjvp(bare, rule)",
        "rule(t, ans",
    )
    rules.defjvp(bare, lambda t, ans, x: 3 * x * x * t)
    np.testing.assert_array_equal(mg.grad(lambda x: bare(x).sum())(X), 3 * X)


def test_a_rule_that_is_not_linear_in_its_tangent_is_found_when_it_is_recorded(bare):
    rules.defjvp(bare, lambda t, ans, x: t * t)
    text = message(mg.NonlinearError, mg.linearize, lambda x: bare(x), X)
    says(text, "multiply is not linear in argument 0 and 1", "a jvp rule that is not linear in its tangents")
    rules.defjvp(bare, lambda t, ans, x: t + 1.0)
    text = message(mg.NonlinearError, mg.linearize, lambda x: bare(x), X)
    says(text, "add: a constant float64[] is added to a linear variable", "leave the constant out")
    rules.defjvp(bare, lambda t, ans, x: mg.exp(t))
    says(message(mg.NonlinearError, mg.linearize, lambda x: bare(x), X), "exp is not linear in argument 0")


def test_two_primitives_cannot_have_one_name():
    says(
        message(ValueError, core.Primitive, "sin", lambda xp, x: x), "a primitive named 'sin' exists already"
    )


def test_an_affine_function_has_no_transpose():
    text = message(mg.NonlinearError, mg.linear_transpose, lambda x: 2 * x + 1.0, X)
    says(text, "add: a constant float64[] is added", "affine, not linear: leave the constant out")
    text = message(mg.NonlinearError, mg.linear_transpose, lambda x: (x, X), X)
    says(text, "linear_transpose of <lambda>", "it is the constant float64[2,3]")


def test_the_errors_are_those_a_caller_may_expect_of_python():
    assert issubclass(mg.LeakedTracerError, RuntimeError)
    for error in (mg.NonlinearError, mg.MissingRuleError, mg.MixedBackendError):
        assert issubclass(error, TypeError)


# ----- Array libraries -----


@pytest.fixture
def other_library():
    """Arrays that claim to be of another library, as CuPy's are."""

    class Foreign(np.ndarray):
        pass

    HOME[Foreign] = Backend("foreign", np, NUMPY.kernels)
    yield np.ones(3).view(Foreign)
    del HOME[Foreign]


def test_arrays_of_two_libraries_do_not_meet(other_library):
    x = np.ones(3)
    for call in (
        lambda: mg.multiply(x, other_library),
        lambda: mg.backend_of(x, 2.0, other_library),
        lambda: mg.grad(lambda y: mg.sum(mg.add(x, y)))(other_library),
        lambda: mg.concatenate([other_library, x]),
    ):
        text = message(mg.MixedBackendError, call)
        says(
            text, "numpy", "foreign", "arrays meet in one operation", "minigrad.to_device(x, 'cpu' or 'cuda')"
        )
    assert mg.backend_of(other_library, 1.0).name == "foreign"
    assert mg.multiply(2.0, other_library)[0] == 2.0  # a number follows the array


def test_what_is_no_array_is_named():
    says(message(TypeError, mg.sin, "text"), "str is not an array", "NumPy and CuPy arrays and")
    says(message(TypeError, mg.backend_of, {}), "dict is not an array")


def test_an_unknown_device_names_the_known_ones():
    says(message(ValueError, mg.to_device, X, "tpu"), "unknown device 'tpu'", "'cpu' or 'cuda'")


def test_a_missing_cupy_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # import cupy: ImportError
    monkeypatch.delitem(sys.modules, "minigrad.backend.cupy", raising=False)
    text = message(RuntimeError, mg.to_device, X, "cuda")
    says(text, "pip install 'minigrad[cuda12]' or 'minigrad[cuda13]'")


# ----- Shapes in operations -----

IMAGES, FILTERS = np.ones((2, 5, 5, 3)), np.ones((4, 3, 3, 3))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mg.conv2d(IMAGES, np.ones((4, 3, 3, 2))), ("conv2d", "[2,5,5,3]", "[4,3,3,2]", "C/groups")),
        (lambda: mg.conv2d(IMAGES[0], FILTERS), ("conv2d", "float64[5,5,3]", "(N, H, W, C)")),
        (lambda: mg.conv2d(IMAGES, FILTERS, groups=2), ("conv2d", "groups=2")),
        (lambda: mg.conv2d(IMAGES, FILTERS, groups=0), ("groups=0", "at least 1")),
        (
            lambda: mg.conv2d(IMAGES, np.ones((4, 7, 7, 3))),
            ("conv2d", "larger than the padded images", "pad more"),
        ),
        (lambda: mg.conv2d(IMAGES, FILTERS, stride=0), ("stride=0", "at least 1")),
        (lambda: mg.conv2d(IMAGES, FILTERS, padding=-1), ("padding=-1", "not be negative")),
        (
            lambda: mg.conv2d_input(np.ones((2, 3, 3, 4)), FILTERS, (6, 6)),
            ("conv2d_input", "[2,3,3,4]", "(6, 6)"),
        ),
        (
            lambda: mg.conv2d_filter(IMAGES, np.ones((2, 2, 2, 4)), (3, 3)),
            ("conv2d_filter", "[2,2,2,4]", "(3, 3)"),
        ),
        (lambda: mg.max_pool2d(IMAGES[0], 2), ("pooling", "(N, H, W, C)", "float64[5,5,3]")),
        (lambda: mg.max_pool2d(IMAGES, 6), ("pooling", "window 6", "larger than the padded images")),
        (lambda: mg.max_pool2d(IMAGES, 2, padding=2), ("max_pool2d", "padding 2", "no element")),
        (lambda: mg.batch_norm(IMAGES, np.ones(4), np.zeros(3)), ("batch_norm", "float64[4]", "(C,)")),
        (lambda: mg.batch_norm(np.ones(3), np.ones(3), np.ones(3)), ("batch_norm", "x is (..., C)")),
        (lambda: mg.matmul(X, X), ("matmul", "(2, 3) and (2, 3)", "must be equal")),
        (lambda: mg.matmul(X, 2.0), ("matmul", "(2, 3) and ()")),
        (lambda: mg.einsum("ij,jk", X, X), ("einsum 'ij,jk'", "'j'", "3 and 2")),
        (lambda: mg.einsum("ij,jk", X), ("einsum", "2 operands are named, 1 were given")),
        (lambda: mg.einsum("ijk->i", X), ("einsum", "'ijk' does not fit an array of 2 axes")),
        (lambda: mg.tensordot(X, X, 1), ("tensordot", "(2, 3)", "do not match")),
        (lambda: mg.reshape(X, (4, -1)), ("reshape", "(2, 3)", "(4, -1)")),
        (lambda: mg.reshape(X, (7,)), ("reshape", "(2, 3)", "(7,)")),
        (lambda: mg.squeeze(X, 0), ("squeeze", "(2, 3)", "length one")),
        (lambda: mg.transpose(X, (0,)), ("transpose", "(0,)", "2 axes")),
        (lambda: mg.split(X, 2, axis=1), ("split", "length 3", "2 equal parts")),
        (lambda: mg.pad(X, -1), ("pad", "-1 is negative", "slice")),
    ],
)
def test_shapes_that_do_not_fit_are_named_with_the_operation(call, words):
    says(message(ValueError, call), *words)


def test_shapes_that_do_not_fit_are_found_inside_transformations_too():
    text = message(ValueError, mg.grad(lambda w: mg.conv2d(IMAGES, w).sum()), np.ones((4, 3, 3, 2)))
    says(text, "conv2d", "float64[4,3,3,2]")


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        (np.array([0, 3]), ValueError, ("reach from 0 to 3", "classes 0 to 2")),
        (np.array([-1, 0]), ValueError, ("reach from -1 to 0",)),
        (np.array([0]), ValueError, ("integer labels of shape (2,)", "int64[1]")),
        (np.array([[0], [1]]), ValueError, ("integer labels of shape (2,)", "int64[2,1]")),
        (np.array([0.0, 1.0]), TypeError, ("float64[2]", "must be integers", ".astype(int)")),
    ],
)
def test_labels_that_do_not_fit_are_named(labels, error, words):
    for loss in (nn.SoftmaxCrossEntropy(labels), nn.SoftmaxCrossEntropy(labels).quadratic):
        says(message(error, loss, X), "softmax_cross_entropy", *words)
    says(message(error, mg.softmax_cross_entropy, X, labels), *words)


def test_targets_that_do_not_fit_are_named():
    for loss in (nn.SquaredError(np.ones((2, 1))), nn.BinaryCrossEntropy(np.ones((2, 1)))):
        text = message(ValueError, loss, X)
        says(text, type(loss).__name__, "float64[2,3] do not fit targets float64[2,1]")
        says(message(ValueError, loss.quadratic, X), "do not fit targets")
    says(message(ValueError, nn.SquaredError(np.ones((0, 3))), np.ones((0, 3))), "hold no examples")


# ----- Names and settings -----


def test_unknown_names_are_answered_with_the_known_ones():
    says(
        message(ValueError, nn.build, "resnet21", (32, 32, 3), 10),
        "unknown model 'resnet21'",
        "resnet20",
        "vgg11",
    )
    says(message(ValueError, nn.build, "a b!", (32, 32, 3), 10), "unknown model 'a b!'")
    says(message(ValueError, nn.resnet, 21), "depth 21 is unknown", "resnet18()")
    says(message(ValueError, nn.vgg, 12), "depth 12 is unknown", "11")
    says(message(ValueError, optim.build, "lion", X), "unknown optimizer 'lion'", "curveball", "sgd", "adam")
    for loss in (nn.SoftmaxCrossEntropy, nn.SquaredError, nn.BinaryCrossEntropy):
        says(
            message(ValueError, loss, X, "max"),
            f"{loss.__name__}: reduction 'max' is unknown",
            "'mean' or 'sum'",
        )


def test_settings_out_of_range_are_named():
    for p in (1.0, -0.1, 1.5):
        says(message(ValueError, nn.Dropout, p, 0), f"Dropout: p={p}", "at least 0 and less than 1")
    says(message(ValueError, nn.Conv2d, 3, 4, 3, 0, groups=2), "3 input and 4 output channels", "2 groups")
    says(message(ValueError, nn.lenet, (12, 12, 1)), "12 x 12 are too small", "at least 16 x 16")


def test_layers_name_inputs_that_they_cannot_take():
    says(
        message(ValueError, nn.BatchNorm(3), np.ones((1, 3)), train=True),
        "BatchNorm",
        "(1, 3)",
        "train=False",
    )
    table = nn.Embedding(4, 2, rng=0)
    says(message(TypeError, table, np.ones(2)), "Embedding: indices are float64", "must be integers")
    says(message(ValueError, table, np.array([0, 4])), "from 0 to 4", "rows 0 to 3")

    class Empty(nn.Module):
        pass

    says(message(NotImplementedError, Empty(), X), "Empty needs a method forward(self, x, train)")


def test_unknown_layers_and_optimizers_name_the_known_ones():
    with pytest.raises(
        AttributeError, match=r"unknown layer.* minigrad\.nn\.Conv3d: .*BatchNorm, .*Conv2d"
    ) as e:
        _ = nn.Conv3d
    assert "\n" not in str(e.value)
    with pytest.raises(
        AttributeError, match=r"unknown optimizer minigrad\.optim\.KFAC: there are CurveBall, SGD"
    ):
        _ = optim.KFAC
    assert not hasattr(nn, "__path_to_nowhere__")
