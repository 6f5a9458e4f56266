"""Every error that hashdb raises on purpose.

::

    HashDBError
    ├ ArgumentError (ValueError)                 a value, shape, dtype, k, radius, NaN in vectors
    │  ├ InputFileError                          a file of vectors, ids or labels cannot be read as such
    │  ├ DuplicateIdError                        an id given twice, or already in the index
    │  └ UnknownIdError (KeyError)               an id that is not in the index
    ├ IndexNotFoundError (FileNotFoundError)     no index at that path
    ├ IndexExistsError (FileExistsError)         build would overwrite an index
    ├ ReadOnlyError                              a write through a view of an old version
    ├ StorageError (OSError)                     the file system refused: full, read-only, no hard links
    ├ OutOfMemoryError (MemoryError)             this process may not have the memory that it takes
    ├ ConflictError                              other writers won every retry of a commit, or keep its lock
    ├ VersionGoneError (LookupError)             the version was never there, or has been pruned
    ├ FormatError                                carries .path
    │  ├ UnsupportedFormatError                  written by a newer hashdb, or needs an unknown extension
    │  └ CorruptIndexError                       a part is missing, truncated or altered
    └ PluginError                                carries .plugin and .distribution
       ├ UnknownMethodError (LookupError)        no plugin has that name; the nearest names are given
       ├ PluginLoadError (ImportError)           the plugin's module failed to import
       ├ PluginClashError                        two distributions claim one name
       ├ PluginContractError                     a hook returned what it must not
       └ PluginMismatchError                     the installed plugin gives other codes than the stored ones

A message says what was wrong with which value, what was expected and what to do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

_MAX_MESSAGE = 1000  # characters


def brief(value: Any, most: int = 80) -> str:
    """Write a value in at most so many characters, for messages."""
    # An integer of thousands of digits cannot even be written by Python.
    if isinstance(value, int) and value.bit_length() > 3000:
        return f"an integer of {value.bit_length():,} bits"
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def escaped(text: str) -> str:
    r"""Write what would steer a terminal as Python does, such as ``\x1b``, and leave all other text as it is."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter == " " else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def _one_message(text: str) -> str:
    """Escape a message and cut out what is endless: inputs are quoted in it."""
    if len(text) > 2 * _MAX_MESSAGE:
        text = text[:_MAX_MESSAGE] + text[-_MAX_MESSAGE:]
    text = escaped(text)
    return text if len(text) <= _MAX_MESSAGE else f"{text[: _MAX_MESSAGE - 400]} … {text[-390:]}"


class HashDBError(Exception):
    """Base of every error that hashdb raises on purpose."""

    def __str__(self) -> str:
        # KeyError would show the repr of its argument; a message is meant to be read.
        return _one_message(str(self.args[0])) if self.args else ""


class ArgumentError(HashDBError, ValueError):
    """A value that the caller gave cannot be used."""


class InputFileError(ArgumentError):
    """A file of vectors, codes, ids or labels cannot be read as what it should be."""


class DuplicateIdError(ArgumentError):
    """An id appears twice in one input, or is in the index already."""


class UnknownIdError(ArgumentError, KeyError):
    """An id is not in the index."""


class IndexNotFoundError(HashDBError, FileNotFoundError):
    """There is no index at that path."""


class IndexExistsError(HashDBError, FileExistsError):
    """There is an index at that path already."""


class ReadOnlyError(HashDBError):
    """A write was asked of an index opened at an old version."""


class StorageError(HashDBError, OSError):
    """The file system refused a write, a link or a flush."""


class OutOfMemoryError(HashDBError, MemoryError):
    """What was asked for takes more memory than this process may have."""


class ConflictError(HashDBError):
    """Other writers committed first, on every retry, or did not let go of the lock."""


class VersionGoneError(HashDBError, LookupError):
    """A version does not exist, or its files have been pruned."""


class FormatError(HashDBError):
    """What is on disk is not an index that this hashdb reads.

    Attributes
    ----------
    path : Path or None
        The file or folder at fault.
    """

    def __init__(self, message: str, path: Path | str | None = None) -> None:
        super().__init__(message)
        self.path = Path(path) if path is not None else None


class UnsupportedFormatError(FormatError):
    """The index was written by a newer hashdb, or requires an extension this one lacks."""


class CorruptIndexError(FormatError):
    """A part of the index is missing, truncated or altered."""


class PluginError(HashDBError):
    """A plugin cannot be used.

    Attributes
    ----------
    plugin : str
        Entry-point name of the plugin.
    distribution : str or None
        Installed package that provides it, where known.
    """

    def __init__(self, message: str, plugin: str = "", distribution: str | None = None) -> None:
        super().__init__(message)
        self.plugin = plugin
        self.distribution = distribution


class UnknownMethodError(PluginError, LookupError):
    """No installed plugin has that name."""


class PluginLoadError(PluginError, ImportError):
    """The module of a plugin failed to import."""


class PluginClashError(PluginError):
    """Two distributions claim one plugin name."""


class PluginContractError(PluginError):
    """A hook took or returned something else than its contract says."""


class PluginMismatchError(PluginError):
    """The installed plugin does not reproduce the codes stored with the model."""
