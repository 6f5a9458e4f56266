"""A power loss at any moment leaves the last committed version, whatever had not been flushed by then.

One index goes through a life of commits while every effect on files is recorded. After each effect, disks that a power
loss could leave are made and looked through. The model of the disk is that of :mod:`guarantees.lossy_disk`.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from storage_kit import Unsynced

import hashdb
from guarantees.fault_files import Faulty, under_hashdb
from guarantees.lossy_disk import LossyDisk, Recorder, write_disk
from guarantees.soundness import check_goes_on, check_no_index, check_sound, version_found
from guarantees.steps import OPERATIONS, STARTS, Oracle, perform, small_sizes
from hashdb.errors import HashDBError, StorageError

LIVES = {
    "integers": [*STARTS["integers"], *(OPERATIONS[name][1] for name in ("add that merges", "upsert", "prune"))],
    "tables": [*STARTS["without tables"], OPERATIONS["building of tables"][1], {"do": "delete", "ids": [1, 2]},
               {"do": "compact", "prune": True}, {"do": "compact", "table_budget": 0}],
    "strings": [*STARTS["strings"], *(OPERATIONS[name][1] for name in ("string add", "string upsert", "string prune"))],
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _small():
    with small_sizes():
        yield


@pytest.fixture
def folder():
    """A folder in memory where there is one: the disk that is lost is a model, and there are thousands of files."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)


class Life:
    """Several steps of one index, recorded.

    Parameters
    ----------
    steps : list of dict
        What is done.
    folder : Path
        Place for it.
    before : callable, optional
        Makes what is at a path before the first step.
    failing : dict, optional
        A step that fails for what is wrong with it, just before the first one.
    """

    def __init__(self, steps, folder, before=None, failing=None):
        self.top, self.start = folder / "life", folder / "start"
        self.top.mkdir()
        if before is not None:
            before(self.top / "index")
        shutil.copytree(self.top, self.start)
        self.steps, self.oracles, self.ends = steps, [Oracle()], [0]
        with under_hashdb(Recorder()) as files:
            if failing is not None:
                with pytest.raises(HashDBError):
                    perform(self.top / "index", failing)
            for step in steps:
                perform(self.top / "index", step)
                self.oracles.append(self.oracles[-1].after(step))
                self.ends.append(len(files.effects))
        self.effects = files.effects

    def moments(self):
        """Each moment: effects done, the disk then, the step under way, and the oracles that are allowed."""
        disk, step = LossyDisk(self.top, self.start), 0
        for done, effect in enumerate(self.effects, 1):
            disk.apply(*effect)
            yield done, disk, step, self.oracles[step : step + 2]
            if done == self.ends[step + 1]:
                step += 1
                # What was returned to the user is there: nothing older will do.
                yield done, disk, step - 1, self.oracles[step : step + 1]


def check_disk(path, step, allowed):
    """The index on a disk is one of those allowed, is sound, and goes on; a build that was cut short is done again.

    Old versions that a prune was removing may be there again, and with gaps between them where the disk keeps no order
    of removals. `verify` then names the gap, and the next prune removes what is there again.
    """
    gaps = step.get("prune", False)
    oracle = version_found(path, allowed, gaps=gaps)
    if oracle.newest == 0:
        check_no_index(path)
        perform(path, step)
        oracle = allowed[-1]
        assert version_found(path, [oracle]) is oracle
    check_sound(path, oracle, gaps=gaps)
    check_goes_on(path, oracle)
    if gaps:
        perform(path, step)
        assert hashdb.verify(path).ok


BUILD = OPERATIONS["build"][1]

# Disks for each moment, and of how many moments one is taken.
SIZES = [(2, 97), pytest.param((8, 1), marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]


@pytest.mark.parametrize("size", SIZES, ids=["sample", "every moment"])
@pytest.mark.parametrize("name", LIVES)
def test_a_power_loss_at_any_moment_leaves_the_last_committed_version(name, size, folder, record_property):
    most, one_of = size
    life = Life(LIVES[name], folder)
    links = [done for done, effect in enumerate(life.effects, 1) if effect[0] == "link"]
    # A sample has the moments around every fifth commit too.
    chosen = {done + i for done in links[::5] for i in (-1, 0)} | set(range(0, len(life.effects), one_of))
    n_moments, n_disks = lose_power(life, chosen, most, folder)
    record_property("power losses", n_moments)
    record_property("disks after a power loss", n_disks)


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("before", ["a few names", "a skeleton", "a whole model", "a build with ids given twice"])
def test_a_power_loss_around_a_build_that_failed_lets_it_be_built(before, every, folder, record_property):
    """What is left of it is removed by whoever failed or whoever builds there next; either may be cut short too."""

    def unfinished(path):
        point = {"a few names": 3, "a skeleton": 20, "a whole model": 60}[before]
        with under_hashdb(Faulty(point, "dead disk")), pytest.raises(StorageError):
            perform(path, BUILD)

    if before == "a build with ids given twice":
        life = Life([BUILD], folder, failing={**BUILD, "ids": [1] * BUILD["n"]})
    else:
        life = Life([BUILD], folder, unfinished)
    # From the removal of what is left until the folders of the new index are there.
    removing = next((i for i, effect in enumerate(life.effects) if effect[0] == "rmdir"), 0)
    begun = max(i for i, effect in enumerate(life.effects) if effect[1] == life.top / "index/deletes/zarr.json")
    chosen = set(range(removing, begun, 1 if every else 13))
    n_moments, n_disks = lose_power(life, chosen, 12 if every else 2, folder)
    record_property("power losses", n_moments)
    record_property("disks after a power loss", n_disks)


def lose_power(life, chosen, most, folder):
    """Lose power at the chosen moments of a life; the number of moments, and of different disks looked through."""
    seen, n_moments = set(), 0
    for done, disk, step, allowed in life.moments():
        if done not in chosen and len(allowed) > 1:
            continue
        n_moments += 1
        for files in disk.disks(most, seed=done):
            state = frozenset(files.items()), len(allowed), step
            if state in seen:
                continue
            seen.add(state)
            top = folder / "lost"
            write_disk(files, top)
            try:
                with under_hashdb(Unsynced()):
                    check_disk(top / "index", life.steps[step], allowed)
            except Exception as error:
                there = "\n".join(sorted(name for name, data in files.items() if data is not None))
                error.add_note(f"after effect {done}, {life.effects[done - 1][:2]}, of {life.steps[step]}:\n{there}")
                raise
            shutil.rmtree(top)
    return n_moments, len(seen)
