"""How inputs are harmed: bytes without knowing what they mean, and JSON documents by their structure."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

_NUMBERS = (
    0,
    1,
    2,
    7,
    8,
    16,
    127,
    128,
    255,
    256,
    1023,
    4096,
    32767,
    65535,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
)
_LARGE = ((1 << 40), (1 << 62), (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
_TEXT = (
    b"nan",
    b"-inf",
    b"1e999",
    b"9" * 30,
    b"-1",
    b'"',
    b"\\u0000",
    b"\\ud800",
    b"\xed\xa0\x80",
    b"\xff\xfe",
    b"\r",
    b"\0",
)
_TEXT_TOO = (
    b"[" * 50,
    b"{" * 50,
    b",",
    b"\t",
    b";",
    b"\n",
    b" ",
    b"0x",
    b"1_0",
    "١".encode(),
    b"O",
    b"|O",
    b"()",
    b"..",
    b"/",
)
MAX_BYTES = 16 << 10

Mutator = Callable[[bytes, random.Random, Sequence[bytes]], bytes]


def mutate(raw: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """Harm bytes in one to four places; `others` are inputs to take pieces from."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        raw = rng.choice(_HARMS)(raw, rng, others)[:MAX_BYTES]
    return raw


def _flip(raw: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    return _over(raw, _place(raw, rng), bytes([rng.randrange(256)]))


def _cut(raw: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    return raw[: _place(raw, rng)]


def _remove(raw: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    at = _place(raw, rng)
    return raw[:at] + raw[at + rng.choice((1, 2, 4, 8, 16, 100)) :]


def _insert(raw: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    at = _place(raw, rng)
    return raw[:at] + _piece(raw, rng, others) + raw[at:]


def _overwrite(raw: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    return _over(raw, _place(raw, rng), _piece(raw, rng, others))


def _number(raw: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    width = rng.choice((1, 2, 4, 4, 8))
    value = rng.choice(_NUMBERS + (_LARGE if width == 8 else ())) % (1 << (8 * width))
    return _over(raw, _place(raw, rng), value.to_bytes(width, rng.choice(("little", "big"))))


def _digits(raw: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Replace one run of decimal digits, as heads and text have them, by another number."""
    places = [at for at in range(len(raw)) if raw[at : at + 1].isdigit()]
    if not places:
        return raw
    first = last = rng.choice(places)
    while last < len(raw) and raw[last : last + 1].isdigit():
        last += 1
    return raw[:first] + str(rng.choice(_NUMBERS + _LARGE)).encode() + raw[last:]


def _repeat(raw: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    at = _place(raw, rng)
    piece = raw[at : at + rng.choice((1, 4, 30, 200))]
    return raw[:at] + piece * rng.choice((2, 5, 50)) + raw[at:]


def _splice(raw: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    other = rng.choice(others) if others else raw
    return raw[: _place(raw, rng)] + other[_place(other, rng) :]


_HARMS: tuple[Mutator, ...] = (
    _flip,
    _flip,
    _cut,
    _remove,
    _insert,
    _overwrite,
    _number,
    _number,
    _digits,
    _repeat,
    _splice,
)


def _place(raw: bytes, rng: random.Random) -> int:
    # Heads are where files say what they are.
    most = len(raw) if rng.random() < 0.5 else min(len(raw), 160)
    return rng.randrange(most) if most else 0


def _over(raw: bytes, at: int, piece: bytes) -> bytes:
    return raw[:at] + piece + raw[at + len(piece) :]


def _piece(raw: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    if rng.random() < 0.6:
        return rng.choice(_TEXT + _TEXT_TOO)
    if rng.random() < 0.5 or not raw:
        return rng.randbytes(rng.choice((1, 2, 4, 9)))
    source = rng.choice(others) if others and rng.random() < 0.5 else raw
    at = _place(source, rng)
    return source[at : at + rng.choice((1, 4, 16, 64))]


Path = tuple[Any, ...]

_STRINGS = (
    "",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "a\0b",
    "\x1b[31m",
    "é" * 2000,
    "\ud800",
    "0" * 32,
    "f" * 64,
    "int64",
    "nan",
)
_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        [],
        {},
        -1,
        0,
        1,
        2,
        64,
        4096,
        4097,
        1 << 20,
        1 << 31,
        1 << 32,
        1 << 40,
        1 << 60,
        1 << 63,
        1 << 64,
        10**40,
    ),
    *(0.5, 1e308, -0.0, [0], [[]], [1 << 40, 1 << 40], {"a": {}}, *_STRINGS),
)


def mutate_json(document: Any, rng: random.Random) -> Any:
    """Harm a JSON document in one to three places, by its structure: it stays one that can be written."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_walk(document, ()))
        document = _changed(document, rng.choice(places), rng)
    return document


def _walk(value: Any, path: Path) -> Any:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _walk(inner, (*path, key))


def _changed(document: Any, path: Path, rng: random.Random) -> Any:
    if path:
        copy = dict(document) if isinstance(document, dict) else list(document)
        if len(path) == 1 and rng.random() < 0.2:
            del copy[path[0]]
        else:
            copy[path[0]] = _changed(copy[path[0]], path[1:], rng)
        return copy
    return _other(document, rng)


def _other(value: Any, rng: random.Random) -> Any:
    kind = rng.randrange(6)
    if isinstance(value, dict) and kind < 3:
        return {**value, rng.choice((*_STRINGS[:6], "n", "kind", "shape")): rng.choice(_VALUES)}
    if isinstance(value, list) and kind < 3:
        return rng.choice((value * 2, value[::-1], [*value, rng.choice(_VALUES)], value * 100))
    if isinstance(value, int) and kind < 3:
        return rng.choice((value + 1, value - 1, -value, value * 2, value << 32))
    if isinstance(value, str) and value and kind < 3:
        at = rng.randrange(len(value))
        return rng.choice(
            (value[:at] + "/" + value[at:], value[::-1], value.upper(), value[:at] + "\x07", value + "0", f"../{value}")
        )
    if kind == 3:
        return _nested(value, rng.choice((2, 40)))
    return rng.choice(_VALUES)


def _nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value
