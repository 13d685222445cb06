"""The testing kit: each check fails on a rule that is wrong in its way, in a message that can be run."""

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn, testing
from minigrad.core import Primitive
from minigrad.rules import defjvp, deflinear
from minigrad.testing import (
    Case,
    Library,
    Rule,
    RuleError,
    arrays,
    axes,
    broadcastable_arrays,
    broadcastable_shapes,
    cases,
    check_constant,
    check_dot,
    check_dtypes,
    check_grads,
    check_hvp,
    check_jvp,
    check_linear,
    check_rule,
    check_vjp,
    convolutions,
    directions,
    directions_like,
    distinct,
    dtypes,
    given_rule,
    layouts,
    nonzero,
    parameter_trees,
    poolings,
    positive,
    shapes,
    strided,
)
from minigrad.testing.report import reproduction

# ----- Wrong rules -----


def wrong(name: str, impl: Callable, define: Callable) -> Primitive:
    prim = Primitive(f"_wrong_{name}", lambda xp, *args: impl(*args))
    define(prim)
    return prim


def bare(x: Any) -> Any:
    """The array under any tracers: smuggled past the rules, its own derivative is lost."""
    while hasattr(x, "primal"):
        x = x.primal
    return x


wrong_sign = wrong("sign", np.cos, lambda p: defjvp(p, lambda t, ans, x: t * mg.sin(x)))
missing_term = wrong(
    "term", lambda x, y: x * np.sin(y), lambda p: defjvp(p, lambda t, ans, x, y: t * mg.sin(y))
)
wrong_scale = wrong("scale", lambda x: 2 * x, lambda p: deflinear(p, lambda x: x.shape, lambda ct, x: 3 * ct))
raw_residual = wrong(
    "residual", lambda x: x**3, lambda p: defjvp(p, lambda t, ans, x: t * (3 * bare(x) ** 2))
)
raw_in_transpose = wrong(
    "transpose",
    lambda t, w: t * w,
    lambda p: deflinear(
        p,
        lambda t, w: t.shape,
        lambda ct, t, w: ct * bare(w),
        jvps=[None, lambda t, ans, x, w: x * t],
    ),
)
depends_on_mode = wrong(
    "mode", np.sin, lambda p: defjvp(p, lambda t, ans, x: t * (mg.cos(x) if hasattr(t, "number") else 1.0))
)
third_order_prime = wrong(
    "prime", lambda x: 4 * x**3, lambda p: defjvp(p, lambda t, ans, x: t * (12 * bare(x) ** 2))
)
third_order = wrong("third", lambda x: x**4, lambda p: defjvp(p, lambda t, ans, x: t * third_order_prime(x)))
not_linear = Rule(np.sin, lambda x, t: (np.sin(x[0]), abs(np.cos(x[0]) * t[0])))
reverse_only = Rule(np.square, vjp=lambda x: (x[0] ** 2, lambda c: (3 * x[0] * c,)))
NOISE = np.random.default_rng(0)
noisy = Rule(
    np.negative,
    lambda x, t: (-x[0], -t[0]),
    lambda x: (-x[0], lambda c: (-c * (1 + 1e-14 * NOISE.random()),)),
)


def weights_in_transpose(x: Any, w: Any) -> Any:
    return raw_in_transpose(x, w * w)


def wrong_in_the_second(params: dict) -> Any:
    return params["w"] * missing_term(params["w"], params["b"])


