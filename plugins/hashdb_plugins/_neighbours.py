"""Graphs that join each row to its nearest rows, sparse."""

from __future__ import annotations

from typing import Any

import numpy as np

from hashdb_plugins._linear import mean_of
from hashdb_plugins._scaled import scaled, unit_of


def neighbour_graph(vectors: np.ndarray, n_neighbours: int) -> Any:
    """Join rows of which one is among the k nearest of the other, by Euclidean distance.

    Cost n^2 dim; memory n (dim + k), and no distance is kept.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dim)
    n_neighbours : int
        k; all other rows where there are fewer.

    Returns
    -------
    scipy.sparse.csr_array of float64, shape (n, n)
        Symmetric, 1 for rows that are joined, else 0, as on the diagonal.
    """
    from scipy.sparse import csr_array
    from sklearn.neighbors import NearestNeighbors

    n = len(vectors)
    k = min(n_neighbours, n - 1)
    if k == 0:
        return csr_array((n, n), dtype=np.float64)
    mean = mean_of(vectors)
    rows = scaled(vectors, mean, unit_of(vectors, mean))
    nearest = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(rows).kneighbors(return_distance=False)
    one_way = csr_array((np.ones(n * k), (np.repeat(np.arange(n), k), nearest.reshape(-1))), shape=(n, n))
    return one_way.maximum(one_way.T).tocsr()
