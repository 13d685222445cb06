"""The recorder: what dispatch, transformations, sweeps and layers tell of what they run, written down.

It is asked for by `core.RECORDER`, which is None nearly always. While it runs it only notes (`notes.py`);
words and costs are made of the notes when the recording ends (`writing.py`).
"""

import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from time import perf_counter
from typing import Any
from weakref import WeakKeyDictionary, ref

from numpy import ndarray

from ..core import TRACERS, Primitive, nbytes_of, shape_of
from ..errors import child_path
from ..linear import arrays_among, base_of
from ..record import LinearVar
from ..tree import tree_leaves
from .ir import columns, lines
from .notes import NOBODY, Layer, Note, PassNote, Place, Source, form_of, norm_of, place_of, reference
from .seeing import Frame, Seeing, Seen
from .writing import Writer

__all__ = ["Recorder"]


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
        given: list[Any] = []
        sources: list[Source | None] = []
        note.args, note.sources = given, sources
        known = self.sources
        for a in args:
            given.append((a.shape, a.dtype) if type(a) is ndarray else form_of(a))
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
        if prim.multiple or type(out) is not ndarray:
            outs = out if prim.multiple else (out,)
            note.outs = [form_of(y) for y in outs]
            for k, y in enumerate(outs):
                known[id(y)] = reference(y), note, "op", k
        else:
            outs = (out,)
            note.outs = [(out.shape, out.dtype)]
            known[id(out)] = ref(out), note, "op", 0
        part, of = self.part, self.of
        place = None
        if self.frame is not None:
            place = place_of(sys._getframe(2)) if self.frame.many else self.frame.place
            part, of = self._in_rule(note, args, outs)
        elif of is None:  # any other operation has the line of the primal operation that it belongs to
            place = place_of(sys._getframe(2))
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
        place = outer.place if outer is not None else place_of(sys._getframe(3))
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
            if type(ans) is Seen:
                ans = ans.primal
            if type(t) is Seen:
                t = t.primal
            outs, ts = (ans,), [t]
        if moved:
            outer.tangents.update([(id(y), y) for y in outs])  # type: ignore[union-attr]
        variables = [t for t in ts if type(t) is LinearVar]
        if variables:
            numbers, notes = self.owners.setdefault(variables[0]._trace, ([], []))
            numbers.append(max([v.number for v in variables]))
            notes.append(frame.owner or self.of)
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
        note = PassNote(kind, name, place_of(sys._getframe(2)), at)
        if kind != "loss":  # which goes on with what the network computed
            for word, values in (("input", inputs), ("seed", seeds)):
                for k, x in enumerate(values):
                    self.sources[id(x)] = (reference(x), note, word, k)
        note.inputs = [form_of(x) for x in inputs]
        note.seeds = [(form_of(x), norm_of(x)) for x in seeds]
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
            if any([type(a) is Seen for a in node.args]):
                node.args = self.plain(node.args)
        note = self.records.get(trace)
        if note is None:
            return None
        note.returned = outs
        numbers, notes = self.owners.get(trace, ([], []))
        notes = [*notes, None]  # of a variable that no rule recorded
        kept: dict[int, tuple[Any, Source | None, dict[str, None]]] = {}

        def keep(a: Any, source: Source | None, user: str) -> None:
            base = a if type(a) is ndarray and a.base is None and a.ndim else base_of(a)
            if base is None:
                return
            if id(base) not in kept:
                kept[id(base)] = base, (source if base is a else self._source(base) or source), {}
            kept[id(base)][2][user] = None

        for node in nodes:
            # Variables are numbered in the order of the rules that recorded them.
            note.owners.append(notes[bisect_left(numbers, node.first)])
            args: list[tuple[Any, Any]] = []
            prim, linear = node.prim, node.linear
            for i, a in enumerate(node.args):
                if i in linear:
                    args.append(((a.shape, a.dtype), a.number))
                else:
                    source = self._source(a)
                    args.append(((a.shape, a.dtype) if type(a) is ndarray else form_of(a), source))
                    keep(a, source, prim.name)  # type: ignore[union-attr]
            if node.params:
                for a in arrays_among(node.params):
                    keep(a, None, prim.name)  # type: ignore[union-attr]
            results: list[Any] = node.avals or [(node.shape, node.dtype)]  # type: ignore[list-item]
            note.equations.append((prim, args, node.first, results, node.params))
        for base, source, users in kept.values():
            note.residuals.append((form_of(base), nbytes_of(base), source, list(users)))
        return note

    @staticmethod
    def program(note: PassNote) -> list[str]:
        """The lines of a primal program beside the one it recorded, for the printed linear map."""
        (written,) = Writer(note.start).write([note])
        return lines(columns(written, None)[1])

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

    def each(
        self, nodes: Iterable[LinearVar], at: PassNote | None, backwards: bool = False
    ) -> Iterator[LinearVar]:
        """`nodes`, as they are swept one by one: what runs belongs to the primal operation behind each."""
        outer = self.of
        owners = repeat(NOBODY) if at is None else reversed(at.owners) if backwards else iter(at.owners)
        for node, owner in zip(nodes, owners, strict=at is not None):
            self.of = owner
            yield node
        self.of = outer

    # ----- Arithmetic of plain arrays inside rules -----

    def seen(self, values: Sequence[Any]) -> list[Any]:
        """`values` with arrays as tracers: what operators do with them is dispatched, and noted."""
        return list(map(self.seeing.see, values))

    def plain(self, values: Sequence[Any]) -> list[Any]:
        return [x.primal if type(x) is Seen else x for x in values]

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
                self.place = place_of(sys._getframe(1))
        self.layers[path] = type(layer).__name__
        self.layer = Layer(layer, path)
        try:
            y = layer.forward(*args)
            self.returns.setdefault(path, []).append([form_of(leaf) for leaf in tree_leaves(y)])
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
