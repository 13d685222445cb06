"""The data flow of a recording in DOT, Graphviz's language: boxes are layers, nodes are operations.

Data flows down the page to primals and tangents and up to cotangents, so that a layer's derivatives stand
beside what they are the derivatives of.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from .passes import PARTS, Op, Value
from .table import within

__all__ = ["to_dot"]

# Part: fill and line.
COLORS = {
    "primal": ("#dbe9f8", "#2f6fb0"),
    "tangent": ("#ffe3b8", "#b86e00"),
    "cotangent": ("#e3c6ec", "#7b2d8e"),
}
# A node with more arrows than these out of it, or into it, is named where they would lead: a vector of all
# parameters would else be tied to every layer.
CROWD = 8


def to_dot(recording: Any) -> str:
    """A `Recording` as a directed graph; `dot -Tsvg` draws it, with lines, parameters and FLOPs as tooltips.

    A full arrow is data that flows from an operation, input or seed to an operation; a dashed line leads from
    a primal operation to what else its derivative rule computes.

    >>> import numpy as np, minigrad as mg
    >>> with mg.trace() as t:
    ...     y = mg.jvp(np.sin, (np.ones(3),), (np.ones(3),))
    >>> print(to_dot(t).splitlines()[0])
    digraph "1 pass" {
    """
    ops = recording.ops
    nodes, edges = _drawn(ops)
    title = _quoted(recording.title)
    lines = [
        f"digraph {title} {{",
        f'  graph [label={title}, labelloc=t, fontname="Helvetica", fontsize=18, ranksep=0.3, nodesep=0.15];',
        '  node [fontname="Helvetica", fontsize=10, height=0.3, margin="0.08,0.04", fillcolor=white];',
        '  edge [color="#707070", arrowsize=0.6];',
        *_legend(),
        *_boxes(nodes, recording.layers),
        *edges,
        "}",
        "",
    ]
    return "\n".join(lines)


def _legend() -> list[str]:
    return [
        "  subgraph cluster_legend {",
        '    label="operations that compute"; labeljust=l; fontsize=10; color="#cccccc"; style=rounded;',
        *[f"    legend_{part} [label={part}, {_look(part)}];" for part in PARTS],
        "    { rank=same; " + " -> ".join(f"legend_{part}" for part in PARTS) + " [style=invis]; }",
        "  }",
    ]


# ----- Boxes of layers -----


def _boxes(nodes: dict[str, list[str]], layers: dict[str, str]) -> Iterator[str]:
    """The nodes of each layer inside its box, which is inside that of the layer around it."""
    tree, numbers = _tree(layers), {path: k for k, path in enumerate(layers)}

    def contents(path: str, indent: str) -> Iterator[str]:
        yield from (indent + node for node in nodes[path])
        for inner in tree[path]:
            name = f"{inner[len(path) :].lstrip('.')}: {layers[inner]}"
            fill = "#f4f4f2" if len(indent) // 2 % 2 else "#ffffff"
            yield f"{indent}subgraph cluster_{numbers[inner]} {{"
            yield f'{indent}  label={_quoted(name)}; labeljust=l; fontsize=10; style="rounded,filled";'
            yield f'{indent}  color="#b8b8b8"; fillcolor="{fill}";'
            yield from contents(inner, indent + "  ")
            yield f"{indent}}}"

    return contents("", "  ")


def _tree(layers: Iterable[str]) -> dict[str, list[str]]:
    """The layers directly inside each layer, and those inside none in ''."""
    tree: dict[str, list[str]] = {"": []}
    for path in sorted(layers, key=len):
        outer = max((p for p in tree if p and within(path, p)), key=len, default="")
        tree[outer].append(path)
        tree[path] = []
    return tree


# ----- Nodes and data flow -----


def _drawn(ops: list[Op]) -> tuple[dict[str, list[str]], list[str]]:
    """The lines that declare nodes, by layer, and those that declare edges."""
    by_name = {f"op{op.number}": op for op in ops}
    flow = {
        (_name(v), f"op{op.number}"): v
        for op in ops
        for v in op.inputs
        if v.source in ("op", "input", "seed")
    }
    given = {tail: v for (tail, _), v in flow.items() if tail not in by_name}
    fan_out, fan_in = Counter(tail for tail, _ in flow), Counter(head for _, head in flow)
    nodes, edges = defaultdict(list), []
    for name, op in by_name.items():
        number = f" #{op.number}" if max(fan_out[name], fan_in[name]) > CROWD else ""
        nodes[op.layer].append(_node(name, op, number))
    for name, v in given.items():
        nodes[""].append(
            f'{name} [label={_quoted(_words(v) + chr(10) + v.aval)}, shape=ellipse, color="#909090"];'
        )
    for k, ((tail, head), v) in enumerate(flow.items()):
        to, source = by_name[head], by_name.get(tail)
        # A seed is given to the sweep that computes with it, an input to what is computed first.
        part = source.part if source else to.part if v.source == "seed" else "primal"
        if fan_out[tail] > CROWD:
            words = _words(v) if source is None else f"{source.primitive} #{source.number}"
            words += f"[{v.k}]" * (source is not None and len(source.outputs) > 1)
            nodes[to.layer].append(_stub(f"stub{k}", words))
            edges.append(_arrow(f"stub{k}", to.part, head, to.part))
        elif fan_in[head] > CROWD:
            nodes[source.layer if source else ""].append(_stub(f"stub{k}", f"{to.primitive} #{to.number}"))
            edges.append(_arrow(tail, part, f"stub{k}", part))
        else:
            edges.append(_arrow(tail, part, head, to.part))
    for name, op in by_name.items():
        if f"op{op.of}" in by_name:
            color = COLORS[op.part][1]
            edges.append(
                f'  op{op.of} -> {name} [style=dashed, arrowhead=none, color="{color}", constraint=false];'
            )
    return nodes, edges


def _name(v: Value) -> str:
    return f"op{v.number}" if v.source == "op" else f"{v.source}_{v.number}_{v.k}"


def _words(v: Value) -> str:
    return f"{v.source} {v.k} of pass {v.number}"


def _node(name: str, op: Op, number: str) -> str:
    label = f"{op.primitive}{number}\n{', '.join(op.outputs[:3])}" + ", …" * (len(op.outputs) > 3)
    flops = "unknown" if op.flops is None else f"{op.flops:,}"
    about = [f"operation {op.number}, {op.part}", op.line, op.params, f"FLOPs: {flops}"]
    tooltip = "\n".join(a for a in about if a)
    return f"{name} [label={_quoted(label)}, tooltip={_quoted(tooltip)}, {_look(op.part)}];"


def _stub(name: str, words: str) -> str:
    return f'{name} [label={_quoted(words)}, shape=plain, fontsize=8, fontcolor="#707070"];'


def _look(part: str) -> str:
    fill, line = COLORS[part]
    return f'shape=box, style="rounded,filled", fillcolor="{fill}", color="{line}"'


def _arrow(tail: str, tail_part: str, head: str, head_part: str) -> str:
    if "cotangent" not in (tail_part, head_part):
        return f"  {tail} -> {head};"
    if tail_part == head_part:
        return f"  {head} -> {tail} [dir=back];"  # up the page
    return f"  {tail} -> {head} [constraint=false];"


def _quoted(text: str) -> str:
    """A string of DOT that is drawn as `text`: backslashes and entities have a meaning there, too."""
    text = re.sub(r"[\x00-\x09\x0b-\x1f\x7f]", "\ufffd", text).replace("&", "&amp;")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
