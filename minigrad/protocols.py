"""NumPy's protocols on tracers: operators, methods, indexing, ufuncs and functions.

`np.sin(x) @ w` inside a transformation arrives here through `__array_ufunc__` and `__array_function__` and is
handed to the operation of the same name; what cannot work (float(x), x[0] = 1) says what to do instead.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .core import Tracer, aval_str, namespace_of
from .ops import elementwise, index, products, reduce, shape
from .rules import add, astype, multiply


def _pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: float = 0.0) -> Any:
    if mode != "constant":
        raise TypeError(f"np.pad with mode={mode!r} has no derivative here: use mode='constant'")
    return shape.pad(x, pad_width, constant_values)


def _einsum(subscripts: Any, *xs: Any, optimize: Any = True) -> Any:
    if not isinstance(subscripts, str):
        raise TypeError("np.einsum with lists of axes is not supported: write the subscripts as a string")
    return products.einsum(subscripts, *xs)


def _filled(value: float) -> Callable:
    def like(x: Any, dtype: Any = None) -> Any:
        return namespace_of(x).full(x.shape, value, dtype or x.dtype)

    return like


# ----- NumPy's names for our operations -----

UFUNCS: dict[np.ufunc, Callable] = {
    getattr(np, name): getattr(elementwise, name)
    for name in elementwise.__all__
    if isinstance(getattr(np, name, None), np.ufunc)
}
UFUNCS |= {
    np.matmul: products.matmul,
    np.true_divide: elementwise.divide,
    np.absolute: elementwise.abs,
    np.positive: lambda x: x,
}

FUNCTIONS: dict[Callable, Callable] = {
    getattr(np, name): getattr(module, name)
    for module in (reduce, shape, products, elementwise)
    for name in module.__all__
    if hasattr(np, name) and not isinstance(getattr(np, name), np.ufunc)
}
FUNCTIONS |= {
    np.ravel: shape.ravel_array,
    np.take: index.take,
    np.amax: reduce.max,
    np.amin: reduce.min,
    np.clip: lambda x, a_min=None, a_max=None, **limits: elementwise.clip(
        x, **({"min": a_min, "max": a_max} | limits)
    ),
    np.pad: _pad,
    np.einsum: _einsum,
    np.copy: lambda x: x,
    np.shape: lambda x: x.shape,
    np.ndim: lambda x: x.ndim,
    np.size: lambda x: x.size,
    np.zeros_like: _filled(0),
    np.ones_like: _filled(1),
    np.full_like: lambda x, fill_value, dtype=None: _filled(fill_value)(x, dtype),
    np.result_type: lambda *xs: np.result_type(*[x.dtype if isinstance(x, Tracer) else x for x in xs]),
}
REDUCTIONS: dict[np.ufunc, Callable] = {  # ufunc.reduce takes the first axis where np.sum takes all
    np.add: lambda x, axis=0, **how: reduce.sum(x, axis, **how),
    np.maximum: lambda x, axis=0, **how: reduce.max(x, axis, **how),
    np.minimum: lambda x, axis=0, **how: reduce.min(x, axis, **how),
}


def _array_ufunc(self: Tracer, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
    _refuse_out(ufunc, kwargs)
    table = UFUNCS if method == "__call__" else REDUCTIONS if method == "reduce" else {}
    if ufunc not in table:
        call = f"np.{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
        raise TypeError(f"minigrad has no derivative of {call}: write it with minigrad's operations")
    if kwargs and method == "__call__":
        name = next(iter(kwargs))
        raise TypeError(f"np.{ufunc.__name__} with {name}= is not supported on tracers: leave it out")
    return table[ufunc](*inputs, **kwargs)


def _array_function(self: Tracer, func: Callable, types: Any, args: Any, kwargs: Any) -> Any:
    if func not in FUNCTIONS:
        raise TypeError(
            f"minigrad has no derivative of {_numpy_name(func)}: write it with minigrad's operations"
        )
    _refuse_out(func, kwargs)
    return FUNCTIONS[func](*args, **kwargs)


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
        raise TypeError(f"{what} of {aval_str(self)} inside {self._trace.label}: {instead}")

    return method


_VALUE = "its value is being differentiated: keep it an array, or take minigrad.stop_gradient of it first"


def _setitem(self: Tracer, key: Any, value: Any) -> None:
    raise TypeError(
        f"assignment into {aval_str(self)} inside {self._trace.label}: tracers are values; "
        "build the new array with minigrad.where, concatenate or scatter"
    )


def _bool(self: Tracer) -> bool:
    return bool(_constant(self))


def _constant(x: Any) -> Any:
    """The plain value under a tracer, for branches on it; a linear variable has none."""
    while isinstance(x, Tracer):
        if not hasattr(x, "primal"):
            raise TypeError(f"a linear variable {aval_str(x)} of {x._trace.label} has no value to branch on")
        x = x.primal
    return x


def _len(self: Tracer) -> int:
    if not self.shape:
        raise TypeError(f"len() of the 0-d array {aval_str(self)}")
    return self.shape[0]


def _iter(self: Tracer) -> Any:
    if not self.shape:
        raise TypeError(f"iteration over the 0-d array {aval_str(self)}")
    return (index.getitem(self, i) for i in range(self.shape[0]))


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
    "__array__": _no("conversion to a plain array", _VALUE),
    "T": property(lambda self: shape.transpose(self)),
    "astype": lambda self, dtype: astype(self, dtype=np.dtype(dtype)),
    "reshape": lambda self, *s: shape.reshape(self, s[0] if len(s) == 1 else s),
    "transpose": lambda self, *axes: shape.transpose(
        self, (axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes) if axes else None
    ),
    "ravel": shape.ravel_array,
    "flatten": shape.ravel_array,
    "copy": lambda self: self,
    "sum": reduce.sum,
    "mean": reduce.mean,
    "var": reduce.var,
    "std": reduce.std,
    "max": reduce.max,
    "min": reduce.min,
    "argmax": reduce.argmax,
    "argmin": reduce.argmin,
    "any": reduce.any,
    "all": reduce.all,
    "squeeze": shape.squeeze,
    "swapaxes": shape.swapaxes,
    "clip": elementwise.clip,
    "dot": products.dot,
    "take": index.take,
    "round": elementwise.round,
}
METHODS |= {
    f"__r{name}__": _swapped(METHODS[f"__{name}__"])
    for name in ("add", "sub", "mul", "truediv", "pow", "matmul")
}

for _name, _method in METHODS.items():
    # A Primitive is no function and would not bind: give the class a function that passes self on.
    setattr(
        Tracer,
        _name,
        (lambda p: lambda self, *args, **how: p(self, *args, **how))(_method)
        if hasattr(_method, "impl")
        else _method,
    )
