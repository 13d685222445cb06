"""The recorder: a trace that writes down linear primitives, and the program that comes of it.

A recorded variable refers to the variables it was computed from, and nothing refers the other way: what no
output needs goes away by itself, with the residuals it held. `program` puts what is left in order.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .core import (
    LOCAL,
    TRACERS,
    Primitive,
    Trace,
    Tracer,
    aval_str,
    describe,
    dtype_of,
    is_array,
    namespace_of,
    traced,
)
from .errors import NonlinearError
from .rules import ALL, RECORDED, add, broadcasts, multiply

__all__ = ["Aval", "LinearTrace", "LinearVar", "param_str", "program"]


class Aval(NamedTuple):
    """Shape and dtype: what is known of a value before it is computed."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __str__(self) -> str:
        return aval_str(self)


@traced
class LinearVar(Tracer):
    """A tangent without a value yet: an input (`prim` is None), or a result of `prim(*args, **params)`.

    `linear` are the positions in `args` of the variables it depends on; what stands at the others are
    residuals. Several results of one call have consecutive numbers from `first` on, and `avals` for all.
    `rule` is the primal operation whose rule this is the result of; what a rule recorded on its way there has
    none.
    """

    __slots__ = ("shape", "dtype", "number", "first", "prim", "args", "params", "linear", "avals", "rule")
    _trace: "LinearTrace"

    def __init__(
        self,
        trace: "LinearTrace",
        shape: tuple[int, ...],
        dtype: np.dtype,
        number: int,
        first: int,
        prim: Primitive | None = None,
        args: Sequence[Any] = (),
        linear: tuple[int, ...] = (),
        params: dict[str, Any] = {},  # noqa: B006 (never written to)
        avals: list[Aval] | None = None,
    ) -> None:
        # One by one, which is faster than a tuple of so many: nothing else is made as often.
        self._trace = trace
        self.shape = shape
        self.dtype = dtype
        self.number = number
        self.first = first
        self.prim = prim
        self.args = args
        self.linear = linear
        self.params = params
        self.avals = avals
        self.rule: Primitive | None = None

    def times(self, d: Any) -> Any:
        """`multiply(self, d)`, recorded at once where nothing has to be dispatched, broadcast or promoted."""
        trace, shape, dtype = self._trace, self.shape, self.dtype
        if type(d) is np.ndarray:
            simple = d.dtype is dtype and d.shape == shape
        elif type(d) in TRACERS:
            if not d._trace.id:  # an array that somebody looks at
                return self.times(d.primal)
            simple = d._trace.id < trace.id and d.dtype is dtype and d.shape == shape
        else:
            simple = type(d) is float
        if simple and trace.alive:
            k = next(trace.numbers)
            return LinearVar(trace, shape, dtype, k, k, multiply, (self, d), (0,))
        return multiply(self, d)

    def plus(self, other: Any) -> Any:
        """`add(self, other)`, recorded at once where both are of one kind."""
        trace, shape, dtype = self._trace, self.shape, self.dtype
        if type(other) is LinearVar and other._trace is trace and trace.alive:
            if other.shape == shape and other.dtype is dtype:
                k = next(trace.numbers)
                return LinearVar(trace, shape, dtype, k, k, add, (self, other), (0, 1))
        return add(self, other)

    @property
    def xp(self) -> Any:  # type: ignore[override]
        return self._trace.xp

    @property
    def outs(self) -> list[Aval]:
        """Shape and dtype of each result of the call."""
        return self.avals or [Aval(self.shape, self.dtype)]


RECORDED.add(LinearVar)


class LinearTrace(Trace):
    """Records every primitive that meets one of its variables, after checking that it is linear in them.

    In `linearize` the variables sit in the tangent slots of a JVPTrace that started later, so it sees each
    primitive first: for `sin(x)` it computes sin and cos of the primal at once and then calls
    `multiply(t, cos(x))`, whose only tracer is the variable t. That call arrives here, as one variable.
    `xp` is the namespace of the arrays that the variables, of the form of `inputs`, will stand for.
    """

    __slots__ = ("numbers", "xp")

    def __init__(self, kind: str, f: Callable, inputs: Sequence[Any]) -> None:
        super().__init__(kind, f)
        self.numbers = itertools.count()
        self.xp = namespace_of(inputs[0]) if inputs else np

    def variable(self, aval: Aval) -> LinearVar:
        number = next(self.numbers)
        return LinearVar(self, *aval, number, number)

    def process(self, prim: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        if LOCAL.recorder is not None:
            args = LOCAL.recorder.plain(args)
        linear: tuple[int, ...] = ()
        for i, a in enumerate(args):
            if type(a) is LinearVar and a._trace is self:
                linear += (i,)
        if not self.alive:
            self.check_alive(args[linear[0]])
        if linear not in prim.linear:
            _check_linear(prim, args, linear)
        a, b = args[0], args[-1]
        dtype: Any = getattr(a, "dtype", None)
        if (
            prim.shape is broadcasts
            and len(args) <= 2
            and getattr(b, "dtype", 0) is dtype
            and a.shape == b.shape
        ):
            shape = a.shape
        else:
            shape = prim.shape(args, params)  # type: ignore[misc]
            dtype = np.dtype(params["dtype"]) if "dtype" in params else _tangent_dtype(args)
        first = next(self.numbers)
        if not prim.multiple:
            return LinearVar(self, shape, dtype, first, first, prim, args, linear, params)
        avals = [Aval(s, dtype) for s in shape]
        numbers = [first, *[next(self.numbers) for _ in avals[1:]]]
        return tuple(
            [
                LinearVar(self, *aval, k, first, prim, args, linear, params, avals)
                for k, aval in zip(numbers, avals, strict=True)
            ]
        )


def program(trace: LinearTrace, outputs: Sequence[Any]) -> list[LinearVar]:
    """The calls that the outputs need, in order, each as one of its results.

    An output is one of the variables, or None or zeros where it depends on no input; anything else is not
    linear and raises NonlinearError.
    """
    calls: dict[int, LinearVar] = {}
    stack = []
    for v in outputs:
        if is_of(v, trace):
            stack.append(v)
        else:
            _check_zero(trace, v)
    while stack:
        v = stack.pop()
        if v.first not in calls and v.prim is not None:
            calls[v.first] = v
            args = v.args
            for i in v.linear:
                stack.append(args[i])
    return [calls[k] for k in sorted(calls)]


def is_of(v: Any, trace: LinearTrace) -> bool:
    return type(v) is LinearVar and v._trace is trace


# ----- Checks -----


def _check_linear(prim: Primitive, args: Sequence[Any], linear: Sequence[int]) -> None:
    for group in prim.linear:
        if group == ALL or set(group).issuperset(linear):
            rest = [a for i, a in enumerate(args) if (group == ALL or i in group) and i not in linear]
            constants = [a for a in rest if a is not None and not _is_zero(a)]
            if not constants:
                return
            raise NonlinearError(
                f"{prim.name}: a constant {aval_str(constants[0])} is added to a linear variable; "
                "the function is affine, not linear: leave the constant out"
            )
    where = " and ".join(map(str, linear))
    raise NonlinearError(
        f"{prim.name} is not linear in argument {where}: only linear operations can be recorded in a "
        "tangent program (a jvp rule that is not linear in its tangents ends here, too)"
    )


def _check_zero(trace: LinearTrace, v: Any) -> None:
    if v is not None and not _is_zero(v):
        raise NonlinearError(
            f"{trace.label}: an output does not depend linearly on the inputs: "
            f"it is the constant {aval_str(v)}"
        )


def _is_zero(x: Any) -> bool:
    return not isinstance(x, Tracer) and not namespace_of(x).any(x)


def _tangent_dtype(args: Sequence[Any]) -> np.dtype:
    """Promotion over the floating-point arguments; masks, indices and real Python numbers do not count."""
    dtypes = {dtype for a in args if hasattr(a, "dtype") and (dtype := dtype_of(a)).kind in "fc"}
    if any(type(a) is complex for a in args):
        dtypes.add(np.dtype(np.complex64))
    return dtypes.pop() if len(dtypes) == 1 else np.result_type(*dtypes)


# ----- Printing -----


def call_str(node: LinearVar, names: dict[int, str]) -> str:
    """'t2: float64[3] = multiply(t1, float64[3])'; `names` are those of the variables, '_' of unread ones."""
    args = [names[a.number] if i in node.linear else _short(a) for i, a in enumerate(node.args)]
    params = [f"{k}={param_str(v)}" for k, v in node.params.items()]
    outs = [f"{names[k]}: {a}" if k in names else "_" for k, a in enumerate(node.outs, node.first)]
    call = ", ".join(args) + ("; " if params else "") + ", ".join(params)
    return f"{', '.join(outs)} = {node.prim.name}({call})"  # type: ignore[union-attr]


def _short(a: Any) -> str:
    if a is None:
        return "0"
    return aval_str(a) if hasattr(a, "dtype") else repr(a)


def param_str(v: Any) -> str:
    if is_array(v):
        return str(Aval(v.shape, dtype_of(v)))
    if isinstance(v, (tuple, list)):
        inner = ", ".join(map(param_str, v))
        return f"({inner},)" if len(v) == 1 else f"({inner})"
    return describe(v) if callable(v) and not isinstance(v, type) else str(v)
