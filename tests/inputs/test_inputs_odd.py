"""Input that other readers would take with rows lost: each is read whole or refused in one line."""

from __future__ import annotations

import errno
import io
import json
import os

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError, InputFileError
from hashdb.inputs import files, open_vectors, read_ids, read_labels
from hashdb.inputs.formats import parse_spec

HEX = ["00ff00ff", "12ab34cd", "ffffffff"]


def whole(spec, format=None):
    with open_vectors(spec, format=format) as source:
        return source.take(np.arange(source.n_rows))


@pytest.mark.parametrize(
    ("lines", "first"),
    [
        (["x,y,id", '1,2,"a', "3,4,b", "5,6,c"], 2),  # never closed
        (["x,y,id", "1,2,a", '3,4,"b', '5,6,"c"'], 3),  # closed by the next that opens
        (["x,y,id", '1,2,"a\nb"', "3,4,b", '5,6,"c'], 5),  # below a cell of two lines, in the last row
    ],
)
def test_a_quote_left_open_is_refused_with_the_line_where_its_row_starts(tmp_path, write, lines, first):
    path = write.lines(tmp_path / "u.csv", lines)
    for read in (whole, lambda path: read_ids(f"{path}::id")):
        with pytest.raises(InputFileError, match=rf"u\.csv: the row that starts at line {first} is not CSV") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_the_first_id_of_a_list_without_a_header_is_kept(tmp_path, write):
    path = write.lines(tmp_path / "d.csv", ["a1", "a2"])
    assert read_ids(path) == ["a1", "a2"]
    assert read_labels(path).tolist() == [0, 1]
    assert read_ids(f"{path}::0") == ["a1", "a2"]
    assert read_ids(write.lines(tmp_path / "one.csv", ["a1"])) == ["a1"]
    assert read_ids(write.lines(tmp_path / "mixed.csv", ["x", "1", "b", "c"])) == ["x", "1", "b", "c"]
    assert read_ids(write.lines(tmp_path / "hex.csv", ["cat", *HEX])) == ["cat", *HEX]


def test_a_list_is_known_to_have_a_header_by_its_name_or_by_the_one_asked_for(tmp_path, write):
    for name in ("id", "ID", "name", "key", "label"):
        assert read_ids(write.lines(tmp_path / "a.csv", [name, "a1", "a2"])) == ["a1", "a2"]
    assert read_ids(write.lines(tmp_path / "e.csv", ["id"])).tolist() == []
    assert read_ids(f"{write.lines(tmp_path / 'b.csv', ['photo', 'a1', 'a2'])}::photo") == ["a1", "a2"]
    assert read_ids(write.lines(tmp_path / "c.csv", ["photo", "7", "8"])).tolist() == [7, 8]


def test_the_first_row_of_words_in_several_columns_is_kept(tmp_path, write):
    path = write.lines(tmp_path / "d.csv", ["a1,x", "a2,y"])
    assert read_ids(f"{path}::0") == ["a1", "a2"]
    assert read_ids(f"{path}::a1") == ["a2"]
    named = write.lines(tmp_path / "n.csv", ["name,caption", "a1,x", "a2,y"])
    assert read_ids(f"{named}::0") == read_ids(f"{named}::name") == ["a1", "a2"]


@pytest.mark.parametrize("format", ["csv", "text", "npz"])
def test_a_device_is_refused_rather_than_read_as_empty(format):
    # Not read any further than this: an archive without end would take all memory.
    with pytest.raises(InputFileError, match=r"^/dev/zero is a device: expected a file or a pipe$"):
        files.open_file(parse_spec("/dev/zero", format))


def test_files_that_do_not_say_their_size_are_read_whole():
    for path in ("/proc/sys/net/ipv4/tcp_rmem", "/proc/self/statm", "/proc/loadavg"):
        if not os.path.exists(path):
            pytest.skip(f"only Linux has {path}")
    with open("/proc/sys/net/ipv4/tcp_rmem", encoding="ascii") as file:
        expected = [int(word) for word in file.read().split()]
    assert whole("/proc/sys/net/ipv4/tcp_rmem", "text").tolist() == [expected]
    assert whole("/proc/self/statm", "text").shape == (1, 7)
    with pytest.raises(InputFileError, match=r"^/proc/loadavg"):  # a word such as 1/200 among numbers
        whole("/proc/loadavg", "text")


