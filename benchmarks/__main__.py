"""Measures minigrad and its peers in turn: `python -m benchmarks [part ...]`.

Each part prints a table and keeps its raw numbers in benchmarks/results/. --write puts the kept tables into a
page, between marks that name the parts.
"""

import argparse
import json
import os
import platform
import re
import time
from pathlib import Path
from typing import Any

from .parts import PARTS
from .table import table

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"one of {', '.join(PARTS)}; all by default")
    parser.add_argument("--rounds", type=int, help="how often each job is measured; 9 by default")
    parser.add_argument("--fast", action="store_true", help="small problems, 2 rounds, results not kept")
    parser.add_argument("--results", type=Path, help="where to keep results; benchmarks/results by default")
    parser.add_argument("--write", type=Path, help="measure nothing: put the kept tables into this page")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}: use {', '.join(PARTS)}")
    results = args.results or (None if args.fast else RESULTS)
    if args.write:
        keep(args.write, written(args.write.read_text(), args.results or RESULTS))
        return
    for name in args.parts or PARTS:
        data = PARTS[name](args.rounds or (2 if args.fast else 9), args.fast)
        data |= {"date": time.strftime("%Y-%m-%d"), "machine": machine()}
        if results:
            keep(results / f"{name}.json", json.dumps(data, indent=1) + "\n")
        print(table(data), end="\n\n", flush=True)


def written(page: str, results: Path) -> str:
    """The page with the table of each part that was kept, between <!-- part --> and <!-- end -->."""

    def fill(found: re.Match) -> str:
        kept = results / f"{found[1]}.json"
        if not kept.exists():
            return found[0]
        return f"<!-- {found[1]} -->\n\n```text\n{table(json.loads(kept.read_text()))}\n```\n\n<!-- end -->"

    return re.sub(r"<!-- (\w+) -->.*?<!-- end -->", fill, page, flags=re.DOTALL)


def keep(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    os.replace(part, path)


def machine() -> dict[str, Any]:
    known = Path("/proc/cpuinfo")
    models = re.findall(r"^model name\s*:\s*(.*)", known.read_text() if known.exists() else "", re.MULTILINE)
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }


if __name__ == "__main__":
    main()
