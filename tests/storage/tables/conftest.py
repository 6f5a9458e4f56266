"""An index with bucket tables, to be damaged, and one that is yet to get them."""

import shutil

import pytest
from storage_kit import SortingMaker, Unsynced, make_codes, new_index, put
from tables_kit import IDS


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    path = tmp_path_factory.mktemp("master") / "i"
    new_index(path, make_codes(40), IDS, tables=SortingMaker(), files=Unsynced()).close()
    return path


@pytest.fixture
def path(master, tmp_path):
    shutil.copytree(master, tmp_path / "i")
    return tmp_path / "i"


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """An index with two segments of different modalities and no tables, one of them with deletes."""
    master = tmp_path_factory.mktemp("start") / "i"
    with new_index(master, make_codes(10), list(range(10)), modality="a", files=Unsynced()) as store:
        put(store, make_codes(3, seed=1), [101, 103, 105], modality="b")
        store.commit_delete([103])
    return lambda path: shutil.copytree(master, path)
