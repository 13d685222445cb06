"""Schedules: a learning rate or momentum is a number, or a function of the step's number from 0.

The functions that papers use, beside `at`, by which an optimizer asks for the value in a step.
"""

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate

Schedule = Callable[[int], float]


def sutskever(mu_max: float = 0.99, every: int = 250) -> Schedule:
    """Momentum that grows towards `mu_max`: mu_t = min(1 - 2^(-1 - log2(floor(t / every) + 1)), mu_max).

    Sutskever, Martens, Dahl and Hinton 2013, "On the importance of initialization and momentum in deep
    learning", eq. 5: it is ½, then ¾, then 5/6, ... for `every` steps each. Raises ValueError for a `mu_max`
    outside [0, 1) or an `every` below 1.

    >>> mu = sutskever(0.9)
    >>> mu(0), mu(249), mu(250), mu(750), mu(5000)
    (0.5, 0.5, 0.75, 0.875, 0.9)
    """
    if not 0 <= mu_max < 1:
        raise ValueError(f"sutskever: mu_max={mu_max} must lie in [0, 1): momentum 1 never forgets")
    if every < 1:
        raise ValueError(f"sutskever: every={every} steps must be at least 1")
    return lambda t: min(1 - 0.5 / (t // every + 1), mu_max)  # 2^(-1 - log2 k) is ½ / k


def piecewise(*pieces: tuple[int, float], every: int = 1) -> Schedule:
    """Constant pieces `(length, value)`, one after the other; the last value stays.

    Lengths count in `every` steps: with the steps of an epoch, in epochs. Raises ValueError for no pieces and
    for a length below 1.

    >>> lr = piecewise((3, 0.01), (80, 0.1), (10, 0.01), (27, 0.001), every=391)
    >>> [lr(epoch * 391) for epoch in (0, 2, 3, 82, 83, 92, 93, 500)]
    [0.01, 0.01, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    """
    if not pieces or every < 1 or any(length < 1 for length, _ in pieces):
        raise ValueError(
            f"piecewise: pieces {pieces} of {every} steps: give (length, value) each, lengths of at least 1"
        )

    ends = [every * end for end in accumulate(length for length, _ in pieces[:-1])]
    return lambda t: pieces[bisect_right(ends, t)][1]


def at(setting: float | Schedule, t: int) -> float:
    """What `setting`, a number or a schedule, is in step `t`.

    >>> at(0.1, 7), at(lambda t: 1 / (t + 1), 1)
    (0.1, 0.5)
    """
    return float(setting(t) if callable(setting) else setting)
