"""A layer of file effects that fails at its n-th effect, and the way to put it under hashdb."""

import errno
import os
import threading
from contextlib import contextmanager

from storage_kit import EFFECTS, Unsynced

from hashdb.storage.commit import DISK

KILLED = 77  # exit status of a process that was killed at a fault point
GROWING = ("mkdir", "create", "write", "write_at", "fsync", "fsync_folder", "link", "rename")
WAYS = {
    "error": "the effect fails, and everything after it works",
    "late error": "the effect is done, and an error is reported all the same",
    "interrupt": "ctrl-C instead of the effect",
    "full disk": "half of a write is done; from then on nothing that grows the folder works",
    "dead disk": "from then on nothing works at all, not even removing",
    "kill": "the process ends, a write half done",
}


class Faulty(Unsynced):
    """Does what :class:`hashdb.storage.Files` does, writes a log of it, and fails at one point in one of the WAYS."""

    def __init__(self, point=None, way="error"):
        self.point, self.way = point, way
        self.log = []
        self._lock = threading.Lock()

    def effect(self, name, *args):
        """Carry out one effect, or fail."""
        with self._lock:
            number = len(self.log)
            self.log.append(name)
        real = getattr(Unsynced, name)
        if self.point is None or number < self.point:
            return real(self, *args)
        if number > self.point:
            if self.way == "dead disk" or (self.way == "full disk" and name in GROWING):
                self._close(name, args)
                raise _error(self.way)
            return real(self, *args)
        if self.way == "late error":
            result = real(self, *args)
            if name in ("create", "lock_folder"):
                os.close(result)  # nobody gets this handle
            raise _error(self.way)
        if self.way in ("full disk", "kill") and name in ("write", "write_at"):
            real(self, args[0], args[1][: len(args[1]) // 2], *args[2:])
        if self.way == "kill":
            os._exit(KILLED)
        self._close(name, args)
        raise _error(self.way)

    def _close(self, name, args):
        # Whatever close reports, the handle is gone.
        if name == "close":
            Unsynced.close(self, *args)


def _effect(name):
    return lambda self, *args: self.effect(name, *args)


for _name in EFFECTS:
    setattr(Faulty, _name, _effect(_name))


def _error(way):
    if way == "interrupt":
        return KeyboardInterrupt()
    code = errno.ENOSPC if way == "full disk" else errno.EIO
    return OSError(code, os.strerror(code))


@contextmanager
def under_hashdb(files):
    """Let all that hashdb changes on disk go through `files`, whoever asks for it: API, command line, maintenance."""
    vars(DISK).update({name: getattr(files, name) for name in EFFECTS})
    try:
        yield files
    finally:
        vars(DISK).clear()
