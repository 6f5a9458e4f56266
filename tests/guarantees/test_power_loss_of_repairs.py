"""A power loss at any moment of a repair leaves what is repaired again alike, and what a repair returned is safe.

The model of the disk is that of :mod:`guarantees.lossy_disk`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from storage_kit import Unsynced, tree

import hashdb
from guarantees.fault_files import under_hashdb
from guarantees.lossy_disk import LossyDisk, Recorder, write_disk
from guarantees.repair_fixtures import fixture_bare, fixture_master  # noqa: F401
from guarantees.repair_kit import all_kinds_of_damage, damage, read, segment
from hashdb.repairing import Knowledge
from hashdb.storage.repair import repair

SLOW = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(name="folder")
def fixture_folder() -> Iterator[Path]:
    """A folder in memory where there is one: the disk that is lost is a model."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)


def damaged(master: Path, bare: Path, top: Path, kind: str) -> None:
    """Make an index that needs files and folders put back, tables made anew, or rows and versions given up."""
    shutil.copytree(bare if kind == "old versions" else master, top / "index")
    path = top / "index"
    if kind == "old versions":
        shutil.rmtree(segment(path, 0) / "codes" / "c" / "0")
        (path / "manifests" / "000000000002.json").write_bytes(b"")
    elif kind == "tables":
        damage(segment(path, 0) / "buckets" / "0" / "rows" / "c" / "0", "flipped")
        (path / "zarr.json").unlink()
    else:
        all_kinds_of_damage(path)
        shutil.rmtree(segment(path, 0) / "codes")


def state(path: Path, drop: bool) -> Any:
    """What a repair must bring about: every file where nothing is given up, else rows and versions."""
    if not drop:
        return {name: data for name, data in tree(path).items() if not name.endswith(".tmp")}
    versions = sorted(file.name for file in path.glob("manifests/0*.json"))
    return read(path), versions, hashdb.verify(path, deep=True).problems


@pytest.mark.parametrize(("most", "one_of"), [(2, 11), pytest.param(8, 1, marks=SLOW)], ids=["sample", "every moment"])
@pytest.mark.parametrize(("kind", "drop"), [("all", False), ("all", True), ("tables", True), ("old versions", True)])
def test_a_power_loss_at_any_moment_of_a_repair_does_no_harm(
    master, bare, folder, kind, drop, most, one_of, record_property
):
    top, start, lost = folder / "repaired", folder / "start", folder / "lost"
    top.mkdir()
    damaged(master, bare, top, kind)
    shutil.copytree(top, start)
    files = Recorder()
    assert repair(top / "index", Knowledge(), drop=drop, files=files).ok == drop
    wanted = state(top / "index", drop)
    disk, n_disks = LossyDisk(top, start), 0
    moments = range(1, len(files.effects) + 1)
    for done, effect in zip(moments, files.effects, strict=True):
        disk.apply(*effect)
        returned = done == len(files.effects)
        if done % one_of and not returned:
            continue
        for left in disk.disks(12 if returned else most, seed=done):
            write_disk(left, lost)
            with under_hashdb(Unsynced()):
                if not returned:
                    assert hashdb.repair(lost / "index", drop=drop).ok == drop, f"after effect {done}, {effect[:2]}"
                assert state(lost / "index", drop) == wanted, f"after effect {done}, {effect[:2]}"
            shutil.rmtree(lost)
            n_disks += 1
    record_property("power losses", len(moments[::one_of]) + 1)
    record_property("disks after a power loss", n_disks)
