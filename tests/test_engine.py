"""The engine against exact derivatives: nesting, transformations, linear maps, memory."""

import collections
import contextlib
import dataclasses
import gc
import itertools
import threading
import weakref

import numpy as np
import pytest
import scipy.sparse.linalg

import minigrad as mg
from minigrad import core, nn, rules
from minigrad.tree import tree_leaves, tree_map


def forward(f):
    return lambda x: mg.jvp(f, (x,), (1.0,))[1]


def reverse(f):
    return mg.grad(f)


def recorded(f):
    return lambda x: mg.linearize(f, x)[1](1.0)


MODES = [forward, reverse, recorded]
each_mode = pytest.mark.parametrize("D", MODES)
each_pair = pytest.mark.parametrize(("outer", "inner"), list(itertools.product(MODES, MODES)))

Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Layer:
    weight: object
    name: str


class Scale(nn.Module):
    def __init__(self, a):
        self.a = a

    def forward(self, x, train):
        return self.a * x


@contextlib.contextmanager
def primitive(name, impl, **kind):
    """A primitive that other tests, which look at all of them, do not see."""
    prim = core.Primitive(name, impl, doc="of a test", **kind)
    try:
        yield prim
    finally:
        del core.PRIMITIVES[name]


@pytest.fixture
def no_gc():
    """Memory must come back by reference counts alone."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def assert_plain(tree):
    assert not any(isinstance(leaf, core.Tracer) for leaf in tree_leaves(tree))


def assert_trees_equal(a, b, rtol=1e-12):
    assert mg.tree_flatten(a)[1] == mg.tree_flatten(b)[1]
    for x, y in zip(tree_leaves(a), tree_leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


# ----- Perturbation confusion -----


@each_pair
def test_an_inner_derivative_takes_the_outer_variable_for_a_constant(outer, inner):
    # ForwardDiff.jl#83 and ReverseDiff.jl#45: 2.0 and 4.0 come out when the two perturbations are confused.
    assert outer(lambda x: x * inner(lambda y: x + y)(1.0))(1.0) == 1.0
    assert outer(lambda x: x * inner(lambda y: x * y)(3.0))(4.0) == 8.0


@each_pair
def test_second_derivatives_are_exact_in_every_pair_of_modes(outer, inner):
    f = lambda x: x**5 + np.sin(2 * x)  # noqa: E731
    np.testing.assert_allclose(outer(inner(f))(0.7), 20 * 0.7**3 - 4 * np.sin(1.4), rtol=1e-13)


@pytest.mark.parametrize("modes", list(itertools.product([forward, reverse], repeat=3)))
def test_third_derivatives_are_exact_in_all_eight_nestings(modes):
    a, b, c = modes
    f = lambda x: x**5 + np.sin(2 * x)  # noqa: E731
    np.testing.assert_allclose(a(b(c(f)))(0.7), 60 * 0.7**2 - 8 * np.cos(1.4), rtol=1e-13)
    # x y² z³ with every variable bound at its own level: d/dx [x d/dy [y² d/dz z³]] of the product.
    nested = a(lambda x: x * b(lambda y: x * y**2 * c(lambda z: x * y * z**3)(2.0))(3.0))
    # d/dz = 12 x y at z=2; inner product 12 x² y³; d/dy = 36 x² y² = 324 x² at y=3; d/dx of 324 x³ = 972 x².
    np.testing.assert_allclose(nested(0.5), 972 * 0.25, rtol=1e-14)


@each_pair
def test_the_hamiltonian_of_a_lagrangian_has_the_right_derivatives(outer, inner):
    """ForwardDiff.jl#238: a Legendre transformation by derivatives, itself differentiated."""
    potential = lambda q: q**4 / 4  # noqa: E731
    lagrangian = lambda q, v: 0.5 * (1 + q * q) * v * v - potential(q)  # noqa: E731

    def hamiltonian(q, p):
        momentum = inner(lambda v: lagrangian(q, v))
        v = (p - momentum(0.0)) / outer(momentum)(0.0)  # L is quadratic in v: one Newton step is exact
        return p * v - lagrangian(q, v)

    q, p = 0.8, 1.3
    np.testing.assert_allclose(
        outer(lambda q: hamiltonian(q, p))(q), -p * p * q / (1 + q * q) ** 2 + q**3, rtol=1e-13
    )
    np.testing.assert_allclose(inner(lambda p: hamiltonian(q, p))(p), p / (1 + q * q), rtol=1e-13)


@each_pair
def test_the_euler_lagrange_equation_holds_along_a_solution(outer, inner):
    lagrangian = lambda q, v: 0.5 * v * v - 0.5 * q * q  # noqa: E731

    def residual(path, t):
        momentum = lambda t: inner(lambda v: lagrangian(path(t), v))(inner(path)(t))  # noqa: E731
        return outer(momentum)(t) - outer(lambda q: lagrangian(q, inner(path)(t)))(path(t))

    assert abs(residual(np.sin, 0.4)) < 1e-15
    np.testing.assert_allclose(residual(lambda t: t * t, 0.4), 2 + 0.16, rtol=1e-14)


@each_mode
def test_one_callable_nested_in_itself_is_two_transformations(D):
    # ForwardDiff.jl#313: identities made from the function's type are not unique.
    class Tower:
        height = 2

        def __call__(self, x):
            if self.height == 0:
                return x**3
            self.height -= 1
            try:
                return x * D(self)(x)
            finally:
                self.height += 1

    assert D(Tower())(2.0) == 27 * 4  # x³, then 3x³, then 9x³, whose derivative is 27x²


def test_jvp_and_linearize_nest_in_each_other():
    x, v, u = draw(3), draw(3, seed=1), draw(3, seed=2)
    f = lambda x: np.sum(np.exp(x) * x[::-1])  # noqa: E731
    H = mg.hessian(f)(x)
    inside, along = mg.jvp(lambda x: mg.linearize(mg.grad(f), x)[1](v), (x,), (u,))
    np.testing.assert_allclose(inside, H @ v, rtol=1e-13)
    np.testing.assert_allclose(along, mg.jacfwd(lambda x: mg.hessian(f)(x) @ v)(x) @ u, rtol=1e-12)
    value, J = mg.linearize(lambda x: mg.jvp(f, (x,), (v,))[1], x)
    np.testing.assert_allclose([value, J(u)], [mg.grad(f)(x) @ v, u @ H @ v], rtol=1e-13)


