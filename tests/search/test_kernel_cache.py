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


def files_of(folder, kind):
    return {path: path.read_bytes() for path in folder.rglob(f"*.{kind}")}


@pytest.fixture
def restored(filled):
    """The filled cache, put back as it was after a test has damaged it."""
    before = {**files_of(filled, "nbi"), **files_of(filled, "nbc")}
    yield filled
    for path, content in before.items():
        path.write_bytes(content)


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
def test_damaged_cache_is_compiled_over(restored, kind, damage):
    for path, content in files_of(restored, kind).items():
        middle = len(content) // 2
        path.write_bytes(
            {
                "empty": b"",
                "truncated": content[:middle],
                "flipped": content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :],
                "garbage": b"\x80\x05no cache at all",
            }[damage]
        )
    check_answer(ask(restored, "kernels"), numba=True)


def test_code_of_another_signature_under_the_right_name_is_not_run(restored):
    files = files_of(restored, "nbc")
    contents = list(files.values())
    for path, other in zip(files, contents[1:] + contents[:1], strict=True):
        path.write_bytes(other)
    check_answer(ask(restored, "kernels"), numba=True)


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


def test_warmup_compiles_every_kernel_and_tells():
    from hashdb import search
    from hashdb.search.kernels.compile import all_kernels

    told = []
    names = search.warmup(lambda done, total, name: told.append((done, total, name)))
    assert {"scan.collect_nearest", "scan.select_nearest", "scan.collect_within", "scan.place_within"} <= set(names)
    assert all(kernel.is_compiled for kernel in all_kernels())
    assert told == [(number, len(names), name) for number, name in enumerate([*names, ""])]
