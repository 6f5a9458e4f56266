"""Experiments on small data: what is measured, kept, tuned and refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import hashdb
from hashdb.datasets import Dataset
from hashdb.errors import ArgumentError, HashDBError, InputFileError
from hashdb.evaluation import (
    EpsilonTruth,
    LabelTruth,
    NearestTruth,
    Protocol,
    Split,
    choose_epsilon,
    evaluate,
    make_split,
    run_experiment,
)
from hashdb.evaluation.experiment import working
from hashdb.evaluation.experiment.measuring import Measuring
from hashdb.evaluation.splits import PARTS

N = 240
SIZES = {"test_queries": 20, "validation_queries": 16, "training": 80, "validation_database": 50}
SMALL = Protocol(sizes=SIZES, at=(5, 40), radius=(1,))


def points(n=N, dim=10, n_classes=4, seed=0):
    """Rows around a centre for each class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    return (rng.standard_normal((n, dim)) + 2 * rng.standard_normal((n_classes, dim))[labels]).astype(
        np.float32
    ), labels


def dataset(**changes):
    vectors, labels = points()
    return Dataset(**{"name": "points", "vectors": vectors, "labels": labels, **changes})


def pairs(n=N, n_train=None):
    vectors, labels = points(n)
    other = np.tanh(vectors @ np.random.default_rng(1).standard_normal((10, 7)).astype(np.float32))
    return Dataset("pairs", {"image": vectors, "text": other}, labels, n_train=n_train)


def without_times(results):
    cells = [
        {**cell, "runs": [{k: v for k, v in run.items() if k != "seconds"} for run in cell["runs"]]}
        for cell in results["cells"]
    ]
    return json.loads(json.dumps({**results, "cells": cells}))


@pytest.fixture(autouse=True)
def _without_a_report(monkeypatch):
    """Pages take seconds, and have tests of their own."""
    monkeypatch.setattr("hashdb.evaluation.report.missing", lambda: ["matplotlib"])


@pytest.fixture
def measured(monkeypatch):
    """Name the units that are measured."""
    names = []
    measure = Measuring.measure

    def noted(self):
        names.append(self._unit.name)
        return measure(self)

    monkeypatch.setattr(Measuring, "measure", noted)
    return names


def test_every_value_is_that_of_codes_compared_without_an_index():
    data = dataset()
    results = run_experiment(data, ["lsh", "pcah"], [8, 6], protocol=replace(SMALL, seed=3), runs=2)
    assert [(cell["method"], cell["bits"]) for cell in results["cells"]] == [
        ("lsh", 8),
        ("lsh", 6),
        ("pcah", 8),
        ("pcah", 6),
    ]
    for cell in results["cells"]:
        for run in cell["runs"]:
            seed = 3 + run["run"]
            split = make_split(N, data.labels, seed=seed, **{f"n_{part}": size for part, size in SIZES.items()})
            model = hashdb.fit(data.vectors[np.sort(split.training)], cell["method"], cell["bits"], seed=seed)
            codes, asked = (model.encode(data.vectors[rows]) for rows in (split.test_database, split.test_queries))
            truth = LabelTruth(data.labels[split.test_queries], data.labels[split.test_database])
            wanted = evaluate(codes, asked, truth, n_bits=cell["bits"], at=(5, 40), radius=1)
            wanted["empty@1"] = wanted.pop("nothing_within_1")
            for name in ("n_queries", "n_database", "n_bits"):
                del wanted[name]
            errors = {name: run["metrics"].pop(name) for name in ("quantisation_error", "quantisation_error_scaled")}
            assert set(run["metrics"]) == set(wanted)
            for name, value in wanted.items():
                assert run["metrics"][name] == pytest.approx(value, abs=1e-12), name
            margins = model.project(data.vectors[split.test_database])
            assert errors["quantisation_error"] == pytest.approx(np.square(np.abs(margins) - 1).sum(axis=1).mean())
            assert run["seed"] == seed
            assert set(run["seconds"]) == {"fit", "encode", "query"}
            assert run["bytes_per_code"] == 8


