"""What the tests of repairs share: segments, what they hold, and ways to damage their files."""

from __future__ import annotations

import os
from pathlib import Path

import hashdb
from guarantees.damage_kit import content, flip, manifest_of


def segment(path: Path, number: int) -> Path:
    return path / "segments" / manifest_of(path)["segments"][number]["uuid"]


def read(path: Path) -> dict:
    with hashdb.open(path, check="full") as index:
        return content(index)


def damage(file: Path, how: str) -> None:
    if how == "flipped":
        flip(file, file.stat().st_size // 2)
    elif how == "emptied":
        os.truncate(file, 0)
    else:
        file.unlink()


def all_kinds_of_damage(path: Path) -> None:
    """What needs documents put back, tables made anew and rows given up."""
    (path / "segments" / "zarr.json").unlink()
    flip(segment(path, 0) / "codes" / "c" / "0" / "0", 4)
    flip(segment(path, 0) / "segment.json", 70)
    flip(segment(path, 1) / "id_bytes" / "c" / "0", 8)
