"""Shapes and indices: what moves data without arithmetic."""

import math
from collections.abc import Callable
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import strategies as st

import minigrad as mg

from .builders import THIN, Case, X, Y, layout, normal, of, shapes, transposed


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
    value = draw(st.sampled_from([0.0, 1.5]))
    return Case(lambda x: mg.pad(x, width, value), (layout(draw, normal(rng, shape)),), True)


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
        _, unravel = mg.ravel([np.zeros(s, v.dtype) for s in parts])
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


def getitem_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape, index = indexed(draw)
    return Case(lambda x: mg.getitem(x, index), (layout(draw, normal(rng, shape)),), True)


def scatter_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape, index = indexed(draw)
    values = layout(draw, normal(rng, np.empty(shape)[index].shape))
    return Case(lambda v: mg.scatter(v, index, shape), (values,), True)


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
}

# Zero derivative wherever there is one: the functions themselves.
CONSTANTS: dict[str, Callable] = {}

# Public operations made of primitives.
COMPOSITES: dict[str, Callable] = {
    "expand_dims": reshaping(mg.expand_dims, lambda draw, s: (any_axis(draw, len(s) + 1),)),
    "swapaxes": reshaping(mg.swapaxes, lambda draw, s: (any_axis(draw, len(s)), any_axis(draw, len(s)))),
    "moveaxis": reshaping(mg.moveaxis, lambda draw, s: (any_axis(draw, len(s)), any_axis(draw, len(s)))),
    "squeeze": squeeze_case,
    "stack": stack_case,
    "split": split_case,
    "take": take_case,
}

# Calls whose values are compared with those of the function of the same name in NumPy.
NUMPY_CALLS: dict[str, list] = {
    "broadcast_to": [of(X, (5, 2, 3, 4)), of(X[:1], (2, 3, 4))],
    "concatenate": [of([X, Y]), of([X, Y], -1), of([X, Y[:, :1]], axis=1), of([X, Y], axis=None)],
    "expand_dims": [of(X, 0), of(X, -1), of(X, (0, 2))],
    "moveaxis": [of(X, 0, -1), of(X, (0, 1), (-1, 0))],
    "pad": [of(X, 1), of(X, (1, 2)), of(X, ((0, 1), (2, 0), (0, 0)))],
    "reshape": [of(X, (4, 6)), of(X, -1), of(X, (2, -1, 2))],
    "split": [of(X, 2), of(X, [1, 3], axis=-1), of(X, 3, 1)],
    "squeeze": [of(THIN), of(THIN, 0), of(THIN, axis=(0, 2))],
    "stack": [of([X, Y]), of([X, Y], -1), of([X, Y], axis=1)],
    "swapaxes": [of(X, 0, -1), of(X, 1, 1)],
    "transpose": [of(X), of(X, (1, 2, 0)), of(X, (-1, 0, 1))],
    "take": [of(X, 3), of(X, [1, 0, 1], axis=1), of(X, np.array([[0, -1]]), -1), of(X, [[5], [2]])],
}
