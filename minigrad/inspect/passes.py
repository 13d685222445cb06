"""What a recording holds, as plain data: passes, the operations they ran, equations, residuals, steps.

All is made of strings, numbers and lists, so that it can be written to a file, compared, and tested. The
recorder fills it in (`recorder.py`); tables, programs and reports read it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = [
    "KINDS",
    "PARTS",
    "Equation",
    "Op",
    "Pass",
    "Residual",
    "Seed",
    "Step",
    "Value",
    "finite",
    "infinite",
]

# "loss" is no pass over the network: the loss's own value, gradient or Hessian product.
KINDS = ("primal", "jvp", "vjp", "loss")
PARTS = ("primal", "tangent", "cotangent")


class Value(NamedTuple):
    """An argument of an operation: 'float32[128,16]' or '2.0', and where it came from.

    `source` is "op" (result `k` of operation `number`), "input" (leaf `k` of the primals of pass `number`),
    "seed" (leaf `k` of what pass `number` was given to sweep), "variable" (in equations: linear variable
    `k`), or "" for a constant.
    """

    aval: str
    source: str = ""
    number: int = 0
    k: int = 0


class Seed(NamedTuple):
    """A leaf of the tangents or cotangents that a pass was given: its shape, its Euclidean norm if known."""

    aval: str
    norm: float | None


@dataclass(slots=True)
class Op:
    """One call of a primitive on arrays.

    `number` is its place in the recording; `part` tells whether it computed a primal, a tangent or a
    cotangent; `flops` is None when nobody knows; `bytes` are those read and written; `start` (since the
    recording began) and `seconds` are in seconds; `layer` is the path of the layer it belongs to, '' outside
    layers; `line` is 'train.py:42', '' when unknown; `of` is the number of the primal operation whose
    derivative this is a part of, None for a primal operation itself.
    """

    number: int
    primitive: str
    part: str
    inputs: list[Value]
    outputs: list[str]
    params: str
    flops: int | None
    bytes: int | None
    start: float
    seconds: float
    layer: str = ""
    line: str = ""
    of: int | None = None


class Residual(NamedTuple):
    """An array that a linearization keeps: its size, the operation that made it, where, and who needs it.

    `of` is the number of the operation that made it (None: an input or a constant), `name` says it in words,
    `needed_by` are the primitives of the equations that hold it.
    """

    aval: str
    bytes: int
    name: str
    of: int | None
    layer: str
    line: str
    needed_by: list[str]


@dataclass(slots=True)
class Equation:
    """A call of a recorded linear program: `outputs` are (variable, shape and dtype); `of` as for an Op."""

    primitive: str
    inputs: list[Value]
    outputs: list[tuple[int, str]]
    params: str
    of: int | None


@dataclass(slots=True)
class Pass:
    """A sweep over a program: `kind` "primal", "jvp" or "vjp", or "loss" for the loss's own arithmetic.

    `number` is its place among all passes of the recording, nested ones included; `label` is the expression
    in the source that ran it; `line` its place; `at` is the number of the primal pass whose linearization was
    swept. `inputs` are shape and dtype of the leaves of the primals. A primal pass that was linearized has
    `equations`, which give the variables `returned` (None: zero), and `residuals`. `children` are passes that
    ran inside, `ops` those operations that ran in no child.
    """

    number: int
    kind: str
    label: str
    line: str = ""
    seeds: list[Seed] = field(default_factory=list)
    at: int | None = None
    start: float = 0.0
    seconds: float = 0.0
    ops: list[Op] = field(default_factory=list)
    children: list["Pass"] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    equations: list[Equation] = field(default_factory=list)
    returned: list[int | None] = field(default_factory=list)
    residuals: list[Residual] = field(default_factory=list)
    recording: Any = field(default=None, repr=False, compare=False)

    def walk(self) -> Iterator["Pass"]:
        """This pass, then those inside it, in order."""
        yield self
        for child in self.children:
            yield from child.walk()

    def ir(self) -> str:
        """This pass as text, beside the primal program whose derivative it computes; see `ir.py`."""
        return self.recording.ir(self)

    @property
    def all_ops(self) -> list[Op]:
        """The operations of this pass and of those inside it, in the order they ran."""
        return sorted((op for p in self.walk() for op in p.ops), key=lambda op: op.number)


# A step of an optimizer, as it described itself: {"optimizer": "CurveBall", "step": 3, "loss": 0.5,
# "rho": ..., "norms": {"w": 1.0, ...}, "after": 7}, where the recording had 7 passes when the step ended.
Step = dict[str, Any]


# ----- For JSON, which has no words for NaN and infinity: they are text there -----

WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def finite(x: Any) -> Any:
    """`x`, lists and dicts of numbers and strings, with text in the place of NaN and infinity."""
    if isinstance(x, float) and not math.isfinite(x):
        return "NaN" if math.isnan(x) else "Infinity" if x > 0 else "-Infinity"
    if isinstance(x, dict):
        return {k: finite(v) for k, v in x.items()}
    return [finite(v) for v in x] if isinstance(x, (list, tuple)) else x


def infinite(x: Any) -> Any:
    """The numbers back from `finite`."""
    if isinstance(x, dict):
        return {k: infinite(v) for k, v in x.items()}
    return WORDS.get(x, x) if isinstance(x, str) else x
