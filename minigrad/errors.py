"""The errors minigrad raises, each one line that names the thing and the way out.

Wrong shapes and dtypes raise what NumPy raises, ValueError and TypeError; the classes here are those only a
differentiating library has. What went wrong is said where it is found. Where it happened is added by the
innermost of two that see the error: `Primitive.__call__` (`explain`: operation, arguments, layer, line) and
a layer's call (`explain_layer`: layer and line, for what was raised elsewhere below it). Both look at the
frames of the stack, once something has failed. A layer is known by its class's `__minigrad_layer__`.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from types import FrameType, TracebackType
from typing import Any

import numpy as np

__all__ = [
    "LeakedTracerError",
    "MissingRuleError",
    "MixedBackendError",
    "NonlinearError",
    "PassMismatch",
    "aval_str",
    "here",
]


class LeakedTracerError(RuntimeError):
    """A tracer was used after the transformation that made it had ended."""


class NonlinearError(TypeError):
    """A recorded tangent program met an operation that is not linear in its tangents."""


class MissingRuleError(TypeError):
    """A primitive has no rule for the derivative that was asked for."""


class MixedBackendError(TypeError):
    """Arrays of two libraries met in one operation."""


class PassMismatch(AssertionError):
    """The passes that ran are not those of the plan."""


# ----- What a failed operation or layer says -----


def explain(prim: Any, args: Sequence[Any], params: dict[str, Any]) -> None:
    """Raises the exception that came up while `prim` ran, with operation, arguments and place added.

    Does nothing where it has said all of it already, or is from the user's code (a rule, a function that is
    computed again).
    """
    e: Any = sys.exception()  # no frame that is looked at below may hold it: that would be a cycle
    if hasattr(e, "explained") or isinstance(e, OWN):
        return
    if any(getattr(a, "in_rule", False) for a in args):
        return  # seen only because somebody looks: the operation whose rule it is speaks of it
    if any(_in_function(frame) for frame, _ in _inwards(e.__traceback__)):
        return
    cls = next((c for c in type(e).__mro__ if c in REBUILT), None)
    if cls is not None:
        raise _explained(cls, f"{_what(e, prim, args, params)}{_place(e)}") from e


def explain_layer() -> None:
    """Raises the exception that came up inside a layer with the layer's path and the line, if it has none."""
    e: Any = sys.exception()
    if not hasattr(e, "explained") and type(e) in (*REBUILT, *OWN) and len(e.args) == 1:
        text = f"{str(e).rstrip()}{_place(e)}"
        raise _explained(type(e), text).with_traceback(e.__traceback__) from e.__cause__


OWN = (LeakedTracerError, NonlinearError, MissingRuleError)
REBUILT: tuple[type, ...] = (
    MixedBackendError,
    np.linalg.LinAlgError,
    np.exceptions.AxisError,
    IndexError,
    ValueError,
    TypeError,
    FloatingPointError,
    MemoryError,
)

HINTS = {  # beginnings of NumPy's messages
    "Singular matrix": "it has no inverse; a small multiple of the identity added to it has one",
    "Matrix is not positive definite": "add a small multiple of the identity, or use another factorization",
    "SVD did not converge": "look for NaN or infinity in the argument",
    "Eigenvalues did not converge": "look for NaN or infinity in the argument",
    "Unable to allocate": "use smaller batches, or minigrad.checkpoint",
}


def _what(e: Exception, prim: Any, args: Sequence[Any], params: dict[str, Any]) -> str:
    names = " and ".join(map(_aval, args)) or "no arguments"
    words = str(e).partition("\n")[0]
    if "broadcast" in words and (clash := _clash(args)):
        return f"{prim}: {names} do not broadcast: {clash}, but lengths must be equal or 1"
    hint = next((f": {hint}" for start, hint in HINTS.items() if words.startswith(start)), "")
    how = ", ".join(f"{k}={_aval(v)}" for k, v in params.items())
    return f"{prim} of {names}{' with ' + how if how else ''}: {words}{hint}"


def _clash(args: Sequence[Any]) -> str | None:
    """The last axis on which shapes do not broadcast."""
    shapes = [np.shape(a) if not hasattr(a, "shape") else a.shape for a in args]
    for i in range(1, max(map(len, shapes), default=0) + 1):
        lengths = [s[-i] for s in shapes if len(s) >= i and s[-i] != 1]
        if len(set(lengths)) > 1:
            return f"axis -{i} has {' and '.join(map(str, dict.fromkeys(lengths)))}"
    return None


