"""A pass as text: the program it ran, beside the primal program whose derivative it is.

Values are p0, p1, ... in the primal program (x0, x1, ... its inputs), t0, t1, ... where they are tangents,
and c0, c1, ... where cotangents. The text is the same for the same program: no times, no addresses.
"""

from itertools import zip_longest
from typing import Any

from .passes import Equation, Op, Pass, Value

__all__ = ["columns", "pass_str"]

LETTER = {"primal": "p", "jvp": "t", "vjp": "c", "loss": "l"}


def pass_str(p: Pass, recording: Any) -> str:
    """The text of `p.ir()`: two columns where it is, or was, linearized at a primal pass of the recording."""
    heads, rows = columns(p, recording)
    return "\n".join([*heads, *lines(rows)])


def lines(rows: list[tuple[str, str]]) -> list[str]:
    width = max([len(a) for a, _ in rows], default=0)
    return [f"  {a.ljust(width)}  |  {b}".rstrip() if width else f"  {b}" for a, b in rows]


def columns(p: Pass, recording: Any) -> tuple[list[str], list[tuple[str, str]]]:
    """What the columns are, and their rows: lines of the primal program, lines of the pass."""
    passes = {q.number: q for q in recording.walk()} if recording is not None else {}
    primal = p if p.kind == "primal" else passes.get(p.at)  # type: ignore[arg-type]
    names: dict[Any, str] = {}
    head = f"{p.kind} {p.label}  ({p.line})"
    if primal is None or primal is p and not p.equations:
        return [head], [("", line) for _, line in _ops(p, names)]
    left = [(None, f"x{k}: {aval}") for k, aval in enumerate(primal.inputs)] + _ops(primal, names)
    if primal is p:
        right = _equations(p, names)
        kept = sum(r.bytes for r in p.residuals)
        return [head, f"  recorded: {len(p.equations)} equations, {kept} bytes of residuals"], _rows(
            left, right
        )
    right = _ops(p, names)
    return [f"primal {primal.label}  ({primal.line})", head], _rows(left, right, backwards=p.kind == "vjp")


Line = tuple[Op | Equation | None, str]


def _rows(left: list[Line], right: list[Line], backwards: bool = False) -> list[tuple[str, str]]:
    """Each primal operation, what its rule computed beside the value under it, beside what belongs to it."""
    blocks: dict[int | None, tuple[list[str], list[str]]] = {None: ([], [])}
    for op, line in left:
        own = op is not None and (op.of is None or op.of not in blocks)
        number = op.number if own else op.of if op is not None else None  # type: ignore[union-attr]
        blocks.setdefault(number, ([], []))[0].append(line if own or op is None else f"  {line}")
    at = None
    for each, line in right:
        at = each.of if each is not None and each.of in blocks else at
        blocks[at][1].append(line)
    inputs, *rest = blocks.values()
    ordered = [inputs, *(reversed(rest) if backwards else rest)]
    return [row for a, b in ordered for row in zip_longest(a, b, fillvalue="")]


def _ops(p: Pass, names: dict[Any, str]) -> list[Line]:
    letter = LETTER[p.kind]
    lines: list[Line] = []
    if p.kind in ("jvp", "vjp"):
        lines = [(None, f"{letter}{k}: {seed.aval}") for k, seed in enumerate(p.seeds)]
    n = len(lines)
    for op in p.all_ops:
        args = [_value(v, names, p) for v in op.inputs]
        outs = []
        for k, aval in enumerate(op.outputs):
            names["op", op.number, k] = name = f"{letter}{n}"
            outs.append(f"{name}: {aval}")
            n += 1
        lines.append((op, f"{', '.join(outs)} = {_call(op.primitive, args, op.params)}"))
    return lines


def _equations(p: Pass, names: dict[Any, str]) -> list[Line]:
    """The recorded program; a result that nothing reads has no name."""
    read = {v.k for e in p.equations for v in e.inputs if v.source == "variable"} | set(p.returned)
    made = [k for e in p.equations for k, _ in e.outputs if k in read]
    numbers = {k: f"t{i}" for i, k in enumerate([*range(len(p.inputs)), *made])}
    lines: list[Line] = [(None, f"t{i}: {aval}") for i, aval in enumerate(p.inputs)]
    for e in p.equations:
        args = [numbers[v.k] if v.source == "variable" else _value(v, names, p) for v in e.inputs]
        outs = [f"{numbers[k]}: {aval}" if k in numbers else "_" for k, aval in e.outputs]
        lines.append((e, f"{', '.join(outs)} = {_call(e.primitive, args, e.params)}"))
    lines.append((None, f"return {', '.join('0' if k is None else numbers[k] for k in p.returned)}"))
    return lines


def _value(v: Value, names: dict[Any, str], p: Pass) -> str:
    if v.source == "op":
        return names.get(("op", v.number, v.k), v.aval)
    if v.source == "input":
        return f"x{v.k}"
    if v.source == "seed" and p.number == v.number:
        return f"{LETTER[p.kind]}{v.k}"
    return v.aval


def _call(primitive: str, args: list[str], params: str, width: int = 48) -> str:
    params = params if len(params) <= width else params[: width - 1] + "…"
    return f"{primitive}({', '.join(args)}{'; ' if params else ''}{params})"
