"""An explanation as a page of text: what `explain` found, in tables that look the same on every machine."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..backend import asnumpy
from ..core import aval_str, dtype_of, shape_of
from ..custom.node import is_inexact
from ..linear import bytes_str
from ..tree import Tree, tree_leaves
from .passes import Op, Value
from .table import Table, sums, within

__all__ = ["form_str", "is_scalar", "number_str", "sections"]

LONG = 30  # rows, of what a page lists


def sections(e: Any) -> Iterable[str]:
    """The paragraphs of the page."""
    scalar = is_scalar(tree_leaves(e.forward))
    found = {"value": e.value, "gradient" if scalar else "J.T c": e.gradient, "J t": e.forward}
    yield "\n".join([e.label, *[f"  {name:10}{_short(x)}".rstrip() for name, x in found.items()]])
    rows = [
        [c.name, c.identity, number_str(c.one), number_str(c.other), c.difference, c.verdict]
        for c in e.checks
    ]
    title = f"checks, with a random direction t of length one, {'c = 1' if scalar else 'c likewise'}"
    yield Table(title, ["check", "identity", ">one side", ">the other", ">differ by", ""], rows).text()
    if e.remarks:
        yield "\n".join(f"  note: {remark}" for remark in e.remarks)
    rows = [
        [i.name, i.aval, *["" if x is None else f"{x:.6g}" for x in (i.norm, i.derivative)], i.effect]
        for k, i in enumerate(e.inputs)
        if k < LONG or i.effect
    ]
    title = "inputs" + (f": {len(e.inputs)}, of which {len(rows)}" if len(rows) < len(e.inputs) else "")
    yield Table(title, ["name", "array", ">norm", ">derivative", "effect"], rows).text()
    rows = [[r.name, f"{r.calls}", r.kind, r.place] for r in e.rules]
    yield Table("rules", ["of", ">used", "kind", "where"], rows).text()
    yield _flow(e)
    rows = []
    for p in e.recording:
        s = sums(p.all_ops)
        rows.append([p.kind, str(s.ops), s.mflop, bytes_str(s.bytes)])
    title = f"cost; {bytes_str(e.residual_bytes)} of residuals are kept between the passes"
    yield Table(title, ["pass", ">ops", ">MFLOP", ">moved"], rows).text()


def _flow(e: Any) -> str:
    p, layers = e.recording[0], e.recording.layers
    ops = [op for op in p.all_ops if op.part == "primal" and op.of is None]
    title = f"data flow: {len(ops)} operation{'s' * (len(ops) != 1)}"
    if len(ops) > LONG and layers:
        return _by_layer(title, ops, e)
    names = {op.number: f"v{k}" for k, op in enumerate(ops)}
    owners = {op.number: op.of for op in p.all_ops if op.of is not None}
    moving = [i.name for i in e.inputs if i.derivative is not None]

    def name(v: Value) -> str:
        if v.source == "input" and v.number == p.number:
            return moving[v.k]
        made = names.get(owners.get(v.number, v.number)) if v.source == "op" else None
        return made or v.aval

    rows = []
    for op in ops[:LONG]:
        call = f"{op.primitive}({', '.join(map(name, op.inputs))}{'; ' * bool(op.params)}{op.params})"
        rows.append([names[op.number], call, ", ".join(op.outputs), op.layer, op.line])
    columns = ["", "operation", "result", "layer", "line"]
    if not layers:
        rows, columns = [[*r[:3], r[4]] for r in rows], [*columns[:3], "line"]
    text = Table(title, columns, rows).text()
    rest = Counter(op.primitive for op in ops[LONG:])
    return text + (f"\n... and {rest.total()} more: {_counts(rest)}" if rest else "")


def _by_layer(title: str, ops: list[Op], e: Any) -> str:
    """A row for each run of operations in a layer, of those layers that are opened: as many as find room."""
    layers = list(e.recording.layers)
    around = {path: [p for p in layers if within(path, p)] for path in {op.layer for op in ops}}
    for depth in range(max(map(len, around.values())), -1, -1):
        groups: list[tuple[str, list[Op]]] = []
        for op in ops:
            path = (["", *around[op.layer]][: depth + 1])[-1]
            if not groups or groups[-1][0] != path:
                groups.append((path, []))
            groups[-1][1].append(op)
        if len(groups) <= LONG or depth == 0:
            break
    rows = [
        [
            path or "outside layers",
            _counts(Counter(op.primitive for op in each)),
            each[-1].outputs[0],
            each[0].line,
        ]
        for path, each in groups
    ]
    return Table(title, ["layer", "operations", "last result", "line"], rows).text()


# ----- Words -----


def _counts(names: Counter[str]) -> str:
    return ", ".join(name if n == 1 else f"{name} x{n}" for name, n in names.items())


def _short(tree: Tree) -> str:
    from ..testing.run import full, norm

    leaves = [x for x in tree_leaves(tree) if hasattr(x, "dtype") or isinstance(x, (int, float))]
    if len(leaves) > 3:
        return f"{len(leaves)} arrays of norm {norm([full(x) for x in leaves if is_inexact(x)]):.6g}"
    return "; ".join(map(number_str, leaves))


def number_str(x: Any) -> str:
    x = asnumpy(x)
    if np.ndim(x) == 0:
        return f"{x[()] + 0.0:.8g}"  # 0 for -0
    if np.size(x) <= 6:
        return " ".join(np.array2string(x, precision=8).split())
    return f"{aval_str(x)} of norm {float(np.sqrt(np.vdot(x, x).real)):.6g}"


def form_str(x: Any) -> str:
    return aval_str(x) if hasattr(x, "dtype") or isinstance(x, (int, float)) else type(x).__name__


def is_scalar(ys: list) -> bool:
    return len(ys) == 1 and shape_of(ys[0]) == () and dtype_of(ys[0]).kind == "f"
