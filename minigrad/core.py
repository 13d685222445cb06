"""Primitives, tracers, and dispatch: the one mechanism under every transformation.

A primitive applied to plain arrays computes; applied to tracers it is handed to the newest transformation
among them. Nothing else in minigrad decides what a call means.
"""

import itertools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from .backend import DTYPES, HOME, NUMPY, mixed_backends
from .errors import LeakedTracerError, aval_str, explain, here

PRIMITIVES: dict[str, "Primitive"] = {}


# The primitives of minigrad itself, whose rules take tracers in the place of arrays; set at its import.
OWN: set[str] = set()


class Local(threading.local):
    """What each thread has of its own: who writes down what it runs (`minigrad.inspect`), mostly nobody."""

    recorder: Any = None


LOCAL = Local()


@contextmanager
def recorded_by(recorder: Any) -> Iterator[None]:
    """What runs inside is written down by `recorder`; None: by nobody."""
    before, LOCAL.recorder = LOCAL.recorder, recorder
    try:
        yield
    finally:
        LOCAL.recorder = before


# The types that need no look-up of their home: NumPy's arrays and numbers, and the tracers.
PLAIN = frozenset([np.ndarray, np.float64, np.float32, float, int, bool, type(None)])
TRACERS: set[type] = set()


class Primitive:
    """An operation the engine knows by name: its value and its derivative facts.

    `impl(xp, *args, **params)` computes on plain arrays; a name in its place is that of a function that array
    libraries have. The facts are put in place by `minigrad.rules`:

    * `jvp(primals, tangents, params) -> (ans, t)`, where a tangent that is None is exactly zero;
    * `linear`, the groups of argument positions the primitive is jointly linear in (empty: nonlinear);
    * `transpose(ct, args, params, linear)`, the cotangents of the arguments at the positions `linear`, and
      where each of them has a rule of its own `transposes[i](ct, *args, **params)`;
    * `shape(args, params)`, the result's shape (a list of shapes for several results), so that a tangent
      program can be recorded without running it;
    * `batch(args, params, batched)`, the results for all slices along a leading axis of the arguments at the
      positions `batched`, for a primitive worth it: see `minigrad.batch`;
    * `flops(args, outs, params)`, floating-point operations, with `outs` the shapes of the results; it, or
      what it returns, is None when nobody knows;
    * `bytes(args, outs, params)`, bytes read and written, with `outs` the results or what has their shape
      and dtype. Most primitives touch every element of every argument and result once: the default.

    Both look at shapes, dtypes and parameters only: in `args` whatever has a shape and dtype will do.

    Dispatch, on the smallest program that needs it (perturbation confusion, ForwardDiff.jl#83):

        D = lambda f: lambda x: jvp(f, (x,), (1.0,))[1]
        D(lambda x: x * D(lambda y: x + y)(1.0))(1.0)      # 1.0, and not 2.0

    The outer D starts first and gets trace 1, the inner one trace 2. In `x + y` the arguments are
    Dual1(1, 1) and Dual2(1, 1): trace 2 is the newest, so `x` is a constant there and the sum is
    Dual2(Dual1(2, 1), 1), whose tangent is 1. Back outside only trace 1 is left and sees x * 1.0.
    """

    __slots__ = (
        "name",
        "impl",
        "numpy",
        "multiple",
        "doc",
        "jvp",
        "linear",
        "transpose",
        "transposes",
        "shape",
        "batch",
        "flops",
        "bytes",
    )

    def __init__(self, name: str, impl: Callable | str, *, multiple: bool = False, doc: str = "") -> None:
        self.name, self.multiple, self.doc = name, multiple, doc
        self.impl = _namesake(impl) if isinstance(impl, str) else impl
        # NumPy's own function where it is one: no Python frame in between.
        self.numpy = getattr(np, impl) if isinstance(impl, str) else partial(impl, np)
        self.jvp: Callable | None = None
        self.linear: frozenset[tuple[int, ...]] = frozenset()
        self.transpose: Callable | None = None
        self.transposes: Sequence[Callable | None] = ()
        self.shape: Callable | None = None
        self.batch: Callable | None = None
        self.flops: Callable | None = None
        self.bytes: Callable = touched
        if name in PRIMITIVES:
            raise ValueError(f"a primitive named {name!r} exists already")
        PRIMITIVES[name] = self

    def __call__(self, *args: Any, **params: Any) -> Any:
        try:
            trace = None
            for a in args:
                cls = type(a)
                if cls not in PLAIN:
                    if cls not in TRACERS:
                        return self.on_any_backend(args, params)
                    if trace is None or a._trace.id > trace.id:
                        trace = a._trace
            if trace is None:
                recorder = LOCAL.recorder
                if recorder is not None:
                    return recorder.run(self, self.numpy, args, params)
                return self.numpy(*args, **params) if params else self.numpy(*args)
            return trace.process(self, args, params)
        except Exception:
            explain(self, args, params)
            raise

    def on_any_backend(self, args: Sequence[Any], params: dict[str, Any]) -> Any:
        """The call for arguments that are not all NumPy arrays, numbers and tracers: finds whose they are."""
        trace = home = None
        for a in args:
            if type(a) in TRACERS:
                if trace is None or a._trace.id > trace.id:
                    trace = a._trace
                continue
            where = HOME[type(a)]
            if where is not None and where is not home:
                if home is not None:
                    raise mixed_backends(home, where)
                home = where
        if trace is not None:
            return trace.process(self, args, params)
        function, recorder = partial(self.impl, (home or NUMPY).xp), LOCAL.recorder
        if recorder is not None:
            return recorder.run(self, function, args, params)
        return function(*args, **params)

    def __repr__(self) -> str:
        return self.name


