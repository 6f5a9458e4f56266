"""Damage is found, named, and never mended in silence; hostile documents are refused."""

import contextlib
import json
import os
import shutil

import numpy as np
import pytest
from storage_kit import Unsynced, content, make_codes, new_index, put, raw_content

from hashdb.errors import CorruptIndexError, FormatError, HashDBError, IndexNotFoundError, UnsupportedFormatError
from hashdb.storage import Store, verify
from hashdb.storage.documents import canonical, digest
from hashdb.storage.manifest import MAX_DELETE_LISTS


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    path = tmp_path_factory.mktemp("master") / "i"
    with new_index(path, make_codes(9), list(range(0, 18, 2)), model=({"m": 1}, {"w": np.arange(4.0)})) as store:
        put(store, make_codes(5, seed=1))
        store.commit_delete([4, 18])
    return path


@pytest.fixture
def path(master, tmp_path):
    shutil.copytree(master, tmp_path / "i")
    return tmp_path / "i"


def manifest_of(path):
    (*_, newest) = sorted((path / "manifests").glob("0*.json"))
    return newest


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


# ---- files


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


def seal(path, manifest, name=None):
    """Write a manifest with a matching checksum."""
    manifest.pop("checksum", None)
    body = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    data = b'{"checksum":"' + digest(body).encode() + b'",' + body[1:]
    (name or manifest_of(path)).write_bytes(data)


# ---- manifests


def test_a_damaged_manifest_names_the_version_before_and_nothing_is_opened_instead(path):
    manifest_of(path).write_bytes(b"{}")
    with pytest.raises(CorruptIndexError, match="version=2") as caught:
        Store.open(path)
    assert caught.value.path == manifest_of(path)
    with Store.open(path, version=2) as store:
        assert store.snapshot.n_rows == 14


def test_every_flipped_byte_of_a_manifest_is_found(path):
    file = manifest_of(path)
    data = file.read_bytes()
    for at in range(len(data)):
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(CorruptIndexError):
            Store.open(path)


def test_every_flipped_byte_of_the_root_document_is_found(path):
    file = path / "zarr.json"
    data = file.read_bytes()
    for at in range(len(data)):
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(FormatError):
            Store.open(path)


def test_a_missing_root_document_is_corruption_when_there_are_manifests(path):
    (path / "zarr.json").unlink()
    with pytest.raises(CorruptIndexError, match="missing"):
        Store.open(path)


def change(*keys, to):
    def apply(manifest):
        place = manifest
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = to

    return apply


HOSTILE = {
    "uuid with a path": change("segments", 0, "uuid", to="../../../../../../etc/passwd0000"),
    "absolute uuid": change("segments", 0, "uuid", to="/etc"),
    "uuid of another type": change("segments", 0, "uuid", to=["a"]),
    "unknown segment": change("segments", 0, "uuid", to="0" * 32),
    "negative rows": change("segments", 0, "n", to=-1),
    "no rows": change("segments", 0, "n", to=0),
    "too many rows": change("segments", 0, "n", to=1 << 40),
    "rows that are not there": change("segments", 0, "n", to=10),
    "rows as text": change("segments", 0, "n", to="9"),
    "rows as truth": change("segments", 0, "n", to=True),
    "rows as fraction": change("segments", 0, "n", to=9.0),
    "a range beside stored ids": change("segments", 0, "first_id", to=5),
    "first_id beyond": change("segments", 1, "first_id", to=(1 << 63) - 1),
    "first_id missing": change("segments", 1, "first_id", to=None),
    "wrong digest": change("segments", 0, "digest", to="0" * 64),
    "short digest": change("segments", 0, "digest", to="00"),
    "unknown policy": change("segments", 0, "database_codes", to="guessed"),
    "long modality": change("segments", 0, "modality", to="x" * 1000),
    "modality as number": change("segments", 0, "modality", to=3),
    "tables as text": change("segments", 0, "tables", to=["x"]),
    "more deletes than rows": change("segments", 0, "deletes", 0, "n", to=100),
    "deletes of a path": change("segments", 0, "deletes", 0, "uuid", to="../../manifests"),
    "unknown deletes": change("segments", 0, "deletes", 0, "uuid", to="f" * 32),
    "segments as object": change("segments", to={}),
    "a segment as number": change("segments", 0, to=3),
    "negative next_id": change("next_id", to=-1),
    "huge next_id": change("next_id", to=1 << 70),
    "wrong sum": change("n_rows", to=5),
    "wrong version": change("version", to=2),
    "another index": change("index", to="0" * 32),
    "model of a path": change("model", "uuid", to="../segments"),
    "unknown model": change("model", "uuid", to="0" * 32),
    "a field too many": change("extra", to=1),
    "wrong root": change("root", to="0" * 64),
    "time": change("time", to="yesterday"),
    "format 0": change("format", to=0),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_manifest_is_refused(path, name):
    manifest = json.loads(manifest_of(path).read_text())
    HOSTILE[name](manifest)
    seal(path, manifest)
    with pytest.raises((CorruptIndexError, HashDBError)) as caught:
        Store.open(path)
    # What no manifest names counts as pruned; everything else is corruption.
    assert isinstance(caught.value, CorruptIndexError)
    assert len(str(caught.value)) < 1000


def test_a_segment_listed_twice_is_refused(path):
    manifest = json.loads(manifest_of(path).read_text())
    manifest["segments"].append(manifest["segments"][0])
    seal(path, manifest)
    with pytest.raises(CorruptIndexError, match="twice"):
        Store.open(path)


def test_too_many_delete_lists_are_refused(path):
    manifest = json.loads(manifest_of(path).read_text())
    lists = [{"uuid": f"{i:032x}", "n": 1, "crc32c": "0" * 8} for i in range(MAX_DELETE_LISTS + 1)]
    manifest["segments"][0]["deletes"] = lists
    seal(path, manifest)
    with pytest.raises(CorruptIndexError, match="at most 8"):
        Store.open(path)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":1}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b"[" * 100_000,
        b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"a":' + b"9" * 10_000 + b"}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"",
        b'{"a":1}x',
    ],
)
def test_a_manifest_that_is_no_sound_json_is_refused(path, text):
    body = text if text.startswith(b"{") else b"{" + text
    for data in (text, b'{"checksum":"' + digest(body).encode() + b'",' + body[1:]):
        manifest_of(path).write_bytes(data)
        with pytest.raises(CorruptIndexError):
            Store.open(path)


