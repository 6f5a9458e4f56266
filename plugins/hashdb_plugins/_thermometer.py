"""Thresholds of a projection and the thermometer of its digit, of mhq, npq and vbq.

2^q - 1 thresholds t_1 ≤ t_2 ≤ … cut a projection p into 2^q regions, numbered from 0. The number of a region is a digit
of q bits of information; it is stored as its thermometer

    bit_i = [p > t_i],     i = 1 … 2^q - 1

which has as many ones as the digit says. Two thermometers differ where one digit is below i and the other is not, so
that their Hamming distance is the difference of the digits, and the distance of codes is the Manhattan distance:

    Σ_i |bit_i(x) - bit_i(y)| = |digit(x) - digit(y)|
"""

from __future__ import annotations

import numpy as np

from hashdb.errors import ArgumentError

_MAX_STORED_BITS = 4096


def n_projections(quantiser: str, n_bits: int, q: int) -> int:
    """Give the number of projections of q bits each.

    Raises
    ------
    ArgumentError
        Where q does not divide ``n_bits``, or the thermometers would be wider than a code can be.
    """
    below = n_bits - n_bits % q
    if n_bits % q:
        raise ArgumentError(
            f"{quantiser} gives every projection {q} bits: n_bits is {n_bits}, expected a multiple of {q} such as "
            f"{f'{below} or ' if below else ''}{below + q}"
        )
    require_width(quantiser, n_bits, q)
    return n_bits // q


def require_width(quantiser: str, n_bits: int, q: int) -> None:
    """Refuse bits whose thermometers, of up to q bits each, may be wider than a code can be."""
    n_full, rest = divmod(n_bits, q)
    n_stored_bits = n_full * n_thresholds(q) + n_thresholds(rest)
    if n_stored_bits > _MAX_STORED_BITS:
        raise ArgumentError(
            f"n_bits is {n_bits}, for which {quantiser} stores {n_stored_bits} bits with {q} bits a projection, and a "
            f"code has at most {_MAX_STORED_BITS}; ask for up to {_MAX_STORED_BITS // n_thresholds(q) * q}, or for "
            "fewer bits a projection"
        )


def n_thresholds(q: int) -> int:
    """Give the thresholds, and stored bits, of a digit of q bits."""
    return 2**q - 1


def between(values: np.ndarray, cuts: np.ndarray, n: int) -> np.ndarray:
    """Put thresholds in the middle between neighbouring values.

    Parameters
    ----------
    values : ndarray of float32, shape (d,)
        Distinct and ascending.
    cuts : ndarray of int64, shape (at most n,)
        Places in ``values``, ascending, 1 to d - 1: the first value above each threshold.
    n : int
        Thresholds wanted; those without a cut stand at the last value, where no training row is above them.

    Returns
    -------
    ndarray of float32, shape (n,), ascending
    """
    return separating(values, cuts, (values[cuts - 1].astype(np.float64) + values[cuts]) / 2, n)


def separating(values: np.ndarray, cuts: np.ndarray, thresholds: np.ndarray, n: int) -> np.ndarray:
    """Round thresholds to float32 so that they still separate the values that they stand between.

    Parameters
    ----------
    values, cuts, n
        As in :func:`between`.
    thresholds : ndarray of float64, shape of ``cuts``

    Returns
    -------
    ndarray of float32, shape (n,), ascending
    """
    below, above = values[cuts - 1], values[cuts]
    rounded = np.maximum(thresholds.astype(np.float32), below)
    result = np.full(n, values[-1], np.float32)
    result[: len(cuts)] = np.where(rounded < above, rounded, below)
    return result


def margins(projections: np.ndarray, columns: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Give p - t for each stored bit.

    Parameters
    ----------
    projections : ndarray of float32, shape (n, n_projections)
    columns : ndarray of int64, shape (n_stored_bits,)
        Which projection each bit is of.
    thresholds : ndarray of float32, shape (n_stored_bits,)

    Returns
    -------
    ndarray of float32, shape (n, n_stored_bits)
    """
    result = np.take(projections, columns, axis=1)
    # A difference of two floats has its exact sign: gradual underflow keeps it from rounding to 0.
    with np.errstate(over="ignore"):
        return np.subtract(result, thresholds, out=result)
