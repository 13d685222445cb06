"""The official file formats of MNIST (idx) and CIFAR-10 (binary, pickled), with every check they allow.

Whatever is missing, cut off or altered ends in a one-line `DataError` that names the file. Pickles are read
without letting them call anything.
"""

import codecs
import gzip
import io
import math
import pickle
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Images = tuple[NDArray[np.uint8], NDArray[np.int64]]  # (N, H, W, C) and labels (N,)

SOURCES = {
    "mnist": "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and "
    "t10k-labels-idx1-ubyte.gz from https://ossci-datasets.s3.amazonaws.com/mnist/",
    "cifar10": "cifar-10-binary.tar.gz or cifar-10-python.tar.gz, unpacked, from "
    "https://www.cs.toronto.edu/~kriz/cifar.html",
}


class DataError(Exception):
    """Data that is missing, damaged or asked for wrongly; one line that names it and the way out."""


def read_mnist(folder: Path) -> tuple[Images, Images]:
    """Training and test images (N, 28, 28, 1) with labels, from the idx files in `folder` or MNIST/raw."""
    return _mnist_split(folder, "train"), _mnist_split(folder, "t10k")


def read_cifar10(folder: Path) -> tuple[Images, Images, tuple[str, ...]]:
    """Training and test images (N, 32, 32, 3) with labels, and class names, from either official layout."""
    for place in (folder / "cifar-10-batches-bin", folder / "cifar-10-batches-py", folder):
        # Any of its files marks a layout, so that an incomplete folder is told what it lacks.
        if any(place.glob("data_batch_*.bin")) or (place / "test_batch.bin").is_file():
            suffix, read, classes = ".bin", _read_records, _read_meta_text
        elif any(place.glob("data_batch_?")) or (place / "test_batch").is_file():
            suffix, read, classes = "", _read_pickled, _read_meta_pickled
        else:
            continue
        parts = [read(place / f"data_batch_{i}{suffix}") for i in range(1, 6)]
        train = np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])
        return train, read(place / f"test_batch{suffix}"), classes(place)
    raise DataError(
        f"{folder}: no cifar-10-batches-bin or cifar-10-batches-py with batches in it; "
        f"--data-dir must hold {SOURCES['cifar10']}"
    )


def _mnist_split(folder: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    image_file = _find_idx(folder, f"{split}-images", 3)
    label_file = _find_idx(folder, f"{split}-labels", 1)
    x = _read_idx(image_file, (28, 28))
    y = _read_idx(label_file, ())
    if len(x) != len(y):
        raise DataError(
            f"{label_file}: {len(y)} labels for the {len(x)} images of {image_file.name}: get both again"
        )
    _check_labels(label_file, y)
    return x[..., None], y.astype(np.int64)


def _find_idx(folder: Path, stem: str, dims: int) -> Path:
    for place in (folder, folder / "MNIST" / "raw"):
        for name in (f"{stem}-idx{dims}-ubyte", f"{stem}.idx{dims}-ubyte"):
            for path in (place / name, place / f"{name}.gz"):
                if path.is_file():
                    return path
    wanted = folder / f"{stem}-idx{dims}-ubyte.gz"
    raise DataError(
        f"{wanted}: missing, also without .gz and in MNIST/raw; --data-dir must hold {SOURCES['mnist']}"
    )


def _read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    content, cut_off = _read_bytes(path), False
    if path.suffix == ".gz":
        content, cut_off = _gunzip(path, content)
    header = 8 + 4 * len(shape)
    if len(content) < header:
        raise DataError(
            f"{path}: {len(content)} bytes, expected a header of {header} and then data: get it again"
        )
    magic, count, *dims = (int(n) for n in np.frombuffer(content, ">u4", header // 4))
    wanted = 0x0800 + 1 + len(shape)
    if magic != wanted:
        raise DataError(f"{path}: magic number {magic}, expected {wanted}: not this MNIST file, get it again")
    if tuple(dims) != shape:
        raise DataError(
            f"{path}: images of {'x'.join(map(str, dims))}, expected 28x28: not MNIST, get it again"
        )
    if not count:
        raise DataError(f"{path}: its header counts no items: get it again")
    expected = header + count * math.prod(shape)
    if len(content) != expected:
        raise DataError(f"{path}: {len(content)} bytes, expected {expected} for {count} items: get it again")
    if cut_off:
        raise DataError(f"{path}: the gzip checksum at its end is cut off: get it again")
    return np.frombuffer(content, np.uint8, offset=header).reshape(count, *shape)


def _gunzip(path: Path, packed: bytes) -> tuple[bytes, bool]:
    try:
        return gzip.decompress(packed), False
    except EOFError:
        # What can still be unpacked lets the caller say how much is missing.
        return zlib.decompressobj(wbits=31).decompress(packed), True
    except (OSError, zlib.error) as error:
        raise DataError(f"{path}: corrupt gzip ({error}): get it again") from None


def _check_labels(path: Path, labels: NDArray[Any]) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels > 9))
    if len(wrong):
        raise DataError(f"{path}: label {labels[wrong[0]]} at item {wrong[0]}, expected 0 to 9: get it again")


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: missing: unpack the archive again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}): check the file and --data-dir") from None


