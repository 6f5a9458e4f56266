"""Lists of deleted rows that are rightly signed, and name rows that they cannot name."""

import json
import re

import google_crc32c
import numpy as np
import pytest
from storage_kit import content, make_codes, manifest_of, new_index, put, seal

from hashdb.errors import CorruptIndexError
from hashdb.storage import Store, verify


@pytest.fixture
def path(tmp_path):
    """An index of one segment of 9 rows, of which 3 are deleted."""
    with new_index(tmp_path / "i", make_codes(9)) as store:
        store.commit_delete([2, 3, 7])
    return tmp_path / "i"


def forge(path, rows, number=0):
    """Write other rows into a list of deletes, and sign them."""
    manifest = json.loads(manifest_of(path).read_text())
    entry = manifest["segments"][0]["deletes"][number]
    data = np.array(rows, "<u4").tobytes()
    entry["crc32c"] = f"{google_crc32c.value(data):08x}"
    (path / "deletes" / entry["uuid"] / "rows" / "c" / "0").write_bytes(data)
    seal(path, manifest)


def test_a_list_that_is_forged_to_what_it_held_is_sound(path):
    forge(path, [2, 3, 7])
    assert verify(path, deep=True).ok
    with Store.open(path, check="full") as store:
        assert len(content(store)) == 6


@pytest.mark.parametrize(
    "rows",
    [[2, 3, 9], [2, 3, 64], [2, 3, 2**32 - 1], [9, 3, 2], [3, 2, 7], [2, 7, 3], [2, 2, 7], [2, 7, 7], [9, 2, 3]],
    ids=str,
)
def test_deleted_rows_out_of_range_or_order_are_refused_by_the_first_that_reads_them(path, rows):
    forge(path, rows)
    said = "rows/c/0 holds rows that are out of order or out of range"
    with Store.open(path) as store:
        acts = [
            lambda: content(store),
            lambda: store.snapshot.rows_of([1]),
            lambda: store.commit_delete([1]),
            lambda: put(store, make_codes(2, seed=1), [1, 20], upsert=True),
            lambda: store.compact(),
        ]
        for act in acts:
            with pytest.raises(CorruptIndexError, match=said) as caught:
                act()
            assert "\n" not in str(caught.value)
    assert said in str(verify(path).problems) + str(verify(path, deep=True).problems)
    with pytest.raises(CorruptIndexError, match=said):
        Store.open(path, check="full")


def test_a_row_in_two_lists_is_refused_by_the_first_that_reads_them(tmp_path):
    path = tmp_path / "i"
    with new_index(path, make_codes(900)) as store:
        store.commit_delete(list(range(0, 800, 2)))
        store.commit_delete([5, 7])
    forge(path, [4, 7], 1)
    said = "two lists of segment [0-9a-f]{32} hold the same row"
    with Store.open(path) as store, pytest.raises(CorruptIndexError, match=said):
        content(store)
    assert re.search(said, str(verify(path, deep=True).problems))
    with pytest.raises(CorruptIndexError, match=said):
        Store.open(path, check="full")
