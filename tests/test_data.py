"""Tests of examples/data.py on small files in the real formats, written here."""

import builtins
import gzip
import os
import pickle
import struct
import threading
import time

import data
import numpy as np
import pytest
from data import DataError, Dataset, batches, epoch_rng, eval_batches, load, prefetch

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MNIST_FILES = {
    "train-images": (3, 40),
    "train-labels": (1, 40),
    "t10k-images": (3, 12),
    "t10k-labels": (1, 12),
}


def idx(values):
    return struct.pack(f">{1 + values.ndim}I", 0x0800 + values.ndim, *values.shape) + values.tobytes()


def write_mnist(folder, dot="-", packed=True):
    """Writes the four files and returns their arrays by stem."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    arrays = {}
    for stem, (dims, count) in MNIST_FILES.items():
        shape = (count, 28, 28) if dims == 3 else (count,)
        arrays[stem] = rng.integers(0, 256 if dims == 3 else 10, shape).astype(np.uint8)
        name = f"{stem}{dot}idx{dims}-ubyte"
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(arrays[stem])))
        else:
            (folder / name).write_bytes(idx(arrays[stem]))
    return arrays


def cifar_records(count=4):
    """Returns six (planes (count, 3072), labels (count,)) pairs: five to train with and one to test with."""
    rng = np.random.default_rng(2)
    return [
        (rng.integers(0, 256, (count, 3072)).astype(np.uint8), rng.integers(0, 10, count).astype(np.uint8))
        for _ in range(6)
    ]


def part_names(suffix=""):
    return [f"data_batch_{i}{suffix}" for i in range(1, 6)] + [f"test_batch{suffix}"]


def write_binary(folder):
    folder.mkdir(parents=True)
    parts = cifar_records()
    for name, (planes, labels) in zip(part_names(".bin"), parts, strict=True):
        (folder / name).write_bytes(np.concatenate([labels[:, None], planes], axis=1).tobytes())
    # The official file ends in an empty line.
    (folder / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n")
    return parts


def python2_pickle(planes, labels):
    """The official files, opcode for opcode: Python 2 strings and numpy.core names."""

    def string(text):
        return b"U" + bytes([len(text)]) + text

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + string(b"b") + b"tR(K\x01"
        b"M"
        + struct.pack("<H", len(planes))
        + b"M\x00\x0c\x86cnumpy\ndtype\n("
        + string(b"u1")
        + b"K\x00K\x01tR"
        b"(K\x03" + string(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89T" + struct.pack("<i", planes.size) + planes.tobytes() + b"tb"
    )
    listed = b"](" + b"".join(b"K" + bytes([n]) for n in labels) + b"e"
    return b"\x80\x02}(" + string(b"labels") + listed + string(b"data") + array + b"u."


def write_pickled(folder, dump):
    folder.mkdir(parents=True)
    parts = cifar_records()
    for name, (planes, labels) in zip(part_names(), parts, strict=True):
        (folder / name).write_bytes(dump(planes, labels))
    meta = {b"label_names": [n.encode() for n in NAMES], b"num_cases_per_batch": 10000, b"num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, 2))
    return parts


def python3_pickle(planes, labels):
    return pickle.dumps({b"data": planes, b"labels": labels.tolist(), b"batch_label": b"x"}, 2)


def make_dataset(count=64, size=6, channels=3, augment=True):
    rng = np.random.default_rng(3)
    x = rng.integers(0, 256, (count, size, size, channels)).astype(np.uint8)
    # The first pixel tells the images apart.
    x[:, 0, 0, 0] = np.arange(count)
    y = np.arange(count, dtype=np.int64) % 10
    mean, std = (120.0, 110.0, 100.0)[:channels], (60.0, 50.0, 40.0)[:channels]
    return Dataset("made", x, y, x[:10], y[:10], NAMES, mean, std, augment)


def normalised(dataset, x):
    return ((x - np.array(dataset.mean)) / np.array(dataset.std)).astype(np.float32)


def error_of(call, *args, **kwargs):
    """The message of the DataError that the call must end in, checked to be one line."""
    with pytest.raises(DataError) as caught:
        call(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def prefetch_threads():
    return [t for t in threading.enumerate() if t.name == "prefetch"]


# --- load: digits and bad requests ---


def test_digits_are_the_real_ones():
    stored = pytest.importorskip("sklearn.datasets").load_digits()
    digits = load("digits")
    assert digits.train_x.shape == (1437, 8, 8, 1) and digits.test_x.shape == (360, 8, 8, 1)
    assert digits.train_x.dtype == np.uint8 and digits.train_y.dtype == np.int64
    assert digits.train_x.max() == 16 and not digits.augment and digits.classes == tuple("0123456789")
    order = np.random.default_rng(0).permutation(1797)
    both = np.concatenate([digits.train_x, digits.test_x])[..., 0]
    np.testing.assert_array_equal(both, stored.images[order])
    np.testing.assert_array_equal(np.concatenate([digits.train_y, digits.test_y]), stored.target[order])
    np.testing.assert_allclose(digits.mean, [digits.train_x.mean()], rtol=1e-12)
    np.testing.assert_allclose(digits.std, [digits.train_x.std()], rtol=1e-12)


def test_digits_without_scikit_learn_says_what_to_install(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")

    monkeypatch.setattr(data.importlib, "import_module", missing)
    assert 'pip install -e ".[train]"' in error_of(load, "digits")


def test_unknown_name_lists_the_three():
    message = error_of(load, "imagenet")
    assert "'imagenet'" in message and "digits, mnist, cifar10" in message


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_no_folder_says_where_the_files_are(name, tmp_path):
    message = error_of(load, name)
    assert "--data-dir" in message and "https://" in message
    assert str(tmp_path / "nowhere") in error_of(load, name, tmp_path / "nowhere")
    assert "https://" in error_of(load, name, tmp_path)


# --- load: mnist ---


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dot", ["-", "."])
@pytest.mark.parametrize("inside", ["", "MNIST/raw"])
def test_mnist_layouts(tmp_path, packed, dot, inside):
    arrays = write_mnist(tmp_path / inside, dot, packed)
    mnist = load("mnist", str(tmp_path))
    np.testing.assert_array_equal(mnist.train_x, arrays["train-images"][..., None])
    np.testing.assert_array_equal(mnist.train_y, arrays["train-labels"])
    np.testing.assert_array_equal(mnist.test_x, arrays["t10k-images"][..., None])
    np.testing.assert_array_equal(mnist.test_y, arrays["t10k-labels"])
    assert mnist.train_x.dtype == np.uint8 and mnist.train_y.dtype == np.int64
    assert mnist.classes == tuple("0123456789") and not mnist.augment and mnist.name == "mnist"
    np.testing.assert_allclose(mnist.mean, [mnist.train_x.mean()], rtol=1e-12)
    np.testing.assert_allclose(mnist.std, [mnist.train_x.std()], rtol=1e-12)


@pytest.mark.parametrize("stem", MNIST_FILES)
def test_mnist_missing_file(tmp_path, stem):
    write_mnist(tmp_path)
    name = f"{stem}-idx{MNIST_FILES[stem][0]}-ubyte.gz"
    (tmp_path / name).unlink()
    assert name in error_of(load, "mnist", tmp_path)


IMAGES = "train-images-idx3-ubyte"
FULL = 16 + 40 * 784


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda raw: raw[:-1], (str(FULL - 1), str(FULL))),
        (lambda raw: raw + b"x", (str(FULL + 1), str(FULL))),
        (lambda raw: raw[:7], ("7 bytes", "16")),
        (lambda raw: b"", ("0 bytes", "16")),
        (lambda raw: b"\0\0\x08\x01" + raw[4:], ("magic number 2049", "2051")),
        (lambda raw: raw[:8] + struct.pack(">2I", 32, 24) + raw[16:], ("32x24", "28x28")),
        (lambda raw: raw[:4] + struct.pack(">I", 0) + raw[8:16], ("no items",)),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_mnist_damaged_contents(tmp_path, change, told, packed):
    write_mnist(tmp_path, packed=packed)
    path = tmp_path / (IMAGES + ".gz" * packed)
    raw = path.read_bytes()
    path.write_bytes(gzip.compress(change(gzip.decompress(raw))) if packed else change(raw))
    message = error_of(load, "mnist", tmp_path)
    for part in (path.name, *told):
        assert part in message


def test_mnist_truncated_gzip_tells_expected_and_found(tmp_path):
    write_mnist(tmp_path)
    path = tmp_path / f"{IMAGES}.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    message = error_of(load, "mnist", tmp_path)
    assert path.name in message and f"expected {FULL}" in message
    path.write_bytes(whole[:-3])
    message = error_of(load, "mnist", tmp_path)
    assert path.name in message and "checksum" in message


@pytest.mark.parametrize("content", [b"<html>not found</html>", "flipped bit", "bad header"])
def test_mnist_corrupt_gzip(tmp_path, content):
    write_mnist(tmp_path)
    path = tmp_path / f"{IMAGES}.gz"
    whole = bytearray(path.read_bytes())
    if content == "flipped bit":
        whole[-6] ^= 1
    if content == "bad header":
        whole[10:14] = b"\xff\xff\xff\xff"
    path.write_bytes(content if isinstance(content, bytes) else bytes(whole))
    message = error_of(load, "mnist", tmp_path)
    assert path.name in message and "corrupt gzip" in message


def test_mnist_counts_and_labels(tmp_path):
    arrays = write_mnist(tmp_path, packed=False)
    path = tmp_path / "train-labels-idx1-ubyte"
    path.write_bytes(idx(arrays["train-labels"][:-1]))
    message = error_of(load, "mnist", tmp_path)
    assert path.name in message and "39 labels" in message and "40 images" in message
    arrays["train-labels"][5] = 10
    path.write_bytes(idx(arrays["train-labels"]))
    message = error_of(load, "mnist", tmp_path)
    assert path.name in message and "label 10 at item 5" in message


# --- load: cifar10 ---


def check_cifar(dataset, parts):
    planes = np.concatenate([p for p, _ in parts[:5]])
    x = dataset.train_x
    assert x.shape == (20, 32, 32, 3) and x.dtype == np.uint8 and x.flags.c_contiguous
    for channel in range(3):
        stored = planes[:, 1024 * channel : 1024 * (channel + 1)].reshape(-1, 32, 32)
        np.testing.assert_array_equal(x[..., channel], stored)
    np.testing.assert_array_equal(dataset.train_y, np.concatenate([y for _, y in parts[:5]]))
    np.testing.assert_array_equal(dataset.test_x[2, 3, 4], parts[5][0][2, [100, 1124, 2148]])
    np.testing.assert_array_equal(dataset.test_y, parts[5][1])
    assert dataset.train_y.dtype == np.int64 and dataset.test_y.dtype == np.int64
    assert dataset.classes == NAMES and dataset.augment and dataset.name == "cifar10"
    np.testing.assert_allclose(dataset.mean, x.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(dataset.std, x.std(axis=(0, 1, 2)), rtol=1e-12)


def test_cifar_binary(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    parts = write_binary(folder)
    check_cifar(load("cifar10", tmp_path), parts)
    check_cifar(load("cifar10", folder), parts)


@pytest.mark.parametrize("dump", [python2_pickle, python3_pickle])
def test_cifar_python(tmp_path, dump):
    folder = tmp_path / "cifar-10-batches-py"
    parts = write_pickled(folder, dump)
    check_cifar(load("cifar10", tmp_path), parts)
    check_cifar(load("cifar10", folder), parts)


@pytest.mark.parametrize(
    "dump",
    [
        lambda x, y: pickle.dumps({"data": x, "labels": y.tolist()}, 4),
        lambda x, y: pickle.dumps({b"data": np.asfortranarray(x), b"labels": list(y.astype(np.int64))}, 2),
        lambda x, y: pickle.dumps({b"data": x, b"labels": y.astype(">i4")}, 3),
        lambda x, y: pickle.dumps({b"data": x, b"labels": y.tolist()}, 2).replace(
            b"numpy._core", b"numpy.core"
        ),
    ],
)
def test_cifar_python_written_again_by_others(tmp_path, dump):
    parts = write_pickled(tmp_path / "cifar-10-batches-py", dump)
    check_cifar(load("cifar10", tmp_path), parts)


@pytest.mark.parametrize("name", [*part_names(".bin"), "batches.meta.txt"])
def test_cifar_binary_missing_file(tmp_path, name):
    folder = tmp_path / "cifar-10-batches-bin"
    write_binary(folder)
    (folder / name).unlink()
    message = error_of(load, "cifar10", tmp_path)
    assert str(folder / name) in message and "missing" in message


@pytest.mark.parametrize("name", [*part_names(), "batches.meta"])
def test_cifar_python_missing_file(tmp_path, name):
    folder = tmp_path / "cifar-10-batches-py"
    write_pickled(folder, python3_pickle)
    (folder / name).unlink()
    message = error_of(load, "cifar10", tmp_path)
    assert str(folder / name) in message and "missing" in message


def test_cifar_binary_damaged(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    write_binary(folder)
    path = folder / "data_batch_3.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    message = error_of(load, "cifar10", tmp_path)
    assert str(path) in message and "12291 bytes" in message and "multiple of 3073" in message
    path.write_bytes(b"")
    assert "0 bytes" in error_of(load, "cifar10", tmp_path)
    path.write_bytes(whole[:3073] + b"\x0a" + whole[3074:])
    message = error_of(load, "cifar10", tmp_path)
    assert str(path) in message and "label 10 at item 1" in message
    path.write_bytes(whole)
    (folder / "batches.meta.txt").write_text("cat\ndog\n")
    message = error_of(load, "cifar10", tmp_path)
    assert "batches.meta.txt" in message and "2 class names" in message


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda x, y: python3_pickle(x, y)[:-9], "no complete CIFAR-10 pickle"),
        (lambda x, y: b"", "0 bytes"),
        (lambda x, y: b"<html>\n</html>", "no complete CIFAR-10 pickle"),
        (lambda x, y: pickle.dumps([1], 2), "holds a list"),
        (lambda x, y: pickle.dumps({}, 2), "'data' is none"),
        (lambda x, y: python3_pickle(x[:, :3071], y), "(4, 3071)"),
        (lambda x, y: python3_pickle(x.astype(np.int32), y), "int32"),
        (lambda x, y: pickle.dumps({b"data": x[:0]}, 4), "(0, 3072)"),
        (lambda x, y: python3_pickle(x.astype(float), y), "'f8'"),
        (lambda x, y: python3_pickle(x.astype(object), y), "'O8'"),
        (lambda x, y: python3_pickle(x, y[:-1]), "'labels' is not a list of 4"),
        (lambda x, y: pickle.dumps({b"data": x}, 2), "'labels' is not a list of 4"),
        (lambda x, y: python3_pickle(x, y * 0 + 10), "label 10 at item 0"),
        (lambda x, y: pickle.dumps({b"data": x, b"labels": [-1] * 4}, 2), "label -1 at item 0"),
        (lambda x, y: pickle.dumps({b"data": x, b"labels": [2**70] * 4}, 2), "label 1180591620717411303424"),
    ],
)
def test_cifar_python_damaged(tmp_path, change, told):
    folder = tmp_path / "cifar-10-batches-py"
    parts = write_pickled(folder, python3_pickle)
    path = folder / "data_batch_2"
    path.write_bytes(change(*parts[1]))
    message = error_of(load, "cifar10", tmp_path)
    assert str(path) in message and told in message


class Runs:
    """Its pickle calls what it is given as soon as it is loaded."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("where", ["data_batch_1", "batches.meta"])
