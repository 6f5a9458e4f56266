"""A disk that forgets what was not flushed: a record of effects, and every disk that a power loss may leave behind.

The model promises as little as POSIX does. What a file holds is safe once that file is flushed, and a name once the
folder that it is in is flushed; nothing else is. Of what is not safe, any part may have reached the disk: each name
has any of the states that it had since the last flush, whatever happened to the others (so a rename may be half done,
and a later change there without an earlier one), and each file has its flushed bytes and after them all, some or none
of the rest, or bytes that nobody wrote.
"""

import os
import random
import threading
from itertools import islice
from pathlib import Path

from storage_kit import Unsynced


class File:
    """A file: its bytes now, and the first `safe` of them or, never flushed, none."""

    def __init__(self, data=b""):
        self.data, self.safe = data, len(data)

    def choices(self):
        """What the file may hold after a power loss: the flushed bytes first, all bytes last."""
        lost = len(self.data) - self.safe
        kept = self.data[: self.safe]
        whole = {kept: None, kept + b"\0" * lost: None, kept + b"\xa5" * lost: None}
        whole |= {self.data[: self.safe + lost // 2]: None, self.data: None}
        return list(whole)


class Folder:
    """A folder: its names now, and every state that each changed name had since the last flush."""

    def __init__(self):
        self.names = {}
        self.changed = {}

    def put(self, name, node):
        """Give a name to a file or folder, or take it away (None)."""
        self.changed.setdefault(name, [self.names.get(name)]).append(node)
        if node is None:
            self.names.pop(name, None)
        else:
            self.names[name] = node


class LossyDisk:
    """What is on a disk and what of it is safe; effects of a :class:`Recorder` change it.

    Parameters
    ----------
    top : Path
        Folder that recorded effects are below.
    start : Path
        Folder whose contents it starts with, all of them safe.
    """

    def __init__(self, top, start):
        self.top = Path(top)
        self.root = self._load(Path(start))
        self._handles = {}

    def _load(self, path):
        if path.is_file():
            return File(path.read_bytes())
        folder = Folder()
        folder.names = {name: self._load(path / name) for name in sorted(os.listdir(path))}
        return folder

    def _find(self, path):
        node = self.root
        for name in path.relative_to(self.top).parts:
            node = node.names[name]
        return node

    def apply(self, name, *args):
        """Carry out a recorded effect."""
        getattr(self, f"_{name}")(*args)

    def _mkdir(self, path):
        self._find(path.parent).put(path.name, Folder())

    def _create(self, path, number):
        self._handles[number] = File()
        self._find(path.parent).put(path.name, self._handles[number])

    def _write(self, number, data):
        self._handles[number].data += data

    def _write_at(self, number, data, offset):
        file = self._handles[number]
        file.safe = min(file.safe, offset)
        file.data = file.data[:offset].ljust(offset, b"\0") + data + file.data[offset + len(data) :]

    def _fsync(self, number):
        self._handles[number].safe = len(self._handles[number].data)

    def _fsync_folder(self, path):
        self._find(path).changed.clear()

    def _link(self, source, target):
        self._find(target.parent).put(target.name, self._find(source))

    def _rename(self, source, target):
        self._link(source, target)
        self._find(source.parent).put(source.name, None)

    def _unlink(self, path):
        self._find(path.parent).put(path.name, None)

    _rmdir = _unlink

    # ---- what a power loss leaves

    def after_loss(self, pick):
        """One disk: path -> bytes, None for a folder. `pick(n)` chooses one of n possibilities, 0 the safe one."""
        disk, held = {}, {}

        def visit(folder, place):
            for name in sorted(folder.names.keys() | folder.changed.keys()):
                states = list(dict.fromkeys(folder.changed.get(name, [folder.names.get(name)])))
                node = states[pick(len(states))]
                if isinstance(node, Folder):
                    disk[place + name] = None
                    visit(node, f"{place}{name}/")
                elif node is not None:
                    if node not in held:  # one file may have two names
                        choices = node.choices()
                        held[node] = choices[pick(len(choices))]
                    disk[place + name] = held[node]

        visit(self.root, "")
        return disk

    def disks(self, most, seed):
        """Disks that a power loss may leave now: all where there are at most so many, else a sample of that size.

        A sample has the two extremes: nothing that was not flushed is there, and everything is.
        """
        found = list(islice(self._every_disk(), most + 1))
        if len(found) <= most:
            return found
        choose = random.Random(seed)
        sample = [self.after_loss(lambda n: 0), self.after_loss(lambda n: n - 1)]
        while len(sample) < most:
            # Some disks are mostly behind, some mostly ahead.
            likely = choose.random()
            sample.append(
                self.after_loss(lambda n, likely=likely: choose.randrange(n) if choose.random() < likely else n - 1)
            )
        return sample[:most]

    def _every_disk(self):
        first = []
        while True:
            taken = []

            def pick(n, first=first, taken=taken):
                taken.append([first[len(taken)] if len(taken) < len(first) else 0, n])
                return taken[-1][0]

            yield self.after_loss(pick)
            while taken and taken[-1][0] + 1 == taken[-1][1]:
                taken.pop()
            if not taken:
                return
            first = [chosen for chosen, _ in taken[:-1]] + [taken[-1][0] + 1]


class Recorder(Unsynced):
    """Does what is asked, flushes nothing, and keeps a list of the effects that a :class:`LossyDisk` understands."""

    def __init__(self):
        self.effects = []
        self._numbers = {}
        self._lock = threading.Lock()

    def create(self, path):
        handle = super().create(path)
        with self._lock:
            self._numbers[handle] = len(self.effects)
            self.effects.append(("create", path, len(self.effects)))
        return handle

    def close(self, handle):
        self._numbers.pop(handle, None)
        super().close(handle)

    def write(self, handle, data):
        super().write(handle, data)
        self.effects.append(("write", self._numbers[handle], bytes(data)))

    def write_at(self, handle, data, offset):
        super().write_at(handle, data, offset)
        self.effects.append(("write_at", self._numbers[handle], bytes(data), offset))

    def fsync(self, handle):
        self.effects.append(("fsync", self._numbers[handle]))


def _recorded(name):
    def effect(self, *paths):
        getattr(Unsynced, name)(self, *paths)
        self.effects.append((name, *paths))

    return effect


for _name in ("mkdir", "fsync_folder", "link", "rename", "unlink", "rmdir"):
    setattr(Recorder, _name, _recorded(_name))


def write_disk(disk, top):
    """Make a disk real below a folder that does not exist."""
    os.mkdir(top)
    for name, data in disk.items():
        path = os.path.join(top, name)
        if data is None:
            os.mkdir(path)
        else:
            with open(path, "xb") as file:
                file.write(data)
