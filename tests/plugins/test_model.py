"""fit and Model: what is checked, how methods and quantisers compose, what a model stores and how it comes back."""

from __future__ import annotations

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import hashdb
from hashdb.codes import pack, unpack
from hashdb.errors import (
    ArgumentError,
    CorruptIndexError,
    PluginError,
    PluginMismatchError,
    UnknownMethodError,
    UnsupportedFormatError,
)
from hashdb.model import Model, checks, fit, pairs

THIRD_PARTY = Path(__file__).parent.parent / "third_party"

NOSY = """
seen = []

@hashdb.hookimpl
def describe():
    return hashdb.MethodInfo(name="nosy", title="Nosy", paper="", year=0, supervision={supervision!r},
                             min_bits=2, max_bits=6)

@hashdb.hookimpl
def fit(vectors, n_bits, labels):
    seen.append((vectors, labels))
    first = next(iter(vectors.values())) if isinstance(vectors, dict) else vectors
    return {{"n": np.array(n_bits), "history": np.arange(3.0), "training_codes": first[:, :n_bits] > 1}}

@hashdb.hookimpl
def project(state, vectors, modality):
    seen.append((len(vectors), modality))
    return vectors[:, : int(state["n"])].copy()
"""

PAIRED_QUANTISER = """
seen = {}

@hashdb.hookimpl
def describe():
    return hashdb.MethodInfo(name="nosy-q", title="Nosy", paper="", year=0, kind="quantiser")

@hashdb.hookimpl
def n_projections(n_bits):
    return n_bits

@hashdb.hookimpl
def fit_quantiser(projections, neighbours):
    seen.update(projections=projections, neighbours=neighbours)
    return {}

@hashdb.hookimpl
def quantise(projections):
    return projections
"""


@pytest.fixture
def nosy(install):
    def make(supervision: str = "none"):
        import sys

        from hashdb import registry

        install("nosy", NOSY.format(supervision=supervision))
        registry.get("nosy")
        return sys.modules[registry.claims_of("nosy")[0].value].seen

    return make


# ---- what fit refuses


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


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.uint8])
def test_whole_labels_of_any_type_are_used(vectors: np.ndarray, dtype: type) -> None:
    labels = np.arange(500) % 9
    expected = fit(vectors, "itq-cca", 8, labels=labels).encode(vectors)
    assert np.array_equal(fit(vectors, "itq-cca", 8, labels=labels.astype(dtype)).encode(vectors), expected)


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


# ---- what a plugin is given


def test_labels_for_a_method_that_takes_none_are_ignored_with_a_note(vectors, nosy, caplog) -> None:
    seen = nosy("none")
    with caplog.at_level(logging.WARNING, logger="hashdb"):
        fit(vectors, "nosy", 4, labels=np.zeros(500, int))
    assert "method nosy takes no labels; they are ignored" in caplog.text
    assert seen[0][1] is None


def test_multi_hot_labels_reach_the_method_as_bool(vectors: np.ndarray, nosy) -> None:
    seen = nosy("labels")
    fit(vectors, "nosy", 4, labels=np.eye(500, 5, dtype=np.uint8))
    assert seen[0][1].dtype == np.bool_
    assert seen[0][1].shape == (500, 5)


def test_paired_methods_may_take_labels(vectors: np.ndarray, nosy) -> None:
    seen = nosy("paired modalities and labels")
    rows = {"image": vectors, "text": vectors[:, :6]}
    with pytest.raises(ArgumentError, match="learns from labels"):
        fit(rows, "nosy", 4)
    model = fit(rows, "nosy", 4, labels=np.arange(500))
    assert list(seen[0][0]) == ["image", "text"]
    assert model.modalities == ("image", "text")
    assert model.dims == {"image": 24, "text": 6}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint8, np.int64, bool])
def test_any_numbers_become_float32(nosy, dtype: type) -> None:
    seen = nosy()
    fit(np.ones((5, 9), dtype, order="F"), "nosy", 4)
    assert seen[0][0].dtype == np.float32
    assert seen[0][0].flags.c_contiguous


