"""A function explained, a rule shown, a model summed up: right, and a wrong derivative is called wrong."""

import io
import re

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.core import LOCAL, PRIMITIVES


def text_of(page):
    """A page without line numbers, and without what follows from their width."""
    return re.sub(r"-{3,}", "---", re.sub(r"\.py:\d+", ".py", str(page)))


def check(explanation, name):
    return next(c for c in explanation.checks if c.name == name)


def weighted(w, x):
    return mg.sum(mg.tanh(w * x))


# ----- explain: a right function -----

PAGE = """\
weighted (test_explain.py): float64[]
  value     -0.50052021
  gradient  [0. 0.41221374]; [ 0.5 -0.74947952]
  J t       0.621539

checks, with a random direction t of length one, c = 1
check       identity                                   one side    the other         differ by
---  ---  ---  ---  ---  ---
value       f(x) = y of linearize                   -0.50052021  -0.50052021  < 1e-12 relative  agrees
dot test    <J t, c> = <t, J.T c>                      0.621539     0.621539  < 1e-12 relative  agrees
difference  J t = central difference, h = 3.81e-06     0.621539     0.621539  < 1e-09 relative  agrees

inputs
name  array          norm  derivative  effect
---  ---  ---  ---  ---
w     float64[2]  1.11803    0.412214
x     float64[2]     0.55    0.900955

rules
of        used  kind       where
---  ---  ---  ---
multiply     1  bilinear   minigrad/rules.py
tanh         1  nonlinear  minigrad/ops/elementwise/functions.py
sum          1  linear     minigrad/ops/reduce.py

data flow: 3 operations
    operation                           result      line
--  ---  ---  ---
v0  multiply(w, x)                      float64[2]  test_explain.py
v1  tanh(v0)                            float64[2]  test_explain.py
v2  sum(v1; axis=(0,), keepdims=False)  float64[]   test_explain.py

cost; 48 B of residuals are kept between the passes
pass    ops    MFLOP  moved
---  ---  ---  ---
primal    5  2.8e-05  184 B
jvp       5  1.0e-05  216 B
vjp       5  6.0e-06  144 B"""


def test_the_page_of_a_small_function():
    e = mg.explain(weighted, np.array([0.5, -1.0]), np.array([0.0, 0.55]))
    assert text_of(e) == PAGE and repr(e) == str(e)


def test_what_is_found_is_what_the_transformations_give():
    w, x = np.array([0.5, -1.0]), np.array([0.3, 0.55])
    e = mg.explain(weighted, w, x)
    value, gradient = mg.value_and_grad(weighted, (0, 1))(w, x)
    assert e.ok and e.value == value
    assert [list(g) for g in e.gradient] == [list(g) for g in gradient]
    J = mg.linearize(weighted, w, x)[1]
    assert e.residual_bytes == J.residual_bytes
    assert [p.kind for p in e.recording] == ["primal", "jvp", "vjp"]
    assert sum(op.flops for op in e.recording[1].ops) == J.cost.flops


def test_an_output_that_is_no_scalar_is_checked_along_a_random_cotangent():
    x = np.linspace(0.1, 0.9, 4)
    e = mg.explain(lambda x: {"a": np.sin(x), "b": (x * x).sum(), "n": np.argmax(x)}, x)
    assert e.ok and "J.T c" in str(e) and "c likewise" in str(e)
    assert e.value["n"] == 3 and [np.shape(t) for t in e.forward] == [(4,), ()]
    assert check(e, "dot test").relative < 1e-14 and check(e, "difference").relative < 1e-8


def test_single_and_half_precision_are_held_to_what_they_can():
    for dtype, size in ((np.float32, 1e-5), (np.float16, 1e-2)):
        e = mg.explain(lambda x: mg.sum(mg.exp(x) * mg.sin(x)), np.linspace(0.1, 0.9, 50).astype(dtype))
        assert e.ok and check(e, "dot test").relative < size


