"""Bucket tables are made with segments and by compact, stored, and read lazily."""

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import storage_kit
import zarr
from storage_kit import (
    SortingMaker,
    Unsynced,
    check_table,
    check_tables,
    content,
    expected,
    make_codes,
    new_index,
    put,
    raw_content,
)
from tables_kit import IDS, entries_of, files_of, folders, listing, named, names_of, opened, rewrite, segment_of

from hashdb.errors import CorruptIndexError
from hashdb.storage import Sizes, Store, mapping, verify
from hashdb.storage.documents import group_json

# ---- written and read


@pytest.mark.parametrize("layout", ["wide", "lean"])
@pytest.mark.parametrize("directory", ["direct", "sparse"])
@pytest.mark.parametrize("n_threads", [0, 2])
def test_a_build_has_tables_that_come_back(tmp_path, layout, directory, n_threads):
    maker = SortingMaker(4, layout=layout, directory=directory, n_threads=n_threads)
    codes = make_codes(40, 100)
    store = new_index(tmp_path / "i", codes, IDS, n_bits=100, tables=maker, sizes=Sizes(chunk_bytes=64 * 16))
    assert maker.asked == [(40, 100, None)]
    assert names_of(store) == [["0", "1", "2", "3"]]
    check_tables(store, maker)
    with opened(tmp_path / "i", check="full") as again:
        check_tables(again, maker)
        (segment,) = again.snapshot.segments
        assert segment.tables is segment.tables
        sizes = [sum(file.stat().st_size for file in files_of(tmp_path / "i")) - len(group_json())]
        assert [segment.sizes()["tables"]] == [segment.tables.n_bytes] == sizes
        for table in segment.tables.tables:
            for array in table.arrays.values():
                assert array.flags.c_contiguous
                assert not array.flags.writeable
    assert verify(tmp_path / "i", deep=True).ok
    assert content(store) == raw_content(tmp_path / "i") == expected(IDS, codes)


def test_zarr_alone_reads_tables(tmp_path):
    codes = make_codes(40)
    store = new_index(tmp_path / "i", codes, IDS, tables=SortingMaker())
    buckets = zarr.open_group(tmp_path / "i", mode="r")[f"segments/{store.snapshot.segments[0].uuid}/buckets"]
    order = np.argsort(IDS)
    assert sorted(name for name, _ in buckets.groups()) == ["0", "1"]
    for name in "01":
        document = json.loads((tmp_path / "i" / buckets.path / name / "table.json").read_text())
        arrays = {key: buckets[name][key][:] for key in document["arrays"]}
        check_table(document["description"], arrays, codes[order])


@pytest.mark.parametrize(("mmap", "tracked"), [(True, False), (True, True), (False, False)])
def test_large_tables_come_back_with_and_without_mapping(tmp_path, mmap, tracked, monkeypatch):
    if tracked:  # where each mapping holds a descriptor
        monkeypatch.setattr(mapping, "untracked_map", lambda: None)
    maker = SortingMaker(2, n_key_bits=12)
    new_index(tmp_path / "i", make_codes(200_000), tables=maker, files=Unsynced()).close()
    with opened(tmp_path / "i", mmap=mmap) as store:
        check_tables(store, maker)
        arrays = store.snapshot.segments[0].tables.tables[0].arrays
        store.close()
        assert len(arrays["codes"]) == 200_000


def test_adds_and_their_merges_have_tables(tmp_path):
    maker = SortingMaker()
    store = new_index(tmp_path / "i", make_codes(4, seed=0), tables=maker, files=Unsynced())
    for i in range(1, 7):
        put(store, make_codes(4, seed=i))
    assert names_of(store) == [["0", "1"]] * 7
    check_tables(store, maker)
    store.commit_delete([1, 9])
    assert names_of(store) == [["0", "1"]] * 7
    put(store, make_codes(4, seed=7))
    assert names_of(store) == [["0", "1"]]
    assert store.snapshot.segments[0].n == 30
    check_tables(store, maker)
    assert content(store) == raw_content(tmp_path / "i")
    assert {uuid for uuid, _ in folders(tmp_path / "i")} == {uuid for uuid, _ in named(tmp_path / "i")}


def test_only_segments_that_the_maker_wants_get_tables(tmp_path):
    store = new_index(tmp_path / "i", make_codes(40), tables=SortingMaker(least=10))
    put(store, make_codes(3))
    assert names_of(store) == [["0", "1"], []]
    assert [segment.tables is None for segment in store.snapshot.segments] == [False, True]
    assert [segment.tables_problem for segment in store.snapshot.segments] == [None, None]
    assert ["tables" in segment.sizes() for segment in store.snapshot.segments] == [True, False]


def test_without_a_maker_nothing_changes(tmp_path):
    store = new_index(tmp_path / "i", make_codes(40))
    assert entries_of(store) == [()]
    assert not store.compact().committed
    assert not folders(tmp_path / "i")


def test_progress_of_making_tables(tmp_path):
    store = new_index(tmp_path / "i", make_codes(5), tables=SortingMaker())
    writer = store.new_segment()
    writer.append(make_codes(4))
    seen = []
    store.commit_add(writer.finish(progress=lambda done, total: seen.append((done, total))))
    assert seen == [(1, 2), (2, 2)]


# ---- compact


