"""Layers against plain NumPy, losses against their own derivatives, models by their numbers, checkpoints."""

import math

import numpy as np
import pytest
import safetensors.numpy

import minigrad as mg
from minigrad import nn

F8 = np.float64


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def softmax(y):
    e = np.exp(y - y.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


# ----- Layers -----


def test_linear_is_a_matrix_and_a_shift():
    layer = nn.Linear(3, 2, rng=0, dtype=F8)
    layer.bias = draw(2)
    x = draw(4, 5, 3)
    np.testing.assert_allclose(layer(x), x @ layer.weight + layer.bias, rtol=1e-14)
    bare = nn.Linear(3, 2, rng=0, bias=False)
    assert bare.bias is None and len(mg.tree_leaves(bare)) == 1
    assert bare(np.ones((4, 3), np.float32)).dtype == np.float32


def plain_convolution(x, w, stride, padding, dilation, groups):
    (sh, sw), (dh, dw), (top, bottom), (left, right) = stride, dilation, *padding
    x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    out, kh, kw, c = w.shape
    h, v = (x.shape[1] - dh * (kh - 1) - 1) // sh + 1, (x.shape[2] - dw * (kw - 1) - 1) // sw + 1
    y = np.zeros((len(x), h, v, out))
    for o in range(out):
        first = o // (out // groups) * c
        for i in range(h):
            for j in range(v):
                rows = slice(i * sh, i * sh + dh * kh, dh)
                window = x[:, rows, j * sw : j * sw + dw * kw : dw, first : first + c][:, :kh, :kw]
                y[:, i, j, o] = (window * w[o]).sum(axis=(1, 2, 3))
    return y


@pytest.mark.parametrize(
    ("settings", "geometry"),
    [
        ({}, ((1, 1), ((0, 0), (0, 0)), (1, 1), 1)),
        ({"stride": 2, "padding": 1}, ((2, 2), ((1, 1), (1, 1)), (1, 1), 1)),
        ({"stride": (2, 1), "padding": (0, 2)}, ((2, 1), ((0, 0), (2, 2)), (1, 1), 1)),
        ({"padding": ((0, 1), (2, 0)), "dilation": 2}, ((1, 1), ((0, 1), (2, 0)), (2, 2), 1)),
        ({"groups": 2}, ((1, 1), ((0, 0), (0, 0)), (1, 1), 2)),
    ],
)
def test_conv2d_sums_products_over_windows(settings, geometry):
    layer = nn.Conv2d(4, 6, (3, 2), rng=0, dtype=F8, **settings)
    layer.bias = draw(6)
    x = draw(2, 7, 6, 4)
    assert layer.weight.shape == (6, 3, 2, 4 // geometry[3])
    np.testing.assert_allclose(
        layer(x), plain_convolution(x, layer.weight, *geometry) + layer.bias, rtol=1e-12
    )


def test_layer_norm_normalises_each_row():
    layer = nn.LayerNorm(4, dtype=F8)
    layer.gamma, layer.beta = draw(4), draw(4, seed=1)
    x = draw(2, 3, 4, seed=2)
    xhat = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(layer(x), layer.gamma * xhat + layer.beta, rtol=1e-13)


def test_pooling_layers_take_the_maximum_and_the_mean_of_windows():
    x = draw(2, 6, 6, 3)
    windows = x.reshape(2, 3, 2, 3, 2, 3)
    np.testing.assert_array_equal(nn.MaxPool2d(2)(x), windows.max(axis=(2, 4)))
    np.testing.assert_allclose(nn.AvgPool2d(2)(x), windows.mean(axis=(2, 4)), rtol=1e-14)
    np.testing.assert_allclose(nn.GlobalAvgPool()(x), x.mean(axis=(1, 2)), rtol=1e-14)
    # With padding the maximum never takes a zero from outside, and the mean always does.
    y = -np.ones((1, 2, 2, 1))
    np.testing.assert_array_equal(nn.MaxPool2d(3, 1, 1)(y), y)
    np.testing.assert_allclose(nn.AvgPool2d(3, 1, 1)(y), 4 / 9 * y)
    assert nn.MaxPool2d(3, 2, 1)(x).shape == nn.AvgPool2d((3, 3), (2, 2), (1, 1))(x).shape == (2, 3, 3, 3)


def test_flatten_keeps_the_batch():
    x = draw(2, 3, 4, 5)
    np.testing.assert_array_equal(nn.Flatten()(x), x.reshape(2, 60))
    assert nn.Flatten()(x[:0]).shape == (0, 60)


def test_embedding_picks_rows_and_its_gradient_counts_them():
    layer = nn.Embedding(5, 3, rng=0, dtype=F8)
    index = np.array([[1, 2], [2, 2]])
    np.testing.assert_array_equal(layer(index), layer.weight[index])
    g = mg.grad(lambda m: m(index).sum())(layer)
    np.testing.assert_array_equal(g.weight[:, 0], [0, 1, 3, 0, 0])


erf = np.vectorize(math.erf)
ACTIVATIONS = {
    nn.ReLU: lambda x: np.where(x > 0, x, 0),
    nn.Tanh: np.tanh,
    nn.Sigmoid: lambda x: 1 / (1 + np.exp(-x)),
    nn.GELU: lambda x: x * 0.5 * (1 + erf(x / np.sqrt(2))),
    nn.Softplus: lambda x: np.log(1 + np.exp(x)),
    nn.SiLU: lambda x: x / (1 + np.exp(-x)),
}


@pytest.mark.parametrize("layer", ACTIVATIONS)
def test_activations_are_their_formulas(layer):
    x = 3 * draw(50)
    np.testing.assert_allclose(layer()(x), ACTIVATIONS[layer](x), rtol=1e-13, atol=1e-15)
    assert layer()(x.astype(np.float32)).dtype == np.float32
    assert not mg.tree_leaves(layer())
    # Far out nothing overflows and no derivative is NaN.
    far = np.array([-800.0, 800.0])
    y, dy = mg.jvp(layer(), (far,), (np.ones(2),))
    assert np.isfinite(y).all() and np.isfinite(dy).all()


def test_sequential_and_residual_compose():
    a, b = nn.Linear(3, 3, rng=0, dtype=F8), nn.Linear(3, 3, rng=1, dtype=F8)
    x = draw(2, 3)
    np.testing.assert_allclose(
        nn.Sequential(a, nn.Tanh(), b)(x), np.tanh(x @ a.weight) @ b.weight, rtol=1e-13
    )
    np.testing.assert_allclose(nn.Residual(a)(x), x @ a.weight + x, rtol=1e-13)
    np.testing.assert_allclose(nn.Residual(a, b)(x), x @ a.weight + x @ b.weight, rtol=1e-13)


def test_train_reaches_every_layer_inside():
    model = nn.Sequential(nn.Residual(nn.Sequential(nn.Dropout(0.5, rng=0)), nn.Dropout(0.5, rng=1)))
    x = np.ones((50, 4))
    np.testing.assert_array_equal(model(x), 2 * x)
    assert set(np.unique(model(x, train=True))) == {0.0, 2.0, 4.0}


def test_the_gradient_with_respect_to_a_module_is_a_module():
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, rng=0, padding=1), nn.BatchNorm(3), nn.ReLU(), nn.GlobalAvgPool()
    )
    x = draw(2, 4, 4, 2).astype(np.float32)
    g = mg.grad(lambda m: m(x, train=True).sum())(model)
    assert type(g) is nn.Sequential and type(g.layers[0]) is nn.Conv2d
    assert g.layers[0].padding == 1 and g.layers[1].running_mean is model.layers[1].running_mean
    moved = mg.tree_map(lambda w, d: w - 0.1 * d, model, g)
    assert moved(x).shape == (2, 3)
    for w, d in zip(mg.tree_leaves(model), mg.tree_leaves(g), strict=True):
        assert w.shape == d.shape and d.dtype == np.float32