def test_a_linear_map_made_inside_a_transformation_is_differentiated_with_its_residuals():
    # J(v) = 3 x² v depends on x only through what J recorded.
    dy = mg.jvp(lambda x: mg.linearize(lambda x: x**3, x)[1](5.0), (2.0,), (1.0,))[1]
    assert dy == 6 * 2.0 * 5.0
    assert mg.grad(lambda x: mg.linearize(lambda x: x**3, x)[1].T(5.0))(2.0) == 60.0


# ----- Tracers that outlive their transformation -----


@each_mode
def test_a_program_that_keeps_tracers_between_two_derivatives_is_refused(D):
    # ForwardDiff.jl#443: with stack depths for identities the second call silently gives 2.
    def program(x):
        state = [x]

        def remember(y):
            state[0] = state[0] * y
            return state[0]

        D(remember)(1.0)
        return D(remember)(1.0)

    with pytest.raises(mg.LeakedTracerError) as error:
        D(program)(1.0)
    assert "remember (test_engine.py:" in str(error.value) and "float64[]" in str(error.value)


LEAKS = {
    "jvp": lambda f, x: mg.jvp(f, (x,), (x,)),
    "linearize": lambda f, x: mg.linearize(f, x),
    "grad": lambda f, x: mg.grad(f)(x),
    "vjp": lambda f, x: mg.vjp(f, x),
    "linear_transpose": lambda f, x: mg.linear_transpose(f, x),
    "hessian": lambda f, x: mg.hessian(f)(x),
}


@pytest.mark.parametrize("transform", LEAKS)
@pytest.mark.parametrize("use", ["operation", "return", "aux", "mixed with a live one"])
def test_a_leaked_tracer_is_named_with_its_function_shape_and_dtype(transform, use):
    kept = []

    def careless(x):
        kept.append(2 * x)
        return x.sum()

    LEAKS[transform](careless, np.ones(3, np.float32))
    leaked, live = kept[0], np.ones(3, np.float32)
    uses = {
        "operation": lambda: leaked + 1.0,
        "return": lambda: mg.jvp(lambda x: leaked, (live,), (live,)),
        "aux": lambda: mg.grad(lambda x: (x.sum(), leaked), has_aux=True)(live),
        "mixed with a live one": lambda: mg.grad(lambda x: (x * leaked).sum())(live),
    }
    with pytest.raises(mg.LeakedTracerError) as error:
        uses[use]()
    text = str(error.value)
    assert "careless (test_engine.py:" in text and "float32[3]" in text and "return the value instead" in text
    assert "\n" not in text


@each_mode
def test_an_exception_inside_a_function_leaves_later_derivatives_right(D):
    kept = []

    def fails(x):
        kept.append(x)
        D(lambda y: y * x)(1.0)
        raise KeyError("here")

    for _ in range(2):
        with pytest.raises(KeyError):
            D(lambda x: x * D(fails)(x))(1.0)
        assert D(lambda x: x * D(lambda y: x * y)(3.0))(4.0) == 8.0
    with pytest.raises(mg.LeakedTracerError):
        kept[0] * 2.0


