"""Many directions through one record at once: the same numbers as one by one, for every operation."""

import numpy as np
import pytest
from cases import EVERYTHING
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad import transforms
from minigrad.core import Primitive
from minigrad.ops import many

few = settings(max_examples=max(settings().max_examples // 4, 1))


def leaves(y):
    return mg.tree_leaves(y)


@pytest.mark.parametrize("name", EVERYTHING)
@few
@given(st.data(), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_k_tangents_and_cotangents_at_once_are_k_of_each(name, data, k, seed):
    rng = np.random.default_rng(seed)
    case = EVERYTHING[name](data.draw, rng)
    y, J = mg.linearize(case.f, *case.args)
    ts = [rng.standard_normal((k, *np.shape(a))).astype(np.asarray(a).dtype) for a in case.args]
    together = leaves(J.many(*ts))
    apart = [leaves(J(*[t[i] for t in ts])) for i in range(k)]
    for a, b in zip(together, zip(*apart, strict=True), strict=True):
        np.testing.assert_allclose(a, np.stack(b), rtol=1e-9, atol=1e-11)
    cts = [random_like(rng, k, leaf) for leaf in leaves(y)]
    ct = tuple(cts) if isinstance(y, tuple) else cts[0]
    together = leaves(J.T.many(mg.tree_unflatten(mg.tree_flatten(y)[1], cts)))
    apart = [leaves(J.T(mg.tree_unflatten(mg.tree_flatten(y)[1], [c[i] for c in cts]))) for i in range(k)]
    assert ct is not None
    for a, b in zip(together, zip(*apart, strict=True), strict=True):
        np.testing.assert_allclose(a, np.stack(b), rtol=1e-9, atol=1e-11)


def random_like(rng, k, y):
    ct = rng.standard_normal((k, *np.shape(y)))
    return (ct + 1j * rng.standard_normal(ct.shape) if np.iscomplexobj(y) else ct).astype(np.asarray(y).dtype)


def small_network(w, gamma, beta, v):
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 3))
    y = mg.relu(mg.batch_norm(mg.conv2d(x, w, padding=1), gamma, beta))
    y = mg.avg_pool2d(y, 2).sum((1, 2)) @ v
    return mg.softmax_cross_entropy(y, np.array([0, 1]))


def arguments():
    rng = np.random.default_rng(1)
    return rng.standard_normal((4, 3, 3, 3)), np.ones(4), np.zeros(4), rng.standard_normal((4, 2))


def test_a_network_runs_each_of_its_hot_operations_once_for_all_directions(monkeypatch):
    calls = []
    original = many.one_by_one
    for module in (mg.batch, mg.ops.conv):
        monkeypatch.setattr(
            module, "one_by_one", lambda prim, *a: calls.append(prim.name) or original(prim, *a)
        )
    _, J = mg.linearize(small_network, *arguments())
    J.many(*[np.ones((5, *np.shape(a))) for a in arguments()])
    J.T.many(np.ones((5, 2)))
    assert set(calls) <= {"batch_norm_tangent", "batch_norm_transpose"}


def test_jacobians_sweep_the_record_once(monkeypatch):
    count = []
    process = mg.batch.BatchTrace.process
    monkeypatch.setattr(
        mg.batch.BatchTrace, "process", lambda self, prim, *a: count.append(prim) or process(self, prim, *a)
    )
    x = np.linspace(0.1, 1, 12)
    want = np.diag(np.cos(np.sin(x)) * np.cos(x))
    for jac in (mg.jacfwd, mg.jacrev):
        count.clear()
        np.testing.assert_allclose(jac(lambda x: np.sin(np.sin(x)))(x), want, atol=1e-15)
        assert 2 <= len(count) <= 4


@pytest.mark.parametrize("portion", [1, 100, 2**26])
def test_jacobians_do_not_depend_on_the_size_of_portions(monkeypatch, portion):
    def f(p):
        return {"a": p["u"] @ p["v"], "b": np.sin(p["v"])}

    rng = np.random.default_rng(2)
    p = {"u": rng.standard_normal((2, 3)), "v": rng.standard_normal(3)}
    want = mg.jacrev(f)(p)
    monkeypatch.setattr(transforms, "PORTION_BYTES", portion)
    for jac in (mg.jacfwd, mg.jacrev):
        for a, b in zip(leaves(jac(f)(p)), leaves(want), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-15)
    assert jac(f)(p)["a"]["u"].shape == (2, 2, 3)


def test_many_differentiates_and_nests():
    def frobenius(w):
        _, J = mg.linearize(lambda x: np.tanh(w @ x), np.ones(3))
        return (J.many(np.eye(3)) ** 2).sum()

    w = np.random.default_rng(3).standard_normal((2, 3))
    h = 1e-6
    t = np.ones_like(w) / np.sqrt(6)
    numeric = (frobenius(w + h * t) - frobenius(w - h * t)) / (2 * h)
    assert (mg.grad(frobenius)(w) * t).sum() == pytest.approx(numeric, rel=1e-7)
    assert mg.jvp(frobenius, (w,), (t,))[1] == pytest.approx(numeric, rel=1e-7)
    third = mg.jacfwd(mg.jacrev(mg.jacfwd(lambda x: x**4)))(2.0)
    assert third == 48


def test_many_of_nothing_and_of_nothing_that_depends():
    _, J = mg.linearize(lambda x: {"y": x * 2, "c": np.ones(2)}, np.ones(3))
    out = J.many(np.ones((4, 3)))
    assert out["y"].shape == (4, 3) and out["c"].shape == (4, 2) and not out["c"].any()
    assert mg.jacfwd(lambda x: x)(np.ones(0)).shape == (0, 0)
    assert mg.jacrev(lambda x: x.sum())(np.ones(0)).shape == (0,)


def test_directions_that_do_not_fit_are_named():
    _, J = mg.linearize(lambda x, y: x * y, np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match=r"many tangents are float64\[2,3\] and float64\[4,3\]: each needs"):
        J.many(np.ones((2, 3)), np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"tangent\[0\] is float64\[2\], but its primal is float64\[3\]"):
        J.many(np.ones((2, 2)), np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"many cotangents are float64\[\]"):
        J.T.many(np.float64(1))
    with pytest.raises(TypeError, match=r"cotangent is float32\[3\].*\.astype\('float64'\)"):
        J.T.many(np.ones((2, 3), np.float32))


def test_a_primitive_without_a_rule_is_run_for_one_after_the_other():
    prim = mg.core.PRIMITIVES.get("_turned") or Primitive("_turned", lambda xp, x: x[::-1].copy())
    mg.rules.deflinear(prim, lambda x: np.shape(x), lambda ct, x: prim(ct))
    assert prim.batch is None
    _, J = mg.linearize(prim, np.arange(3.0))
    np.testing.assert_array_equal(J.many(np.eye(3)), np.eye(3)[:, ::-1])
