"""What stands at the path of an index: nothing, links, other builds, and what one has no right to see."""

import errno
import os
import re

import pytest
from storage_kit import Unsynced, content, make_codes, new_index, raw_content, write

from hashdb.errors import IndexExistsError, IndexNotFoundError, StorageError, VersionGoneError
from hashdb.storage import Store, folder, verify


def begin(path, files=None):
    """Begin a build and leave it open."""
    return Store.create(
        path, id_kind="int64", n_bits=64, n_stored_bits=64, settings={}, files=Unsynced() if files is None else files
    )


def finish(store):
    store.commit_build(None, write(store, make_codes(4)))
    store.close()


# ---- building


@pytest.mark.parametrize("target", ["nowhere", "i"], ids=["dangling", "in a circle"])
def test_a_link_that_leads_nowhere_is_told_as_such(tmp_path, target):
    (tmp_path / "i").symlink_to(tmp_path / target)
    for act in (new_index, folder.check_free):
        with pytest.raises(IndexExistsError, match="is a symbolic link that leads nowhere; give the path of a new"):
            act(tmp_path / "i")
    with pytest.raises(IndexNotFoundError, match="that is a symbolic link that leads nowhere"):
        Store.open(tmp_path / "i")
    assert os.listdir(tmp_path) == ["i"]


@pytest.mark.parametrize("was_there", [True, False])
@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOLCK])
def test_a_folder_that_cannot_be_locked_is_left_as_it_was(tmp_path, code, was_there):
    class Unlocked(Unsynced):
        def lock_folder(self, path, shared=False):
            raise OSError(code, os.strerror(code), str(path))

    if was_there:
        (tmp_path / "i").mkdir()
    with pytest.raises(StorageError, match="cannot create the index"):
        begin(tmp_path / "i", Unlocked())
    assert (tmp_path / "i").exists() == was_there


def test_a_folder_that_cannot_be_read_after_all_is_removed_again(tmp_path, monkeypatch):
    def fail(root):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(folder, "_leftovers", fail)
    with pytest.raises(StorageError, match="too many open files"):
        begin(tmp_path / "i")
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize(("is_done", "said"), [(False, "another process is building"), (True, "there is an index at")])
def test_a_build_that_comes_second_between_two_looks_reads_who_was_first(tmp_path, is_done, said):
    path, others = tmp_path / "i", []

    class Second(Unsynced):
        def mkdir(self, place):
            if place == path:
                others.append(begin(path))
                if is_done:
                    finish(others[0])
            super().mkdir(place)

    with pytest.raises(IndexExistsError, match=said):
        begin(path, Second())
    if not is_done:
        finish(others[0])
    assert len(raw_content(path)) == 4


def test_a_folder_that_another_build_gives_up_before_it_is_locked_is_told_as_such(tmp_path):
    class Late(Unsynced):
        def lock_folder(self, path, shared=False):
            path.rmdir()
            return super().lock_folder(path, shared)

    with pytest.raises(IndexExistsError, match="removed or taken over by another build; start again"):
        begin(tmp_path / "i", Late())


@pytest.mark.parametrize(
    ("is_done", "said"), [(True, "there is an index at"), (False, "removed or taken over by another build")]
)
def test_a_build_that_ends_while_somebody_looks_is_not_taken_for_a_damaged_index(tmp_path, monkeypatch, is_done, said):
    store, look = begin(tmp_path / "i"), folder._members

    def end_and_look(path):
        if store._build is not None and store._build.lock >= 0:
            finish(store) if is_done else store.close()
        return look(path) if path.exists() else os.listdir(path)

    monkeypatch.setattr(folder, "_members", end_and_look)
    with pytest.raises(IndexExistsError, match=said):
        folder.check_free(tmp_path / "i")
    assert (tmp_path / "i").exists() == is_done


# ---- opening


def test_a_missing_right_above_the_index_is_not_told_as_no_index(tmp_path, monkeypatch):
    path, stat = tmp_path / "i", os.stat
    new_index(path).close()

    def closed(place, *args, **options):
        if place == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(place))
        return stat(place, *args, **options)

    monkeypatch.setattr(os, "stat", closed)
    said = re.escape(f"cannot open the index {path}: permission denied; check who owns the folder")
    for act in (Store.open, verify):
        with pytest.raises(StorageError, match=said):
            act(path)
    with pytest.raises(StorageError, match="permission denied"):
        folder.check_free(path)


@pytest.mark.parametrize("how", ["moved", "unmounted"])
def test_an_index_that_is_moved_away_while_it_is_open_is_not_told_as_pruned(tmp_path, how):
    new_index(tmp_path / "i", make_codes(5)).close()
    with Store.open(tmp_path / "i") as store:
        os.rename(tmp_path / "i", tmp_path / "other")
        if how == "unmounted":
            (tmp_path / "i").mkdir()
        with pytest.raises(VersionGoneError, match=r"no index at \S+/i any more: it was moved or removed"):
            content(store)
        if how == "unmounted":
            (tmp_path / "i").rmdir()
        os.rename(tmp_path / "other", tmp_path / "i")
        assert len(content(store)) == 5


def test_a_file_that_is_lost_is_told_whatever_else_stands_beside_the_manifests(tmp_path):
    new_index(tmp_path / "i", make_codes(5)).close()
    with Store.open(tmp_path / "i") as store:
        (codes,) = (tmp_path / "i").glob("segments/*/codes/c/0/0")
        codes.unlink()
        os.mkfifo(tmp_path / "i" / "manifests" / "x.json")
        (tmp_path / "i" / "manifests" / "y.json").mkdir()
        with pytest.raises(Exception, match=r"codes/c/0/0 is missing"):
            content(store)