def test_a_network_in_training_is_explained_layer_by_layer_and_stays_as_it_was():
    model = nn.resnet(14, rng=0)
    rng = np.random.default_rng(0)
    x, loss = rng.standard_normal((2, 32, 32, 3), np.float32), nn.SoftmaxCrossEntropy(np.array([3, 7]))
    buffers = [(b, b.value) for _, b in mg.tree.tree_buffers(model)]
    e = mg.explain(lambda m: loss(m(x, train=True)), model)
    assert e.ok and all(b.value is value for b, value in buffers) and buffers
    assert len(e.inputs) == len(mg.tree_leaves(model)) and not any(i.effect for i in e.inputs)
    assert e.inputs[0].name == "m.layers[0].weight"
    assert type(e.gradient) is nn.Sequential
    assert [r.calls for r in e.rules if r.name == "batch_norm"] == [13]
    assert sum(r.calls for r in e.rules if r.name == "conv2d") == 13
    page = str(e)
    assert re.search(r"model\.layers\[3\]\.body +conv2d x2, batch_norm", page) and "outside layers" in page
    assert max(map(len, page.splitlines())) <= 130


def test_a_model_that_is_closed_over_draws_the_same_mask_in_every_evaluation_and_keeps_its_count():
    model = nn.Sequential(nn.Linear(4, 4, rng=0), nn.Dropout(0.5, rng=0))
    e = mg.explain(lambda x: mg.sum(mg.square(model(x, train=True))), np.linspace(0.1, 1, 20).reshape(5, 4))
    assert e.ok and model.layers[1].count.value == 0


# ----- explain: inputs -----


def test_inputs_without_effect_are_named_with_the_kind():
    def f(w, unread, cut, dead, labels, flag, name):
        assert flag and name == "n"
        return mg.sum(w * mg.stop_gradient(cut)) + mg.sum(mg.relu(dead)) + labels[0]

    e = mg.explain(f, np.ones(2), [1.0], np.ones(2), -np.ones(3), np.array([1, 2]), True, "n")
    assert {i.name: i.effect for i in e.inputs} == {
        "w": "",
        "unread[0]": "never reached: nothing reads it",
        "cut": "never reached: no derivative flows to it",
        "dead": "derivative is exactly zero here",
        "labels": "held fixed",
        "flag": "held fixed",
        "name": "held fixed",
    }
    assert e.gradient[4:] == (None, None, None) and e.gradient[1] == [0.0]
    assert not check(e, "difference").agrees and "cuts derivatives off on purpose" in str(e)


def test_names_of_inputs_follow_the_signature():
    assert [i.name for i in mg.explain(lambda x, *more: x * more[0] * more[1], 1.0, 2.0, 3.0).inputs] == [
        "x",
        "more[0]",
        "more[1]",
    ]
    assert [i.name for i in mg.explain(np.multiply, 1.0, {"a": 2.0}["a"]).inputs][0] in ("x1", "args[0]")


def test_what_cannot_be_explained_is_refused_and_an_error_of_the_function_comes_through():
    with pytest.raises(ValueError, match="no argument holds floating-point numbers"):
        mg.explain(lambda n: n, 3)
    with pytest.raises(TypeError, match="outside of transformations"):
        mg.grad(lambda x: mg.explain(np.sin, x).value)(1.0)
    with pytest.raises(KeyError, match="mine"):
        mg.explain(lambda x: {}["mine"], 1.0)
    assert LOCAL.recorder is None


def test_a_recording_outside_does_not_see_the_passes():
    with mg.trace() as t:
        assert mg.explain(np.sin, 1.0).ok
        mg.jvp(np.sin, (1.0,), (1.0,))
    assert [p.kind for p in t] == ["jvp"]


# ----- explain: wrong functions -----


