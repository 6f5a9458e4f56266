"""NUS-WIDE as published: low-level features, tags and 81 concepts of 269,648 images, tables of numbers in text."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hashdb.datasets import files
from hashdb.datasets.description import DataFile, Dataset, DatasetInfo, Layout
from hashdb.errors import InputFileError
from hashdb.inputs.files import open_file
from hashdb.inputs.formats import parse_spec
from hashdb.inputs.lines import Lines
from hashdb.inputs.table import Layout as Table
from hashdb.inputs.table import TableSource
from hashdb.progress import Progress

_HOME = "https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html"
_TAGS = "NUS_WID_Tags/AllTags1k.txt"
_CONCEPTS = "ConceptsList/Concepts81.txt"
_LABELS = "Groundtruth/AllLabels"
_WORDS = ("BoW_int",)  # 500 visual words
# Colour histogram 64, correlogram 144, edge directions 73, wavelets 128, colour moments 225.
_NORMALISED = ("Normalized_CH", "Normalized_CORR", "Normalized_EDH", "Normalized_WT", "Normalized_CM55")
_BATCH = 4096


def read_table(path: Path, dtype: DTypeLike) -> NDArray[Any]:
    """Read numbers between white space, as many in each line; lines may end in white space.

    Raises
    ------
    InputFileError
        Lines differ in length, or a number does not fit `dtype`; the message names the line.
    """
    with open_file(parse_spec(path, "text")) as file:
        lines = Lines(file)
        n_columns = len(lines.read(0, 1)[0].split()) if lines.n else 0
        source = TableSource(lines, Table(None, None, 0, ("number",) * n_columns), list(range(n_columns)))
        # Parts rather than one array in advance: only lines that were read tell that there is so much.
        parts = [np.empty((0, n_columns), dtype)]
        for number, batch in enumerate(source.batches(_BATCH)):
            parts.append(_fitting(batch, np.dtype(dtype), source.name, number * _BATCH))
    return np.concatenate(parts)


def _fitting(rows: NDArray[Any], dtype: np.dtype[Any], name: str, start: int) -> NDArray[Any]:
    with np.errstate(over="ignore", invalid="ignore"):  # what does not fit is told below
        cast = rows.astype(dtype)
    wrong = np.isinf(cast) & np.isfinite(rows) if dtype.kind == "f" else cast != rows
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        info = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
        kind = "a number" if dtype.kind == "f" else "a whole number"
        raise InputFileError(
            f"{name}: line {start + row + 1:,}, column {column} is {rows[row, column]:g}, expected {kind} from "
            f"{info.min:.3g} to {info.max:.3g}"
        )
    return cast


def _read(name: str, features: tuple[str, ...], folder: Path, progress: Progress) -> Dataset:
    concepts = _concepts(folder)
    n_parts = len(features) + 1 + len(concepts)
    parts = []
    for done, one in enumerate(features, 1):
        parts.append(read_table(_feature_file(folder, one), np.float32))
        progress("reading NUS-WIDE", done, n_parts)
    _same_rows(folder, features, parts)
    tags = read_table(folder / _TAGS, np.uint8)
    labels = np.empty((len(tags), len(concepts)), bool)
    for number, concept in enumerate(concepts):
        column = read_table(_label_file(folder, concept), np.uint8)
        if column.shape != (len(tags), 1) or column.max(initial=0) > 1:
            raise InputFileError(
                f"{_label_file(folder, concept)} has shape {column.shape}, expected {len(tags):,} lines of 0 or 1"
            )
        labels[:, number] = column[:, 0]
        progress("reading NUS-WIDE", len(features) + 2 + number, n_parts)
    image = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    return Dataset(name, {"image": image, "text": tags}, labels, tuple(concepts))


def _concepts(folder: Path) -> list[str]:
    """Name the concepts: those listed, or where the list is not there, those with a file, which is the same order."""
    if not (folder / _CONCEPTS).exists():
        found = sorted(path.stem.removeprefix("Labels_") for path in (folder / _LABELS).glob("Labels_*.txt"))
        if not found:
            raise InputFileError(f"{folder / _LABELS} holds no Labels_CONCEPT.txt, expected one for each concept")
        return found
    listed = files.names(folder / _CONCEPTS)
    missing = [one for one in listed if not _label_file(folder, one).exists()]
    if missing:
        raise InputFileError(
            f"no file {_label_file(folder, missing[0])}: {len(listed) - len(missing)} of the {len(listed)} concepts "
            "have one, expected all"
        )
    return listed


def _same_rows(folder: Path, features: tuple[str, ...], parts: list[NDArray[Any]]) -> None:
    for one, part in zip(features, parts, strict=True):
        if len(part) != len(parts[0]):
            raise InputFileError(
                f"{_feature_file(folder, one)} has {len(part):,} rows, expected {len(parts[0]):,} as "
                f"{_feature_file(folder, features[0]).name}"
            )


def _feature_file(folder: Path, feature: str) -> Path:
    return folder / f"Low_Level_Features/{feature}.dat"


def _label_file(folder: Path, concept: str) -> Path:
    return folder / _LABELS / f"Labels_{concept}.txt"


def _nus_wide(name: str, title: str, features: tuple[str, ...]) -> DatasetInfo:
    needed = (*(f"Low_Level_Features/{one}.dat" for one in features), _TAGS, _LABELS)
    return DatasetInfo(
        name=name,
        title=title,
        home=_HOME,
        licence="research; the images are their owners'; cite Chua and others, CIVR 2009",
        folder="nus_wide",
        layouts=(Layout(tuple(DataFile(path) for path in needed), partial(_read, name, features)),),
        note="its publishers ask to fill in a form; unpack Low_Level_Features, NUS_WID_Tags, Groundtruth and "
        "ConceptsList there",
    )


ALL = (
    _nus_wide("nus-wide", "NUS-WIDE, 500 visual words and 1,000 tags of 269,648 images", _WORDS),
    _nus_wide("nus-wide-634", "NUS-WIDE, five normalised features and 1,000 tags", _NORMALISED),
)
