"""Hypothesis strategies for what rules are checked at: structure from hypothesis, numbers from a drawn seed.

So examples shrink to small shapes and simple layouts, while the numbers stay generic: of order one and, by
construction, away from the kinks of the function they are meant for. Strategies that are drawn from again and
again are cached, because hypothesis takes longer to build and validate one than to draw from it.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import strategies as st

from ..tree import tree_flatten, tree_leaves, tree_unflatten
from .report import strided
from .run import directions

__all__ = [
    "Conv",
    "Layer",
    "arrays",
    "axes",
    "broadcastable_arrays",
    "broadcastable_shapes",
    "convolutions",
    "directions_like",
    "distinct",
    "dtypes",
    "fractional",
    "inside",
    "layouts",
    "nonzero",
    "normal",
    "paddings",
    "parameter_trees",
    "poolings",
    "positive",
    "seeds",
    "shapes",
    "tied",
]

Strategy = st.SearchStrategy


# ----- Numbers: values(rng, shape), away from kinks by construction -----


def normal(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    """Standard normal: for functions that are smooth everywhere."""
    return rng.standard_normal(shape)


def nonzero(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    """Of both signs, 0.2 to 2 in size: for a kink or pole at zero."""
    return rng.uniform(0.2, 2, shape) * rng.choice([-1, 1], shape)


def positive(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    """0.3 to 2: for log, sqrt and powers."""
    return rng.uniform(0.3, 2, shape)


def inside(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    """-0.8 to 0.8: for arcsin, arctanh, log1p."""
    return rng.uniform(-0.8, 0.8, shape)


def fractional(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    """Neither integers nor halves, so that floor, ceil and round are constant around them."""
    return rng.integers(-2, 2, shape) + rng.choice([0.25, 0.75], shape)


def distinct(rng: np.random.Generator, *shapes: tuple) -> Any:
    """Arrays (one for one shape) that have no number twice, taken together: for max, sort and pooling."""
    sizes = [math.prod(s) for s in shapes]
    numbers = (rng.permutation(sum(sizes)) + 0.5) / max(sum(sizes), 1) * 4 - 2
    parts = np.split(numbers, np.cumsum(sizes)[:-1])
    arrays = [p.reshape(s) for p, s in zip(parts, shapes, strict=True)]
    return arrays if len(shapes) > 1 else arrays[0]


def tied(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    """-1, 0 or 1: many ties. A central difference at a tie of two is the mean of both sides."""
    return rng.integers(-1, 2, shape).astype(float)


ONE_BY_ONE = (normal, nonzero, positive, inside, fractional, tied)


# ----- Shapes and axes -----


@cache
def seeds() -> Strategy[int]:
    """Seeds of random generators."""
    return st.integers(0, 2**32 - 1)


@cache
def shapes(min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 4) -> Strategy[tuple]:
    """Shapes, those of 0-d and of empty arrays included.

    >>> from hypothesis import find
    >>> find(shapes(), lambda s: len(s) == 2 and s[1] > 2)
    (0, 3)
    """
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side)


@cache
def broadcastable_shapes(
    n: int, max_dims: int = 3, min_side: int = 0, max_side: int = 3
) -> Strategy[tuple[tuple, ...]]:
    """Tuples of n shapes that broadcast together: with axes of length one, missing in front, and empty.

    >>> from hypothesis import find
    >>> find(broadcastable_shapes(2), lambda s: np.broadcast_shapes(*s) == (2, 2) and s[0] != s[1])
    ((), (2, 2))
    """
    pattern = hnp.mutually_broadcastable_shapes(
        num_shapes=n, max_dims=max_dims, max_side=max_side, min_side=min_side
    )
    return pattern.map(lambda drawn: drawn.input_shapes)


@cache
def axes(ndim: int, least: int = 0) -> Strategy[Any]:
    """`axis` of a reduction: None, one axis, or a tuple of at least `least`, from the front or the back."""
    if ndim == 0:
        return st.sampled_from([None, ()]) if least == 0 else st.none()
    one = st.integers(-ndim, ndim - 1)
    several = st.lists(one, min_size=least, max_size=ndim, unique_by=lambda i: i % ndim).map(tuple)
    return st.one_of(st.none(), one, several)


@cache
def dtypes() -> Strategy[np.dtype]:
    """The floating-point dtypes: float64, float32, float16."""
    return st.sampled_from([np.dtype(name) for name in ("float64", "float32", "float16")])


# ----- Arrays -----


def layouts(x: np.ndarray, repeat: bool = False) -> Strategy[np.ndarray]:
    """The same numbers in one of several memory layouts, and read-only, so that a rule that writes fails.

    Rows (C), columns (Fortran), gaps between elements (filled with NaN), backwards along an axis; with
    `repeat` also with stride zero along an axis, whose first entry is then repeated.
    """
    return kinds_of_layout(np.ndim(x), repeat).map(lambda kind: laid_out(x, *kind))


@cache
def kinds_of_layout(ndim: int, repeat: bool) -> Strategy[tuple[str, int]]:
    if ndim == 0:
        return st.just(("rows", 0))
    kinds = ["rows", "columns", "gaps", "backwards", *(["repeated"] if repeat else [])]
    return st.sampled_from([*itertools.product(kinds, range(ndim))])


def laid_out(x: np.ndarray, kind: str, axis: int) -> np.ndarray:
    x = np.array(x, order="F" if kind == "columns" else "C")
    if kind == "gaps":
        x = strided(x, tuple(2 * step for step in x.strides))
    elif kind == "backwards":
        x = np.flip(np.flip(x, axis).copy(), axis)
    elif kind == "repeated" and x.shape[axis]:
        x = np.broadcast_to(np.take(x, [0], axis), x.shape)
    x.flags.writeable = False
    return x


@st.composite
def arrays(
    draw: Callable, values: Callable = normal, shape: Any = None, dtype: Any = "float64", repeat: Any = None
) -> np.ndarray:
    """One array, of any memory layout and read-only: numbers by `values(rng, shape)` and a drawn seed.

    `shape` is a shape or a strategy (any by default), `dtype` likewise. With `repeat`, some arrays repeat
    themselves along an axis, with stride zero: so by default where values are drawn one by one by a function
    of this module. Two arrays may get one seed and be equal: `broadcastable_arrays(2, distinct)` are not.

    >>> from hypothesis import find
    >>> find(arrays(positive), lambda x: x.ndim == 2).flags.writeable
    False
    """
    repeat = values in ONE_BY_ONE if repeat is None else repeat
    shape = draw(shapes() if shape is None else shape) if not isinstance(shape, tuple) else shape
    dtype = draw(dtype) if isinstance(dtype, st.SearchStrategy) else dtype
    x = np.asarray(values(np.random.default_rng(draw(seeds())), shape), dtype)
    return draw(layouts(x, repeat))


@st.composite
def broadcastable_arrays(draw: Callable, n: int, values: Callable = normal) -> tuple[np.ndarray, ...]:
    """Tuples of n arrays that broadcast together; with `distinct` values, no number stands in two of them."""
    rng, drawn = np.random.default_rng(draw(seeds())), draw(broadcastable_shapes(n))
    numbers = distinct(rng, *drawn) if values is distinct else [values(rng, shape) for shape in drawn]
    return tuple(draw(layouts(x)) for x in numbers)


def directions_like(args: Any) -> Strategy[Any]:
    """Directions at `args`, a tuple of arrays or trees: of length one, without a small component.

    >>> from hypothesis import find
    >>> find(directions_like((np.zeros(1),)), lambda t: t[0][0] > 0)
    (array([1.]),)
    """
    leaves, treedef = tree_flatten(args)
    drawn = seeds().map(lambda seed: directions(leaves, np.random.default_rng(seed)))
    return drawn.map(lambda ts: tree_unflatten(treedef, ts))


# ----- Trees of parameters -----


@dataclasses.dataclass
class Layer:
    """A node such as layers are: two arrays, and an attribute that is none."""

    weight: Any
    bias: Any
    name: str = "layer"


def parameter_trees(values: Callable = normal, dtype: Any = "float64", max_leaves: int = 4) -> Strategy[Any]:
    """Trees of arrays: dicts, lists, tuples and dataclasses, nested; one array or more.

    >>> from hypothesis import find
    >>> find(parameter_trees(), lambda tree: isinstance(tree, dict)).keys()
    dict_keys(['a'])
    """
    leaf = arrays(values, shapes(max_dims=2, max_side=3), dtype)

    def nodes(children: Strategy) -> Strategy:
        return (
            st.lists(children, min_size=1, max_size=3)
            | st.tuples(children, children)
            | st.dictionaries(st.sampled_from("abc"), children, min_size=1, max_size=3)
            | st.builds(Layer, leaf, leaf)
        )

    return nodes(st.recursive(leaf, nodes, max_leaves=max_leaves)).filter(tree_leaves)


# ----- Convolution and pooling -----

PAIR_1_2 = st.tuples(st.integers(1, 2), st.integers(1, 2))


def number_or_pair(draw: Callable, pair: tuple) -> Any:
    return pair[0] if pair[0] == pair[1] and draw(st.booleans()) else pair


@st.composite
def paddings(draw: Callable, most: tuple[int, int]) -> tuple[tuple, Any]:
    """Padding of two axes as ((before, after), (before, after)), and in one of the forms that mean it."""
    full = tuple((draw(st.integers(0, m)), draw(st.integers(0, m))) for m in most)
    if all(a == b for a, b in full):
        return full, number_or_pair(draw, (full[0][0], full[1][0]))
    return full, full


class Conv(NamedTuple):
    """A convolution: shapes of input (NHWC), filter (OHWI) and output, and the parameters stride, padding,
    dilation and groups."""

    x: tuple
    w: tuple
    y: tuple
    params: dict


@st.composite
def convolutions(draw: Callable) -> Conv:
    """Convolutions of every stride, dilation, one- or two-sided padding, groups; no images, too."""
    kernel, dilation, stride = draw(PAIR_1_2), draw(PAIR_1_2), draw(PAIR_1_2)
    full, padding = draw(paddings((2, 2)))
    hw = tuple(
        draw(st.integers(max(1, d * (k - 1) + 1 - sum(p)), 5))
        for k, d, p in zip(kernel, dilation, full, strict=True)
    )
    groups, n = draw(st.integers(1, 2)), draw(st.integers(0, 2))
    c, o = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    out = tuple(
        (a + sum(p) - d * (k - 1) - 1) // s + 1
        for a, p, d, k, s in zip(hw, full, dilation, kernel, stride, strict=True)
    )
    params = {
        "stride": number_or_pair(draw, stride),
        "padding": padding,
        "dilation": number_or_pair(draw, dilation),
        "groups": groups,
    }
    return Conv((n, *hw, c * groups), (o * groups, *kernel, c), (n, *out, o * groups), params)


@st.composite
def poolings(draw: Callable) -> tuple[tuple, dict]:
    """The shape of an input (NHWC), and the parameters size, stride and padding of a pooling of it."""
    size = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride = draw(st.none() | PAIR_1_2)
    full, padding = draw(paddings((size[0] - 1, size[1] - 1)))
    hw = tuple(draw(st.integers(max(1, k - sum(p)), 5)) for k, p in zip(size, full, strict=True))
    shape = (draw(st.integers(0, 2)), *hw, draw(st.integers(1, 2)))
    return shape, {"size": number_or_pair(draw, size), "stride": stride, "padding": padding}