ARGS_1 = (np.array([0.5, 0.9, 1.3]),)
ARGS_2 = (np.array([0.5, 0.9, 1.3]), np.array([0.4, -0.7, 1.1]))
ORDER_3 = {"order": 3}
WRONG = [
    (check_jvp, wrong_sign, ARGS_1, {}, r"J t = \(f\(x \+ h t\)"),
    (check_jvp, missing_term, ARGS_2, {}, r"J t = \(f\(x \+ h t\)"),
    (check_jvp, wrong_sign, ARGS_1, {"analytic": True}, "Im f"),
    (check_dot, wrong_scale, ARGS_1, {}, r"<J t, c> = <t, J.T c>"),
    (check_dot, depends_on_mode, ARGS_1, {}, r"J\(t\) = jvp\(f, x, t\)"),
    (check_dot, noisy, ARGS_1, {}, r"J.T\(c\) = J.T\(c\)"),
    (check_linear, not_linear, ARGS_1, {}, r"J\(2u - v/2\)"),
    (check_vjp, reverse_only, ARGS_1, {}, "<t, J.T c> = <c, J t>"),
    (check_hvp, raw_residual, ARGS_1, {}, "grad g"),
    (check_hvp, weights_in_transpose, ARGS_2, {}, "H u"),
    (check_grads, raw_residual, ARGS_1, {}, "D2 g = "),
    (check_grads, third_order, ARGS_1, ORDER_3, "D3 g = "),
    (check_constant, np.sin, ARGS_1, {}, "J t = 0"),
    (check_dtypes, lambda x: np.float64(2) * np.sin(x), ARGS_1, {}, "dtype in = dtype out"),
    (check_rule, wrong_sign, ARGS_1, {}, "J t = "),
    (check_rule, reverse_only, ARGS_1, {}, "J.T c"),
    (check_jvp, wrong_in_the_second, ({"w": ARGS_2[0], "b": ARGS_2[1]},), {}, "J t = "),
]


@pytest.mark.parametrize("checker, f, args, options, identity", WRONG)
def test_each_check_fails_on_a_wrong_rule_and_names_the_identity(checker, f, args, options, identity):
    with pytest.raises(RuleError, match=identity) as error:
        checker(f, args, **options)
    assert "float64[3]" in str(error.value) or checker is check_dtypes


def test_wrong_rules_pass_the_checks_of_what_they_do_right():
    # So that the failures above are for the reason they are meant to have.
    check_dot(wrong_sign, ARGS_1)
    check_dot(missing_term, ARGS_2)
    check_jvp(wrong_scale, ARGS_1)
    check_jvp(noisy, ARGS_1)
    for check in (check_dot, check_jvp):
        check(raw_residual, ARGS_1)
        check(weights_in_transpose, ARGS_2)
        check(third_order, ARGS_1)
    check_hvp(third_order, ARGS_1)
    check_grads(third_order, ARGS_1, order=2)
    check_grads(raw_residual, ARGS_1, order=1)


@pytest.mark.parametrize("modes", [("fwd",), ("rev",), ("lin",), ("fwd", "rev")])
def test_modes_are_those_asked_for(modes):
    check_grads(np.sin, ARGS_1, order=2, modes=modes)
    if "lin" not in modes:
        check_grads(lambda x: x * depends_on_mode(x), ARGS_1, 0, modes)
    with pytest.raises(ValueError, match="modes are among"):
        check_grads(np.sin, ARGS_1, modes=(*modes, "back"))


# ----- Messages -----


def half_of_sine(x: Any, scale: float = 1.0) -> Any:
    """Importable, and wrong."""
    return scale * wrong_sign(x)


class Weights(NamedTuple):
    w: Any
    b: Any


half_rule = Rule(lambda x, n: x**n, lambda x, t, n: (x[0] ** n, t[0]))


SHORT = settings(derandomize=True, database=None, phases=[Phase.generate, Phase.shrink])


def caught(check: Callable, f: Callable, args: tuple, **options: Any) -> RuleError:
    with pytest.raises(RuleError) as error:
        check(f, args, **options)
    return error.value


SINGLE = np.float32([0.1, 0.2])
BACKWARDS, COLUMNS = np.arange(1.0, 4.0)[::-1] / 7, np.asfortranarray(np.arange(1.0, 7.0).reshape(2, 3))
TREE = {"layers": [Weights(ARGS_1[0], SINGLE), (np.float64(0.3),)], "a": np.zeros((0, 2)), "n": 0.25}


def of_a_tree(tree: Any) -> Any:
    return [wrong_sign(x) for x in mg.tree_leaves(tree)]


