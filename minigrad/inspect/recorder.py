"""The recorder: what dispatch, transformations, sweeps and layers tell of what they run, written down.

It is asked for by `core.LOCAL.recorder`, None nearly always. While it runs it only notes (`notes.py`);
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

import numpy as np
from numpy import ndarray

from ..batch import Batched
from ..core import LOCAL, OWN, TRACERS, Primitive, nbytes_of, shape_of
from ..errors import layer_paths
from ..linear import arrays_among, base_of
from ..record import LinearVar
from ..tree import tree_leaves
from .ir import columns, lines
from .notes import (
    NOBODY,
    Layer,
    Note,
    PassNote,
    Place,
    Source,
    form_of,
    norm_of,
    place_of,
    reference,
)
from .seeing import SEEING, Frame, Seen, Unseen, plain, seen
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
        self.outer: Recorder | None = None  # who looked before
        self.check: Callable | None = None  # of (recorder, note or words, arguments, results): `debug_nans`
        self.checks = 0  # blocks of `debug_nans` that are going on
        # What is going on now.
        self.layer: Layer | None = None
        self.roots: dict[int, Layer] = {}  # the outermost layers of this pass, by id
        self.paths: dict[int, str] = {}  # of all layers inside the outermost one that is being called
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

    # ----- Who looks -----

    def begin(self) -> None:
        """One more recording or check looks at what this thread runs."""
        if self.readers == 0 and LOCAL.recorder is not self:
            self.outer = LOCAL.recorder
        self.readers += 1
        LOCAL.recorder = self

    def end(self) -> None:
        """One less; they need not end in the order in which they began."""
        self.readers -= 1
        if self.readers == 0 and LOCAL.recorder is self:
            outer = self.outer
            while outer is not None and outer.readers == 0:
                outer = outer.outer
            LOCAL.recorder = outer

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
                if not isinstance(y, (bool, np.bool_)):  # of which there are two objects in all
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
        many, own = prim.name == "_function", prim.name in OWN
        place = outer.place if outer is not None else place_of(sys._getframe(3))
        self.frame = frame = Frame({id(t): t for t in tangents if t is not None}, many, outer, place)
        try:
            if own and not many:
                ans, t = prim.jvp(seen(primals), seen(tangents), params)  # type: ignore[misc]
            else:  # a rule of the user's, who may need plain arrays
                ans, t = prim.jvp(primals, tangents, params)  # type: ignore[misc]
                of = params["call"].of.label if many else f"rule of {prim}"
                self.unseen(of, primals, [*ans, *t] if prim.multiple else [ans, t])
        finally:
            self.frame, self.part = outer, part
        outs: Sequence[Any]
        if prim.multiple:
            outs, ts = ans, t = plain(ans), plain(t)
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

    def transposed(
        self, prim: Primitive, ct: Any, args: Sequence[Any], params: dict, linear: Sequence[int]
    ) -> list[Any]:
        """`prim.transpose(ct, args, params, linear)`, with an eye on arithmetic in it."""
        own = prim.name in OWN
        given = ct if not own else tuple(seen(ct)) if prim.multiple else SEEING.see(ct)
        if prim.transposes and len(linear) == 1:
            back = [prim.transposes[linear[0]](given, *args, **params)]  # type: ignore[misc]
        else:
            back = prim.transpose(given, args, params, linear)  # type: ignore[misc]
        if own:
            return plain(back)
        if not prim.name.startswith("checkpoint"):  # whose function runs again, and is seen
            self.unseen(f"transpose of {params.get('of', prim)}", ct if prim.multiple else [ct], back)
        return back

    def unseen(self, name: str, args: Sequence[Any], outs: Sequence[Any]) -> None:
        """Notes that plain arrays were worked on in a rule of somebody's own, nobody knows how much."""
        note, frame = Note(), self.frame
        note.prim, note.params, note.layer = Unseen(name), {}, self.layer  # type: ignore[assignment]
        args = [a for a in args if type(a) not in TRACERS]
        outs = [y for y in outs if y is not None and type(y) not in TRACERS]
        note.args, note.sources = [form_of(a) for a in args], [self._source(a) for a in args]
        note.outs = [form_of(y) for y in outs]
        note.start = note.end = perf_counter()
        note.of = self.of
        if note.of is None and frame is not None and not frame.many:
            note.of = frame.owner
        dual = frame is not None and any(type(t) not in TRACERS for t in frame.tangents.values())
        note.part = "tangent" if dual else self.part
        note.place = frame.place if frame is not None and note.of is None else None
        for k, y in enumerate(outs):
            if shape_of(y) and self._source(y) is None:
                self.sources[id(y)] = reference(y), note, "op", k
        (self.open or self.loose or self._open_loose(note)).inside.append(note)
        if frame is not None and frame.many and frame.last is None:
            frame.last = note
        if self.check is not None:
            self.check(self, name, args, outs)

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
        inputs, seeds = ([x.value if type(x) is Batched else x for x in some] for some in (inputs, seeds))
        if kind != "loss":  # which goes on with what the network computed
            for word, values in (("input", inputs), ("seed", seeds)):
                for k, x in enumerate(values):
                    self.sources[id(x)] = (reference(x), note, word, k)
        note.inputs = [form_of(x) for x in inputs]
        note.seeds = [(form_of(x), norm_of(x)) for x in seeds]
        outer = self.open, self.part, self.frame, self.of, self.layer, self.roots
        if self.frame is None or self.part != "tangent":
            self.part = part
        self.open, self.frame, self.of, self.roots = note, None, None, {}
        note.start = perf_counter()
        try:
            yield note
        finally:
            note.end = perf_counter()
            self.open, self.part, self.frame, self.of, self.layer, self.roots = outer
            if self.open is not None:
                self.open.inside.append(note)
            else:
                self.top.append(note)
                self.closed()

    def distinct(self, ts: Sequence[Any]) -> list[Any]:
        """`ts` as objects of their own: the same array may be a primal elsewhere."""
        floats = (float, np.floating)
        return [
            t[...] if shape_of(t) and type(t) not in TRACERS else t * 1.0 if isinstance(t, floats) else t
            for t in ts
        ]

    @contextmanager
    def pushing(self, kind: str, label: str, xs: Sequence[Any], ts: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """The pass of a function at `xs` along `ts`: forward mode, or primal where `ts` only record."""
        if kind == "jvp":
            ts = self.distinct(ts)
            with self.running("jvp", label, "primal", xs, ts):
                yield ts
        else:
            with self.running("primal", label, "primal", xs) as note:
                if ts:
                    self.records[ts[0]._trace] = note
                yield ts

    def recorded(self, trace: Any, nodes: Sequence[LinearVar], outs: list[int | None]) -> PassNote | None:
        """Notes the linear program that a primal pass recorded, and the arrays it keeps; gives that pass."""
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

    plain = staticmethod(plain)  # for what records constants: `record.py`

    def quadratic(self, f: Callable, loss: Callable, y: Any) -> tuple[Any, Any, Callable]:
        """`f(loss, y)`, value, gradient and Hessian map of a loss, which are no passes over the network."""
        # Arithmetic of plain arrays in a loss of one's own is not seen: it may need them plain.
        see = type(loss).__module__.startswith("minigrad.")
        with self.running("loss", "loss.quadratic(y)", "primal", [y]):
            value, g, H = f(loss, seen([y])[0] if see else y)

        def product(v: Any) -> Any:
            recorder = LOCAL.recorder
            if recorder is None:
                return plain([H(v)])[0]
            with recorder.running("loss", "H(v)", "tangent", seeds=[v]):
                Hv = plain([H(v)])[0]
                if type(Hv) is Batched:  # many directions at once: they hold what the loss was shown
                    Hv = Batched(Hv._trace, *plain([Hv.value]))
                return Hv

        return *plain([value, g]), product

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

    # ----- What layers and optimizers tell -----

    def call(self, layer: Any, *args: Any) -> Any:
        """`layer.forward(*args)`; of the outermost layer outside any pass, a new primal pass."""
        outer = self.layer
        if outer is None:
            path = self._root(layer)
        elif id(layer) in self.paths:
            path = self.paths[id(layer)]
        else:
            path = f"{outer.path} > {type(layer).__name__}"
            self.paths.update(layer_paths(layer, path))
        self.layers[path] = type(layer).__name__
        self.layer = Layer(layer, path)
        try:
            y = layer.forward(*args)
            self.returns.setdefault(path, []).append([form_of(leaf) for leaf in tree_leaves(y)])
            if self.check is not None:
                self.check(self, "the layer's result", args[:1], tree_leaves(y))
            return y
        finally:
            self.layer = outer
            if outer is None:
                self.place = None
                self.paths = {}

    def step(self, values: dict[str, Any]) -> None:
        """An optimizer's step has ended, and `values` are what it says of it."""
        self.close_loose()
        self.steps.append((values, len(self.top)))

    # ----- Where a pass ends -----

    def close_loose(self) -> None:
        if self.loose is not None:
            self.loose, self.roots = None, {}
            self.closed()

    def closed(self) -> None:
        """A pass that is no part of another has ended; for recorders that shall not grow."""

    # ----- Helpers -----

    def _root(self, layer: Any) -> str:
        """The path of an outermost layer: 'model', 'model 2', ... in the order of a pass.

        Outside passes the call of a layer that was called before begins a new one.
        """
        if self.open is None:
            if id(layer) in self.roots:
                self.close_loose()
            if self.loose is None:
                self.place, self.roots = place_of(sys._getframe(2)), {}
        known = self.roots.get(id(layer))
        if known is None:
            again = self.of is not None  # in a function that is computed again
            name = (
                type(layer).__name__ if again else f"model{f' {len(self.roots) + 1}' if self.roots else ''}"
            )
            known = self.roots[id(layer)] = Layer(layer, name)
        self.paths = layer_paths(layer, known.path)
        return known.path

    def _open_loose(self, note: Note) -> PassNote:
        self.loose = PassNote("primal", "value", self.place or note.place)
        self.loose.start = note.start
        self.top.append(self.loose)
        return self.loose

    def _source(self, x: Any) -> Source | None:
        source = self.sources.get(id(x))
        return source if source is not None and source[0]() is x else None