def test_a_file_that_cannot_be_sought_to_its_end_is_named():
    class Unsought(io.BytesIO):
        def seek(self, offset, whence=os.SEEK_SET):
            raise OSError(errno.EINVAL, "Invalid argument")

    with pytest.raises(InputFileError, match=r"^a\.txt cannot be read: Invalid argument"):
        files.ByteFile(Unsought(b"1 2"), "a.txt")


@pytest.mark.parametrize("line", ['{"v": [1, 2], "v": [3, 4]}', '{"v": [1, 2], "about": {"v": 1, "v": 2}}'])
def test_a_key_given_twice_in_a_line_of_json_is_refused(tmp_path, write, line):
    path = write.lines(tmp_path / "a.jsonl", [json.dumps({"v": [0, 0]}), line])
    with pytest.raises(InputFileError, match=r"a\.jsonl: line 2 has the key 'v' twice"):
        whole(path)


@pytest.mark.parametrize("kind", ["timestamp[ns]", "date32", "duration[ns]", "time64[ns]", "list", "dictionary"])
def test_columns_of_times_in_parquet_are_refused(tmp_path, kind):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    values = pa.array(np.array([1, 2, 10**18 + 1], dtype="datetime64[ns]"))
    if kind == "list":
        values = pa.array([[1], [2], [3]], type=pa.list_(pa.timestamp("ns")))
    elif kind == "dictionary":
        values = values.dictionary_encode()
    elif kind != "timestamp[ns]":
        types = {"date32": pa.date32(), "duration[ns]": pa.duration("ns"), "time64[ns]": pa.time64("ns")}
        values = pa.array([1, 2, 3], type=types[kind])
    pq.write_table(pa.table({"when": values}), tmp_path / "a.parquet")
    for read in (read_ids, read_labels, whole):
        with pytest.raises(InputFileError, match=r"a\.parquet::when holds .*: expected numbers, strings") as caught:
            read(f"{tmp_path}/a.parquet::when")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("modality", [5, ["x"], b"x"])
def test_a_modality_that_is_no_string_is_refused(tmp_path, modality):
    rows = np.random.default_rng(0).standard_normal((20, 4))
    index = hashdb.build(tmp_path / "i.hashdb", rows, method="lsh", n_bits=8)
    for call in (
        lambda: index.query(rows, k=3, modality=modality),
        lambda: index.query_radius(rows, 1, modality=modality),
        lambda: index.encode(rows, modality=modality),
        lambda: hashdb.fit(rows, method="lsh", n_bits=8).encode(rows, modality=modality),
        lambda: index.add(rows, modality=modality),
    ):
        with pytest.raises(ArgumentError, match=r"modality is .*: expected a name, a string|modality .* is unknown"):
            call()


@pytest.mark.parametrize("text", ["1,5;2,5\n3,5;4,5\n", "1,yes,2\n3,no,4\n"])
def test_words_among_numbers_without_a_header_are_not_left_out_silently(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputFileError, match="has no one reading as vectors"):
        open_vectors(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("x,said,y\n1,yes,2\n3,no,4\n")
    with open_vectors(tmp_path / "a.csv") as source:
        assert next(source.batches(2)).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ('"a1"\n"New York"\n', ["a1", "New York"]),
        ('"id"\n"a ""b"""\nc\n', ['a "b"', "c"]),
        ('"photo"\n"x\ny"\n', ["photo", "x\ny"]),
    ],
)
def test_a_single_column_of_csv_may_be_quoted(tmp_path, text, ids):
    (tmp_path / "a.csv").write_text(text)
    assert list(read_ids(tmp_path / "a.csv")) == ids
