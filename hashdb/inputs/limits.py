"""How much a file may claim or grow to: nothing is allocated or unpacked on a file's word alone."""

from __future__ import annotations

from hashdb.errors import InputFileError

MAX_GROWTH = 100  # times its size that a file may grow when it is unpacked; vectors grow less than ten times
ALWAYS_ALLOWED = 256 << 20  # bytes that any file may grow to
MAX_DIMENSIONS = 32


def most_bytes(stored: int) -> int:
    """Give the bytes that a compressed file of `stored` bytes may grow to."""
    return max(ALWAYS_ALLOWED, MAX_GROWTH * stored)


def check_claim(name: str, claimed: int, stored: int) -> None:
    """Check what a compressed file says that it holds, before memory is taken for it.

    Raises
    ------
    InputFileError
        `claimed` is more than a file of `stored` bytes may grow to.
    """
    if claimed > most_bytes(stored):
        raise too_large(name, stored, f"{claimed:,} bytes" if claimed < 10**18 else "more than any disk holds")


def too_large(name: str, stored: int, claimed: str) -> InputFileError:
    """Make the error for a file that grows beyond what is allowed."""
    return InputFileError(
        f"{name} has {stored:,} bytes and would grow to {claimed}, more than {MAX_GROWTH} times as many: where that "
        "is meant, unpack it or save it uncompressed"
    )
