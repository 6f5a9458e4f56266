"""What is fuzzed: readers of files, each with sound inputs to begin with and what is done with a harmed one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from guarantees.fuzzing import documents, seeds, zarr_seeds
from guarantees.fuzzing.mutators import mutate
from guarantees.fuzzing.oracle import MIB, check_message, judge
from hashdb.errors import HashDBError
from hashdb.inputs.files import ByteFile
from hashdb.inputs.matlab_check import check_mat
from hashdb.inputs.parquet_check import read_claims

_ROWS = 5  # of a batch


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes
    ----------
    name : str
    run : function of the path of a file with the input
    seeds : function that gives sound inputs
    is_ours : bool
        The parser is hashdb's own. Others' are fuzzed behind our checks.
    floor : int
        Bytes of memory that any input may take: more where what is compressed may grow.
    """

    name: str
    run: Callable[[Path], object]
    seeds: Callable[[], list[bytes]]
    is_ours: bool = True
    floor: int = 16 * MIB
    harm: Callable[[bytes, random.Random, Sequence[bytes]], bytes] = mutate
    write: Callable[[bytes, Path], object] = lambda raw, path: path.write_bytes(raw)

    def try_input(self, raw: bytes, path: Path) -> str | None:
        """Read an input; give the complaint, or None."""
        self.write(raw, path)
        return judge(lambda: self.run(path), n_bytes=len(raw), floor=self.floor, paths=(str(path),))


def read_all(spec: str, format: str | None, *, items: bool = False) -> None:
    """Read vectors in batches and by number, as building an index does."""
    from hashdb.inputs import open_vectors

    with open_vectors(spec, format=format, items=items) as source:
        n_rows = 0
        for number, rows in enumerate(source.batches(_ROWS)):
            n_rows += len(rows)
            assert rows.ndim == (1 if source.is_text else 2)
            if number >= 100:
                return
        assert n_rows == source.n_rows
        if n_rows:
            source.take([0, 0, n_rows - 1])


def _read_as_anything(format: str | None, *inner: str) -> Callable[[Path], object]:
    """Read a file as vectors, as items, as ids and as labels, and by names inside it."""
    from hashdb.inputs import read_ids, read_labels

    def run(path: Path) -> None:
        with all_told(path) as attempt:
            for name in ("", *inner):
                spec = f"{path}::{name}" if name else str(path)
                attempt(read_all, spec, format)
                attempt(read_ids, spec, format)
                attempt(read_labels, spec, format)
            attempt(lambda: read_all(str(path), format, items=True))

    return run


def _checked(check: Callable[[ByteFile], object]) -> Callable[[Path], object]:
    """Do only what is done before others' parsers read a file."""

    def run(path: Path) -> None:
        with open(path, "rb", buffering=0) as handle, ByteFile(handle, str(path)) as file:
            check(file)

    return run


@contextmanager
def all_told(path: Path) -> Iterator[Callable[..., None]]:
    """Try several things with a file; every complaint is judged, and at the end one is raised."""
    complaints: list[HashDBError] = []

    def attempt(act: Callable[..., object], *arguments: Any) -> None:
        try:
            act(*arguments)
        except HashDBError as error:
            complaints.append(error)

    yield attempt
    for error in complaints:
        check_message(str(error), (str(path),))
    if complaints:
        raise complaints[0]


_BY_FORMAT: tuple[tuple[str, Callable[[], list[bytes]], tuple[str, ...]], ...] = (
    ("npy", seeds.npys, ()),
    ("npz", seeds.npzs, ("x", "ids")),
    ("fvecs", lambda: [seeds.vecs(seeds.ROWS, "<f4")], ()),
    ("bvecs", lambda: [seeds.vecs(seeds.ROWS, "|u1")], ()),
    ("fbin", lambda: [b"\7\0\0\0\4\0\0\0" + seeds.ROWS.tobytes()], ()),
    ("i8bin", lambda: [b"\7\0\0\0\4\0\0\0" + bytes(28)], ()),
    ("idx", seeds.idxs, ()),
    ("hex", lambda: [seeds.lines(*seeds.CODES)], ()),
    ("csv", seeds.tables, ("0", "id")),
    ("text", seeds.tables, ("1",)),
    ("jsonl", seeds.jsonls, ("x", "id")),
    ("mat", seeds.mats, ("x", "ids", "c{2}")),
    ("h5", seeds.h5s, ("x", "ids")),
    ("parquet", seeds.parquets, ("x", "id", "label")),
)
_OTHERS = {"mat", "h5", "parquet"}
_PACKED = {"npz", "mat", "h5", "parquet"}
_DOCUMENTS: dict[str, Callable[[Path], object]] = {
    "manifest": documents.read_manifest,
    "root": documents.read_root,
    "segment": documents.read_unit,
    "table": documents.read_unit,
    "model": documents.read_model,
}


def targets() -> dict[str, Target]:
    """Give every target by name."""
    packed = 300 * MIB
    found = [
        Target(
            name, _read_as_anything(name, *inner), make, name not in _OTHERS, packed if name in _PACKED else 16 * MIB
        )
        for name, make, inner in _BY_FORMAT
    ]
    found.append(Target("mat-walk", _checked(check_mat), seeds.mats))
    found.append(Target("parquet-footer", _checked(read_claims), seeds.parquets))
    zarr = Target("zarr", _read_as_anything("zarr"), zarr_seeds.zarrs, is_ours=False, floor=packed)
    found.append(replace(zarr, harm=zarr_seeds.harm, write=zarr_seeds.unpack))
    found.append(Target("gzip", _read_as_anything("npy"), seeds.gzips, floor=packed))
    for name, read in _DOCUMENTS.items():
        found.append(Target(name, read, partial(documents.document_seeds, name), harm=documents.harm))
    found.append(Target("results", documents.read_results, documents.results, harm=documents.harm))
    found.append(Target("split", documents.read_split, documents.splits, floor=packed))
    found.append(Target("cifar", documents.read_cifar, documents.cifars))
    found.append(Target("archive", documents.read_archive, documents.archives, floor=packed))
    found.append(Target("nus-table", documents.read_nus_table, documents.tables))
    return {target.name: target for target in found}
