"""A process that is killed with ``kill -9`` loses nothing that it had committed, and nobody else has to clean up.

A child adds, deletes and compacts for ever, and reports what it begins and what it has committed. It is killed at a
random moment, its index is looked through, and the next child goes on with the same index.
"""

import os
import random
import signal
import time

import pytest

import hashdb
from guarantees.forking import Forker
from guarantees.plain_reader import manifests, unnamed_files
from guarantees.soundness import check_sound, two_hours_later, version_found
from guarantees.steps import Oracle, build_all, small_sizes


@pytest.fixture(scope="module", autouse=True)
def _small():
    with small_sizes():
        yield


@pytest.fixture(scope="module")
def forker():
    forker = Forker()
    yield forker
    forker.close()


class Life:
    """One index through many kills, and the oracle that follows the reports of its writers."""

    def __init__(self, path, forker):
        self.path, self.forker = path, forker
        self.oracle = build_all(path, [{"do": "build", "n": 120, "seed": 1}])
        self.choose = random.Random(5)
        self.usual_time = 0.02  # of a step, in seconds
        self.n_commits = self.n_under_way = self.n_whole = self.n_swept = 0

    def kill_one(self, seed):
        """Let a child work, kill it after some steps, follow what it reported, and see what is left."""
        self.forker.order(what="work", path=str(self.path), seed=seed)
        what, child = self.forker.report()
        assert what == "pid"
        n_left, under_way = self.choose.randint(0, 6), None
        while (report := self.forker.report())[0] != "ended":
            if report[0] == "begins":
                under_way, begun = report[1], time.monotonic()
                if n_left == 0:
                    self.wait()
                    os.kill(child, signal.SIGKILL)
            else:
                self.usual_time += 0.1 * (time.monotonic() - begun - self.usual_time) * (n_left > 0)
                self.committed(under_way, *report[1:])
                under_way, n_left = None, n_left - 1
        assert report[1] == -signal.SIGKILL, f"the child ended with {report[1]}"
        self.find(under_way)

    def wait(self):
        """Wait for the moment of the kill: any moment, or one of the few between the link and the report."""
        if self.choose.random() < 0.7:
            # Somewhere in this step or the next one: no event could tell where.
            time.sleep(self.choose.uniform(0, 1.5 * self.usual_time))
            return
        following = self.path / "manifests" / f"{self.oracle.newest + 1:012d}.json"
        until = time.monotonic() + 1
        while not following.exists() and time.monotonic() < until:
            pass

    def committed(self, step, version, ids):
        """Follow a step that was reported as done."""
        after = self.oracle.after(step)
        if step["do"] == "add":
            assert ids == step.get("ids", list(range(self.oracle.next_id, after.next_id)))
        if version == self.oracle.newest:  # nothing was to change
            assert after.rows == self.oracle.rows
            if step.get("prune"):
                self.oracle.versions = {version: self.oracle.rows}
            return
        assert version == after.newest
        self.oracle = after
        self.n_commits += 1

    def find(self, under_way):
        """Every commit that was reported is there; the one that was under way is there as a whole, or not at all."""
        allowed = [self.oracle] if under_way is None else [self.oracle, self.oracle.after(under_way)]
        found = version_found(self.path, allowed)
        self.n_under_way += under_way is not None
        self.n_whole += found is not self.oracle
        history = {version: rows for oracle in allowed for version, rows in oracle.versions.items()}
        self.oracle = Oracle({n: history[n] for n in manifests(self.path)}, found.model, found.next_id)

    def sweep(self):
        """What killed writers left behind goes with the first ``compact`` after its time of grace."""
        self.n_swept += len(unnamed_files(self.path))
        for _ in range(2):  # the second removes the folders that the first has emptied
            two_hours_later(self.path)
            with hashdb.open(self.path) as index:
                index.compact()
                self.committed({"do": "compact"}, index.version, None)
        assert unnamed_files(self.path) == []


@pytest.mark.parametrize("kills", [30, pytest.param(300, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_kill_9_at_any_moment_loses_no_commit_that_was_reported(kills, path, forker, record_property):
    life = Life(path, forker)
    for number in range(1, kills + 1):
        life.kill_one(seed=number)
        check_sound(path, life.oracle, deep=number % 10 == 0)
        if number % 15 == 0:
            life.sweep()
    assert life.n_commits > kills / 2
    assert life.n_under_way > kills / 4
    assert life.n_swept > 0
    record_property("kills", kills)
    record_property("kills in the middle of a commit", life.n_under_way)
    record_property("commits found whole without a report", life.n_whole)
    record_property("commits reported before a kill", life.n_commits)
    record_property("leftover files swept", life.n_swept)