@each_mode
def test_two_threads_differentiate_at_once_without_disturbing_each_other(D):
    meet = threading.Barrier(2, timeout=20)
    found = {}

    def work(k):
        def f(x):
            for _ in range(20):
                meet.wait()  # both threads stand inside their outer and then their inner function
                x = x + 0.0 * D(lambda y, x=x: y * x)(1.0)
            return np.sin(k * x)

        found[k] = D(f)(0.3)

    threads = [threading.Thread(target=work, args=(k,)) for k in (1, 2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    np.testing.assert_allclose([found[1], found[2]], [np.cos(0.3), 2 * np.cos(0.6)], rtol=1e-14)


# ----- Python on values -----


@each_mode
def test_branches_loops_and_builtins_follow_the_values(D):
    def root(a):  # Newton's iteration until it stands still
        x = a
        while abs(x * x - a) > 1e-14:
            x = 0.5 * (x + a / x)
        return x

    assert D(lambda x: 3 * x if x > 0 else -x)(-1.0) == -1.0
    assert D(lambda x: max(x, 2 * x) + min(x, 5.0))(3.0) == 3.0
    assert D(lambda x: sum([x] * 3) + abs(-x))(1.0) == 4.0
    assert D(lambda x: x if 1 <= x < 2 and not x == 7 and x != 8 else 0.0)(1.5) == 1.0
    np.testing.assert_allclose(D(root)(2.0), 0.5 / np.sqrt(2), rtol=1e-13)


def test_iteration_and_length_go_over_the_first_axis():
    def f(x):
        rows = [row * (i + 1) for i, row in enumerate(x)]
        assert len(x) == len(rows) == 3
        first, *_ = x
        return sum(row.sum() for row in rows) + first.sum()

    np.testing.assert_array_equal(mg.grad(f)(np.ones((3, 2))), [[2, 2], [2, 2], [3, 3]])


# ----- jvp, linearize, vjp, grad, value_and_grad -----

TREES = {
    "dict": lambda a, b: {"b": a, "a": b},
    "list": lambda a, b: [a, [b]],
    "tuple": lambda a, b: (a, (), (b,)),
    "namedtuple": Point,
    "dataclass": lambda a, b: (Layer(a, "first"), Layer(b, "second")),
    "Module": lambda a, b: nn.Sequential(Scale(a), Scale(b)),
    "None": lambda a, b: {"w": a, "none": None, "b": [None, b]},
}


@pytest.mark.parametrize("kind", TREES)
def test_every_kind_of_tree_goes_in_and_comes_out_with_its_structure(kind):
    tree = TREES[kind](draw(2, 3), draw(3))
    tangent = TREES[kind](draw(2, 3, seed=1), draw(3, seed=2))

    def f(tree):  # a², b³ in the tree's own structure, and one scalar
        squares = iter([np.square, lambda b: b**3])
        out = tree_map(lambda x: next(squares)(x), tree)
        return out, sum(x.sum() for x in tree_leaves(out))

    (a, b), (da, db) = tree_leaves(tree), tree_leaves(tangent)
    y, dy = mg.jvp(f, (tree,), (tangent,))
    powers = [(a**2, 2 * a), (b**3, 3 * b**2)]
    assert_trees_equal(tree_leaves(y[0]), [v for v, _ in powers])
    assert_trees_equal(tree_leaves(dy[0]), [d * t for (_, d), t in zip(powers, (da, db), strict=True)])
    assert mg.tree_flatten(dy[0])[1] == mg.tree_flatten(tree)[1]

    g = mg.grad(lambda tree: f(tree)[1])(tree)
    assert type(g) is type(tree)
    assert_trees_equal(tree_leaves(g), [d for _, d in powers])
    y2, J = mg.linearize(f, tree)
    assert_trees_equal(J(tangent), dy)
    assert_trees_equal(J.T(tree_map(np.ones_like, y2)), tree_map(lambda d: 2 * d, g))
    assert_trees_equal(mg.vjp(f, tree)[1](tree_map(np.ones_like, y2)), (tree_map(lambda d: 2 * d, g),))


def test_what_is_no_array_in_a_dataclass_or_module_stays_as_it_was():
    g = mg.grad(lambda layer: (layer.weight**2).sum())(Layer(np.ones(2), "first"))
    assert g.name == "first" and type(g) is Layer
    np.testing.assert_array_equal(g.weight, [2, 2])


def test_auxiliary_output_comes_back_free_of_tracers():
    def f(x):
        y = np.sin(x)
        return y.sum(), {"y": y, "count": 3, "nested": [Layer(x * 2, "n"), None], "text": "t"}

    x = draw(3)
    runs = {
        "jvp": mg.jvp(f, (x,), (x,), has_aux=True)[2],
        "linearize": mg.linearize(f, x, has_aux=True)[2],
        "vjp": mg.vjp(f, x, has_aux=True)[2],
        "grad": mg.grad(f, has_aux=True)(x)[1],
        "value_and_grad": mg.value_and_grad(f, has_aux=True)(x)[0][1],
        "jacfwd": mg.jacfwd(f, has_aux=True)(x)[1],
        "jacrev": mg.jacrev(f, has_aux=True)(x)[1],
        "hessian": mg.hessian(f, has_aux=True)(x)[1],
    }
    for name, aux in runs.items():
        assert_plain(aux)
        np.testing.assert_array_equal(aux["y"], np.sin(x), err_msg=name)
        np.testing.assert_array_equal(aux["nested"][0].weight, 2 * x)
        assert aux["count"] == 3 and aux["text"] == "t" and aux["nested"][1] is None
    (value, _), g = mg.value_and_grad(f, has_aux=True)(x)
    np.testing.assert_allclose(value, np.sin(x).sum())
    np.testing.assert_allclose(g, np.cos(x))


def test_has_aux_without_a_pair_says_so():
    with pytest.raises(TypeError, match=r"has_aux=True needs .*lambda.* to return \(y, aux\)"):
        mg.grad(lambda x: x, has_aux=True)(1.0)


def test_argnums_choose_arguments_and_keywords_pass_through():
    f = lambda a, b, c=1.0, *, power=1: a * b**power * c  # noqa: E731
    assert mg.grad(f)(2.0, 3.0) == 3.0
    assert mg.grad(f, argnums=1)(2.0, 3.0, power=2) == 12.0
    assert mg.grad(f, argnums=-1)(2.0, 3.0, 5.0) == 6.0
    assert mg.grad(f, argnums=(1, 0))(2.0, 3.0, c=10.0) == (20.0, 30.0)
    only = mg.grad(f, argnums=(0,))(2.0, 3.0)
    assert isinstance(only, tuple) and only == (3.0,)
    assert mg.grad(f, argnums=[0, -1])(2.0, 3.0) == (3.0, 2.0)
    assert mg.value_and_grad(f, argnums=(0, 1))(2.0, 3.0) == (6.0, (3.0, 2.0))
    assert mg.jacfwd(f, argnums=(0, 1))(2.0, 3.0) == mg.jacrev(f, argnums=(0, 1))(2.0, 3.0) == (3.0, 2.0)
    assert mg.hessian(f, argnums=1)(2.0, 3.0, power=2) == 4.0


@pytest.mark.parametrize("nums", [(0, 0), (1, -1)])
def test_naming_an_argument_twice_is_refused_and_not_answered_with_zero(nums):
    with pytest.raises(ValueError, match="name one argument twice"):
        mg.grad(lambda x, y: x * y, argnums=nums)(2.0, 3.0)


def test_the_other_arguments_may_be_anything():
    labels = np.array([2, 0])
    f = lambda x, how, index, flag: x[index].sum() if flag and how == "pick" else None  # noqa: E731
    np.testing.assert_array_equal(mg.grad(f)(np.ones(3), "pick", labels, True), [1, 0, 1])


def test_constant_outputs_have_zero_derivatives_of_the_right_shape():
    x = np.ones((2, 3), np.float32)
    c = np.arange(4.0)
    y, dy = mg.jvp(lambda x: {"x": x, "c": c, "three": 3.0}, (x,), (x,))
    assert y["c"] is c and y["three"] == 3.0
    np.testing.assert_array_equal(dy["c"], np.zeros(4))
    assert dy["three"] == 0.0
    _, J = mg.linearize(lambda x: (c, 2 * x), x)
    np.testing.assert_array_equal(J(x)[0], np.zeros(4))
    np.testing.assert_array_equal(J.T((c, x)), 2 * x)
    assert J.T((c, x)).dtype == np.float32
    g = mg.grad(lambda x: 3.0)(x)
    assert g.dtype == np.float32 and g.shape == (2, 3) and not g.any()
    assert not mg.grad(lambda x: c.sum())(x).any()


def test_outputs_that_are_inputs_pass_their_tangents_on():
    x, t = draw(3), draw(3, seed=1)
    y, dy = mg.jvp(lambda x, z: (z, x, x), (x, t), (t, x))
    assert y[1] is x and dy[1] is t and dy[0] is x
    _, J = mg.linearize(lambda x: (x, x), x)
    assert len(J) == 0
    np.testing.assert_array_equal(J.T((x, t)), x + t)
    np.testing.assert_array_equal(x, draw(3))  # the cotangents were added beside the inputs, not into them


def test_unused_inputs_get_zeros():
    x, z = np.ones(3, np.float32), {"w": np.ones((2, 2))}
    gx, gz = mg.grad(lambda x, z: (x * x).sum(), argnums=(0, 1))(x, z)
    assert gz["w"].shape == (2, 2) and gz["w"].dtype == np.float64 and not gz["w"].any()
    np.testing.assert_array_equal(gx, 2 * x)
    assert not mg.linearize(lambda x, z: x, x, z)[1].T(x)[1]["w"].any()


def test_python_floats_are_arguments_like_any_array():
    assert mg.jvp(lambda x, y: x * y, (2.0, 3.0), (1.0, 0.0)) == (6.0, 3.0)
    y, J = mg.linearize(lambda x: x**3, 2.0)
    assert (y, J(1.0), J.T(1.0)) == (8.0, 12.0, 12.0)
    assert mg.vjp(lambda x: x * x, 3.0)[1](1.0) == (6.0,)
    assert mg.jacfwd(lambda x: x * x)(3.0) == mg.jacrev(lambda x: x * x)(3.0) == 6.0
    assert mg.hessian(lambda x: x**3)(3.0) == 18.0


def test_cotangents_are_never_written_into():
    # One cotangent array reaches the same slot from several outputs, and is the caller's own.
    x, c = draw(4), np.ones(4)
    _, J = mg.linearize(lambda x: (x, x, 2 * x, x), x)
    for _ in range(2):
        np.testing.assert_array_equal(J.T((c, c, c, c)), 5 * np.ones(4))
        np.testing.assert_array_equal(c, 1)


def test_gradients_of_one_value_used_twice_do_not_share_memory_with_it():
    f = lambda a, b: (a + b).sum()  # noqa: E731
    ga, gb = mg.grad(f, argnums=(0, 1))(draw(3), draw(3))
    np.testing.assert_array_equal(ga, gb)


def test_stop_gradient_is_a_constant_at_every_order():
    f = lambda x: x**2 * mg.stop_gradient(x**3)  # noqa: E731
    assert f(2.0) == 32.0
    assert mg.grad(f)(2.0) == 4 * 8.0
    assert mg.grad(mg.grad(f))(2.0) == 2 * 8.0
    tree = mg.grad(lambda p: (p["a"] * mg.stop_gradient(p)["b"]).sum())(
        {"a": np.ones(2), "b": 3 * np.ones(2)}
    )
    np.testing.assert_array_equal(tree["a"], [3, 3])
    np.testing.assert_array_equal(tree["b"], [0, 0])


# ----- The linear map as an object -----


def test_linearize_runs_the_function_once_and_replays_to_the_same_bits():
    calls = []

    def f(x):
        calls.append(x)
        return np.tanh(x @ x.T) / (1 + np.exp(x).sum())

    x, t = draw(5, 5), draw(5, 5, seed=1)
    y, J = mg.linearize(f, x)
    first, back = J(t), J.T(t)
    for _ in range(4):
        assert J(t).tobytes() == first.tobytes()
        assert J.T(t).tobytes() == back.tobytes()
    assert len(calls) == 1
    assert y.tobytes() == f(x).tobytes()
    np.testing.assert_allclose(first, mg.jvp(f, (x,), (t,))[1], rtol=1e-14)


def test_the_transpose_of_the_transpose_is_the_map_itself():
    _, J = mg.linearize(np.sin, draw(3))
    assert J.T.T is J
    assert str(J.T) == f"transpose of {J}"


def test_one_primal_comes_back_bare_from_a_linear_map_and_as_a_tuple_from_vjp():
    x = draw(3)
    assert isinstance(mg.linearize(np.sin, x)[1].T(x), np.ndarray)
    assert isinstance(mg.vjp(np.sin, x)[1](x), tuple)
    assert len(mg.linearize(np.multiply, x, x)[1].T(x)) == 2
    assert len(mg.vjp(np.multiply, x, x)[1](x)) == 2
    assert isinstance(mg.linearize(lambda p: p[0] * p[1], (x, x))[1].T(x), tuple)


def test_a_vjp_may_be_called_again():
    x = draw(3)
    _, pull = mg.vjp(np.sin, x)
    np.testing.assert_array_equal(pull(np.ones(3))[0], pull(np.ones(3))[0])


def test_a_linear_map_prints_as_the_program_it_is():
    def wave(x, w):
        return np.sin(x @ w).sum(axis=0)

    _, J = mg.linearize(wave, np.ones((2, 3)), np.ones((3, 4)))
    line = wave.__code__.co_firstlineno
    assert str(J) == GOLDEN.replace("LINE", str(line))
    assert len(J) == 5 and isinstance(J, mg.LinearMap)


GOLDEN = """\
linear map of wave (test_engine.py:LINE): float64[2,3], float64[3,4] -> float64[4]; \
5 equations, 208 B of residuals
          |  t0: float64[2,3]
          |  t1: float64[3,4]
  matmul  |  t2: float64[2,4] = matmul(t0, float64[3,4])  # 96 B
          |  t3: float64[2,4] = matmul(float64[2,3], t1)  # 48 B
          |  t4: float64[2,4] = add(t2, t3)
  sin     |  t5: float64[2,4] = multiply(t4, float64[2,4])  # 64 B
  sum     |  t6: float64[4] = sum(t5; axis=(0,), keepdims=False)
          |  return t6"""


def test_the_cost_of_a_small_program_is_what_one_counts_by_hand():
    w = np.ones((4, 5))
    _, J = mg.linearize(lambda x: np.tanh(x @ w), np.ones((3, 4)))
    assert J.cost.ops == {
        "matmul": (1, 2 * 3 * 4 * 5, 8 * (12 + 20 + 15)),
        "multiply": (1, 15, 8 * (15 + 15 + 15)),
    }
    assert (J.cost.flops, J.cost.bytes, J.cost.unknown) == (135, 376 + 360, ())


def test_an_operation_without_a_formula_counts_as_unknown_and_not_as_zero():
    with primitive("of_unknown_cost", lambda xp, x: 2 * x) as double:
        rules.deflinear(double, lambda x: x.shape, lambda ct, x: double(ct))
        cost = mg.linearize(lambda x: 3.0 * double(x), np.ones(4))[1].cost
    assert cost.unknown == ("of_unknown_cost",) and cost.flops == 4
    assert cost.ops["of_unknown_cost"].flops is None


def test_a_view_counts_once_and_as_the_array_that_it_keeps_alive():
    big = np.ones(1000)
    _, J = mg.linearize(lambda x: x * big[:10] + x * big[10:20] * 2.0 + big[:10] * x, np.ones(10))
    assert J.residual_bytes == big.nbytes
    assert [r is big for r in J.residuals] == [True]
    assert mg.linearize(lambda x: 3.0 * x, np.ones(10))[1].residual_bytes == 0


def test_equations_that_no_output_needs_are_left_out():
    def f(x):
        np.exp(x) * x  # noqa: B018
        return 2.0 * x

    assert len(mg.linearize(f, np.ones(3))[1]) == 1


def test_to_operator_gives_scipy_the_map_and_its_adjoint():
    A = draw(4, 6)
    _, J = mg.linearize(lambda p: (np.sin(A @ p["x"]) * p["s"], p["x"]), {"x": draw(6), "s": np.float64(2.0)})
    op = J.to_operator()
    assert op.shape == (10, 7) and op.dtype == np.float64
    dense = op @ np.eye(7)
    np.testing.assert_allclose(op.H @ np.eye(10), dense.T, rtol=1e-14)
    np.testing.assert_allclose(op.T @ np.ones(10), dense.T @ np.ones(10), rtol=1e-13)
    np.testing.assert_allclose(dense[4:, 1:], np.eye(6))  # dict keys in order: s first, then x


def test_scipy_finds_the_eigenvalues_of_a_recorded_hessian():
    f = lambda x: (np.exp(x[1:] * x[:-1])).sum() + (x**4).sum()  # noqa: E731
    x = draw(12)
    op = mg.linearize(mg.grad(f), x)[1].to_operator()
    largest = scipy.sparse.linalg.eigsh(op, k=3, which="LA", return_eigenvectors=False, v0=np.ones(12))
    np.testing.assert_allclose(np.sort(largest), np.linalg.eigvalsh(mg.hessian(f)(x))[-3:], rtol=1e-9)


# ----- linear_transpose -----


def test_linear_transpose_turns_a_linear_function_round():
    A, x = draw(3, 4), {"a": np.zeros(4), "b": np.zeros(3)}
    back = mg.linear_transpose(lambda x: (A @ x["a"] - x["b"], 2 * x["a"][::2]), x)
    c, d = draw(3), draw(2)
    (ct,) = back((c, d))
    np.testing.assert_allclose(ct["a"], A.T @ c + 2 * np.array([d[0], 0, d[1], 0]), rtol=1e-14)
    np.testing.assert_array_equal(ct["b"], -c)
    assert len(mg.linear_transpose(lambda x, y: x + y, np.ones(2), np.ones(2))(np.ones(2))) == 2
    assert mg.linear_transpose(lambda x: (x, 0.0), 1.0)((2.0, 5.0)) == (2.0,)  # a constant zero is linear


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda x: x + 1.0, "affine, not linear"),
        (lambda x: np.concatenate([x, np.ones(1)]), "affine, not linear"),
        (lambda x: (x, 3.0), "does not depend linearly"),
        (lambda x: x * x, "multiply is not linear in argument 0 and 1"),
        (lambda x: np.sin(x), "sin is not linear in argument 0"),
        (lambda x: 1.0 / x, "divide is not linear in argument 1"),
    ],
)
def test_linear_transpose_of_a_function_that_is_not_linear_raises(f, words):
    with pytest.raises(mg.NonlinearError, match=words):
        mg.linear_transpose(f, np.ones(2))


