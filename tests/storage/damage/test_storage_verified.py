"""What is damaged first does not hide the rest from `verify`, and not being able to look is no damage."""

import errno
import json
import os
import threading

import pytest
from storage_kit import content, make_codes, manifest_of, new_index, put, seal
from zarr.core.sync import cleanup_resources

import hashdb
from hashdb.errors import IndexNotFoundError, OutOfMemoryError, StorageError
from hashdb.storage import Store, verify


def flip(file, at=5):
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


# ---- damaged documents do not hide other damage


@pytest.mark.parametrize("id_kind", ["int64", "string"])
@pytest.mark.parametrize("how", ["flipped", "missing", "another's"])
def test_a_damaged_root_document_hides_nothing(tmp_path, id_kind, how):
    path = tmp_path / "i"
    ids = ["a", "b", "c", "d"] if id_kind == "string" else [1, 3, 5, 7]
    with new_index(path, make_codes(4), ids, id_kind=id_kind, model=({"m": 1}, {})) as store:
        put(store, make_codes(1, seed=1), ids=["e"] if id_kind == "string" else [9])
    first, second = sorted(path.glob("segments/*/codes/c/0/0"))
    (model,) = path.glob("models/*/model.json")
    wrong = [path / "zarr.json", first, second, model]
    for file in wrong[1:]:
        flip(file)
    if how == "flipped":
        flip(wrong[0])
    elif how == "missing":
        wrong[0].unlink()
    else:
        new_index(tmp_path / "other", make_codes(1)).close()
        wrong[0].write_bytes((tmp_path / "other" / "zarr.json").read_bytes())
    found = verify(path, deep=True)
    assert {file for file, _ in found.problems} == {str(file) for file in wrong}
    assert found.version == 2
    assert not any("needed by" in said for _, said in found.problems)


def test_a_damaged_newest_manifest_does_not_hide_what_only_it_names(path):
    with Store.open(path) as store:
        put(store, make_codes(2, seed=3))
        (new,) = {entry.uuid for entry in store.snapshot.manifest.segments[-1:]}
    (path / "segments" / new / "codes/c/0/0").unlink()
    flip(manifest_of(path), 200)
    (about_manifest, about_codes) = verify(path).problems
    assert about_manifest[0] == str(manifest_of(path))
    assert about_codes[0] == str(path / "segments" / new / "codes/c/0/0")
    assert about_codes[1].endswith("is missing; needed by version 4")


def test_one_manifest_of_another_index_is_named_and_the_others_are_used(path, tmp_path):
    with new_index(tmp_path / "other") as other:
        theirs = other.snapshot.manifest
    manifest = manifest_of(path)
    seal(path, {**json.loads(manifest.read_text()), "index": theirs.index})
    found = verify(path)
    assert {file for file, _ in found.problems} == {str(manifest)}
    assert found.version == 2


def test_deletes_of_a_segment_whose_document_is_damaged_are_looked_at(path):
    (rows, *_) = sorted(path.glob("deletes/*/rows/c/0"))
    flip(rows, 0)
    documents = sorted(path.glob("segments/*/segment.json"))
    for document in documents:
        flip(document)
    assert {file for file, _ in verify(path).problems} == {str(rows), *map(str, documents)}


# ---- not being able to look is no damage


def refusing(code):
    def refuse(place=None, *_, **__):
        raise OSError(code, os.strerror(code), place and str(place))

    return refuse


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("n_threads", [0, 1, 2])
def test_verify_without_threads_is_an_error_and_no_damage_and_works_again(path, monkeypatch, n_threads):
    """Not even where zarr, which starts one thread for itself and others to read, gets a part of them."""
    cleanup_resources()
    real, started = threading.Thread.start, []

    def start(thread):
        started.append(thread)
        if len(started) > n_threads:
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    for _ in range(2):
        with pytest.raises(StorageError, match=r"cannot look at .* with zarr: can't start new thread"):
            verify(path, deep=True)
    monkeypatch.undo()
    assert verify(path, deep=True).ok


@pytest.mark.parametrize("where", ["zarr.open_array", "hashdb.storage.visiting.check_rows"])
def test_verify_without_memory_is_an_error_and_no_damage(path, monkeypatch, where):
    def full(*_, **__):
        raise MemoryError("Unable to allocate 8. GiB")

    monkeypatch.setattr(where, full)
    with pytest.raises(OutOfMemoryError, match=r"cannot .*: Unable to allocate 8\. GiB; free some"):
        verify(path, deep=True)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_what_the_system_refuses_to_zarr_is_an_error_and_no_damage(path, monkeypatch, code):
    monkeypatch.setattr("zarr.open_array", refusing(code))
    with pytest.raises(StorageError, match="cannot look at") as caught:
        verify(path, deep=True)
    assert caught.value.errno == code


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE, errno.EIO])
@pytest.mark.parametrize("name", ["segments/*/codes/c/0/0", "segments/*/segment.json", "deletes/*/rows/c/0"])
def test_a_file_that_cannot_be_opened_is_an_error_and_one_that_cannot_be_read_is_damage(path, monkeypatch, code, name):
    file, real = str(sorted(path.glob(name))[0]), os.open

    def refuse(place, *rest, **options):
        return refusing(code)(place) if str(place) == file else real(place, *rest, **options)

    monkeypatch.setattr(os, "open", refuse)
    if code == errno.EIO:  # the medium
        found = verify(path, deep=True).problems
        assert any(file in said for _, said in found)
        return
    with pytest.raises(StorageError) as caught:
        verify(path, deep=True)
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("look", [hashdb.verify, hashdb.repair])
def test_a_folder_that_cannot_be_read_is_said_in_one_line(path, look, monkeypatch):
    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, refusing(errno.EACCES))
    with pytest.raises(StorageError, match="permission denied; check who owns"):
        look(path)


@pytest.mark.parametrize("look", [hashdb.verify, hashdb.repair])
def test_a_path_that_no_index_can_have_is_none(tmp_path, look):
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    for name in ("x" * 300, "loop", "loop/i", "file", "file/i", "nothing"):
        with pytest.raises(IndexNotFoundError):
            look(tmp_path / name)


def test_the_intact_index_is_well(path):
    assert verify(path, deep=True).problems == []
    with Store.open(path) as store:
        assert len(content(store)) == 12
