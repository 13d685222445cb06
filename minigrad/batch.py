"""Many directions at once: a trace whose values are k arrays stacked along a leading axis nobody sees.

Swept with such values, a recorded program runs each linear primitive once for all k directions. A primitive
says how by its `batch` rule; elementwise ones need none, and one without a rule is run k times.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .core import Primitive, Trace, Tracer, dtype_of, namespace_of, shape_of, traced
from .ops.many import one_by_one
from .ops.shape import broadcast_to, reshape
from .rules import astype, broadcasts, sum_to
from .rules import broadcast_to as broadcast_to_primitive

__all__ = ["Batched", "sweep"]


def sweep(run: Callable[[list[Any]], list[Any]], arrays: Sequence[Any]) -> list[Any]:
    """`run` on `arrays` without their leading axes, all k slices at once; what it returns has them again."""
    k = shape_of(arrays[0])[0]
    trace = BatchTrace("sweep", run)
    try:
        outs = run([Batched(trace, a) for a in arrays])
    finally:
        trace.end()
    return [y.value if trace.has(y) else broadcast_to(y, (k, *shape_of(y))) for y in outs]


@traced
class Batched(Tracer):
    """k arrays of one shape: `value` has them along axis 0, `shape` is that of each."""

    __slots__ = ("value",)

    def __init__(self, trace: Trace, value: Any) -> None:
        self._trace, self.value = trace, value

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return shape_of(self.value)[1:]

    @property
    def dtype(self) -> np.dtype:  # type: ignore[override]
        return dtype_of(self.value)

    @property
    def xp(self) -> Any:  # type: ignore[override]
        return namespace_of(self.value)


class BatchTrace(Trace):
    """Runs a primitive on all slices of its batched arguments at once."""

    __slots__ = ()

    def has(self, x: Any) -> bool:
        return type(x) is Batched and x._trace is self

    def process(self, prim: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        batched = tuple([i for i, a in enumerate(args) if self.has(a)])
        if not self.alive:
            self.check_alive(args[batched[0]])
        values = [a.value if i in batched else a for i, a in enumerate(args)]
        if prim.batch is not None:
            out = prim.batch(values, params, batched)
        elif prim.shape is broadcasts:
            out = prim(*aligned(values, batched), **params)
        else:
            out = one_by_one(prim, values, params, batched)
        return tuple([Batched(self, y) for y in out]) if prim.multiple else Batched(self, out)


def aligned(values: Sequence[Any], batched: Sequence[int]) -> list[Any]:
    """The arguments with ones put behind the leading axis of those that have fewer axes than another."""
    shapes = [shape_of(a)[1:] if i in batched else shape_of(a) for i, a in enumerate(values)]
    ndim = max(map(len, shapes))
    return [
        reshape(a, (shape_of(a)[0], *(1,) * (ndim - len(s)), *s)) if i in batched and len(s) < ndim else a
        for i, (a, s) in enumerate(zip(values, shapes, strict=True))
    ]


# ----- The engine's own primitives (elementwise ones need no rule) -----


def _broadcast_batch(args: Sequence[Any], params: dict, batched: Sequence[int]) -> Any:
    (x,), shape = args, params["shape"]
    k, *own = shape_of(x)
    return broadcast_to(reshape(x, (k, *(1,) * (len(shape) - len(own)), *own)), (k, *shape))


def _sum_to_batch(args: Sequence[Any], params: dict, batched: Sequence[int]) -> Any:
    (x,), shape = args, params["shape"]
    k, *own = shape_of(x)
    full = (k, *(1,) * (len(own) - len(shape)), *shape)
    return reshape(sum_to(x, shape=full), (k, *shape))


broadcast_to_primitive.batch = _broadcast_batch
sum_to.batch = _sum_to_batch
astype.batch = lambda args, params, batched: astype(args[0], **params)
