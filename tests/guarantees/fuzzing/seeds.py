"""Small sound files of every format, as bytes: where the fuzzing begins."""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Callable

import numpy as np

ROWS = np.random.default_rng(0).standard_normal((7, 4)).astype(np.float32)
IMAGES = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
CODES = [f"{number * 0x0123456789ABCDEF % (1 << 64):016x}" for number in range(1, 8)]


def npy(array: np.ndarray) -> bytes:
    """An array as a ``.npy``; objects as a pickle, as `numpy.save` writes them."""
    out = io.BytesIO()
    np.save(out, array, allow_pickle=array.dtype.hasobject)
    return out.getvalue()


def npz(save: Callable[..., None], **arrays: np.ndarray) -> bytes:
    """Arrays as a ``.npz``."""
    out = io.BytesIO()
    save(out, **arrays)
    return out.getvalue()


def vecs(rows: np.ndarray, dtype: str) -> bytes:
    """Rows led by their dim."""
    return b"".join(struct.pack("<i", len(row)) + row.astype(dtype).tobytes() for row in rows)


def idx(array: np.ndarray, code: int, dtype: str) -> bytes:
    """An array as MNIST has it."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape) + array.astype(dtype).tobytes()


def lines(*rows: object) -> bytes:
    """Text, one row per line."""
    return "".join(f"{row}\n" for row in rows).encode()


def mat(**arrays: object) -> list[bytes]:
    """Arrays as ``.mat`` files: plain, compressed, and of version 4 where that can hold them."""
    from scipy.io import savemat

    found = []
    for options in ({}, {"do_compression": True}, {"format": "4"}):
        out = io.BytesIO()
        if options.get("format") != "4" or all(
            isinstance(one, np.ndarray) and one.dtype.kind == "f" for one in arrays.values()
        ):
            savemat(out, arrays, **options)
            found.append(out.getvalue())
    return found


def mats() -> list[bytes]:
    """``.mat`` files of matrices, cells, strings and sparse matrices."""
    from scipy.sparse import csc_matrix

    cells = np.empty((1, 2), dtype=object)
    cells[:] = [[ROWS.astype(float), np.arange(3.0)]]
    names = np.array([["one", "two", "three"]], dtype=object)
    found = mat(x=ROWS.astype(float)) + mat(x=csc_matrix(np.eye(5))) + mat(c=cells) + mat(ids=names)
    return found + mat(s={"field": ROWS.astype(float)}, labels=np.arange(7)[:, None])


def h5s() -> list[bytes]:
    """HDF5 files: plain, chunked and compressed, strings, groups."""
    import h5py

    found = []
    for options in ({}, {"chunks": (2, 4), "compression": "gzip", "shuffle": True, "fletcher32": True}):
        out = io.BytesIO()
        with h5py.File(out, "w") as file:
            file.create_dataset("x", data=ROWS, **options)
            file.create_dataset("group/images", data=IMAGES)
            file.create_dataset("ids", data=["one", "two"], dtype=h5py.string_dtype())
        found.append(out.getvalue())
    out = io.BytesIO()
    with h5py.File(out, "w", libver="latest") as file:
        file.create_dataset("labels", data=np.arange(7), chunks=(3,))
    return [*found, out.getvalue()]


def parquets() -> list[bytes]:
    """Parquet files: vectors, codes, strings and numbers, with each of the usual compressions."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "x": pa.array(ROWS.tolist(), type=pa.list_(pa.float32())),
        "f": pa.FixedSizeListArray.from_arrays(pa.array(ROWS.ravel()), 4),
        "code": pa.array([bytes.fromhex(code) for code in CODES], type=pa.binary(8)),
        "id": pa.array([f"row {number}" for number in range(7)]),
        "label": pa.array(range(7)),
    }
    found = []
    for names, compression in ((["x", "id"], "snappy"), (["f", "label"], "none"), (["code"], "gzip"), (["id"], "zstd")):
        out = io.BytesIO()
        pq.write_table(
            pa.table({name: columns[name] for name in names}), out, compression=compression, row_group_size=4
        )
        found.append(out.getvalue())
    return found


def tables() -> list[bytes]:
    """Text as tables."""
    numbers = [" ".join(map(repr, row)) for row in ROWS.tolist()]
    return [
        lines(*numbers),
        lines(*(line.replace(" ", ",") for line in numbers)),
        lines("id,a,b,code", *(f"{n},{n}.5,-{n}e3,{code}" for n, code in enumerate(CODES))),
        lines("7 4", *(f"word{n} {line}" for n, line in enumerate(numbers))),
        lines("a\tb", "1\t2", "3\t4"),
        lines('x,"y ""z"""', '"1\n",2', "3,4"),
        lines(*CODES),
        lines(*range(-3, 4)),
        lines("frog", "toad", "frog"),
    ]


def jsonls() -> list[bytes]:
    """JSON lines."""
    return [
        lines(*map(json.dumps, ROWS.tolist())),
        lines(*(json.dumps({"id": f"r{n}", "x": row, "label": n}) for n, row in enumerate(ROWS.tolist()))),
        lines(*(json.dumps({"id": n, "x": code}) for n, code in enumerate(CODES))),
        lines(*map(json.dumps, CODES)),
        lines("[true, false]", "[1, 0]"),
    ]


def idxs() -> list[bytes]:
    """Idx files of images, vectors and labels."""
    return [idx(IMAGES, 8, ">u1"), idx(ROWS, 0xD, ">f4"), idx(IMAGES[0, 0], 8, ">u1")]


def gzips() -> list[bytes]:
    """Files of other formats, gzipped."""
    return [gzip.compress(raw) for raw in (npy(ROWS), lines(*CODES), idx(IMAGES, 8, ">u1"))]


def npys() -> list[bytes]:
    """``.npy`` files of vectors, images, codes, strings, labels."""
    arrays = (
        *(
            ROWS,
            np.asfortranarray(ROWS),
            IMAGES,
            np.arange(7, dtype=np.uint64),
            np.array(["one", "two"]),
            np.array([b"a"]),
        ),
        *(np.arange(3, dtype=">i2"), np.eye(3, dtype=bool), np.zeros((0, 4), np.float16)),
        np.array([(1, 2.0)], dtype=[("a", "<i4"), ("b", "<f8")]),
    )
    return [npy(array) for array in arrays]


def npzs() -> list[bytes]:
    """``.npz`` archives, stored and compressed."""
    arrays = {"x": ROWS, "ids": np.arange(7), "names": np.array(["a", "b"]), "images": IMAGES}
    return [npz(np.savez, **arrays), npz(np.savez_compressed, **arrays), npz(np.savez, x=ROWS)]