def test_the_curves_are_those_of_sorted_distances():
    data = dataset()
    run = run_experiment(data, ["lsh"], 8, protocol=SMALL, runs=1)["cells"][0]["runs"][0]
    split = make_split(N, data.labels, **{f"n_{part}": size for part, size in SIZES.items()})
    model = hashdb.fit(data.vectors[np.sort(split.training)], "lsh", 8)
    codes, asked = (model.encode(data.vectors[rows]) for rows in (split.test_database, split.test_queries))
    distances = np.bitwise_count(asked[:, None, 0] ^ codes[None, :, 0])
    relevant = data.labels[split.test_queries][:, None] == data.labels[split.test_database]
    for radius in range(9):
        near = distances <= radius
        curves = run["curves"]
        assert curves["candidates"]["candidates"][radius] == pytest.approx(near.sum(axis=1).mean(), abs=1e-6)
        recalls = (near & relevant).sum(axis=1) / relevant.sum(axis=1)
        assert curves["candidates"]["recall"][radius] == pytest.approx(recalls.mean(), abs=1e-6)
        pooled = (near & relevant).sum()
        assert curves["precision_recall"]["recall"][radius] == pytest.approx(pooled / relevant.sum(), abs=1e-6)
        assert curves["precision_recall"]["precision"][radius] == pytest.approx(pooled / max(1, near.sum()), abs=1e-6)


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


def test_a_standard_split_searches_all_but_the_test_queries():
    results = run_experiment(dataset(), ["lsh"], 4, protocol=replace(SMALL, split="standard"), runs=1)
    assert results["protocol"]["parts"]["test database"] == N - 20


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


def test_supervised_methods_learn_from_the_labels_of_the_training_rows(monkeypatch):
    seen = {}
    fit = hashdb.fit

    def noted(vectors, method, n_bits, **options):
        seen[method] = (len(vectors), options["labels"])
        return fit(vectors, method, n_bits, **options)

    monkeypatch.setattr(hashdb, "fit", noted, raising=False)
    cells = run_experiment(dataset(), ["lsh", "itq-cca"], 4, protocol=SMALL, runs=1)["cells"]
    split = make_split(N, dataset().labels, **{f"n_{part}": size for part, size in SIZES.items()})
    assert seen["lsh"] == (80, None)
    assert seen["itq-cca"][1].tolist() == dataset().labels[np.sort(split.training)].tolist()
    assert cells[1]["summary"]["map"]["mean"] > cells[0]["summary"]["map"]["mean"]


@pytest.mark.parametrize("metric", ["l2", "cosine", "ip"])
def test_the_truth_may_be_the_nearest_rows(metric, tmp_path):
    protocol = replace(SMALL, truth="nearest", neighbours=5, metric=metric)
    results = run_experiment(dataset(labels=None), ["lsh"], 8, protocol=protocol, runs=1, output=tmp_path)
    split = Split.load(tmp_path / "splits" / "run-00.npz")
    vectors = dataset().vectors
    truth = NearestTruth(vectors[split.test_queries], vectors[split.test_database], 5, metric=metric)
    model = hashdb.fit(vectors[np.sort(split.training)], "lsh", 8)
    codes = (model.encode(vectors[rows]) for rows in (split.test_database, split.test_queries))
    found = evaluate(*codes, truth, n_bits=8, at=40)
    assert results["cells"][0]["summary"]["recall@40"]["mean"] == pytest.approx(found["recall@40"])
    assert results["protocol"]["truth"] == {"kind": "nearest", "neighbours": 5, "metric": metric}
    assert len(list((tmp_path / "truths").iterdir())) == 1


def test_the_truth_may_be_an_epsilon_ball():
    protocol = replace(SMALL, truth="epsilon", epsilon_neighbour=20, epsilon_sample=30, seed=2)
    results = run_experiment(dataset(), ["lsh"], 8, protocol=protocol, runs=1)
    data = dataset()
    split = make_split(N, data.labels, seed=2, **{f"n_{part}": size for part, size in SIZES.items()})
    rest = np.setdiff1d(np.arange(N), split.test_queries)
    epsilon = choose_epsilon(data.vectors[rest], n_neighbour=20, n_sample=30, seed=2)
    assert results["protocol"]["truth"]["epsilon"] == pytest.approx(epsilon)
    truth = EpsilonTruth(data.vectors[split.test_queries], data.vectors[split.test_database], epsilon)
    none = int((np.diff(truth.starts) == 0).sum())
    assert results["cells"][0]["runs"][0]["metrics"]["queries_without_relevant"] == none


