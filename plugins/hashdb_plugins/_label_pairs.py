"""The matrix S of all pairs of labelled rows, 1 for rows that share a class and another number for rows that do not.

Rows with the same set of labels have the same row of S, so that with G the indicators of the sets (n, n_sets) and T the
matrix of their pairs,

    (1)  S = G T G',     S V = G (T (G'V))

There are as many sets as classes where a row has one label, and often far fewer than rows where it may have several.
"""

from __future__ import annotations

import numpy as np

from hashdb_plugins._labels import Labelled
from hashdb_plugins._similarity import LabelSets

_BLOCK_PAIRS = 1 << 22


class LabelPairs:
    """S of equation (1), by sets of labels.

    Attributes
    ----------
    of_rows : ndarray of int64, shape (n,)
        The set of each row.
    counts : ndarray of int64, shape (n_sets,)
        Rows of each set.
    other : float
        S of rows that share no class.
    """

    def __init__(self, known: Labelled, other: float = -1.0) -> None:
        from scipy.sparse import csr_array

        sets = LabelSets(known)
        n, n_sets = len(sets.of_rows), len(sets.examples)
        self._known, self._examples = known, sets.examples
        self.of_rows, self.other = sets.of_rows, other
        self.counts = np.bincount(sets.of_rows, minlength=n_sets)
        self._indicators = csr_array((np.ones(n), sets.of_rows, np.arange(n + 1)), shape=(n, n_sets)).T.tocsr()

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Give G'V of values (n,) or (n, k)."""
        if values.ndim == 1:
            return np.bincount(self.of_rows, weights=values, minlength=len(self.counts))
        return self._indicators @ values

    def table(self, sets: slice | np.ndarray) -> np.ndarray:
        """Give T of some sets with all, float64 (m, n_sets)."""
        return np.where(self._known.share(self._examples[sets], self._examples), 1.0, self.other)

    def times(self, sums: np.ndarray) -> np.ndarray:
        """Give T (G'V), float64 (n_sets, k), from G'V; T is made a block at a time."""
        n_sets = len(self.counts)
        step = max(1, _BLOCK_PAIRS // n_sets)
        parts = [self.table(slice(start, start + step)) @ sums for start in range(0, n_sets, step)]
        return np.concatenate(parts)
