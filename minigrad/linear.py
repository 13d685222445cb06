"""Linearization: the recorded tangent program of a function at a point, as an object.

`linearize` runs the jvp rules with a recorder in the tangent slot. Primals are computed at once; what is
recorded is a program of linear primitives, which a `LinearMap` sweeps forwards, backwards, or prints.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .core import (
    Primitive,
    Trace,
    Tracer,
    aval_str,
    describe,
    dtype_of,
    namespace_of,
    shape_of,
    size_of,
    traced,
)
from .errors import NonlinearError
from .forward import check_like, check_primals, push
from .rules import ALL, add, unfit
from .tree import Tree, tree_flatten, tree_unflatten

__all__ = ["Cost", "LinearMap", "linear_transpose", "linearize"]


def linearize(f: Callable, *primals: Tree, has_aux: bool = False) -> tuple:
    """Value of `f` at `primals` and its derivative there as a `LinearMap`: y, J = linearize(f, x).

    `f` runs once. `J(dx)` is then a forward-mode pass and `J.T(ct)` a reverse-mode pass, as often as wanted;
    each costs what the recorded program costs. With `has_aux`, `f` returns `(y, aux)` and the result is
    `(y, J, aux)`. Raises TypeError for primals that are not floating point.

    >>> import numpy as np
    >>> y, J = linearize(lambda x: x * x, np.array([1.0, 2.0]))
    >>> J(np.array([1.0, 1.0])), J.T(np.array([1.0, 0.0]))
    (array([2., 4.]), array([2., 0.]))
    """
    leaves, x_def = tree_flatten(primals)
    check_primals("linearize", f, primals, leaves)
    trace = LinearTrace("linearize", f)
    ts = [LinearVar(trace, shape_of(x), dtype_of(x)) for x in leaves]
    try:
        ys, dys, y_def, aux = push(f, x_def, leaves, ts, has_aux, "linearize")
    finally:
        trace.end()
    J = LinearMap(trace, ts, dys, [shape_dtype(y) for y in ys], x_def, y_def, _namespace(leaves))
    y = tree_unflatten(y_def, ys)
    return (y, J, aux) if has_aux else (y, J)


def linear_transpose(f: Callable, *examples: Tree) -> Callable[[Tree], tuple]:
    """The transpose of a linear `f`: from a cotangent of its output to a tuple of those of its inputs.

    Of `examples`, only structure, shapes and dtypes matter. Raises NonlinearError when `f` is not linear.

    >>> import numpy as np
    >>> A = np.array([[1.0, 2.0], [3.0, 4.0]])
    >>> linear_transpose(lambda x: A @ x, np.zeros(2))(np.array([1.0, 0.0]))
    (array([1., 2.]),)
    """
    leaves, x_def = tree_flatten(examples)
    check_primals("linear_transpose", f, examples, leaves)
    trace = LinearTrace("linear_transpose", f)
    ts = [LinearVar(trace, shape_of(x), dtype_of(x)) for x in leaves]
    try:
        outs, y_def = tree_flatten(f(*tree_unflatten(x_def, ts)))
    finally:
        trace.end()
    J = LinearMap(trace, ts, outs, [shape_dtype(y) for y in outs], x_def, y_def, _namespace(leaves))
    return lambda ct: tree_unflatten(x_def, J.pull(J.check_cotangent(ct)))


class LinearMap:
    """A derivative: the linear map `linearize` recorded, `m(*tangents)` forwards, `m.T(ct)` backwards.

    `m(*tangents)` takes one tree a primal and returns a tree like the output. `m.T(ct)` takes a tree like the
    output and returns a tree like the primal (a tuple of them when there are several). `len(m)` counts
    equations, `print(m)` lists them, `m.cost` counts their operations, `m.residual_bytes` what they keep
    alive.

    The transpose, on the smallest program that shows it. For f(x) = sin(x) * x the record is

        t1 = multiply(t0, cos(x))        d sin
        t2 = multiply(t1, x)             the left factor's tangent
        t3 = multiply(t0, sin(x))        the right factor's
        t4 = add(t2, t3)

    Read from below with cotangents c in the place of tangents t, each line sends its result's cotangent to
    its linear argument by the transposed operation, and what arrives twice is added: c2 = c3 = c4, c1 =
    multiply(c2, x), c0 = multiply(c3, sin(x)) + multiply(c1, cos(x)). Nothing else is reverse mode.
    """

    def __init__(
        self,
        trace: "LinearTrace",
        inputs: Sequence["LinearVar"],
        outputs: Sequence[Any],
        out_avals: Sequence["Aval"],
        in_tree: Any,
        out_tree: Any,
        xp: Any,
    ) -> None:
        self.label = trace.label.partition(" of ")[2]
        self.in_avals, self.out_avals = [Aval(v.shape, v.dtype) for v in inputs], list(out_avals)
        self._in_tree, self._out_tree, self._xp = in_tree, out_tree, xp
        self.equations, self._outs, self._n = _compile(trace, inputs, outputs)

    def __call__(self, *tangents: Tree) -> Tree:
        leaves, treedef = tree_flatten(tangents)
        if treedef != self._in_tree:
            raise ValueError(
                f"linear map of {self.label}: tangents are {treedef}, the primals were {self._in_tree}"
            )
        check_like("linear map of " + self.label, "tangent", "primal", leaves, self.in_avals, tangents)
        return tree_unflatten(self._out_tree, self.push(leaves))

    @property
    def T(self) -> "Transpose":
        """The transposed map, which runs the record backwards: a reverse-mode pass."""
        return Transpose(self)

    def push(self, ts: Sequence[Any]) -> list[Any]:
        """A forward sweep on flat leaves."""
        env = list(ts) + [None] * (self._n - len(ts))
        for eqn in self.equations:
            args = list(eqn.args)
            for i, slot in eqn.slots:
                args[i] = env[slot]
            out = eqn.prim(*args, **eqn.params)
            del args
            for slot in eqn.last:
                env[slot] = None
            if eqn.prim.multiple:
                for slot, o in zip(eqn.outs, out, strict=True):
                    if slot is not None:
                        env[slot] = o
            else:
                env[eqn.outs[0]] = out
        return [
            self._zeros(a) if s is None else env[s] for s, a in zip(self._outs, self.out_avals, strict=True)
        ]

    def pull(self, cts: Sequence[Any], consume: bool = False) -> list[Any]:
        """A backward sweep on flat leaves; with `consume`, residuals are let go as it passes them."""
        env: list[Any] = [None] * self._n
        fresh: set[int] = set()  # slots whose array an addition made here, so that more may be added in place
        for slot, ct in zip(self._outs, cts, strict=True):
            if slot is not None:
                _accumulate(env, fresh, slot, ct)
        equations = self.equations if consume else self.equations.copy()
        while equations:
            eqn = equations.pop()
            outs = [None if s is None else env[s] for s in eqn.outs]
            for s in eqn.outs:
                if s is not None:
                    env[s] = None
            if all(ct is None for ct in outs):
                continue
            back = eqn.prim.transpose(
                tuple(outs) if eqn.prim.multiple else outs[0],  # type: ignore[misc]
                eqn.args,
                eqn.params,
                tuple([i for i, _ in eqn.slots]),
            )
            for (i, slot), ct in zip(eqn.slots, back, strict=True):
                if ct is not None:
                    _accumulate(env, fresh, slot, unfit(ct, eqn.args[i]))
        return [self._zeros(a) if env[i] is None else env[i] for i, a in enumerate(self.in_avals)]

    def check_cotangent(self, ct: Tree) -> list[Any]:
        leaves, treedef = tree_flatten(ct)
        if treedef != self._out_tree:
            raise ValueError(
                f"transpose of {self.label}: the cotangent is {treedef}, the output was {self._out_tree}"
            )
        check_like("transpose of " + self.label, "cotangent", "output", leaves, self.out_avals, ct)
        return leaves

    def __len__(self) -> int:
        return len(self.equations)

    @property
    def residuals(self) -> list[Any]:
        """The arrays that this map keeps alive, each once; a view counts as the array it looks into."""
        found: dict[int, Any] = {}
        for eqn in self.equations:
            for a in (*eqn.args, *_arrays(eqn.params)):
                while isinstance(a, Tracer):
                    a = getattr(a, "primal", None)
                while getattr(a, "base", None) is not None and hasattr(a.base, "nbytes"):
                    a = a.base
                if hasattr(a, "nbytes") and a.ndim:
                    found[id(a)] = a
        return list(found.values())

    @property
    def residual_bytes(self) -> int:
        """Bytes of all residuals together."""
        return sum(a.nbytes for a in self.residuals)

    @property
    def cost(self) -> "Cost":
        """Floating-point operations and bytes moved by one forward sweep, in all and for each operation.

        The transposed sweep does the same multiplications. Formulas are those of the primitives (a
        multiply-add counts 2); an operation without one is listed in `unknown` and not counted as zero.
        """
        count: Counter[str] = Counter()
        flops: Counter[str] = Counter()
        moved: Counter[str] = Counter()
        unknown = set()
        for eqn in self.equations:
            name = eqn.prim.name
            count[name] += 1
            moved[name] += sum(_nbytes(a) for a in (*eqn.args, *eqn.avals))
            if eqn.prim.flops is None:
                unknown.add(name)
            else:
                flops[name] += eqn.prim.flops(eqn.args, [a.shape for a in eqn.avals], eqn.params)
        ops = {
            name: OpCost(n, None if name in unknown else int(flops[name]), moved[name])
            for name, n in count.items()
        }
        return Cost(int(flops.total()), moved.total(), ops, tuple(sorted(unknown)))

    def __str__(self) -> str:
        from_, to = (", ".join(map(str, avals)) for avals in (self.in_avals, self.out_avals))
        lines = [
            f"linear map of {self.label}: {from_} -> {to}; "
            f"{len(self)} equations, {_bytes(self.residual_bytes)} of residuals"
        ]
        lines += [f"  t{i}: {a}" for i, a in enumerate(self.in_avals)]
        for eqn in self.equations:
            held = sum(_nbytes(a) for a in eqn.args if not isinstance(a, Aval) and shape_of(a))
            lines.append(f"  {eqn}" + (f"  # {_bytes(held)}" if held else ""))
        lines.append("  return " + ", ".join("0" if s is None else f"t{s}" for s in self._outs))
        return "\n".join(lines)

    def to_operator(self) -> Any:
        """This map as a `scipy.sparse.linalg.LinearOperator` between flat vectors; for NumPy arrays.

        >>> import numpy as np
        >>> J = linearize(lambda x: 3 * x, np.ones(2))[1]
        >>> J.to_operator() @ np.array([1.0, 2.0])
        array([3., 6.])
        """
        try:
            from scipy.sparse.linalg import LinearOperator  # type: ignore[import-untyped]
        except ImportError:
            raise ImportError("LinearMap.to_operator needs scipy: pip install scipy") from None

        def sweep(v: np.ndarray, avals: Sequence[Aval], run: Callable) -> np.ndarray:
            ends = list(itertools.accumulate(math.prod(a.shape) for a in avals))[:-1]
            parts = np.split(np.ravel(v), ends)
            outs = run([p.reshape(a.shape).astype(a.dtype)[()] for p, a in zip(parts, avals, strict=True)])
            return np.concatenate([np.ravel(o) for o in outs])

        m, n = (sum(math.prod(a.shape) for a in avals) for avals in (self.out_avals, self.in_avals))
        return LinearOperator(
            (m, n),
            dtype=np.result_type(*(a.dtype for a in self.in_avals)),
            matvec=lambda v: sweep(v, self.in_avals, self.push),
            rmatvec=lambda v: sweep(v, self.out_avals, self.pull),
        )

    def _zeros(self, aval: "Aval") -> Any:
        return self._xp.zeros(aval.shape, aval.dtype)[()]


class Transpose:
    """`m.T`: the transposed linear map. `m.T(ct)` is one reverse-mode pass, and `m.T.T` is `m`."""

    __slots__ = ("T",)

    def __init__(self, m: LinearMap) -> None:
        self.T = m

    def __call__(self, ct: Tree) -> Tree:
        cts = tree_unflatten(self.T._in_tree, self.T.pull(self.T.check_cotangent(ct)))
        return cts[0] if len(cts) == 1 else cts

    def __str__(self) -> str:
        return f"transpose of {self.T}"


class OpCost(NamedTuple):
    """What one kind of operation costs in a sweep: calls, FLOPs (None: unknown), bytes read and written."""

    calls: int
    flops: int | None
    bytes: int


class Cost(NamedTuple):
    """What one sweep of a linear map costs."""

    flops: int
    bytes: int
    ops: dict[str, OpCost]
    unknown: tuple[str, ...]


# ----- The recorder -----


class Aval(NamedTuple):
    """Shape and dtype: what is known of a linear variable before it has a value."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __str__(self) -> str:
        return aval_str(self)


