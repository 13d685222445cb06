"""What a training step costs, in counts that no machine changes: a change that costs more shows here first.

resnet(20) on a batch of 16, float32. Who makes a step cheaper writes the new numbers down here.
"""

import gc
import tracemalloc
from collections import Counter

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.backend import choice, memory

BATCH = 16
PARAMETERS = 269_722
# In the order of a step's passes: its kind, and how many operations it runs.
PASSES = {
    "sgd": [("primal", 91), ("vjp", 108)],
    "curveball": [
        ("primal", 85),
        ("loss", 10),
        ("jvp", 49),
        ("loss", 6),
        ("vjp", 98),
        ("jvp", 49),
        ("loss", 6),
    ],
}
# The kernels among them, which take nearly all the time: each layer once a pass, and once a tangent.
KERNELS = {
    "sgd": {"conv2d": 19, "conv2d_filter": 19, "conv2d_input": 18}
    | {"batch_norm_residuals": 19, "batch_norm_transpose": 19, "add": 11},
    "curveball": {"conv2d": 19 + 2, "conv2d_tangent": 36, "conv2d_filter": 19, "conv2d_input": 18}
    | {"batch_norm_residuals": 19, "batch_norm_tangent": 38, "batch_norm_transpose": 19, "add": 14},
}
FLOPS = {"sgd": 3_930_008_562, "curveball": 9_148_868_081}
MOVED = {"sgd": 200_611_060, "curveball": 387_048_268}  # bytes that operations read and write
RESIDUALS = 25_399_592  # bytes that the linearization keeps
IN_USE = {"sgd": 27_891_304, "curveball": 29_390_440}  # bytes of large arrays alive at once, kernels in C


def problem():
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((BATCH, 32, 32, 3), np.float32), rng.integers(0, 10, BATCH)
    return lambda m: m(x, train=True), nn.SoftmaxCrossEntropy(labels)


def optimizer(name):
    model = nn.resnet(20)
    return optim.SGD(model, 0.01, momentum=0.9) if name == "sgd" else optim.CurveBall(model, adapt_lam=False)


@pytest.mark.parametrize("name", PASSES)
def test_operations_arithmetic_and_bytes_moved(name):
    opt, (predict, loss) = optimizer(name), problem()
    opt.step(predict, loss)
    with mg.trace() as t:
        opt.step(predict, loss)
    assert [(p.kind, len(p.ops)) for p in t] == PASSES[name]
    ran = Counter(op.primitive for p in t for op in p.ops)
    assert {kernel: ran[kernel] for kernel in KERNELS[name]} == KERNELS[name]
    assert sum(op.flops for op in t.ops) == FLOPS[name]
    assert sum(op.bytes for op in t.ops) == MOVED[name]


def test_what_the_linearization_keeps():
    (predict, _), (w, unravel) = problem(), mg.ravel(nn.resnet(20))
    _, J = mg.linearize(lambda w: predict(unravel(w)), w)
    assert J.residual_bytes == RESIDUALS


@pytest.mark.parametrize("name", PASSES)
def test_memory_of_a_repeated_step(name, monkeypatch):
    """No block is made for a large array; beside the pool there are a few vectors of parameters at most."""
    pool = memory.Pool()
    monkeypatch.setattr(memory, "POOL", pool)
    opt, (predict, loss) = optimizer(name), problem()
    for _ in range(3):
        opt.step(predict, loss)
    gc.collect()
    made = pool.made
    tracemalloc.start()
    for _ in range(3):
        opt.step(predict, loss)
    beside = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert beside < (3 if choice.c_is_chosen() else 5) * 4 * PARAMETERS
    assert pool.most <= (1 if choice.c_is_chosen() else 1.25) * IN_USE[name]
    # The kernels in NumPy need room to work in, each thread its own, and how many run at once is chance.
    assert pool.made == made or not choice.c_is_chosen()
