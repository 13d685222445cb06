"""Optimizers on one flat parameter vector: CurveBall, and the methods it is compared to."""

from typing import Any

from .base import Optimizer, StepInfo
from .curveball import CurveBall, CurveBallInfo
from .damping import LambdaRule
from .first_order import SGD, Adam, RMSProp
from .levenberg_marquardt import LevenbergMarquardt, LevenbergMarquardtInfo
from .line_search import Found, along, strong_wolfe
from .quadratic import QuadraticModel
from .quasi_newton import BFGS, LBFGS, QuasiNewtonInfo
from .schedules import Schedule, piecewise, sutskever
from .truncated_newton import TruncatedNewton, TruncatedNewtonInfo

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "curveball": CurveBall,
    "sgd": SGD,
    "adam": Adam,
    "rmsprop": RMSProp,
    "bfgs": BFGS,
    "lbfgs": LBFGS,
    "lm": LevenbergMarquardt,
    "truncated_newton": TruncatedNewton,
}


def build(name: str, model: Any, **settings: Any) -> Optimizer:
    """The optimizer called `name` for `model`; raises ValueError for an unknown name.

    >>> import numpy as np
    >>> build("sgd", {"w": np.ones(2)}, lr=0.1).name
    'SGD'
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}: use one of {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name](model, **settings)


def __getattr__(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)
    known = ", ".join(cls.__name__ for cls in OPTIMIZERS.values())
    raise AttributeError(f"unknown optimizer minigrad.optim.{name}: there are {known}")
