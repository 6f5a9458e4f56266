"""Measures where definitions coincide with those of other tools, to 1e-9."""

from __future__ import annotations

import numpy as np
import pytest

from hashdb.evaluation import Counts, ListTruth, measures_by_query
from hashdb.evaluation.metrics import Ordered

N_QUERIES, N, K = 12, 150, 10


@pytest.fixture(scope="module")
def rankings():
    """Grades of rows in the order of rankings without ties, int64 (12, 150)."""
    rng = np.random.default_rng(4)
    return np.where(rng.random((N_QUERIES, N)) < 0.3, rng.integers(1, 4, (N_QUERIES, N)), 0)


@pytest.fixture(scope="module")
def measured(rankings):
    """What we compute of them, with a linear gain."""
    by_grade = (rankings[:, None, :] == np.arange(4)[None, :, None]).astype(np.int64)
    return measures_by_query(Counts.of(by_grade), at=K, radius=K - 1, gain="linear")


def texts(rankings):
    """Rankings as those tools read them: grades, and scores that fall."""
    names = [f"d{row}" for row in range(N)]
    grades = {f"q{i:02}": dict(zip(names, map(int, row), strict=True)) for i, row in enumerate(rankings)}
    scores = {f"q{i:02}": {name: float(N - place) for place, name in enumerate(names)} for i in range(N_QUERIES)}
    return grades, scores


def test_scikit_learn_computes_the_same(rankings, measured):
    from sklearn.metrics import average_precision_score, f1_score, ndcg_score, precision_score, recall_score

    scores, found = -np.arange(N), np.arange(N) < K
    for query, grades in enumerate(rankings):
        relevant = grades > 0
        wanted = {
            "map": average_precision_score(relevant, scores),
            f"ndcg@{K}": ndcg_score(grades[None], scores[None], k=K),
            f"precision@{K}": precision_score(relevant, found),
            f"recall@{K}": recall_score(relevant, found),
            f"precision_within_{K - 1}": precision_score(relevant, found),
            f"recall_within_{K - 1}": recall_score(relevant, found),
            f"f1_within_{K - 1}": f1_score(relevant, found),
        }
        for name, value in wanted.items():
            assert measured[name][query] == pytest.approx(value, abs=1e-9), name


def test_trec_eval_computes_the_same(rankings, measured):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    grades, scores = texts(rankings)
    evaluator = pytrec_eval.RelevanceEvaluator(grades, {"map", f"P_{K}", f"recall_{K}", f"ndcg_cut_{K}"})
    found = evaluator.evaluate(scores)
    names = {"map": "map", f"P_{K}": f"precision@{K}", f"recall_{K}": f"recall@{K}", f"ndcg_cut_{K}": f"ndcg@{K}"}
    for theirs, ours in names.items():
        wanted = [found[f"q{query:02}"][theirs] for query in range(N_QUERIES)]
        np.testing.assert_allclose(measured[ours], wanted, rtol=0, atol=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_ranx_computes_the_same(rankings, measured):
    ranx = pytest.importorskip("ranx")
    grades, scores = texts(rankings)
    qrels = {query: {name: grade for name, grade in one.items() if grade} for query, one in grades.items()}
    for name in ("map", f"precision@{K}", f"recall@{K}", f"ndcg@{K}"):
        wanted = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(scores), name, return_mean=False)
        np.testing.assert_allclose(measured[name], wanted, rtol=0, atol=1e-9)


def test_the_order_by_row_is_the_ranking_itself(rankings, measured):
    class Graded(ListTruth):
        n_grades = 3

    truth = Graded.of_lists([np.flatnonzero(row) for row in rankings], N)
    ordered = Ordered(truth, at=[K], gain="linear")
    for query, grades in enumerate(rankings):
        ordered.add(query, grades)
    for name, values in ordered.by_query().items():
        np.testing.assert_allclose(values, measured[name.removesuffix("_by_order")], rtol=0, atol=1e-12)