def _namesake(name: str) -> Callable:
    return lambda xp, *args, **params: getattr(xp, name)(*args, **params)


class Trace:
    """One running transformation. Its id comes from one counter and is never used again.

    A stack depth would be: two transformations that follow each other have the same depth, and a tracer
    leaked from the first is then taken for one of the second (ForwardDiff.jl#443).
    """

    __slots__ = ("id", "alive", "label", "__weakref__")
    _ids = itertools.count(1)

    def __init__(self, kind: str, f: Callable) -> None:
        self.id = next(Trace._ids)
        self.alive = True
        self.label = f"{kind} of {describe(f)}"

    def process(self, prim: Primitive, args: Sequence[Any], params: dict[str, Any]) -> Any:
        raise NotImplementedError

    def end(self) -> None:
        self.alive = False

    def check_alive(self, tracer: "Tracer") -> None:
        if not self.alive:
            raise LeakedTracerError(
                f"a {type(tracer).__name__} {aval_str(tracer)} of {self.label} is used at {here()} after "
                "that ended; it was kept in a variable or container from outside: return the value instead"
            )


class Tracer:
    """A value inside a transformation; behaves like the array it stands for (see `protocols.py`)."""

    __slots__ = ("_trace",)
    _trace: Trace
    shape: tuple[int, ...]
    dtype: np.dtype
    xp: Any

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({aval_str(self)}, in {self._trace.label})"


def traced(cls: type) -> type:
    """Class decorator: values of `cls` are tracers to dispatch."""
    TRACERS.add(cls)
    return cls


# ----- Shapes and dtypes of anything that may stand as an argument -----


def shape_of(x: Any) -> tuple[int, ...]:
    try:
        return x.shape
    except AttributeError:
        return () if isinstance(x, (float, int)) else np.shape(x)


def size_of(x: Any) -> int:
    return math.prod(shape_of(x))


def dtype_of(x: Any) -> np.dtype:
    """NumPy's name for the dtype of `x`, whose array it may be."""
    dtype = getattr(x, "dtype", None)
    if dtype is None:
        return np.result_type(x)
    return DTYPES[type(x)][dtype] if type(x) in DTYPES else dtype


def is_array(x: Any) -> bool:
    return hasattr(x, "dtype") and hasattr(x, "shape") and not isinstance(x, type)


def nbytes_of(x: Any) -> int:
    """The size of an array or of what has its shape and dtype; 0 for a number."""
    return size_of(x) * dtype_of(x).itemsize if hasattr(x, "dtype") else 0


def touched(args: Sequence[Any], outs: Sequence[Any], params: dict[str, Any]) -> int:
    """Bytes that an operation moves when it reads every argument and writes every result once."""
    return sum(map(nbytes_of, args)) + sum(map(nbytes_of, outs))


def result_dtype(args: Sequence[Any]) -> np.dtype:
    """NumPy's promotion (NEP 50: Python numbers are weak) over arguments that may be tracers."""
    dtypes = {dtype_of(a) if hasattr(a, "dtype") else a for a in args if a is not None}
    return dtype_of(dtypes.pop()) if len(dtypes) == 1 else np.result_type(*dtypes)


def is_float(x: Any) -> bool:
    return dtype_of(x).kind == "f"


def unboxed(x: Any) -> Any:
    """A 0-d array as the number that NumPy's own functions return for it; any other as it is."""
    return x if x.shape else x[()]


def namespace_of(x: Any) -> Any:
    """The array namespace under a value, through any depth of tracers."""
    return x.xp if type(x) in TRACERS else (HOME[type(x)] or NUMPY).xp


def describe(f: Callable) -> str:
    """'f (file.py:12)': a function as a person would look for it."""
    name = getattr(f, "__name__", type(f).__name__)
    while hasattr(f, "__wrapped__"):
        f = f.__wrapped__
    code = getattr(f, "__code__", None)
    return f"{name} ({code.co_filename.rsplit('/', 1)[-1]}:{code.co_firstlineno})" if code else name
