"""Whatever happens to a file, its reader gives rows or says in one line what is wrong: never another exception."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashdb.errors import InputFileError
from hashdb.inputs import open_vectors, read_ids, read_labels

MATRIX = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory, write) -> list[Path]:
    folder = tmp_path_factory.mktemp("whole")
    np.save(folder / "a.npy", MATRIX)
    np.save(folder / "f.npy", np.asfortranarray(MATRIX))
    np.save(folder / "s.npy", np.array(["00ff", "ab12"]))
    np.savez(folder / "a.npz", x=MATRIX, ids=np.arange(9))
    np.savez_compressed(folder / "z.npz", x=MATRIX)
    (folder / "a.npy.gz").write_bytes(gzip.compress((folder / "a.npy").read_bytes()))
    np.savetxt(folder / "a.txt", MATRIX)
    write.vecs(folder / "a.fvecs", MATRIX)
    write.bin(folder / "a.fbin", MATRIX)
    write.idx(folder / "a.idx", MATRIX)
    write.lines(folder / "a.hex", ["00ff", "11ee"])
    write.lines(folder / "a.csv", ['id,"x",y', "1,2,3", '"4', '",5,6'])
    write.jsonl(folder / "a.jsonl", [{"id": n, "x": row} for n, row in enumerate(MATRIX.tolist())])
    return sorted(folder.iterdir())


def cut(raw: bytes, at: int, patch: bytes) -> bytes:
    return raw[:at]


def overwrite(raw: bytes, at: int, patch: bytes) -> bytes:
    return raw[:at] + patch + raw[at + len(patch) :]


def insert(raw: bytes, at: int, patch: bytes) -> bytes:
    return raw[:at] + patch + raw[at:]


def remove(raw: bytes, at: int, patch: bytes) -> bytes:
    return raw[:at] + raw[at + len(patch) :]


def read_all(spec: str) -> None:
    with open_vectors(spec) as source:
        assert sum(map(len, source.batches(4))) == source.n_rows


def complaint(act: Callable[[str], object], spec: str) -> str | None:
    try:
        act(spec)
    except InputFileError as error:
        return str(error)
    return None


@given(st.sampled_from([cut, overwrite, insert, remove]), st.floats(0, 1), st.binary(min_size=1, max_size=9))
@settings(deadline=None, max_examples=60)
def test_damaged_files_give_rows_or_one_line(whole_files, harm: Callable[..., bytes], place: float, patch: bytes):
    for whole in whole_files:
        raw = whole.read_bytes()
        path = whole.parent / ("damaged_" + whole.name)
        path.write_bytes(harm(raw, int(place * len(raw)), patch))
        for suffix in ("", "::x", "::id"):
            for act in (read_all, read_ids, read_labels):
                message = complaint(act, f"{path}{suffix}")
                assert message is None or (path.name in message and "\n" not in message)
        path.unlink()
