"""Ids and labels, from files and from Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashdb.errors import ArgumentError, InputFileError
from hashdb.inputs import normalise_ids, read_ids, read_labels

INT64 = st.integers(-(2**63), 2**63 - 1)


def same(found, expected):
    if isinstance(expected, list):
        return type(found) is list and found == expected and all(type(item) is str for item in found)
    return found.dtype == np.int64 and found.ndim == 1 and found.tolist() == expected.tolist()


@given(st.lists(INT64, max_size=20))
def test_integers_from_any_sequence(values):
    expected = np.array(values, dtype=np.int64)
    for form in (values, tuple(values), expected, np.array(values, dtype=object), iter(values), dict.fromkeys(values)):
        wanted = np.array(list(dict.fromkeys(values)), np.int64) if isinstance(form, dict) else expected
        assert same(normalise_ids(form), wanted)
    assert same(read_ids(values), expected)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5), min_size=1))
def test_strings_from_any_sequence(values):
    for form in (values, tuple(values), np.array(values), np.array(values, dtype=object), iter(values)):
        assert same(normalise_ids(form), values)
    assert same(normalise_ids(np.char.encode(np.array(values), "utf-8")), values)


@given(st.integers(-99, 99), st.integers(-99, 99), st.integers(-5, 5).filter(bool))
def test_ranges(start, stop, step):
    assert same(normalise_ids(range(start, stop, step)), np.array(list(range(start, stop, step)), np.int64))


def test_single_ids_and_kinds_of_integers():
    assert same(normalise_ids("france"), ["france"])
    assert same(normalise_ids(7), np.array([7]))
    assert same(normalise_ids(np.uint8(7)), np.array([7]))
    assert same(normalise_ids([np.int32(3), 4]), np.array([3, 4]))
    assert same(normalise_ids(np.array([1, 2], np.uint64)), np.array([1, 2]))
    assert same(normalise_ids([]), np.array([], np.int64))
    assert same(normalise_ids([np.str_("a")]), ["a"])


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, "a"], r"id 1 is str 'a': expected an integer"),
        (["a", 1], r"id 1 is int '1': expected a string like those before it"),
        ([True], r"id 0 is bool"),
        (True, r"id 0 is bool"),
        ([1.0], r"id 0 is float '1.0'"),
        ([None], r"id 0 is NoneType"),
        ([b"a"], r"id 0 is bytes"),
        (b"ab", r"ids are bytes"),
        (1.5, r"ids are float"),
        (np.array([1.0]), r"dtype float64: expected integers or strings"),
        (np.array([True]), r"dtype bool"),
        (np.array([[1]]), r"shape \(1, 1\): expected one dimension"),
        (np.array([2**63], np.uint64), r"beyond int64"),
        ([2**63], r"id 0 is 9223372036854775808, beyond int64: use strings"),
        (range(2**63, 2**63 + 2), r"beyond int64"),
        ({1, 2}, r"set, which has no order"),
    ],
)
def test_what_is_no_id_is_refused(ids, message):
    with pytest.raises(ArgumentError, match=message):
        normalise_ids(ids)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["3", "-1", "0"], np.array([3, -1, 0])),
        (["9223372036854775807", "-9223372036854775808"], np.array([2**63 - 1, -(2**63)])),
        (["9223372036854775808", "1"], ["9223372036854775808", "1"]),
        (["007", "8"], ["007", "8"]),
        (["+7", "8"], ["+7", "8"]),
        (["-0", "8"], ["-0", "8"]),
        (["7 ", "8"], ["7 ", "8"]),
        (["1.0", "2"], ["1.0", "2"]),
        (["a b, c", 'say "x', "the\tend"], ["a b, c", 'say "x', "the\tend"]),
        (["١", "2"], ["١", "2"]),
        (["deadbeef", "00ff00ff"], ["deadbeef", "00ff00ff"]),
        (["12345678", "87654321"], np.array([12345678, 87654321])),
        ([], np.array([], np.int64)),
    ],
)
def test_text_ids_are_integers_only_where_every_line_is_plainly_one(tmp_path, write, lines, expected):
    assert same(read_ids(write.lines(tmp_path / "ids.txt", lines)), expected)
    assert same(read_ids(write.lines(tmp_path / "ids.txt", lines, "\r\n")), expected)


def test_ids_from_each_format(tmp_path, write):
    numbers, names = np.array([5, 3, 9]), ["x", "y y", "z"]
    np.save(tmp_path / "n.npy", numbers.astype(np.int32))
    np.save(tmp_path / "s.npy", np.array(names))
    np.savez_compressed(tmp_path / "a.npz", ids=numbers, names=np.array(names), vectors=np.zeros((3, 2)))
    jsonl = write.jsonl(tmp_path / "a.jsonl", [{"id": int(n), "name": s} for n, s in zip(numbers, names, strict=True)])
    strings = write.jsonl(tmp_path / "s.jsonl", ["1", "2"])
    table = write.lines(tmp_path / "a.csv", ["id,name", "5,x", "3,y y", "9,z"])
    alone = write.lines(tmp_path / "b.csv", ["id", "5", "3", "9"])
    idx = write.idx(tmp_path / "a.idx", numbers.astype(np.int32))
    for spec in (
        tmp_path / "n.npy",
        f"{tmp_path}/a.npz::ids",
        f"{jsonl}::id",
        f"{table}::id",
        f"{table}::0",
        alone,
        idx,
    ):
        assert same(read_ids(spec), numbers), spec
    for spec in (str(tmp_path / "s.npy"), f"{tmp_path}/a.npz::names", f"{jsonl}::name", f"{table}::name"):
        assert same(read_ids(spec), names), spec
    assert same(read_ids(strings), ["1", "2"])
    for spec, message in ((tmp_path / "a.npz", r"ids \(3,\)"), (jsonl, r"jsonl::id"), (table, r"more than one column")):
        with pytest.raises(InputFileError, match=message):
            read_ids(spec)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("f.npy", np.array([1.0, 2.0]), r"f.npy: ids have dtype float64"),
        ("b.npy", np.array([True]), r"b.npy: ids have dtype bool"),
        ("m.npy", np.zeros((2, 2), int), r"m.npy: ids have shape \(2, 2\)"),
        ("u.npy", np.array([2**63], np.uint64), r"u.npy: id .* beyond int64"),
    ],
)
def test_files_that_hold_no_ids_are_refused(tmp_path, name, array, message):
    np.save(tmp_path / name, array)
    with pytest.raises(InputFileError, match=message):
        read_ids(tmp_path / name)


def test_more_files_that_hold_no_ids(tmp_path, write):
    with pytest.raises(InputFileError, match=r"line 2 is blank"):
        read_ids(write.lines(tmp_path / "a.txt", ["1", "", "2"]))
    with pytest.raises(InputFileError, match=r"a.jsonl: id 1 is str 'x': expected an integer"):
        read_ids(write.jsonl(tmp_path / "a.jsonl", [{"id": 1}, {"id": "x"}]))
    with pytest.raises(InputFileError, match=r"line 2 has no key 'id'"):
        read_ids(f"{write.jsonl(tmp_path / 'b.jsonl', [{'id': 1}, {'di': 2}])}::id")
    np.save(tmp_path / "o.npy", np.array(["a", None], object), allow_pickle=True)
    with pytest.raises(InputFileError, match=r"pickle is refused"):
        read_ids(tmp_path / "o.npy")


@pytest.mark.parametrize("read", [read_ids, read_labels])
def test_a_file_without_a_suffix_is_to_be_renamed(tmp_path, read):
    for name, found in (("three", "no extension"), ("three.odd", "the unknown extension .odd")):
        (tmp_path / name).write_text("1\n")
        advice = f"{name} has {found}: rename it, such as three.txt, or give - for stdin$"
        with pytest.raises(InputFileError, match=advice):
            read(tmp_path / name)


def test_labels_from_each_format(tmp_path, write):
    values = np.array([3, -1, 0, 3])
    np.save(tmp_path / "i.npy", values.astype(np.int8))
    np.save(tmp_path / "f.npy", values.astype(float))
    np.save(tmp_path / "c.npy", values[:, None])
    np.savez(tmp_path / "a.npz", labels=values, other=values)
    files = [
        tmp_path / "i.npy",
        tmp_path / "f.npy",
        tmp_path / "c.npy",
        f"{tmp_path}/a.npz::labels",
        write.idx(tmp_path / "train-labels-idx1-byte.gz", values.astype(np.int8)),
        write.lines(tmp_path / "a.txt", ["3", "-1", "0", "3"]),
        write.lines(tmp_path / "a.csv", ["label", "3", "-1", "0", "3"]),
        f"{write.lines(tmp_path / 'b.csv', ['x,label', '1,3', '1,-1', '1,0', '1,3'])}::label",
        f"{write.jsonl(tmp_path / 'a.jsonl', [{'x': [1], 'y': int(v)} for v in values])}::y",
        values.tolist(),
        values,
        values.astype(np.float16),  # 2**53, the most that is whole in float64, is beyond them
    ]
    for spec in files:
        found = read_labels(spec)
        assert found.dtype == np.int64
        assert found.tolist() == values.tolist(), spec


def test_class_names_are_numbered_in_sorted_order(tmp_path, write):
    names = ["soccer ball", "art", "zoo", "art"]
    jsonl = write.jsonl(tmp_path / "a.jsonl", [{"label": name} for name in names])
    np.save(tmp_path / "a.npy", np.array(names))
    for spec in (write.lines(tmp_path / "a.txt", names), jsonl, tmp_path / "a.npy", names, np.array(names, object)):
        assert read_labels(spec).tolist() == [1, 0, 2, 0]


def test_several_labels_a_row(tmp_path, write):
    hot = np.array([[1, 0, 1], [0, 0, 0]])
    np.save(tmp_path / "a.npy", hot)
    np.save(tmp_path / "b.npy", hot.astype(bool))
    text = write.lines(tmp_path / "a.txt", ["1 0 1", "0 0 0"])
    jsonl = write.jsonl(tmp_path / "a.jsonl", [{"y": row} for row in hot.tolist()])
    for spec in (tmp_path / "a.npy", tmp_path / "b.npy", text, jsonl, hot.tolist(), hot.astype(float)):
        found = read_labels(spec)
        assert found.dtype == np.bool_
        assert found.tolist() == hot.astype(bool).tolist()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.5, 1], r"label 0 is 0.5: expected whole numbers"),
        ([float("nan")], r"label 0 is nan"),
        ([-2, 1], r"run from -2 to 1: expected at least -1"),
        (["a", 1], r"mix strings with other values"),
        ([[1, 2], [0, 1]], r"other values than 0 and 1 in row 0"),
        (np.zeros((2, 2, 2)), r"shape \(2, 2, 2\)"),
        ([[1], [1, 2]], r"not one per row"),
        ([None], r"dtype object"),
        (["1.5", "2"], r"label 0 is 1.5"),
    ],
)
def test_what_is_no_label_is_refused(values, message):
    with pytest.raises(ArgumentError, match=message):
        read_labels(values)


def test_bad_label_files_are_named(tmp_path):
    np.save(tmp_path / "a.npy", np.array([0.5]))
    with pytest.raises(InputFileError, match=r"a.npy: label 0 is 0.5"):
        read_labels(tmp_path / "a.npy")
