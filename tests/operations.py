"""The page of all operations, docs/operations.md: `python tests/operations.py` writes it anew.

A tick stands for a test in test_rules.py that draws cases of that operation; FLOPs and bytes are what the
primitives' formulas give for the operation itself on the arguments shown.
"""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from cases import CONSTANTS, EVERYTHING, NUMPY_CALLS, THIRD
from cases.builders import POSITIVE, X, Y

import minigrad as mg
from minigrad.core import aval_str
from minigrad.custom.node import Counter

PAGE = Path(__file__).parents[1] / "docs" / "operations.md"
NAMESPACES = ("linalg", "fft", "special")
REACHED = {"abs": "absolute", "max_pool2d": "pool_index", "avg_pool2d": "window_sum"}


def public_names() -> dict[str, Callable]:
    """Every differentiable function of `mg`, `mg.linalg`, ... by its dotted name."""
    functions = families()
    public = {name: f for name, f in vars(mg).items() if id(getattr(f, "__wrapped__", f)) in functions}
    for space in NAMESPACES:
        module = getattr(mg, space)
        public |= {f"{space}.{name}": f for name in module.__all__ if callable(f := getattr(module, name))}
    return {name: f for name, f in public.items() if not inspect.isclass(f)}


def families() -> dict[int, str]:
    """The family of each function, by its id: the file or folder in `minigrad.ops` that exports it."""
    found = {}
    names = [info.name for info in pkgutil.walk_packages(mg.ops.__path__, "minigrad.ops.")]
    for module in map(importlib.import_module, sorted(names, key=lambda n: n.split(".")[2] in NAMESPACES)):
        for name in getattr(module, "__all__", ()):
            # In public, `trace` and `diff` are of recordings as well: functions around those of arrays.
            for f in (getattr(module, name), getattr(mg, name, None)):
                if callable(f) and not inspect.isclass(f):
                    found.setdefault(id(f), module.__name__.split(".")[2])
    return found


def case_of(name: str) -> str | None:
    """The name under which cases of a public function are drawn."""
    candidates = [name, REACHED.get(name, name), name.rpartition(".")[2]]
    return next((n for n in candidates if n in EVERYTHING), None)


# ----- Cost of an example -----


IMAGES, FILTERS = np.ones((2, 6, 6, 3)), np.ones((4, 3, 3, 3))
EXAMPLES: dict[str, tuple[tuple, dict]] = {
    "conv2d": ((IMAGES, FILTERS), {}),
    "conv2d_input": ((np.ones((2, 4, 4, 4)), FILTERS, (6, 6)), {}),
    "conv2d_filter": ((IMAGES, np.ones((2, 4, 4, 4)), (3, 3)), {}),
    "max_pool2d": ((IMAGES, 2), {}),
    "avg_pool2d": ((IMAGES, 2), {}),
    "batch_norm": ((IMAGES, np.ones(3), np.ones(3)), {}),
    "scatter": ((X[0, 0], np.array([0, 2, 2, 5]), (6,)), {}),
    "index_add": ((X[0], np.array([0, 0, 2]), Y[0]), {}),
    "index_set": ((X[0], np.array([0, 2]), Y[0, :2]), {}),
    "sliding_window_view": ((X, 2, 1), {}),
    "linalg.solve_triangular": ((np.eye(3), X[0].T[:3]), {}),
    "softmax_cross_entropy": ((X[0], np.array([0, 1, 2])), {}),
}


def example(name: str, f: Callable) -> tuple[tuple, dict]:
    """Arguments of a call: those compared with NumPy, or else arrays that the function takes."""
    if name in EXAMPLES:
        return EXAMPLES[name]
    if name in NUMPY_CALLS:
        return NUMPY_CALLS[name][0]
    half = POSITIVE / (1 + POSITIVE)
    for args in ((half,), (2, half), (half, POSITIVE), (half, half, half), (X, Y, half), (half, 1)):
        try:
            f(*args)
        except Exception:
            continue
        return args, {}
    raise LookupError(f"no example for {name}: add one to EXAMPLES")


def cost(name: str, f: Callable) -> str:
    """'240 | 384 | float64[2,3,4]': FLOPs, bytes, and for what."""
    args, kwargs = example(name, f)
    trace = Counter(f)

    def put(a: Any) -> Any:
        if isinstance(a, (list, tuple)) and any(isinstance(b, (np.ndarray, list, tuple)) for b in a):
            return type(a)(map(put, a))
        return trace.wrap(a) if isinstance(a, np.ndarray) else a

    attrgetter(name)(mg)(*map(put, args), **kwargs)
    shapes = ", ".join(aval_str(a) for a in args if isinstance(a, np.ndarray) and a.dtype.kind in "fc")
    return f"{trace.flops} | {trace.bytes} | {shapes}"


# ----- The page -----

HEAD = """# Operations

Every differentiable operation of minigrad, {count} names. Those that NumPy (or SciPy, for `special`) has too
are reached by its own functions on traced values as well: `np.sin(x)` and `mg.sin(x)` are the same inside a
transformation.

*forward*: the tangent agrees with a complex step or central difference. *reverse*: ⟨J t, c⟩ = ⟨t, Jᵀ c⟩
to rounding. *order 2*: Hessian products agree in three modes and with the difference of gradients; 3 where
third derivatives are checked in every mixture of modes, too. Each ✓ is a test with generated cases; 0 stands
for functions whose derivative is zero wherever it exists. *FLOPs* and *bytes* (read and written) are those of
the operation itself on arguments of the shapes shown, from the formulas of its primitives; how much counts
what, [conventions](conventions.md) say under "Costs".
"""


def page() -> str:
    functions = public_names()
    family_of = families()
    tables: dict[str, list[str]] = {}
    for name, f in functions.items():
        tables.setdefault(name.rpartition(".")[0] or family_of[id(f)], []).append(name)
    lines = [HEAD.format(count=len(functions))]
    for family, names in sorted(tables.items()):
        lines += [
            f"\n## {family}\n",
            "| name | also | forward | reverse | order 2 | FLOPs | bytes | for |",
            "|---|---|---|---|---|---|---|---|",
        ]
        lines += [row(name, functions[name]) for name in sorted(names)]
    return "\n".join(lines) + "\n"


def row(name: str, f: Callable) -> str:
    case = case_of(name)
    if case is None:
        ticks = ["—"] * 3
    elif case in CONSTANTS:
        ticks = ["0"] * 3
    else:
        ticks = ["✓", "✓", "✓ 3" if case in THIRD else "✓"]
    return " | ".join([f"| `mg.{name}`", also(name), *ticks, cost(name, f) + " |"])


def also(name: str) -> str:
    space, _, last = name.rpartition(".")
    if hasattr(getattr(np, space, None) if space else np, last):
        return f"`np.{name}`"
    return f"`scipy.{name}`" if space == "special" else ""


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE.name}: {len(public_names())} names\n")
