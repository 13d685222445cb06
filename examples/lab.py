"""What the experiments share: settings in one place, runs kept one by one, numbers as JSON beside a figure.

python examples/rosenbrock.py [--fast] [--out DIR] [--only TEXT]  # and so on: each experiment is one script
python examples/lab.py docs/experiments.md                # puts the tables of docs/experiments/ into the page
"""

import argparse
import importlib
import json
import os
import platform
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from data import DataError
from run import whole
from train import positive

Settings = dict[str, Any]
Results = dict[str, dict[str, Any]]  # by the name of the run: its settings and what came out

COLOURS = {
    "CurveBall": "tab:blue",
    "CurveBall zg": "tab:cyan",
    "CurveBall fixed λ": "tab:pink",
    "CurveBall reuse 5": "tab:olive",
    "CurveBall safeguard": "tab:purple",
    "SGD": "tab:orange",
    "Nesterov": "tab:brown",
    "Adam": "tab:green",
    "RMSProp": "tab:red",
    "Truncated Newton": "black",
    "CurveBall, Hessian": "navy",
    "Levenberg-Marquardt": "magenta",
    "BFGS": "goldenrod",
    "L-BFGS": "tab:gray",
}


class Place(NamedTuple):
    """Where a run works: its folder (for checkpoints), the data's folder, the device, and how far to go."""

    folder: Path
    data_dir: str | None
    device: str
    epochs: int | None  # stop here for now, to be continued by a later call


class Experiment(NamedTuple):
    """An experiment: `settings` are all of its constants, `fast` those that --fast changes.

    `runs(settings)` names the runs and gives the settings of each; `run(settings, place)` does one and
    returns JSON; with "unfinished": True in it, it is shown, but taken up again by the next call.
    `tables(results)` gives Markdown by name, `draw(results)` a matplotlib Figure. `trains`: its runs heed the
    device and the epochs of their place.
    """

    name: str
    settings: Settings
    fast: Settings
    runs: Callable[[Settings], dict[str, Settings]]
    run: Callable[[Settings, Place], dict[str, Any]]
    tables: Callable[[Results], dict[str, str]]
    draw: Callable[[Results], Any]
    trains: bool = False


def main(experiment: Experiment, argv: list[str] | None = None) -> int:
    """The command line of an experiment: does the runs that are missing, writes NAME.json and NAME.png."""
    args = parse(experiment, argv)
    settings = experiment.settings | (experiment.fast if args.fast else {})
    out = Path(args.out or ("runs/experiments-fast" if args.fast else "runs/experiments"))
    folder = out / experiment.name
    results: Results = {}
    try:
        for name, own in experiment.runs(settings).items():
            place = Place(folder / name, args.data_dir, args.device, args.epochs)
            kept = read(place.folder / "run.json", own)
            if (kept is None or kept.get("unfinished")) and args.only in name:
                place.folder.mkdir(parents=True, exist_ok=True)
                start = time.perf_counter()
                kept = {"settings": own, **rounded(experiment.run(own, place))}
                write(place.folder / "run.json", kept)
                print(f"{experiment.name}: {name}: {time.perf_counter() - start:.1f} s", flush=True)
            if kept is not None:
                results[name] = kept
    except (DataError, ValueError, RuntimeError) as e:
        print(f"{experiment.name}.py: {e}", file=sys.stderr)
        return 2
    if not results:
        print(f"{experiment.name}.py: no run is called like --only {args.only}", file=sys.stderr)
        return 2
    write(
        out / f"{experiment.name}.json", {"settings": settings, "environment": environment(), "runs": results}
    )
    figure = experiment.draw(results)
    whole(out / f"{experiment.name}.png", lambda path: figure.savefig(path, dpi=110, format="png"))
    for name, table in experiment.tables(results).items():
        print(f"\n{name}\n\n{table}")
    print(f"\nnumbers and figure: {out / experiment.name}.json, .png")
    return 0


