"""What a data set is before and after it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.errors import InputFileError
from hashdb.progress import Progress

ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar")

Read = Callable[[Path, Progress], "Dataset"]


@dataclass(frozen=True)
class DataFile:
    """A file that a loader reads.

    Attributes
    ----------
    path : str
        Below the folder of the data set.
    size : int or None
        Bytes of the published file, where they are known.
    sha256 : str or None
        Checksum of the published file, where it is known.
    """

    path: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Layout:
    """One form in which a data set may lie in its folder.

    Attributes
    ----------
    files : tuple of DataFile
        All of them are needed.
    read : callable
        Takes the folder and a progress callback, and gives the data.
    """

    files: tuple[DataFile, ...]
    read: Read


@dataclass(frozen=True)
class Download:
    """What ``fetch`` gets from the net.

    Attributes
    ----------
    url : str
    gives : tuple of str
        Paths of files in the folder: the download itself, or members of a ``.zip``, ``.tar.gz`` or ``.tar`` archive,
        found there by the end of their names.
    size : int or None
        Bytes of the download, where they are known.
    sha256 : str or None
        None where no checksum of the download is known; members with checksums of their own vouch for an archive.
    """

    url: str
    gives: tuple[str, ...]
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class DatasetInfo:
    """A data set that hashdb can read.

    Attributes
    ----------
    name, title : str
    home : str
        Where its publishers have it.
    licence : str
        One line.
    folder : str
        Below the folder that ``HASHDB_DATA`` names.
    layouts : tuple of Layout
        In order of preference.
    downloads : tuple of Download
        None where its publishers ask to be asked, or where it was made from another set.
    note : str
        How to get it where it cannot be fetched.
    """

    name: str
    title: str
    home: str
    licence: str
    folder: str
    layouts: tuple[Layout, ...]
    downloads: tuple[Download, ...] = ()
    note: str = ""

    def is_vouched(self, download: Download) -> bool:
        """Tell whether a checksum is known: of the download, or of every file taken out of an archive."""
        is_archive = download.url.lower().endswith(ARCHIVES) and not download.gives[0].lower().endswith(ARCHIVES)
        return download.sha256 is not None or (is_archive and all(self.known(path).sha256 for path in download.gives))

    def known(self, path: str) -> DataFile:
        """Give what is known of a file of any layout."""
        for layout in self.layouts:
            for file in layout.files:
                if file.path == path:
                    return file
        return DataFile(path)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory.

    Attributes
    ----------
    name : str
    vectors : ndarray, shape (n, dim), or mapping of modality to such
        Numbers in the dtype of their file; row i of one modality is paired with row i of the others.
    labels : ndarray of int64 (n,), or of bool (n, n_classes), or None
    label_names : tuple of str
        Of classes 0, 1, …, where they have names.
    ids : ndarray of int64 (n,), list of str, or None
        What the publishers call each row; not unique in every set.
    n_train : int or None
        The publishers' training part is the first ``n_train`` rows, their test part the others.
    queries : ndarray, shape (n_queries, dim), or None
        Where they are no rows of ``vectors``.
    neighbours : ndarray of int64, shape (n_queries, k), or None
        The nearest rows of each query, nearest first, as published.
    metric : str or None
        What ``neighbours`` are nearest in: ``l2`` or ``cosine``.
    images : ndarray of uint8, shape (m, height, width) or (m, height, width, 3), or None
        Of rows ``first_image`` to ``first_image + m``.
    first_image : int
    texts : list of str, or None

    Raises
    ------
    InputFileError
        The parts have different numbers of rows.
    """

    name: str
    vectors: NDArray[Any] | Mapping[str, NDArray[Any]]
    labels: NDArray[Any] | None = None
    label_names: tuple[str, ...] = ()
    ids: NDArray[np.int64] | list[str] | None = None
    n_train: int | None = None
    queries: NDArray[Any] | None = None
    neighbours: NDArray[np.int64] | None = None
    metric: str | None = None
    images: NDArray[np.uint8] | None = None
    first_image: int = 0
    texts: list[str] | None = None

    def __post_init__(self) -> None:
        parts = {f"vectors of {name}" if name else "vectors": len(rows) for name, rows in self._arrays().items()}
        parts |= {name: len(one) for name in ("labels", "ids", "texts") if (one := getattr(self, name)) is not None}
        if len(set(parts.values())) != 1:
            counts = ", ".join(f"{name} {n:,}" for name, n in parts.items())
            raise InputFileError(f"the parts of {self.name} have different numbers of rows ({counts}), expected one")
        if self.queries is not None and self.neighbours is not None and len(self.queries) != len(self.neighbours):
            raise InputFileError(
                f"{self.name} has {len(self.queries):,} queries and neighbours of {len(self.neighbours):,}, "
                "expected as many"
            )

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return dict(self.vectors) if isinstance(self.vectors, Mapping) else {"": self.vectors}

    @property
    def n_rows(self) -> int:
        """Rows of the set, queries apart not counted."""
        return len(next(iter(self._arrays().values())))

    @property
    def dims(self) -> dict[str, int]:
        """Columns by modality; the key is "" where there is one."""
        return {name: int(rows.shape[1]) for name, rows in self._arrays().items()}

    def image(self, row: int) -> NDArray[np.uint8] | None:
        """Give the image of a row, None where there is none."""
        at = row - self.first_image
        if self.images is None or not 0 <= at < len(self.images):
            return None
        return np.asarray(self.images[at])

    def __repr__(self) -> str:
        dims = ", ".join(f"{name} {dim}" if name else f"dim {dim}" for name, dim in self.dims.items())
        return f"<hashdb.datasets.Dataset {self.name}: {self.n_rows:,} rows, {dims}>"
