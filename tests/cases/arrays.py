"""Shapes and indices: what moves data without arithmetic."""

import math
from collections.abc import Callable
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import strategies as st

import minigrad as mg
from minigrad.core import size_of

from .builders import (
    POSITIVE,
    THIN,
    Case,
    X,
    Y,
    axes,
    broadcastable,
    distinct,
    layout,
    like,
    nonzero,
    normal,
    of,
    positive,
    shapes,
    transposed,
)


def broadcast_case(draw: Callable, rng: np.random.Generator) -> Case:
    pattern = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3, min_side=0))
    x = layout(draw, normal(rng, pattern.input_shapes[0]))
    return Case(lambda x: mg.broadcast_to(x, pattern.result_shape), (x,), True)


def sum_to_case(draw: Callable, rng: np.random.Generator) -> Case:
    f, (x,), _ = broadcast_case(draw, rng)
    return Case(transposed(f, x.shape), (layout(draw, normal(rng, np.shape(f(x)))),))


def reshape_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes())
    size = math.prod(shape)
    new = draw(st.sampled_from([(-1,), -1, (1, size), (size, 1, 1), shape[::-1], (*shape, 1)]))
    if size == 0 and -1 in np.atleast_1d(new):
        new = shape[::-1]
    return Case(lambda x: mg.reshape(x, new), (layout(draw, normal(rng, shape)),), True)


def transpose_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(max_dims=4, max_side=3))
    order = rng.permutation(len(shape)).tolist() if draw(st.integers(0, 3)) else None
    if order and draw(st.booleans()):
        order = [i - len(shape) for i in order]
    return Case(lambda x: mg.transpose(x, order), (layout(draw, normal(rng, shape)),), True)


def pad_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1, max_side=3))
    n = st.integers(0, 2)
    pair = st.tuples(n, n)
    width = draw(st.one_of(n, pair, st.tuples(*[pair] * len(shape))))
    return Case(lambda x: mg.pad(x, width), (layout(draw, normal(rng, shape)),), True)


def pad_mode_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1, min_side=1, max_side=3))
    width = draw(st.lists(st.tuples(*[st.integers(0, 4)] * 2), min_size=len(shape), max_size=len(shape)))
    x, mode = (
        layout(draw, normal(rng, shape)),
        draw(st.sampled_from(["edge", "reflect", "symmetric", "wrap"])),
    )
    kind = draw(st.sampled_from(["mode", "number", "one", "two", "all"]))
    if kind == "mode":
        return Case(lambda x: mg.pad(x, width, mode), (x,), True)
    if kind == "number":
        return Case(lambda x: mg.pad(x, width, constant_values=1.5), (x,), True)
    if kind == "two":  # two traced numbers, in a tuple
        values = tuple(layout(draw, v) for v in normal(rng, (2,)))
        return Case(lambda x, *v: mg.pad(x, width, constant_values=v), (x, *values), True)
    values = layout(draw, normal(rng, () if kind == "one" else (len(shape), 2)))
    return Case(lambda x, v: mg.pad(x, width, "constant", v), (x, values), True)


def joined(draw: Callable, rng: np.random.Generator) -> tuple[list, int]:
    """One to three arrays that differ in the length of one axis, and that axis."""
    shape = list(draw(shapes(min_dims=1, max_side=3)))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    args = []
    for n in draw(st.lists(st.integers(0, 3), min_size=1, max_size=3)):
        shape[axis] = n
        args.append(layout(draw, normal(rng, tuple(shape))))
    return args, axis


def concatenate_case(draw: Callable, rng: np.random.Generator) -> Case:
    args, axis = joined(draw, rng)
    at = draw(st.sampled_from([axis, None]))
    if draw(st.booleans()):  # the same array twice: two cotangents meet
        return Case(lambda *xs: mg.concatenate([*xs, xs[0]], at), tuple(args), True)
    return Case(lambda *xs: mg.concatenate(xs, at), tuple(args), True)


def unravel_case(draw: Callable, rng: np.random.Generator) -> Case:
    parts = draw(st.lists(shapes(max_dims=2, max_side=3), min_size=1, max_size=3))
    v = layout(draw, normal(rng, (sum(math.prod(s) for s in parts),)))
    used = draw(st.integers(1, len(parts)))  # the last ones may have no cotangent

    def f(v: Any) -> Any:
        _, unravel = mg.ravel([mg.zeros_like(v, shape=s) for s in parts])
        return tuple(unravel(v)[:used])

    return Case(f, (v,))


