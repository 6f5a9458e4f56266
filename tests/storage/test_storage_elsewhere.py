"""What is put at the path of an index, or goes from it, while another is at work there."""

import json
import os
import shutil

import numpy as np
import pytest
from storage_kit import Watched, make_codes, manifest_of, new_index, put, raw_content, seal

import hashdb
from hashdb.errors import CorruptIndexError
from hashdb.search import layouts
from hashdb.storage import Store, table_writing
from hashdb.storage import transaction as transactions
from hashdb.storage.documents import parse_document
from hashdb.storage.maintain import verify

KIND = {"id_kind": "int64", "n_bits": 64, "n_stored_bits": 64}
ROWS = np.random.default_rng(0).standard_normal((2000, 16)).astype(np.float32)


class BeforePrune(Watched):
    """Runs something just before versions are to be removed."""

    def __init__(self, act):
        super().__init__()
        self.act = act

    def lock_folder(self, path, shared=False):
        if not shared:
            self.act()
        return super().lock_folder(path, shared)


@pytest.mark.parametrize("is_committed", [False, True])
def test_a_build_that_fails_leaves_what_another_builds_at_its_path(tmp_path, is_committed):
    path = tmp_path / "i"
    first = Store.create(path, **KIND)
    shutil.rmtree(path)
    if is_committed:
        new_index(path, make_codes(10))
        first.close()
    else:
        with Store.create(path, **KIND) as second:
            first.close()
            second.commit_build(None, None)
    assert len(raw_content(path)) == 10 * is_committed
    assert verify(path, deep=True).ok


@pytest.mark.parametrize("is_copy", [False, True])
def test_a_prune_removes_nothing_of_an_index_that_was_put_in_its_place(tmp_path, is_copy):
    path, other = tmp_path / "i", tmp_path / "other"
    store = new_index(path, make_codes(10))
    if is_copy:
        shutil.copytree(path, other)
    with Store.open(other) if is_copy else new_index(other, make_codes(10, seed=1)) as another:
        for seed in range(4):
            put(another, make_codes(3, seed=seed), auto_compact=False)
    put(store, make_codes(2))
    store.commit_delete([0])
    store.compact()
    before, found = raw_content(path), raw_content(other)

    def swap():
        os.rename(path, tmp_path / "old")
        os.rename(other, path)

    with (
        Store.open(path, files=BeforePrune(swap)) as late,
        pytest.raises(CorruptIndexError, match=r"is not what was opened|was removed"),
    ):
        late.compact(prune=True)
    assert raw_content(path) == found
    assert verify(path, deep=True).ok
    assert raw_content(tmp_path / "old") == before


@pytest.mark.parametrize("moment", ["while they are written", "once they are written"])
def test_tables_of_rows_that_another_prunes_meanwhile_are_made_for_the_new_version(tmp_path, monkeypatch, moment):
    monkeypatch.setattr(layouts, "MIN_ROWS", 256)
    path = tmp_path / "i"
    hashdb.build(path, ROWS, "lsh", 32, table_budget=0).close()
    acts = []

    def first_another(real):
        def acting(*given, **named):
            if acts:
                acts.pop()()
            return real(*given, **named)

        return acting

    where, name = {
        "while they are written": (table_writing.TableWriter, "append"),
        "once they are written": (transactions, "load_snapshot"),
    }[moment]
    with hashdb.open(path) as index, hashdb.open(path) as other:

        def replace_all():
            other.add(ROWS, range(len(ROWS)), upsert=True)
            other.compact(prune=True)

        acts.append(replace_all)
        monkeypatch.setattr(where, name, first_another(getattr(where, name)))
        index.compact(table_budget=96)
        assert acts == []
        assert index.info()["segments"][0]["tables"]
        assert index.query(ROWS[:5], k=1).ids.ravel().tolist() == list(range(5))
    assert verify(path, deep=True).ok


def test_an_id_that_is_in_two_segments_is_not_merged(tmp_path):
    path = tmp_path / "i"
    with new_index(path, make_codes(10)) as store:
        put(store, make_codes(10, seed=1), auto_compact=False)
    manifest = json.loads(manifest_of(path).read_text())
    manifest["segments"][1]["first_id"] = 5
    seal(path, manifest)
    with Store.open(path) as store:
        with pytest.raises(CorruptIndexError, match="5 is the id of rows in two of them"):
            store.compact(prune=True)
        assert store.snapshot.version == 2


@pytest.mark.parametrize("number", ["1e400", "-1e999", "0." + "9" * 50 + "e309"])
def test_a_number_beyond_all_is_no_json(tmp_path, number):
    with pytest.raises(CorruptIndexError, match="beyond any number"):
        parse_document(b'{"a": ' + number.encode() + b"}", tmp_path / "a.json")


@pytest.mark.parametrize(
    "budget", [10**400, -1, np.inf, np.nan, "9", True], ids=["huge", "negative", "inf", "nan", "text", "flag"]
)
def test_a_budget_of_tables_that_is_none_is_refused_in_short(tmp_path, budget):
    with pytest.raises(hashdb.errors.ArgumentError, match=r"^table_budget is .{1,90}, expected the bytes a code"):
        hashdb.build(tmp_path / "i", ROWS, "lsh", 32, table_budget=budget)
