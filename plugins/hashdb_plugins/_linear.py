"""What the linear methods share: centring, second moments, principal directions, codes of a linear model.

The state of a linear model is ``mean`` float32 (dim,) and ``weights`` float32 (dim, n_bits); its projection is
(x - mean) · weights, summed by :mod:`hashdb.margins` so that a row's code depends on that row alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hashdb import margins
from hashdb.errors import ArgumentError
from hashdb_plugins._parallel import blocks, sum_over


def mean_of(vectors: np.ndarray) -> np.ndarray:
    """Average rows in float64 and round to float32, the mean that rows are centred by ever after."""
    return vectors.mean(axis=0, dtype=np.float64).astype(np.float32)


def centred(rows: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Subtract the mean in float32, as encoding does, and widen to float64, where squares cannot overflow."""
    largest = np.finfo(np.float32).max
    with np.errstate(over="ignore"):
        return np.clip(rows - mean, -largest, largest).astype(np.float64)


def covariance(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Give the covariance of rows about a mean, float64 (dim, dim).

    Cost n dim^2; memory a block and dim^2 doubles for each thread.
    """
    return second_moment(*vectors.shape, lambda block: centred(vectors[block], mean))


def second_moment(n_rows: int, width: int, rows: Callable[[slice], np.ndarray]) -> np.ndarray:
    """Give (1/n) Σ r r' of the rows that ``rows(block)`` makes, float64 (n, width)."""

    def term(block: slice) -> np.ndarray:
        wide = rows(block)
        return wide.T @ wide

    return sum_over(blocks(n_rows, width), term) / n_rows


def column_means(n_rows: int, width: int, rows: Callable[[slice], np.ndarray]) -> np.ndarray:
    """Average the rows that ``rows(block)`` makes, float64 (width,)."""
    return sum_over(blocks(n_rows, width), lambda block: rows(block).sum(axis=0)) / n_rows


def principal_directions(second_moment: np.ndarray, n_directions: int) -> np.ndarray:
    """Give the eigenvectors of the largest eigenvalues, float64 (dim, n_directions), largest first.

    They are orthonormal whatever the rank; the sign of each is such that its largest component is positive.
    """
    from scipy.linalg import eigh

    dim = len(second_moment)
    _, vectors = eigh(second_moment, subset_by_index=(dim - n_directions, dim - 1))
    directions = vectors[:, ::-1]
    return directions * signs_of(directions)


def signs_of(directions: np.ndarray) -> np.ndarray:
    """Give the sign, 1 or -1, of each column's component of largest size; a solver leaves the sign open."""
    largest = np.abs(directions).argmax(axis=0)
    return np.where(directions[largest, np.arange(directions.shape[1])] < 0, -1.0, 1.0)


def require_directions(method: str, n_bits: int, dim: int) -> None:
    """Refuse more bits than the vectors have dimensions."""
    if n_bits > dim:
        raise ArgumentError(
            f"{method} gives at most one bit a dimension: n_bits is {n_bits}, the vectors have dim {dim}; "
            f"ask for n_bits of at most {dim}, use lsh, or a quantiser with several bits a projection such as dbq"
        )


def state_of(mean: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Make the state of a linear model."""
    return {"mean": mean, "weights": np.ascontiguousarray(weights, dtype=np.float32)}


def encode(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the bits of a linear model, bool (n, n_bits)."""
    return margins.encode(vectors, state["weights"], mean=state["mean"])


def project(state: dict[str, np.ndarray], vectors: np.ndarray) -> np.ndarray:
    """Give the projections of a linear model, float32 (n, n_bits)."""
    return margins.project(vectors, state["weights"], mean=state["mean"])