def indexed(draw: Callable) -> tuple[tuple, Any]:
    """A shape and an index into it, of any kind NumPy has."""
    shape = draw(shapes(min_dims=1, min_side=1))
    kind = draw(st.sampled_from(["basic", "advanced", "mask", "repeated", "mixed", "list"]))
    if kind == "basic":
        return shape, draw(hnp.basic_indices(shape, allow_newaxis=True))
    if kind == "advanced":
        result = hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3)
        return shape, draw(hnp.integer_array_indices(shape, result_shape=result))
    if kind == "mask":
        depth = draw(st.integers(1, len(shape)))
        return shape, draw(hnp.arrays(bool, shape[:depth]))
    rows = draw(st.lists(st.integers(-shape[0], shape[0] - 1), min_size=1, max_size=4))
    if kind == "list":
        return shape, rows
    rows = np.array(rows * 2)
    if kind == "repeated":
        return shape, rows
    extra = draw(st.sampled_from([(None,), (Ellipsis,), (slice(None, None, -1),), (Ellipsis, None)]))
    keep = extra if len(shape) > 1 or slice not in map(type, extra) else ()
    return shape, draw(st.sampled_from([(rows, *keep), (None, rows, *keep)]))


def index_set_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape, index = indexed(draw)
    if np.unique(np.arange(math.prod(shape)).reshape(shape)[index]).size != np.empty(shape)[index].size:
        index = draw(hnp.basic_indices(shape, allow_newaxis=True))
    return placed(mg.index_set, shape, index, draw, rng)


def index_add_case(draw: Callable, rng: np.random.Generator) -> Case:
    return placed(mg.index_add, *indexed(draw), draw, rng)


def placed(op: Callable, shape: tuple, index: Any, draw: Callable, rng: np.random.Generator) -> Case:
    """`op` with values that broadcast to x[index]."""
    full = np.empty(shape)[index].shape
    small = full[draw(st.integers(0, len(full))) :]
    small = tuple(1 if draw(st.integers(0, 3)) == 0 else n for n in small)
    args = layout(draw, normal(rng, shape)), layout(draw, normal(rng, small))
    return Case(lambda x, v: op(x, like(x, index), v), args, True)


def getitem_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape, index = indexed(draw)
    return Case(lambda x: mg.getitem(x, like(x, index)), (layout(draw, normal(rng, shape)),), True)


def scatter_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape, index = indexed(draw)
    values = layout(draw, normal(rng, np.empty(shape)[index].shape))
    return Case(lambda v: mg.scatter(v, like(v, index), shape), (values,), True)


def reshaping(op: Callable, draw_params: Callable) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        shape = draw(shapes(min_dims=1, max_side=3))
        params = draw_params(draw, shape)
        return Case(lambda x: op(x, *params), (layout(draw, normal(rng, shape)),), True)

    return case


def any_axis(draw: Callable, ndim: int) -> int:
    return draw(st.integers(-ndim, ndim - 1))


def squeeze_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, max_side=2))
    ones = [i for i, n in enumerate(shape) if n == 1]
    axis = draw(st.sampled_from([None, tuple(ones), *ones, *[i - len(shape) for i in ones]]))
    return Case(lambda x: mg.squeeze(x, axis), (layout(draw, normal(rng, shape)),), True)


def stack_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes())
    axis = any_axis(draw, len(shape) + 1)
    args = [layout(draw, normal(rng, shape)) for _ in range(draw(st.integers(1, 3)))]
    return Case(lambda *xs: mg.stack(xs, axis), tuple(args), True)


def split_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = list(draw(shapes(min_dims=1)))
    axis = any_axis(draw, len(shape))
    sections = draw(st.integers(1, 3) | st.lists(st.integers(0, shape[axis]), max_size=3).map(sorted))
    if isinstance(sections, int):
        shape[axis] = sections * draw(st.integers(0, 2))
    x = layout(draw, normal(rng, tuple(shape)))
    return Case(lambda x: tuple(mg.split(x, sections, axis)), (x,), True)


def take_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1, min_side=1))
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    n = math.prod(shape) if axis is None else shape[axis]
    indices = draw(st.integers(-n, n - 1) | st.lists(st.integers(-n, n - 1), min_size=1, max_size=4))
    return Case(lambda x: mg.take(x, indices, axis), (layout(draw, normal(rng, shape)),), True)


# ----- Rearranging -----


def moved(op: Callable, draw_params: Callable, **limits: int) -> Callable:
    """A case of `op(x, **params)`, with params drawn for the shape."""

    def case(draw: Callable, rng: np.random.Generator) -> Case:
        shape = draw(shapes(**limits))
        params = draw_params(draw, shape)
        return Case(lambda x: op(x, **params), (layout(draw, normal(rng, shape)),), True)

    return case


def some_axis(draw: Callable, shape: tuple) -> Any:
    return draw(st.none() | st.integers(-len(shape), len(shape) - 1)) if shape else None


