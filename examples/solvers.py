"""The solvers that the small experiments compare, each by its settings, and how a learning rate is chosen."""

from collections.abc import Callable
from typing import Any

from lab import spread
from training import schedule

from minigrad import optim

SOLVERS: dict[str, dict[str, Any]] = {
    "SGD": {"optimizer": "sgd", "momentum": 0.9},
    "Nesterov": {"optimizer": "sgd", "nesterov": True, "momentum": {"sutskever": 0.99}},
    "RMSProp": {"optimizer": "rmsprop"},
    "Adam": {"optimizer": "adam"},
    "Levenberg-Marquardt": {"optimizer": "lm"},
    "BFGS": {"optimizer": "bfgs"},
    "L-BFGS": {"optimizer": "lbfgs"},
    "Truncated Newton": {"optimizer": "truncated_newton"},
    "CurveBall, Hessian": {"optimizer": "curveball", "curvature": "hessian"},
    "CurveBall": {"optimizer": "curveball"},
    "CurveBall zg": {"optimizer": "curveball", "directions": "zg"},
}


def build(solver: dict[str, Any], model: Any, lr: float | None = None) -> optim.Optimizer:
    """The optimizer of one entry of SOLVERS for `model`, with a learning rate if it has one.

    >>> import numpy as np
    >>> build(SOLVERS["SGD"], np.ones(2), lr=0.1).momentum
    0.9
    """
    options = {k: schedule(v, 1) for k, v in solver.items() if k != "optimizer"}
    return optim.build(solver["optimizer"], model, **options, **({} if lr is None else {"lr": lr}))


def best(grid: list[float], cost: Callable[[float, float], float]) -> float:
    """The entry with the least `cost(entry, bound)`; what would cost `bound` or more may stop there.

    >>> best([0.1, 1.0, 10.0], lambda lr, bound: abs(lr - 2))
    1.0
    """
    chosen, bound = grid[0], float("inf")
    for lr in grid:
        if (value := cost(lr, bound)) < bound:
            chosen, bound = lr, value
    return chosen


def reached(values: list[int | None]) -> str:
    """Mean ± deviation over the runs that got there, and their number unless it is all.

    >>> reached([12, 14, None])
    '13.0 ± 1.4 (2 of 3)'
    """
    there = [float(v) for v in values if v is not None]
    return spread(there) + (f" ({len(there)} of {len(values)})" if len(there) < len(values) else "")
