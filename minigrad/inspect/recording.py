"""A recording of passes: what `with mg.trace() as t:` gives, to be counted, checked, printed and exported."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..core import LOCAL
from ..errors import PassMismatch
from .ir import pass_str
from .notes import Note, PassNote
from .passes import KINDS, Equation, Op, Pass, Residual, Seed, Step, Value, finite, infinite
from .recorder import Recorder
from .table import Table, table
from .writing import Writer

__all__ = ["Recording", "Residuals"]


class Recording:
    """Every derivative pass that ran inside `with mg.trace() as t:`, in order.

    `t.passes` are the passes that are no part of another; `t[i]` is one of them and `len(t)` their number;
    `t.ops` are all operations. `print(t)` is a table of the passes. What is recorded is what primitives ran
    in this thread: NumPy's own functions and operators on plain arrays, outside every transformation, are not
    seen, and a rule of somebody's own is one operation of unknown cost. Passes are there when the block ends.
    Inside another recording it sees its part of what that one sees. Times on a GPU are those of launching.

    >>> import numpy as np, minigrad as mg
    >>> with mg.trace() as t:
    ...     y, J = mg.linearize(lambda x: np.sin(x) * x, np.ones(3))
    ...     dx = J.T(J(np.ones(3)))
    >>> [p.kind for p in t.passes], t.count("jvp"), t[1].seeds[0].aval
    (['primal', 'jvp', 'vjp'], 1, 'float64[3]')
    """

    def __init__(self) -> None:
        self.passes: list[Pass] = []
        self.layers: dict[str, str] = {}
        self.sources: dict[str, str] = {}
        self.steps: list[Step] = []
        self._recorder: Recorder | None = None

    # ----- Recording -----

    def __enter__(self) -> "Recording":
        if self._recorder is not None:
            raise RuntimeError("this recording is going on already: take another, mg.trace()")
        outer = LOCAL.recorder
        if outer is not None and outer.keeps:
            recorder = outer
        else:
            recorder = Recorder()
            recorder.check = None if outer is None else outer.check
        self._recorder = recorder
        recorder.close_loose()
        recorder.begin()
        self._inside: list[Any] = recorder.top if recorder.open is None else recorder.open.inside
        self._since = len(self._inside), len(recorder.steps)
        return self

    def __exit__(self, *exc: object) -> None:
        self._recorder.end()  # type: ignore[union-attr]
        self.update()
        self._recorder = None

    def update(self) -> None:
        """Writes down what has been recorded up to now."""
        recorder = self._recorder
        if recorder is None:
            return
        recorder.close_loose()
        first, steps = self._since
        notes = self._inside[first:]
        if any(isinstance(n, Note) for n in notes):  # began in the midst of a pass
            inside, notes = notes, [PassNote(recorder.open.kind, recorder.open.name, recorder.open.place)]  # type: ignore[union-attr]
            notes[0].inside = inside
        writer = Writer(recorder.start)
        self.passes = writer.write(notes)
        self.sources = writer.sources
        used = {op.layer for op in self.ops}
        self.layers = {
            path: cls for path, cls in recorder.layers.items() if any(u.startswith(path) for u in used)
        }
        self.steps = [{**values, "after": after - first} for values, after in recorder.steps[steps:]]
        self._own()

    def _own(self) -> None:
        for p in self.walk():
            p.recording = self

    # ----- Looking -----

    def __len__(self) -> int:
        return len(self.passes)

    def __getitem__(self, i: int) -> Pass:
        return self.passes[i]

    def __iter__(self) -> Iterator[Pass]:
        return iter(self.passes)

    def walk(self) -> Iterator[Pass]:
        """All passes, those inside others too, by their number."""
        for p in self.passes:
            yield from p.walk()

    @property
    def ops(self) -> list[Op]:
        """All operations, in the order they ran; the place in the list is the operation's number."""
        return sorted((op for p in self.walk() for op in p.ops), key=lambda op: op.number)

    @property
    def title(self) -> str:
        """What was recorded, in words: 'CurveBall step 3', or '2 passes'."""
        if not self.steps:
            return f"{len(self)} pass{'es' * (len(self) != 1)}"
        names = " and ".join(dict.fromkeys(s["optimizer"] for s in self.steps))
        first, last = self.steps[0]["step"], self.steps[-1]["step"]
        return f"{names} step {first}" if len(self.steps) == 1 else f"{names} steps {first} to {last}"

    def count(self, kind: str) -> int:
        """How many passes of a kind, "primal", "jvp" or "vjp", ran; not counting those inside another."""
        if kind not in KINDS:
            raise ValueError(f"no passes are of kind {kind!r}: there are {', '.join(KINDS)}")
        return sum(p.kind == kind for p in self.passes)

    def check(self, plan: Mapping[str, int | None]) -> None:
        """Raises PassMismatch unless the passes that ran are those of `plan`, {"primal": 1, "jvp": 2, ...}.

        None stands for any number. An optimizer's `plan()` is about its next step: ask it before the step, or
        for `plan(info.step)`.
        """
        kinds = [k for k in dict.fromkeys([*KINDS[:3], *plan]) if plan.get(k, 0) not in (None, self.count(k))]
        if kinds:
            wrong = ", ".join(f"{k}: {plan.get(k, 0)} planned, {self.count(k)} ran" for k in kinds)
            ran = "".join(f"\n  {p.number}  {p.kind:6}  {p.label}  ({p.line})" for p in self.passes)
            raise PassMismatch(f"the passes are not those of the plan: {wrong}; these ran:{ran or ' none'}")

    def table(self, by: str = "pass", sort: str | None = None, depth: int | None = None) -> Table:
        """The recording as a table: a row for each "pass", primitive ("op") or layer ("module").

        `sort` names a column to sort by, largest first, "ms" for instance; `depth` is how far modules are
        opened. Ratios "× primal" are of times, to the primal pass that was linearized. Operations without a
        FLOP formula make sums lower bounds, '>='.
        """
        return table(self, by, sort, depth)

    def ir(self, p: Pass) -> str:
        """What `p.ir()` gives, for a pass `p` of this recording."""
        return pass_str(p, self)

    def residuals(self) -> "Residuals":
        """What the linearizations keep alive, the largest first; `.total` bytes; print it."""
        return Residuals(r for p in self.walk() for r in p.residuals)

    def __repr__(self) -> str:
        return f"<Recording of {self.title}, {len(self.ops)} operations>"

    def __str__(self) -> str:
        return str(self.table())

    def __rich__(self) -> Any:
        return self.table().__rich__()

    # ----- Files -----

    def to_json(self, path: str | os.PathLike | None = None) -> str:
        """The recording as JSON, written to `path` if given; `Recording.from_json` reads it back."""
        from .. import __version__

        data = {
            "format": FORMAT,
            "minigrad": __version__,
            "title": self.title,
            "passes": [_plain(p) for p in self.passes],
            "layers": self.layers,
            "sources": self.sources,
            "steps": self.steps,
        }
        return _written(
            json.dumps(finite(data), ensure_ascii=False, separators=(",", ":"), allow_nan=False), path
        )

    @classmethod
    def from_json(cls, text: str) -> "Recording":
        """The recording that `to_json` wrote; raises ValueError for anything else."""
        try:
            data = json.loads(text)
        except ValueError as e:
            raise ValueError(f"no recording: {e}; write one with to_json") from None
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"no recording of format {FORMAT}: write it anew with to_json")
        self = cls()
        try:
            self.passes = [_pass(p) for p in data["passes"]]
            self.layers, self.sources = data["layers"], data["sources"]
            self.steps = [infinite(step) for step in data["steps"]]
        except (KeyError, TypeError) as e:
            raise ValueError(f"no whole recording, {e!r}: write it anew with to_json") from None
        self._own()
        return self

    def to_html(self, path: str | os.PathLike | None = None) -> str:
        """One page that needs nothing else: passes, timeline, graph, operations, programs, scalars."""
        from .html import to_html

        return _written(to_html(self), path)

    def to_chrome(self, path: str | os.PathLike | None = None) -> str:
        """The recording in the Trace Event Format, for Perfetto and chrome://tracing."""
        from .chrome import to_chrome

        return _written(to_chrome(self), path)

    def to_dot(self, path: str | os.PathLike | None = None) -> str:
        """The data flow of the operations in Graphviz's language, boxed by layer and coloured by part."""
        from .dot import to_dot

        return _written(to_dot(self), path)


