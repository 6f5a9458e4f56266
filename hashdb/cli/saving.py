"""Results into files, whole or not at all, and into what is no regular file as it is."""

from __future__ import annotations

import json
import os
import stat
import sys
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from hashdb.errors import ArgumentError
from hashdb.replacing import replacing
from hashdb.storage.commit import DISK, translated


def suffix_of(output: str | None) -> str:
    """Return ``.npz``, ``.jsonl``, or nothing where no file is asked for."""
    if output is None:
        return ""
    suffix = Path(output).suffix
    if suffix not in (".npz", ".jsonl"):
        raise ArgumentError(f"--output {output} ends in {suffix or 'nothing'!r}, expected .npz or .jsonl")
    check_target("--output", output, is_stream=suffix == ".jsonl")
    return suffix


def check_target(option: str, path: str, *, is_stream: bool = True) -> None:
    """Raise ArgumentError for a path that no file, or stream, can be written to."""
    if not path:
        raise ArgumentError(f"{option} is empty, expected the name of a file")
    with translated(f"write {path}"):
        found = _stat(path)
        if found is None:
            if not os.path.isdir(os.path.dirname(os.path.realpath(path))):
                raise ArgumentError(f"{option} {path}: its folder does not exist")
        elif stat.S_ISDIR(found.st_mode):
            raise ArgumentError(f"{option} {path} is a folder, expected a file")
        elif not stat.S_ISREG(found.st_mode) and (stat.S_ISSOCK(found.st_mode) or not is_stream):
            raise ArgumentError(f"{option} {path} is a device, a pipe or a socket, expected a regular file")


def save_lines(path: str, lines: Iterable[str], *, flushed: bool = False) -> None:
    """Write one line each; `flushed` lines in a file survive a power loss from then on."""
    _write(path, lambda file: file.writelines(line.encode() + b"\n" for line in lines), flushed=flushed)


def save_npz(path: str, found: Any) -> None:
    """Write ids and distances, and lims of a radius search, as arrays."""
    import numpy as np

    arrays = {"ids": found.ids, "distances": found.distances}
    if hasattr(found, "lims"):
        arrays["lims"] = found.lims

    def write(file: IO[bytes]) -> None:
        # As numpy.savez does it, whose first 2.x left the archive open where the disk was full.
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)

    _write(path, write)


def save_jsonl(path: str, records: Iterable[dict[str, Any]]) -> None:
    """Write one object a query."""

    def write(file: IO[bytes]) -> None:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")

    _write(path, write)


def _write(path: str, write: Callable[[IO[bytes]], None], *, flushed: bool = False) -> None:
    """Write into a device, a pipe or what is stdout already; whatever else is there is replaced."""
    with translated(f"write {path}"):
        found = _stat(path)
        own = None if found is None else _own(found)
        if found is not None and own is not None:
            sys.stdout.flush()
            with open(own, "wb", closefd=False) as file:
                write(file)
                if flushed and stat.S_ISREG(found.st_mode):
                    file.flush()
                    DISK.fsync(file.fileno())
        elif found is not None and not stat.S_ISREG(found.st_mode):
            with open(path, "wb") as file:
                write(file)
        else:
            with replacing(path, flushed=flushed) as file:
                write(file)


def _stat(path: str) -> os.stat_result | None:
    """Look at what links lead to, nothing where they lead nowhere."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _own(found: os.stat_result) -> int | None:
    """Give the number of the stream of ours that a file is, as with `/dev/stdout`: a new one would begin at byte 0."""
    for number in (1, 2):
        with suppress(OSError):
            if os.path.samestat(found, os.fstat(number)):
                return number
    return None
