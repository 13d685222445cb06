"""`show_rule`: what the engine knows of an operation, as the source in which it was told.

Rules are functions that were handed to `defjvp`, `deflinear` and their kind (`minigrad/rules.py`), which keep
them in closures of their own: there they are found again.
"""

import ast
import linecache
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from inspect import getclosurevars, isfunction, signature
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

from ..core import PRIMITIVES, Primitive, touched
from ..custom.function import Function
from ..rules import broadcasts

__all__ = ["Page", "is_zero", "place_of", "rule_place", "show_rule"]

PACKAGE = Path(__file__).parents[1]
SPACES = ("", "linalg", "fft", "special")
WIDTH = 60  # where the places of sources stand


def show_rule(of: Any) -> "Page":
    """What minigrad knows of an operation, by name (or the operation itself), as source: a string to print.

    Its value, its jvp rule or transposes, shape rule, batch rule, FLOP and byte formula, each with file and
    line. Of a function that has no rule of its own, the function and the primitives it is made of; of one
    with `custom_jvp` or `custom_vjp`, your rule. Raises ValueError for an unknown name, with those that are
    like it.

    >>> page = show_rule("tanh")
    >>> [line for line in page.splitlines() if "lambda ans" in line]
    ['    lambda ans, x: 1 - ans * ans']
    """
    if isinstance(of, str):
        of = PRIMITIVES[of] if of in PRIMITIVES else _public(of)
    if isinstance(of, Primitive):
        return _primitive_page(of)
    if isinstance(of, Function):
        return _custom_page(of)
    if isinstance(of, np.ufunc) or str(getattr(of, "__module__", "")).partition(".")[0] == "numpy":
        return show_rule(of.__name__)
    if isfunction(of):
        made_of = _reached(of)
        own = next((prim for prim in made_of if prim.name == of.__name__), None)
        return _primitive_page(own) if own is not None else _function_page(of, made_of)
    raise TypeError(
        f"show_rule: a {type(of).__name__} is no operation: give one, or the name of one, such as 'conv2d'"
    )


class Page(str):
    """Text that shows as it is, at the prompt, too."""

    def __repr__(self) -> str:
        return str(self)


def rule_place(prim: Primitive) -> str:
    """File and line of the rule by which `prim` is differentiated, '' where it has none."""
    for _, f in (*_jvp_parts(prim, _names(prim)), *_transpose_parts(prim, _names(prim))):
        if callable(f):
            return place_of(f)
    return ""


def place_of(f: Any) -> str:
    """'minigrad/ops/conv.py:95' of a function of minigrad, 'train.py:12' of another; '' if it has no code."""
    while isinstance(f, partial):
        f = f.func
    code = getattr(f, "__code__", None)
    if code is None:
        return ""
    path = Path(code.co_filename)
    short = path.relative_to(PACKAGE.parent).as_posix() if path.is_relative_to(PACKAGE) else path.name
    return f"{short}:{code.co_firstlineno}"


def is_zero(prim: Primitive) -> bool:
    """Is the derivative zero by rule, as of a comparison?"""
    return prim.jvp is not None and _definer(_for_real(prim.jvp)) == "defzero"


# ----- Pages -----


def _primitive_page(prim: Primitive) -> Page:
    names = _names(prim)
    lines = [f"{prim.name}: {prim.doc}", f"  kind    {_kind(prim, names)}"]
    public = [n for n, f in _publics() if f is prim or isfunction(f) and _is_call_of(f, prim)]
    if public:
        lines.append(f"  called  {', '.join(f'mg.{n}' for n in public)}")
    if tested := _tested_in(prim.name):
        lines.append(f"  tested  {tested}")
    parts: list[tuple[str, Any]] = [
        ("value", _impl(prim)),
        *_jvp_parts(prim, names),
        *_transpose_parts(prim, names),
    ]
    if prim.shape is broadcasts:
        parts.append(("shape of the result", "that of the arguments, broadcast"))
    elif prim.shape is not None:
        parts.append(("shape of the result", _kept(prim.shape).get("shape", prim.shape)))
    if prim.batch is not None:
        parts.append(("many directions at once", prim.batch))
    parts.append(("FLOPs", prim.flops or "unknown"))
    parts.append(
        (
            "bytes",
            "each argument read once, each result written once" if prim.bytes is touched else prim.bytes,
        )
    )
    return _page(lines, parts)


def _custom_page(f: Function) -> Page:
    parts: list[tuple[str, Any]] = [("value", f.f)]
    for name, role in (
        ("rule", "jvp: value and tangent"),
        ("fwd", "value and residuals"),
        ("bwd", "cotangents"),
    ):
        if getattr(f, name, None) is not None:
            parts.append((role, getattr(f, name)))
    return _page([f.label], parts)


