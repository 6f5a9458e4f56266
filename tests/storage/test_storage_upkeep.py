"""Merging, compacting, pruning, sweeping."""

import os
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_kit import Unsynced, Watched, content, expected, make_codes, new_index, put, raw_content, write

from hashdb.errors import ArgumentError, CorruptIndexError, VersionGoneError
from hashdb.storage import Sizes, Store, sweeping
from hashdb.storage.compaction import choose_merges, size_class


def age(path, seconds=7200):
    """Make a file or folder and all it holds look old."""
    then = time.time() - seconds
    for file in [path, *path.rglob("*")]:
        os.utime(file, (then, then))


# ---- which segments an add merges


@pytest.mark.parametrize(("n", "expected_class"), [(1, 0), (7, 0), (8, 1), (63, 1), (64, 2), (511, 2), (512, 3)])
def test_size_classes_are_powers_of_8(n, expected_class):
    assert size_class(n) == expected_class


def test_8_segments_of_a_class_become_one():
    assert choose_merges([("g", 5)] * 7) == []
    assert choose_merges([("g", 5)] * 8) == [list(range(8))]
    assert choose_merges([("g", 5)] * 4 + [("g", 50)] * 7) == []


def test_a_merge_may_bring_about_the_next():
    sizes = [("g", 9)] * 7 + [("g", 1)] * 8
    assert choose_merges(sizes) == [list(range(15))]


def test_only_segments_of_one_group_are_merged():
    assert choose_merges([("a", 5)] * 7 + [("b", 5)] * 7) == []
    assert choose_merges([("a", 5), ("b", 5)] * 8) == [list(range(0, 16, 2)), list(range(1, 16, 2))]


def test_segments_too_large_together_stay():
    assert choose_merges([("g", 1 << 30)] * 8) == []


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 5000)), max_size=150))
def test_at_most_64_segments_remain(sizes):
    chosen = choose_merges(sizes)
    merged = [index for indices in chosen for index in indices]
    assert len(set(merged)) == len(merged)
    assert len(sizes) - len(merged) + len(chosen) <= 64
    for indices in chosen:
        assert len({sizes[i][0] for i in indices}) == 1


def test_many_adds_leave_few_segments_and_the_same_rows(tmp_path):
    store = new_index(tmp_path / "i", make_codes(1, seed=0), files=Unsynced())
    for i in range(1, 200):
        put(store, make_codes(1, seed=i), pieces=1)
        assert len(store.snapshot.segments) <= 3 * 7
    assert raw_content(tmp_path / "i") == {i: tuple(make_codes(1, seed=i)[0].tolist()) for i in range(200)}
    # Ids of neighbours stay a range: merging stores none.
    assert all(entry.first_id is not None for entry in store.snapshot.manifest.segments)


def test_adds_without_merging_keep_their_segments(tmp_path):
    store = new_index(tmp_path / "i", files=Unsynced())
    for i in range(20):
        put(store, make_codes(1, seed=i), auto_compact=False)
    assert len(store.snapshot.segments) == 20


def test_a_merging_add_makes_one_version_and_removes_what_it_wrote_in_vain(tmp_path):
    store = new_index(tmp_path / "i", files=Unsynced())
    for i in range(8):
        put(store, make_codes(2, seed=i))
    assert store.snapshot.version == 9
    (segment,) = store.snapshot.segments
    names = {path.name for path in (tmp_path / "i" / "segments").iterdir()}
    assert segment.uuid in names
    assert len(names) == 9  # 7 of older versions, the merged one, zarr.json; the eighth add's own is gone


def test_merging_leaves_out_deleted_rows(tmp_path):
    store = new_index(tmp_path / "i", files=Unsynced())
    for i in range(7):
        put(store, make_codes(4, seed=i))
    store.commit_delete([1, 2, 9])
    before = content(store)
    (new,) = put(store, make_codes(4, seed=7)[:1]).tolist()
    after = content(store)
    assert len(store.snapshot.segments) == 1
    assert store.snapshot.segments[0].deleted is None
    assert after == {**before, new: tuple(make_codes(4, seed=7)[0].tolist())} == raw_content(tmp_path / "i")


