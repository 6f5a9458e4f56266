"""What codes look like by themselves: balance and correlation of bits, distinct codes, quantisation error."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.codes import Codes, check_codes, check_n_bits, unmasked, unpack
from hashdb.errors import ArgumentError

_VALUES_AT_ONCE = 1 << 22


def bit_balance(codes: Codes, n_bits: int) -> tuple[float, float]:
    """Measure how far bits are from being set in half of the codes.

    Parameters
    ----------
    codes : ndarray of uint64, shape (n, n_words)
    n_bits : int

    Returns
    -------
    mean, worst : float
        Of abs(p - 1/2) over the bits, p being the share of codes that have the bit set; 0 to 0.5.

    Raises
    ------
    ArgumentError
        Codes of another width, or none.

    Examples
    --------
    >>> bit_balance(np.array([[0b01], [0b11]], np.uint64), 2)
    (0.25, 0.5)
    """
    n, together = _together(codes, n_bits)
    away = np.abs(np.diagonal(together) / n - 0.5)
    return float(away.mean()), float(away.max())


def bit_correlation(codes: Codes, n_bits: int) -> float:
    """Average the absolute correlations of all pairs of different bits.

    Parameters
    ----------
    codes : ndarray of uint64, shape (n, n_words)
    n_bits : int

    Returns
    -------
    float
        0 to 1. A bit that never changes has no correlation: its pairs count as 0. With one bit there are no pairs: 0.

    Raises
    ------
    ArgumentError
        Codes of another width, or none.

    Examples
    --------
    >>> bit_correlation(np.array([[0b00], [0b11], [0b11]], np.uint64), 2)
    1.0
    """
    n, together = _together(codes, n_bits)
    return _mean_correlation(n, together)


def distinct_codes(codes: Codes) -> int:
    """Count different codes.

    Parameters
    ----------
    codes : ndarray of uint64, shape (n, n_words)

    Returns
    -------
    int

    Examples
    --------
    >>> distinct_codes(np.array([[1, 2], [1, 2], [2, 1]], np.uint64))
    2
    """
    if not len(codes):
        return 0
    ordered = codes[np.lexsort(codes.T)]
    return 1 + int((ordered[1:] != ordered[:-1]).any(axis=1).sum())


def code_statistics(codes: Codes, n_bits: int) -> dict[str, float]:
    """Compute every measure of codes by themselves.

    Parameters
    ----------
    codes : ndarray of uint64, shape (n, n_words)
    n_bits : int

    Returns
    -------
    dict
        ``bit_balance_mean``, ``bit_balance_worst``, ``bit_correlation``, ``constant_bits``, ``distinct_codes``.

    Raises
    ------
    ArgumentError
        Codes of another width, or none.

    Examples
    --------
    >>> code_statistics(np.array([[0b01], [0b11]], np.uint64), 2)["constant_bits"]
    1
    """
    codes = check_codes(codes, n_bits)
    n, together = _together(codes, n_bits)
    ones = np.diagonal(together)
    away = np.abs(ones / n - 0.5)
    return {
        "bit_balance_mean": float(away.mean()),
        "bit_balance_worst": float(away.max()),
        "bit_correlation": _mean_correlation(n, together),
        "constant_bits": int(((ones == 0) | (ones == n)).sum()),
        "distinct_codes": distinct_codes(codes),
    }


def quantisation_error(projections: Any, *, scaled: bool = False) -> float:
    """Measure how far projections are from their signs, the objective of iterative quantisation.

    Parameters
    ----------
    projections : array, shape (n, n_bits)
        Margins: the bit is whether a value is above 0.
    scaled : bool
        False: mean over rows of the squared Euclidean distance between a row and its signs, which depends on the scale
        of the data. True: the same for projections multiplied by the factor that makes it least, divided by n_bits: 0
        where all values have one magnitude, and at most 1, whatever the scale.

    Returns
    -------
    float

    Raises
    ------
    ArgumentError
        Values that are not numbers (n, n_bits).

    Examples
    --------
    >>> quantisation_error([[1.0, -3.0]]), quantisation_error([[2.0, -2.0]], scaled=True)
    (4.0, 0.0)
    """
    values = np.asarray(unmasked(projections, "projections"))
    if values.ndim != 2 or not values.size or values.dtype.kind not in "iuf":
        raise ArgumentError(f"projections are {values.dtype} of shape {values.shape}, expected numbers (n, n_bits)")
    sizes = np.abs(values.astype(np.float64))
    # A value of magnitude v is v - 1 from its sign; 0 has the sign -1, which is as far.
    if not scaled:
        return float(np.square(sizes - 1).sum(axis=1).mean())
    largest = float(sizes.max())
    if largest == 0:
        return 1.0
    sizes /= largest
    # The least over f of sum (f v - 1)² is N - (sum v)² / sum v².
    return max(0.0, 1 - float(sizes.sum()) ** 2 / (float(np.square(sizes).sum()) * sizes.size))


def _together(codes: Codes, n_bits: int) -> tuple[int, NDArray[np.float64]]:
    """Count the codes, and for each pair of bits those that have both set; whole numbers in float64."""
    codes = check_codes(codes, check_n_bits(n_bits))
    if not len(codes):
        raise ArgumentError("there are no codes, expected some to measure")
    together = np.zeros((n_bits, n_bits), np.float64)
    # A float32 product of zeros and ones is exact up to 2^24 rows.
    step = min(1 << 20, max(1, _VALUES_AT_ONCE // n_bits))
    for start in range(0, len(codes), step):
        bits = unpack(codes[start : start + step], n_bits).astype(np.float32)
        together += bits.T @ bits
    return len(codes), together


def _mean_correlation(n: int, together: NDArray[np.float64]) -> float:
    n_bits = len(together)
    if n_bits == 1:
        return 0.0
    ones = np.diagonal(together)
    # n² times the covariances: whole numbers, so a bit that never changes has a variance of exactly 0.
    covariances = n * together - np.outer(ones, ones)
    variances = np.diagonal(covariances)
    scales = np.sqrt(np.outer(variances, variances))
    correlations = np.divide(np.abs(covariances), scales, out=np.zeros_like(scales), where=scales > 0)
    return float((correlations.sum() - np.trace(correlations)) / (n_bits * (n_bits - 1)))