@pytest.mark.parametrize(
    "f, args",
    [
        (wrong_sign, ARGS_1),
        (half_of_sine, ARGS_1),
        (half_of_sine, (SINGLE,)),
        (half_of_sine, (np.float16(0.25),)),
        (half_of_sine, (0.5,)),
        (half_of_sine, (BACKWARDS,)),
        (half_of_sine, (COLUMNS,)),
        (half_of_sine, (np.broadcast_to(np.float64(0.5), (2, 2)),)),
        (half_of_sine, (np.linspace(0, 1, 1000)[::-2],)),
        (half_of_sine, (np.linspace(0, 1, 1000),)),
        (of_a_tree, (TREE,)),
        (half_rule.bind(n=3), ARGS_1),
    ],
)
@pytest.mark.parametrize("seed", [0, 3])
def test_the_printed_reproduction_raises_the_same_failure(f, args, seed):
    error = caught(check_jvp, f, args, seed=seed)
    assert error.reproduction in str(error) and f"seed {seed}" in str(error)
    with pytest.raises(RuleError) as again:
        exec(error.reproduction, {})
    assert str(again.value) == str(error)


@pytest.mark.parametrize("check, args", [(check_rule, (BACKWARDS,)), (check_jvp, (COLUMNS,))])
def test_the_reproduction_in_a_fresh_interpreter_fails_with_the_same_message(check, args, tmp_path):
    error = caught(check, half_of_sine, args, seed=5)
    script = tmp_path / "again.py"
    script.write_text(error.reproduction)
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(mg.__file__).parents[1])])
    run = [sys.executable, str(script)]
    out = subprocess.run(
        run, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=60
    )
    assert out.returncode == 1 and out.stderr.endswith(f"minigrad.testing.report.RuleError: {error}\n")


def test_a_function_without_a_name_to_import_is_left_to_be_put_in():
    error = caught(check_jvp, lambda x: wrong_sign(x), ARGS_1, seed=2)
    assert "f = ...  # put in <lambda> (test_testing.py:" in error.reproduction
    code = error.reproduction.replace("f = ...", "f = wrong_sign")
    with pytest.raises(RuleError):
        exec(code, {"wrong_sign": wrong_sign})


def test_arguments_without_a_short_form_are_left_to_be_put_in():
    error = caught(
        check_jvp, lambda m: wrong_sign(m(np.ones((2, 3)))), (nn.Linear(3, 2, np.random.default_rng(0)),)
    )
    assert "args = ...  # put in the arguments: Linear has no short form" in error.reproduction


def test_a_message_holds_all_that_one_wants_to_know():
    text = str(caught(check_jvp, half_of_sine, ARGS_1, seed=4))
    for part in [
        "half_of_sine (test_testing.py:",
        "forward mode is not the derivative of the value",
        "J t = (f(x + h t) - f(x - h t)) / 2h, h = 3.81e-06",
        "float64[3]",
        "seed 4",
        "one side   [",
        "the other  [",
        "most       at element",
        "allowed 1e-06",
        "check_jvp(half_of_sine, args, seed=4)",
    ]:
        assert part in text


def test_other_errors_keep_their_type_and_get_a_note():
    with pytest.raises(TypeError) as error:
        check_dot(np.sin, (np.arange(3),))
    assert (
        "in check_dot of sin" in error.value.__notes__[0] and "array([0, 1, 2])" in error.value.__notes__[0]
    )
    with pytest.raises(ValueError, match="holds no arrays"):
        check_jvp(np.sin, ())


def test_keyword_arguments_stand_in_the_reproduction():
    @SHORT
    @given_rule(half_of_sine, st.tuples(arrays(positive)), {"scale": st.just(0.5)})
    def test_scale():
        pass

    with pytest.raises(RuleError, match=r"partial\(half_of_sine, scale=0.5\)"):
        test_scale()


def test_strided_has_the_strides_asked_for_and_nan_between():
    x = strided([[1.0, 2.0], [3.0, 4.0]], (-8, 32))
    assert x.tolist() == [[1, 2], [3, 4]] and x.strides == (-8, 32)
    assert np.isnan(np.ndarray((2,), float, x.base, 16)[0])
    assert strided([], (8,)).shape == (0,) and strided(2.0, ()).shape == ()