def test_queries_that_come_with_the_data_ask_where_the_truth_is_nearest():
    queries = points(30, seed=5)[0]
    data = dataset(queries=queries, metric="cosine")
    standard = replace(SMALL, truth="nearest", neighbours=3, split="standard")
    protocol = run_experiment(data, ["lsh"], 8, protocol=standard, runs=1)["protocol"]
    assert (protocol["parts"]["test queries"], protocol["parts"]["test database"]) == (20, N)
    assert protocol["truth"]["metric"] == "cosine"
    given = replace(SMALL, truth="nearest", neighbours=3, split="given", sizes={"test_queries": 100})
    results = run_experiment(data, ["lsh"], 8, protocol=given, runs=1)
    assert results["protocol"]["parts"]["test queries"] == 30
    model = hashdb.fit(data.vectors, "lsh", 8)
    truth = NearestTruth(queries, data.vectors, 3, metric="cosine")
    found = evaluate(model.encode(data.vectors), model.encode(queries), truth, n_bits=8)
    assert results["cells"][0]["summary"]["map"]["mean"] == pytest.approx(found["map"])
    drawn = run_experiment(data, ["lsh"], 8, protocol=replace(standard, queries="drawn"), runs=1)["protocol"]
    assert drawn["parts"]["test database"] == N - 20
    by_label = run_experiment(data, ["lsh"], 8, protocol=SMALL, runs=1)["protocol"]
    assert by_label["parts"]["test database"] == N - sum(SIZES.values())


def test_pairs_are_searched_in_both_directions():
    results = run_experiment(pairs(), ["cvh"], 4, protocol=SMALL, runs=1)
    assert results["protocol"]["dims"] == {"image": 10, "text": 7}
    assert [(cell["query"], cell["database"]) for cell in results["cells"]] == [("image", "text"), ("text", "image")]
    data = pairs()
    split = make_split(N, data.labels, **{f"n_{part}": size for part, size in SIZES.items()})
    rows = np.sort(split.training)
    model = hashdb.fit({name: data.vectors[name][rows] for name in data.vectors}, "cvh", 4)
    truth = LabelTruth(data.labels[split.test_queries], data.labels[split.test_database])
    for cell in results["cells"]:
        codes = model.encode(data.vectors[cell["database"]][split.test_database], cell["database"])
        asked = model.encode(data.vectors[cell["query"]][split.test_queries], cell["query"])
        assert cell["summary"]["map"]["mean"] == pytest.approx(evaluate(codes, asked, truth, n_bits=4)["map"])


@pytest.mark.parametrize("split", ["given", "standard"])
def test_learned_codes_are_measured_where_the_training_rows_are_the_database(split):
    sizes = {"test_queries": 40, "training": None, "validation_queries": 0, "validation_database": 0}
    sizes = {} if split == "given" else sizes
    protocol = Protocol(split=split, sizes=sizes, database_codes="both")
    data = pairs(n_train=200)
    results = run_experiment(data, ["cmfh", "cvh"], 4, protocol=protocol, runs=1)
    kinds = [(cell["method"], cell["query"], cell["database_codes"]) for cell in results["cells"]]
    assert kinds == [
        *(("cmfh", query, codes) for query in ("image", "text") for codes in ("predicted", "learned")),
        ("cvh", "image", "predicted"),
        ("cvh", "text", "predicted"),
    ]
    assert results["protocol"]["parts"]["test database"] == 200
    if split == "given":
        model = hashdb.fit({name: rows[:200] for name, rows in data.vectors.items()}, "cmfh", 4)
        assert results["protocol"]["parts"]["test queries"] == 40
        asked = model.encode(data.vectors["image"][200:], "image")
        truth = LabelTruth(data.labels[200:], data.labels[:200])
        learned = evaluate(model.training_codes, asked, truth, n_bits=4)["map"]
        assert results["cells"][1]["summary"]["map"]["mean"] == pytest.approx(learned)
    only = run_experiment(data, ["cmfh", "cvh"], 4, protocol=replace(protocol, database_codes="learned"), runs=1)
    assert {cell["method"] for cell in only["cells"]} == {"cmfh"}
    assert "learns no codes of its training rows" in only["refused"][0]["reason"]


def test_what_a_method_refuses_is_told_and_the_others_go_on():
    results = run_experiment(dataset(), ["pcah", "lsh"], [8, 16], protocol=SMALL, runs=2)
    kinds = [(cell["method"], cell["bits"]) for cell in results["cells"]]
    assert kinds == [("pcah", 8), ("lsh", 8), ("lsh", 16)] or sorted(kinds) == [("lsh", 8), ("lsh", 16), ("pcah", 8)]
    assert {(one["method"], one["bits"], one["run"]) for one in results["refused"]} == {
        ("pcah", 16, 0),
        ("pcah", 16, 1),
    }
    with pytest.raises(ArgumentError, match="nothing could be measured: pcah gives at most one bit a dimension"):
        run_experiment(dataset(), ["pcah"], 16, protocol=SMALL, runs=1)


