"""What differs between array libraries: which namespace an array belongs to, and which kernels serve it.

`backend_of(x)` is one dictionary look-up on `type(x)`. Operations are written once against the namespace
`xp`; only what is worth a kernel (convolution, pooling, batch norm, relu) is asked of the backend.
"""

from typing import Any, NamedTuple

import numpy

from ..errors import MixedBackendError
from . import choice

__all__ = ["Backend", "asnumpy", "backend_of", "to_device"]


class Backend(NamedTuple):
    """An array library: its name, its namespace `xp`, and the kernels that serve its arrays."""

    name: str
    xp: Any
    kernels: Any


def backend_of(*arrays: Any) -> Backend:
    """The one backend that all of `arrays` live on; plain numbers live on any.

    Raises MixedBackendError when two libraries meet, TypeError for something that is no array.

    >>> import numpy as np
    >>> backend_of(np.ones(3), 2.0).name
    'numpy'
    """
    found = None
    for x in arrays:
        home = HOME[type(x)]
        if home is not None and home is not found:
            if found is not None:
                raise mixed_backends(found, home)
            found = home
    return found or NUMPY


def asnumpy(x: Any) -> numpy.ndarray:
    """`x` as a NumPy array, copied from the device when it lives on one.

    >>> asnumpy(2.0)
    array(2.)
    """
    home = HOME[type(x)]
    return numpy.asarray(x) if home is None or home is NUMPY else home.xp.asnumpy(x)


def to_device(x: Any, device: str) -> Any:
    """Array `x` on `device`, "cpu" or "cuda"; raises RuntimeError when CUDA cannot be used here.

    >>> import numpy as np
    >>> to_device(np.ones(2), "cpu")
    array([1., 1.])
    """
    if device == "cpu":
        return asnumpy(x)
    if device == "cuda":
        return _cupy().xp.asarray(x)
    raise ValueError(f"unknown device {device!r}: use 'cpu' or 'cuda'")


def kernels_of(xp: Any) -> Any:
    """The kernels behind a namespace: functions by the names of `generic`."""
    return KERNELS[xp]


def mixed_backends(one: Backend, other: Backend) -> MixedBackendError:
    return MixedBackendError(
        f"{one.name} and {other.name} arrays meet in one operation: "
        "move one of them first, with minigrad.to_device(x, 'cpu' or 'cuda')"
    )


NUMPY = Backend("numpy", numpy, choice.KERNELS)
KERNELS: dict[Any, Any] = {numpy: choice.KERNELS}

# For arrays of a type that has dtypes of its own kind: NumPy's for each of them.
DTYPES: dict[type, dict[Any, numpy.dtype]] = {}


class _Home(dict):
    """type -> Backend, or None for a number that follows the arrays beside it; tracers add themselves."""

    def __missing__(self, cls: type) -> Any:
        for base in cls.__mro__[1:]:
            if base in self:
                self[cls] = self[base]
                return self[cls]
        if cls.__module__.partition(".")[0] == "cupy":
            self[cls] = _cupy()
            return self[cls]
        raise TypeError(
            f"{cls.__name__} is not an array: minigrad works on NumPy and CuPy arrays and on numbers"
        )


# A NumPy scalar is what NumPy returns for a 0-d result; like a Python number it may stand beside any array.
# None is a tangent that is exactly zero, as rules hand it to primitives that are linear in several arguments.
HOME: dict[type, Any] = _Home(
    {
        numpy.ndarray: NUMPY,
        list: NUMPY,
        tuple: NUMPY,
        numpy.generic: None,
        float: None,
        int: None,
        bool: None,
        complex: None,
        type(None): None,
    }
)


def _cupy() -> Backend:
    from . import cupy

    return cupy.BACKEND
