"""Every error is one line that names the thing and the way out; so its words are tested."""

import gc
import re
import sys
import weakref

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
    says(text, "assignment into float64[2,3] inside jvp of traced", "minigrad.index_set(x, index, values)")


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
        (np.histogram, "np.histogram"),
        (np.spacing, "np.spacing"),
        (np.hypot.accumulate, "np.hypot.accumulate"),
        (np.arctan2.reduce, "np.arctan2.reduce"),
        (lambda x: np.add.outer(x, x), "np.add.outer"),
    ],
)
def test_a_numpy_function_without_a_rule_is_named(use, name):
    says(message(TypeError, inside(use)), f"no derivative of {name}:", "write it with minigrad's operations")


def test_forms_of_numpy_functions_that_are_not_supported_say_so():
    text = message(ValueError, inside(lambda x: np.pad(x, 1, mode="mean")))
    says(text, "pad: mode='mean' has no derivative here", "constant, edge, reflect, symmetric, wrap")
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


class Unknown:
    pass


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("y", ["text", Unknown(), np.array(["text"]), {1, 2}, np.float64])
def test_an_output_that_is_no_number_is_named(name, y):
    def program(x):
        return {"loss": x.sum(), "note": y}

    text = message(TypeError, TRANSFORMS[name], program, X)
    says(text, "program (test_errors.py:", f"output['note'] is of type {type(y).__name__}", "has_aux=True")


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
        (lambda: mg.max_pool2d(IMAGES[:, :0], 2, padding=1), ("pooling", "float64[2,0,5,3]", "no pixels")),
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


# ----- Where it happened: operation, arguments, layer and line -----


def line(up=0):
    """'test_errors.py:12', the line that calls this, plus `up`."""
    return f"test_errors.py:{sys._getframe(1).f_lineno + up}"


ROWS, COLUMNS = np.ones((128, 16), np.float32), np.ones((128, 10), np.float32)
CLASH = (
    "float32[128,16] and float32[128,10] do not broadcast: "
    "axis -1 has 16 and 10, but lengths must be equal or 1"
)


def test_arrays_that_do_not_broadcast_are_named_with_operation_axis_and_line():
    for call in (
        lambda: mg.multiply(ROWS, COLUMNS),
        lambda: mg.grad(lambda x: np.sum(x * COLUMNS))(ROWS),
        lambda: mg.jvp(lambda x: x * COLUMNS, (ROWS,), (ROWS,)),
        lambda: mg.linear_transpose(lambda x: x * COLUMNS, ROWS),
        lambda: mg.hessian(lambda x: np.sum(x * COLUMNS))(ROWS),
    ):
        assert (
            message(ValueError, call)
            == f"multiply: {CLASH} (at test_errors.py:{call.__code__.co_firstlineno})"
        )
    text = message(
        ValueError, lambda: np.ones((2, 1, 4)) + mg.where(ROWS[:3, :5] > 0, ROWS[:3, :5], COLUMNS[:3, :6])
    )
    says(text, "where: bool[3,5] and float32[3,5] and float32[3,6] do not broadcast: axis -1 has 5 and 6")
    says(message(ValueError, lambda: mg.subtract(np.ones((2, 3)), np.ones((4, 3)))), "axis -2 has 2 and 4")


@pytest.mark.parametrize(
    ("error", "call", "text"),
    [
        (
            IndexError,
            lambda x: mg.getitem(x, 7).sum(),
            "getitem of float64[2,3] with index=7: index 7 is out of bounds for axis 0",
        ),
        (
            np.linalg.LinAlgError,
            lambda x: mg.linalg.inv(x.T @ x).sum(),
            "inv of float64[3,3]: Singular matrix: it has",
        ),
        (
            np.linalg.LinAlgError,
            lambda x: mg.linalg.cholesky(-x @ x.T).sum(),
            "is not positive definite: add a small",
        ),
        (
            TypeError,
            lambda x: mg.maximum(x, "big").sum(),
            "maximum of float64[2,3] and 'big': str is not an array",
        ),
    ],
)
def test_what_numpy_says_is_told_with_the_operation_and_keeps_its_class(error, call, text):
    for run in (lambda: call(X), lambda: mg.grad(call)(X)):
        says(message(error, run), text, f"(at test_errors.py:{call.__code__.co_firstlineno})")


def test_the_error_of_numpy_is_the_cause():
    with pytest.raises(ValueError) as caught:
        mg.multiply(ROWS, COLUMNS)
    says(str(caught.value.__cause__), "operands could not be broadcast together")


def test_a_bare_primitive_names_its_parameters():
    total = core.PRIMITIVES["sum"]
    text = message(np.exceptions.AxisError, lambda: total(X, axis=(5,), keepdims=False))
    says(text, "sum of float64[2,3] with axis=(5,), keepdims=False: axis 5 is out of bounds")
    says(text, f"(at {line(-2)})")


class Block(nn.Module):
    def __init__(self, n):
        self.lin = nn.Linear(3, 4, rng=0, dtype=np.float64)
        self.parts = {"tail": [nn.Sequential(nn.ReLU(), nn.Linear(n, 4, rng=0, dtype=np.float64))]}

    def forward(self, x, train):
        h = self.lin(x)
        return self.parts["tail"][0](h) * np.ones(n_out)


n_out = 4


