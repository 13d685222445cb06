"""NumPy's protocols on tracers: operators, methods, indexing, ufuncs and functions.

`np.sin(x) @ w` inside a transformation arrives here through `__array_ufunc__` and `__array_function__` and is
handed to the operation of the same name; what cannot work (float(x), x[0] = 1) says what to do instead.
"""

import sys
from collections.abc import Callable
from inspect import signature
from typing import Any

import numpy as np

from .core import Primitive, Tracer, aval_str
from .errors import NonlinearError, here
from .ops import complex as complexes
from .ops import (
    create,
    cumulative,
    diagonals,
    differences,
    elementwise,
    exponential,
    fft,
    index,
    join,
    linalg,
    nan,
    order,
    polynomial,
    products,
    rearrange,
    reduce,
    shape,
    special,
    statistics,
    windows,
)
from .ops.elementwise import choices, constants, functions
from .rules import add, multiply


def _unique(x: Any, *args: Any, **how: Any) -> Any:
    raise TypeError(
        "np.unique of a traced value: how many there are depends on it; take them at constant places, "
        "x[np.unique(minigrad.stop_gradient(x), return_index=True)[1]]"
    )


# ----- NumPy's names for our operations -----

UFUNCS: dict[np.ufunc, Callable] = {
    getattr(np, name): getattr(module, name)
    for module in (choices, constants, functions, products)
    for name in module.__all__
    if isinstance(getattr(np, name, None), np.ufunc)
}
UFUNCS |= {
    np.true_divide: elementwise.divide,
    np.absolute: elementwise.abs,
    np.conjugate: complexes.conjugate,
    np.positive: lambda x: x,
}

FUNCTIONS: dict[Callable, Callable] = {
    getattr(np, name): getattr(module, name)
    for module in (
        reduce,
        create,
        shape,
        rearrange,
        join,
        index,
        products,
        choices,
        constants,
        functions,
        special,
        complexes,
    )
    for name in module.__all__
    if hasattr(np, name) and not isinstance(getattr(np, name), np.ufunc)
}
FUNCTIONS |= {
    np.ravel: shape.ravel_array,
    np.amax: reduce.max,
    np.amin: reduce.min,
    np.unique: _unique,
    np.around: elementwise.round,
    np.clip: lambda x, a_min=None, a_max=None, **limits: elementwise.clip(
        x, **({"min": a_min, "max": a_max} | limits)
    ),
    np.copy: lambda x, order="K", subok=False: x,
    np.shape: lambda x: x.shape,
    np.ndim: lambda x: x.ndim,
    np.size: lambda x: x.size,
    np.empty_like: create.zeros_like,
    np.lib.stride_tricks.sliding_window_view: lambda x, window_shape, axis=None, **kind: (
        windows.sliding_window_view(x, window_shape, axis)
    ),
    np.result_type: lambda *xs: np.result_type(*[x.dtype if isinstance(x, Tracer) else x for x in xs]),
}
FUNCTIONS |= {
    getattr(np, name): getattr(module, name)
    for module in (cumulative, diagonals, differences, nan, order, polynomial, statistics)
    for name in module.__all__
    if hasattr(np, name)
}
FUNCTIONS |= {getattr(np.fft, name): getattr(fft, name) for name in fft.__all__}
FUNCTIONS |= {
    getattr(np.linalg, name): getattr(linalg, name) for name in linalg.__all__ if hasattr(np.linalg, name)
}
REDUCTIONS: dict[np.ufunc, Callable] = {  # ufunc.reduce takes the first axis where np.sum takes all
    np.add: lambda x, axis=0, **how: reduce.sum(x, axis, **how),
    np.maximum: lambda x, axis=0, **how: reduce.max(x, axis, **how),
    np.minimum: lambda x, axis=0, **how: reduce.min(x, axis, **how),
    np.multiply: lambda x, axis=0, **how: cumulative.prod(x, axis, **how),
    np.logaddexp: lambda x, axis=0, **how: exponential.logsumexp(x, axis, **how),
    np.logical_and: lambda x, axis=0, **how: reduce.all(x, axis, **how),
    np.logical_or: lambda x, axis=0, **how: reduce.any(x, axis, **how),
}
ACCUMULATIONS: dict[np.ufunc, Callable] = {
    np.add: lambda x, axis=0, **how: cumulative.cumsum(x, axis, **how),
    np.multiply: lambda x, axis=0, **how: cumulative.cumprod(x, axis, **how),
    np.maximum: lambda x, axis=0: cumulative.cummax(x, axis),
    np.minimum: lambda x, axis=0: cumulative.cummin(x, axis),
}
METHODS_OF_UFUNCS = {"__call__": UFUNCS, "reduce": REDUCTIONS, "accumulate": ACCUMULATIONS}


