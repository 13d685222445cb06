"""`checkpoint`: time for memory. Of a function only the inputs are kept; every pass computes it again."""

from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any

from ..core import describe
from ..tree import TreeDef, _node_of, keeping_buffers, tree_buffers, tree_flatten, tree_unflatten
from .function import Call, Function
from .node import is_inexact, pulled, pushed, record

__all__ = ["checkpoint"]


def checkpoint(f: Callable) -> Callable:
    """`f`, of which only the inputs are kept: every derivative pass computes the rest again.

    Values are the same bits and derivatives the same numbers, in both modes and at every order, each order
    again with the inputs alone. Arguments and results are trees; what is differentiated must be an argument,
    not closed over. A Module may stand for `f`: its arrays are arguments, then. Buffers among the arguments
    are put back after a recomputation: running statistics move once, and a dropout mask is the same again.

    >>> from minigrad import linearize
    >>> f = lambda x: np.sum(np.exp(np.sin(x)) ** 2)
    >>> for g in (f, checkpoint(f)):
    ...     print(linearize(g, np.ones(100))[1].residual_bytes)
    2400
    800
    """
    if _node_of(f) is None:
        return Checkpoint(f)
    call = Checkpoint(type(f).__call__)
    call.label = f"checkpoint of {type(f).__name__}"
    return update_wrapper(lambda *args, **kwargs: call(f, *args, **kwargs), f, updated=())


class Checkpoint(Function):
    wants_defaults = False

    def __init__(self, f: Callable, origin: Callable | None = None) -> None:
        super().__init__(f)
        self.origin = origin or f
        self.label = f"checkpoint of {describe(self.origin)}"

    def push(self, call: "Call", xs: list, ts: list) -> tuple[list, TreeDef, list]:
        args = call.arguments(xs)
        before = [buffer.value for _, buffer in tree_buffers(args)]
        ys, y_tree = tree_flatten(self(*args))
        f, origin, tree, floats = self.f, self.origin, call.tree, [is_inexact(y) for y in ys]
        live = [i for i, t in enumerate(ts) if t is not None]

        def at(xs: Sequence[Any]) -> Callable:
            """`f` as a function of the live leaves, to a tuple of the floating-point leaves of its result."""

            def values(*moving: Any) -> tuple:
                full = list(xs)
                for i, x in zip(live, moving, strict=True):
                    full[i] = x
                args = tree_unflatten(tree, full)
                with keeping_buffers(args, before):
                    ys, _ = tree_flatten(f(*args))
                return tuple(y for y, yes in zip(ys, floats, strict=True) if yes)

            return update_wrapper(values, origin)

        def forward(ts: Sequence[Any], xs: Sequence[Any]) -> tuple:
            return pushed(at(xs), [xs[i] for i in live], ts)

        def backward(cts: Sequence[Any], xs: Sequence[Any]) -> list:
            return pulled(at(xs), [xs[i] for i in live], cts)

        # Each way is itself checkpointed, so that a derivative of it keeps inputs alone as well.
        forward, backward = Checkpoint(forward, origin), Checkpoint(backward, origin)
        return ys, y_tree, record("checkpoint", origin, forward, backward, [ts[i] for i in live], xs, ys)
