"""Initial values of weights, drawn from an explicit numpy.random.Generator.

`fan_in` is how many inputs a weight's output sums over; it keeps the variance of activations level.
"""

import math

import numpy as np

Rng = np.random.Generator | int


def as_rng(rng: Rng) -> np.random.Generator:
    """A Generator as it is, or a new one from a seed.

    >>> as_rng(0).integers(10) == as_rng(0).integers(10)
    np.True_
    """
    return rng if isinstance(rng, np.random.Generator) else np.random.default_rng(rng)


def normal(
    rng: Rng, shape: tuple[int, ...], std: float, dtype: np.dtype | type | str = np.float32
) -> np.ndarray:
    """N(0, std²).

    >>> normal(0, (2, 3), 0.1).dtype
    dtype('float32')
    """
    return (std * as_rng(rng).standard_normal(shape)).astype(dtype)


def he_normal(
    rng: Rng, shape: tuple[int, ...], fan_in: int, dtype: np.dtype | type | str = np.float32
) -> np.ndarray:
    """N(0, 2 / fan_in), for layers followed by relu (He et al. 2015, eq. 10).

    >>> he_normal(0, (8, 3, 3, 4), 36).shape
    (8, 3, 3, 4)
    """
    return normal(rng, shape, math.sqrt(2 / fan_in), dtype)


def xavier_uniform(
    rng: Rng, shape: tuple[int, ...], fan_in: int, fan_out: int, dtype: np.dtype | type | str = np.float32
) -> np.ndarray:
    """U(-a, a) with a = √(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 16).

    >>> bool(abs(xavier_uniform(0, (100,), 3, 3)).max() <= 1)
    True
    """
    a = math.sqrt(6 / (fan_in + fan_out))
    return as_rng(rng).uniform(-a, a, shape).astype(dtype)
