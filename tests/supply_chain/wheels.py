"""The wheel is built twice, as differently as two people would, and must come out the same."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

from .environments import build_wheel, clean_copy, make


def compare_wheels(folder: Path) -> None:
    """Build from two copies at different paths, of different ages, with different umasks and time zones."""
    python = make(folder / "venv")
    built = []
    for name, umask, age, zone in (("one", 0o022, 0, "UTC"), ("another/and deeper", 0o077, 10**9, "Asia/Tokyo")):
        source = folder / name / "hashdb"
        source.parent.mkdir(parents=True)
        before = os.umask(umask)
        try:
            _disguise(clean_copy(source), umask, age)
            wheel = build_wheel(python, source, folder / name / "wheel", env={**os.environ, "TZ": zone})
        finally:
            os.umask(before)
        built.append(wheel)
    _check_same(*built)
    digest = hashlib.sha256(built[0].read_bytes()).hexdigest()
    print(f"{built[0].name} came out twice with the SHA-256 {digest}")


def _disguise(source: Path, umask: int, age: float) -> None:
    """Give files the rights and the time that a checkout under this umask would have had then."""
    for path in sorted(source.rglob("*"), reverse=True):
        if not path.is_symlink():
            path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
            then = path.stat().st_mtime - age
            os.utime(path, (then, then))


def _check_same(one: Path, other: Path) -> None:
    if one.read_bytes() == other.read_bytes():
        return
    first, second = ({info.filename: info for info in zipfile.ZipFile(path).infolist()} for path in (one, other))
    names = set(first) ^ set(second)
    names |= {
        name
        for name in set(first) & set(second)
        for field in ("CRC", "date_time", "external_attr", "create_system", "header_offset")
        if getattr(first[name], field) != getattr(second[name], field)
    }
    raise SystemExit(f"the wheels differ in {', '.join(sorted(names)) or 'the order of their files'}")