def test_a_linear_variable_has_no_value_to_branch_on():
    with pytest.raises(TypeError, match="no value to branch on"):
        mg.linear_transpose(lambda x: x if x else -x, 1.0)


# ----- Jacobians and Hessians -----


def test_jacobians_forwards_and_backwards_equal_the_formula():
    A, x = draw(3, 4), draw(4)
    f = lambda x: np.sin(A @ x)  # noqa: E731
    expected = np.cos(A @ x)[:, None] * A
    np.testing.assert_allclose(mg.jacfwd(f)(x), expected, rtol=1e-14)
    np.testing.assert_allclose(mg.jacrev(f)(x), expected, rtol=1e-14)
    outer = mg.jacfwd(np.outer, argnums=1)(x, x[:2])
    np.testing.assert_allclose(outer, np.einsum("i,jk->ijk", x, np.eye(2)))
    assert mg.jacrev(lambda x: x[:0])(x).shape == mg.jacfwd(lambda x: x[:0])(x).shape == (0, 4)
    assert mg.jacfwd(lambda x: x.sum())(np.zeros((0, 2))).shape == (0, 2)
    assert mg.jacfwd(f)(x).dtype == np.float64
    assert mg.jacrev(np.sin)(x.astype(np.float32)).dtype == np.float32


