"""`summary`: a model layer by layer, with what each costs in a primal, a forward- and a reverse-mode pass.

Nothing is estimated: the model is linearized in its parameters, swept once in each mode, and the recording of
that is added up by layer.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ..core import aval_str, nbytes_of, recorded_by, size_of
from ..linear import bytes_str, linearize
from ..tree import Tree, keeping_buffers, tree_leaves
from .recorder import Recorder
from .recording import Recording
from .table import Sums, Table, sums, within

__all__ = ["LayerCost", "Summary", "summary"]

LEGEND = (
    "MFLOP of one pass each, jvp and vjp in the parameters; a layer's are with those of the layers in it.\n"
    "kept: residuals that its operations made; parameters and inputs that are kept count as outside."
)


def summary(model: Any, x: Any, train: bool = False) -> "Summary":
    """The layers of `model` as called on `x`: output shapes, parameters, and MFLOPs of primal, jvp and vjp.

    The costs are those of `y, J = mg.linearize(lambda m: m(x, train), model)`, of `J(t)` and of `J.T(c)`,
    which run once to be recorded; parameters and Buffers are afterwards what they were. `train` is the
    model's. Raises TypeError for a `model` that is no Module.

    >>> from minigrad import nn
    >>> s = summary(nn.mlp((4, 3, 2)), np.ones((8, 4), np.float32))
    >>> s.parameters, [row.outputs for row in s.rows]
    (23, [['float32[8,2]'], ['float32[8,3]'], ['float32[8,3]'], ['float32[8,2]']])
    >>> print(s.table().text())
    Sequential of float32[8,4]: 23 parameters, 92 B
    layer                output        own  params   primal      jvp      vjp   kept
    -------------------  ------------  ---  ------  -------  -------  -------  -----
    model: Sequential    float32[8,2]    0      23  6.2e-04  4.6e-04  4.5e-04  192 B
      layers[0]: Linear  float32[8,3]   15      15  2.2e-04  2.2e-04  2.2e-04      ·
      layers[1]: Tanh    float32[8,3]    0       0  2.9e-04  2.4e-05  2.4e-05  192 B
      layers[2]: Linear  float32[8,2]    8       8  1.1e-04  2.2e-04  2.1e-04      ·
    outside layers                                        ·        ·        ·  152 B
    -------------------  ------------  ---  ------  -------  -------  -------  -----
    total                                       23  6.2e-04  4.6e-04  4.5e-04  344 B
    """
    if not hasattr(type(model), "__minigrad_layer__"):
        name = getattr(model, "__name__", type(model).__name__)
        raise TypeError(
            f"summary: {name} is no minigrad.nn.Module: call it in the forward(x, train) of one, "
            "or use minigrad.explain(f, x), which takes any function"
        )
    recorder = Recorder()
    with recorded_by(recorder), keeping_buffers(model), Recording() as t:
        y, J = linearize(lambda m: m(x, train), model)
        returns = {path: list(calls) for path, calls in recorder.returns.items()}
        J(model)  # along any direction: what it costs is the same
        J.T(y)
    return _added_up(model, x, t, returns)


@dataclass
class LayerCost:
    """A layer in a model, with all that is inside it.

    `outputs` are what its calls returned, in order, as 'float32[8,2]'; `own` are the parameters that are in
    no layer inside it; `primal`, `jvp` and `vjp` are sums over operations, `.flops` among them; `kept` are
    the bytes of residuals that its operations made.
    """

    path: str
    name: str
    outputs: list[str]
    own: int
    parameters: int
    primal: Sums
    jvp: Sums
    vjp: Sums
    kept: int


@dataclass(repr=False)
class Summary:
    """A row for each layer, the model first, one for what is `outside` layers, and the `total`; print it."""

    label: str
    bytes: int
    rows: list[LayerCost]
    outside: LayerCost
    total: LayerCost
    recording: Recording

    @property
    def parameters(self) -> int:
        """How many numbers the model's leaves hold."""
        return self.total.parameters

    def table(self) -> Table:
        words = f"{self.parameters:,} parameters{_in_words(self.parameters)}, {bytes_str(self.bytes)}"
        columns = ["layer", "output", ">own", ">params", ">primal", ">jvp", ">vjp", ">kept"]
        rows = [_cells(row, f"{row.own:,}", f"{row.parameters:,}") for row in self.rows]
        outside = _cells(self.outside, "", "")
        return Table(
            f"{self.label}: {words}",
            columns,
            [*rows, outside],
            _cells(self.total, "", f"{self.parameters:,}"),
        )

    def __str__(self) -> str:
        return f"{self.table()}\n{LEGEND}"

    __repr__ = __str__

    def __rich__(self) -> Any:
        from rich.console import Group

        return Group(self.table().__rich__(), LEGEND)


