"""Newer formats, required extensions and impossible attributes are refused; what is derived is ignored and kept."""

import json

import pytest
from storage_kit import Unsynced, content, make_codes, manifest_of, put, seal

from hashdb.errors import CorruptIndexError, UnsupportedFormatError
from hashdb.storage import Store
from hashdb.storage.documents import canonical, digest


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
