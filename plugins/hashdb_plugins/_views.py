"""One state for several modalities, each with a model of its own: its arrays carry the modality's name."""

from __future__ import annotations

import numpy as np

# The arrays of a linear model or of one at anchors.
_ARRAYS = ("mean", "weights", "offset", "anchors", "gamma", "bias")


def named(state: dict[str, np.ndarray], modality: str) -> dict[str, np.ndarray]:
    """Put the modality's name behind the name of each array."""
    return {f"{array}_{modality}": values for array, values in state.items()}


def view_of(state: dict[str, np.ndarray], modality: str) -> dict[str, np.ndarray]:
    """Take the model of one modality out of a state that :func:`named` made."""
    return {array: state[f"{array}_{modality}"] for array in _ARRAYS if f"{array}_{modality}" in state}
