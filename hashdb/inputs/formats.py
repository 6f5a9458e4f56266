"""Names of the file formats, and what a string such as ``photos.npz::vectors`` means.

A spec is a path, a path followed by ``::NAME`` (an array, column or key inside the file), or ``-`` for standard
input. A file whose real name contains ``::`` is found first.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hashdb.errors import InputFileError, brief, escaped

FORMATS = (
    "npy",
    "npz",
    "fvecs",
    "bvecs",
    "ivecs",
    "fbin",
    "u8bin",
    "i8bin",
    "idx",
    "mat",
    "jsonl",
    "csv",
    "text",
    "hex",
    "h5",
    "parquet",
    "zarr",
)
"""Every name that ``format=`` and ``--format`` take."""

_ALIASES = {
    "ndjson": "jsonl",
    "tsv": "text",
    "txt": "text",
    "list": "text",
    "vec": "text",
    "hdf5": "h5",
    "hdf": "h5",
    "pq": "parquet",
}
# MNIST and its relatives carry their format in the name: train-images-idx3-ubyte, train-images.idx3-ubyte.
_IDX_NAME = re.compile(r"[-._]idx\d?(-\w+)?$")
_MAX_WORD = 80  # characters of a name that are compared or shown
_MAX_LISTING = 250
_HINTS = {
    "json": "one JSON document has no rows; write one object or list per line and call it .jsonl",
    "pkl": "pickles run code when they are read; save the array with numpy.save",
    "pickle": "pickles run code when they are read; save the array with numpy.save",
    "joblib": "pickles run code when they are read; save the array with numpy.save",
    "pt": "pickles run code when they are read; save tensor.numpy() with numpy.save",
    "pth": "pickles run code when they are read; save tensor.numpy() with numpy.save",
}


@dataclass(frozen=True)
class Spec:
    """Where an input is: a path or standard input, what to pick inside, and in which format it is.

    Attributes
    ----------
    path : Path or None
        The file; None is standard input.
    inner : str or None
        What stands after ``::``: an array, column or key.
    format : str
        One of `FORMATS`.
    """

    path: Path | None
    inner: str | None
    format: str

    @property
    def name(self) -> str:
        """The input's name in messages."""
        return "stdin" if self.path is None else str(self.path)


def normalise_format(format: str) -> str:
    """Give the name in `FORMATS` that a user's word means: ``.NPY`` is ``npy``, ``tsv`` is ``text``.

    Raises
    ------
    InputFileError
        No such format; the nearest names are given.
    """
    word = format.lower().removeprefix(".")
    word = _ALIASES.get(word, word)
    if word not in FORMATS:
        raise InputFileError(
            f"unknown format {brief(format)!r}: expected one of {', '.join(FORMATS)}{nearest(word, FORMATS)}"
        )
    return word


def parse_spec(spec: str | os.PathLike[str], format: str | None = None, *, rename: bool = False) -> Spec:
    """Take a spec apart and find the format, from `format` or from the extension (``.gz`` is looked through).

    With `rename` the advice where there is neither is another name: ``--format`` is that of the vectors, not of ids.

    Raises
    ------
    InputFileError
        The extension is unknown and no format was given, or standard input comes without one.
    """
    text = os.fspath(spec)
    path_text, inner = _split(text)
    if path_text == "-":
        if format is None:
            raise InputFileError(f"stdin has no extension to tell its format: add --format {'|'.join(FORMATS)}")
        return Spec(None, inner, normalise_format(format))
    path = Path(path_text)
    return Spec(path, inner, normalise_format(format) if format is not None else _format_of(path, rename))


