"""One call for every measure, against pairs sorted one by one, and on real images."""

from __future__ import annotations

import doctest
import importlib
import math
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hashdb
import hashdb.evaluation as package
from hashdb.codes import pack
from hashdb.errors import ArgumentError
from hashdb.evaluation import (
    LabelTruth,
    NearestTruth,
    code_statistics,
    count_by_distance,
    evaluate,
    evaluate_counts,
    make_split,
)

from .conftest import PROPERTY, every_order, slow_average_precision, slow_ndcg


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 6), st.booleans(), st.integers(1, 7))
@settings(PROPERTY, max_examples=40)
def test_every_measure_is_the_mean_of_that_of_each_query(seed, n_queries, n, graded, k):
    rng = np.random.default_rng(seed)
    stored, asked = rng.random((n, 3)) < 0.5, rng.random((n_queries, 3)) < 0.5
    labels, wanted = rng.random((n, 3)) < 0.6, rng.random((n_queries, 3)) < 0.6
    labels[0], wanted[0] = True, True
    found = evaluate(
        pack(stored), pack(asked), LabelTruth(wanted, labels, graded=graded), n_bits=3, at=k, radius=[0, 1]
    )
    distances = (asked[:, None] != stored[None]).sum(axis=2)
    shared = (wanted[:, None] & labels[None]).sum(axis=2)
    grades = shared if graded else np.minimum(shared, 1)
    rows = [list(zip(*pair, strict=True)) for pair in zip(distances.tolist(), grades.tolist(), strict=True)]
    orders = [list(every_order(one)) for one in rows]
    by_row = [[grade for _, grade in sorted(one, key=lambda pair: pair[0])] for one in rows]

    def expected(measure):
        return np.mean([math.fsum(map(measure, some)) / len(some) for some in orders])

    def hits(order):
        return sum(grade > 0 for grade in order[:k])

    def n_good(order):
        return sum(grade > 0 for grade in order)

    values = {
        "n_queries": n_queries,
        "n_database": n,
        "n_bits": 3,
        "queries_without_relevant": int((grades.sum(axis=1) == 0).sum()),
        "map": expected(slow_average_precision),
        "map_optimistic": np.mean([max(map(slow_average_precision, some)) for some in orders]),
        "map_pessimistic": np.mean([min(map(slow_average_precision, some)) for some in orders]),
        "map_by_order": np.mean([slow_average_precision(order) for order in by_row]),
        f"map@{k}": expected(lambda order: slow_average_precision(order, k)),
        f"map@{k}_optimistic": np.mean([max(slow_average_precision(o, k) for o in some) for some in orders]),
        f"map@{k}_pessimistic": np.mean([min(slow_average_precision(o, k) for o in some) for some in orders]),
        f"map@{k}_by_order": np.mean([slow_average_precision(order, k) for order in by_row]),
    }
    measures = {"precision": lambda order: hits(order) / k, "recall": lambda order: hits(order) / max(1, n_good(order))}
    if graded:
        measures["ndcg"] = lambda order: slow_ndcg(order, k)
    for name, measure in measures.items():
        values[f"{name}@{k}"] = expected(measure)
        values[f"{name}@{k}_optimistic"] = np.mean([max(map(measure, some)) for some in orders])
        values[f"{name}@{k}_pessimistic"] = np.mean([min(map(measure, some)) for some in orders])
        values[f"{name}@{k}_by_order"] = np.mean([measure(order) for order in by_row])
    for name, value in values.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name
    others = {"auprc"} | {f"{name}_within_{r}" for name in ("precision", "recall", "f1", "nothing") for r in (0, 1)}
    statistics = code_statistics(pack(stored), 3)
    assert set(found) == set(values) | others | set(statistics)
    assert {name: found[name] for name in statistics} == statistics


def test_counts_alone_give_the_same_without_orders_and_codes():
    rng = np.random.default_rng(0)
    codes, queries = pack(rng.random((300, 12)) < 0.5), pack(rng.random((20, 12)) < 0.5)
    truth = LabelTruth(rng.integers(0, 4, 20), rng.integers(0, 4, 300))
    options = {"at": [5, 50], "radius": 3, "normaliser": "possible"}
    whole = evaluate(codes, queries, truth, n_bits=12, n_threads=2, **options)
    parts = evaluate_counts(count_by_distance(codes, queries, truth, n_bits=12), **options)
    assert parts.items() <= whole.items()
    fast = evaluate(codes, queries, truth, n_bits=12, by_order=False, **options)
    assert fast == {name: value for name, value in whole.items() if not name.endswith("_by_order")}
    assert whole == evaluate(codes, queries, truth, n_bits=12, n_threads=1, **options)


