"""Whatever fails while bucket tables are made leaves the version before or the one after, and nothing else."""

import errno
import os

import numpy as np
import pytest
from storage_kit import Crash, SortingMaker, Unsynced, Watched, check_tables, make_codes, new_index, put, raw_content
from tables_kit import check_after, listing, names_of, opened

from hashdb.errors import ArgumentError, IndexNotFoundError, StorageError
from hashdb.storage import Store, verify

ERRORS = {
    "error": lambda: OSError(errno.EIO, os.strerror(errno.EIO)),
    "full": lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "interrupt": KeyboardInterrupt,
    "crash": Crash,
}
OPERATIONS = {
    "compact": lambda store: store.compact(),
    "prune": lambda store: store.compact(prune=True),
    "add": lambda store: put(store, make_codes(2, seed=7)),
}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", ["error", "interrupt", "crash"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_fault_leaves_the_old_version_or_the_new_one(start, tmp_path, name, error, after):
    path = tmp_path / "count"
    start(path)
    before, files = raw_content(path), Watched()
    with opened(path, SortingMaker(), files=files) as store:
        OPERATIONS[name](store)
        versions = (3, store.snapshot.version)
    new, log, at = raw_content(path), files.log, files.log.index("link")
    for point in sorted({*range(1 + after, len(log), 11), *range(at - 2, at + 3)}):
        path = tmp_path / f"{point}"
        start(path)
        try:
            with opened(path, SortingMaker(), files=Watched(point, ERRORS[error], after)) as store:
                OPERATIONS[name](store)
        except (StorageError, KeyboardInterrupt, Crash):
            linked = point > at or (after and point == at)
            newest = sorted((path / "manifests").glob("0*.json"))[-1]
            assert int(newest.stem) == versions[linked], (point, log[point])
            assert raw_content(path) == (new if linked else before), (point, log[point])
        else:
            assert log[point] in ("unlink", "rmdir", "close"), (point, log[point])
            assert raw_content(path) == new
        check_after(path, SortingMaker())


@pytest.mark.parametrize("name", ["compact", "add"])
def test_what_a_failed_commit_wrote_is_removed(start, tmp_path, name):
    start(tmp_path / "count")
    files = Watched()
    with opened(tmp_path / "count", SortingMaker(), files=files) as store:
        OPERATIONS[name](store)
    for point, effect in enumerate(files.log[: files.log.index("link") + 1]):
        if effect not in ("write", "fsync", "fsync_folder", "rename", "link") or (point % 3 and effect != "rename"):
            continue
        path = tmp_path / f"{point}"
        start(path)
        before = listing(path)
        watched = Watched(point, ERRORS["full"])
        with opened(path, SortingMaker(), files=watched) as store, pytest.raises(StorageError, match="full"):
            OPERATIONS[name](store)
        assert listing(path) == before, (point, effect)
        assert no_handle_below(path)


def no_handle_below(path):
    """Whether this process has no file of a folder open, where that can be told."""
    if not os.path.isdir("/proc/self/fd"):
        return True
    for handle in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{handle}").startswith(str(path)):
                return False
        except FileNotFoundError:
            continue
    return True


@pytest.mark.parametrize("error", ["full", "interrupt"])
@pytest.mark.parametrize("n_threads", [0, 2])
def test_a_failed_build_leaves_no_index_and_can_be_repeated(tmp_path, error, n_threads):
    def build(path, files):
        return new_index(path, make_codes(5), [3, 1, 4, 2, 9], files=files, tables=SortingMaker(n_threads=n_threads))

    files = Watched()
    build(tmp_path / "count", files).close()
    linked = files.log.index("link")
    # Each of the four runs takes points of its own; those around the tables and the link are what matters.
    for point in range(3 + n_threads + (error == "full"), linked + 1, 4):
        path = tmp_path / f"{point}"
        watched = Watched(point, ERRORS[error])
        with pytest.raises((StorageError, KeyboardInterrupt)):
            build(path, watched)
        assert not path.exists() or not list(path.iterdir())
        assert watched.log[point] == "close" or no_handle_below(path)
        with pytest.raises(IndexNotFoundError):
            Store.open(path)
        with build(path, Unsynced()) as store:
            check_tables(store, SortingMaker())


