"""The derivative rules of every primitive: structure of the cases from hypothesis, numbers from a seed.

`cases` names each primitive and draws a function that reaches it through public operations, with arguments
away from kinks. The first tests below run all of them; the others pin down what no difference quotient sees.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from operator import attrgetter
from typing import Any

import numpy as np
import operations
import pytest
from cases import CASES, CONSTANTS, EVERYTHING, NUMPY_CALLS, ONE_DTYPE, THIRD
from cases.builders import Case, X, distinct, normal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.core import PRIMITIVES, Primitive, aval_str
from minigrad.ops.norm import batch_norm_with_statistics
from minigrad.testing import (
    broadcastable_arrays,
    cases,
    check_constant,
    check_dot,
    check_grads,
    check_hvp,
    check_rule,
    directions,
    seeds,
)
from minigrad.testing.identities import adjoint, jvp
from minigrad.testing.orders import along
from minigrad.testing.rule import MINIGRAD
from minigrad.testing.run import Run

OURS = {
    name: p for name, p in PRIMITIVES.items() if p.impl.__module__.startswith("minigrad") and name[0] != "_"
}

# Shares of the examples that the profile in conftest.py asks for: 20, or 200 when intense.
half, quarter = (settings(max_examples=settings().max_examples // n) for n in (2, 4))


@cache
def drawn(name: str) -> st.SearchStrategy[tuple[Case, int]]:
    """Cases of a name, which their functions bear in messages, each with a seed for directions."""
    return st.tuples(cases(EVERYTHING[name]).map(lambda case: named(name, case)), seeds())


def named(name: str, case: Case) -> Case:
    def f(*args: Any) -> Any:
        return case.f(*args)

    f.__name__ = name
    return case._replace(f=f)


def some_arguments(case: Case, draw: Callable) -> Case:
    """The case as a function of some of its arguments, the others constant."""
    n = len(case.args)
    free = sorted(draw(st.sets(st.integers(0, n - 1), min_size=1)))

    def f(*xs: Any) -> Any:
        full = list(case.args)
        for i, x in zip(free, xs, strict=True):
            full[i] = x
        return case.f(*full)

    f.__name__ = case.f.__name__
    return Case(f, tuple(case.args[i] for i in free), case.analytic)


@contextmanager
def watching(prim: Primitive) -> Iterator[set]:
    """The set of (rule, argument position) pairs of a primitive that run meanwhile."""
    ran: set = set()
    jvp, transpose, transposes = prim.jvp, prim.transpose, prim.transposes

    def watched_jvp(primals: Any, tangents: Any, params: Any) -> Any:
        ran.update(("jvp", i) for i, t in enumerate(tangents) if t is not None)
        return jvp(primals, tangents, params)

    def watched_transpose(ct: Any, args: Any, params: Any, linear: Any) -> Any:
        ran.update(("transpose", i) for i in linear)
        return transpose(ct, args, params, linear)

    prim.jvp, prim.transpose = watched_jvp, watched_transpose if transpose else None
    prim.transposes = ()  # so that all goes by the one above
    try:
        yield ran
    finally:
        prim.jvp, prim.transpose, prim.transposes = jvp, transpose, transposes


@pytest.fixture
def each_rule_runs(name: str) -> Iterator[None]:
    """Fails a test of the case `name` in which the primitive's jvp or one of its transposes did not run."""
    if name not in OURS:
        yield
        return
    prim = OURS[name]
    with watching(prim) as ran:
        yield
    assert any(rule == "jvp" for rule, _ in ran), f"no jvp rule of {name} ran"
    for group in prim.linear:
        # Einsum and concatenate take any number of arguments: three are enough.
        for i in [i for i in group if i < 3]:
            want = ("transpose", max(i, 0))
            assert want in ran or (name, i) in NEVER_RECORDED, (
                f"the transpose of {name} in argument {want[1]} did not run"
            )


NEVER_RECORDED = {("multiply", 1)}  # the recorder puts the tangent first; its other side has a test below

EACH_CASE = pytest.mark.parametrize("name", EVERYTHING)


# ----- Every primitive -----


@pytest.mark.parametrize("name", OURS)
def test_every_primitive_has_a_case_a_flops_formula_and_a_line_of_documentation(name):
    assert name in CASES, f"add a case for {name} to CASES"
    assert OURS[name].flops is not None and OURS[name].doc
    assert OURS[name].jvp is not None


