"""A recorded linear node with programs for its two directions: tangents first, then residuals.

Its derivative differentiates those programs, so every order and mixture of modes follows.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache, update_wrapper
from typing import Any

import numpy as np

from ..core import (
    Primitive,
    Trace,
    Tracer,
    describe,
    dtype_of,
    namespace_of,
    recorded_by,
    shape_of,
    touched,
    unboxed,
)
from ..forward import Dual, push, zeros_like
from ..linear import LinearMap
from ..ops.complex import real
from ..ops.reduce import sum
from ..ops.shape import reshape
from ..record import Aval, LinearTrace
from ..rules import add, astype, broadcast_to, defjoint, fit
from ..tree import TreeDef, tree_flatten

__all__ = ["aval_of", "is_inexact", "pulled", "pushed", "record", "traces_of", "transposed", "zeros_among"]


class Node:
    """Both directions of a node: `forward(ts, residuals)` and `backward(cts, residuals)`."""

    def __init__(
        self, f: Callable, forward: Callable, backward: Callable, outs: list[Aval], rest: list
    ) -> None:
        self.f, self.forward, self.backward, self.outs, self.rest = f, forward, backward, outs, rest

    def residuals(self, arrays: Sequence[Any]) -> list:
        each = iter(arrays)
        return [next(each) if r is _ARRAY else r for r in self.rest]

    def push(self, ts: Sequence[Any], arrays: Sequence[Any], dtype: np.dtype) -> tuple:
        outs = self.forward(list(ts), self.residuals(arrays))
        return tuple(t if dtype_of(t) == dtype else astype(t, dtype=dtype) for t in outs)

    def pull(self, cts: Sequence[Any], arrays: Sequence[Any]) -> list:
        full = [zeros_among(a, cts) if ct is None else ct for ct, a in zip(cts, self.outs, strict=True)]
        full = [
            ct if dtype_of(ct) == a.dtype else astype(ct, dtype=a.dtype)
            for ct, a in zip(full, self.outs, strict=True)
        ]
        back = self.backward(full, self.residuals(arrays))
        return [np.asarray(ct) if isinstance(ct, (int, float, complex)) else ct for ct in back]

    def __str__(self) -> str:
        return describe(self.f)


_ARRAY = object()


def record(
    name: str, f: Callable, forward: Callable, backward: Callable, ts: list, residuals: list, ys: list
) -> list:
    """The tangents of `ys`: those of floating-point leaves by one node, None for the others."""
    outs = [aval_of(y) for y in ys if is_inexact(y)]
    if not outs:
        return [None] * len(ys)
    arrays = [r for r in residuals if hasattr(r, "dtype")]
    rest = [_ARRAY if hasattr(r, "dtype") else r for r in residuals]
    dtype = np.result_type(*(a.dtype for a in outs))  # a recorded call has one dtype
    node = Node(f, forward, backward, outs, rest)
    dys = iter(_linear(name, len(ts))(*ts, *arrays, of=node, dtype=dtype))
    return [fit(next(dys), y) if is_inexact(y) else None for y in ys]


@cache
def _linear(name: str, n: int) -> Primitive:
    """The primitive that records a node with `n` tangents."""

    def jvp_rule(primals: Sequence[Any], tangents: Sequence[Any], params: dict) -> tuple[Any, Any]:
        ans, total = prim(*primals, **params), None
        if any(t is not None for t in tangents[:n]):
            ts = [zeros_like(x) if t is None else t for t, x in zip(tangents[:n], primals, strict=False)]
            total = prim(*ts, *primals[n:], **params)
        moving = [i for i in range(n, len(primals)) if tangents[i] is not None]
        if moving:

            def at(*xs: Any) -> tuple:
                full = list(primals)
                for i, x in zip(moving, xs, strict=True):
                    full[i] = x
                return params["of"].push(full[:n], full[n:], params["dtype"])

            xs, dxs = ([x[i] for i in moving] for x in (primals, tangents))
            more = pushed(update_wrapper(at, params["of"].f), xs, dxs)
            total = more if total is None else tuple(add(a, b) for a, b in zip(total, more, strict=True))
        return ans, total or (None,) * len(ans)

    def transpose(cts: tuple, args: Sequence[Any], params: dict, linear: tuple[int, ...]) -> list[Any]:
        back = params["of"].pull(cts, args[n:])
        return [back[i] for i in linear]

    prim = Primitive(
        name if n == 1 else f"{name}{n}",
        lambda xp, *args, of, dtype: of.push(args[:n], args[n:], dtype),
        multiple=True,
        doc=_DOCS[name],
    )
    defjoint(prim, lambda args, params: [a.shape for a in params["of"].outs], transpose, range(n), jvp_rule)

    def moved(args: Sequence[Any], outs: Sequence[Any], params: dict) -> int:
        counted = _count(n, args, params)
        return touched(args, outs, params) if counted is None else counted.bytes

    prim.flops = lambda args, outs, params: getattr(_count(n, args, params), "flops", None)
    prim.bytes = moved
    return prim


_DOCS = {
    "custom_vjp": "the transpose of a bwd, in forward mode; the bwd itself, in reverse mode",
    "checkpoint": "the derivative of a function that is computed again from its inputs",
}
for _each in _DOCS:
    _linear(_each, 1)


class Counter(Trace):
    """Adds up what the primitives that meet its values cost; `flops` is None once nobody knows of one."""

    __slots__ = ("bytes", "flops")

    def __init__(self, f: Callable) -> None:
        super().__init__("cost", f)
        self.flops: int | None = 0
        self.bytes = 0

    def process(self, prim: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        args = [a.primal if type(a) is Dual and a._trace is self else a for a in args]
        out = prim(*args, **params)
        outs = out if prim.multiple else (out,)
        flops = None if prim.flops is None else prim.flops(args, [shape_of(o) for o in outs], params)
        self.flops = None if flops is None or self.flops is None else self.flops + flops
        self.bytes += prim.bytes(args, outs, params)
        outs = tuple(self.wrap(o) for o in outs)
        return outs if prim.multiple else outs[0]

    def wrap(self, x: Any) -> Any:
        return Dual(self, x, None) if is_inexact(x) else x


def _count(n: int, args: Sequence[Any], params: dict) -> Counter | None:
    """The cost of a way forward is what runs on it: so it is run, at zero tangents.

    None where shapes and dtypes stand for the residuals, whose numbers may decide what runs.
    """
    if any(type(a) is Aval for a in args[n:]):
        return None
    node, trace = params["of"], Counter(params["of"].f)
    with recorded_by(None):
        plain = [_plain(a) for a in args[n:]]
        zeros = [zeros_among(t, plain) for t in args[:n]]
        node.push([trace.wrap(t) for t in zeros], [trace.wrap(a) for a in plain], params["dtype"])
    return trace


# ----- Passes on flat leaves, which may be complex inside a program that is real at its ends -----


def pushed(f: Callable, xs: Sequence[Any], ts: Sequence[Any]) -> tuple:
    """The tangents of the tuple `f(*xs)` along `ts`."""
    ys, dys, _, _ = push(f, _tuple_of(xs), xs, ts, False, "jvp")
    return tuple(zeros_like(y) if dy is None else dy for y, dy in zip(ys, dys, strict=True))


def pulled(f: Callable, xs: Sequence[Any], cts: Sequence[Any]) -> list:
    """The cotangents of `xs` for those of the tuple `f(*xs)`."""
    trace = LinearTrace("linearize", f, xs)
    ts = [trace.variable(aval_of(x)) for x in xs]
    try:
        ys, dys, _, _ = push(f, _tuple_of(xs), xs, ts, False, "linearize")
    finally:
        trace.end()
    return _map(trace, ts, dys, ys).pull(cts, consume=True)


def transposed(f: Callable, avals: Sequence[Aval], cts: Sequence[Any]) -> list:
    """The transpose of a linear `f`, from variables of these shapes to a tuple, at `cts`."""
    trace = LinearTrace("linear_transpose", f, cts)
    ts = [trace.variable(a) for a in avals]
    try:
        outs = f(*ts)
    finally:
        trace.end()
    return _map(trace, ts, outs, outs).pull(cts, consume=True)


def _map(trace: LinearTrace, ts: list, outs: Sequence[Any], ys: Sequence[Any]) -> LinearMap:
    return LinearMap(trace, ts, outs, [aval_of(y) for y in ys], _tuple_of(ts), _tuple_of(outs))


def _tuple_of(leaves: Sequence[Any]) -> TreeDef:
    return tree_flatten((0,) * len(leaves))[1]


# ----- Helpers -----


def traces_of(values: Iterable[Any]) -> set[Trace]:
    """The transformations that values belong to, at every depth."""
    found, stack = set(), list(values)
    while stack:
        x = stack.pop()
        if isinstance(x, Tracer):
            found.add(x._trace)
            if type(x) is Dual:
                stack += [x.primal, x.tangent]
    return found


def is_inexact(x: Any) -> bool:
    return isinstance(x, (float, complex)) or hasattr(x, "dtype") and dtype_of(x).kind in "fc"


def aval_of(x: Any) -> Any:
    """Shape and dtype of a number or array; anything else as it is."""
    number = isinstance(x, (int, float, complex)) or hasattr(x, "dtype")
    return Aval(shape_of(x), dtype_of(x)) if number else x


def zeros_among(like: Any, others: Sequence[Any]) -> Any:
    """Zeros shaped like `like`, to stand among `others`.

    Among linear variables they are one, too: an empty sum. A residual that is traced would make something
    else of plain zeros, which could not be added to a linear variable any more.
    """
    others = [t for t in others if t is not None]
    shape, dtype = shape_of(like), dtype_of(like)
    for t in others:
        if any(isinstance(trace, LinearTrace) for trace in traces_of([t])):
            t = t if dtype.kind == "c" else real(t)
            return broadcast_to(astype(sum(reshape(t, (-1,))[:0]), dtype=dtype), shape=shape)
    return unboxed(namespace_of(others[0] if others else like).zeros(shape, dtype=dtype))


def _plain(x: Any) -> Any:
    while type(x) is Dual:
        x = x.primal
    return zeros_among(x, ()) if isinstance(x, Tracer) else x
