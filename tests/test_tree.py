"""Pytrees: taken apart and put together, their paths, one vector for all leaves, and Buffers."""

import collections
import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.tree import tree_assign, tree_paths

Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Layer:
    weight: object
    name: str


@dataclasses.dataclass(frozen=True)
class Frozen:
    weight: object
    name: str


@dataclasses.dataclass(slots=True)
class Slotted:
    weight: object
    name: str


class Bag(nn.Module):
    def __init__(self, **items):
        vars(self).update(items)


ARRAYS = st.builds(lambda n, d: np.arange(n, dtype=d) + 1, st.integers(0, 3), st.sampled_from(["f4", "f8"]))
LEAVES = st.one_of(ARRAYS, st.floats(allow_nan=False), st.none(), st.builds(np.float32, st.integers(0, 9)))
KEYS = st.text("abcde", min_size=1, max_size=3)
# An object is a node through the arrays it holds; one without arrays has no children.
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
        st.dictionaries(st.integers(0, 9), inner, max_size=3),
        st.dictionaries(KEYS, inner, max_size=3).map(collections.OrderedDict),
        st.builds(Point, inner, inner),
        st.builds(Layer, inner, KEYS),
        st.builds(Frozen, inner, KEYS),
        st.builds(Slotted, inner, KEYS),
        st.dictionaries(KEYS, inner, max_size=3).map(lambda d: Bag(**d)),
    ),
    max_leaves=12,
)


def attributes(x):
    return {f.name: getattr(x, f.name) for f in dataclasses.fields(x)} if hasattr(x, "name") else vars(x)