# ----- Batch norm -----


def batch_norm_layer():
    layer = nn.BatchNorm(3, dtype=F8)
    layer.gamma, layer.beta = draw(3, seed=4), draw(3, seed=5)
    return layer, 2 + draw(4, 5, 5, 3, seed=6)


def test_batch_norm_uses_the_batch_in_training_and_the_running_averages_otherwise():
    layer, x = batch_norm_layer()
    axes = (0, 1, 2)
    expected = layer.gamma * (x - x.mean(axes)) / np.sqrt(x.var(axes) + 1e-5) + layer.beta
    np.testing.assert_allclose(layer(x, train=True), expected, rtol=1e-12)
    mean, var = layer.running_mean.value, layer.running_var.value
    expected = layer.gamma * (x - mean) / np.sqrt(var + 1e-5) + layer.beta
    np.testing.assert_allclose(layer(x), expected, rtol=1e-12)
    assert layer.running_mean.value is mean  # train=False moves nothing


@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_takes_no_shortcut_of_another_shape(train):
    layer, x = batch_norm_layer()
    with pytest.raises(ValueError, match="the shortcut is .*3.*, but x is"):
        layer(x, train, np.ones(3))


def test_running_statistics_move_by_the_rule_of_pytorch():
    layer, x = batch_norm_layer()
    axes, mean, var = (0, 1, 2), np.zeros(3), np.ones(3)
    for step in range(3):
        batch = x * (step + 1)
        layer(batch, train=True)
        mean = 0.9 * mean + 0.1 * batch.mean(axes)
        var = 0.9 * var + 0.1 * batch.var(axes, ddof=1)  # the unbiased estimate, though y uses the biased one
    np.testing.assert_allclose(layer.running_mean.value, mean, rtol=1e-12)
    np.testing.assert_allclose(layer.running_var.value, var, rtol=1e-12)
    # By hand: rows 1 and 3 have mean 2 and unbiased variance 2.
    small = nn.BatchNorm(1, dtype=F8)
    small(np.array([[1.0], [3.0]]), train=True)
    np.testing.assert_allclose([small.running_mean.value[0], small.running_var.value[0]], [0.2, 0.9 + 0.2])


