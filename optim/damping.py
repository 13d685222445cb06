"""Damping: how λ follows the agreement of model and loss (Levenberg and Marquardt's rule).

CurveBall's constants are those of the authors' code: every 5 steps, by 0.999⁵, thresholds ½ and 3/2.
"""

from typing import NamedTuple


class LambdaRule(NamedTuple):
    """λ grows where the loss fell by less than `low` of the prediction, shrinks where by more than `high`.

    CurveBall predicts by the damped model, so there an exact quadratic gives ratios from 1 to 2, never below;
    Levenberg-Marquardt and truncated Newton predict by the model without damping, where it gives 1.
    """

    every: int = 5
    factor: float = 0.999**5
    low: float = 0.5
    high: float = 1.5

    def due(self, step: int) -> bool:
        """Is λ looked at in this step?

        >>> [LambdaRule().due(k) for k in (0, 1, 5)]
        [True, False, True]
        """
        return step % self.every == 0

    def __call__(self, lam: float, ratio: float) -> float:
        """λ after a step whose actual change of the loss was `ratio` times the predicted one.

        >>> LambdaRule()(1.0, 0.1) > 1.0, LambdaRule()(1.0, 1.0), LambdaRule()(1.0, 2.0) < 1.0
        (True, 1.0, True)
        """
        if ratio < self.low:
            return lam / self.factor
        return lam * self.factor if ratio > self.high else lam
