"""Items turned into vectors: once, batch by batch, into a spool that is then read like any file of vectors."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from hashdb.errors import InputFileError
from hashdb.inputs.files import ByteFile, spool
from hashdb.inputs.source import Array, RecordSource, VectorSource
from hashdb.progress import Progress, silent

_BATCH_BYTES = 16 << 20
_BATCH_TEXTS = 1024


def holds_items(source: VectorSource) -> bool:
    """Tell whether the rows of a source are images or strings, which an encoder turns into vectors."""
    return source.is_text or bool(source.item_shape)


def encode_source(
    source: VectorSource,
    encode: Callable[[list[Any]], npt.NDArray[np.float32]],
    spool_near: str | os.PathLike[str] | None = None,
    progress: Progress = silent,
) -> VectorSource:
    """Turn a source of items into one of vectors.

    Parameters
    ----------
    source : VectorSource
        Of images or strings; closed here.
    encode : callable
        Turns a list of items, uint8 arrays or ``str``, into float32 (n, dim), the same dim every time.
    spool_near : path, optional
        As for `hashdb.inputs.open_vectors`.
    progress : callable
        Called with (what, done, total).

    Returns
    -------
    VectorSource
        float32 rows; they stay in memory up to 256 MiB and in a nameless file beyond.
    """
    with source:
        pieces = _Pieces(source, encode, progress)
        return RecordSource(
            ByteFile(spool(source.name, pieces, spool_near), source.name), 0, source.n_rows, pieces.dim, np.dtype("<f4")
        )


class _Pieces:
    """The vectors of a source as a stream of bytes."""

    def __init__(
        self, source: VectorSource, encode: Callable[[list[Any]], npt.NDArray[np.float32]], progress: Progress
    ) -> None:
        self.dim = 0
        self._source, self._encode, self._progress = source, encode, progress
        self._batches = self._encoded()

    def read(self, n_bytes: int = -1) -> bytes:
        """Give the next batch of vectors, of whatever size; nothing at the end."""
        return next(self._batches, b"")

    def _encoded(self) -> Iterator[bytes]:
        source, done = self._source, 0
        step = _BATCH_TEXTS if source.is_text else max(1, _BATCH_BYTES // max(1, source.n_columns))
        for rows in source.batches(step):
            vectors = self._encode(_items(rows, source.item_shape))
            if vectors.shape[1] != (self.dim or vectors.shape[1]):
                raise InputFileError(
                    f"{source.name}: items from row {done} on got vectors of dim {vectors.shape[1]}, "
                    f"expected {self.dim} as before"
                )
            self.dim = vectors.shape[1]
            done += len(rows)
            self._progress("turning items into vectors", done, source.n_rows)
            yield vectors.astype("<f4", copy=False).tobytes()


def _items(rows: Array, shape: tuple[int, ...]) -> list[Any]:
    return list(rows.reshape(len(rows), *shape) if shape else rows)