@pytest.mark.parametrize(
    ("function", "args", "named"),
    [
        (os.mkdir, "ran", "mkdir"),
        (builtins.exec, "import os; os.mkdir('ran')", "exec"),
        (builtins.getattr, "ran", "getattr"),
        (np.load, "ran", "load"),
    ],
)
def test_cifar_pickle_that_runs_code_is_refused(tmp_path, monkeypatch, where, function, args, named):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "cifar-10-batches-py"
    write_pickled(folder, python3_pickle)
    (folder / where).write_bytes(pickle.dumps({b"data": Runs(function, args)}, 2))
    message = error_of(load, "cifar10", tmp_path)
    assert str(folder / where) in message and named in message and "refused" in message
    assert not (tmp_path / "ran").exists()


# --- batches ---


def test_one_epoch_holds_each_image_once_normalised():
    dataset = make_dataset(64)
    got = list(batches(dataset, 16, epoch_rng(0, 0), augment=False))
    assert [x.shape for x, _ in got] == [(16, 6, 6, 3)] * 4
    x, y = np.concatenate([x for x, _ in got]), np.concatenate([y for _, y in got])
    assert x.dtype == np.float32 and y.dtype == np.int64
    origin = np.rint(x[:, 0, 0, 0] * 60 + 120).astype(int)
    assert sorted(origin) == list(range(64)) and list(origin) != list(range(64))
    np.testing.assert_allclose(x, normalised(dataset, dataset.train_x[origin]), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(y, dataset.train_y[origin])


def test_an_incomplete_batch_is_dropped():
    dataset = make_dataset(64)
    assert [len(y) for _, y in batches(dataset, 30, epoch_rng(0, 0))] == [30, 30]


@pytest.mark.parametrize("dtype", ["float16", "float32", np.float64])
def test_dtype(dtype):
    dataset = make_dataset()
    for augment in (False, True):
        x, _ = next(batches(dataset, 8, epoch_rng(0, 0), dtype=dtype, augment=augment))
        assert x.dtype == np.dtype(dtype) and x.flags.c_contiguous
    x, _ = next(eval_batches(dataset.test_x, dataset.test_y, dataset, 4, dtype))
    assert x.dtype == np.dtype(dtype)
    np.testing.assert_allclose(x, normalised(dataset, dataset.test_x[:4]), rtol=2e-3, atol=1e-3)


def test_augmented_images_are_flips_and_shifts():
    image = np.arange(1, 26, dtype=np.uint8).reshape(1, 5, 5, 1)
    # Mean 0 and deviation 1 keep the plain numbers.
    one = Dataset("made", np.repeat(image, 3000, 0), np.zeros(3000, np.int64), image, np.zeros(1, np.int64),
                  ("a",), (0.0,), (1.0,), True)  # fmt: skip
    variants = {}
    for flip in (False, True):
        wide = np.zeros((9, 9))
        wide[2:7, 2:7] = image[0, :, ::-1, 0] if flip else image[0, :, :, 0]
        for top in range(5):
            for left in range(5):
                variants[wide[top : top + 5, left : left + 5].tobytes()] = (flip, top, left)
    assert len(variants) == 50
    x, _ = next(batches(one, 3000, epoch_rng(0, 0), dtype="float64"))
    seen = [variants[picture.tobytes()] for picture in x[..., 0]]
    assert len(set(seen)) == 50
    assert 1350 < sum(flip for flip, _, _ in seen) < 1650
    for axis in (1, 2):
        assert all(500 < sum(s[axis] == shift for s in seen) < 700 for shift in range(5))


def test_what_moves_in_is_zero_after_normalisation():
    dataset = make_dataset(64)
    bright = Dataset("made", dataset.train_x | 1, dataset.train_y, *[dataset.test_x, dataset.test_y], NAMES,
                     (0.0, 0.0, 0.0), (10.0, 10.0, 10.0), True)  # fmt: skip
    x, _ = next(batches(bright, 64, epoch_rng(0, 0)))
    empty = x == 0
    assert empty.any() and not empty[:, 2:4, 2:4].any()
    assert (empty.all(axis=3) == empty.any(axis=3)).all()


def test_channels_and_labels_stay_with_their_image():
    dataset = make_dataset(50)
    x, y = next(batches(dataset, 50, epoch_rng(4, 0)))
    whole = np.pad(normalised(dataset, dataset.train_x), ((0, 0), (2, 2), (2, 2), (0, 0)))
    order = epoch_rng(4, 0).permutation(50)
    for got, label, i in zip(x, y, order, strict=True):
        wide = whole[i]
        variants = [
            w[t : t + 6, u : u + 6] for w in (wide, wide[:, ::-1]) for t in range(5) for u in range(5)
        ]
        assert sum(np.allclose(got, v, rtol=1e-5, atol=1e-6) for v in variants) == 1
        assert label == dataset.train_y[i]


def test_augment_follows_the_dataset_unless_told():
    plain, moved = make_dataset(augment=False), make_dataset(augment=True)

    def first(dataset, augment):
        return next(batches(dataset, 32, epoch_rng(0, 0), augment=augment))[0]

    np.testing.assert_array_equal(first(plain, None), first(moved, False))
    np.testing.assert_array_equal(first(moved, None), first(plain, True))
    assert (first(moved, None) != first(plain, None)).any()


def test_same_seed_same_batches_with_or_without_prefetch():
    dataset = make_dataset()

    def run(seed, epoch, ahead):
        epoch_batches = batches(dataset, 16, epoch_rng(seed, epoch))
        return [x.tobytes() + y.tobytes() for x, y in (prefetch(epoch_batches) if ahead else epoch_batches)]

    once = run(5, 1, False)
    assert once == run(5, 1, False) == run(5, 1, True)
    assert once != run(5, 2, False) and once != run(6, 1, False)


def test_stored_images_are_not_changed():
    dataset = make_dataset()
    before = dataset.train_x.copy()
    for x, y in batches(dataset, 16, epoch_rng(0, 0)):
        x += 1
        y += 1
    np.testing.assert_array_equal(dataset.train_x, before)
    np.testing.assert_array_equal(dataset.train_y, np.arange(64) % 10)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"batch_size": 65}, "64 training images do not fill a batch of 65"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"dtype": "int32"}, "dtype is 'int32'"),
        ({"dtype": "bfloat17"}, "dtype is 'bfloat17'"),
        ({"dtype": None}, "dtype is None"),
        ({"rng": 3}, "use epoch_rng"),
    ],
)
def test_bad_batches_are_refused_at_the_call(arguments, told):
    assert told in error_of(batches, make_dataset(), **{"batch_size": 8, "rng": epoch_rng(0, 0), **arguments})


