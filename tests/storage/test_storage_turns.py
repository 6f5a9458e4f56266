"""A writer among many gets its turn, and keeps others out for no longer than that takes."""

import os

import pytest
from storage_kit import Meanwhile, Watched, content, make_codes, new_index, put, raw_content

from hashdb.errors import ConflictError
from hashdb.storage import Store, changes, compaction, locking
from hashdb.storage import transaction as transactions
from hashdb.storage.maintain import verify


class Busy(Watched):
    """Somebody else commits each time that a manifest is about to be written, if nothing keeps him out.

    And just before he is kept out.
    """

    def __init__(self, other):
        super().__init__()
        self.other, self.n_first, self.n_kept_out = other, 0, 0

    def commit(self):
        try:
            self.other.commit_delete([self.n_first])
            self.n_first += 1
        except ConflictError:
            self.n_kept_out += 1

    def create(self, path):
        if path.name.endswith(".tmp"):
            self.commit()
        return super().create(path)

    def lock_folder(self, path, shared=False):
        if not shared:
            self.commit()
        return super().lock_folder(path, shared)


@pytest.fixture(name="quick")
def fixture_quick(monkeypatch):
    """Nobody waits for long, and nothing takes long."""
    monkeypatch.setattr(locking, "PATIENCE", 0.02)
    monkeypatch.setattr(transactions, "LONGEST_WAIT", 0.001)
    monkeypatch.setattr(transactions, "LONGEST_ALONE", 1000.0)


@pytest.mark.usefixtures("quick")
def test_a_writer_that_keeps_losing_gets_its_turn(tmp_path):
    path = tmp_path / "i"
    other = new_index(path, make_codes(100))
    files = Busy(other)
    with Store.open(path, files=files) as store:
        assert put(store, make_codes(2, seed=1), auto_compact=False).tolist() == [100, 101]
    assert (files.n_first, files.n_kept_out) == (transactions.MAX_LOST + 1, 1)
    other.commit_delete([50])  # nobody is kept out any more
    assert sorted(raw_content(path)) == [row for row in range(9, 102) if row != 50]
    assert verify(path, deep=True).ok


@pytest.mark.usefixtures("quick")
def test_a_writer_that_takes_long_keeps_nobody_out(tmp_path, monkeypatch):
    monkeypatch.setattr(transactions, "LONGEST_ALONE", 0.0)
    path = tmp_path / "i"
    files = Busy(new_index(path, make_codes(100)))
    with Store.open(path, files=files) as store, pytest.raises(ConflictError, match="committed first 64 times"):
        put(store, make_codes(2, seed=1))
    assert (files.n_first, files.n_kept_out) == (64, 0)
    assert sorted(raw_content(path)) == list(range(64, 100))
    assert len(list((path / "segments").glob("[0-9a-f]*"))) == 1


@pytest.mark.usefixtures("quick")
def test_a_large_merge_keeps_nobody_out(tmp_path, monkeypatch):
    """It begins where others are not kept out, and is not done again where they are."""
    monkeypatch.setattr(changes, "CHEAP_ROWS", 50)
    begun = []
    write = compaction.Merges._write

    def written(self, work, inputs):
        begun.append(work.alone)
        return write(self, work, inputs)

    monkeypatch.setattr(compaction.Merges, "_write", written)
    path = tmp_path / "i"
    other = new_index(path, make_codes(100))
    files = Busy(other)

    def come_late(path, shared=False):
        if not shared and not begun:
            for number in range(7):  # an eighth is merged with them
                put(other, make_codes(90, seed=number), auto_compact=False)
        return Busy.lock_folder(files, path, shared)

    files.lock_folder = come_late
    with Store.open(path, files=files) as store:
        put(store, make_codes(90, seed=9))
        assert len(store.snapshot.segments) < 9
    assert begun[:2] == [True, False]  # the first stopped before it wrote anything
    assert not any(begun[1:])
    assert files.n_kept_out == 1
    assert len(raw_content(path)) == 100 + 8 * 90 - files.n_first
    assert verify(path, deep=True).ok


@pytest.mark.usefixtures("quick")
def test_who_cannot_keep_others_out_commits_beside_them(tmp_path, monkeypatch):
    """Another holds the lock shared, and does not let go of it."""
    monkeypatch.setattr(transactions, "LONGEST_ALONE", 0.02)
    path = tmp_path / "i"
    other = new_index(path, make_codes(100))
    lock = Watched().lock_folder(path / "manifests", True)
    files = Meanwhile(*[lambda: other.commit_delete([min(content(other))])] * 12)
    with Store.open(path, files=files) as store:
        put(store, make_codes(2, seed=1))
    os.close(lock)
    assert sorted(raw_content(path)) == list(range(12, 102))


@pytest.mark.usefixtures("quick")
def test_a_writer_that_fails_while_it_keeps_others_out_leaves_nothing(tmp_path):
    class Failing(Busy):
        def link(self, source, target):
            if self.n_kept_out:
                raise KeyboardInterrupt
            super().link(source, target)

    path = tmp_path / "i"
    other = new_index(path, make_codes(100))
    files = Failing(other)
    with Store.open(path, files=files) as store, pytest.raises(KeyboardInterrupt):
        put(store, make_codes(2, seed=1))
    assert files.n_kept_out == 1
    assert len(list((path / "segments").glob("[0-9a-f]*"))) == 1
    other.commit_delete([50])
    assert verify(path, deep=True).ok
