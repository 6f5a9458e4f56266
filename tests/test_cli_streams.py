"""The streams of the command: closed ones, encodings that lack a character, and alarms that are not ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hashdb

IDS = ["日本", "é", "😀"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with rows.npy, codes.txt and a.hashdb of string ids."""
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    np.save("rows.npy", rows)
    hashdb.build("a.hashdb", rows, "lsh", 16, ids=IDS).close()
    return tmp_path


def run(words: str, redirected: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run the command as a shell does that redirects its streams."""
    return subprocess.run(
        ["bash", "-c", f"exec {sys.executable} -m hashdb {words} {redirected}"],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_command_with_closed_streams_does_its_work(folder: Path, closed: str) -> None:
    done = run("build b.hashdb rows.npy --method lsh --bits 8", closed)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == (b"b.hashdb: 3 codes of 8 bits by lsh, version 1\n" if closed == "2>&-" else b"")
    assert hashdb.verify("b.hashdb", deep=True).ok


def test_errors_keep_their_exit_code_with_closed_streams(folder: Path) -> None:
    assert run("info nothing", ">&- 2>&-").returncode == 1
    done = run("add a.hashdb - --format npy", "<&-")
    assert (done.returncode, done.stderr) == (1, b"hashdb: input '-' is stdin, but nothing is piped into it\n")
    done = run("add a.hashdb rows.npy --ids -", "<&-")
    assert (done.returncode, done.stderr) == (1, b"hashdb: stdin is closed: expected data from a pipe or a file\n")


def test_no_file_gets_the_number_of_a_closed_stream(folder: Path) -> None:
    """What is printed would go into it."""
    code = (
        "import os, sys\n"
        "from hashdb.__main__ import main\n"
        "import hashdb.cli\n"
        "hashdb.cli.main = lambda failed: sys.exit(open('numbered', 'w').fileno())\n"
        "main()\n"
    )
    script = folder / "numbered.py"
    script.write_text(code)
    done = subprocess.run(["bash", "-c", f"exec {sys.executable} {script} <&- >&- 2>&-"], check=False)
    assert done.returncode > 2


def test_characters_that_an_encoding_lacks_are_escaped(folder: Path) -> None:
    latin = {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    done = run("query a.hashdb rows.npy -k 3", **latin)
    assert (done.returncode, done.stderr) == (0, b"")
    assert all(one in done.stdout for one in (b"\\u65e5\\u672c (0)", b"\xe9 (0)", b"\\U0001f600 (0)"))
    found = [json.loads(line) for line in run("query a.hashdb rows.npy -k 3 --json", **latin).stdout.splitlines()]
    assert {one for record in found for one in record["ids"]} == set(IDS)
    assert run("methods itq", **latin).returncode == 0


def test_a_path_that_is_no_text_is_printed_and_is_valid_json(folder: Path) -> None:
    strict = {"PYTHONIOENCODING": "utf-8:strict", "PYTHONUTF8": "1"}
    done = run("build $'a\\xff.hashdb' rows.npy --method lsh --bits 8", **strict)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"a\\udcff.hashdb: 3 codes of 8 bits by lsh, version 1\n"
    told = run("versions $'a\\xff.hashdb' --json", **strict).stdout
    assert os.fsencode(json.loads(told.decode())["index"]) == b"a\xff.hashdb"


def test_an_alarm_ends_a_command_as_it_ends_any_program(folder: Path) -> None:
    code = (
        "import signal\n"
        "from hashdb.__main__ import main\n"
        "import hashdb.cli\n"
        "hashdb.cli.main = lambda failed: signal.raise_signal(signal.SIGALRM)\n"
        "main()\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGALRM
