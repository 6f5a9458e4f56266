"""Cosine and exponential made of additions and multiplications alone.

Those of the libraries may differ in the last place between processors, and in a vectorised form with the values beside
them. Additions and multiplications of float64 round the same everywhere, so a result is a function of its argument. The
series are cut where they are exact to far below float32, to which results are rounded later.
"""

from __future__ import annotations

import math

import numpy as np

# sin(2π q) = q Σ_k c_k q^2k for |q| ≤ 1/4, to 6e-12.
_SINE = [(-1) ** k * (2 * math.pi) ** (2 * k + 1) / math.factorial(2 * k + 1) for k in range(8)]
# e^r for |r| ≤ log(2) / 2, to 1e-11.
EXPONENTIAL_SERIES = [1 / math.factorial(k) for k in range(11)]
LOG_2 = math.log(2)


def cosine(turns: np.ndarray) -> np.ndarray:
    """Give cos(2π t), float64.

    Its sign is exact: cos(2π t) = sin(2π q) with q = 1/4 - |t - round(t)|, where no subtraction rounds but for q near
    1/4, and the series has the sign of q.
    """
    wide = turns.astype(np.float64)
    wide -= np.rint(wide)
    q = np.subtract(0.25, np.abs(wide, out=wide), out=wide)
    series = _series(q * q, _SINE)
    series *= q
    return series


def exponential(values: np.ndarray) -> np.ndarray:
    """Give e^x of x ≤ 0, float64; what is below -200 counts as -200."""
    x = np.maximum(values, -200.0)
    halvings = np.rint(x / LOG_2)
    return np.ldexp(_series(x - halvings * LOG_2, EXPONENTIAL_SERIES), halvings.astype(np.int32))


def _series(x: np.ndarray, coefficients: list[float]) -> np.ndarray:
    """Sum c_0 + c_1 x + c_2 x^2 + … by Horner's rule."""
    total = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total *= x
        total += coefficient
    return total
