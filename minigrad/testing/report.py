"""What a failed check says: which identity broke, both numbers, and a few lines that make it fail again."""

import dataclasses
import hashlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import asnumpy
from ..core import Primitive, aval_str, describe
from ..tree import tree_leaves
from .rule import Rule

__all__ = ["RuleError", "reproduction", "strided"]

INLINE = 500  # arrays with more elements than this, together, are saved to a file


class RuleError(AssertionError):
    """A derivative is wrong: `identity` does not hold, and `reproduction` is Python that shows it again."""

    identity: str
    reproduction: str


def rule_error(
    check: str, f: Callable, args: tuple, options: dict, words: str, identity: str, facts: Sequence[str]
) -> RuleError:
    """The error that `check(f, args, **options)` raises when `identity`, in `words`, does not hold."""
    code = reproduction(check, f, args, options)
    error = RuleError(
        "\n".join(
            [
                f"{name_of(f)}: {words}",
                f"  identity   {identity}",
                f"  arguments  {', '.join(map(aval_str, tree_leaves(args)))}",
                f"  direction  seed {options.get('seed', 0)}",
                *(f"  {fact}" for fact in facts),
                "To see it again:",
                "",
                code,
            ]
        )
    )
    error.identity, error.reproduction = identity, code
    return error


def two_numbers(one: Sequence[Any], other: Sequence[Any], off: float, allowed: float) -> list[str]:
    """The lines of a report that show what differs, and where most."""
    first, second = (np.concatenate([np.ravel(asnumpy(a)) for a in arrays]) for arrays in (one, other))
    lines = [f"one side   {show(one)}", f"the other  {show(other)}"]
    if first.size > 1:
        apart = np.abs(np.subtract(first, second, dtype=np.result_type(first, second, float)))
        k = int(np.argmax(np.where(np.isnan(apart), np.inf, apart)))
        lines.append(f"most       at element {k} of {first.size}: {first[k]!r} and {second[k]!r}")
    return [*lines, f"differ by  {off:.3g}, allowed {allowed:.3g}"]


def show(arrays: Sequence[Any]) -> str:
    return "; ".join(
        " ".join(np.array2string(asnumpy(a), precision=12, threshold=20).split()) for a in arrays
    )


def name_of(f: Callable) -> str:
    """How a person would look for `f`: its name, with the file and line where it has one."""
    if isinstance(f, partial):
        params = ", ".join(f"{k}={v!r}" for k, v in f.keywords.items())
        return f"{name_of(f.func)} with {params}"
    if isinstance(f, Rule):
        params = ", ".join(f"{k}={v!r}" for k, v in f.bound[1].items()) if f.bound else ""
        return f.__name__ + (f" with {params}" if params else "")
    return f.name if isinstance(f, Primitive) else describe(f)


# ----- Reproduction: Python that raises the failure again -----


def reproduction(check: str, f: Callable, args: tuple, options: dict) -> str:
    """Lines of Python that call `check(f, args, **options)` from scratch.

    `f` is imported where it has a name in a module, and left to be filled in where it has not. Arrays are
    written out to the last digit, with their strides; large ones are saved to a file beside other temporary
    files, which the lines load.

    >>> print(reproduction("check_dot", np.sin, (np.array([0.5]),), {"seed": 3}))
    import numpy as np
    from minigrad.testing import check_dot
    from numpy import sin
    args = (np.array([0.5]),)
    check_dot(sin, args, seed=3)
    """
    leaves = tree_leaves(args)
    large = sum(np.size(x) for x in leaves) > INLINE
    writer = _Writer(leaves if large else [])
    writer.imports += ["import numpy as np", f"from minigrad.testing import {check}"]
    try:
        values = f"args = {writer.value(tuple(args))}"
    except _NoCode as e:
        values = f"args = ...  # put in the arguments: {e} has no short form in Python"
    try:
        call = writer.function(f)
        body = []
    except _NoCode:
        call = "f"
        body = [f"f = ...  # put in {name_of(f)}, which cannot be imported"]
    if writer.saved:
        body += [f"with np.load({str(_save(leaves))!r}) as file:", "    saved = dict(file)"]
    given = "".join(f", {k}={v!r}" for k, v in options.items() if v is not None)
    return "\n".join([*joined(writer.imports), *body, values, f"{check}({call}, args{given})"])


def joined(imports: Sequence[str]) -> list[str]:
    """Import lines, each once, and one for each module that names are taken from."""
    lines: dict[str, list[str]] = {}
    for line in imports:
        module, _, name = line.partition(" import ")
        lines.setdefault(module, []).append(name)
    return [
        f"{module} import {', '.join(sorted({*names}))}" if names[0] else module
        for module, names in lines.items()
    ]