def test_an_enormous_manifest_is_refused_unread(path):
    os.truncate(manifest_of(path), 1 << 40)
    with pytest.raises(CorruptIndexError, match="no file of at most"):
        Store.open(path)


HOSTILE_SEGMENT = {
    "file outside": lambda d: d["files"].update({"../../x": {"size": 1, "crc32c": "0" * 8}}),
    "file missing": lambda d: d["files"].pop("codes/zarr.json"),
    "wrong size": lambda d: d["files"]["codes/c/0/0"].update(size=1 << 50),
    "negative size": lambda d: d["files"]["codes/c/0/0"].update(size=-8),
    "huge shape": lambda d: d["arrays"]["codes"].update(shape=[1 << 50, 1]),
    "wild shape": lambda d: d["arrays"]["codes"].update(shape=[1 << 39, 1 << 39, 1 << 39]),
    "many chunks": lambda d: d["arrays"]["codes"].update(shape=[1 << 39, 1], chunk_rows=1),
    "no chunk rows": lambda d: d["arrays"]["codes"].update(chunk_rows=0),
    "object dtype": lambda d: d["arrays"]["codes"].update(dtype="object"),
    "other dtype": lambda d: d["arrays"]["codes"].update(dtype="float64"),
    "array with a path": lambda d: d["arrays"].update({"../x": d["arrays"]["codes"]}),
    "no codes": lambda d: d["arrays"].pop("codes"),
    "other uuid": lambda d: d.update(uuid="0" * 32),
    "other width": lambda d: d.update(n_bits=128),
    "more rows": lambda d: d.update(n=1000),
    "newer": lambda d: d.update(format=2),
}


@pytest.mark.parametrize("name", HOSTILE_SEGMENT)
def test_a_hostile_segment_document_is_refused(path, name):
    manifest = json.loads(manifest_of(path).read_text())
    file = path / "segments" / manifest["segments"][0]["uuid"] / "segment.json"
    document = json.loads(file.read_text())
    HOSTILE_SEGMENT[name](document)
    file.write_bytes(canonical(document))
    manifest["segments"][0]["digest"] = digest(canonical(document))
    seal(path, manifest)
    with pytest.raises(FormatError):
        Store.open(path)


# ---- other formats


def rewrite_root(path, **changes):
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["hashdb"].update(changes)
    (path / "zarr.json").write_bytes(canonical(document))
    manifest = json.loads(manifest_of(path).read_text())
    manifest["root"] = digest(canonical(document))
    seal(path, manifest)


def test_a_newer_format_is_refused_as_such(path):
    rewrite_root(path, format=2, anything={"new": 1})
    with pytest.raises(UnsupportedFormatError, match="format 2, this hashdb reads up to 1; install a newer"):
        Store.open(path)


def test_a_newer_manifest_is_refused_as_such(path):
    manifest = json.loads(manifest_of(path).read_text())
    seal(path, {**manifest, "format": 7, "anything": [1]})
    with pytest.raises(UnsupportedFormatError, match="format 7"):
        Store.open(path)


def test_an_unknown_required_extension_is_refused(path):
    rewrite_root(path, extensions={"required": ["payload"], "derived": []})
    with pytest.raises(UnsupportedFormatError, match="requires the extension 'payload'"):
        Store.open(path)


def test_unknown_derived_extensions_and_tables_are_ignored_and_kept(path):
    rewrite_root(path, extensions={"required": [], "derived": ["sketches"]})
    manifest = json.loads(manifest_of(path).read_text())
    manifest["segments"][0]["tables"] = [{"kind": "sketch", "of": "codes"}]
    seal(path, manifest)
    with Store.open(path, files=Unsynced()) as store:
        before = content(store)
        put(store, make_codes(1))
        assert json.loads(manifest_of(path).read_text())["segments"][0]["tables"] == [{"kind": "sketch", "of": "codes"}]
        assert set(before) < set(content(store))


@pytest.mark.parametrize("changes", [{"id_kind": "uuid"}, {"n_bits": 0}, {"n_stored_bits": 1 << 20}, {"uuid": "../x"}])
def test_hostile_attributes_are_refused(path, changes):
    rewrite_root(path, **changes)
    with pytest.raises(CorruptIndexError):
        Store.open(path)


def test_no_manifest_is_no_index(path):
    for file in (path / "manifests").glob("0*.json"):
        file.unlink()
    with pytest.raises(IndexNotFoundError, match="not finished, or its manifests were removed; restore manifests/"):
        Store.open(path)


def test_the_intact_master_is_sound(path):
    assert verify(path, deep=True).problems == []
    assert len(raw_content(path)) == 12
