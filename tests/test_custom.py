"""custom_jvp, custom_vjp and checkpoint: right at every order and in both modes, or one clear line."""

import collections
import contextlib
import functools
import gc
import itertools
import weakref

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.core import Tracer
from minigrad.testing import check_hvp, check_rule
from minigrad.tree import tree_leaves, tree_map

MODES = ("fwd_over_rev", "rev_over_rev", "rev_over_fwd")
X = np.array([0.3, -1.2, 2.0])
Y = np.array([1.5, 0.4, -0.7])


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@contextlib.contextmanager
def without_collector():
    """Memory must come back by reference counts alone."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def assert_trees_equal(a, b, rtol=1e-12):
    assert mg.tree_flatten(a)[1] == mg.tree_flatten(b)[1]
    for x, y in zip(tree_leaves(a), tree_leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


def one_line(error, call, *words):
    with pytest.raises(error) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text, f"{word!r} is missing in: {text}"
    return text


# ----- The same function, four times: plain and with each of the three -----


def plain(x, y):
    return np.sin(x) * y + x * x


def with_jvp(f=plain):
    g = mg.custom_jvp(f)

    @g.defjvp
    def rule(primals, tangents):
        (x, y), (dx, dy) = primals, tangents
        return g(x, y), (np.cos(x) * y + 2 * x) * dx + np.sin(x) * dy

    return g


def with_vjp(f=plain):
    g = mg.custom_vjp(f)
    g.defvjp(
        lambda x, y: (g(x, y), (x, y)),
        lambda res, ct: (ct * (np.cos(res[0]) * res[1] + 2 * res[0]), ct * np.sin(res[0])),
    )
    return g


KINDS = {"custom_jvp": with_jvp, "custom_vjp": with_vjp, "checkpoint": lambda: mg.checkpoint(plain)}
each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
def test_values_are_the_same_bits_and_plain_arrays(kind):
    f = KINDS[kind]()
    y = f(X, Y)
    assert type(y) is np.ndarray and (y == plain(X, Y)).all()
    assert (mg.jvp(f, (X, Y), (X, Y))[0] == y).all() and (mg.linearize(f, X, Y)[0] == y).all()
    assert f.__name__ == "plain" and type(f(0.5, 2.0)) is np.float64


@each_kind
def test_derivatives_are_those_of_the_plain_function_at_orders_1_to_3(kind):
    f = KINDS[kind]()
    check_rule(f, (X, Y), order=3)
    g, g0 = (lambda x, y, h=h: np.sum(h(x, y) ** 2) for h in (f, plain))
    for h in (mg.grad, mg.jacfwd, mg.jacrev, mg.hessian):
        assert_trees_equal(h(g, (0, 1))(X, Y), h(g0, (0, 1))(X, Y))
    for mode in MODES:
        assert_trees_equal(
            mg.hvp(g, (X, Y), (Y, X), mode=mode), mg.hvp(g0, (X, Y), (Y, X), mode=mode), rtol=1e-11
        )
    assert_trees_equal(mg.jacrev(mg.jacfwd(f))(X, Y), mg.jacfwd(mg.jacrev(plain))(X, Y))


@each_kind
@pytest.mark.parametrize("argnums", [0, 1, -1, (1, 0)])
def test_some_arguments_may_be_constants(kind, argnums):
    f = KINDS[kind]()
    got, want = (mg.grad(lambda x, y, h=h: h(x, y).sum(), argnums)(X, Y) for h in (f, plain))
    assert_trees_equal(got, want)
    assert_trees_equal(mg.jvp(lambda x: f(x, Y), (X,), (Y,)), mg.jvp(lambda x: plain(x, Y), (X,), (Y,)))


@each_kind
def test_one_inside_another(kind):
    outer = {
        "custom_jvp": lambda f: with_jvp(lambda x, y: f(x, y)),
        "custom_vjp": lambda f: with_vjp(lambda x, y: f(x, y)),
        "checkpoint": mg.checkpoint,
    }
    for name in outer:
        f = outer[name](KINDS[kind]())
        check_hvp(f, (X, Y), seed=1)
        assert_trees_equal(mg.jvp(f, (X, Y), (Y, X)), mg.jvp(plain, (X, Y), (Y, X)))


@each_kind
def test_float32_stays_float32_and_two_precisions_promote(kind):
    f = KINDS[kind]()
    x, y = X.astype(np.float32), Y.astype(np.float32)
    for args in ((x, y), (np.float32(1), np.float32(2))):
        value, J = mg.linearize(f, *args)
        tangent, cts = J(*args), J.T(np.ones_like(value))
        assert {a.dtype for a in (value, tangent, *cts)} == {np.dtype(np.float32)}
    if kind == "checkpoint":  # rules of one's own answer for their dtypes themselves
        value, J = mg.linearize(f, x, Y)
        assert [a.dtype.name for a in (value, J(x, Y), *J.T(value))] == ["float64"] * 2 + [
            "float32",
            "float64",
        ]


@each_kind
def test_python_numbers_are_arguments_too(kind):
    f = KINDS[kind]()
    assert mg.grad(f)(0.5, 2.0) == pytest.approx(np.cos(0.5) * 2 + 1, rel=1e-15)
    if kind != "custom_jvp":  # whose rule is given None for the tangent of an integer
        assert mg.grad(f)(0.5, 2) == pytest.approx(np.cos(0.5) * 2 + 1, rel=1e-15)


@each_kind
def test_keywords_and_defaults_are_put_in_their_places(kind):
    def scaled(x, y=2.0, z=1.0):
        return x * y

    f = {"checkpoint": mg.checkpoint, "custom_jvp": mg.custom_jvp, "custom_vjp": mg.custom_vjp}[kind](scaled)
    if kind == "custom_jvp":
        f.defjvp(lambda p, t: (p[0] * p[1], p[0] * t[1] + p[1] * t[0]))
    if kind == "custom_vjp":
        f.defvjp(lambda x, y, z: (x * y, (x, y)), lambda res, ct: (ct * res[1], ct * res[0], None))
    assert mg.grad(f)(3.0) == 2
    assert mg.grad(lambda x: f(x, z=4.0, y=5.0))(3.0) == 5
    assert mg.grad(lambda y: f(y=y, x=7.0))(3.0) == 7
    one_line(
        TypeError,
        lambda: f(1.0, q=3),
        f"{kind} of scaled (test_custom.py:",
        "unexpected keyword argument 'q'",
    )
    one_line(
        TypeError, lambda: f(y=1.0), f"{kind} of scaled (test_custom.py:", "missing a required argument: 'x'"
    )

    def by_name(x, *, power=2):
        return x**power

    g = {"checkpoint": mg.checkpoint, "custom_jvp": mg.custom_jvp, "custom_vjp": mg.custom_vjp}[kind](by_name)
    assert g(3.0) == 9.0
    one_line(TypeError, lambda: g(3.0, power=3), "power can be given by keyword only: make it positional")


Point = collections.namedtuple("Point", "x y")


class Scale(nn.Module):
    def __init__(self, a):
        self.a = a

    def forward(self, x, train):
        return self.a * x


TREES = {
    "dict": lambda a, b: {"b": a, "a": b},
    "list": lambda a, b: [a, [b]],
    "tuple": lambda a, b: (a, (), (b,)),
    "namedtuple": Point,
    "Module": lambda a, b: nn.Sequential(Scale(a), Scale(b)),
    "None": lambda a, b: {"w": a, "none": None, "b": [None, b]},
}


@pytest.mark.parametrize("structure", TREES)
@each_kind
def test_trees_go_in_and_come_out(kind, structure):
    def cubes(tree, labels, name):
        assert name == "a name" and labels.dtype.kind == "i"
        return {"cubes": tree_map(lambda x: x**3, tree), "labels": labels, "text": "t"}

    def rule(primals, tangents):
        (tree, labels, name), (dtree, dlabels, dname) = primals, tangents
        assert dlabels is None and dname is None
        return f(tree, labels, name), {
            "cubes": tree_map(lambda x, t: 3 * x * x * t, tree, dtree),
            "labels": None,
            "text": None,
        }

    def fwd(tree, labels, name):
        return f(tree, labels, name), {"tree": tree, "text": "kept", "labels": labels}

    def bwd(res, ct):
        assert res["text"] == "kept" and ct["labels"] is None and ct["text"] is None
        return tree_map(lambda x, c: 3 * x * x * c, res["tree"], ct["cubes"]), None, None

    f = getattr(mg, kind)(cubes)
    if kind == "custom_jvp":
        f.defjvp(rule)
    if kind == "custom_vjp":
        f.defvjp(fwd, bwd)
    tree, along = TREES[structure](draw(2, 3), draw(3)), TREES[structure](draw(2, 3, seed=1), draw(3, seed=2))
    labels = np.array([1, 2])

    def loss(tree):
        return sum(np.sum(x * x) for x in tree_leaves(f(tree, labels, "a name")["cubes"]))

    def direct(tree):
        return sum(np.sum(x**6) for x in tree_leaves(tree))

    g = mg.grad(loss)(tree)
    assert type(g) is type(tree)
    assert_trees_equal(g, mg.grad(direct)(tree))
    assert_trees_equal(mg.jvp(loss, (tree,), (along,)), mg.jvp(direct, (tree,), (along,)))
    for mode in MODES:
        assert_trees_equal(mg.hvp(loss, (tree,), (along,), mode=mode), mg.hvp(direct, (tree,), (along,)))
    out = f(tree, labels, "a name")
    assert out["labels"] is labels and out["text"] == "t"


@each_kind
def test_auxiliary_output_passes_through(kind):
    f = KINDS[kind]()
    (value, aux), g = mg.value_and_grad(lambda x: (f(x, Y).sum(), {"y": f(x, Y)}), has_aux=True)(X)
    assert not isinstance(aux["y"], Tracer) and value == plain(X, Y).sum()
    assert_trees_equal(g, mg.grad(lambda x: plain(x, Y).sum())(X))


@each_kind
def test_many_directions_at_once_give_the_jacobian(kind):
    f = KINDS[kind]()
    for jac in (mg.jacfwd, mg.jacrev):
        assert_trees_equal(jac(f, (0, 1))(X, Y), jac(plain, (0, 1))(X, Y))


@each_kind
def test_a_linear_function_can_be_transposed_through_it(kind):
    f = getattr(mg, kind)(lambda x: 3 * x[::-1])
    (back,) = mg.linear_transpose(lambda x: f(x) + x, X)(Y)
    assert_trees_equal(back, 3 * Y[::-1] + Y)


@each_kind
def test_exceptions_come_through_as_they_are_and_leave_later_derivatives_right(kind):
    class Stop(Exception):
        pass

    def fails(*args):
        raise Stop("here")

    def refuses(*args):
        raise ValueError("two words")

    for broken in (fails, refuses):
        f = getattr(mg, kind)(broken)
        if kind == "custom_jvp":
            f.defjvp(broken)
        if kind == "custom_vjp":
            f.defvjp(broken, broken)
        with pytest.raises((Stop, ValueError), match="^(here|two words)$"):
            mg.grad(lambda x, f=f: f(x).sum())(X)
    assert_trees_equal(mg.grad(lambda x: KINDS[kind]()(x, Y).sum())(X), np.cos(X) * Y + 2 * X)


# ----- Arguments that are closed over -----

WAYS = {
    "grad": lambda f: mg.grad(f)(0.5),
    "jvp": lambda f: mg.jvp(f, (0.5,), (1.0,)),
    "linearize": lambda f: mg.linearize(f, 0.5)[1](1.0),
    "hessian": lambda f: mg.hessian(f)(0.5),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "inner", ["argument traced, too", "argument plain", "argument of an inner derivative"]
)
@each_kind
def test_a_value_that_is_closed_over_and_differentiated_is_refused(kind, inner, way):
    def outer(w):
        f = {
            "checkpoint": lambda: mg.checkpoint(lambda x, y: w * x * y),
            "custom_jvp": lambda: with_jvp(lambda x, y: w * x * y),
            "custom_vjp": lambda: with_vjp(lambda x, y: w * x * y),
        }[kind]()
        if inner == "argument plain":
            return f(2.0, 3.0)
        if inner == "argument traced, too":
            return f(w * 2.0, 3.0)
        return mg.grad(f)(2.0, 3.0)

    text = one_line(
        TypeError, lambda: WAYS[way](outer), f"{kind} of <lambda> (test_custom.py:", "closes over"
    )
    assert "outer" in text and "make that value an argument" in text


def test_a_residual_or_tangent_or_cotangent_that_is_closed_over_is_refused():
    def through_residuals(w):
        f = mg.custom_vjp(lambda x: x)
        f.defvjp(lambda x: (x, w), lambda res, ct: (ct * res,))
        return f(w)

    def through_rule(w):
        f = mg.custom_jvp(lambda x: x)
        f.defjvp(lambda p, t: (p[0], t[0] * w))
        return f(w)

    for outer in (through_residuals, through_rule):
        one_line(
            TypeError, lambda outer=outer: mg.jvp(outer, (0.5,), (1.0,)), "closes over a value that jvp of"
        )

    def through_bwd(w):
        f = mg.custom_vjp(lambda x: x)
        f.defvjp(lambda x: (x, None), lambda res, ct: (ct * w,))
        return f(w)

    one_line((TypeError, mg.LeakedTracerError), lambda: mg.grad(through_bwd)(0.5))
    one_line(TypeError, lambda: mg.jvp(through_bwd, (0.5,), (1.0,)), "closes over a value")


def test_a_constant_may_be_closed_over():
    w = np.array(3.0)
    assert mg.grad(mg.checkpoint(lambda x: w * x * x))(2.0) == 12.0

    def outer(v):  # a constant is also what stop_gradient made one
        held = mg.stop_gradient(v)
        return mg.checkpoint(lambda x: held * x)(v)

    assert mg.grad(outer)(2.0) == 2.0


# ----- custom_jvp -----


def test_the_rule_is_used_and_not_the_function():
    step = mg.custom_jvp(np.round)
    step.defjvp(lambda p, t: (np.round(p[0]), t[0]))  # straight through
    np.testing.assert_array_equal(mg.grad(lambda x: (step(x) * Y).sum())(X), Y)
    np.testing.assert_array_equal(mg.jvp(step, (X,), (Y,))[1], Y)


def test_rules_get_zeros_for_constants_and_none_for_what_is_not_floating_point():
    seen = []

    @mg.custom_jvp
    def f(x, y, n, index):
        return x * y + n

    @f.defjvp
    def rule(primals, tangents):
        seen.append(tangents)
        return f(*primals), tangents[0] * primals[1] + primals[0] * tangents[1]

    mg.jvp(
        lambda x: f(x, np.float32([1, 2, 3]), 3, np.array([1, 2])), (X.astype(np.float32),), (Y.astype("f4"),)
    )
    dx, dy, dn, dindex = seen[0]
    assert dx.dtype == dy.dtype == np.float32 and not dy.any() and dn is None and dindex is None


def test_nondiff_arguments_come_first_and_have_no_tangent():
    @functools.partial(mg.custom_jvp, nondiff_argnums=(0, 2))
    def apply(op, x, n):
        return op(x) * n

    @apply.defjvp
    def rule(op, n, primals, tangents):
        (x,), (t,) = primals, tangents
        return apply(op, x, n), n * t * np.cos(x)

    np.testing.assert_allclose(mg.grad(lambda x: apply(np.sin, x, 3).sum())(X), 3 * np.cos(X))

    @functools.partial(mg.custom_vjp, nondiff_argnums=(-1,))
    def power(x, n):
        return x**n

    power.defvjp(lambda x, n: (x**n, x), lambda n, x, ct: (n * x ** (n - 1) * ct,))
    assert mg.grad(power)(2.0, 3) == 12 and mg.jvp(lambda x: power(x, 3), (2.0,), (1.0,))[1] == 12
    one_line(
        TypeError, lambda: mg.grad(lambda n: power(2.0, n))(3.0), "nondiff_argnums is being differentiated"
    )


def test_what_a_rule_returns_is_checked():
    def f(x, p):
        return {"a": x, "b": (x, x)}

    def with_rule(rule):
        g = mg.custom_jvp(f)
        if rule is not None:
            g.defjvp(rule)
        return lambda: mg.jvp(lambda x: g(x, {"k": 1.0}), (X,), (Y,))

    name = "custom_jvp of f (test_custom.py:"
    one_line(mg.MissingRuleError, with_rule(None), name, "has no rule", "f.defjvp(rule)", "-> (y, y_dot)")
    one_line(TypeError, with_rule(lambda p, t: p[0]), name, "must return (y, y_dot)", "returned float64[3]")
    y = f(X, None)
    one_line(
        ValueError,
        with_rule(lambda p, t: (y, {"a": X, "b": X})),
        name,
        "y_dot is {a: *, b: *}",
        "{a: *, b: (*, *)}",
    )
    one_line(
        ValueError,
        with_rule(lambda p, t: (y, {"a": X, "b": (X, X[:2])})),
        "y_dot['b'][1] is float64[2]",
        "float64[3]",
    )
    one_line(
        TypeError,
        with_rule(lambda p, t: (y, {"a": X.astype("f4"), "b": None})),
        "y_dot['a'] is float32[3], but its y is float64[3]: convert it with .astype('float64')",
    )
    _, dy = with_rule(lambda p, t: (y, {"a": t[0], "b": None}))()
    assert_trees_equal(dy, {"a": Y, "b": (0 * X, 0 * X)})


def test_a_rule_that_is_not_linear_is_found_in_reverse_mode():
    f = mg.custom_jvp(lambda x: x)
    f.defjvp(lambda p, t: (p[0], t[0] ** 2))
    one_line(mg.NonlinearError, lambda: mg.grad(lambda x: f(x).sum())(X), "not linear in its tangents")


# ----- custom_vjp -----


def clipping(bound=1.0):
    @mg.custom_vjp
    def clip_gradient(x):
        return x

    def bwd(res, ct):
        norm = np.sqrt(np.sum(ct * ct))
        return (ct if norm <= bound else ct * (bound / norm),)

    clip_gradient.defvjp(lambda x: (x, None), bwd)
    return clip_gradient


def test_a_bwd_that_is_not_linear_works_in_reverse_mode_only():
    clip = clipping()
    g = mg.grad(lambda x: (clip(x) ** 2).sum())(X)
    np.testing.assert_allclose(g, X / np.linalg.norm(X))
    for call in (
        lambda: mg.jvp(clip, (X,), (Y,)),
        lambda: mg.linearize(clip, X)[1](Y),
        lambda: mg.hvp(lambda x: (clip(x) ** 2).sum(), (X,), (Y,), mode="rev_over_fwd"),
    ):
        one_line(
            mg.NonlinearError,
            call,
            "custom_vjp of clip_gradient (test_custom.py:",
            "forward mode transposes bwd, so bwd must be linear in its cotangent: multiply is not linear",
        )
    # Reverse over reverse and forward over reverse differentiate what bwd computes: here x / |x|.
    length = np.linalg.norm(X)
    H = (np.eye(3) - np.outer(X, X) / length**2) / length
    for mode in ("fwd_over_rev", "rev_over_rev"):
        np.testing.assert_allclose(mg.hvp(lambda x: (clip(x) ** 2).sum(), (X,), (Y,), mode=mode), H @ Y)


def test_a_bwd_that_branches_on_its_cotangent_is_named_in_forward_mode():
    f = mg.custom_vjp(lambda x: x)
    f.defvjp(lambda x: (x, None), lambda res, ct: (ct if ct[0] > 0 else -ct,))
    one_line(mg.NonlinearError, lambda: mg.jvp(f, (X,), (Y,)), "bwd must be linear in its cotangent")
    np.testing.assert_array_equal(mg.vjp(f, X)[1](-Y)[0], Y)


def test_bwd_runs_in_each_reverse_pass_and_fwd_once():
    calls = collections.Counter()

    @mg.custom_vjp
    def f(x):
        calls["f"] += 1
        return x * x

    def fwd(x):
        calls["fwd"] += 1
        return x * x, x

    def bwd(x, ct):
        calls["bwd"] += 1
        return (2 * x * ct,)

    f.defvjp(fwd, bwd)
    _, J = mg.linearize(lambda x: f(x).sum(), X)
    assert calls == {"fwd": 1}
    J.T(1.0), J.T(1.0)
    assert calls == {"fwd": 1, "bwd": 2}
    J(Y)
    assert calls == {"fwd": 1, "bwd": 3}


def test_one_reverse_pass_runs_a_function_of_two_arguments_once():
    calls = collections.Counter()

    def product(x, y):
        calls["f"] += 1
        return x * y

    def bwd(res, ct):
        calls["bwd"] += 1
        return ct * res[1], ct * res[0]

    f = mg.custom_vjp(product)
    f.defvjp(lambda x, y: (x * y, (x, y)), bwd)
    mg.grad(lambda x, y: f(x, y).sum(), (0, 1))(X, Y)
    mg.grad(lambda x, y: mg.checkpoint(product)(x, y).sum(), (0, 1))(X, Y)
    assert calls == {"bwd": 1, "f": 2}


def test_none_is_a_zero_cotangent_at_every_depth():
    @mg.custom_vjp
    def f(x, params):
        return x * params["w"] + params["b"][0]

    def bwd(res, ct):
        return None, {"w": ct * res, "b": None}

    f.defvjp(lambda x, params: (f(x, params), x), bwd)
    params = {"w": Y, "b": [X]}
    gx, gp = mg.grad(lambda x, p: f(x, p).sum(), (0, 1))(X, params)
    assert_trees_equal((gx, gp), (0 * X, {"w": X, "b": [0 * X]}))
    assert_trees_equal(mg.jvp(f, (X, params), (X, params))[1], X * Y)
    _, J = mg.linearize(f, X, params)
    assert_trees_equal(J(X, params), X * Y)


def test_what_fwd_and_bwd_return_is_checked():
    def f(x, p):
        return x * p["w"]

    def call(fwd=None, bwd=None, mode="rev", x=X):
        g = mg.custom_vjp(f)
        if bwd is not None:
            g.defvjp(fwd or (lambda x, p: (x * p["w"], (x, p))), bwd)
        p = {"w": Y.astype(x.dtype)}
        run = mg.grad(lambda x, p: g(x, p).sum(), (0, 1)) if mode == "rev" else mg.linearize(g, x, p)[1]
        return lambda: run(x, p)

    name = "custom_vjp of f (test_custom.py:"
    one_line(
        mg.MissingRuleError,
        lambda: mg.grad(lambda x: mg.custom_vjp(f)(x, {"w": Y}).sum())(X),
        name,
        "defvjp(",
    )
    one_line(
        TypeError,
        call(lambda x, p: x, lambda res, ct: ()),
        name,
        "fwd must return (y, residuals)",
        "float64[3]",
    )
    for mode in ("rev", "fwd"):
        check = functools.partial(call, mode=mode)
        one_line(
            TypeError,
            check(bwd=lambda res, ct: ct),
            name,
            "bwd must return a tuple",
            "it returned float64[3]",
        )
        one_line(
            ValueError,
            check(bwd=lambda res, ct: (ct,)),
            name,
            "the cotangent of bwd is (*,), but its primal is (*, {w: *})",
        )
        one_line(ValueError, check(bwd=lambda res, ct: (ct, [ct])), "(*, [*])", "(*, {w: *})")
        one_line(
            ValueError,
            check(bwd=lambda res, ct: (ct, {"w": ct.sum()})),
            "the cotangent of bwd[1]['w'] is float64[], but its primal is float64[3]",
        )
        one_line(
            TypeError,
            check(bwd=lambda res, ct: (ct.astype("f8"), {"w": ct}), x=X.astype("f4")),
            "bwd[0] is float64[3], but its primal is float32[3]: convert it with .astype('float32')",
        )


def test_the_printed_program_shows_one_node_with_its_function():
    f = with_vjp()
    text = str(mg.linearize(lambda x: f(x, Y), X)[1])
    assert "t1: float64[3] = custom_vjp(t0, float64[3], float64[3]; of=plain (test_custom.py:" in text
    text = str(mg.linearize(lambda x, y: mg.checkpoint(plain)(x, y), X, Y)[1])
    assert "= checkpoint2(t0, t1, float64[3], float64[3]; of=plain (test_custom.py:" in text


def test_an_operation_inside_a_node_whose_cost_nobody_knows_makes_that_of_the_node_unknown():
    prim = mg.core.Primitive("costs_nobody_knows_what", lambda xp, x: xp.sin(x))
    mg.rules.defpartial(prim, lambda ans, x: mg.cos(x))
    try:
        _, J = mg.linearize(mg.checkpoint(lambda x: prim(x) * x), np.ones(3))
        assert J.cost.unknown == ("checkpoint",) and J.cost.ops["checkpoint"].flops is None
    finally:
        del mg.core.PRIMITIVES[prim.name]


def test_the_cost_of_a_node_is_what_a_forward_sweep_runs():
    f = with_vjp()
    J = mg.linearize(lambda x: f(x, Y), X)[1]
    # The bwd on x: cos (10), times y, twice x, their sum, times the tangent: 3 elements each; and sin(x).
    assert J.cost.unknown == () and J.cost.ops["custom_vjp"].flops >= 3 * (10 + 4)
    again = mg.linearize(lambda x: mg.checkpoint(plain)(x, Y), X)[1]
    direct = mg.linearize(lambda x: plain(x, Y), X)[1]
    assert again.cost.flops > direct.cost.flops and again.cost.unknown == ()


# ----- checkpoint -----


def chain(x):
    for _ in range(10):
        x = np.sin(x) * np.cos(x) + x
    return x


def test_a_checkpoint_keeps_its_inputs_and_nothing_else():
    x, w = draw(1000), draw(1000, seed=1)
    plain_bytes = mg.linearize(chain, x)[1].residual_bytes
    _, J = mg.linearize(mg.checkpoint(chain), x)
    assert J.residual_bytes == x.nbytes and plain_bytes > 20 * x.nbytes
    _, J = mg.linearize(lambda x, w: mg.checkpoint(lambda x, w: chain(x) * w)(x, w), x, w)
    assert J.residual_bytes == x.nbytes + w.nbytes
    # In pieces: the input of each piece.
    pieces = lambda x: mg.checkpoint(chain)(mg.checkpoint(chain)(x))  # noqa: E731
    assert mg.linearize(pieces, x)[1].residual_bytes == 2 * x.nbytes


def test_a_derivative_of_a_checkpoint_is_one_again():
    x, v = draw(1000), draw(1000, seed=1)
    f = mg.checkpoint(chain)
    for first in (
        lambda f: lambda x: mg.vjp(f, x)[1](v)[0],
        lambda f: lambda x: mg.jvp(f, (x,), (v,))[1],
    ):
        kept, all_of_it = (mg.linearize(first(g), x)[1].residual_bytes for g in (f, chain))
        assert kept <= 3 * x.nbytes and all_of_it > 20 * x.nbytes


def test_intermediate_values_are_freed_when_the_forward_pass_is_done():
    seen = []

    def f(x):
        y = np.sin(x)
        seen.append(weakref.ref(y.primal if isinstance(y, Tracer) else y))
        return np.exp(y) * y

    with without_collector():
        y, J = mg.linearize(mg.checkpoint(f), draw(100))
        assert [ref() for ref in seen] == [None]
        J.T(y), J(y)
        assert [ref() for ref in seen] == [None] * 3
        x = draw(100)
        alive = weakref.ref(x)
        _, J = mg.linearize(mg.checkpoint(f), x)
        del x
        assert alive() is not None
        del J
        assert alive() is None


def test_values_of_a_recomputation_are_the_same_bits():
    found = []

    def f(x):
        y = chain(x)
        found.append(np.array(mg.stop_gradient(y)))
        return y

    _, J = mg.linearize(mg.checkpoint(f), X)
    J.T(Y), J(Y)
    assert len(found) == 3 and all((y == found[0]).all() for y in found)


def batch_normed():
    return nn.Sequential(nn.Linear(3, 4, rng=0), nn.BatchNorm(4), nn.Tanh(), nn.Dropout(0.5, rng=1))


def test_a_module_may_be_checkpointed_and_its_buffers_move_once():
    x = draw(5, 3).astype(np.float32)
    model, same = batch_normed(), batch_normed()
    g = mg.grad(lambda m: (mg.checkpoint(m)(x, train=True) ** 2).sum())(model)
    want = mg.grad(lambda m: (m(x, train=True) ** 2).sum())(same)
    assert type(g) is nn.Sequential
    for a, b in zip(tree_leaves(g), tree_leaves(want), strict=True):
        np.testing.assert_array_equal(a, b)
    for (_, a), (_, b) in zip(mg.tree_buffers(model), mg.tree_buffers(same), strict=True):
        np.testing.assert_array_equal(a.value, b.value)


def test_a_block_inside_a_model_may_be_checkpointed():
    class Net(nn.Module):
        def __init__(self):
            self.blocks = [nn.Linear(4, 4, rng=i, dtype=np.float64) for i in range(3)]

        def forward(self, x, train):
            for block in self.blocks:
                x = np.tanh(mg.checkpoint(block)(x, train)) + x
            return x

    class Direct(Net):
        def forward(self, x, train):
            for block in self.blocks:
                x = np.tanh(block(x, train)) + x
            return x

    x = draw(2, 4)
    one, other = Net(), Direct()
    v = tree_map(np.ones_like, one)
    g, want = (mg.grad(lambda m: (m(x) ** 2).sum())(m) for m in (one, other))
    for a, b in zip(tree_leaves(g), tree_leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)
    for mode in MODES:
        hv = mg.hvp(lambda m: (m(x) ** 2).sum(), (one,), (v,), mode=mode)
        want = mg.hvp(lambda m: (m(x) ** 2).sum(), (other,), (tree_map(np.ones_like, other),), mode=mode)
        for a, b in zip(tree_leaves(hv), tree_leaves(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11)


def test_complex_values_inside_are_allowed():
    def plain_spectrum(x):
        return np.abs(np.fft.fft(x)) ** 2

    f = mg.checkpoint(plain_spectrum)
    assert_trees_equal(
        mg.grad(lambda x: (f(x) * Y).sum())(X), mg.grad(lambda x: (plain_spectrum(x) * Y).sum())(X)
    )
    half = mg.checkpoint(np.fft.fft)
    g = lambda x: (np.abs(half(x)) ** 2 * Y).sum()  # noqa: E731
    assert_trees_equal(mg.grad(g)(X), mg.grad(lambda x: (plain_spectrum(x) * Y).sum())(X))
    assert_trees_equal(mg.hvp(g, (X,), (Y,)), mg.hvp(g, (X,), (Y,), mode="rev_over_fwd"))


@pytest.mark.parametrize("modes", list(itertools.product(["jvp", "grad"], repeat=3)))
def test_third_derivatives_through_all_three_are_exact(modes):
    D = {"jvp": lambda f: lambda x: mg.jvp(f, (x,), (1.0,))[1], "grad": mg.grad}
    cube = mg.custom_vjp(lambda x: x**3)
    cube.defvjp(lambda x: (x**3, x), lambda x, ct: (3 * square(x) * ct,))
    square = mg.custom_jvp(lambda x: x * x)
    square.defjvp(lambda p, t: (square(p[0]), 2 * p[0] * t[0]))
    f = mg.checkpoint(lambda x: cube(x) * square(x))
    for mode in modes:
        f = D[mode](f)
    np.testing.assert_allclose(f(2.0), 60 * 2.0**2, rtol=1e-14)
