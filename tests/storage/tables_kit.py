"""What the tests of stored bucket tables share: what stands on disk, what manifests name, and manifests rewritten."""

import json

from storage_kit import Unsynced, check_tables, content, make_codes, put, raw_content

from hashdb.storage import Store, verify
from hashdb.storage.documents import canonical, digest

IDS = list(range(0, 80, 2))


def opened(path, maker=None, **options):
    return Store.open(path, tables=maker, files=options.pop("files", Unsynced()), **options)


def entries_of(store):
    return [entry.tables for entry in store.snapshot.manifest.segments]


def names_of(store):
    return [[table["name"] for table in tables] for tables in entries_of(store)]


def folders(path):
    """What stands in the ``buckets`` of segments, as (segment, name)."""
    found = [folder for folder in path.glob("segments/*/buckets/*") if folder.name != "zarr.json"]
    return {(folder.parent.parent.name, folder.name) for folder in found}


def named(path):
    """What the manifests name."""
    manifests = [json.loads(file.read_text()) for file in sorted((path / "manifests").glob("0*.json"))]
    return {
        (entry["uuid"], table["name"])
        for manifest in manifests
        for entry in manifest["segments"]
        for table in entry["tables"]
    }


def files_of(path):
    return sorted(file for file in path.glob("segments/*/buckets/**/*") if file.is_file())


def listing(path):
    return sorted(str(file) for file in path.rglob("*"))


def segment_of(path):
    (entry,) = json.loads(sorted((path / "manifests").glob("0*.json"))[-1].read_text())["segments"]
    return entry["uuid"]


def rewrite(path, change):
    """Change the newest manifest and seal it again."""
    file = sorted((path / "manifests").glob("0*.json"))[-1]
    document = json.loads(file.read_text())
    del document["checksum"]
    change(document)
    body = canonical(document)
    file.write_bytes(b'{"checksum":"' + digest(body).encode() + b'",' + body[1:])


def check_after(path, maker):
    """The index is sound, takes commits, and has nothing left over after a sweep."""
    with opened(path, maker, check="full") as store:
        assert content(store) == raw_content(path)
        put(store, make_codes(1, seed=99))
        store.compact(grace=0)
        check_tables(store, maker)
        assert content(store) == raw_content(path)
    assert folders(path) == named(path)
    assert verify(path, deep=True).ok