def test_reproductions_write_what_floats_need():
    code = reproduction("check_jvp", np.sin, (np.array([np.nan, np.inf]), float("inf")), {"seed": 0})
    names: dict = {}
    exec("\n".join(code.splitlines()[:-1]), names)
    assert np.isnan(names["args"][0][0]) and names["args"][1] == math.inf


# ----- What is checked -----


def test_a_wrong_shape_dtype_or_structure_is_named():
    x = np.ones(2)
    narrow = Rule(np.sin, lambda x, t: (np.sin(x[0]), np.float32(np.cos(x[0]) * t[0])))
    assert "the tangent is float32[2], but should be float64[2]" in str(caught(check_jvp, narrow, (x,)))
    short = Rule(np.sin, None, lambda x: (np.sin(x[0]), lambda c: (c[:1],)))
    assert "the cotangent is float64[1], but should be float64[2]" in str(caught(check_vjp, short, (x,)))
    untupled = Rule(np.sin, None, lambda x: (np.sin(x[0]), lambda c: np.cos(x[0]) * c))
    assert "should be float64[2] in (*,)" in str(caught(check_vjp, untupled, (x,)))
    nan = Rule(np.sin, lambda x, t: (np.sin(x[0]), np.nan * t[0]))
    assert "differ by  nan" in str(caught(check_jvp, nan, (x,)))


def test_arguments_are_protected_and_stay_as_they_are():
    x = np.ones(3)

    def spoil(x: Any) -> Any:
        x[0] = 2
        return x

    error = caught(check_jvp, Rule(spoil, lambda x, t: (spoil(x[0]), t[0])), (x,))
    assert "writes into an argument" in str(error) and x.tolist() == [1, 1, 1] and x.flags.writeable


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_every_precision_has_its_tolerances(dtype):
    x, y = (np.linspace(0.3, 1.2, 12).reshape(3, 4).astype(dtype), np.ones(4, dtype) / 2)
    check_rule(lambda x, y: np.tanh(x @ y) * np.sum(x * y), (x, y), order=3)
    check_dtypes(lambda x, y: np.tanh(x @ y), (x, y))
    for f in (wrong_sign, lambda x: 1.3 * x * mg.stop_gradient(np.sin(x))):
        with pytest.raises(RuleError):
            check_rule(f, (x,))


def test_a_function_that_insists_on_single_precision_gets_a_larger_step():
    single = Rule(lambda x: np.sin(np.float32(x)), lambda x, t: (np.sin(x[0]), np.cos(x[0]) * t[0]))
    check_rule(single, (np.float32([0.3, 0.7]),))
    error = caught(check_jvp, Rule(single.value, lambda x, t: (np.sin(x[0]), t[0])), (np.float32([0.9]),))
    assert "h = 0.00391" in str(error)


def test_rtol_is_for_all_comparisons():
    nearly = Rule(np.sin, lambda x, t: (np.sin(x[0]), 1.001 * np.cos(x[0]) * t[0]))
    check_rule(nearly, ARGS_1, rtol=1e-2)
    caught(check_rule, nearly, ARGS_1, rtol=1e-4)
    assert "rtol=0.0001" in caught(check_jvp, nearly, ARGS_1, rtol=1e-4).reproduction


def test_trees_modules_and_several_outputs():
    model, x = nn.mlp((3, 4, 2), dtype=np.float64), np.ones((5, 3))
    check_rule(lambda m: m(x), (model,))
    check_rule(
        lambda p, s: {"y": [p["w"] @ p["b"] * s], "s": s}, ({"w": np.ones((2, 3)), "b": np.ones(3)}, 2.0)
    )


@given(parameter_trees())
@settings(max_examples=10)
def test_functions_of_drawn_trees(tree):
    def f(tree: Any) -> Any:
        return mg.tree_map(np.sin, tree)

    check_rule(f, (tree,))


# ----- Rules of other libraries -----


def test_a_rule_needs_a_mode_and_says_what_it_lacks():
    with pytest.raises(ValueError, match="nothing to check"):
        Rule(np.sin)
    forward = Rule(np.sin, lambda x, t: (np.sin(x[0]), np.cos(x[0]) * t[0]))
    for check, message in ((check_dot, "needs the vjp"), (check_hvp, "by hand"), (check_grads, "by hand")):
        with pytest.raises(ValueError, match=message):
            check(forward, ARGS_1)
    check_rule(forward, ARGS_1, analytic=True)
    assert repr(forward) == "Rule(sin)"


