"""An index with everything that an index can have, and ways to damage its files."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np

import hashdb
from hashdb.cli import main
from hashdb.storage.segments import Sizes

N_BITS = 24
N_IMAGES, N_TEXTS = 280, 200


def rows(seed: int = 0) -> dict[str, np.ndarray]:
    """Paired rows of two modalities, 700 of each."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((700, 40))
    return {
        name: (common @ rng.standard_normal((40, dim)) + 0.1 * rng.standard_normal((700, dim))).astype(np.float32)
        for name, dim in (("image", 40), ("text", 30))
    }


def ids_of(kind: str, numbers: range) -> list[int] | list[str]:
    """Explicit ids without gaps between them that would be a range."""
    return [3 * i for i in numbers] if kind == "int64" else [f"é{i:04d}" if i % 3 else f"row-{i}" for i in numbers]


def make(path: Path, kind: str = "string", *, chunk_bytes: int = 1 << 20, tables: bool = True, seed: int = 0) -> None:
    """Build version 1 of images, add texts, delete of both: bucket tables, float32 vectors, two segments."""
    data = rows(seed)
    with (
        mock.patch("hashdb.search.layouts.MIN_ROWS", 64 if tables else 1 << 16),
        mock.patch("hashdb.storage.store.Sizes", return_value=Sizes(chunk_bytes=chunk_bytes)),
    ):
        model = hashdb.fit({name: part[:400] for name, part in data.items()}, "cvh", N_BITS)
        images, texts = ids_of(kind, range(N_IMAGES)), ids_of(kind, range(N_IMAGES, N_IMAGES + N_TEXTS))
        with hashdb.build(
            path,
            data["image"][:N_IMAGES],
            model=model,
            modality="image",
            ids=images,
            store_vectors="float32",
            table_budget=60 if kind == "string" else 20,  # tables that hold codes, and lean ones
        ) as index:
            index.add(data["text"][N_IMAGES : N_IMAGES + N_TEXTS], ids=texts, modality="text")
            index.delete([*images[10:20], *texts[5:9]])


def manifest_of(path: Path, version: int | None = None) -> dict:
    """Read a manifest, the newest by default, with json alone."""
    files = sorted((path / "manifests").glob("0*.json"))
    return json.loads((files[-1] if version is None else path / "manifests" / f"{version:012d}.json").read_text())


def files_of(path: Path) -> list[Path]:
    """List every file of the newest version, and those of the index itself; not those of pruned or older versions."""
    manifest = manifest_of(path)
    places = [path / "segments" / entry["uuid"] for entry in manifest["segments"]]
    places += [path / "deletes" / lists["uuid"] for entry in manifest["segments"] for lists in entry["deletes"]]
    places.append(path / "models" / manifest["model"]["uuid"])
    found = [file for place in places for file in place.rglob("*") if file.is_file()]
    found += [
        path / "zarr.json",
        *(path / name / "zarr.json" for name in ("manifests", "models", "segments", "deletes")),
    ]
    return sorted([*found, path / "manifests" / f"{manifest['version']:012d}.json"])


def is_metadata(file: Path) -> bool:
    """Tell documents from data."""
    return file.suffix == ".json"


def is_derived(file: Path) -> bool:
    """Tell what belongs to bucket tables."""
    return "buckets" in file.parts


def flip(file: Path, at: int, mask: int = 0x10) -> None:
    """Flip bits of one byte of a file; doing it twice undoes it."""
    with file.open("r+b") as opened:
        opened.seek(at)
        byte = opened.read(1)[0]
        opened.seek(at)
        opened.write(bytes([byte ^ mask]))


def content(index: hashdb.Index) -> dict:
    """Rows of an open index, as {id: code words}."""
    return {
        one: tuple(code) for ids, codes in index.codes() for one, code in zip(ids.tolist(), codes.tolist(), strict=True)
    }


def answers(index: hashdb.Index) -> list:
    """Ask an index by every way there is, and give what it says."""
    data = rows()
    said = []
    for name in data:
        found = index.query(data[name][:3], k=7, modality=name, n_threads=1)
        scored = index.query(data[name][:3], k=5, rescore=3, modality=name, n_threads=1)
        within = index.query_radius(data[name][:3], 3, modality=name, n_threads=1)
        said += [found.ids.tolist(), found.distances.tolist(), scored.ids.tolist(), scored.distances.tolist()]
        said += [within.ids.tolist(), within.lims.tolist(), within.distances.tolist()]
    return said


class Said(NamedTuple):
    """What a command gave."""

    returncode: int
    stdout: str
    stderr: str


def cli(*arguments: object) -> Said:
    """Run a command in this process."""
    out, error = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    code = 0
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
        mock.patch("sys.argv", ["hashdb", *map(str, arguments)]),
    ):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
    return Said(code, *(stream.buffer.getvalue().decode() for stream in (out, error)))
