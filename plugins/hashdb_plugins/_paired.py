"""Paired rows of several modalities side by side, each about its own mean."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from hashdb_plugins import _linear
from hashdb_plugins._parallel import blocks
from hashdb_plugins._views import named

_LARGEST_WEIGHT = 2.0**100


class PairedRows:
    """Rows of several modalities, row i of one belonging to row i of the others.

    Parameters
    ----------
    vectors : mapping of modality to ndarray of float32, shape (n, dim)

    Attributes
    ----------
    means : list of ndarray of float32, shape (dim,)
    columns : list of slice
        Where each modality stands in a row of all.
    n_rows, width : int
        Width of a row of all modalities.
    blocks : list of slice
        The rows in blocks.
    """

    def __init__(self, vectors: Mapping[str, np.ndarray]) -> None:
        self._parts = list(vectors.values())
        self.means = [_linear.mean_of(part) for part in self._parts]
        edges = np.cumsum([0] + [part.shape[1] for part in self._parts]).tolist()
        self.columns = [slice(first, last) for first, last in pairwise(edges)]
        self.n_rows, self.width = len(self._parts[0]), edges[-1]
        self.blocks = blocks(self.n_rows, self.width)

    def centred(self, block: slice) -> np.ndarray:
        """Give rows of all modalities about the means, float64 (m, width)."""
        parts = zip(self._parts, self.means, strict=True)
        return np.hstack([_linear.centred(part[block], mean) for part, mean in parts])

    def second_moment(self) -> np.ndarray:
        """Give the covariance of all columns, float64 (width, width); cost n width^2."""
        return _linear.second_moment(self.n_rows, self.width, self.centred)


def linear_view(modality: str, mean: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Make the part of a state that is the linear model of one modality.

    Tiny data need huge weights, and huge data tiny ones: one scale for all keeps them in float32 and changes no sign.
    """
    largest = float(np.abs(weights).max()) or 1.0
    scale = np.clip(largest, 1 / _LARGEST_WEIGHT, _LARGEST_WEIGHT) / largest
    return named(_linear.state_of(mean, weights * scale), modality)
