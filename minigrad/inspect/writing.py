"""From what the recorder noted to plain data: numbers in place of references, words in place of code.

Costs are what the primitives' formulas give; expressions and lines are looked up in the source.
"""

import linecache
from collections.abc import Callable
from functools import cache
from types import CodeType
from typing import Any

from ..core import aval_str
from ..record import Aval, param_str
from .notes import Note, PassNote, Place
from .passes import Equation, Op, Pass, Residual, Seed, Value

__all__ = ["Writer"]


class Writer:
    """Writes down the notes of one recording; `sources` are the lines that were met, with their text."""

    def __init__(self, start: float) -> None:
        self.start = start
        self.sources: dict[str, str] = {}
        self.ops: dict[Note, int] = {}
        self.passes: dict[PassNote, int] = {}

    def write(self, notes: list[PassNote]) -> list[Pass]:
        for note in notes:
            self.number(note)
        return [self.pass_(note) for note in notes]

    def number(self, note: Any) -> None:
        if isinstance(note, Note):
            self.ops[note] = len(self.ops)
        else:
            self.passes[note] = len(self.passes)
            for each in note.inside:
                self.number(each)

    def pass_(self, note: PassNote) -> Pass:
        line, expression = self.where(note.place)
        return Pass(
            self.passes[note],
            note.kind,
            expression or note.name,
            line,
            [Seed(_value_str(a), norm) for a, norm in note.seeds],
            self.passes.get(note.at) if note.at is not None else None,
            note.start - self.start,
            note.end - note.start,
            [self.op(n) for n in note.inside if isinstance(n, Note)],
            [self.pass_(n) for n in note.inside if isinstance(n, PassNote)],
            [_value_str(a) for a in note.inputs],
            [self.equation(e, owner) for e, owner in zip(note.equations, note.owners, strict=True)],
            note.returned,
            [self.residual(*r) for r in note.residuals],
        )

    def op(self, note: Note) -> Op:
        prim, of = note.prim, note.of
        args, outs = [_aval(a) for a in note.args], [_aval(a) for a in note.outs]
        shapes = [getattr(a, "shape", ()) for a in outs]
        flops = _cost(prim.flops, args, shapes, note.params)
        home = note if of is None else of
        return Op(
            self.ops[note],
            prim.name,
            note.part,
            [self.value(a, source) for a, source in zip(args, note.sources, strict=True)],
            [_value_str(a) for a in outs],
            _params_str(note.params),
            flops,
            _cost(prim.bytes, args, outs, note.params),
            note.start - self.start,
            note.end - note.start,
            (note.layer or home.layer).path if note.layer or home.layer else "",  # type: ignore[union-attr]
            self.where(home.place)[0],
            None if of is None else self.ops.get(of),
        )

    def equation(self, noted: tuple, owner: Note | None) -> Equation:
        prim, args, first, outs, params = noted
        inputs = [
            Value(_value_str(_aval(a)), "variable", 0, source)
            if type(source) is int
            else self.value(_aval(a), source)
            for a, source in args
        ]
        outputs = [(k, _value_str(_aval(a))) for k, a in enumerate(outs, first)]
        of = None if owner is None else self.ops.get(owner)
        return Equation(prim.name, inputs, outputs, _params_str(params), of)

    def residual(self, aval: Aval, size: int, source: Any, users: list[str]) -> Residual:
        origin = None if source is None else source[1]
        if isinstance(origin, Note):
            home = origin.of or origin
            layer = origin.layer or home.layer
            name, line, of = f"result of {origin.prim}", self.where(home.place)[0], self.ops.get(origin)
            return Residual(str(aval), size, name, of, layer.path if layer else "", line, users)
        name = f"{source[2]} {source[3]}" if origin is not None else "constant"
        return Residual(str(aval), size, name, None, "", "", users)

    def value(self, a: Any, source: Any) -> Value:
        if source is not None:
            _, origin, word, k = source
            number = self.ops.get(origin) if word == "op" else self.passes.get(origin)
            if number is not None:
                return Value(_value_str(a), word, number, k)
        return Value(_value_str(a))

    def where(self, place: Place | None) -> tuple[str, str]:
        """'train.py:42' and the expression there, as far as the source is at hand."""
        if place is None:
            return "", ""
        line, text, expression = _look_up(*place)
        if text:
            self.sources[line] = text
        return line, expression


def _cost(formula: Callable | None, args: list[Any], outs: list[Any], params: dict[str, Any]) -> int | None:
    """What a formula gives; None, unknown, where there is none or it fails: no program shall fail here."""
    try:
        cost = None if formula is None else formula(args, outs, params)
        return None if cost is None else int(cost)
    except Exception:
        return None


def _aval(a: Any) -> Any:
    return Aval(*a) if type(a) is tuple else a


def _value_str(a: Any) -> str:
    return _aval_str(a) if type(a) is Aval else "0" if a is None else repr(a)


_aval_str = cache(aval_str)


def _params_str(params: dict[str, Any]) -> str:
    return ", ".join([f"{k}={param_str(v)}" for k, v in params.items()]) if params else ""


@cache
def _look_up(code: CodeType, instruction: int) -> tuple[str, str, str]:
    """Line, its text, and the expression that was being evaluated."""
    first, last, start, end = list(code.co_positions())[instruction // 2]
    first = code.co_firstlineno if first is None else first
    name = code.co_filename.replace("\\", "/").rpartition("/")[2]
    lines = linecache.getlines(code.co_filename)[first - 1 : last or first]
    text = lines[0].strip() if lines else ""
    expression = ""
    if lines and start is not None and end is not None:
        parts = [each.encode() for each in lines]  # columns count bytes
        parts[-1] = parts[-1][:end]
        parts[0] = parts[0][start:]
        expression = " ".join(part.decode(errors="replace").strip() for part in parts)
    return f"{name}:{first}", text, expression
