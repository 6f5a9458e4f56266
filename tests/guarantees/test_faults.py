"""Whatever fails, at whatever effect on files: the index is exactly the old version or exactly the new one."""

import os
import shutil
import sys
import tempfile
from collections import namedtuple
from functools import reduce
from pathlib import Path
from unittest import mock

import pytest
from storage_kit import Unsynced

import hashdb
from guarantees.fault_files import GROWING, KILLED, WAYS, Faulty, under_hashdb
from guarantees.forking import Forker
from guarantees.plain_reader import bytes_of, read_versions, unnamed_files
from guarantees.soundness import check_content, check_goes_on, check_no_index, check_sound, version_found
from guarantees.steps import CONTENDED, OPERATIONS, STARTS, Oracle, build_all, perform, perform_on, small_sizes
from hashdb.errors import StorageError

Start = namedtuple("Start", "path oracle")
# Effects that may fail unnoticed: what was to be removed stays, and is swept later.
REMOVING = ("unlink", "rmdir", "close")


@pytest.fixture(scope="module", autouse=True)
def _small():
    with small_sizes():
        yield


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """Name -> an index to copy, with its oracle."""
    made = {}
    with under_hashdb(Unsynced()):
        for name, steps in STARTS.items():
            path = tmp_path_factory.mktemp("starts") / "index"
            made[name] = Start(path, build_all(path, steps))
    return made


