"""`explain`: a function at a point on one page: derivatives by both modes, whether they hold, what they cost.

What can be checked is checked by the identities of `minigrad.testing`; what ran is read off a recording.
"""

import inspect
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..backend import asnumpy
from ..core import Primitive, Tracer, aval_str, describe, dtype_of, recorded_by, size_of
from ..custom.node import is_inexact
from ..forward import jvp
from ..linear import LinearMap, linearize
from ..record import LinearVar
from ..transforms import _one
from ..tree import Tree, keeping_buffers, tree_flatten, tree_leaves, tree_paths, tree_unflatten
from .page import form_str, is_scalar, number_str, sections
from .recorder import Recorder
from .recording import Recording
from .show import is_zero, place_of, rule_place

__all__ = ["Check", "Explanation", "Input", "Rule", "explain"]


def explain(f: Callable, *args: Tree) -> "Explanation":
    """A function at a point, explained: print it.

    Value; derivative by reverse mode (the gradient of a scalar, of any other output Jᵀ c with a random c)
    beside forward mode along a random t; whether ⟨J t, c⟩ = ⟨t, Jᵀ c⟩ holds and a difference of values
    agrees; which rules were used; inputs that have no effect; the data flow; what the three passes cost, and
    what is kept between them. The directions are of a fixed seed; `f` runs half a dozen times.

    `args` are any trees; leaves that are not floating point (labels, flags) are held fixed. Buffers in them
    or in what `f` closes over are afterwards what they were. An exception that `f` raises comes through.

    >>> e = explain(lambda x, y: np.sum(np.tanh(x) * y), np.array([0.0, 1.0]), np.array([2.0, 0.0]))
    >>> e.ok, e.gradient[0], [rule.name for rule in e.rules]
    (True, array([2., 0.]), ['tanh', 'multiply', 'sum'])
    >>> print(e.checks[1])
    dot test: <J t, c> = <t, J.T c> agrees: 0.6326031 and 0.6326031 differ by < 1e-12 relative
    """
    leaves, treedef = tree_flatten(args)
    if any(isinstance(x, Tracer) for x in leaves):
        raise TypeError("explain: an argument is being differentiated: call it outside of transformations")
    moving = [i for i, x in enumerate(leaves) if is_inexact(x) and dtype_of(x).kind == "f"]
    if not moving:
        raise ValueError("explain: no argument holds floating-point numbers, so there is no derivative")
    state = args, _enclosed(f)

    def at(*xs: Any) -> tuple[list, Tree]:
        full = list(leaves)
        for i, x in zip(moving, xs, strict=True):
            full[i] = x
        with keeping_buffers(state):  # of many evaluations, each begins like the first
            y = f(*tree_unflatten(treedef, full))
        return [a for a in tree_leaves(y) if is_inexact(a)], y

    with recorded_by(None):  # these passes are no part of a recording outside
        return _explained(f, at, _paths(f, args), leaves, moving, treedef)


class Check(NamedTuple):
    """An identity, what is shown of both sides, how far they are `apart`, and how far rounding may part them.

    `size` is the larger of the lengths of both sides.
    """

    name: str
    identity: str
    one: float
    other: float
    apart: float
    size: float
    allowed: float

    def __str__(self) -> str:
        sides = f"{number_str(self.one)} and {number_str(self.other)} differ by {self.difference}"
        return f"{self.name}: {self.identity} {self.verdict}: {sides}"

    @property
    def agrees(self) -> bool:
        return self.apart <= self.allowed  # NaN is not

    @property
    def verdict(self) -> str:
        return "agrees" if self.agrees else "does NOT agree"

    @property
    def relative(self) -> float:
        return self.apart / self.size if self.size else 0.0

    @property
    def difference(self) -> str:
        """Of what is no more than rounding, its order of magnitude: that is the same on any machine."""
        if not self.agrees:
            return f"{self.relative:.2g} relative"
        kind, x = ("relative", self.relative) if self.relative < 1e-3 else ("absolute", self.apart)
        if not math.isfinite(x):
            return f"{x:g} {kind}"
        return f"< 1e-{3 * int(min(-math.log10(x), 12) / 3) if x else 12:02} {kind}"


class Input(NamedTuple):
    """A leaf of the arguments: its norm, that of its derivative, and `effect`: '' or why it has none."""

    name: str
    aval: str
    norm: float | None
    derivative: float | None
    effect: str


class Rule(NamedTuple):
    """A primitive or a function with a rule of its own: how often that was used, and where it stands."""

    name: str
    calls: int
    kind: str
    place: str