def test_epoch_rng():
    assert epoch_rng(1, 2).random() == np.random.default_rng([1, 2]).random()
    assert epoch_rng(1, 2).random() != epoch_rng(2, 1).random()
    assert "seed is -1" in error_of(epoch_rng, -1, 0)
    assert "epoch is '3'" in error_of(epoch_rng, 0, "3")


# --- eval_batches ---


def test_eval_batches_in_order_with_a_smaller_last():
    dataset = make_dataset()
    got = list(eval_batches(dataset.test_x, dataset.test_y, dataset, 4))
    assert [len(y) for _, y in got] == [4, 4, 2]
    x = np.concatenate([x for x, _ in got])
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, normalised(dataset, dataset.test_x), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(np.concatenate([y for _, y in got]), dataset.test_y)


def test_bad_eval_batches_are_refused_at_the_call():
    dataset = make_dataset()
    x, y = dataset.test_x, dataset.test_y
    assert "shape (10, 6, 6)" in error_of(eval_batches, x[..., 0], y, dataset, 4)
    assert "shape (10, 6, 6, 1)" in error_of(eval_batches, x[..., :1], y, dataset, 4)
    assert "shape (0, 6, 6, 3)" in error_of(eval_batches, x[:0], y[:0], dataset, 4)
    assert "shape (9,)" in error_of(eval_batches, x, y[:9], dataset, 4)
    assert "x is float64" in error_of(eval_batches, x / 255, y, dataset, 4)
    assert "batch_size is -1" in error_of(eval_batches, x, y, dataset, -1)


