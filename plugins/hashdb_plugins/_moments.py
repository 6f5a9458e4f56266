"""What is kept of the rows learned from so far, so that a fit can go on with more of them.

With n rows, their mean μ and S = Σ (x - μ)(x - μ)', two sets of rows have together

    (1)  μ = μ_a + (n_b / n) δ,     S = S_a + S_b + (n_a n_b / n) δ δ',     δ = μ_b - μ_a,  n = n_a + n_b

(T. F. Chan, G. H. Golub, R. J. LeVeque, 1979), which is exact but for rounding in float64. So what depends on rows
through their mean and covariance alone is the same whether they come at once or in blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hashdb import Param
from hashdb.errors import ArgumentError
from hashdb_plugins._linear import covariance

_MOST_BY_DEFAULT = 1024


def incremental(what: str) -> Param:
    """Declare the param that says whether a state keeps ``what`` partial_fit goes on from."""
    return Param(
        "incremental",
        bool,
        None,
        help=f"keep what partial_fit goes on from, {what}; None: up to a side of {_MOST_BY_DEFAULT:,}",
    )


def keeps(chosen: bool | None, side: int) -> bool:
    """Say whether to keep a symmetric matrix of this side: as chosen, else up to a size of 4 MiB."""
    return side <= _MOST_BY_DEFAULT if chosen is None else chosen


@dataclass(frozen=True)
class Moments:
    """Number, mean and spread of rows.

    Attributes
    ----------
    count : int
    mean : ndarray of float64, shape (dim,)
    scatter : ndarray of float64, shape (dim, dim), or None
        S of equation (1); None where only the mean is wanted.
    """

    count: int
    mean: np.ndarray
    scatter: np.ndarray | None

    @classmethod
    def of_rows(cls, vectors: np.ndarray, with_scatter: bool = True) -> Moments:
        """Look at rows, at least one."""
        mean = vectors.mean(axis=0, dtype=np.float64)
        return cls.about(len(vectors), mean, covariance(vectors, _rounded(mean)) if with_scatter else None)

    @classmethod
    def about(cls, count: int, mean: np.ndarray, covariance: np.ndarray | None) -> Moments:
        """Make them of the covariance about the mean as rounded to float32."""
        if covariance is None:
            return cls(count, mean, None)
        away = mean - _rounded(mean)
        return cls(count, mean, count * (covariance - np.outer(away, away)))

    def with_rows(self, vectors: np.ndarray) -> Moments:
        """Give those of these rows and more."""
        if not len(vectors):
            return self
        more = Moments.of_rows(vectors, self.scatter is not None)
        count, step = self.count + more.count, more.mean - self.mean
        scatter = None
        if self.scatter is not None and more.scatter is not None:
            scatter = self.scatter + more.scatter + self.count * more.count / count * np.outer(step, step)
        return Moments(count, self.mean + more.count / count * step, scatter)

    def rounded_mean(self) -> np.ndarray:
        """Give the mean that rows are centred by, float32 (dim,)."""
        return _rounded(self.mean)

    def covariance(self) -> np.ndarray:
        """Give the covariance about the rounded mean, float64 (dim, dim)."""
        if self.scatter is None:
            raise ValueError("only the mean was kept")
        away = self.mean - _rounded(self.mean)
        return self.scatter / self.count + np.outer(away, away)

    def state(self) -> dict[str, np.ndarray]:
        """Give the arrays that a state keeps."""
        kept = {"seen": np.array(self.count, np.int64), "seen_mean": self.mean}
        return kept if self.scatter is None else kept | {"seen_scatter": packed(self.scatter)}

    @classmethod
    def of_state(cls, method: str, state: dict[str, np.ndarray], vectors: np.ndarray, with_scatter: bool) -> Moments:
        """Read what :meth:`state` gave, for more rows to be added.

        Raises
        ------
        ArgumentError
            The state keeps none, or the rows have other columns.
        """
        require_kept(method, state, "seen_scatter" if with_scatter else "seen_mean")
        mean = state["seen_mean"]
        require_columns(vectors, len(mean))
        scatter = unpacked(state["seen_scatter"], len(mean)) if with_scatter else None
        return cls(int(state["seen"]), mean, scatter)


def require_kept(method: str, state: dict[str, Any], name: str) -> None:
    """Refuse a state from which one cannot go on."""
    if name not in state:
        raise ArgumentError(
            f"this model of {method} does not keep what partial_fit goes on from; fit with the param incremental=true"
        )


def require_columns(vectors: np.ndarray, dim: int) -> None:
    """Refuse rows that have other columns than those learned from before."""
    if vectors.shape[1] != dim:
        raise ArgumentError(f"vectors have dim {vectors.shape[1]}, expected dim {dim} as in training")


def packed(matrix: np.ndarray) -> np.ndarray:
    """Give the lower triangle of a symmetric matrix (k, k), float64 (k (k + 1) / 2,)."""
    return matrix[np.tril_indices(len(matrix))]


def unpacked(triangle: np.ndarray, side: int) -> np.ndarray:
    """Give the symmetric matrix (side, side) whose lower triangle this is."""
    matrix = np.zeros((side, side))
    matrix[np.tril_indices(side)] = triangle
    return np.tril(matrix) + np.tril(matrix, -1).T


def _rounded(mean: np.ndarray) -> np.ndarray:
    return mean.astype(np.float32)