def test_an_error_in_a_layer_names_its_path_and_the_users_line():
    tail = Block.forward.__code__.co_firstlineno + 2
    model = nn.Sequential(nn.Tanh(), Block(5))
    path = f"(in layer model.layers[1].parts['tail'][0].layers[1]: Linear, at test_errors.py:{tail})"
    for run in (
        lambda: model(X),
        lambda: mg.grad(lambda m: m(X).sum())(model),
        lambda: mg.hvp(lambda m: m(X).sum(), (model,), (model,)),
    ):
        text = message(ValueError, run)
        says(text, "matmul: shapes (2, 4) and (5, 4) do not match", path)
        assert text.count("in layer") == 1 and text.endswith(path)


def test_an_operation_that_fails_in_a_layer_names_both(monkeypatch):
    monkeypatch.setitem(globals(), "n_out", 7)
    text = message(ValueError, lambda: mg.grad(lambda m: m(X).sum())(nn.Sequential(Block(4))))
    says(text, "multiply: float64[2,4] and float64[7] do not broadcast: axis -1 has 4 and 7")
    says(
        text,
        f"(in layer model.layers[0]: Block, at test_errors.py:{Block.forward.__code__.co_firstlineno + 2})",
    )


def test_the_line_is_that_of_the_caller_when_the_layers_are_minigrads():
    says(message(ValueError, lambda: nn.Linear(3, 4, rng=0)(X.T)), f"(in layer model: Linear, at {line()})")
    image = np.ones((1, 8, 8, 2))
    text = message(ValueError, lambda: nn.Sequential(nn.Conv2d(3, 4, 3, rng=0))(image))
    says(text, "conv2d", f"(in layer model.layers[0]: Conv2d, at {line(-1)})")


def test_a_layer_that_no_other_holds_is_named_by_its_class():
    class Maker(nn.Module):
        def forward(self, x, train):
            return nn.Linear(7, 7, rng=0)(x)

    says(
        message(ValueError, lambda: nn.Sequential(Maker())(X)),
        "(in layer model.layers[0] > Linear: Linear, at ",
    )


def test_a_layers_own_error_gets_the_place_too_and_others_are_left_alone():
    class Own(Exception):
        pass

    class Failing(nn.Module):
        def __init__(self, error):
            self.error = error

        def forward(self, x, train):
            raise self.error

    for error in (
        ValueError("too wide"),
        TypeError("no such thing"),
        IndexError("beyond"),
        mg.NonlinearError("bent"),
    ):
        text = message(type(error), lambda error=error: nn.Sequential(Failing(error))(X))
        says(text, f"{error} (in layer model.layers[0]: Failing, at test_errors.py:")
    for error in (
        Own("mine"),
        KeyError("key"),
        StopIteration(),
        ValueError("two", "parts"),
        RuntimeError("odd"),
    ):
        with pytest.raises(type(error)) as caught:
            nn.Sequential(Failing(error))(X)
        assert caught.value is error


def test_what_a_tracer_cannot_do_is_told_with_layer_and_line():
    class Careless(nn.Module):
        def forward(self, x, train):
            return x * float(x.sum())

    where = f"test_errors.py:{Careless.forward.__code__.co_firstlineno + 1}"
    text = message(TypeError, lambda: mg.grad(lambda x: Careless()(x).sum())(X))
    says(
        text,
        "float() of float64[] inside grad of",
        f", at {where}: its value",
        "(in layer model: Careless,",
    )


def test_a_leaked_tracer_is_named_with_its_function_and_the_line_that_uses_it():
    kept = []

    def careless(x):
        kept.append(x)
        return x.sum()

    mg.grad(careless)(X)
    text, where = message(mg.LeakedTracerError, lambda: kept[0] + 1.0), line()
    says(
        text,
        "a Dual float64[2,3] of grad of careless (test_errors.py:",
        f"is used at {where} after that",
    )


def test_the_advice_of_a_missing_rule_works_when_it_is_followed(bare):
    """What the message says to write is written here as it stands."""
    text = message(mg.MissingRuleError, inside(lambda x: bare(x)))
    call, signature = re.search(
        r"minigrad\.rules\.(defjvp\(bare, rule\)), rule(\(t, ans, \*args, \*\*params\))", text
    ).groups()
    names = {"defjvp": rules.defjvp, "bare": bare}
    exec(f"def rule{signature}:\n    return 3 * args[0] ** 2 * t\n{call}", names)
    np.testing.assert_array_equal(mg.grad(lambda x: bare(x).sum())(X), 3 * X)
    np.testing.assert_array_equal(mg.hvp(lambda x: bare(x).sum(), (X,), (X,)), 6 * X)


def test_a_failure_leaves_no_references_behind():
    gc.collect()
    gc.disable()
    try:
        x = np.ones((50, 3))
        alive = weakref.ref(x)
        for call in (lambda x: mg.multiply(x, np.ones(7)), lambda x: nn.Linear(7, 2, rng=0)(x)):
            try:
                call(x)
            except ValueError:
                pass
        del x
        assert alive() is None
    finally:
        gc.enable()


def test_arrays_of_two_libraries_are_named_with_the_operation(other_library):
    text = message(mg.MixedBackendError, lambda: mg.multiply(np.ones(3), other_library))
    says(text, "multiply of float64[3] and float64[3]: numpy and foreign arrays meet", f"(at {line(-1)})")


def test_an_error_in_a_model_that_holds_much_else_and_itself_names_the_layer():
    class Words(nn.Module):
        def __init__(self):
            self.words, self.me = ["w"] * 100_000, self
            self.inner = {"last": nn.Linear(3, 2, rng=0)}

        def forward(self, x, train):
            return self.inner["last"](x)

    with pytest.raises(ValueError, match=r"in layer model\.inner\['last'\]: Linear"):
        Words()(np.ones((2, 4), np.float32))