def test_jacobians_of_trees_are_trees_of_trees():
    p = {"w": draw(2, 3), "b": draw(2)}
    f = lambda p: Point(p["w"] @ np.ones(3) + p["b"] ** 2, p["b"][0])  # noqa: E731
    for jac in (mg.jacfwd, mg.jacrev):
        J = jac(f)(p)
        assert type(J) is Point and J.x.keys() == p.keys()
        np.testing.assert_array_equal(J.x["w"], np.einsum("ij,k->ijk", np.eye(2), np.ones(3)))
        np.testing.assert_allclose(J.x["b"], np.diag(2 * p["b"]))
        np.testing.assert_array_equal(J.y["b"], [1, 0])
        assert J.y["w"].shape == (2, 3) and not J.y["w"].any()
    many = mg.jacrev(lambda x, y: x * y, argnums=(0, 1))(draw(2), draw(2, seed=1))
    assert isinstance(many, tuple)
    np.testing.assert_array_equal(many[0], np.diag(draw(2, seed=1)))


def test_a_hessian_equals_the_formula_and_holds_every_block():
    x = draw(3)
    np.testing.assert_allclose(mg.hessian(lambda x: (x**4).sum() / 12)(x), np.diag(x**2), rtol=1e-14)
    H = mg.hessian(lambda p: p["a"] @ p["b"] + (p["a"] ** 3).sum())({"a": x, "b": 2 * x})
    np.testing.assert_allclose(H["a"]["a"], np.diag(6 * x), rtol=1e-14)
    np.testing.assert_array_equal(H["a"]["b"], np.eye(3))
    np.testing.assert_array_equal(H["b"]["a"], np.eye(3))
    assert not H["b"]["b"].any()
    np.testing.assert_allclose(
        mg.jacrev(mg.jacfwd(lambda x: np.exp(x.sum())))(x),
        np.full((3, 3), np.exp(x.sum())),
        rtol=1e-13,
    )


