"""Manifests and segment documents that are damaged or hostile are refused."""

import json
import os

import pytest
from storage_kit import manifest_of, seal

from hashdb.errors import CorruptIndexError, FormatError, HashDBError, IndexNotFoundError
from hashdb.storage import Store
from hashdb.storage.documents import canonical, digest
from hashdb.storage.manifest import MAX_DELETE_LISTS


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
    with pytest.raises(CorruptIndexError, match=r"no (regular )?file of at most"):
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


def test_no_manifest_is_no_index(path):
    for file in (path / "manifests").glob("0*.json"):
        file.unlink()
    with pytest.raises(IndexNotFoundError, match="not finished, or its manifests were removed; restore manifests/"):
        Store.open(path)
