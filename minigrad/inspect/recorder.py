"""The recorder: what dispatch, transformations, sweeps and layers tell of what they run, written down.

It is asked for by `core.RECORDER`, which is None nearly always. While it runs it only notes; words, formulas
and numbers are made of the notes when the recording ends (`writing.py`).
"""

import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from types import CodeType, FrameType
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np

from ..core import PLAIN, TRACERS, Primitive, Trace, dtype_of, nbytes_of, shape_of
from ..errors import LIBRARY, child_path
from ..forward import Dual
from ..linear import arrays_among, base_of
from ..record import Aval, LinearVar
from ..tree import tree_leaves

__all__ = ["Layer", "Note", "PassNote", "Place", "Recorder"]

# Where something was called: the code and the instruction, of which line and expression are made later.
Place = tuple[CodeType, int]
# Of a value: a reference to it, what it is a result or an input of, "op", "input" or "seed", and which one.
Source = tuple[Callable, Any, str, int]


class Note:
    """One call of a primitive on arrays, as it happened; `passes.Op` says what the fields mean."""

    __slots__ = ("prim", "args", "sources", "outs", "params", "part", "start", "end", "of", "place", "layer")
    prim: Primitive
    args: list[Any]  # of arrays, shape and dtype; all else as it is
    sources: list[Source | None]
    outs: list[Any]
    params: dict[str, Any]
    part: str
    start: float
    end: float
    of: "Note | None"
    place: Place | None
    layer: "Layer | None"


class PassNote:
    """A pass, as it happened; `name` stands for its expression where the source is not at hand."""

    def __init__(self, kind: str, name: str, place: Place | None, at: "PassNote | None" = None) -> None:
        self.kind, self.name, self.place, self.at = kind, name, place, at
        self.start = self.end = perf_counter()
        self.seeds: list[tuple[Any, float | None]] = []
        self.inside: list[Note | PassNote] = []  # in the order they ran
        self.inputs: list[Any] = []
        self.equations: list[tuple] = []
        self.returned: list[int | None] = []
        self.residuals: list[tuple] = []

    def program(self) -> list[str]:
        """The lines of the primal program beside the one it recorded, for the printed linear map."""
        from .ir import columns, lines
        from .writing import Writer

        (written,) = Writer(self.start).write([self])
        return lines(columns(written, None)[1])


class Layer:
    """A call of a layer: the layer, its path from the outermost one."""

    __slots__ = ("layer", "path")

    def __init__(self, layer: Any, path: str) -> None:
        self.layer, self.path = layer, path


class Frame:
    """A jvp rule at work: the objects that are tangents in it, and the operation it is the rule of.

    A function with a rule of its own runs `many` operations: each stands for itself, the last for all.
    """

    __slots__ = ("tangents", "many", "outer", "place", "op", "last")

    def __init__(
        self, tangents: dict[int, Any], many: bool, outer: "Frame | None", place: Place | None
    ) -> None:
        self.tangents, self.many, self.outer, self.place = tangents, many, outer, place
        self.op: Note | None = None
        self.last: Note | None = None

    def has(self, args: Sequence[Any]) -> bool:
        tangents = self.tangents
        for a in args:
            if id(a) in tangents or type(a) is Dual and id(a.primal) in tangents:
                return True
        return False


