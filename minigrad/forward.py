"""Forward mode: dual numbers, and `jvp`, the transformation that computes with them.

A `Dual` is a primal beside its tangent. Every primitive's jvp rule pushes both forward at once;
a tangent that is exactly zero is None and costs nothing.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np

from .core import (
    LOCAL,
    TRACERS,
    Primitive,
    Trace,
    Tracer,
    aval_str,
    dtype_of,
    namespace_of,
    shape_of,
    traced,
    unboxed,
)
from .errors import MissingRuleError
from .rules import RECORDED
from .tree import Tree, tree_flatten, tree_paths, tree_unflatten

__all__ = ["Dual", "jvp"]


def jvp(f: Callable, primals: Sequence[Tree], tangents: Sequence[Tree], has_aux: bool = False) -> tuple:
    """Value of `f` at `primals` and its derivative along `tangents`, in one pass: y, dy = f(x), f'(x) dx.

    `primals` and `tangents` are tuples with one tree an argument, equal in structure, shapes and dtypes;
    `dy` has the structure, shapes and dtypes of `y`. With `has_aux`, `f` returns `(y, aux)` and the result
    is `(y, dy, aux)`. Raises TypeError for primals that are not floating point, ValueError for tangents
    that do not match.

    >>> import numpy as np
    >>> y, dy = jvp(np.sin, (np.array([0.0, 1.0]),), (np.array([1.0, 0.0]),))
    >>> dy
    array([1., 0.])
    """
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise TypeError("jvp takes a tuple of primals and a tuple of tangents: jvp(f, (x,), (dx,))")
    x_leaves, x_def = tree_flatten(tuple(primals))
    t_leaves, t_def = tree_flatten(tuple(tangents))
    if x_def != t_def:
        raise ValueError(f"jvp: tangents are {t_def}, but primals are {x_def}")
    check_primals("jvp", f, primals, x_leaves)
    check_like("jvp", "tangent", "primal", t_leaves, x_leaves, tuple(primals))
    ys, dys, y_def, aux = push(f, x_def, x_leaves, t_leaves, has_aux, "jvp")
    dys = [zeros_like(y) if dy is None else dy for y, dy in zip(ys, dys, strict=True)]
    result = tree_unflatten(y_def, ys), tree_unflatten(y_def, dys)
    return (*result, aux) if has_aux else result


@traced
class Dual(Tracer):
    """A dual number: `primal + tangent ε`, ε² = 0, of the transformation `_trace`."""

    __slots__ = ("primal", "tangent")

    def __init__(self, trace: Trace, primal: Any, tangent: Any) -> None:
        self._trace, self.primal, self.tangent = trace, primal, tangent

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return shape_of(self.primal)

    @property
    def dtype(self) -> np.dtype:  # type: ignore[override]
        return dtype_of(self.primal)

    @property
    def xp(self) -> Any:  # type: ignore[override]
        return namespace_of(self.primal)


class JVPTrace(Trace):
    """Pushes primals and tangents through a primitive's jvp rule."""

    __slots__ = ()

    def process(self, prim: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        primals, tangents = [], []
        for a in args:
            if type(a) is Dual and a._trace is self:
                primals.append(a.primal)
                tangents.append(a.tangent)
            else:
                primals.append(a)
                tangents.append(None)
        if not self.alive:
            self.check_alive(next(a for a in args if isinstance(a, Tracer) and a._trace is self))
        if prim.jvp is None:
            raise MissingRuleError(
                f"{prim.name} has no derivative rule, met in {self.label}: give it one with "
                f"minigrad.rules.defjvp({prim.name}, rule), rule(t, ans, *args, **params)"
            )
        recorder = LOCAL.recorder
        if recorder is None:
            ans, t = prim.jvp(primals, tangents, params)
        else:
            ans, t = recorder.rule(prim, args, primals, tangents, params)
        if prim.multiple:
            for dt in t:
                if type(dt) in RECORDED and dt.rule is None:
                    dt.rule = prim
            return tuple(a if dt is None else Dual(self, a, dt) for a, dt in zip(ans, t, strict=True))
        if type(t) in RECORDED and t.rule is None:
            t.rule = prim
        return ans if t is None else Dual(self, ans, t)


def push(f: Callable, x_def: Any, xs: Sequence[Any], dxs: Sequence[Any], has_aux: bool, kind: str) -> tuple:
    """The core of jvp and linearize on flat leaves: (ys, dys, structure of y, aux); None in dys is zero."""
    trace = JVPTrace(kind, f)
    recorder = LOCAL.recorder
    try:
        with nullcontext(dxs) if recorder is None else recorder.pushing(kind, trace.label, xs, dxs) as ts:
            out = f(*tree_unflatten(x_def, [Dual(trace, x, dx) for x, dx in zip(xs, ts, strict=True)]))
    finally:
        trace.end()
    aux = None
    if has_aux:
        if not (isinstance(out, tuple) and len(out) == 2):
            raise TypeError(
                f"{kind} with has_aux=True needs {trace.label.partition(' of ')[2]} to return (y, aux)"
            )
        out, aux = out
        aux_leaves, aux_def = tree_flatten(aux)
        aux = tree_unflatten(aux_def, [split(trace, a)[0] for a in aux_leaves])
    leaves, y_def = tree_flatten(out)
    check_outputs(trace, out, leaves)
    pairs = [split(trace, y) for y in leaves]
    return [y for y, _ in pairs], [dy for _, dy in pairs], y_def, aux


def split(trace: Trace, y: Any) -> tuple[Any, Any]:
    """Primal and tangent of an output; a value that never met this transformation has tangent None."""
    if type(y) is Dual and y._trace is trace:
        return y.primal, y.tangent
    if isinstance(y, Tracer):
        y._trace.check_alive(y)
    return y, None


def zeros_like(x: Any) -> Any:
    return unboxed(namespace_of(x).zeros(shape_of(x), dtype=dtype_of(x)))


# ----- Checks shared by every transformation that takes primals -----


def check_primals(kind: str, f: Any, tree: Tree, leaves: Sequence[Any]) -> None:
    for i, x in enumerate(leaves):
        if _kind(x) != "f":
            what = aval_str(x) if hasattr(x, "dtype") or isinstance(x, (int, complex)) else type(x).__name__
            hint = (
                "complex numbers are not supported: differentiate real and imaginary part apart"
                if what.startswith("complex")
                else "derivatives need floating point: convert it, e.g. x.astype(float)"
            )
            raise TypeError(f"{kind}: argument{tree_paths(tree)[i]} is {what}; {hint}")


def check_outputs(trace: Trace, tree: Tree, leaves: Sequence[Any]) -> None:
    for i, y in enumerate(leaves):
        if type(y) not in TRACERS and _kind(y) not in "biufc":
            raise TypeError(
                f"{trace.label}: output{tree_paths(tree)[i]} is of type {type(y).__name__}, "
                "not an array of numbers: leave it out, or return it as aux with has_aux=True"
            )


def _kind(x: Any) -> str:
    """The letter of the dtype's kind; 'O' for what is neither array nor number."""
    try:
        # NumPy takes "f8" and float for dtypes.
        return "O" if isinstance(x, (str, type)) else dtype_of(x).kind
    except TypeError:
        return "O"


def check_like(
    kind: str, name: str, model: str, leaves: Sequence[Any], like: Sequence[Any], tree: Tree
) -> None:
    for i, (t, x) in enumerate(zip(leaves, like, strict=True)):
        if shape_of(t) != shape_of(x):
            raise ValueError(
                f"{kind}: {name}{tree_paths(tree)[i]} is {aval_str(t)}, but its {model} is {aval_str(x)}"
            )
        if dtype_of(t) != dtype_of(x) and hasattr(t, "dtype") and hasattr(x, "dtype"):
            raise TypeError(
                f"{kind}: {name}{tree_paths(tree)[i]} is {aval_str(t)}, but its {model} is {aval_str(x)}: "
                f"convert it with .astype({dtype_of(x).name!r})"
            )


def check_many(
    kind: str, name: str, model: str, leaves: Sequence[Any], like: Sequence[Any], tree: Tree
) -> None:
    """Has each leaf, behind one more axis of a common length, the shape and dtype of its model?"""
    k = {shape_of(t)[:1] for t in leaves}
    if len(k) != 1 or k == {()}:
        shapes = " and ".join(aval_str(t) for t in leaves)
        raise ValueError(
            f"{kind}: many {name}s are {shapes}: each needs the same number of them along axis 0"
        )
    check_like(kind, name, model, [_Slice(shape_of(t)[1:], dtype_of(t)) for t in leaves], like, tree)


class _Slice(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype
