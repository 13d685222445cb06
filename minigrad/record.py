"""The recorder: a trace that writes down linear primitives, and the program that comes of it.

A recorded variable refers to the call it came from, and nothing refers the other way: what no output needs
goes away by itself, with the residuals it held. `compile` numbers what is left.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .core import Primitive, Trace, Tracer, aval_str, describe, namespace_of, traced
from .errors import NonlinearError
from .rules import ALL

__all__ = ["Aval", "Equation", "LinearTrace", "LinearVar", "compile"]


class Aval(NamedTuple):
    """Shape and dtype: what is known of a linear variable before it has a value."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __str__(self) -> str:
        return aval_str(self)


class LinearTrace(Trace):
    """Records every primitive that meets one of its variables, after checking that it is linear in them.

    In `linearize` the variables sit in the tangent slots of a JVPTrace that started later, so it sees each
    primitive first: for `sin(x)` it computes sin and cos of the primal at once and then calls
    `multiply(t, cos(x))`, whose only tracer is the variable t. That call arrives here, as one equation.
    """

    __slots__ = ("numbers",)

    def __init__(self, kind: str, f: Callable) -> None:
        super().__init__(kind, f)
        self.numbers = itertools.count()

    def variable(self, aval: Aval, source: "_Call | None" = None) -> "LinearVar":
        return LinearVar(self, aval, next(self.numbers), source)

    def process(self, prim: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        linear = [i for i, a in enumerate(args) if type(a) is LinearVar and a._trace is self]
        if not self.alive:
            self.check_alive(args[linear[0]])
        if frozenset(linear) not in prim.linear:
            _check_linear(prim, args, linear)
        shape = prim.shape(args, params)  # type: ignore[misc]
        dtype = np.dtype(params["dtype"]) if "dtype" in params else _float_dtype(args)
        call = _Call(prim, args, params, [Aval(s, dtype) for s in (shape if prim.multiple else [shape])])
        outs = [self.variable(aval, call) for aval in call.avals]
        call.numbers = [v.number for v in outs]
        return tuple(outs) if prim.multiple else outs[0]


@traced
class LinearVar(Tracer):
    """A tangent without a value yet: an input, or a result of the recorded call `source`."""

    __slots__ = ("shape", "dtype", "number", "source")

    def __init__(self, trace: LinearTrace, aval: Aval, number: int, source: "_Call | None") -> None:
        self._trace, self.number, self.source = trace, number, source
        self.shape, self.dtype = aval


class _Call:
    __slots__ = ("prim", "args", "params", "avals", "numbers")

    def __init__(
        self, prim: Primitive, args: Sequence[Any], params: dict[str, Any], avals: list[Aval]
    ) -> None:
        self.prim, self.args, self.params, self.avals = prim, args, params, avals
        self.numbers: list[int] = []


class Equation(NamedTuple):
    """`outs = prim(args)`; in `args` an Aval stands for each linear variable of `slots` (position, slot)."""

    prim: Primitive
    args: list[Any]
    params: dict[str, Any]
    slots: list[tuple[int, int]]
    outs: list[int | None]  # None: a result that nobody reads
    avals: list[Aval]
    last: list[int]  # slots that no later equation reads

    def __str__(self) -> str:
        where = dict(self.slots)
        args = [f"t{where[i]}" if i in where else _short(a) for i, a in enumerate(self.args)]
        params = [f"{k}={_short_param(v)}" for k, v in self.params.items()]
        outs = [f"t{s}: {a}" if s is not None else "_" for s, a in zip(self.outs, self.avals, strict=True)]
        call = ", ".join(args) + ("; " if params else "") + ", ".join(params)
        return f"{', '.join(outs)} = {self.prim.name}({call})"


def compile(
    trace: LinearTrace, inputs: Sequence[LinearVar], outputs: Sequence[Any]
) -> tuple[list[Equation], list[int | None], int]:
    """The equations that the outputs need, in order; each output's slot (None: zero); the number of slots.

    The inputs have the first slots. An output is one of the variables, or None or zeros where it depends on
    no input; anything else is not linear and raises NonlinearError.
    """
    calls: dict[int, _Call] = {}
    read: set[int] = set()
    stack = [v for v in outputs if _is_mine(v, trace)]
    while stack:
        v = stack.pop()
        read.add(v.number)
        if v.source is not None and v.source.numbers[0] not in calls:
            calls[v.source.numbers[0]] = v.source
            stack += [a for a in v.source.args if _is_mine(a, trace)]

    slot = {v.number: i for i, v in enumerate(inputs)}
    equations = []
    for _, call in sorted(calls.items()):
        outs = [slot.setdefault(k, len(slot)) if k in read else None for k in call.numbers]
        mine = [i for i, a in enumerate(call.args) if _is_mine(a, trace)]
        args = [Aval(a.shape, a.dtype) if i in mine else a for i, a in enumerate(call.args)]
        slots = [(i, slot[call.args[i].number]) for i in mine]
        equations.append(Equation(call.prim, args, call.params, slots, outs, call.avals, []))

    for v in outputs:
        if not _is_mine(v, trace):
            _check_zero(trace, v)
    out_slots = [slot[v.number] if _is_mine(v, trace) else None for v in outputs]
    seen = set(out_slots)
    for eqn in reversed(equations):
        for _, s in eqn.slots:
            if s not in seen:
                seen.add(s)
                eqn.last.append(s)
    return equations, out_slots, len(slot)


# ----- Checks -----


def _is_mine(v: Any, trace: LinearTrace) -> bool:
    return type(v) is LinearVar and v._trace is trace


def _check_linear(prim: Primitive, args: Sequence[Any], linear: Sequence[int]) -> None:
    for group in prim.linear:
        if group is ALL or group.issuperset(linear):
            rest = [a for i, a in enumerate(args) if (group is ALL or i in group) and i not in linear]
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


def _float_dtype(args: Sequence[Any]) -> np.dtype:
    """The dtype of a tangent: promotion over the floating-point arguments; masks and indices do not count."""
    dtypes = {a.dtype for a in args if hasattr(a, "dtype") and a.dtype.kind == "f"}
    return dtypes.pop() if len(dtypes) == 1 else np.result_type(*dtypes)


# ----- Printing -----


def _short(a: Any) -> str:
    if a is None:
        return "0"
    return aval_str(a) if hasattr(a, "dtype") else repr(a)


def _short_param(v: Any) -> str:
    if isinstance(v, np.ndarray):
        return aval_str(v)
    if isinstance(v, (tuple, list)):
        inner = ", ".join(map(_short_param, v))
        return f"({inner},)" if len(v) == 1 else f"({inner})"
    return describe(v) if callable(v) and not isinstance(v, type) else str(v)
