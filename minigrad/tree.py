"""Pytrees: nested containers whose leaves are arrays, taken apart into a list of leaves and a structure.

dict, list, tuple, namedtuple, None, dataclasses and whatever `register_node` adds are nodes; all else is a
leaf. `ravel` lays the leaves of a tree out as one vector, the form optimizers work on.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy

from .backend import HOME
from .core import dtype_of, shape_of
from .ops.shape import concatenate, reshape, unravel_vector

__all__ = [
    "Buffer",
    "keeping_buffers",
    "register_node",
    "ravel",
    "tree_assign",
    "tree_buffers",
    "tree_flatten",
    "tree_leaves",
    "tree_map",
    "tree_paths",
    "tree_unflatten",
]

Tree = Any


def tree_flatten(tree: Tree) -> tuple[list[Any], "TreeDef"]:
    """Leaves of `tree`, and the structure that `tree_unflatten` needs to build it again.

    >>> leaves, treedef = tree_flatten({"w": 1.0, "b": (2.0, 3.0)})
    >>> leaves
    [2.0, 3.0, 1.0]
    """
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves)


def tree_unflatten(treedef: "TreeDef", leaves: Sequence[Any]) -> Tree:
    """The tree of structure `treedef` with these leaves; raises ValueError when their number is wrong.

    >>> leaves, treedef = tree_flatten([1.0, {"a": 2.0}])
    >>> tree_unflatten(treedef, [10.0, 20.0])
    [10.0, {'a': 20.0}]
    """
    if len(leaves) != treedef.num_leaves:
        raise ValueError(f"{treedef} has {treedef.num_leaves} leaves, but {len(leaves)} were given")
    return _unflatten(treedef, iter(leaves))


def tree_leaves(tree: Tree) -> list[Any]:
    """The leaves of `tree`, in the order of `tree_flatten`.

    >>> tree_leaves((1.0, [2.0, None]))
    [1.0, 2.0]
    """
    return tree_flatten(tree)[0]


def tree_map(f: Callable, tree: Tree, *rest: Tree) -> Tree:
    """`f` of each leaf of `tree` and those at its place in `rest`; raises ValueError if the trees differ.

    >>> tree_map(lambda a, b: a + b, {"w": 1.0}, {"w": 2.0})
    {'w': 3.0}
    """
    leaves, treedef = tree_flatten(tree)
    columns = [leaves]
    for other in rest:
        more, other_def = tree_flatten(other)
        if other_def != treedef:
            raise ValueError(f"tree_map: trees differ in structure: {treedef} and {other_def}")
        columns.append(more)
    return tree_unflatten(treedef, [f(*row) for row in zip(*columns, strict=True)])


def tree_paths(tree: Tree) -> list[str]:
    """How each leaf is reached, as Python would write it after the tree's name.

    >>> tree_paths({"w": 1.0, "layers": [2.0]})
    ["['layers'][0]", "['w']"]
    """
    return list(_paths(tree_flatten(tree)[1], ""))


def ravel(tree: Tree) -> tuple[Any, Callable[[Any], Tree]]:
    """All leaves of `tree` as one new vector, and `unravel`, which shows a vector as such a tree.

    The leaves of `unravel(vector)` are views of `vector`; both directions can be differentiated, and the
    transpose of `unravel` is one concatenation. Raises TypeError when leaves differ in dtype.

    >>> import numpy as np
    >>> w, unravel = ravel({"a": np.ones((2, 2)), "b": np.zeros(1)})
    >>> w.shape, unravel(w)["a"].shape
    ((5,), (2, 2))
    """
    leaves, treedef = tree_flatten(tree)
    if not leaves:
        raise ValueError(f"ravel: {treedef} holds no arrays")
    shapes = tuple(shape_of(x) for x in leaves)
    for path, x in zip(tree_paths(tree), leaves, strict=True):
        if dtype_of(x) != dtype_of(leaves[0]):
            raise TypeError(
                f"ravel: leaf{path} is {dtype_of(x).name}, but the first leaf is {dtype_of(leaves[0]).name}: "
                "one vector has one dtype, convert with .astype"
            )
    vector = concatenate([reshape(x, (-1,)) for x in leaves])
    (n,) = shape_of(vector)

    def unravel(v: Any) -> Tree:
        if shape_of(v) != (n,):
            raise ValueError(f"unravel: a vector of shape {shape_of(v)} was given, this tree takes ({n},)")
        return tree_unflatten(treedef, unravel_vector(v, shapes=shapes))

    return vector, unravel


class Buffer:
    """Mutable state that travels with a tree without being one of its leaves: running statistics, a counter.

    Every copy of a tree (its gradient, a traced version) shares the one Buffer. Assign to `value`; do not
    write into it, so that an earlier value can be put back.

    >>> count = Buffer(0)
    >>> count.value += 1
    >>> count
    Buffer(1)
    """

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Buffer({self.value!r})"


def tree_buffers(tree: Tree) -> list[tuple[str, Buffer]]:
    """(path, Buffer) of every Buffer that `tree` carries, each once.

    >>> tree_buffers({"count": Buffer(3)})
    [("['count']", Buffer(3))]
    """
    found: dict[int, tuple[str, Buffer]] = {}
    _find_buffers(tree, "", found)
    return list(found.values())


@contextmanager
def keeping_buffers(tree: Tree, start: Sequence[Any] | None = None) -> Iterator[None]:
    """Puts every Buffer of `tree` back to its value from before: an extra evaluation leaves no trace.

    With `start`, a list of values in the order of `tree_buffers`, the Buffers begin with these inside.

    >>> model = {"count": Buffer(0)}
    >>> with keeping_buffers(model):
    ...     model["count"].value += 1
    >>> model["count"]
    Buffer(0)
    """
    buffers = [b for _, b in tree_buffers(tree)]
    before = [b.value for b in buffers]
    try:
        if start is not None:
            _set_values(buffers, start)
        yield
    finally:
        _set_values(buffers, before)


def tree_assign(tree: Tree, leaves: Sequence[Any]) -> Tree:
    """Puts `leaves` into the mutable containers of `tree` in place and returns it (tuples are built anew).

    >>> tree = {"w": 1.0}
    >>> tree_assign(tree, [2.0]) is tree, tree
    (True, {'w': 2.0})
    """
    return _assign(tree, iter(leaves))


def _set_values(buffers: Sequence[Buffer], values: Sequence[Any]) -> None:
    for b, value in zip(buffers, values, strict=True):
        b.value = value


# ----- Nodes -----


class _Node(NamedTuple):
    split: Callable[[Any], tuple[tuple, list, Any]]  # node -> (keys, children, static)
    join: Callable[[type, tuple, list, Any], Any]  # (type, keys, children, static) -> node
    put: Callable[[Any, Any, Any], None] | None  # put(node, key, child); None: cannot be changed in place


_NODES: dict[type, _Node] = {}


def register_node(cls: type) -> type:
    """Makes objects of `cls` nodes: attributes that hold arrays are children, all others are structure.

    >>> @register_node
    ... class Point:
    ...     def __init__(self, x, name):
    ...         self.x, self.name = x, name
    >>> import numpy as np
    >>> tree_map(lambda a: 2 * a, Point(np.ones(2), "p")).x
    array([2., 2.])
    """
    _NODES[cls] = _Node(_split_object, _join_object, setattr)
    return cls


class TreeDef:
    """The structure of a tree; equal to another when types, keys and nesting are."""

    __slots__ = ("kind", "keys", "children", "static", "num_leaves")

    def __init__(
        self, kind: type | None, keys: tuple = (), children: tuple["TreeDef", ...] = (), static: Any = None
    ) -> None:
        self.kind, self.keys, self.children, self.static = kind, keys, children, static
        self.num_leaves: int = 1 if kind is None else sum(c.num_leaves for c in children)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TreeDef)
            and self.kind is other.kind
            and self.keys == other.keys
            and self.children == other.children
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.keys, self.children))

    def __repr__(self) -> str:
        if self.kind is None:
            return "*"
        if self.kind in (list, tuple):
            inner = ", ".join(map(repr, self.children))
            return f"[{inner}]" if self.kind is list else f"({inner}{',' * (len(self.children) == 1)})"
        inner = ", ".join(f"{k}: {c!r}" for k, c in zip(self.keys, self.children, strict=True))
        return f"{'' if self.kind is dict else self.kind.__name__}{{{inner}}}"


_LEAF = TreeDef(None)


def _node_of(x: Any) -> _Node | None:
    cls = type(x)
    node = _NODES.get(cls)
    if node is None and cls is not numpy.ndarray:
        if isinstance(x, tuple) and hasattr(cls, "_fields"):
            node = _NODES[cls] = _Node(
                lambda x: (x._fields, list(x), None), lambda cls, k, c, s: cls(*c), None
            )
        elif isinstance(x, dict):
            node = _NODES[cls] = _NODES[dict]
        elif hasattr(cls, "__dataclass_fields__"):
            frozen = cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
            node = _NODES[cls] = _Node(_split_object, _join_object, None if frozen else setattr)
    return node


def _flatten(x: Any, leaves: list[Any]) -> TreeDef:
    node = _node_of(x)
    if node is None:
        leaves.append(x)
        return _LEAF
    keys, children, static = node.split(x)
    defs = tuple([_flatten(c, leaves) for c in children])
    return TreeDef(type(x), keys, defs, static)


def _unflatten(treedef: TreeDef, leaves: Iterator[Any]) -> Any:
    if treedef.kind is None:
        return next(leaves)
    children = [_unflatten(c, leaves) for c in treedef.children]
    return _NODES[treedef.kind].join(treedef.kind, treedef.keys, children, treedef.static)


def _assign(x: Any, leaves: Iterator[Any]) -> Any:
    node = _node_of(x)
    if node is None:
        return next(leaves)
    keys, children, static = node.split(x)
    children = [_assign(c, leaves) for c in children]
    if node.put is None:
        return node.join(type(x), keys, children, static)
    for key, child in zip(keys, children, strict=True):
        node.put(x, key, child)
    return x


def _paths(treedef: TreeDef, prefix: str) -> Iterator[str]:
    if treedef.kind is None:
        yield prefix
    for key, child in zip(treedef.keys, treedef.children, strict=True):
        yield from _paths(child, prefix + _step(treedef.kind, key))


def _step(kind: Any, key: Any) -> str:
    indexed = issubclass(kind, (list, tuple, dict)) and not hasattr(kind, "_fields")
    return f"[{key!r}]" if indexed else f".{key}"


def _find_buffers(x: Any, path: str, found: dict[int, tuple[str, Buffer]]) -> None:
    if isinstance(x, Buffer):
        found.setdefault(id(x), (path, x))
    elif isinstance(x, (list, tuple)):
        for i, child in enumerate(x):
            _find_buffers(child, f"{path}[{i}]", found)
    elif isinstance(x, dict):
        for key, child in x.items():
            _find_buffers(child, f"{path}[{key!r}]", found)
    elif _node_of(x) is not None and x is not None:
        for key, child in _attributes(x).items():
            _find_buffers(child, f"{path}.{key}", found)


def _split_dict(x: dict) -> tuple[tuple, list, Any]:
    try:
        keys = tuple(sorted(x))
    except TypeError:
        raise TypeError(f"a dict in a tree needs keys that can be sorted, got {list(x)}") from None
    return keys, [x[k] for k in keys], tuple(x)


def _join_dict(cls: type, keys: tuple, children: list, order: tuple) -> dict:
    values = dict(zip(keys, children, strict=True))
    x: dict = dict.__new__(cls)  # a subclass stays one, e.g. an OrderedDict
    for k in order:
        x[k] = values[k]
    return x


def _split_object(x: Any) -> tuple[tuple, list, Any]:
    children = {k: v for k, v in _attributes(x).items() if _holds_arrays(v)}
    static = {k: v for k, v in _attributes(x).items() if k not in children}
    return tuple(children), list(children.values()), static


def _join_object(cls: type, keys: tuple, children: list, static: dict) -> Any:
    # Built without __init__: a rebuilt object is the old one with other arrays, not a newly initialised one.
    x: Any = object.__new__(cls)
    for k, v in (*static.items(), *zip(keys, children, strict=True)):
        object.__setattr__(x, k, v)  # a frozen dataclass is not yet frozen while it is being built
    return x


def _attributes(x: Any) -> dict[str, Any]:
    return vars(x) if hasattr(x, "__dict__") else {name: getattr(x, name) for name in x.__dataclass_fields__}


def _holds_arrays(x: Any) -> bool:
    """Is `x` a floating-point array, or does it hold one? Numbers, strings and index arrays are structure."""
    if isinstance(x, Buffer):
        return False
    if isinstance(x, (list, tuple)):
        return any(map(_holds_arrays, x))
    if isinstance(x, dict):
        return any(map(_holds_arrays, x.values()))
    if type(x) in HOME:
        return hasattr(x, "dtype") and dtype_of(x).kind in "fc"
    if _node_of(x) is not None and x is not None:
        return any(map(_holds_arrays, _attributes(x).values()))
    return hasattr(x, "dtype") and hasattr(x, "shape") and dtype_of(x).kind in "fc"


_NODES[type(None)] = _Node(lambda x: ((), [], None), lambda cls, k, c, s: None, None)
_NODES[Buffer] = _Node(lambda x: ((), [], x), lambda cls, k, c, buffer: buffer, None)
_NODES[list] = _Node(lambda x: (tuple(range(len(x))), x, None), lambda cls, k, c, s: c, list.__setitem__)
_NODES[tuple] = _Node(lambda x: (tuple(range(len(x))), list(x), None), lambda cls, k, c, s: tuple(c), None)
_NODES[dict] = _Node(_split_dict, _join_dict, dict.__setitem__)