def _array_ufunc(self: Tracer, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
    _refuse_out(ufunc, kwargs)
    table = METHODS_OF_UFUNCS.get(method, {})
    if method == "at":
        raise _writes(f"np.{ufunc.__name__}.at")
    if ufunc not in table and _is_scipys(ufunc) and method == "__call__":
        table = {ufunc: getattr(special, ufunc.__name__)}
    if ufunc not in table:
        call = f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
        raise TypeError(f"minigrad has no derivative of {call}: write it with minigrad's operations")
    if kwargs and method == "__call__" and not (ufunc is np.vecdot and set(kwargs) == {"axis"}):
        name = next(iter(kwargs))
        raise TypeError(f"np.{ufunc.__name__} with {name}= is not supported on tracers: leave it out")
    return table[ufunc](*inputs, **kwargs)


def _is_scipys(ufunc: np.ufunc) -> bool:
    """Is it one of scipy.special that minigrad.special has, too? (scipy itself is not imported here.)"""
    name = ufunc.__name__
    return name in special.__all__ and getattr(sys.modules.get("scipy.special"), name, None) is ufunc


def _array_function(self: Tracer, func: Callable, types: Any, args: Any, kwargs: Any) -> Any:
    if func in WRITERS:
        raise _writes(_numpy_name(func))
    if func not in FUNCTIONS:
        raise TypeError(
            f"minigrad has no derivative of {_numpy_name(func)}: write it with minigrad's operations"
        )
    _refuse_out(func, kwargs)
    if not args:  # np.roll(a=x): NumPy has many names for the array, and we have one
        args = (kwargs.pop(next(iter(signature(func).parameters))),)
    return FUNCTIONS[func](*args, **kwargs)


WRITERS = {np.copyto, np.put, np.place, np.putmask, np.put_along_axis, np.fill_diagonal}


def _writes(name: str) -> TypeError:
    return TypeError(f"{name} writes into its argument: {_NEW}")


def _numpy_name(func: Callable) -> str:
    return f"{func.__module__}.{func.__name__}".replace("numpy.", "np.", 1)


def _refuse_out(func: Callable, kwargs: dict[str, Any]) -> None:
    if kwargs.pop("out", None) is not None:
        raise TypeError(
            f"np.{func.__name__} with out=: tracers are values and cannot be written into; use the result"
        )


# ----- What a tracer cannot do, and what to do instead -----


def _no(what: str, instead: str) -> Callable:
    def method(self: Tracer, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{what} of {aval_str(self)} inside {self._trace.label}, at {here()}: {instead}")

    return method


_VALUE = "its value is being differentiated: keep it an array, or take minigrad.stop_gradient of it first"


_NEW = "tracers are values; minigrad.index_set(x, index, values), index_add and where make the new array"


def _setitem(self: Tracer, key: Any, value: Any) -> None:
    raise TypeError(f"assignment into {aval_str(self)} inside {self._trace.label}, at {here()}: {_NEW}")


def _bool(self: Tracer) -> bool:
    return bool(_constant(self))


def _constant(x: Any) -> Any:
    """The plain value under a tracer, for branches on it; a linear variable has none."""
    while isinstance(x, Tracer):
        if not hasattr(x, "primal"):
            raise NonlinearError(
                f"a linear variable {aval_str(x)} of {x._trace.label} has no value to branch on"
            )
        x = x.primal
    return x


def _len(self: Tracer) -> int:
    if not self.shape:
        raise TypeError(f"len() of the 0-d array {aval_str(self)}")
    return self.shape[0]


def _iter(self: Tracer) -> Any:
    if not self.shape:
        raise TypeError(f"iteration over the 0-d array {aval_str(self)}")
    return iter(shape.unstack(self))


def _swapped(f: Callable) -> Callable:
    return lambda self, other: f(other, self)


METHODS: dict[str, Any] = {
    "__array_ufunc__": _array_ufunc,
    "__array_function__": _array_function,
    "__array_priority__": 1000,
    "__add__": add,
    "__sub__": elementwise.subtract,
    "__mul__": multiply,
    "__truediv__": elementwise.divide,
    "__floordiv__": elementwise.floor_divide,
    "__mod__": elementwise.remainder,
    "__divmod__": elementwise.divmod,
    "__pow__": elementwise.power,
    "__matmul__": products.matmul,
    "__neg__": elementwise.negative,
    "__pos__": lambda self: self,
    "__abs__": elementwise.abs,
    "__lt__": elementwise.less,
    "__le__": elementwise.less_equal,
    "__gt__": elementwise.greater,
    "__ge__": elementwise.greater_equal,
    "__eq__": elementwise.equal,
    "__ne__": elementwise.not_equal,
    "__hash__": object.__hash__,
    "__getitem__": index.getitem,
    "__setitem__": _setitem,
    "__len__": _len,
    "__iter__": _iter,
    "__bool__": _bool,
    "__float__": _no("float()", _VALUE),
    "__int__": _no("int()", _VALUE),
    "__index__": _no("indexing with the value", _VALUE),
    "__complex__": _no("complex()", _VALUE),
    "item": _no(".item()", _VALUE),
    "tolist": _no(".tolist()", _VALUE),
    "__array__": _no(
        "conversion to a plain array", _VALUE + "; minigrad.array joins traced values that stand in lists"
    ),
    "real": property(lambda self: complexes.real(self)),
    "imag": property(lambda self: complexes.imag(self)),
    "conj": complexes.conjugate,
    "conjugate": complexes.conjugate,
    "nbytes": property(lambda self: self.size * self.dtype.itemsize),
    "itemsize": property(lambda self: self.dtype.itemsize),
    "T": property(lambda self: shape.transpose(self)),
    "mT": property(lambda self: shape.matrix_transpose(self)),
    "astype": lambda self, dtype, *how, **kind: create.astype(self, dtype),  # a copy or not: the same value
    "reshape": lambda self, *s, order="C": shape.reshape(self, s[0] if len(s) == 1 else s, order),
    "transpose": lambda self, *axes: shape.transpose(
        self, (axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes) if axes else None
    ),
    "ravel": shape.ravel_array,
    "flatten": shape.ravel_array,
    "copy": lambda self, order="C": self,
    "fill": _no(".fill()", _NEW),
    "put": _no(".put()", _NEW),
    "resize": _no(".resize()", _NEW),
    "repeat": rearrange.repeat,
    "diagonal": diagonals.diagonal,
    "trace": diagonals.trace,
    "nonzero": index.nonzero,
    "searchsorted": index.searchsorted,
    "compress": lambda self, condition, axis=None: index.compress(condition, self, axis),
    "sum": reduce.sum,
    "mean": reduce.mean,
    "var": reduce.var,
    "std": reduce.std,
    "max": reduce.max,
    "min": reduce.min,
    "argmax": reduce.argmax,
    "argmin": reduce.argmin,
    "prod": cumulative.prod,
    "cumsum": cumulative.cumsum,
    "cumprod": cumulative.cumprod,
    "ptp": reduce.ptp,
    "argsort": order.argsort,
    "argpartition": order.argpartition,
    "sort": _no(".sort()", "it sorts in place, and tracers are values: np.sort(x) makes the new array"),
    "partition": _no(".partition()", "it works in place, and tracers are values: use np.partition(x, kth)"),
    "any": reduce.any,
    "all": reduce.all,
    "squeeze": shape.squeeze,
    "swapaxes": shape.swapaxes,
    "clip": elementwise.clip,
    "dot": products.dot,
    "take": index.take,
    "round": elementwise.round,
}
ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "divmod", "pow", "matmul")
BINARY = {f"__{name}__" for name in (*ARITHMETIC, "lt", "le", "gt", "ge", "eq", "ne")}
METHODS |= {f"__r{name}__": _swapped(METHODS[f"__{name}__"]) for name in ARITHMETIC}


def _bound(prim: Primitive, name: str) -> Callable:
    """A Primitive is no function and would not bind: a function that passes self on, shortest for x * y."""
    if name in BINARY:
        return lambda self, other: prim(self, other)
    return lambda self, *args, **how: prim(self, *args, **how)


for _name, _method in METHODS.items():
    setattr(Tracer, _name, _bound(_method, _name) if isinstance(_method, Primitive) else _method)
