"""Recordings of passes: what they hold, that they change nothing, and what is printed of them."""

import contextlib
import contextvars
import gc
import json
import math
import re
import threading
import time
import tracemalloc
import weakref

import numpy as np
import pytest
from cases import EVERYTHING
from hypothesis import given, settings

import minigrad as mg
from minigrad import nn, optim
from minigrad.batch import sweep
from minigrad.core import LOCAL, Primitive
from minigrad.rules import defjvp
from minigrad.testing import cases, directions, seeds

rng = np.random.default_rng(0)
X, W = rng.normal(size=(2, 3)), rng.normal(size=(3, 4))


def layer(x, w):
    return np.tanh(x @ w)


def images(n=4):
    x = rng.normal(size=(n, 8, 8, 1)).astype(np.float32)
    return x, nn.SoftmaxCrossEntropy(rng.integers(0, 10, n))


def network():
    """Small enough for optimizers that hold a dense matrix."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, rng=0),
        nn.BatchNorm(4),
        nn.ReLU(),
        nn.MaxPool2d(4),
        nn.Dropout(0.2, rng=0),
        nn.Flatten(),
        nn.Linear(16, 10, rng=0),
    )


def train_step(opt, x, loss):
    return opt.step(lambda m: m(x, train=True), loss)


# ----- Nothing changes -----


@pytest.mark.parametrize("name", sorted(EVERYTHING))
def test_recording_changes_no_bit(name):
    @given(cases(EVERYTHING[name]), seeds())
    @settings(max_examples=2)
    def check(case, seed):
        def run():
            y, J = mg.linearize(case.f, *case.args)
            ts = directions(case.args, np.random.default_rng(seed))
            dy = J(*ts)
            return y, dy, J.T(dy) if real(y) else None, mg.jvp(case.f, case.args, ts)

        try:
            expected = run()
        except TypeError:  # integers, which have no derivative
            return
        with mg.trace() as t:
            got = run()
        assert [p.kind for p in t] == ["primal", "jvp", *(["vjp"] if real(expected[0]) else []), "jvp"]
        for a, b in zip(mg.tree_leaves(expected), mg.tree_leaves(got), strict=True):
            assert type(a) is type(b)
            np.testing.assert_array_equal(a, b)

    check()


def real(y):
    return all(np.asarray(leaf).dtype.kind == "f" for leaf in mg.tree_leaves(y))


@pytest.mark.parametrize("name", sorted(optim.OPTIMIZERS))
def test_a_recorded_step_is_the_same_step_to_the_last_bit(name):
    x, loss = images()
    w = []
    for recorded in (False, True):
        opt = optim.build(name, network())
        for _ in range(2):
            if recorded:
                with mg.trace():
                    train_step(opt, x, loss)
            else:
                train_step(opt, x, loss)
        w.append(opt.w.copy())
    np.testing.assert_array_equal(*w)


def test_nothing_is_recorded_after_the_end_even_of_an_error():
    with pytest.raises(ZeroDivisionError), mg.trace() as t:
        mg.jvp(lambda x: mg.sin(x) * (1 / 0), (1.0,), (1.0,))
    assert LOCAL.recorder is None and [p.kind for p in t] == ["jvp"]
    with mg.trace() as t:
        with pytest.raises(ValueError, match="broadcast"):
            mg.linearize(lambda x: mg.sin(x) + np.ones(2), np.ones(3))
        mg.sin(X)
    assert [(p.kind, [op.primitive for op in p.ops]) for p in t] == [
        ("primal", ["sin", "cos"]),
        ("primal", ["sin"]),
    ]


def test_arrays_are_not_kept_alive():
    class Array(np.ndarray):
        pass

    x = np.ones(3).view(Array)
    died = weakref.ref(x)
    with mg.trace() as t:
        mg.jvp(lambda x: mg.sum(mg.sin(x) * x), (np.ones(3),), (np.ones(3),))
        mg.sin(x)
        del x
        gc.collect()
        assert died() is None
    assert len(t.ops) > 3


def test_another_thread_is_not_recorded():
    with mg.trace() as t:
        other = threading.Thread(target=lambda: mg.sin(X))
        other.start()
        other.join()
        mg.cos(X)
    assert [op.primitive for op in t.ops] == ["cos"]


# ----- What a recording holds -----


def test_passes_of_a_linearization():
    with mg.trace() as t:
        _, J = mg.linearize(layer, X, W)
        J(X, W)
        J.T(np.ones((2, 4)))
    primal, jvp, vjp = t
    assert (primal.kind, jvp.kind, vjp.kind) == ("primal", "jvp", "vjp")
    assert (primal.label, jvp.label, vjp.label) == (
        "mg.linearize(layer, X, W)",
        "J(X, W)",
        "J.T(np.ones((2, 4)))",
    )
    assert primal.inputs == ["float64[2,3]", "float64[3,4]"] and primal.seeds == [] and primal.at is None
    assert [s.aval for s in jvp.seeds] == primal.inputs and jvp.at == vjp.at == primal.number == 0
    assert jvp.seeds[0].norm == pytest.approx(np.linalg.norm(X), rel=1e-12)
    assert vjp.seeds == [("float64[2,4]", pytest.approx(math.sqrt(8)))]
    start = test_passes_of_a_linearization.__code__.co_firstlineno
    assert [p.line for p in t] == [f"test_trace.py:{start + k}" for k in (2, 3, 4)]
    # tanh' = 1 - tanh² is a part of the primal pass: the map keeps it.
    assert [op.primitive for op in primal.ops] == ["matmul", "tanh", "multiply", "subtract"]
    assert {op.part for op in primal.ops} == {"primal"} and [op.of for op in primal.ops] == [None, None, 1, 1]
    assert [(op.primitive, op.of) for op in jvp.ops] == [
        ("matmul", 0),
        ("matmul", 0),
        ("add", 0),
        ("multiply", 1),
    ]
    assert {op.part for op in jvp.ops} == {"tangent"} and {op.part for op in vjp.ops} == {"cotangent"}
    assert vjp.ops[0].primitive == "multiply" and vjp.ops[0].of == 1 and {op.of for op in vjp.ops[1:]} == {0}
    lines = {op.line for op in t.ops}
    assert lines == {f"test_trace.py:{layer.__code__.co_firstlineno + 1}"}
    assert t.sources[lines.pop()] == "return np.tanh(x @ w)"
    assert [op.number for op in t.ops] == list(range(len(t.ops)))
    assert all(op.seconds >= 0 and primal.start <= op.start for op in primal.ops)
    assert sum(op.seconds for op in primal.ops) <= primal.seconds


def test_the_data_flow_is_followed_through_all_passes():
    with mg.trace() as t:
        _, J = mg.linearize(layer, X, W)
        J(X, W)
    matmul, tanh, square, subtract = t[0].ops
    assert matmul.inputs == [("float64[2,3]", "input", 0, 0), ("float64[3,4]", "input", 0, 1)]
    assert (
        tanh.inputs == [("float64[2,4]", "op", 0, 0)]
        and square.inputs == [tanh_out := ("float64[2,4]", "op", 1, 0)] * 2
    )
    assert subtract.inputs == [("1", "", 0, 0), ("float64[2,4]", "op", 2, 0)] and tanh_out
    first, *_, last = t[1].ops
    assert first.inputs == [("float64[2,3]", "seed", 1, 0), ("float64[3,4]", "input", 0, 1)]
    assert last.inputs == [("float64[2,4]", "op", last.number - 1, 0), ("float64[2,4]", "op", 3, 0)]


def test_dual_numbers_compute_the_primal_again_and_the_table_tells():
    with mg.trace() as t:
        mg.jvp(layer, (X, W), (X, W))  # the very arrays are primals and tangents
    (p,) = t
    assert p.kind == "jvp" and [s.aval for s in p.seeds] == ["float64[2,3]", "float64[3,4]"]
    assert [(op.primitive, op.part, op.of) for op in p.ops] == [
        ("matmul", "primal", None),
        ("matmul", "tangent", 0),
        ("matmul", "tangent", 0),
        ("add", "tangent", 0),
        ("tanh", "primal", None),
        ("multiply", "primal", 4),
        ("subtract", "primal", 4),
        ("multiply", "tangent", 4),
    ]


def test_arithmetic_of_plain_arrays_inside_a_rule_is_seen():
    cube = Primitive("_cube_with_operators", lambda xp, x: x * x * x)
    defjvp(cube, lambda t, ans, x: 3 * x * x * t)
    with mg.trace() as t:
        mg.jvp(cube, (X,), (np.ones((2, 3)),))
    ops = [(op.primitive, op.part, op.of) for op in t.ops]
    # Nobody's own rule gets tracers for arrays: it might need them plain. What it did has no known cost.
    assert ops == [
        ("_cube_with_operators", "primal", None),
        ("rule of _cube_with_operators", "tangent", 0),
    ]
    assert {row[5] for row in t.table("op").rows} == {"?"} == {row[7] for row in t.table().rows}
    # The library's own rules are seen, operators and all: tanh' = 1 - tanh².
    with mg.trace() as t:
        mg.jvp(lambda x: mg.tanh(cube(x)), (X,), (np.ones((2, 3)),))
    assert [op.primitive for op in t.ops][2:] == ["tanh", "multiply", "subtract", "multiply"]
    assert t.table().rows[0][7].startswith(">=") and t.table().footer[7].startswith(">=")


def test_a_hessian_product_is_a_jvp_with_a_gradient_inside():
    with mg.trace() as t:
        mg.hvp(lambda x: np.sum(np.sin(x) ** 3), (np.ones(3),), (np.ones(3),))
    (jvp,) = t
    assert jvp.kind == "jvp" and jvp.ops == [] and [p.kind for p in jvp.children] == ["primal", "vjp"]
    assert [p.number for p in t.walk()] == [0, 1, 2] and t.count("vjp") == 0
    primal, vjp = jvp.children
    assert vjp.at == primal.number
    assert {op.part for op in primal.ops} == {"primal", "tangent"}
    assert {op.part for op in vjp.ops} == {"cotangent", "tangent"}
    assert all(op.of is not None for op in vjp.ops)


def test_the_record_of_a_gradient_belongs_to_the_operations_of_the_function():
    with mg.trace() as t:
        _, J = mg.linearize(mg.grad(lambda x: np.sum(np.sin(x))), np.ones(3))
        J(np.ones(3))
    (primal, jvp), ops = t, t.ops
    for each in (*primal.equations, *jvp.ops):
        assert ops[each.of].primitive == "sin"
    rows = primal.ir().splitlines()
    assert "sin(" in rows[3] and rows[3].endswith("t1: float64[3] = multiply(t0, p4)")
    assert rows[5].endswith("return t2")


def test_operations_outside_passes_compute_a_value():
    model, (x, _) = nn.mlp((64, 3, 2)), images()
    x = x.reshape(4, -1)
    with mg.trace() as t:
        for _ in range(2):
            mg.sum(model(x))
        mg.linearize(model, x)
        mg.sin(x)
    assert [p.kind for p in t] == ["primal"] * 4 and t.count("primal") == 4
    assert [p.label for p in t] == ["model(x)", "model(x)", "mg.linearize(model, x)", "mg.sin(x)"]
    assert [op.primitive for op in t[0].ops][-1] == "sum" and t[0].ops[-1].layer == ""


def test_layers_have_paths_and_derivative_operations_the_layer_of_their_primal_one():
    model, (x, loss) = nn.resnet(8, channels=1), images()
    with mg.trace() as t:
        train_step(optim.CurveBall(model), x, loss)
    assert t.layers["model.layers[3].body.layers[1]"] == "BatchNorm" and t.layers["model"] == "Sequential"
    convs = [op for op in t.ops if op.primitive.startswith("conv2d")]
    assert {op.part for op in convs} == {"primal", "tangent", "cotangent"}
    assert all(t.layers[op.layer] == "Conv2d" and op.line.startswith("layers.py:") for op in convs)
    assert t.sources[convs[0].line].startswith("y = mg.conv2d(x, self.weight")
    ops = t.ops
    for op in ops:
        if op.of is not None:
            assert (ops[op.of].part, ops[op.of].of, op.line) == ("primal", None, ops[op.of].line)
            assert op.layer == ops[op.of].layer
    swept = [op for p in t if p.kind in ("jvp", "vjp") for op in p.ops]
    assert all(op.of is not None for op in swept)


def test_a_recording_inside_another_sees_its_part():
    with mg.trace() as outer:
        mg.sin(X)
        with mg.trace() as inner:
            mg.cos(X)
            mg.grad(np.sum)(X)
        mg.tan(X)
    assert [[op.primitive for op in p.all_ops] for p in inner] == [
        ["cos"],
        ["sum"],
        ["reshape", "broadcast_to"],
    ]
    assert [p.number for p in inner] == [0, 1, 2] and inner[2].at == 1
    assert [[op.primitive for op in p.all_ops] for p in outer][0::4] == [["sin"], ["tan"]] and len(outer) == 5

    def f(x):
        y = mg.sin(x)
        with mg.trace() as f.seen:
            return mg.cos(y)

    with mg.trace() as outer:
        mg.jvp(f, (X,), (X,))
    assert [p.kind for p in f.seen] == ["jvp"] and len(f.seen.ops) == 4 and len(outer.ops) == 7
    assert [op.of for op in f.seen.ops] == [None, 0, 0, 0]


def test_a_map_from_before_the_recording_is_swept_without_its_primal_pass():
    _, J = mg.linearize(layer, X, W)
    with mg.trace() as t:
        J(X, W)
    assert t[0].at is None and {op.of for op in t.ops} == {None}
    assert t[0].ir().splitlines()[0].startswith("jvp J(X, W)") and "primal" not in t[0].ir()


def test_many_directions_are_one_pass():
    with mg.trace() as t:
        _, J = mg.linearize(layer, X, W)
        J.many(np.ones((5, 2, 3)), np.ones((5, 3, 4)))
    assert [p.kind for p in t] == ["primal", "jvp"] and t[1].label.startswith("J.many(")
    assert t[1].ops[-1].outputs == ["float64[5,2,4]"]


def test_a_checkpoint_shows_the_recomputation_inside_the_sweep():
    f = mg.checkpoint(lambda x: mg.sin(mg.sin(x)))
    with mg.trace() as t:
        _, J = mg.linearize(lambda x: np.cos(f(x)), X)
        J(X)
        J.T(X)
    assert [p.kind for p in t] == ["primal", "jvp", "vjp"]
    assert [p.kind for p in t[1].children] == ["jvp"] and [p.kind for p in t[2].children] == ["primal", "vjp"]
    names = [op.primitive for op in t[0].ops]
    # What NumPy may have done with plain arrays in between is not seen, and of unknown cost.
    assert names[:2] + names[3:] == ["sin", "sin", "cos", "sin", "negative"]
    assert names[2].startswith("checkpoint of <lambda>") and t[0].ops[2].flops is None
    assert all(op.flops is not None for p in t.passes[1:] for op in p.all_ops)


def test_a_reverse_rule_of_ones_own_gets_plain_arrays():
    @mg.custom_vjp
    def f(x):
        return np.sin(x)

    def bwd(x, ct):
        assert type(ct) is np.ndarray
        out = np.cos(x)
        out[0] *= ct[0]  # in place, which no tracer allows
        out[1:] *= ct[1:]
        return (out,)

    f.defvjp(lambda x: (np.sin(x), x), bwd)
    expected = mg.grad(lambda x: np.sum(f(x)))(X)
    with mg.trace() as t:
        np.testing.assert_array_equal(mg.grad(lambda x: np.sum(f(x)))(X), expected)
    assert t.count("vjp") == 1


def test_looking_from_inside_a_transformation_leaves_nothing_behind():
    g = lambda y: np.sum(np.sin(y) * y)  # noqa: E731

    def f(x, look):
        with look():
            return np.sum(mg.grad(g)(x) * mg.linearize(g, x)[0])

    nobody = contextlib.nullcontext
    for mode in (
        lambda f: mg.grad(f)(np.ones(3)),
        lambda f: mg.hvp(f, (np.ones(3),), (np.ones(3),)),
        lambda f: mg.hessian(f)(np.ones(3)),
        lambda f: mg.linearize(f, np.ones(3))[1](np.ones(3)),
    ):
        expected = mode(lambda x: f(x, nobody))
        for look in (mg.trace, mg.debug_nans):
            got = mode(lambda x: f(x, look))  # noqa: B023
            assert type(got) is type(expected)
            np.testing.assert_array_equal(got, expected)
    assert LOCAL.recorder is None


def test_a_rule_of_ones_own_may_need_plain_arrays():
    prim = Primitive("_softplus_in_numpy", lambda xp, x: xp.log1p(xp.exp(x)))

    def rule(t, ans, x):
        d = np.empty_like(x)
        d[...] = 1 / (1 + np.exp(-x))
        return t * d

    defjvp(prim, rule)
    expected = mg.grad(lambda x: np.sum(prim(x)))(X)
    with mg.trace(), mg.debug_nans():
        np.testing.assert_array_equal(mg.grad(lambda x: np.sum(prim(x)))(X), expected)


def test_recordings_may_end_in_any_order():
    def look():
        with mg.trace() as t:
            yield t

    a, b = look(), look()
    one, other = next(a), next(b)
    mg.sin(X)
    list(a), mg.cos(X), list(b)
    assert LOCAL.recorder is None
    assert [op.primitive for op in one.ops] == ["sin"] and [op.primitive for op in other.ops] == [
        "sin",
        "cos",
    ]
    g = look()
    with mg.trace(), mg.debug_nans():
        next(g)
    g.close()
    assert LOCAL.recorder is None
    t = mg.trace()
    with t, pytest.raises(RuntimeError, match="going on already"), t:
        pass
    assert LOCAL.recorder is None


def test_threads_with_the_same_context_record_their_own():
    f = mg.grad(lambda x: np.sum(np.sin(x) * x))
    with mg.trace() as t:
        context = contextvars.copy_context()
        workers = [threading.Thread(target=context.copy().run, args=(f, X)) for _ in range(4)]
        for w in workers:
            w.start()
        f(X)
        for w in workers:
            w.join()
    assert [p.kind for p in t] == ["primal", "vjp"]


def test_a_hessian_map_outlives_its_recording_without_growing():
    with mg.trace() as t:
        _, _, H = mg.quadratic(nn.SoftmaxCrossEntropy(np.array([0, 1])), np.ones((2, 3)))
    before = len(t.ops), H(np.ones((2, 3)))
    tracemalloc.start()
    for _ in range(50):
        H(np.ones((2, 3)))
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 5_000 and type(before[1]) is np.ndarray


def test_equations_stay_with_the_pass_that_recorded_them():
    g = lambda x: np.sum(mg.checkpoint(lambda y: np.sin(y) * y)(x) * x)  # noqa: E731
    with mg.trace() as t:
        _, J = mg.linearize(lambda x: mg.hvp(g, (x,), (x,)), np.ones(3))
        J(np.ones(3))
        mg.linear_transpose(lambda a, b: mg.jvp(np.sin, (np.ones(3),), (b,))[1] + a, np.ones(3), np.ones(3))(
            np.ones(3)
        )
    assert len(t[0].equations) == len(J) and t[1].at == t[0].number and t[0].equations
    assert sum(r.bytes for r in t[0].residuals) == J.residual_bytes
    assert [p.kind for p in t] == ["primal", "jvp", "jvp", "vjp"]
    assert all(p.ir() for p in t.walk()) and str(J)


def test_layers_outside_one_model_have_names_of_their_own():
    layers = {"a": nn.Linear(3, 4, rng=0), "b": nn.Tanh(), "c": nn.Linear(4, 2, rng=0)}
    x = np.ones((2, 3), np.float32)

    def predict(m):
        return m["c"](m["b"](m["a"](x)))

    opt = optim.CurveBall(layers)
    for _ in range(2):
        with mg.trace() as t:
            info = opt.step(predict, nn.SquaredError(np.zeros((2, 2), np.float32)))
        t.check(opt.plan(info.step))
        assert t.layers == {"model": "Linear", "model 2": "Tanh", "model 3": "Linear"}
    with mg.trace() as t:
        for _ in range(2):
            predict(layers)
    assert [p.kind for p in t] == ["primal", "primal"] and {op.layer for op in t[1].ops} == {
        "model",
        "model 2",
        "model 3",
    }


def test_looking_at_a_model_that_holds_much_else_is_quick():
    class Words(nn.Module):
        def __init__(self):
            self.words, self.me = ["w"] * 100_000, self
            self.inner = [nn.Tanh() for _ in range(30)]

        def forward(self, x, train):
            for layer in self.inner:
                x = layer(x)
            return x

    model = Words()
    start = time.perf_counter()
    with mg.trace() as t:
        model(X)
    assert time.perf_counter() - start < 1  # a walk for each call took more than three seconds
    assert [op.layer for op in t.ops] == [f"model.inner[{i}]" for i in range(30)]


def test_the_end_of_a_recording_takes_no_error_s_place():
    prim = Primitive("_bad_formula", lambda xp, x: x * 2)
    prim.flops = lambda args, outs, params: args[7]
    with pytest.raises(KeyError, match="mine"), mg.trace() as t:
        prim(X)
        raise KeyError("mine")
    assert t.ops[0].flops is None


@pytest.mark.parametrize("f", [np.sqrt, np.log, np.arccos, np.cbrt])
def test_errors_say_the_same_while_somebody_looks(f):
    x, messages = np.array([0.0, 1.0]), []
    for look in (contextlib.nullcontext, mg.trace, mg.debug_nans):
        with pytest.raises(FloatingPointError) as e, np.errstate(all="raise"), look():
            mg.grad(lambda x: np.sum(f(x)))(x)
        messages.append(str(e.value))
    assert messages[0] == messages[1] == messages[2] and f.__name__ in messages[0]


def test_numbers_keep_their_types_and_norms_do_not_overflow():
    identity = lambda x: x  # noqa: E731
    for x, dx in ((np.array(0.7), np.array(1.0)), (2.0, 1), (2.0, 1.0), (np.float32(2), np.float32(3))):
        expected = mg.jvp(identity, (x,), (dx,))
        _, J = mg.linearize(identity, x)
        with mg.trace() as t:
            got = (*mg.jvp(identity, (x,), (dx,)), J(dx), J.T(dx))
        assert [type(y) for y in got] == [type(y) for y in (*expected, J(dx), J.T(dx))]
    for dtype, value in ((np.float16, 200.0), (np.float32, 1e25), (np.float64, 1e200)):
        with mg.trace() as t:
            mg.linearize(identity, np.ones(4, dtype))[1](np.full(4, value, dtype))
        assert t[1].seeds[0].norm == pytest.approx(2 * value, rel=1e-3)
    with mg.trace() as t, np.errstate(all="raise"):
        mg.linearize(identity, np.ones(2))[1](np.array([1e200, 1e-320]))
    assert t[1].seeds[0].norm == 1e200


def test_a_jacobian_is_a_primal_pass_and_one_that_sweeps():
    with mg.trace() as t:
        mg.jacfwd(lambda x: np.sin(x) * x[::-1])(np.ones(3))
        mg.jacrev(lambda x: np.sin(x) * x[::-1])(np.ones(3))
    assert [p.kind for p in t] == ["primal", "jvp", "primal", "vjp"]
    (sweep,) = t[1].children
    assert sweep.seeds[0].aval == "float64[3,3]" and sweep.seeds[0].norm == pytest.approx(math.sqrt(3))
    assert sweep.ops[0].inputs[0].source == "seed" and "t0: float64[3,3]" in sweep.ir()


# ----- Plans -----


@pytest.mark.parametrize("name", sorted(optim.OPTIMIZERS))
@pytest.mark.parametrize("make", [network, lambda: {"w": rng.normal(size=(64, 10)).astype("f4")}])
def test_every_step_runs_the_passes_of_its_plan(name, make):
    model, (x, loss) = make(), images()
    predict = (
        (lambda m: m(x, train=True))
        if isinstance(model, nn.Module)
        else lambda m: mg.reshape(x, (4, 64)) @ m["w"]
    )
    opt = optim.build(name, model)
    for k in range(7):
        plan = opt.plan()
        with mg.trace() as t:
            info = opt.step(predict, loss)
        t.check(plan)
        t.check(opt.plan(info.step))
        ran = {kind: t.count(kind) for kind in plan}
        assert ran == {"jvp": 0, **info.passes} and info.step == k
        assert ran == {kind: ran[kind] if n is None else n for kind, n in plan.items()}


def test_curveball_with_fixed_settings_runs_one_jvp_less():
    model, (x, loss) = nn.resnet(8, channels=1), images()
    opt = optim.CurveBall(model, rho=0.9, beta=0.1, adapt_lam=False)
    with mg.trace() as t:
        train_step(opt, x, loss)
    t.check({"primal": 1, "jvp": 1, "vjp": 1})


def test_a_loss_without_closed_form_is_no_pass_over_the_network():
    opt = optim.CurveBall({"w": rng.normal(size=3)}, adapt_lam=False)
    with mg.trace() as t:
        opt.step(lambda m: np.sin(m["w"]), lambda y: (y**4).sum())
    t.check({"primal": 1, "jvp": 2, "vjp": 1})
    assert [p.kind for p in t] == ["primal", "loss", "jvp", "loss", "vjp", "jvp", "loss"]
    assert [p.kind for p in t[3].children] == ["jvp"]


def test_a_loss_s_hessian_along_many_directions_gives_plain_arrays():
    y, vs = rng.normal(size=(4, 3)), rng.normal(size=(5, 4, 3))
    loss = nn.SoftmaxCrossEntropy(np.array([0, 2, 1, 1]))
    one_by_one = np.stack([mg.quadratic(loss, y)[2](v) for v in vs])
    for each in (loss, lambda y: loss(y)):
        with mg.trace() as t:
            H = mg.quadratic(each, y)[2]
            (at_once,) = sweep(lambda v, H=H: [H(v[0])], [vs])
        assert type(at_once) is np.ndarray and [p.kind for p in t] == ["loss", "loss"]
        np.testing.assert_allclose(at_once, one_by_one, rtol=1e-12, atol=1e-15)
        assert t[1].seeds[0].aval == "float64[5,4,3]"


def test_a_checkpointed_network_runs_the_passes_of_the_plan():
    model, (x, loss) = nn.resnet(8, channels=1), images()
    opt = optim.CurveBall(model, adapt_lam=False)
    with mg.trace() as t:
        opt.step(lambda m: mg.checkpoint(m)(x, train=True), loss)
    t.check({"primal": 1, "jvp": 2, "vjp": 1})


def test_a_plan_that_is_not_kept_is_told_with_what_ran():
    with mg.trace() as t:
        J = mg.linearize(layer, X, W)[1]
        J(X, W)
    with pytest.raises(mg.PassMismatch) as e:
        t.check({"primal": 1, "jvp": 2, "vjp": 1})
    first, *rest = str(e.value).splitlines()
    assert (
        first
        == "the passes are not those of the plan: jvp: 2 planned, 1 ran, vjp: 1 planned, 0 ran; these ran:"
    )
    assert re.fullmatch(r"  1  jvp     J\(X, W\)  \(test_trace.py:\d+\)", rest[1]) and len(rest) == 2
    with pytest.raises(ValueError, match="'jpv': there are primal, jvp, vjp, loss"):
        t.count("jpv")
    with pytest.raises(ValueError, match="jpv"):
        t.check({"jpv": 1})


def test_a_plan_may_leave_open_how_many_passes_of_a_kind_run():
    with mg.trace() as t:
        J = mg.linearize(layer, X, W)[1]
        J(X, W)
        J(X, W)
    t.check({"primal": 1, "jvp": None})
    t.check({"primal": None, "jvp": None, "vjp": None})
    with pytest.raises(mg.PassMismatch, match="of the plan: primal: 3 planned, 1 ran; these ran:"):
        t.check({"primal": 3, "jvp": None})
    with pytest.raises(
        mg.PassMismatch, match="of the plan: primal: 0 planned, 1 ran, jvp: 0 planned, 2 ran;"
    ):
        t.check({"vjp": None})
    with pytest.raises(ValueError, match="jpv"):
        t.check({"jpv": None})


# ----- Tables -----


def test_the_table_of_a_step():
    model = {"w": np.ones((10, 5))}
    x, t5 = np.ones((4, 10)), np.zeros((4, 5))
    opt = optim.CurveBall(model, adapt_lam=False)
    with mg.trace() as t:
        opt.step(lambda m: mg.matmul(x, m["w"]), nn.SquaredError(t5))
    table = t.table()
    kinds = [row[1] for row in table.rows]
    assert kinds == ["primal", "loss", "jvp", "loss", "vjp", "jvp", "loss"]
    assert [row[2] for row in table.rows[2:6]] == ["J(z)", "H(Jz)", "J.T(g + HJz)", "J(dz)"]
    by_name = dict(zip([c.lstrip(">") for c in table.columns], zip(*table.rows, strict=True), strict=True))
    # unravel and one product of (4, 10) and (10, 5): 400 FLOPs; x, w and the result: 40 + 50 + 20 numbers
    assert by_name["MFLOP"][0] == by_name["MFLOP"][2] == by_name["MFLOP"][5] == "4.0e-04"
    assert by_name["MB"][2] == "8.8e-04" and by_name["ops"][2] == "2" and by_name["tangent"][2] == "2"
    assert table.title == "CurveBall step 0: primal 1 · jvp 2 · vjp 1"
    assert table.footer[1] == "total" and table.footer[3] == str(len(t.ops))
    text = table.text().splitlines()
    assert text[0] == table.title and len(text) == 3 + 7 + 2 and text[2].startswith("-  ---")
    assert len({len(line) for line in text[2:3] + text[-2:-1]}) == 1


def test_print_draws_with_rich_and_aligns_without(monkeypatch):
    with mg.trace() as t:
        mg.linearize(lambda x: mg.sin(x), X)
    drawn = str(t)
    assert "─" in drawn and "mg.linearize(lambda x: mg.sin(x), X)" in drawn and "\x1b" not in drawn
    monkeypatch.setitem(__import__("sys").modules, "rich.console", None)
    plain = str(t)
    assert plain == t.table().text() and "─" not in plain
    assert plain.splitlines()[1].split() == [
        "#",
        "pass",
        "what",
        "ops",
        "primal",
        "tangent",
        "cotangent",
        "MFLOP",
        "MB",
        "ms",
        "×",
        "primal",
    ]


def test_brackets_in_labels_are_no_markup_to_rich():
    f = {"[bold]": mg.sin}
    with mg.trace() as t:
        f["[bold]"](X)
    assert 'f["[bold]"](X)' in str(t)


def test_tables_by_operation_and_by_module_add_up():
    model, (x, loss) = nn.resnet(8, channels=1), images()
    with mg.trace() as t:
        train_step(optim.CurveBall(model), x, loss)
    ops, n = t.ops, len(t.ops)
    by_op = t.table("op")
    assert sum(int(row[1]) for row in by_op.rows) == n == int(by_op.footer[1])
    assert {row[0] for row in by_op.rows} == {op.primitive for op in ops}
    sorted_ = [float(row[6]) for row in t.table("op", sort="MB").rows]
    assert sorted_ == sorted(sorted_, reverse=True) and len(set(sorted_)) > 5
    names = [row[0] for row in t.table("op", sort="op").rows]
    assert names == sorted(names)
    modules = t.table("module")
    rows = {row[0]: row for row in modules.rows}
    assert list(rows)[0] == "model" and rows["model"][1] == "Sequential"
    assert int(rows["model"][2]) + int(rows["outside layers"][2]) == n == int(modules.footer[2])
    first = [row for path, row in rows.items() if re.fullmatch(r"model\.layers\[\d+\]", path)]
    inside = sum(op.layer == "model" for op in ops)
    assert sum(int(row[2]) for row in first) + inside == int(rows["model"][2]) and len(first) > 5
    assert set(r[0] for r in t.table("module", depth=0).rows) == {"model", "outside layers"}
    assert len(t.table("module", depth=1).rows) == len(first) + 2
    with pytest.raises(ValueError, match="no table by 'layer': use 'op', 'module' or 'pass'"):
        t.table("layer")
    with pytest.raises(ValueError, match="no column 'flops' to sort by: there are op, ops, primal"):
        t.table("op", sort="flops")
    with pytest.raises(ValueError, match="depth=2"):
        t.table("op", depth=2)


def test_sgd_beside_curveball():
    recordings = []
    for name in ("sgd", "curveball"):
        model, (x, loss) = nn.resnet(8, channels=1), images()
        opt = optim.build(name, model)
        for _ in range(2):
            with mg.trace() as t:
                train_step(opt, x, loss)
        recordings.append(t)
    table = mg.diff(*recordings)
    rows = {row[0]: dict(zip([c.lstrip(">") for c in table.columns], row, strict=True)) for row in table.rows}
    assert list(rows) == ["primal", "vjp", "loss", "jvp", "total"]
    assert (rows["primal"]["passes"], rows["primal"]["passes'"]) == ("1", "1")
    assert (rows["jvp"]["passes"], rows["jvp"]["passes'"]) == ("·", "2")
    assert table.title == "SGD step 1 | CurveBall step 1'"
    ratio = sum(op.flops for op in recordings[1].ops) / sum(op.flops for op in recordings[0].ops)
    # One primal, one J.T and two J, each of two products a layer, for one primal and one J.T: 7 / 3.
    assert ratio == pytest.approx(7 / 3, rel=0.01)
    assert table.rows[-1][7] == f"{ratio:.2f}"
    np.testing.assert_array_equal(mg.diff(np.array([1.0, 4.0]), n=1), [3.0])


def test_names_that_numpy_has_too_serve_both():
    assert mg.trace(np.eye(3), 1) == 0.0 and mg.diff([1, 4, 9], 2).tolist() == [2]
    np.testing.assert_array_equal(mg.grad(mg.trace)(np.ones((2, 2))), np.eye(2))
    np.testing.assert_array_equal(mg.grad(np.trace)(np.ones((2, 2))), np.eye(2))


# ----- Programs -----

PRIMAL = """\
primal mg.linearize(wave, X, W)  (test_trace.py:LINE)
  recorded: 5 equations, 208 bytes of residuals
  x0: float64[2,3]                                   |  t0: float64[2,3]
  x1: float64[3,4]                                   |  t1: float64[3,4]
  p0: float64[2,4] = matmul(x0, x1)                  |  t2: float64[2,4] = matmul(t0, x1)
                                                     |  t3: float64[2,4] = matmul(x0, t1)
                                                     |  t4: float64[2,4] = add(t2, t3)
  p1: float64[2,4] = sin(p0)                         |  t5: float64[2,4] = multiply(t4, p2)
    p2: float64[2,4] = cos(p0)                       |
  p3: float64[4] = sum(p1; axis=(0,), keepdims=False)  |  t6: float64[4] = sum(t5; axis=(0,), keepdims=False)
                                                     |  return t6"""
VJP = """\
primal mg.linearize(wave, X, W)  (test_trace.py:LINE)
vjp J.T(np.ones(4))  (test_trace.py:NEXT)
  x0: float64[2,3]                                     |  c0: float64[4]
  x1: float64[3,4]                                     |
  p3: float64[4] = sum(p1; axis=(0,), keepdims=False)  |  c1: float64[1,4] = reshape(c0; shape=(1, 4))
                                                       |  c2: float64[2,4] = broadcast_to(c1; shape=(2, 4))
  p1: float64[2,4] = sin(p0)                           |  c3: float64[2,4] = multiply(c2, p2)
    p2: float64[2,4] = cos(p0)                         |
  p0: float64[2,4] = matmul(x0, x1)                    |  c4: float64[3,2] = transpose(x0; axes=(1, 0))
                                                       |  c5: float64[3,4] = matmul(c4, c3)
                                                       |  c6: float64[4,3] = transpose(x1; axes=(1, 0))
                                                       |  c7: float64[2,3] = matmul(c3, c6)"""


def wave(x, w):
    return np.sum(np.sin(x @ w), axis=0)


def test_programs_stand_beside_the_primal_program():
    with mg.trace() as t:
        _, J = mg.linearize(wave, X, W)
        J.T(np.ones(4))
        J(X, W)
        printed = str(J)
    line = test_programs_stand_beside_the_primal_program.__code__.co_firstlineno + 2

    def golden(text):
        return squeezed(text.replace("LINE", str(line)).replace("NEXT", str(line + 1)))

    assert squeezed(t[0].ir()) == golden(PRIMAL)
    assert t[1].ir() == VJP.replace("LINE", str(line)).replace("NEXT", str(line + 1))
    # The pass runs what was recorded, under the same names.
    assert t[2].ir().splitlines()[2:] == t[0].ir().splitlines()[2:-1]
    # So does the printed map, while and after it is recorded.
    assert printed == str(J) and printed.splitlines()[1:] == t[0].ir().splitlines()[2:]
    assert printed.startswith("linear map of wave (test_trace.py:")


def squeezed(text):
    return re.sub(" +", " ", text)


def test_programs_of_all_passes_of_a_step_are_stable_and_complete():
    texts = []
    for _ in range(2):
        model, (x, loss) = nn.resnet(8, channels=1), images()
        with mg.trace() as t:
            train_step(optim.CurveBall(model), x, loss)
        texts.append([p.ir() for p in t.walk()])
        for p in t.walk():
            ir = p.ir()
            assert all(f"= {op.primitive}(" in ir for op in p.all_ops)
            assert len([line for line in ir.splitlines() if " = " in line]) >= len(p.all_ops) / 2
    assert texts[0] == texts[1]


def test_residuals_are_those_of_the_linear_map_with_their_origin():
    with mg.trace() as t:
        _, J = mg.linearize(wave, X, W)
    kept = t.residuals()
    assert kept.total == J.residual_bytes == 48 + 96 + 64 and [r.bytes for r in kept] == [96, 64, 48]
    assert [r.name for r in kept] == ["input 1", "result of cos", "input 0"]
    cos = kept[1]
    assert (
        cos.of == 2
        and cos.line == f"test_trace.py:{wave.__code__.co_firstlineno + 1}"
        and cos.needed_by == ["multiply"]
    )
    text = str(kept)
    assert text.startswith("3 residuals, 208 B") and "result of cos" in text

    model, (x, _) = nn.resnet(8, channels=1), images()
    with mg.trace() as t:
        _, J = mg.linearize(lambda m: m(x, train=True), model)
    kept = t.residuals()
    assert kept.total == J.residual_bytes and len(kept) == len(J.residuals)
    assert all(r.name != "constant" or r.bytes == x.nbytes for r in kept), kept
    assert any(r.layer == "model.layers[1]" and r.name == "result of batch_norm_residuals" for r in kept)


# ----- Files -----


def test_json_gives_the_recording_back(tmp_path):
    model, (x, loss) = nn.resnet(8, channels=1), images()
    with mg.trace() as t:
        train_step(optim.CurveBall(model), x, loss)
    path = tmp_path / "step.json"
    text = t.to_json(path)
    assert path.read_text() == text and list(tmp_path.iterdir()) == [path]
    again = mg.Recording.from_json(text)
    assert again.passes == t.passes and again.steps == t.steps and again.layers == t.layers
    assert str(again) == str(t) and again.to_json() == text and again[2].ir() == t[2].ir()
    for wrong in ("", "[]", '{"format": 2}', "{"):
        with pytest.raises(ValueError, match="no recording"):
            mg.Recording.from_json(wrong)


def test_numbers_that_are_not_finite_go_through_json(tmp_path):
    with mg.trace() as t, np.errstate(all="ignore"):
        mg.linearize(lambda x: 2.0 * x, X)[1](np.full((2, 3), np.inf))
        LOCAL.recorder.step({"optimizer": "None", "step": 0, "loss": math.nan, "norms": {"w": -math.inf}})
    text = t.to_json()
    assert json.loads(text, parse_constant=lambda word: pytest.fail(word))
    again = mg.Recording.from_json(text)
    assert again[1].seeds[0].norm == math.inf and again.to_json() == text
    assert math.isnan(again.steps[0]["loss"]) and again.steps[0]["norms"]["w"] == -math.inf
    assert json.loads(t.to_chrome(), parse_constant=lambda word: pytest.fail(word))
    assert "Infinity" in t.to_html() and "NaN" in t.to_html()


def test_the_loss_stands_in_the_flow_of_data():
    opt = optim.CurveBall({"w": np.ones((3, 2))}, adapt_lam=False)
    with mg.trace() as t:
        opt.step(lambda m: mg.matmul(X, m["w"]), nn.SquaredError(np.zeros((2, 2))))
    matmul = next(op for op in t[0].ops if op.primitive == "matmul")
    assert any(v[1:] == ("op", matmul.number, 0) for op in t[1].ops for v in op.inputs)


def test_steps_tell_their_scalars():
    model, (x, loss) = nn.resnet(8, channels=1), images()
    opt = optim.CurveBall(model)
    with mg.trace() as t:
        infos = [train_step(opt, x, loss) for _ in range(2)]
    assert t.title == "CurveBall steps 0 to 1" and [s["step"] for s in t.steps] == [0, 1]
    for step, info in zip(t.steps, infos, strict=True):
        assert {k: step[k] for k in ("loss", "rho", "beta", "lam", "predicted", "ratio")} == {
            k: getattr(info, k) for k in ("loss", "rho", "beta", "lam", "predicted", "ratio")
        }
    assert t.steps[1]["norms"]["z"] == pytest.approx(np.linalg.norm(opt.z), rel=1e-6)
    assert [s["after"] for s in t.steps] == [8, 15] and len(t) == 15


# ----- The first NaN -----


def message_of(run, *args):
    with pytest.raises(FloatingPointError) as e, mg.debug_nans(), np.errstate(all="ignore"):
        run(*args)
    return str(e.value)


def test_the_first_nan_of_a_primal_pass_is_named():
    def f(x):
        return np.sum(np.log(x) * 0)

    line = f.__code__.co_firstlineno + 1
    text = message_of(lambda: mg.linearize(f, np.array([1.0, -1.0, 0.0])))
    assert text == (
        "log: 1 NaN and 1 infinite of 3 values, float64[3], in the primal; its arguments are finite; "
        f"in primal pass mg.linearize(f, np.array([1.0, -1.0, 0.0])) (test_trace.py:{line + 3}), "
        f"at test_trace.py:{line}: np.log(x)"
    )
    assert LOCAL.recorder is None


def test_a_nan_of_a_derivative_is_named_with_its_part_and_pass():
    f, x = (lambda x: np.sum(np.sqrt(x) * x)), np.array([1.0, 0.0])
    text = message_of(lambda: mg.jvp(np.arccos, (np.array([1.0]),), (np.array([1.0]),)))
    assert "in the primal of arccos" in text and "in jvp pass mg.jvp(np.arccos" in text
    _, J = mg.linearize(lambda x: x * np.array([2.0, 3.0]), x)
    text = message_of(lambda: J(np.array([np.inf, 1.0])))
    assert text.startswith("multiply: 0 NaN and 1 infinite of 2 values") and "in the tangent" in text
    assert "it came in: argument 0 (float64[2]) has 0 NaN and 1 infinite of 2 values" in text
    text = message_of(lambda: J.T(np.array([np.nan, 1.0])))
    assert "in the cotangent" in text and "in vjp pass J.T(np.array([np.nan, 1.0]))" in text
    with np.errstate(all="ignore"):
        expected = mg.grad(f)(np.array([1.0, 4.0]))
    with mg.debug_nans():
        np.testing.assert_array_equal(mg.grad(f)(np.array([1.0, 4.0])), expected)


def test_the_layer_is_named_and_buffers_stay():
    class Breaks(nn.Module):
        def forward(self, x, train):
            return np.log(x - x)

    here = Breaks.forward.__code__.co_firstlineno
    x = np.ones((3, 2), np.float32)
    model = nn.Sequential(nn.BatchNorm(2), nn.Residual(nn.Sequential(nn.Tanh(), Breaks())))
    # NumPy on plain arrays is not seen, but a layer's result is.
    text = message_of(lambda: model(x))
    assert text == (
        "the layer's result: 0 NaN and 6 infinite of 6 values, float32[3,2]; its arguments are finite; "
        f"in primal pass model(x) (test_trace.py:{here + 7}), layer model.layers[1].body.layers[1]: Breaks"
    )
    text = message_of(lambda: mg.grad(lambda m: np.sum(m(x)))(model))
    assert "layer model.layers[1].body.layers[1]: Breaks" in text and "log: 0 NaN and 6 infinite" in text
    opt = optim.CurveBall(model)
    before = [b.value for _, b in mg.tree_buffers(model)]
    text = message_of(lambda: opt.step(lambda m: m(x, train=True), lambda y: np.sum(y)))
    assert "in primal pass mg.linearize(lambda w: predict(self.unravel(w)), w) (curveball.py:" in text
    assert all(a is b.value for a, (_, b) in zip(before, mg.tree_buffers(model), strict=True))


def test_looking_for_nans_inside_a_recording_and_a_recording_inside():
    with mg.trace() as t:
        mg.sin(X)
        assert "log" in message_of(lambda: mg.log(X - X))
        mg.cos(X)
    assert [op.primitive for op in t.ops] == ["sin", "log", "cos"]
    with mg.debug_nans(), mg.trace() as t:
        mg.sin(X)
    assert [op.primitive for op in t.ops] == ["sin"] and LOCAL.recorder is None


def test_looking_for_nans_takes_no_memory_however_long():
    f, x = mg.grad(lambda x: np.sum(np.sin(x) * x)), np.ones(3)
    with mg.debug_nans():
        for _ in range(20):
            f(x), mg.sin(x), nn.Tanh()(x)
        tracemalloc.start()
        for _ in range(300):
            f(x), mg.sin(x), nn.Tanh()(x)
        gc.collect()
        now = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert now < 60_000
