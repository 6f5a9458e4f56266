"""Bucket tables of other segments, and documents made to do harm, are not used."""

import json
import shutil

import pytest
from storage_kit import SortingMaker, Unsynced, check_tables, make_codes, new_index
from tables_kit import IDS, opened, rewrite

from hashdb.storage import verify
from hashdb.storage.documents import canonical, digest
from hashdb.storage.tables import REMEDY


def test_a_table_of_another_segment_is_refused(path, tmp_path):
    """Whole folders exchanged, with documents that are right in themselves."""
    other = tmp_path / "other"
    new_index(other, make_codes(40, seed=5), IDS, tables=SortingMaker(), files=Unsynced()).close()
    mine, theirs = (next(place.glob("segments/*/buckets/0")) for place in (path, other))
    shutil.rmtree(mine)
    shutil.copytree(theirs, mine)
    with opened(path) as store:
        assert "was altered or replaced" in store.snapshot.segments[0].tables_problem
    # even where the manifest names it
    (entry,) = json.loads((other / "manifests" / "000000000001.json").read_text())["segments"]

    def name_it(manifest):
        manifest["segments"][0]["tables"][0] = entry["tables"][0]

    rewrite(path, name_it)
    with opened(path) as store:
        assert "uuid" in store.snapshot.segments[0].tables_problem
        assert store.snapshot.segments[0].tables is None
    assert not verify(path).ok


def test_a_table_under_another_name_is_refused(path):
    first, second = (next(path.glob(f"segments/*/buckets/{s}")) for s in "01")
    shutil.rmtree(first)
    shutil.copytree(second, first)

    def name_it(manifest):
        tables = manifest["segments"][0]["tables"]
        tables[0]["digest"] = tables[1]["digest"]

    rewrite(path, name_it)
    with opened(path) as store:
        assert "name is '1'" in store.snapshot.segments[0].tables_problem


HOSTILE = {
    "format": lambda document: document.update(format=2),
    "old format": lambda document: document.update(format=0),
    "more": lambda document: document.update(more=1),
    "less": lambda document: document.pop("n_bits"),
    "n": lambda document: document.update(n=41),
    "n_bits": lambda document: document.update(n_bits=65),
    "name": lambda document: document.update(name="00"),
    "uuid": lambda document: document.update(uuid="0" * 32),
    "description": lambda document: document.update(description=[]),
    "no arrays": lambda document: document.update(arrays={}, files={"zarr.json": document["files"]["zarr.json"]}),
    "array name": lambda document: document["arrays"].update({"../x": document["arrays"]["rows"]}),
    "capital": lambda document: document["arrays"].update(Rows=document["arrays"].pop("rows")),
    "dtype": lambda document: document["arrays"]["rows"].update(dtype="object"),
    "shape": lambda document: document["arrays"]["rows"].update(shape=[41]),
    "chunks": lambda document: document["arrays"]["rows"].update(chunk_rows=20),
    "scalar": lambda document: document["arrays"]["rows"].update(shape=[]),
    "file": lambda document: document["files"].update({"../../codes/c/0/0": document["files"]["rows/c/0"]}),
    "size": lambda document: document["files"]["rows/c/0"].update(size=1 << 50),
    "crc": lambda document: document["files"]["rows/c/0"].update(crc32c="x"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_is_a_reason(path, name):
    file = next(path.glob("segments/*/buckets/0/table.json"))
    document = json.loads(file.read_text())
    HOSTILE[name](document)
    file.write_bytes(canonical(document))

    def name_it(manifest):
        manifest["segments"][0]["tables"][0]["digest"] = digest(canonical(document))

    rewrite(path, name_it)
    with opened(path, check="full") as store:
        (segment,) = store.snapshot.segments
        assert segment.tables is None
        assert str(path) in segment.tables_problem
    assert not verify(path, deep=True).ok
    maker = SortingMaker()
    with opened(path, maker) as store:
        store.compact()
        check_tables(store, maker)


def test_a_document_that_is_not_canonical_is_a_reason(path):
    file = next(path.glob("segments/*/buckets/0/table.json"))
    data = file.read_bytes().replace(b",", b", ", 1)
    file.write_bytes(data)
    rewrite(path, lambda manifest: manifest["segments"][0]["tables"][0].update(digest=digest(data)))
    with opened(path) as store:
        assert "canonical" in store.snapshot.segments[0].tables_problem


@pytest.mark.parametrize(
    "described",
    [
        {"name": "../0"},
        {"name": "01"},
        {"name": 0},
        {"name": "1"},
        {"digest": "0"},
        {"more": 1},
        {"name": None},
    ],
)
def test_a_hostile_entry_is_a_reason(path, described):
    rewrite(path, lambda manifest: manifest["segments"][0]["tables"][0].update(described))
    with opened(path) as store:
        assert store.snapshot.segments[0].tables is None
        assert store.snapshot.segments[0].tables_problem
        assert store.snapshot.segments[0].sizes()["tables"] == 0
    report = verify(path)
    assert report.problems
    assert all(REMEDY in text for _, text in report.problems)
    maker = SortingMaker()
    with opened(path, maker) as store:
        assert store.compact().committed
        check_tables(store, maker)
    assert verify(path, deep=True).ok