def _aval(a: Any) -> str:
    if hasattr(a, "shape") and hasattr(a, "dtype"):
        return aval_str(a)
    text = repr(a) if isinstance(a, (int, float, complex, str, tuple, list, type(None))) else str(a)
    return text if len(text) <= 40 else type(a).__name__


def aval_str(x: Any) -> str:
    """'float32[128,16]': how minigrad names a dtype and shape, in errors and in printed programs."""
    dtype = x.dtype if hasattr(x, "dtype") else np.result_type(x)
    shape = x.shape if hasattr(x, "shape") else np.shape(x)
    return f"{getattr(dtype, 'name', dtype)}[{','.join(map(str, shape))}]"


def _explained(cls: type, text: str) -> Exception:
    error = cls(text)
    error.explained = True
    return error


# ----- Where -----


def here() -> str:
    """'train.py:42': the line of the user's code that runs now."""
    return _line(_outwards(sys._getframe(1))) or "an unknown line"


def _place(e: Exception) -> str:
    """' (in layer model.body[0]: Conv2d, at train.py:42)' of the frames from the raise to the outermost."""
    tb: Any = e.__traceback__
    frames = [*reversed(list(_inwards(tb))), *_outwards(tb.tb_frame.f_back)]
    places = [f"in layer {path}"] if (path := _layers([f for f, _ in reversed(frames)])) else []
    places += [f"at {line}"] if (line := _line(frames)) else []
    return f" ({', '.join(places)})" if places else ""


def _layers(frames: Sequence[FrameType]) -> str:
    """'model.body[0]: Conv2d', of the layers that the frames, outermost first, are calls of."""
    path, last = "", None
    for frame in frames:
        layer = frame.f_locals.get("self") if frame.f_code.co_name == "__call__" else None
        if layer is last or not hasattr(type(layer), "__minigrad_layer__"):
            continue
        step = layer_paths(last, "").get(id(layer)) if last is not None else "model"
        path, last = (path + step if step is not None else f"{path} > {type(layer).__name__}"), layer
    return f"{path}: {type(last).__name__}" if last is not None else ""


def layer_paths(layer: Any, path: str) -> dict[int, str]:
    """The paths of a layer and of all layers in it, by id."""
    found: dict[int, str] = {}
    stack = [(layer, path)]
    seen: set[int] = set()
    while stack:
        x, path = stack.pop()
        steps: Iterable[tuple[str, Any]]
        if isinstance(x, dict):
            steps = ((f"[{k!r}]", v) for k, v in x.items() if _opens(v))
        elif isinstance(x, (list, tuple)):
            steps = ((f"[{i}]", v) for i, v in enumerate(x) if _opens(v))
        else:
            found.setdefault(id(x), path)
            steps = ((f".{k}", v) for k, v in vars(x).items() if _opens(v))
        if id(x) not in seen:
            seen.add(id(x))
            stack += [(v, path + step) for step, v in reversed(list(steps)) if id(v) not in found]
    return found


def _opens(x: Any) -> bool:
    return isinstance(x, (dict, list, tuple)) or hasattr(type(x), "__minigrad_layer__")


def _line(frames: Iterator[tuple[FrameType, int]] | Sequence[tuple[FrameType, int]]) -> str | None:
    return next(
        (f"{f.f_code.co_filename.rpartition('/')[2]}:{n}" for f, n in frames if not _in_library(f)), None
    )


def _inwards(tb: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while tb is not None:
        yield tb.tb_frame, tb.tb_lineno
        tb = tb.tb_next


def _outwards(frame: FrameType | None) -> Iterator[tuple[FrameType, int]]:
    while frame is not None:
        yield frame, frame.f_lineno
        frame = frame.f_back


LIBRARY = {"minigrad", "numpy", "cupy", "scipy", "array_api_strict", *sys.stdlib_module_names}


def _in_function(frame: FrameType) -> bool:
    """Is this the user's code, or that which calls it and names it in its errors?"""
    return not _in_library(frame) or frame.f_globals.get("__name__", "").startswith("minigrad.custom")


def _in_library(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__", "").partition(".")[0] in LIBRARY
