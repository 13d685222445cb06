"""The libraries that are compared: one module each, which builds the jobs of a problem.

A module has `network(problem, **options)` or `chain(problem)`, which give jobs by name: functions without
arguments that return a tuple of arrays and lists of arrays. `plain(result)` turns that into NumPy arrays in
minigrad's layouts. VERSIONS names the distributions that the module needs.
"""

from typing import NamedTuple


class Peer(NamedTuple):
    """A library with its settings, as a row or column of a table names it."""

    name: str
    module: str
    options: str = ""
    env: tuple[tuple[str, str], ...] = ()


OURS = [
    Peer("minigrad c", "minigrad_", env=(("MINIGRAD_CPU_KERNELS", "c"),)),
    Peer("minigrad numpy", "minigrad_", env=(("MINIGRAD_CPU_KERNELS", "numpy"),)),
]
TORCH = [
    Peer("torch channels_last", "torch_", "layout=channels_last"),
    Peer("torch NCHW", "torch_", "layout=contiguous"),
]
COMPILED = Peer("torch.compile", "torch_", "layout=channels_last compiled=yes")
DOUBLE = Peer("torch double backward", "double_backward", "layout=contiguous")  # the faster layout here
JAX = Peer("JAX jit", "jax_")
TORCH_FUNC = Peer("torch.func", "torch_", "layout=contiguous")
CURVLINOPS = Peer("curvlinops", "curvlinops_")
AUTOGRAD = Peer("autograd", "autograd_")
NUMPY = Peer("numpy", "numpy_")