def test_l2_normalises_in_fit_and_encode_and_leaves_zero_rows(vectors: np.ndarray, nosy) -> None:
    seen = nosy()
    vectors[3] = 0
    model = fit(vectors, "nosy", 4, normalise="l2")
    lengths = np.linalg.norm(seen[0][0].astype(float), axis=1)
    np.testing.assert_allclose(np.delete(lengths, 3), 1, rtol=1e-6)
    assert lengths[3] == 0
    expected = (vectors / np.maximum(np.linalg.norm(vectors.astype(float), axis=1), 1e-30)[:, None])[:, :4]
    np.testing.assert_allclose(model.project(vectors), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(model.encode(vectors), model.encode(8 * vectors))


@given(st.integers(1, 40), st.integers(1, 300), st.integers(0, 99))
def test_l2_of_a_row_is_its_own(n: int, dim: int, seed: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    whole = checks.l2_normalise(rows)
    np.testing.assert_array_equal(whole, np.vstack([checks.l2_normalise(row[None]) for row in rows]))
    np.testing.assert_array_equal(whole[1:], checks.l2_normalise(rows[1:]))


def test_bits_pass_through(vectors: np.ndarray) -> None:
    bits = vectors > 0
    model = fit(bits, "codes", 24)
    assert (model.input, model.dims, model.has_project) == ("bits", {"": 24}, False)
    np.testing.assert_array_equal(model.encode(bits), pack(bits))
    with pytest.raises(ArgumentError, match="method codes has no projections"):
        model.project(bits)
    with pytest.raises(ArgumentError, match=r"float32 of shape \(500, 24\), expected bool"):
        model.encode(vectors)
    with pytest.raises(ArgumentError, match="bits 23, expected bits 24"):
        model.encode(bits[:, 1:])
    with pytest.raises(ArgumentError, match="24 bits, n_bits is 64"):
        fit(bits, "codes", 64)
    with pytest.raises(ArgumentError, match="method codes takes bits"):
        fit(bits, "codes", 24, normalise="l2")


def test_codes_need_no_rows_to_learn_from() -> None:
    model = fit(np.empty((0, 12), bool), "codes", 12)
    again = Model.from_document(*model.to_document())
    assert again.encode(np.ones((2, 12), bool)).tolist() == [[4095], [4095]]


# ---- encoding


def test_encode_says_which_dim_it_expects(vectors: np.ndarray) -> None:
    model = fit(vectors, "itq", 8)
    with pytest.raises(ArgumentError, match="vectors have dim 3, expected dim 24 as in training"):
        model.encode(vectors[:, :3])
    with pytest.raises(ArgumentError, match="modality 'text' is unknown, expected one of: none"):
        model.encode(vectors, "text")
    with pytest.raises(ArgumentError, match=r"shape \(24,\)"):
        model.encode(vectors[0])


def test_encode_says_which_modalities_there_are(vectors: np.ndarray) -> None:
    model = fit({"image": vectors, "text": vectors[:, :12]}, "cvh", 8)
    with pytest.raises(ArgumentError, match="modalities image, text; name one"):
        model.encode(vectors)
    with pytest.raises(ArgumentError, match="modality 'sound' is unknown, expected one of: image, text"):
        model.encode(vectors, "sound")
    with pytest.raises(ArgumentError, match="vectors of modality 'text' have dim 24, expected dim 12"):
        model.encode(vectors, "text")
    assert model.encode(vectors[:, :12], "text").shape == (500, 1)


def test_large_inputs_are_encoded_in_batches(vectors, nosy, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = nosy()
    model = fit(vectors, "nosy", 4)
    whole = model.encode(vectors)
    seen.clear()
    monkeypatch.setattr("hashdb.model.fitted._BATCH_ROWS", 128)
    np.testing.assert_array_equal(model.encode(vectors), whole)
    assert [n for n, _ in seen] == [128, 128, 128, 116]
    vectors[300, 2] = np.nan
    with pytest.raises(ArgumentError, match="nan in row 300, column 2"):
        model.encode(vectors)


def test_threads_may_share_a_model(vectors: np.ndarray) -> None:
    model = Model.from_document(*fit(vectors, "itq", 16).to_document())
    barrier = threading.Barrier(8)

    def encode() -> np.ndarray:
        barrier.wait()
        return model.encode(vectors)

    with ThreadPoolExecutor(8) as pool:
        found = [future.result() for future in [pool.submit(encode) for _ in range(8)]]
    for codes in found:
        np.testing.assert_array_equal(codes, found[0])


def test_bits_are_where_margins_are_above_zero(vectors: np.ndarray) -> None:
    for quantiser in (None, "sbq", "dbq"):
        model = fit(vectors, "pcah", 8, quantiser=quantiser)
        np.testing.assert_array_equal(unpack(model.encode(vectors), model.n_stored_bits), model.project(vectors) > 0)


# ---- what a model learned


def test_training_codes_leave_the_state_and_history_stays(vectors: np.ndarray, nosy) -> None:
    nosy()
    model = fit(vectors, "nosy", 4)
    assert set(model.state) == {"n", "history"}
    np.testing.assert_array_equal(model.training_codes, pack(vectors[:, :4] > 1))
    assert fit(vectors, "nosy", 8, quantiser="dbq").training_codes is None


def test_state_cannot_be_written_to(vectors: np.ndarray) -> None:
    model = fit(vectors, "itq", 8)
    for array in model.state.values():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_the_seed_decides(vectors: np.ndarray) -> None:
    first, same, other = (fit(vectors, "lsh", 32, seed=seed).encode(vectors) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def test_repr_tells_something(vectors: np.ndarray) -> None:
    assert repr(fit(vectors, "pcah", 16, quantiser="dbq")) == (
        "<hashdb.Model pcah + dbq: 16 bits, dim 24, trained on 500 rows>"
    )


# ---- params


def test_params_are_completed_and_kept_apart(vectors: np.ndarray) -> None:
    model = fit(vectors, "itq", 8, quantiser="dbq", params={"iterations": "7"})
    assert model.params == {"iterations": 7, "incremental": None}
    assert fit(vectors, "itq", 8, params={"method.iterations": 7}).params == {"iterations": 7, "incremental": None}
    assert fit(vectors, "itq", 8, params={"itq.iterations": 7}).params == {"iterations": 7, "incremental": None}


# ---- pairs of neighbours


def test_neighbours_share_a_label(vectors, install) -> None:
    from hashdb import registry

    name = install("nosy-q", PAIRED_QUANTISER)
    labels = np.arange(500) % 7 - 1
    fit(vectors, "lsh", 4, quantiser=name, labels=labels)
    import sys

    seen = sys.modules[registry.claims_of(name)[0].value].seen
    kept = labels[labels >= 0]
    assert len(seen["projections"]) == len(kept)
    expected = [(i, j) for i in range(len(kept)) for j in range(i + 1, len(kept)) if kept[i] == kept[j]]
    assert [tuple(pair) for pair in seen["neighbours"]] == expected


def test_neighbours_share_any_of_several_labels() -> None:
    labels = np.random.default_rng(0).random((60, 5)) < 0.2
    expected = [(i, j) for i in range(60) for j in range(i + 1, 60) if (labels[i] & labels[j]).any()]
    assert [tuple(pair) for pair in pairs.by_label(labels)] == expected


@given(st.integers(1, 300), st.integers(0, 20))
@example(2, 14)  # epsilon is the one distance there is
@settings(deadline=None, max_examples=30)
def test_neighbours_lie_within_epsilon(n: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((n, 5)).astype(np.float32)
    distances = np.linalg.norm(vectors[:, None].astype(float) - vectors[None], axis=2)
    asked = np.random.default_rng(seed).choice(n, min(100, n), replace=False)
    rank = min(50, max(2, int(np.ceil(n / 40))), n)
    epsilon = np.sort(distances[asked], axis=1)[:, rank - 1].mean()
    assert pairs.epsilon(vectors, seed) == pytest.approx(epsilon)
    expected = [(i, j) for i in range(n) for j in range(i + 1, n) if distances[i, j] <= epsilon * (1 + 1e-10)]
    found = [tuple(pair) for pair in pairs.within_epsilon(vectors, np.arange(n), seed)]
    assert found == expected


def test_at_most_2000_rows_make_pairs() -> None:
    rows = pairs.choose_rows(5000, None, 3)
    assert len(rows) == 2000
    assert (np.diff(rows) > 0).all()
    labelled = pairs.choose_rows(5000, np.arange(5000) % 2 - 1, 3)
    assert len(labelled) == 2000
    assert (labelled % 2 == 1).all()


# ---- stored and read again


CASES = {
    "itq": lambda v: fit(v, "itq", 12, normalise="l2"),
    "dbq": lambda v: fit(v, "pcah", 12, quantiser="dbq"),
    "codes": lambda v: fit(v > 0, "codes", 24),
    "cvh": lambda v: fit({"image": v, "text": v[:, :10]}, "cvh", 8),
}


@pytest.mark.parametrize("case", CASES)
def test_a_model_comes_back_as_it_was(vectors: np.ndarray, case: str) -> None:
    model = CASES[case](vectors)
    document, arrays = model.to_document()
    again = Model.from_document(json.loads(json.dumps(document)), arrays)
    public = {name: value for name, value in vars(model).items() if not name.startswith("_")}
    assert {"params", "dims", "seed", "n_train"} <= set(public)
    for name, value in public.items():
        assert getattr(again, name) is None if name == "training_codes" else getattr(again, name) == value, name
    for modality in model.modalities or (None,):
        rows = vectors[:, : model.dims[modality or ""]]
        rows = rows > 0 if case == "codes" else rows
        np.testing.assert_array_equal(again.encode(rows, modality), model.encode(rows, modality))


def test_names_of_arrays_are_safe_for_folders(vectors: np.ndarray) -> None:
    _, arrays = CASES["cvh"](vectors).to_document()
    assert {"check.vectors.image", "check.codes.text"} <= set(arrays)
    _, arrays = CASES["dbq"](vectors).to_document()
    assert any(name.startswith("quantiser.") for name in arrays)
    assert arrays["check.vectors"].shape == (16, 24)
    assert arrays["check.codes"].shape == (16, 1)


def test_arrays_of_others_are_passed_over(vectors: np.ndarray) -> None:
    document, arrays = CASES["itq"](vectors).to_document()
    again = Model.from_document(document, {**arrays, "store.scale": np.ones(3)})
    assert set(again.state) == {name[len("state.") :] for name in arrays if name.startswith("state.")}


def test_a_model_opens_without_its_plugin_and_says_so_when_it_must_encode(vectors, use_folder) -> None:
    use_folder(THIRD_PARTY)
    document, arrays = fit(vectors, "example", 8).to_document()
    use_folder()
    model = Model.from_document(document, arrays)
    assert model.n_bits == 8
    assert "example" in repr(model)
    with pytest.raises(
        UnknownMethodError, match=r"method 'example' is not installed; .* example of hashdb-example 1\.0"
    ):
        model.encode(vectors)


def test_another_version_with_other_codes_is_refused(vectors, use_folder) -> None:
    use_folder(THIRD_PARTY)
    document, arrays = fit(vectors, "example", 8).to_document()
    use_folder(THIRD_PARTY / "other_version")
    model = Model.from_document(document, arrays)
    for _ in range(2):
        with pytest.raises(
            PluginMismatchError,
            match=r"example of hashdb-example 1\.0 made this model, but what is installed \(hashdb-example 2\.0\)",
        ):
            model.encode(vectors)


def test_an_altered_state_is_noticed(vectors: np.ndarray) -> None:
    document, arrays = fit(vectors, "lsh", 32).to_document()
    altered = {name: -array if array.dtype.kind == "f" else array for name, array in arrays.items()}
    altered["check.vectors"] = arrays["check.vectors"]
    with pytest.raises(PluginMismatchError):
        Model.from_document(document, altered).encode(vectors)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"format": 2}, UnsupportedFormatError),
        ({"format": None}, CorruptIndexError),
        ({"method": None}, CorruptIndexError),
        ({"method": {"name": "itq"}}, CorruptIndexError),
        ({"n_stored_bits": 0}, CorruptIndexError),
        ({"n_bits": "12"}, CorruptIndexError),
        ({"dims": {}}, CorruptIndexError),
        ({"dims": {"": -4}}, CorruptIndexError),
        ({"modalities": ["image"]}, CorruptIndexError),
        ({"dims": {"": 5}}, CorruptIndexError),
    ],
)
def test_a_damaged_document_is_refused(vectors: np.ndarray, changed: dict, error: type) -> None:
    document, arrays = CASES["itq"](vectors).to_document()
    with pytest.raises(error, match="the model"):
        Model.from_document({**document, **changed}, arrays)


def test_a_plugin_cannot_write_to_the_vectors_of_the_user(install, vectors: np.ndarray) -> None:
    install(
        "greedy",
        """
        import numpy as np
        import hashdb

        @hashdb.hookimpl
        def describe():
            return hashdb.MethodInfo(name="greedy", title="Greedy", paper="none", year=0)

        @hashdb.hookimpl
        def fit(vectors):
            vectors -= vectors.mean(axis=0)
            return {}

        @hashdb.hookimpl
        def encode(vectors):
            return vectors > 0
        """,
    )
    before = vectors.copy()
    with pytest.raises(PluginError, match=r"greedy.*failed in fit"):
        hashdb.fit(vectors, "greedy", vectors.shape[1])
    assert (vectors == before).all()
