"""A store whose folder is not what it was opened on: another index, a copy from earlier, another current folder."""

import os
import shutil

import pytest
from storage_kit import content, make_codes, new_index, put, raw_content

from hashdb.errors import CorruptIndexError, VersionGoneError
from hashdb.storage import Store

REPLACED = "is not what was opened: it was altered, or another index or a copy was put in its place"
WRITES = {
    "add": lambda store: put(store, make_codes(1)),
    "upsert": lambda store: put(store, make_codes(1), [3], upsert=True),
    "delete": lambda store: store.commit_delete([3]),
    "prune": lambda store: store.compact(prune=True),
    "refresh": lambda store: store.refresh(),
}


@pytest.mark.parametrize("write", WRITES)
def test_nothing_is_written_to_another_index_at_the_same_path(tmp_path, write):
    path = tmp_path / "i"
    with new_index(path, make_codes(10)) as store:
        put(store, make_codes(5), auto_compact=False)
        shutil.rmtree(path)
        with new_index(path, make_codes(20, seed=1)) as other:
            put(other, make_codes(5), auto_compact=False)
        before = raw_content(path)
        with pytest.raises(CorruptIndexError, match=REPLACED):
            WRITES[write](store)
    assert raw_content(path) == before
    assert Store.open(path).verify(deep=True).ok


def test_nothing_is_written_to_another_index_of_fewer_versions(tmp_path):
    path = tmp_path / "i"
    with new_index(path, make_codes(10)) as store:
        put(store, make_codes(5))
        shutil.rmtree(path)
        new_index(path, make_codes(20, seed=1)).close()
        with pytest.raises(CorruptIndexError, match=r"000000000002\.json, the newest version, was removed"):
            put(store, make_codes(1))
    assert len(raw_content(path)) == 20


def test_nothing_is_written_after_a_copy_from_earlier_was_put_back_and_used(tmp_path):
    path, copy = tmp_path / "i", tmp_path / "copy"
    with new_index(path, make_codes(10)) as store:
        shutil.copytree(path, copy)
        put(store, make_codes(5, seed=1), auto_compact=False)
        shutil.rmtree(path)
        shutil.move(copy, path)
        with Store.open(path) as other:
            other.commit_delete([0])
        with pytest.raises(CorruptIndexError, match=REPLACED):
            put(store, make_codes(1))
    assert sorted(raw_content(path)) == list(range(1, 10))
    assert Store.open(path).verify(deep=True).ok


def test_the_current_folder_may_change_while_an_index_is_open(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        new_index(tmp_path / name / "i", make_codes(10, seed=ord(name))).close()
    monkeypatch.chdir(tmp_path / "a")
    with Store.open("i") as store, new_index("new", make_codes(3)) as built:
        monkeypatch.chdir(tmp_path / "b")
        assert put(store, make_codes(2)).tolist() == [10, 11]
        assert put(built, make_codes(2)).tolist() == [3, 4]
    assert len(raw_content(tmp_path / "a" / "i")) == 12
    assert len(raw_content(tmp_path / "a" / "new")) == 5
    assert os.listdir(tmp_path / "b") == ["i"]


def test_a_link_to_an_index_may_be_turned_to_another_while_it_is_open(tmp_path):
    for name in ("a", "b"):
        new_index(tmp_path / name, make_codes(10, seed=ord(name))).close()
    current = tmp_path / "current"
    current.symlink_to("a")
    with Store.open(current) as store:
        current.unlink()
        current.symlink_to("b")
        put(store, make_codes(2))
        assert len(content(store)) == 12
    assert len(raw_content(tmp_path / "a")) == 12
    assert len(raw_content(tmp_path / "b")) == 10


def test_a_link_may_be_turned_while_an_index_built_by_it_is_open(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    current = tmp_path / "current"
    current.symlink_to("a")
    with new_index(current, make_codes(10)) as built:
        current.unlink()
        current.symlink_to("b")
        put(built, make_codes(2))
        assert len(content(built)) == 12
    assert len(raw_content(tmp_path / "a")) == 12
    assert os.listdir(tmp_path / "b") == []


def test_an_index_that_was_moved_away_is_told_as_such(tmp_path):
    path = tmp_path / "i"
    with new_index(path, make_codes(10)) as store:
        path.rename(tmp_path / "elsewhere")
        for act in (store.refresh, store.versions, lambda: store.commit_delete([3]), store.compact):
            with pytest.raises(VersionGoneError, match=r"there is no index at .* any more: it was moved or removed"):
                act()
    assert len(raw_content(tmp_path / "elsewhere")) == 10