@pytest.fixture
def folder():
    """A folder in memory where there is one: nothing here needs a disk, and there are thousands of small files."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def forker():
    forker = Forker()
    yield forker
    forker.close()


class Trial:
    """One operation on copies of the index it starts from.

    The index is `old` before, `new` after it, and `met` once another writer, if one comes before the link, was there.
    """

    def __init__(self, name, starts, folder):
        self.number = [*OPERATIONS, *CONTENDED].index(name)
        start, self.step = (OPERATIONS | CONTENDED)[name]
        self.start, self.old = starts[start]
        self.met = reduce(Oracle.after, self.step.get("meets", {}).get("before", ()), self.old)
        self.new = self.old.after(self.step)
        self.folder, self.checked = folder, set()
        folder.mkdir(exist_ok=True)
        path = self.copy("whole")
        with under_hashdb(Faulty()) as files:
            perform(path, self.step)
        self.log = files.log
        self.link = self.log.index("link")
        # Who keeps others out has the lock long before the link.
        assert (self.log[self.link - 1] == "lock_folder") is ("max_lost" not in self.step)
        self.is_contended = self.met is not self.old
        if self.is_contended:
            assert self.log[: self.link].count("lock_folder") == 2  # the first attempt came too late
        assert version_found(path, self.allowed()) is self.new
        # A folder of tables that is emptied goes with the next sweep.
        assert [name for name in unnamed_files(path) if not name.endswith("/buckets/zarr.json")] == []

    def allowed(self):
        return [self.old, self.met, self.new] if self.is_contended else [self.old, self.new]

    def copy(self, name):
        path = self.folder / str(name)
        if self.start.exists():
            shutil.copytree(self.start, path)
        return path

    def points(self, every, way):
        """All points; or this way's share of those around the link and a sample of the others, which is never empty."""
        if every:
            return range(len(self.log))
        n, n_all = len(WAYS) + len(self.log) // 47, len(self.log)
        points = sorted({*range(self.link - 1, self.link + 2), *((2 * i + 1) * n_all // (2 * n) for i in range(n))})
        share = points[(list(WAYS).index(way) - self.number) % len(WAYS) :: len(WAYS)]
        # Where others are about, every way that goes on after the fault is tried around the link.
        is_close = "meets" in self.step and way in ("error", "late error", "interrupt")
        return sorted({*share, self.link, self.link + 1}) if is_close else share

    def run(self, point, way, forker):
        """Do the operation on a copy, failing at a point; the copy, whether the user was told of a failure, the log."""
        path = self.copy(f"{way} {point}")
        if way == "kill":
            status = forker.run(what="fault", path=str(path), step=self.step, point=point)
            assert status == KILLED, f"the child ended with {status}"
            return path, True, self.log[: point + 1]
        with under_hashdb(Faulty(point, way)) as files:
            try:
                perform(path, self.step)
            except (StorageError, KeyboardInterrupt):
                assert way != "interrupt" or sys.exc_info()[0] is KeyboardInterrupt
                told = True
            else:
                told = False
        assert files.log[: point + 1] == self.log[: point + 1]  # the same point each time
        return path, told, files.log

    def check(self, path, point, way, told, log):
        """The copy is the old version or the new one, whichever it must be, is sound, and goes on."""
        linked = point > self.link or (way == "late error" and point == self.link)
        if not told:
            assert self.log[point] in REMOVING, f"{self.log[point]} failed unnoticed"
        before = self.met if "lock_folder" in log else self.old
        expected = self.new if linked or not told else before
        # Most failures are taken back whole: the same bytes need not be looked through again.
        state = expected, bytes_of(path)
        if state not in self.checked:
            self.checked.add(state)
            self.check_all(path, expected, deep="meets" in self.step or point % 16 == 0)
        shutil.rmtree(path, ignore_errors=True)

    def check_all(self, path, expected, deep):
        """The copy holds what is expected, to a user and to a reader of its files, and can be gone on with."""
        with under_hashdb(Unsynced()):
            assert version_found(path, self.allowed()) is expected
            if expected.newest == 0:
                check_no_index(path)
                perform(path, self.step)
                expected = self.new
            check_sound(path, expected, deep=deep)
            check_goes_on(path, expected)


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
@pytest.mark.parametrize("name", [*OPERATIONS, *CONTENDED])
def test_a_fault_at_any_effect_leaves_the_old_version_or_the_new_one(
    name, every, starts, forker, folder, record_property
):
    trial = Trial(name, starts, folder)
    n_points = 0
    for way in WAYS:
        points = trial.points(every, way)
        assert points
        for point in points:
            path, *outcome = trial.run(point, way, forker)
            try:
                trial.check(path, point, way, *outcome)
            except Exception as error:
                error.add_note(f"{way} at effect {point} of {len(trial.log)} ({trial.log[point]}) of {name!r}")
                raise
            n_points += 1
    record_property("fault points", n_points)


@pytest.mark.parametrize("name", ["build with string ids", "add of many", "upsert", "prune", "building of tables"])
def test_short_writes_without_an_error_are_gone_on_with(name, starts, folder, record_property):
    """The system may take a part of what is written, and say so; nothing is lost then."""
    trial = Trial(name, starts, folder)
    path, n_short = trial.copy("short"), 0
    write, write_at = os.write, os.pwrite

    def short(real):
        def limited(handle, data, *offset):
            nonlocal n_short
            n_short += len(data) > 7
            return real(handle, data[:7], *offset)

        return limited

    with under_hashdb(Unsynced()):
        with mock.patch("os.write", short(write)), mock.patch("os.pwrite", short(write_at)):
            perform(path, trial.step)
        assert version_found(path, [trial.new]) is trial.new
        check_sound(path, trial.new, deep=True)
    assert n_short
    record_property("short writes", n_short)


@pytest.mark.parametrize("name", [*OPERATIONS, *CONTENDED])
def test_an_operation_that_failed_leaves_nothing_behind(name, starts, folder):
    """Where removing works, a failure before the commit takes back everything at once."""
    trial = Trial(name, starts, folder)
    growing = [point for point in range(trial.link + 1) if trial.log[point] in GROWING]
    for point in {growing[len(growing) // 3], growing[-2], trial.link}:
        path, told, _ = trial.run(point, "full disk", None)
        assert told
        if trial.old.newest:
            assert unnamed_files(path) == []
        else:
            assert not path.exists()


def test_an_open_index_goes_on_after_failures(starts, folder, record_property):
    """One index object through a failure at every effect of an add, each followed by an add that works."""
    trial = Trial("add", starts, folder)
    path, oracle, step = trial.copy("open"), trial.old, trial.step
    points = [point for point, effect in enumerate(trial.log) if effect not in REMOVING]
    with hashdb.open(path) as index:
        for point in points:
            with under_hashdb(Faulty(point)), pytest.raises(StorageError):
                perform_on(index, step)
            if point > trial.link:
                oracle = oracle.after(step)  # committed, though the flush of the manifest's name failed
            with under_hashdb(Unsynced()):
                ids = perform_on(index, step)
            assert ids == [oracle.next_id, oracle.next_id + 1, oracle.next_id + 2]
            oracle = oracle.after(step)
        assert version_found(path, [oracle]) is oracle
        check_content(index, oracle)
    record_property("fault points", len(points))


def test_a_scratch_file_that_cannot_be_removed_fails_the_add(starts, folder):
    """Inside a segment that a version names it would stay for ever."""
    trial = Trial("add of many", starts, folder)
    point = trial.log.index("unlink")
    assert point < trial.link
    path, told, log = trial.run(point, "error", None)
    assert told
    trial.check(path, point, "error", told, log)


def test_every_change_of_a_file_goes_through_the_layer_that_fails(starts, folder):
    """Else these proofs would overlook it: the interpreter itself reports what is done to files."""
    seen, watching = [], False

    def hook(event, args):
        if not watching or event not in ("open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir"):
            return
        if str(args[0]).startswith(str(folder)) and (event != "open" or args[2] & (os.O_WRONLY | os.O_RDWR)):
            seen.append(event)

    sys.addaudithook(hook)
    for name in OPERATIONS:
        trial = Trial(name, starts, folder / name.replace(" ", "-"))
        path = trial.copy("watched")
        seen.clear()
        with under_hashdb(Faulty()) as files:
            watching = True
            perform(path, trial.step)
            watching = False
        counts = {"create": "open", "mkdir": "os.mkdir", "rename": "os.rename", "link": "os.link"}
        counts |= {"unlink": "os.remove", "rmdir": "os.rmdir"}
        assert {event: seen.count(event) for event in counts.values()} == {
            event: files.log.count(effect) for effect, event in counts.items()
        }


def test_old_versions_stay_through_it_all(starts):
    """The indexes that the proofs start from are what their oracles say, in every version."""
    for path, oracle in starts.values():
        if oracle.newest:
            assert read_versions(path) == oracle.versions
            with hashdb.open(path) as index:
                assert [info.version for info in index.versions()] == list(oracle.versions)