@EACH_CASE
@pytest.mark.usefixtures("each_rule_runs")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # it watches all examples together
@given(st.data())
def test_every_rule_is_adjoint_linear_and_the_derivative_and_runs(name, data):
    case, seed = data.draw(drawn(name))
    check_rule(case.f, case.args, order=1, analytic=case.analytic, seed=seed)
    if len(case.args) > 1:
        part = some_arguments(case, data.draw)
        check_dot(part.f, part.args, seed)


@EACH_CASE
@half
@given(st.data())
def test_second_derivatives_agree_in_three_modes_and_with_numbers(name, data):
    case, seed = data.draw(drawn(name))
    check_hvp(case.f, case.args, seed)


@EACH_CASE
@quarter
@given(st.data())
def test_printed_programs_have_a_cost_without_unknowns(name, data):
    case, _ = data.draw(drawn(name))
    _, J = mg.linearize(case.f, *case.args)
    assert J.cost.unknown == () and J.cost.flops >= 0
    assert f"{len(J)} equations" in str(J)


@given(broadcastable_arrays(2))
def test_a_linear_variable_may_stand_on_either_side_of_a_product(args):
    x, y = args
    for f in (lambda t: mg.multiply(t, y), lambda t: mg.multiply(y, t)):
        assert_agree(mg.linear_transpose(f, x)(f(x)), mg.vjp(f, x)[1](f(x)))


@pytest.mark.slow
@EACH_CASE
def test_every_rule_at_ten_times_the_cases(name, record_property):
    ran = itertools.count()

    # Five cases an example, because hypothesis takes its time between examples.
    @settings(max_examples=2 * settings().max_examples)
    @given(st.tuples(*[drawn(name)] * 5))
    def adjoint_and_the_derivative(five):
        for case, seed in five:
            with Run("check_rule", case.f, case.args, seed, None, order=1, analytic=case.analytic) as run:
                adjoint(run)
                jvp(run, case.analytic)
            next(ran)

    adjoint_and_the_derivative()
    record_property("generated cases", next(ran))


@pytest.mark.parametrize("name", sorted(THIRD))
@quarter
@given(st.data())
def test_derivatives_to_the_third_agree_in_every_mixture_of_modes(name, data):
    case, seed = data.draw(drawn(name))
    check_grads(case.f, case.args, order=3, modes=("fwd", "rev"), seed=seed)


@pytest.mark.parametrize("name", CONSTANTS)
@quarter
@given(st.data(), seeds())
def test_piecewise_constant_functions_record_nothing_and_have_zero_derivative(name, data, seed):
    f, args, _ = CONSTANTS[name](data.draw, np.random.default_rng(seed))
    with watching(OURS[name]) as ran:
        _, J = mg.linearize(f, *args)
    assert ran and len(J) == 0
    check_constant(f, args, seed)


# ----- Dtypes -----


def assert_dtypes(case: Case, seed: int) -> None:
    """Value, tangent, cotangent and Hessian product carry the dtypes of the value and of the arguments."""
    f, args, rng = case.f, case.args, np.random.default_rng(seed)
    t = tuple(directions(args, rng))
    y, J = mg.linearize(f, *args)
    assert avals(y) == avals(f(*args)) == avals(mg.jvp(f, args, t)[1]) == avals(J(*t))
    ys, y_def = mg.tree_flatten(y)
    c = directions(ys, rng)
    assert avals(J.vjp(mg.tree_unflatten(y_def, c))) == avals(args)
    assert avals(mg.hvp(lambda *xs: inner(mg.tree_leaves(f(*xs)), c), args, t)) == avals(args)


def avals(tree: Any) -> list[str]:
    return [aval_str(a) for a in mg.tree_leaves(tree)]


def inner(ys: list, cs: list) -> Any:
    """Σ c·sin y: of second order, whatever y is."""
    total: Any = 0.0
    for c, y in zip(cs, ys, strict=True):
        total = total + mg.sum(c * mg.sin(y))
    return total