@dataclass(repr=False)
class Explanation:
    """What `explain` found out; `ok` if all `checks` agree. Printed, it is a page.

    `gradient` is the derivative of a scalar by reverse mode, and of any other output Jᵀ c, as a tree like the
    argument (a tuple for several), None for leaves that are held fixed; `forward` is J t, a list of arrays
    where there are several.
    """

    label: str
    value: Tree
    gradient: Tree
    forward: Tree
    checks: list[Check]
    inputs: list[Input]
    rules: list[Rule]
    remarks: list[str]
    residual_bytes: int
    recording: Recording

    @property
    def ok(self) -> bool:
        return all(check.agrees for check in self.checks)

    def __str__(self) -> str:
        return "\n\n".join(sections(self))

    __repr__ = __str__


# ----- Finding out -----


def _explained(
    f: Callable, at: Callable, paths: list[str], leaves: list, moving: list[int], treedef: Any
) -> Explanation:
    from ..testing.run import Run  # brings hypothesis along where it is installed

    def numbers(*xs: Any) -> list:
        return at(*xs)[0]

    at.__wrapped__ = numbers.__wrapped__ = f  # type: ignore[attr-defined]
    at.__name__ = numbers.__name__ = getattr(f, "__name__", type(f).__name__)
    run, witness = Run("explain", numbers, [leaves[i] for i in moving], 0, None), Witness()
    xs = run.leaves
    with recorded_by(witness), Recording() as t:
        ys, J, y = linearize(at, *xs, has_aux=True)
        c = [_one(ys[0])] if is_scalar(ys) else run.directions(ys)
        J(*run.t)
        cts = J.vjp(c)
    dys = jvp(numbers, tuple(xs), tuple(run.t))[1]
    checks, remarks = _checks(run, ys, dys, cts, c), witness.remarks()
    if (
        math.isfinite(checks[0].apart)
        and not checks[0].agrees
        and not _check("", "", run.values, numbers(*xs), checks[0].allowed).agrees
    ):
        remarks.append("f(x) is another at each call: what is compared here are different functions")
    whole = iter(cts)
    gradient = tree_unflatten(treedef, [next(whole) if i in moving else None for i in range(len(leaves))])
    return Explanation(
        f"{describe(at)}: {', '.join(map(aval_str, tree_leaves(y))) or 'nothing'}",
        y,
        gradient[0] if len(gradient) == 1 else gradient,
        dys[0] if len(dys) == 1 else dys,
        checks,
        _inputs(paths, leaves, moving, cts, J, t),
        witness.rules(),
        remarks,
        J.residual_bytes,
        t,
    )


def _checks(run: Any, ys: list, dy: list, cts: Sequence[Any], c: list) -> list[Check]:
    from ..testing.run import full, inner, norm

    values, y, tangent, back = ([full(a) for a in arrays] for arrays in (run.values, ys, dy, cts))
    checks = [_check("value", "f(x) = y of linearize", values, y, norm(values) * run.tolerance(ys))]
    one, other = inner(tangent, c), inner(run.t, back)
    # Both may be small by cancellation: what is added up in them is as large as this.
    size = max(norm(back), norm(tangent))
    words = "<J t, c> = <t, J.T c>"
    checks.append(_check("dot test", words, [one], [other], size * run.tolerance(dy, cts)))
    numbers, formula, rtol = run.numbers(run.t)
    wide = [full(y) for y in run.precision]
    eps = max([float(np.finfo(y.dtype).eps) for y in wide if y.dtype.kind in "fc"], default=1.0)
    # Beside a relative difference: rounding of the values, over the step, and the square of the step.
    allowed = rtol * size + 8 * eps ** (2 / 3) * max(1.0, norm(wide))
    words = f"J t = central difference,{formula.rpartition(',')[2]}"
    numbers = [full(a) for a in numbers]
    checks.append(_check("difference", words, tangent, numbers, allowed, (one, inner(numbers, c))))
    return checks


def _check(
    name: str, identity: str, one: list, other: list, allowed: float, sides: tuple[float, float] | None = None
) -> Check:
    """Are two lists of arrays less than `allowed` apart? `sides` are what is shown of them."""
    from ..testing.run import apart, norm

    number = len(one) == 1 and np.ndim(one[0]) == 0
    first, second = sides or ((float(one[0]), float(other[0])) if number else (norm(one), norm(other)))
    return Check(name, identity, first, second, apart(one, other), max(norm(one), norm(other)), allowed)


