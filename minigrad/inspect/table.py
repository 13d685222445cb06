"""Tables of recordings: by pass, by operation, by layer, and two recordings side by side.

A sum over operations of which one has no FLOP formula is a lower bound, '>='; where none has any, '?'.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from .passes import PARTS, Op, Pass

__all__ = ["Table", "compare", "sums", "table", "within"]


class Table:
    """A title, columns (those that start with '>' are aligned to the right) and rows of strings.

    `str(table)` draws it with rich where that is installed, else as aligned text.
    """

    def __init__(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], footer: Sequence[str] = ()
    ) -> None:
        self.title, self.columns, self.rows, self.footer = title, list(columns), rows, footer

    def __str__(self) -> str:
        try:
            from rich.console import Console
        except ImportError:
            return self.text()
        from io import StringIO

        drawn = self.__rich__()
        console = Console(file=StringIO(), width=10_000, color_system=None, legacy_windows=False)
        width = console.measure(drawn).maximum
        console.print(drawn, width=width)
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        return "\n".join(line.rstrip() for line in lines)

    def text(self) -> str:
        """The table as aligned text."""
        names = [c.lstrip(">") for c in self.columns]
        rows = [names, *self.rows, *([self.footer] if self.footer else [])]
        widths = [max(len(r[i]) for r in rows) for i in range(len(names))]

        def line(row: Sequence[str]) -> str:
            cells = [
                cell.rjust(w) if c.startswith(">") else cell.ljust(w)
                for cell, w, c in zip(row, widths, self.columns, strict=True)
            ]
            return "  ".join(cells).rstrip()

        rule = "  ".join("-" * w for w in widths)
        body = [line(r) for r in self.rows]
        return "\n".join(
            [self.title, line(names), rule, *body, *([rule, line(self.footer)] if self.footer else [])]
        )

    def __rich__(self) -> Any:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table as RichTable
        from rich.text import Text

        drawn = RichTable(
            title=Text(self.title),
            title_justify="left",
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
            show_footer=bool(self.footer),
        )
        for i, c in enumerate(self.columns):
            drawn.add_column(
                Text(c.lstrip(">")),
                Text(self.footer[i] if self.footer else ""),
                justify="right" if c.startswith(">") else "left",
                no_wrap=True,
            )
        for row in self.rows:
            drawn.add_row(*map(Text, row))  # Text: what is in square brackets is no markup here
        return drawn


class Sums(NamedTuple):
    """Over some operations: how many, how many of each part, FLOPs known, is one unknown, bytes, seconds."""

    ops: int
    parts: dict[str, int]
    flops: int
    unknown: bool
    bytes: int
    seconds: float

    @property
    def mflop(self) -> str:
        if self.unknown:
            return f">={_number(self.flops / 1e6)}" if self.flops else "?"
        return _number(self.flops / 1e6)


def sums(ops: Iterable[Op], seconds: float | None = None) -> Sums:
    """The sums of `ops`; `seconds` in place of their own, for a pass, which takes time between them, too."""
    ops = list(ops)
    parts = {part: sum(op.part == part for op in ops) for part in PARTS}
    flops = [op.flops for op in ops]
    own = sum(op.seconds for op in ops)
    known = sum(n for n in flops if n is not None)
    moved = sum(op.bytes or 0 for op in ops)
    return Sums(len(ops), parts, known, None in flops, moved, own if seconds is None else seconds)


def table(recording: Any, by: str, sort: str | None, depth: int | None) -> Table:
    makers: dict[str, Callable] = {"pass": _by_pass, "op": _by_op, "module": _by_module}
    if by not in makers:
        raise ValueError(f"no table by {by!r}: use 'op', 'module' or 'pass'")
    if depth is not None and by != "module":
        raise ValueError(f"depth={depth} is for tables by 'module'")
    columns, rows, footer = makers[by](recording, depth)
    if sort is not None:
        names = [c.lstrip(">") for c in columns]
        if sort not in names:
            raise ValueError(f"no column {sort!r} to sort by: there are {', '.join(names)}")
        i = names.index(sort)
        rows.sort(key=lambda row: _sortable(row[i]), reverse=columns[i].startswith(">"))
    return Table(recording.title + _passes_in_words(recording), columns, rows, footer)


def compare(one: Any, other: Any) -> Table:
    """Two recordings side by side, kind of pass by kind of pass, with the ratio of the second to the first.

    >>> import numpy as np, minigrad as mg
    >>> f, x = lambda x: np.sum(np.tanh(x) ** 2), np.ones(1000)
    >>> with mg.trace() as t1:
    ...     g = mg.grad(f)(x)
    >>> with mg.trace() as t2:
    ...     Hg = mg.hvp(f, (x,), (g,))
    >>> [row[0] for row in mg.diff(t1, t2).rows]
    ['primal', 'vjp', 'jvp', 'total']
    """
    rows = []
    kinds = list(dict.fromkeys(p.kind for t in (one, other) for p in t.passes))
    for kind in [*kinds, "total"]:
        row: list[str] = [kind]
        both = []
        for t in (one, other):
            passes = [p for p in t.passes if kind in (p.kind, "total")]
            s = sums((op for p in passes for op in p.all_ops), sum(p.seconds for p in passes))
            both.append((len(passes), s))
        (n1, s1), (n2, s2) = both
        row += [str(n1 or "·"), str(n2 or "·"), str(s1.ops or "·"), str(s2.ops or "·")]
        row += [s1.mflop, s2.mflop, _ratio(s2.flops, s1.flops) if not (s1.unknown or s2.unknown) else "?"]
        row += [_number(s1.bytes / 1e6), _number(s2.bytes / 1e6), _ratio(s2.bytes, s1.bytes)]
        row += [_number(s1.seconds * 1e3), _number(s2.seconds * 1e3), _ratio(s2.seconds, s1.seconds)]
        rows.append(row)
    columns = ["kind", *[f">{c}" for c in ("passes", "passes'", "ops", "ops'")]]
    for c in ("MFLOP", "MB", "ms"):
        columns += [f">{c}", f">{c}'", ">ratio"]
    return Table(f"{one.title} | {other.title}'", columns, rows)


def _by_pass(recording: Any, depth: int | None) -> tuple[list, list, list]:
    columns = [">#", "pass", "what", ">ops", *[f">{p}" for p in PARTS], ">MFLOP", ">MB", ">ms", ">× primal"]
    first = next((p.number for p in recording.passes if p.kind == "primal"), None)
    seconds = {p.number: p.seconds for p in recording.walk()}
    rows = []

    def add(p: Pass, indent: str) -> None:
        s = sums(p.all_ops, p.seconds)
        base = seconds.get(p.number if p.kind == "primal" else first if p.at is None else p.at)  # type: ignore[arg-type]
        ratio = _ratio(p.seconds, base) if base and p.kind != "loss" else ""
        rows.append([str(p.number), indent + p.kind, _short(p.label), *_cells(s), ratio])
        for child in p.children:
            add(child, indent + "  ")

    for p in recording.passes:
        add(p, "")
    total = sums(recording.ops, sum(p.seconds for p in recording.passes))
    return columns, rows, ["", "total", "", *_cells(total), ""]


def _by_op(recording: Any, depth: int | None) -> tuple[list, list, list]:
    columns = ["op", ">ops", *[f">{p}" for p in PARTS], ">MFLOP", ">MB", ">ms"]
    groups: dict[str, list[Op]] = {}
    for op in recording.ops:
        groups.setdefault(op.primitive, []).append(op)
    ordered = sorted(groups.items(), key=lambda g: -sum(op.seconds for op in g[1]))
    rows = [[name, *_cells(sums(ops))] for name, ops in ordered]
    return columns, rows, ["total", *_cells(sums(recording.ops))]


def _by_module(recording: Any, depth: int | None) -> tuple[list, list, list]:
    """A row for each layer, with what is inside it, in the order of first use; then what is in none."""
    columns = ["layer", "class", ">ops", *[f">{p} MFLOP" for p in PARTS], ">MB", ">ms"]
    rows = []
    for path, cls in _opened(recording, depth):
        inside = [op for op in recording.ops if within(op.layer, path)]
        rows.append([path, cls, *_parts_cells(inside)])
    outside = [op for op in recording.ops if not op.layer]
    if outside:
        rows.append(["outside layers", "", *_parts_cells(outside)])
    return columns, rows, ["total", "", *_parts_cells(recording.ops)]


def _opened(recording: Any, depth: int | None) -> list[tuple[str, str]]:
    paths = [(path, cls) for path, cls in recording.layers.items()]
    levels = {path: sum(within(path, other) for other, _ in paths) - 1 for path, _ in paths}
    return [(path, cls) for path, cls in paths if depth is None or levels[path] <= depth]


def within(path: str, outer: str) -> bool:
    return path == outer or path.startswith(outer) and path[len(outer)] in ".[ "


# ----- Cells -----


def _cells(s: Sums) -> list[str]:
    counts = [str(s.parts[part] or "·") for part in PARTS]
    return [str(s.ops), *counts, s.mflop, _number(s.bytes / 1e6), _number(s.seconds * 1e3)]


def _parts_cells(ops: list[Op]) -> list[str]:
    s = sums(ops)
    by_part = [sums(op for op in ops if op.part == part) for part in PARTS]
    return [
        str(s.ops),
        *[p.mflop if p.ops else "·" for p in by_part],
        _number(s.bytes / 1e6),
        _number(s.seconds * 1e3),
    ]


def _number(x: float) -> str:
    """Three digits, and no more than there are: 0, 0.00123, 1.23, 123, 12345."""
    if x == 0:
        return "0"
    return f"{x:.0f}" if x >= 100 else f"{x:.3g}" if x >= 0.001 else f"{x:.1e}"


def _ratio(a: float, b: float) -> str:
    return f"{a / b:.2f}" if b else "·"


def _short(label: str, width: int = 40) -> str:
    return label if len(label) <= width else label[: width - 1] + "…"


def _sortable(cell: str) -> tuple[float, str]:
    try:
        return float(cell.removeprefix(">=")), ""
    except ValueError:
        return -1.0, cell


def _passes_in_words(recording: Any) -> str:
    kinds = dict.fromkeys(p.kind for p in recording.passes if p.kind != "loss")
    counts = " · ".join(f"{kind} {recording.count(kind)}" for kind in kinds)
    return f": {counts}" if counts else ""
