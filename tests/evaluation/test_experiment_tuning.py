"""Experiments tune on the validation parts alone, and leave given params as they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import hashdb
from hashdb.evaluation import LabelTruth, evaluate, make_split, run_experiment

from .experiment_kit import SIZES, SMALL, N, dataset

pytestmark = pytest.mark.usefixtures("without_a_report")


def test_tuning_chooses_by_the_validation_parts_and_never_sees_the_test_parts():
    data = dataset()
    protocol = replace(SMALL, tune="grid")
    results = run_experiment(data, ["itq"], 6, protocol=protocol, runs=2)
    for run in results["cells"][0]["runs"]:
        split = make_split(N, data.labels, seed=run["run"], **{f"n_{part}": size for part, size in SIZES.items()})
        truth = LabelTruth(data.labels[split.validation_queries], data.labels[split.validation_database])
        values = {}
        for iterations in (20, 50, 100):
            rows = data.vectors[np.sort(split.training)]
            model = hashdb.fit(rows, "itq", 6, params={"iterations": iterations}, seed=run["run"])
            parts = (model.encode(data.vectors[split.parts[f"validation_{part}"]]) for part in ("database", "queries"))
            values[iterations] = evaluate(*parts, truth, n_bits=6)["map"]
        assert {one["params"]["iterations"]: one["map"] for one in run["trials"]} == pytest.approx(values)
        assert run["chosen"] == {"iterations": max(values, key=lambda one: (values[one], -one))}
        assert run["all_params"]["iterations"] == run["chosen"]["iterations"]
    split = make_split(N, data.labels, **{f"n_{part}": size for part, size in SIZES.items()})
    scrambled = data.vectors.copy()
    for part in ("test_queries", "test_database"):
        scrambled[split.parts[part]] = np.random.default_rng(9).standard_normal((len(split.parts[part]), 10))
    other = run_experiment(dataset(vectors=scrambled), ["itq"], 6, protocol=protocol, runs=1)["cells"][0]["runs"][0]
    assert other["trials"] == results["cells"][0]["runs"][0]["trials"]
    assert other["metrics"]["map"] < results["cells"][0]["runs"][0]["metrics"]["map"]


def test_a_random_search_tries_some_and_leaves_given_params_alone():
    protocol = replace(SMALL, tune="random", trials=2)
    options = {"protocol": protocol, "runs": 1, "params": {"npq": {"q": 2}}}
    cells = run_experiment(dataset(), ["pcah+npq", "lsh"], 4, **options)["cells"]
    run = cells[0]["runs"][0]
    assert len(run["trials"]) == 2
    assert set(run["chosen"]) == {"quantiser.alpha", "quantiser.beta"}
    assert run["chosen"] in [one["params"] for one in run["trials"]]
    assert cells[0]["params"] == {"quantiser.q": 2}
    assert cells[0]["n_stored_bits"] == 6
    assert cells[1]["runs"][0]["chosen"] == {}
