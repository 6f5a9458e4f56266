"""Rows of an input as a model takes them: typed, checked, in batches or as a uniform sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb import codes as packing
from hashdb.errors import ArgumentError, brief
from hashdb.inputs import VectorSource, encode_source, holds_items, open_vectors
from hashdb.model import Encoder, Model
from hashdb.model.checks import unknown_modality
from hashdb.progress import Progress, silent

_BATCH_VALUES = 1 << 22  # 16 MiB of float32: large enough to hide the cost of a call, small beside a training sample


@dataclass(frozen=True)
class Reader:
    """Reads rows of one input as what a model takes: float32 vectors or bits.

    Attributes
    ----------
    source : VectorSource
    input_type : str
        One of ``hashdb.codes.INPUT_TYPES``.
    n_bits : int or None
        Width of a code where rows are bits, None where they are vectors.
    slack : int
        Bits of padding that the input may have beyond ``n_bits``.
    """

    source: VectorSource
    input_type: str
    n_bits: int | None = None
    slack: int = 0

    @classmethod
    def open(cls, source: VectorSource, input_type: str, *, wants_bits: bool, n_bits: int | None = None) -> Reader:
        """Settle how rows are read, looking at the first of them."""
        if not source.n_rows:
            return cls._of_nothing(source, input_type, wants_bits, n_bits)
        sample = first_rows(source)
        try:
            kind = packing.resolve_input_type(sample, input_type, wants_bits)
            width = packing.width_of(sample, kind)
        except ArgumentError as error:
            raise ArgumentError(f"{source.name}: {error}") from None
        if not wants_bits:
            return cls(source, kind)
        if n_bits is None:
            return cls(source, kind, width)
        if not 0 <= width - n_bits <= packing.slack_of(sample, kind):
            raise ArgumentError(f"{source.name} has codes of {width} bits, expected {n_bits} bits")
        return cls(source, kind, n_bits, packing.slack_of(sample, kind))

    @classmethod
    def _of_nothing(cls, source: VectorSource, input_type: str, wants_bits: bool, n_bits: int | None) -> Reader:
        """Read no rows: what a row is stays open."""
        if not wants_bits:
            return cls(source, "float" if input_type == "auto" else input_type)
        if n_bits is None:
            raise ArgumentError(f"{source.name} has no rows to tell the width of a code; give n_bits (--bits)")
        return cls(source, input_type, n_bits)

    @property
    def n_rows(self) -> int:
        """Rows of the input."""
        return self.source.n_rows

    @property
    def n_columns(self) -> int:
        """Numbers of a vector, or bits of a code, as read."""
        if self.n_bits is not None:
            return self.n_bits
        return packing.width_of(first_rows(self.source), self.input_type)

    def read(self, rows: NDArray[Any], numbers: Sequence[int] | NDArray[np.int64]) -> NDArray[Any]:
        """Turn raw rows into vectors or bits; ``numbers`` are their places in the input, for messages."""
        try:
            if self.n_bits is None:
                vectors = packing.to_vectors(rows, self.input_type)
                check_finite(vectors, numbers, self.source.name)
                return vectors
            return packing.fit_width(packing.to_bits(rows, self.input_type), self.n_bits, self.slack)
        except ArgumentError as error:
            if self.source.name in str(error):
                raise
            raise ArgumentError(f"{self.source.name}, counting from row {numbers[0]}: {error}") from None

    def batches(self) -> Iterator[NDArray[Any]]:
        """Yield the whole input in order."""
        first = 0
        for rows in self.source.batches(batch_rows_of(self.n_columns)):
            yield self.read(rows, range(first, first + len(rows)))
            first += len(rows)

    def sample(self, n_rows: int, seed: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Draw a uniform sample of rows without replacement, read in file order.

        Returns
        -------
        rows : ndarray, shape (n_rows, n_columns)
        numbers : ndarray of int64, shape (n_rows,)
            Ascending row numbers.
        """
        if n_rows >= self.n_rows:
            numbers = np.arange(self.n_rows, dtype=np.int64)
        else:
            numbers = np.sort(np.random.default_rng(seed).choice(self.n_rows, n_rows, replace=False)).astype(np.int64)
        return self.take(numbers), numbers

    def take(self, numbers: NDArray[np.int64]) -> NDArray[Any]:
        """Read the rows of ascending numbers."""
        step = batch_rows_of(self.n_columns)
        chosen = [numbers[at : at + step] for at in range(0, len(numbers), step)]
        parts = [self.read(self.source.take(part), part) for part in chosen]
        if len(parts) == 1:
            return parts[0]
        nothing: NDArray[Any] = np.empty((0, self.n_columns), np.float32 if self.n_bits is None else np.bool_)
        return np.concatenate(parts or [nothing])


