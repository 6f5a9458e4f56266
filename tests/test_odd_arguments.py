"""Arguments of the wrong kind or of any length: one short error of hashdb."""

import os
import subprocess
import sys

import numpy as np
import pytest
import zarr

import hashdb
from hashdb.errors import ArgumentError, StorageError, UnknownMethodError
from hashdb.storage import checking

ROWS = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
HUGE = 10**5000  # Python does not even write it


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"n_bits": HUGE}, ArgumentError, "n_bits is an integer of 16,610 bits, expected 1 to 4096"),
        ({"n_bits": [1] * 5000}, ArgumentError, "n_bits is [1, 1, "),
        ({"params": [("iterations", 1)]}, ArgumentError, "params are list, expected a mapping"),
        ({"params": "x"}, ArgumentError, "params are str, expected a mapping"),
        ({"params": {"iterations": HUGE}}, ArgumentError, "param 'iterations' of itq is an integer of 16,610 bits"),
        ({"params": {"iterations": "9" * 5000}}, ArgumentError, "param 'iterations' of itq is '999"),
        ({"quantiser": 3}, UnknownMethodError, "no quantiser named '3' is installed"),
        ({"method": "x" * 5000}, UnknownMethodError, "no method named 'xxx"),
        (
            {"method": "ksh", "labels": [[0], [1, 2]] * 30},
            ArgumentError,
            "labels are no array, expected one label a row",
        ),
    ],
)
def test_what_is_none_of_its_kind_is_refused_in_short(options, kind, said):
    with pytest.raises(kind) as caught:
        hashdb.fit(ROWS, **{"method": "itq", "n_bits": 8, **options})
    assert str(caught.value).startswith(said)
    assert len(str(caught.value)) < 1000


def hashdb_says(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "hashdb", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["x" * 90_000],
        ["query", "a", "--" + "x" * 90_000],
        ["query", "a", "b", "--metric", "x" * 90_000],
        ["query", "a", "b", "-k", "x\n" * 9000],
        ["query", "a", "b", "--\x1b[31m\n" * 900],
    ],
    ids=["command", "option", "value", "lines", "controls"],
)
def test_errors_of_usage_are_short_and_steer_no_terminal(arguments):
    code, said = hashdb_says(*arguments)
    assert (code, said[:15]) == (2, "Usage: hashdb [" if len(arguments) == 1 else "Usage: hashdb q")
    assert len(said) < 3000
    assert "\x1b" not in said


def test_a_number_of_threads_of_any_length_is_refused_in_short(tmp_path):
    hashdb.build(tmp_path / "a", ROWS, "lsh", 8).close()
    np.save(tmp_path / "q.npy", ROWS)
    code, said = hashdb_says("query", str(tmp_path / "a"), str(tmp_path / "q.npy"), HASHDB_NUM_THREADS="9" * 6000)
    assert code == 1
    assert said.startswith("hashdb: environment variable HASHDB_NUM_THREADS is '9999")
    assert len(said) < 300


def test_settings_of_zarr_that_do_not_work_are_no_damage(tmp_path):
    hashdb.build(tmp_path / "a", ROWS, "lsh", 8).close()
    checking._read_in_memory.cache_clear()
    with zarr.config.set({"async.concurrency": "x"}), pytest.raises(StorageError, match="zarr does not work here"):
        hashdb.verify(tmp_path / "a", deep=True)
    assert hashdb.verify(tmp_path / "a", deep=True).ok
