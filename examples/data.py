"""Real image data for the examples: scikit-learn's digits, MNIST and CIFAR-10, read from files on disk.
Images stay uint8 in memory; `batches` shuffles, normalises and augments, `prefetch` does so ahead of use.
Whatever is missing or damaged ends in a one-line `DataError`; no other data is ever put in its place.
"""

import importlib
import math
import operator
import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from formats import SOURCES, DataError, read_cifar10, read_mnist
from numpy.typing import DTypeLike, NDArray

T = TypeVar("T")
Batch = tuple[NDArray[Any], NDArray[np.int64]]

MAX_SHIFT = 2
DIGITS = tuple("0123456789")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test images with their labels, as stored on disk.

    Attributes:
        name: 'digits', 'mnist' or 'cifar10'.
        train_x, test_x: images, uint8 (N, H, W, C), where H, W, C is 8, 8, 1 for digits (with values 0..16),
            28, 28, 1 for mnist and 32, 32, 3 for cifar10.
        train_y, test_y: labels, int64 (N,), indices into `classes`.
        classes: the name of each label.
        mean, std: one float per channel, over all training pixels, on the scale of the stored values.
        augment: whether `batches` flips and shifts by default (cifar10 only: digits do not survive a flip).

    Example:
        >>> data = load("digits")
        >>> data.train_x.shape, data.test_x.shape, data.classes[3]
        ((1437, 8, 8, 1), (360, 8, 8, 1), '3')
    """

    name: str
    train_x: NDArray[np.uint8]
    train_y: NDArray[np.int64]
    test_x: NDArray[np.uint8]
    test_y: NDArray[np.int64]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: bool


def load(name: str, data_dir: str | Path | None = None) -> Dataset:
    """Read a dataset: 'digits' (comes with scikit-learn), 'mnist' or 'cifar10' (both from `data_dir`).

    Args:
        name: which dataset.
        data_dir: for mnist, the folder of the four idx files (.gz or plain), or one with them in MNIST/raw;
            for cifar10, the folder of cifar-10-batches-bin or cifar-10-batches-py, or one of these itself;
            digits ignores it.

    Raises:
        DataError: unknown name, no `data_dir`, a missing, truncated or malformed file, or no scikit-learn.

    Example:
        >>> load("digits").train_x.dtype
        dtype('uint8')
    """
    if name == "digits":
        return _load_digits()
    if name not in SOURCES:
        raise DataError(f"unknown dataset {name!r}: choose one of digits, {', '.join(SOURCES)}")
    if not data_dir:
        raise DataError(f"{name} needs its files: get {SOURCES[name]}, and name their folder with --data-dir")
    folder = Path(data_dir).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; --data-dir must hold {SOURCES[name]}")
    if name == "mnist":
        return _dataset("mnist", *read_mnist(folder), DIGITS)
    return _dataset("cifar10", *read_cifar10(folder), augment=True)


def batches(
    dataset: Dataset,
    batch_size: int,
    rng: np.random.Generator,
    *,
    dtype: DTypeLike = "float32",
    augment: bool | None = None,
) -> Iterator[Batch]:
    """One epoch of the training images, shuffled, normalised and, if asked, augmented.

    A last incomplete batch is dropped, so that batch normalisation never sees a tiny one. Augmentation flips
    left to right with probability 1/2 and shifts by up to 2 pixels each way; what moves in is 0, the mean.

    Args:
        dataset: from `load`.
        batch_size: images per batch.
        rng: source of all randomness; nothing else may draw from it until the epoch is over.
        dtype: floating type of the images.
        augment: whether to augment; None leaves it to `dataset.augment`.

    Yields:
        x: dtype (batch_size, H, W, C), (pixel - mean) / std.
        y: int64 (batch_size,).

    Raises:
        DataError: at the call, for a bad argument or fewer than `batch_size` images.

    Example:
        >>> x, y = next(batches(load("digits"), 32, epoch_rng(seed=0, epoch=1)))
        >>> x.shape, x.dtype, y.shape
        ((32, 8, 8, 1), dtype('float32'), (32,))
    """
    size = _positive("batch_size", batch_size)
    kind = _float_dtype(dtype)
    if not isinstance(rng, np.random.Generator):
        raise DataError(
            f"rng must be a numpy.random.Generator, not {type(rng).__name__}: use epoch_rng(seed, epoch)"
        )
    images = len(dataset.train_x)
    if images < size:
        raise DataError(
            f"{dataset.name}: {images} training images do not fill a batch of {size}: lower batch_size"
        )
    augmented = dataset.augment if augment is None else augment

    def epoch() -> Iterator[Batch]:
        order = rng.permutation(images)
        for start in range(0, images - size + 1, size):
            chosen = order[start : start + size]
            x = _normalise(dataset.train_x[chosen], dataset, kind)
            yield (_flip_and_shift(x, rng) if augmented else x), dataset.train_y[chosen]

    return epoch()


def eval_batches(
    x: NDArray[np.uint8],
    y: NDArray[np.int64],
    dataset: Dataset,
    batch_size: int,
    dtype: DTypeLike = "float32",
) -> Iterator[Batch]:
    """The given images in order, normalised like those of `batches`, never augmented.

    Args:
        x: stored images, uint8 (N, H, W, C), such as `dataset.test_x`.
        y: their labels, int64 (N,).
        dataset: whose mean and std to use.
        batch_size: most images per batch.
        dtype: floating type of the images.

    Yields:
        x: dtype (n, H, W, C), n = batch_size but for the last, which may be smaller.
        y: int64 (n,).

    Raises:
        DataError: at the call, for a bad argument, no images, or images and labels that do not match.

    Example:
        >>> data = load("digits")
        >>> [len(y) for x, y in eval_batches(data.test_x, data.test_y, data, 200)]
        [200, 160]
    """
    size = _positive("batch_size", batch_size)
    kind = _float_dtype(dtype)
    if x.ndim != 4 or x.shape[3] != len(dataset.mean) or not len(x):
        raise DataError(
            f"x has shape {x.shape}: {dataset.name} needs (N, H, W, {len(dataset.mean)}) with N > 0"
        )
    if x.dtype != np.uint8:
        raise DataError(f"x is {x.dtype}: pass the stored uint8 images, they are normalised here")
    if y.shape != (len(x),):
        raise DataError(f"y has shape {y.shape}: {len(x)} images need labels of shape ({len(x)},)")
    return (
        (_normalise(x[start : start + size], dataset, kind), y[start : start + size])
        for start in range(0, len(x), size)
    )


def prefetch(iterator: Iterable[T], depth: int = 2) -> Generator[T, None, None]:
    """The same items in the same order, computed ahead by one daemon thread.

    The thread starts when the first item is asked for. It ends with the iterator, or once the generator is
    closed or dropped (as by a `break` out of a loop over it); an iterator left early is closed in the thread.

    Args:
        iterator: what to run; from now on the thread's alone, with all it draws from (such as an rng).
        depth: most items waiting at a time.

    Raises:
        DataError: at the call, if depth is not at least 1.
        Exception: whatever the iterator raised, after the items that came before it.

    Example:
        >>> list(prefetch(iter("abc")))
        ['a', 'b', 'c']
    """
    return _prefetched(iterator, _positive("depth", depth))


def epoch_rng(seed: int, epoch: int) -> np.random.Generator:
    """The generator of one epoch: it depends on nothing before it, so resuming at epoch k needs no replay.

    Raises:
        DataError: seed or epoch is not an integer >= 0.

    Example:
        >>> bool(epoch_rng(7, 3).random() == epoch_rng(7, 3).random())
        True
    """
    return np.random.default_rng([_whole("seed", seed, 0), _whole("epoch", epoch, 0)])


def _positive(name: str, value: int) -> int:
    return _whole(name, value, 1)


def _whole(name: str, value: int, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise DataError(f"{name} is {value!r}: it must be a whole number of at least {least}")
    return number


def _float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        kind = np.dtype(dtype)
    except (TypeError, ValueError):
        kind = np.dtype(object)
    # None means float64 to numpy, which nobody who passes None by mistake wants.
    if dtype is None or kind.kind != "f":
        raise DataError(f"dtype is {dtype!r}: images need a floating type such as 'float32' or 'float64'")
    return kind


def _normalise(x: NDArray[np.uint8], dataset: Dataset, dtype: np.dtype[Any]) -> NDArray[Any]:
    # float16 cannot hold the mean to a tenth of a grey level, so the arithmetic is never done in it.
    exact = np.result_type(dtype, np.float32)
    out = x.astype(exact)
    out -= np.asarray(dataset.mean, exact)
    out /= np.asarray(dataset.std, exact)
    return out.astype(dtype, copy=False)


def _flip_and_shift(x: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    count, height, width, _ = x.shape
    pad = (MAX_SHIFT, MAX_SHIFT)
    padded = np.pad(x, ((0, 0), pad, pad, (0, 0)))
    top, left = rng.integers(0, 2 * MAX_SHIFT + 1, (2, count, 1))
    flip = rng.random((count, 1)) < 0.5
    across = np.arange(width)
    rows = top + np.arange(height)
    columns = left + np.where(flip, across[::-1], across)
    moved: NDArray[Any] = padded[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved


def _prefetched(iterator: Iterable[T], depth: int) -> Generator[T, None, None]:
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        last: tuple[str, Any] = ("end", None)
        try:
            source = iter(iterator)
            for item in source:
                ready.put(("item", item))
                if stop.is_set():
                    getattr(source, "close", lambda: None)()
                    return
        except BaseException as error:  # noqa: BLE001 - it is raised in the consumer
            last = ("error", error)
        if not stop.is_set():
            ready.put(last)

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stop.set()
        # The worker looks at `stop` after each put: emptied once, the queue has room for the one to come.
        while not ready.empty():
            ready.get_nowait()
        # An iterator that never returns must not hang its consumer too.
        thread.join(timeout=5)


def _dataset(
    name: str,
    train: tuple[NDArray[np.uint8], NDArray[np.int64]],
    test: tuple[NDArray[np.uint8], NDArray[np.int64]],
    classes: tuple[str, ...],
    augment: bool = False,
) -> Dataset:
    x = train[0]
    total = np.zeros(x.shape[3], np.int64)
    squares = np.zeros(x.shape[3], np.int64)
    # In pieces, as a float copy of all of CIFAR-10 takes over a gigabyte; integer sums stay exact.
    for start in range(0, len(x), 1000):
        piece = x[start : start + 1000].reshape(-1, x.shape[3]).astype(np.uint32)
        total += piece.sum(axis=0, dtype=np.int64)
        squares += (piece * piece).sum(axis=0, dtype=np.int64)
    count = x.size // x.shape[3]
    mean = tuple(int(t) / count for t in total)
    # A channel of one value has no spread to divide by; 1 leaves its (zero) deviations alone.
    spread = (count * int(s) - int(t) ** 2 for s, t in zip(squares, total, strict=True))
    std = tuple(math.sqrt(v) / count or 1.0 for v in spread)
    return Dataset(name, *train, *test, classes=classes, mean=mean, std=std, augment=augment)


def _load_digits() -> Dataset:
    try:
        source = importlib.import_module("sklearn.datasets")
    except ImportError as error:
        raise DataError(f'digits comes with scikit-learn ({error}): pip install -e ".[train]"') from None
    stored = source.load_digits()
    x = stored.images.astype(np.uint8)[..., None]
    y = stored.target.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:1437], order[1437:]
    return _dataset("digits", (x[train], y[train]), (x[test], y[test]), DIGITS)
