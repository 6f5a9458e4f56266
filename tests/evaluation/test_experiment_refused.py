"""Experiments that cannot be are refused before anything is learned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hashdb.errors import ArgumentError, HashDBError
from hashdb.evaluation import Protocol, make_split, run_experiment

from .experiment_kit import SIZES, SMALL, N, dataset, pairs, points

pytestmark = pytest.mark.usefixtures("without_a_report")

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
