"""The store against a plain dict: any sequence of operations, reopened at any point and at any version."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from storage_kit import Unsynced, content, expected, make_codes, new_index, put, raw_content

from hashdb.errors import DuplicateIdError, UnknownIdError, VersionGoneError
from hashdb.storage import Sizes, Store

INTS = st.integers(-4, 24) | st.sampled_from([-(1 << 63), (1 << 62), (1 << 62) + 1])
STRINGS = st.text(st.sampled_from("ab\u00e9\U0001f600"), min_size=1, max_size=3)


class StoreMachine(RuleBasedStateMachine):
    """Every rule does one operation on the store and on a dict, the store that is assumed to be perfect."""

    id_kind = "int64"
    ids = INTS

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.seed = 0

    def teardown(self):
        self.store.close()
        shutil.rmtree(self.folder)

    def codes(self, n):
        self.seed += 1
        return make_codes(n, 70, seed=self.seed)

    @initialize(data=st.data(), n=st.integers(0, 6))
    def build(self, data, n):
        ids = data.draw(st.lists(self.ids, min_size=n, max_size=n, unique=True))
        codes = self.codes(n)
        sizes = Sizes(chunk_bytes=32, bucket_bytes=48, merge_rows=3)
        self.store = new_index(
            self.folder / "i", codes, ids, id_kind=self.id_kind, n_bits=70, sizes=sizes, files=Unsynced()
        )
        self.sizes = sizes
        self.model = expected(ids, codes)
        self.next_id = max([-1, *ids]) + 1 if self.id_kind == "int64" else None
        self.history = {1: dict(self.model)}

    def record(self):
        self.history.setdefault(self.store.snapshot.version, dict(self.model))

    @rule(data=st.data(), upsert=st.booleans(), auto_compact=st.booleans())
    def add(self, data, upsert, auto_compact):
        ids = data.draw(st.lists(self.ids, max_size=6, unique=True))
        codes = self.codes(len(ids))
        if not upsert and set(ids) & set(self.model):
            with pytest.raises(DuplicateIdError):
                put(self.store, codes, ids)
            return
        given = put(self.store, codes, ids, upsert=upsert, auto_compact=auto_compact)
        assert given.tolist() == ids
        self.model.update(expected(ids, codes))
        if self.id_kind == "int64":
            self.next_id = max([self.next_id - 1, *ids]) + 1
        self.record()

    @precondition(lambda self: self.id_kind == "int64")
    @rule(n=st.integers(1, 20))
    def add_automatic(self, n):
        codes = self.codes(n)
        ids = put(self.store, codes).tolist()
        assert ids == list(range(self.next_id, self.next_id + n))
        self.next_id += n
        self.model.update(expected(ids, codes))
        self.record()

    @rule(data=st.data(), ignore_missing=st.booleans())
    def delete(self, data, ignore_missing):
        known = st.sampled_from(sorted(self.model)) if self.model else self.ids
        ids = data.draw(st.lists(known | self.ids, max_size=8))
        present = set(ids) & set(self.model)
        if present != set(ids) and not ignore_missing:
            with pytest.raises(UnknownIdError):
                self.store.commit_delete(ids)
            return
        assert self.store.commit_delete(ids, ignore_missing=ignore_missing) == len(present)
        for id_ in present:
            del self.model[id_]
        self.record()

    @rule()
    def compact(self):
        self.store.compact()
        self.record()
        assert len(self.store.snapshot.segments) <= 1
        assert all(segment.deleted is None for segment in self.store.snapshot.segments)

    @rule(keep=st.integers(1, 3))
    def prune(self, keep):
        self.store.compact(prune=True, keep=keep)
        self.record()
        kept = sorted(self.history)[-keep:]
        self.history = {version: self.history[version] for version in kept}
        assert [info.version for info in self.store.versions()] == kept

    @rule()
    def reopen(self):
        self.store.close()
        self.store = Store.open(self.folder / "i", check="full", sizes=self.sizes, files=Unsynced())

    @rule(data=st.data())
    def open_an_old_version(self, data):
        version = data.draw(st.sampled_from(sorted(self.history)))
        with Store.open(self.folder / "i", version=version) as old:
            assert content(old) == self.history[version]
            assert old.snapshot.n_rows == len(self.history[version])
        if min(self.history) > 1:
            with pytest.raises(VersionGoneError):
                Store.open(self.folder / "i", version=min(self.history) - 1)

    @rule()
    def read_with_zarr(self):
        assert raw_content(self.folder / "i") == self.model
        assert self.store.verify().problems == []

    @invariant()
    def same_rows(self):
        found = content(self.store)
        assert found == self.model
        order = list(found)
        assert order == sorted(order, key=str.encode if self.id_kind == "string" else None)
        assert self.store.snapshot.n_rows == len(self.model)
        wanted = list(self.model)
        segments, rows = self.store.snapshot.rows_of(wanted)
        codes = [
            self.store.snapshot.segments[segment].codes_at(np.array([row]))[0].tolist()
            for segment, row in zip(segments.tolist(), rows.tolist(), strict=True)
        ]
        assert codes == [list(self.model[id_]) for id_ in wanted]


class StringMachine(StoreMachine):
    id_kind = "string"
    ids = STRINGS


@pytest.mark.parametrize("machine", [StoreMachine, StringMachine])
def test_store_behaves_like_a_dict(machine):
    limits = settings(
        max_examples=25,
        stateful_step_count=15,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
    )
    check_machine = run_state_machine_as_test
    check_machine(machine, settings=limits)