def test_merging_keeps_modalities_and_policies_apart(tmp_path):
    store = new_index(tmp_path / "i", files=Unsynced())
    for i in range(8):
        for modality in ("image", "text"):
            put(store, make_codes(1, seed=i), modality=modality)
    found = sorted((segment.modality, segment.n) for segment in store.snapshot.segments)
    assert found == [("image", 8), ("text", 8)]


# ---- compact


@pytest.mark.parametrize("id_kind", ["int64", "string"])
@pytest.mark.parametrize("overlap", [True, False])
def test_compact_gives_one_segment_with_the_same_rows(tmp_path, id_kind, overlap):
    n = 40
    ids = list(range(3 * n)) if id_kind == "int64" else [f"{i:03}é" for i in range(3 * n)]
    parts = [ids[i::3] for i in range(3)] if overlap else [ids[i * n : (i + 1) * n] for i in range(3)]
    vectors = [np.random.default_rng(i).normal(size=(n, 3)).astype(np.float32) for i in range(3)]
    sizes = Sizes(chunk_bytes=64 * 8, merge_rows=16)
    options = {"id_kind": id_kind, "files": Unsynced(), "sizes": sizes}
    store = new_index(tmp_path / "i", make_codes(n), parts[0], vectors=vectors[0], **options)
    for i in (1, 2):
        put(store, make_codes(n, seed=i), parts[i], vectors=vectors[i])
    gone = [ids[5], ids[50], ids[99]]
    store.commit_delete(gone)
    before = content(store)
    seen = []
    report = store.compact(progress=lambda done, total: seen.append((done, total)))
    assert (report.committed, report.n_segments, report.n_segments_before, report.n_rows) == (True, 1, 3, 117)
    assert content(store) == raw_content(tmp_path / "i") == before
    assert seen[-1] == (117, 117)
    for part, own in zip(parts, vectors, strict=True):
        segments, rows = store.snapshot.rows_of(part)
        there = segments >= 0
        assert store.snapshot.segments[0].vectors_at(rows[there]).tolist() == own[there].tolist()
    assert not store.compact().committed


def test_compact_drops_a_lone_segments_deleted_rows(tmp_path):
    store = new_index(tmp_path / "i", make_codes(9), files=Unsynced())
    store.commit_delete([0, 8])
    assert store.compact().committed
    (entry,) = store.snapshot.manifest.segments
    assert (entry.n, entry.first_id, entry.deletes) == (7, 1, ())


def test_compact_verifies_what_it_merges_even_in_the_middle(tmp_path):
    store = new_index(tmp_path / "i", make_codes(9), [1, 5, 7, 8, 10, 11, 13, 20, 30])
    put(store, make_codes(1))
    (file,) = (tmp_path / "i").glob("segments/*/ids/c/0")
    file.write_bytes(file.read_bytes()[:-8] + b"\x40" + bytes(7))
    with Store.open(tmp_path / "i") as again, pytest.raises(CorruptIndexError) as caught:
        again.compact()
    assert caught.value.path == file


# ---- prune and sweep


def test_prune_removes_old_versions_and_their_files(tmp_path):
    path = tmp_path / "i"
    store = new_index(path, make_codes(5), files=Unsynced())
    put(store, make_codes(2))
    store.commit_delete([1])
    put(store, make_codes(1))
    report = store.compact(prune=True, keep=2)
    assert [info.version for info in store.versions()] == [4, 5]
    assert report.n_versions_removed == 3
    assert len(list((path / "segments").iterdir())) == 1 + 3 + 1
    store.compact(prune=True)
    assert [info.version for info in store.versions()] == [5]
    assert len(list((path / "segments").iterdir())) == 2
    assert [file.name for file in (path / "deletes").iterdir()] == ["zarr.json"]
    assert content(store) == raw_content(path)
    with pytest.raises(VersionGoneError, match="no version 4: only version 5"):
        Store.open(path, version=4)


def test_prune_keeps_what_other_writers_are_about_to_commit(tmp_path):
    path = tmp_path / "i"
    store = new_index(path, make_codes(5), files=Unsynced())
    with Store.open(path) as other:
        pending = write(other, make_codes(2))
        put(store, make_codes(1))
        store.compact(prune=True)
        assert other.commit_add(pending).tolist() == [6, 7]
    assert len(raw_content(path)) == 8


