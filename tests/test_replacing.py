"""Files that are written whole or not at all, wherever a link leads."""

import os
from pathlib import Path

import pytest

from hashdb.evaluation.saving import load_arrays, save_arrays, write_text
from hashdb.replacing import replacing
from hashdb.storage.commit import DISK


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def mode(name):
    return Path(name).stat().st_mode & 0o777


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there_and_nothing_beside_it(fault):
    def fail(name):
        with replacing(name) as file:
            file.write(b"half")
            raise fault

    Path("old").write_bytes(b"old")
    for name in ("old", "new"):
        with pytest.raises(fault):
            fail(name)
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == {"old": b"old"}


def test_nobody_sees_a_part_of_a_file():
    Path("a").write_bytes(b"old")
    with replacing("a") as file:
        file.write(b"new")
        file.flush()
        assert Path("a").read_bytes() == b"old"
    assert Path("a").read_bytes() == b"new"
    assert os.listdir() == ["a"]


def test_a_link_is_followed_and_stays():
    os.mkdir("far")
    Path("link").symlink_to("far/real")
    for data in (b"1", b"2"):
        with replacing("link") as file:
            file.write(data)
        assert Path("link").is_symlink()
        assert (Path("far/real").read_bytes(), os.listdir("far")) == (data, ["real"])


def test_pages_and_arrays_of_an_evaluation_follow_links_too():
    Path("page.html").symlink_to("real.html")
    Path("a.npz").symlink_to("real.npz")
    write_text(Path("page.html"), "<p>ü")
    save_arrays(Path("a.npz"), {})
    assert Path("page.html").is_symlink()
    assert Path("real.html").read_bytes() == "<p>ü".encode()
    assert (Path("a.npz").is_symlink(), load_arrays(Path("real.npz"))) == (True, {})


def test_the_mode_of_what_is_replaced_is_kept_and_a_new_file_gets_the_usual_one():
    Path("usual").touch()
    Path("mine").touch(0o600)
    for name in ("mine", "new"):
        with replacing(name):
            assert [mode(path) for path in Path().glob(f".{name}.*")] == [
                mode(name) if name == "mine" else mode("usual")
            ]
    assert (mode("mine"), mode("new")) == (0o600, mode("usual"))


def test_a_long_name_is_no_hindrance():
    name = "ü" * 127
    with replacing(name) as file:
        file.write(b"1")
    assert os.listdir() == [name]


def test_a_flushed_file_is_flushed_before_it_is_moved_and_its_folder_afterwards(monkeypatch):
    seen = []
    monkeypatch.setattr(DISK, "fsync", lambda handle: seen.append((os.path.exists("a"), os.fstat(handle).st_size)))
    monkeypatch.setattr(DISK, "fsync_folder", lambda folder: seen.append((os.path.exists("a"), folder)))
    with replacing("a", flushed=True) as file:
        file.write(b"123")
    assert seen == [(False, 3), (True, Path())]