def cube_with(rule):
    @mg.custom_jvp
    def cube(x):
        return x * x * x

    cube.defjvp(lambda primals, tangents: rule(*primals, *tangents))
    return cube


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_a_wrong_tangent_rule_does_not_agree_with_a_difference(scale):
    cube = cube_with(lambda x, t: (x * x * x, 2 * x * x * t))
    e = mg.explain(lambda x: scale * mg.sum(cube(x)), np.array([1.0, 2.0]))
    assert not e.ok and check(e, "dot test").agrees
    assert "difference  J t = central difference, h = 3.81e-06" in str(e) and "does NOT agree" in str(e)
    assert check(e, "difference").relative == pytest.approx(1 / 3, rel=1e-3)
    assert ("custom_jvp of cube", 1, "custom") in [r[:3] for r in e.rules]
    assert e.rules[0].place.startswith("test_explain.py:")


def test_a_right_one_agrees_at_every_scale():
    cube = cube_with(lambda x, t: (x * x * x, 3 * x * x * t))
    for scale in (1e-6, 1.0, 1e6):
        assert mg.explain(lambda x, s=scale: s * mg.sum(cube(x)), np.array([1.0, 2.0])).ok
    assert mg.explain(cube, 0.0).ok  # where the derivative vanishes and the difference does not


def test_a_rule_that_returns_another_value_does_not_agree_with_the_value():
    cube = cube_with(lambda x, t: (x * x * x + 1, 3 * x * x * t))
    e = mg.explain(cube, 2.0)
    assert (check(e, "value").one, check(e, "value").other) == (8, 9)
    assert str(check(e, "value")).startswith("value: f(x) = y of linearize does NOT agree: 8 and 9")
    assert not e.remarks


def test_a_wrong_transpose_does_not_pass_the_dot_test(monkeypatch):
    monkeypatch.setattr(PRIMITIVES["negative"], "transposes", (lambda ct, x: ct,))
    e = mg.explain(lambda x: mg.sum(-x), np.array([1.0, 2.0]))
    assert not check(e, "dot test").agrees and check(e, "difference").agrees
    assert check(e, "dot test").relative == 2


def test_a_function_that_is_another_each_time_is_called_that():
    rng = np.random.default_rng(0)
    e = mg.explain(lambda x: x * rng.standard_normal(), 1.0)
    assert not e.ok and "another at each call" in str(e)


def test_nan_does_not_agree():
    with np.errstate(invalid="ignore"):
        e = mg.explain(np.log, -1.0)
    assert [c.agrees for c in e.checks] == [False, True, False]  # the derivative itself is a number


def test_standing_on_a_kink_is_noted():
    e = mg.explain(lambda x: mg.sum(mg.relu(x)), np.array([0.0, 1.0, 0.0]))
    assert not check(e, "difference").agrees
    assert "note: relu is on its kink at 2 of 3 elements" in str(e)
    assert not mg.explain(lambda x: mg.sum(mg.relu(x)), np.array([1.0, -1.0])).remarks


def test_a_long_program_is_cut_with_a_count():
    def f(x):
        for _ in range(40):
            x = mg.sin(x)
        return x + 1

    page = str(mg.explain(f, 1.0))
    assert "data flow: 41 operations" in page and page.count("sin(v") == 29
    assert "... and 11 more: sin x10, add" in page


def test_many_inputs_are_cut_but_those_without_effect_are_there():
    xs = [float(i) for i in range(1, 51)]
    page = str(mg.explain(lambda xs: sum(xs[:-1]), xs))
    assert "inputs: 50, of which 31" in page and "xs[49]" in page and "xs[48]" not in page.split("rules")[0]


# ----- show_rule -----

TANH = """\
tanh: hyperbolic tangent
  kind    nonlinear; reverse mode transposes what the jvp rule records
  called  mg.tanh
  tested  tests/cases/elementwise.py

value
    tanh of the array library, as NumPy's

jvp: t in x times                                           minigrad/ops/elementwise/functions.py
    lambda ans, x: 1 - ans * ans

FLOPs                                                       minigrad/rules.py
    lambda args, outs, params: per_element * sum(map(math.prod, outs))
    with per_element = 10

bytes
    each argument read once, each result written once"""


