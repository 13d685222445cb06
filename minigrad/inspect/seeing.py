"""Inside a jvp rule or a transpose: arithmetic of plain arrays made visible, and tangents told apart.

A rule is handed `Seen` tracers for arrays, so that what its operators compute is dispatched, and noted. And
as a rule works on arrays alike, an operation computes a tangent if an object that is one flows into it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..core import LOCAL, PLAIN, TRACERS, Primitive, Trace, Tracer, dtype_of, namespace_of, shape_of, traced
from ..forward import Dual
from .notes import Note, Place

__all__ = ["SEEING", "Frame", "Seen", "Unseen", "plain", "seen"]


@traced
class Seen(Tracer):
    """A plain array inside a rule."""

    __slots__ = ("primal", "shape", "dtype")
    in_rule = True  # errors leave it to the operation whose rule it is to speak

    def __init__(self, trace: Trace, primal: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._trace, self.primal, self.shape, self.dtype = trace, primal, shape, dtype

    @property
    def xp(self) -> Any:  # type: ignore[override]
        return namespace_of(self.primal)


class Seeing(Trace):
    """The trace of what is seen; the oldest of all, so that every transformation comes first."""

    __slots__ = ()

    def __init__(self) -> None:
        self.id, self.alive, self.label = 0, True, "recording"

    def process(self, prim: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        plain, simple, recorder = [], True, LOCAL.recorder
        for a in args:
            if type(a) is Seen:
                a = a.primal
            if type(a) not in PLAIN:
                simple = False
            plain.append(a)
        if simple and recorder is not None:
            out = recorder.run(prim, prim.numpy, plain, params)
        else:
            out = prim(*plain, **params)
        return tuple([self.see(y) for y in out]) if prim.multiple else self.see(out)

    def see(self, x: Any) -> Any:
        """`x` as a tracer if it is an array or NumPy number of floating point, else as it is."""
        if type(x) is np.ndarray:
            dtype = x.dtype
            return Seen(self, x, x.shape, dtype) if dtype.kind in "fc" else x
        if type(x) in TRACERS or not hasattr(x, "dtype"):
            return x
        dtype = dtype_of(x)
        return Seen(self, x, shape_of(x), dtype) if dtype.kind in "fc" else x


SEEING = Seeing()


def seen(values: Sequence[Any]) -> list[Any]:
    """`values` with arrays as tracers: what operators do with them is dispatched, and noted."""
    return list(map(SEEING.see, values))


def plain(values: Sequence[Any]) -> list[Any]:
    """`values` with the arrays again."""
    return [x.primal if type(x) is Seen else x for x in values]


class Unseen:
    """Stands for the arithmetic of plain arrays in somebody's own rule: of unknown cost."""

    multiple, flops = False, None

    def __init__(self, name: str) -> None:
        self.name = name

    def bytes(self, *args: Any) -> int:
        return 0

    def __repr__(self) -> str:
        return self.name


class Frame:
    """A jvp rule at work: the objects that are tangents in it, and the operation it is the rule of.

    A function with a rule of its own runs `many` operations: each stands for itself, the last for all.
    """

    __slots__ = ("tangents", "many", "outer", "place", "op", "last")

    def __init__(
        self, tangents: dict[int, Any], many: bool, outer: "Frame | None", place: Place | None
    ) -> None:
        self.tangents, self.many, self.outer, self.place = tangents, many, outer, place
        self.op: Note | None = None
        self.last: Note | None = None

    @property
    def owner(self) -> Note | None:
        """The operation that what is recorded here belongs to."""
        return self.op or self.last or (self.outer.owner if self.outer is not None else None)

    def has(self, args: Sequence[Any]) -> bool:
        tangents = self.tangents
        for a in args:
            if id(a) in tangents or type(a) in (Dual, Seen) and id(a.primal) in tangents:
                return True
        return False
