"""What may happen when something hostile is read: a result, or one short line in an error of hashdb."""

from __future__ import annotations

import signal
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hashdb.errors import HashDBError

MAX_MESSAGE = 500  # characters, paths not counted
SECONDS = 20  # for one input; the machine may be busy
MIB = 1 << 20


class BrokenPromise(Exception):
    """Something else happened."""


def judge(
    act: Callable[[], object],
    *,
    n_bytes: int,
    floor: int = 16 * MIB,
    times: int = 40,
    paths: tuple[str, ...] = (),
    max_message: int = MAX_MESSAGE,
) -> str | None:
    """Run something hostile; give the message of hashdb's error, or None where there was a result.

    Memory may grow by `floor` and `times` the size of the input. Whether it is traced is the caller's choice, for that
    takes time: nothing is said about memory unless `tracemalloc` runs.
    """
    message = None
    is_traced = tracemalloc.is_tracing()
    if is_traced:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
    with warnings.catch_warnings(record=True) as warned, _limited_time():
        warnings.simplefilter("always")
        try:
            act()
        except HashDBError as error:
            message = str(error)
    if is_traced:
        grown = tracemalloc.get_traced_memory()[1] - before
        if grown > floor + times * n_bytes:
            raise BrokenPromise(f"{grown:,} bytes of memory were taken for an input of {n_bytes:,}")
    if warned:
        raise BrokenPromise(f"a warning: {warned[0].category.__name__}: {warned[0].message}")
    if message is not None:
        check_message(message, paths, max_message)
    return message


def check_message(message: str, paths: tuple[str, ...] = (), most: int = MAX_MESSAGE) -> None:
    """See that a message is one line that can be printed, and no longer than it need be."""
    for path in paths:
        message = message.replace(path, "")
    if not message or len(message) > most:
        raise BrokenPromise(f"a message of {len(message):,} characters: {message[:200]!r}…")
    if any(ord(letter) < 32 or 0x7F <= ord(letter) < 0xA0 for letter in message):
        raise BrokenPromise(f"a message with control characters: {message[:300]!r}")


@contextmanager
def _limited_time() -> Iterator[None]:
    def stop(signum: int, frame: object) -> None:
        raise BrokenPromise(f"it took more than {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
