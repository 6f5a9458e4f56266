"""Ids, vectors, params and names of any kind are taken as they are, or refused in one short line."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hashdb
from guarantees.fuzzing.oracle import MIB, BrokenPromise, check_message, judge
from hashdb.errors import ArgumentError, HashDBError
from hashdb.inputs import normalise_ids, open_vectors, read_ids, read_labels

DIM, N_BITS = 6, 24
MOST = 1000  # characters of any message of an error, paths included
ROWS = np.random.default_rng(0).standard_normal((40, DIM)).astype(np.float32)
LONG = "x" * 10_000_000
CONTROLS = "".join(map(chr, [*range(1, 32), 127, *range(128, 160)]))
# Pairs that look alike: distinct code points are distinct ids.
ALIKE = ("a", "а", "ａ", "é", "e\u0301", "ß", "ss", "ﬁ", "fi", "K", "\u212a", "Å", "\u212b", "A\u200b", "A", "A\u202e")
ODD_TEXTS = ("", LONG, "\0", "a\0", "\ud800", "a\udfff", "\x1b[2J\x1b[31mgone", "a\nb", "\u202egnp.exe", CONTROLS)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("values")
    hashdb.build(folder / "s.hashdb", ROWS, method="lsh", n_bits=N_BITS, ids=[f"id {n}" for n in range(40)]).close()
    hashdb.build(folder / "i.hashdb", ROWS, method="lsh", n_bits=N_BITS, store_vectors="float32").close()
    return folder


@pytest.fixture(scope="module")
def strings(path: Path):
    with hashdb.open(path / "s.hashdb") as index:
        yield index


@pytest.fixture(scope="module")
def integers(path: Path):
    with hashdb.open(path / "i.hashdb") as index:
        yield index


def quickly(**options: Any):
    return settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), **options)


# ---- ids


@pytest.mark.parametrize("text", ODD_TEXTS, ids=lambda text: ascii(text[:8]))
def test_odd_ids_are_kept_as_they_are_or_refused(text, tmp_path):
    with hashdb.build(tmp_path / "a.hashdb", ROWS[:1], method="lsh", n_bits=N_BITS, ids=["first"]) as index:
        said = judge(lambda: index.add(ROWS[1:2], ids=[text]), n_bytes=len(text.encode("utf-8", "surrogatepass")))
        is_allowed = 0 < len(text) < 1025 and "\0" not in text and not any(0xD800 <= ord(one) < 0xE000 for one in text)
        assert (said is None) == is_allowed
        for use in (index.get, lambda ids: index.query_ids(ids, k=1), index.delete):
            found = judge(lambda use=use: use([text]), n_bytes=0)
            assert (found is None) == is_allowed
        assert len(index) == 1


def test_ids_that_look_alike_are_distinct(tmp_path):
    n = len(ALIKE)
    assert len(set(ALIKE)) == n
    with hashdb.build(tmp_path / "a.hashdb", ROWS[:n], method="lsh", n_bits=N_BITS, ids=list(ALIKE)) as index:
        codes = index.encode(ROWS[:n])
        for row, text in enumerate(ALIKE):
            assert np.array_equal(index.get([text]), codes[row : row + 1])
        assert index.delete(["a"]) == 1
        assert len(index) == n - 1
        assert index.get(["а"]).shape == (1, 1)  # Cyrillic


@given(st.lists(st.text(max_size=12) | st.binary(max_size=8).map(lambda raw: raw.decode("latin-1")), max_size=6))
@quickly(max_examples=60)
def test_any_text_is_an_id_or_refused_and_comes_back(strings, texts):
    def lookup() -> None:
        strings.get(texts)

    assert (judge(lookup, n_bytes=1000) is None) == (not texts or all(text in WERE for text in texts))


WERE = {f"id {n}" for n in range(40)}
THINGS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.binary(max_size=9)
    | st.complex_numbers()
)


@pytest.mark.parametrize("n", [200, pytest.param(20_000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_ids_of_any_type_are_integers_or_strings_or_refused(n, record_property):
    tried = 0

    @given(
        st.recursive(
            THINGS,
            lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=8,
        )
    )
    @quickly(max_examples=n)
    def normalise(value: Any) -> None:
        nonlocal tried
        tried += 1
        found: list[Any] = []
        if judge(lambda: found.append(normalise_ids(value)), n_bytes=10_000) is None:
            assert isinstance(found[0], list) or found[0].dtype == np.int64
            assert all(isinstance(one, str) for one in found[0]) or isinstance(found[0], np.ndarray)

    normalise()
    record_property("hostile values tried", tried)


@pytest.mark.parametrize(
    "ids",
    [
        *(
            [10**5000],
            [-(10**5000)],
            [2**63],
            [-(2**63) - 1],
            [LONG, 1],
            [1, LONG],
            [b"x" * 10_000_000],
            {1, 2},
            [[1]],
            [np.nan],
        ),
        *(
            np.array([1 + 2j]),
            np.array([object()]),
            np.zeros((2, 2), int),
            np.array([b"\xff"]),
            np.array([2**64 - 1], np.uint64),
        ),
    ],
    ids=lambda ids: type(ids).__name__,
)
def test_ids_beyond_the_kinds_are_refused(integers, ids):
    for use in (normalise_ids, integers.get, integers.delete):
        assert judge(lambda use=use: use(ids), n_bytes=0, floor=1 << 30) is not None


# ---- vectors

INF, TINY, HUGE = np.float32(np.inf), np.float32(1e-45), np.finfo(np.float32).max


def test_vectors_that_are_not_finite_are_refused_wherever_they_come_in(integers, tmp_path):
    for bad in (np.nan, INF, -INF):
        rows = ROWS[:3].copy()
        rows[1, 2] = bad
        for use in (
            integers.query,
            integers.encode,
            integers.add,
            lambda rows: integers.query_radius(rows, 3),
            lambda rows: hashdb.build(tmp_path / "a.hashdb", rows, method="lsh", n_bits=8),
            lambda rows: hashdb.fit(rows, "itq", 4),
        ):
            with pytest.raises(ArgumentError, match=r"row 1, column 2\b"):
                use(rows)
    assert not (tmp_path / "a.hashdb").exists()
    assert len(integers) == 40


@pytest.mark.parametrize("value", [TINY, -TINY, HUGE, -HUGE, np.float32(1e30), 0.0, -0.0])
def test_vectors_at_the_ends_of_float32_give_answers_without_a_warning(integers, value):
    rows = np.full((2, DIM), value, np.float32)
    rows[1, ::2] *= -1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert integers.query(rows, k=3).ids.shape == (2, 3)
        for metric in ("cosine", "l2", "ip"):
            scored = integers.query(rows, k=3, rescore=4, metric=metric)
            assert scored.ids.shape == (2, 3)
            assert not np.isnan(scored.distances).any()


@pytest.mark.parametrize(
    "vectors",
    [
        *(
            np.array([[object()] * DIM]),
            np.zeros((1, DIM), complex),
            np.zeros((1, DIM), "U3"),
            np.zeros((1, DIM), "M8[s]"),
        ),
        *(np.zeros((1, DIM, 1)), np.zeros((1, DIM + 1)), np.zeros((1, 0)), np.float32(3), [[1, 2], [3]], [["a"] * DIM]),
        *([[10**400] * DIM], [[1e400] * DIM], {"x": 1}, {1, 2}, None, 7, lambda: 1, "", "/", "\0", LONG, "a\nb.npy"),
        *(np.zeros(1, [("a", "f4"), ("b", "i4")]), np.full((1, DIM), 1e39), np.array([[2**64] * DIM], dtype=object)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_queries_of_any_kind_are_refused_in_one_line(integers, vectors):
    said = judge(lambda: integers.query(vectors, k=1), n_bytes=0, floor=1 << 30, max_message=MOST)
    assert said is not None


@given(st.data())
@quickly(max_examples=60)
def test_queries_of_any_numbers_give_ordered_answers_or_are_refused(integers, data):
    n_columns = data.draw(st.sampled_from([0, 1, DIM, DIM, DIM, DIM + 1]))
    rows = data.draw(
        st.lists(
            st.lists(st.floats() | st.integers(-(2**70), 2**70), min_size=n_columns, max_size=n_columns), max_size=3
        )
    )

    def ask() -> None:
        found = integers.query(rows, k=3)
        assert (np.diff(found.distances, axis=1) >= 0).all()

    judge(ask, n_bytes=10_000)


@pytest.mark.parametrize(
    "k", [0, -1, 2**31, 2**63, 10**5000, 1.5, np.nan, "3", None, True, [1], LONG], ids=lambda k: str(type(k))
)
def test_k_and_radius_and_threads_beyond_measure_are_refused_or_bounded(integers, k):
    for use in (
        lambda: integers.query(ROWS[:1], k=k),
        lambda: integers.query_radius(ROWS[:1], k),
        lambda: integers.query(ROWS[:1], k=2, rescore=k),
        lambda: integers.query(ROWS[:1], k=2, n_threads=k),
        lambda: hashdb.open(integers.path, version=k).close(),
    ):
        judge(use, n_bytes=0, max_message=MOST)


# ---- names


@pytest.mark.parametrize("text", [text[:200_000] for text in ODD_TEXTS], ids=lambda text: ascii(text[:8]))
def test_names_of_any_kind_are_refused_in_one_line(integers, text, tmp_path):
    target = tmp_path / "a.hashdb"

    def build(**options: Any) -> None:
        hashdb.build(target, ROWS, **{"method": "lsh", "n_bits": 8, **options}).close()

    uses = (
        lambda: build(method=text),
        lambda: build(quantiser=text),
        lambda: build(encoder=text),
        lambda: build(metric=text),
        lambda: build(normalise=text),
        lambda: build(store_vectors=text),
        lambda: build(input_type=text),
        lambda: build(params={text: 1}),
        lambda: build(params={"encoder.x": text}),
        lambda: build(modality=text, store=text) if text else build(normalise=text),
        lambda: build(labels=text) if text else build(normalise=text),
        lambda: build(database_codes=text),
        lambda: integers.query(ROWS[:1], modality=text) if text else build(normalise=text),
        lambda: integers.query(ROWS[:1], metric=text or "?", rescore=2),
        lambda: hashdb.open(integers.path, check=text),
        lambda: hashdb.open(text),
        lambda: hashdb.verify(text),
        lambda: open_vectors(text),
        lambda: open_vectors(f"{integers.path}/zarr.json::{text}", format="jsonl"),
        lambda: open_vectors("a.npy", format=text),
        lambda: read_ids(text),
        lambda: read_labels(text),
    )
    for number, use in enumerate(uses):
        said = judge(use, n_bytes=0, floor=1 << 30, paths=(str(integers.path),), max_message=MOST)
        assert said is not None, number
        assert not target.exists()


def cli(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "hashdb", *arguments], capture_output=True, check=False, timeout=120)


# What a command line can hold: no NUL, 128 KiB, bytes that are no UTF-8.
WORDS = ("", "x" * 100_000, "\x1b[2J\x07", "\udcff\udcfe", "9" * 5000, "a\nb", "\u202egnp", "-" * 50, "--", "a=\x07")


@pytest.mark.parametrize("n", [5, pytest.param(len(WORDS), marks=pytest.mark.slow)])
def test_the_command_line_says_one_short_line_whatever_it_is_given(path, n):
    index, new = str(path / "i.hashdb"), path / "n.hashdb"
    for text in WORDS[:n]:
        for arguments in (("query", index, "--id", text), ("build", new, text, "--method", text, "--param", text)):
            done = cli(*map(str, arguments))
            assert done.returncode in (1, 2), done.stderr[-300:]
            assert b"Traceback" not in done.stderr
            assert b"\x1b" not in done.stderr
            assert len(done.stderr) < 1500
        assert not new.exists()


def test_the_oracle_sees_what_it_should():
    with pytest.raises(BrokenPromise, match="a warning"):
        judge(lambda: warnings.warn("x", stacklevel=1), n_bytes=0)
    with pytest.raises(BrokenPromise, match="control"):
        check_message("a\x1b[2J")
    with pytest.raises(BrokenPromise, match="characters"):
        check_message("a" * 501)
    tracemalloc.start()
    try:
        with pytest.raises(BrokenPromise, match="memory"):
            judge(lambda: np.empty(32 * MIB, np.uint8), n_bytes=0)
    finally:
        tracemalloc.stop()
    with pytest.raises(ZeroDivisionError):
        judge(lambda: 1 / 0, n_bytes=0)
    error = HashDBError("a\x1b" + LONG)
    check_message(str(error), most=MOST)