@pytest.mark.parametrize("n_threads", [0, 3])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, MemoryError])
def test_a_maker_that_fails_leaves_nothing(start, tmp_path, n_threads, error):
    def fail(pieces):
        if pieces == 9:
            raise error("stop")

    path = tmp_path / "i"
    start(path)
    before = listing(path)
    for operation in (OPERATIONS["compact"], lambda store: put(store, make_codes(4))):
        maker = SortingMaker(3, n_threads=n_threads, during=fail)
        with opened(path, maker) as store, pytest.raises(error):
            operation(store)
        assert listing(path) == before
        assert no_handle_below(path)
    maker = SortingMaker(3, n_threads=n_threads, during=fail)
    with pytest.raises(error):
        new_index(tmp_path / "new", make_codes(9), tables=maker)
    assert not (tmp_path / "new").exists()


def test_a_thread_that_writes_on_after_a_failure_gets_an_error(tmp_path):
    class Leaky(SortingMaker):
        def make(self, blocks, n_bits, begin, progress=None):
            self.sink, self.begin = begin(0), begin
            self.sink.append("rows", np.arange(9, dtype=np.uint32))
            raise RuntimeError("stop")

    maker = Leaky()
    with pytest.raises(RuntimeError):
        new_index(tmp_path / "i", make_codes(9), tables=maker)
    with pytest.raises(StorageError, match="given up"):
        maker.sink.append("rows", np.arange(9, dtype=np.uint32))
    with pytest.raises(StorageError, match="given up"):
        maker.sink.finish({})
    with pytest.raises(StorageError, match="given up"):
        maker.begin(1)


ROWS = np.arange(9, dtype=np.uint32)
WRONG = {
    "unfinished": lambda begin: begin(0).append("rows", ROWS),
    "nothing": lambda begin: begin(0).finish({}),
    "twice": lambda begin: [begin(0), begin(0)],
    "too many": lambda begin: begin(64),
    "negative": lambda begin: begin(-1),
    "name": lambda begin: begin(0).append("Rows", ROWS),
    "reserved": lambda begin: begin(0).append("c", ROWS),
    "dtype": lambda begin: begin(0).append("rows", ROWS.astype("datetime64[s]")),
    "scalar": lambda begin: begin(0).append("rows", np.uint32(1)),
    "mixed": lambda begin: [(sink := begin(0)).append("rows", ROWS), sink.append("rows", ROWS.astype(np.uint64))],
    "shapes": lambda begin: [(sink := begin(0)).append("rows", ROWS), sink.append("rows", ROWS.reshape(-1, 1))],
    "description": lambda begin: [(sink := begin(0)).append("rows", ROWS), sink.finish({"x": float("nan")})],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_maker_that_errs_is_told(tmp_path, name):
    class Wrong(SortingMaker):
        def make(self, blocks, n_bits, begin, progress=None):
            WRONG[name](begin)

    with pytest.raises(ArgumentError):
        new_index(tmp_path / "i", make_codes(9), tables=Wrong())
    assert not (tmp_path / "i").exists()


def test_an_empty_array_and_no_table_at_all(tmp_path):
    class Sparse(SortingMaker):
        def make(self, blocks, n_bits, begin, progress=None):
            if len(blocks[0]) == 9:
                sink = begin(0)
                sink.append("keys", np.empty((0, 3), np.uint64))
                sink.finish({})

    store = new_index(tmp_path / "i", make_codes(9), tables=Sparse())
    assert store.snapshot.segments[0].tables.tables[0].arrays["keys"].shape == (0, 3)
    put(store, make_codes(8))
    assert names_of(store) == [["0"], []]
    assert verify(tmp_path / "i", deep=True).ok
