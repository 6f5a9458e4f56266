"""Anchor graphs: rows joined through the few anchors nearest to each, which AGH finds smooth functions on.

    (1)  Z_ij = exp(-|x_i - a_j|^2 / σ^2) / Σ_j' exp(-|x_i - a_j'|^2 / σ^2)
         for a_j among the s anchors nearest to x_i, over which j' goes too, else 0
    (2)  σ = mean over the training rows of the distance to the s-th nearest anchor
    (3)  adjacency of rows: A = Z Λ^-1 Z',   Λ = diag(Z'1)

The anchors are k-means centres. Z has s values a row and is never made dense.

A row of Z is a function of that row alone, bit for bit. A float32 product and its error bound choose the anchors that
may be among the s nearest (the bound is that of :mod:`hashdb.margins`); those are summed again in float64 in a fixed
order, and the exponential is taken by :mod:`hashdb_plugins._elementary`. Ties go to the anchor of the lower number.

The state of a graph: ``mean`` float32 (dim,) and ``unit`` float32 (), by which rows are centred and scaled; ``anchors``
float32 (m, dim) in that scale, and ``half_squares`` float64 (m,), |a_j|^2 / 2; ``n_nearest`` int64 (), s; ``sigma``
float64 (), in that scale.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np

from hashdb_plugins import _linear
from hashdb_plugins._elementary import exponential
from hashdb_plugins._parallel import blocks, workers
from hashdb_plugins._scaled import scaled, unit_of

_LANES = 16
# Multiply-adds up to which NumPy does it all (a few hundredths of a second), and nothing is compiled.
_SMALL_WORK = 1 << 23
# Multiply-adds from which threads are worth starting.
_THREADED_WORK = 1 << 28
_BLOCK_SUMS = 1 << 13

Nearest = Callable[[slice, np.ndarray, np.ndarray, np.ndarray], None]


def fit_graph(vectors: np.ndarray, n_anchors: int, n_nearest: int, seed: int) -> tuple[dict[str, np.ndarray], object]:
    """Find anchors and join the training rows to them.

    Cost: 5 n m dim for k-means, then 2 n m dim; memory 2 n dim float32 and n s values.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dim)
    n_anchors : int
        m, at most: there are no more anchors than distinct rows.
    n_nearest : int
        s, at most m.
    seed : int

    Returns
    -------
    state : dict of str to ndarray
        Of the graph.
    affinity : scipy.sparse.csr_array of float64, shape (n, m)
        Z; every anchor has a row that is near.
    """
    mean = _linear.mean_of(vectors)
    unit = unit_of(vectors, mean)
    anchors = _centres(scaled(vectors, mean, unit), n_anchors, seed)
    state = {"mean": mean, "unit": np.asarray(unit), "n_nearest": np.asarray(n_nearest)} | _state_of(anchors)
    state["sigma"] = np.asarray(_mean_distance(state, vectors))
    z = affinity(state, vectors)
    reached = z.sum(axis=0) > 0
    if not reached.all():
        state |= _state_of(anchors[reached])
        z = affinity(state, vectors)
    return state, z


def _state_of(anchors: np.ndarray) -> dict[str, np.ndarray]:
    wide = anchors.astype(np.float64)
    return {"anchors": anchors, "half_squares": np.einsum("ij,ij->i", wide, wide) / 2}


def affinity(state: dict[str, np.ndarray], vectors: np.ndarray) -> object:
    """Give Z of rows, equation (1).

    Returns
    -------
    scipy.sparse.csr_array of float64, shape (n, m)
    """
    from scipy.sparse import csr_array

    n, (m, _) = len(vectors), state["anchors"].shape
    s = min(int(state["n_nearest"]), m)
    columns, values = np.empty((n, s), np.int32), np.empty((n, s), np.float64)

    def keep(block: slice, rows: np.ndarray, indices: np.ndarray, scores: np.ndarray) -> None:
        columns[block] = indices
        values[block] = _weights(scores, state["sigma"])

    _for_nearest(state, vectors, keep)
    return csr_array((values.ravel(), columns.ravel(), np.arange(0, n * s + 1, s)), shape=(n, m))


def smooth(state: dict[str, np.ndarray], functions: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Give Z(x) F of rows: what F says of the anchors, carried over to them.

    Parameters
    ----------
    state : dict of str to ndarray
        Of the graph.
    functions : ndarray of float32, shape (m, k)
        F.
    vectors : ndarray of float32, shape (n, dim)

    Returns
    -------
    ndarray of float32, shape (n, k)
        Each row a function of that row alone, bit for bit.
    """
    result = np.empty((len(vectors), functions.shape[1]), np.float32)
    wide = functions.astype(np.float64)

    def keep(block: slice, rows: np.ndarray, indices: np.ndarray, scores: np.ndarray) -> None:
        # Both are float32 values: their products are exact, the sums go from the nearest anchor outwards.
        weights = _weights(scores, state["sigma"])
        total = np.zeros((len(rows), wide.shape[1]), np.float64)
        for place in range(indices.shape[1]):
            terms = wide[indices[:, place]]
            terms *= weights[:, place, None]
            total += terms
        result[block] = total

    _for_nearest(state, vectors, keep)
    return result