def _function_page(f: Callable, made_of: Sequence[Primitive]) -> Page:
    doc = (f.__doc__ or "").strip().partition("\n")[0]
    lines = [
        f"{f.__name__}: {doc}" if doc else f.__name__,
        "  no rule of its own: it is made of others, by name of",
    ]
    width = max((len(prim.name) for prim in made_of), default=0)
    lines += [f"    {prim.name:{width}}  {prim.doc}" for prim in made_of]
    if not made_of:
        lines[-1] = "  no rule of its own: it is differentiated through"
    return _page(lines, [("value", f)])


def _page(lines: list[str], parts: Sequence[tuple[str, Any]]) -> Page:
    for heading, f in parts:
        place = "" if isinstance(f, str) else place_of(f)
        lines += ["", f"{heading:{WIDTH}}{place}".rstrip()]
        lines += [f"    {line}".rstrip() for line in (f if isinstance(f, str) else source_of(f)).splitlines()]
    return Page("\n".join(lines))


# ----- What there is to know of a primitive -----


def _kind(prim: Primitive, names: Sequence[str]) -> str:
    if prim.jvp is None:
        return "without a derivative rule"
    if is_zero(prim):
        return "constant: the derivative is zero wherever there is one"
    if not prim.linear:
        return "nonlinear; reverse mode transposes what the jvp rule records"
    if (-1,) in prim.linear:
        return "linear in all arguments together"
    each = [" and ".join(names[i] for i in group) for group in sorted(prim.linear)]
    if len(each) == 1:
        return f"linear in {each[0]}" + (" together" if " and " in each[0] else "")
    if len(each) == 2:
        return f"bilinear: in {each[0]} and in {each[1]}, each alone"
    return "multilinear: in each argument alone"


def _impl(prim: Primitive) -> Any:
    if _definer(prim.impl) == "_namesake":
        return f"{_kept(prim.impl)['name']} of the array library, as NumPy's"
    return prim.impl