def test_recall_against_nearest_rows_is_the_share_found_by_codes(vectors):
    model = hashdb.fit(vectors, "lsh", 40)
    codes = model.encode(vectors)
    truth = NearestTruth(vectors[:30], vectors, 10)
    found = evaluate(codes, codes[:30], truth, n_bits=40, at=[10, 100])
    distances = np.bitwise_count(codes[:30, None] ^ codes[None]).sum(axis=2)
    for k in (10, 100):
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :k]
        share = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(nearest, truth.neighbours, strict=True)])
        assert found[f"recall@{k}_by_order"] == pytest.approx(share)
    assert found["recall@10"] < found["recall@100"]


def test_bad_input_is_refused():
    codes = np.zeros((3, 1), np.uint64)
    truth = LabelTruth([1, 1, 1], [1, 2, 3])
    for options, message in (
        ({"at": 0}, "at is 0, expected a whole number from 1"),
        ({"at": [5, 2.5]}, "at has 2.5, expected whole numbers from 1"),
        ({"radius": [-1]}, "radius has -1, expected whole numbers from 0"),
        ({"normaliser": "all"}, "normaliser is 'all', expected one of found, possible"),
        ({"n_bits": 0}, "n_bits is 0"),
    ):
        with pytest.raises(ArgumentError, match=message):
            evaluate(codes, codes, truth, **{"n_bits": 4, **options})


def test_itq_codes_of_real_images_have_the_known_mean_average_precision(data):
    gist = np.load(data / "cifar10" / "gist512_float16.npy", mmap_mode="r")
    labels = np.concatenate(
        [np.load(data / "cifar10" / f"{part}_labels.npy").reshape(-1) for part in ("train", "test")]
    )
    split = make_split(60_000, labels, n_test_queries=300, n_validation_queries=0, seed=1)
    database = split.validation_database
    model = hashdb.fit(gist[split.training].astype(np.float32), "itq", 32, seed=1)
    codes, queries = (model.encode(gist[np.sort(rows)].astype(np.float32)) for rows in (database, split.test_queries))
    truth = LabelTruth(labels[np.sort(split.test_queries)], labels[database])
    found = evaluate(codes, queries, truth, n_bits=32, at=100)
    assert 0.16 < found["map"] < 0.20
    assert found["map_pessimistic"] < found["map"] < found["map_optimistic"]
    assert found["map_by_order"] == pytest.approx(found["map"], abs=0.003)
    assert found["precision@100"] > 0.25
    assert found["bit_balance_mean"] < 0.05
    shuffled = evaluate(np.roll(codes, 1234, axis=0), queries, truth, n_bits=32, by_order=False)
    assert shuffled["map"] == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("name", ["", *(f".{module.name}" for module in pkgutil.iter_modules(package.__path__))])
def test_examples_in_the_documentation_run(name):
    module = importlib.import_module(f"hashdb.evaluation{name}")
    assert doctest.testmod(module).failed == 0


def test_every_public_name_is_documented_and_the_core_does_without_the_package():
    for name in package.__all__:
        assert getattr(package, name).__doc__, name
    code = "import sys, hashdb; hashdb.build, hashdb.fit; print('hashdb.evaluation' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_importing_the_package_loads_nothing_heavy():
    code = (
        "import sys, hashdb.evaluation; "
        "print([name for name in ('numba', 'zarr', 'scipy', 'sklearn', 'threadpoolctl') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_benchmark_makes_its_table(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    from benchmarks import evaluation

    sizes = ["--rows", "2000", "--queries", "20", "--vectors", "3000", "--asked", "50", "--dim", "8", "--repeats", "1"]
    lines = evaluation.main([*sizes, "-k", "5"]).splitlines()
    assert lines[0].startswith("| what |")
    assert len(lines) == 6