def primal_passes(run):
    """How often running statistics moved while `run(layer, x)` ran, and that they are plain arrays."""
    layer, x = batch_norm_layer()
    layer.momentum = 0.5  # after k passes over the same batch the mean is (1 - 0.5^k) of the batch's
    run(layer, x)
    assert type(layer.running_mean.value) is type(layer.running_var.value) is np.ndarray
    share = layer.running_mean.value / x.mean((0, 1, 2))
    count = -np.log2(1 - share)
    np.testing.assert_allclose(count, np.round(count[0]), atol=1e-9)
    return round(count[0])


def replays(layer, x):
    y, J = mg.linearize(lambda x: layer(x, train=True), x)
    J(x), J(x), J.T(y), mg.linearize(J, x)
    H = mg.linearize(mg.grad(lambda x: (J(x) ** 2).sum()), x)[1]
    H(x), H.T(x)


@pytest.mark.parametrize(
    ("run", "passes"),
    [
        (lambda m, x: m(x, train=True), 1),
        (lambda m, x: m(x), 0),
        (replays, 1),
        (lambda m, x: mg.jvp(lambda x: m(x, train=True), (x,), (x,)), 1),
        (lambda m, x: mg.grad(lambda m: (m(x, train=True) ** 2).sum())(m), 1),
        (lambda m, x: mg.ggn_vp(lambda m: m(x, train=True), lambda y: (y**2).sum(), m, m), 1),
        (lambda m, x: mg.hvp(lambda x: (m(x, train=True) ** 3).sum(), (x,), (x,), "fwd_over_rev"), 1),
        (lambda m, x: mg.hvp(lambda x: (m(x, train=True) ** 3).sum(), (x,), (x,), "rev_over_rev"), 1),
        (lambda m, x: mg.hvp(lambda x: (m(x, train=True) ** 3).sum(), (x,), (x,), "rev_over_fwd"), 1),
        (lambda m, x: mg.hvp(lambda m: (m(x, train=True) ** 3).sum(), (m,), (m,)), 1),
        (lambda m, x: mg.jacfwd(lambda gamma: mg.batch_norm(m(x, train=True), gamma, gamma))(m.gamma), 1),
        (lambda m, x: mg.hessian(lambda s: (m(s * x, train=True) ** 3).sum())(1.0), 1),
    ],
)
def test_running_statistics_move_once_a_primal_pass_and_never_in_a_tangent_pass(run, passes):
    assert primal_passes(run) == passes


def test_nested_transformations_leave_no_tracers_in_the_running_statistics():
    # Under a second transformation the batch's mean is a tracer; were it kept, the next call would fail.
    layer, x = batch_norm_layer()
    for mode in ("fwd_over_rev", "rev_over_rev", "rev_over_fwd"):
        mg.hvp(lambda x: (layer(x, train=True) ** 3).sum(), (x,), (x,), mode)
        assert type(layer.running_mean.value) is np.ndarray
    assert np.isfinite(layer(x)).all()


