"""Evaluation of codes: splits of a data set, ground truth, measures that know about ties, and whole experiments.

>>> import numpy as np
>>> from hashdb.evaluation import LabelTruth, evaluate, make_split
>>> labels = np.arange(300) % 3
>>> split = make_split(300, labels, kind="standard", n_test_queries=30, n_training=100, n_validation_queries=0,
...                    n_validation_database=0)
>>> codes = (np.uint64(1) << labels.astype(np.uint64))[:, None]
>>> truth = LabelTruth(labels[split.test_queries], labels[split.test_database])
>>> results = evaluate(codes[split.test_database], codes[split.test_queries], truth, n_bits=3, at=90)
>>> results["map"], results["precision@90"]
(1.0, 1.0)

Importing ``hashdb`` does not import this package.
"""

from __future__ import annotations

from hashdb.evaluation.bits import (
    bit_balance,
    bit_correlation,
    code_statistics,
    distinct_codes,
    quantisation_error,
)
from hashdb.evaluation.counts import Counts, count_by_distance
from hashdb.evaluation.experiment import Protocol, compare, load_results, run_experiment, write_results
from hashdb.evaluation.lookups import Lookup, auprc, lookup, precision_recall
from hashdb.evaluation.metrics import evaluate, evaluate_counts, measures_by_query
from hashdb.evaluation.neighbour_truth import EpsilonTruth, NearestTruth, choose_epsilon
from hashdb.evaluation.neighbours import nearest
from hashdb.evaluation.radius import within
from hashdb.evaluation.ranking import (
    average_precision,
    average_precision_of_ranks,
    ndcg_at,
    precision_at,
    ranks_of_relevant,
    recall_at,
)
from hashdb.evaluation.saving import cache_key, cached
from hashdb.evaluation.splits import Split, make_split
from hashdb.evaluation.truth import LabelTruth, ListTruth, Truth

__all__ = [
    "Split",
    "make_split",
    "Truth",
    "LabelTruth",
    "ListTruth",
    "NearestTruth",
    "EpsilonTruth",
    "choose_epsilon",
    "nearest",
    "within",
    "cache_key",
    "cached",
    "evaluate",
    "evaluate_counts",
    "measures_by_query",
    "Counts",
    "count_by_distance",
    "average_precision",
    "average_precision_of_ranks",
    "ranks_of_relevant",
    "precision_at",
    "recall_at",
    "ndcg_at",
    "Lookup",
    "lookup",
    "precision_recall",
    "auprc",
    "bit_balance",
    "bit_correlation",
    "distinct_codes",
    "code_statistics",
    "quantisation_error",
    "Protocol",
    "run_experiment",
    "write_results",
    "load_results",
    "compare",
]
