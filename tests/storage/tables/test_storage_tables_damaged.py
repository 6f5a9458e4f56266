"""Damaged bucket tables are a reason to scan and never an error, told once, and made anew by compact."""

import logging
import shutil
import threading

import pytest
from storage_kit import SortingMaker, check_tables, content, make_codes, put, raw_content
from tables_kit import entries_of, files_of, opened

from hashdb.storage import table_writing, verify
from hashdb.storage.tables import REMEDY


def flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)


def delete(file):
    file.unlink()


def truncate(file):
    file.write_bytes(file.read_bytes()[:-1])


def extend(file):
    file.write_bytes(file.read_bytes() + b"\0")


def link(file):
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


def fold(file):
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("harm", [flip, delete, truncate, extend, link, fold])
def test_damage_of_any_file_is_a_reason_and_never_an_error(master, tmp_path, harm, caplog):
    for number, file in enumerate(files_of(master)):
        path = tmp_path / f"{number}"
        shutil.copytree(master, path)
        file = path / file.relative_to(master)
        harm(file)
        whole = file.parent.name == "buckets"  # the group above: only verify looks at it
        seen_at_once = not whole and (harm is not flip or file.name == "table.json")
        caplog.clear()
        with opened(path) as store:
            (segment,) = store.snapshot.segments
            assert not caplog.records  # opening does not look
            assert (segment.tables is None) == (segment.tables_problem is not None) == seen_at_once, file
            assert content(store) == raw_content(path)
            assert segment.tables is segment.tables
            assert len(caplog.records) == seen_at_once
        with opened(path, check="full") as store:
            assert (store.snapshot.segments[0].tables is None) == (not whole), file
        report = verify(path, deep=True)
        assert report.problems, file
        assert all(REMEDY in text and "\n" not in text for _, text in report.problems)
        quick = verify(path)
        assert bool(quick.problems) == (harm is not flip or file.suffix == ".json"), file
        maker = SortingMaker()
        with opened(path, maker) as store:
            assert store.compact(grace=0).committed != whole
            check_tables(store, maker)
            assert content(store) == raw_content(path)
        if not whole:
            assert verify(path, deep=True).ok, file


def test_a_warning_tells_what_to_do_once(path, caplog):
    delete(next(path.glob("segments/*/buckets/1/table.json")))
    with opened(path) as store, caplog.at_level(logging.DEBUG):
        for _ in range(3):
            assert store.snapshot.segments[0].tables is None
        store.commit_delete([0])
        assert store.snapshot.segments[0].tables is None
        (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "table.json is missing" in record.getMessage()
    assert REMEDY in record.getMessage()


def test_opening_does_not_look_at_tables(path, monkeypatch):
    shutil.rmtree(next(path.glob("segments/*/buckets")))
    looked = []
    monkeypatch.setattr(table_writing.Segment, "tables", property(lambda self: looked.append(self)))
    with opened(path) as store:
        assert len(content(store)) == 40
        store.commit_delete([0])
        store.refresh()
        put(store, make_codes(3))
        assert store.versions()
    assert not looked


def test_what_the_search_disables_stays_so(path, caplog):
    with opened(path) as store:
        (segment,) = store.snapshot.segments
        tables = segment.tables
        tables.disable("row 99 of table 0 is out of range")
        tables.disable("something else")
        assert segment.tables is None
        assert segment.tables_problem == "row 99 of table 0 is out of range"
        assert len(caplog.records) == 1
        store.commit_delete([0])
        assert store.snapshot.segments[0].tables is None
        assert store.snapshot.segments[0].sizes()["tables"] == tables.n_bytes
        assert len(tables.tables[0].arrays["rows"]) == 40  # searches under way are not disturbed
    with opened(path) as store:
        assert store.snapshot.segments[0].tables is not None


def test_snapshots_of_a_store_share_tables(path):
    with opened(path) as store:
        found = store.snapshot.segments[0].tables
        store.commit_delete([0])
        assert store.snapshot.segments[0].tables is found


def test_several_threads_may_be_the_first(path, caplog):
    flip(next(path.glob("segments/*/buckets/1/table.json")))
    with opened(path) as store:
        segment, start, found = store.snapshot.segments[0], threading.Barrier(8), []

        def look():
            start.wait()
            found.append((segment.tables, segment.tables_problem))

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(found)) == 1
    assert len(caplog.records) == 1


def test_tables_that_are_damaged_and_not_wanted_any_more_are_dropped(path):
    delete(next(path.glob("segments/*/buckets/1/table.json")))
    with opened(path, SortingMaker(least=1000)) as store:
        assert store.compact().committed
        assert entries_of(store) == [()]
        assert not store.compact().committed
    assert verify(path, deep=True).ok
