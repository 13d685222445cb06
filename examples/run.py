"""The folder of one training run: config.json, log.jsonl (one object a step), checkpoint, curves.png.

Every file but the log is replaced only when its successor is complete; the log is flushed line by line.
"""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minigrad import nn, optim


class Run:
    """Writes what a run leaves behind into a new folder `parent/name` (or name-2, name-3, ...)."""

    def __init__(self, parent: str | os.PathLike, name: str, config: dict[str, Any]) -> None:
        self.folder = _new_folder(Path(parent), name)
        self.config = config
        whole(self.folder / "config.json", lambda p: p.write_text(json.dumps(config, indent=2) + "\n"))
        self._log = open(self.folder / "log.jsonl", "w", buffering=1, encoding="utf-8")
        self.checkpointed = 0
        self.rows: list[dict[str, Any]] = []

    def log(self, **values: Any) -> None:
        """Appends one object to log.jsonl; values of None are left out."""
        self.rows.append({k: v for k, v in values.items() if v is not None})
        self._log.write(json.dumps(self.rows[-1]) + "\n")

    def checkpoint(self, opt: optim.Optimizer) -> Path:
        """Replaces checkpoint.safetensors by the optimizer's state, from which `load_state_dict` goes on."""
        path = self.folder / "checkpoint.safetensors"
        nn.save_state(path, {"config": self.config, "optimizer": opt.state_dict()})
        self.checkpointed = opt.count
        return path

    def close(self) -> None:
        """Draws curves.png from the log, and closes the log."""
        self._log.close()
        if self.rows:
            figure = draw(self.rows, self.config)
            whole(self.folder / "curves.png", lambda path: figure.savefig(path, dpi=120, format="png"))


def draw(rows: list[dict[str, Any]], config: dict[str, Any]) -> Any:
    """A figure of training loss and test accuracy, and for CurveBall rho, beta and lambda, against steps."""
    from matplotlib.figure import Figure

    curveball = "rho" in rows[0]
    figure = Figure(figsize=(8, 7 if curveball else 4.5), layout="constrained")
    axes = figure.subplots(1 + curveball, sharex=True, squeeze=False)[:, 0]
    steps, loss = [r["step"] for r in rows], [r["loss"] for r in rows]
    axes[0].semilogy(steps, loss, color="tab:blue", alpha=0.3, linewidth=0.8)
    (trained,) = axes[0].semilogy(steps, smooth(loss), color="tab:blue", label="training loss (running mean)")
    axes[0].set_ylabel("loss")
    axes[0].set_title(
        f"{config['model']} on {config['data']}, {config['optimizer']}, batch {config['batch_size']}"
    )
    right = axes[0].twinx()
    tested = [r for r in rows if "test_accuracy" in r]  # none, if the run stopped in its first epoch
    percent = [100 * r["test_accuracy"] for r in tested]
    (accuracy,) = right.plot(
        [r["step"] for r in tested], percent, "o-", color="tab:orange", label="test accuracy", ms=3
    )
    right.set_ylabel("test accuracy, %")
    axes[0].legend(handles=[trained, accuracy], loc="center right")
    if curveball:
        for name, label in (("rho", "ρ"), ("beta", "β"), ("lam", "λ")):
            axes[1].plot(steps, [r[name] for r in rows], label=label, linewidth=1)
        axes[1].legend(loc="best", ncols=3)
        axes[1].set_ylabel("ρ, β, λ")
    axes[-1].set_xlabel("step")
    return figure


def smooth(losses: list[float], weight: float = 0.9) -> list[float]:
    """The running geometric mean of positive `losses` with exponential weights, unbiased at the start."""
    out, total, mass = [], 0.0, 0.0
    for value in losses:
        total = weight * total + (1 - weight) * math.log(max(value, 1e-300))
        mass = weight * mass + (1 - weight)
        out.append(math.exp(total / mass))
    return out


def whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Calls `write` on a name beside `path` and moves the result there once it is complete."""
    part = path.with_name(path.name + ".part")
    write(part)
    os.replace(part, path)


def _new_folder(parent: Path, name: str) -> Path:
    for k in range(1, 10_000):
        folder = parent / (name if k == 1 else f"{name}-{k}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise FileExistsError(f"{parent} holds 9,999 runs named {name}: clear it, or choose another --out")
