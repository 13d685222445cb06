"""A recording in the Trace Event Format, the JSON that Perfetto and chrome://tracing draw as a timeline.

One track holds passes and, nested in them, operations; arrows lead from a primal operation to its tangents
and cotangents; counters show arithmetic done and what linearizations keep for sweeps to come.
"""

import json
from collections.abc import Iterator
from typing import Any

from .passes import PARTS, Op, Pass, finite
from .table import sums

__all__ = ["to_chrome"]

PLACE = {"pid": 1, "tid": 1}
# Times are whole eighths of a microsecond: binary fractions, so that what nests here also nests for a reader
# that adds, scales or truncates them.
EIGHTHS = 8

Event = dict[str, Any]


def to_chrome(recording: Any) -> str:
    """A `Recording` as a JSON object of trace events; times in microseconds since the recording began.

    >>> import numpy as np, minigrad as mg
    >>> with mg.trace() as t:
    ...     g = mg.grad(lambda x: np.sum(x * x))(np.ones(3))
    >>> [e["name"] for e in json.loads(to_chrome(t))["traceEvents"] if e["ph"] == "X"][1]
    'multiply'
    """
    from .. import __version__

    events = [*_timeline(recording), *_kept(recording), *_steps(recording)]
    events.sort(key=lambda e: e["ts"])  # stable: what starts at one time stays in order, the outer one first
    data = {
        "traceEvents": [*_names(f"minigrad: {recording.title}"), *events],
        "displayTimeUnit": "ms",
        "otherData": {"minigrad": __version__, "title": recording.title},
    }
    return json.dumps(finite(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _names(title: str) -> list[Event]:
    names = {"process_name": title, "thread_name": "passes and operations"}
    return [{"name": key, "ph": "M", "ts": 0, **PLACE, "args": {"name": name}} for key, name in names.items()]


# ----- Passes and operations -----


def _timeline(recording: Any) -> Iterator[Event]:
    spans = {id(x): span for x, span in _spans(recording.passes, 0, None)}
    arrows = _Arrows(recording.ops)
    done = dict.fromkeys(PARTS, 0)

    def walk(items: list[Any]) -> Iterator[Event]:
        for x in items:
            start, end = spans[id(x)]
            yield {"ph": "X", "ts": start / EIGHTHS, "dur": (end - start) / EIGHTHS, **PLACE, **_slice(x)}
            if isinstance(x, Pass):
                yield from walk(_inside(x))
                continue
            # In the middle of a slice there is no doubt which one an arrow is bound to.
            yield from arrows.at(x, (start + end) // 2 / EIGHTHS)
            if x.flops:
                done[x.part] += x.flops
                yield _counter("MFLOP done", end, {part: n / 1e6 for part, n in done.items()})

    yield from walk(recording.passes)


def _spans(items: list[Any], first: int, last: int | None) -> Iterator[tuple[Any, tuple[int, int]]]:
    """Start and end of `items` and of all inside them, in eighths, one after the other in their parent."""
    for x in items:
        start, end = _eighths(x.start), _eighths(x.start + x.seconds)
        start = first = max(start, first) if last is None else min(max(start, first), last)
        end = max(end if last is None else min(end, last), start)
        yield x, (start, end)
        if isinstance(x, Pass):
            yield from _spans(_inside(x), start, end)
        first = end


def _inside(p: Pass) -> list[Any]:
    return sorted([*p.ops, *p.children], key=lambda x: x.start)


def _eighths(seconds: float) -> int:
    return round(seconds * 1e6 * EIGHTHS)


def _slice(x: Pass | Op) -> Event:
    args: dict[str, Any]
    if isinstance(x, Pass):
        s = sums(x.all_ops)
        args = {"pass": x.number, "line": x.line, "at": x.at}
        args |= {f"seed {k}": f"{aval}, norm {norm}" for k, (aval, norm) in enumerate(x.seeds)}
        args |= {"operations": s.ops, ">=FLOPs" if s.unknown else "FLOPs": s.flops, "bytes": s.bytes}
        return {"name": f"{x.kind} {x.label}".rstrip(), "cat": f"pass,{x.kind}", "args": _known(args)}
    args = {
        "operation": x.number,
        "inputs": ", ".join(v.aval for v in x.inputs),
        "outputs": ", ".join(x.outputs),
    }
    args |= {
        "parameters": x.params,
        "FLOPs": x.flops,
        "bytes": x.bytes,
        "layer": x.layer,
        "line": x.line,
        "of": x.of,
    }
    return {"name": x.primitive, "cat": f"operation,{x.part}", "args": _known(args)}


def _known(args: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in args.items() if value not in (None, "")}


class _Arrows:
    """An arrow for each operation that is a part of a derivative, from its primal operation to it."""

    def __init__(self, ops: list[Op]) -> None:
        self.primals = {op.number for op in ops}
        self.heads: dict[int, list[int]] = {}
        for op in ops:
            if op.of in self.primals:
                self.heads.setdefault(op.of, []).append(op.number)  # type: ignore[arg-type]
        self.parts = {op.number: op.part for op in ops}

    def at(self, op: Op, ts: float) -> Iterator[Event]:
        """The ends at `op` of its arrows; the number of the operation it leads to names an arrow."""
        for head in self.heads.get(op.number, []):
            yield {"ph": "s", "ts": ts, "id": head, "name": "derivative", "cat": self.parts[head], **PLACE}
        if op.of in self.primals:
            yield {
                "ph": "f",
                "bp": "e",
                "ts": ts,
                "id": op.number,
                "name": "derivative",
                "cat": op.part,
                **PLACE,
            }


# ----- Counters, steps -----


def _kept(recording: Any) -> Iterator[Event]:
    """The bytes of residuals between the primal pass that keeps them and the last sweep that needs them."""
    last = {p.at: p for p in recording.walk() if p.at is not None}
    changes = []
    for p in recording.walk():
        if p.number in last and p.residuals:
            size, sweep = sum(r.bytes for r in p.residuals), last[p.number]
            changes += [(p.start + p.seconds, size), (sweep.start + sweep.seconds, -size)]
    size = 0
    for seconds, change in sorted(changes):
        size += change
        yield _counter("residuals", _eighths(seconds), {"MB needed": size / 1e6})


def _counter(name: str, ts: int, values: dict[str, float]) -> Event:
    return {"name": name, "ph": "C", "ts": ts / EIGHTHS, **PLACE, "args": values}


def _steps(recording: Any) -> Iterator[Event]:
    for step in recording.steps:
        end = max((p.start + p.seconds for p in recording.passes[: step["after"]]), default=0.0)
        name = f"{step['optimizer']} step {step['step']}"
        yield {
            "name": name,
            "cat": "step",
            "ph": "i",
            "s": "p",
            "ts": _eighths(end) / EIGHTHS,
            **PLACE,
            "args": step,
        }
