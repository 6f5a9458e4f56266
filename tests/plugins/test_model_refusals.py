"""What fit cannot use is refused: vectors, arguments, labels, modalities, and methods that do not go together."""

from __future__ import annotations

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError, UnknownMethodError
from hashdb.model import fit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v[0], r"shape \(24,\), expected \(n, dim\)"),
        (lambda v: v[:0], "no rows, expected at least one"),
        (lambda v: v[:, :0], "dim at least 1"),
        (lambda v: v.astype(object), "dtype object, expected numbers"),
        (lambda v: v.astype(str), "expected numbers"),
        (lambda v: v.astype(complex), "dtype complex128, expected numbers"),
        (lambda v: np.where(np.arange(24) == 5, np.nan, v), "nan in row 0, column 5, expected finite"),
        (lambda v: np.where(np.arange(500)[:, None] == 7, -np.inf, v), "-inf in row 7, column 0"),
        (lambda v: v.astype(np.float64) * 1e300, "float32 cannot hold"),
        (lambda v: [[1, 2], [3]], "are no array"),
        (lambda v: {"a": v, "b": v}, "takes one array of vectors, got the modalities a, b"),
    ],
)
def test_vectors_that_cannot_be_used_are_refused(vectors: np.ndarray, change, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        fit(change(vectors), "itq", 8)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_bits": 0}, "n_bits is 0, expected 1 to 4096"),
        ({"n_bits": 4097}, "expected 1 to 4096"),
        ({"n_bits": 8.0}, "expected a whole number"),
        ({"n_bits": True}, "expected a whole number"),
        ({"seed": -1}, "seed is -1, expected a whole number, at least 0"),
        ({"seed": 1.5}, r"seed is 1\.5"),
        ({"normalise": "l1"}, "normalise is 'l1', expected one of: none, l2"),
        ({"method": "itg"}, "did you mean 'itq'"),
        ({"method": "dbq"}, "kind quantiser, expected a method"),
        ({"quantiser": "lsh"}, "kind method, expected a quantiser"),
        ({"quantiser": "dbq", "n_bits": 7}, "7"),
        ({"params": {"iteration": 3}}, "'iteration' is unknown; did you mean 'iterations'?"),
        ({"params": {"iterations": 0}}, "'iterations' of itq is 0, expected int from 1 to 1000"),
        ({"params": {"iterations": "many"}}, "'many', expected int from 1 to 1000"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(vectors: np.ndarray, changed: dict, message: str) -> None:
    with pytest.raises(hashdb.HashDBError, match=message) as caught:
        fit(vectors, **{"method": "itq", "n_bits": 8, **changed})
    assert isinstance(caught.value, (ArgumentError, UnknownMethodError))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "method itq-cca learns from labels, got none"),
        (np.zeros(499, int), "499 labels for 500 rows"),
        (np.full(500, -1), "every row unlabelled"),
        (np.full(500, -2), "label of row 0 is -2"),
        (np.full(500, 0.5), r"label of row 0 is 0\.5"),
        (np.full(500, np.nan), "label of row 0 is nan"),
        (np.full((500, 3), 2), "other values than 0 and 1"),
        (np.zeros((500, 3), bool), "every row unlabelled"),
        (np.full(500, "cat"), "expected whole numbers"),
        (np.zeros((500, 2, 2)), "expected whole numbers"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(vectors: np.ndarray, labels, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        fit(vectors, "itq-cca", 8, labels=labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v, "a mapping of two modalities or more to vectors, got one array"),
        (lambda v: {"image": v}, "got image"),
        (lambda v: {"image": v, "text": v[1:]}, "image has 500, text has 499 rows"),
        (lambda v: {"image": v, "a/b": v}, "modality 'a/b' is no name"),
        (lambda v: {"image": v, "": v}, "modality '' is no name"),
        (lambda v: {"image": v, "text": v * np.nan}, "modality 'text' have nan in row 0"),
    ],
)
def test_modalities_that_cannot_be_used_are_refused(vectors: np.ndarray, change, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        fit(change(vectors), "cvh", 8)


def test_a_quantiser_needs_projections(vectors: np.ndarray) -> None:
    with pytest.raises(ArgumentError, match="quantiser dbq needs projections, which method codes does not have"):
        fit(vectors > 0, "codes", 24, quantiser="dbq")


def test_a_quantiser_needs_one_modality(vectors: np.ndarray) -> None:
    with pytest.raises(ArgumentError, match="works on one modality"):
        fit({"image": vectors, "text": vectors}, "cvh", 8, quantiser="dbq")


def test_limits_of_the_method_hold_for_the_number_of_projections(vectors: np.ndarray, nosy) -> None:
    nosy()
    for n_bits, quantiser in ((1, None), (7, None), (2, "dbq"), (14, "dbq")):
        with pytest.raises(ArgumentError, match="expected 2 to 6 for nosy"):
            fit(vectors, "nosy", n_bits, quantiser=quantiser)
    assert fit(vectors, "nosy", 12, quantiser="dbq").n_bits == 12