def test_the_rule_of_a_nonlinear_primitive():
    assert text_of(mg.show_rule("tanh")) == TANH
    page = mg.show_rule("tanh")
    assert page == mg.show_rule(np.tanh) == mg.show_rule(mg.tanh) == repr(page)


def test_the_transposes_of_a_bilinear_one():
    page = text_of(mg.show_rule("conv2d"))
    assert page.startswith(
        "conv2d: convolution, NHWC and OHWI\n  kind    bilinear: in x and in w, each alone\n"
    )
    assert page == text_of(mg.show_rule(mg.conv2d))
    transposes = {
        "x": "lambda ct, x, w, **g: _conv2d_input(ct, w, hw=shape_of(x)[1:3], **g)",
        "w": "lambda ct, x, w, **g: _conv2d_filter(x, ct, kernel=shape_of(w)[1:3], **g)",
    }
    for name, source in transposes.items():
        assert f"transpose in {name:47}minigrad/ops/conv.py\n    {source}\n" in page
    assert "_tangent(*tangents, *primals, **g)" in page
    assert "lambda args, outs, params: _flops(outs[0], shape_of(args[1]))" in page


def test_every_primitive_has_a_page_with_all_its_sources():
    for name, prim in PRIMITIVES.items():
        if not (prim.impl.__module__ or "").startswith("minigrad"):
            continue  # made by another test
        page = mg.show_rule(name)
        assert page.startswith(f"{name}: {prim.doc}\n  kind    "), name
        assert "not at hand" not in page and "nobody" not in page, name
        assert prim.jvp is None or "constant:" in page or "\njvp" in page, name
        assert (prim.transpose is None) == ("\ntranspose" not in page), name
        # A lambda is cut out as it stands: it is an expression of its own.
        for part in re.findall(r"\n    (lambda .*?)(?:\n    with |\n\n|$)", page, flags=re.DOTALL):
            compile(part, name, "eval")


def test_odd_functions_are_explained():
    with np.errstate(all="ignore"):
        e = mg.explain(lambda x: np.sum(1 / x), np.zeros(3))
    assert not e.ok and "nan" in str(e).lower() and "another at each call" not in str(e)
    cycle: list = []
    cycle.append(cycle)
    assert mg.explain(lambda x: np.sum(x) * len(cycle), np.ones(2)).ok
    e = mg.explain(lambda x, c: np.sum(x) * c.real, np.ones(2), np.complex128(2 + 1j))
    assert e.ok and [i.effect for i in e.inputs] == ["", "held fixed"]
    with pytest.raises(TypeError, match="is no operation"):
        mg.show_rule(np.add.reduce)
    with pytest.raises(TypeError, match="a recording is compared with another, not with int"):
        mg.diff(mg.trace())


def test_what_rules_there_are_for_which_argument():
    assert "jvp: due to t in y" in mg.show_rule("divide") and "transpose in y" not in mg.show_rule("divide")
    assert "constant: the derivative is zero" in mg.show_rule("greater")
    assert "jvp: complex arguments" in mg.show_rule("sign") and "_sign_rule" in mg.show_rule("sign")
    assert "jvp: value and tangent" in mg.show_rule("relu") and "relu_mask(tangents[0], y)" in mg.show_rule(
        "relu"
    )


def test_lambdas_on_one_line_are_told_apart():
    from minigrad.inspect.show import source_of

    one, other, outer = lambda x: x + 1, lambda x: x + 2, lambda x: (lambda y: y)(x)  # noqa: E731
    assert [source_of(f) for f in (one, other)] == ["lambda x: x + 1", "lambda x: x + 2"]
    assert source_of(outer) == "lambda x: (lambda y: y)(x)"


