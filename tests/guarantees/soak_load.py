"""A mixed load on one index for as long as is asked: answers stay right, memory and open files stay flat.

Run as a script: `soak_load.py PATH SECONDS PAUSE`. Threads query, one opens old versions, one adds, replaces, deletes,
compacts and prunes, all through one shared index, each with pauses of so many seconds on average. Every answer is
compared with brute force over the rows of the version that it says it is of. Prints what was done as JSON; ends with a
traceback where a promise was broken.
"""

import gc
import json
import os
import re
import sys
import threading
import time
import traceback
from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np

import hashdb
from guarantees.blocks import ABSENT, BLOCK, N_BASE, N_STAMPS, World, nearest, within
from hashdb.errors import VersionGoneError
from hashdb.search.scan import use_kernels

N_ASKING = 3
REMEMBERED = 256  # newest versions whose rows are known
LOOKED_AT = 64  # of them, so that none is forgotten meanwhile
# What the medians may grow by. The heap grows in steps, whenever more threads than ever compare at the same moment.
ALLOWED_MIB, ALLOWED_FILES = 32, 3


class Soak:
    """The index, what it should hold at each version, and what has been done."""

    def __init__(self, path, pause):
        self.path = path
        self.pause = pause
        self.world = World(N_BASE + 160)
        self.index, state = self.world.build(path, method="sh", store_vectors="float16", metric="l2")
        self.states = {1: state}
        self.known = threading.Condition()
        self.stop = threading.Event()
        self.failures = []
        self.done = Counter()
        self.expected = lru_cache(8)(lambda version: self.world.expected(self.state_at(version)))

    def state_at(self, version):
        """Give what a version holds; its writer may be about to tell."""
        with self.known:
            assert self.known.wait_for(lambda: version in self.states, 30), f"version {version} is nobody's"
            return self.states[version]

    def tell(self, state):
        """Note what the version that was just made holds."""
        with self.known:
            if self.index.version not in self.states:
                self.done["commits"] += 1
            self.states[self.index.version] = state.copy()
            for version in sorted(self.states)[:-REMEMBERED]:
                del self.states[version]
            self.known.notify_all()

    # ---- what threads do

    def ask(self, rng):
        """Ask once in each way, and compare with brute force."""
        world, n = self.world, int(rng.choice([1, 4, 16]))
        rows = rng.integers(0, N_BASE * BLOCK, n)
        stamp, k, radius = int(rng.integers(N_STAMPS)), int(rng.integers(1, 30)), int(rng.integers(0, 6))
        found = self.index.query(world.vectors[stamp, rows], k=k)
        here = self.expected(found.stats["version"])
        right = nearest(*here, world.codes[stamp, rows], k)
        assert np.array_equal(found.ids, right[0])
        assert np.array_equal(found.distances, right[1])
        around = self.index.query_radius(world.vectors[stamp, rows], radius)
        here = self.expected(around.stats["version"])
        for number, row in enumerate(rows.tolist()):
            part = slice(around.lims[number], around.lims[number + 1])
            right = within(*here, world.codes[stamp, row], radius)
            assert np.array_equal(around.ids[part], right[0])
            assert np.array_equal(around.distances[part], right[1])
        self.done["queries"] += 2 * n
        self.done["by buckets"] += n * sum("buckets" in one.stats["path"] for one in (found, around))
        ranked = self.index.query(world.vectors[stamp, rows], k=3, rescore=4)
        here = self.expected(ranked.stats["version"])
        candidates, _ = nearest(*here, world.codes[stamp, rows], 3 * 4)
        assert all(np.isin(*pair).all() for pair in zip(ranked.ids, candidates, strict=True))
        assert (np.diff(ranked.distances, axis=1) >= 0).all()
        self.done["queries"] += n

    def look_back(self, rng):
        """Open the index anew at some version, and compare all its rows."""
        try:
            version = int(rng.choice(sorted(one.version for one in self.index.versions())[-LOOKED_AT:]))
            with hashdb.open(self.path, version=version, mmap=bool(rng.integers(2))) as old:
                rows, codes = self.world.content(old)
        except VersionGoneError:
            self.done["versions gone"] += 1
            return
        for found, right in zip((rows, codes), self.world.expected(self.state_at(version)), strict=True):
            assert np.array_equal(found, right)
        self.done["versions opened"] += 1

    def write(self, rng):
        """Commit something."""
        world, state = self.world, self.state_at(self.index.version).copy()
        choice = rng.random()
        blocks = np.sort(rng.choice(np.arange(N_BASE - 300, world.n_blocks), rng.integers(1, 5), replace=False))
        if choice < 0.55:
            stamp = int(rng.integers(N_STAMPS))
            self.index.add(world.vectors[stamp, world.rows(blocks)], world.ids(blocks), upsert=True)
            state[blocks] = stamp
        elif choice < 0.9:
            self.index.delete(world.ids(blocks), ignore_missing=True)
            state[blocks] = ABSENT
        else:
            done = self.index.compact(prune=bool(rng.random() < 0.8), keep=int(rng.integers(1, 4)))
            self.done["versions pruned"] += done.n_versions_removed
        self.tell(state)

    def repeat(self, work, seed):
        """Work again and again, until told to stop or something fails."""
        rng = np.random.default_rng(seed)
        try:
            while not self.stop.is_set():
                work(rng)
                self.stop.wait(float(rng.uniform(0, 2 * self.pause)))
        except BaseException:
            self.failures.append(traceback.format_exc())
            self.stop.set()


