"""A loop over the API that interrupts reach at random moments, and the same object goes on after each of them.

Run as a script: `interrupted_loop.py PATH N_INTERRUPTS`. Prints the number of interrupts that were met; ends with a
traceback where one left anything but the version before or the one after.
"""

import signal
import sys
from pathlib import Path

import numpy as np

import hashdb
from guarantees.blocks import ABSENT, N_STAMPS, World, check_answers
from hashdb.search.scan import use_kernels

N_BASE = 300
LONGEST = 0.12  # seconds until an interrupt


def change(world, index, rng, state):
    """Choose something to do; give it, and the state that it leads to."""
    blocks = np.sort(rng.choice(world.n_blocks, rng.integers(1, 4), replace=False))
    after, choice = state.copy(), rng.random()
    if choice < 0.45:
        stamp = int(rng.integers(N_STAMPS))
        after[blocks] = stamp
        return lambda: index.add(world.vectors[stamp, world.rows(blocks)], world.ids(blocks), upsert=True), after
    if choice < 0.7:
        after[blocks] = ABSENT
        return lambda: index.delete(world.ids(blocks), ignore_missing=True), after
    if choice < 0.85:
        return lambda: index.compact(prune=True, keep=2), after
    rows, codes = world.expected(state)
    return lambda: check_answers(world, index, rows, codes, codes[:200], k=3), after


def main(path, n_interrupts):
    world = World(N_BASE + 60, "string")
    index, state = world.build(path, N_BASE, method="lsh")
    # Libraries whose first import is interrupted are broken for the rest of a process: they are imported before.
    use_kernels()
    rows, codes = world.expected(state)
    check_answers(world, index, rows, codes, codes[:200], k=3)
    rng = np.random.default_rng()
    n_met = 0
    signal.signal(signal.SIGALRM, signal.default_int_handler)  # ctrl-C of this process's own
    while n_met < n_interrupts:
        work, after = change(world, index, rng, state)
        try:
            signal.setitimer(signal.ITIMER_REAL, float(rng.uniform(1e-5, LONGEST)))
            work()
            signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            n_met += 1
        if n_met % 20 == 0:
            index.close()
            index = hashdb.open(path, check="full")
        index.refresh()
        rows, codes = world.content(index)
        found = world.state_of(rows, codes)
        assert np.array_equal(found, state) or np.array_equal(found, after), "neither the version before nor after"
        state = found
        check_answers(world, index, rows, codes, codes[:2])
    index.close()
    assert hashdb.verify(path, deep=True).ok
    print(n_met)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
