"""Masked values are refused by what measures, which would take what lies underneath; a mask of nothing is fine."""

import numpy as np
import pytest

from hashdb import evaluation
from hashdb.datasets import Dataset
from hashdb.errors import ArgumentError
from hashdb.evaluation.experiment.material import Material

VECTORS = np.arange(24.0).reshape(8, 3)
LABELS = np.arange(8) % 2
STARTS, ROWS = np.array([0, 2, 4]), np.array([1, 2, 3, 4])


def split(rows):
    return evaluation.Split(8, rows, [], [0, 5], [], [6, 7], kind="given")


def drawn(labels):
    sizes = {"n_test_queries": 2, "n_validation_queries": 0, "n_training": 2, "n_validation_database": 0}
    return evaluation.make_split(8, labels, **sizes)


# What takes an array, an array that it takes, and what makes the outcome plain.
TAKERS = {
    "queries": (lambda rows: evaluation.nearest(rows, VECTORS, 2), VECTORS),
    "database": (lambda rows: evaluation.within(VECTORS, rows, 2.0), VECTORS),
    "labels": (lambda labels: evaluation.LabelTruth(LABELS, labels).grades(0, 8), LABELS),
    "the labels of a split": (lambda labels: drawn(labels).training, LABELS),
    "the rows of a split": (lambda rows: split(rows).test_queries, ROWS),
    "lists": (lambda lists: evaluation.ListTruth.of_lists(lists, 24).rows, VECTORS.astype(int)),
    "starts": (lambda starts: evaluation.ListTruth(starts, ROWS, 8).grades(0, 2), STARTS),
    "rows": (lambda rows: evaluation.ListTruth(STARTS, rows, 8).grades(0, 2), ROWS),
    "projections": (evaluation.quantisation_error, VECTORS),
    "a data set": (lambda rows: Material.of(Dataset("mine", rows)).digest(), VECTORS),
}


@pytest.mark.parametrize(("take", "array"), TAKERS.values(), ids=list(TAKERS))
def test_masked_values_are_refused_and_a_mask_of_nothing_changes_nothing(take, array):
    clear = np.ma.masked_array(array, mask=np.zeros(array.shape, bool))
    np.testing.assert_equal(take(clear), take(array))
    clear[1] = np.ma.masked
    with pytest.raises(ArgumentError, match="masked in row 1, expected no masked values"):
        take(clear)
