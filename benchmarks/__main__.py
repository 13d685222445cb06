"""Measures minigrad and its peers in turn: `python -m benchmarks [part ...]`.

Each part prints a table and keeps its raw numbers in benchmarks/results/. --write puts the kept tables into a
page, between marks that name the parts.
"""

import argparse
import json
import time
from pathlib import Path

from .kept import RESULTS, keep, machine, written
from .parts import PARTS
from .table import table


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"one of {', '.join(PARTS)}; all by default")
    parser.add_argument("--rounds", type=int, help="how often each job is measured; 9 by default")
    parser.add_argument(
        "--fast", action="store_true", help="small problems, 2 rounds, results not kept, no resnet18"
    )
    parser.add_argument("--results", type=Path, help="where to keep results; benchmarks/results by default")
    parser.add_argument("--write", type=Path, help="measure nothing: put the kept tables into this page")
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}: use {', '.join(PARTS)}")
    results = args.results or (None if args.fast else RESULTS)
    if args.write:
        keep(args.write, written(args.write.read_text(), args.results or RESULTS))
        return
    for name in args.parts or [name for name in PARTS if not (args.fast and name == "resnet18")]:
        data = PARTS[name](args.rounds or (2 if args.fast else 9), args.fast)
        data |= {"date": time.strftime("%Y-%m-%d"), "machine": machine()}
        if results:
            keep(results / f"{name}.json", json.dumps(data, indent=1) + "\n")
        print(table(data), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