def _images(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # CIFAR-10 stores each image as a red, a green and a blue plane.
    return np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _read_records(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    content = _read_bytes(path)
    if not content or len(content) % 3073:
        raise DataError(
            f"{path}: {len(content)} bytes, expected a positive multiple of 3073 (officially 30730000): "
            "unpack the archive again"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, 3073)
    _check_labels(path, records[:, 0])
    return _images(records[:, 1:]), records[:, 0].astype(np.int64)


def _read_meta_text(folder: Path) -> tuple[str, ...]:
    path = folder / "batches.meta.txt"
    return _ten_names(path, _read_bytes(path).split())


def _read_pickled(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    entries = _unpickle(path)
    data, labels = entries.get("data"), entries.get("labels")
    x = data.values if isinstance(data, _Array) else None
    if x is None or x.dtype != np.uint8 or x.ndim != 2 or x.shape[1] != 3072 or not len(x):
        found = "none" if x is None else f"{x.dtype} {x.shape}"
        raise DataError(f"{path}: 'data' is {found}, expected uint8 (N, 3072): unpack the archive again")
    if isinstance(labels, _Array):
        labels = labels.values.tolist()
    if not isinstance(labels, list) or len(labels) != len(x) or not all(isinstance(n, int) for n in labels):
        raise DataError(f"{path}: 'labels' is not a list of {len(x)} whole numbers: unpack the archive again")
    y = np.array(labels)
    _check_labels(path, y)
    return _images(x), y.astype(np.int64)


def _read_meta_pickled(folder: Path) -> tuple[str, ...]:
    path = folder / "batches.meta"
    return _ten_names(path, _unpickle(path).get("label_names"))


def _ten_names(path: Path, names: Any) -> tuple[str, ...]:
    listed = names if isinstance(names, list) else []
    texts = tuple(_text(name) for name in listed)
    if len(set(texts)) != 10 or len(texts) != 10:
        raise DataError(
            f"{path}: {len(texts)} class names, expected 10 different ones: unpack the archive again"
        )
    return texts


def _text(value: Any) -> str:
    # Python 2 wrote the official pickles, so their strings arrive as bytes.
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _unpickle(path: Path) -> dict[str, Any]:
    content = _read_bytes(path)
    try:
        loaded = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:  # noqa: BLE001
        # A damaged pickle can raise nearly anything, and its text may run over several lines.
        raise DataError(
            f"{path}: {len(content)} bytes that are no complete CIFAR-10 pickle ({type(error).__name__}): "
            "unpack the archive again"
        ) from None
    if not isinstance(loaded, dict):
        raise DataError(f"{path}: holds a {type(loaded).__name__}, expected a dict: unpack the archive again")
    return {_text(key): value for key, value in loaded.items()}


class _Dtype:
    """Stands in for numpy.dtype, and lets only integers through."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = _text(code)
        self.order = "|"

    def __setstate__(self, state: Any) -> None:
        self.order = _text(state[1])

    def integer(self) -> np.dtype[Any]:
        kind = np.dtype(self.order + self.code)
        if kind.kind not in "iu":
            raise DataError(f"an array of {self.code!r}, expected integers: unpack the official archive")
        return kind


class _Array:
    """Stands in for numpy's array rebuilding: numpy's own trusts the file's flags and pointers."""

    def __init__(self, *_: Any) -> None:
        self.values: NDArray[Any] = np.empty(0, np.uint8)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, by_column, content = state
        self.values = np.frombuffer(content, dtype.integer()).reshape(shape, order="F" if by_column else "C")


def _scalar(dtype: _Dtype, content: bytes) -> int:
    return int(np.frombuffer(content, dtype.integer())[0])


class _Unpickler(pickle.Unpickler):
    """A pickle names the functions it wants called; here it can name only these."""

    allowed: ClassVar[dict[tuple[str, str], Any]] = {
        # The array type is only ever an argument to the rebuilding, which ignores it.
        ("numpy", "ndarray"): None,
        ("numpy", "dtype"): _Dtype,
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("numpy.core.multiarray", "scalar"): _scalar,
        ("numpy._core.multiarray", "scalar"): _scalar,
        ("_codecs", "encode"): codecs.encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise DataError(
                f"this pickle asks for {f'{module}.{name}'!r}, refused: unpack the official archive"
            )
        return self.allowed[module, name]