def test_keeping_buffers_puts_statistics_and_counters_back():
    model = nn.Sequential(nn.BatchNorm(3), nn.Dropout(0.5, rng=0))
    before = [b.value for _, b in mg.tree_buffers(model)]
    with pytest.raises(KeyError), mg.keeping_buffers(model):
        model(draw(4, 3), train=True)
        raise KeyError
    assert all(a is b.value for a, (_, b) in zip(before, mg.tree_buffers(model), strict=True))


# ----- Dropout -----


def test_dropout_zeroes_a_share_and_scales_the_rest():
    layer = nn.Dropout(0.25, rng=0)
    y = layer(np.ones((100, 100)), train=True)
    assert set(np.unique(y)) == {0.0, 1 / 0.75}
    assert abs((y == 0).mean() - 0.25) < 0.02  # five standard deviations of 10,000 draws
    assert layer(np.ones(3, np.float32), train=True).dtype == np.float32
    x = draw(5)
    assert nn.Dropout(0.0, rng=0)(x, train=True) is x and layer(x) is x


def test_the_mask_is_a_function_of_the_counter():
    layer, x = nn.Dropout(0.5, rng=3), np.ones(64)
    first, second = layer(x, train=True), layer(x, train=True)
    assert layer.count.value == 2 and not np.array_equal(first, second)
    layer.count.value = 0
    np.testing.assert_array_equal(layer(x, train=True), first)
    np.testing.assert_array_equal(layer(x, train=True), second)
    np.testing.assert_array_equal(nn.Dropout(0.5, rng=3)(x, train=True), first)
    assert not np.array_equal(nn.Dropout(0.5, rng=4)(x, train=True), first)


def test_tangents_and_cotangents_go_through_the_mask_of_their_primal_pass():
    layer, x = nn.Dropout(0.5, rng=0), np.ones(64)
    y, J = mg.linearize(lambda x: layer(x, train=True), x)
    for _ in range(2):
        np.testing.assert_array_equal(J(x), y)
        np.testing.assert_array_equal(J.T(x), y)
    assert layer.count.value == 1
    mg.hvp(lambda x: (layer(x, train=True) ** 2).sum(), (x,), (x,))
    assert layer.count.value == 2


# ----- Losses -----

LABELS = np.array([2, 0, 1, 2])
LOSSES = {
    "softmax": lambda how: nn.SoftmaxCrossEntropy(LABELS, how),
    "squared": lambda how: nn.SquaredError(draw(4, 3, seed=9), how),
    "binary": lambda how: nn.BinaryCrossEntropy(np.random.default_rng(9).random((4, 3)), how),
}
each_loss = pytest.mark.parametrize("name", LOSSES)
each_reduction = pytest.mark.parametrize("how", ["mean", "sum"])