def test_a_function_without_a_rule_shows_what_it_is_made_of():
    page = mg.show_rule("gelu")
    assert "no rule of its own" in page and "erf" in page and "math.sqrt(0.5)" in page
    assert "pool_gather" in mg.show_rule(mg.max_pool2d) and "called  mg.linalg.inv" in mg.show_rule(
        "linalg.inv"
    )


def test_a_rule_of_your_own_is_shown():
    @mg.custom_vjp
    def clipped(x):
        return x

    clipped.defvjp(lambda x: (x, None), lambda residuals, ct: (mg.clip(ct, -1, 1),))
    page = mg.show_rule(clipped)
    assert page.startswith("custom_vjp of clipped (test_explain.py:")
    assert "def clipped(x):" in page and "\n    lambda residuals, ct: (mg.clip(ct, -1, 1),)" in page


def test_an_unknown_name_is_answered_with_those_like_it():
    with pytest.raises(ValueError, match="no operation is named 'tahn'; did you mean 'tan' or 'tanh'?"):
        mg.show_rule("tahn")
    with pytest.raises(ValueError, match="did you mean 'linalg.inv'"):
        mg.show_rule("linalg.inverse")
    with pytest.raises(ValueError, match="the names are in docs/operations.md"):
        mg.show_rule("qqqqqqq")
    with pytest.raises(TypeError, match="a float is no operation"):
        mg.show_rule(1.5)


# ----- summary -----


def test_the_cost_of_a_convolution_by_hand():
    n = 2
    s = mg.summary(nn.resnet(20, rng=0), np.ones((n, 32, 32, 3), np.float32), train=True)
    rows = {row.path: row for row in s.rows}
    stem, inner = rows["model.layers[0]"], rows["model.layers[3].body.layers[0]"]
    product = 2 * n * 32 * 32 * 16 * 3 * 3 * 3
    # Its input has no tangent: one product in each mode.
    assert (stem.primal.flops, stem.jvp.flops, stem.vjp.flops) == (product, product, product)
    product, sum_ = 2 * n * 32 * 32 * 16 * 3 * 3 * 16, n * 32 * 32 * 16
    # Two products, and a sum of what comes of them; in reverse mode the sum is that of the shortcut.
    assert (inner.primal.flops, inner.jvp.flops, inner.vjp.flops) == (
        product,
        2 * product + sum_,
        2 * product + sum_,
    )
    assert inner.outputs == ["float32[2,32,32,16]"] and inner.own == inner.parameters == 16 * 3 * 3 * 16
    assert s.parameters == nn.module.count_parameters(nn.resnet(20)) == s.rows[0].parameters
    assert "272,474" in str(s) or f"{s.parameters:,} parameters ({s.parameters / 1e3:.3g} thousand)" in str(s)


def top_level(s):
    """Rows of the layers directly inside the model."""
    return [row for row in s.rows if re.fullmatch(r"model\.\w+(\[\d+\])?", row.path)]


def test_the_layers_and_what_is_outside_add_up_to_the_total():
    model, x = nn.resnet(8, rng=0), np.ones((2, 32, 32, 3), np.float32)
    s = mg.summary(model, x, train=True)
    with mg.trace() as t, mg.keeping_buffers(model):
        y, J = mg.linearize(lambda m: m(x, train=True), model)
        J(model), J.T(y)
    for k, part in enumerate(("primal", "jvp", "vjp")):
        rows = [getattr(row, part) for row in [*top_level(s), s.outside]]
        total = getattr(s.total, part)
        assert sum(r.flops for r in rows) == total.flops == sum(op.flops for op in t[k].all_ops)
        assert sum(r.ops for r in rows) == total.ops == len(t[k].all_ops)
    assert sum(row.kept for row in [*top_level(s), s.outside]) == s.total.kept == J.residual_bytes
    assert sum(row.own for row in s.rows) == s.parameters


