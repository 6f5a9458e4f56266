"""Proof: under a mixed load for long, answers stay right, and memory and open files stay flat."""

import json
from pathlib import Path

import pytest

from guarantees.scripts import run_script


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is measured by what Linux tells of it")
@pytest.mark.parametrize(
    ("seconds", "pause", "least_leak"),
    # The short one leaves the machine to others for most of the time, and finds coarse leaks only.
    [(30, 0.7, 8000), pytest.param(600, 0.03, 100, marks=[pytest.mark.slow, pytest.mark.timeout(1500)])],
)
def test_a_mixed_load_is_answered_rightly_in_flat_memory(tmp_path, record_property, seconds, pause, least_leak):
    """A leak of `least_leak` KiB a commit would be found, in the full size also one of a file in some hundred."""
    one_arena = {"MALLOC_ARENA_MAX": "1"}  # else what each thread's own arena keeps looks like a leak for minutes
    printed = run_script("soak_load.py", tmp_path / "a.hashdb", seconds, pause, timeout=seconds + 200, **one_arena)
    done = json.loads(printed)
    assert done["memory"]["least leak found, KiB a commit"] <= least_leak
    assert done["by buckets"] > 0
    assert done["versions pruned"] > 0
    assert done["versions opened"] > 0
    record_property("queries during the soak", done["queries"])
    record_property("commits during the soak", done["commits"])