def test_compact_makes_tables_for_what_it_merges_and_for_what_stays(tmp_path):
    path, maker = tmp_path / "i", SortingMaker()
    store = new_index(path, make_codes(9), list(range(9)), modality="a")
    put(store, make_codes(5, seed=1), modality="b")
    put(store, make_codes(5, seed=2), modality="b")
    before = content(store)
    stays = store.snapshot.segments[0].uuid
    kept = {file: file.read_bytes() for file in sorted((path / "segments" / stays).rglob("*")) if file.is_file()}
    with opened(path, maker) as again:
        seen = []
        report = again.compact(progress=lambda done, total: seen.append((done, total)))
        assert (report.committed, report.n_segments) == (True, 2)
        assert again.snapshot.segments[0].uuid == stays
        check_tables(again, maker)
        assert content(again) == raw_content(path) == before
        assert seen[-1] == (2, 2)
        assert maker.made == 2
        assert not again.compact().committed
        assert maker.made == 2
    assert {file: file.read_bytes() for file in kept} == kept
    assert verify(path, deep=True).ok
    with opened(path, version=3) as old:
        assert entries_of(old) == [(), (), ()]
    # without a maker they stay
    with opened(path) as plain:
        assert not plain.compact().committed
        plain.commit_delete([0])
        check_tables(plain, maker)


def test_compact_replaces_tables_that_are_not_what_the_maker_wants(tmp_path):
    path = tmp_path / "i"
    new_index(path, make_codes(9), tables=SortingMaker(2), files=Unsynced()).close()
    other = SortingMaker(3, n_key_bits=3)
    with opened(path, other) as store:
        old = store.snapshot
        assert store.compact().committed
        assert names_of(store) == [["2", "3", "4"]]
        assert other.asked == [(9, 64, [SortingMaker(2).describe(s) for s in range(2)])]
        check_tables(store, other)
        assert len(old.segments[0].tables.tables) == 2
    with opened(path, version=1) as old:
        check_tables(old, SortingMaker(2))
    assert {name for _, name in folders(path)} == set("01234")


def test_compact_checks_codes_before_it_makes_tables_of_them(tmp_path):
    path = tmp_path / "i"
    new_index(path, make_codes(9)).close()
    (file,) = path.glob("segments/*/codes/c/0/0")
    file.write_bytes(bytes(len(file.read_bytes())))
    before = listing(path)
    with opened(path, SortingMaker()) as store, pytest.raises(CorruptIndexError) as caught:
        store.compact()
    assert caught.value.path == file
    assert listing(path) == before


def test_tables_of_kinds_that_we_do_not_know_are_kept(tmp_path):
    path = tmp_path / "i"
    unknown = {"kind": "graph", "name": "7", "links": [1, {"é": None}]}
    new_index(path, make_codes(9)).close()
    rewrite(path, lambda manifest: manifest["segments"][0]["tables"].append(unknown))
    (path / "segments" / segment_of(path) / "buckets" / "7").mkdir(parents=True)
    maker = SortingMaker()
    with opened(path, maker) as store:
        assert store.snapshot.segments[0].tables is None
        assert store.snapshot.segments[0].tables_problem is None
        assert "tables" not in store.snapshot.segments[0].sizes()
        store.commit_delete([3])
        assert entries_of(store) == [(unknown,)]
        put(store, make_codes(3))
        assert store.compact().committed  # rewritten: theirs are gone, as a writer that does not know them must do
        assert names_of(store) == [["0", "1"]]
    new_index(tmp_path / "j", make_codes(9)).close()
    rewrite(tmp_path / "j", lambda manifest: manifest["segments"][0]["tables"].append(unknown))
    with opened(tmp_path / "j", maker) as store:
        assert store.compact(grace=0).committed
        assert names_of(store) == [["7", "8", "9"]]
        assert entries_of(store)[0][0] == unknown
        check_tables(store, maker)


# ---- descriptors


def test_many_chunks_and_tables_work_with_few_open_files(tmp_path):
    path = tmp_path / "i"
    n, sizes = 70 * 16_448, Sizes(chunk_bytes=16_448 * 64)  # chunks of more than 1 MiB: each is mapped
    with Store.create(
        path, id_kind="int64", n_bits=512, n_stored_bits=512, sizes=sizes, files=Unsynced(), tables=SortingMaker()
    ) as store:
        writer = store.new_segment()
        for seed in range(70):
            writer.append(make_codes(n // 70, 512, seed))
        store.commit_build(None, writer.finish())
    program = textwrap.dedent(
        f"""
        import resource, sys
        sys.path.insert(0, {os.path.dirname(storage_kit.__file__)!r})
        import numpy as np
        from storage_kit import SortingMaker, Unsynced
        from hashdb.storage import Store
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
        with Store.open({str(path)!r}, files=Unsynced(), tables=SortingMaker(3, layout="lean")) as store:
            (segment,) = store.snapshot.segments
            blocks = segment.code_blocks
            arrays = [table.arrays for table in segment.tables.tables]
            print(len(blocks) > 60, len(arrays), sum(map(len, blocks)) == {n})
            print(all(np.array_equal(a["codes"][5], blocks[0][a["rows"][5]]) for a in arrays if a["rows"][5] < 16448))
            store.compact()
            print(len(store.snapshot.segments[0].tables.tables), store.verify(deep=True).ok)
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
    assert done.stdout.split() == ["True", "2", "True", "True", "3", "True"], done.stderr
