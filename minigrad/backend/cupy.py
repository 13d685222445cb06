"""CuPy: the generic kernels on its namespace. Imported only when a CuPy array or the device "cuda" is met.

CuPy 14 carries no cuDNN, so convolution is a sum of matrix products here. A missing or unusable CUDA
is one line that says what to install.
"""

from . import KERNELS, Backend, generic

try:
    import cupy as xp
except ImportError:
    raise RuntimeError(
        "CUDA arrays need CuPy: pip install 'minigrad[cuda12]' or 'minigrad[cuda13]'"
    ) from None

# `import cupy` succeeds without a driver; only this probe tells whether arrays can be made.
if not xp.cuda.is_available():
    raise RuntimeError("CuPy is installed, but no usable CUDA device was found: use device 'cpu'")

KERNELS[xp] = generic.kernels_on(xp)
BACKEND = Backend("cupy", xp, KERNELS[xp])