def measured():
    """Resident MiB of the process's own memory and in all, open files, and maps of files that are removed."""
    own = re.search(r"Anonymous:\s+(\d+)", Path("/proc/self/smaps_rollup").read_text())
    resident = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())
    removed = sum("(deleted)" in line for line in Path("/proc/self/maps").read_text().splitlines())
    return int(own[1]) / 1024, int(resident[1]) / 1024, len(os.listdir("/proc/self/fd")), removed


def check_flat(samples):
    """Compare the last third of what follows the warm-up with its first third, by medians: a leak goes on.

    Samples begin with the number of commits. Gives the figures of both, and the least leak that would have failed.
    """
    samples = samples[len(samples) // 3 :]
    third = len(samples) // 3
    first, last = np.median(samples[:third], axis=0), np.median(samples[-third:], axis=0)
    n_commits, *grown = last - first
    named = ("own MiB", "resident MiB", "open files", "maps of removed files")
    told = dict(zip(named, np.round([first, last], 1)[:, 1:].T.tolist(), strict=True))
    allowed = (ALLOWED_MIB, ALLOWED_MIB, ALLOWED_FILES, ALLOWED_FILES)
    assert np.less_equal(grown, allowed).all(), f"grown in {n_commits:.0f} commits: {told}"
    return {**told, "least leak found, KiB a commit": 1024 * ALLOWED_MIB / n_commits}


def main(path, seconds, pause):
    use_kernels()
    before = len(os.listdir("/proc/self/fd"))
    soak = Soak(path, pause)
    for number in range(3):  # what is loaded at the first use is no growth
        soak.ask(np.random.default_rng(number))
    jobs = [soak.ask] * N_ASKING + [soak.look_back, soak.write]
    workers = [threading.Thread(target=soak.repeat, args=(job, 10 + seed)) for seed, job in enumerate(jobs)]
    for worker in workers:
        worker.start()
    samples, end = [], time.monotonic() + seconds
    while time.monotonic() < end and not soak.stop.wait(0.2):
        samples.append((soak.done["commits"], *measured()))
    soak.stop.set()
    for worker in workers:
        worker.join()
    assert not soak.failures, soak.failures[0]
    flat = check_flat(samples)
    rows, codes = soak.world.content(soak.index)
    for found, right in zip((rows, codes), soak.expected(soak.index.version), strict=True):
        assert np.array_equal(found, right)
    soak.index.close()
    del soak.index
    gc.collect()
    assert measured()[3] == 0, "maps of removed files are left"
    left = len(os.listdir("/proc/self/fd")) - before
    assert left <= 0, f"{left} files are left open"
    assert hashdb.verify(path, deep=True).ok
    print(json.dumps({**soak.done, "memory": flat}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
