"""How a primitive gets its derivative facts, and the four linear primitives the engine itself needs.

One rule a fact: a nonlinear primitive has a jvp rule, a linear one a transpose, a bilinear one two
transposes. Broadcasting and dtypes are put right here, once: a rule may return any shape and dtype that
broadcasts.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .backend import large
from .core import Primitive, dtype_of, result_dtype, shape_of, size_of, touched, unboxed

# ----- Nonlinear primitives: a jvp rule -----


def defjvp(prim: Primitive, *rules: Callable | None) -> None:
    """One rule an argument: `rule(t, ans, *args, **params)`, the part of ans's tangent that is due to t.

    None in place of a rule: the argument has no influence almost everywhere (a mask, an index).

    >>> cube = Primitive("_doc_cube", lambda xp, x: x * x * x)
    >>> defjvp(cube, lambda t, ans, x: t * 3 * x * x)
    >>> from minigrad import jvp
    >>> float(jvp(cube, (2.0,), (1.0,))[1])
    12.0
    """

    def jvp(primals: Sequence[Any], tangents: Sequence[Any], params: dict) -> tuple[Any, Any]:
        ans = prim(*primals, **params)
        total = None
        for t, rule in zip(tangents, rules):  # noqa: B905 (arguments beyond the rules have none)
            if t is not None and rule is not None:
                term = fit(rule(t, ans, *primals, **params), ans)
                total = term if total is None else add(total, term)
        return ans, total

    prim.jvp = jvp


def defpartial(prim: Primitive, *partials: Callable | None) -> None:
    """For elementwise primitives: `partial(ans, *args)`, the derivative of each element in that argument."""

    def jvp(primals: Sequence[Any], tangents: Sequence[Any], params: dict) -> tuple[Any, Any]:
        ans = prim(*primals, **params)
        total = None
        for t, partial in zip(tangents, partials):  # noqa: B905
            if t is not None and partial is not None:
                d = partial(ans, *primals, **params)
                term = t.times(d) if type(t) in RECORDED else multiply(t, d)
                term = fit(term, ans)
                if total is None:
                    total = term
                else:
                    total = total.plus(term) if type(total) in RECORDED else add(total, term)
        return ans, total

    prim.jvp = jvp


def defwhole(prim: Primitive, rule: Callable) -> None:
    """One rule for value and tangent together: `rule(primals, tangents, **params) -> (ans, t)`.

    For primitives whose tangent needs a residual that the value alone would not compute. The rule gets
    residuals from other primitives, never from raw arrays: so they carry derivatives of their own.
    """
    prim.jvp = lambda primals, tangents, params: rule(primals, tangents, **params)


def defzero(prim: Primitive) -> None:
    """The derivative is zero wherever it exists: comparisons, sign, argmax, stop_gradient."""
    prim.jvp = lambda primals, tangents, params: (prim(*primals, **params), None)


# ----- Linear primitives: a transpose -----


def deflinear(
    prim: Primitive, shape: Callable, *transposes: Callable | None, jvps: Sequence[Callable | None] = ()
) -> None:
    """`prim` is linear in each argument that has a transpose (multilinear, where several have one).

    `transpose(ct, *args, **params)` is the cotangent of that argument; in `args` the linear argument itself
    is only good for its shape and dtype. `shape(*args, **params)` is the shape of the result. The jvp
    follows: the tangent takes the argument's place. `jvps` gives rules for arguments without a transpose.
    """
    prim.linear = frozenset((i,) for i, rule in enumerate(transposes) if rule is not None)
    prim.shape = broadcasts if shape is broadcast_shape else lambda args, params: shape(*args, **params)

    prim.transposes = transposes
    prim.transpose = lambda ct, args, params, linear: [transposes[i](ct, *args, **params) for i in linear]  # type: ignore
    rules = [*jvps, *[None] * (len(transposes) - len(jvps))]

    def jvp(primals: Sequence[Any], tangents: Sequence[Any], params: dict) -> tuple[Any, Any]:
        ans = prim(*primals, **params)
        total = None
        for i, t in enumerate(tangents):
            if t is None:
                continue
            if i < len(transposes) and transposes[i] is not None:
                args = list(primals)
                args[i] = t
                term = prim(*args, **params)
            elif i < len(rules) and (rule := rules[i]) is not None:
                term = rule(t, ans, *primals, **params)
            else:
                continue
            term = fit(term, ans)
            total = term if total is None else add(total, term)
        return ans, total

    prim.jvp = jvp


def defjoint(
    prim: Primitive, shape: Callable, transpose: Callable, positions: Sequence[int] | None, jvp: Callable
) -> None:
    """`prim` is linear in the arguments at `positions` taken together (None: in all of them), as a sum is.

    `transpose(ct, args, params, linear)` is the list of cotangents for the argument positions `linear`;
    `shape(args, params)` and `jvp(primals, tangents, params) -> (ans, t)` are given in full.
    """
    prim.linear = frozenset([ALL if positions is None else tuple(positions)])
    prim.shape, prim.transpose, prim.jvp = shape, transpose, jvp


ALL = (-1,)
# Types of recorded tangents: `t.times(d)` and `t.plus(u)` record multiply(t, d) and add(t, u) without detour.
RECORDED: set[type] = set()


# ----- The vector space of tangents: what the engine itself computes with -----


def fit(t: Any, like: Any) -> Any:
    """Tangent `t` in the shape and dtype of `like`, by broadcasting."""
    try:
        if t.shape == like.shape and t.dtype is like.dtype:
            return t
    except AttributeError:  # a plain number
        pass
    shape, dtype = shape_of(like), dtype_of(like)
    if shape_of(t) != shape:
        t = broadcast_to(t, shape=shape)
    own = dtype_of(t)
    return t if own is dtype or own == dtype else astype(t, dtype=dtype)


def unfit(ct: Any, like: Any) -> Any:
    """The transpose of `fit`: cotangent `ct` summed to the shape of `like`, in its dtype."""
    shape, dtype = shape_of(like), dtype_of(like)
    if shape_of(ct) != shape:
        ct = sum_to(ct, shape=shape)
    own = dtype_of(ct)
    return ct if own is dtype or own == dtype else astype(ct, dtype=dtype)


def promote(*args: Any) -> list[Any]:
    """`args` in the one dtype NumPy promotes them to: for kernels, which compute in a single dtype."""
    dtype = result_dtype(args)
    return [a if dtype_of(a) == dtype else astype(a, dtype=dtype) for a in args]


def broadcast_shape(*args: Any, **params: Any) -> tuple[int, ...]:
    shape: tuple[int, ...] = ()
    for a in args:
        s = shape_of(a)
        if s and s != shape:
            if shape:
                return np.broadcast_shapes(*map(shape_of, args))
            shape = s
    return shape


def broadcasts(args: Sequence[Any], params: dict) -> tuple[int, ...]:
    """The shape rule of elementwise primitives; the recorder knows it by identity and sees equal shapes."""
    return broadcast_shape(*args)


# ----- Costs: the formulas that many primitives share (conventions: docs/conventions.md) -----


def elementwise_flops(per_element: int) -> Callable:
    return lambda args, outs, params: per_element * sum(map(math.prod, outs))


def input_flops(args: Sequence[Any], outs: Sequence[tuple], params: dict) -> int:
    """One operation for each element of the first argument: reductions and their kind."""
    return size_of(args[0])


def no_flops(args: Sequence[Any], outs: Sequence[tuple], params: dict) -> int:
    return 0


def no_bytes(args: Sequence[Any], outs: Sequence[Any], params: dict) -> int:
    """Those of a view. A reshape counts as one, though NumPy copies what does not lie row by row."""
    return 0


# ----- The engine's own linear primitives -----


def _impl_sum_to(xp: Any, x: Any, shape: tuple[int, ...]) -> Any:
    lead = x.ndim - len(shape)
    ones = [i + lead for i, n in enumerate(shape) if n == 1 and x.shape[i + lead] != 1]
    if not ones:
        return xp.sum(x, axis=tuple(range(lead)))
    return xp.reshape(xp.sum(x, axis=(*range(lead), *ones), keepdims=True), shape)


def _add_jvp(primals: Sequence[Any], tangents: Sequence[Any], params: dict) -> tuple[Any, Any]:
    ans = add(*primals)
    a, b = tangents
    return ans, fit(b if a is None else a if b is None else add(a, b), ans)


def _astype_jvp(primals: Sequence[Any], tangents: Sequence[Any], params: dict) -> tuple[Any, Any]:
    ans = astype(*primals, **params)
    return ans, astype(tangents[0], **params) if dtype_of(ans).kind in "fc" else None


def _impl_astype(xp: Any, x: Any, dtype: np.dtype) -> Any:
    x = xp.asarray(x)
    if dtype.kind == "f" and dtype_of(x).kind == "c":
        x = xp.real(x)  # without NumPy's warning: it is also the transpose of the real numbers' way into C
    return unboxed(xp.asarray(x, dtype=dtype))


def _astype_bytes(args: Sequence[Any], outs: Sequence[Any], params: dict) -> int:
    """The dtype that an array has, or that its real part has, gives a view."""
    own, dtype = dtype_of(args[0]), params["dtype"]
    of_real_part = own.kind == "c" and dtype.kind == "f" and own.itemsize == 2 * dtype.itemsize
    return 0 if own == dtype or of_real_part else touched(args, outs, params)


add = Primitive("add", "add", doc="x + y, with broadcasting")
add.numpy = large.elementwise(np.add)
defjoint(
    add,
    broadcasts,
    lambda ct, args, params, linear: [ct] * len(linear),
    (0, 1),
    _add_jvp,
)

multiply = Primitive("multiply", "multiply", doc="x y elementwise, with broadcasting")
multiply.numpy = large.elementwise(np.multiply)
deflinear(multiply, broadcast_shape, lambda ct, x, y: multiply(ct, y), lambda ct, x, y: multiply(ct, x))
defpartial(multiply, lambda ans, x, y: y, lambda ans, x, y: x)

broadcast_to = Primitive("broadcast_to", "broadcast_to", doc="x repeated to a larger shape")
deflinear(broadcast_to, lambda x, shape: shape, lambda ct, x, shape: sum_to(ct, shape=shape_of(x)))

sum_to: Primitive = Primitive(
    "sum_to", _impl_sum_to, doc="x summed over the axes that broadcasting to x's shape repeats"
)
deflinear(sum_to, lambda x, shape: shape, lambda ct, x, shape: broadcast_to(ct, shape=shape_of(x)))

astype = Primitive("astype", _impl_astype, doc="x converted to a dtype; from complex to real, its real part")
defjoint(
    astype,
    lambda args, params: shape_of(args[0]),
    lambda ct, args, params, linear: [astype(ct, dtype=dtype_of(args[0]))],
    (0,),
    _astype_jvp,
)

for _prim, _flops in (
    (add, elementwise_flops(1)),
    (multiply, elementwise_flops(1)),
    (broadcast_to, no_flops),
    (sum_to, input_flops),
    (astype, no_flops),
):
    _prim.flops = _flops
broadcast_to.bytes, astype.bytes = no_bytes, _astype_bytes