def test_autograd_is_a_library():
    anp = pytest.importorskip("autograd.numpy")
    from check_a_rule import AUTOGRAD

    check_rule(AUTOGRAD.rule(anp.tanh), ARGS_1, order=3)
    reverse = AUTOGRAD._replace(jvp=None).rule(anp.linalg.inv)
    check_rule(reverse, (np.eye(2) + np.arange(4.0).reshape(2, 2) / 5,))


def test_a_library_of_one_mode_is_checked_in_that_mode():
    forward, backward = Library(mg.jvp, None).rule(np.tanh), Library(None, mg.vjp).rule(np.tanh)
    for rule in (forward, backward):
        check_rule(rule, ARGS_1, order=3)
    caught(check_rule, Library(mg.jvp, None).rule(raw_residual), ARGS_1)
    caught(check_rule, Library(None, mg.vjp).rule(raw_residual), ARGS_1)


# ----- given_rule -----


def test_given_rule_runs_the_checks_and_then_the_test():
    seen = []

    @settings(max_examples=5)
    @given_rule(
        np.sum, st.tuples(arrays()), lambda x: {"axis": axes(x.ndim), "keepdims": st.booleans()}, order=1
    )
    def test_sum(case):
        seen.append(case)
        assert np.shape(case.f(*case.args)) == np.shape(np.sum(*case.args, **case.f.keywords))

    test_sum()
    assert len(seen) == 5 and test_sum.__name__ == "test_sum" and test_sum.__module__ == __name__


def test_given_rule_takes_cases_and_settings_from_below():
    ran = []

    def build(draw, rng):
        ran.append(1)
        return Case(np.cos, (rng.standard_normal(draw(shapes())),), True)

    @given_rule(cases(build))
    @settings(max_examples=3)
    def test_cos():
        pass

    test_cos()
    assert len(ran) == 3
    with pytest.raises(TypeError, match="given_rule needs a strategy of argument tuples"):
        given_rule(np.cos)


def test_given_rule_shrinks_to_a_small_failure():
    @SHORT
    @given_rule(wrong_sign, st.tuples(arrays()))
    def test_wrong():
        pass

    with pytest.raises(RuleError) as error:
        test_wrong()
    assert "float64[]" in str(error.value)


# ----- Strategies -----


def test_directions_have_length_one_and_no_small_component():
    args = [np.zeros((3, 4)), np.zeros((), np.float32), np.zeros(0), np.zeros(2, complex)]
    units = directions(args, np.random.default_rng(7))
    assert [(np.shape(u), u.dtype) for u in units] == [(a.shape, a.dtype) for a in args]
    flat = np.concatenate([np.ravel(u) for u in units])
    assert np.linalg.norm(flat) == pytest.approx(1) and np.abs(flat).min() >= 0.1 / math.sqrt(flat.size)
    assert (flat.real > 0).any() and (flat.real < 0).any() and not units[0].flags.writeable


def found(strategy: st.SearchStrategy, *wanted: Callable) -> None:
    """Each of `wanted` is true of some example."""
    left = list(wanted)

    @settings(max_examples=200, database=None, derandomize=True)
    @given(strategy)
    def look(x):
        left[:] = [want for want in left if not want(x)]

    look()
    assert not left, left


def test_arrays_have_every_shape_layout_and_dtype():
    found(
        arrays(dtype=dtypes()),
        lambda x: x.shape == (),
        lambda x: x.size == 0,
        lambda x: x.ndim == 3,
        lambda x: x.ndim > 1 and x.flags.f_contiguous and not x.flags.c_contiguous,
        lambda x: x.ndim > 1 and min(x.strides) < 0 < max(x.strides),
        lambda x: x.size > 1 and min(x.strides) > x.itemsize,
        lambda x: x.size > 1 and 0 in x.strides,
        lambda x: x.dtype == np.float16,
    )

    @given(arrays(distinct, dtype="float32"), arrays(nonzero, (2, 3)))
    def check(x, y):
        assert not x.flags.writeable and len(np.unique(x)) == x.size and x.dtype == np.float32
        assert y.shape == (2, 3) and np.abs(y).min() >= 0.2

    check()


