"""What a method of paired modalities promises, and one that learns the codes of its training rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hashdb.codes import unpack
from hashdb.errors import HashDBError
from hashdb.model import Model
from hashdb.testing.expect import CheckFailure, expect, expect_equal, expect_refused, works_or_refuses
from hashdb.testing.planted import N_CLUSTERS, Data
from hashdb.testing.subject import Subject, bits_of, modalities_of

_LIFT = 0.15  # precision above chance that clusters far apart must give
_N_NEAREST = 10


def check_modalities(subject: Subject) -> None:
    """Check that pairs are asked for, that the names of modalities are but names, and that a third fits or is refused.

    Names that share a beginning must not be confused in the state.
    """
    if not subject.plugin.info.is_paired:
        return
    n_bits = subject.n_bits[0]
    model, data = subject.fitted(n_bits)
    (first, left), (second, right) = data.rows.items()
    for what, rows in {
        "one modality alone": {first: left},
        "no modality": {},
        "modalities of different lengths": {first: left, second: right[:-1]},
        "a name that is no name": {first: left, "a/b": right},
    }.items():
        expect_refused(what, subject.fit, Data(rows, data.clusters), n_bits)
    expect_refused("encode without a modality", model.encode, left)
    expect_refused("encode of an unknown modality", model.encode, left, "no-such-modality")
    expect_refused("rows of the other modality in encode", model.encode, right, first)
    if not {first, second} & set(subject.params.values()):
        _expect_the_same_under_other_names(subject, model, data)
    swapped = Data({second: right, first: left}, data.clusters)
    _expect_codes(works_or_refuses("modalities in the other order", subject.fit, swapped, n_bits), swapped)
    three = Data({**data.rows, "third": np.ascontiguousarray(left[:, ::2] + 1)}, data.clusters)
    _expect_codes(works_or_refuses("three modalities", subject.fit, three, n_bits), three)


def _expect_the_same_under_other_names(subject: Subject, model: Model, data: Data) -> None:
    named = dict(zip(("view", "view_2-a"), data.rows.values(), strict=True))
    try:
        again = subject.fit(Data(named, data.clusters), model.n_bits)
    except HashDBError as error:
        raise CheckFailure(f"modalities of other names: {error}") from error
    for old, (name, rows) in zip(data.rows, named.items(), strict=True):
        expect_equal(again.encode(rows, name), model.encode(rows, old), "codes of renamed modalities")


def check_training_codes(subject: Subject) -> None:
    """Check that learned codes are those of the seed, and that rows not seen find their own cluster among them."""
    for n_bits in subject.n_bits:
        both = subject.data(n_bits, n_rows=800)
        data, unseen = both.part(slice(0, 600)), both.part(slice(600, 800))
        model = subject.fit(data, n_bits)
        if model.training_codes is None:
            return
        again = subject.fit(data.copy(), n_bits).training_codes
        if again is None:
            raise CheckFailure("a second fit with the same seed learned no training codes")
        expect_equal(again, model.training_codes, "two fits with one seed differ in training codes")
        learned = unpack(model.training_codes, model.n_stored_bits)
        for modality in modalities_of(model):
            queries = bits_of(model, unseen.rows[modality or ""], modality)
            precision = _precision(queries, learned, unseen.clusters, data.clusters)
            expect(
                precision > 1 / N_CLUSTERS + _LIFT,
                f"precision at {_N_NEAREST} among learned codes of {n_bits} bits is {precision:.2f}, chance is "
                f"{1 / N_CLUSTERS:.2f}" + (f" ({modality} asks)" if modality else ""),
            )


def _expect_codes(model: Model | None, data: Data) -> None:
    if model is None:
        return
    for modality in modalities_of(model):
        bits = bits_of(model, data.rows[modality or ""], modality)
        expect(len(np.unique(bits, axis=0)) > 1, f"every row of modality {modality!r} has one code")


def _precision(
    queries: NDArray[np.bool_], database: NDArray[np.bool_], asked: NDArray[np.int64], stored: NDArray[np.int64]
) -> float:
    distances = (queries[:, None, :] != database[None, :, :]).sum(axis=2)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :_N_NEAREST]
    return float((stored[nearest] == asked[:, None]).mean())
