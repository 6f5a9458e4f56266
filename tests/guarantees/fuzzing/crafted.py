"""Files made by hand to do harm: pickles planted in every format, shapes that nothing backs, and what grows."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from guarantees.fuzzing import seeds


class Planted:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def plant_npy(path: Path, bomb: Planted) -> None:
    np.save(path, np.array([bomb, "x"], dtype=object), allow_pickle=True)


def plant_npz(path: Path, bomb: Planted) -> None:
    np.savez(path, x=np.array([bomb], dtype=object), seed=np.array([bomb], dtype=object), ids=np.arange(3))


def plant_structured(path: Path, bomb: Planted) -> None:
    np.save(path, np.array([(1, bomb)], dtype=[("a", "i4"), ("b", object)]), allow_pickle=True)


def plant_zarr(path: Path, bomb: Planted, **changes: object) -> None:
    document = {
        "zarr_format": 2,
        "shape": [1],
        "chunks": [1],
        "dtype": "<f4",
        "fill_value": 0,
        "order": "C",
        "compressor": None,
        "filters": None,
        **changes,
    }
    path.mkdir()
    (path / ".zarray").write_text(json.dumps(document))
    (path / "0").write_bytes(pickle.dumps(bomb))


def plant_zarr_compressor(path: Path, bomb: Planted) -> None:
    plant_zarr(path, bomb, compressor={"id": "pickle"})


def plant_zarr_filter(path: Path, bomb: Planted) -> None:
    plant_zarr(path, bomb, filters=[{"id": "pickle"}])


def plant_zarr_objects(path: Path, bomb: Planted) -> None:
    plant_zarr(path, bomb, dtype="|O", filters=[{"id": "pickle", "protocol": 5}])


def plant_zarr_json(path: Path, bomb: Planted) -> None:
    path.mkdir()
    kind = {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1]}}, "data_type": "float32"}
    keys = {"chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}}, "fill_value": 0}
    document = {"zarr_format": 3, "node_type": "array", "shape": [1], "attributes": {}, **kind, **keys}
    document["codecs"] = [{"name": "bytes"}, {"name": "numcodecs.pickle", "configuration": {}}]
    (path / "zarr.json").write_text(json.dumps(document))
    (path / "c").mkdir()
    (path / "c" / "0").write_bytes(pickle.dumps(bomb))


def plant_parquet(path: Path, bomb: Planted) -> None:
    # Old versions of pyarrow unpickled a type of this name when they opened a file.
    pa = pytest.importorskip("pyarrow", reason="Parquet needs the extra hashdb[formats]")
    import pyarrow.parquet as pq

    meta = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickle.dumps(bomb)}
    field = pa.field("x", pa.int64(), metadata=meta)
    pq.write_table(pa.table([pa.array([1])], schema=pa.schema([field])), path)


def plant_h5(path: Path, bomb: Planted) -> None:
    h5py = pytest.importorskip("h5py", reason="HDF5 needs the extra hashdb[formats]")
    with h5py.File(path, "w") as file:
        file["x"] = np.void(pickle.dumps(bomb))
        file["y"] = np.frombuffer(pickle.dumps(bomb), np.uint8)[None]
        file.attrs["pickle"] = np.void(pickle.dumps(bomb))


def plant_bare(path: Path, bomb: Planted) -> None:
    path.write_bytes(pickle.dumps(bomb))


PLANTS: dict[str, tuple[str, Callable[[Path, Planted], None]]] = {
    "npy": ("a.npy", plant_npy),
    "npz": ("a.npz", plant_npz),
    "structured": ("a.npy", plant_structured),
    "zarr-compressor": ("a.zarr", plant_zarr_compressor),
    "zarr-filter": ("a.zarr", plant_zarr_filter),
    "zarr-objects": ("a.zarr", plant_zarr_objects),
    "zarr-3": ("a.zarr", plant_zarr_json),
    "parquet": ("a.parquet", plant_parquet),
    "h5": ("a.h5", plant_h5),
    "pkl": ("a.pkl", plant_bare),
    "pt": ("a.pt", plant_bare),
    "as-npy": ("b.npy", plant_bare),
    "as-mat": ("b.mat", plant_bare),
    "as-text": ("b.txt", plant_bare),
}


def h5_of(**options: object) -> bytes:
    """An HDF5 file whose dataset claims a terabyte, of which nothing is there."""
    h5py = pytest.importorskip("h5py", reason="HDF5 needs the extra hashdb[formats]")
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.create_dataset("x", dtype="f4", **options)
    return out.getvalue()


def head_of(shape: str, descr: str = "<f4") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(64)


def mat_of(shape: tuple[int, int], kind: int) -> bytes:
    """A matrix of version 5 that claims a shape and holds eight bytes."""
    flags = b"\6\0\0\0\x08\0\0\0" + bytes([kind, 0, 0, 0]) + bytes(4)
    dims = b"\5\0\0\0\x08\0\0\0" + b"".join(length.to_bytes(4, "little") for length in shape)
    body = flags + dims + b"\1\0\1\0x\0\0\0" + b"\x09\0\0\0\x08\0\0\0" + bytes(8)
    element = b"\x0e\0\0\0" + len(body).to_bytes(4, "little") + body
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + element


CLAIMS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "npy rows": ("a.npy", lambda: head_of("(1000000000000, 4)")),
    "npy columns": ("a.npy", lambda: head_of("(4, 1000000000000)")),
    "npy of nothing": ("a.npy", lambda: head_of("(1000000000000,)", "|S0")),
    "npy strings": ("a.npy", lambda: head_of("(4,)", "<U2000000000")),
    "npy labels": ("a.npy", lambda: head_of("(1000000000000,)", "<i8")),
    "fvecs": ("a.fvecs", lambda: b"\xff\xff\xff\x7f" + bytes(60)),
    "fbin": ("a.fbin", lambda: b"\xff\xff\xff\xff\xff\xff\xff\xff" + bytes(60)),
    "fbin of no rows": ("a.fbin", lambda: b"\0\0\0\0\xff\xff\xff\xff"),
    "idx": ("a.idx", lambda: b"\0\0\x08\3" + b"\x7f\xff\xff\xff" * 3),
    "mat": ("a.mat", lambda: mat_of((1 << 30, 1 << 30), 6)),
    "mat of text": ("a.mat", lambda: mat_of((1, (1 << 31) - 1), 4)),
    "mat of cells": ("a.mat", lambda: mat_of((1 << 15, 1 << 15), 1)),
    "mat 4": ("a.mat", lambda: bytes(4) + b"\xff\xff\xff\x7f\xff\xff\xff\x7f" + bytes(4) + b"\2\0\0\0x\0"),
    "h5 chunks": ("a.h5", lambda: h5_of(shape=(1 << 30, 256), chunks=(1 << 20, 256), compression="gzip")),
    "h5 plain": ("a.h5", lambda: h5_of(shape=(1 << 30, 256))),
    "h5 labels": ("a.h5", lambda: h5_of(shape=(1 << 38,))),
}


def zipped(raw: bytes, packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packing) as archive:
        archive.writestr("x.npy", raw)
    return out.getvalue()


def packed_mat(array: np.ndarray) -> bytes:
    from scipy.io import savemat

    out = io.BytesIO()
    savemat(out, {"x": array}, do_compression=True)
    return out.getvalue()


def packed_h5(array: np.ndarray) -> bytes:
    h5py = pytest.importorskip("h5py", reason="HDF5 needs the extra hashdb[formats]")
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file.create_dataset("x", data=array, chunks=(len(array) // 4, array.shape[1]), compression="gzip")
    return out.getvalue()


def packed_parquet(array: np.ndarray) -> bytes:
    pa = pytest.importorskip("pyarrow", reason="Parquet needs the extra hashdb[formats]")
    import pyarrow.parquet as pq

    out = io.BytesIO()
    column = pa.FixedSizeListArray.from_arrays(pa.array(array.ravel()), array.shape[1])
    pq.write_table(pa.table({"x": column}), out)
    return out.getvalue()


ZEROS = np.zeros((1 << 19, 4), np.float32)
BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gzip": ("a.npy.gz", lambda: gzip.compress(seeds.npy(ZEROS))),
    "npz": ("a.npz", lambda: zipped(seeds.npy(ZEROS))),
    "mat": ("a.mat", lambda: packed_mat(ZEROS)),
    "h5": ("a.h5", lambda: packed_h5(ZEROS)),
    "parquet": ("a.parquet", lambda: packed_parquet(ZEROS)),
}
