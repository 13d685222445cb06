"""The command line: `python -m minigrad report step.json` shows a recording again."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .inspect import Recording, Table


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m minigrad", description="Looks at derivative passes that were recorded."
    )
    commands = parser.add_subparsers(metavar="command")
    add_report(commands)
    args = parser.parse_args()
    if "run" not in args:
        parser.print_help()
        return
    try:
        text = args.run(args)
    except OSError as e:
        parser.exit(2, f"minigrad: {e.filename}: {e.strerror}\n")
    except ValueError as e:
        parser.exit(2, f"minigrad: {e}\n")
    print(text)


def add_report(commands: Any) -> None:
    words = "show a recording that t.to_json(FILE) or MINIGRAD_TRACE=FILE wrote"
    parser = commands.add_parser("report", help=words, description=words)
    parser.add_argument("file", metavar="FILE.json")
    by = ("pass", "op", "module")
    parser.add_argument(
        "--by", choices=by, default=by[0], help="what a row is about; %(default)s unless given"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--html", metavar="FILE.html", help="write a page with all there is, in place of a table"
    )
    form.add_argument("--json", action="store_true", help="print the table as JSON, for programs")
    parser.set_defaults(run=report)


def report(args: argparse.Namespace) -> str:
    text = Path(args.file).read_text(encoding="utf-8", errors="replace")
    try:
        recording = Recording.from_json(text)
    except ValueError as e:
        raise ValueError(f"{args.file}: {e}") from None
    if args.html:
        recording.to_html(args.html)
        return f"wrote {args.html}"
    table = recording.table(by=args.by)
    return json.dumps(as_data(table), ensure_ascii=False, indent=1) if args.json else str(table)


def as_data(table: Table) -> dict[str, Any]:
    """A table as {"title", "rows", "total"}, where a row has a value for each column.

    >>> as_data(Table("t", ["op", ">ops", ">MFLOP"], [["sin", "2", ">=0.5"]], ["total", "2", "·"]))["rows"]
    [{'op': 'sin', 'ops': 2, 'MFLOP': '>=0.5'}]
    """

    def row(cells: Iterable[str]) -> dict[str, Any]:
        pairs = zip(table.columns, cells, strict=True)
        return {c.lstrip(">"): value(cell) if c.startswith(">") else cell for c, cell in pairs}

    def value(cell: str) -> float | str | None:
        if cell in ("", "·"):
            return 0 if cell else None
        try:
            return int(cell) if cell.isdecimal() else float(cell)
        except ValueError:
            return cell

    return {"title": table.title, "rows": [row(r) for r in table.rows], "total": row(table.footer)}


if __name__ == "__main__":
    main()