def roll_params(draw: Callable, shape: tuple) -> dict:
    axis, n = axes(draw, len(shape)), st.integers(-5, 5)
    if isinstance(axis, tuple) and axis and draw(st.booleans()):
        return {"shift": tuple(draw(n) for _ in axis), "axis": axis}
    return {"shift": draw(n), "axis": axis if axis != () else None}


def rot90_params(draw: Callable, shape: tuple) -> dict:
    return {"k": draw(st.integers(-4, 5)), "axes": tuple(draw(st.permutations(range(-len(shape), 0)))[:2])}


def repeat_params(draw: Callable, shape: tuple) -> dict:
    axis, n = some_axis(draw, shape), st.integers(0, 3)
    length = math.prod(shape) if axis is None else shape[axis]
    return {"repeats": draw(n | st.lists(n, min_size=length, max_size=length) if length else n), "axis": axis}


def tile_params(draw: Callable, shape: tuple) -> dict:
    n = st.integers(0, 3)
    return {"reps": draw(n | st.lists(n, max_size=4).map(tuple))}


def matrices_params(name: str) -> Callable:
    """Two axes and the offset of a diagonal, called `name`."""

    def params(draw: Callable, shape: tuple) -> dict:
        axis1, axis2 = draw(st.permutations(range(-len(shape), 0)))[:2]
        return {
            name: draw(st.integers(-4, 4)),
            "axis1": axis1,
            "axis2": axis2 + draw(st.sampled_from([0, len(shape)])),
        }

    return params


def offset(draw: Callable, shape: tuple) -> dict:
    return {"k": draw(st.integers(-3, 3))}


def on_diagonal_case(draw: Callable, rng: np.random.Generator) -> Case:
    f, (x,), _ = moved(mg.diagonal, matrices_params("offset"), min_dims=2)(draw, rng)
    return Case(transposed(f, x.shape), (layout(draw, normal(rng, np.shape(f(x)))),))


def places(draw: Callable, n: int, most: int) -> Any:
    """One place, several or a slice, along an axis of length `n`; `most` is the largest place."""
    if most < -n:
        return draw(st.slices(n))
    one = st.integers(-n, most)
    several = st.lists(one, max_size=3)
    return draw(
        st.one_of(one, one.map(np.int64), several, several.map(lambda i: np.array(i, int)), st.slices(n))
    )


def delete_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1))
    axis = some_axis(draw, shape)
    n = math.prod(shape) if axis is None else shape[axis]
    gone = draw(hnp.arrays(bool, n)) if draw(st.booleans()) else places(draw, n, n - 1)
    return Case(lambda x: mg.delete(x, gone, axis), (layout(draw, normal(rng, shape)),), True)


def insert_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1, max_side=3))
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    flat = shape if axis is not None else (math.prod(shape),)
    at = 0 if axis is None else axis % len(shape)
    where = places(draw, flat[at], flat[at])
    values = list(flat)
    if not isinstance(where, slice) and np.ndim(where) == 0:  # one place: the first axis is put in
        lead = draw(st.integers(1, 2))
        values = [lead, *flat[:at], *flat[at + 1 :]]
    else:
        values[at] = np.insert(np.arange(flat[at]), where, 0).size - flat[at]
    kind = draw(st.sampled_from(["full", "short", "number"]))
    values = values if kind == "full" else [] if kind == "number" else values[1:]
    args = layout(draw, normal(rng, shape)), layout(draw, normal(rng, tuple(values)))
    return Case(lambda x, v: mg.insert(x, where, v, axis), args, True)


def append_case(draw: Callable, rng: np.random.Generator) -> Case:
    args, axis = joined(draw, rng)
    at = draw(st.sampled_from([axis, None]))
    return Case(lambda x, v: mg.append(x, v, at), (args[0], args[-1]), True)


def windows_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1, min_side=1))
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    if axis is None:
        window: Any = tuple(draw(st.integers(1, n)) for n in shape)
    else:
        window = draw(st.integers(1, shape[axis]))
        if draw(st.booleans()):  # a window of windows
            window, axis = (window, draw(st.integers(1, shape[axis] - window + 1))), (axis, axis)
    return Case(lambda x: mg.sliding_window_view(x, window, axis), (layout(draw, normal(rng, shape)),), True)


def add_windows_case(draw: Callable, rng: np.random.Generator) -> Case:
    f, (x,), _ = windows_case(draw, rng)
    return Case(transposed(f, x.shape), (layout(draw, normal(rng, np.shape(f(x)))),))


# ----- Joining, cutting, making -----


def together(op: Callable, least: int = 0, most: int = 3) -> Callable:
    """A case of `op([x, ...])` of one to three arrays of one shape, of which one may be used twice."""

    def case(draw: Callable, rng: np.random.Generator) -> Case:
        shape = draw(shapes(min_dims=least, max_dims=most, max_side=3))
        args = [layout(draw, normal(rng, shape)) for _ in range(draw(st.integers(1, 3)))]
        return Case(lambda *xs: op([*xs, xs[0]]), tuple(args), True)

    return case