def strided(values: Any, strides: tuple[int, ...], dtype: Any = None) -> np.ndarray:
    """An array of these values whose elements lie `strides` bytes apart, with NaN in the gaps.

    >>> strided([[1.0, 2.0], [3.0, 4.0]], (-8, 32)).strides
    (-8, 32)
    """
    x = np.asarray(values, dtype)
    ends = [step * (n - 1) for step, n in zip(strides, x.shape, strict=True) if n]
    low, high = sum(e for e in ends if e < 0), sum(e for e in ends if e > 0)
    view: np.ndarray = np.ndarray(
        x.shape, x.dtype, bytearray(b"\xff" * (high - low + x.itemsize)), -low, strides
    )
    view[...] = x
    return view


class _NoCode(Exception):
    pass


class _Writer:
    """Writes values and functions as Python, and keeps what has to be imported for it."""

    def __init__(self, saved: Sequence[Any]) -> None:
        self.saved = {id(x): f"saved['a{i}']" for i, x in enumerate(saved)}
        self.imports: list[str] = []

    def function(self, f: Callable) -> str:
        if isinstance(f, partial):
            self.imports.append("from functools import partial")
            return f"partial({self.function(f.func)}, {self.keywords(f.keywords)})"
        if isinstance(f, Rule) and f.bound:
            return f"{self.function(f.bound[0])}.bind({self.keywords(f.bound[1])})"
        if place := place_of(f):
            self.imports.append("from {} import {}".format(*place))
            return place[1]
        if isinstance(f, Rule) and (place := place_of(f.library)):
            self.imports.append("from {} import {}".format(*place))
            return f"{place[1]}.rule({self.function(f.value)})"
        if isinstance(f, Primitive) and f.impl.__module__ != "__main__":
            self.imports += [f"import {f.impl.__module__}", "from minigrad.core import PRIMITIVES"]
            return f"PRIMITIVES[{f.name!r}]"
        raise _NoCode

    def keywords(self, params: dict) -> str:
        return ", ".join(f"{k}={self.value(v)}" for k, v in params.items())

    def value(self, x: Any) -> str:
        if isinstance(x, (np.ndarray, np.generic)):
            return self.array(x)
        if x is None or type(x) in (bool, int, float, str):
            if type(x) is float and not np.isfinite(x):
                return f"float({str(x)!r})"
            return repr(x)
        if type(x) in (list, tuple):
            inner = ", ".join(map(self.value, x))
            return f"[{inner}]" if type(x) is list else f"({inner}{',' * (len(x) == 1)})"
        if type(x) is dict:
            return "{" + ", ".join(f"{k!r}: {self.value(v)}" for k, v in x.items()) + "}"
        place = place_of(type(x))
        fields = getattr(x, "_fields", None) or [
            f.name for f in (dataclasses.fields(x) if dataclasses.is_dataclass(x) else ()) if f.init
        ]
        if place and fields:
            self.imports.append("from {} import {}".format(*place))
            return f"{place[1]}({self.keywords({k: getattr(x, k) for k in fields})})"
        raise _NoCode(type(x).__name__)

    def array(self, x: Any) -> str:
        if id(x) in self.saved:
            values = self.saved[id(x)]
            if isinstance(x, np.generic):
                return values + "[()]"
            return values if x.flags.c_contiguous else self.in_place(values, x)
        if isinstance(x, np.generic):
            return f"np.{x.dtype.name}({self.value(x.item())})"
        if x.size == 0:
            return f"np.zeros({x.shape}, np.{x.dtype.name})"
        dtype = "" if x.dtype.name in ("float64", "int64", "bool") else f", np.{x.dtype.name}"
        numbers = repr(x.tolist())
        if "nan" in numbers or "inf" in numbers:
            self.imports.append("from numpy import inf, nan")
        if x.flags.c_contiguous:
            return f"np.array({numbers}{dtype})"
        return self.in_place(numbers, x, dtype)

    def in_place(self, values: str, x: np.ndarray, dtype: str = "") -> str:
        self.imports.append("from minigrad.testing import strided")
        return f"strided({values}, {x.strides}{dtype})"


def place_of(f: Any) -> tuple[str, str] | None:
    """Module and name under which `f` can be imported, or None."""
    inner = [getattr(f, part, None) for part in ("impl", "value", "jvp", "vjp")]
    homes = [getattr(g, "__module__", None) for g in (f, *inner) if g is not None]
    for home in dict.fromkeys(["minigrad", "numpy", *homes]):
        if not isinstance(home, str) or home == "__main__" or home not in sys.modules:
            continue
        names = vars(sys.modules[home])
        wanted = getattr(f, "__name__", getattr(f, "name", None))
        if isinstance(wanted, str) and names.get(wanted) is f:
            return home, wanted
        if home in homes:
            for name, value in names.items():
                if value is f and name.isidentifier():
                    return home, name
    return None


def _save(leaves: Sequence[Any]) -> Path:
    """The arrays in one file whose name is that of its content, so that the same failure makes one file."""
    arrays = [np.asarray(asnumpy(x)) for x in leaves]
    digest = hashlib.sha1(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()[:12]
    path = Path(tempfile.gettempdir()) / f"minigrad-check-{digest}.npz"
    if not path.exists():
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            np.savez(file, **{f"a{i}": a for i, a in enumerate(arrays)})  # type: ignore[arg-type]
        Path(file.name).replace(path)  # whole or not at all
    return path
