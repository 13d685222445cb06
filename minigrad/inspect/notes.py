"""What the recorder notes while a program runs: references to what was there, and nothing computed from it.

`writing.py` makes plain data of it (`passes.py`) when the recording ends.
"""

import math
from collections.abc import Callable
from time import perf_counter
from types import CodeType, FrameType
from typing import Any
from weakref import ref

import numpy as np

from ..core import TRACERS, Primitive, dtype_of, namespace_of, shape_of
from ..errors import LIBRARY
from ..record import Aval

__all__ = [
    "NOBODY",
    "Layer",
    "Note",
    "PassNote",
    "Place",
    "Source",
    "form_of",
    "norm_of",
    "place_of",
    "reference",
]

# Where something was called: the code and the instruction, of which line and expression are made later.
Place = tuple[CodeType, int]
# Of a value: a reference to it, what it is a result or an input of, "op", "input" or "seed", and which one.
Source = tuple[Callable, Any, str, int]


class Note:
    """One call of a primitive on arrays, as it happened; `passes.Op` says what the fields mean."""

    __slots__ = ("prim", "args", "sources", "outs", "params", "part", "start", "end", "of", "place", "layer")
    prim: Primitive
    args: list[Any]  # of arrays, shape and dtype; all else as it is
    sources: list[Source | None]
    outs: list[Any]
    params: dict[str, Any]
    part: str
    start: float
    end: float
    of: "Note | None"
    place: Place | None
    layer: "Layer | None"


class PassNote:
    """A pass, as it happened; `name` stands for its expression where the source is not at hand."""

    def __init__(self, kind: str, name: str, place: Place | None, at: "PassNote | None" = None) -> None:
        self.kind, self.name, self.place, self.at = kind, name, place, at
        self.start = self.end = perf_counter()
        self.seeds: list[tuple[Any, float | None]] = []
        self.inside: list[Note | PassNote] = []  # in the order they ran
        self.inputs: list[Any] = []
        self.equations: list[tuple] = []
        self.owners: list[Note | None] = []  # of the equations
        self.returned: list[int | None] = []
        self.residuals: list[tuple] = []


class Layer:
    """A call of a layer: the layer, its path from the outermost one."""

    __slots__ = ("layer", "path")

    def __init__(self, layer: Any, path: str) -> None:
        self.layer, self.path = layer, path


# The primal operation behind what a map sweeps that was linearized before the recording.
NOBODY = Note()
NOBODY.of = NOBODY.place = NOBODY.layer = None


# ----- What is noted of values and places -----


def form_of(x: Any) -> Any:
    if isinstance(x, (list, tuple)):
        x = np.asarray(x)
    return Aval(shape_of(x), dtype_of(x)) if hasattr(x, "dtype") else x


def reference(x: Any) -> Callable:
    """Gives `x` as long as it lives; of an array that cannot be referred to without keeping it, nothing."""
    try:
        return ref(x)
    except TypeError:
        return (lambda: None) if shape_of(x) else (lambda: x)


def norm_of(x: Any) -> float | None:
    """The Euclidean norm of a real array or number; None of anything else."""
    while type(x) in TRACERS:
        x = getattr(x, "primal", None)
    if isinstance(x, float):
        return abs(float(x))
    if not hasattr(x, "dtype") or dtype_of(x).kind not in "fc":
        return None
    if not shape_of(x) or not math.prod(shape_of(x)):
        return abs(complex(x)) if not shape_of(x) else 0.0
    xp = namespace_of(x)
    with np.errstate(all="ignore"):
        largest = float(xp.max(xp.abs(x)))  # by which it is divided, so that no square overflows
        if not (0 < largest < math.inf):
            return largest
        return largest * math.sqrt(float(xp.sum(xp.abs(x / largest) ** 2, dtype=xp.float64)))


_ENGINE: dict[CodeType, bool] = {}


def place_of(frame: FrameType | None) -> Place | None:
    """The innermost call outside the engine; layers and optimizers are code like anybody's."""
    while frame is not None:
        code = frame.f_code
        inside = _ENGINE.get(code)
        if inside is None:
            name = frame.f_globals.get("__name__", "")
            street = name.partition(".")[0]
            own = name.startswith(("minigrad.nn", "minigrad.optim")) and name != "minigrad.nn.module"
            inside = _ENGINE[code] = street in LIBRARY and not own
        if not inside:
            return code, frame.f_lasti
        frame = frame.f_back
    return None