def test_a_summary_changes_nothing_of_the_model():
    model = nn.Sequential(
        nn.Linear(4, 3, rng=0), nn.BatchNorm(3), nn.Dropout(0.5, rng=0), nn.Linear(3, 2, rng=1)
    )
    before = [x.copy() for x in mg.tree_leaves(model)], [b.value for _, b in mg.tree.tree_buffers(model)]
    leaves = mg.tree_leaves(model)
    mg.summary(model, np.ones((5, 4), np.float32) * np.arange(5, dtype=np.float32)[:, None], train=True)
    assert all(a is b for a, b in zip(mg.tree_leaves(model), leaves, strict=True))
    assert all((a == b).all() for a, b in zip(leaves, before[0], strict=True))
    assert all(b.value is v for (_, b), v in zip(mg.tree.tree_buffers(model), before[1], strict=True))
    assert LOCAL.recorder is None


class Twice(nn.Module):
    def __init__(self):
        self.linear, self.spare = nn.Linear(3, 3, rng=0), nn.Linear(3, 5, rng=0)
        self.first = self.second = nn.ReLU()

    def forward(self, x, train):
        return self.second(self.linear(self.first(self.linear(x))))


def test_a_layer_that_is_used_twice_or_never_says_so():
    s = mg.summary(Twice(), np.ones((2, 3), np.float32))
    assert [row.path for row in s.rows] == ["model", "model.linear", "model.spare", "model.first"]
    assert [len(row.outputs) for row in s.rows] == [1, 2, 0, 2]
    one = 2 * 2 * 3 * 3 + 2 * 3
    assert s.rows[1].primal.flops == 2 * one and s.rows[2].primal.ops == 0
    text = s.table().text()
    assert "linear: Linear x2" in text and "first: ReLU x2" in text and "no call seen" in text
    assert s.parameters == 12 + 20


class Checkpointed(nn.Module):
    def __init__(self):
        self.body, self.last = nn.Linear(4, 4, rng=0), nn.Linear(4, 2, rng=0)

    def forward(self, x, train):
        return self.last(mg.checkpoint(self.body)(x))


def test_a_checkpoint_is_one_call_and_its_copy_of_the_layer_has_a_row():
    s = mg.summary(Checkpointed(), np.ones((5, 4), np.float32))
    rows = {row.path: row.outputs for row in s.rows}
    assert rows["model"] == rows["model.last"] == ["float32[5,2]"] and rows["model.body"] == []
    assert rows["model > Linear"] == ["float32[5,4]"]
    assert s.rows[0].primal.flops == s.total.primal.flops and s.rows[0].vjp.flops == s.total.vjp.flops


def test_models_without_parameters_and_inputs_that_are_no_numbers():
    s = mg.summary(nn.ReLU(), np.ones((2, 3)))
    assert s.parameters == 0 and s.rows[0].outputs == ["float64[2,3]"]
    assert mg.summary(nn.Embedding(5, 3, rng=0), np.array([1, 2])).rows[0].outputs == ["float32[2,3]"]


def test_what_is_no_module_is_refused_with_the_way_out():
    with pytest.raises(TypeError, match=r"summary: predict is no minigrad.nn.Module: .*use minigrad.explain"):

        def predict(x):
            return x

        mg.summary(predict, np.ones(3))
    with pytest.raises(TypeError, match="dict is no minigrad.nn.Module"):
        mg.summary({"w": np.ones(3)}, np.ones(3))


def test_a_summary_is_narrow_and_rich_draws_it():
    s = mg.summary(nn.resnet(8, rng=0), np.ones((1, 32, 32, 3), np.float32))
    assert max(map(len, str(s).splitlines())) <= 110
    console = pytest.importorskip("rich.console").Console(width=120, record=True, file=io.StringIO())
    console.print(s)
    assert "layers[6]: Linear" in console.export_text()
