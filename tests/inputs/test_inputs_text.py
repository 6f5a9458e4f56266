"""Text: numbers, tables with headers and words, hex codes, JSON lines."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashdb.errors import InputFileError
from hashdb.inputs import open_vectors, read_ids

HEX = ["00ff10a2", "deadbeef", "01234567"]


def whole(spec: object, **options: object) -> np.ndarray:
    with open_vectors(spec, **options) as source:
        parts = list(source.batches(2))
        rows = np.concatenate(parts) if parts else np.empty((0, source.n_columns), source.dtype)
        assert len(rows) == source.n_rows
        assert rows.dtype == source.dtype
        taken = source.take(np.arange(0, source.n_rows, 2))
        assert taken.tolist() == rows[::2].tolist()
        if source.is_text:
            assert all(type(value) is str for value in rows)
        return rows


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [" ", "\t", ",", ", ", ";", "   "])
@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv"])
def test_rows_of_numbers(tmp_path, write, name, delimiter, end):
    lines = [delimiter.join(row) for row in (["1", "2.5", "-3e2"], [".5", "+6", "7."], ["0", "0", "1"])]
    rows = whole(write.lines(tmp_path / name, lines, end))
    assert rows.tolist() == [[1, 2.5, -300], [0.5, 6, 7], [0, 0, 1]]
    assert rows.dtype == np.float64


def test_integers_stay_integers_unless_some_line_has_a_fraction(tmp_path, write):
    assert whole(write.lines(tmp_path / "a.txt", ["1 2", "3 4"])).dtype == np.int64
    many = ["1 2"] * 500 + ["3 4.5"]
    rows = whole(write.lines(tmp_path / "b.txt", many))
    assert rows.dtype == np.float64
    assert rows[-1].tolist() == [3, 4.5]


def test_a_mark_of_byte_order_and_a_last_line_without_end_are_no_trouble(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf1 2\n3 4")
    assert whole(tmp_path / "a.txt").tolist() == [[1, 2], [3, 4]]


def test_blank_lines_end_a_file_but_do_not_interrupt_it(tmp_path, write):
    assert len(whole(write.lines(tmp_path / "a.txt", ["1 2", "3 4", "", "  "]))) == 2
    with pytest.raises(InputFileError, match=r"line 2 is blank"):
        whole(write.lines(tmp_path / "b.txt", ["1 2", " ", "3 4"]))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1 2", "3 x", "5 6"], r"line 2, column 1 is 'x': expected a number"),
        (["1,2", "3,4", "5,"], r"line 3, column 1 is '': a value is missing"),
        (["1 2 3", "4 5 6", "7 8"], r"line 3 has 2 cells, expected 3"),
        (["1,2", "3,4", "5,6,7"], r"line 3 has 3 cells, expected 2"),
        (["1 2", "99999999999999999999 3"], r"too large for int64"),
        (["a 1 2", "b 3 4", "c 5 6 7"], r"line 3 has 4 cells, expected 3"),
        (["a 1 2", "b 3 y", "c 4 5"], r"line 2, column 2 is 'y'"),
        (["1 a 2", "3 b 4"], r"no one reading as vectors: 0 \(number\), 1 \(text\), 2 \(number\); pick.*txt::0$"),
        (["a b", "c d"], r"no one reading as vectors: 0 \(text\), 1 \(text\); expected numbers or hex codes$"),
    ],
)
def test_bad_lines_are_named(tmp_path, write, lines, message):
    with pytest.raises(InputFileError, match=message) as caught:
        whole(write.lines(tmp_path / "a.txt", lines))
    assert "a.txt" in str(caught.value)


def test_the_least_and_the_greatest_int64_are_read(tmp_path, write):
    ends = np.iinfo(np.int64)
    rows = whole(write.lines(tmp_path / "a.txt", [f"{ends.min} 1", f"2 {ends.max}"]))
    assert rows.tolist() == [[ends.min, 1], [2, ends.max]]


def test_bad_lines_far_down_are_named_too(tmp_path, write):
    path = write.lines(tmp_path / "a.csv", ["x,y"] + ["1,2"] * 1000 + ["3,oops"])
    with open_vectors(path) as source, pytest.raises(InputFileError, match=r"line 1002, column 1 is 'oops'"):
        list(source.batches(100))


def test_words_before_the_numbers_are_left_out_and_can_be_ids(tmp_path, write):
    lines = ["the 0.1 0.2", ", 0.3 0.4", "1990 0.5 0.6", "of 0.7 0.8"]
    path = write.lines(tmp_path / "glove.txt", lines)
    assert whole(path).tolist() == [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]]
    assert read_ids(f"{path}::0") == ["the", ",", "1990", "of"]
    headed = write.lines(tmp_path / "word2vec.vec", ["4 2", *lines])
    assert whole(headed).tolist() == whole(path).tolist()
    assert read_ids(f"{headed}::0") == ["the", ",", "1990", "of"]


def test_headers_name_columns_and_those_of_ids_and_labels_are_no_vector(tmp_path, write):
    path = write.lines(tmp_path / "a.csv", ["id,x,label,y", "7,0.5,1,2", "8,1.5,0,3"])
    assert whole(path).tolist() == [[0.5, 2], [1.5, 3]]
    assert whole(f"{path}::y").tolist() == [[2], [3]]
    assert whole(f"{path}::3").tolist() == [[2], [3]]
    assert read_ids(f"{path}::id").tolist() == [7, 8]
    with pytest.raises(InputFileError, match=r"has no 'z': it holds id \(number\), x"):
        whole(f"{path}::z")
    with pytest.raises(InputFileError, match=r"names two columns 'x'"):
        whole(write.lines(tmp_path / "b.csv", ["x,x", "1,2"]))


def test_tables_as_pandas_writes_them(tmp_path, write):
    indexed = write.lines(tmp_path / "a.csv", [",0,1,2", "0,0.1,0.2,0.3", "1,0.4,0.5,0.6"])
    assert whole(indexed).tolist() == [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]
    words = write.lines(tmp_path / "b.csv", ["word,0,1", "a,0.1,0.2", "b,0.4,0.5"])
    assert whole(words).tolist() == [[0.1, 0.2], [0.4, 0.5]]


def test_a_first_row_with_a_word_is_no_header(tmp_path, write):
    assert whole(write.lines(tmp_path / "a.csv", ["france,0.1,0.2", "spain,0.3,0.4"])).tolist() == [
        [0.1, 0.2],
        [0.3, 0.4],
    ]


def test_hex_columns(tmp_path, write):
    rows = [f"{n},100,{code},0.{n}" for n, code in enumerate(HEX)]
    path = write.lines(tmp_path / "vpdq.txt", rows)
    assert whole(f"{path}::2").tolist() == HEX
    with pytest.raises(InputFileError, match=r"2 \(hex\), all numbers \(columns 0, 1, 3\); pick a column.*txt::2"):
        open_vectors(path)
    only = write.lines(tmp_path / "a.csv", ["name,hash", *(f"card {n},{code}" for n, code in enumerate(HEX))])
    assert whole(only).tolist() == HEX
    bad = write.lines(tmp_path / "b.csv", ["name,hash", *(f"c,{code}" for code in HEX * 50), "c,00ff"])
    with pytest.raises(InputFileError, match=r"line 152 has 4 characters, expected 8 hex digits"):
        whole(bad)


def test_quoted_cells_may_hold_delimiters_and_line_ends(tmp_path):
    rows = [["name", "x", "y"], ["a, b", "1", "2.5"], ['two\nlines "quoted"', "3", "4"], ["c\r\nd", "5", "6"]]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    (tmp_path / "a.csv").write_bytes(text.getvalue().encode() + b"\n")
    assert whole(tmp_path / "a.csv").tolist() == [[1, 2.5], [3, 4], [5, 6]]
    assert read_ids(f"{tmp_path}/a.csv::name") == ["a, b", 'two\nlines "quoted"', "c\r\nd"]


@given(st.lists(st.tuples(st.text(alphabet='a",\n\r x', max_size=6), st.integers(-9, 9)), min_size=1, max_size=8))
@settings(deadline=None)
def test_csv_is_read_as_the_standard_library_does(tmp_path_factory, rows):
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([["name", "x"], *rows])
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(text.getvalue().encode())
    expected = list(csv.reader(io.StringIO(text.getvalue(), newline="")))
    if any("\r" in name.replace("\r\n", "") for name, _ in rows):
        return  # a lone carriage return inside a cell is refused or kept, see below
    assert whole(f"{path}::x")[:, 0].tolist() == [int(row[1]) for row in expected[1:]]


def test_binary_and_foreign_encodings_are_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"1 2\n\xff\xff\n")
    with pytest.raises(InputFileError, match=r"line 2 is not UTF-8 text: invalid start byte"):
        whole(tmp_path / "a.txt")
    (tmp_path / "b.txt").write_text("1 2\n", encoding="utf-16")
    with pytest.raises(InputFileError, match=r"UTF-16 text: expected UTF-8"):
        whole(tmp_path / "b.txt")


def test_a_line_without_end_is_not_read_into_memory(tmp_path):
    with open(tmp_path / "a.txt", "wb") as file:
        file.truncate(200 << 20)
    with pytest.raises(InputFileError, match=r"line 1 has 209,715,200 bytes, expected at most"):
        open_vectors(tmp_path / "a.txt")


@pytest.mark.parametrize(("name", "options"), [("a.txt", {}), ("a.hex", {}), ("a.dat", {"format": "hex"})])
def test_hex_lists(tmp_path, write, name, options):
    assert whole(write.lines(tmp_path / name, HEX), **options).tolist() == HEX


def test_long_runs_of_digits_are_hex_and_short_ones_ask(tmp_path, write):
    assert whole(write.lines(tmp_path / "a.txt", ["1" * 20, "2" * 20])).tolist() == ["1" * 20, "2" * 20]
    path = write.lines(tmp_path / "b.txt", ["12345678", "87654321"])
    with pytest.raises(InputFileError, match=r"'12345678', which may be hex codes or numbers.*--format hex"):
        open_vectors(path)
    assert whole(path, format="hex").tolist() == ["12345678", "87654321"]
    assert whole(write.lines(tmp_path / "c.txt", ["123", "45"])).tolist() == [[123], [45]]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["xyz0"], r"line 1 is 'xyz0', expected an even number of hex digits"),
        (["abc"], r"line 1 is 'abc', expected an even"),
        (["00ff", "00ffaa"], r"line 2 has 6 characters, expected 4 hex digits"),
        (["00ff", "00fg"], r"line 2 is '00fg', expected 4 hex digits"),
        (["00ff", "", "00ff"], r"line 2 is blank"),
    ],
)
def test_bad_hex_codes_are_named(tmp_path, write, lines, message):
    with pytest.raises(InputFileError, match=message):
        whole(write.lines(tmp_path / "a.hex", lines))


@pytest.mark.parametrize(
    ("rows", "dtype"),
    [([[1, 2], [3, 4]], np.int64), ([[1, 2], [3, 4.5]], np.float64), ([[True, False], [False, True]], np.bool_)],
)
def test_jsonl_rows_and_keys(tmp_path, write, rows, dtype):
    plain = whole(write.jsonl(tmp_path / "a.jsonl", rows))
    assert plain.dtype == dtype
    assert plain.tolist() == rows
    objects = [{"id": f"card-{n}", "vector": row} for n, row in enumerate(rows)]
    path = write.jsonl(tmp_path / "b.jsonl", objects)
    assert whole(path).tolist() == rows
    assert whole(f"{path}::vector").tolist() == rows
    assert read_ids(f"{path}::id") == ["card-0", "card-1"]


def test_jsonl_of_hex_codes(tmp_path, write):
    assert whole(write.jsonl(tmp_path / "a.jsonl", HEX)).tolist() == HEX
    path = write.jsonl(tmp_path / "b.jsonl", [{"id": n, "hash": code} for n, code in enumerate(HEX)])
    assert whole(path).tolist() == HEX
    two = write.jsonl(tmp_path / "c.jsonl", [{"a": code, "b": code} for code in HEX])
    with pytest.raises(InputFileError, match=r"more than one key with vectors or codes: a .*b .*c.jsonl::a"):
        open_vectors(two)
    assert whole(f"{two}::b").tolist() == HEX


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["[1, 2]", "[3"], r"line 2 is not JSON"),
        (["[1, 2]", "[3]"], r"line 2 holds a list of 1, expected a list of 2 numbers"),
        (["[1, 2]", "[3, null]"], r"line 2 holds null, expected a number"),
        (["[1, 2]", '[3, "x"]'], r"line 2 holds the string 'x', expected a number"),
        (["[1, 2]", "[3, [4]]"], r"line 2 holds a list of 1, expected a number"),
        (["[1, 2]", "[3, 1e400000000000]", "[1, 99999999999999999999]"], r"line 3 holds 9+, too large"),
        (["[1, 2]", "{}"], r"line 2 holds an object"),
        (['{"a": [1]}', "[1]"], r"line 2 is no object: expected one with the key 'a'"),
        (['{"a": [1]}', '{"b": [1]}'], r"line 2 has no key 'a': it has b"),
        (['{"a": "x"}'], r"holds no key with vectors or codes: it holds a \(the string 'x'\)"),
        (["[]"], r"line 1 holds a list of 0"),
        (["[1]", "", "[2]"], r"line 2 is blank"),
        (["[" * 100_000], r"line 1 is nested too deeply"),
        (["1" * 5000], r"line 1 is not JSON"),
    ],
)
def test_bad_json_lines_are_named(tmp_path, write, lines, message):
    with pytest.raises(InputFileError, match=message) as caught:
        whole(write.lines(tmp_path / "a.jsonl", lines))
    assert len(str(caught.value)) < 1000


def test_jsonl_whose_integers_turn_into_fractions_late_is_refused(tmp_path, write):
    path = write.jsonl(tmp_path / "a.jsonl", [[1, 2]] * 1500 + [[1, 2.5]])
    with pytest.raises(InputFileError, match=r"numbers within lines 1,?501 to 1,?501, expected integers"):
        whole(path)
    path = write.jsonl(tmp_path / "b.jsonl", [[1.0, 2]] * 1500 + [[1, 2]])
    assert whole(path).dtype == np.float64


@given(
    st.lists(
        st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=3, max_size=3),
        min_size=1,
        max_size=9,
    )
)
@settings(deadline=None)
def test_floats_survive_text_bit_for_bit(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("floats")
    texts = {
        "a.txt": "\n".join(" ".join(map(repr, row)) for row in rows),
        "a.csv": "\n".join(",".join(map(repr, row)) for row in rows),
        "a.jsonl": "\n".join(map(json.dumps, rows)),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
        assert whole(folder / name).tolist() == rows


def test_one_bad_code_among_many_is_named_with_its_line(tmp_path):
    codes = [f"{number:016x}" for number in range(10**17, 10**17 + 20)]
    codes[7] = "z" * 16
    file = tmp_path / "codes.txt"
    file.write_text("\n".join(codes) + "\n")
    with pytest.raises(InputFileError, match="line 8 is 'zzzz"), open_vectors(file) as source:
        list(source.batches(100))


def test_lines_of_zeros_and_ones_are_not_guessed_to_be_hex(tmp_path):
    file = tmp_path / "bits.txt"
    file.write_text("0101" * 16 + "\n" + "1100" * 16 + "\n")
    with pytest.raises(InputFileError, match="--format hex"):
        open_vectors(file)


def test_a_lone_carriage_return_in_a_line_with_quotes_is_refused_by_name(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'1,"2"\n3\r,"4"\n5,"6"\n')
    with (
        pytest.raises(InputFileError, match=r"a\.csv: lines 1 to 3 cannot be read as numbers"),
        open_vectors(path) as source,
    ):
        list(source.batches(10))
