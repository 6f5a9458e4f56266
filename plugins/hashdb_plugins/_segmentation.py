"""A projection of training rows in ascending order, cut into regions: what mhq, npq and vbq choose thresholds by.

Equal values are never separated, for no threshold does so: a cut is a place among the distinct values, and region k
holds the values from cut k - 1 up to, but without, cut k.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Column:
    """One projection of the training rows, with the pairs of neighbours among them.

    Attributes
    ----------
    values : ndarray of float32, shape (d,)
        Distinct, ascending.
    centre, scale : float
        Standardised values are (value - centre) / scale, within -1 and 1.
    counts : ndarray of float64, shape (d + 1,)
        Rows below each distinct value; the last is all rows.
    sums, squares : ndarray of float64, shape (d + 1,)
        Sums over those rows of their standardised values, and of the squares.
    lows, highs : ndarray of int64, shape (n_pairs,)
        Places of the two values of each pair, low at most high, by ascending high.
    """

    values: np.ndarray
    centre: float
    scale: float
    counts: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    lows: np.ndarray
    highs: np.ndarray

    @property
    def spread(self) -> float:
        """Squared error of all rows about their mean."""
        return float(self.squares[-1] - self.sums[-1] ** 2 / self.counts[-1])


def column_of(projection: np.ndarray, neighbours: np.ndarray | None = None) -> Column:
    """Sort a projection.

    Parameters
    ----------
    projection : ndarray of float32, shape (n,)
        Finite, n at least 1.
    neighbours : ndarray of int64, shape (n_pairs, 2), optional
        Pairs of rows.
    """
    values, places, repeats = np.unique(projection, return_inverse=True, return_counts=True)
    # Centred and scaled: squares neither cancel far from 0 nor underflow.
    wide = values.astype(np.float64)
    centre = float(wide @ repeats / len(projection))
    scale = float(np.abs(wide - centre).max()) or 1.0
    wide = (wide - centre) / scale
    counts, sums, squares = _running(repeats), _running(wide * repeats), _running(wide**2 * repeats)
    left, right = places[neighbours].T if neighbours is not None else np.empty((2, 0), np.int64)
    lows, highs = np.minimum(left, right), np.maximum(left, right)
    # NumPy sorts small integers by radix.
    order = np.argsort(highs.astype(np.uint16) if len(values) <= 1 << 16 else highs, kind="stable")
    return Column(values, centre, scale, counts, sums, squares, lows[order], highs[order])


def thinned(column: Column, most_values: int) -> tuple[np.ndarray, Column]:
    """Join neighbouring values, without pairs, until few are left.

    Parameters
    ----------
    column : Column
    most_values : int

    Returns
    -------
    places : ndarray of int64, shape (d' + 1,)
        Place in ``column`` of each value left, and of the end.
    Column
        Of d' values, at most ``most_values``.
    """
    d = len(column.values)
    if d <= most_values:
        places = np.arange(d + 1)
    else:
        # Half of them evenly by rank, for the dense parts, and half by value, for long tails.
        by_rank = np.linspace(0, d, most_values // 2 + 1).astype(np.int64)
        even = np.linspace(float(column.values[0]), float(column.values[-1]), most_values // 2)
        places = np.union1d(by_rank, np.searchsorted(column.values, even))
    counts, sums, squares = (running[places] for running in (column.counts, column.sums, column.squares))
    none = np.empty(0, np.int64)
    return places, Column(column.values[places[:-1]], column.centre, column.scale, counts, sums, squares, none, none)


def best_cuts(
    column: Column, n_regions: int, pair_gain: float = 0.0, size_cost: float = 0.0, spread_cost: float = 0.0
) -> np.ndarray:
    """Cut into regions of the highest score, none of them empty: exactly, by dynamic programming.

    The score is ``pair_gain`` times the neighbour pairs within regions, less ``size_cost`` times all pairs of rows
    within regions, less ``spread_cost`` times the squared error of regions about their means.

    Cost d^2 / 2 for each region between the first and the last; memory n_regions * d.

    Parameters
    ----------
    column : Column
    n_regions : int
        1 to d.
    pair_gain, size_cost, spread_cost : float

    Returns
    -------
    ndarray of int64, shape (n_regions - 1,), ascending
    """
    if n_regions == 1:
        return np.empty(0, np.int64)
    # numba costs half a second to import, and only learning needs it.
    from hashdb_plugins._kernels import thresholds

    starts = np.searchsorted(column.highs, np.arange(len(column.counts)))
    return thresholds.best_cuts(
        column.counts,
        column.sums,
        column.squares,
        starts,
        column.lows,
        float(pair_gain),
        float(size_cost),
        float(spread_cost),
        n_regions,
    )


def totals(column: Column, cuts: np.ndarray) -> tuple[float, float, float]:
    """Count what stays together: neighbour pairs, all pairs, and the squared error of regions about their means."""
    edges = np.concatenate([[0], cuts, [len(column.values)]])
    region = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    kept = np.count_nonzero(region[column.lows] == region[column.highs])
    sizes = np.diff(column.counts[edges])
    spread = np.diff(column.squares[edges]) - np.diff(column.sums[edges]) ** 2 / sizes
    return float(kept), float((sizes * (sizes - 1) / 2).sum()), float(spread.sum())


def totals_of_one_cut(column: Column, cuts: np.ndarray, k: int) -> tuple[np.ndarray, ...]:
    """Give :func:`totals` for every place of cut k between its neighbours.

    Returns
    -------
    places : ndarray of int64, shape (m,)
    kept, sizes, spread : ndarray of float64, shape (m,)
    """
    edges = np.concatenate([[0], cuts, [len(column.values)]])
    low, high = edges[k], edges[k + 2]
    places = np.arange(low + 1, high)
    inside = (column.lows >= low) & (column.highs < high)
    # Of the pairs inside, those whose higher value is below a place stay left of it, those whose lower is not, right.
    n_left = _running(np.bincount(column.highs[inside] - low, minlength=high - low))[1:-1]
    n_not_right = _running(np.bincount(column.lows[inside] - low, minlength=high - low))[1:-1]
    kept = n_left + (np.count_nonzero(inside) - n_not_right)
    n, total, square = (
        np.stack([running[places] - running[low], running[high] - running[places]])
        for running in (column.counts, column.sums, column.squares)
    )
    changing = kept, (n * (n - 1) / 2).sum(axis=0), (square - total**2 / n).sum(axis=0)
    now = cuts[k] - low - 1
    fixed = totals(column, cuts)
    return places, *(part + (whole - part[now]) for part, whole in zip(changing, fixed, strict=True))


def _running(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