@EACH_CASE
@half
@given(st.data(), st.sampled_from(["float32", "float16", "mixed"]))
def test_precisions_are_kept_and_mixed_ones_promote(name, data, precision):
    case, seed = data.draw(drawn(name))
    dtypes = [np.dtype("float32" if precision == "mixed" else precision) for _ in case.args]
    if precision == "mixed" and name not in ONE_DTYPE:
        dtypes = [np.dtype(data.draw(st.sampled_from(["float32", "float64"]))) for _ in case.args]
    case = case._replace(args=tuple(a.astype(d) for a, d in zip(case.args, dtypes, strict=True)))
    if name not in CONSTANTS or precision != "mixed":  # of their arguments only the first is in the result
        assert {np.asarray(y).dtype for y in mg.tree_leaves(case.f(*case.args))} == {np.result_type(*dtypes)}
    assert_dtypes(case, seed)


@pytest.mark.parametrize("mixed", [(np.float32, np.float64), (np.float64, np.float32)])
def test_convolutions_and_batch_norm_promote_mixed_precision_like_numpy(mixed):
    rng = np.random.default_rng(0)
    x, w, c = (rng.standard_normal(s) for s in ((2, 4, 4, 2), (3, 3, 3, 2), (2, 2, 2, 3)))
    a, b = mixed
    calls = [
        (mg.conv2d, (x, w)),
        (lambda c, w: mg.conv2d_input(c, w, (4, 4)), (c, w)),
        (lambda x, c: mg.conv2d_filter(x, c, (3, 3)), (x, c)),
        (lambda x, gamma: mg.batch_norm(x, gamma, np.float32([0, 1])), (x, np.array([1.0, 2.0]))),
    ]
    for f, (one, other) in calls:
        y = f(one.astype(a), other.astype(b))
        assert y.dtype == np.float64
        np.testing.assert_allclose(y, f(one, other), rtol=1e-5, atol=1e-5)
        dx, dw = mg.vjp(f, one.astype(a), other.astype(b))[1](np.ones_like(y))
        assert (dx.dtype, dw.dtype) == mixed


# ----- Batch norm: fused against composed -----


def composed_batch_norm(x: Any, gamma: Any, beta: Any, eps: float) -> Any:
    rows = tuple(range(len(x.shape) - 1))
    deviation = x - mg.mean(x, rows)
    return gamma * (deviation / mg.sqrt(mg.mean(deviation * deviation, rows) + eps)) + beta


@half
@given(st.sampled_from([(3, 1), (6, 2), (2, 3, 2), (2, 3, 2, 3)]), st.sampled_from([1e-5, 0.1]), seeds())
def test_fused_batch_norm_is_the_composed_one_at_orders_0_to_3(shape, eps, seed):
    rng = np.random.default_rng(seed)
    args = distinct(rng, shape), normal(rng, shape[-1:]), normal(rng, shape[-1:])
    c, ways = normal(rng, shape), [tuple(directions(args, rng)) for _ in range(3)]
    fs = [lambda *xs, f=f: f(*xs, eps=eps) for f in (mg.batch_norm, composed_batch_norm)]
    gs = [lambda *xs, f=f: mg.sum(c * f(*xs) + mg.sin(f(*xs))) for f in fs]
    assert_agree(*[f(*args) for f in fs], rtol=1e-12)
    assert_agree(*[mg.jvp(f, args, ways[0])[1] for f in fs])
    assert_agree(*[mg.grad(g, (0, 1, 2))(*args) for g in gs])
    for mode in ("fwd_over_rev", "rev_over_rev", "rev_over_fwd"):
        assert_agree(*[mg.hvp(g, args, ways[0], mode=mode) for g in gs])
    for word in ("fwd", "fwd", "fwd"), ("rev", "fwd", "fwd"), ("fwd", "rev", "rev"), ("rev", "rev", "rev"):
        assert_agree(*[third(g, word, ways)(*args) for g in gs])


def third(g: Callable, modes: tuple, ways: list) -> Callable:
    for mode, v in zip(modes, ways, strict=True):
        g = along(MINIGRAD, mode, g, v)
    return g


def assert_agree(one: Any, other: Any, rtol: float = 1e-10) -> None:
    """Are two trees of arrays the same, relative to their length or to 1?"""
    a, b = (np.concatenate([np.ravel(x) for x in mg.tree_leaves(tree)]) for tree in (one, other))
    assert np.linalg.norm(a - b) <= rtol * max(1, np.linalg.norm(a))


@pytest.mark.parametrize("argnums", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2)])
def test_batch_norm_can_be_differentiated_in_some_of_its_arguments(argnums):
    rng = np.random.default_rng(1)
    args = [normal(rng, (5, 2)), normal(rng, (2,)), normal(rng, (2,))]

    def g(f: Callable) -> Callable:
        return lambda *xs: mg.sum(mg.sin(f(*xs, 1e-3)))

    ones, others = (mg.grad(g(f), argnums)(*args) for f in (mg.batch_norm, composed_batch_norm))
    assert_agree(ones, others)


