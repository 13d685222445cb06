"""Module: a layer or model as a pytree. Floating-point arrays are the leaves, all else is structure.

So `mg.grad(lambda m: loss(m(x)))(model)` is a Module of gradients, and `mg.ravel(model)` one vector.
State that is no parameter (running statistics, a dropout counter) sits in Buffers, which all copies share.
"""

from typing import Any

from minigrad import register_node, tree_leaves
from minigrad.core import LOCAL, size_of
from minigrad.errors import explain_layer

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

    def __call__(self, x: Array, train: bool = False, *more: Array) -> Array:
        """The layer's output for `x`. `train=True`: batch statistics and dropout, as during training.

        `more` are further inputs, of a layer whose `forward` takes some.
        """
        recorder = LOCAL.recorder
        try:
            return self.forward(x, train, *more) if recorder is None else recorder.call(self, x, train, *more)
        except Exception:
            explain_layer()
            raise

    def forward(self, x: Array, train: bool, *more: Array) -> Array:
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