def same(a, b):
    """Equal in types, order of keys, and bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (Layer, Frozen, Slotted, Bag)):
        return same(dict(sorted(attributes(a).items())), dict(sorted(attributes(b).items())))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return a == b


@given(TREES)
def test_a_tree_is_the_same_after_it_was_taken_apart_and_put_together(tree):
    leaves, treedef = mg.tree_flatten(tree)
    again = mg.tree_unflatten(treedef, leaves)
    assert same(again, tree)
    assert mg.tree_flatten(again)[1] == treedef and hash(mg.tree_flatten(again)[1]) == hash(treedef)
    assert treedef.num_leaves == len(leaves) == len(tree_paths(tree)) == len(set(tree_paths(tree)))
    assert same(mg.tree_map(lambda x, _: x, tree, tree), tree)


@given(TREES)
def test_a_path_is_the_python_expression_that_reaches_the_leaf(tree):
    for path, leaf in zip(tree_paths(tree), mg.tree_leaves(tree), strict=True):
        assert eval("tree" + path, {"tree": tree}) is leaf


@given(TREES, st.randoms())
def test_new_leaves_arrive_at_their_places(tree, random):
    leaves = mg.tree_leaves(tree)
    fresh = [np.full(np.shape(x), i + 0.5) for i, x in enumerate(leaves)]
    rebuilt = mg.tree_unflatten(mg.tree_flatten(tree)[1], fresh)
    assert all(a is b for a, b in zip(mg.tree_leaves(rebuilt), fresh, strict=True))
    if leaves:
        with pytest.raises(ValueError, match="leaves, but"):
            mg.tree_unflatten(mg.tree_flatten(tree)[1], fresh[1:])


@given(TREES)
def test_assigned_leaves_change_the_mutable_containers_in_place(tree):
    leaves = mg.tree_leaves(tree)
    fresh = [np.full(np.shape(x), i + 0.5) for i, x in enumerate(leaves)]
    out = tree_assign(tree, fresh)
    assert all(a is b for a, b in zip(mg.tree_leaves(out), fresh, strict=True))
    if isinstance(tree, (list, dict, Layer, Slotted, Bag)):
        assert out is tree


def test_a_frozen_dataclass_and_a_tuple_are_built_anew_by_assignment():
    tree = [Frozen(np.zeros(1), "f"), (np.zeros(1),)]
    old = tree[0]
    assert tree_assign(tree, [np.ones(1), np.ones(1)]) is tree
    assert tree[0] is not old and tree[0].weight == 1 and tree[0].name == "f" and old.weight == 0


def test_dicts_come_apart_in_the_order_of_their_keys_and_back_in_their_own():
    tree = {"b": 1.0, "a": 2.0, "c": 3.0}
    leaves, treedef = mg.tree_flatten(tree)
    assert leaves == [2.0, 1.0, 3.0]
    assert list(mg.tree_unflatten(treedef, leaves)) == ["b", "a", "c"]
    # Two dicts with the same keys are the same structure, in whatever order they were written.
    assert mg.tree_map(lambda x, y: x - y, tree, {"c": 3.0, "b": 1.0, "a": 2.0}) == {"b": 0, "a": 0, "c": 0}


def test_the_class_of_a_dict_survives_so_that_gradients_fit_their_parameters():
    class Record(dict):
        __getattr__ = dict.__getitem__

    for cls in (collections.OrderedDict, Record):
        params = cls(w=np.ones(2))
        g = mg.grad(lambda p: (p["w"] ** 2).sum())(params)
        assert type(g) is cls
        np.testing.assert_array_equal(mg.tree_map(lambda p, g: p - g, params, g)["w"], [-1, -1])
    assert mg.grad(lambda p: (p.w**2).sum())(Record(w=np.ones(2))).w[0] == 2


def test_keys_that_cannot_be_sorted_are_named():
    with pytest.raises(TypeError, match=r"keys that can be sorted, got \['a', 1\]"):
        mg.tree_flatten({"a": 1.0, 1: 2.0})


def test_none_is_a_node_without_leaves():
    assert mg.tree_leaves([None, {"a": None}]) == []
    assert mg.tree_map(lambda x: 1 / 0, {"a": None}) == {"a": None}


def test_trees_of_different_structure_do_not_map_together():
    for a, b in [
        ([1.0], (1.0,)),
        ({"a": 1.0}, {"b": 1.0}),
        ([1.0], [1.0, 2.0]),
        (Point(1.0, 2.0), (1.0, 2.0)),
    ]:
        with pytest.raises(ValueError, match="differ in structure"):
            mg.tree_map(lambda x, y: x, a, b)


def test_a_structure_prints_with_a_star_for_each_leaf():
    tree = {"a": [1.0, (2.0,)], "p": Point(1.0, None), "m": Bag(w=np.ones(1), n=3)}
    assert repr(mg.tree_flatten(tree)[1]) == "{a: [*, (*,)], m: Bag{w: *}, p: Point{x: *, y: NoneType{}}}"


def test_only_floating_point_arrays_of_an_object_are_its_children():
    bag = Bag(
        w=np.ones(2), index=np.arange(3), flag=True, rate=0.1, name="n", none=None, parts=[Bag(b=np.ones(1))]
    )
    assert tree_paths(bag) == [".w", ".parts[0].b"]
    twice = mg.tree_map(lambda x: 2 * x, bag)
    assert twice.index is bag.index and twice.rate == 0.1 and twice.none is None
    np.testing.assert_array_equal(twice.parts[0].b, [2])
    assert bag.w[0] == 1


def test_objects_are_rebuilt_without_their_init():
    class Counted(nn.Module):
        made = 0

        def __init__(self):
            type(self).made += 1
            self.w = np.ones(1)

    mg.grad(lambda m: m.w.sum())(Counted())
    assert Counted.made == 1


# ----- ravel -----


def model():
    return {"w": np.arange(6.0).reshape(2, 3), "b": [np.array([6.0, 7.0]), np.float64(8.0)]}


def test_ravel_lays_leaves_out_in_order_and_unravel_shows_views():
    tree = model()
    vector, unravel = mg.ravel(tree)
    np.testing.assert_array_equal(vector, [6, 7, 8, 0, 1, 2, 3, 4, 5])
    back = unravel(vector)
    assert same(mg.tree_map(np.asarray, back), mg.tree_map(np.asarray, tree))
    assert np.shares_memory(back["w"], vector) and np.shares_memory(back["b"][0], vector)
    assert not np.shares_memory(vector, tree["w"])
    vector += 1  # this is how an optimizer moves a whole model
    np.testing.assert_array_equal(back["w"][0], [1, 2, 3])


def test_a_leaf_alone_ravels_to_a_copy_as_well():
    w = np.ones(3)
    vector, unravel = mg.ravel(w)
    assert not np.shares_memory(vector, w)
    assert unravel(vector).shape == (3,)


def test_ravel_and_unravel_are_differentiated_and_transpose_each_other():
    tree, t = model(), mg.tree_map(lambda x: x + 0.5, model())
    vector, unravel = mg.ravel(tree)
    np.testing.assert_array_equal(mg.jvp(lambda p: mg.ravel(p)[0], (tree,), (t,))[1], vector + 0.5)
    f = lambda v: (unravel(v)["w"] ** 2).sum() + 3 * unravel(v)["b"][1]  # noqa: E731
    np.testing.assert_array_equal(mg.grad(f)(vector), [0, 0, 3, 0, 2, 4, 6, 8, 10])
    np.testing.assert_array_equal(np.diag(mg.hessian(f)(vector)), [0, 0, 0, 2, 2, 2, 2, 2, 2])
    _, J = mg.linearize(unravel, vector)
    np.testing.assert_array_equal(J.T(t), mg.ravel(t)[0])
    assert str(J).count("unravel(") == 1  # one equation, whose transpose is one concatenation
    np.testing.assert_array_equal(mg.hvp(f, (vector,), (vector,)), [0, 0, 0, 0, 2, 4, 6, 8, 10])


def test_ravel_refuses_leaves_of_several_dtypes_and_names_the_first_that_differs():
    with pytest.raises(TypeError, match=r"leaf\['b'\] is float64, but the first leaf is float32.*astype"):
        mg.ravel({"a": np.ones(2, np.float32), "b": np.ones(2)})


def test_ravel_of_a_tree_without_arrays_and_unravel_of_a_wrong_vector_say_so():
    with pytest.raises(ValueError, match="holds no arrays"):
        mg.ravel({"a": None})
    with pytest.raises(ValueError, match=r"vector of shape \(3,\) was given, this tree takes \(9,\)"):
        mg.ravel(model())[1](np.ones(3))


# ----- Buffers -----


def test_every_copy_of_a_tree_shares_its_buffers():
    layer = Bag(w=np.ones(2), count=mg.Buffer(0), inner=[Bag(w=np.ones(1), seen=mg.Buffer(None))])
    g = mg.grad(lambda m: m.w.sum())(layer)
    assert g.count is layer.count and g.inner[0].seen is layer.inner[0].seen
    assert mg.tree_unflatten(*reversed(mg.tree_flatten(layer))).count is layer.count


def test_a_buffer_is_structure_wherever_it_stands():
    count = mg.Buffer(np.ones(3))
    tree = {"w": np.ones(2), "count": count, "more": [count, (count, np.ones(1))]}
    assert tree_paths(tree) == ["['more'][1][1]", "['w']"]
    assert mg.ravel(tree)[0].size == 3
    g = mg.grad(lambda p: (p["w"] ** 2).sum() + p["count"].value.sum())(tree)
    assert g["count"] is count and g["more"][1][0] is count
    tree_assign(tree, [np.zeros(1), np.zeros(2)])
    assert tree["count"] is count


def test_tree_buffers_finds_each_buffer_once_with_its_path():
    shared, own = mg.Buffer(1), mg.Buffer(2)
    tree = {"a": [shared], "b": Bag(x=shared, y=(None, own)), "c": 3.0, "d": Slotted(mg.Buffer(3), "n")}
    assert [(path, b.value) for path, b in mg.tree_buffers(tree)] == [
        ("['a'][0]", 1),
        ("['b'].y[1]", 2),
        ("['d'].weight", 3),
    ]
    norm = nn.Sequential(nn.BatchNorm(2), nn.Dropout(0.5, rng=0))
    assert [path for path, _ in mg.tree_buffers(norm)] == [
        ".layers[0].running_mean",
        ".layers[0].running_var",
        ".layers[1].count",
    ]
