"""A model comes back from storage as it was, or says what differs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hashdb.errors import CorruptIndexError, PluginMismatchError, UnknownMethodError, UnsupportedFormatError
from hashdb.model import Model, fit

THIRD_PARTY = Path(__file__).parent.parent / "third_party"

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