def columns_case(draw: Callable, rng: np.random.Generator) -> Case:
    n = draw(st.integers(0, 3))
    kinds = st.sampled_from([(n,), (n, 0), (n, 2)])
    args = [layout(draw, normal(rng, draw(kinds))) for _ in range(draw(st.integers(1, 3)))]
    return Case(lambda *xs: mg.column_stack(xs), tuple(args), True)


def cut_into(op: Callable, axis: int, least: int) -> Callable:
    """A case of hsplit and its kind, which cut along `axis`."""

    def case(draw: Callable, rng: np.random.Generator) -> Case:
        shape = list(draw(shapes(min_dims=least)))
        at = 0 if len(shape) == 1 else axis
        sections = draw(st.integers(1, 3) | st.lists(st.integers(-4, 5), max_size=3))
        if isinstance(sections, int):
            shape[at] = sections * draw(st.integers(0, 2))
        return Case(lambda x: tuple(op(x, sections)), (layout(draw, normal(rng, tuple(shape))),), True)

    return case


def array_split_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1))
    axis, parts = (
        any_axis(draw, len(shape)),
        draw(st.integers(1, 4) | st.lists(st.integers(0, 5), max_size=3)),
    )
    return Case(lambda x: tuple(mg.array_split(x, parts, axis)), (layout(draw, normal(rng, shape)),), True)


def unstack_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1, max_dims=3, min_side=1))
    axis = any_axis(draw, len(shape))
    used = slice(0, draw(st.integers(1, shape[axis])))  # the last ones may have no cotangent
    op = draw(st.sampled_from([lambda x: mg.unstack(x, axis), tuple]))
    if op is tuple:
        used = slice(0, min(used.stop, shape[0]))
    return Case(lambda x: op(x)[used], (layout(draw, normal(rng, shape)),), True)


def block_case(draw: Callable, rng: np.random.Generator) -> Case:
    m, n = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    a, b, c = (layout(draw, normal(rng, s)) for s in ((m, n), (m,) if m == 1 else (m, 1), (n + 1,)))
    form = draw(st.sampled_from(["matrix", "row", "one"]))
    if form == "one":
        return Case(lambda a: mg.block(a), (a,), True)
    if form == "row":
        return Case(lambda a: mg.block([a[0, ...], a[0, 0]]), (a,), True)
    return Case(lambda a, b, c: mg.block([[a, b], [c]]), (a, b if m > 1 else b[:, None], c), True)


def array_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(max_dims=1, min_side=1))
    args = [layout(draw, normal(rng, shape)) for _ in "ab"]
    if shape:
        return Case(lambda a, b: mg.array([(a, b), [b, mg.ones_like(a)]]), tuple(args), True)
    return Case(lambda a, b: mg.array([[a, 1.0], (a * b, b), [2, a]]), tuple(args), True)


def meshgrid_case(draw: Callable, rng: np.random.Generator) -> Case:
    lengths = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    params = {"indexing": draw(st.sampled_from(["xy", "ij"])), "sparse": draw(st.booleans())}
    args = [layout(draw, normal(rng, (n,))) for n in lengths]
    return Case(lambda *xs: mg.meshgrid(*xs, **params), tuple(args), True)


def broadcast_arrays_case(draw: Callable, rng: np.random.Generator) -> Case:
    args = [layout(draw, normal(rng, s)) for s in broadcastable(draw, 3)]
    return Case(lambda *xs: mg.broadcast_arrays(*xs), tuple(args), True)


def filled_case(draw: Callable, rng: np.random.Generator) -> Case:
    pattern = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3, min_side=0))
    value = layout(draw, normal(rng, pattern.input_shapes[0]))
    shape = pattern.result_shape
    if draw(st.booleans()):
        return Case(lambda v: mg.full(shape, v), (value,), True)
    return Case(lambda v: mg.full_like(mg.zeros_like(v, shape=shape), v), (value,), True)


def line_case(op: Callable, values: Callable, analytic: bool = True) -> Callable:
    """A case of linspace and its kind; one end may be a Python number."""

    def case(draw: Callable, rng: np.random.Generator) -> Case:
        a, b = broadcastable(draw, 2)
        params = {"num": draw(st.integers(0, 4)), "endpoint": draw(st.booleans())}
        params["axis"] = any_axis(draw, max(len(a), len(b)) + 1)
        start, stop = layout(draw, values(rng, a)), layout(draw, values(rng, b))
        if draw(st.integers(0, 2)) == 0:
            params["axis"] = any_axis(draw, len(b) + 1)
            return Case(lambda y: op(0.5, y, **params), (stop,), analytic)
        return Case(lambda x, y: op(x, y, **params), (start, stop), analytic)

    return case


