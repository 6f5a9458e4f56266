"""Standard input, pipes and gzip: what cannot be sought is spooled once and leaves nothing behind."""

from __future__ import annotations

import gzip
import io
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from hashdb.errors import InputFileError
from hashdb.inputs import files, open_vectors, read_ids

MATRIX = np.random.default_rng(0).standard_normal((23, 5)).astype(np.float32)


class Stdin(io.TextIOWrapper):
    def __init__(self, raw: bytes) -> None:
        super().__init__(io.BytesIO(raw))


def npy_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz_bytes(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("spec", "format", "raw"),
    [
        ("-", "npy", npy_bytes(MATRIX)),
        (Path("-"), "npy", npy_bytes(MATRIX)),
        ("-", "npy", gzip.compress(npy_bytes(MATRIX))),
        ("-::x", "npz", npz_bytes(x=MATRIX, y=MATRIX[:3])),
        ("-", "text", "\n".join(" ".join(map(repr, row)) for row in MATRIX.tolist()).encode()),
        ("-", "csv", "\n".join(",".join(map(repr, row)) for row in MATRIX.tolist()).encode()),
        ("-", "jsonl", "\n".join(map(str, MATRIX.tolist())).encode()),
        ("-", "fvecs", b"".join(np.int32(5).tobytes() + row.tobytes() for row in MATRIX)),
    ],
    ids=["npy", "path", "gzip", "npz", "text", "csv", "jsonl", "fvecs"],
)
def test_stdin_is_read_in_any_order_and_leaves_nothing(tmp_path, monkeypatch, spec, format, raw):
    monkeypatch.setattr(sys, "stdin", Stdin(raw))
    with open_vectors(spec, format=format, spool_near=tmp_path / "not" / "yet") as source:
        assert source.name.startswith("stdin")
        np.testing.assert_array_equal(source.take(np.array([3, 20])).astype(np.float32), MATRIX[[3, 20]])
        np.testing.assert_array_equal(np.concatenate(list(source.batches(4))).astype(np.float32), MATRIX)
        assert os.listdir(tmp_path) == []
    assert os.listdir(tmp_path) == []


def test_stdin_needs_a_format_and_a_pipe(monkeypatch):
    with pytest.raises(InputFileError, match=r"stdin has no extension.*--format npy\|npz"):
        open_vectors("-")
    monkeypatch.setattr(sys, "stdin", Stdin(b"oops"))
    with pytest.raises(InputFileError, match=r"stdin is not a .npy file"):
        open_vectors("-", format="npy")
    monkeypatch.setattr(sys, "stdin", Stdin(b""))
    with open_vectors("-", format="text") as source:
        assert source.n_rows == 0
    terminal = Stdin(b"")
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", terminal)
    with pytest.raises(InputFileError, match=r"stdin is a terminal"):
        open_vectors("-", format="text")


def test_ids_from_stdin(monkeypatch):
    monkeypatch.setattr(sys, "stdin", Stdin(b"3\n4\n"))
    assert read_ids("-", format="text").tolist() == [3, 4]


def test_stdin_is_read_where_the_folder_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Stdin(npy_bytes(MATRIX)))
    monkeypatch.setattr(files.os, "access", lambda folder, mode: folder != tmp_path)
    with open_vectors("-", format="npy", spool_near=tmp_path) as source:
        assert source.n_rows == 23


def test_pipes_by_name_are_spooled(tmp_path):
    os.mkfifo(tmp_path / "pipe.npy")
    writer = threading.Thread(target=(tmp_path / "pipe.npy").write_bytes, args=(npy_bytes(MATRIX),))
    writer.start()
    with open_vectors(tmp_path / "pipe.npy") as source:
        np.testing.assert_array_equal(source.take(np.arange(23)), MATRIX)
    writer.join()


@pytest.mark.parametrize("limit", [1, 1 << 20])
def test_gzip_is_unpacked_once_in_memory_or_beyond(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(files.spool, "__kwdefaults__", {"in_memory": limit})
    (tmp_path / "a.npy.gz").write_bytes(gzip.compress(npy_bytes(MATRIX)))
    with open_vectors(tmp_path / "a.npy.gz", spool_near=tmp_path) as source:
        np.testing.assert_array_equal(np.concatenate(list(source.batches(4))), MATRIX)
    assert os.listdir(tmp_path) == ["a.npy.gz"]


def test_truncated_gzip_is_refused(tmp_path):
    (tmp_path / "a.npy.gz").write_bytes(gzip.compress(npy_bytes(MATRIX))[:-20])
    with pytest.raises(InputFileError, match=r"cannot be decompressed or read: it ends in the middle"):
        open_vectors(tmp_path / "a.npy.gz")


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from hashdb.errors import StorageError
from hashdb.inputs import open_vectors
try:
    open_vectors("-", format="npy", spool_near=sys.argv[1])
except StorageError as error:
    print(error)
"""


def test_a_full_disk_is_a_storage_error(tmp_path):
    assert resource.RLIMIT_FSIZE is not None
    found = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path], input=npy_bytes(np.zeros(9999)), capture_output=True, check=True
    )
    assert b"no room to spool stdin: File too large" in found.stdout
    assert os.listdir(tmp_path) == []


def test_sources_are_read_from_several_threads(tmp_path):
    array = np.arange(200_000, dtype=np.int64).reshape(-1, 4)
    np.save(tmp_path / "a.npy", array)
    failures = []

    def read(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(20):
            start = int(rng.integers(0, 40_000))
            part = next(iter(source.batches(500, start)))
            if not np.array_equal(part, array[start : start + 500]):
                failures.append(start)

    with open_vectors(tmp_path / "a.npy") as source:
        threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
