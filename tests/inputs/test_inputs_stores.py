"""MATLAB, HDF5, Zarr and Parquet."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from hashdb.errors import InputFileError
from hashdb.inputs import open_vectors, read_ids, read_labels

MATRIX = np.random.default_rng(0).standard_normal((23, 5))


def check_rows(source, expected):
    with source:
        assert source.n_rows == len(expected)
        parts = list(source.batches(7))
        np.testing.assert_array_equal(np.concatenate(parts), expected)
        np.testing.assert_array_equal(source.take(np.array([0, 5, 6, 22])), expected[[0, 5, 6, 22]])


def test_mat_picks_the_only_matrix_or_the_one_named(tmp_path):
    from scipy.io import savemat

    savemat(tmp_path / "a.mat", {"I_tr": MATRIX, "L": np.arange(23)[:, None]})
    check_rows(open_vectors(tmp_path / "a.mat"), MATRIX)
    assert read_labels(tmp_path / "a.mat").tolist() == list(range(23))
    savemat(tmp_path / "b.mat", {"I_tr": MATRIX, "T_tr": MATRIX[:, :2], "ids": np.arange(23.0)}, do_compression=True)
    check_rows(open_vectors(f"{tmp_path}/b.mat::T_tr"), MATRIX[:, :2])
    assert read_ids(f"{tmp_path}/b.mat::ids").tolist() == list(range(23))
    with pytest.raises(InputFileError, match=r"more than one matrix of vectors: I_tr \(23, 5\) double, T_tr"):
        open_vectors(tmp_path / "b.mat")
    with pytest.raises(InputFileError, match=r"has no 'I_te'.*did you mean 'I_tr'"):
        open_vectors(f"{tmp_path}/b.mat::I_te")


def test_mat_cells_are_named_as_in_matlab(tmp_path):
    from scipy.io import savemat

    cells = np.empty((1, 2), object)
    cells[0, 0], cells[0, 1] = MATRIX, MATRIX[:, :3]
    names = np.empty((2, 1), object)
    names[:, 0] = ["art", "music"]
    savemat(tmp_path / "a.mat", {"X": cells, "names": names})
    check_rows(open_vectors(f"{tmp_path}/a.mat::X{{2}}"), MATRIX[:, :3])
    assert read_ids(f"{tmp_path}/a.mat::names") == ["art", "music"]
    with pytest.raises(InputFileError, match=r"X\{1\} \(23, 5\) float64, X\{2\}"):
        open_vectors(tmp_path / "a.mat")


def test_sparse_mat_matrices_come_dense_in_batches(tmp_path):
    from scipy.io import savemat
    from scipy.sparse import csc_matrix

    dense = np.where(MATRIX > 0, MATRIX, 0)
    savemat(tmp_path / "a.mat", {"fea": csc_matrix(dense)})
    check_rows(open_vectors(tmp_path / "a.mat"), dense)


def test_mat_files_that_cannot_be_read(tmp_path):
    from scipy.io import savemat

    (tmp_path / "a.mat").write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(600))
    with pytest.raises(InputFileError, match=r"version 7.3, which is HDF5: save it with -v7.*hashdb\[formats\]"):
        open_vectors(tmp_path / "a.mat")
    (tmp_path / "b.mat").write_bytes(b"nonsense" * 100)
    with pytest.raises(InputFileError, match=r"b.mat is not a readable .mat file"):
        open_vectors(tmp_path / "b.mat")
    savemat(tmp_path / "c.mat", {"X": MATRIX})
    raw = (tmp_path / "c.mat").read_bytes()
    (tmp_path / "c.mat").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(InputFileError, match=r"c.mat"):
        open_vectors(tmp_path / "c.mat")
    savemat(tmp_path / "d.mat", {"s": {"x": 1}, "text": "abc"})
    with pytest.raises(InputFileError, match=r"holds no matrix of vectors: it holds s .*struct, text .*char"):
        open_vectors(tmp_path / "d.mat")
    with pytest.raises(InputFileError, match=r"d.mat::s"):
        open_vectors(f"{tmp_path}/d.mat::s")


def test_zarr_arrays_and_groups(tmp_path):
    import zarr

    array = zarr.create_array(tmp_path / "a.zarr", shape=MATRIX.shape, dtype="f8", chunks=(10, 5))
    array[:] = MATRIX
    check_rows(open_vectors(tmp_path / "a.zarr"), MATRIX)
    group = zarr.create_group(tmp_path / "b.zarr")
    group.create_array("obsm/x", data=MATRIX)
    group.create_array("obsm/y", data=MATRIX[:, :2])
    group.create_array("ids", data=np.arange(23))
    check_rows(open_vectors(f"{tmp_path}/b.zarr::obsm/y"), MATRIX[:, :2])
    assert read_ids(tmp_path / "b.zarr").tolist() == list(range(23))
    with pytest.raises(InputFileError, match=r"more than one array that fits: .*obsm/"):
        open_vectors(tmp_path / "b.zarr")
    with pytest.raises(InputFileError, match=r"no file .*c.zarr"):
        open_vectors(tmp_path / "c.zarr")
    (tmp_path / "d.zarr").mkdir()
    with pytest.raises(InputFileError, match=r"d.zarr is no readable Zarr"):
        open_vectors(tmp_path / "d.zarr")
    (tmp_path / "e.zarr").write_text("x")
    with pytest.raises(InputFileError, match=r"is a file: expected a Zarr store"):
        open_vectors(tmp_path / "e.zarr")


def test_h5_datasets(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py comes with hashdb[formats]")
    with h5py.File(tmp_path / "a.h5", "w") as store:
        store["train"] = MATRIX
        store["ids"] = np.arange(23)
        store["names"] = [f"card {n}" for n in range(23)]
        store["codes"] = ["00ff10a2"] * 23
    check_rows(open_vectors(tmp_path / "a.h5"), MATRIX)
    check_rows(open_vectors(f"{tmp_path}/a.h5::train"), MATRIX)
    check_rows(open_vectors(f"{tmp_path}/a.h5::codes"), np.array(["00ff10a2"] * 23, dtype=object))
    assert read_ids(f"{tmp_path}/a.h5::ids").tolist() == list(range(23))
    assert read_ids(f"{tmp_path}/a.h5::names")[:2] == ["card 0", "card 1"]
    with pytest.raises(InputFileError, match=r"has no 'tain'.*did you mean 'train'"):
        open_vectors(f"{tmp_path}/a.h5::tain")
    (tmp_path / "b.h5").write_bytes(b"nonsense")
    with pytest.raises(InputFileError, match=r"b.h5 is not a readable HDF5 file"):
        open_vectors(tmp_path / "b.h5")


def test_parquet_columns(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="pyarrow comes with hashdb[formats]")
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow comes with hashdb[formats]")
    flat = pa.array(MATRIX.ravel())
    columns = {
        "fixed": pa.FixedSizeListArray.from_arrays(flat, 5),
        "lists": pa.array(MATRIX.tolist()),
        "code": pa.array([bytes([n, 255 - n]) for n in range(23)], pa.binary(2)),
        "hash": pa.array([f"{n:08x}" for n in range(23)]),
        "id": pa.array(range(23)),
        "ragged": pa.array([[1.0] * (1 + n % 2) for n in range(23)]),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=6)
    for name in ("fixed", "lists"):
        check_rows(open_vectors(f"{tmp_path}/a.parquet::{name}"), MATRIX)
    check_rows(open_vectors(f"{tmp_path}/a.parquet::code"), np.array([[n, 255 - n] for n in range(23)], np.uint8))
    check_rows(open_vectors(f"{tmp_path}/a.parquet::hash"), np.array([f"{n:08x}" for n in range(23)], dtype=object))
    assert read_ids(f"{tmp_path}/a.parquet::id").tolist() == list(range(23))
    assert read_ids(f"{tmp_path}/a.parquet::hash")[0] == "00000000"
    with pytest.raises(InputFileError, match=r"different lengths"):
        list(open_vectors(f"{tmp_path}/a.parquet::ragged").batches(5))
    with pytest.raises(InputFileError, match=r"more than one column of vectors or codes: fixed"):
        open_vectors(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").write_bytes(b"PAR1nonsense")
    with pytest.raises(InputFileError, match=r"not a readable Parquet file"):
        open_vectors(tmp_path / "b.parquet")


@pytest.mark.parametrize(("name", "modules"), [("a.h5", ["h5py"]), ("a.parquet", ["pyarrow", "pyarrow.parquet"])])
def test_without_the_extra_the_remedy_is_named(tmp_path, monkeypatch, name, modules):
    (tmp_path / name).write_bytes(b"x")
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    for read in (open_vectors, read_ids):
        with pytest.raises(InputFileError, match=r"pip install hashdb\[formats\]"):
            read(tmp_path / name)
