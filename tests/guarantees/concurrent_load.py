"""Four writers, four readers and one that compacts and prunes, each a process, on one index; then the judgement.

Run as a script: `concurrent_load.py PATH ID_KIND SECONDS`. Prints what was done as JSON; ends with a traceback where a
promise was broken.
"""

import json
import os
import random
import sys
import time
import traceback
import zlib
from collections import Counter
from pathlib import Path

import numpy as np

import hashdb
from guarantees.blocks import ABSENT, BLOCK, N_BASE, N_STAMPS, World, check_answers
from hashdb.errors import ConflictError, VersionGoneError
from hashdb.search.scan import use_kernels
from hashdb.storage.commit import DISK

N_WRITERS = N_READERS = 4
N_BLOCKS = N_BASE + 160
PATIENCE = 120  # seconds after the end before a process counts as hanging


class Log:
    """What one process saw, a line at a time: it is read when the process is gone."""

    def __init__(self, path):
        self.path = path
        self.file = path.open("a")

    def write(self, kind, **values):
        self.file.write(json.dumps({"kind": kind, **values}) + "\n")


def hesitate(number):
    """Let this process pause at moments that matter to others: before it locks, links, flushes or removes."""
    rng = random.Random(number)

    def pausing(effect):
        def paused(*arguments):
            time.sleep(rng.choice((0, 0, 0, 0, 0, 0, 0, 0.002, 0.03)))
            return effect(*arguments)

        return paused

    for name in ("lock_folder", "link", "fsync_folder", "unlink"):
        setattr(DISK, name, pausing(getattr(DISK, name)))


def write(world, path, number, until, log):
    """Add, replace and delete blocks that are this writer's, and note each commit that returned."""
    if number % 2:
        hesitate(number)
    rng = np.random.default_rng(number)
    # A few of the base, and all beyond it: enough deletes in segments with tables, and blocks come back often.
    mine = np.arange(N_BASE - 200 + number, world.n_blocks, N_WRITERS)
    stamps = {int(block): 0 if block < N_BASE else ABSENT for block in mine}
    with hashdb.open(path) as index:
        while time.monotonic() < until:
            chosen = sorted(rng.choice(mine, rng.integers(1, 4), replace=False).tolist())
            delete = rng.random() < 0.3
            new = ABSENT if delete else int(rng.integers(N_STAMPS))
            before = index.version
            try:
                if delete:
                    index.delete(world.ids(chosen), ignore_missing=True)
                else:
                    there = any(stamps[block] != ABSENT for block in chosen)
                    index.add(world.vectors[new, world.rows(chosen)], world.ids(chosen), upsert=there)
            except ConflictError as error:
                log.write("conflict", said=str(error))
                continue
            stamps.update(dict.fromkeys(chosen, new))
            if index.version != before:
                log.write("commit", version=index.version, blocks=chosen, stamp=new)


def compact(world, path, number, until, log):
    """Merge, fold and prune again and again."""
    hesitate(number)
    rng = np.random.default_rng(100 + number)
    with hashdb.open(path) as index:
        while time.monotonic() < until:
            try:
                done = index.compact(prune=bool(rng.random() < 0.7), keep=int(rng.integers(1, 4)))
            except ConflictError as error:
                log.write("conflict", said=str(error))
                continue
            if done.committed:
                log.write("commit", version=done.version, blocks=[], stamp=ABSENT)
            log.write("prune", n=done.n_versions_removed)
            time.sleep(float(rng.uniform(0, 0.1)))


def read(world, path, number, until, log):
    """Look at the newest and at older versions: each is whole, and its answers are those of brute force."""
    rng = np.random.default_rng(200 + number)
    index = hashdb.open(path)
    while time.monotonic() < until:
        try:
            choice = rng.random()
            if choice < 0.4:
                index.refresh()
            elif choice < 0.8:
                index.close()
                index = hashdb.open(path)
            else:
                with hashdb.open(path, version=int(rng.choice([one.version for one in index.versions()]))) as old:
                    look(world, old, rng, log)
            look(world, index, rng, log)
        except VersionGoneError:
            log.write("gone")
            index.close()
            index = hashdb.open(path)


