"""What NumPy would change or drop in silence is refused: masked values, those beyond float32, bytes after an array."""

from __future__ import annotations

import gzip
import io
import sys
import warnings
import zipfile

import numpy as np
import pytest

import hashdb
from hashdb.codes import check_codes, pack, to_bits, to_vectors
from hashdb.errors import ArgumentError, InputFileError
from hashdb.evaluation.saving import load_arrays
from hashdb.inputs import normalise_ids, open_vectors, read_ids, read_labels

ROWS = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)
TAKEN = {
    "vectors": (open_vectors, ROWS[:3]),
    "ids": (normalise_ids, np.array([5, 6, 7])),
    "string ids": (read_ids, np.array(["a", "b", "c"])),
    "labels": (read_labels, np.array([0, 1, 0])),
    "labels of several classes": (read_labels, np.eye(3, dtype=int)),
    "labels of fit": (lambda labels: hashdb.fit(ROWS[:3], "sdh", 2, labels=labels), np.array([0, 1, 0])),
    "vectors of fit": (lambda rows: hashdb.fit(rows, "lsh", 4), ROWS[:3]),
    "encode": (hashdb.fit(ROWS, "lsh", 4).encode, ROWS[:3]),
    "codes": (lambda codes: check_codes(codes, 64), np.array([1, 2, 3], np.uint64)),
    "pack": (pack, ROWS[:3] > 0),
    "to_bits": (lambda bits: to_bits(bits, "bool"), ROWS[:3] > 0),
    "hex": (lambda codes: to_bits(codes, "hex"), np.array(["00", "01", "02"])),
    "to_vectors": (lambda rows: to_vectors(rows, "float"), ROWS[:3]),
    "packed": (open_vectors, np.array([1, 2, 3], np.uint64)),
}


@pytest.mark.parametrize("name", TAKEN)
def test_masked_values_are_refused_by_their_rows_and_a_mask_of_nothing_is_fine(name):
    take, values = TAKEN[name]
    mask = np.zeros(values.shape, bool)
    take(np.ma.masked_array(values, mask=mask))
    mask[1] = True
    with pytest.raises(ArgumentError, match=r"masked in row 1, expected no masked values") as caught:
        take(np.ma.masked_array(values, mask=mask))
    assert "\n" not in str(caught.value)
    mask[:] = True
    with pytest.raises(ArgumentError, match=r"masked in rows 0, 1, 2, expected"):
        take(np.ma.masked_array(values, mask=mask))


def test_masked_rows_in_a_list_are_refused():
    with pytest.raises(ArgumentError, match=r"vectors are masked in row 1"):
        open_vectors([ROWS[0], np.ma.masked_array(ROWS[1], mask=[0, 0, 1, 0])])
    with pytest.raises(ArgumentError, match=r"labels are masked in row 1"):
        read_labels([1, np.ma.masked])


def test_an_index_neither_deletes_adds_nor_asks_for_masked_values(tmp_path):
    masked = np.ma.masked_array(ROWS, mask=False)
    with hashdb.build(tmp_path / "i", masked, method="lsh", n_bits=8) as index:
        masked[7, 2] = np.ma.masked
        with pytest.raises(ArgumentError, match="masked in row 7"):
            index.add(masked)
        with pytest.raises(ArgumentError, match="masked in row 7"):
            index.query(masked)
        with pytest.raises(ArgumentError, match="masked in rows 0, 2"):
            index.delete(np.ma.masked_array([0, 1, 2], mask=[1, 0, 1]))
        assert len(index) == 12
        assert index.delete(np.ma.masked_array([0, 1], mask=[0, 0])) == 2


def test_many_masked_rows_are_told_in_short():
    with pytest.raises(ArgumentError, match=r"rows 0, 1, 2, 3, 4 and 95 more,"):
        normalise_ids(np.ma.masked_all(100, int))


def test_an_empty_masked_array_has_no_rows():
    with open_vectors(np.ma.masked_array(ROWS[:0])) as source:
        assert source.n_rows == 0
    assert len(normalise_ids(np.ma.masked_array([], dtype=int))) == 0


# ---- beyond float32


@pytest.mark.parametrize("dtype", ["<f8", ">f8", np.longdouble])
def test_values_beyond_float32_are_refused_without_a_warning(dtype):
    rows = ROWS.astype(dtype)
    model = hashdb.fit(ROWS, "lsh", 8)
    rows[2, 1] = np.finfo(dtype).max
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for read in (model.encode, lambda rows: to_vectors(rows, "float")):
            with pytest.raises(ArgumentError, match=r"row 2, column 1 is 1\.\d+e\+\d+, which float32 cannot hold"):
                read(rows)
        rows[2, 1] = np.inf
        with pytest.raises(ArgumentError, match="inf in row 2, column 1"):
            model.encode(rows)


def test_nan_in_a_form_that_signals_is_refused_without_a_warning():
    rows = ROWS.astype(np.float64)
    rows.view(np.uint64)[1, 0] = 0x7FF0000000000001
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ArgumentError, match="nan in row 1, column 0"):
            hashdb.fit(rows, "lsh", 8)


# ---- after the end


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("tail", [npy(ROWS), b"\0", b"\n"], ids=["another array", "a byte", "a line end"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_bytes_after_an_npy_are_refused(tmp_path, monkeypatch, tail, order):
    raw = npy(np.asarray(ROWS, order=order))
    message = r"goes on after its array: its head says \(12, 4\) float32, 320 bytes, but it has"
    (tmp_path / "a.npy").write_bytes(raw + tail)
    (tmp_path / "a.npy.gz").write_bytes(gzip.compress(raw) + gzip.compress(tail))
    for name in ("a.npy", "a.npy.gz"):
        for read in (open_vectors, read_labels):
            with pytest.raises(InputFileError, match=message):
                read(tmp_path / name)
        with pytest.raises(InputFileError, match=message):
            open_vectors(tmp_path / name, items=True)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw + tail)))
    with pytest.raises(InputFileError, match=message):
        open_vectors("-", format="npy")


def test_bytes_after_images_and_ids_are_refused(tmp_path):
    (tmp_path / "images.npy").write_bytes(npy(np.zeros((2, 3, 3), np.uint8)) + b"x")
    (tmp_path / "ids.npy").write_bytes(npy(np.arange(3)) * 2)
    for read in (lambda: open_vectors(tmp_path / "images.npy", items=True), lambda: read_ids(tmp_path / "ids.npy")):
        with pytest.raises(InputFileError, match="goes on after its array"):
            read()


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_bytes_after_a_member_of_an_npz_are_refused(tmp_path, packing):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", packing) as archive:
        archive.writestr("x.npy", npy(ROWS) * 2)
        archive.writestr("y.npy", npy(ROWS[:2]))
    for read in (open_vectors, read_labels):
        with pytest.raises(InputFileError, match="goes on after its array"):
            read(f"{tmp_path / 'a.npz'}::x")
    with open_vectors(f"{tmp_path / 'a.npz'}::y") as source:  # others stand behind it in the archive
        assert source.n_rows == 2
    with pytest.raises(InputFileError, match="goes on after its array"):
        load_arrays(tmp_path / "a.npz")