@each_loss
@each_reduction
def test_the_closed_form_of_a_loss_is_its_derivatives(name, how):
    loss, y = LOSSES[name](how), 2 * draw(4, 3)
    value, g, H = loss.quadratic(y)
    assert value == loss(y)
    np.testing.assert_allclose(g, mg.grad(loss)(y), rtol=1e-12, atol=1e-14)
    dense = mg.hessian(loss)(y).reshape(12, 12)
    closed = np.stack([H(e.reshape(4, 3)).reshape(-1) for e in np.eye(12)])
    np.testing.assert_allclose(closed, dense, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(closed, closed.T, atol=1e-15)
    assert np.linalg.eigvalsh(closed).min() > -1e-14


@each_loss
def test_the_mean_divides_by_the_number_of_examples(name):
    y = draw(4, 3)
    mean, total = LOSSES[name]("mean").quadratic(y), LOSSES[name]("sum").quadratic(y)
    np.testing.assert_allclose(total[0], 4 * mean[0], rtol=1e-14)
    np.testing.assert_allclose(total[1], 4 * mean[1], rtol=1e-14)
    np.testing.assert_allclose(total[2](y), 4 * mean[2](y), rtol=1e-14)


def test_losses_are_their_formulas():
    y = draw(4, 3)
    p = softmax(y)
    np.testing.assert_allclose(
        LOSSES["softmax"]("sum")(y), -np.log(p[np.arange(4), LABELS]).sum(), rtol=1e-14
    )
    t = LOSSES["squared"]("sum").targets
    np.testing.assert_allclose(LOSSES["squared"]("mean")(y), ((y - t) ** 2).sum() / 4, rtol=1e-14)
    loss = LOSSES["binary"]("sum")
    q, t = 1 / (1 + np.exp(-y)), loss.targets
    np.testing.assert_allclose(loss(y), -(t * np.log(q) + (1 - t) * np.log(1 - q)).sum(), rtol=1e-13)


def test_a_shift_of_all_logits_does_not_matter_to_softmax():
    loss, y = LOSSES["softmax"]("mean"), draw(4, 3)
    _, g, H = loss.quadratic(y)
    np.testing.assert_allclose(H(np.ones((4, 3))), 0, atol=1e-16)
    np.testing.assert_allclose(g.sum(axis=1), 0, atol=1e-16)
    np.testing.assert_allclose(loss(y + 100), loss(y), rtol=1e-13)
    far = np.array([[1e4, -1e4, 0.0]] * 4)
    assert all(np.isfinite(v).all() for v in (loss(far), loss.quadratic(far)[1], loss.quadratic(far)[2](far)))


@each_loss
def test_losses_keep_float32(name):
    loss, y = LOSSES[name]("mean"), draw(4, 3).astype(np.float32)
    if name != "softmax":
        loss.targets = loss.targets.astype(np.float32)
    value, g, H = loss.quadratic(y)
    assert value.dtype == g.dtype == H(y).dtype == loss(y).dtype == np.float32


@each_loss
def test_the_closed_form_can_be_differentiated(name):
    # Third derivatives: the Hessian map is made of primitives.
    loss, y, v = LOSSES[name]("mean"), draw(4, 3), draw(4, 3, seed=1)
    along = mg.jvp(lambda y: loss.quadratic(y)[2](v), (y,), (v,))[1]
    expected = mg.jvp(lambda y: mg.hvp(loss, (y,), (v,)), (y,), (v,))[1]
    np.testing.assert_allclose(along, expected, rtol=1e-10, atol=1e-14)


# ----- Checkpoints -----


def test_a_checkpoint_keeps_every_bit_shape_and_dtype(tmp_path):
    wide = draw(6, 8)
    state = {
        "transposed": wide.T,
        "strided": wide[::2, 1::3],
        "reversed": wide[::-1],
        "broadcast": np.broadcast_to(wide[0], (3, 8)),
        "fortran": np.asfortranarray(wide),
        "odd bits": np.array([np.nan, -0.0, np.inf, 5e-324, 1 + 2**-52]),
        "number": np.array(3.5),
        "scalar": np.float32(0.1),
        "empty": np.zeros((0, 3), np.float32),
        "halves": np.ones(3, np.float16),
        "ints": np.arange(5, dtype=np.int8),
        "flags": np.array([True, False]),
        "nested": {"deep": {"w": wide[:, 0]}, "step": 7, "lr": 0.1, "name": "sgd", "none": None, "on": True},
    }
    path = tmp_path / "state.safetensors"
    nn.save_state(path, state)
    again = nn.load_state(path)

    def compare(a, b):
        assert type(a) is type(b) or hasattr(a, "dtype")
        if isinstance(a, dict):
            assert list(a) == list(b)
            for key in a:
                compare(a[key], b[key])
        elif hasattr(a, "dtype"):
            assert a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
        else:
            assert a == b

    compare(state, again)
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_damaged_checkpoint_is_a_value_error(tmp_path):
    path = tmp_path / "state.safetensors"
    nn.save_state(path, {"w": np.ones(1000), "step": 1})
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:100], whole[:4], b"", b"text" * 50, whole[:8] + b"x" + whole[9:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged or no minigrad checkpoint .*take an earlier one"):
            nn.load_state(path)
    safetensors.numpy.save_file({"w": np.ones(2)}, path)  # a good file, but not one of ours
    with pytest.raises(ValueError, match="no minigrad checkpoint"):
        nn.load_state(path)


@pytest.mark.parametrize("failure", ["writing", "content"])
def test_a_failing_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failure):
    path = tmp_path / "state.safetensors"
    nn.save_state(path, {"w": np.ones(3)})
    state = {"w": np.zeros(3)}
    if failure == "writing":

        def disk_full(arrays, where, metadata):
            where.write_bytes(b"half a file")
            raise OSError("disk full")

        monkeypatch.setattr(safetensors.numpy, "save_file", disk_full)
    else:
        state["function"] = len
    with pytest.raises((OSError, TypeError)):
        nn.save_state(path, state)
    np.testing.assert_array_equal(nn.load_state(path)["w"], np.ones(3))
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]


