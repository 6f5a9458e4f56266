"""What only older versions need is looked at too, put back where it is proven, and given up only when told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from storage_kit import Unsynced, make_codes, new_index, tree

import hashdb
from guarantees.damage_kit import answers, cli, flip, is_metadata, manifest_of
from guarantees.repair_fixtures import fixture_master  # noqa: F401
from hashdb.errors import VersionGoneError
from hashdb.storage import maintain, verify


@pytest.fixture(scope="module", name="compacted")
def fixture_compacted(master: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1 to 3 need segments and deletes that version 4 has rewritten."""
    path = Path(shutil.copytree(master, tmp_path_factory.mktemp("compacted") / "a.hashdb"))
    with hashdb.open(path) as index:
        index.compact()
    return path


@pytest.fixture(name="path")
def fixture_path(compacted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(compacted, tmp_path / "a.hashdb"))


def old_units(path: Path) -> dict[str, Path]:
    """A folder that each older version needs and the newest does not, and which versions do."""
    first, second = (path / "segments" / entry["uuid"] for entry in manifest_of(path, 3)["segments"])
    deletes = path / "deletes" / manifest_of(path, 3)["segments"][1]["deletes"][0]["uuid"]
    return {"versions 1 to 3": first, "versions 2 to 3": second, "version 3": deletes}


def test_verify_names_damage_that_only_older_versions_have(path):
    for needed, folder in old_units(path).items():
        files = [file for file in folder.rglob("*") if file.is_file() and "buckets" not in file.parts]
        for file in files:
            data = file.read_bytes()
            file.unlink()
            (problem,) = hashdb.verify(path).problems
            assert problem == (str(file), f"{file} is missing; needed by {needed}")
            file.write_bytes(data)
        for file in files:
            if not is_metadata(file):
                flip(file, 0)
        assert hashdb.verify(path).ok or needed == "version 3"  # deletes are always read
        found = hashdb.verify(path, deep=True)
        assert {one for one, _ in found.problems} >= {str(file) for file in files if not is_metadata(file)}
        assert all(said.endswith(f"; needed by {needed}") for _, said in found.problems)
        assert verify(path, version=4, deep=True).ok
        for file in files:
            if not is_metadata(file):
                flip(file, 0)
    assert hashdb.verify(path, deep=True).ok


def test_repair_puts_back_what_only_older_versions_need(path):
    before = tree(path)
    for folder in old_units(path).values():
        (folder / "zarr.json").unlink()
    for file in old_units(path)["versions 1 to 3"].glob("codes/c/0/0"):
        flip(file, 3)
    report = hashdb.repair(path)
    assert (report.ok, report.losses, len(report.restored), report.committed) == (True, [], 4, False)
    assert tree(path) == before


@pytest.mark.parametrize("needed", ["versions 1 to 3", "versions 2 to 3", "version 3"])
def test_what_only_older_versions_lose_is_given_up_with_them(path, needed):
    with hashdb.open(path) as index:
        right = answers(index)
    folder = old_units(path)[needed]
    for file in [*folder.glob("rows/c/0"), *folder.glob("vectors/c/0/0")]:
        flip(file, 0)
    before = tree(path)
    said = cli("repair", path)
    assert said.returncode == 1
    assert f"cannot be saved: {folder}" in said.stdout
    first = needed.split()[1]
    assert f"needed by version {first}: giving it up removes versions 1 to 3; the newest version loses" in said.stdout
    assert tree(path) == before
    report = hashdb.repair(path, drop=True)
    assert (report.ok, report.version, report.committed) == (True, 4, False)
    assert [file.name for file in path.glob("manifests/0*")] == ["000000000004.json"]
    with hashdb.open(path) as index:
        assert answers(index) == right


def test_many_versions_are_looked_at_once(tmp_path, monkeypatch):
    path = tmp_path / "i"
    with new_index(path, make_codes(200), files=Unsynced()) as store:
        for number in range(60):
            store.commit_delete([number])
    read, looked = [], []
    real = maintain.read_manifest
    monkeypatch.setattr(maintain, "read_manifest", lambda root, number: read.append(number) or real(root, number))
    report = verify(path, deep=True, progress=lambda done, total: looked.append(total))
    assert report.ok
    assert sorted(read) == list(range(1, 62))
    n_lists = len([file for file in (path / "deletes").iterdir() if file.is_dir()])
    assert len(looked) < 12 + n_lists


def test_versions_that_are_pruned_while_they_are_looked_at_are_no_damage(path):
    def prune(done: int, _: int) -> None:
        if done == 1:
            with hashdb.open(path) as other:
                other.compact(prune=True)

    found = verify(path, deep=True, progress=prune)
    assert (found.ok, found.version) == (True, 4)


def test_a_version_that_is_pruned_while_it_is_looked_at_is_said_or_left_for_the_newest(path):
    def prune(done: int, _: int) -> None:
        if done == 1:
            with hashdb.open(path) as other:
                other.delete(["row-0"], ignore_missing=True)
                other.compact(prune=True)

    with pytest.raises(VersionGoneError, match=r"version 2 of .* was pruned while it was looked at; verify again"):
        verify(path, version=2, progress=prune)
    newest, done = manifest_of(path)["version"], []

    def commit_and_prune(*_: int) -> None:
        if not done:
            done.append(True)
            with hashdb.open(path) as other:
                other.delete(["row-3"])
                other.compact(prune=True)

    found = verify(path, progress=commit_and_prune)
    assert found.ok
    assert found.version > newest
