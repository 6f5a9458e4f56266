"""Arrays kept in files: results that take long to compute are computed once.

A file is a ``.npz`` without pickled objects, written beside its place and moved there, so a reader sees a whole file
or none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from hashdb.errors import StorageError
from hashdb.inputs.files import ByteFile
from hashdb.inputs.numpy_files import load_npz
from hashdb.replacing import replacing

Arrays = dict[str, NDArray[Any]]
_BYTES_AT_ONCE = 1 << 24


def cache_key(*arrays: NDArray[Any], **facts: Any) -> str:
    """Digest what a result depends on.

    Parameters
    ----------
    *arrays : ndarray
        Their shapes, dtypes and contents count, their layout in memory does not.
    **facts
        Names, numbers, None, arrays, mappings of such, or objects with such ``parts`` (a split).

    Returns
    -------
    str
        64 hex digits.

    Examples
    --------
    >>> ones = np.ones((2, 3))
    >>> cache_key(ones, metric="l2") == cache_key(ones.copy(order="F"), metric="l2")
    True
    >>> cache_key(ones, metric="l2") == cache_key(ones, metric="ip")
    False
    """
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(_digest_of(array))
    digest.update(_text_of(facts).encode())
    return digest.hexdigest()


def cached(folder: str | os.PathLike[str] | None, key: str, make: Callable[[], Arrays]) -> Arrays:
    """Give the arrays of a key from a folder, or make them and keep them there.

    Parameters
    ----------
    folder : path, optional
        Made where it does not exist. None: nothing is kept.
    key : str
        As :func:`cache_key` gives it.
    make : callable
        Makes the arrays by name. What it makes is written to ``<key>.npz``.

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    StorageError
        The folder cannot be written. A file that cannot be read is made anew.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> cached(folder, "a" * 64, lambda: {"answer": np.array(42)})["answer"].item()
    42
    >>> cached(folder, "a" * 64, lambda: {})["answer"].item()
    42
    """
    if folder is None:
        return make()
    path = Path(folder) / f"{key}.npz"
    try:
        found = load_arrays(path)
        if str(found.pop("key")) == key:
            return found
    except PermissionError:
        with contextlib.suppress(OSError):
            path.unlink()  # what replaces it would keep its mode
    except (OSError, ValueError, KeyError):
        pass
    made = make()
    save_arrays(path, {**made, "key": np.array(key)})
    return made


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to a ``.npz`` file as one step.

    Parameters
    ----------
    path : Path
        Its folder is made where it does not exist.
    arrays : mapping of str to ndarray

    Raises
    ------
    StorageError
        The file system refused.
    """
    named: dict[str, Any] = dict(arrays)
    with _writing(path) as file:
        np.savez(file, **named)


def load_arrays(path: Path) -> Arrays:
    """Read the arrays of a ``.npz`` file; nothing in it is executed.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    OSError
        The file cannot be opened.
    ValueError
        It is not a ``.npz`` file of plain arrays, or it is damaged.
    """
    # Not numpy.load, which takes memory for whatever a head says before it looks whether the file has it.
    with path.open("rb") as handle:
        return load_npz(ByteFile(handle, str(path)))


def write_text(path: Path, text: str) -> None:
    """Write a text file as one step.

    Raises
    ------
    StorageError
        The file system refused.
    """
    with _writing(path) as file:
        file.write(text.encode())


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[IO[bytes]]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            yield file
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from error


def _digest_of(array: NDArray[Any]) -> bytes:
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    if array.ndim == 0:
        digest.update(array.tobytes())
        return digest.digest()
    step = max(1, _BYTES_AT_ONCE // max(1, array.nbytes // max(1, len(array))))
    for start in range(0, len(array), step):
        digest.update(np.ascontiguousarray(array[start : start + step]).data.cast("B") if array.size else b"")
    return digest.digest()


def _text_of(fact: Any) -> str:
    """Write a fact so that different facts give different texts."""
    if hasattr(fact, "parts"):
        fact = fact.parts
    if isinstance(fact, np.ndarray):
        return f"array {_digest_of(fact).hex()}"
    if isinstance(fact, Mapping):
        return json.dumps({str(name): _text_of(value) for name, value in fact.items()}, sort_keys=True)
    return f"{type(fact).__name__} {fact!r}"