# ----- Adding up -----


def _added_up(model: Any, x: Tree, t: Recording, returns: dict[str, list[list[Any]]]) -> Summary:
    def cost(path: str, name: str, size: int, own: int, belongs: Callable[[str], bool]) -> LayerCost:
        primal, jvp, vjp = (sums(op for op in p.all_ops if belongs(op.layer)) for p in t.passes)
        outputs = [" ".join(map(aval_str, leaves)) for leaves in returns.get(path, [])]
        kept = sum(r.bytes for r in t.residuals() if belongs(r.layer))
        return LayerCost(path, name, outputs, own, size, primal, jvp, vjp, kept)

    rows = []
    called: set[int] = set()
    for path, step, depth, layer in _layers(model, "model", "model", 0):
        if id(layer) in called and path not in returns:
            continue  # one object in two places: its calls count for the first
        called.add(id(layer))
        size = _size(layer)
        own = size - sum(_size(inner) for _, _, d, inner in _layers(layer, "", "", 0) if d == 1)
        name = f"{'  ' * depth}{step.lstrip('.')}: {type(layer).__name__}"
        rows.append(cost(path, name, size, own, lambda place, path=path: within(place, path)))  # type: ignore[misc]
    known = {row.path for row in rows}
    for path in t.layers:
        # A layer that is no attribute of one around it, or a copy of one: that of a checkpoint, for instance.
        if path in returns and path not in known:
            rows.append(cost(path, f"  {path}", 0, 0, lambda place, path=path: within(place, path)))  # type: ignore[misc]
    return Summary(
        f"{type(model).__name__} of {', '.join(map(aval_str, tree_leaves(x)))}",
        sum(map(nbytes_of, tree_leaves(model))),
        rows,
        cost("", "outside layers", 0, 0, lambda place: not within(place, "model")),
        cost("", "total", _size(model), 0, lambda place: True),
        t,
    )


def _layers(x: Any, path: str, step: str, depth: int) -> Iterator[tuple[str, str, int, Any]]:
    """Every layer in `x`: its path, how it is reached from the layer around it, how deep it is, and it."""
    if isinstance(x, dict):
        steps = [(f"[{k!r}]", v) for k, v in x.items()]
    elif isinstance(x, (list, tuple)):
        steps = [(f"[{i}]", v) for i, v in enumerate(x)]
    elif hasattr(type(x), "__minigrad_layer__"):
        yield path, step, depth, x
        steps = [(f".{k}", v) for k, v in vars(x).items()]
        step, depth = "", depth + 1
    else:
        return
    for more, v in steps:
        yield from _layers(v, path + more, step + more, depth)


def _size(tree: Tree) -> int:
    return sum(map(size_of, tree_leaves(tree)))


# ----- Cells -----


def _cells(row: LayerCost, own: str, parameters: str) -> list[str]:
    calls = f" x{len(row.outputs)}" if len(row.outputs) > 1 else ""
    called = row.outputs or row.path in ("", "model")
    outputs = ", ".join(dict.fromkeys(row.outputs)) if called else "no call seen"
    costs = [s.mflop if s.ops else "·" for s in (row.primal, row.jvp, row.vjp)]
    return [row.name + calls, outputs, own, parameters, *costs, bytes_str(row.kept) if row.kept else "·"]


def _in_words(n: int) -> str:
    for unit, word in ((10**9, "billion"), (10**6, "million"), (10**3, "thousand")):
        if n >= unit:
            return f" ({n / unit:.3g} {word})"
    return ""
