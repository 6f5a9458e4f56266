"""The command ``hashdb``, also as ``python -m hashdb``: its streams, and what SIGINT and SIGTERM do to it.

The first signal unwinds the command, so that what it began is removed; a second one does not wait for that. What is
left over then does no harm, and a later ``hashdb compact`` sweeps it.
"""

from __future__ import annotations

import atexit
import io
import os
import signal
import sys
import time
import warnings
from contextlib import suppress
from types import FrameType
from typing import Any

_SAID = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
_SOON = 0.01  # seconds
_PATIENCE = 1.0  # seconds that a kernel which is loaded gets to come to its end; one that is compiled takes longer
_LOCKS = ("llvmlite.binding.ffi", "numba.core.compiler_lock")


class _Stop(BaseException):
    """Unwinds a command; none of the libraries knows it, so none prints anything."""


class _Signals:
    """The signals that stop a command."""

    def __init__(self) -> None:
        self.number = 0
        self.over = False
        self._arrival = 0.0
        self._is_said = False
        self._is_saying = False

    def install(self) -> None:
        """Answer to them from now on, except where they are ignored, as under nohup."""
        sys.unraisablehook = self._lost
        for number in _SAID:
            # Last of all, before Python lets go of its handlers: the exit code is known by then.
            atexit.register(signal.signal, number, signal.SIG_IGN)
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._arrived)

    def failed(self, error: BaseException) -> None:
        """Take note that the command failed, before its error is told: what that came of, where it was a signal."""
        if _comes_of_stop(error):
            raise _Stop from error
        self.forget()

    def forget(self) -> None:
        """Stop nothing any more, neither by a signal that came nor by one to come: the command has ended by itself."""
        self.over, self.number = True, 0
        signal.setitimer(signal.ITIMER_REAL, 0)

    def end(self) -> None:
        """Say what happened and end, where a signal came before the command was over."""
        if self.number:
            self._say()
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError):  # who read it was stopped too
                    stream.flush()
            # Python would wait for its threads, and for ever for one of a pool whose start was interrupted.
            os._exit(128 + self.number)

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            if self._is_saying:  # the line is not cut off; what follows it is, by the next signal
                self._is_saying = False
                return
            self._say()
            os._exit(128 + self.number)
        if not self.over:
            self.number, self._arrival = number, time.monotonic()
            self._unwind(frame)

    def _again(self, number: int, frame: FrameType | None) -> None:
        if not (self.over or self._is_said):  # the end is near
            self._unwind(frame)

    def _unwind(self, frame: FrameType | None) -> None:
        is_patient = time.monotonic() - self._arrival < _PATIENCE
        if _is_at_lock(frame) or _is_importing(frame) or (is_patient and _is_compiling(frame)):
            self._come_again()
        else:
            raise _Stop

    def _come_again(self) -> None:
        # Until then an alarm is not ours, and does what it does to any program.
        signal.signal(signal.SIGALRM, self._again)
        signal.setitimer(signal.ITIMER_REAL, _SOON)

    def _lost(self, unraisable: Any) -> None:
        # Raised in a destructor or the like, which nothing leaves.
        if issubclass(unraisable.exc_type, _Stop):
            self._come_again()
        elif not self.number:  # what a stopped command leaves half done may be hard to take down
            sys.__unraisablehook__(unraisable)

    def _say(self) -> None:
        line = f"hashdb: {_SAID[signal.Signals(self.number)]}; {_kept(sys.argv[1:])}\n".encode()
        if not self._is_said:
            self._is_saying = self._is_said = True
            with suppress(OSError):
                os.write(2, line)
            self._is_saying = False


def _kept(words: list[str]) -> str:
    """Say what is left of a command that was stopped."""
    if words[:1] != ["eval"]:
        return "what was committed before stays"
    has_output = any(word.partition("=")[0] == "--output" for word in words)
    return "the same command goes on where it stopped" if has_output else "nothing was kept"


def _comes_of_stop(error: BaseException | None) -> bool:
    """Whether an error was raised while a command was unwound, as by what closes a file of which half is written."""
    while error is not None and not isinstance(error, _Stop):
        error = error.__context__
    return error is not None


def _is_at_lock(frame: FrameType | None) -> bool:
    """Whether a lock of the compiler is just taken or given back: left now it would stay, and other threads wait."""
    return frame is not None and frame.f_globals.get("__name__") in _LOCKS


def _is_importing(frame: FrameType | None) -> bool:
    """Whether something is imported: libraries that are stopped half-way print errors of their own."""
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


def _is_compiling(frame: FrameType | None) -> bool:
    """Whether a kernel is loaded or compiled, which other threads may be about to use."""
    while frame is not None and str(frame.f_globals.get("__name__")).split(".")[0] not in ("numba", "llvmlite"):
        frame = frame.f_back
    return frame is not None


def _prepare_streams() -> None:
    """Give what is printed a place to go, and every character a way to be printed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Closed, as by `>&-`: the next file opened would take the number, and what is printed would go into it.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    # Python has None for a stream that was closed. Standard input stays so: whoever reads it says that it is closed.
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main() -> None:
    """Run the command line."""
    _prepare_streams()
    signals = _Signals()
    try:
        try:
            signals.install()
            from hashdb.cli import main as run

            run(signals.failed)
        finally:
            signals.over = True
    except _Stop:
        # What was under way goes now: coroutines of zarr that nobody awaited would say so.
        warnings.simplefilter("ignore")
    except BaseException:
        signals.forget()
        raise
    signals.end()


if __name__ == "__main__":
    main()
