"""``hashdb eval`` as a user sees it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import NamedTuple

import numpy as np
import pytest

from hashdb.cli import main

SIZES = ["--test-queries", "20", "--validation-queries", "10", "--train", "60", "--validation-database", "30"]
SIZES += ["--jobs", "1"]


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run ``hashdb eval`` in a folder that holds mine.npz."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 4
    vectors = (rng.standard_normal((200, 12)) + 2 * rng.standard_normal((4, 12))[labels]).astype(np.float32)
    np.savez("mine.npz", vectors=vectors, labels=labels)
    np.savez("bare.npz", vectors=vectors)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["hashdb", "eval", *arguments])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Done(code, *capsys.readouterr())

    return call


def test_a_table_is_printed_and_everything_is_written(run, tmp_path):
    done = run("mine.npz", "--methods", "lsh,itq+dbq", "--bits", "8,12", "--runs", "2", "--output", "out", *SIZES)
    assert done.code == 0, done.err
    assert done.out.startswith("map on mine\n\n| method | 8 bits | 12 bits |")
    assert "results.json, tables.md, tables.tex, tables.csv" in done.out.splitlines()[-1]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["format"] == 1
    assert [(one["method"], one["quantiser"], one["bits"]) for one in results["cells"]] == [
        ("lsh", None, 8),
        ("lsh", None, 12),
        ("itq", "dbq", 8),
        ("itq", "dbq", 12),
    ]
    assert results["protocol"]["truth"] == {"kind": "labels"}
    parts = {"test queries": 20, "validation queries": 10, "training": 60, "validation database": 30}
    assert results["protocol"]["parts"] == {**parts, "test database": 80}
    assert (tmp_path / "out" / "tables.md").read_text().strip() in done.out
    assert {"numpy", "hashdb", "python"} <= set(results["versions"])


def test_the_report_is_written_where_its_libraries_are(run, tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    run("mine.npz", "--methods", "lsh,itq", "--bits", "8", "--runs", "2", "--output", "out", *SIZES)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "itq" in page
    assert "<svg" in page


def test_json_tuning_params_and_measures(run):
    options = [
        "--tune",
        "random",
        "--trials",
        "2",
        "--param",
        "npq.q=2",
        "--measures",
        "precision@10,auprc",
        "--at",
        "10",
    ]
    done = run("mine.npz", "--methods", "itq+npq", "--bits", "8", "--runs", "1", *options, *SIZES, "--json")
    results = json.loads(done.out)
    assert results["protocol"]["tuning"] == {"search": "random", "metric": "map", "trials": 2}
    assert len(results["cells"][0]["runs"][0]["trials"]) == 2
    shown = run("mine.npz", "--methods", "itq+npq", "--bits", "8", "--runs", "1", *options, *SIZES).out
    assert shown.startswith("precision@10 on mine")
    assert "auprc on mine" in shown
    assert "Chosen on the validation parts for itq+npq, 8 bits" in shown


def test_compare(run):
    for output, iterations in (("one", "1"), ("two", "50")):
        param = ["--param", f"itq.iterations={iterations}"]
        run("mine.npz", "--methods", "itq", "--bits", "8", "--runs", "2", "--output", output, *param, *SIZES)
    done = run("--compare", "one", "two", "--measures", "map,auprc")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "A is one, B is two"
    assert lines[2].split()[:6] == ["method", "bits", "codes", "metric", "A", "B"]
    assert [line.split()[3] for line in lines[3:]] == ["map", "auprc"]
    compared = json.loads(run("--compare", "one", "two", "--json").out)
    assert compared["rows"][0]["difference"] == compared["rows"][0]["second"] - compared["rows"][0]["first"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["cifar10-gits", "--methods", "itq"], 1, "unknown data set 'cifar10-gits'; did you mean 'cifar10-gist'"),
        (["none.npz", "--methods", "itq"], 1, "no file none.npz"),
        (["bare.npz", "--methods", "itq", "--truth", "labels"], 1, "truth is labels, but bare has none"),
        (["mine.npz", "--methods", "itq", "--train", "500"], 1, "training asks for 500 of 200 rows"),
        (["mine.npz", "--methods", "itq", "--train", "all"], 1, "an improved split keeps a test database"),
        (
            ["mine.npz", "--methods", "itq", "--param", "iterations=3"],
            1,
            "expected NAME.KEY=VALUE such as itq.iterations",
        ),
        (["mine.npz", "--methods", "itq", "--bits", "8,x"], 1, "--bits is '8,x', expected whole numbers"),
        (["mine.npz", "--methods", "nope"], 1, "nope"),
        (["mine.npz", "--methods", "itq", "--runs", "0"], 1, "--runs is 0, expected a whole number from 1"),
        (["mine.npz", "--methods", "itq", "--trials", "3"], 2, "--trials serves --tune random only"),
        (["mine.npz", "--methods", "itq", "--trials", "3", "--tune", "grid"], 2, "--trials serves --tune random only"),
        (["mine.npz", "--methods", "itq", "--neighbours", "3"], 2, "--neighbours serves --truth nearest only"),
        (["mine.npz", "--methods", "itq", "--metric", "l2", "--truth", "epsilon"], 2, "--metric serves --truth"),
        (["mine.npz", "--methods", "itq", "--epsilon-sample", "9"], 2, "--epsilon-sample serves --truth epsilon only"),
        (["mine.npz"], 2, "Missing option '--methods'"),
        ([], 2, "Missing argument 'DATA'"),
        (["mine.npz", "--compare", "a", "b"], 2, "--compare takes two results"),
        (["--compare", "a", "b"], 1, "hashdb: a: there is no such file"),
    ],
)
def test_errors_are_one_line(run, arguments, code, message):
    done = run(*arguments)
    assert done.code == code
    assert message in done.err
    assert done.out == ""
    if code == 1:
        assert len(done.err.splitlines()) == 1


def test_another_protocol_in_the_same_folder_is_refused(run):
    arguments = ["mine.npz", "--methods", "lsh", "--bits", "8", "--runs", "1", "--output", "out", *SIZES]
    assert run(*arguments).code == 0
    done = run(*arguments, "--split", "standard")
    assert done.code == 1
    assert "out holds cells of another protocol (split was 'improved', now 'standard')" in done.err


def test_ctrl_c_keeps_what_is_finished(run, tmp_path):
    command = [sys.executable, "-m", "hashdb", "eval", "mine.npz", "--methods", "lsh", "--bits", "16", "--runs", "400"]
    command += ["--output", "out", *SIZES, "--jobs", "2"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env={**os.environ}, start_new_session=True
    )
    cells = tmp_path / "out" / "cells"
    assert _in_time(lambda: cells.is_dir() and len(list(cells.glob("*.json"))) >= 3)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip().splitlines()[-1] == "hashdb: interrupted; the same command goes on where it stopped"
    assert "Traceback" not in err
    kept = list(cells.glob("*.json"))
    assert 3 <= len(kept) < 400
    assert all(json.loads(path.read_text())["parts"] for path in kept)


def test_processes_end_with_a_parent_that_is_killed(run, tmp_path):
    command = [sys.executable, "-m", "hashdb", "eval", "mine.npz", "--methods", "lsh", "--bits", "16", "--runs", "400"]
    command += ["--output", "out", *SIZES, "--jobs", "2"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True)
    cells = tmp_path / "out" / "cells"
    assert _in_time(lambda: cells.is_dir() and len(list(cells.glob("*.json"))) >= 3)
    process.kill()
    process.wait()
    assert _in_time(lambda: not _is_alive(process.pid))


def _in_time(condition):
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def _is_alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
