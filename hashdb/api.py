"""The ways to an index: build a new one, open one that is there, check or repair one that may be damaged."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hashdb.building import BuildOptions
from hashdb.building import build as build_store
from hashdb.errors import ArgumentError, brief
from hashdb.index import Index
from hashdb.memory import check_memory
from hashdb.model import Model
from hashdb.progress import Progress, silent
from hashdb.repairing import Knowledge
from hashdb.search import TableMaker
from hashdb.storage.losses import RepairReport
from hashdb.storage.maintain import VerifyReport
from hashdb.storage.maintain import verify as verify_folder
from hashdb.storage.repair import repair as repair_folder
from hashdb.storage.store import Store
from hashdb.writing import flag

PathLike = str | os.PathLike[str]


def build(
    path: PathLike,
    vectors: Any,
    method: str = "itq",
    n_bits: int | None = None,
    *,
    model: Model | None = None,
    quantiser: str | None = None,
    params: Mapping[str, Any] | None = None,
    encoder: str | None = None,
    ids: Any = None,
    labels: Any = None,
    train: int | None = None,
    seed: int = 0,
    normalise: str = "none",
    metric: str = "cosine",
    store_vectors: str | None = None,
    input_type: str = "auto",
    modality: str | None = None,
    store: str | None = None,
    database_codes: str = "predicted",
    table_budget: float | None = None,
    progress: Progress = silent,
) -> Index:
    """Learn codes from vectors and write them as a new index.

    Parameters
    ----------
    path : path
        Folder to make; must not hold an index yet.
    vectors : ndarray, shape (n, dim), or file, or mapping of modality to either
        Anything ``hashdb build`` reads; with several modalities row i of one is paired with row i of the others. With
        ``encoder`` images, uint8 (n, height, width, 3) or (n, height, width), or strings.
    method : str
        Entry-point name of a hashing method; ``hashdb methods`` lists them. ``codes`` takes codes as they are.
    n_bits : int, optional
        Information bits of a code, 1 to 4096. Default 64, or the width of the input where it is codes.
    model : Model, optional
        A fitted model instead of fitting one.
    quantiser : str, optional
        Name of a quantiser for the method's projections; without one they are thresholded at 0.
    params : mapping, optional
        Params of the method and quantiser, and of the encoder as ``encoder.NAME``.
    encoder : str, optional
        Name of an encoder that turns images or strings into vectors first. It is kept with the model: what is added
        and queried later may be items too, or vectors that it made.
    ids : ndarray of int64, list of str, or file, optional
        One id a row; default 0 to n - 1.
    labels : ndarray or file, optional
        One label a row, for methods that learn from labels.
    train : int, optional
        Rows of the uniform training sample; default by method.
    seed : int
        Seed of the sample and of the method.
    normalise : {"none", "l2"}
        What the model does to every vector first.
    metric : {"cosine", "l2", "ip"}
        Recorded for re-ranking.
    store_vectors : {None, "float32", "float16", "int8"}
        Keep the vectors for re-ranking.
    input_type : str
        ``auto``, or one of ``hashdb.codes.INPUT_TYPES``.
    modality : str, optional
        With ``model``: which modality the vectors are of.
    store : str, optional
        Which modality goes into the index; default the first.
    database_codes : {"predicted", "learned"}
        Codes the model predicts from each row, or those that training gave to its own rows.
    table_budget : float, optional
        Bytes a code that the bucket tables of a large segment may take on disk; 0 for none. Default 96.
    progress : callable, optional
        Called with (what, done, total).

    Returns
    -------
    Index
        Open, at version 1.

    Raises
    ------
    IndexExistsError
        There is an index at ``path``.
    ArgumentError
        A value or row that cannot be used.
    PluginError
        The method is unknown, fails to load or breaks its contract.

    Examples
    --------
    >>> import numpy as np, tempfile, hashdb
    >>> rows = np.random.default_rng(0).standard_normal((100, 8)).astype(np.float32)
    >>> index = hashdb.build(tempfile.mkdtemp() + "/a.hashdb", rows, method="lsh", n_bits=16)
    >>> len(index)
    100
    """
    check_memory()
    if not isinstance(method, str):
        raise ArgumentError(f"method is {method!r}, expected the name of a hashing method")
    if params is not None and not isinstance(params, Mapping):
        raise ArgumentError(f"params are a {type(params).__name__}, expected a mapping of names to values")
    options = BuildOptions(
        method=method,
        n_bits=n_bits,
        quantiser=quantiser,
        params=dict(params or {}),
        encoder=encoder,
        labels=labels,
        ids=ids,
        train=train,
        seed=seed,
        normalise=normalise,
        metric=metric,
        store_vectors=None if store_vectors == "none" else store_vectors,
        input_type=input_type,
        modality=modality,
        store=store,
        database_codes=database_codes,
        table_budget=table_budget,
    )
    return Index(build_store(_folder(path), vectors, options, model, progress), model)


def open(path: PathLike, *, version: int | None = None, mmap: bool = True, check: str = "quick") -> Index:
    """Open an index.

    Parameters
    ----------
    path : path
        Folder of the index.
    version : int, optional
        An old version, read-only; default the newest.
    mmap : bool
        Map the codes (default), or read them into memory on first use.
    check : {"quick", "full"}
        ``quick`` checks metadata, presence and size of every file; ``full`` also the checksum of every byte.

    Returns
    -------
    Index

    Raises
    ------
    IndexNotFoundError, CorruptIndexError, UnsupportedFormatError, VersionGoneError
    """
    check_memory()
    store = Store.open(_folder(path), version=version, mmap=mmap, check=check)
    store.tables = TableMaker(store.attributes.settings.get("table_budget"))
    return Index(store)


def verify(path: PathLike, *, deep: bool = False, progress: Progress = silent) -> VerifyReport:
    """Check an index without opening it, and name everything that is wrong at once.

    Parameters
    ----------
    path : path
        Folder of the index.
    deep : bool
        Read every byte: checksums, order of ids, padding bits, and an independent Zarr reader.
    progress : callable, optional
        Called with (what, done, total).

    Returns
    -------
    VerifyReport
        ``ok``, and ``problems`` as (file, what is wrong).

    Raises
    ------
    IndexNotFoundError
        There is no index.
    StorageError
        The file system refuses, for example because a right is missing.
    """
    return verify_folder(_folder(path), deep=deep, progress=lambda done, total: progress("verifying", done, total))


def repair(path: PathLike, *, drop: bool = False, dry_run: bool = False, progress: Progress = silent) -> RepairReport:
    """Repair a damaged index, which need not open.

    What is proven is put back: metadata, documents with one wrong byte, codes that follow from bucket tables or stored
    vectors and fit their checksum. Damaged bucket tables are made anew. What cannot be saved is only listed, unless
    ``drop`` gives it up.

    Parameters
    ----------
    path : path
        Folder of the index.
    drop : bool
        Make a version without what cannot be saved; ``losses`` says what that is, by id.
    dry_run : bool
        Write nothing, and say what would be done.
    progress : callable, optional
        Called with (what, done, total).

    Returns
    -------
    RepairReport
        ``ok``, ``restored``, ``renewed``, ``losses``, and ``problems`` that are left.

    Raises
    ------
    ArgumentError
        The path is none, or ``drop`` or ``dry_run`` neither True nor False.
    IndexNotFoundError
        There is no index.
    StorageError
        The file system refuses, for example because it is read-only.
    """
    return repair_folder(
        _folder(path),
        Knowledge(),
        drop=flag("drop", drop),
        dry_run=flag("dry_run", dry_run),
        progress=lambda done, total: progress("repairing", done, total),
    )


def _folder(path: PathLike) -> Path:
    """Check what is given as the path of an index, once for all that follows."""
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise ArgumentError(f"the path of the index is {brief(repr(path))}, expected a str or a path object")
    text = os.fspath(path)
    if not text:
        raise ArgumentError("the path of the index is empty, expected the name of a folder")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise ArgumentError(f"the path of the index is {text!r}, which is no name that a file can have") from None
    if "\0" in text:
        raise ArgumentError(f"the path of the index is {text!r}, expected a name without NUL characters")
    return Path(text)
