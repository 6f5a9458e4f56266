"""The similarity that labels mean, and how near the agreement of codes comes to it, without a matrix of pairs.

With G the label vectors of rows scaled to length 1, and codes H_x and H_y of -1 and 1, (n, K),

    (1)  S = 2 G G' - 1 1',     J = (1/n^2) |S - H_x H_y' / K|^2
    (2)  |S|^2 = 4 |G'G|^2 - 4 |G'1|^2 + n^2,     h_x'S h_y = 2 (G'h_x)'(G'h_y) - (1'h_x)(1'h_y)

and a bit more, h_x and h_y, changes n^2 J by n^2 / K^2 - (2 / K) h_x'(S - H_x H_y' / K) h_y.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hashdb_plugins._labels import Labelled


class Semantics:
    """S of equation (1), by labels, and J with the codes that there are so far."""

    def __init__(self, known: Labelled, n_bits: int) -> None:
        self.labels, self._n_bits = _unit_labels(known), n_bits
        self._n = n = len(known.rows)
        together = self.labels.T @ self.labels
        square = 4 * together.multiply(together).sum() - 4 * (self.labels.sum(axis=0) ** 2).sum() + n**2
        self.history = [float(square) / n**2]
        self._codes = np.zeros((2, n_bits, -(-n // 64)), np.uint64)

    def add(self, *bits: np.ndarray) -> None:
        """Add a bit to the codes: bool (n,) of each view."""
        n, n_bits, done = self._n, self._n_bits, len(self.history) - 1
        before = []
        for codes, column in zip(self._codes, bits, strict=True):
            codes[done] = np.packbits(np.pad(column, (0, -n % 64))).view(np.uint64)
            before.append(n - 2.0 * np.bitwise_count(codes[:done] ^ codes[done]).sum(axis=1, dtype=np.int64))
        signs = np.where(bits, 1.0, -1.0)
        (shared_x, shared_y), (sum_x, sum_y) = ((self.labels.T @ h for h in signs), signs.sum(axis=1))
        gain = 2 * shared_x @ shared_y - sum_x * sum_y - before[0] @ before[1] / n_bits
        self.history.append(self.history[-1] - 2 * float(gain) / (n_bits * n**2) + 1 / n_bits**2)


def _unit_labels(known: Labelled) -> Any:
    """Give G of equation (1), sparse (n, n_classes)."""
    from scipy.sparse import csr_array

    n = len(known.rows)
    if known.labels.ndim == 1:
        return csr_array((np.ones(n), known.labels, np.arange(n + 1)), shape=(n, known.n_classes))
    counts = known.labels.sum(axis=1)
    rows, classes = np.nonzero(known.labels)
    return csr_array((1 / np.sqrt(counts[rows]), (rows, classes)), shape=known.labels.shape)