@given(st.data(), shapes())
def test_layouts_keep_the_numbers(data, shape):
    x = np.arange(math.prod(shape), dtype=float).reshape(shape)
    np.testing.assert_array_equal(data.draw(layouts(x)), x)


def test_shapes_and_axes():
    found(
        broadcastable_shapes(2),
        lambda s: len(s[0]) != len(s[1]),
        lambda s: 1 in s[0] and s[1][-1:] == (3,),
        lambda s: 0 in s[0],
        lambda s: s[0] == (),
    )
    found(
        axes(2),
        lambda a: a is None,
        lambda a: a == -1,
        lambda a: a == 1,
        lambda a: isinstance(a, tuple) and len(a) == 2,
        lambda a: a == (),
    )

    @given(broadcastable_arrays(2, distinct))
    def check(args):
        assert not set(args[0].ravel()) & set(args[1].ravel())
        np.broadcast(*args)

    check()


def test_trees_convolutions_poolings_and_directions():
    found(
        parameter_trees(),
        lambda t: isinstance(t, dict) and len(t) > 1,
        lambda t: isinstance(t, list),
        lambda t: isinstance(t, tuple) and isinstance(t[0], testing.Layer),
        lambda t: len(mg.tree_leaves(t)) > 2,
    )

    @given(convolutions(), poolings(), directions_like(({"a": np.zeros((2, 2))}, np.zeros(3))))
    def check(conv, pool, ts):
        assert mg.conv2d(np.zeros(conv.x), np.zeros(conv.w), **conv.params).shape == conv.y
        mg.max_pool2d(np.zeros(pool[0]), **pool[1])
        assert ts[0]["a"].shape == (2, 2) and np.sum(ts[0]["a"] ** 2) + np.sum(ts[1] ** 2) == pytest.approx(1)

    check()


# ----- Importing -----


def test_without_hypothesis_the_checks_work_and_the_rest_says_what_is_missing():
    code = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "import numpy as np\n"
        "from minigrad import testing\n"
        "testing.check_rule(np.sin, (np.ones(2),))\n"
        "for name in testing._NEED_HYPOTHESIS:\n"
        "    try: getattr(testing, name)\n"
        "    except ImportError as e:\n"
        "        assert str(e) == f'minigrad.testing.{name} needs hypothesis: pip install hypothesis'\n"
        "    else: raise SystemExit(name)\n"
        "try: testing.no_such_name\n"
        "except AttributeError as e: print(e)\n"
        "try: from minigrad.testing import given_rule\n"
        "except ImportError as e: print(e)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert out.returncode == 0, out.stderr
    assert out.stdout.splitlines() == [
        "module 'minigrad.testing' has no attribute 'no_such_name'",
        "minigrad.testing.given_rule needs hypothesis: pip install hypothesis",
    ]


def test_every_name_that_needs_hypothesis_is_known_to():
    from minigrad.testing import given as module
    from minigrad.testing import strategies

    assert set(testing._NEED_HYPOTHESIS) == {*strategies.__all__, *module.__all__}


# ----- The example -----


def test_the_example_runs_and_shows_a_failure_that_can_be_seen_again(capsys):
    import check_a_rule

    check_a_rule.main()
    out = capsys.readouterr().out
    assert "layer norm by hand: right" in out and "reverse mode is not the transposed derivative" in out
    error = caught(check_rule, check_a_rule.forgetful, (np.arange(4.0).reshape(2, 2) ** 2,))
    assert "from check_a_rule import forgetful" in error.reproduction
    with pytest.raises(RuleError):
        exec(error.reproduction, {})


def test_the_example_needs_no_autograd(monkeypatch, capsys):
    import check_a_rule

    monkeypatch.setitem(sys.modules, "autograd", None)
    monkeypatch.setitem(sys.modules, "autograd.numpy", None)
    check_a_rule.main()
    assert capsys.readouterr().out.startswith("autograd is not installed")
