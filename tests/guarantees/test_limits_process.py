"""A process that may have little: files, memory, a home to write to. It works, or one line says what is short."""

from __future__ import annotations

import numpy as np
import pytest

import hashdb
from guarantees.limited import check_one_line, hashdb_command, python, rows_of
from hashdb.memory import least_bytes

FEW_FILES = """
import json, resource
import numpy as np
import hashdb
from hashdb.search import layouts
layouts.MIN_ROWS = 256
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
path, n_adds = sys.argv[1] + "/a.hashdb", int(sys.argv[2])
rows = np.random.default_rng(0).standard_normal((3000 + 40 * n_adds, 16)).astype(np.float32)
with hashdb.build(path, rows[:3000], method="lsh", n_bits=24, store_vectors="float32") as index:
    for first in range(3000, len(rows), 40):
        index.add(rows[first : first + 40], auto_compact=False)
with hashdb.open(path) as index:
    segments = index.info()["segments"]
    ask = rows[::97]
    index.query_radius(ask, 2)
    own = [int(ids[0]) for ids in index.query(ask, k=1, rescore=50, metric="l2").ids]
    deleted = index.delete(list(range(0, len(rows), 3)))
    index.compact(prune=True)
    problems = index.verify(deep=True).problems
    after = index.query(ask, k=5).ids.tolist()
print(json.dumps({"segments": segments if isinstance(segments, int) else len(segments),
                  "own": own == list(range(0, len(rows), 97)), "deleted": deleted, "problems": problems,
                  "left": all(one % 3 for ids in after for one in ids)}))
"""


def test_an_index_of_many_segments_with_tables_is_used_with_64_open_files(tmp_path, record_property):
    ended = python(FEW_FILES, tmp_path, 60)
    assert ended.code == 0, ended.err[-2000:]
    assert ended.json == [{"segments": 61, "own": True, "deleted": 1800, "problems": [], "left": True}]
    record_property("resource limits tried", 1)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with rows, queries, an index with bucket tables, and what it answers."""
    folder = tmp_path_factory.mktemp("place")
    np.save(folder / "rows.npy", rows_of(70_000, 32))
    np.save(folder / "some.npy", rows_of(200, 32, seed=1))
    with hashdb.build(folder / "a.hashdb", folder / "rows.npy", method="itq", n_bits=32) as index:
        found = index.query(folder / "some.npy", k=5)
    np.savez(folder / "expected.npz", ids=found.ids, distances=found.distances)
    return folder


def check_answer(folder, file):
    with np.load(file) as found, np.load(folder / "expected.npz") as expected:
        assert np.array_equal(found["ids"], expected["ids"])
        assert np.array_equal(found["distances"], expected["distances"])


def limit_memory(n_bytes):
    return f"ulimit -v {n_bytes >> 10}"


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_less_memory_than_the_libraries_need_is_refused_at_once(place, share, record_property):
    limits = limit_memory(int(least_bytes() * share))
    for step in [("build", place / "b.hashdb", place / "rows.npy"), ("query", place / "a.hashdb", place / "some.npy")]:
        check_one_line(hashdb_command(*step, limits=limits, timeout=30), "address space (ulimit -v)", "raise the limit")
    assert not (place / "b.hashdb").exists()
    record_property("resource limits tried", 2)


def test_the_library_refuses_too_little_memory_too(place, record_property):
    program = """
    import resource
    import numpy as np
    import hashdb
    limit = int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    rows = np.zeros((100, 8), np.float32)
    path = sys.argv[1]
    for work in [lambda: hashdb.open(path), lambda: hashdb.build(path + "2", rows), lambda: hashdb.fit(rows)]:
        try:
            work()
        except hashdb.errors.OutOfMemoryError as error:
            assert isinstance(error, MemoryError)
            print(json.dumps(str(error)))
    """
    ended = python(program, place / "a.hashdb", least_bytes() - 1)
    assert len(ended.json) == 3, ended.err
    assert all("ulimit -v" in said for said in ended.json)
    record_property("resource limits tried", 3)


@pytest.mark.parametrize("cache", ["filled", pytest.param("empty", marks=pytest.mark.slow)])
def test_the_memory_that_is_asked_for_is_enough_to_build_add_and_query(cache, place, tmp_path, record_property):
    limits = limit_memory(least_bytes() + 1023)
    path = tmp_path / "b.hashdb"
    shared = {"limits": limits}
    if cache == "empty":  # the kernels are compiled as well, which takes memory
        shared["NUMBA_CACHE_DIR"] = tmp_path / "cache"
    for step in [
        ("build", path, place / "rows.npy", "--method", "itq", "--bits", "32"),
        ("query", path, place / "some.npy", "-k", "5", "--output", tmp_path / "o.npz"),
        ("add", path, place / "some.npy"),
        ("delete", path, "3"),
        ("compact", path),
        ("verify", path, "--deep"),
    ]:
        ended = hashdb_command(*step, **shared)
        assert (ended.code, ended.err) == (0, ""), (step, ended)
    check_answer(place, tmp_path / "o.npz")
    record_property("resource limits tried", 6)


def test_more_than_memory_holds_is_one_line_and_the_index_is_whole(place, record_property):
    """What is asked for in one call is not bounded by hashdb: here k is the whole index, for many queries."""
    path = place / "a.hashdb"
    step = ("query", path, place / "rows.npy", "-k", "70000", "--json")
    ended = hashdb_command(*step, limits=limit_memory(least_bytes() + (1 << 20)), timeout=200)
    check_one_line(ended, "out of memory", "ask for less at once")
    assert hashdb.verify(path, deep=True).problems == []
    record_property("resource limits tried", 1)


# ---- the cache of compiled kernels


NO_HOME = """
from hashdb.search import scan
scan.use_kernels()
index, folder = sys.argv[1:]
print(json.dumps(command("query", index, folder + "/some.npy", "-k", "5", "--output", folder + "/o.npz")))
"""


@pytest.mark.slow  # tests/search/test_kernel_cache.py has a quick one
@pytest.mark.parametrize("home", ["missing", "not writable", "below a file"])
def test_a_home_that_cannot_be_written_costs_time_and_nothing_else(place, home, tmp_path, record_property):
    """Neither the home, the cache folder, nor the package itself: the kernels are compiled in memory."""
    (tmp_path / "file").touch()
    folder = {"missing": "/nonexistent/home", "not writable": "/proc/self", "below a file": tmp_path / "file/x"}[home]
    with hashdb.build(tmp_path / "a.hashdb", rows_of(3000, 16), method="lsh", n_bits=64) as index:
        np.save(tmp_path / "some.npy", rows_of(20, seed=1))
        expected = index.query(tmp_path / "some.npy", k=5)
    ended = python(
        NO_HOME,
        *(tmp_path / "a.hashdb", tmp_path),
        HOME=folder,
        XDG_CACHE_HOME=folder,
        NUMBA_CACHE_DIR=folder,
        # As if the folder of the package could not be written either, whoever runs this.
        NUMBA_CACHE_LOCATOR_CLASSES="UserProvidedCacheLocator,UserWideCacheLocator",
    )
    assert (ended.code, ended.err) == (0, ""), ended.err
    assert [(found["code"], found["err"]) for found in ended.json] == [(0, "")]
    with np.load(tmp_path / "o.npz") as found:
        assert np.array_equal(found["ids"], expected.ids)
    record_property("resource limits tried", 1)