class Residuals(list):
    """The arrays that linearizations keep, as `Residual` records; printed with their lines and the total."""

    def __init__(self, items: Any) -> None:
        super().__init__(sorted(items, key=lambda r: -r.bytes))

    @property
    def total(self) -> int:
        """Bytes of all together; an array that two linearizations keep counts twice."""
        return sum(r.bytes for r in self)

    def __str__(self) -> str:
        from ..linear import bytes_str

        rows = [[bytes_str(r.bytes), r.aval, r.name, r.layer, r.line, ", ".join(r.needed_by)] for r in self]
        title = f"{len(self)} residuals, {bytes_str(self.total)}"
        return str(Table(title, [">size", "array", "what", "layer", "line", "needed by"], rows))


FORMAT = 1


def _plain(x: Any) -> Any:
    """Records as objects, a Value as a short list."""
    if isinstance(x, Value):
        return list(x) if x.source else [x.aval]
    if isinstance(x, (Op, Pass, Equation)):
        return {f.name: _plain(getattr(x, f.name)) for f in fields(x) if f.name != "recording"}
    if isinstance(x, (Seed, Residual)):
        return x._asdict()
    return [_plain(v) for v in x] if isinstance(x, (list, tuple)) else x


def _pass(data: dict[str, Any]) -> Pass:
    def values(o: dict[str, Any]) -> dict[str, Any]:
        return {**o, "inputs": [Value(*v) for v in o["inputs"]]}

    return Pass(
        **{
            **data,
            "seeds": [Seed(s["aval"], infinite(s["norm"])) for s in data["seeds"]],
            "ops": [Op(**values(o)) for o in data["ops"]],
            "children": [_pass(p) for p in data["children"]],
            "equations": [
                Equation(**{**values(e), "outputs": [(k, a) for k, a in e["outputs"]]})
                for e in data["equations"]
            ],
            "residuals": [Residual(**r) for r in data["residuals"]],
        }
    )


def _written(text: str, path: str | os.PathLike | None) -> str:
    """`text`, written to `path` whole or not at all."""
    if path is not None:
        path = Path(path)
        part = path.with_name(path.name + ".part")
        try:
            part.write_text(text, encoding="utf-8")
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    return text
