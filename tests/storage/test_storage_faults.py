"""A failure at any file effect leaves exactly the old version or exactly the new one, and the next commit works."""

import errno
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from storage_kit import Crash, Unsynced, Watched, content, expected, make_codes, new_index, put, raw_content

from hashdb.errors import IndexExistsError, IndexNotFoundError, StorageError
from hashdb.storage import Files, Sizes, Store

IDS = list(range(0, 20, 2))


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Make an index with two segments, deletes and a model at a path."""
    master = tmp_path_factory.mktemp("master") / "i"
    with new_index(master, make_codes(10), IDS, model=({}, {"w": np.zeros(2)}), files=Unsynced()) as store:
        put(store, make_codes(3, seed=1), [101, 103, 105])
        store.commit_delete([4, 103])
    return lambda path: shutil.copytree(master, path)


OPERATIONS = {
    "add": lambda store: put(store, make_codes(2, seed=7), [50, 41]),
    "automatic add": lambda store: put(store, make_codes(2, seed=7)),
    "upsert": lambda store: put(store, make_codes(3, seed=7), [50, 2, 101], upsert=True),
    "delete": lambda store: store.commit_delete([0, 105]),
    "compact": lambda store: store.compact(),
    "prune": lambda store: store.compact(prune=True),
    "merging add": lambda store: [put(store, make_codes(1, seed=i)) for i in range(6)],
}


def effects_of(start, tmp_path, operation):
    path = tmp_path / "count"
    start(path)
    before = raw_content(path)
    files = Watched()
    with Store.open(path, files=files) as store:
        operation(store)
    return files.log, before, raw_content(path)


def check_after(path, allowed):
    """The index opens, is one of the allowed states, is sound, and takes another commit."""
    found = raw_content(path)
    assert found in allowed
    with Store.open(path, check="full", files=Unsynced()) as store:
        assert content(store) == found
        assert store.verify().problems == []
        (id_,) = put(store, make_codes(1, seed=99)).tolist()
        assert content(store) == {**found, id_: tuple(make_codes(1, seed=99)[0].tolist())}
        store.compact(grace=0)
        names = {entry.uuid for entry in store.snapshot.manifest.segments}
        for info in store.versions():
            with Store.open(path, version=info.version) as old:
                names |= {entry.uuid for entry in old.snapshot.manifest.segments}
    assert {name.name for name in (path / "segments").iterdir()} - {"zarr.json"} == names
    assert not list((path / "manifests").glob("*.tmp"))


ERRORS = {
    "error": lambda: OSError(errno.EIO, os.strerror(errno.EIO)),
    "full": lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "interrupt": KeyboardInterrupt,
    "crash": Crash,
}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("error", ["error", "interrupt", "crash"])
@pytest.mark.parametrize("name", [name for name in OPERATIONS if name != "merging add"])
def test_every_fault_leaves_the_old_version_or_the_new_one(start, tmp_path, name, error, after):
    log, before, new = effects_of(start, tmp_path, OPERATIONS[name])
    # The effects around the link, and a sample of the others.
    link = log.index("link")
    points = sorted({*range(1 + after, len(log), 7), *range(link - 2, link + 3)})
    for point in points:
        path = tmp_path / f"{point}"
        start(path)
        files = Watched(point, ERRORS[error], after)
        try:
            with Store.open(path, files=files) as store:
                OPERATIONS[name](store)
        except (StorageError, KeyboardInterrupt, Crash):
            linked = "link" in files.log[: point + (after or log[point] != "link")]
            assert raw_content(path) == (new if linked else before), (point, log[point])
        else:
            # Only what is swept up afterwards may fail unnoticed.
            assert log[point] in ("unlink", "rmdir", "close"), (point, log[point])
            assert raw_content(path) == new
        check_after(path, [before, new])


def test_a_fault_while_merging_leaves_whole_adds(start, tmp_path):
    log, before, _ = effects_of(start, tmp_path, OPERATIONS["merging add"])
    assert len(log) > 100
    for point in range(len(log) - 60, len(log), 6):
        path = tmp_path / f"{point}"
        start(path)
        try:
            with Store.open(path, files=Watched(point)) as store:
                OPERATIONS["merging add"](store)
        except StorageError:
            found = raw_content(path)
            assert set(found) - set(before) in [set(range(106, 106 + n)) for n in range(7)]
        check_after(path, [raw_content(path)])


@pytest.mark.parametrize("name", ["add", "upsert", "delete", "compact"])
def test_what_a_failed_commit_wrote_is_removed(start, tmp_path, name):
    log, *_ = effects_of(start, tmp_path, OPERATIONS[name])
    for point, effect in enumerate(log):
        if effect not in ("write", "fsync", "link") or "link" in log[:point]:
            continue
        path = tmp_path / f"{point}"
        start(path)
        listing = sorted(str(file) for file in path.rglob("*"))
        with Store.open(path, files=Watched(point, ERRORS["full"])) as store, pytest.raises(StorageError, match="full"):
            OPERATIONS[name](store)
        assert sorted(str(file) for file in path.rglob("*")) == listing


@pytest.mark.parametrize("error", ["error", "interrupt"])
def test_a_failed_build_leaves_no_index_and_can_be_repeated(start, tmp_path, error):
    def build(path, files):
        return new_index(path, make_codes(5), [3, 1, 4, 2, 9], model=({}, {"w": np.zeros(3)}), files=files)

    files = Watched()
    build(tmp_path / "count", files).close()
    for point, effect in enumerate(files.log):
        path = tmp_path / f"{point}"
        try:
            build(path, Watched(point, ERRORS[error])).close()
        except (StorageError, KeyboardInterrupt):
            if "link" not in files.log[:point]:
                assert not path.exists() or not list(path.iterdir())
                with pytest.raises(IndexNotFoundError):
                    Store.open(path)
                build(path, Unsynced()).close()
        else:
            assert effect in ("unlink", "close"), (point, effect)
        assert raw_content(path) == expected([3, 1, 4, 2, 9], make_codes(5))


def test_a_crashed_build_can_be_taken_over_at_any_point(start, tmp_path):
    files = Watched()
    new_index(tmp_path / "count", make_codes(5), files=files).close()
    for point in range(len(files.log)):
        path = tmp_path / f"{point}"
        with pytest.raises(Crash):
            new_index(path, make_codes(5), files=Watched(point, Crash)).close()
        try:
            new_index(path, make_codes(5), files=Unsynced()).close()
        except IndexExistsError:
            assert "link" in files.log[:point]
        assert len(raw_content(path)) == 5


def test_a_segment_writer_that_fails_removes_its_files(start, tmp_path):
    path = tmp_path / "i"
    start(path)
    listing = sorted(str(file) for file in path.rglob("*"))
    for ids in (None, [3, 1, 2]):
        files, sizes = Watched(5, ERRORS["full"]), Sizes(bucket_bytes=8)
        with Store.open(path, files=files, sizes=sizes) as store, pytest.raises(StorageError, match="the disk is full"):
            put(store, make_codes(3), ids)
        assert sorted(str(file) for file in path.rglob("*")) == listing


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EFBIG, "largest size"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission denied"),
        (errno.EIO, os.strerror(errno.EIO).lower()),
    ],
)
def test_errors_of_the_system_give_the_reason(start, tmp_path, code, said):
    start(tmp_path / "i")
    for point in (0, 2):
        files = Watched(point, lambda: OSError(code, os.strerror(code)))
        with Store.open(tmp_path / "i", files=files) as store, pytest.raises(StorageError, match=said) as caught:
            store.commit_delete([0])
        assert caught.value.errno == code


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_links_is_refused_with_the_reason(start, tmp_path, code):
    class NoLinks(Files):
        def link(self, source, target):
            raise OSError(code, os.strerror(code))

    start(tmp_path / "i")
    with Store.open(tmp_path / "i", files=NoLinks()) as store, pytest.raises(StorageError, match="no hard links"):
        store.commit_delete([0])
    assert len(raw_content(tmp_path / "i")) == 11


def test_a_flush_that_fails_after_the_link_says_that_the_commit_stands(start, tmp_path):
    class Forgetful(Files):
        linked = False

        def link(self, source, target):
            super().link(source, target)
            self.linked = True

        def fsync_folder(self, path):
            if self.linked:
                raise OSError(errno.EIO, "input/output error")
            super().fsync_folder(path)

    start(tmp_path / "i")
    with Store.open(tmp_path / "i", files=Forgetful()) as store:
        with pytest.raises(StorageError, match="is committed, but"):
            put(store, make_codes(1), [77])
        assert 77 in raw_content(tmp_path / "i")
        store.files = Unsynced()
        put(store, make_codes(1), [78])
    assert {77, 78} <= set(raw_content(tmp_path / "i"))


def test_a_full_disk_for_real(start, tmp_path):
    """A limit on the size of files, in a process of its own."""
    path = tmp_path / "i"
    start(path)
    before = sorted(str(file) for file in path.rglob("*"))
    program = textwrap.dedent(
        f"""
        import resource, signal, sys
        sys.path.insert(0, {str(os.path.dirname(__file__))!r})
        from storage_kit import make_codes, put
        from hashdb.errors import StorageError
        from hashdb.storage import Store
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        with Store.open({str(path)!r}) as store:
            try:
                put(store, make_codes(50_000))
            except StorageError as error:
                print(error)
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "largest size allowed" in done.stdout, done.stderr
    assert sorted(str(file) for file in path.rglob("*")) == before


