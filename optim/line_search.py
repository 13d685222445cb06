"""A line search along a direction of descent for the strong Wolfe conditions, by values and slopes.

Nocedal and Wright 2006, "Numerical Optimization", section 3.5. Forward mode gives value and slope in one
pass.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import minigrad as mg

from .base import Array, dot

Phi = Callable[[float], tuple[float, float]]


class Found(NamedTuple):
    """The step `alpha`, `value` and `slope` of phi at it, how many `evaluations` were made, and whether the
    Wolfe conditions hold (`wolfe`): if not, this is the lowest value seen, at worst alpha = 0.
    """

    alpha: float
    value: float
    slope: float
    evaluations: int
    wolfe: bool


def along(f: Callable[[Array], Array], w: Array, d: Array, weight_decay: float = 0.0) -> Phi:
    """phi(alpha) = f(x) + weight_decay/2 |x|² at x = w + alpha d, and its slope; `f` is a scalar function.

    Each evaluation is one forward-mode pass over `f`, which keeps no record.

    >>> along(lambda w: (w**2).sum(), np.ones(2), np.array([1.0, 0.0]))(0.5)
    (3.25, 3.0)
    """

    def phi(alpha: float) -> tuple[float, float]:
        x = w + alpha * d
        value, slope = map(float, mg.jvp(f, (x,), (d,)))
        if weight_decay:
            value, slope = value + weight_decay / 2 * dot(x, x), slope + weight_decay * dot(x, d)
        return value, slope

    return phi


def strong_wolfe(
    phi: Phi,
    value: float,
    slope: float,
    alpha: float = 1.0,
    c1: float = 1e-4,
    c2: float = 0.9,
    most: int = 25,
) -> Found:
    """A step with phi(alpha) <= phi(0) + c1 alpha phi'(0) and |phi'(alpha)| <= c2 |phi'(0)|.

    `phi(alpha)` gives value and slope, `value` and `slope` are those at 0, `alpha` is what is tried first.
    If there is none among `most` evaluations, the step with the lowest value is returned; it is 0 if none
    was below phi(0), so phi never rises. A value or slope that is not finite is a step too far. Raises
    ValueError for a slope that does not go down, unless it is 0: then the step is 0.

    >>> strong_wolfe(lambda a: ((a - 3) ** 2, 2 * (a - 3)), 9.0, -6.0, c2=0.1)
    Found(alpha=3.0, value=0.0, slope=0.0, evaluations=2, wolfe=True)
    """
    if not 0 < c1 < c2 < 1:
        raise ValueError(f"strong_wolfe: c1={c1} and c2={c2}, but there is such a step for 0 < c1 < c2 < 1")
    if not slope <= 0:
        raise ValueError(f"strong_wolfe: phi has slope {slope} at 0: the direction must go down")
    best = low = _Point(0.0, value, slope)
    if slope == 0:
        return Found(*best, 0, True)
    # Algorithms 3.5 and 3.6 are one loop: the step looked for lies between `low`, which has the least value
    # of those with enough decrease and slopes towards `high`, and `high`, at infinity until some step was too
    # long.
    high = _Point(math.inf, math.inf, math.nan)
    for n in range(1, most + 1):
        here = _Point(alpha, *phi(alpha))
        if not (math.isfinite(here.value) and math.isfinite(here.slope)):
            here = _Point(alpha, math.inf, math.nan)
        if here.value < best.value:
            best = here
        enough = here.value <= value + c1 * alpha * slope
        if enough and abs(here.slope) <= -c2 * slope:
            return Found(*here, n, True)
        if not enough or here.value >= low.value:
            high = here
        else:
            if here.slope * (high.alpha - low.alpha) >= 0:
                high = low
            low, before = here, low
        if high.alpha == math.inf:
            alpha = _cubic_minimum(before, low)
            # A minimum that lies behind is followed by a descent without end.
            alpha = min(max(alpha, 1.1 * low.alpha), 10 * low.alpha) if alpha > low.alpha else 10 * low.alpha
            continue
        a, b = sorted((low.alpha, high.alpha))
        alpha = _cubic_minimum(low, high)
        # Not in the outer tenths, so that the interval shrinks whatever the cubic says.
        alpha = (a + b) / 2 if math.isnan(alpha) else min(max(alpha, 0.9 * a + 0.1 * b), 0.1 * a + 0.9 * b)
        if not a < alpha < b:  # no number is between them
            break
    return Found(*best, n, False)


class _Point(NamedTuple):
    alpha: float
    value: float
    slope: float


def _cubic_minimum(p: _Point, q: _Point) -> float:
    """Where the cubic with the values and slopes at `p` and `q` is least (eq. 3.59); NaN if nowhere."""
    d1 = p.slope + q.slope - 3 * (p.value - q.value) / (p.alpha - q.alpha)
    square = d1 * d1 - p.slope * q.slope
    if not 0 <= square < math.inf:
        return math.nan
    d2 = math.copysign(math.sqrt(square), q.alpha - p.alpha)
    below = q.slope - p.slope + 2 * d2
    return q.alpha - (q.alpha - p.alpha) * (q.slope + d2 - d1) / below if below else math.nan