HVP_MODES = ["fwd_over_rev", "rev_over_rev", "rev_over_fwd"]


@pytest.mark.parametrize("mode", HVP_MODES)
def test_hessian_products_equal_the_hessian_in_each_mode(mode):
    A, x = draw(4, 4), draw(4)
    f = lambda x: np.log1p(np.exp(A @ x)).sum() + x[0] * x[1] ** 2  # noqa: E731
    H = np.stack([mg.hvp(f, (x,), (e,), mode) for e in np.eye(4)])
    np.testing.assert_allclose(H, mg.hessian(f)(x), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(H, H.T, rtol=1e-12, atol=1e-14)
    a, b = mg.hvp(lambda a, p: (a * p["b"] ** 2).sum(), (x, {"b": x}), (x, {"b": np.ones(4)}), mode)
    np.testing.assert_allclose(a, 2 * x, rtol=1e-14)
    np.testing.assert_allclose(b["b"], 2 * x * x + 2 * x, rtol=1e-13)


@pytest.mark.parametrize("mode", HVP_MODES)
def test_hessian_products_refuse_tangents_of_another_structure(mode):
    x = np.ones(2)
    for wrong in ([x], [x, x], {"b": x}):
        with pytest.raises(ValueError, match="tangents are"):
            mg.hvp(lambda p: (p["a"] ** 2).sum(), ({"a": x},), (wrong,), mode)
    with pytest.raises(ValueError, match=r"tangent\[0\]\['a'\] is float64\[3\]"):
        mg.hvp(lambda p: (p["a"] ** 2).sum(), ({"a": x},), ({"a": np.ones(3)},), mode)


@pytest.mark.parametrize("closed_form", [True, False])
def test_the_gauss_newton_product_is_the_dense_matrix_times_the_vector(closed_form):
    x, labels = draw(5, 3), np.array([0, 2, 1, 1, 0])
    w, unravel = mg.ravel({"a": draw(3, 4, seed=1), "b": draw(4, 3, seed=2)})
    predict = lambda w: np.tanh(x @ unravel(w)["a"]) @ unravel(w)["b"]  # noqa: E731
    loss = nn.SoftmaxCrossEntropy(labels)
    J = mg.jacfwd(predict)(w).reshape(15, -1)
    G = J.T @ mg.hessian(loss)(predict(w)).reshape(15, 15) @ J
    used = loss if closed_form else (lambda y: loss(y))
    product = np.stack([mg.ggn_vp(predict, used, w, e) for e in np.eye(w.size)])
    np.testing.assert_allclose(product, G, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(product, product.T, rtol=1e-10, atol=1e-13)
    assert np.linalg.eigvalsh(G).min() > -1e-12


def test_the_quadratic_model_of_any_scalar_function_comes_from_its_derivatives():
    y = draw(4)
    value, g, H = mg.quadratic(lambda y: (y**3).sum(), y)
    np.testing.assert_allclose(value, (y**3).sum())
    np.testing.assert_allclose(g, 3 * y**2)
    np.testing.assert_allclose(H(np.ones(4)), 6 * y)


# ----- A residual network with batch norm -----


@pytest.fixture(scope="module")
def network():
    """Two residual blocks, the second with stride 2, max pooling, cross entropy: a small CIFAR network."""
    rng, f8 = np.random.default_rng(7), np.float64

    def block(n_in, n_out, stride):
        body = nn.Sequential(
            nn.Conv2d(n_in, n_out, 3, rng, stride, 1, bias=False, dtype=f8),
            nn.BatchNorm(n_out, dtype=f8),
            nn.ReLU(),
            nn.Conv2d(n_out, n_out, 3, rng, 1, 1, bias=False, dtype=f8),
            nn.BatchNorm(n_out, dtype=f8),
        )
        short = nn.Conv2d(n_in, n_out, 1, rng, stride, bias=False, dtype=f8) if stride > 1 else None
        return [nn.Residual(body, short), nn.ReLU()]

    layers = [nn.Conv2d(2, 3, 3, rng, padding=1, dtype=f8), nn.BatchNorm(3, dtype=f8), nn.ReLU()]
    layers += [*block(3, 3, 1), nn.MaxPool2d(3, 2, 1), *block(3, 4, 2)]
    model = nn.Sequential(*layers, nn.GlobalAvgPool(), nn.Linear(4, 3, rng, dtype=f8))
    x, labels = rng.standard_normal((4, 8, 8, 2)), np.array([0, 2, 1, 2])
    loss = nn.SoftmaxCrossEntropy(labels)
    w, unravel = mg.ravel(model)
    w = w + 0.1 * rng.standard_normal(w.size)  # away from gamma = 1, beta = 0
    return lambda w: unravel(w)(x, train=True), loss, w, rng.standard_normal((2, w.size))


def test_a_residual_network_passes_the_dot_test_and_agrees_with_differences(network):
    predict, loss, w, (v, _) = network
    y, J = mg.linearize(predict, w)
    c = draw(*y.shape)
    np.testing.assert_allclose(np.sum(J(v) * c), J.T(c) @ v, rtol=1e-12)
    np.testing.assert_allclose(J(v), mg.jvp(predict, (w,), (v,))[1], rtol=1e-12, atol=1e-14)
    h = 1e-6
    np.testing.assert_allclose(
        J(v), (predict(w + h * v) - predict(w - h * v)) / (2 * h), rtol=1e-5, atol=1e-6
    )


def test_a_residual_network_has_one_hessian_in_three_modes(network):
    predict, loss, w, (v, u) = network
    f = lambda w: loss(predict(w))  # noqa: E731
    Hv = [mg.hvp(f, (w,), (v,), mode) for mode in HVP_MODES]
    scale = np.abs(Hv[0]).max()
    np.testing.assert_allclose(Hv[1], Hv[0], rtol=1e-10, atol=1e-10 * scale)
    np.testing.assert_allclose(Hv[2], Hv[0], rtol=1e-10, atol=1e-10 * scale)
    np.testing.assert_allclose(u @ Hv[0], v @ mg.hvp(f, (w,), (u,)), rtol=1e-9)
    h = 1e-6
    difference = (mg.grad(f)(w + h * v) - mg.grad(f)(w - h * v)) / (2 * h)
    np.testing.assert_allclose(Hv[0], difference, atol=1e-5 * scale)


def test_a_residual_network_has_a_symmetric_gauss_newton_matrix_without_negative_directions(network):
    predict, loss, w, (v, u) = network
    Gv, Gu = mg.ggn_vp(predict, loss, w, v), mg.ggn_vp(predict, loss, w, u)
    np.testing.assert_allclose(u @ Gv, v @ Gu, rtol=1e-10)
    assert v @ Gv > 0 and u @ Gu > 0
    np.testing.assert_allclose(mg.ggn_vp(predict, lambda y: loss(y), w, v), Gv, rtol=1e-9, atol=1e-12)


# ----- Memory -----


@contextlib.contextmanager
def noting(residuals):
    """A primitive 3x² / 2 whose rule makes a new array and leaves a weak reference to it in `residuals`."""

    def rule(t, ans, x):
        r = 3.0 * x
        residuals.append(weakref.ref(r if isinstance(r, np.ndarray) else r.primal))
        return rules.multiply(t, r)

    with primitive("noting", lambda xp, x: 1.5 * x * x) as prim:
        rules.defjvp(prim, rule)
        yield prim


def dead(refs):
    return [r() is None for r in refs]


def test_residuals_die_with_the_gradient_call_without_the_garbage_collector(no_gc):
    refs = []
    with noting(refs) as f:
        mg.grad(lambda x: f(f(x)).sum())(np.ones(5))
        assert dead(refs) == [True, True]
        mg.vjp(f, np.ones(5))
        mg.jvp(f, (np.ones(5),), (np.ones(5),))
        mg.hvp(lambda x: f(x).sum(), (np.ones(5),), (np.ones(5),))
        with pytest.raises(ZeroDivisionError):
            mg.grad(lambda x: f(x).sum() + 1 / 0)(np.ones(5))
    assert refs and all(dead(refs))


def test_a_linear_map_keeps_residuals_exactly_as_long_as_it_lives(no_gc):
    refs = []
    with noting(refs) as f:
        _, J = mg.linearize(lambda x: f(f(x)), np.ones(5))
        J(np.ones(5))
        J.T(np.ones(5))
        assert dead(refs) == [False, False]
        T = J.T
        del J
        assert dead(refs) == [False, False]
        del T
        assert dead(refs) == [True, True]


def test_a_tangent_that_nobody_uses_keeps_no_residuals(no_gc):
    refs, seen = [], []
    with noting(refs) as f:

        def program(x):
            a = f(x)
            y = 2.0 * mg.stop_gradient(a) * x
            del a
            seen.append(dead(refs))  # gone while the function still runs
            return y

        _, J = mg.linearize(program, np.ones(5))
        assert seen == [[True]] and len(J) == 1


def test_gradients_let_go_of_residuals_while_they_walk_back(no_gc):
    refs, seen = [], []

    def look(ct, x):
        seen.append(dead(refs))
        return ct

    with noting(refs) as f, primitive("watch", lambda xp, x: x) as watch:
        rules.deflinear(watch, lambda x: x.shape, look)
        program = lambda x: watch(f(watch(f(watch(x))))).sum()  # noqa: E731
        mg.grad(program)(np.ones(5))
        assert seen == [[False, False], [False, True], [True, True]]
        # A map that is kept lets go of nothing: the same sweep can run again.
        seen.clear()
        _, J = mg.linearize(program, np.ones(5))
        refs[:] = refs[2:]
        J.T(1.0)
        assert seen == [[False, False]] * 3


def test_a_forward_sweep_lets_go_of_tangents_that_no_later_equation_reads(no_gc):
    refs, seen = [], []

    def note(xp, t):
        seen.append(dead(refs))
        out = 2.0 * t
        refs.append(weakref.ref(out))
        return out

    with primitive("note", note) as f:
        rules.deflinear(f, lambda t: t.shape, lambda ct, t: f(ct))
        _, J = mg.linearize(lambda x: f(f(f(x))), np.ones(5))
        refs.clear()
        seen.clear()
        J(np.ones(5))
    assert seen == [[], [False], [True, False]]  # only an equation's own arguments are alive


def test_values_die_when_the_function_is_done_with_them(no_gc):
    refs = []

    def f(x):
        y = np.sin(x)
        refs.append(weakref.ref(y.primal))
        z = y + 1.0
        del y  # addition keeps nothing of it
        return z.sum()

    mg.linearize(f, np.ones(5))
    assert dead(refs) == [True]


# ----- Every transformation takes every tree, and any of its arguments -----


@dataclasses.dataclass(frozen=True)
class Frozen:
    weight: object
    name: str


@dataclasses.dataclass(slots=True)
class Slotted:
    weight: object
    name: str


MORE_TREES = TREES | {
    "frozen dataclass": lambda a, b: (Frozen(a, "first"), Frozen(b, "second")),
    "dataclass with slots": lambda a, b: [Slotted(a, "first"), Slotted(b, "second")],
    "nested": lambda a, b: {"layers": [Point(a, None), {"bias": (b,)}]},
}


def quartic(tree):
    """Σ x⁴ and as auxiliary output what a program may want to see beside."""
    return sum(np.sum(x**4) for x in tree_leaves(tree)), {"tree": tree, "text": "t"}


@pytest.mark.parametrize("kind", MORE_TREES)
def test_derivatives_of_trees_are_those_of_their_leaves(kind):
    tree = MORE_TREES[kind](draw(2, 3), draw(3))
    along = MORE_TREES[kind](draw(2, 3, seed=1), draw(3, seed=2))
    (a, b), (da, db) = tree_leaves(tree), tree_leaves(along)
    f = lambda tree: quartic(tree)[0]  # noqa: E731
    slope, curvature = (4 * a**3, 4 * b**3), (12 * a**2, 12 * b**2)

    value, dvalue, aux = mg.jvp(quartic, (tree,), (along,), has_aux=True)
    np.testing.assert_allclose(dvalue, sum(np.sum(s * d) for s, d in zip(slope, (da, db), strict=True)))
    assert_plain(aux)
    assert_trees_equal(aux["tree"], tree)
    for g in (
        mg.grad(f)(tree),
        mg.value_and_grad(quartic, has_aux=True)(tree)[1],
        mg.vjp(quartic, tree, has_aux=True)[1](1.0)[0],
        mg.linearize(quartic, tree, has_aux=True)[1].T(1.0),
        mg.jacfwd(f)(tree),
        mg.jacrev(quartic, has_aux=True)(tree)[0],
    ):
        assert type(g) is type(tree)
        assert_trees_equal(g, tree_map(lambda x: 4 * x**3, tree))
    for mode in ("fwd_over_rev", "rev_over_rev", "rev_over_fwd"):
        hv = mg.hvp(f, (tree,), (along,), mode=mode)
        assert mg.tree_flatten(hv)[1] == mg.tree_flatten(tree)[1]
        assert_trees_equal(tree_leaves(hv), [curvature[0] * da, curvature[1] * db])
    H, aux = mg.hessian(quartic, has_aux=True)(tree)
    first, _ = tree_leaves(H)[:2]
    np.testing.assert_allclose(np.sum(first, axis=tuple(range(a.ndim, 2 * a.ndim))), curvature[0], rtol=1e-12)
    assert aux["text"] == "t"
    outputs = lambda tree: {"squares": tree_map(np.square, tree)}  # noqa: E731
    loss = lambda y: sum(np.sum(x * x) for x in tree_leaves(y)) / 2  # noqa: E731
    assert_trees_equal(tree_leaves(mg.ggn_vp(outputs, loss, tree, along)), [4 * a**2 * da, 4 * b**2 * db])
    (back,) = mg.linear_transpose(lambda tree: tree_map(lambda x: 3 * x, tree), tree)(along)
    assert_trees_equal(back, tree_map(lambda x: 3 * x, along))
    stopped = mg.grad(lambda tree: quartic(mg.stop_gradient(tree))[0] + 0 * f(tree))(tree)
    assert_trees_equal(stopped, tree_map(np.zeros_like, tree))


@pytest.mark.parametrize("nothing", [None, {}, [], ((), None)], ids=repr)
def test_a_tree_without_leaves_has_an_empty_gradient(nothing):
    f = lambda tree: 1.0  # noqa: E731
    assert mg.grad(f)(nothing) == nothing and mg.value_and_grad(f)(nothing) == (1.0, nothing)
    assert mg.jvp(f, (nothing,), (nothing,)) == (1.0, 0.0)
    assert mg.vjp(f, nothing)[1](1.0) == (nothing,)
    for mode in ("fwd_over_rev", "rev_over_rev", "rev_over_fwd"):
        assert mg.hvp(f, (nothing,), (nothing,), mode=mode) == nothing
    assert mg.grad(lambda x: x * x, argnums=())(2.0) == ()


@pytest.mark.parametrize("argnums", [0, 1, -1, np.int64(1), (0, 1), (1, 0), [1], (-2,)], ids=repr)
@pytest.mark.parametrize("name", ["grad", "value_and_grad", "jacfwd", "jacrev", "hessian"])
def test_any_arguments_may_be_chosen_beside_keywords_and_auxiliary_output(name, argnums):
    def f(x, tree, *, scale=1.0):
        return scale * np.sum(x**2 * tree["w"] ** 2), {"x": x, "n": 3}

    x, tree = draw(3), {"w": draw(3, seed=1)}
    w = tree["w"]
    out = getattr(mg, name)(f, argnums, has_aux=True)(x, tree, scale=2.0)
    if name == "value_and_grad":
        (value, aux), out = out
        np.testing.assert_allclose(value, f(x, tree, scale=2.0)[0])
    else:
        out, aux = out
    assert_plain(aux)
    assert aux["n"] == 3
    np.testing.assert_array_equal(aux["x"], x)
    slopes = (4 * x * w**2, {"w": 4 * x**2 * w})
    diag = ((4 * w**2, {"w": 8 * x * w}), ({"w": 8 * x * w}, {"w": {"w": 4 * x**2}}))
    many = isinstance(argnums, (tuple, list))
    nums = [int(i) for i in (argnums if many else [argnums])]
    if name == "hessian":
        want = tuple(tuple(tree_map(np.diag, diag[i][j]) for j in nums) for i in nums)
        assert_trees_equal(tree_leaves(out), tree_leaves(want if many else want[0][0]))
    else:
        want = tuple(slopes[i] for i in nums)
        assert_trees_equal(out, want if many else want[0])


@pytest.mark.parametrize("argnums", ["x", 1.5, None, (0, "x")], ids=repr)
def test_argnums_are_integers(argnums):
    with pytest.raises(TypeError, match="^argnums is .*: use an integer, or a tuple of integers$"):
        mg.grad(np.sum, argnums)


def test_stop_gradient_passes_names_and_settings_through():
    g = mg.grad(lambda x: mg.stop_gradient({"x": x, "name": "n", "sizes": [3, None]})["x"] * x)(2.0)
    assert g == 2.0
    assert mg.stop_gradient({"name": "n", "sizes": [3, None]}) == {"name": "n", "sizes": [3, None]}
