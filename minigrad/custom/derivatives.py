"""`custom_jvp` and `custom_vjp`: functions whose forward or reverse rule is yours."""

from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any

from ..errors import MissingRuleError, NonlinearError
from ..forward import zeros_like
from ..tree import TreeDef, tree_flatten, tree_unflatten
from .function import Call, Function, kind_of, name_of
from .node import aval_of, is_inexact, record, transposed, zeros_among

__all__ = ["custom_jvp", "custom_vjp"]


class custom_jvp(Function):
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

    def push(self, call: "Call", xs: list, ts: list) -> tuple[list, TreeDef, list]:
        if self.rule is None:
            raise MissingRuleError(
                f"{self.label} has no rule: give it one with {name_of(self.f)}.defjvp(rule), "
                "rule(primals, tangents) -> (y, y_dot)"
            )
        full = [zeros_among(x, ts) if t is None and is_inexact(x) else t for t, x in zip(ts, xs, strict=True)]
        out = self.rule(*call.fixed, tree_unflatten(call.tree, xs), tree_unflatten(call.tree, full))
        y, y_dot = self.pair(out, "its rule", "(y, y_dot)")
        ys, y_tree = tree_flatten(y)
        return ys, y_tree, self.matched("y_dot", "y", y_dot, y_tree, ys)


class custom_vjp(Function):
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

    def push(self, call: "Call", xs: list, ts: list) -> tuple[list, TreeDef, list]:
        if self.fwd is None or self.bwd is None:
            raise MissingRuleError(
                f"{self.label} has no rule: give it one with {name_of(self.f)}.defvjp(fwd, bwd), "
                "fwd(*args) -> (y, residuals), bwd(residuals, ct) -> a tuple of cotangents"
            )
        y, residuals = self.pair(self.fwd(*call.arguments(xs)), "fwd", "(y, residuals)")
        ys, y_tree = tree_flatten(y)
        res, res_tree = tree_flatten(residuals)
        self.check_captured(res, xs)
        bwd, tree, fixed = self.bwd, call.tree, call.fixed
        floats, outs = [is_inexact(y) for y in ys], [aval_of(y) for y in ys if is_inexact(y)]
        likes, live = [aval_of(x) for x in xs], [i for i, t in enumerate(ts) if t is not None]

        def backward(cts: Sequence[Any], res: Sequence[Any]) -> list:
            each = iter(cts)
            ct = tree_unflatten(y_tree, [next(each) if yes else None for yes in floats])
            back = bwd(*fixed, tree_unflatten(res_tree, res), ct)
            if not isinstance(back, tuple):
                raise TypeError(
                    f"{self.label}: bwd must return a tuple with one cotangent an argument, "
                    f"but it returned {kind_of(back)}"
                )
            leaves = self.matched("the cotangent of bwd", "primal", back, tree, likes)
            self.check_captured(leaves, [*cts, *res])
            return [leaves[i] for i in live]

        def forward(ts: Sequence[Any], res: Sequence[Any]) -> tuple:
            def pull(*cts: Any) -> tuple:
                back = backward(cts, res)
                return tuple(zeros_like(t) if ct is None else ct for ct, t in zip(back, ts, strict=True))

            try:
                return tuple(transposed(update_wrapper(pull, bwd), outs, ts))
            except NonlinearError as e:
                raise NonlinearError(
                    f"{self.label}: forward mode transposes bwd, so bwd must be linear in its cotangent: {e}"
                ) from None

        return ys, y_tree, record("custom_vjp", self.f, forward, backward, [ts[i] for i in live], res, ys)
