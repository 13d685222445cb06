"""Linearization: the recorded tangent program of a function at a point, as an object.

`linearize` runs the jvp rules with a recorder in the tangent slot. Primals are computed at once; what is
recorded is a program of linear primitives, which a `LinearMap` sweeps forwards, backwards, or prints.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .batch import sweep
from .core import LOCAL, Tracer, dtype_of, is_array, nbytes_of, shape_of, unboxed
from .forward import check_like, check_many, check_outputs, check_primals, push
from .record import Aval, LinearTrace, LinearVar, call_str, is_of, program
from .rules import add, unfit
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
    return linearize_for("linearize", f, primals, has_aux)


def linearize_for(kind: str, f: Callable, primals: Sequence[Tree], has_aux: bool) -> tuple:
    """`linearize` under the name of the transformation that errors are to speak of."""
    leaves, x_def = tree_flatten(tuple(primals))
    check_primals(kind, f, primals, leaves)
    trace = LinearTrace(kind, f, leaves)
    ts = [trace.variable(_shape_dtype(x)) for x in leaves]
    try:
        ys, dys, y_def, aux = push(f, x_def, leaves, ts, has_aux, kind)
    finally:
        trace.end()
    J = LinearMap(trace, ts, dys, [_shape_dtype(y) for y in ys], x_def, y_def)
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
    trace = LinearTrace("linear_transpose", f, leaves)
    ts = [trace.variable(_shape_dtype(x)) for x in leaves]
    try:
        out = f(*tree_unflatten(x_def, ts))
    finally:
        trace.end()
    outs, y_def = tree_flatten(out)
    check_outputs(trace, out, outs)
    J = LinearMap(trace, ts, outs, [_shape_dtype(y) for y in outs], x_def, y_def)
    return J.vjp


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
        trace: LinearTrace,
        inputs: Sequence[LinearVar],
        outputs: Sequence[Any],
        out_avals: Sequence[Aval],
        in_tree: Any,
        out_tree: Any,
    ) -> None:
        self.label = trace.label.partition(" of ")[2]
        self.in_avals, self.out_avals = [Aval(v.shape, v.dtype) for v in inputs], list(out_avals)
        self.in_tree, self.out_tree, self._xp = in_tree, out_tree, trace.xp
        self.nodes = program(trace, outputs)
        self._outs = [v.number if is_of(v, trace) else None for v in outputs]
        self._unused: list[list[int]] | None = None
        recorder = LOCAL.recorder
        self._at: Any = None  # the primal pass
        self._program: Any = None  # what writes it down with its record
        if recorder is not None:
            self._at, self._program = recorder.recorded(trace, self.nodes, self._outs), recorder.program

    def __call__(self, *tangents: Tree) -> Tree:
        leaves, treedef = tree_flatten(tangents)
        if treedef != self.in_tree:
            raise ValueError(
                f"linear map of {self.label}: tangents are {treedef}, the primals were {self.in_tree}"
            )
        check_like("linear map of " + self.label, "tangent", "primal", leaves, self.in_avals, tangents)
        return tree_unflatten(self.out_tree, self.push(leaves))

    @property
    def T(self) -> "Transpose":
        """The transposed map, which runs the record backwards: a reverse-mode pass."""
        return Transpose(self)

    def many(self, *tangents: Tree) -> Tree:
        """`m(t)` for k tangents at once: they stand along a new first axis of each leaf, as do the results.

        One sweep runs every operation once for all k. Raises ValueError for leaves that do not agree in k.

        >>> import numpy as np
        >>> J = linearize(np.sin, np.zeros(2))[1]
        >>> J.many(np.eye(2))
        array([[1., 0.],
               [0., 1.]])
        """
        leaves, treedef = tree_flatten(tangents)
        if treedef != self.in_tree:
            raise ValueError(
                f"linear map of {self.label}: tangents are {treedef}, the primals were {self.in_tree}"
            )
        check_many("linear map of " + self.label, "tangent", "primal", leaves, self.in_avals, tangents)
        return tree_unflatten(self.out_tree, sweep(self.push, leaves))

    def push(self, ts: Sequence[Any]) -> list[Any]:
        """A forward sweep on flat leaves."""
        recorder = LOCAL.recorder
        if recorder is None:
            return self._push(ts, self.nodes)
        ts = recorder.distinct(ts)
        with recorder.running("jvp", "J(t)", "tangent", seeds=ts, at=self._at):
            return self._push(ts, recorder.each(self.nodes, self._at))

    def _push(self, ts: Sequence[Any], nodes: Iterable[LinearVar]) -> list[Any]:
        env = dict(enumerate(ts))
        for node, unused in zip(nodes, self.unused, strict=True):
            args = list(node.args)
            for i in node.linear:
                args[i] = env[args[i].number]
            out = node.prim(*args, **node.params)  # type: ignore[misc, arg-type]
            if node.avals is None:
                env[node.first] = out
            else:
                env.update(enumerate(out, node.first))
            args = out = None  # type: ignore[assignment]  # so that what is not needed any more goes now
            for k in unused:
                del env[k]
        return [
            self._zeros(a) if k is None else env[k] for k, a in zip(self._outs, self.out_avals, strict=True)
        ]

    @property
    def unused(self) -> list[list[int]]:
        """For each node, the variables that nothing after it reads; found at the first forward sweep."""
        if self._unused is None:
            read = set(self._outs)
            self._unused = []
            for node in reversed(self.nodes):
                inputs = [node.args[i].number for i in node.linear]
                mine = {*inputs, *range(node.first, node.first + len(node.outs))} - read
                read.update(inputs)
                self._unused.append(sorted(mine))
            self._unused.reverse()
        return self._unused

    def pull(self, cts: Sequence[Any], consume: bool = False) -> list[Any]:
        """A backward sweep on flat leaves; with `consume`, residuals are let go as it passes them."""
        cts = [ct if hasattr(ct, "shape") else np.asarray(ct)[()] for ct in cts]
        nodes, recorder = _taken(self.nodes) if consume else reversed(self.nodes), LOCAL.recorder
        if recorder is None:
            return self._pull(cts, nodes)
        cts = recorder.distinct(cts)
        with recorder.running("vjp", "J.T(ct)", "cotangent", seeds=cts, at=self._at):
            return self._pull(cts, recorder.each(nodes, self._at, backwards=True), recorder)

    def _pull(self, cts: Sequence[Any], nodes: Iterable[LinearVar], recorder: Any = None) -> list[Any]:
        env: dict[int, Any] = {}
        # Variables whose array an addition made here: more may be added in place, where nobody looks.
        fresh: set[int] | None = set() if recorder is None else None
        for k, ct in zip(self._outs, cts, strict=True):
            if k is not None:
                env[k] = add(env[k], ct) if k in env else ct
        for node in nodes:
            if node.avals is None:
                ct = env.pop(node.first, None)
                if ct is None:
                    continue
            else:
                ct = tuple([env.pop(node.first + k, None) for k in range(len(node.avals))])
                if all(c is None for c in ct):
                    continue
            prim: Any = node.prim
            args, linear = node.args, node.linear
            if recorder is not None:
                for i, each in zip(
                    linear, recorder.transposed(prim, ct, args, node.params, linear), strict=True
                ):
                    if each is not None:
                        _accumulate(env, fresh, args[i], each)
            elif prim.transposes and len(linear) == 1:
                _accumulate(env, fresh, args[linear[0]], prim.transposes[linear[0]](ct, *args, **node.params))
            else:
                back = prim.transpose(ct, args, node.params, linear)
                for i, ct in zip(linear, back, strict=True):
                    if ct is not None:
                        _accumulate(env, fresh, args[i], ct)
        return [env[i] if i in env else self._zeros(a) for i, a in enumerate(self.in_avals)]

    def vjp(self, ct: Tree) -> tuple:
        """`m.T(ct)` as a tuple with one tree a primal, also where there is only one."""
        leaves, treedef = tree_flatten(ct)
        if treedef != self.out_tree:
            raise ValueError(
                f"transpose of {self.label}: the cotangent is {treedef}, the output was {self.out_tree}"
            )
        check_like("transpose of " + self.label, "cotangent", "output", leaves, self.out_avals, ct)
        return tree_unflatten(self.in_tree, self.pull(leaves))

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def residuals(self) -> list[Any]:
        """The arrays that this map keeps alive, each once; a view counts as the array it looks into."""
        found: dict[int, Any] = {}
        for node in self.nodes:
            for a in (*_constants(node), *arrays_among(node.params)):
                if (base := base_of(a)) is not None:
                    found[id(base)] = base
        return list(found.values())

    @property
    def residual_bytes(self) -> int:
        """Bytes of all residuals together."""
        return sum(map(nbytes_of, self.residuals))

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
        for node in self.nodes:
            prim: Any = node.prim
            name = prim.name
            count[name] += 1
            moved[name] += prim.bytes(node.args, node.outs, node.params)
            n = (
                None
                if prim.flops is None
                else prim.flops(node.args, [a.shape for a in node.outs], node.params)
            )
            if n is None:
                unknown.add(name)
            else:
                flops[name] += n
        ops = {
            name: OpCost(n, None if name in unknown else int(flops[name]), moved[name])
            for name, n in count.items()
        }
        return Cost(int(flops.total()), moved.total(), ops, tuple(sorted(unknown)))

    def __str__(self) -> str:
        """The program, each equation beside the primal operation it comes from.

        Of a map made inside `with mg.trace():` the whole primal program stands there.
        """
        from_, to = (", ".join(map(str, avals)) for avals in (self.in_avals, self.out_avals))
        lines = [
            f"linear map of {self.label}: {from_} -> {to}; "
            f"{len(self)} equations, {bytes_str(self.residual_bytes)} of residuals"
        ]
        if self._at is not None:
            return "\n".join([*lines, *self._program(self._at)])
        names, rules = self._names(), self._rules()
        width = max(map(len, rules), default=0)
        lines += [f"  {'':{width}}  |  t{i}: {a}" for i, a in enumerate(self.in_avals)]
        for rule, node in zip(rules, self.nodes, strict=True):
            held = sum(nbytes_of(a) for a in _constants(node) if shape_of(a))
            kept = f"  # {bytes_str(held)}" if held else ""
            lines.append(f"  {rule:{width}}  |  {call_str(node, names)}{kept}")
        returned = ", ".join("0" if k is None else names[k] for k in self._outs)
        return "\n".join([*lines, f"  {'':{width}}  |  return {returned}"])

    def _rules(self) -> list[str]:
        """For each equation, the primal operation it comes from, where one begins; '' where it goes on."""
        names: list[str] = []
        fresh = True
        for i, node in enumerate(self.nodes):
            # What a rule recorded on its way has no name: that of its result, which comes next.
            rest = itertools.islice(self.nodes, i, None) if fresh else ()
            rule = next((n.rule for n in rest if n.rule is not None), None)
            names.append(rule.name if fresh and rule is not None else "")
            fresh = node.rule is not None
        return names

    def _names(self) -> dict[int, str]:
        """t0, t1, ... for the inputs and for every variable that something reads."""
        read = {*self._outs, *[node.args[i].number for node in self.nodes for i in node.linear]}
        made = [k for node in self.nodes for k in range(node.first, node.first + len(node.outs)) if k in read]
        return {k: f"t{n}" for n, k in enumerate([*range(len(self.in_avals)), *made])}

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

    def _zeros(self, aval: Aval) -> Any:
        return unboxed(self._xp.zeros(aval.shape, dtype=aval.dtype))


class Transpose:
    """`m.T`: the transposed linear map. `m.T(ct)` is one reverse-mode pass, and `m.T.T` is `m`."""

    __slots__ = ("T",)

    def __init__(self, m: LinearMap) -> None:
        self.T = m

    def __call__(self, ct: Tree) -> Tree:
        cts = self.T.vjp(ct)
        return cts[0] if len(cts) == 1 else cts

    def many(self, cts: Tree) -> Tree:
        """`m.T(ct)` for k cotangents at once, along a new first axis of each leaf; see `LinearMap.many`.

        >>> import numpy as np
        >>> J = linearize(np.sum, np.zeros(2))[1]
        >>> J.T.many(np.array([1.0, 2.0]))
        array([[1., 1.],
               [2., 2.]])
        """
        m = self.T
        leaves, treedef = tree_flatten(cts)
        if treedef != m.out_tree:
            raise ValueError(
                f"transpose of {m.label}: the cotangents are {treedef}, the output was {m.out_tree}"
            )
        check_many("transpose of " + m.label, "cotangent", "output", leaves, m.out_avals, cts)
        out = tree_unflatten(m.in_tree, sweep(m.pull, leaves))
        return out[0] if len(out) == 1 else out

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


# ----- Helpers -----


def _accumulate(env: dict[int, Any], fresh: set[int] | None, var: LinearVar, ct: Any) -> None:
    """`ct` added to what `env` holds as the cotangent of `var`."""
    if ct.shape != var.shape or ct.dtype is not var.dtype:
        ct = unfit(ct, var)
    k = var.number
    old = env.get(k)
    if old is None:
        env[k] = ct
    elif fresh is not None and k in fresh and type(old) is type(ct) is np.ndarray:
        old += ct
    else:
        env[k] = add(old, ct)
        if fresh is not None:
            fresh.add(k)


def _constants(node: LinearVar) -> list[Any]:
    """The residuals of a call: its arguments that are no variables of the record."""
    return [a for i, a in enumerate(node.args) if i not in node.linear]


def _shape_dtype(x: Any) -> Aval:
    return Aval(shape_of(x), dtype_of(x))


def _taken(nodes: list[LinearVar]) -> Iterator[LinearVar]:
    while nodes:
        yield nodes.pop()


def base_of(a: Any) -> Any:
    """The array that a residual keeps alive: of a view, the one it looks into; None for a number."""
    while isinstance(a, Tracer):
        a = getattr(a, "primal", None)
    while is_array(getattr(a, "base", None)):
        a = a.base
    return a if is_array(a) and a.shape else None


def arrays_among(params: dict[str, Any]) -> list[Any]:
    """The arrays among parameters: those of an index."""
    parts = [p for v in params.values() for p in (v if isinstance(v, tuple) else (v,))]
    return [p for p in parts if is_array(p)]


def bytes_str(n: float) -> str:
    for unit in ("B", "kB", "MB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} GB"
