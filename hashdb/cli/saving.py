"""Results into files: whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

from hashdb.errors import ArgumentError, StorageError


def suffix_of(output: str | None) -> str:
    """Return ``.npz``, ``.jsonl``, or nothing where no file is asked for."""
    if output is None:
        return ""
    suffix = Path(output).suffix
    if suffix not in (".npz", ".jsonl"):
        raise ArgumentError(f"--output {output} ends in {suffix or 'nothing'!r}, expected .npz or .jsonl")
    check_target("--output", output)
    return suffix


def check_target(option: str, path: str) -> None:
    """Raise ArgumentError for a path that no file can be written to."""
    if Path(path).is_dir():
        raise ArgumentError(f"{option} {path} is a folder, expected a file")
    if not Path(path).absolute().parent.is_dir():
        raise ArgumentError(f"{option} {path}: its folder does not exist")


def save_lines(path: str, lines: Iterable[str]) -> None:
    """Write one line each."""
    _replace(path, lambda file: file.writelines(line.encode() + b"\n" for line in lines))


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

    _replace(path, write)


def save_jsonl(path: str, records: Iterable[dict[str, Any]]) -> None:
    """Write one object a query."""

    def write(file: IO[bytes]) -> None:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")

    _replace(path, write)


def _replace(path: str, write: Callable[[IO[bytes]], None]) -> None:
    """Write a file beside the target and put it in the target's place, so that a failure keeps what was there."""
    target = Path(path)
    temporary = ""
    try:
        with tempfile.NamedTemporaryFile(dir=target.absolute().parent, prefix=f".{target.name}.", delete=False) as file:
            temporary = file.name
            os.chmod(temporary, 0o666 & ~_umask())
            write(file)
        os.replace(temporary, target)
    except BaseException as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise StorageError(f"cannot write {path}: {error.strerror or error}") from error
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
