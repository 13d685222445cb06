"""Functions with a derivative of their own: `custom_jvp`, `custom_vjp`, and `checkpoint`.

Each makes its function one step of the program. `custom_jvp` puts your rule in the place of the engine's; the
other two record one linear node, whose way forward and way back are both programs on its residuals.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import cache, cached_property, update_wrapper
from typing import Any

import numpy as np

from .core import Primitive, Trace, Tracer, aval_str, describe, dtype_of, namespace_of, shape_of, unboxed
from .errors import MissingRuleError, NonlinearError
from .forward import Dual, JVPTrace, check_like, push, zeros_like
from .linear import LinearMap
from .ops.complex import real
from .ops.reduce import sum
from .ops.shape import reshape
from .record import Aval, LinearTrace
from .rules import add, astype, broadcast_to, defjoint, fit, no_flops
from .tree import Tree, TreeDef, _node_of, keeping_buffers, tree_buffers, tree_flatten, tree_unflatten

__all__ = ["checkpoint", "custom_jvp", "custom_vjp"]


class _Function:
    """What the three have in common: a call is resolved, taken apart into leaves, and bound to one primitive.

    Everything that is differentiated has to be an argument. A tracer that `f` closes over would slip past
    the rule or be lost in a recomputation, so a result that carries one is refused.
    """

    wants_defaults = True

    def __init__(self, f: Callable, nondiff_argnums: Sequence[int] = ()) -> None:
        update_wrapper(self, f, updated=())
        self.f, self.nondiff_argnums = f, tuple(nondiff_argnums)
        self.label = f"{type(self).__name__} of {describe(f)}"

    def __call__(self, *args: Tree, **kwargs: Any) -> Tree:
        args = self.positional(args, kwargs)
        skip = sorted({i % len(args) for i in self.nondiff_argnums if -len(args) <= i < len(args)})
        fixed = [args[i] for i in skip]
        if any(isinstance(a, Tracer) for a in tree_flatten(fixed)[0]):
            raise TypeError(f"{self.label}: an argument named in nondiff_argnums is being differentiated")
        leaves, tree = tree_flatten(tuple(a for i, a in enumerate(args) if i not in skip))
        tracers = [a for a in leaves if isinstance(a, Tracer)]
        newest = max(tracers, key=lambda a: a._trace.id)._trace if tracers else None
        if isinstance(newest, JVPTrace):
            call = _Call(self, tree, leaves, skip, fixed)
            outs = _function(*tracers, call=call)
            return tree_unflatten(call.out_tree, outs)
        out = self.f(*args)  # a linear variable, too, goes through f as it stands
        if newest is None:
            self.check_captured(tree_flatten(out)[0], ())
        return out

    def push(self, call: "_Call", xs: list, ts: list) -> tuple[list, TreeDef, list]:
        """Values at the leaves `xs`, their structure, and their tangents along `ts`; None is zero."""
        raise NotImplementedError

    # ----- Checks, with the name of the function -----

    @cached_property
    def signature(self) -> inspect.Signature | None:
        try:
            return inspect.signature(self.f)
        except (TypeError, ValueError):  # some builtins have none
            return None

    def positional(self, args: tuple, kwargs: dict[str, Any]) -> tuple:
        """The arguments by position; all of them, with defaults filled in, where a rule takes them."""
        if not (kwargs or self.wants_defaults) or self.signature is None and not kwargs:
            return args
        if self.signature is None:
            raise TypeError(f"{self.label} has no signature: pass {', '.join(kwargs)} by position")
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as e:
            raise TypeError(f"{self.label}: {e}") from None
        places = {name: (i, p.kind) for i, (name, p) in enumerate(self.signature.parameters.items())}
        for name in kwargs:
            if name not in places or places[name][1] is not inspect.Parameter.POSITIONAL_OR_KEYWORD:
                raise TypeError(f"{self.label}: {name} can be given by keyword only: make it positional")
        bound.apply_defaults()
        given = max(len(args), *(places[name][0] + 1 for name in kwargs), 0)
        return bound.args if self.wants_defaults else bound.args[:given]

    def pair(self, out: Any, who: str, names: str) -> tuple:
        if not (isinstance(out, tuple) and len(out) == 2):
            raise TypeError(f"{self.label}: {who} must return {names}, but it returned {_kind(out)}")
        return out

    def matched(self, name: str, model: str, got: Tree, tree: TreeDef, likes: Sequence[Any]) -> list:
        """The leaves of `got`, None for zeros, once structure, shapes and dtypes are seen to be right."""
        leaves = _aligned(tree, got)
        if leaves is None:
            raise ValueError(f"{self.label}: {name} is {_kind(got)}, but its {model} is {tree}")
        leaves = [t if _inexact(x) else None for t, x in zip(leaves, likes, strict=True)]
        pairs = [(0, 0) if t is None else (t, x) for t, x in zip(leaves, likes, strict=True)]
        check_like(
            self.label,
            name,
            model,
            [t for t, _ in pairs],
            [x for _, x in pairs],
            tree_unflatten(tree, range(len(pairs))),
        )
        return leaves

    def check_captured(self, outs: Iterable[Any], known: Iterable[Any]) -> None:
        for trace in _traces(outs) - _traces(known):
            raise TypeError(
                f"{self.label} closes over a value that {trace.label} differentiates: "
                "make that value an argument"
            )


class custom_jvp(_Function):
    """`f` with a forward rule of your own, set by `f.defjvp(rule)`: `rule(primals, tangents) -> (y, y_dot)`.

    `primals` and `tangents` are tuples with one tree an argument. Numbers that are not floating point have
    the tangent None, and in `y_dot` None is zero. Reverse mode is the transpose, so `y_dot` must be linear in
    `tangents`; higher derivatives differentiate the rule. Arguments in `nondiff_argnums` come before the
    others: `rule(*nondiff, primals, tangents)`. What is differentiated must be an argument, not closed over.

    >>> @custom_jvp
    ... def log1pexp(x):
    ...     return np.log(1 + np.exp(x))
    >>> @log1pexp.defjvp
    ... def rule(primals, tangents):
    ...     (x,), (t,) = primals, tangents
    ...     return log1pexp(x), t / (1 + np.exp(-x))
    >>> from minigrad import grad
    >>> float(grad(log1pexp)(0.0))
    0.5
    """

    rule: Callable | None = None

    def defjvp(self, rule: Callable) -> Callable:
        """Sets the rule, and returns it: a decorator."""
        self.rule = rule
        return rule

    def push(self, call: "_Call", xs: list, ts: list) -> tuple[list, TreeDef, list]:
        if self.rule is None:
            raise MissingRuleError(
                f"{self.label} has no rule: give it one with {_name(self.f)}.defjvp(rule), "
                "rule(primals, tangents) -> (y, y_dot)"
            )
        full = [_zeros(x, ts) if t is None and _inexact(x) else t for t, x in zip(ts, xs, strict=True)]
        out = self.rule(*call.fixed, tree_unflatten(call.tree, xs), tree_unflatten(call.tree, full))
        y, y_dot = self.pair(out, "its rule", "(y, y_dot)")
        ys, y_tree = tree_flatten(y)
        return ys, y_tree, self.matched("y_dot", "y", y_dot, y_tree, ys)


class custom_vjp(_Function):
    """`f` with a reverse rule of your own, set by `f.defvjp(fwd, bwd)`.

    `fwd(*args) -> (y, residuals)` computes the value and what the way back needs. `bwd(residuals, ct)` gets
    a tree like `y` and returns a tuple with one tree of cotangents an argument, None for zero. Forward mode
    is the transpose of `bwd`, which has to be linear in `ct` for that: another one (gradient clipping) works
    in reverse mode and raises NonlinearError in forward mode. Higher derivatives differentiate `fwd` and
    `bwd`. Arguments in `nondiff_argnums` have no cotangent: `fwd(*args)`, `bwd(*nondiff, residuals, ct)`.
    What is differentiated must be an argument, not closed over.

    >>> @custom_vjp
    ... def clipped(x):
    ...     return x
    >>> clipped.defvjp(lambda x: (x, None), lambda residuals, ct: (np.clip(ct, -1, 1),))
    >>> from minigrad import grad
    >>> float(grad(lambda x: 5 * clipped(x))(2.0))
    1.0
    """

    fwd: Callable | None = None
    bwd: Callable | None = None

    def defvjp(self, fwd: Callable, bwd: Callable) -> None:
        """Sets both halves of the rule."""
        self.fwd, self.bwd = fwd, bwd

    def push(self, call: "_Call", xs: list, ts: list) -> tuple[list, TreeDef, list]:
        if self.fwd is None or self.bwd is None:
            raise MissingRuleError(
                f"{self.label} has no rule: give it one with {_name(self.f)}.defvjp(fwd, bwd), "
                "fwd(*args) -> (y, residuals), bwd(residuals, ct) -> a tuple of cotangents"
            )
        y, residuals = self.pair(self.fwd(*call.arguments(xs)), "fwd", "(y, residuals)")
        ys, y_tree = tree_flatten(y)
        res, res_tree = tree_flatten(residuals)
        self.check_captured(res, xs)
        bwd, tree, fixed = self.bwd, call.tree, call.fixed
        floats, outs = [_inexact(y) for y in ys], [_aval(y) for y in ys if _inexact(y)]
        likes, live = [_aval(x) for x in xs], [i for i, t in enumerate(ts) if t is not None]

        def backward(cts: Sequence[Any], res: Sequence[Any]) -> list:
            each = iter(cts)
            ct = tree_unflatten(y_tree, [next(each) if yes else None for yes in floats])
            back = bwd(*fixed, tree_unflatten(res_tree, res), ct)
            if not isinstance(back, tuple):
                raise TypeError(
                    f"{self.label}: bwd must return a tuple with one cotangent an argument, "
                    f"but it returned {_kind(back)}"
                )
            leaves = self.matched("the cotangent of bwd", "primal", back, tree, likes)
            self.check_captured(leaves, [*cts, *res])
            return [leaves[i] for i in live]

        def forward(ts: Sequence[Any], res: Sequence[Any]) -> tuple:
            def transposed(*cts: Any) -> tuple:
                back = backward(cts, res)
                return tuple(zeros_like(t) if ct is None else ct for ct, t in zip(back, ts, strict=True))

            try:
                return tuple(_transposed(update_wrapper(transposed, bwd), outs, ts))
            except NonlinearError as e:
                raise NonlinearError(
                    f"{self.label}: forward mode transposes bwd, so bwd must be linear in its cotangent: {e}"
                ) from None

        return ys, y_tree, _record("custom_vjp", self.f, forward, backward, [ts[i] for i in live], res, ys)


def checkpoint(f: Callable) -> Callable:
    """`f`, of which only the inputs are kept: every derivative pass computes the rest again.

    Values are the same bits and derivatives the same numbers, in both modes and at every order, each order
    again with the inputs alone. Arguments and results are trees; what is differentiated must be an argument,
    not closed over. A Module may stand for `f`: its arrays are arguments, then. Buffers among the arguments
    are put back after a recomputation: running statistics move once, and a dropout mask is the same again.

    >>> from minigrad import linearize
    >>> f = lambda x: np.sum(np.exp(np.sin(x)) ** 2)
    >>> for g in (f, checkpoint(f)):
    ...     print(linearize(g, np.ones(100))[1].residual_bytes)
    2400
    800
    """
    if _node_of(f) is None:
        return _Checkpoint(f)
    call = _Checkpoint(type(f).__call__)
    call.label = f"checkpoint of {type(f).__name__}"
    return update_wrapper(lambda *args, **kwargs: call(f, *args, **kwargs), f, updated=())


class _Checkpoint(_Function):
    wants_defaults = False

    def __init__(self, f: Callable, origin: Callable | None = None) -> None:
        super().__init__(f)
        self.origin = origin or f
        self.label = f"checkpoint of {describe(self.origin)}"

    def push(self, call: "_Call", xs: list, ts: list) -> tuple[list, TreeDef, list]:
        args = call.arguments(xs)
        before = [buffer.value for _, buffer in tree_buffers(args)]
        ys, y_tree = tree_flatten(self(*args))
        f, origin, tree, floats = self.f, self.origin, call.tree, [_inexact(y) for y in ys]
        live = [i for i, t in enumerate(ts) if t is not None]

        def at(xs: Sequence[Any]) -> Callable:
            """`f` as a function of the live leaves, to a tuple of the floating-point leaves of its result."""

            def values(*moving: Any) -> tuple:
                full = list(xs)
                for i, x in zip(live, moving, strict=True):
                    full[i] = x
                args = tree_unflatten(tree, full)
                with keeping_buffers(args, before):
                    ys, _ = tree_flatten(f(*args))
                return tuple(y for y, yes in zip(ys, floats, strict=True) if yes)

            return update_wrapper(values, origin)

        def forward(ts: Sequence[Any], xs: Sequence[Any]) -> tuple:
            return _pushed(at(xs), [xs[i] for i in live], ts)

        def backward(cts: Sequence[Any], xs: Sequence[Any]) -> list:
            return _pulled(at(xs), [xs[i] for i in live], cts)

        # Each way is itself checkpointed, so that a derivative of it keeps inputs alone as well.
        forward, backward = _Checkpoint(forward, origin), _Checkpoint(backward, origin)
        return ys, y_tree, _record("checkpoint", origin, forward, backward, [ts[i] for i in live], xs, ys)


# ----- A call of such a function: one primitive, whose jvp rule is the function's own -----


class _Call:
    """One call: its leaves, the structure they came from, and the arguments that have no leaves."""

    def __init__(self, of: _Function, tree: TreeDef, leaves: list, skip: Sequence[int], fixed: list) -> None:
        self.of, self.tree, self.leaves, self.skip, self.fixed = of, tree, leaves, skip, fixed
        self.out_tree: Any = None

    def arguments(self, xs: Sequence[Any]) -> list:
        """The arguments by position, with `xs` for leaves."""
        args = list(tree_unflatten(self.tree, xs))
        for i, a in zip(self.skip, self.fixed, strict=True):
            args.insert(i, a)
        return args

    def push(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[list, list]:
        p, t = iter(primals), iter(tangents)
        xs = [next(p) if isinstance(a, Tracer) else a for a in self.leaves]
        ts = [next(t) if isinstance(a, Tracer) else None for a in self.leaves]
        ys, self.out_tree, dys = self.of.push(self, xs, ts)
        self.of.check_captured([*ys, *dys], [*xs, *ts])
        return ys, dys


def _no_value(xp: Any, *tracers: Any, call: _Call) -> Any:
    raise AssertionError("bound to tracers of a jvp only")


_function = Primitive("_function", _no_value, multiple=True, doc="a function with a derivative of its own")
_function.jvp = lambda primals, tangents, params: params["call"].push(primals, tangents)
_function.flops = no_flops


# ----- The recorded node: linear in its tangents, which come first; the others are residuals -----


class _Node:
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
        full = [_zeros(a, cts) if ct is None else ct for ct, a in zip(cts, self.outs, strict=True)]
        full = [
            ct if dtype_of(ct) == a.dtype else astype(ct, dtype=a.dtype)
            for ct, a in zip(full, self.outs, strict=True)
        ]
        back = self.backward(full, self.residuals(arrays))
        return [np.asarray(ct) if isinstance(ct, (int, float, complex)) else ct for ct in back]

    def __str__(self) -> str:
        return describe(self.f)


_ARRAY = object()


def _record(
    name: str, f: Callable, forward: Callable, backward: Callable, ts: list, residuals: list, ys: list
) -> list:
    """The tangents of `ys`: those of floating-point leaves by one node, None for the others."""
    outs = [_aval(y) for y in ys if _inexact(y)]
    if not outs:
        return [None] * len(ys)
    arrays = [r for r in residuals if hasattr(r, "dtype")]
    rest = [_ARRAY if hasattr(r, "dtype") else r for r in residuals]
    dtype = np.result_type(*(a.dtype for a in outs))  # a recorded call has one dtype
    node = _Node(f, forward, backward, outs, rest)
    dys = iter(_linear(name, len(ts))(*ts, *arrays, of=node, dtype=dtype))
    return [fit(next(dys), y) if _inexact(y) else None for y in ys]


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
            more = _pushed(update_wrapper(at, params["of"].f), xs, dxs)
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
    prim.flops = lambda args, outs, params: _count(params["of"], args[:n], args[n:], params["dtype"])
    return prim


_DOCS = {
    "custom_vjp": "the transpose of a bwd, in forward mode; the bwd itself, in reverse mode",
    "checkpoint": "the derivative of a function that is computed again from its inputs",
}
for _each in _DOCS:
    _linear(_each, 1)


class _Counter(Trace):
    """Adds up what the primitives that meet its values cost."""

    __slots__ = ("flops",)

    def __init__(self, f: Callable) -> None:
        super().__init__("cost", f)
        self.flops = 0.0

    def process(self, prim: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        args = [a.primal if type(a) is Dual and a._trace is self else a for a in args]
        out = prim(*args, **params)
        outs = out if prim.multiple else (out,)
        if prim.flops is not None:
            self.flops += prim.flops(args, [shape_of(o) for o in outs], params)
        outs = tuple(self.wrap(o) for o in outs)
        return outs if prim.multiple else outs[0]

    def wrap(self, x: Any) -> Any:
        return Dual(self, x, None) if _inexact(x) else x


def _count(node: _Node, ts: Sequence[Any], arrays: Sequence[Any], dtype: np.dtype) -> float:
    """The cost of a way forward is what runs on it: so it is run, at zero tangents."""
    trace = _Counter(node.f)
    plain = [_plain(a) for a in arrays]
    zeros = [_zeros(t, plain) for t in ts]
    node.push([trace.wrap(t) for t in zeros], [trace.wrap(a) for a in plain], dtype)
    return trace.flops


# ----- Passes on flat leaves, which may be complex inside a program that is real at its ends -----


def _pushed(f: Callable, xs: Sequence[Any], ts: Sequence[Any]) -> tuple:
    """The tangents of the tuple `f(*xs)` along `ts`."""
    ys, dys, _, _ = push(f, _tuple_of(xs), xs, ts, False, "jvp")
    return tuple(zeros_like(y) if dy is None else dy for y, dy in zip(ys, dys, strict=True))


def _pulled(f: Callable, xs: Sequence[Any], cts: Sequence[Any]) -> list:
    """The cotangents of `xs` for those of the tuple `f(*xs)`."""
    trace = LinearTrace("linearize", f, xs)
    ts = [trace.variable(_aval(x)) for x in xs]
    try:
        ys, dys, _, _ = push(f, _tuple_of(xs), xs, ts, False, "linearize")
    finally:
        trace.end()
    return _map(trace, ts, dys, ys).pull(cts, consume=True)


def _transposed(f: Callable, avals: Sequence[Aval], cts: Sequence[Any]) -> list:
    """The transpose of a linear `f`, from variables of these shapes to a tuple, at `cts`."""
    trace = LinearTrace("linear_transpose", f, cts)
    ts = [trace.variable(a) for a in avals]
    try:
        outs = f(*ts)
    finally:
        trace.end()
    return _map(trace, ts, outs, outs).pull(cts, consume=True)


def _map(trace: LinearTrace, ts: list, outs: Sequence[Any], ys: Sequence[Any]) -> LinearMap:
    return LinearMap(trace, ts, outs, [_aval(y) for y in ys], _tuple_of(ts), _tuple_of(outs))


def _tuple_of(leaves: Sequence[Any]) -> TreeDef:
    return tree_flatten((0,) * len(leaves))[1]


# ----- Helpers -----


def _aligned(tree: TreeDef, got: Tree) -> list | None:
    """The leaves of `got` as in `tree`, None throughout a part that is None; None when they do not fit."""
    if got is None:
        return [None] * tree.num_leaves
    node = _node_of(got)
    if node is None or tree.kind is None:
        return [got] if node is None and tree.kind is None else None
    keys, children, _ = node.split(got)
    if type(got) is not tree.kind or keys != tree.keys:
        return None
    parts = [_aligned(d, c) for d, c in zip(tree.children, children, strict=True)]
    return None if any(p is None for p in parts) else [leaf for p in parts for leaf in p or ()]


def _traces(values: Iterable[Any]) -> set[Trace]:
    """The transformations that values belong to, at every depth."""
    found, stack = set(), list(values)
    while stack:
        x = stack.pop()
        if isinstance(x, Tracer):
            found.add(x._trace)
            if type(x) is Dual:
                stack += [x.primal, x.tangent]
    return found


def _inexact(x: Any) -> bool:
    return isinstance(x, (float, complex)) or hasattr(x, "dtype") and dtype_of(x).kind in "fc"


def _aval(x: Any) -> Any:
    """Shape and dtype of a number or array; anything else as it is."""
    number = isinstance(x, (int, float, complex)) or hasattr(x, "dtype")
    return Aval(shape_of(x), dtype_of(x)) if number else x


def _zeros(like: Any, others: Sequence[Any]) -> Any:
    """Zeros shaped like `like`, to stand among `others`.

    Among linear variables they are one, too: an empty sum. A residual that is traced would make something
    else of plain zeros, which could not be added to a linear variable any more.
    """
    others = [t for t in others if t is not None]
    shape, dtype = shape_of(like), dtype_of(like)
    for t in others:
        if any(isinstance(trace, LinearTrace) for trace in _traces([t])):
            t = t if dtype.kind == "c" else real(t)
            return broadcast_to(astype(sum(reshape(t, (-1,))[:0]), dtype=dtype), shape=shape)
    return unboxed(namespace_of(others[0] if others else like).zeros(shape, dtype=dtype))


def _plain(x: Any) -> Any:
    while type(x) is Dual:
        x = x.primal
    return _zeros(x, ()) if isinstance(x, Tracer) else x


def _kind(x: Any) -> str:
    return (
        str(tree_flatten(x)[1])
        if _node_of(x) is not None
        else aval_str(x)
        if hasattr(x, "dtype")
        else _name(x)
    )


def _name(x: Any) -> str:
    return getattr(x, "__name__", type(x).__name__)
