"""Images and strings as inputs, and what an encoder's function makes of them."""

from __future__ import annotations

import numpy as np
import pytest

from hashdb.errors import InputFileError
from hashdb.inputs import encode_source, holds_items, open_vectors

IMAGES = np.random.default_rng(4).integers(0, 256, (7, 5, 4, 3), dtype=np.uint8)


def sums(items):
    return np.array([[item.sum(), item.max()] for item in items], np.float32)


def test_images_in_memory_and_in_a_file_are_rows_with_a_shape(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    for spec in (IMAGES, tmp_path / "a.npy"):
        with open_vectors(spec, items=True) as source:
            assert source.item_shape == (5, 4, 3)
            assert (source.n_rows, source.n_columns, source.dtype) == (7, 60, np.uint8)
            assert (source.take(np.array([1, 6])) == IMAGES[[1, 6]].reshape(2, -1)).all()
        with pytest.raises(InputFileError, match=r"shape \(7, 5, 4, 3\) of uint8: expected \(n, dim\)"):
            open_vectors(spec)


def test_an_archive_with_images_and_vectors_gives_the_images_to_an_encoder(tmp_path):
    np.savez(tmp_path / "a.npz", images=IMAGES, vectors=np.ones((7, 2)))
    with open_vectors(tmp_path / "a.npz", items=True) as source:
        assert source.item_shape == (5, 4, 3)
    with open_vectors(f"{tmp_path}/a.npz::vectors", items=True) as source:
        assert source.item_shape == ()
        assert not holds_items(source)
    with open_vectors(tmp_path / "a.npz") as source:
        assert source.n_columns == 2, "without an encoder, the vectors"


def test_items_become_vectors_once_and_are_read_as_often_as_wanted():
    calls = []

    def encode(items):
        calls.append(len(items))
        return sums(items)

    told = []
    source = encode_source(
        open_vectors(IMAGES, items=True), encode, progress=lambda what, done, total: told.append((done, total))
    )
    with source:
        for _ in range(3):
            assert (np.concatenate(list(source.batches(2))) == sums(IMAGES)).all()
        assert (source.take(np.array([0, 3])) == sums(IMAGES[[0, 3]])).all()
        assert source.name == "the array"
    assert calls == [7]
    assert told == [(7, 7)]


def test_strings_become_vectors(tmp_path, write):
    texts = [f"word {n}" * n for n in range(1, 9)]
    path = write.jsonl(tmp_path / "a.jsonl", [{"text": text} for text in texts])
    with encode_source(
        open_vectors(f"{path}::text", items=True), lambda items: np.array([[len(one)] for one in items], np.float32)
    ) as source:
        assert source.take(np.arange(8))[:, 0].tolist() == [len(text) for text in texts]


def test_a_dim_that_changes_between_batches_is_refused():
    texts = np.array([f"{n}" for n in range(1500)], dtype=object)
    with pytest.raises(InputFileError, match=r"items from row 1024 on got vectors of dim 3, expected 2 as before"):
        encode_source(
            open_vectors(texts, items=True), lambda items: np.zeros((len(items), 2 if "0" in items else 3), np.float32)
        )


def test_no_items_are_no_vectors():
    with encode_source(open_vectors(IMAGES[:0], items=True), sums) as source:
        assert source.n_rows == 0
