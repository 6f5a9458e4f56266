"""Arrays in memory and files of bare arrays: npy, npz, fvecs and kin, idx."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashdb.errors import ArgumentError, InputFileError
from hashdb.inputs import VectorSource, open_vectors


def whole(spec: object, **options: object) -> np.ndarray:
    with open_vectors(spec, **options) as source:
        parts = list(source.batches(7))
        rows = np.concatenate(parts) if parts else np.empty((0, source.n_columns), source.dtype)
        assert rows.dtype == source.dtype
        assert len(rows) == source.n_rows == len(source)
        if not source.is_text:
            assert rows.shape == (source.n_rows, source.n_columns)
        return rows


MATRIX = np.random.default_rng(0).standard_normal((23, 5)).astype(np.float32)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "u1", "i1", "u8", "i8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_gives_its_rows_in_its_own_dtype(tmp_path, dtype, order):
    array = np.array(MATRIX * 50, order=order).astype(dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    rows = whole(tmp_path / "a.npy")
    assert rows.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(rows, array)


def test_npy_of_codes_and_strings_in_one_dimension(tmp_path):
    np.save(tmp_path / "codes.npy", np.arange(9, dtype=np.uint64))
    assert whole(tmp_path / "codes.npy").tolist() == [[n] for n in range(9)]
    np.save(tmp_path / "hex.npy", np.array(["00ff", "a1b2", "ffff"]))
    np.save(tmp_path / "bytes.npy", np.array([b"00ff", b"a1b2", b"ffff"]))
    for name in ("hex.npy", "bytes.npy"):
        with open_vectors(tmp_path / name) as source:
            assert source.is_text
            assert source.n_columns == 1
            assert source.take(np.array([0, 2])).tolist() == ["00ff", "ffff"]
            assert all(type(code) is str for batch in source.batches(2) for code in batch)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_picks_the_only_matrix_or_the_one_named(tmp_path, save):
    save(tmp_path / "a.npz", vectors=MATRIX, labels=np.arange(23))
    np.testing.assert_array_equal(whole(tmp_path / "a.npz"), MATRIX)
    np.testing.assert_array_equal(whole(f"{tmp_path}/a.npz::vectors"), MATRIX)
    save(tmp_path / "b.npz", x=MATRIX, y=np.asfortranarray(MATRIX[:9]))
    np.testing.assert_array_equal(whole(f"{tmp_path}/b.npz::y"), MATRIX[:9])
    with pytest.raises(InputFileError, match=r"more than one .*x \(23, 5\) float32, y \(9, 5\).*b.npz::x"):
        open_vectors(tmp_path / "b.npz")
    with pytest.raises(InputFileError, match=r"has no 'xx': it holds .*did you mean 'x'"):
        open_vectors(f"{tmp_path}/b.npz::xx")


@pytest.mark.parametrize(("suffix", "dtype"), [("fvecs", "f4"), ("bvecs", "u1"), ("ivecs", "i4")])
def test_vecs(tmp_path, write, suffix, dtype):
    rows = (MATRIX * 20 + 100).astype(dtype)
    np.testing.assert_array_equal(whole(write.vecs(tmp_path / f"a.{suffix}", rows)), rows)


@pytest.mark.parametrize(("suffix", "dtype"), [("fbin", "f4"), ("u8bin", "u1"), ("i8bin", "i1")])
def test_bin(tmp_path, write, suffix, dtype):
    rows = (MATRIX * 20).astype(dtype)
    np.testing.assert_array_equal(whole(write.bin(tmp_path / f"a.{suffix}", rows)), rows)


@pytest.mark.parametrize("name", ["a.idx", "train-images-idx3-ubyte", "train-images-idx3-ubyte.gz", "t.idx3-ubyte"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
def test_idx_images_become_rows(tmp_path, write, name, dtype):
    images = (np.random.default_rng(0).standard_normal((11, 4, 3)) * 30).astype(dtype)
    rows = whole(write.idx(tmp_path / name, images))
    np.testing.assert_array_equal(rows, images.reshape(11, 12))


def test_arrays_are_views_and_sources_pass_through():
    with open_vectors(MATRIX) as source:
        assert np.shares_memory(next(iter(source.batches(5))), MATRIX)
        assert open_vectors(source) is source
    assert whole([[1, 2], [3, 4]]).tolist() == [[1, 2], [3, 4]]
    assert whole(["00ff", "ff00"]).tolist() == ["00ff", "ff00"]
    assert whole(np.array(["00ff", "ff00"])).tolist() == ["00ff", "ff00"]
    assert whole(np.arange(3, dtype=np.uint64)).shape == (3, 1)
    assert whole(np.empty((0, 4))).shape == (0, 4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(4), r"shape \(4,\) of float64: expected \(n, dim\).*array\[None, :\]"),
        (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\).*reshape"),
        (np.zeros((2, 2), complex), "dtype complex128: expected real numbers"),
        (np.zeros(2, [("a", "f4")]), "structured dtype"),
        (np.array([{}, 1], object), "dtype object"),
        (np.zeros(2, "M8[s]"), "datetime64"),
        (np.array([["a", "b"]]), "one dimension of strings"),
        (np.zeros((3, 0)), "at least one column"),
        ([[1, 2], [3]], "rows of equal length"),
        ([], r"shape \(0,\)"),
    ],
)
def test_arrays_that_are_no_vectors_are_refused(values, message):
    with pytest.raises(InputFileError, match=message):
        open_vectors(values)


def test_sparse_matrices_are_refused_with_the_remedy():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(InputFileError, match=r"toarray"):
        open_vectors(sparse.eye(3))


def sources_of(folder: Path, write: object, array: np.ndarray) -> list[VectorSource]:
    folder.mkdir(exist_ok=True)
    np.save(folder / "c.npy", np.ascontiguousarray(array))
    np.save(folder / "f.npy", np.asfortranarray(array))
    np.savez_compressed(folder / "z.npz", array)
    np.savetxt(folder / "t.txt", array, fmt="%.9g")
    write.vecs(folder / "v.fvecs", array)
    write.jsonl(folder / "j.jsonl", array.astype(float).tolist())
    names = ["c.npy", "f.npy", "z.npz", "t.txt", "v.fvecs", "j.jsonl"]
    return [open_vectors(array), *(open_vectors(folder / name) for name in names)]


@pytest.fixture(scope="module")
def many(tmp_path_factory, write):
    sources = sources_of(tmp_path_factory.mktemp("many"), write, MATRIX)
    yield sources
    for source in sources:
        source.close()


@given(st.integers(1, 30), st.integers(0, 30), st.one_of(st.none(), st.integers(0, 30)))
def test_batches_are_slices_of_the_whole(many, batch_rows, start, stop):
    expected = MATRIX[start:stop]
    for source in many:
        parts = list(source.batches(batch_rows, start, stop))
        assert [len(part) for part in parts[:-1]] == [batch_rows] * max(0, len(parts) - 1)
        assert sum(map(len, parts)) == len(expected)
        if parts:
            np.testing.assert_array_equal(np.concatenate(parts).astype(np.float32), expected)


@given(st.lists(st.integers(0, 22), max_size=40).map(sorted))
def test_take_gives_the_rows_asked_for_repeats_included(many, rows):
    for source in many:
        taken = source.take(np.array(rows, dtype=np.int64))
        np.testing.assert_array_equal(taken.astype(np.float32), MATRIX[rows])


@pytest.mark.parametrize("order", ["C", "F"])
def test_take_across_long_gaps(tmp_path, order):
    array = np.asarray(np.arange(400_000, dtype=np.int32).reshape(-1, 2), order=order)
    np.save(tmp_path / "a.npy", array)
    rows = np.sort(np.random.default_rng(0).choice(len(array), 50, replace=False))
    rows = np.concatenate([[0, 1], rows[2:], [len(array) - 1]])
    with open_vectors(tmp_path / "a.npy") as source:
        np.testing.assert_array_equal(source.take(rows), array[rows])


@pytest.mark.parametrize("rows", [[-1], [23], [3, 2]])
def test_take_refuses_rows_out_of_range_or_order(rows):
    with pytest.raises(ArgumentError, match=r"ascend from 0 to 22"):
        open_vectors(MATRIX).take(np.array(rows))


def test_batch_rows_below_one_are_refused():
    with pytest.raises(ArgumentError, match=r"batch_rows is 0"):
        list(open_vectors(MATRIX).batches(0))


def npy_bytes(array: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("a.npy", b"", "not a .npy file"),
        ("a.npy", b"garbage" * 20, "not a .npy file"),
        ("a.npy", npy_bytes(MATRIX)[:-1], r"truncated: its head says \(23, 5\) float32, 588 bytes, but it has 587"),
        ("a.npy", npy_bytes(MATRIX)[:40], "not a .npy file or its head is damaged"),
        ("a.npy", npy_bytes(np.array([{}], object), allow_pickle=True), "dtype object, and pickle is refused"),
        ("a.npy", npy_bytes(np.zeros(2, [("a", "f4")])), "structured dtype"),
        ("a.npy", npy_bytes(np.zeros((2, 2, 2))), r"shape \(2, 2, 2\).*reshape"),
        ("a.npy", npy_bytes(np.float32(1)), r"shape \(\)"),
        ("a.npy", npy_bytes(MATRIX).replace(b"(23, 5)", b"(-2, 5)"), r"says shape \(-2, 5\)"),
        ("a.npy", npy_bytes(MATRIX).replace(b"'<f4'", b"'zzz'"), "head is damaged"),
        ("a.npz", b"PK nonsense", "not a whole .npz archive"),
        ("a.fvecs", struct.pack("<i", 0) + b"1234", "says 0 numbers"),
        ("a.fvecs", struct.pack("<i2f", 2, 1, 2) + b"123", "12 bytes, but its 15 bytes are 1 rows and 3 bytes"),
        ("a.fvecs", b"12", "2 bytes: too few"),
        ("a.fbin", b"12", "too few for the head"),
        ("a.fbin", struct.pack("<II", 3, 2) + bytes(20), "truncated: its head says 3 rows of 2 float32, 32 bytes.* 28"),
        ("a.u8bin", struct.pack("<II", 1, 2) + bytes(9), "not .u8bin"),
        ("a.u8bin", struct.pack("<II", 0, 2**32 - 1), "expected under 1 GiB"),
        ("a.idx", b"\0\0\7\1", "not an idx file: it starts with 00000701"),
        ("a.idx", b"", "it starts with nothing"),
        ("a.idx", b"\0\0\x08\3" + bytes(4), "its head takes 16 bytes, but it has 8"),
        ("a.idx", b"\0\0\x08\2" + struct.pack(">II", 2, 3) + bytes(5), "truncated: shape .* 18 bytes, but it has 17"),
        ("a.idx", b"\0\0\x08\1" + struct.pack(">I", 2) + bytes(2), r"shape \(2,\), as labels have"),
        ("a.npy.gz", b"\x1f\x8b\x08" + bytes(30), "cannot be decompressed"),
        ("a.npy.gz", npy_bytes(MATRIX), "is not gzip"),
        ("a.pkl", b"", "pickles run code"),
        ("a.json", b"{}", "one object or list per line"),
        ("a.bogus", b"", "unknown extension .bogus: name the format with --format"),
        ("a", b"", "no extension"),
    ],
)
def test_bad_files_are_refused_in_one_line_that_names_them(tmp_path, name, raw, message):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(InputFileError, match=message) as caught:
        open_vectors(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_vecs_whose_rows_change_their_dim_are_refused_where_they_do(tmp_path, write):
    path = write.vecs(tmp_path / "a.ivecs", np.ones((9, 3), np.int32))
    raw = bytearray(path.read_bytes())
    raw[7 * 16 : 7 * 16 + 4] = struct.pack("<i", 1)
    path.write_bytes(raw)
    with open_vectors(path) as source:
        assert len(source.take(np.arange(7))) == 7
        with pytest.raises(InputFileError, match=r"row 7 has 1 numbers: expected 3"):
            list(source.batches(4))


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((100, 8)))
    with open_vectors(tmp_path / "a.npy") as source:
        with open(tmp_path / "a.npy", "r+b") as file:
            file.truncate(300)
        with pytest.raises(InputFileError, match=r"truncated: it ends at byte 300"):
            list(source.batches(50))


def test_missing_files_folders_and_names(tmp_path):
    np.save(tmp_path / "photos.npy", MATRIX)
    with pytest.raises(InputFileError, match=r"no file .*photo.npy; did you mean 'photos.npy'"):
        open_vectors(tmp_path / "photo.npy")
    with pytest.raises(InputFileError, match=r"no file .*there is no folder"):
        open_vectors(tmp_path / "nowhere" / "photos.npy")
    with pytest.raises(InputFileError, match=r"is a folder: expected a file"):
        open_vectors(tmp_path)
    with pytest.raises(InputFileError, match=r"is a folder: expected a file"):
        open_vectors(tmp_path, format="npy")
    with pytest.raises(InputFileError, match=r"holds one array: leave ::x out"):
        open_vectors(f"{tmp_path}/photos.npy::x")
    with pytest.raises(InputFileError, match=r"unknown format 'fvec'.*did you mean 'fvecs'"):
        open_vectors(tmp_path / "photos.npy", format="fvec")
    with pytest.raises(InputFileError, match=r"cannot be opened"):
        open_vectors("nul\0.npy")


def test_a_file_whose_name_holds_colons_is_found_first(tmp_path):
    np.save(tmp_path / "a::b.npy", MATRIX)
    np.testing.assert_array_equal(whole(f"{tmp_path}/a::b.npy"), MATRIX)
    np.savez(tmp_path / "c.npz", **{"x::y": MATRIX, "z": MATRIX[:2]})
    np.testing.assert_array_equal(whole(f"{tmp_path}/c.npz::x::y"), MATRIX)


def test_a_format_named_wins_over_the_extension(tmp_path, write):
    np.testing.assert_array_equal(whole(write.vecs(tmp_path / "a.dat", MATRIX), format=".FVECS"), MATRIX)


@pytest.mark.parametrize("name", ["a.fvecs", "a.txt", "a.jsonl", "a.hex", "a.csv"])
def test_an_empty_file_has_no_rows(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with open_vectors(tmp_path / name) as source:
        assert source.n_rows == 0
        assert list(source.batches(10)) == []
        assert len(source.take(np.empty(0, np.int64))) == 0


def test_an_npz_member_that_is_damaged_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", np.zeros((1000, 8)))
    raw = bytearray((tmp_path / "a.npz").read_bytes())
    raw[200:230] = bytes(30)
    (tmp_path / "a.npz").write_bytes(raw)
    with pytest.raises(InputFileError, match=r"a\.npz"):
        open_vectors(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("readme.txt", "no arrays here")
    with pytest.raises(InputFileError, match=r"holds no array that fits: it holds nothing"):
        open_vectors(tmp_path / "b.npz")


STREAM = """
import sys
import numpy as np
from hashdb.inputs import open_vectors