def _weights(scores: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Give equation (1) from scores, best first: |x - a|^2 = |x|^2 - 2 score. float32 values as float64."""
    weights = exponential((scores - scores[:, :1]) * (2 / float(sigma) ** 2))
    total = np.zeros(len(weights))
    for column in weights.T:
        total += column
    weights /= total[:, None]
    return weights.astype(np.float32).astype(np.float64)


def _centres(rows: np.ndarray, n_anchors: int, seed: int) -> np.ndarray:
    """Find k-means centres by five iterations from random rows, as the authors do; those that coincide are one."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    means = KMeans(
        min(n_anchors, len(rows)),
        init="random",
        n_init=1,
        max_iter=5,
        copy_x=False,
        algorithm="lloyd",
        random_state=int(np.random.default_rng(seed).integers(2**31)),
    )
    # Threads of scikit-learn add up their shares of a centre in the order in which they finish: one thread, one state.
    with workers(), threadpool_limits(1), warnings.catch_warnings():
        # It warns where there are fewer distinct rows than centres; then they coincide.
        warnings.simplefilter("ignore")
        means.fit(rows)
    return np.unique(means.cluster_centers_.astype(np.float32), axis=0)


def _mean_distance(state: dict[str, np.ndarray], vectors: np.ndarray) -> float:
    """Give equation (2); 1 where that is 0."""
    distances = np.empty(len(vectors))

    def keep(block: slice, rows: np.ndarray, indices: np.ndarray, scores: np.ndarray) -> None:
        wide = rows.astype(np.float64)
        squares = np.einsum("ij,ij->i", wide, wide) - 2 * scores[:, -1]
        distances[block] = np.sqrt(np.maximum(squares, 0))

    _for_nearest(state, vectors, keep)
    return float(distances.mean()) or 1.0


def _for_nearest(state: dict[str, np.ndarray], vectors: np.ndarray, keep: Nearest) -> None:
    """Call ``keep(block, rows, indices, scores)`` for blocks of rows with their s nearest anchors, nearest first.

    ``rows`` are centred and scaled, float32; ``scores`` are z · a - |a|^2 / 2, exact but for the additions.
    """
    (m, dim), half_squares = state["anchors"].shape, state["half_squares"]
    # Zeros fill columns up to whole lanes.
    width = -(-dim // _LANES) * _LANES
    anchors = np.zeros((m, width), np.float32)
    anchors[:, :dim] = state["anchors"]
    s = min(int(state["n_nearest"]), m)
    work = len(vectors) * m * width
    nearest = _nearest_small if work <= _SMALL_WORK else _nearest

    def run(block: slice) -> np.ndarray:
        rows = np.zeros((len(vectors[block]), width), np.float32)
        scaled(vectors[block], state["mean"], state["unit"], out=rows[:, :dim])
        keep(block, rows, *nearest(anchors, half_squares, rows, s))
        return np.zeros(())

    parts = blocks(len(vectors), width + m)
    if work < _THREADED_WORK:
        for part in parts:
            run(part)
        return
    with workers() as total:
        total(parts, run)


def _nearest(anchors: np.ndarray, half_squares: np.ndarray, rows: np.ndarray, s: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose by a float32 product, decide by the kernel."""
    from hashdb_plugins._kernels.nearest import nearest_rows

    products = rows @ anchors.T
    products -= half_squares.astype(np.float32)
    # As in hashdb.margins, with one more for the float64 sum: the score of a row of norm r errs by at most r * slope +
    # floor, the floor covering |a|^2 / 2 in float32, the subtraction, and underflow.
    gamma = (rows.shape[1] + 4) * 2.0**-24
    largest = float(half_squares.max())
    slope, floor = 1.0001 * gamma * (1 + gamma) ** 2 * np.sqrt(2 * largest), 2.0**-22 * largest + 2.0**-90
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    bounds = norms * np.float32(slope) + np.float32(floor)
    indices, scores = np.empty((len(rows), s), np.int32), np.empty((len(rows), s), np.float64)
    nearest_rows(products, bounds, rows, anchors, half_squares, indices, scores)
    return indices, scores


def _nearest_small(
    anchors: np.ndarray, half_squares: np.ndarray, rows: np.ndarray, s: int
) -> tuple[np.ndarray, np.ndarray]:
    """Give the same by NumPy alone, all scores being summed in the kernel's order: lane by lane, then in halves."""
    columns = np.ascontiguousarray(anchors.T, dtype=np.float64)
    indices, scores = np.empty((len(rows), s), np.int32), np.empty((len(rows), s), np.float64)
    step = max(1, _BLOCK_SUMS // len(anchors))
    for start in range(0, len(rows), step):
        block = rows[start : start + step].astype(np.float64)
        lanes = np.zeros((_LANES, len(block), len(anchors)), np.float64)
        terms = np.empty_like(lanes[0])
        for j, column in enumerate(columns):
            np.multiply(block[:, j, None], column, out=terms)
            lanes[j % _LANES] += terms
        while len(lanes) > 1:
            half = len(lanes) // 2
            lanes = lanes[:half] + lanes[half:]
        left = lanes[0] - half_squares
        each = np.arange(len(block))
        for place in range(s):
            # The first of equals.
            best = left.argmax(axis=1)
            indices[start : start + step, place] = best
            scores[start : start + step, place] = left[each, best]
            left[each, best] = -np.inf
    return indices, scores
