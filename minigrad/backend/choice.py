"""Which kernels serve NumPy arrays: those in C where they compile and prove right, those of `cpu` elsewhere.

MINIGRAD_CPU_KERNELS=numpy or c insists on one of them. The choice is made at the first convolution.
"""

import functools
import os
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from . import c, cpu, generic


def either(name: str) -> Callable[..., Any]:
    """The kernel `name` in C if it can be had, otherwise from `cpu`; half precision is always `cpu`'s."""
    in_c, in_numpy = getattr(c, name), getattr(cpu, name)

    @functools.wraps(in_numpy)
    def kernel(*args: Any) -> Any:
        return (in_c if args[0].dtype in c.DTYPES and c_is_chosen() else in_numpy)(*args)

    return kernel


@functools.cache
def c_is_chosen() -> bool:
    """Whether the kernels in C are used. Raises RuntimeError when they are asked for and do not work."""
    wanted = os.environ.get("MINIGRAD_CPU_KERNELS", "")
    if wanted not in ("", "numpy", "c"):
        raise ValueError(f"MINIGRAD_CPU_KERNELS={wanted}: must be numpy or c")
    if wanted == "numpy":
        return False
    try:
        c.check()
    except Exception as error:  # whatever is odd about a compiler or its work: there are other kernels
        if wanted == "c":
            raise RuntimeError(f"MINIGRAD_CPU_KERNELS=c, but these kernels do not work: {error}") from error
        warnings.warn(
            f"convolution takes the slower kernels in NumPy, because those in C do not work: {error}. "
            "MINIGRAD_CPU_KERNELS=numpy chooses them without this warning",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True


KERNELS = SimpleNamespace(
    **{name: either(name) if name in c.NAMES else getattr(cpu, name) for name in generic.NAMES}
)
