"""How each format is written by hand, so that readers are checked against something else than themselves."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest

IDX_TYPES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def write_vecs(path: Path, rows: np.ndarray) -> Path:
    with open(path, "wb") as file:
        for row in rows:
            file.write(struct.pack("<i", len(row)) + row.astype(row.dtype.newbyteorder("<")).tobytes())
    return path


def write_bin(path: Path, rows: np.ndarray) -> Path:
    path.write_bytes(struct.pack("<II", *rows.shape) + rows.tobytes())
    return path


def write_idx(path: Path, array: np.ndarray) -> Path:
    kind = IDX_TYPES[array.dtype.str[1:]]
    head = struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape)
    raw = head + array.astype(array.dtype.newbyteorder(">")).tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def write_lines(path: Path, lines: list[str], end: str = "\n") -> Path:
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def write_jsonl(path: Path, values: list[object]) -> Path:
    return write_lines(path, [json.dumps(value) for value in values])


@pytest.fixture(scope="session")
def write():
    """Writers by format; each takes a path and the values."""

    class Writers:
        vecs = staticmethod(write_vecs)
        bin = staticmethod(write_bin)
        idx = staticmethod(write_idx)
        lines = staticmethod(write_lines)
        jsonl = staticmethod(write_jsonl)

    return Writers
