"""Primitives, tracers, and dispatch: the one mechanism under every transformation.

A primitive applied to plain arrays computes; applied to tracers it is handed to the newest transformation
among them. Nothing else in minigrad decides what a call means.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .backend import HOME, NUMPY, mixed_backends
from .errors import LeakedTracerError

PRIMITIVES: dict[str, "Primitive"] = {}


class Primitive:
    """An operation the engine knows by name: its value and its derivative facts.

    `impl(xp, *args, **params)` computes on plain arrays. The facts are put in place by `minigrad.rules`:

    * `jvp(primals, tangents, params) -> (ans, t)`, where a tangent that is None is exactly zero;
    * `linear`, the groups of argument positions the primitive is jointly linear in (empty: nonlinear);
    * `transpose(ct, args, params, linear)`, the cotangents of the arguments at the positions `linear`;
    * `shape(args, params)`, the result's shape (a list of shapes for several results), so that a tangent
      program can be recorded without running it;
    * `flops(args, outs, params)`, floating-point operations, or None when nobody knows.

    Dispatch, on the smallest program that needs it (perturbation confusion, ForwardDiff.jl#83):

        D = lambda f: lambda x: jvp(f, (x,), (1.0,))[1]
        D(lambda x: x * D(lambda y: x + y)(1.0))(1.0)      # 1.0, and not 2.0

    The outer D starts first and gets trace 1, the inner one trace 2. In `x + y` the arguments are
    Dual1(1, 1) and Dual2(1, 1): trace 2 is the newest, so `x` is a constant there and the sum is
    Dual2(Dual1(2, 1), 1), whose tangent is 1. Back outside only trace 1 is left and sees x * 1.0.
    """

    __slots__ = ("name", "impl", "multiple", "doc", "jvp", "linear", "transpose", "shape", "flops")

    def __init__(self, name: str, impl: Callable, *, multiple: bool = False, doc: str = "") -> None:
        self.name, self.impl, self.multiple, self.doc = name, impl, multiple, doc
        self.jvp: Callable | None = None
        self.linear: frozenset[tuple[int, ...]] = frozenset()
        self.transpose: Callable | None = None
        self.shape: Callable | None = None
        self.flops: Callable | None = None
        if name in PRIMITIVES:
            raise ValueError(f"a primitive named {name!r} exists already")
        PRIMITIVES[name] = self

    def __call__(self, *args: Any, **params: Any) -> Any:
        trace = home = None
        for a in args:
            where = HOME[type(a)]
            if where is TRACED:
                if trace is None or a._trace.id > trace.id:
                    trace = a._trace
            elif where is not None and where is not home:
                if home is not None:
                    raise mixed_backends(home, where)
                home = where
        if trace is not None:
            return trace.process(self, args, params)
        return self.impl((home or NUMPY).xp, *args, **params)

    def __repr__(self) -> str:
        return self.name


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
                f"a {type(tracer).__name__} {aval_str(tracer)} of {self.label} is used after that ended; "
                "it was kept in a variable or container from outside: return the value instead"
            )


class Tracer:
    """A value inside a transformation; behaves like the array it stands for (see `protocols.py`)."""

    __slots__ = ("_trace",)
    _trace: Trace
    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({aval_str(self)}, in {self._trace.label})"


TRACED = object()


def traced(cls: type) -> type:
    """Class decorator: values of `cls` are tracers to dispatch."""
    HOME[cls] = TRACED
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
    return x.dtype if hasattr(x, "dtype") else np.result_type(x)


def result_dtype(args: Sequence[Any]) -> np.dtype:
    """NumPy's promotion (NEP 50: Python numbers are weak) over arguments that may be tracers."""
    dtypes = {a.dtype if hasattr(a, "dtype") else a for a in args if a is not None}
    return dtype_of(dtypes.pop()) if len(dtypes) == 1 else np.result_type(*dtypes)


def is_float(x: Any) -> bool:
    return dtype_of(x).kind == "f"


def namespace_of(x: Any) -> Any:
    """The array namespace under a value, through any depth of tracers."""
    while HOME[type(x)] is TRACED:
        x = getattr(x, "primal", None)
    home = HOME[type(x)] if x is not None else None
    return (home or NUMPY).xp


def aval_str(x: Any) -> str:
    """'float32[128,16]': how minigrad names a dtype and shape, in errors and in printed programs."""
    return f"{dtype_of(x).name}[{','.join(map(str, shape_of(x)))}]"


def describe(f: Callable) -> str:
    """'f (file.py:12)': a function as a person would look for it."""
    name = getattr(f, "__name__", type(f).__name__)
    while hasattr(f, "__wrapped__"):
        f = f.__wrapped__
    code = getattr(f, "__code__", None)
    return f"{name} ({code.co_filename.rsplit('/', 1)[-1]}:{code.co_firstlineno})" if code else name