def test_small_data_get_smaller_parts_unless_sizes_are_given():
    protocol = run_experiment(dataset(), ["lsh"], 4, runs=1)["protocol"]
    parts = {"test queries": 24, "validation queries": 24, "training": 72, "validation database": 48}
    assert protocol["parts"] == {**parts, "test database": 72}


def test_labels_of_several_columns_give_grades():
    labels = np.stack([np.arange(N) % 2, np.arange(N) % 3 == 0, np.arange(N) % 5 == 0], axis=1).astype(bool)
    labels[:, 0] |= ~labels.any(axis=1)
    metrics = run_experiment(dataset(labels=labels), ["lsh"], 8, protocol=SMALL, runs=1)["cells"][0]["summary"]
    assert 0 < metrics["ndcg@5_pessimistic"]["mean"] < metrics["ndcg@5"]["mean"] < metrics["ndcg@5_optimistic"]["mean"]


def test_summaries_are_means_with_spread_interval_and_test():
    results = run_experiment(dataset(), ["lsh", "itq-cca"], 8, protocol=SMALL, runs=6)
    assert results["protocol"]["baseline"] == "lsh"
    base, other = results["cells"]
    values = [run["metrics"]["map"] for run in other["runs"]]
    summary = other["summary"]["map"]
    assert summary["mean"] == pytest.approx(np.mean(values))
    assert summary["sd"] == pytest.approx(np.std(values, ddof=1))
    assert summary["low"] < summary["mean"] < summary["high"]
    assert summary["p"] == summary["p_holm"] == 2 / 2**6
    assert base["summary"]["map"]["p"] is None
    assert other["summary"]["bit_correlation"]["low"] is None
    assert other["summary"]["auprc"]["low"] < other["summary"]["auprc"]["mean"] < other["summary"]["auprc"]["high"]


def test_images_make_a_gallery():
    images = np.zeros((N, 4, 4), np.uint8)
    gallery = run_experiment(dataset(images=images), ["lsh"], 8, protocol=SMALL, runs=1)["gallery"]
    assert (gallery["method"], gallery["bits"], len(gallery["queries"])) == ("lsh", 8, 10)
    for query in gallery["queries"]:
        assert query["label"] == query["row"] % 4
        distances = [one["distance"] for one in query["neighbours"]]
        assert distances == sorted(distances)
        assert all(one["relevant"] == (one["row"] % 4 == query["label"]) for one in query["neighbours"])


def test_the_gallery_asks_with_rows_that_have_an_image_first_and_names_classes():
    names = ("cat", "dog", "frog", "deer")
    some = dataset(images=np.zeros((120, 4, 4), np.uint8), first_image=60, label_names=names)
    gallery = run_experiment(some, ["lsh"], 8, protocol=SMALL, runs=1, jobs=2)["gallery"]
    rows = [query["row"] for query in gallery["queries"]]
    pictured = [60 <= row < 180 for row in rows]
    assert pictured == sorted(pictured, reverse=True)
    assert sum(pictured) > 2
    assert [query["label"] for query in gallery["queries"]] == [names[row % 4] for row in rows]
    assert all(
        one["relevant"] == (one["label"] == query["label"])
        for query in gallery["queries"]
        for one in query["neighbours"]
    )