def nearest(word: str, names: Iterable[str]) -> str:
    """Give ``; did you mean 'name'?`` where some name is close to `word`, else an empty string."""
    # Comparing takes the product of the lengths. From Python, a name may be something else than a string.
    close = difflib.get_close_matches(str(word)[:_MAX_WORD], [name[:_MAX_WORD] for name in names], n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def one_line(error: BaseException) -> str:
    """Give another library's message in one line of at most 200 characters."""
    return " ".join(str(error)[:2000].split())[:200] or type(error).__name__


def missing_file(path: Path) -> InputFileError:
    """Make the error for a file that is not there, with the nearest name in its folder."""
    folder = path.parent
    if not os.path.isdir(folder):
        return InputFileError(f"no file {path}: there is no folder {folder}")
    try:
        names = os.listdir(folder)
    except OSError as error:
        return InputFileError(f"no file {path}: its folder cannot be listed ({error.strerror})")
    return InputFileError(f"no file {path}{nearest(path.name, names)}")


def choose(
    file: str, wanted: str, candidates: Mapping[str, str], name: str | None, everything: Mapping[str, str] | None = None
) -> str:
    """Choose one array, column or key of a file.

    Parameters
    ----------
    file : str
        The file's name, for messages.
    wanted : str
        What is being looked for: ``"array of vectors"``.
    candidates : mapping of str to str
        What may be taken when no name is given, each with a description (shape and dtype).
    name : str or None
        What the user asked for after ``::``.
    everything : mapping of str to str, optional
        What may be asked for by name, where that is more than the candidates.

    Raises
    ------
    InputFileError
        The name is not there, or none was given and there is not exactly one candidate.
    """
    known = candidates if everything is None else everything
    if name is not None:
        if name not in known:
            raise InputFileError(f"{file} has no {brief(name)!r}: it holds {listing(known)}{nearest(name, known)}")
        return name
    if len(candidates) == 1:
        return next(iter(candidates))
    if not candidates:
        raise InputFileError(f"{file} holds no {wanted}: it holds {listing(known)}")
    example = f"{file}::{brief(' '.join(next(iter(candidates)).split()))}"
    raise InputFileError(f"{file} holds more than one {wanted}: {listing(candidates)}; pick one, as in {example}")


def listing(names: Mapping[str, str]) -> str:
    """Name the first arrays, columns or keys with their descriptions, in one line of some 300 characters at most."""
    shown: list[str] = []
    for name, text in names.items():
        words = [" ".join(word[:_MAX_WORD].split()) for word in (name, text)]
        item = " ".join(brief(escaped(word), _MAX_WORD) for word in words).strip()
        if len(shown) == 20 or (shown and sum(map(len, shown)) + len(item) > _MAX_LISTING):
            break
        shown.append(item)
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return (", ".join(shown) or "nothing") + more


def _split(text: str) -> tuple[str, str | None]:
    if "::" not in text or os.path.exists(text):
        return text, None
    places = [match.start() for match in re.finditer("::", text)]
    # The rightmost split whose left side exists; a name inside the file may itself hold '::'.
    for place in reversed(places):
        if text[:place] == "-" or os.path.exists(text[:place]):
            return text[:place], text[place + 2 :] or None
    return text[: places[-1]], text[places[-1] + 2 :] or None


def _format_of(path: Path, rename: bool) -> str:
    name = path.name.lower().removesuffix(".gz")
    if _IDX_NAME.search(name) or name == "idx":
        return "idx"
    suffix = Path(name).suffix.removeprefix(".")
    suffix = _ALIASES.get(suffix, suffix)
    if suffix in FORMATS:
        return suffix
    if os.path.isdir(path):
        raise InputFileError(f"{path} is a folder: expected a file")
    if not os.path.exists(path):
        raise missing_file(path)
    advice = f"name the format with --format, one of {', '.join(FORMATS)}"
    if rename:
        advice = f"rename it, such as {path.name.partition('.')[0]}.txt, or give - for stdin"
    hint = _HINTS.get(suffix, advice)
    found = f"the unknown extension .{brief(suffix)}" if suffix else "no extension"
    raise InputFileError(f"{path} has {found}: {hint}")