# --- prefetch ---


@pytest.mark.parametrize("depth", [1, 2, 50])
def test_prefetch_keeps_order_and_ends(depth):
    assert list(prefetch(iter(range(30)), depth)) == list(range(30))
    assert list(prefetch([], depth)) == []
    assert not prefetch_threads()


def test_prefetch_runs_ahead_but_no_further_than_depth():
    made = []

    def source():
        for i in range(100):
            made.append(i)
            yield i

    ahead = prefetch(source(), 3)
    assert made == []
    assert next(ahead) == 0
    deadline = time.monotonic() + 5
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.05)
    # One was taken, three wait and one is held by the thread.
    assert len(made) == 5
    ahead.close()


def test_prefetch_raises_what_the_iterator_raised_in_its_place():
    def source():
        yield 1
        yield 2
        raise ValueError("broken here")

    ahead = prefetch(source())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(ValueError, match="broken here"):
        next(ahead)
    assert not prefetch_threads()
    with pytest.raises(TypeError):
        next(prefetch(5))


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("taken", [1, 3])
def test_prefetch_stops_when_closed_early(depth, taken):
    closed = threading.Event()

    def source():
        try:
            i = 0
            while True:
                yield i
                i += 1
        finally:
            closed.set()

    ahead = prefetch(source(), depth)
    for i in range(taken):
        assert next(ahead) == i
    assert len(prefetch_threads()) == 1 and prefetch_threads()[0].daemon
    start = time.monotonic()
    ahead.close()
    assert time.monotonic() - start < 2
    assert not prefetch_threads() and closed.is_set()


def test_prefetch_stops_on_break_and_when_the_consumer_fails():
    for item in prefetch(iter(range(10**9))):
        if item == 3:
            break
    assert not prefetch_threads()
    with pytest.raises(RuntimeError, match="mine"):
        fail_while_reading()
    assert not prefetch_threads()


def fail_while_reading():
    ahead = prefetch(iter(range(10**9)))
    try:
        for _ in ahead:
            raise RuntimeError("mine")
    finally:
        ahead.close()


def test_prefetch_closed_many_times_at_any_moment():
    for i in range(200):
        ahead = prefetch(iter(range(i % 7 + 1)), 1 + i % 3)
        next(ahead)
        if i % 2:
            time.sleep(0.0002)
        ahead.close()
        assert not prefetch_threads()


def test_prefetch_never_started_leaves_no_thread_and_depth_is_checked():
    prefetch(iter(range(3))).close()
    assert not prefetch_threads()
    assert "depth is 0" in error_of(prefetch, iter(range(3)), 0)