def parse(experiment: Experiment, argv: list[str] | None) -> argparse.Namespace:
    doc = sys.modules[experiment.runs.__module__].__doc__
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, prog=f"{experiment.name}.py"
    )
    parser.add_argument("--fast", action="store_true", help="a small version, in less than a minute")
    parser.add_argument(
        "--out", help="where results are kept (default: runs/experiments, or runs/experiments-fast)"
    )
    parser.add_argument("--data-dir", help="the folder of MNIST/raw and cifar-10-batches-bin")
    parser.add_argument("--only", default="", help="do only runs with this text in their names")
    parser.set_defaults(device="cpu", epochs=None)
    if experiment.trains:
        parser.add_argument("--device", choices=("cpu", "cuda"), help="(default: cpu)")
        parser.add_argument("--epochs", type=positive, help="stop there for now; a later call goes on")
    return parser.parse_args(argv)


def markdown(head: list[str], rows: list[list[Any]]) -> str:
    """A table in Markdown; the first column is text, the others are to the right.

    >>> print(markdown(["solver", "steps"], [["CurveBall", 13]]))
    | solver | steps |
    |---|--:|
    | CurveBall | 13 |
    """
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    cells = ["| " + " | ".join(str(c) for c in line) + " |" for line in lines]
    cells[1] = cells[1].replace(" ", "")
    return "\n".join(cells)


def spread(values: list[float], digits: int = 1) -> str:
    """Mean ± standard deviation (of the sample), or a dash where there is nothing.

    >>> spread([1.0, 2.0, 3.0]), spread([])
    ('2.0 ± 1.0', '–')
    """
    if not values:
        return "–"
    deviation = np.std(values, ddof=1) if len(values) > 1 else 0.0
    return f"{np.mean(values):.{digits}f} ± {deviation:.{digits}f}"


# ----- What is kept -----


def read(path: Path, settings: Settings) -> dict[str, Any] | None:
    """What an earlier call kept, if it was made with the same settings; raises ValueError if it was not."""
    if not path.exists():
        return None
    kept = json.loads(path.read_text())
    plain = json.loads(json.dumps(settings))
    differ = [k for k in plain | kept["settings"] if plain.get(k) != kept["settings"].get(k)]
    if differ:
        k = differ[0]
        raise ValueError(
            f"{path} was made with {k} = {kept['settings'].get(k)!r}, now it is {plain.get(k)!r}: "
            "move it away, or choose another --out"
        )
    return kept


def write(path: Path, data: dict[str, Any]) -> None:
    """JSON, whole or not at all; long lists of numbers stay on one line."""
    text = json.dumps(data, indent=1)
    text = re.sub(r"\[[^\[\]{}]*\]", lambda m: re.sub(r"\s+", " ", m[0]), text)
    whole(path, lambda part: part.write_text(text + "\n"))


def rounded(x: Any) -> Any:
    """Results with their floats to seven digits: enough for every table, and a third of the size.

    >>> rounded({"loss": [2 / 3, 1e-9 / 3], "steps": 12345678})
    {'loss': [0.6666667, 3.333333e-10], 'steps': 12345678}
    """
    if isinstance(x, dict):
        return {k: rounded(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [rounded(v) for v in x]
    return float(f"{x:.7g}") if isinstance(x, float) else x


def environment() -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"python": platform.python_version(), "numpy": np.__version__, "cores": cores}


def fill(page: str, kept: Path) -> str:
    """The page with the tables between <!-- NAME: table --> and <!-- end --> made from kept/NAME.json."""

    def table(found: re.Match) -> str:
        name, which = found[1], found[2]
        experiment: Experiment = importlib.import_module(name).EXPERIMENT
        runs = json.loads((kept / f"{name}.json").read_text())["runs"]
        return f"<!-- {name}: {which} -->\n\n{experiment.tables(runs)[which]}\n\n<!-- end -->"

    return re.sub(r"<!-- (\w+): (.+?) -->.*?<!-- end -->", table, page, flags=re.DOTALL)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        page = Path(name)
        text = fill(page.read_text(), page.with_suffix(""))
        whole(page, lambda part, text=text: part.write_text(text))  # type: ignore[misc]
