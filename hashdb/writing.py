"""Change an index: encode an input in batches into one segment and add it, delete rows, compact.

Nothing here holds more than a batch of the input. A failure or an interrupt leaves the index as
it was: only the commit at the end makes rows visible.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.errors import ArgumentError, brief
from hashdb.inputs import normalise_ids, read_ids
from hashdb.model import Model
from hashdb.progress import Progress, silent
from hashdb.reading import Reader, modality_of, open_reader, open_sources, turned
from hashdb.search import TableMaker
from hashdb.storage.store import Store
from hashdb.stored_vectors import Keeping, StoredVectors


def add(
    store: Store,
    model: Model,
    keeping: Keeping | None,
    vectors: Any,
    ids: Any,
    *,
    upsert: bool = False,
    modality: str | None = None,
    input_type: str = "auto",
    auto_compact: bool = True,
    progress: Progress = silent,
) -> NDArray[Any]:
    """Encode rows and commit them as one new segment.

    Returns
    -------
    ndarray
        The ids of the rows, in the order of the input.
    """
    upsert, auto_compact = flag("upsert", upsert), flag("auto_compact", auto_compact)
    near = Path(store.path).parent
    sources = open_sources(vectors, near, items=model.encoder is not None)
    try:
        if len(sources) > 1:
            raise ArgumentError(f"{len(sources)} modalities were given, expected one: an add is of one modality")
        ((name, source),) = sources.items()
        source = sources[name] = turned(source, model.encoder, near, progress)
        modality = modality_of(name, modality)
        reader = open_reader(source, model, modality, input_type)
        given = None if ids is None else read_ids(ids, kind=store.attributes.id_kind)
        check_ids_fit(given, reader)
        if given is None and store.attributes.id_kind == "string":
            raise ArgumentError("this index has string ids: give one id a row (ids=, --ids FILE)")
        if reader.n_rows == 0:
            return np.empty(0, np.int64 if store.attributes.id_kind == "int64" else "<U1")
        stored = None if keeping is None else keeping.of(modality)
        segment = encode_into(store, model, reader, given, stored=stored, modality=modality, progress=progress)
        return store.commit_add(segment, upsert=upsert, auto_compact=auto_compact)
    finally:
        for source in sources.values():
            source.close()


def encode_into(
    store: Store,
    model: Model,
    reader: Reader,
    ids: Any,
    *,
    stored: StoredVectors | None,
    modality: str | None,
    learned: NDArray[np.uint64] | None = None,
    progress: Progress = silent,
) -> Any:
    """Encode an input in batches and write it as one segment, not yet committed.

    Parameters
    ----------
    store : Store
    model : Model
    reader : Reader
    ids : ndarray of int64, list of str, or None
        Row i belongs to ids[i]; None numbers the rows from the index's next id.
    stored : StoredVectors or None
        How to keep the vectors, None not at all.
    modality : str or None
    learned : ndarray of uint64, shape (n, n_words), optional
        Codes that training gave to these rows; they are stored instead of predicted ones.
    progress : callable

    Returns
    -------
    NewSegment
        To be handed to one of the store's commits.
    """
    check_ids_fit(ids, reader)
    kept = None if stored is None else (stored.kind, reader.n_columns)
    writer = store.new_segment(
        ids=ids,
        n_rows_hint=reader.n_rows,
        vectors=kept,
        modality=modality,
        database_codes="predicted" if learned is None else "learned",
    )
    done = 0
    try:
        for rows in reader.batches():
            coded = model.encode(rows, modality=modality) if learned is None else learned[done : done + len(rows)]
            writer.append(coded, None if stored is None else stored.shrink(rows))
            done += len(rows)
            progress("encoding", done, reader.n_rows)
        return writer.finish()
    except BaseException:
        writer.abort()
        raise


def check_ids_fit(ids: Any, reader: Reader) -> None:
    """Raise ArgumentError unless there is one id a row."""
    if ids is not None and len(ids) != reader.n_rows:
        raise ArgumentError(f"{len(ids)} ids for {reader.n_rows} rows of {reader.source.name}, expected one id a row")


def delete(store: Store, ids: Any, *, ignore_missing: bool = False) -> int:
    """Delete rows by id in one commit; return how many."""
    ignore_missing = flag("ignore_missing", ignore_missing)
    wanted = read_ids(ids, kind=store.attributes.id_kind) if isinstance(ids, os.PathLike) else normalise_ids(ids)
    return store.commit_delete(wanted, ignore_missing=ignore_missing)


def compact(
    store: Store, *, prune: bool, keep: int, table_budget: float | None, progress: Callable[[int, int], None]
) -> Any:
    """Compact a store, with tables of a budget where one is given."""
    tables = None if table_budget is None else TableMaker(table_budget, replace=True)
    keep = int(keep) if isinstance(keep, np.integer) else keep
    return store.compact(prune=flag("prune", prune), keep=keep, tables=tables, progress=progress)


def flag(name: str, value: bool | np.bool_) -> bool:
    """Return a bool; raise ArgumentError for what is none, of which most would count as True."""
    if not isinstance(value, bool | np.bool_):
        raise ArgumentError(f"{name} is {brief(repr(value))}, expected True or False")
    return bool(value)