def like_case(op: Callable) -> Callable:
    return lambda draw, rng: Case(lambda x: x * op(x), (layout(draw, normal(rng, draw(shapes()))),), True)


# ----- Choosing and finding -----


def take_along_axis_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1, min_side=1))
    axis = draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    wide = [1 if draw(st.integers(0, 3)) == 0 else n for n in shape]
    n = math.prod(shape) if axis is None else shape[axis]
    if axis is None:
        wide = [draw(st.integers(0, 4))]
    else:
        wide[axis] = draw(st.integers(0, 4))
    indices = rng.integers(-n, n, wide)
    return Case(
        lambda x: mg.take_along_axis(x, like(x, indices), axis), (layout(draw, normal(rng, shape)),), True
    )


def compress_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes(min_dims=1))
    axis = some_axis(draw, shape)
    n = math.prod(shape) if axis is None else shape[axis]
    condition = rng.random(draw(st.integers(0, n))) < 0.5
    return Case(lambda x: mg.compress(like(x, condition), x, axis), (layout(draw, normal(rng, shape)),), True)


def extract_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes())
    x = layout(draw, nonzero(rng, shape))
    return Case(lambda x: mg.extract(x > 0, x), (x,), False)


def choose_case(draw: Callable, rng: np.random.Generator) -> Case:
    a, *rest = broadcastable(draw, 3)
    which = rng.integers(0, 2, a)
    return Case(
        lambda *xs: mg.choose(like(xs[0], which), xs), tuple(layout(draw, normal(rng, s)) for s in rest), True
    )


def bincount_case(draw: Callable, rng: np.random.Generator) -> Case:
    x = rng.integers(0, 4, draw(st.integers(0, 5)))
    least = draw(st.integers(0, 5))
    return Case(lambda w: mg.bincount(like(w, x), w, least), (layout(draw, normal(rng, x.shape)),), True)


def found(op: Callable) -> Callable:
    """A case of a search in numbers that are apart: as many numbers as it was given."""

    def case(draw: Callable, rng: np.random.Generator) -> Case:
        v, bins = distinct(rng, draw(shapes(max_dims=2)), (draw(st.integers(1, 4)),))
        return Case(lambda v, bins: op(v, bins), (layout(draw, v), layout(draw, np.sort(bins))))

    return case


def places_case(op: Callable) -> Callable:
    """A case of the places that are not zero, counted."""
    return lambda draw, rng: Case(
        lambda x: like(x, np.int64(size_of(op(mg.maximum(x, 0.0))))),
        (layout(draw, nonzero(rng, draw(shapes(min_dims=1)))),),
    )


CASES: dict[str, Callable] = {
    "broadcast_to": broadcast_case,
    "sum_to": sum_to_case,
    "reshape": reshape_case,
    "transpose": transpose_case,
    "pad": pad_case,
    "concatenate": concatenate_case,
    "unravel": unravel_case,
    "getitem": getitem_case,
    "scatter": scatter_case,
    "index_set": index_set_case,
    "split": split_case,
    "roll": moved(mg.roll, roll_params),
    "diagonal": moved(mg.diagonal, matrices_params("offset"), min_dims=2),
    "on_diagonal": on_diagonal_case,
    "sliding_windows": windows_case,
    "add_windows": add_windows_case,
}

# Zero derivative wherever there is one: the functions themselves.
CONSTANTS: dict[str, Callable] = {
    "searchsorted": found(lambda v, bins: mg.searchsorted(bins, v)),
    "digitize": found(mg.digitize),
    "flatnonzero": places_case(mg.flatnonzero),
}

