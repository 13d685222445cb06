"""HIPS autograd's jobs on a chain of operations."""

from collections.abc import Callable

import autograd
import autograd.numpy as anp
import numpy as np

from .. import problems
from ..problems import Chain

VERSIONS = ("autograd", "numpy")


def chain(problem: Chain) -> dict[str, Callable[[], tuple]]:
    """autograd has no record to replay forwards, so what comes next to that stands there."""
    f = problems.chain(anp, problem.links)
    x, v = np.linspace(0.1, 1.0, 10), np.ones(10)
    push, g, pull = autograd.make_jvp(f)(x), autograd.grad(f), autograd.make_vjp(f)(x)[0]
    product = autograd.make_jvp(g)(x)
    return {
        "value": lambda: (f(x),),
        "jvp": lambda: (push(v)[1],),
        "gradient": lambda: (g(x),),
        "Hessian product": lambda: (product(v)[1],),
        "linearize": lambda: (autograd.make_vjp(f)(x)[1],),  # good for reverse sweeps only
        "J(t), stored": lambda: (push(v)[1],),  # runs f again
        "J.T(ct), stored": lambda: (pull(1.0),),
    }


def plain(result: tuple) -> list[np.ndarray]:
    return [np.asarray(part) for part in result]