BAD = [
    ({"data": "cifar10-gits"}, "unknown data set 'cifar10-gits'; did you mean 'cifar10-gist'"),
    ({"data": "nothing.npz"}, "nothing.npz"),
    ({"data": dataset(labels=None), "protocol": Protocol(truth="labels")}, "truth is labels, but points has none"),
    ({"data": dataset(labels=np.zeros(N, int))}, "labels of points have one class"),
    ({"data": dataset(labels=np.full(N, -1))}, "labels of points have no labelled row"),
    ({"protocol": replace(SMALL, sizes={**SIZES, "training": 500})}, "training asks for 500 of 240 rows"),
    (
        {"protocol": replace(SMALL, sizes={**SIZES, "test_queries": 150, "training": 9})},
        "test_queries asks for 150 rows balanced",
    ),
    ({"protocol": replace(SMALL, sizes={"test": 5})}, "part is 'test', expected one of test_queries"),
    ({"protocol": replace(SMALL, split="improve")}, "split is 'improve', .* did you mean 'improved'"),
    ({"protocol": replace(SMALL, truth="nearest", neighbours=500)}, "neighbours is 500, expected fewer than the 74"),
    ({"protocol": replace(SMALL, database_codes="learned")}, "an improved split keeps these apart"),
    ({"protocol": replace(SMALL, split="given")}, "points comes without a partition"),
    ({"protocol": replace(SMALL, split="given"), "data": dataset(n_train=N)}, "leaves no row to ask"),
    ({"protocol": replace(SMALL, split="given"), "data": dataset(n_train=70)}, "training asks for 80 of 70 rows"),
    ({"protocol": replace(SMALL, tune="grid", sizes={**SIZES, "validation_queries": 0})}, "tuning needs validation"),
    ({"methods": ["itq", "kshh"]}, "kshh"),
    ({"methods": ["itq+lsh"]}, "'lsh' is of kind method"),
    ({"methods": ["itq+"]}, "method 'itq\\+' cannot be read"),
    ({"methods": ["itq", "itq"]}, "named twice"),
    ({"methods": []}, "there are no methods"),
    ({"methods": ["cvh"]}, "cvh learns from paired modalities, but points has one kind of vectors"),
    ({"methods": ["codes"]}, "method codes takes bits"),
    ({"methods": ["itq"], "data": pairs()}, "itq learns from one kind of vectors, but pairs has the modalities"),
    ({"methods": ["ksh"], "data": dataset(labels=None)}, "ksh learns from labels, and points has none"),
    ({"methods": ["cvh"], "data": pairs(), "protocol": replace(SMALL, truth="nearest")}, "which compares vectors"),
    ({"params": {"itqq": {"iterations": 3}}}, "params are given for 'itqq', which is not measured; did you mean 'itq'"),
    ({"params": {"itq": {"iteration": 3}}}, "did you mean 'iterations'"),
    ({"params": {"itq": {"iterations": "many"}}}, "param 'iterations' of itq is 'many'"),
    ({"bits": [8, 0]}, "n_bits is 0"),
    ({"bits": []}, "bits are \\[\\]"),
    ({"methods": ["itq+dbq"], "bits": 7}, "7"),
    ({"runs": 0}, "runs is 0, expected a whole number from 1"),
    ({"baseline": "ksh"}, "baseline is 'ksh', expected one of the methods: itq"),
    ({"metrics": ["maps"]}, "metric 'maps' is not measured; did you mean 'map'"),
    ({"data": dataset(vectors=np.where(np.arange(N)[:, None] == 7, np.nan, points()[0]))}, "row 7"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=lambda one: one if isinstance(one, str) else "")
def test_bad_input_is_refused_before_anything_is_learned(measured, changes, message):
    options = {"data": dataset(), "methods": ["itq"], "bits": 8, "protocol": SMALL, "runs": 2, **changes}
    with pytest.raises(HashDBError, match=message):
        run_experiment(**options)
    assert measured == []


def test_queries_to_which_nothing_is_relevant_are_refused_or_counted(measured):
    labels = np.where(np.arange(N) < 2, 9, np.arange(N) % 3)
    sizes = {**SIZES, "test_queries": 119, "training": 20, "validation_database": 40}
    protocol = replace(SMALL, sizes=sizes)
    seeds = []
    for seed in range(40):
        split = make_split(N, labels, seed=seed, **{f"n_{part}": size for part, size in sizes.items()})
        lone = np.flatnonzero(labels[split.test_queries] == 9)
        if lone.size and not (labels[split.test_database] == 9).any():
            seeds.append((seed, split.test_queries[lone[0]]))
    seed, row = seeds[0]
    with pytest.raises(ArgumentError, match=f"relevant to 1 of 119 test queries of run 0, the first is row {row};"):
        run_experiment(dataset(labels=labels), ["lsh"], 8, protocol=replace(protocol, seed=seed), runs=1)
    assert measured == []
    counted = replace(protocol, seed=seed, unmatched="count")
    metrics = run_experiment(dataset(labels=labels), ["lsh"], 8, protocol=counted, runs=1)["cells"][0]["runs"][0]
    assert metrics["metrics"]["queries_without_relevant"] == 1


def test_a_file_that_broke_off_is_refused(tmp_path, measured):
    vectors, labels = points()
    np.savez(tmp_path / "mine.npz", vectors=vectors, labels=labels)
    results = run_experiment(tmp_path / "mine.npz", ["lsh"], 8, protocol=SMALL, runs=1)
    assert results["protocol"]["dataset"] == "mine"
    whole = (tmp_path / "mine.npz").read_bytes()
    (tmp_path / "mine.npz").write_bytes(whole[: len(whole) // 2])
    measured.clear()
    with pytest.raises(HashDBError, match=r"mine\.npz"):
        run_experiment(tmp_path / "mine.npz", ["lsh"], 8, protocol=SMALL, runs=1)
    assert measured == []