# Public operations made of primitives.
COMPOSITES: dict[str, Callable] = {
    "expand_dims": reshaping(mg.expand_dims, lambda draw, s: (any_axis(draw, len(s) + 1),)),
    "swapaxes": reshaping(mg.swapaxes, lambda draw, s: (any_axis(draw, len(s)), any_axis(draw, len(s)))),
    "moveaxis": reshaping(mg.moveaxis, lambda draw, s: (any_axis(draw, len(s)), any_axis(draw, len(s)))),
    "squeeze": squeeze_case,
    "stack": stack_case,
    "take": take_case,
    "atleast_1d": together(lambda xs: mg.atleast_1d(*xs)),
    "atleast_2d": together(lambda xs: mg.atleast_2d(*xs)),
    "atleast_3d": together(lambda xs: mg.atleast_3d(*xs)),
    "rollaxis": reshaping(
        mg.rollaxis, lambda draw, s: (any_axis(draw, len(s)), draw(st.integers(-len(s), len(s))))
    ),
    "permute_dims": transpose_case,
    "matrix_transpose": moved(mg.matrix_transpose, lambda draw, s: {}, min_dims=2),
    "broadcast_arrays": broadcast_arrays_case,
    "unstack": unstack_case,
    "pad_modes": pad_mode_case,
    "flip": moved(mg.flip, lambda draw, s: {"axis": axes(draw, len(s))}),
    "flipud": moved(mg.flipud, lambda draw, s: {}, min_dims=1),
    "fliplr": moved(mg.fliplr, lambda draw, s: {}, min_dims=2),
    "rot90": moved(mg.rot90, rot90_params, min_dims=2),
    "repeat": moved(mg.repeat, repeat_params),
    "tile": moved(mg.tile, tile_params, max_dims=3, max_side=3),
    "resize": moved(mg.resize, lambda draw, s: {"new_shape": draw(shapes(max_dims=2, max_side=6))}),
    "tril": moved(mg.tril, offset, min_dims=1),
    "triu": moved(mg.triu, offset, min_dims=1),
    "diag": moved(mg.diag, offset, min_dims=1, max_dims=2),
    "diagflat": moved(mg.diagflat, offset, max_dims=2, max_side=3),
    "trace": moved(mg.trace, matrices_params("offset"), min_dims=2),
    "insert": insert_case,
    "delete": delete_case,
    "append": append_case,
    "sliding_window_view": windows_case,
    "hstack": together(mg.hstack),
    "vstack": together(mg.vstack),
    "dstack": together(mg.dstack),
    "column_stack": columns_case,
    "block": block_case,
    "hsplit": cut_into(mg.hsplit, 1, 1),
    "vsplit": cut_into(mg.vsplit, 0, 2),
    "dsplit": cut_into(mg.dsplit, 2, 3),
    "array_split": array_split_case,
    "array": array_case,
    "meshgrid": meshgrid_case,
    "full": filled_case,
    "full_like": filled_case,
    "zeros_like": like_case(mg.zeros_like),
    "ones_like": like_case(mg.ones_like),
    "linspace": line_case(mg.linspace, normal),
    "logspace": line_case(lambda *ends, **how: mg.logspace(*ends, base=2.0, **how), normal),
    "geomspace": line_case(mg.geomspace, positive),
    "index_add": index_add_case,
    "take_along_axis": take_along_axis_case,
    "compress": compress_case,
    "extract": extract_case,
    "choose": choose_case,
    "bincount": bincount_case,
    "nonzero": lambda draw, rng: extract_case(draw, rng)._replace(
        f=lambda x: mg.atleast_1d(x)[mg.nonzero(mg.atleast_1d(x) > 0)]
    ),
    "argwhere": lambda draw, rng: extract_case(draw, rng)._replace(
        f=lambda x: x * mg.argwhere(x > 0).shape[0]
    ),
}

