"""The table of a part, in plain text: one line an entry, one column a job; ratios and fits last."""

from statistics import median
from typing import Any


def table(part: dict[str, Any]) -> str:
    """The whole text, from a part's kept data."""
    values, scale = part["values"], part["scale"]
    most = max(values.values(), key=len)  # a job that all have, so in the order in which they took turns
    names = list(dict.fromkeys([*most, *(name for times in values.values() for name in times)]))
    lines = [["", *values]]
    for name in names:
        cells = [times.get(name, []) for times in values.values()]
        lines.append([name, *(cell([scale * t for t in some]) for some in cells)])
    machine, versions = part["machine"], part["versions"]
    text = [
        f"{part['title']}: {part['unit']}{how(part)}",
        f"{machine['processor']}, {machine['cores']} cores, {machine['system']}, {part['date']}",
        ", ".join(f"{name} {version}" for name, version in versions.items()),
        "",
        *columns(lines),
    ]
    if part["skipped"]:
        reasons = dict.fromkeys(part["skipped"].values())
        text += [
            "",
            *(f"left out: {names_of(reason, part['skipped'])}: {short(reason)}" for reason in reasons),
        ]
    if part.get("ratios"):
        heads = ["ratios", "of medians", "of minima", "asked"]
        text += ["", *columns([heads, *map(ratio_line, part["ratios"])])]
    if part.get("fits"):
        heads = ["straight lines", "ms a unit", "ms at 0", "largest deviation"]
        text += ["", *columns([heads, *(fit_line(fit, scale) for fit in part["fits"])])]
    return "\n".join(line.rstrip() for line in text)


def cell(values: list[float]) -> str:
    """Median and range, in as many digits as tell something.

    >>> cell([1.0, 2.0, 30.0]), cell([])
    ('2.00 (1.00-30.0)', '-')
    """
    if not values:
        return "-"
    if len(values) == 1:
        return number(values[0])
    return f"{number(median(values))} ({number(min(values))}-{number(max(values))})"


def number(x: float) -> str:
    """Three digits, or all before the point.

    >>> number(1234.5), number(12.34), number(0.1234)
    ('1234', '12.3', '0.12')
    """
    return f"{x:.{2 if x < 10 else 1 if x < 100 else 0}f}"


def ratio_line(ratio: dict[str, Any]) -> list[str]:
    known = [f"{ratio[key]:.2f}" if ratio[key] is not None else "-" for key in ("median", "min")]
    asked = "" if ratio["asked"] is None else f"<= {ratio['asked']}"
    if asked and ratio["median"] is not None:
        asked += "  reached" if ratio["median"] <= ratio["asked"] else "  MISSED"
    return [ratio["label"], *known, asked]


def fit_line(fit: dict[str, Any], scale: float) -> list[str]:
    start, slope = (f"{scale * fit[key]:.2f}" for key in ("start", "slope"))
    return [fit["label"], slope, start, f"{100 * fit['deviation']:.0f} %"]


def columns(lines: list[list[str]]) -> list[str]:
    """Lines of cells with the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join([first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(rest, widths[1:], strict=True))])
        for first, *rest in lines
    ]


def how(part: dict[str, Any]) -> str:
    rounds = max(len(some) for times in part["values"].values() for some in times.values())
    return f", median (min-max) of {rounds} in turn" if rounds > 1 else ""


def names_of(reason: str, skipped: dict[str, str]) -> str:
    return "; ".join(name for name, why in skipped.items() if why == reason)


def short(reason: str) -> str:
    return reason.strip().partition("\n")[0][:90]
