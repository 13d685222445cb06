"""A second array library for tests: `array_api_strict` on a device that never converts to NumPy by itself.

Importing this file makes it a backend of minigrad. `xp` adds to the standard what NumPy and CuPy have beyond
it and minigrad asks of them, in terms of the standard.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import array_api_strict as strict
import numpy as np

from minigrad.backend import DTYPES, HOME, KERNELS, Backend, generic
from minigrad.core import TRACERS
from minigrad.protocols import BINARY

Array = Any
DEVICE = strict.Device("device1")
NAMES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 complex64 complex128".split()
OWN = {np.dtype(name): getattr(strict, name) for name in NAMES}
CREATION = "arange asarray empty eye full linspace ones zeros".split()


def own(x: Any) -> Any:
    """NumPy's dtypes, and Python's types, as those of the library, and NumPy's numbers as its arrays."""
    if isinstance(x, np.generic):
        return strict.asarray(x, device=DEVICE)
    return OWN[np.dtype(x)] if isinstance(x, (np.dtype, type)) else x


class Namespace:
    """The functions of a namespace, which also take NumPy's dtypes; new arrays are made on the device."""

    def __init__(self, space: Any) -> None:
        self._space = space

    def __getattr__(self, name: str) -> Any:
        f = getattr(self._space, name)
        if not callable(f):
            return f

        @wraps(f)
        def call(*args: Any, **kwargs: Any) -> Any:
            if name in CREATION:
                kwargs["device"] = DEVICE
            return f(*map(own, args), **{k: own(v) for k, v in kwargs.items()})

        setattr(self, name, call)
        return call


class Strict(Namespace):
    def __init__(self) -> None:
        super().__init__(strict)
        self.linalg, self.fft = Namespace(strict.linalg), Namespace(strict.fft)

    def ascontiguousarray(self, x: Array) -> Array:
        """The standard knows nothing of memory."""
        return x

    def asnumpy(self, x: Array) -> np.ndarray:
        """The one way to NumPy, asked for by name."""
        return np.asarray(x.to_device(strict.Device("CPU_DEVICE")))

    def bincount(self, x: Array, weights: Array | None = None, minlength: int = 0) -> Array:
        """By a product with ones and zeros."""
        counts = max([minlength, *(int(i) + 1 for i in self.asnumpy(x))])
        hit = xp.reshape(x, (-1, 1)) == xp.arange(counts)
        if weights is None:
            return xp.sum(xp.astype(hit, xp.int64), axis=0)
        return xp.matmul(xp.astype(weights, xp.float64), xp.astype(hit, xp.float64))

    def diagonal(self, x: Array, offset: int, axis1: int, axis2: int) -> Array:
        assert (axis1, axis2) == (-2, -1)
        return strict.linalg.diagonal(x, offset=offset)

    def rint(self, x: Array) -> Array:
        return strict.round(x)

    def where(self, condition: Array, x: Any, y: Any) -> Array:
        """The standard's chooses between two Python numbers neither."""
        condition, x, y = own(condition), own(x), own(y)
        numbers = not isinstance(x, ARRAY) and not isinstance(y, ARRAY)
        return strict.where(condition, x, self.asarray(y) if numbers else y)

    def take(self, x: Array, indices: Array, axis: int = 0) -> Array:
        """The standard's indices have one axis."""
        taken = strict.take(x, strict.reshape(indices, (-1,)), axis=axis)
        return strict.reshape(taken, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


xp: Any = Strict()
BACKEND = Backend("strict", xp, generic.kernels_on(xp))
KERNELS[xp] = BACKEND.kernels
ARRAY = type(xp.zeros(()))
HOME[ARRAY] = BACKEND
DTYPES[ARRAY] = {mine: theirs for theirs, mine in OWN.items()}


def to_strict(x: Any) -> Array:
    """A copy on the device."""
    return xp.asarray(np.array(x))


def deferring(operator: Callable) -> Callable:
    """An operator that leaves a tracer on its right to the tracer, as those of all other libraries do."""
    return lambda self, other: NotImplemented if type(other) in TRACERS else operator(self, own(other))


for _name in BINARY & set(vars(ARRAY)):
    setattr(ARRAY, _name, deferring(getattr(ARRAY, _name)))
ARRAY.__array_ufunc__ = None  # so that a NumPy number on the left leaves the operator to the array
