"""Manhattan quantisation (MHQ, Manhattan hashing): the digits of a projection keep the order of its regions.

W. Kong, W.-J. Li, M. Guo: Manhattan Hashing for Large-Scale Image Retrieval. Proceedings of the 35th International ACM
SIGIR Conference, 2012.

The values of each projection are put into 2^q clusters, q bits of information a projection:

    (1)  minimise Σ_k Σ_{p in cluster k} (p - μ_k)^2,     μ_k the mean of cluster k
    (2)  t_k = (μ_k + μ_{k+1}) / 2,     μ_1 < μ_2 < …
    (3)  digit(x) = number of thresholds below p(x);  distance of codes: Σ |digit(x) - digit(y)|

A digit is stored as its thermometer of 2^q - 1 bits (module ``_thermometer``), so that the Hamming distance of codes is
the distance of (3).

Clusters of numbers are intervals, so that (1) is solved exactly by dynamic programming over the sorted values. Where
there are more than 2,048 distinct ones, the cuts are first sought at 2,047 even places among them; then means and
clusters alternate, as k-means does, over all values until nothing changes.

Cost: fit n log n for sorting and 2^q 2048^2 / 2 a projection, memory n; encode a subtraction a stored bit.

Differs from the paper: its k-means starts at random, and finds a minimum of (1) that may not be the lowest. In one
dimension k-means has an exact solution, the dynamic programme, and no start to draw: that is why no library's k-means
is called here. The objective is the same, and the value found is the lowest, or, for more than 2,048 distinct values,
one near it; the tests compare both with the k-means of scikit-learn. The paper stores the digit in binary and adds up
differences; a thermometer has more stored bits and the same distance.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb_plugins import _thermometer
from hashdb_plugins._segmentation import Column, best_cuts, column_of, thinned

_MOST_VALUES = 2048
_MOST_TURNS = 1000


@hookimpl
def describe() -> MethodInfo:
    """Say what the quantiser is."""
    return MethodInfo(
        name="mhq",
        title="Manhattan quantisation",
        paper="Kong, Li, Guo, Manhattan Hashing for Large-Scale Image Retrieval, SIGIR",
        year=2012,
        kind="quantiser",
        params=(Param("q", int, 2, 2, 4, grid=(2, 3, 4), help="bits of information a projection"),),
        min_bits=2,
        when="Euclidean neighbours on pcah or itq; on lsh one bit is as good; n_bits a multiple of q",
    )


@hookimpl
def n_projections(n_bits: int, params: dict[str, Any]) -> int:
    """Want a projection for q bits."""
    return _thermometer.n_projections("mhq", n_bits, params["q"])


@hookimpl
def fit_quantiser(projections: np.ndarray, params: dict[str, Any]) -> dict[str, np.ndarray]:
    """Find the clusters of each projection."""
    n = _thermometer.n_thresholds(params["q"])
    return {"thresholds": np.array([best_thresholds(projection, n) for projection in projections.T], np.float32)}


@hookimpl
def quantise(state: dict[str, np.ndarray], projections: np.ndarray) -> np.ndarray:
    """Give p - t for each threshold, projection by projection."""
    thresholds = state["thresholds"]
    columns = np.repeat(np.arange(len(thresholds)), thresholds.shape[1])
    return _thermometer.margins(projections, columns, thresholds.reshape(-1))


def best_thresholds(projection: np.ndarray, n: int) -> np.ndarray:
    """Solve (1) and give (2).

    Parameters
    ----------
    projection : ndarray of float32, shape (n_rows,)
    n : int
        Thresholds wanted; those that fewer distinct values leave over stand at the largest value.

    Returns
    -------
    ndarray of float32, shape (n,), ascending
    """
    column = column_of(projection)
    n_clusters = min(n + 1, len(column.values))
    places, thin = thinned(column, _MOST_VALUES)
    cuts = places[best_cuts(thin, n_clusters, spread_cost=1.0)]
    standard = (column.values.astype(np.float64) - column.centre) / column.scale
    for _ in range(_MOST_TURNS if len(standard) > _MOST_VALUES else 0):
        new = np.searchsorted(standard, _middles(column, cuts), side="right")
        # Means of far points may leave a cluster without any.
        if np.array_equal(new, cuts) or (np.diff(new, prepend=0, append=len(standard)) == 0).any():
            break
        cuts = new
    return _thermometer.separating(column.values, cuts, column.centre + column.scale * _middles(column, cuts), n)


def _middles(column: Column, cuts: np.ndarray) -> np.ndarray:
    """Give (2), standardised."""
    edges = np.concatenate([[0], cuts, [len(column.values)]])
    means = np.diff(column.sums[edges]) / np.diff(column.counts[edges])
    return (means[:-1] + means[1:]) / 2
