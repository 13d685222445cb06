"""One picture of the training losses of several runs of train.py, a panel a problem, and their numbers.

python examples/compare.py --out docs/first-300-steps.png runs/mnist-* runs/cifar10-*
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from run import smooth, whole

SHOWN = ("data", "model", "optimizer", "batch_size", "steps", "seed", "dtype", "device")
COLOURS = {"curveball": "tab:blue", "sgd": "tab:orange", "adam": "tab:green", "rmsprop": "tab:red"}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run folders of train.py")
    parser.add_argument(
        "--out", type=Path, required=True, help="the picture; its numbers go beside it, as .json"
    )
    args = parser.parse_args(argv)
    try:
        panels = group([read(folder) for folder in args.runs])
    except ValueError as e:
        print(f"compare.py: {e}", file=sys.stderr)
        return 2
    whole(args.out, lambda path: draw(panels, path))
    runs = [
        {**{k: run["config"][k] for k in SHOWN}, **run["summary"], "loss": run["loss"]}
        for runs in panels.values()
        for run in runs
    ]
    text = "[\n" + ",\n".join(json.dumps(run) for run in runs) + "\n]\n"
    whole(args.out.with_suffix(".json"), lambda path: path.write_text(text))
    for title, runs in panels.items():
        print(title)
        for run in runs:
            s = run["summary"]
            print(
                f"  {run['config']['optimizer']:10} loss {s['final_loss']:.4f} (mean of the last 20)  "
                f"test accuracy {s['test_accuracy']:.2%}  {s['seconds_per_step'] * 1000:.1f} ms a step"
            )
    return 0


def read(folder: Path) -> dict[str, Any]:
    """Settings, losses and a summary of one run folder."""
    try:
        config = json.loads((folder / "config.json").read_text())
        rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    except (OSError, json.JSONDecodeError) as e:
        raise ValueError(f"{folder} is no run folder of train.py: {e}") from None
    accuracies = [r["test_accuracy"] for r in rows if "test_accuracy" in r]
    if not accuracies:
        raise ValueError(f"{folder} holds no finished epoch: let train.py run to its end")
    loss = [r["loss"] for r in rows]
    last = loss[-20:]
    # The median of differences: a test pass between two steps belongs to neither.
    times = sorted(b["seconds"] - a["seconds"] for a, b in zip(rows, rows[1:], strict=False))
    summary = {
        "final_loss": sum(last) / len(last),
        "test_accuracy": accuracies[-1],
        "seconds_per_step": times[len(times) // 2],
    }
    return {"config": config, "loss": [round(v, 5) for v in loss], "summary": summary}


def group(runs: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    panels: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        c = run["config"]
        panels.setdefault(f"{c['model']} on {c['data']}, batch {c['batch_size']}", []).append(run)
    return panels


def draw(panels: dict[str, list[dict[str, Any]]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * len(panels), 4.2), layout="constrained")
    for axis, (title, runs) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for run in runs:
            name = run["config"]["optimizer"]
            axis.semilogy(run["loss"], color=COLOURS[name], alpha=0.2, linewidth=0.7)
            axis.semilogy(smooth(run["loss"]), color=COLOURS[name], label=name)
        axis.set_title(title)
        axis.set_xlabel("step")
        axis.legend()
    figure.supylabel("training loss (running mean)")
    figure.savefig(path, dpi=120, format="png")


if __name__ == "__main__":
    sys.exit(main())
