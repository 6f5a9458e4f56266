"""The data of an experiment as its processes share them: arrays in files, mapped rather than copied."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb import datasets
from hashdb.codes import unmasked
from hashdb.errors import ArgumentError
from hashdb.evaluation.drawing import check_labels
from hashdb.evaluation.saving import cache_key
from hashdb.progress import Progress, silent

_FACTS = "material.json"


@dataclass(frozen=True, eq=False)
class Material:
    """What is measured on.

    Attributes
    ----------
    name : str
    vectors : mapping of modality to ndarray, shape (n_rows, dim)
        The key is "" where there is one.
    labels : ndarray of int64 (n_rows,), or of bool (n_rows, n_labels), or None
    queries : ndarray, shape (n_queries, dim), or None
        Of their own, no rows of ``vectors``.
    metric : str or None
    n_train : int or None
        The publishers' training part are the first rows.
    label_names : tuple of str
        Of the classes, where they have names.
    pictured : range
        Rows that have an image.
    """

    name: str
    vectors: Mapping[str, NDArray[Any]]
    labels: NDArray[Any] | None = None
    queries: NDArray[Any] | None = None
    metric: str | None = None
    n_train: int | None = None
    label_names: tuple[str, ...] = ()
    pictured: range = range(0)

    @property
    def n_rows(self) -> int:
        """Rows, queries apart not counted."""
        return len(next(iter(self.vectors.values())))

    @property
    def dims(self) -> dict[str, int]:
        """Columns by modality."""
        return {name: int(rows.shape[1]) for name, rows in self.vectors.items()}

    @property
    def is_paired(self) -> bool:
        """Whether there are several modalities."""
        return "" not in self.vectors

    def digest(self) -> str:
        """Digest what results depend on."""
        arrays = {
            "labels": self.labels,
            "queries": self.queries,
            **{f"vectors {k}": v for k, v in self.vectors.items()},
        }
        return cache_key(**{name: array for name, array in arrays.items() if array is not None})[:16]

    @classmethod
    def of(cls, dataset: datasets.Dataset) -> Material:
        """Take what is needed of a data set.

        Raises
        ------
        ArgumentError
            There are no rows, values that are not numbers, or labels that are none.
        """
        given = dataset.vectors
        vectors = dict(given) if isinstance(given, Mapping) else {"": given}
        for name, rows in vectors.items():
            _check_rows(f"vectors of {name}" if name else "vectors", rows)
        if dataset.queries is not None:
            _check_rows("queries", dataset.queries)
            if [dataset.queries.shape[1]] != [rows.shape[1] for rows in vectors.values()]:
                raise ArgumentError(f"queries of {dataset.name} have another dim than its vectors, expected the same")
        labels = None if dataset.labels is None else check_labels(dataset.labels, dataset.n_rows)
        n_images = 0 if dataset.images is None else len(dataset.images)
        return cls(
            dataset.name,
            vectors,
            labels,
            dataset.queries,
            dataset.metric,
            dataset.n_train,
            tuple(dataset.label_names),
            range(dataset.first_image, dataset.first_image + n_images),
        )

    def save(self, folder: Path) -> None:
        """Write the arrays, each a file that can be mapped."""
        for number, rows in enumerate(self.vectors.values()):
            np.save(folder / f"vectors{number}.npy", rows)
        for name in ("labels", "queries"):
            if (array := getattr(self, name)) is not None:
                np.save(folder / f"{name}.npy", array)
        facts = {
            "name": self.name,
            "modalities": list(self.vectors),
            "metric": self.metric,
            "n_train": self.n_train,
            "label_names": self.label_names,
            "pictured": [self.pictured.start, self.pictured.stop],
        }
        (folder / _FACTS).write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def open(cls, folder: Path) -> Material:
        """Map what :meth:`save` wrote."""
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))

        def array(name: str) -> NDArray[Any] | None:
            path = folder / f"{name}.npy"
            return np.load(path, mmap_mode="r") if path.exists() else None

        vectors = {
            name: np.load(folder / f"vectors{i}.npy", mmap_mode="r") for i, name in enumerate(facts["modalities"])
        }
        return cls(
            facts["name"],
            vectors,
            array("labels"),
            array("queries"),
            facts["metric"],
            facts["n_train"],
            tuple(facts["label_names"]),
            range(*facts["pictured"]),
        )


def load(data: str | os.PathLike[str] | datasets.Dataset, progress: Progress = silent) -> datasets.Dataset:
    """Read a data set by its name or file, or take one that was read."""
    return data if isinstance(data, datasets.Dataset) else datasets.load(data, progress=progress)


def _check_rows(name: str, rows: NDArray[Any]) -> None:
    unmasked(rows, name)
    if rows.ndim != 2 or not rows.size or rows.dtype.kind not in "biuf":
        raise ArgumentError(f"{name} are {rows.dtype} of shape {rows.shape}, expected numbers (n, dim), some of each")
    step = max(1, (1 << 22) // rows.shape[1])
    for start in range(0, len(rows), step):
        finite = np.isfinite(rows[start : start + step]).all(axis=1)
        if not finite.all():
            raise ArgumentError(f"{name} have a value in row {start + int(finite.argmin())} that is not finite")