# Calls whose values are compared with those of the function of the same name in NumPy.
NUMPY_CALLS: dict[str, list] = {
    "broadcast_to": [of(X, (5, 2, 3, 4)), of(X[:1], (2, 3, 4))],
    "concatenate": [of([X, Y]), of([X, Y], -1), of([X, Y[:, :1]], axis=1), of([X, Y], axis=None)],
    "expand_dims": [of(X, 0), of(X, -1), of(X, (0, 2))],
    "moveaxis": [of(X, 0, -1), of(X, (0, 1), (-1, 0))],
    "pad": [
        of(X, 1),
        of(X, pad_width=(1, 2)),
        of(X, ((0, 1), (2, 0), (0, 0))),
        *[of(X, ((0, 1), (5, 0), (9, 7)), mode=m) for m in ("edge", "reflect", "symmetric", "wrap")],
        *[
            of(X, (1, 2), "constant", constant_values=c)
            for c in (1.5, (1, -2), ((1, 2), (3, 4), (5, 6)), np.inf)
        ],
        of(X.astype(np.float32), 1, constant_values=np.float64(0.1)),
    ],
    "reshape": [of(X, (4, 6)), of(X, -1), of(X, (2, -1, 2)), of(X, shape=24, order="C")],
    "split": [
        of(X, 2),
        of(X, [1, 3], axis=-1),
        of(X, 3, 1),
        of(X, indices_or_sections=[-2], axis=2),
        of(X, [2, 1], 2),
        of(X, [7, 9], 2),
        of(X, np.int64(2)),
    ],
    "squeeze": [of(THIN), of(THIN, 0), of(THIN, axis=(0, 2))],
    "stack": [of([X, Y]), of([X, Y], -1), of([X, Y], axis=1)],
    "swapaxes": [of(X, 0, -1), of(X, 1, 1)],
    "transpose": [of(X), of(X, (1, 2, 0)), of(X, (-1, 0, 1))],
    "take": [
        of(X, 3),
        of(X, indices=[1, 0, 1], axis=1),
        of(X, np.array([[0, -1]]), -1),
        of(X, [[5], [2]]),
        of(X, [], 0),
    ],
    "atleast_1d": [of(X), of(X, Y[0, 0, 0]), of(2.0)],
    "atleast_2d": [of(X), of(X[0, 0]), of(X[0, 0, 0], Y), of(X[0])],
    "atleast_3d": [of(X), of(X[0, 0]), of(X[0], Y[0, 0, 0])],
    "rollaxis": [of(X, 2), of(X, 0, start=3), of(X, -1, 1), of(X, axis=1, start=-1)],
    "permute_dims": [of(X), of(X, axes=(1, 2, 0))],
    "matrix_transpose": [of(X), of(X[0])],
    "broadcast_arrays": [of(X, Y[0]), of(X, Y[:1, :, :1], 2.0)],
    "unstack": [of(X), of(X, axis=-1), of(X[0, 0])],
    "roll": [
        of(X, 1),
        of(X, shift=-7, axis=2),
        of(X, (1, 2), axis=(0, 2)),
        of(X, 1, (0, 1)),
        of(X, (1, 1), 2),
        of(X, [3]),
    ],
    "flip": [of(X), of(X, axis=1), of(X, (0, -1)), of(X, ())],
    "flipud": [of(X)],
    "fliplr": [of(X)],
    "rot90": [of(X, k=k, axes=a) for k in (-1, 0, 1, 2, 3) for a in ((0, 1), (2, 0), (-1, -2))],
    "repeat": [of(X, 2), of(X, repeats=3, axis=1), of(X, [1, 2], axis=0), of(X, [2], -1), of(X, 0, axis=0)],
    "tile": [
        of(X, 2),
        of(X, reps=(2, 1, 3)),
        of(X, (2, 1, 1, 2)),
        of(X, ()),
        of(X[0, 0], [2, 2]),
        of(X, (0, 2)),
    ],
    "resize": [of(X, (2, 2)), of(X, 50), of(X, new_shape=()), of(X[:0], (2,))],
    "tril": [of(X), of(X, k=1), of(X, -2), of(X[0, 0], 1)],
    "triu": [of(X), of(X, k=1), of(X, -2), of(X[0, 0])],
    "diag": [*[of(x, k=k) for x in (X[0, 0], X[0]) for k in (-5, -1, 0, 1, 2, 5)]],
    "diagflat": [of(X), of(X[0], 2), of(2.0, k=-1)],
    "diagonal": [of(X), of(X, offset=1), of(X, -1, axis1=2, axis2=0), of(X, 9), of(X, -9, -1, -2)],
    "trace": [
        of(X),
        of(X, offset=1),
        of(X, -1, axis1=2, axis2=0),
        of(X, 9),
        of(X.astype(np.float32), dtype=float),
    ],
    "insert": [
        of(X, 1, 5.0),
        of(X, 1, Y[0], axis=0),
        of(X, -1, Y[0], 0),
        of(X, 3, Y[:, :, 0], axis=2),
        of(X, [0, 2, 2], Y[:, :1], axis=1),
        of(X, obj=[1, 0], values=[5, 6], axis=2),
        of(X, [1], Y[:, :2], axis=1),
        of(X, slice(None), 7.0, axis=1),
        of(X, slice(0, 0), 7.0, axis=1),
        of(X, 2, [1, 2, 3]),
        of(X, np.array([3, -1]), 2.5),
        of(X, np.array([True, False]), 2.5, axis=0),
        of(X, [], 2.5, axis=0),
    ],
    "delete": [
        of(X, 1),
        of(X, -1, axis=2),
        of(X, [0, 2, 2], axis=1),
        of(X, obj=slice(None, None, 2), axis=2),
        of(X, np.array([True, False]), 0),
        of(X, [], 0),
        of(X, [0, 5]),
    ],
    "append": [of(X, Y), of(X, values=Y[:1], axis=0), of(X, 2.0), of(X, [1, 2])],
    "hstack": [of([X, Y]), of([X[0, 0], Y[0, 0]]), of([X[0], Y[0, :, :2]]), of([X[0, 0, 0], 2.0])],
    "vstack": [of([X, Y]), of([X[0, 0], Y[0, 0]]), of([X[0], Y[0, 0]]), of([X[0, 0, 0], 2.0])],
    "dstack": [of([X, Y]), of([X[0, 0], Y[0, 0]]), of([X[0], Y[0]])],
    "column_stack": [of([X[0, 0], Y[0, 0]]), of([X[0, :, 0], Y[0]]), of([X, Y])],
    "block": [
        of([X, Y]),
        of(X),
        of([X[0, 0], 2.0]),
        of([[X[0], Y[0]], [Y[0], X[0]]]),
        of([[X[0, 0]], [X[0]], [np.ones((1, 4))]]),
        of([[[X, 2 * X]], [[Y, Y]]]),
    ],
    "hsplit": [of(X, 3), of(X[0, 0], [1, 2]), of(X, indices_or_sections=[-1])],
    "vsplit": [of(X, 2), of(X, [1])],
    "dsplit": [of(X, 2), of(X, [1, 2])],
    "array_split": [of(X, 3, axis=2), of(X, 5), of(X, indices_or_sections=[1, 9], axis=-1), of(X[0, 0], 3)],
    "array": [
        of([[1.0, 2], [3, 4]]),
        of(((X, Y), (Y, X))),
        of([1, 2]),
        of(2.0),
        of([1, 2], np.float32),
        of(()),
    ],
    "astype": [of(X, np.float32), of(X, int), of(X.astype(np.float32), "f8")],
    "meshgrid": [
        of(X[0, 0], Y[0, 0], X[0, 0]),
        of(X[0, 0], Y[0, :, 0], indexing="ij"),
        of(X[0, 0], Y[0, :, 0], sparse=True),
        of(X[0, 0]),
        of(X[0, 0, 0], Y[0, 0]),
    ],
    "full": [of((2, 3), 1.5), of(3, fill_value=X[0, :, 0]), of((2, 2), 1, dtype=np.float32), of((), 2)],
    "full_like": [of(X, 1.5), of(X, fill_value=2, dtype=np.float32), of(X, 2, shape=(2, 2)), of(X, Y[0])],
    "zeros_like": [of(X), of(X.astype(np.float32)), of(X, dtype=int), of(X, shape=3)],
    "ones_like": [of(X), of(X.astype(np.float32)), of(X, dtype=int), of(X, shape=(3,))],
    "linspace": [
        of(X[0, 0, 0], Y[0, 1, 1]),
        of(X, Y, num=4, axis=1),
        of(0.0, X[0], 5, endpoint=False, axis=-1),
        of(1, 2, 7),
        of(X[0], Y[0], num=3, retstep=True),
        of(X[0], Y[0], 1),
        of(X[0], Y[0], 0),
        of(np.float32([1, 2]), np.float32([3, 8]), 3),
        of(-2.5, 2.5, 4, dtype=int),
    ],
    "logspace": [
        of(X[0], Y[0], num=4, axis=1),
        of(0.0, X[0], 5, endpoint=False, base=2),
        of(0, 1, 3, base=np.array([2.0, 3])),
    ],
    "geomspace": [
        of(POSITIVE[0], POSITIVE[1], num=4, axis=1),
        of(1, 1000, 4),
        of(-POSITIVE, -2.0, 5, endpoint=False),
    ],
    "take_along_axis": [
        of(X, np.argsort(X, -1)),
        of(X, np.array([[[1], [0]]]), axis=1),
        of(X, indices=np.array([3, -1, 3]), axis=None),
        of(X, np.zeros((3, 1, 4), int), 0),
    ],
    "compress": [
        of([True, False], X, axis=0),
        of([0, 1, 1], X, 1),
        of(X[0, 0] > 0, X, -1),
        of([False, True], X),
    ],
    "extract": [of(X > 0, X), of(np.arange(24) % 3, X)],
    "choose": [
        of(X > 0, [X, Y]),
        of([0, 2, 1, 0], [X, Y[0, 0], 1.0]),
        of(1, [X, Y]),
        of(np.array([1, 0]), X[:, 0, :2]),
    ],
    "nonzero": [of(X), of(X > 0), of(np.maximum(X, 0))],
    "argwhere": [of(X > 0), of(np.maximum(X, 0)), of(np.float64(2.0)), of(np.float64(0.0))],
    "flatnonzero": [of(X > 0), of(np.maximum(X, 0))],
    "searchsorted": [of(np.sort(X[0, 0]), Y, side=s) for s in ("left", "right")]
    + [of(X[0, 0], 0.1, sorter=np.argsort(X[0, 0]))],
    "digitize": [of(X, bins=np.sort(Y[0, 1]), right=r) for r in (True, False)] + [of(X, [1.0, 0.0, -1.0])],
    "bincount": [of([1, 3, 1]), of([1, 3, 1], X[0, :, 0]), of(np.array([0, 0]), weights=[1, 2], minlength=4)],
}

# A value goes into an array of another dtype in the array's own.
ONE_DTYPE = {"pad_modes", "insert", "index_set", "index_add"}
# Several results have the dtype of their argument each.
ONE_DTYPE |= {"atleast_1d", "atleast_2d", "atleast_3d", "broadcast_arrays", "meshgrid"}

# Checked to third order, too.
THIRD = {"split", "scatter", "index_set", "sliding_windows", "add_windows", "roll", "on_diagonal"}
