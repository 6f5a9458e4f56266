"""Compiling on first use: whatever the cache folder is like, the answer is the same and nothing is raised."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

ASK = """
    import json, sys, time
    start = time.perf_counter()
    import numpy as np
    from hashdb.search import scan
    if len(sys.argv) > 1:
        scan.NUMPY_BUDGET = -1
    codes = np.arange(10_000, dtype=np.uint64)[:, None]
    found = scan.knn([codes], codes[7:8], 4, n_bits=64)
    lims, rows, _ = scan.radius([codes], codes[7:8], 1, n_bits=64)
    print(json.dumps({"rows": found.rows.tolist(), "within": rows.tolist(), "numba": "numba" in sys.modules}))
"""
ANSWER = {"rows": [[7, 3, 5, 6]], "within": [7, 3, 5, 6, 15, 23, 39, 71, 135, 263, 519, 1031, 2055, 4103, 8199]}


def ask(folder, *arguments, **variables):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(ASK), *arguments],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def check_answer(answer, numba):
    assert answer == {**ANSWER, "numba": numba}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A cache folder that holds the kernels of the scan."""
    folder = tmp_path_factory.mktemp("cache")
    check_answer(ask(folder, "kernels"), numba=True)
    return folder


TINY = """
    import sys
    import numpy as np
    from numba import types
    from hashdb.search.kernels.compile import kernel, words

    @kernel(types.int64(words(1)), types.int64(words(2)))
    def total(codes):
        return int(codes.sum()) * 10 + codes.ndim

    print(total(np.arange(4, dtype=np.uint64)), total(np.ones((2, 3), np.uint64)))
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """A small program with one kernel, in its own folder, whose cache has been filled."""
    folder = tmp_path_factory.mktemp("program")
    path = folder / "program.py"
    path.write_text(textwrap.dedent(TINY))
    check_program(path)
    return path


def check_program(path):
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(path.parent / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "61 62\n", "")


def files_of(folder, kind):
    return {path: path.read_bytes() for path in folder.rglob(f"*.{kind}")}


def test_small_work_loads_no_compiler(tmp_path):
    check_answer(ask(tmp_path), numba=False)
    assert list(tmp_path.iterdir()) == []


def test_second_process_takes_the_code_from_the_cache(filled):
    before = {path: path.stat().st_mtime_ns for path in filled.rglob("*.nbc")}
    assert before
    check_answer(ask(filled, "kernels"), numba=True)
    assert {path: path.stat().st_mtime_ns for path in filled.rglob("*.nbc")} == before


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", ["empty", "truncated", "flipped", "garbage"])
def test_damaged_cache_is_compiled_over(script, kind, damage):
    files = files_of(script.parent, kind)
    assert files
    for path, content in files.items():
        middle = len(content) // 2
        path.write_bytes(
            {
                "empty": b"",
                "truncated": content[:middle],
                "flipped": content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :],
                "garbage": b"\x80\x05no cache at all",
            }[damage]
        )
    damaged = files_of(script.parent, kind)
    check_program(script)
    repaired = files_of(script.parent, kind)
    assert all(repaired[path] != content for path, content in damaged.items())


def test_code_of_another_signature_under_the_right_name_is_not_run(script):
    files = files_of(script.parent, "nbc")
    assert len(files) == 2
    for path, other in zip(files, reversed(files.values()), strict=True):
        path.write_bytes(other)
    check_program(script)


def test_changed_helper_module_outdates_the_cache(script):
    before = {path: path.stat().st_mtime_ns for path in script.parent.rglob("*.nbc")}
    check_program(script)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    (script.parent / "helper.py").write_text("# a kernel may call what stands here\n")
    check_program(script)
    assert all(path.stat().st_mtime_ns > stamp for path, stamp in before.items())


def test_no_folder_to_write_the_cache_is_no_failure(tmp_path):
    # A path below a regular file cannot be made by anyone, root included.
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "below"
    locators = "UserProvidedCacheLocator,UserWideCacheLocator"
    answer = ask(
        below,
        "kernels",
        HOME=str(below),
        XDG_CACHE_HOME=str(below),
        NUMBA_CACHE_LOCATOR_CLASSES=locators,
    )
    check_answer(answer, numba=True)
    assert [path.name for path in tmp_path.rglob("*")] == ["file"]


def test_many_small_searches_soon_get_the_kernels(monkeypatch):
    from hashdb.search import scan

    budget = scan._Budget()
    monkeypatch.setattr(scan, "_budget", budget)
    assert budget.covers(scan.NUMPY_BUDGET // 2)
    assert budget.covers(scan.NUMPY_BUDGET // 2)
    assert not budget.covers(1)
    monkeypatch.setattr(scan, "_budget", scan._Budget())
    scan.use_kernels()
    assert not scan._budget.covers(1)


def test_warmup_compiles_every_kernel_and_tells():
    from hashdb import search
    from hashdb.search.kernels.compile import all_kernels

    told = []
    names = search.warmup(lambda done, total, name: told.append((done, total, name)))
    assert {"scan.collect_nearest", "scan.select_nearest", "scan.collect_within", "scan.place_within"} <= set(names)
    assert all(kernel.is_compiled for kernel in all_kernels())
    assert told == [(number, len(names), name) for number, name in enumerate([*names, ""])]