def _inputs(
    paths: list[str], leaves: list, moving: list[int], cts: Sequence[Any], J: LinearMap, t: Recording
) -> list[Input]:
    from ..testing.run import full, norm

    read = {v.k for op in t[0].all_ops for v in op.inputs if v[1:3] == ("input", t[0].number)}
    reached = {*J._outs, *[node.args[i].number for node in J.nodes for i in node.linear]}
    inputs = []
    for i, (path, x) in enumerate(zip(paths, leaves, strict=True)):
        if i not in moving:
            inputs.append(Input(path, form_str(x), None, None, "held fixed"))
            continue
        k = moving.index(i)
        derivative = norm([full(cts[k])])
        effect = ""
        if k not in reached:
            effect = f"never reached: {'no derivative flows to it' if k in read else 'nothing reads it'}"
        elif size_of(x) and derivative == 0:
            effect = "derivative is exactly zero here"
        inputs.append(Input(path, form_str(x), norm([full(x)]), derivative, effect))
    return inputs


class Witness(Recorder):
    """Sees, beside the passes, which rules the derivative is made of, and what stands on a kink."""

    def __init__(self) -> None:
        super().__init__()
        self.uses: Counter[tuple[str, str, str]] = Counter()
        self.kinks: Counter[str] = Counter()
        self.met: Counter[str] = Counter()

    def rule(
        self, prim: Primitive, args: Sequence[Any], primals: list[Any], tangents: list[Any], params: dict
    ) -> tuple[Any, Any]:
        live = [i for i, t in enumerate(tangents) if type(t) is LinearVar]
        if live and tangents[live[0]]._trace is next(iter(self.records)):  # of f itself, not of one inside it
            self.uses[_use(prim, live, params)] += 1
            if prim.name in KINKS:
                at = asnumpy(KINKS[prim.name](*primals))
                self.kinks[prim.name] += int(np.count_nonzero(at))
                self.met[prim.name] += np.size(at)
        return super().rule(prim, args, primals, tangents, params)

    def rules(self) -> list[Rule]:
        return [Rule(name, calls, kind, place) for (name, kind, place), calls in self.uses.items()]

    def remarks(self) -> list[str]:
        remarks = [
            f"{name} is on its kink at {n} of {self.met[name]} elements: its rule takes one slope there, "
            "a difference the mean of two"
            for name, n in self.kinks.items()
            if n
        ]
        if any(name == "stop_gradient" for name, _, _ in self.uses):
            remarks.append("stop_gradient cuts derivatives off on purpose: a difference of values does not")
        return remarks


KINKS: dict[str, Callable] = {
    "relu": lambda x: x == 0,
    "absolute": lambda x: x == 0,
    "fabs": lambda x: x == 0,
    "clip": lambda x, lo, hi: (x == lo) | (x == hi),
}


def _use(prim: Primitive, live: list[int], params: dict) -> tuple[str, str, str]:
    """Name, kind and place of a rule, where the arguments `live` have a tangent."""
    if prim.name == "_function":
        of = params["call"].of
        rule = getattr(of, "rule", None) or getattr(of, "bwd", None) or of.f
        return of.label.partition(" (")[0], "custom", place_of(rule)
    linear = [group for group in prim.linear if group == (-1,) or {*group} & {*live}]
    alone = len(linear) > 1
    if is_zero(prim):
        kind = "constant"
    elif linear and ((-1,) in linear or all(any(i in group for group in linear) for i in live)):
        kind = "bilinear" if alone else "linear"
    else:
        kind = "nonlinear"
    return prim.name, kind, rule_place(prim)


def _enclosed(f: Any) -> Any:
    """What `f` gets hold of without being given it."""
    f = inspect.unwrap(f)
    if inspect.isfunction(f):
        try:
            found = inspect.getclosurevars(f)
        except ValueError:  # of a name that has no value yet
            return None
        # Layers alone can hold Buffers, and anything else might hold itself.
        held = [*found.nonlocals.values(), *found.globals.values()]
        return [x for x in held if hasattr(type(x), "__minigrad_layer__")]
    return getattr(f, "__self__", f)


def _paths(f: Callable, args: tuple) -> list[str]:
    """What each leaf of the arguments is called: 'w', 'model.layers[0].weight'."""
    try:
        named = inspect.signature(f).bind(*args).arguments
    except (TypeError, ValueError):  # of a builtin, or not to be called like that
        return [f"args{path}" for path in tree_paths(args)]
    return [name + path for name, value in named.items() for path in tree_paths(value)]
