"""Sums over all pairs of labelled rows, weighted by whether they share a class, without a matrix of pairs.

With s_ij = 1 for rows that share a class and -1 for rows that do not, rows x_i and weights a_i,

    (1)  Σ_ij s_ij a_i a_j x_i x_j'  =  Σ_gh s_gh r_g r_h',     r_g = Σ_{i in g} a_i x_i

where g and h go over the different label sets that rows have: there are as many as classes where a row has one label,
and often far fewer than rows where it may have several. A row counts as a neighbour of itself.
"""

from __future__ import annotations

import numpy as np

from hashdb_plugins._labels import Labelled
from hashdb_plugins._linear import centred
from hashdb_plugins._parallel import blocks

_BLOCK_PAIRS = 1 << 22


class LabelSets:
    """The different label sets of rows.

    Attributes
    ----------
    known : Labelled
    of_rows : ndarray of int64, shape (n,)
        The set of each row.
    examples : ndarray of int64, shape (n_sets,)
        A row of each set.
    """

    def __init__(self, known: Labelled) -> None:
        self.known = known
        if known.labels.ndim == 1:
            _, self.examples, self.of_rows = np.unique(known.labels, return_index=True, return_inverse=True)
        else:
            packed = np.packbits(known.labels, axis=1)
            _, self.examples, self.of_rows = np.unique(packed, axis=0, return_index=True, return_inverse=True)
            self.of_rows = self.of_rows.reshape(-1)

    def sums(self, mean: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Add up the weighted centred rows of each set, float64 (n_sets, dim): r of equation (1).

        Cost n dim; memory n_sets dim and a block.
        """
        vectors = self.known.vectors
        total = np.zeros((len(self.examples), vectors.shape[1]))
        for block in blocks(*vectors.shape):
            order = np.argsort(self.of_rows[block], kind="stable")
            rows = centred(vectors[block][order], mean)
            if weights is not None:
                rows *= weights[block][order, None]
            present, starts = np.unique(self.of_rows[block][order], return_index=True)
            total[present] += np.add.reduceat(rows, starts, axis=0)
        return total

    def pair_sum(self, sums: np.ndarray) -> np.ndarray:
        """Give Σ_gh s_gh r_g r_h', float64 (dim, dim).

        Cost n_sets dim^2 where a row has one label, else n_sets^2 (dim + n_classes); memory a block of the pairs.
        """
        if self.known.labels.ndim == 1:
            sharing = sums.T @ sums
        else:
            n_sets, dim = sums.shape
            sharing = np.zeros((dim, dim))
            step = max(1, _BLOCK_PAIRS // n_sets)
            for start in range(0, n_sets, step):
                share = self.known.share(self.examples[start : start + step], self.examples)
                sharing += sums[start : start + step].T @ (share.astype(np.float64) @ sums)
        everything = sums.sum(axis=0)
        return 2 * sharing - np.outer(everything, everything)


def unit(matrix: np.ndarray) -> np.ndarray:
    """Scale a matrix to Frobenius norm 1; one of zeros stays."""
    return matrix / (float(np.linalg.norm(matrix)) or 1.0)