def look(world, index, rng, log):
    """Check one version by itself, and note what it was for the comparison with what was committed."""
    rows, codes = world.content(index)
    state = world.state_of(rows, codes)
    assert len(index) == len(rows)
    n_queries = int(rng.choice([1, 4, 16]))
    queries = codes[rng.integers(0, len(codes), n_queries)] ^ (
        np.uint64(1) << rng.integers(0, 64, n_queries, np.uint64)
    )
    for stats in check_answers(world, index, rows, codes, queries, k=int(rng.integers(1, 20)), radius=4):
        assert stats["version"] == index.version
        log.write("query", n=n_queries, buckets="buckets" in stats["path"])
    log.write("seen", version=index.version, state=zlib.crc32(state.tobytes()))


def start(role, *arguments):
    """Run a role in a forked process; it exits 0 where all was well."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        role(*arguments)
        arguments[-1].file.flush()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def finish(pids, until):
    """Wait for every process; one that hangs is a failure."""
    while pids and time.monotonic() < until + PATIENCE:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            assert status == 0, "a process failed; its traceback is above"
            pids.discard(pid)
        else:
            time.sleep(0.02)
    assert not pids, "a process hangs"


def judge(world, path, state, logs):
    """Replay the commits in the order of their versions, and compare everything that anybody saw with that."""
    events = [json.loads(line) for log in logs for line in log.path.read_text().splitlines()]
    commits = sorted((event for event in events if event["kind"] == "commit"), key=lambda event: event["version"])
    versions = [event["version"] for event in commits]
    # Every version is somebody's, and nobody else's.
    assert versions == list(range(2, len(versions) + 2)), "the versions are no line"
    states = {1: state.copy()}
    for event in commits:
        state[event["blocks"]] = event["stamp"]
        states[event["version"]] = state.copy()
    for event in events:
        assert event["kind"] != "conflict" or event["said"].endswith("try again later")
        if event["kind"] == "seen":
            seen = zlib.crc32(states[event["version"]].tobytes())
            assert event["state"] == seen, f"version {event['version']} was seen as it never was"
    with hashdb.open(path, check="full") as index:
        assert index.version == max(versions)
        for version in [one.version for one in index.versions()]:
            with hashdb.open(path, version=version) as old:
                for found, expected in zip(world.content(old), world.expected(states[version]), strict=True):
                    assert np.array_equal(found, expected), "an acknowledged change is missing or there twice"
    report = hashdb.verify(path, deep=True)
    assert report.ok, report.problems
    return Counter(event["kind"] for event in events), events


def main(path, id_kind, seconds):
    world = World(N_BLOCKS, id_kind)
    index, state = world.build(path, method="sh")
    # Forked after use: each process inherits loaded kernels, and a pool of threads that it does not have.
    use_kernels()
    check_answers(world, index, *world.content(index), world.codes[0, :16])
    index.close()
    until = time.monotonic() + seconds
    roles = [write] * N_WRITERS + [read] * N_READERS + [compact]
    logs = [Log(Path(f"{path}.{number}.log")) for number in range(len(roles))]
    pids = {
        start(role, world, path, number, until, log) for number, (role, log) in enumerate(zip(roles, logs, strict=True))
    }
    finish(pids, until)
    counts, events = judge(world, path, state, logs)
    queries = [event for event in events if event["kind"] == "query"]
    done = {
        "commits": counts["commit"],
        "queries": sum(event["n"] for event in queries),
        "by buckets": sum(event["n"] for event in queries if event["buckets"]),
        "looks": counts["seen"],
        "conflicts given up": counts["conflict"],
        "versions gone": counts["gone"],
        "versions pruned": sum(event["n"] for event in events if event["kind"] == "prune"),
        "rows": int((state != ABSENT).sum()) * BLOCK,
    }
    print(json.dumps(done))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
