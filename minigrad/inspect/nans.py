"""`debug_nans`: the operation that makes the first NaN or infinity, in whichever pass, is named and stops."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..core import LOCAL, TRACERS, aval_str, dtype_of, namespace_of, size_of
from .notes import NOBODY, Note
from .recorder import Recorder
from .writing import Writer

__all__ = ["debug_nans"]


@contextmanager
def debug_nans() -> Iterator[None]:
    """Inside `with mg.debug_nans():`, the first operation with a NaN or infinity in its result raises.

    The FloatingPointError names the operation, what it computed (a primal, tangent or cotangent), the pass,
    the layer and the source line, and says whether the arguments were finite. Values that are infinite on
    purpose, like a mask of -inf, count, too. What a recording does not see (`Recording`) is looked at where
    it leaves a layer. Each result is read once more; on a GPU that waits for each operation.

    >>> import numpy as np, minigrad as mg
    >>> with mg.debug_nans(), np.errstate(divide="ignore"):
    ...     mg.grad(lambda x: np.sum(np.sqrt(x)))(np.array([0.0, 1.0]))
    Traceback (most recent call last):
    FloatingPointError: divide: 0 NaN and 1 infinite of 2 values, float64[2], ...
    """
    recorder = LOCAL.recorder or _Forgetful()
    recorder.check = _check
    recorder.checks += 1
    recorder.begin()
    try:
        yield
    finally:
        recorder.checks -= 1
        if not recorder.checks:
            recorder.check = None
        recorder.end()


class _Forgetful(Recorder):
    """Keeps what a pass needs to be named, and no more, however long the program runs."""

    keeps = False

    def closed(self) -> None:
        self.top.clear()
        self.steps.clear()
        self.sources.clear()
        self.returns.clear()


def _check(recorder: Recorder, note: Note | str, args: Sequence[Any], outs: Sequence[Any]) -> None:
    """Looks at the results of an operation, or of what words tell: a layer, a rule."""
    for y in outs:
        if (words := _nonfinite(y)) is not None:
            error = FloatingPointError(_sentence(recorder, note, args, f"{words}, {aval_str(y)}"))
            error.explained = True  # type: ignore[attr-defined]
            raise error


def _sentence(recorder: Recorder, note: Note | str, args: Sequence[Any], words: str) -> str:
    look_up: Callable = Writer(0.0).where
    home = recorder.of if isinstance(note, str) else note.of or note
    layer = recorder.layer or (home.layer if home is not None else None)
    bad = [f"argument {i} ({aval_str(a)}) has {what}" for i, a in enumerate(args) if (what := _nonfinite(a))]
    came = f"it came in: {' and '.join(bad)}" if bad else "its arguments are finite"
    places = []
    if (running := recorder.open or recorder.loose) is not None:
        line, expression = look_up(running.place)
        places.append(f"in {running.kind} pass {expression or running.name} ({line})")
    if layer is not None:
        places.append(f"layer {layer.path}: {type(layer.layer).__name__}")
    line, expression = look_up(home.place) if home is not None else ("", "")
    if line:
        places.append(f"at {line}: {expression}" if expression else f"at {line}")
    if isinstance(note, str):
        return f"{note}: {words}; {came}; {', '.join(places)}"
    of = f" of {note.of.prim}" if note.of not in (None, NOBODY) else ""
    return f"{note.prim}: {words}, in the {note.part}{of}; {came}; {', '.join(places)}"


def _nonfinite(x: Any) -> str | None:
    """'1 NaN and 0 infinite of 3 values', or None when all are finite."""
    if type(x) in TRACERS:
        return None
    if isinstance(x, float):
        x = namespace_of(x).asarray(x)
    if not hasattr(x, "dtype") or dtype_of(x).kind not in "fc":
        return None
    xp = namespace_of(x)
    if bool(xp.all(xp.isfinite(x))):
        return None
    nan = xp.isnan(x)
    infinite = ~xp.isfinite(x) & ~nan
    counts = [int(xp.count_nonzero(each)) for each in (nan, infinite)]
    return f"{counts[0]} NaN and {counts[1]} infinite of {size_of(x)} values"
