"""The locks of an index: they are given back whatever happens, and a wait for one leaves nothing behind."""

import errno
import fcntl
import gc
import os

import pytest
from storage_kit import Unsynced, content, make_codes, new_index, put, raw_content, tree

from hashdb.errors import ConflictError, StorageError
from hashdb.storage import Store, locking, verify
from hashdb.storage.commit import DISK


class Interrupted(Unsynced):
    """Ctrl-C comes at the entry of an effect, once."""

    def __init__(self, name):
        self.name = name

    def lock_folder(self, path, shared=False):
        self._interrupt("lock_folder")
        return super().lock_folder(path, shared)

    def unlock(self, handle):
        self._interrupt("unlock")
        super().unlock(handle)

    def _interrupt(self, name):
        if self.name == name:
            self.name = None
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["lock_folder", "unlock"])
@pytest.mark.parametrize("act", ["add", "prune"])
def test_an_interrupt_leaves_no_lock_and_no_open_file(tmp_path, name, act):
    path = tmp_path / "i"
    with new_index(path, make_codes(10)) as store:
        store.commit_delete([3])
        store.compact()
    gc.collect()
    with Store.open(path, files=Interrupted(name)) as store:
        n_open = len(os.listdir("/proc/self/fd"))
        with pytest.raises(KeyboardInterrupt):
            put(store, make_codes(1)) if act == "add" else store.compact(prune=True)
        assert store.snapshot.version == 3
        assert len(os.listdir("/proc/self/fd")) == n_open
        os.close(DISK.lock_folder(path / "manifests"))
        store.refresh()
        store.compact(prune=True)
        assert content(store) == raw_content(path)
    assert verify(path, deep=True).ok


@pytest.fixture(name="held")
def fixture_held(tmp_path, monkeypatch):
    """An index whose lock another has and does not give back."""
    monkeypatch.setattr(locking, "PATIENCE", 0.2)
    path = tmp_path / "i"
    new_index(path, make_codes(10)).close()
    lock = DISK.lock_folder(path / "manifests")
    yield path
    os.close(lock)


def test_an_add_that_waits_for_the_lock_in_vain_waits_once_and_leaves_nothing(held, monkeypatch, caplog):
    before, waits, acquire = tree(held), [], locking._acquire
    monkeypatch.setattr(locking, "_acquire", lambda *how: waits.append(how) or acquire(*how))
    with (
        Store.open(held) as store,
        pytest.raises(ConflictError, match=r"the lock of .*manifests has been held for 0.2 s"),
    ):
        put(store, make_codes(3))
    assert tree(held) == before
    assert (len(waits), caplog.messages) == (1, [])


def test_an_interrupt_while_an_add_waits_for_the_lock_ends_it_at_once(held, monkeypatch):
    monkeypatch.setattr(locking, "PATIENCE", 60.0)
    before, waits = tree(held), []

    def interrupt(seconds):
        waits.append(seconds)
        raise KeyboardInterrupt

    with Store.open(held) as store:
        monkeypatch.setattr(locking.time, "sleep", interrupt)
        with pytest.raises(KeyboardInterrupt):
            put(store, make_codes(3))
    assert tree(held) == before
    assert len(waits) == 1


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_refused_with_the_reason_and_nothing_stays(tmp_path, monkeypatch, code):
    path = tmp_path / "i"
    new_index(path, make_codes(10)).close()
    before = tree(path)

    def flock(handle, how):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with Store.open(path) as store, pytest.raises(StorageError, match="this file system keeps no locks"):
        put(store, make_codes(3))
    assert tree(path) == before
    with pytest.raises(StorageError, match="this file system keeps no locks"):
        new_index(tmp_path / "new")
    assert os.listdir(tmp_path) == ["i"]


class Forked(Unsynced):
    """Keeps a second handle of every lock, as a child does that was forked while it was held."""

    def __init__(self):
        self.inherited = []

    def lock_folder(self, path, shared=False):
        handle = super().lock_folder(path, shared)
        self.inherited.append(os.dup(handle))
        return handle


@pytest.mark.parametrize("fails", [True, False])
def test_a_child_that_inherits_a_lock_keeps_nobody_waiting(tmp_path, fails):
    files, path = Forked(), tmp_path / "i"
    path.mkdir()
    store = Store.create(path, id_kind="int64", n_bits=64, n_stored_bits=64, settings={}, files=files)
    if not fails:
        store.commit_build(None)
        put(store, make_codes(2))
    store.close()
    if fails:
        new_index(path, make_codes(2)).close()
    with Store.open(path) as other:
        other.compact(prune=True)
    assert len(raw_content(path)) == 2
    assert files.inherited
    for handle in files.inherited:
        os.close(handle)