def test_a_reader_of_a_pruned_version_is_told(tmp_path):
    path = tmp_path / "i"
    store = new_index(path, make_codes(5), files=Unsynced())
    reader = Store.open(path)
    put(store, make_codes(1))
    store.compact(prune=True)
    with pytest.raises(VersionGoneError, match="pruned"):
        content(reader)
    reader.refresh()
    assert len(content(reader)) == 6


def test_a_reader_that_has_mapped_its_files_goes_on_after_a_prune(tmp_path):
    path = tmp_path / "i"
    store = new_index(path, make_codes(200_000), files=Unsynced())
    reader = Store.open(path)
    (block,) = reader.snapshot.segments[0].code_blocks
    store.commit_delete([3])
    store.compact(prune=True)
    assert block.tobytes() == make_codes(200_000).tobytes()


def test_old_versions_stay_readable_after_compact(tmp_path):
    path = tmp_path / "i"
    store = new_index(path, make_codes(5), files=Unsynced())
    put(store, make_codes(1))
    store.compact(grace=0)
    with Store.open(path, version=1, check="full") as old:
        assert content(old) == expected(range(5), make_codes(5))


@pytest.mark.parametrize("keep", [0, -1])
def test_prune_keeps_at_least_the_newest(tmp_path, keep):
    store = new_index(tmp_path / "i", make_codes(5))
    with pytest.raises(ArgumentError, match="at least 1"):
        store.compact(prune=True, keep=keep)


def test_leftovers_are_swept_after_the_grace_time_only(tmp_path):
    path = tmp_path / "i"
    store = new_index(path, make_codes(5), files=Unsynced())
    leftovers = [path / "segments" / ("a" * 32), path / "deletes" / ("b" * 32), path / "models" / ("c" * 32)]
    for folder in leftovers:
        (folder / "x" / "c").mkdir(parents=True)
        (folder / "x" / "c" / "0").write_bytes(bytes(100))
    (path / "manifests" / "000000000009.json.1234.tmp").write_bytes(b"{}")
    store.compact()
    assert all(folder.exists() for folder in leftovers)
    for folder in [*leftovers, path / "manifests" / "000000000009.json.1234.tmp"]:
        age(folder)
    age(leftovers[0] / "x", 10)  # one file was written lately: the whole is still being written
    report = store.compact()
    assert [folder.exists() for folder in leftovers] == [True, False, False]
    assert report.n_folders_removed == 3
    assert report.n_bytes_freed >= 200
    assert not report.committed
    assert raw_content(path) == expected(range(5), make_codes(5))
    assert store.verify(deep=True).ok


def test_nothing_is_swept_while_a_manifest_is_damaged(tmp_path):
    path = tmp_path / "i"
    store = new_index(path, make_codes(5), files=Unsynced())
    put(store, make_codes(1))
    store.compact()
    manifest = path / "manifests" / "000000000001.json"
    manifest.write_bytes(manifest.read_bytes().replace(b"segments", b"Segments"))
    before = sorted(path.rglob("*"))
    with pytest.raises(CorruptIndexError) as caught:
        store.compact(grace=0)
    assert caught.value.path == manifest
    assert sorted(path.rglob("*")) == before


def test_sweeping_passes_over_what_others_remove_meanwhile(tmp_path, monkeypatch):
    path = tmp_path / "i"
    store = new_index(path, make_codes(5), files=Unsynced())
    listed = sweeping._members
    monkeypatch.setattr(sweeping, "_members", lambda folder: [*listed(folder), folder / "000000000002.json.12.tmp"])
    assert store.compact(grace=0, prune=True).n_folders_removed == 0
    assert store.verify().ok


def test_sweeping_goes_through_the_layer_for_file_effects(tmp_path):
    path = tmp_path / "i"
    new_index(path, make_codes(5)).close()
    files = Watched()
    with Store.open(path, files=files) as store:
        put(store, make_codes(1))
        before = sum(file.is_file() for file in path.rglob("*"))
        n = files.count("unlink")
        store.compact(prune=True)
        created = files.log[-200:].count("create")
    assert files.count("unlink") - n >= 8
    assert before > 0
    assert created > 0
