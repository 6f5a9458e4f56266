"""Cross-view hashing (CVH).

S. Kumar, R. Udupa: Learning Hash Functions for Cross-View Similarity Search. Proceedings of the 22nd International
Joint Conference on Artificial Intelligence (IJCAI), 2011. Items of K views, with a similarity W_ij between items i and
j, get codes that are near, within each view and across each pair of views, where items are similar. Relaxed to
y_k(i) = a_k · (x_ik - μ_k), with X_k the centred rows of view k, D = diag(W 1), L = D - W:

    (1)  minimise Σ_ij W_ij [Σ_k |y_k(i) - y_k(j)|^2 + Σ_k<l |y_k(i) - y_l(j)|^2]
             = Σ_k a_k' X_k' (2 L + (K - 1) D) X_k a_k - 2 Σ_k<l a_k' X_k' W X_l a_l
         where Σ_k a_k' X_k' X_k a_k = n K, for each bit, and bits do not correlate
    (2)  X_k' (2 L + (K - 1) D) X_k a_k - Σ_l≠k X_k' W X_l a_l = λ X_k' X_k a_k    for all k at once, by rising λ
    (3)  bit(x) = [a_k · (x - μ_k) > 0],   for x of view k

``graph`` = ``none``: all that is known of similarity is which items belong together, W = I. For two views (2) is
canonical correlation analysis then. With C the covariances of and between the views x and y:

    (4)  C_xy (C_y + ε_y I)^-1 C_yx a_x = ρ^2 (C_x + ε_x I) a_x,     λ = 1 - ρ
    (5)  a_y = (C_y + ε_y I)^-1 C_yx a_x / ρ

``graph`` = ``neighbours``: W = I + (ω / k) S, with S_ij the share of the views in which one of items i and j is among
the k nearest of the other, k = ``n_neighbours`` and ω = ``neighbour_weight``. It is sparse. Neighbours are looked for
among at most 20,000 items, drawn by the seed; I in W and the constraint are of all.

For two views and W = I only r = min(dim_x, dim_y) pairs of directions have a ρ above 0; in general r is the number of
solutions of (2) whose views agree, Σ_k<l a_k' X_k' W X_l a_l > 0. Bits beyond r are allowed, as in the authors'
experiments and everyone's after them, and are noise across the views: (4) gives the wider view arbitrary directions of
its null space there, and (5) divides rounding by rounding. Here such bits take random directions of equal variance from
the seed; for two views and W = I the wider view takes its null directions first. Retrieval across views gets worse with
such bits: ask for at most r. ``correlations`` in the state is, for every bit, the correlation of the views, the mean
over pairs of views, and 0 beyond r.

Cost: fit n (Σ dim)^2 + (Σ dim)^3, memory 3 (Σ dim)^2 doubles; with neighbours, for n up to 20,000, n^2 Σ dim more, and
n (Σ dim + k K) values. Encode n dim n_bits.

Differs from the paper: ε, a fraction of the view's mean variance, as if white noise of that variance were added to
every item: X_k' X_k and X_k' D X_k grow, X_k' W X_l does not. Solutions of (2) whose views disagree are left out. The
paper leaves W to the application: S, k and ω are choices made here. Equations (1) and (2) are reconstructed from the
problem that the paper states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from hashdb import MethodInfo, Param, hookimpl
from hashdb_plugins import _linear
from hashdb_plugins._canonical import canonical_directions, regular_root
from hashdb_plugins._cross_view import NeighbourMoments, agreeing_directions, neighbour_moments
from hashdb_plugins._paired import PairedRows, linear_view
from hashdb_plugins._views import view_of

_MOST_GRAPH_ROWS = 20_000


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="cvh",
        title="Cross-view hashing",
        paper="Kumar, Udupa, Learning Hash Functions for Cross-View Similarity Search, IJCAI",
        year=2011,
        params=(
            Param(
                "regularisation",
                float,
                1e-4,
                minimum=1e-10,
                maximum=1e4,
                grid=(1e-6, 1e-4, 1e-2, 1.0),
                help="added to the variances of a view, as a fraction of their mean",
            ),
            Param(
                "graph",
                str,
                "none",
                choices=("none", "neighbours"),
                grid=("none", "neighbours"),
                help="what items are similar: those of a pair, or near neighbours in the views too",
            ),
            Param("n_neighbours", int, 5, minimum=1, maximum=1000, grid=(5, 15), help="k of graph=neighbours"),
            Param(
                "neighbour_weight",
                float,
                0.3,
                minimum=0.0,
                maximum=1e4,
                grid=(0.1, 0.3, 1.0, 3.0),
                help="of an item's k neighbours together, against 1 for the item itself",
            ),
        ),
        supervision="paired modalities",
        default_train=100_000,
        when="two or more modalities, pairs but no labels, and no more bits than the smaller view has dimensions",
    )


@hookimpl
def fit(
    vectors: Mapping[str, np.ndarray],
    n_bits: int,
    params: dict[str, Any],
    seed: int,
    progress: Callable[[int, int], None],
) -> dict[str, np.ndarray]:
    """Find directions of all views along which similar items are near."""
    rng = np.random.default_rng(seed)
    rows, epsilon = PairedRows(vectors), params["regularisation"]
    joint = rows.second_moment()
    if params["graph"] == "none" and len(vectors) == 2:
        *directions, correlations = canonical_directions(joint, rows.columns[0].stop, epsilon)
    else:
        moments = None
        if params["graph"] == "neighbours":
            moments = _moments(vectors, rows, params["n_neighbours"], rng, progress)
        found = agreeing_directions(joint, rows.columns, epsilon, moments, params["neighbour_weight"])
        directions = [found[view] for view in rows.columns]
        correlations = _correlations(found, joint, rows, epsilon)
    shown = np.zeros(n_bits)
    shown[: len(correlations)] = correlations[:n_bits]
    state = {"correlations": shown}
    for name, mean, view, known in zip(vectors, rows.means, rows.columns, directions, strict=True):
        more = _random_directions(joint[view, view], epsilon, n_bits - known.shape[1], rng)
        state |= linear_view(name, mean, np.hstack([known, more])[:, :n_bits])
    return state


def _moments(
    vectors: Mapping[str, np.ndarray],
    rows: PairedRows,
    n_neighbours: int,
    rng: np.random.Generator,
    progress: Callable[[int, int], None],
) -> NeighbourMoments:
    """Look at the neighbours of all items, or of as many as there is time for."""
    if rows.n_rows > _MOST_GRAPH_ROWS:
        chosen = np.sort(rng.choice(rows.n_rows, _MOST_GRAPH_ROWS, replace=False))
        vectors = {name: part[chosen] for name, part in vectors.items()}
    return neighbour_moments(vectors, rows.means, n_neighbours, progress)


def _correlations(directions: np.ndarray, joint: np.ndarray, rows: PairedRows, regularisation: float) -> np.ndarray:
    """Average the correlation of projections over pairs of views, float64 (r,); a view without variance has 0."""
    total = np.zeros(directions.shape[1])
    parts = [directions[view] for view in rows.columns]
    roots = [regular_root(joint[view, view], regularisation) for view in rows.columns]
    deviations = [np.linalg.norm(root.T @ part, axis=0) for root, part in zip(roots, parts, strict=True)]
    pairs = list(combinations(range(len(parts)), 2))
    for k, m in pairs:
        covariance = np.einsum("ik,ik->k", parts[k], joint[rows.columns[k], rows.columns[m]] @ parts[m])
        scale = deviations[k] * deviations[m]
        total += np.divide(covariance, scale, out=np.zeros_like(total), where=scale > 0)
    return total / len(pairs)


@hookimpl
def encode(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give the bits of equation (3)."""
    return _linear.encode(view_of(state, modality), vectors)


@hookimpl
def project(state: dict[str, np.ndarray], vectors: np.ndarray, modality: str) -> np.ndarray:
    """Give a · (x - μ) of the modality."""
    return _linear.project(view_of(state, modality), vectors)


def _random_directions(
    covariance: np.ndarray, regularisation: float, n_directions: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw directions w with w'Cw = 1, float64 (dim, n_directions); none where ``n_directions`` is not above 0."""
    from scipy.linalg import solve_triangular

    white = rng.standard_normal((len(covariance), max(n_directions, 0)))
    white /= np.linalg.norm(white, axis=0)
    return solve_triangular(regular_root(covariance, regularisation), white, lower=True, trans=1)
