"""Which kernels serve NumPy arrays: those in C where they compile and prove right, those in NumPy elsewhere.

MINIGRAD_CPU_KERNELS=numpy or c insists on one of them. The choice is made when the first of them is called.
"""

import functools
import os
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import c_conv, c_norm, c_pool, cpu, cpu_conv, generic, large, threads

IN_C = {name: getattr(module, name) for module in (c_conv, c_norm, c_pool) for name in module.NAMES}
IN_NUMPY = {name: getattr(module, name) for module in (cpu, cpu_conv, large) for name in module.NAMES}
DTYPES: set[np.dtype] = {np.dtype(np.float32), np.dtype(np.float64)}
INDICES: set[np.dtype] = {np.dtype(np.uint8), np.dtype(np.int32)}  # they may stand beside either


def either(name: str) -> Callable[..., Any]:
    """The kernel `name` in C if it can be had, otherwise in NumPy, as always in half precision."""
    in_c, in_numpy = IN_C[name], IN_NUMPY[name]

    @functools.wraps(in_numpy)
    def kernel(*args: Any) -> Any:
        dtypes = {a.dtype for a in args if isinstance(a, np.ndarray)} - INDICES
        return (in_c if len(dtypes) == 1 and dtypes <= DTYPES and c_is_chosen() else in_numpy)(*args)

    return kernel


@functools.cache
def c_is_chosen() -> bool:
    """Whether the kernels in C are used. Raises RuntimeError when they are asked for and do not work."""
    wanted = os.environ.get("MINIGRAD_CPU_KERNELS", "")
    if wanted not in ("", "numpy", "c"):
        raise ValueError(f"MINIGRAD_CPU_KERNELS={wanted}: must be numpy or c")
    if wanted == "numpy":
        return False
    threads.workers()  # what is wrong with that setting is not the compiler's fault
    try:
        check()
    except Exception as error:  # whatever is odd about a compiler or its work: there are other kernels
        if wanted == "c":
            raise RuntimeError(f"MINIGRAD_CPU_KERNELS=c, but these kernels do not work: {error}") from error
        warnings.warn(
            f"the slower kernels in NumPy are used, because those in C do not work: {error}. "
            "MINIGRAD_CPU_KERNELS=numpy chooses them without this warning",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return True


def check() -> None:
    """Raises RuntimeError unless the kernels in C agree with `generic` on a small case."""
    for dtype in sorted(DTYPES, key=str):
        rng = np.random.default_rng(0)
        x, w = (rng.standard_normal(s).astype(dtype) for s in ((2, 7, 5, 3), (19, 3, 2, 3)))
        how = (2, 1), ((1, 1), (1, 0)), (1, 2), 1
        y = generic.conv2d(np, x, w, *how)
        gamma, beta = w[0, 0]
        pool = (3, 2), (2, 1), ((1, 1), (1, 0))
        index, pooled = generic.pool_index(np, x, *pool), generic.window_sum(np, x, *pool)
        cases = {
            "conv2d": (x, w, *how),
            "conv2d_tangent": (x + 1, w - 1, x, w, *how),
            "conv2d_input": (y, w, (7, 5), *how),
            "conv2d_filter": (x, y, (3, 2), *how),
            "batch_norm": (x, gamma, beta, 0.1, -x, True),
            "batch_norm_tangent": (x, gamma, beta, x + 1, beta, gamma, x, -x),
            "batch_norm_transpose": (x, x + 1, beta, gamma, -x),
            "relu": (x,),
            "pool_index": (x, *pool),
            "pool_gather": (x, index, *pool),
            "pool_scatter": (pooled, index, (7, 5), *pool),
            "window_sum": (x, *pool),
            "window_spread": (pooled, (7, 5), *pool),
            "relu_mask": (x, -x),
        }
        for name, args in cases.items():
            results = IN_C[name](*args), getattr(generic, name)(np, *args)
            pairs = zip(*results, strict=True) if isinstance(results[0], tuple) else [results]
            if not all(np.allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max()) for a, b in pairs):
                raise RuntimeError(f"{name} in {dtype} comes out wrong")


KERNELS = SimpleNamespace(**IN_NUMPY | {name: either(name) for name in IN_C})
