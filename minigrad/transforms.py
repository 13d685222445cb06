"""Transformations built on `jvp` and `linearize`: gradients, Jacobians, Hessians and products with them.

Each is a few lines, because a derivative is a linear map: reverse mode is its transpose, a Jacobian is the
map applied to a basis, a Gauss-Newton product is J, then the loss's Hessian, then J's transpose.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import accumulate
from operator import index
from typing import Any

from .batch import sweep
from .core import (
    LOCAL,
    Primitive,
    Tracer,
    aval_str,
    describe,
    dtype_of,
    is_float,
    namespace_of,
    shape_of,
    size_of,
    unboxed,
)
from .forward import check_like, jvp
from .linear import LinearMap, linearize, linearize_for
from .ops.reduce import sum as _sum
from .ops.shape import concatenate, moveaxis, reshape
from .rules import defzero, no_bytes, no_flops
from .tree import Tree, tree_flatten, tree_leaves, tree_map, tree_unflatten

__all__ = [
    "ggn_vp",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacrev",
    "quadratic",
    "stop_gradient",
    "value_and_grad",
    "vjp",
]


def vjp(f: Callable, *primals: Tree, has_aux: bool = False) -> tuple:
    """Value of `f` and the function that pulls a cotangent back: y, f_vjp = vjp(f, x); (ct_x,) = f_vjp(ct).

    `f_vjp(ct)` takes a tree like `y` and returns a tuple with one tree a primal, and may be called often.
    With `has_aux`, `f` returns `(y, aux)` and the result is `(y, f_vjp, aux)`. Raises TypeError for primals
    that are not floating point, ValueError for a cotangent that does not match `y`.

    >>> import numpy as np
    >>> y, f_vjp = vjp(np.sin, np.array([0.0]))
    >>> f_vjp(np.array([2.0]))
    (array([2.]),)
    """
    y, J, *aux = linearize_for("vjp", f, primals, has_aux)
    return (y, J.vjp, *aux)


def grad(f: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable:
    """The gradient of a scalar `f` with respect to argument `argnums` (a tuple of them for a sequence).

    The result has the structure, shapes and dtypes of the argument; with `has_aux` it is `(gradient, aux)`.
    Raises TypeError for an argument that is not floating point or an output that is no scalar.

    >>> grad(lambda x: x ** 3)(2.0)
    np.float64(12.0)
    """
    with_value = value_and_grad(f, argnums, has_aux)

    def gradient(*args: Tree, **kwargs: Any) -> Tree:
        value, g = with_value(*args, **kwargs)
        return (g, value[1]) if has_aux else g

    return _named(gradient, f, "grad")


def value_and_grad(f: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable:
    """Value and gradient of a scalar `f`: `(value, gradient)`, with aux `((value, aux), gradient)`.

    Residuals are let go as the reverse pass walks over them. Arguments and errors are those of `grad`.

    >>> value_and_grad(lambda x: x * x)(3.0)
    (np.float64(9.0), np.float64(6.0))
    """
    many, nums = _argnums(argnums)

    def gradient(*args: Tree, **kwargs: Any) -> tuple:
        part, chosen = _partial("grad", f, nums, args, kwargs)
        y, J, *aux = linearize_for("grad", part, chosen, has_aux)
        if not (isinstance(y, float) or getattr(y, "shape", None) == () and is_float(y)):
            what = aval_str(y) if hasattr(y, "shape") else type(y).__name__
            way = "sum or average the output, or use jacrev or vjp"
            if what.startswith("complex"):
                way = "take its real part or absolute value, or use jacfwd or vjp"
            raise TypeError(f"grad: {describe(f)} returned {what}, but a gradient needs a scalar: {way}")
        cts = tree_unflatten(J.in_tree, J.pull([_one(y)], consume=True))
        return ((y, aux[0]) if has_aux else y), cts if many else cts[0]

    return _named(gradient, f, "value_and_grad")


def hvp(f: Callable, primals: Sequence[Tree], tangents: Sequence[Tree], mode: str = "fwd_over_rev") -> Tree:
    """Hessian of a scalar `f` at `primals` times `tangents`; a tree like the primal, a tuple for several.

    `mode` is outer_over_inner: "fwd_over_rev" is a jvp of the gradient, "rev_over_rev" the gradient of
    ⟨∇f, v⟩, "rev_over_fwd" the gradient of the directional derivative. All three are the same number.

    >>> import numpy as np
    >>> hvp(lambda x: (x ** 3).sum(), (np.array([1.0, 2.0]),), (np.array([1.0, 1.0]),))
    array([ 6., 12.])
    """
    primals, tangents = tuple(primals), tuple(tangents)
    if len(primals) != len(tangents):
        raise ValueError(f"hvp: {len(primals)} primals, but {len(tangents)} tangents")
    nums = tuple(range(len(primals)))
    if mode == "fwd_over_rev":
        out = jvp(grad(f, nums), primals, tangents)[1]
    elif mode == "rev_over_rev":
        (v_leaves, v_def), (x_leaves, x_def) = tree_flatten(tangents), tree_flatten(primals)
        if v_def != x_def:
            raise ValueError(f"hvp: tangents are {v_def}, but primals are {x_def}")
        check_like("hvp", "tangent", "primal", v_leaves, x_leaves, primals)
        out = grad(lambda *x: _inner(grad(f, nums)(*x), tangents), nums)(*primals)
    elif mode == "rev_over_fwd":
        out = grad(lambda *x: jvp(f, x, tangents)[1], nums)(*primals)
    else:
        raise ValueError(f"hvp: unknown mode {mode!r}: use 'fwd_over_rev', 'rev_over_rev' or 'rev_over_fwd'")
    return out[0] if len(out) == 1 else out


def ggn_vp(predict: Callable, loss: Callable, w: Tree, v: Tree) -> Tree:
    """Generalised Gauss-Newton product Jᵀ H J v: J = predict'(w), H the Hessian of `loss` at predict(w).

    One primal pass, one jvp, one vjp. H is the loss's closed form where it has `loss.quadratic`. `v` and the
    result are trees like `w`. (Schraudolph 2002, section 3.)

    >>> import numpy as np
    >>> ggn_vp(lambda w: 2 * w, lambda y: (y * y).sum(), np.array([5.0]), np.array([1.0]))
    array([8.])
    """
    y, J = linearize(predict, w)
    _, _, H = quadratic(loss, y)
    return J.T(H(J(v)))


def quadratic(loss: Callable, y: Any) -> tuple[Any, Any, Callable]:
    """Value, gradient and Hessian map of `loss` at `y`: `loss.quadratic(y)`, or else by derivatives.

    >>> import numpy as np
    >>> value, g, H = quadratic(lambda y: (y ** 2).sum(), np.array([1.0, 3.0]))
    >>> H(np.array([1.0, 0.0]))
    array([2., 0.])
    """
    recorder = LOCAL.recorder
    return _quadratic(loss, y) if recorder is None else recorder.quadratic(_quadratic, loss, y)


def _quadratic(loss: Callable, y: Any) -> tuple[Any, Any, Callable]:
    if hasattr(loss, "quadratic"):
        return loss.quadratic(y)
    (value, g), H = linearize(value_and_grad(loss), y)
    return value, g, lambda v: H(v)[1]


def jacfwd(f: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable:
    """The Jacobian of `f` by a forward sweep with all unit tangents at once: best for tall Jacobians.

    A leaf of the result has the output's shape followed by the argument's; trees give a tree (like the
    output) of trees (like the argument). One linearization serves all sweeps.

    >>> import numpy as np
    >>> jacfwd(lambda x: x ** 2)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """

    def block(J: LinearMap, x_leaves: list, y_leaves: list) -> list[list]:
        columns = _all_of_basis(J.push, x_leaves, J)  # for each output, its tangents along axis 0
        return [
            [
                reshape(moveaxis(part, 0, -1), shape_of(y) + shape_of(x))
                for x, part in zip(x_leaves, _cut(column, x_leaves), strict=True)
            ]
            for y, column in zip(y_leaves, columns, strict=True)
        ]

    return _jacobian("jacfwd", f, argnums, has_aux, block)


def jacrev(f: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable:
    """The Jacobian of `f` by a reverse sweep with all unit cotangents at once: best for wide Jacobians.

    Shapes and trees are those of `jacfwd`. Raises TypeError for a complex output.

    >>> import numpy as np
    >>> jacrev(lambda x: (x ** 2).sum())(np.array([1.0, 2.0]))
    array([2., 4.])
    """

    def block(J: LinearMap, x_leaves: list, y_leaves: list) -> list[list]:
        for y in y_leaves:
            if dtype_of(y).kind == "c":
                raise TypeError(f"jacrev: {describe(f)} returned {aval_str(y)}: jacfwd takes complex outputs")
        rows = [_cut(row, y_leaves) for row in _all_of_basis(J.pull, y_leaves, J)]
        return [
            [reshape(row[j], shape_of(y) + shape_of(x)) for x, row in zip(x_leaves, rows, strict=True)]
            for j, y in enumerate(y_leaves)
        ]

    return _jacobian("jacrev", f, argnums, has_aux, block)


def hessian(f: Callable, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable:
    """The Hessian of a scalar `f`: jacfwd of the gradient; a tree of trees, each leaf's shape twice.

    >>> import numpy as np
    >>> hessian(lambda x: x[0] * x[1])(np.array([1.0, 2.0]))
    array([[0., 1.],
           [1., 0.]])
    """
    return jacfwd(grad(f, argnums, has_aux), argnums, has_aux)


def stop_gradient(tree: Tree) -> Tree:
    """`tree` with its leaves as constants: every derivative through them is zero.

    What is no array (a name, a number) stays as it is.

    >>> grad(lambda x: x * stop_gradient(x))(3.0)
    np.float64(3.0)
    """
    return tree_map(lambda x: _stop_gradient(x) if isinstance(x, Tracer) else x, tree)


_stop_gradient = Primitive("stop_gradient", lambda xp, x: x, doc="x as a constant")
defzero(_stop_gradient)
_stop_gradient.flops, _stop_gradient.bytes = no_flops, no_bytes


# ----- Helpers -----


def _argnums(argnums: int | Sequence[int]) -> tuple[bool, tuple[int, ...]]:
    """Are several arguments meant, and which."""
    many = isinstance(argnums, (tuple, list))
    try:
        return many, tuple(map(index, argnums if many else [argnums]))  # type: ignore[arg-type, list-item]
    except TypeError:
        raise TypeError(f"argnums is {argnums!r}: use an integer, or a tuple of integers") from None


def _partial(
    kind: str, f: Callable, nums: tuple[int, ...], args: tuple, kwargs: dict
) -> tuple[Callable, list[Tree]]:
    """`f` as a function of the chosen arguments only, and those arguments."""
    if any(not -len(args) <= i < len(args) for i in nums):
        raise ValueError(
            f"{kind}: argnums {nums if len(nums) > 1 else nums[0]} of {describe(f)}, "
            f"but it was called with {len(args)} arguments by position"
        )
    if len({i % len(args) for i in nums}) < len(nums):
        raise ValueError(f"{kind}: argnums {nums} of {describe(f)} name one argument twice")

    def part(*chosen: Tree) -> Tree:
        full = list(args)
        for i, x in zip(nums, chosen, strict=True):
            full[i] = x
        return f(*full, **kwargs)

    return _named(part, f, ""), [args[i] for i in nums]


def _jacobian(
    kind: str, f: Callable, argnums: int | Sequence[int], has_aux: bool, block: Callable
) -> Callable:
    many, nums = _argnums(argnums)

    def jacobian(*args: Tree, **kwargs: Any) -> Tree:
        part, chosen = _partial(kind, f, nums, args, kwargs)
        y, J, *aux = linearize_for(kind, part, chosen, has_aux)
        x_leaves, x_def = tree_flatten(tuple(chosen))
        y_leaves, y_def = tree_flatten(y)
        recorder = LOCAL.recorder
        what = ("jvp", kind, "tangent") if kind == "jacfwd" else ("vjp", kind, "cotangent")
        with nullcontext() if recorder is None else recorder.running(*what, at=J._at):
            rows = block(J, x_leaves, y_leaves)
        trees = [tree_unflatten(x_def, row) for row in rows]
        out = tree_unflatten(y_def, [t if many else t[0] for t in trees])
        return (out, aux[0]) if has_aux else out

    return _named(jacobian, f, kind)


# What one operation of a Jacobian's sweep may write: directions are pushed in portions that keep below it.
PORTION_BYTES = 2**26


def _all_of_basis(run: Callable, leaves: Sequence[Any], J: LinearMap) -> list[Any]:
    """`run` on every unit vector of the space of `leaves`, each of its results stacked along axis 0."""
    if not leaves:
        return [
            namespace_of(None).zeros((0, *a.shape), a.dtype)
            for a in (J.out_avals if run == J.push else J.in_avals)
        ]
    total = sum(map(size_of, leaves))
    largest = max([a.dtype.itemsize * math.prod(a.shape) for n in J.nodes for a in n.outs], default=1)
    k = max(PORTION_BYTES // max(largest, 1), 1)
    # With nothing to push, one direction of zeros still tells the shapes of the results.
    parts = [sweep(run, _units(leaves, i, min(i + k, total))) for i in range(0, total, k)] or [
        [y[:0] for y in sweep(run, _units(leaves, 0, 1))]
    ]
    return [ys[0] if len(ys) == 1 else concatenate(ys) for ys in zip(*parts, strict=True)]


def _units(leaves: Sequence[Any], start: int, stop: int) -> list[Any]:
    """Unit vectors `start` to `stop` - 1 of the space of `leaves`: for each leaf, its parts along axis 0."""
    units, first = [], 0
    for x in leaves:
        n = size_of(x)
        unit = namespace_of(x).eye(stop - start, n, k=start - first, dtype=dtype_of(x))
        units.append(reshape(unit, (stop - start, *shape_of(x))))
        first += n
    return units


def _cut(rows: Any, leaves: Sequence[Any]) -> list[Any]:
    """`rows` cut along axis 0 into what belongs to each leaf."""
    ends = list(accumulate(map(size_of, leaves)))
    return [rows[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def _inner(a: Tree, b: Tree) -> Any:
    total: Any = None
    for x, y in zip(tree_leaves(a), tree_leaves(b), strict=True):
        term = _sum(x * y)
        total = term if total is None else total + term
    return 0.0 if total is None else total


def _one(y: Any) -> Any:
    return unboxed(namespace_of(y).ones((), dtype=dtype_of(y)))


def _named(g: Callable, f: Callable, kind: str) -> Callable:
    """`g` carries the name of what it differentiates, for error messages and printed programs."""
    name = getattr(f, "__name__", type(f).__name__)
    g.__name__ = f"{kind}({name})" if kind else name
    g.__wrapped__ = f  # type: ignore[attr-defined]
    return g
