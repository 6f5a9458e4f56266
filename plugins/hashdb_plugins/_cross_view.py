"""The general problem of cross-view hashing (module ``crossmodal.cvh``, equations 1 and 2): matrices and solution."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hashdb_plugins import _linear
from hashdb_plugins._canonical import regular_root
from hashdb_plugins._linear import signs_of
from hashdb_plugins._neighbours import neighbour_graph
from hashdb_plugins._parallel import blocks, sum_over

# Directions along which the views agree less are taken for rounding.
_LEAST_AGREEMENT = 1e-9


@dataclass(frozen=True)
class NeighbourMoments:
    """What the problem needs of a graph S of m items, with Z their centred rows, all views side by side.

    Attributes
    ----------
    near : ndarray of float64, shape (width, width)
        Z'S Z / m.
    spread : ndarray of float64, shape (width, width)
        Z'diag(S 1) Z / m.
    degree : float
        Mean of S 1.
    """

    near: np.ndarray
    spread: np.ndarray
    degree: float


def neighbour_moments(
    vectors: Mapping[str, np.ndarray],
    means: Sequence[np.ndarray],
    n_neighbours: int,
    progress: Callable[[int, int], None],
) -> NeighbourMoments:
    """Join items to their nearest in each view and average the graphs, so that k neighbours weigh 1 together.

    Cost n^2 width for the neighbours, n width (k + width); memory n width doubles, n k values for each view.

    Parameters
    ----------
    vectors : mapping of modality to ndarray of float32, shape (n, dim)
    means : sequence of ndarray of float32, shape (dim,)
    n_neighbours : int
        k; all other items where there are fewer.
    progress : callable
    """
    n_items, n_views = len(next(iter(vectors.values()))), len(vectors)
    graph: Any = 0
    for done, part in enumerate(vectors.values()):
        progress(done, n_views)
        graph = graph + neighbour_graph(part, n_neighbours)
    progress(n_views, n_views)
    graph = graph / (n_views * max(1, min(n_neighbours, n_items - 1)))
    degrees = graph.sum(axis=1)
    wide = np.hstack([_linear.centred(part, mean) for part, mean in zip(vectors.values(), means, strict=True)])

    def term(block: slice) -> np.ndarray:
        rows = wide[block]
        return np.stack([rows.T @ (graph[block] @ wide), rows.T @ (degrees[block, None] * rows)])

    near, spread = sum_over(blocks(*wide.shape), term) / n_items
    return NeighbourMoments((near + near.T) / 2, spread, float(degrees.mean()))


def agreeing_directions(
    joint: np.ndarray,
    columns: Sequence[slice],
    regularisation: float,
    moments: NeighbourMoments | None = None,
    weight: float = 0.0,
) -> np.ndarray:
    """Find directions of all views at once, along which similar items are near and the views agree.

    Cost width^3.

    Parameters
    ----------
    joint : ndarray of float64, shape (width, width)
        Covariance of all views side by side.
    columns : sequence of slice
        Where each view stands.
    regularisation : float
        Variance of the white noise that is added to each view, as a fraction of its mean variance.
    moments : NeighbourMoments, optional
        Of the graph between items; none but the pairs without it.
    weight : float
        Of the neighbours of an item together, against 1 for the item itself.

    Returns
    -------
    ndarray of float64, shape (width, r)
        Solutions by rising loss, those of positive agreement. Variances sum to the number of views; the largest
        component in the first view is positive.
    """
    from scipy.linalg import eigh

    roots = [regular_root(joint[view, view], regularisation) for view in columns]
    gain = joint.copy() if moments is None else joint + weight * moments.near
    for view in columns:
        gain[view, view] = 0
    agreement = gain.copy()
    if moments is not None:
        for view, root in zip(columns, roots, strict=True):
            # White noise is near to nothing, so that it adds to the spread alone.
            spread = moments.spread[view, view] + moments.degree * (root @ root.T - joint[view, view])
            gain[view, view] = weight * (2 * moments.near[view, view] - (len(columns) + 1) * spread)
    _, vectors = eigh(_between_roots(gain, columns, roots))
    directions = _unwhitened(vectors[:, ::-1], columns, roots)
    agrees = np.einsum("ik,ik->k", directions, agreement @ directions) > _LEAST_AGREEMENT
    directions = directions[:, agrees] * np.sqrt(len(columns))
    return directions * signs_of(directions[columns[0]])


def _between_roots(matrix: np.ndarray, columns: Sequence[slice], roots: Sequence[np.ndarray]) -> np.ndarray:
    """Give L^-1 M L^-T for the block diagonal L of the roots."""
    from scipy.linalg import solve_triangular

    result = matrix
    for _ in range(2):
        result = np.vstack(
            [solve_triangular(root, result[view], lower=True) for view, root in zip(columns, roots, strict=True)]
        ).T
    return (result + result.T) / 2


def _unwhitened(vectors: np.ndarray, columns: Sequence[slice], roots: Sequence[np.ndarray]) -> np.ndarray:
    """Give L^-T V."""
    from scipy.linalg import solve_triangular

    parts = zip(columns, roots, strict=True)
    return np.vstack([solve_triangular(root, vectors[view], lower=True, trans=1) for view, root in parts])
