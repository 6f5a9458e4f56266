"""Experiments on small data measure what codes, truths and splits made by hand give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
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

from .experiment_kit import SIZES, SMALL, N, dataset, pairs, points

pytestmark = pytest.mark.usefixtures("without_a_report")


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


def test_a_standard_split_searches_all_but_the_test_queries():
    results = run_experiment(dataset(), ["lsh"], 4, protocol=replace(SMALL, split="standard"), runs=1)
    assert results["protocol"]["parts"]["test database"] == N - 20


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
