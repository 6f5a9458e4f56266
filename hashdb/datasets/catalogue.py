"""The data sets by name: find one, say what of it is there, read it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hashdb.datasets import corpora, files, nuswide, pictures, texts, views
from hashdb.datasets.description import DataFile, Dataset, DatasetInfo, Layout
from hashdb.errors import ArgumentError, InputFileError
from hashdb.inputs import read_ids
from hashdb.inputs.formats import nearest
from hashdb.progress import Progress, silent

_ALL: dict[str, DatasetInfo] = {
    info.name: info for part in (pictures, corpora, views, nuswide, texts) for info in part.ALL
}

_PARTS = ("vectors", "labels", "ids", "label_names", "queries", "neighbours", "images")


def names() -> list[str]:
    """List the names of the data sets in alphabetical order."""
    return sorted(_ALL)


def get(name: str) -> DatasetInfo:
    """Describe a data set.

    Raises
    ------
    ArgumentError
        There is none of that name; the nearest is given.
    """
    if name not in _ALL:
        near = nearest(str(name), _ALL) or ";"
        raise ArgumentError(f"unknown data set {name!r}{near} there are {', '.join(names())}, or name a .npz file")
    return _ALL[name]


@dataclass(frozen=True)
class Found:
    """What of a data set lies in its folder.

    Attributes
    ----------
    folder : Path or None
        None where neither ``HASHDB_DATA`` nor a folder is given.
    layout : Layout or None
        The first one that is complete.
    problem : str
        What is missing or of the wrong size, in one line; empty where nothing is.
    """

    folder: Path | None
    layout: Layout | None
    problem: str


def folder_of(info: DatasetInfo, folder: str | os.PathLike[str] | None = None) -> Path | None:
    """Give the folder of a data set: the one given, or its own below ``HASHDB_DATA``."""
    if folder is not None:
        return Path(folder)
    root = os.environ.get("HASHDB_DATA")
    return Path(root) / info.folder if root else None


def find(info: DatasetInfo, folder: str | os.PathLike[str] | None = None) -> Found:
    """Look for the files of a data set, and at their sizes where these are known."""
    place = folder_of(info, folder)
    if place is None:
        return Found(None, None, "HASHDB_DATA names no folder")
    if not place.is_dir():
        return Found(place, None, f"there is no folder {place}")
    problems = [_problem(place, layout.files) for layout in info.layouts]
    for layout, problem in zip(info.layouts, problems, strict=True):
        if not problem:
            return Found(place, layout, "")
    # The layout that is nearly there tells the user more than the first of the list.
    there = [sum((place / file.path).exists() for file in layout.files) for layout in info.layouts]
    return Found(place, None, problems[there.index(max(there))])


def load(
    name: str | os.PathLike[str], folder: str | os.PathLike[str] | None = None, *, progress: Progress = silent
) -> Dataset:
    """Read a data set.

    Parameters
    ----------
    name : str or Path
        One of :func:`names`; or a file of the user's own: ``.npz`` with ``vectors`` and, where there are any,
        ``labels``, ``ids``, ``label_names``, ``queries``, ``neighbours``, ``images``; or ``.hdf5`` as ann-benchmarks
        writes them.
    folder : path, optional
        Where its files are; by default its own folder below the one that ``HASHDB_DATA`` names.
    progress : callable, optional
        Called with (what, done, total).

    Returns
    -------
    Dataset

    Raises
    ------
    ArgumentError
        There is no data set of that name.
    InputFileError
        A file is missing, of another size than the published one, or damaged.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/mine.npz"
    >>> np.savez(path, vectors=np.eye(4), labels=[0, 0, 1, 1])
    >>> load(path)
    <hashdb.datasets.Dataset mine: 4 rows, dim 4>
    """
    suffix = Path(name).suffix.lower()
    if suffix in (".npz", ".hdf5", ".h5"):
        path = Path(name) if folder is None else Path(folder) / name
        return _read_npz(path) if suffix == ".npz" else corpora.read_ann_benchmarks(path.stem, path, progress)
    info = get(str(name))
    found = find(info, folder)
    if found.layout is None or found.folder is None:
        raise InputFileError(f"data set {info.name} cannot be read: {found.problem}; {_remedy(info, found.folder)}")
    try:
        return found.layout.read(found.folder, progress)
    except InputFileError as error:
        raise InputFileError(f"{error}{_other_sizes(info, found.folder, found.layout)}") from error


def _problem(folder: Path, needed: Iterable[DataFile]) -> str:
    """Say what is wrong with the files of a layout, nothing where all is well."""
    needed = tuple(needed)
    missing = [file.path for file in needed if not (folder / file.path).exists()]
    if missing:
        listed = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        return f"{folder} lacks {listed}"
    for file in needed:
        size = (folder / file.path).stat().st_size
        if file.size is not None and size != file.size:
            fault = "only in part" if size < file.size else "another file"
            return f"{folder / file.path} is there {fault}: it has {size:,} bytes, expected {file.size:,}"
    return ""


def _remedy(info: DatasetInfo, folder: Path | None) -> str:
    if folder is None:
        return "set HASHDB_DATA to the folder of your data sets, or give a folder"
    if info.downloads and not all(map(info.is_vouched, info.downloads)):
        return (
            f"get it from {info.home}, or with a checksum that you trust: hashdb datasets fetch {info.name} --sha256 …"
        )
    if info.downloads:
        return f"`hashdb datasets fetch {info.name}` gets it, or get it from {info.home}"
    return f"get it from {info.home}" + (f" ({info.note})" if info.note else "")


def _other_sizes(info: DatasetInfo, folder: Path, layout: Layout) -> str:
    """Tell which files have another size than the published download, the likely cause of what went wrong."""
    published = {one.gives[0]: one.size for one in info.downloads if len(one.gives) == 1 and one.size is not None}
    for file in layout.files:
        size, expected = (folder / file.path).stat().st_size, published.get(file.path)
        if expected is not None and size != expected:
            return (
                f"; {file.path} has {size:,} bytes, the published one {expected:,}: where it is a download that broke "
                "off, remove it and fetch it again"
            )
    return ""


def _read_npz(path: Path) -> Dataset:
    vectors = files.vectors(path, "vectors")
    with np.load(path, allow_pickle=False) as archive:
        there = set(archive.files)
    parts: dict[str, Any] = {name: f"{path}::{name}" for name in _PARTS if name in there}
    neighbours = files.vectors(path, "neighbours") if "neighbours" in parts else None
    return Dataset(
        path.stem,
        vectors,
        files.classes(path, "labels") if "labels" in parts else None,
        tuple(files.names(path, "label_names")) if "label_names" in parts else (),
        read_ids(parts["ids"]) if "ids" in parts else None,
        queries=files.vectors(path, "queries") if "queries" in parts else None,
        neighbours=None if neighbours is None else files.neighbours(neighbours, len(vectors), path),
        images=files.images(path, "images") if "images" in parts else None,
    )
