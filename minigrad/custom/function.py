"""A function as one step of the program: its call is taken apart into leaves and bound to one primitive.

What the derivative of that step is, `custom_jvp`, `custom_vjp` and `checkpoint` say.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, update_wrapper
from typing import Any

from ..core import Primitive, Tracer, aval_str, describe
from ..forward import JVPTrace, check_like
from ..rules import no_bytes, no_flops
from ..tree import Tree, TreeDef, _node_of, tree_flatten, tree_unflatten
from .node import is_inexact, traces_of

__all__ = ["Call", "Function", "kind_of", "name_of"]


class Function:
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
            call = Call(self, tree, leaves, skip, fixed)
            outs = _function(*tracers, call=call)
            return tree_unflatten(call.out_tree, outs)
        out = self.f(*args)  # a linear variable, too, goes through f as it stands
        if newest is None:
            self.check_captured(tree_flatten(out)[0], ())
        return out

    def push(self, call: "Call", xs: list, ts: list) -> tuple[list, TreeDef, list]:
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
            raise TypeError(f"{self.label}: {who} must return {names}, but it returned {kind_of(out)}")
        return out

    def matched(self, name: str, model: str, got: Tree, tree: TreeDef, likes: Sequence[Any]) -> list:
        """The leaves of `got`, None for zeros, once structure, shapes and dtypes are seen to be right."""
        leaves = _aligned(tree, got)
        if leaves is None:
            raise ValueError(f"{self.label}: {name} is {kind_of(got)}, but its {model} is {tree}")
        leaves = [t if is_inexact(x) else None for t, x in zip(leaves, likes, strict=True)]
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
        for trace in traces_of(outs) - traces_of(known):
            raise TypeError(
                f"{self.label} closes over a value that {trace.label} differentiates: "
                "make that value an argument"
            )


# ----- A call of such a function: one primitive, whose jvp rule is the function's own -----


class Call:
    """One call: its leaves, the structure they came from, and the arguments that have no leaves."""

    def __init__(self, of: Function, tree: TreeDef, leaves: list, skip: Sequence[int], fixed: list) -> None:
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


def _no_value(xp: Any, *tracers: Any, call: Call) -> Any:
    raise AssertionError("bound to tracers of a jvp only")


_function = Primitive("_function", _no_value, multiple=True, doc="a function with a derivative of its own")
_function.jvp = lambda primals, tangents, params: params["call"].push(primals, tangents)
_function.flops, _function.bytes = no_flops, no_bytes


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


def kind_of(x: Any) -> str:
    return (
        str(tree_flatten(x)[1])
        if _node_of(x) is not None
        else aval_str(x)
        if hasattr(x, "dtype")
        else name_of(x)
    )


def name_of(x: Any) -> str:
    return getattr(x, "__name__", type(x).__name__)