def test_64_segments_work_with_64_open_files(start, tmp_path):
    path = tmp_path / "i"
    n = 2_100  # more than a small file has: every segment is mapped
    store = new_index(path, make_codes(n, 4096), list(range(0, 2 * n, 2)), n_bits=4096, files=Unsynced())
    for i in range(1, 64):
        first = i * 2 * n
        put(store, make_codes(n, 4096, seed=i), range(first, first + 2 * n, 2), auto_compact=False)
    store.close()
    program = textwrap.dedent(
        f"""
        import resource, sys
        sys.path.insert(0, {str(os.path.dirname(__file__))!r})
        from storage_kit import Unsynced
        from hashdb.storage import Store
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        with Store.open({str(path)!r}, files=Unsynced()) as store:
            segments = store.snapshot.segments
            n_codes = sum(len(block) for segment in segments for block in segment.code_blocks)
            found, rows = store.snapshot.rows_of([s.n * 2 * i for i, s in enumerate(segments)])
            batches = sum(len(ids) for ids, _ in store.snapshot.iter_id_order(1 << 20))
            print(len(segments), n_codes == 64 * {n}, found.tolist() == list(range(64)), batches == 64 * {n})
            store.compact(grace=0)
            print(len(store.snapshot.segments), store.snapshot.n_rows == 64 * {n})
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["64", "True", "True", "True", "1", "True"], done.stderr


# ---- flushes


def flushes(start, operation, path):
    start(path)
    files = Watched()
    with Store.open(path, files=files) as store:
        operation(store)
    return files.count("fsync"), files.count("fsync_folder")


def test_flushes_of_a_commit(start, tmp_path):
    """Every file and folder that a version needs once, and nothing else."""
    # segment.json, two zarr.json, a chunk, the manifest; four folders of the segment, the one above, manifests
    automatic = flushes(start, lambda store: put(store, make_codes(1000), auto_compact=False), tmp_path / "a")
    explicit = flushes(start, lambda store: put(store, make_codes(2), [50, 41], auto_compact=False), tmp_path / "b")
    delete = flushes(start, lambda store: store.commit_delete([0]), tmp_path / "c")
    assert (automatic, explicit, delete) == ((5, 6), (7, 8), (4, 5))


def test_everything_a_manifest_names_is_flushed_before_the_link(start, tmp_path):
    start(tmp_path / "i")
    files = Watched()
    with Store.open(tmp_path / "i", files=files) as store:
        OPERATIONS["upsert"](store)
    before, after = files.log[: files.log.index("link")], files.log[files.log.index("link") :]
    assert before.count("fsync") == before.count("create")
    assert before.count("fsync_folder") >= before.count("mkdir") + 1
    assert after[:2] == ["link", "fsync_folder"]
    assert "write" not in after


def test_storage_imports_no_zarr(tmp_path):
    """Opening, adding, deleting and reading are done without it; it costs a quarter of a second."""
    program = textwrap.dedent(
        f"""
        import sys
        import numpy as np
        from hashdb.storage import Store
        store = Store.create({str(tmp_path / "i")!r}, id_kind="int64", n_bits=64, n_stored_bits=64, settings={{}})
        writer = store.new_segment()
        writer.append(np.zeros((3, 1), np.uint64))
        store.commit_build(store.write_model({{}}, {{"w": np.zeros(2)}}), writer.finish())
        store.commit_delete([1])
        store.compact(prune=True)
        assert store.verify().ok
        print(sorted({{"zarr", "numba", "click", "pluggy"}} & set(sys.modules)))
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
