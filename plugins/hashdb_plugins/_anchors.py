"""Models whose margins are weighted kernels at anchors: choosing anchors, the kernel of training rows, the state.

    f(x) = Σ_j k_j(x) w_j + b,     k_j(x) = exp(-γ |x - a_j|^2)

:mod:`hashdb_plugins._anchor_margins` computes margins and codes so that a row's are its own.
"""

from __future__ import annotations

import warnings

import numpy as np

from hashdb_plugins._anchor_margins import encode, project
from hashdb_plugins._linear import mean_of
from hashdb_plugins._parallel import blocks, sum_over, workers
from hashdb_plugins._scaled import scaled, unit_of

__all__ = ["encode", "kernel", "kmeans_anchors", "mean_square_distance", "project", "random_anchors", "state_of"]

_LARGEST = float(np.finfo(np.float32).max)


def random_anchors(vectors: np.ndarray, n_anchors: int, rng: np.random.Generator) -> np.ndarray:
    """Draw training rows without replacement, float32 (m, dim); all of them where there are fewer."""
    n = len(vectors)
    return np.ascontiguousarray(vectors[rng.choice(n, min(n_anchors, n), replace=False)], dtype=np.float32)


def kmeans_anchors(vectors: np.ndarray, n_anchors: int, seed: int, iterations: int = 20) -> np.ndarray:
    """Find k-means centres of training rows, float32 (m, dim); m is at most the number of rows.

    Cost n m dim for each of the iterations; memory n dim floats.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    mean = mean_of(vectors)
    unit = unit_of(vectors, mean)
    rows = scaled(vectors, mean, unit)
    means = KMeans(
        min(n_anchors, len(rows)),
        n_init=1,
        max_iter=iterations,
        copy_x=False,
        random_state=int(np.random.default_rng(seed).integers(2**31)),
    )
    # Threads of scikit-learn add up their shares in the order in which they finish: one thread gives one result.
    with workers(), threadpool_limits(1), warnings.catch_warnings():
        # It warns where there are fewer distinct rows than centres; some centres coincide then.
        warnings.simplefilter("ignore")
        means.fit(rows)
    centres = means.cluster_centers_.astype(np.float64) / unit + mean
    return np.clip(centres, -_LARGEST, _LARGEST).astype(np.float32)


def mean_square_distance(vectors: np.ndarray, anchors: np.ndarray) -> float:
    """Average |x_i - a_j|^2 over all rows and anchors, from their means and variances.

    Cost (n + m) dim.
    """
    centre = anchors.mean(axis=0, dtype=np.float64)

    def squares(block: slice) -> np.ndarray:
        rows = vectors[block] - centre
        return np.einsum("ij,ij->", rows, rows)

    spread = anchors - centre
    rows = sum_over(blocks(*vectors.shape), squares) / len(vectors)
    return float(rows + np.einsum("ij,ij->", spread, spread) / len(anchors))


def kernel(vectors: np.ndarray, anchors: np.ndarray, gamma: float) -> np.ndarray:
    """Give the kernel of training rows at anchors, float32 (n, m), right to about 1e-7.

    Cost n m dim in float64; memory the result and a block for each thread.
    """
    centre = anchors.mean(axis=0, dtype=np.float64)
    away = anchors - centre
    squares = np.einsum("ij,ij->i", away, away)
    result = np.empty((len(vectors), len(anchors)), np.float32)

    def fill(block: slice) -> np.ndarray:
        rows = vectors[block] - centre
        distances = rows @ away.T
        distances *= -2
        distances += squares
        distances += np.einsum("ij,ij->i", rows, rows)[:, None]
        np.maximum(distances, 0, out=distances)
        distances *= -gamma
        with np.errstate(under="ignore"):
            result[block] = np.exp(distances, out=distances)
        return np.zeros(())

    sum_over(blocks(len(vectors), sum(anchors.shape)), fill)
    return result


def state_of(anchors: np.ndarray, gamma: float, weights: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
    """Make the state of a kernel model."""
    return {
        "anchors": np.ascontiguousarray(anchors, dtype=np.float32),
        "gamma": np.array(gamma, dtype=np.float64),
        "weights": np.ascontiguousarray(weights, dtype=np.float32),
        "bias": np.ascontiguousarray(bias, dtype=np.float64),
    }
