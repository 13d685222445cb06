"""Every operation on a second array library: the array API standard to the letter, on a device of its own.

`strict` makes that library a backend. It forbids to convert its arrays to NumPy's silently, so a result that
is right and still on the device was computed there.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import EVERYTHING
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis import strategies as st
from strict import ARRAY, DEVICE, to_strict

import minigrad as mg
from minigrad import nn
from minigrad.core import dtype_of
from minigrad.testing import directions, seeds

few = settings(
    max_examples=max(1, settings().max_examples // 5), suppress_health_check=[HealthCheck.filter_too_much]
)

# What the standard does not have, and NumPy and CuPy have.
SPECIAL = """
    gamma gammaln rgamma digamma polygamma beta betaln gammainc gammaincc betainc erfc erfcx erfinv erfcinv
    ndtr log_ndtr ndtri logit xlogy xlog1py entr rel_entr i0 i1 i0e i1e iv ive j0 j1 jv y0 y1 yn expi exp1
    special.kl_div special.multigammaln special.psi
"""
FUNCTIONS = """
    allclose argpartition cbrt convolve digitize einsum exp2 fabs fmax fmin fmod heaviside isclose ldexp
    logaddexp2
"""
LEFT_OUT = {
    **dict.fromkeys(SPECIAL.split(), "no special functions: minigrad takes them from scipy"),
    **dict.fromkeys(FUNCTIONS.split(), "no function of that name"),
    **dict.fromkeys(["exponent", "frexp"], "no frexp"),
    "partition": "no argpartition",
    "correlate": "no convolve",
    **dict.fromkeys(["sliding_windows", "add_windows", "sliding_window_view"], "no views by strides"),
    **dict.fromkeys(["logical_not", "logical_and", "logical_or", "logical_xor"], "logic of booleans alone"),
    **dict.fromkeys(["eigh", "eigvalsh"], "no UPLO: the lower triangle is read"),
}
# What it refuses in some of the examples. Indices are slices, one mask, or integers and arrays of them for
# all axes, nothing is put where arrays point, and there is no iteration.
REFUSES = {"getitem": IndexError, "scatter": IndexError, "index_set": IndexError, "index_add": IndexError}
REFUSES |= {"unstack": TypeError}


@pytest.mark.parametrize("name", [name for name in EVERYTHING if name not in LEFT_OUT])
@few
@given(st.data(), seeds())
def test_operations_and_their_derivatives_are_those_on_numpy(name, data, seed):
    try:
        on_both(*drawn(name, data.draw, seed), seed)
    except REFUSES.get(name, ()):
        reject()


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_does_not_work(name):
    @settings(phases=[Phase.generate], report_multiple_bugs=False)
    @given(st.data(), seeds())
    def all_examples(data, seed):
        on_both(*drawn(name, data.draw, seed), seed)

    with pytest.raises((AttributeError, NotImplementedError, TypeError)):
        all_examples()


def drawn(name: str, draw: Callable, seed: int) -> tuple[Callable, tuple]:
    f, args, _ = EVERYTHING[name](draw, np.random.default_rng(seed))
    return f, tuple(args)


def on_both(f: Callable, args: tuple, seed: int) -> None:
    """Value, tangents and cotangents of `f` in both libraries: the same numbers, each where it belongs."""
    ts = tuple(directions(args, np.random.default_rng(seed)))
    others, other_ts = mg.tree_map(to_strict, (args, ts))
    assert_same(f(*args), f(*others))
    assert_same(mg.jvp(f, args, ts), mg.jvp(f, others, other_ts))
    (y, J), (_, other_J) = mg.linearize(f, *args), mg.linearize(f, *others)
    assert_same(J(*ts), other_J(*other_ts))
    leaves, treedef = mg.tree_flatten(y)
    c = mg.tree_unflatten(treedef, directions(leaves, np.random.default_rng(seed + 1)))
    assert_same(J.T(c), other_J.T(mg.tree_map(to_strict, c)))
    pairs = [mg.tree_map(lambda a: np.stack([a, -2 * a]), t) for t in (ts, c)]
    other_pairs = mg.tree_map(to_strict, pairs)
    assert_same(J.many(*pairs[0]), other_J.many(*other_pairs[0]))
    assert_same(J.T.many(pairs[1]), other_J.T.many(other_pairs[1]))


def assert_same(one: Any, other: Any) -> None:
    (ones, one_def), (others, other_def) = mg.tree_flatten(one), mg.tree_flatten(other)
    assert one_def == other_def
    for a, b in zip(ones, others, strict=True):
        assert type(b) is ARRAY and b.device == DEVICE
        assert (np.shape(a), dtype_of(a)) == (b.shape, dtype_of(b))
        np.testing.assert_allclose(mg.asnumpy(b), a, rtol=1e-9, atol=1e-9)


# ----- A network -----


def network() -> nn.Module:
    rng, double = np.random.default_rng(0), {"dtype": np.float64}
    body = nn.Sequential(nn.Conv2d(4, 4, 3, rng, padding=1, **double), nn.BatchNorm(4, **double), nn.Tanh())
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, rng, stride=2, padding=1, **double),
        nn.BatchNorm(4, **double),
        nn.ReLU(),
        nn.Residual(body),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 3, rng, **double),
    )


@pytest.mark.parametrize("train", [False, True])
def test_a_network_its_gradient_and_its_gauss_newton_product_are_those_on_numpy(train):
    assert_same(passes(lambda x: x, train), passes(to_strict, train))


def passes(move: Callable, train: bool) -> dict[str, Any]:
    """What the network computes when all of its arrays have moved to a library."""
    rng = np.random.default_rng(1)
    x, labels = move(rng.standard_normal((5, 8, 8, 2))), move(rng.integers(0, 3, 5))
    model, loss = mg.tree_map(move, network()), nn.SoftmaxCrossEntropy(labels)
    buffers = [buffer for _, buffer in mg.tree_buffers(model)]
    for buffer in buffers:
        buffer.value = move(buffer.value)
    v = mg.tree_map(lambda w: 0.1 * w + 0.01, model)
    return {
        "outputs": model(x, train),
        "gradient": mg.tree_leaves(mg.value_and_grad(lambda m: loss(m(x, train)))(model)),
        "gauss_newton": mg.tree_leaves(mg.ggn_vp(lambda m: m(x, train), loss, model, v)),
        "averages": [buffer.value for buffer in buffers],
    }


def test_a_recording_is_the_same_and_changes_nothing():
    expected, recordings = passes(to_strict, True), []
    for move in (lambda x: x, to_strict):
        with mg.trace() as t:
            got = passes(move, True)
        recordings.append(t)
        if move is to_strict:
            assert_same(mg.tree_map(mg.asnumpy, expected), got)
    one, other = recordings
    assert [p.ir() for p in one.walk()] == [p.ir() for p in other.walk()]
    for a, b in zip(one.ops, other.ops, strict=True):
        assert (a.part, a.of, a.layer, a.flops, a.bytes) == (b.part, b.of, b.layer, b.flops, b.bytes)
    norms = [[s.norm for p in t.walk() for s in p.seeds] for t in recordings]
    np.testing.assert_allclose(*norms, rtol=1e-12)
    words = "^log: 0 NaN and 3 infinite of 3 values"
    with np.errstate(divide="ignore"), mg.debug_nans(), pytest.raises(FloatingPointError, match=words):
        mg.grad(lambda x: mg.sum(mg.log(x)))(to_strict(np.zeros(3)))


def test_arrays_of_two_libraries_do_not_mix():
    x, y = np.ones(3), to_strict(np.ones(3))
    for meet in (
        lambda: mg.add(x, y),
        lambda: mg.grad(lambda x: mg.sum(x * y))(x),
        lambda: mg.jvp(lambda y: mg.where(y > 0, x, y), (y,), (y,)),
        lambda: mg.linearize(mg.sin, y)[1](x),
    ):
        with pytest.raises(mg.MixedBackendError, match="numpy and strict|strict and numpy"):
            meet()
