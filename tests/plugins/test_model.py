"""fit and Model: what a plugin is given, how vectors are encoded, and what a model knows of itself."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hashdb
from hashdb.codes import pack, unpack
from hashdb.errors import ArgumentError, PluginError
from hashdb.model import Model, checks, fit

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


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.uint8])
def test_whole_labels_of_any_type_are_used(vectors: np.ndarray, dtype: type) -> None:
    labels = np.arange(500) % 9
    expected = fit(vectors, "itq-cca", 8, labels=labels).encode(vectors)
    assert np.array_equal(fit(vectors, "itq-cca", 8, labels=labels.astype(dtype)).encode(vectors), expected)


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
