"""What operations cost: the formulas of FLOPs and bytes, against counted arithmetic and against memory.

Loops written from the definitions (`loops.py`) run on numbers that count what is done with them. Each gives
the result of its operation, and the formula of that the count; docs/conventions.md says what counts.
"""

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import loops
import numpy as np
import pytest
from cases import EVERYTHING
from hypothesis import given, settings
from loops import Number

import minigrad as mg
from minigrad import nn, optim
from minigrad.core import PRIMITIVES, Primitive, dtype_of, nbytes_of, shape_of, touched
from minigrad.record import Aval
from minigrad.testing import cases, directions, seeds

OURS = {
    name: p
    for name, p in PRIMITIVES.items()
    if p.impl.__module__.startswith("minigrad") and name != "_function"
}

few = settings(max_examples=max(settings().max_examples // 6, 1))


class Call(NamedTuple):
    """A call of a primitive on arrays."""

    prim: Primitive
    args: tuple
    outs: tuple
    params: dict

    @property
    def flops(self) -> Any:
        return self.prim.flops(self.args, [shape_of(y) for y in self.outs], self.params)

    @property
    def bytes(self) -> Any:
        return self.prim.bytes(self.args, self.outs, self.params)

    @property
    def stand_ins(self) -> "Call":
        """The same with shapes and dtypes in the place of arrays."""
        args, outs = (
            tuple([Aval(shape_of(a), dtype_of(a)) if hasattr(a, "dtype") else a for a in some])
            for some in (self.args, self.outs)
        )
        return self._replace(args=args, outs=outs)


@contextmanager
def noting() -> Iterator[list[Call]]:
    """The calls of primitives on arrays that run meanwhile."""
    calls: list[Call] = []
    before = {prim: (prim.numpy, prim.impl) for prim in PRIMITIVES.values()}

    def noted(prim: Primitive, f: Callable, skip: int) -> Callable:
        def run(*args: Any, **params: Any) -> Any:
            out = f(*args, **params)
            calls.append(Call(prim, args[skip:], out if prim.multiple else (out,), params))
            return out

        return run

    for prim, (numpy, impl) in before.items():
        prim.numpy, prim.impl = noted(prim, numpy, 0), noted(prim, impl, 1)
    try:
        yield calls
    finally:
        for prim, (numpy, impl) in before.items():
            prim.numpy, prim.impl = numpy, impl


def every_pass(f: Callable, args: tuple, seed: int) -> list[Call]:
    """The calls of a value, a jvp, and a forward and a backward sweep over a record."""
    t = tuple(directions(args, np.random.default_rng(seed)))
    with noting() as calls:
        f(*args)
        mg.jvp(f, args, t)
        _, J = mg.linearize(f, *args)
        J.vjp(J(*t))
    return list(calls)


# ----- Every primitive, in its cases -----

RUN_TO_BE_COUNTED = {"custom_vjp", "custom_vjp2", "checkpoint", "checkpoint2"}


@pytest.mark.parametrize("name", EVERYTHING)
def test_formulas_need_no_numbers_and_bytes_are_those_of_memory(name):
    ran = set()

    @few
    @given(cases(EVERYTHING[name]), seeds())
    def look(case, seed):
        for call in every_pass(case.f, case.args, seed):
            ran.add(call.prim.name)
            check(call)

    look()
    assert name not in OURS or name in ran


def check(call: Call) -> None:
    flops, moved, stand_ins = call.flops, call.bytes, call.stand_ins
    assert type(flops) is int and type(moved) is int and flops >= 0
    if call.prim.name in RUN_TO_BE_COUNTED:
        assert (stand_ins.flops, stand_ins.bytes) == (None, touched(call.args, call.outs, {}))
    else:
        assert (stand_ins.flops, stand_ins.bytes) == (flops, moved)
        check_bytes(call, moved)


def check_bytes(call: Call, moved: int) -> None:
    """A view moves nothing, any other result is written, and nothing is touched twice."""
    arrays = [a for a in call.args if isinstance(a, np.ndarray) and a.size]
    results = [y for y in call.outs if isinstance(y, np.ndarray) and y.size]
    if arrays and results:
        written = [y for y in results if not any(np.shares_memory(a, y) for a in arrays)]
        if not written:
            assert moved == 0
        elif call.prim.name != "reshape" or arrays[0].flags.c_contiguous:
            assert moved >= sum(y.nbytes for y in written)
    if not repeats(call):
        assert moved <= touched(call.args, call.outs, {}) + sum(map(nbytes_of, index_arrays(call.params)))


def index_arrays(params: dict) -> list[np.ndarray]:
    index = params.get("index")
    return [np.asarray(i) for i in (index if isinstance(index, tuple) else (index,)) if np.ndim(i)]


def repeats(call: Call) -> bool:
    """Does a gather read an element twice?"""
    if call.prim.name == "pool_gather":
        return any(s < k for s, k in zip(call.params["stride"], call.params["size"], strict=True))
    if call.prim.name != "getitem":
        return False
    shape = shape_of(call.args[0])
    read = np.arange(math.prod(shape)).reshape(shape)[call.params["index"]]
    return np.unique(read).size != np.size(read)


X = np.arange(1.0, 17.0).reshape(4, 4)


@pytest.mark.parametrize(
    ("f", "moved"),
    [
        (lambda: mg.reshape(mg.transpose(X), (2, 8)), 0),  # as a view, though NumPy copies here
        (lambda: mg.broadcast_to(X, (5, 4, 4)), 0),
        (lambda: mg.diagonal(X), 0),
        (lambda: mg.getitem(X, (slice(1, 3), None, 0)), 0),
        (lambda: mg.real(mg.astype(X, complex)), 128 + 256),  # the real part is a view
        (lambda: mg.take(X, np.array([0, 0, 2]), 0), 3 * 8 + 2 * 96),
        (lambda: mg.getitem(X, X > 4), 16 + 2 * 96),
        (lambda: mg.scatter(X, np.array([0, 0, 2, 5]), (6, 4)), 4 * 8 + 128 + 192),
        (lambda: mg.index_set(X, 0, 1.0), 128 + 32 + 128),
        (lambda: mg.max_pool2d(X[None, ..., None], 2), (128 + 4) + (4 + 2 * 32)),  # places are single bytes
        (lambda: mg.matmul(X, X), 3 * 128),
        (lambda: mg.multiply(2.0, X), 2 * 128),
        (lambda: mg.add(X, X[0].astype(np.float32)), 128 + 16 + 128),
        (lambda: mg.sum(X, 0), 128 + 32),
    ],
)
def test_bytes_of_a_few_operations_by_hand(f, moved):
    with noting() as calls:
        f()
    assert sum(call.bytes for call in calls) == moved


# ----- Elementwise functions, counted -----


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).uniform(0.1, 0.9, shape)


def counts(prim: Primitive, f: Callable, args: Sequence[Any], params: dict) -> tuple[int, int]:
    """The formula's number and the counted one, once both ways have given the same results."""
    want = prim(*args, **params)
    wants = want if prim.multiple else (want,)
    Number.done = 0
    got = f(*map(loops.numbers, args), **params)
    counted = Number.done
    for y, z in zip(wants, got if prim.multiple else (got,), strict=True):
        np.testing.assert_allclose(loops.values(z), np.asarray(y, float), atol=1e-12)
    return Call(prim, tuple(args), wants, params).flops, counted


# What NumPy's own function does to each element is counted.
ONE_ARGUMENT = "negative absolute square sqrt reciprocal conjugate"
TWO_ARGUMENTS = (
    "add subtract multiply divide maximum minimum equal not_equal less less_equal greater greater_equal"
)
BY_NUMPY = {name: n for n, names in ((1, ONE_ARGUMENT), (2, TWO_ARGUMENTS)) for name in names.split()}

# The formula that says what the function is. What keeps a kernel from overflow and NaN is not counted.
BY_FORMULA: dict[str, Callable] = {
    "sigmoid": lambda x: 1 / (1 + loops.exp(-x)),
    "softplus": lambda x: loops.log1p(loops.exp(x)),
    "logaddexp": lambda x, y: y + loops.log1p(loops.exp(x - y)),
    "logaddexp2": lambda x, y: y + loops.log2(1 + loops.exp2(x - y)),
    "hypot": lambda x, y: loops.sqrt(x * x + y * y),
    "floor_divide": lambda x, y: loops.floor(x / y),
    "remainder": lambda x, y: x - y * loops.floor(x / y),
    "fmod": lambda x, y: x - y * loops.trunc(x / y),
    "clip": lambda x, lo, hi: loops.least(loops.largest(x, lo), hi),
    "wins": lambda x, y: 0.5 * (Number(x > y) + Number(x >= y)),
    "isclose": lambda a, b: abs(a - b) <= 1e-8 + 1e-5 * abs(b),
    "relu": lambda x: loops.largest(x, 0.0),
    "logit": lambda p: loops.log(p / (1 - p)),
    "xlogy": lambda x, y: x * loops.log(y),
    "xlog1py": lambda x, y: x * loops.log1p(y),
    "entr": lambda x: -x * loops.log(x),
    "rel_entr": lambda x, y: x * loops.log(x / y),
}

# Signs, roundings, truths, choices, a scaling by 2ⁿ and a masked tangent are one operation.
ONE = """
    logical_not logical_and logical_or logical_xor sign signbit isnan isinf isfinite isposinf isneginf floor
    ceil trunc rint round where fmax fmin ldexp exponent fabs copysign heaviside relu_mask
"""
TEN = """
    power cbrt exp exp2 expm1 log log2 log10 log1p sin cos tan arcsin arccos arctan arctan2 sinh cosh tanh
    arcsinh arccosh arctanh angle
"""
THIRTY = """
    gamma gammaln rgamma polygamma digamma beta betaln gammainc gammaincc betainc erfc erfinv erfcinv ndtr
    ndtri log_ndtr erfcx j0 j1 y0 y1 i0 i1 i0e i1e jv yn iv ive expi exp1
"""
NOTHING = """
    broadcast_to astype imag reshape transpose concatenate split unravel getitem index_set diagonal
    on_diagonal roll pad sliding_windows batch_statistic pool_gather stop_gradient
"""
BY_CONVENTION = {
    name: n
    for n, names in ((0, NOTHING), (1, ONE), (10, TEN), (20, "erf"), (30, THIRTY))
    for name in names.split()
}


@pytest.mark.parametrize("name", BY_NUMPY)
def test_elementwise_arithmetic_is_what_numpy_does_to_objects(name):
    prim, args = PRIMITIVES[name], [drawn(2, 3), drawn(3)][: BY_NUMPY[name]]
    formula, counted = counts(prim, lambda *xs: prim.impl(np, *xs), args, {})
    assert formula == counted == 6


@pytest.mark.parametrize("name", BY_FORMULA)
def test_elementwise_functions_count_as_their_formulas(name):
    f = BY_FORMULA[name]
    n = f.__code__.co_argcount
    formula, counted = counts(
        PRIMITIVES[name], np.frompyfunc(f, n, 1), [drawn(2, k + 1)[:, :1] for k in range(n)], {}
    )
    assert formula == counted > 0


@pytest.mark.parametrize("name", BY_CONVENTION)
def test_other_functions_cost_the_same_for_each_element(name):
    cost = PRIMITIVES[name].flops([Aval((2, 3), np.dtype(float))] * 3, [(2, 3)], {})
    assert cost == 6 * BY_CONVENTION[name]


# ----- Loops, counted -----


def entry(name: str, f: Callable, *args: Any, **params: Any) -> tuple:
    return name, f, args, params


def by_kernel(name: str, *args: Any, **params: Any) -> tuple:
    """Of a primitive's own kernel."""
    return entry(name, lambda *args, **params: PRIMITIVES[name].impl(np, *args, **params), *args, **params)


def by_einsum(ins: str, out: str) -> tuple:
    terms = tuple(ins.split(","))
    return entry(
        "einsum", loops.einsum, *[drawn(*[2 + "ijkl".index(c) for c in t]) for t in terms], ins=terms, out=out
    )


REDUCED = {
    "sum": (operator.add, 0.0),
    "prod": (operator.mul, 1.0),
    "max": (loops.largest, -9.0),
    "min": (loops.least, 9.0),
    "any": (loops.function(1, lambda a, b: float(a != 0 or b != 0)), 0.0),
    "all": (loops.function(1, lambda a, b: float(a != 0 and b != 0)), 1.0),
    "count_nonzero": (loops.function(1, lambda n, x: n + (x != 0)), 0.0),
}
BOX, ROWS, ORDERED = drawn(2, 3, 4), drawn(3, 4), np.sort(drawn(7))
IMAGES, FILTERS, RESULTS = drawn(*loops.IMAGES), drawn(*loops.FILTERS), drawn(*loops.RESULTS)
CONV = {"stride": (2, 1), "padding": ((1, 1), (1, 0)), "dilation": (1, 2), "groups": 2}
POOL = {"size": (3, 2), "stride": (2, 2), "padding": ((1, 0), (0, 1))}
POOLED, PLACES = drawn(*loops.POOLED), PRIMITIVES["pool_index"](IMAGES, **POOL)
UNITS, GAMMA, BETA = drawn(5, 3), drawn(3), drawn(1, 3)[0]

LOOPS = [
    *[entry(name, loops.reduced(*how), BOX, axis=(0, 2), keepdims=True) for name, how in REDUCED.items()],
    entry("argmax", loops.first(operator.gt), ROWS, axis=1, keepdims=False),
    entry("argmin", loops.first(operator.lt), ROWS, axis=1, keepdims=False),
    entry("sum_to", loops.sum_to, BOX, shape=(3, 1)),
    entry("sum_to", loops.sum_to, ROWS, shape=()),
    *[entry("cumsum", loops.running(operator.add, 0.0), ROWS, axis=0, reverse=r) for r in (False, True)],
    *[entry("cumprod", loops.running(operator.mul, 1.0), ROWS, axis=1, reverse=r) for r in (False, True)],
    *[by_kernel("recurrence", drawn(n - 1, 2), drawn(n, 2), axis=0, reverse=n > 4) for n in (1, 2, 5, 8)],
    *[entry("running_argmax", loops.running_argmax, drawn(n), axis=0) for n in (1, 2, 5, 8)],
    entry("logsumexp", loops.logsumexp, BOX, axis=(0, 2), keepdims=False),
    entry("softmax", loops.softmax, ROWS, axis=(1,)),
    entry("log_softmax", lambda x, axis: x - loops.logsumexp(x, axis), BOX, axis=(0, 2)),
    entry("searchsorted", loops.binary_search, ORDERED, drawn(5), side="left", sorter=None),
    entry("digitize", lambda x, bins, right: loops.binary_search(bins, x), drawn(5), ORDERED, right=False),
    *[entry("convolve", loops.convolve, drawn(6), drawn(3), mode=mode) for mode in ("full", "valid")],
    by_kernel("scatter", drawn(4, 2), index=np.array([0, 2, 2, 5]), shape=(6, 2)),
    by_kernel("scatter", drawn(2, 2), index=slice(1, 3), shape=(6, 2)),
    by_kernel("add_windows", drawn(4, 2), shape=(5,), window=(2,), axis=(0,)),
    by_kernel("cross", drawn(2, 3), drawn(3)),
    entry("matmul", loops.matmul, drawn(2, 3), ROWS),
    entry("matmul", loops.matmul, drawn(2, 1, 2, 3), drawn(3, 3, 1)),
    *[by_einsum("ij", out) for out in ("", "i", "ji")],
    *[entry("einsum", loops.einsum, drawn(3, 3), ins=("ii",), out=out) for out in ("", "i")],
    *[by_einsum(*how) for how in (("i,i", "i"), ("i,j", "ij"), ("kij,kjl", "kil"), ("ij,jk,kl", "il"))],
    entry("conv2d", loops.conv2d, IMAGES, FILTERS, **CONV),
    entry("conv2d_tangent", loops.conv2d_tangent, IMAGES, FILTERS, IMAGES, FILTERS, **CONV),
    entry("conv2d_input", loops.conv2d_input, RESULTS, FILTERS, hw=loops.IMAGES[1:3], **CONV),
    entry("conv2d_filter", loops.conv2d_filter, IMAGES, RESULTS, kernel=loops.FILTERS[1:3], **CONV),
    entry("pool_index", loops.pool_index, IMAGES, **POOL),
    entry("pool_scatter", loops.pool_scatter, POOLED, PLACES, hw=loops.IMAGES[1:3], **POOL),
    entry("window_sum", loops.window_sum, IMAGES, **POOL),
    entry("window_spread", loops.window_spread, POOLED, hw=loops.IMAGES[1:3], **POOL),
    *[
        entry(name, f, UNITS, GAMMA, BETA, shortcut, eps=0.1, relu=relu)
        for name, f in (
            ("batch_norm", loops.batch_norm),
            ("batch_norm_residuals", loops.batch_norm_residuals),
        )
        for shortcut, relu in ((None, False), (None, True), (UNITS, False), (UNITS, True))
    ],
    *[
        entry("batch_norm_tangent", loops.batch_norm_tangent, u, GAMMA, BETA, s, UNITS, GAMMA, GAMMA, y)
        for u, s, y in (
            (UNITS, None, None),
            (None, None, None),
            (UNITS, UNITS, None),
            (UNITS, None, UNITS),
        )
    ],
    *[
        entry("batch_norm_transpose", loops.batch_norm_transpose, drawn(5, 3), UNITS, GAMMA, BETA, y)
        for y in (None, UNITS)
    ],
]


@pytest.mark.parametrize(("name", "f", "args", "params"), LOOPS, ids=[name for name, *_ in LOOPS])
def test_formulas_are_the_counts_of_loops_written_from_the_definition(name, f, args, params):
    formula, counted = counts(PRIMITIVES[name], f, args, params)
    assert formula == counted


# ----- Linear algebra, to leading order -----

SQUARE = drawn(24, 24) + 24 * np.eye(24)
LEADING = [
    *[entry("solve", loops.solve, SQUARE, drawn(24, k)) for k in (1, 24)],
    entry("inv", loops.inverse, SQUARE),
    entry("cholesky", loops.cholesky, SQUARE @ SQUARE.T),
    entry("det", loops.determinant, SQUARE),
    entry("slogdet", lambda a: (Number(1.0), loops.log(loops.determinant(a))), SQUARE),
    *[entry("qr", loops.qr, drawn(m, n), mode="reduced") for m, n in ((24, 12), (12, 24), (24, 24))],
    entry("qr", loops.qr, drawn(24, 12), mode="complete"),
]


@pytest.mark.parametrize(("name", "f", "args", "params"), LEADING, ids=[name for name, *_ in LEADING])
def test_costs_of_matrices_are_right_to_leading_order(name, f, args, params):
    formula, counted = counts(PRIMITIVES[name], f, args, params)
    assert counted == pytest.approx(formula, rel=0.1)


def test_a_fourier_transform_costs_five_n_log_n_and_half_of_that_for_real_signals():
    x = drawn(16) + 1j * drawn(16)[::-1]
    Number.done = 0
    y = loops.transform([(Number(v.real), Number(v.imag)) for v in x])
    np.testing.assert_allclose([a.value + 1j * b.value for a, b in y], np.fft.fft(x))
    one = Number.done
    with noting() as calls:
        mg.fft.fft(x), mg.fft.ifft(x), mg.fft.rfft(x.real), mg.fft.irfft(x[:9]), mg.fft.fft2(np.outer(x, x))
    # In two dimensions there are 16 transforms along each of the axes.
    assert [c.flops for c in calls] == [one, one, one // 2, one // 2, 2 * 16 * one] and one == 5 * 16 * 4


def test_sorting_costs_n_log_n_comparisons():
    x = list(loops.numbers(np.random.default_rng(0).permutation(64) / 64))
    Number.done = 0
    assert [v.value for v in sorted(x)] == [k / 64 for k in range(64)]
    with noting() as calls:
        mg.argsort(np.ones((3, 64)))
    assert 0.7 * calls[0].flops < 3 * Number.done <= calls[0].flops == 3 * 64 * 6


# Iterations without an end known beforehand: n³ times the numbers of Golub and Van Loan, Matrix Computations.
CITED = {"eigh": 9, "eigvalsh": 4 / 3, "eig": 25, "eigvals": 10, "svdvals": 8 / 3, "matrix_rank": 8 / 3}
CITED |= {"pinv": 22 + 2, "cofactors": 21 + 2 * 2 / 3 + 1 + 2}
# One pass through the elements is counted for partitions and for places that are not zero.
BY_HAND = ("svd", "argpartition", "flatnonzero", "allclose", "sinc")
ABOVE = ("fft", "ifft", "rfft", "irfft", "argsort")


@pytest.mark.parametrize("name", CITED)
def test_iterations_cost_what_the_book_says(name):
    assert PRIMITIVES[name].flops([np.empty((2, 30, 30))], [], {}) == 2 * round(CITED[name] * 30**3)


def test_the_other_formulas_by_hand():
    flops = {name: PRIMITIVES[name].flops for name in BY_HAND}
    tall = [np.empty((2, 20, 10))]
    assert flops["svd"](tall, [], {"full": False}) == 2 * (14 * 20 * 100 + 8 * 1000)
    assert flops["svd"](tall, [], {"full": True}) == 2 * (4 * 400 * 10 + 8 * 20 * 100 + 9 * 1000)
    assert flops["argpartition"](tall, [(2, 20, 10)], {}) == flops["flatnonzero"](tall, [(400,)], {}) == 400
    assert flops["allclose"]([np.empty((2, 1)), np.empty(3)], [()], {}) == 6 * (6 + 1)
    # sin(πx) / πx, and for each derivative (sin(u + kπ/2) - k S) / u more.
    assert [flops["sinc"](tall, [(5,)], {"n": n}) for n in (0, 1, 2)] == [5 * 12, 5 * 26, 5 * 40]


def test_every_primitive_is_proven_here():
    tables = BY_NUMPY, BY_FORMULA, BY_CONVENTION, CITED, BY_HAND, ABOVE, RUN_TO_BE_COUNTED
    names = [name for table in tables for name in table] + list({name for name, *_ in LOOPS + LEADING})
    assert len(names) == len(set(names)) and set(OURS) <= set(names)


# ----- resnet(20) by hand: He et al. 2016, section 4.2, with shortcuts that only move data -----

BATCH = 2
# Channels in and out, and the side of what comes out, of each convolution of 3 x 3.
LAYERS = [
    (3, 16, 32),
    *[(16, 16, 32)] * 6,
    (16, 32, 16),
    *[(32, 32, 16)] * 5,
    (32, 64, 8),
    *[(64, 64, 8)] * 5,
]
FIRST, *OTHERS = [2 * BATCH * side**2 * n_out * 9 * n_in for n_in, n_out, side in LAYERS]
CONVOLUTIONS, LINEAR = FIRST + sum(OTHERS), 2 * BATCH * 64 * 10


def around() -> int:
    """Beside the products of a primal pass: batch norm and relu behind each convolution, sums, mean, bias."""
    units = [(BATCH * side**2 * n_out, n_out) for _, n_out, side in LAYERS]
    after_each = sum(7 * n + 5 * channels + n for n, channels in units)
    blocks = sum(n for n, _ in units[2::2])
    return after_each + blocks + BATCH * (8 * 8 * 64 + 64) + BATCH * 10


def problem() -> tuple:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((BATCH, 32, 32, 3), dtype=np.float32)
    return lambda model: model(x, train=True), nn.SoftmaxCrossEntropy(rng.integers(0, 10, BATCH))


def by_primitive(p: Any, *names: str) -> list[int]:
    return [sum(op.flops for op in p.all_ops if op.primitive == name) for name in names]


def test_passes_over_resnet20_cost_what_its_layers_add_up_to():
    assert CONVOLUTIONS + LINEAR == 2 * BATCH * 40_551_040
    (predict, _), (w, unravel) = problem(), mg.ravel(nn.resnet(20))
    with mg.trace() as t:
        y, J = mg.linearize(lambda w: predict(unravel(w)), w)
        J.T(y), J(w)
    primal, vjp, jvp = t
    products = ("conv2d", "conv2d_tangent", "conv2d_input", "conv2d_filter", "matmul")
    # One product of the first layer, as images have no tangent and want no cotangent, and two of the others.
    sums = sum(BATCH * side**2 * n_out for _, n_out, side in LAYERS[1:])
    forward = [FIRST, 2 * sum(OTHERS) + sums, 0, 0, 2 * LINEAR]
    assert by_primitive(primal, *products) == [CONVOLUTIONS, 0, 0, 0, LINEAR]
    assert by_primitive(jvp, *products) == forward
    assert by_primitive(vjp, *products) == [0, 0, sum(OTHERS), CONVOLUTIONS, 2 * LINEAR]
    assert [J.cost.ops[name].flops for name in products if name in J.cost.ops] == [n for n in forward if n]
    assert sum(op.flops for op in primal.ops) == CONVOLUTIONS + LINEAR + around()
    assert J.cost.flops == sum(op.flops for op in jvp.ops)
    assert J.cost.bytes == sum(op.bytes for op in jvp.ops)


def test_a_curveball_step_costs_2_33_times_the_flops_of_an_sgd_step():
    primal = CONVOLUTIONS + LINEAR
    sweep = 2 * primal - FIRST
    by_hand = (primal + 3 * sweep) / (primal + sweep)
    assert by_hand == pytest.approx(2.3309, abs=1e-4)
    predict, loss = problem()
    totals = []
    for opt in (optim.SGD(nn.resnet(20)), optim.CurveBall(nn.resnet(20), adapt_lam=False)):
        with mg.trace() as t:
            opt.step(predict, loss)
        totals.append(sum(op.flops for op in t.ops))
    assert totals[1] / totals[0] == pytest.approx(by_hand, rel=0.01)