def test_statistics_of_batch_norm_are_constants_at_every_level():
    x = normal(np.random.default_rng(2), (5, 2))

    def mean(s: Any) -> Any:
        return mg.sum(batch_norm_with_statistics(s * x, np.ones(2), np.ones(2))[1])

    assert mg.grad(mean)(1.0) == 0
    # d/ds d/du [u mean(s u x)] at u = 1, with the mean a constant for both.
    assert mg.jvp(lambda s: mg.jvp(lambda u: u * mean(s * u), (1.0,), (1.0,))[1], (1.0,), (1.0,))[1] == 0


# ----- Conventions, by plain numbers -----


def test_maximum_and_minimum_split_ties_evenly():
    x, y = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0])
    for op, in_x in ((mg.maximum, [0.0, 0.5, 1.0]), (mg.minimum, [1.0, 0.5, 0.0])):
        dx, dy = mg.grad(lambda x, y, op=op: op(x, y).sum(), (0, 1))(x, y)
        assert dx.tolist() == in_x and dy.tolist() == [1 - d for d in in_x]
    assert mg.grad(lambda x: mg.maximum(x, 2.0))(2.0) == 0.5


def test_max_and_min_share_the_derivative_among_equals():
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    by_row = mg.grad(lambda x: mg.max(x, axis=1).sum())(x)
    np.testing.assert_array_equal(by_row, [[0, 1 / 2, 1 / 2], [1 / 3, 1 / 3, 1 / 3]])
    np.testing.assert_array_equal(mg.grad(mg.max)(x), [[0, 1 / 2, 1 / 2], [0, 0, 0]])
    np.testing.assert_array_equal(mg.grad(mg.min)(x), [[1, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(mg.grad(lambda x: mg.min(x, -1).sum())(x)[1], [1 / 3, 1 / 3, 1 / 3])


def test_max_pool_gives_the_derivative_to_the_first_of_equals():
    x = np.array([[1.0, 1.0], [1.0, 1.0]]).reshape(1, 2, 2, 1)
    dx = mg.grad(lambda x: mg.max_pool2d(x, 2).sum())(x)
    assert dx.ravel().tolist() == [1, 0, 0, 0]
    late = np.array([[0.0, 2.0], [2.0, 1.0]]).reshape(1, 2, 2, 1)
    assert mg.grad(lambda x: mg.max_pool2d(x, 2).sum())(late).ravel().tolist() == [0, 1, 0, 0]


def test_relu_and_abs_have_slope_zero_at_zero():
    x = np.array([-2.0, -0.0, 0.0, 3.0])
    assert mg.grad(lambda x: mg.relu(x).sum())(x).tolist() == [0, 0, 0, 1]
    assert mg.jvp(mg.relu, (x,), (np.ones(4),))[1].tolist() == [0, 0, 0, 1]
    assert mg.grad(lambda x: mg.abs(x).sum())(x).tolist() == [-1, 0, 0, 1]


def test_clip_has_slope_one_on_the_closed_interval():
    x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert mg.grad(lambda x: mg.clip(x, -1.0, 1.0).sum())(x).tolist() == [0, 1, 1, 1, 0]
    in_lo, in_hi = mg.grad(lambda lo, hi: mg.clip(x, lo, hi).sum(), (0, 1))(-1.0, 1.0)
    assert (in_lo, in_hi) == (1, 1)
    assert mg.grad(lambda x: mg.clip(x, None, 1.0).sum())(x).tolist() == [1, 1, 1, 1, 0]
    assert mg.grad(lambda x: mg.clip(x, 0.0).sum())(x).tolist() == [0, 0, 1, 1, 1]


def test_powers_of_zero_have_the_derivatives_of_polynomials():
    y = np.array([0.0, 1.0, 2.0, 3.0])
    zero = np.zeros(4)
    in_x, in_y = mg.grad(lambda x, y: mg.power(x, y).sum(), (0, 1))(zero, y)
    assert in_x.tolist() == [0, 1, 0, 0] and in_y.tolist() == [0, 0, 0, 0]
    curvature = mg.hvp(lambda x: mg.power(x, y).sum(), (zero,), (np.ones(4),))
    assert curvature.tolist() == [0, 0, 2, 0]
    for n, first, second in ((0, 0, 0), (1, 1, 0), (2, 0, 2), (3, 0, 0), (0.0, 0, 0), (2.0, 0, 2)):
        f = lambda x, n=n: mg.power(x, n)  # noqa: E731
        assert mg.grad(f)(0.0) == first and mg.grad(mg.grad(f))(0.0) == second


def test_powers_of_negative_numbers_work_for_whole_exponents():
    assert mg.grad(lambda x: x**3)(-2.0) == 12
    assert mg.grad(lambda x: mg.power(x, np.float64(3)))(-2.0) == 12


def test_where_gives_exactly_zero_to_the_side_not_taken():
    c = np.array([True, False])
    x, y = np.array([1.0, np.inf]), np.array([np.nan, 2.0])
    dx, dy = mg.grad(lambda x, y: mg.where(c, x, y).sum(), (0, 1))(x, y)
    assert dx.tolist() == [1, 0] and dy.tolist() == [0, 1]
    tangent = mg.jvp(
        lambda x, y: mg.where(c, x, y), (x, y), (np.array([3.0, np.inf]), np.array([np.nan, 4.0]))
    )[1]
    assert tangent.tolist() == [3, 4]


def test_relu_blocks_infinities_and_passes_nan_of_its_input():
    x = np.array([-1.0, 1.0])
    assert mg.jvp(mg.relu, (x,), (np.array([np.inf, 2.0]),))[1].tolist() == [0, 2]
    assert np.isnan(mg.relu(np.array([np.nan]))[0])


SCALAR_OPS = [
    mg.sin, mg.exp, mg.sqrt, mg.square, mg.reciprocal, mg.erf, mg.sigmoid, mg.softplus, mg.silu, mg.gelu,
    mg.relu, mg.abs, mg.sum, mg.mean, mg.max, mg.logsumexp, mg.negative,
    lambda x: mg.maximum(x, 0.25), lambda x: mg.minimum(2, x), lambda x: mg.clip(x, 0, 1),
    lambda x: mg.where(True, x, 1.0), lambda x: 2 ** x, lambda x: x ** 2, lambda x: 1 / x, lambda x: 3 - x,
]  # fmt: skip


@pytest.mark.parametrize("op", SCALAR_OPS)
@pytest.mark.parametrize("kind", [float, np.float32, np.float64, np.array])
def test_python_numbers_numpy_scalars_and_0d_arrays_are_differentiated_alike(op, kind):
    x = kind(0.5)
    if kind is np.array:
        x = x.astype(np.float64)
    want = (op(0.5 + 1e-6) - op(0.5 - 1e-6)) / 2e-6
    gradient = mg.grad(op)(x)
    assert gradient == pytest.approx(float(want), rel=1e-5) and np.shape(gradient) == ()
    assert np.asarray(gradient).dtype == np.asarray(x).dtype
    mg.linearize(op, x)


def test_take_flattens_a_list_as_it_does_an_array():
    assert mg.take([[1.0, 2.0], [3.0, 4.0]], [3, 0]).tolist() == [4, 1]


# ----- Values -----


def test_every_operation_that_numpy_has_is_compared_with_it():
    assert {n for n in operations.public_names() if in_numpy(n)} == set(NUMPY_CALLS)


def in_numpy(name: str) -> bool:
    space, _, last = name.rpartition(".")
    return hasattr(getattr(np, space, None) if space else np, last)


@pytest.mark.parametrize("name", NUMPY_CALLS)
def test_operations_have_the_values_of_their_numpy_namesakes(name):
    for args, kwargs in NUMPY_CALLS[name]:
        ours, numpys = (attrgetter(name)(m)(*args, **kwargs) for m in (mg, np))
        assert isinstance(ours, list) == isinstance(numpys, list)
        for y, want in zip(mg.tree_leaves(ours), mg.tree_leaves(numpys), strict=True):
            assert np.shape(y) == np.shape(want) and np.asarray(y).dtype == np.asarray(want).dtype
            np.testing.assert_allclose(y, want, rtol=1e-14, atol=1e-15)


def float_arrays(args: tuple) -> list:
    """The arguments, one level of lists unpacked, that are arrays of floating point."""
    flat = [a for arg in args for a in (arg if isinstance(arg, list) else [arg])]
    return [a for a in flat if isinstance(a, np.ndarray) and a.dtype.kind == "f"]


@pytest.mark.parametrize("name", NUMPY_CALLS)
def test_numpy_functions_of_tracers_are_minigrads(name):
    for args, kwargs in NUMPY_CALLS[name]:
        xs = float_arrays(args)
        if not xs:
            continue

        def call(module: Any, *xs: Any, args: tuple = args, kwargs: dict = kwargs) -> Any:
            it = iter(xs)
            is_x = [id(x) for x in float_arrays(args)]

            def put(a: Any) -> Any:
                return [put(b) for b in a] if isinstance(a, list) else next(it) if id(a) in is_x else a

            return attrgetter(name)(module)(*map(put, args), **kwargs)

        t = tuple(directions(xs, np.random.default_rng(4)))
        ours, numpys = (mg.jvp(lambda *xs, m=m: call(m, *xs), tuple(xs), t) for m in (mg, np))
        for one, other in zip(ours, numpys, strict=True):
            for y, want in zip(mg.tree_leaves(one), mg.tree_leaves(other), strict=True):
                np.testing.assert_array_equal(y, want)


def test_erf_is_accurate_to_the_last_digits():
    x = np.concatenate(
        [np.linspace(-7, 7, 2001), np.logspace(-300, 0, 61), [0.46875, 4.0, 6.0, 1e300, np.inf]]
    )
    want = np.array([math.erf(v) for v in x])
    np.testing.assert_allclose(mg.erf(x), want, rtol=1e-15, atol=0)
    single = x[(np.abs(x) > 1e-30) & (np.abs(x) < 1e30)].astype(np.float32)
    assert mg.erf(single).dtype == np.float32
    np.testing.assert_allclose(mg.erf(single), [math.erf(v) for v in single], rtol=5e-7, atol=0)
    assert np.signbit(mg.erf(-0.0)) and np.isnan(mg.erf(np.nan))


def test_the_exponential_family_agrees_with_scipy_and_does_not_overflow():
    special = pytest.importorskip("scipy.special")
    for x in (X, 1000 * X, X + 1e4, -1e4 + X):
        for axis in (-1, 0, (0, 2), None):
            for ours, theirs in (
                (mg.logsumexp, special.logsumexp),
                (mg.softmax, special.softmax),
                (mg.log_softmax, special.log_softmax),
            ):
                np.testing.assert_allclose(ours(x, axis=axis), theirs(x, axis=axis), rtol=1e-10, atol=1e-12)
        for op in (mg.logsumexp, lambda x: mg.softmax(x).std(), lambda x: mg.log_softmax(x).mean()):
            assert np.all(np.isfinite(mg.grad(op)(x)))
    with np.errstate(divide="ignore"):  # log 0 warns, as NumPy's does
        assert mg.logsumexp(np.array([-np.inf, -np.inf])) == -np.inf
    assert mg.logsumexp(np.array([-np.inf, 2.0])) == 2
    assert mg.softmax(np.array([-np.inf, 0.0])).tolist() == [0, 1]


def test_activations_agree_with_scipy_and_do_not_overflow():
    special = pytest.importorskip("scipy.special")
    x = np.concatenate([np.linspace(-30, 30, 121), [-800.0, 800.0]])
    np.testing.assert_allclose(mg.sigmoid(x), special.expit(x), rtol=1e-14, atol=1e-300)
    np.testing.assert_allclose(mg.softplus(x), np.logaddexp(0, x), rtol=1e-14)
    np.testing.assert_allclose(mg.silu(x), x * special.expit(x), rtol=1e-14, atol=1e-13)
    np.testing.assert_allclose(mg.gelu(x), x * special.ndtr(x), rtol=1e-13, atol=1e-14)
    np.testing.assert_array_equal(mg.relu(x), np.maximum(x, 0))
    for op in (mg.sigmoid, mg.softplus, mg.silu, mg.gelu, mg.tanh):
        assert np.all(np.isfinite(mg.grad(lambda x, op=op: op(x).sum())(x)))


def test_erf_is_right_to_the_last_digit_of_half_precision():
    special = pytest.importorskip("scipy.special")
    x = np.linspace(-6, 6, 241).astype(np.float16)
    y = mg.erf(x)
    assert y.dtype == np.float16
    np.testing.assert_allclose(y, special.erf(x.astype(float)), rtol=2**-11, atol=2**-24)
