"""Module: a layer or model as a pytree. Floating-point arrays are the leaves, all else is structure.

So `mg.grad(lambda m: loss(m(x)))(model)` is a Module of gradients, and `mg.ravel(model)` one vector.
State that is no parameter (running statistics, a dropout counter) sits in Buffers, which all copies share.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from minigrad import asnumpy, keeping_buffers, register_node, tree_leaves
from minigrad.core import size_of
from minigrad.errors import explain_layer
from minigrad.tree import tree_paths

Array = Any


class Module:
    """Base class of layers: define `forward(x, train)` and keep arrays, modules and settings as attributes.

    A model under differentiation is a copy, so an attribute assigned in `forward` is lost: what a pass must
    remember belongs into a `minigrad.Buffer`.

    >>> import minigrad as mg
    >>> class Scale(Module):
    ...     def __init__(self):
    ...         self.a = np.ones(3)
    ...     def forward(self, x, train):
    ...         return self.a * x
    >>> mg.grad(lambda m: m(np.arange(3.0)).sum())(Scale()).a
    array([0., 1., 2.])
    """

    __minigrad_layer__ = True  # errors name the path of layers that they pass

    def __init_subclass__(cls) -> None:
        register_node(cls)

    def __call__(self, x: Array, train: bool = False) -> Array:
        """The layer's output for `x`. `train=True`: batch statistics and dropout, as during training."""
        try:
            y = self.forward(x, train)
        except Exception:
            explain_layer()
            raise
        observer = _observer.get()
        if observer is not None:
            observer(self, y)
        return y

    def forward(self, x: Array, train: bool) -> Array:
        raise NotImplementedError(f"{type(self).__name__} needs a method forward(self, x, train)")

    def __repr__(self) -> str:
        def show(v: Any) -> str:
            return f"{v.dtype.name}[{','.join(map(str, v.shape))}]" if hasattr(v, "shape") else repr(v)

        inner = ", ".join(f"{k}={show(v)}" for k, v in vars(self).items())
        return f"{type(self).__name__}({inner})"


def count_parameters(model: Any) -> int:
    """How many numbers the leaves of `model` hold.

    >>> count_parameters({"w": np.ones((2, 3)), "b": np.ones(3)})
    9
    """
    return sum(size_of(x) for x in tree_leaves(model))


def first_nonfinite(model: Module, x: Array, train: bool = False) -> str | None:
    """Where the first NaN or infinity appears when `model(x)` runs, in words; None when all is finite.

    Looks at the input, the parameters, then each layer's output in order. Buffers are left as they were.

    >>> class Root(Module):
    ...     def forward(self, x, train):
    ...         return np.sqrt(x)
    >>> with np.errstate(invalid="ignore"):
    ...     first_nonfinite(Root(), np.array([1.0, -1.0]))
    'the output of model (Root) has 1 NaN and 0 infinite of 2 values'
    """
    for what, value in [
        ("the input", x),
        *zip((f"parameter model{p}" for p in tree_paths(model)), tree_leaves(model), strict=True),
    ]:
        if (words := _nonfinite(value)) is not None:
            return f"{what} has {words}"
    names = {id(m): f"model{path}" for path, m in _modules(model, "")}
    found: list[str] = []

    def look(module: Module, y: Array) -> None:
        if not found and (words := _nonfinite(y)) is not None:
            found.append(
                f"the output of {names.get(id(module), 'a layer')} ({type(module).__name__}) has {words}"
            )

    with keeping_buffers(model), _observing(look):
        model(x, train=train)
    return found[0] if found else None


_observer: ContextVar[Callable[[Module, Array], None] | None] = ContextVar("observer", default=None)


@contextmanager
def _observing(look: Callable[[Module, Array], None]) -> Iterator[None]:
    token = _observer.set(look)
    try:
        yield
    finally:
        _observer.reset(token)


def _modules(x: Any, path: str) -> Iterator[tuple[str, Module]]:
    if isinstance(x, Module):
        yield path, x
        for name, child in vars(x).items():
            yield from _modules(child, f"{path}.{name}")
    elif isinstance(x, (list, tuple)):
        for i, child in enumerate(x):
            yield from _modules(child, f"{path}[{i}]")
    elif isinstance(x, dict):
        for key, child in x.items():
            yield from _modules(child, f"{path}[{key!r}]")


def _nonfinite(x: Array) -> str | None:
    x = asnumpy(x)
    if x.dtype.kind != "f" or np.isfinite(x).all():
        return None
    return f"{np.isnan(x).sum()} NaN and {np.isinf(x).sum()} infinite of {x.size} values"
