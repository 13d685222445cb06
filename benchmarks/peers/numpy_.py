"""Raw NumPy's job on a chain of operations: its value."""

from collections.abc import Callable

import numpy as np

from .. import problems
from ..problems import Chain

VERSIONS = ("numpy",)


def chain(problem: Chain) -> dict[str, Callable[[], tuple]]:
    f, x = problems.chain(np, problem.links), np.linspace(0.1, 1.0, 10)
    return {"value": lambda: (f(x),)}


def plain(result: tuple) -> list[np.ndarray]:
    return [np.asarray(part) for part in result]
