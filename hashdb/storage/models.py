"""Models: a JSON document and named arrays, no pickle, under ``models/<uuid>``."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import numpy as np

from hashdb.errors import ArgumentError, CorruptIndexError
from hashdb.storage.commit import Files, Staging
from hashdb.storage.documents import FORMAT, canonical, digest, group_json, is_array_path
from hashdb.storage.folder import REPAIR
from hashdb.storage.layout import DTYPES, ArraySpec, ArrayWriter, FileEntry
from hashdb.storage.manifest import ModelEntry
from hashdb.storage.mapping import Mapper
from hashdb.storage.reading import open_model

# Bytes of arrays that are checked when a model is opened: a damaged scale or weight gives wrong answers in silence.
MAX_CHECKED_BYTES = 64 << 20


def write_model(files: Files, root: Path, document: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    """Write a model that no version refers to yet, and flush it.

    Parameters
    ----------
    files : Files
        Layer for file effects.
    root : Path
        Folder of the index.
    document : dict
        JSON.
    arrays : dict
        Arrays of bool, integers or floats, any shape. A ``/`` in a name makes groups.

    Returns
    -------
    str
        Its uuid.

    Raises
    ------
    ArgumentError
        A dtype or name that cannot be stored, or a document that is not JSON.
    """
    _check(document, arrays)
    name = uuid.uuid4().hex
    staging = Staging(files, root / "models" / name)
    try:
        _write(staging, name, document, arrays)
        staging.sync()
    except BaseException:
        staging.discard()
        raise
    return name


def stored_model(root: Path, name: str) -> ModelEntry:
    """Return the manifest's entry of a model that was written."""
    try:
        return ModelEntry(name, digest((root / "models" / name / "model.json").read_bytes()))
    except FileNotFoundError:
        raise ArgumentError(f"no model {name!r:.80} was written to {root}") from None


def _check(document: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    try:
        canonical(document)
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(f"the model's document cannot be stored as JSON: {error}") from error
    for name, array in arrays.items():
        if not is_array_path(name):
            raise ArgumentError(f"{name!r:.80} cannot name an array: use letters, digits, '_', '-', '.' and '/'")
        if array.dtype.name not in DTYPES:
            raise ArgumentError(f"array {name!r} has dtype {array.dtype}, which cannot be stored; use one of {DTYPES}")
        if any(other.startswith(name + "/") for other in arrays):
            raise ArgumentError(f"{name!r} cannot name an array and a group at once")


def _write(staging: Staging, uuid_: str, document: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    group = group_json()
    staging.write_file("zarr.json", group)
    entries = {"zarr.json": FileEntry.of(group)}
    specs: dict[str, ArraySpec] = {}
    for name, array in sorted(arrays.items()):
        parts = name.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            if f"{folder}/zarr.json" not in entries:
                staging.mkdir(folder)
                staging.write_file(f"{folder}/zarr.json", group)
                entries[f"{folder}/zarr.json"] = FileEntry.of(group)
        writer = ArrayWriter(staging, name, array.dtype.name)
        specs[name] = writer.write_whole(array)
        entries.update(writer.entries)
    described = {
        "format": FORMAT,
        "uuid": uuid_,
        "document": document,
        "arrays": {name: spec.to_json() for name, spec in specs.items()},
        "files": {name: entry.to_json() for name, entry in entries.items()},
    }
    staging.write_file("model.json", canonical(described))


def read_model(mapper: Mapper, entry: ModelEntry) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the document and arrays of a model, checksums compared from the smallest file up to 64 MiB in all.

    Raises
    ------
    CorruptIndexError
        Naming a file that is missing or does not match its checksum.
    """
    document, unit = open_model(mapper, entry)
    n_bytes = 0
    for name in sorted(unit.files, key=lambda name: unit.files[name].size):
        n_bytes += unit.files[name].size
        if n_bytes > MAX_CHECKED_BYTES:
            break
        # Metadata of Zarr are not read here, so they cannot mislead.
        if not name.endswith("zarr.json"):
            try:
                unit.check_file(name)
            except CorruptIndexError as error:
                raise CorruptIndexError(f"{error}; every version needs the model; {REPAIR}", error.path) from error
    return document, {name: unit.whole(name) for name in unit.arrays}