class Seeing(Trace):
    """Stands for plain arrays inside rules; the oldest of all, so that every transformation comes first."""

    __slots__ = ("run",)

    def __init__(self, run: Callable) -> None:
        self.id, self.alive, self.label, self.run = 0, True, "recording", run

    def process(self, prim: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        plain, simple = [], True
        for a in args:
            if type(a) is Dual:
                a = a.primal
            if type(a) not in PLAIN:
                simple = False
            plain.append(a)
        out = self.run(prim, prim.numpy, plain, params) if simple else prim(*plain, **params)
        return tuple([self.see(y) for y in out]) if prim.multiple else self.see(out)

    def see(self, x: Any) -> Any:
        if type(x) is np.ndarray:
            return Dual(self, x, None) if x.dtype.kind in "fc" else x
        return Dual(self, x, None) if hasattr(x, "dtype") and dtype_of(x).kind in "fc" else x


class Recorder:
    """Notes passes and operations in the order they run.

    An operation belongs to the pass that is open, to the innermost layer that is being called, and, unless it
    is a primal operation itself, to the primal operation whose rule or equation it is a part of. Operations
    outside any pass are a primal pass of their own: they compute a value.
    """

    keeps = True  # what it noted, to the end

    def __init__(self) -> None:
        self.start = perf_counter()
        self.top: list[Any] = []
        self.steps: list[tuple[dict[str, Any], int]] = []
        self.layers: dict[str, str] = {}
        self.returns: dict[str, list[list[Any]]] = {}  # by path of a layer, what each of its calls returned
        self.count = 0
        self.readers = 0  # recordings that are going on
        self.seeing = Seeing(self.run)
        self.check: Callable | None = None  # of (recorder, note or None, arguments, results): `debug_nans`
        # What is going on now.
        self.layer: Layer | None = None
        self.open: PassNote | None = None
        self.loose: PassNote | None = None  # the primal pass of operations outside any
        self.place: Place | None = None  # of the call of a model outside any pass
        self.part = "primal"
        self.frame: Frame | None = None
        self.of: Note | None = None  # of the equation that is being swept
        # What made an object, by its id; whose rule recorded up to which variable of a linearization, and in
        # which primal pass.
        self.sources: dict[int, Source] = {}
        self.owners: Any = WeakKeyDictionary()
        self.records: Any = WeakKeyDictionary()

    # ----- What dispatch tells: operations -----

    def run(self, prim: Primitive, function: Callable, args: Sequence[Any], params: dict[str, Any]) -> Any:
        """`function(*args, **params)`, noted."""
        note = Note()
        note.args, note.sources = noted, sources = [], []
        known = self.sources
        for a in args:
            noted.append((a.shape, a.dtype) if type(a) is np.ndarray else _noted(a))
            source = known.get(id(a))
            sources.append(source if source is None or source[0]() is a else None)
        count = self.count
        note.start = perf_counter()
        out = function(*args, **params)
        note.end = perf_counter()
        if self.count != count:
            return out  # it was made of operations, which are noted already
        self.count = count + 1
        note.prim, note.params, note.layer = prim, params, self.layer
        outs: Sequence[Any]
        if prim.multiple or type(out) is not np.ndarray:
            outs = out if prim.multiple else (out,)
            note.outs = [_noted(y) for y in outs]
            for k, y in enumerate(outs):
                known[id(y)] = _reference(y), note, "op", k
        else:
            outs = (out,)
            note.outs = [(out.shape, out.dtype)]
            known[id(out)] = ref(out), note, "op", 0
        part, of = self.part, self.of
        place = None
        if self.frame is not None:
            place = _place(sys._getframe(2)) if self.frame.many else self.frame.place
            part, of = self._in_rule(note, args, outs)
        elif of is None:  # any other operation has the line of the primal operation that it belongs to
            place = _place(sys._getframe(2))
        note.part, note.of, note.place = part, of, place
        home = self.open or self.loose or self._open_loose(note)
        home.inside.append(note)
        home.end = note.end
        if self.check is not None:
            self.check(self, note, args, outs)
        return out

    def _in_rule(self, note: Note, args: Sequence[Any], outs: Sequence[Any]) -> tuple[str, Note | None]:
        """What an operation in a jvp rule computes, and the operation whose rule it is, None if itself."""
        frame, part, of = self.frame, self.part, self.of
        if part != "tangent" and frame.has(args):  # type: ignore[union-attr]
            part = "tangent"
        if part == "tangent":
            for y in outs:
                frame.tangents[id(y)] = y  # type: ignore[union-attr]
        while of is None and frame is not None:
            of, frame = frame.op, frame.outer
        if of is None:
            frame = self.frame
            while frame is not None and frame.op is None:
                if frame.many:
                    frame.last = note
                else:
                    frame.op = note
                frame = frame.outer
        return part, of

    # ----- What transformations tell: rules, passes, records -----

    def rule(
        self, prim: Primitive, args: Sequence[Any], primals: list[Any], tangents: list[Any], params: dict
    ) -> tuple[Any, Any]:
        """`prim.jvp(primals, tangents, params)`, with an eye on what is a tangent in it.

        A rule works on arrays alike: an operation computes a tangent if an object that is one flows into it.
        """
        outer, part = self.frame, self.part
        moved = outer is not None and part != "tangent" and outer.has(args)
        if moved:
            self.part = "tangent"
        many = prim.name == "_function"  # with a rule of the user's, who may need plain arrays
        place = outer.place if outer is not None else _place(sys._getframe(3))
        self.frame = frame = Frame({id(t): t for t in tangents if t is not None}, many, outer, place)
        try:
            if many:
                ans, t = prim.jvp(primals, tangents, params)  # type: ignore[misc]
            else:
                ans, t = prim.jvp(self.seen(primals), self.seen(tangents), params)  # type: ignore[misc]
        finally:
            self.frame, self.part = outer, part
        outs: Sequence[Any]
        if prim.multiple:
            outs, ts = ans, t = self.plain(ans), self.plain(t)
        else:
            seeing = self.seeing
            if type(ans) is Dual and ans._trace is seeing:
                ans = ans.primal
            if type(t) is Dual and t._trace is seeing:
                t = t.primal
            outs, ts = (ans,), [t]
        if moved:
            outer.tangents.update([(id(y), y) for y in outs])  # type: ignore[union-attr]
        variables = [t for t in ts if type(t) is LinearVar]
        if variables:
            numbers, notes = self.owners.setdefault(variables[0]._trace, ([], []))
            numbers.append(max([v.number for v in variables]))
            notes.append(frame.op or frame.last)
        return ans, t

    @contextmanager
    def running(
        self,
        kind: str,
        name: str,
        part: str,
        inputs: Sequence[Any] = (),
        seeds: Sequence[Any] = (),
        at: PassNote | None = None,
    ) -> Iterator[PassNote]:
        """A pass: what runs inside belongs to it, and computes a `part` unless a rule says otherwise."""
        self.close_loose()
        note = PassNote(kind, name, _place(sys._getframe(2)), at)
        for word, values in (("input", inputs), ("seed", seeds)):
            for k, x in enumerate(values):
                self.sources[id(x)] = (_reference(x), note, word, k)
        note.inputs = [_noted(x) for x in inputs]
        note.seeds = [(_noted(x), _norm(x)) for x in seeds]
        outer = self.open, self.part, self.frame, self.of, self.layer
        if self.frame is None or self.part != "tangent":
            self.part = part
        self.open, self.frame, self.of = note, None, None
        note.start = perf_counter()
        try:
            yield note
        finally:
            note.end = perf_counter()
            self.open, self.part, self.frame, self.of, self.layer = outer
            if self.open is not None:
                self.open.inside.append(note)
            else:
                self.top.append(note)
                self.closed()

    def distinct(self, ts: Sequence[Any]) -> list[Any]:
        """`ts` as objects of their own: the same array may be a primal elsewhere."""
        return [t if type(t) in TRACERS or t is None else t[...] if shape_of(t) else t * 1.0 for t in ts]

    @contextmanager
    def pushing(self, label: str, xs: Sequence[Any], ts: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """The pass of a function at `xs` along `ts`: forward mode, or primal where `ts` are only recorded."""
        variables = [t for t in ts if type(t) is LinearVar]
        if variables:
            with self.running("primal", label, "primal", xs) as note:
                self.records[variables[0]._trace] = note
                yield ts
        else:
            ts = self.distinct(ts)
            with self.running("jvp", label, "primal", xs, ts):
                yield ts

    def recorded(self, trace: Any, nodes: Sequence[LinearVar], outs: list[int | None]) -> PassNote | None:
        """Notes the linear program that a primal pass recorded, and the arrays it keeps; gives that pass."""
        for node in nodes:
            node.args = self.plain(node.args)
        note = self.records.get(trace)
        if note is None:
            return None
        note.returned = outs
        kept: dict[int, tuple[Any, Any, list[str]]] = {}

        def keep(a: Any, source: Source | None, user: str) -> None:
            base = a if type(a) is np.ndarray and a.base is None and a.ndim else base_of(a)
            if base is not None:
                known = kept.get(id(base))
                if known is None:
                    kept[id(base)] = base, self._source(base) or source, [user]
                else:
                    known[2].append(user)

        owner = self._owners(trace)
        for node in nodes:
            args: list[tuple[Any, Any]] = []
            name, linear = node.prim.name, node.linear  # type: ignore[union-attr]
            for i, a in enumerate(node.args):
                if i in linear:
                    args.append(((a.shape, a.dtype), a.number))
                else:
                    source = self._source(a)
                    args.append(((a.shape, a.dtype) if type(a) is np.ndarray else _noted(a), source))
                    keep(a, source, name)
            if node.params:
                for a in arrays_among(node.params):
                    keep(a, None, name)
            note.equations.append((node.prim, args, node.first, node.outs, node.params, owner(node)))
        for base, source, users in kept.values():
            note.residuals.append((_noted(base), nbytes_of(base), source, list(dict.fromkeys(users))))
        return note

    def quadratic(self, f: Callable, loss: Callable, y: Any) -> tuple[Any, Any, Callable]:
        """`f(loss, y)`, value, gradient and Hessian map of a loss, which are no passes over the network."""
        # Arithmetic of plain arrays in a loss of one's own is not seen: it may need them plain.
        see = type(loss).__module__.startswith("minigrad.")
        with self.running("loss", "loss.quadratic(y)", "primal", [y]):
            value, g, H = f(loss, self.seen([y])[0] if see else y)

        def product(v: Any) -> Any:
            with self.running("loss", "H(v)", "tangent", seeds=[v]):
                return self.plain([H(v)])[0]

        return *self.plain([value, g]), product

    def each(self, nodes: Iterable[LinearVar]) -> Iterator[LinearVar]:
        """`nodes`, as they are swept one by one: what runs belongs to the primal operation behind each."""
        outer, trace = self.of, None
        for node in nodes:
            if node._trace is not trace:
                trace = node._trace
                owner = self._owners(trace)
            self.of = owner(node)
            yield node
        self.of = outer

    # ----- Arithmetic of plain arrays inside rules -----

    def seen(self, values: Sequence[Any]) -> list[Any]:
        """`values` with plain arrays as tracers: what operators do with them is dispatched, and noted."""
        seeing = self.seeing
        return [
            Dual(seeing, x, None)
            if type(x) is np.ndarray and x.dtype.kind == "f"
            else x
            if x is None or type(x) in TRACERS
            else seeing.see(x)
            for x in values
        ]

    def plain(self, values: Sequence[Any]) -> list[Any]:
        seeing = self.seeing
        return [x.primal if type(x) is Dual and x._trace is seeing else x for x in values]

    # ----- What layers and optimizers tell -----

    def call(self, layer: Any, *args: Any) -> Any:
        """`layer.forward(*args)`; of the outermost layer outside any pass, a new primal pass."""
        outer = self.layer
        if outer is not None:
            step = child_path(outer.layer, layer)
            path = outer.path + step if step is not None else f"{outer.path} > {type(layer).__name__}"
        else:
            path = "model" if self.of is None else type(layer).__name__
            if self.open is None:
                self.close_loose()
                self.place = _place(sys._getframe(1))
        self.layers[path] = type(layer).__name__
        self.layer = Layer(layer, path)
        try:
            y = layer.forward(*args)
            self.returns.setdefault(path, []).append([_noted(leaf) for leaf in tree_leaves(y)])
            if self.check is not None:
                self.check(self, None, args[:1], (y,))
            return y
        finally:
            self.layer = outer
            if outer is None:
                self.place = None

    def step(self, values: dict[str, Any]) -> None:
        """An optimizer's step has ended, and `values` are what it says of it."""
        self.close_loose()
        self.steps.append((values, len(self.top)))

    # ----- Where a pass ends -----

    def close_loose(self) -> None:
        if self.loose is not None:
            self.loose = None
            self.closed()

    def closed(self) -> None:
        """A pass that is no part of another has ended; for recorders that shall not grow."""

    # ----- Helpers -----

    def _open_loose(self, note: Note) -> PassNote:
        self.loose = PassNote("primal", "value", self.place or note.place)
        self.loose.start = note.start
        self.top.append(self.loose)
        return self.loose

    def _source(self, x: Any) -> Source | None:
        source = self.sources.get(id(x))
        return source if source is not None and source[0]() is x else None

    def _owners(self, trace: Any) -> Callable[[LinearVar], Note | None]:
        """Which primal operation's rule recorded a variable: they are numbered in the order of the rules."""
        numbers, notes = self.owners.get(trace, ([], []))
        notes = [*notes, None]  # of a variable that no rule recorded
        return lambda node: notes[bisect_left(numbers, node.first)]


def _noted(x: Any) -> Any:
    if isinstance(x, (list, tuple)):
        x = np.asarray(x)
    return Aval(shape_of(x), dtype_of(x)) if hasattr(x, "dtype") else x


def _reference(x: Any) -> Callable:
    try:
        return ref(x)
    except TypeError:  # a number, which weighs nothing
        return lambda: x


def _norm(x: Any) -> float | None:
    while type(x) in TRACERS:
        x = getattr(x, "primal", None)
    if isinstance(x, np.ndarray):
        return float(np.sqrt(np.vdot(x, x).real, dtype=np.float64)) if x.dtype.kind in "fc" else None
    return abs(float(x)) if isinstance(x, (float, np.floating)) else None


_ENGINE: dict[CodeType, bool] = {}


def _place(frame: FrameType | None) -> Place | None:
    """The innermost call outside the engine; layers and optimizers are code like anybody's."""
    while frame is not None:
        code = frame.f_code
        inside = _ENGINE.get(code)
        if inside is None:
            name = frame.f_globals.get("__name__", "")
            street = name.partition(".")[0]
            own = name.startswith(("minigrad.nn", "minigrad.optim")) and name != "minigrad.nn.module"
            inside = _ENGINE[code] = street in LIBRARY and not own
        if not inside:
            return code, frame.f_lasti
        frame = frame.f_back
    return None