def first_rows(source: VectorSource, n_rows: int = 256) -> NDArray[Any]:
    """Return the first rows of a source as they are."""
    for rows in source.batches(n_rows, 0, min(n_rows, source.n_rows)):
        return rows
    return np.empty((0, source.n_columns), source.dtype)


def batch_rows_of(n_columns: int) -> int:
    """Rows of a batch, by the width of a row."""
    return max(256, _BATCH_VALUES // max(1, n_columns))


def check_finite(vectors: NDArray[np.float32], numbers: Sequence[int] | NDArray[np.int64], name: str) -> None:
    """Raise ArgumentError naming the first value that is NaN or infinite."""
    if np.isfinite(vectors).all():
        return
    row, column = np.argwhere(~np.isfinite(vectors))[0]
    raise ArgumentError(
        f"{name}: row {numbers[row]}, column {int(column)} is {vectors[row, column]}, expected finite numbers; "
        "remove or replace that row"
    )


def open_sources(vectors: Any, spool_near: Any, *, items: bool = False) -> dict[str, VectorSource]:
    """Open one input, under the name ``""``, or one a modality; with ``items`` the one may be of images or strings."""
    if not isinstance(vectors, Mapping):
        return {"": open_vectors(vectors, spool_near=spool_near, items=items)}
    if not vectors:
        raise ArgumentError("no modality was given, expected at least one name with its vectors")
    if "" in vectors:
        raise ArgumentError("a modality has no name, expected one for each")
    opened: dict[str, VectorSource] = {}
    try:
        for name, value in vectors.items():
            opened[str(name)] = open_vectors(value, spool_near=spool_near)
    except BaseException:
        for source in opened.values():
            source.close()
        raise
    return opened


def modality_of(name: str, asked: str | None) -> str | None:
    """Settle the modality of one input, named by its key, by an argument, or not at all."""
    if name and asked and name != asked:
        raise ArgumentError(f"modality is {asked!r}, but the vectors are given as {name!r}; expected one name")
    return asked or name or None


def open_reader(source: Any, model: Model, modality: str | None, input_type: str) -> Reader:
    """Read an input the way a model takes it, and check its width before any row is encoded."""
    if modality is not None and not isinstance(modality, str):
        raise ArgumentError(f"modality is {type(modality).__name__} {brief(modality, 40)!r}: expected a name, a string")
    wants_bits = model.input == "bits"
    reader = Reader.open(source, input_type, wants_bits=wants_bits, n_bits=model.n_bits if wants_bits else None)
    if wants_bits:
        return reader
    if modality is not None and modality not in model.dims:
        raise unknown_modality(modality, model.dims)
    if modality is None and model.modalities:
        raise ArgumentError(
            f"this model has the modalities {', '.join(model.modalities)}: name one (modality=, --modality)"
        )
    expected = model.dims[modality or ""]
    if reader.n_rows and reader.n_columns != expected:
        raise ArgumentError(
            f"{source.name} has rows of dim {reader.n_columns}, expected dim {expected}"
            f"{_whose(model, modality, reader.n_columns)} as in the build"
        )
    return reader


def _whose(model: Model, modality: str | None, dim: int) -> str:
    """Say whose dimension was expected, and which modality has the one given."""
    if modality is None:
        return ""
    others = [name for name, one in model.dims.items() if one == dim]
    return f" of modality {modality!r}" + (f" (dim {dim} is that of {', '.join(others)})" if others else "")


def turned(
    source: VectorSource, encoder: Encoder | None, spool_near: Any = None, progress: Progress = silent
) -> VectorSource:
    """Turn a source of items into one of vectors, where there is an encoder; vectors are left as they are."""
    if encoder is None or not holds_items(source):
        return source
    return encode_source(source, encoder, spool_near, progress)


def turn_items(
    sources: dict[str, VectorSource], encoder: Encoder, spool_near: Any, progress: Progress, *, must: bool
) -> None:
    """Turn the items of the one input into vectors, in place.

    Raises
    ------
    ArgumentError
        There are several modalities; or, where the input ``must`` be of items, it holds vectors: flat rows of pixels
        would pass as such and never be encoded.
    """
    if "" not in sources:
        raise ArgumentError(f"encoder {encoder.name} turns one input of items into vectors, got several modalities")
    source = sources[""]
    if must and not holds_items(source):
        raise ArgumentError(
            f"{source.name} holds rows of {source.n_columns} {source.dtype}, expected items for encoder "
            f"{encoder.name}: images as uint8 (n, height, width, 3) or (n, height, width), or strings"
        )
    sources[""] = turned(source, encoder, spool_near, progress)


def as_rows(model: Model, vectors: Any) -> Any:
    """Make one vector a batch of one; a flat array of codes or texts is a batch already."""
    if not isinstance(vectors, (np.ndarray, list, tuple)) or model.input == "bits":
        return vectors
    try:
        array = np.asanyarray(vectors)  # a mask stays, and is refused
    except (ValueError, TypeError, OverflowError):
        return vectors  # whoever opens them says what is wrong
    if array.ndim != 1 or array.dtype.kind not in "biuf":
        return vectors
    return array[None, :] if array.size else np.empty((0, next(iter(model.dims.values()))), np.float32)


def encode_all(model: Model, vectors: Any, modality: str | None, input_type: str) -> packing.Codes:
    """Encode a whole input, holding a batch of it at a time; uint64 (n, n_words)."""
    with _open(model, vectors) as source:
        reader = open_reader(source, model, modality, input_type)
        parts = [model.encode(rows, modality=modality) for rows in reader.batches()]
    return np.concatenate(parts) if parts else np.empty((0, packing.n_words_of(model.n_stored_bits)), np.uint64)


def read_all(model: Model, vectors: Any, modality: str | None, input_type: str) -> NDArray[Any]:
    """Read a whole input the way a model takes it: float32 (n, dim), or bool (n, n_bits)."""
    with _open(model, vectors) as source:
        reader = open_reader(source, model, modality, input_type)
        return reader.sample(reader.n_rows, 0)[0]


def _open(model: Model, vectors: Any) -> VectorSource:
    source = open_vectors(as_rows(model, vectors), items=model.encoder is not None)
    return turned(source, model.encoder)


def read_codes(spec: Any, n_bits: int, input_type: str = "auto") -> packing.Codes:
    """Read codes of a known width from a file or array.

    Parameters
    ----------
    spec : ndarray or file
    n_bits : int
        Width of a code in bits.
    input_type : str
        ``auto``, or one of ``hashdb.codes.INPUT_TYPES``.

    Returns
    -------
    ndarray of uint64, shape (n, n_words)

    Raises
    ------
    ArgumentError
        Another width, or a reading that is not clear.
    """
    with open_vectors(spec) as source:
        reader = Reader.open(source, input_type, wants_bits=True, n_bits=n_bits)
        parts = [packing.pack(bits) for bits in reader.batches()]
    return np.concatenate(parts) if parts else np.empty((0, packing.n_words_of(n_bits)), np.uint64)
