"""JSON documents of an index: canonical when written, strict when read.

Reading refuses duplicate keys, NaN, wild nesting and absurd sizes before anything is believed.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hashdb.errors import CorruptIndexError

FORMAT = 1
MAX_DOCUMENT_BYTES = 64 << 20

_UUID = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CRC = re.compile(r"[0-9a-f]{8}")
_RESERVED = ("c", "zarr.json", "model.json", "segment.json")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def canonical(document: object) -> bytes:
    """Encode as canonical JSON: sorted keys, no spaces, ASCII, no NaN."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii")


def digest(data: bytes) -> str:
    """SHA-256 of a document, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key appears twice")
    return result


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is beyond any number")
    return number


def parse_document(data: bytes, path: Path) -> dict[str, Any]:
    """Parse a JSON object strictly.

    Raises
    ------
    CorruptIndexError
        Where it is not JSON, not an object, has duplicate keys or NaN, or is absurdly large or deep.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise CorruptIndexError(f"{path} has {len(data)} bytes, more than any document of an index", path)
    try:
        document = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except (ValueError, RecursionError) as error:
        raise CorruptIndexError(f"{path} is not the JSON it should be: {str(error)[:200]}", path) from error
    if not isinstance(document, dict):
        raise CorruptIndexError(f"{path} should hold a JSON object, not {type(document).__name__}", path)
    return document


class Fields:
    """Checked access to the fields of a parsed document.

    Every method takes a field by name, checks it, and raises :class:`CorruptIndexError` naming file and field.
    """

    def __init__(self, document: object, path: Path, where: str = "") -> None:
        self.path = path
        self.where = where
        if not isinstance(document, dict):
            raise CorruptIndexError(f"{path}: {where or 'the document'} should be an object", path)
        self.document: dict[str, Any] = document

    def wrong(self, name: str, expected: str) -> CorruptIndexError:
        """Build the error for a field that is not what it should be."""
        value = repr(self.document.get(name))[:80]
        return CorruptIndexError(f"{self.path}: {self.where}{name} is {value}, expected {expected}", self.path)

    def only(self, *names: str) -> None:
        """Refuse fields with other names, and missing ones."""
        if set(self.document) != set(names):
            odd = sorted(set(self.document) ^ set(names))[0]
            raise CorruptIndexError(f"{self.path}: {self.where}{odd[:80]!r} is missing or unexpected", self.path)

    def integer(self, name: str, low: int, high: int) -> int:
        """Return an integer within ``low..high``."""
        value = self.document.get(name)
        if type(value) is not int or not low <= value <= high:
            raise self.wrong(name, f"an integer from {low} to {high}")
        return value

    def text(self, name: str, pattern: re.Pattern[str] | None = None, max_length: int = 1024) -> str:
        """Return a string, matching `pattern` as a whole where one is given."""
        value = self.document.get(name)
        if not isinstance(value, str) or len(value) > max_length or (pattern and not pattern.fullmatch(value)):
            raise self.wrong(name, f"a string like {pattern.pattern}" if pattern else "a string")
        return value

    def choice(self, name: str, *allowed: str) -> str:
        """Return a string that is one of `allowed`."""
        value = self.document.get(name)
        if value not in allowed:
            raise self.wrong(name, " or ".join(allowed))
        return str(value)

    def uuid(self, name: str = "uuid") -> str:
        """Return 32 hexadecimal digits."""
        return self.text(name, _UUID)

    def digest(self, name: str = "digest") -> str:
        """Return 64 hexadecimal digits (SHA-256)."""
        return self.text(name, _DIGEST)

    def crc(self, name: str = "crc32c") -> int:
        """Return a CRC-32C, stored as 8 hexadecimal digits."""
        return int(self.text(name, _CRC), 16)

    def items(self, name: str, max_items: int) -> list[Any]:
        """Return a list of at most `max_items`."""
        value = self.document.get(name)
        if not isinstance(value, list) or len(value) > max_items:
            raise self.wrong(name, f"a list of at most {max_items}")
        return value

    def table(self, name: str) -> dict[str, Any]:
        """Return an object."""
        value = self.document.get(name)
        if not isinstance(value, dict):
            raise self.wrong(name, "an object")
        return value

    def optional(self, name: str, read: Callable[[str], Any]) -> Any:
        """Return None for null, else what `read` makes of the field."""
        return None if self.document.get(name) is None else read(name)


def is_uuid(name: str) -> bool:
    """Whether a name is 32 hexadecimal digits."""
    return _UUID.fullmatch(name) is not None


def is_array_path(name: str) -> bool:
    """Whether a name may be that of an array: parts of letters, digits, `_`, `-`, `.`, joined by `/`."""
    parts = name.split("/")
    return len(parts) <= 4 and all(_NAME.fullmatch(part) and part not in _RESERVED for part in parts)


def group_json(attributes: dict[str, Any] | None = None) -> bytes:
    """Encode the ``zarr.json`` of a group."""
    return canonical({"zarr_format": 3, "node_type": "group", "attributes": attributes or {}})
