"""Experiments keep what is finished, go on from it, and give the same on any number of processes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from hashdb.errors import ArgumentError, InputFileError
from hashdb.evaluation import Split, run_experiment
from hashdb.evaluation.experiment import working
from hashdb.evaluation.splits import PARTS

from .experiment_kit import SMALL, N, dataset

pytestmark = pytest.mark.usefixtures("without_a_report")


def without_times(results):
    cells = [
        {**cell, "runs": [{k: v for k, v in run.items() if k != "seconds"} for run in cell["runs"]]}
        for cell in results["cells"]
    ]
    return json.loads(json.dumps({**results, "cells": cells}))


def test_processes_change_times_and_nothing_else(tmp_path):
    options = {"protocol": SMALL, "runs": 2, "baseline": "itq"}
    one = run_experiment(dataset(), ["lsh", "itq"], [8], **options)
    two = run_experiment(dataset(), ["lsh", "itq"], [8], jobs=2, output=tmp_path, **options)
    assert without_times(one) == without_times(two)
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(two))


def test_what_is_finished_is_kept_and_gives_the_same_results(tmp_path, measured):
    first = run_experiment(dataset(), ["lsh", "pcah"], 8, protocol=SMALL, runs=2, output=tmp_path)
    assert len(measured) == 4
    (tmp_path / "cells" / "pcah-8-run01.json").unlink()
    measured.clear()
    again = run_experiment(dataset(), ["lsh", "pcah"], 8, protocol=SMALL, runs=2, output=tmp_path)
    assert measured == ["pcah-8-run01"]
    assert without_times(again) == without_times(first)
    measured.clear()
    more = run_experiment(dataset(), ["pcah"], [8, 4], protocol=SMALL, runs=3, output=tmp_path)
    assert measured == ["pcah-4-run00", "pcah-4-run01", "pcah-8-run02", "pcah-4-run02"]
    assert more["cells"][0]["runs"][:2] == again["cells"][1]["runs"]


def test_an_experiment_that_is_interrupted_goes_on(tmp_path, monkeypatch, measured):
    def stop(units, *others):
        for number, unit in enumerate(work(units, *others)):
            if number == 1:
                raise KeyboardInterrupt
            yield unit

    work = working.work
    monkeypatch.setattr(working, "work", stop)
    with pytest.raises(KeyboardInterrupt):
        run_experiment(dataset(), ["lsh"], 8, protocol=SMALL, runs=4, output=tmp_path)
    monkeypatch.setattr(working, "work", work)
    measured.clear()
    run_experiment(dataset(), ["lsh"], 8, protocol=SMALL, runs=4, output=tmp_path)
    assert measured == ["lsh-8-run02", "lsh-8-run03"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": replace(SMALL, seed=1)}, r"cells of another protocol \(seed was 0, now 1\)"),
        ({"protocol": replace(SMALL, split="standard")}, "split was 'improved', now 'standard'"),
        ({"data": dataset(labels=np.arange(N) % 3)}, "data was"),
        ({"params": {"itq": {"iterations": 3}}}, "was measured with params by default, now {'method.iterations': '3'}"),
    ],
)
def test_a_change_of_protocol_is_refused(tmp_path, measured, changes, message):
    options = {"data": dataset(), "methods": ["itq"], "bits": 8, "protocol": SMALL, "runs": 1, "output": tmp_path}
    run_experiment(**options)
    measured.clear()
    with pytest.raises(ArgumentError, match=message):
        run_experiment(**{**options, **changes})
    assert measured == []


def test_a_damaged_cell_is_named(tmp_path):
    options = {"data": dataset(), "methods": ["lsh"], "bits": 8, "protocol": SMALL, "runs": 1, "output": tmp_path}
    run_experiment(**options)
    (tmp_path / "cells" / "lsh-8-run00.npz").write_bytes(b"nothing")
    with pytest.raises(InputFileError, match=r"lsh-8-run00\.npz cannot be read .* remove it"):
        run_experiment(**options)


def test_splits_are_kept_can_be_loaded_and_are_disjoint(tmp_path):
    run_experiment(dataset(), ["lsh"], 4, protocol=SMALL, runs=3, output=tmp_path)
    drawn = []
    for run in range(3):
        split = Split.load(tmp_path / "splits" / f"run-{run:02d}.npz")
        assert sorted(np.concatenate([split.parts[part] for part in PARTS]).tolist()) == list(range(N))
        drawn.append(split.test_queries.tolist())
    assert drawn[0] != drawn[1] != drawn[2]
