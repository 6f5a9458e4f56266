"""The matrix S of all pairs of labelled rows, 1 for rows that share a class and another number for rows that do not.

S is never made. Rows with the same set of labels have the same row of S, so that with G the indicators of the sets
(n, n_sets) and T the matrix of their pairs,

    (1)  S = G T G',     S V = G (T (G'V)),     Σ_ij s_ij v_i v_j' = (G'V)' T (G'V)

There are as many sets as classes where a row has one label, and often far fewer than rows where it may have several. A
row shares its classes with itself.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from hashdb_plugins._labels import Labelled
from hashdb_plugins._linear import centred
from hashdb_plugins._parallel import blocks

_BLOCK_PAIRS = 1 << 22


class LabelPairs:
    """S of equation (1), by sets of labels.

    Attributes
    ----------
    known : Labelled
    of_rows : ndarray of int64, shape (n,)
        The set of each row.
    counts : ndarray of int64, shape (n_sets,)
        Rows of each set.
    other : float
        S of rows that share no class.
    """

    def __init__(self, known: Labelled, other: float = -1.0) -> None:
        self.known, self.other = known, other
        if known.labels.ndim == 1:
            _, examples, of_rows = np.unique(known.labels, return_index=True, return_inverse=True)
        else:
            packed = np.packbits(known.labels, axis=1)
            _, examples, of_rows = np.unique(packed, axis=0, return_index=True, return_inverse=True)
        self.of_rows = of_rows.reshape(-1)
        self.counts = np.bincount(self.of_rows, minlength=len(examples))
        self._examples = examples

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Give G'V of values (n,) or (n, k)."""
        if values.ndim == 1:
            return np.bincount(self.of_rows, weights=values, minlength=len(self.counts))
        return self._indicators @ values

    def sums_of_rows(self, mean: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Give G'V of the centred rows themselves, weighted by (n,), float64 (n_sets, dim).

        Cost n dim; memory n_sets dim and a block.
        """
        vectors = self.known.vectors
        total = np.zeros((len(self.counts), vectors.shape[1]))
        for block in blocks(*vectors.shape):
            order = np.argsort(self.of_rows[block], kind="stable")
            rows = centred(vectors[block][order], mean)
            if weights is not None:
                rows *= weights[block][order, None]
            present, starts = np.unique(self.of_rows[block][order], return_index=True)
            total[present] += np.add.reduceat(rows, starts, axis=0)
        return total

    def table(self, sets: slice | np.ndarray) -> np.ndarray:
        """Give T of some sets with all, float64 (m, n_sets)."""
        return np.where(self._share(sets), 1.0, self.other)

    def times(self, sums: np.ndarray) -> np.ndarray:
        """Give T (G'V), float64 (n_sets, k), from G'V; T is made a block at a time."""
        return np.concatenate([self.table(some) @ sums for some in self._blocks()])

    def pair_sum(self, sums: np.ndarray) -> np.ndarray:
        """Give Σ_ij s_ij v_i v_j', float64 (k, k), from G'V.

        Cost n_sets k^2 where a row has one label, else n_sets^2 (k + n_classes); memory a block of the pairs.
        """
        if self.known.labels.ndim == 1:
            sharing = sums.T @ sums
        else:
            sharing = np.zeros((sums.shape[1], sums.shape[1]))
            for some in self._blocks():
                sharing += sums[some].T @ (self._share(some).astype(np.float64) @ sums)
        everything = sums.sum(axis=0)
        return (1 - self.other) * sharing + self.other * np.outer(everything, everything)

    def _share(self, sets: slice | np.ndarray) -> np.ndarray:
        """Tell which sets some sets have a class in common with, bool (m, n_sets)."""
        return self.known.share(self._examples[sets], self._examples)

    def _blocks(self) -> list[slice]:
        n_sets = len(self.counts)
        step = max(1, _BLOCK_PAIRS // n_sets)
        return [slice(start, start + step) for start in range(0, n_sets, step)]

    @cached_property
    def _indicators(self) -> Any:
        """G', a sparse array."""
        from scipy.sparse import csr_array

        n = len(self.of_rows)
        return csr_array((np.ones(n), self.of_rows, np.arange(n + 1)), shape=(n, len(self.counts))).T.tocsr()


def unit(matrix: np.ndarray) -> np.ndarray:
    """Scale a matrix to Frobenius norm 1; one of zeros stays."""
    return matrix / (float(np.linalg.norm(matrix)) or 1.0)
