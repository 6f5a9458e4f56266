"""Codes that exist already: binary embeddings, perceptual hashes, fingerprints.

Nothing is learned and nothing is computed: the bits of a row are its code. The core reads them from whatever form they
come in (hex, packed bytes, 0 and 1, -1 and 1).

Cost: none. Differs from the paper: there is none.
"""

from __future__ import annotations

import numpy as np

from hashdb import MethodInfo, hookimpl


@hookimpl
def describe() -> MethodInfo:
    """Say what the method is."""
    return MethodInfo(
        name="codes",
        title="Codes as given",
        paper="none: the rows are codes",
        year=0,
        input="bits",
        default_train=16,
        when="you have binary codes already: perceptual hashes, fingerprints, binary embeddings",
    )


@hookimpl
def fit() -> dict[str, np.ndarray]:
    """Learn nothing."""
    return {}


@hookimpl
def encode(vectors: np.ndarray) -> np.ndarray:
    """Pass the bits through, bool (n, n_bits)."""
    return vectors
