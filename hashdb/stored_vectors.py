"""Vectors kept beside the codes for re-ranking: as they are, halved, or one byte a dimension."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.errors import ArgumentError, CorruptIndexError, brief

VECTOR_STORES = ("float32", "float16", "int8")
METRICS = ("cosine", "l2", "ip")
_SCALE, _ZERO = "vectors.scale", "vectors.zero"


@dataclass(frozen=True)
class StoredVectors:
    """How vectors of one modality are kept for re-ranking.

    Attributes
    ----------
    kind : str
        ``float32``, ``float16`` or ``int8``.
    scale, zero : ndarray of float32, shape (dim,), or None
        Per dimension: value = scale * stored + zero, for ``int8``.
    """

    kind: str
    scale: NDArray[np.float32] | None = None
    zero: NDArray[np.float32] | None = None

    @classmethod
    def learn(cls, kind: str, sample: NDArray[np.float32]) -> StoredVectors:
        """Take the range of each dimension from a sample, where the kind needs one."""
        if kind not in VECTOR_STORES:
            raise ArgumentError(f"store_vectors is {kind!r}, expected none, {', '.join(VECTOR_STORES)}")
        if kind != "int8":
            return cls(kind)
        if not len(sample):
            raise ArgumentError("store_vectors='int8' learns the range of each dimension, so build needs rows")
        low, high = sample.min(axis=0), sample.max(axis=0)
        step = (high.astype(np.float64) - low) / 255
        # A range that float32 cannot divide by is no range.
        step = np.where(step > np.finfo(np.float32).tiny, step, 1.0)
        return cls(kind, step.astype(np.float32), (low + 128 * step).astype(np.float32))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a stored value."""
        return np.dtype(self.kind)

    def shrink(self, vectors: NDArray[np.float32]) -> NDArray[Any]:
        """Turn vectors into what is stored; values outside the learnt range of ``int8`` are clipped."""
        if self.scale is not None and self.zero is not None:
            steps = np.rint((vectors - self.zero) / self.scale)
            clipped: NDArray[Any] = np.clip(steps, -128, 127).astype(np.int8)
            return clipped
        with np.errstate(over="ignore"):
            small: NDArray[Any] = vectors.astype(self.dtype, copy=False)
        if self.kind == "float16" and not np.isfinite(small).all():
            row, column = np.argwhere(~np.isfinite(small))[0]
            raise ArgumentError(
                f"value {vectors[row, column]} in column {column} is beyond float16 (65504); store float32 or rescale"
            )
        return small


@dataclass(frozen=True)
class Keeping:
    """How an index keeps vectors: one kind for all, with a range of its own for each modality where the kind has one.

    Attributes
    ----------
    kind : str
        ``float32``, ``float16`` or ``int8``.
    ranges : dict of str to StoredVectors
        For ``int8``, by modality; the key is "" without modalities.
    """

    kind: str
    ranges: dict[str, StoredVectors]

    @classmethod
    def learn(cls, kind: str, samples: Mapping[str, NDArray[np.float32]]) -> Keeping:
        """Take the range of each dimension of each modality from samples, where the kind needs one."""
        return cls(kind, {name: StoredVectors.learn(kind, sample) for name, sample in samples.items()})

    @classmethod
    def read(cls, kind: str, arrays: Mapping[str, NDArray[Any]], source: Path) -> Keeping:
        """Make it of what :meth:`arrays` gave and of the kind that `source` says; other arrays are passed over."""
        if kind not in VECTOR_STORES:
            expected = f"expected none, {', '.join(VECTOR_STORES)}"
            raise CorruptIndexError(f"{source}: store_vectors is {brief(kind)!r}, {expected}", source)
        names = [name.removeprefix(_SCALE).removeprefix(".") for name in arrays if name.startswith(_SCALE)]
        found = {name: (arrays[_named(_SCALE, name)], arrays.get(_named(_ZERO, name))) for name in names}
        return cls(kind, {name: StoredVectors(kind, *pair) for name, pair in found.items()})

    def of(self, modality: str | None) -> StoredVectors | None:
        """Say how rows of a modality are kept; None where they are not, for their range was never learned."""
        if self.kind != "int8":
            return StoredVectors(self.kind)
        return self.ranges.get(modality or "")

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Name the arrays that go to disk with the model."""
        found: dict[str, NDArray[Any]] = {}
        for name, one in self.ranges.items():
            if one.scale is not None and one.zero is not None:
                found[_named(_SCALE, name)], found[_named(_ZERO, name)] = one.scale, one.zero
        return found


def _named(name: str, modality: str) -> str:
    return f"{name}.{modality}" if modality else name
