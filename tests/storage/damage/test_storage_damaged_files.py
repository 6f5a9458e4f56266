"""Damaged, missing, exchanged and misplaced files are found, named, and never mended in silence."""

import contextlib
import json
import os
import shutil

import numpy as np
import pytest
from storage_kit import Unsynced, content, make_codes, manifest_of, new_index, raw_content, seal

from hashdb.errors import CorruptIndexError
from hashdb.storage import Store, verify
from hashdb.storage.documents import canonical, digest


def current_files(path):
    """Every file that the newest version needs."""
    manifest = json.loads(manifest_of(path).read_text())
    roots = [f"segments/{entry['uuid']}" for entry in manifest["segments"]]
    roots += [f"deletes/{lists['uuid']}" for entry in manifest["segments"] for lists in entry["deletes"]]
    roots.append(f"models/{manifest['model']['uuid']}")
    return [file for root in roots for file in sorted((path / root).rglob("*")) if file.is_file()]


def is_data(file):
    return file.suffix != ".json"


def seen_at_open(file):
    return is_data(file) or file.name in ("segment.json", "model.json")


def test_every_file_that_is_missing_is_named(path):
    for file in current_files(path):
        data = file.read_bytes()
        file.unlink()
        assert [problem for problem in verify(path).problems if problem[0] == str(file)], file
        if seen_at_open(file) or "deletes" not in str(file):
            with pytest.raises(CorruptIndexError, match="missing") as caught:
                Store.open(path)
            assert caught.value.path == file
        file.write_bytes(data)
    assert verify(path, deep=True).ok


@pytest.mark.parametrize("keep", [0, 1, 0.5, -1, 2])
def test_every_file_that_is_shorter_or_longer_is_named(path, keep):
    for file in current_files(path):
        data = file.read_bytes()
        length = int(len(data) * keep) if keep in (0, 0.5) else len(data) + (1 if keep == 2 else -1)
        file.write_bytes((data + b" ")[:length])
        assert [problem for problem in verify(path).problems if problem[0] == str(file)], file
        if seen_at_open(file):
            with pytest.raises(CorruptIndexError) as caught:
                Store.open(path)
            assert caught.value.path == file
        file.write_bytes(data)


