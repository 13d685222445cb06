"""A recording as one HTML page that needs no network: its data, and the style and program that show it.

The files of the page are in `report/`. All names in the data are user text: they enter the page as JSON that
no HTML parser can mistake for anything else, and the program puts them in place as text only.
"""

import html
import json
import math
import re
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import fields
from hashlib import sha256
from importlib.resources import files
from typing import Any

from .passes import Equation, Op, Pass, Residual, Value

__all__ = ["to_html"]

SCRIPTS = "data names page chosen passes timeline layout graph ops ir scalars main".split()

# What else a pass has are rows of tables of their own.
PASS = ("number", "kind", "label", "line", "seeds", "at", "start", "seconds", "inputs", "returned")


def to_html(recording: Any) -> str:
    """The report on a `Recording` as the text of one HTML file, which runs no other code and loads nothing.

    >>> import minigrad as mg
    >>> with mg.trace() as t:
    ...     y = mg.sin(1.0)
    >>> to_html(t).startswith("<!doctype html>")
    True
    """
    folder = files(__package__) / "report"

    def text(name: str) -> str:
        return (folder / name).read_text(encoding="utf-8")

    style = text("report.css")
    program = "\n".join(text(f"{name}.js") for name in SCRIPTS)
    dagre = f"/*\n{text('dagre.LICENSE')}*/\n{text('dagre.min.js')}"
    parts = {
        "title": html.escape(recording.title).encode("ascii", "xmlcharrefreplace").decode(),
        "style": style,
        "style_hash": _hash(style),
        "dagre": dagre,
        "dagre_hash": _hash(dagre),
        "program": program,
        "program_hash": _hash(program),
        "recording": _inert(json.dumps(_columns(recording), separators=(",", ":"), allow_nan=False)),
    }
    # One sweep: nothing in the data can be taken for a place to fill.
    return re.sub(r"\{\{(\w+)\}\}", lambda m: parts[m[1]], text("report.html"))


def _inert(text: str) -> str:
    """JSON in ASCII that holds no character with a meaning in HTML."""
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _hash(text: str) -> str:
    """The name by which the page's security policy lets this one script or style run, and no other."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


# ----- Data: tables by columns, with every string once -----


class _Strings(dict[str, int]):
    """The place of each string in the order they were first asked for."""

    def __missing__(self, text: str) -> int:
        self[text] = place = len(self)
        return place


def _columns(recording: Any) -> dict[str, Any]:
    strings = _Strings()
    parents = {child.number: p.number for top in recording.passes for p in top.walk() for child in p.children}
    passes = [p for top in recording.passes for p in top.walk()]

    def table(rows: Iterable[tuple[Pass, Any]], names: Iterable[str]) -> dict[str, list]:
        pairs = list(rows)
        return {"pass": [p.number for p, _ in pairs]} | {
            name: [_cell(name, getattr(row, name), strings) for _, row in pairs] for name in names
        }

    return {
        "title": recording.title,
        "passes": table(((p, p) for p in passes), PASS) | {"parent": [parents.get(p.number) for p in passes]},
        "ops": table(((p, op) for p in passes for op in p.ops), [f.name for f in fields(Op)]),
        "equations": table(((p, e) for p in passes for e in p.equations), [f.name for f in fields(Equation)]),
        "residuals": table(((p, r) for p in passes for r in p.residuals), Residual._fields),
        "layers": list(recording.layers.items()),
        "sources": list(recording.sources.items()),
        "steps": [_finite(step) for step in recording.steps],
        # Last: by now every string has been met.
        "strings": list(strings),
    }


def _cell(name: str, value: Any, strings: _Strings) -> Any:
    if name in ("start", "seconds"):
        return round(value * 1e7)  # in units of 0.1 us
    if isinstance(value, str):
        return strings[value]
    if isinstance(value, Value):
        place = [strings[value.source], value.number, value.k] if value.source else []
        return [strings[value.aval], *place]
    if isinstance(value, (list, tuple)):
        return [_cell("", v, strings) for v in value]
    return _finite(value)


def _finite(value: Any) -> Any:
    """The same for JSON, which has neither infinity nor NaN: they become text that JavaScript can read."""
    if isinstance(value, float):
        if math.isfinite(value):
            return float(f"{value:.7g}")
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    return value
