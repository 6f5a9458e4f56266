"""Builds leave what is there alone, and segments are committed once or leave nothing."""

import re
import shutil

import numpy as np
import pytest
from storage_kit import Watched, make_codes, new_index, put, raw_content, tree, write

from hashdb.errors import ArgumentError, ConflictError, IndexExistsError, IndexNotFoundError
from hashdb.storage import Store, segments


def test_an_existing_index_is_not_overwritten(tmp_path):
    new_index(tmp_path / "i", make_codes(3)).close()
    with pytest.raises(IndexExistsError, match="an index at"):
        new_index(tmp_path / "i")
    assert len(raw_content(tmp_path / "i")) == 3


@pytest.mark.parametrize("name", ["notes.txt", "segments"])
def test_a_folder_with_other_things_is_left_alone(tmp_path, name):
    (tmp_path / "i" / name).mkdir(parents=True)
    with pytest.raises(IndexExistsError, match="not empty"):
        new_index(tmp_path / "i")
    assert (tmp_path / "i" / name).is_dir()


def test_someone_elses_zarr_folder_is_left_alone(tmp_path):
    import zarr

    zarr.open_group(tmp_path / "i", mode="w").create_array("segments", shape=(3,), dtype="u1")
    with pytest.raises(IndexExistsError, match="not empty"):
        new_index(tmp_path / "i")
    assert zarr.open_group(tmp_path / "i", mode="r")["segments"].shape == (3,)


def test_a_file_is_left_alone(tmp_path):
    (tmp_path / "i").write_text("mine")
    with pytest.raises(IndexExistsError, match="is a file"):
        new_index(tmp_path / "i")


def test_an_unfinished_build_is_no_index_and_can_be_taken_over(tmp_path):
    files = Watched()
    store = Store.create(tmp_path / "i", id_kind="int64", n_bits=64, n_stored_bits=64, settings={}, files=files)
    write(store, make_codes(5))
    store._build.release()  # what the end of its process does
    with pytest.raises(IndexNotFoundError, match="not finished"):
        Store.open(tmp_path / "i")
    new_index(tmp_path / "i", make_codes(2))
    assert len(raw_content(tmp_path / "i")) == 2
    assert len(list((tmp_path / "i" / "segments").iterdir())) == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("manifests/000000000001.json.old", "manifests/000000000001.json.old"),
        ("deletes/x/delete.json", "a folder in deletes/"),
        ("segments/x/segment.json", "2 segments"),
    ],
)
def test_what_no_unfinished_build_has_is_not_taken_over(tmp_path, more, said):
    root = tmp_path / "i"
    store = new_index(root, make_codes(5))
    store.close()
    (root / "manifests" / "000000000001.json").unlink()
    (root / more).parent.mkdir(exist_ok=True)
    (root / more).write_text("{}")
    before = tree(root)
    with pytest.raises(IndexExistsError, match=re.escape(f"({said}): its manifests were removed; nothing was changed")):
        new_index(root)
    assert tree(root) == before


def test_a_build_under_way_is_not_taken_over(tmp_path):
    store = Store.create(tmp_path / "i", id_kind="int64", n_bits=64, n_stored_bits=64, settings={})
    with pytest.raises(IndexExistsError, match="another process is building"):
        new_index(tmp_path / "i")
    store.commit_build(None, write(store, make_codes(4)))
    assert len(raw_content(tmp_path / "i")) == 4


@pytest.mark.parametrize("exists", [True, False])
def test_closing_an_uncommitted_build_leaves_what_was_there(tmp_path, exists):
    if exists:
        (tmp_path / "i").mkdir()
    with Store.create(tmp_path / "i", id_kind="int64", n_bits=64, n_stored_bits=64, settings={}) as store:
        store.write_model({}, {"a": np.zeros(3)})
        write(store, make_codes(5))
    assert (tmp_path / "i").exists() == exists
    assert not exists or not list((tmp_path / "i").iterdir())


def test_a_built_index_cannot_be_built_again(tmp_path):
    store = new_index(tmp_path / "i")
    with pytest.raises(ArgumentError, match="already"):
        store.commit_build(None, None)


def test_a_segment_is_committed_once(tmp_path):
    store = new_index(tmp_path / "i")
    segment = write(store, make_codes(2))
    store.commit_add(segment)
    with pytest.raises(ArgumentError, match="committed already"):
        store.commit_add(segment)


@pytest.mark.parametrize(
    "wrong", [{"id_kind": "uuid"}, {"n_stored_bits": 0}, {"n_stored_bits": 4097}, {"settings": {"a": float("nan")}}]
)
def test_attributes_are_checked(tmp_path, wrong):
    with pytest.raises(ArgumentError):
        Store.create(tmp_path / "i", **{"id_kind": "int64", "n_bits": 8, "n_stored_bits": 8, "settings": {}, **wrong})
    assert not (tmp_path / "i").exists()


def test_a_segment_takes_no_more_rows_than_a_delete_list_can_name(tmp_path, monkeypatch):
    monkeypatch.setattr(segments, "MAX_ROWS", 5)
    store = new_index(tmp_path / "i", make_codes(5))
    with pytest.raises(ArgumentError, match="at most 5 rows; add the rows in several calls"):
        put(store, make_codes(6))
    assert len(list((tmp_path / "i" / "segments").iterdir())) == 2


def test_a_segment_that_was_swept_before_its_commit_is_not_committed(tmp_path):
    store = new_index(tmp_path / "i", make_codes(5))
    segment = write(store, make_codes(2))
    shutil.rmtree(tmp_path / "i" / "segments" / segment.uuid / "codes", ignore_errors=True)
    with pytest.raises(ConflictError, match="somebody's sweep took what it had written; try again"):
        store.commit_add(segment)
    assert len(raw_content(tmp_path / "i")) == 5


def test_aborting_a_segment_leaves_nothing(tmp_path):
    store = new_index(tmp_path / "i")
    writer = store.new_segment(ids=[2, 1])
    writer.append(make_codes(1))
    writer.abort()
    assert len(list((tmp_path / "i" / "segments").iterdir())) == 1