@traced
class LinearVar(Tracer):
    """A tangent without a value yet: result `index` of the recorded call `source` (None: an input)."""

    __slots__ = ("shape", "dtype", "source", "index")

    def __init__(
        self,
        trace: Trace,
        shape: tuple[int, ...],
        dtype: np.dtype,
        source: "_Node | None" = None,
        index: int = 0,
    ) -> None:
        self._trace, self.shape, self.dtype, self.source, self.index = trace, shape, dtype, source, index


class _Node:
    """One recorded call. Only its results refer to it: a tangent nobody uses takes its residuals along."""

    __slots__ = ("serial", "prim", "args", "params", "avals")

    def __init__(
        self, serial: int, prim: Primitive, args: Sequence[Any], params: dict, avals: list[Aval]
    ) -> None:
        self.serial, self.prim, self.args, self.params, self.avals = serial, prim, args, params, avals


class LinearTrace(Trace):
    """Records every primitive that meets one of its variables, after checking that it is linear in them.

    In `linearize` the variables sit in the tangent slots of a JVPTrace that started later, so it sees each
    primitive first: for `sin(x)` it computes sin and cos of the primal at once and then calls
    `multiply(t, cos(x))`, whose only tracer is the variable t. That call arrives here, as one equation.
    """

    __slots__ = ("count",)

    def __init__(self, kind: str, f: Callable) -> None:
        super().__init__(kind, f)
        self.count = itertools.count()

    def process(self, prim: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        linear = tuple([i for i, a in enumerate(args) if type(a) is LinearVar and a._trace is self])
        if not self.alive:
            self.check_alive(args[linear[0]])
        _check_linear(prim, args, linear)
        shape = prim.shape(args, params)  # type: ignore[misc]
        dtype = np.dtype(params["dtype"]) if "dtype" in params else _float_dtype(args)
        avals = [Aval(s, dtype) for s in (shape if prim.multiple else [shape])]
        node = _Node(next(self.count), prim, args, params, avals)
        outs = [LinearVar(self, a.shape, a.dtype, node, i) for i, a in enumerate(avals)]
        return tuple(outs) if prim.multiple else outs[0]


def _check_linear(prim: Primitive, args: Sequence[Any], linear: tuple[int, ...]) -> None:
    for group in prim.linear:
        if group is ALL or group.issuperset(linear):
            others = [
                a
                for i, a in enumerate(args)
                if (group is ALL or i in group) and i not in linear and a is not None
            ]
            if all(_is_zero(a) for a in others):
                return
            raise NonlinearError(
                f"{prim.name}: a constant {aval_str(others[0])} is added to a linear variable; "
                "the function is affine, not linear: leave the constant out"
            )
    where = " and ".join(str(i) for i in linear)
    raise NonlinearError(
        f"{prim.name} is not linear in argument {where}: only linear operations can be recorded in a "
        "tangent program (a jvp rule that is not linear in its tangents ends here, too)"
    )


def _is_zero(x: Any) -> bool:
    return not isinstance(x, Tracer) and not namespace_of(x).any(x)


def _float_dtype(args: Sequence[Any]) -> np.dtype:
    """The dtype of a tangent: promotion over the floating-point arguments; masks and indices do not count."""
    dtypes = {a.dtype for a in args if hasattr(a, "dtype") and a.dtype.kind == "f"}
    return dtypes.pop() if len(dtypes) == 1 else np.result_type(*dtypes)


# ----- From the record to a program -----


class Equation(NamedTuple):
    """`outs = prim(args)`; in `args` an Aval stands for each linear variable of `slots` (position, slot)."""

    prim: Primitive
    args: list[Any]
    params: dict[str, Any]
    slots: list[tuple[int, int]]
    outs: list[int | None]
    avals: list[Aval]
    last: list[int]  # slots that no later equation reads

    def __str__(self) -> str:
        where = dict(self.slots)
        args = [f"t{where[i]}" if i in where else _short(a) for i, a in enumerate(self.args)]
        params = [f"{k}={_short_param(v)}" for k, v in self.params.items()]
        outs = [f"t{s}: {a}" if s is not None else "_" for s, a in zip(self.outs, self.avals, strict=True)]
        call = ", ".join(args) + ("; " if params else "") + ", ".join(params)
        return f"{', '.join(outs)} = {self.prim.name}({call})"


def _compile(trace: LinearTrace, inputs: Sequence[LinearVar], outputs: Sequence[Any]) -> tuple:
    """Equations that the outputs need, in order, with numbered slots for the variables."""
    found: dict[int, _Node] = {}
    stack = [v.source for v in outputs if _is_mine(v, trace) and v.source is not None]
    while stack:
        node = stack.pop()
        if node.serial not in found:
            found[node.serial] = node
            stack += [a.source for a in node.args if _is_mine(a, trace) and a.source is not None]
    used = {
        (a.source.serial, a.index)
        for node in found.values()
        for a in node.args
        if _is_mine(a, trace) and a.source
    }
    used |= {(v.source.serial, v.index) for v in outputs if _is_mine(v, trace) and v.source}

    slot_of: dict[tuple[int, int], int] = {}
    input_slot = {id(v): i for i, v in enumerate(inputs)}
    n = len(inputs)
    equations = []
    for serial in sorted(found):
        node = found[serial]
        outs: list[int | None] = []
        for k in range(len(node.avals)):
            outs.append(n if (serial, k) in used else None)
            if outs[-1] is not None:
                slot_of[serial, k] = n
                n += 1
        args, slots = list(node.args), []
        for i, a in enumerate(node.args):
            if _is_mine(a, trace):
                args[i] = Aval(a.shape, a.dtype)
                slots.append(
                    (i, input_slot[id(a)] if a.source is None else slot_of[a.source.serial, a.index])
                )
        equations.append(Equation(node.prim, args, node.params, slots, outs, node.avals, []))

    out_slots: list[int | None] = []
    for v in outputs:
        if _is_mine(v, trace):
            out_slots.append(input_slot[id(v)] if v.source is None else slot_of[v.source.serial, v.index])
        elif v is None or _is_zero(v):
            out_slots.append(None)
        else:
            raise NonlinearError(
                f"{trace.label}: an output does not depend linearly on the inputs: it is the constant "
                f"{aval_str(v)}"
            )
    seen = {s for s in out_slots if s is not None}
    for eqn in reversed(equations):
        for _, slot in eqn.slots:
            if slot not in seen:
                seen.add(slot)
                eqn.last.append(slot)
    return equations, out_slots, n


def _is_mine(v: Any, trace: LinearTrace) -> bool:
    return type(v) is LinearVar and v._trace is trace


def _accumulate(env: list[Any], fresh: set[int], slot: int, ct: Any) -> None:
    old = env[slot]
    if old is None:
        env[slot] = ct
    elif slot in fresh and type(old) is type(ct) is np.ndarray:
        old += ct
    else:
        env[slot] = add(old, ct)
        fresh.add(slot)


def shape_dtype(x: Any) -> Aval:
    return Aval(shape_of(x), dtype_of(x))


def _namespace(leaves: Sequence[Any]) -> Any:
    return namespace_of(leaves[0]) if leaves else np


def _arrays(params: dict[str, Any]) -> list[Any]:
    """The arrays among parameters: those of an index."""
    parts = [p for v in params.values() for p in (v if isinstance(v, tuple) else (v,))]
    return [p for p in parts if hasattr(p, "nbytes")]


def _nbytes(a: Any) -> int:
    return 0 if not hasattr(a, "dtype") else size_of(a) * dtype_of(a).itemsize


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


def _bytes(n: float) -> str:
    for unit in ("B", "kB", "MB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} GB"