def test_two_arrays_that_come_to_one_name_are_refused_and_not_merged(tmp_path):
    with pytest.raises(ValueError, match="the name 'a/b'"):
        nn.save_state(tmp_path / "s", {"a/b": np.ones(2), "a": {"b": np.zeros(2)}})


# ----- Models -----


def test_basic_cifar_has_the_parameters_of_the_paper():
    # 5x5x3x32 + 32, 5x5x32x32 + 32, 5x5x32x64 + 64, 4x4x64x64 + 64, 64x10 + 10
    plain = nn.count_parameters(nn.basic_cifar(batch_norm=False))
    assert plain == 2432 + 25632 + 51264 + 65600 + 650 == 145578
    assert nn.count_parameters(nn.basic_cifar()) == plain + 2 * (32 + 32 + 64 + 64) == plain + 384


def resnet_parameters(depth):
    """He et al. 2016, section 4.2: 3x3 convolutions, each with batch norm and no bias, one linear layer."""
    n, count, before = (depth - 2) // 6, 3 * 16 * 9 + 2 * 16, 16
    for width in (16, 32, 64):
        for _ in range(n):
            count += before * width * 9 + width * width * 9 + 4 * width
            before = width
    return count + 64 * 10 + 10


@pytest.mark.parametrize(("depth", "count"), [(8, None), (20, 269722), (32, None), (56, None), (110, None)])
def test_residual_networks_have_the_parameters_of_the_paper(depth, count):
    # 269,722 = 432 + 32 in the stem, 13,824 + 192, 50,688 + 384 and 202,752 + 768 in the stages (convolutions
    # and batch norms), 650 at the end. Shortcuts have none (option A); the paper rounds to 0.27M.
    assert resnet_parameters(20) == 269722
    assert nn.count_parameters(nn.resnet(depth)) == resnet_parameters(depth)
    assert nn.count_parameters(nn.build(f"resnet{depth}", (32, 32, 3), 10)) == resnet_parameters(depth)


def test_other_models_have_the_parameters_that_one_counts():
    assert nn.count_parameters(nn.mlp((4, 3, 2))) == 4 * 3 + 3 + 3 * 2 + 2
    assert nn.count_parameters(nn.lenet()) == 20 * 26 + 50 * (20 * 25 + 1) + 801 * 500 + 501 * 10 == 431080
    assert nn.count_parameters(nn.resnet18()) == 11173962  # that of the usual CIFAR ResNet-18
    # VGG-11's convolutions without biases, two batch norm parameters a channel, one linear layer
    pairs = list(
        zip((3, 64, 128, 256, 256, 512, 512, 512), (64, 128, 256, 256, 512, 512, 512, 512), strict=True)
    )
    assert nn.count_parameters(nn.vgg(11)) == sum(9 * a * b + 2 * b for a, b in pairs) + 5130


def test_the_stem_of_resnet18_is_that_for_small_or_for_large_images():
    # The parameters of the usual ImageNet ResNet-18
    assert nn.count_parameters(nn.resnet18(1000, stem="imagenet")) == 11689512
    x = draw(2, 32, 32, 3).astype(np.float32)
    for name, sides in (("resnet18", [32, 16, 8, 4]), ("resnet18_imagenet", [8, 4, 2, 1])):
        y, side = x, {}
        for layer in nn.build(name, (32, 32, 3), 10).layers[:-2]:
            y = layer(y, train=True)
            side[y.shape[3]] = y.shape[1]  # after the last layer of so many channels
        assert side == dict(zip((64, 128, 256, 512), sides, strict=True)), name
    with pytest.raises(ValueError, match="stem 'large' is unknown: use 'cifar' or 'imagenet'"):
        nn.resnet18(stem="large")