def _jvp_parts(prim: Primitive, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """The jvp rules as they were given: heading, and function or words."""
    jvp = prim.jvp
    if jvp is None:
        return
    real = _for_real(jvp)
    kept, definer = _kept(real), _definer(real)
    if definer == "defpartial":
        for i, f in enumerate(kept["partials"]):
            yield f"jvp: t in {names[i]} times", f or "nothing: no influence almost everywhere"
    elif definer in ("defjvp", "deflinear"):
        if definer == "deflinear":
            yield (
                "jvp",
                f"the tangent in the place of {' or '.join(names[i] for (i,) in sorted(prim.linear))}",
            )
        for i, f in enumerate(kept["rules"]):
            if f is not None:
                yield f"jvp: due to t in {names[i]}", f
            elif definer == "defjvp":
                yield f"jvp: due to t in {names[i]}", "nothing: no influence almost everywhere"
    elif definer == "defwhole":
        yield "jvp: value and tangent", kept["rule"]
    elif definer != "defzero":
        yield "jvp: value and tangent", real
    if real is not jvp:
        rule = _kept(jvp)["for_complex"]
        words = "refused: the rule is one for real numbers"
        yield "jvp: complex arguments", words if rule.__name__ == "_refuse" else rule


def _transpose_parts(prim: Primitive, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
    for i, f in enumerate(prim.transposes):
        if f is not None:
            yield f"transpose in {names[i]}", f
    if prim.transpose is not None and not prim.transposes:
        yield "transpose", prim.transpose


def _for_real(jvp: Callable) -> Any:
    """The rule under a choice between one for real and one for complex arguments."""
    return _kept(jvp)["for_real"] if _definer(jvp) == "_either" else jvp


def _kept(f: Any) -> dict[str, Any]:
    """What a function inside a function keeps of it, by name."""
    return dict(getclosurevars(f).nonlocals) if isfunction(f) else {}


def _definer(f: Any) -> str:
    """The function that made `f`, as a function inside: 'defjvp' of 'defjvp.<locals>.jvp'."""
    outer, inside, _ = getattr(f, "__qualname__", "").partition(".<locals>")
    return outer if inside else ""


def _names(prim: Primitive) -> list[str]:
    """Those of the arguments: transposes, jvp rules and impl call them so, behind what each gets first."""
    kept = _kept(_for_real(prim.jvp)) if prim.jvp is not None else {}
    names: list[str] = []
    for rules, first in (
        (prim.transposes, 1),
        (kept.get("partials", ()), 1),
        (kept.get("rules", ()), 2),
        ([prim.impl], 1),
    ):
        for f in filter(isfunction, rules):
            parameters = signature(f).parameters.values()
            found = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD][first:]
            names = max(names, found, key=len)
        if names:
            break
    many = max([i for group in prim.linear for i in group], default=0) + 1
    return [*names, *[f"argument {i}" for i in range(len(names), many)]]


def _tested_in(name: str) -> str:
    """The file of the repository that draws cases of the primitive; '' in an installed package."""
    for path in sorted((PACKAGE.parent / "tests" / "cases").glob("*.py")):
        if re.search(rf'^\s*"{re.escape(name)}":', path.read_text(encoding="utf-8"), re.MULTILINE):
            return path.relative_to(PACKAGE.parent).as_posix()
    return ""


# ----- Names -----


def _publics() -> Iterator[tuple[str, Any]]:
    """Every public name with what it stands for, 'tanh' or 'linalg.inv'."""
    import minigrad

    for space in SPACES:
        home = getattr(minigrad, space) if space else minigrad
        for name in home.__all__ if space else vars(home):
            f = getattr(home, name)
            if callable(f) and not isinstance(f, type) and not name.startswith("_"):
                yield f"{space}.{name}" if space else name, f


def _public(name: str) -> Any:
    functions = dict(_publics())
    for each in (name, *(f"{space}.{name}" for space in SPACES)):
        if each in functions:
            return functions[each]
    from difflib import get_close_matches

    near = get_close_matches(name, [*PRIMITIVES, *functions], 3, 0.5)
    ways = list(dict.fromkeys(near))
    hint = f"did you mean {' or '.join(map(repr, ways))}?" if ways else "the names are in docs/operations.md"
    raise ValueError(f"show_rule: no operation is named {name!r}; {hint}")


def _is_call_of(f: Callable, prim: Primitive) -> bool:
    return f.__name__ == prim.name and prim in _reached(f)


def _reached(f: Callable) -> list[Primitive]:
    """The primitives that the code of `f` names, or that of functions of minigrad which it names."""
    found: dict[Primitive, None] = {}
    seen: set[CodeType] = set()

    def visit(code: CodeType, names: dict[str, Any]) -> None:
        seen.add(code)
        for name in code.co_names:
            value = names.get(name)
            if isinstance(value, Primitive):
                found.setdefault(value)
            elif (
                isfunction(value) and value.__module__.startswith("minigrad.") and value.__code__ not in seen
            ):
                visit(value.__code__, value.__globals__)
        for inner in code.co_consts:
            if isinstance(inner, CodeType):
                visit(inner, names)

    visit(f.__code__, f.__globals__)  # type: ignore[attr-defined]
    return list(found)


# ----- Source -----


def source_of(f: Any) -> str:
    """The source of a function, of a lambda no more than itself; and the numbers that it was made with."""
    bound: dict[str, Any] = {}
    while isinstance(f, partial):
        bound |= f.keywords
        f = f.func
    code = getattr(f, "__code__", None)
    text = (
        _source(code)
        if code is not None
        else f"{getattr(f, '__name__', type(f).__name__)}, which is compiled"
    )
    if isfunction(f):
        bound |= {k: v for k, v in getclosurevars(f).nonlocals.items() if isinstance(v, (int, float, str))}
    return text + (f"\nwith {', '.join(f'{k} = {v!r}' for k, v in bound.items())}" if bound else "")


@cache
def _source(code: CodeType) -> str:
    lines = linecache.getlines(code.co_filename)
    found = [node for node in _functions("".join(lines)) if _is_of(node, code)]
    if not found:
        return "(its source is not at hand)"
    node = min(found, key=lambda n: (n.end_lineno - n.lineno, n.end_col_offset - n.col_offset))
    text = (ast.get_source_segment("".join(lines), node) or "").splitlines()
    indent = re.match(r"\s*", lines[node.lineno - 1])[0]  # type: ignore[index]
    return "\n".join(line.removeprefix(indent) for line in text)


@cache
def _functions(text: str) -> list[Any]:
    try:
        nodes = ast.walk(ast.parse(text))
    except SyntaxError:
        return []
    return [node for node in nodes if isinstance(node, (ast.FunctionDef, ast.Lambda))]


def _is_of(node: Any, code: CodeType) -> bool:
    """Was `code` made of `node`? Several lambdas may begin on a line, one may hold another."""
    if isinstance(node, ast.FunctionDef):
        first = min([node.lineno, *[d.lineno for d in node.decorator_list]])
        return node.name == code.co_name and first == code.co_firstlineno
    if code.co_name != "<lambda>" or node.lineno != code.co_firstlineno:
        return False
    spans = [p for p in code.co_positions() if None not in p and p[2:] != (0, 0)]
    body = node.body
    return all(
        (body.lineno, body.col_offset) <= (first, start)
        and (last, end) <= (body.end_lineno, body.end_col_offset)
        for first, last, start, end in spans
    )
