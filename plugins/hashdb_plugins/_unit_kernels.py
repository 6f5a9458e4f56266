"""Kernels of length 1, κ(x, x) = 1, between training rows and a few of them for each bit.

What a bit is made of, Σ_q w_q κ(x_q, x) with rows x_q of its own, becomes the state of a linear or of a kernel model.
"""

from __future__ import annotations

import numpy as np

from hashdb_plugins import _anchors, _linear

_BLOCK_VALUES = 1 << 22


class Linear:
    """x · y of centred rows of length 1."""

    def __init__(self, vectors: np.ndarray) -> None:
        self._mean = _linear.mean_of(vectors)
        self._rows = unit_rows(_linear.centred(vectors, self._mean))

    def choose(self, chosen: np.ndarray) -> None:
        """Take the rows of each bit, int64 (n_bits, s)."""
        self._chosen = chosen

    def values(self, bit: int) -> np.ndarray:
        """Give the kernel of all rows with those of a bit, float64 (n, s)."""
        return self._rows @ self._rows[self._chosen[bit]].T

    def sums(self, bit: int, weights: np.ndarray) -> np.ndarray:
        """Give the weighted sums of a bit, float64 (n,)."""
        return self._rows @ (weights @ self._rows[self._chosen[bit]])

    def distances(self, pairs: np.ndarray) -> np.ndarray:
        """Give |φ(x_i) - φ(x_j)|^2 of pairs of rows, float64 (n_pairs,)."""
        return square_distances(self._rows, pairs)

    def state_of(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Make the state of the weights (n_bits, s)."""
        directions = np.stack([w @ self._rows[c] for w, c in zip(weights, self._chosen, strict=True)])
        return _linear.state_of(self._mean, unit_rows(directions).T)


class Rbf:
    """exp(-|x - y|^2 / (2 σ^2)) of the rows as they are; 2 σ^2 is their mean squared distance unless given."""

    def __init__(self, vectors: np.ndarray, width: float | None) -> None:
        # Where all rows are equal any width gives the same kernel.
        squares = 2 * width**2 if width else _anchors.mean_square_distance(vectors, vectors) or 1.0
        self._vectors, self._gamma = vectors, 1 / squares

    def choose(self, chosen: np.ndarray) -> None:
        """Take the rows of each bit, int64 (n_bits, s), and make their kernel."""
        rows, self._places = np.unique(chosen, return_inverse=True)
        self._places = self._places.reshape(chosen.shape)
        self._anchors = self._vectors[rows]
        self._table = _anchors.kernel(self._vectors, self._anchors, self._gamma)

    def values(self, bit: int) -> np.ndarray:
        """Give the kernel of all rows with those of a bit, float64 (n, s)."""
        return np.ascontiguousarray(self._table[:, self._places[bit]], dtype=np.float64)

    def sums(self, bit: int, weights: np.ndarray) -> np.ndarray:
        """Give the weighted sums of a bit, float64 (n,)."""
        return self.values(bit) @ weights

    def distances(self, pairs: np.ndarray) -> np.ndarray:
        """Give |φ(x_i) - φ(x_j)|^2 of pairs of rows, float64 (n_pairs,)."""
        rows = _linear.centred(self._vectors, _linear.mean_of(self._vectors))
        return -2 * np.expm1(-self._gamma * square_distances(rows, pairs))

    def state_of(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Make the state of the weights (n_bits, s)."""
        n_bits = len(weights)
        of_anchors = np.zeros((len(self._anchors), n_bits))
        of_anchors[self._places.T, np.arange(n_bits)] = unit_rows(weights).T
        return _anchors.state_of(self._anchors, self._gamma, of_anchors, np.zeros(n_bits))


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Scale rows to length 1; a row of zeros stays."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)


def square_distances(rows: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Give |x_i - x_j|^2 of pairs of rows, float64 (n_pairs,)."""
    first, second = pairs
    distances = np.empty(len(first))
    step = max(1, _BLOCK_VALUES // rows.shape[1])
    for start in range(0, len(first), step):
        difference = rows[first[start : start + step]] - rows[second[start : start + step]]
        distances[start : start + step] = np.einsum("ij,ij->i", difference, difference)
    return distances