@pytest.mark.parametrize("name", ["mlp", "lenet", "basic_cifar", "basic_cifar_bn", "resnet8", "resnet14"])
def test_models_have_the_right_output_shape_and_the_same_bits_for_the_same_seed(name):
    build = lambda seed, dtype=np.float32: nn.build(name, (32, 32, 3), 7, seed, dtype)  # noqa: E731
    model, x = build(5), draw(2, 32, 32, 3).astype(np.float32)
    y = model(x, train=True)
    assert y.shape == (2, 7) and y.dtype == np.float32
    pairs = list(zip(mg.tree_leaves(model), mg.tree_leaves(build(5)), strict=True))
    assert all(a.tobytes() == b.tobytes() and a.dtype == np.float32 for a, b in pairs)
    assert y.tobytes() == build(5)(x, train=True).tobytes()
    assert not np.array_equal(y, build(6)(x, train=True))
    assert build(np.random.default_rng(5))(x, train=True).tobytes() == y.tobytes()


def test_every_name_builds_and_is_float64_throughout_when_asked():
    # The deeper ones are made of the same parts.
    names = ["mlp", "lenet", "basic_cifar", "basic_cifar_bn", "resnet20", "vgg11"]
    names += ["resnet18", "resnet18_imagenet"]
    assert set(names) <= set(nn.models.NAMES)
    for name in names:
        model = nn.build(name, (32, 32, 1), 3, 0, F8)
        assert {leaf.dtype for leaf in mg.tree_leaves(model)} == {np.dtype(F8)}, name
        y = model(draw(2, 32, 32, 1), train=True)
        assert y.dtype == F8 and y.shape == (2, 3), name
        assert all(b.value.dtype == F8 for path, b in mg.tree_buffers(model)), name


def test_layers_make_their_parameters_in_the_dtype_asked_for():
    for dtype in (np.float32, F8):
        for layer in (
            nn.Linear(2, 2, 0, dtype=dtype),
            nn.Conv2d(2, 2, 1, 0, dtype=dtype),
            nn.BatchNorm(2, dtype=dtype),
            nn.LayerNorm(2, dtype=dtype),
            nn.Embedding(2, 2, 0, dtype=dtype),
        ):
            assert {leaf.dtype for leaf in mg.tree_leaves(layer)} == {np.dtype(dtype)}


def test_the_shortcut_without_parameters_subsamples_and_pads_channels():
    x = draw(2, 5, 5, 3)
    y = nn.models.Subsample(2, 2)(x)
    np.testing.assert_array_equal(y[..., :3], x[:, ::2, ::2])
    assert y.shape == (2, 3, 3, 5) and not y[..., 3:].any()


# ----- Initial values -----


def test_initial_values_have_the_moments_they_promise():
    n = 40000
    w = nn.normal(0, (n,), 0.05, F8)
    np.testing.assert_allclose([w.mean(), w.std()], [0, 0.05], rtol=0.02, atol=0.001)
    w = nn.he_normal(0, (200, 200), fan_in=50, dtype=F8)
    np.testing.assert_allclose([w.mean(), w.std()], [0, np.sqrt(2 / 50)], rtol=0.02, atol=0.005)
    w = nn.xavier_uniform(0, (200, 200), 30, 20, F8)
    bound = np.sqrt(6 / 50)
    assert 0.99 * bound < np.abs(w).max() <= bound
    np.testing.assert_allclose([w.mean(), w.std()], [0, bound / np.sqrt(3)], rtol=0.02, atol=0.005)


def test_layers_start_as_they_promise():
    conv = nn.Conv2d(64, 64, 3, rng=0, groups=2)
    np.testing.assert_allclose(conv.weight.std(), np.sqrt(2 / (9 * 32)), rtol=0.03)  # fan-in of one group
    assert not conv.bias.any() and not nn.Linear(9, 9, rng=0).bias.any()
    np.testing.assert_allclose(nn.Linear(200, 100, rng=0).weight.std(), np.sqrt(2 / 300), rtol=0.03)
    np.testing.assert_allclose(nn.Embedding(200, 100, rng=0).weight.std(), 1, rtol=0.03)
    first, *rest = [m.weight for m in nn.basic_cifar().layers if isinstance(m, nn.Conv2d)]
    np.testing.assert_allclose([w.std() for w in (first, *rest)], [0.01] + [0.05] * 4, rtol=0.1)


def test_one_generator_gives_layers_different_weights_and_leaves_numpys_own_alone():
    rng = np.random.default_rng(0)
    assert not np.array_equal(nn.Linear(3, 3, rng).weight, nn.Linear(3, 3, rng).weight)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    nn.resnet(8)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
