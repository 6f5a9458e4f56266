"""``hashdb eval`` given what nobody should give it, and stopped where it hurts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from hashdb.cli import main
from hashdb.errors import ArgumentError, InputFileError
from hashdb.evaluation import Protocol, Split, load_results, make_split
from hashdb.evaluation.experiment import side_by_side
from hashdb.evaluation.ranking import ndcg_at, ndcg_of_ranking, precision_at

EVAL = ["mine.npz", "--methods", "lsh", "--runs", "1", "--bits", "8", "--at", "10", "--test-queries", "20"]
EVAL += ["--validation-queries", "10", "--train", "60", "--validation-database", "30", "--jobs", "1"]
HUGE = "1" + 25 * "0"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Be in a folder that holds mine.npz."""
    monkeypatch.chdir(tmp_path)
    vectors = np.random.default_rng(0).standard_normal((200, 12)).astype(np.float32)
    np.savez("mine.npz", vectors=vectors, labels=np.arange(200) % 4)
    return tmp_path


@pytest.fixture
def refused(folder, monkeypatch, capsys):
    """Run ``hashdb eval`` there, which is to fail, and give the line that it prints."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["hashdb", "eval", *arguments])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        assert (stop.value.code, out, len(err.splitlines())) == (1, "", 1), err
        return err

    return call


@pytest.mark.parametrize("train", ["100,200", "", ",", "60,", "many"])
def test_training_rows_are_exactly_one_number(refused, train):
    assert refused(*EVAL, "--train", train) == f"hashdb: --train is {train!r}, expected one whole number, or all\n"


def test_an_empty_name_is_not_the_current_folder(refused, folder):
    (folder / "results.json").write_text("{}")
    before = sorted(os.listdir(folder))
    assert "--output '' has an empty name" in refused(*EVAL, "--output", "")
    assert "--compare '' has an empty name" in refused("--compare", "", "results.json")
    assert "--compare '' has an empty name" in refused("--compare", "results.json", "")
    assert sorted(os.listdir(folder)) == before


def test_a_radius_twice_is_refused(refused):
    assert "radius has 1 twice, expected each number once" in refused(*EVAL, "--radius", "1,2,1")


def test_a_cut_beyond_all_numbers_of_rows_is_refused(refused):
    assert f"at has {HUGE}, expected whole numbers from 1 to 9223372036854775807" in refused(*EVAL, "--at", HUGE)
    with pytest.raises(ArgumentError, match=f"after {HUGE} codes, expected a whole number from 1 to 9223372036854775"):
        precision_at(np.array([[1, 1]]), np.array([[0, 1]]), int(HUGE))


def test_a_cut_far_beyond_the_rows_takes_no_memory_and_changes_nothing():
    by_grade = np.random.default_rng(0).integers(0, 5, (7, 3, 9))
    for ties in ("expected", "optimistic", "pessimistic"):
        whole = ndcg_at(by_grade, int(by_grade.sum()), ties=ties)
        assert np.array_equal(ndcg_at(by_grade, 1 << 62, ties=ties), whole)
    grades = np.array([0, 2, 1, 0, 2])
    assert ndcg_of_ranking(grades, 1 << 62) == ndcg_of_ranking(grades, 5)


@pytest.mark.parametrize("seed", [(1 << 63) - 1, 1 << 63, 1 << 64, 1 << 100])
def test_a_split_keeps_a_seed_of_any_size(tmp_path, seed):
    make_split(300, n_test_queries=9, n_validation_queries=0, n_training=9, n_validation_database=0, seed=seed).save(
        tmp_path / "split.npz"
    )
    assert Split.load(tmp_path / "split.npz").seed == seed


def test_a_seed_of_any_size_measures(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["hashdb", "eval", *EVAL, "--seed", str(1 << 64), "--json"])
    main()
    assert json.loads(capsys.readouterr().out)["protocol"]["seed"] == 1 << 64


def test_results_are_read_from_regular_files_of_some_size_only(folder, monkeypatch):
    os.mkfifo("pipe")
    for name in ("/dev/zero", "pipe"):
        with pytest.raises(InputFileError, match=f"{name} cannot be read as results: it is no regular file"):
            load_results(name)
    monkeypatch.setattr(side_by_side, "_MAX_BYTES", 10)
    (folder / "large.json").write_text(11 * " ")
    with pytest.raises(InputFileError, match="cannot be read as results: it has 11 bytes, expected at"):
        load_results("large.json")


def test_the_report_needs_no_backend(folder):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    command = [sys.executable, "-m", "hashdb", "eval", *EVAL, "--output", "out"]
    # In a process of its own: matplotlib looks at the variable once, as it is imported.
    done = subprocess.run(command, env={**os.environ, "MPLBACKEND": "bogus"}, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert "<svg" in (folder / "out" / "report.html").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_no_temporary_folders(folder, number):
    scratch = folder / "scratch"
    scratch.mkdir()
    for _ in range(4):
        process = _begin(folder, TMPDIR=str(scratch))
        assert _in_time(lambda: list(scratch.glob("**/codes.hashdb")))
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        assert "Traceback" not in err
        assert list(scratch.iterdir()) == []


def test_ctrl_c_while_processes_start_prints_one_line(folder):
    begun = folder / "begun"
    # Of every interpreter: the first is the command itself, the others are resource tracker and processes.
    (folder / "sitecustomize.py").write_text("import os\nopen(os.environ['BEGUN'], 'a').write('x')\n")
    search = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    for wait in (0, 0.02, 0.05, 0.1, 0.2, 0.4):
        begun.unlink(missing_ok=True)
        process = _begin(folder, PYTHONPATH=search, BEGUN=str(begun))
        assert _in_time(lambda: begun.exists() and begun.stat().st_size >= 3)
        time.sleep(wait)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert err.splitlines()[-1:] == ["hashdb: interrupted; nothing was kept"]
        assert "Traceback" not in err


def test_a_radius_twice_is_refused_by_the_protocol():
    with pytest.raises(ArgumentError, match="radius has 2 twice"):
        Protocol(radius=(2, 2)).check()


def _begin(folder, **variables):
    command = [sys.executable, "-m", "hashdb", "eval", *EVAL, "--runs", "400", "--jobs", "2"]
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
        start_new_session=True,
    )


def _in_time(condition):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.001)
    return False


@pytest.mark.parametrize("seed", [-1, 1.5, "x"])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(ArgumentError, match=r"^seed is .*expected a whole number from 0"):
        make_split(100, seed=seed, n_test_queries=2, n_validation_queries=2, n_training=2, n_validation_database=2)