def peak_kib():
    # Not ru_maxrss: a child inherits its parent's.
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmHWM")).split()[1])

before = peak_kib()
total = 0.0
with open_vectors(sys.argv[1]) as source:
    for batch in source.batches(16_384):
        total += float(batch.sum())
    taken = source.take(np.arange(0, source.n_rows, 100))
print((peak_kib() - before) >> 10, total, len(taken))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc, which Linux has")
@pytest.mark.parametrize("name", ["c.npy", "f.npy", "a.fvecs", "stored.npz"])
def test_streaming_a_large_file_takes_little_memory(tmp_path, name):
    n, dim = 400_000, 128  # 205 MB of float32, mostly a hole in the file
    path = tmp_path / name
    record = np.dtype([("dim", "<i4"), ("row", "<f4", (dim,))])
    if name == "a.fvecs":
        rows = np.memmap(path, record, "w+", shape=n)
        rows["dim"] = dim
        rows["row"][::1000] = 1
    else:
        order = name == "f.npy"
        target = path.with_suffix(".npy")
        rows = np.lib.format.open_memmap(target, "w+", np.float32, (n, dim), fortran_order=order)
        rows[::1000] = 1
    rows.flush()
    del rows
    if name == "stored.npz":
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(path.with_suffix(".npy"), "vectors.npy")
    found = subprocess.run([sys.executable, "-c", STREAM, path], capture_output=True, text=True, check=True)
    grown_mib, total, n_taken = found.stdout.split()
    assert float(total) == 400 * dim
    assert int(n_taken) == 4000
    assert int(grown_mib) < 60