def test_a_flipped_byte_anywhere_is_found_by_a_full_check(path):
    for file in current_files(path):
        data = file.read_bytes()
        for at in sorted({0, len(data) // 2, len(data) - 1}):
            file.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
            with pytest.raises(CorruptIndexError) as caught, Store.open(path, check="full") as store:
                content(store)  # a query may read on, but the check comes before
            assert caught.value.path == file
            assert not verify(path, deep=True).ok
        file.write_bytes(data)


def test_flipped_data_never_raise_anything_else(path):
    """Until a check, damaged data may give a wrong row, but no crash and no other exception."""
    for file in filter(is_data, current_files(path)):
        data = file.read_bytes()
        for value in (0x00, 0x7F, 0xFF):
            file.write_bytes(bytes([value]) * len(data))
            with Store.open(path) as store:
                if "deletes" in str(file):
                    with pytest.raises(CorruptIndexError):
                        content(store)
                else:
                    content(store)
                    assert len(store.snapshot.rows_of([0, 4, 19])[0]) == 3
        file.write_bytes(data)


def test_damaged_string_ids_are_read_as_rows_or_named_as_damage(tmp_path):
    words = ["a", "bb", "ccc", "é", "zz"]
    new_index(tmp_path / "i", make_codes(5), words, id_kind="string").close()
    for file in (tmp_path / "i").glob("segments/*/id_*/c/0"):
        data = file.read_bytes()
        for seed in range(40):
            noise = np.random.default_rng(seed).integers(0, 256, len(data), dtype=np.uint8).tobytes()
            at = seed % len(data)
            file.write_bytes(noise if seed % 2 else data[:at] + noise[at : at + 1] + data[at + 1 :])
            with Store.open(tmp_path / "i") as store, contextlib.suppress(CorruptIndexError):
                _, rows = store.snapshot.rows_of(words)
                assert set(rows.tolist()) <= set(range(-1, 5))
                assert len(store.snapshot.segments[0].ids_at(np.arange(5))) == 5
                assert sum(len(ids) for ids, _ in store.snapshot.iter_id_order(2)) <= 5
        file.write_bytes(data)


def test_offsets_of_string_ids_that_are_zeroed_are_found_before_a_duplicate_is_committed(tmp_path):
    new_index(tmp_path / "i", make_codes(5), list("abcde"), id_kind="string").close()
    (file,) = (tmp_path / "i").glob("segments/*/id_offsets/c/0")
    file.write_bytes(b"\0" * file.stat().st_size)
    with Store.open(tmp_path / "i") as store, pytest.raises(CorruptIndexError) as caught:
        store.snapshot.rows_of(["a"])
    assert caught.value.path == file


def test_compact_finds_damage_before_it_merges(path):
    (file, *_) = sorted(path.glob("segments/*/codes/c/0/0"))
    data = bytearray(file.read_bytes())
    data[3] ^= 1
    file.write_bytes(data)
    with Store.open(path) as store, pytest.raises(CorruptIndexError) as caught:
        store.compact()
    assert caught.value.path == file
    assert [int(name.stem) for name in sorted((path / "manifests").glob("0*.json"))] == [1, 2, 3]


def test_deleted_rows_do_not_come_back_when_their_list_is_damaged(path):
    (file, *_) = sorted(path.glob("deletes/*/rows/c/0"))
    file.write_bytes(b"\0" * file.stat().st_size)
    with Store.open(path) as store, pytest.raises(CorruptIndexError) as caught:
        content(store)
    assert caught.value.path == file


def test_swapped_segments_are_found(path):
    first, second = sorted(file for file in (path / "segments").iterdir() if file.is_dir())
    first.rename(path / "x")
    second.rename(first)
    (path / "x").rename(second)
    with pytest.raises(CorruptIndexError, match="altered or replaced"):
        Store.open(path)


def test_a_segment_of_another_index_is_found(path, tmp_path):
    new_index(tmp_path / "other", make_codes(9, seed=5)).close()
    (theirs,) = (tmp_path / "other").glob("segments/*/segment.json")
    (ours, *_) = sorted(path.glob("segments/*/segment.json"))
    shutil.copy(theirs, ours)
    with pytest.raises(CorruptIndexError):
        Store.open(path)


def test_the_root_document_of_another_index_is_found(path, tmp_path):
    new_index(tmp_path / "other").close()
    shutil.copy(tmp_path / "other" / "zarr.json", path / "zarr.json")
    with pytest.raises(CorruptIndexError, match="another index"):
        Store.open(path)


def test_a_link_out_of_the_index_is_not_followed(path, tmp_path):
    for file in filter(seen_at_open, current_files(path)):
        outside = tmp_path / "outside"
        shutil.move(file, outside)
        file.symlink_to(outside)
        with pytest.raises(CorruptIndexError, match=r"symbolic link|regular file"):
            Store.open(path)
        file.unlink()
        shutil.move(outside, file)


def test_a_folder_in_place_of_a_file_is_found(path):
    for file in filter(seen_at_open, current_files(path)):
        data = file.read_bytes()
        file.unlink()
        file.mkdir()
        with pytest.raises(CorruptIndexError):
            Store.open(path)
        file.rmdir()
        file.write_bytes(data)


def test_a_file_that_shrinks_after_opening_is_found_when_it_is_opened(path):
    with Store.open(path) as store:
        for file in path.glob("segments/*/codes/c/0/0"):
            os.truncate(file, 8)
        with pytest.raises(CorruptIndexError, match="has 8 bytes"):
            content(store)


def test_verify_names_everything_at_once(path):
    broken = [file for file in current_files(path) if is_data(file)]
    for file in broken:
        file.write_bytes(b"")
    problems = verify(path).problems
    assert {problem[0] for problem in problems} == {str(file) for file in broken}


def test_verify_deep_finds_what_checksums_cannot(tmp_path):
    """Codes with padding bits and ids out of order, sealed with proper checksums by a faulty writer."""
    path = tmp_path / "i"
    new_index(path, make_codes(4, 60), [1, 3, 5, 7], n_bits=60, files=Unsynced()).close()
    assert verify(path, deep=True).ok
    for name, data in (("ids/c/0", np.array([1, 5, 3, 7])), ("codes/c/0/0", np.full(4, 1 << 63, np.uint64))):
        copy = tmp_path / name.replace("/", "")
        shutil.copytree(path, copy)
        (folder,) = (file for file in (copy / "segments").iterdir() if file.is_dir())
        (folder / name).write_bytes(data.tobytes())
        reseal(copy, folder, name)
        assert Store.open(copy, check="full")
        (problem,) = verify(copy, deep=True).problems
        assert "ascending" in problem[1] or "past bit 59" in problem[1]


def reseal(path, folder, name):
    """Write matching checksums for an altered file."""
    import google_crc32c

    document = json.loads((folder / "segment.json").read_text())
    document["files"][name]["crc32c"] = f"{google_crc32c.value((folder / name).read_bytes()):08x}"
    (folder / "segment.json").write_bytes(canonical(document))
    manifest = json.loads(manifest_of(path).read_text())
    manifest["segments"][0]["digest"] = digest(canonical(document))
    seal(path, manifest)


def test_the_intact_master_is_sound(path):
    assert verify(path, deep=True).problems == []
    assert len(raw_content(path)) == 12
