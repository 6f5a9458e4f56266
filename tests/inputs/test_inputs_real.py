"""The readers on real files, as people publish them."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from hashdb.inputs import open_vectors, read_ids, read_labels


@pytest.mark.parametrize(
    ("spec", "shape", "dtype"),
    [
        ("cifar10/gist512_float16.npy", (60_000, 512), np.float16),
        ("sift_bigann10k/base.npy", (10_000, 128), np.uint8),
        ("fashion_mnist/t10k-images-idx3-ubyte.gz", (10_000, 784), np.uint8),
        ("wiki/raw_features.mat::I_tr", (2173, 128), np.float64),
        ("wiki/raw_features.mat::T_te", (693, 10), np.float64),
        ("wiki/Wikipedia_multiview.mat::X{2}", (2866, 10), np.float64),
        ("scene15/Scene_15.mat::X{3}", (4485, 40), np.float64),
        ("mirflickr25k/mirflickr25k-yall.mat", (20_015, 1386), np.uint8),
        ("newsgroups20_minilm/train.npz", (11_314, 384), np.float16),
        ("codes_pdq/haystack.txt", (1350, 1), object),
        ("codes_pdq/vpdq/pattern-hd-no-bar.txt::2", (206, 1), object),
        ("newsgroups20/test.jsonl.gz::text", (7532, 1), object),
    ],
)
def test_each_published_file_opens_as_it_is(data, spec, shape, dtype):
    with open_vectors(f"{data}/{spec}") as source:
        assert (source.n_rows, source.n_columns) == shape
        assert source.dtype == dtype
        rows = np.arange(0, source.n_rows, 97)
        taken = source.take(rows)
        batches = np.concatenate(list(source.batches(4096)))
        assert np.array_equal(taken, batches[rows])


def test_pixels_of_fashion_mnist_are_those_of_the_file(data):
    path = data / "fashion_mnist" / "t10k-images-idx3-ubyte.gz"
    raw = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)[16:].reshape(-1, 784)
    with open_vectors(path) as source:
        assert np.array_equal(source.take(np.arange(source.n_rows)), raw)


@pytest.mark.parametrize(
    ("spec", "shape", "n_classes"),
    [
        ("fashion_mnist/train-labels-idx1-ubyte.gz", (60_000,), 10),
        ("cifar10/train_labels.npy", (50_000,), 10),
        ("wiki/wikiData.mat::L_tr", (2173,), 10),
        ("wiki/testset_txt_img_cat.list::2", (693,), 10),
        ("newsgroups20/test.jsonl.gz::label", (7532,), 20),
        ("newsgroups20_minilm/train.npz::labels", (11_314,), 20),
        ("mirflickr25k/mirflickr25k-lall.mat", (20_015, 24), 24),
        ("scene15/Scene_15.mat", (4485,), 15),
    ],
)
def test_labels_of_each_set(data, spec, shape, n_classes):
    labels = read_labels(f"{data}/{spec}")
    assert labels.shape == shape
    assert (labels.shape[1] if labels.ndim == 2 else len(np.unique(labels))) == n_classes


def test_cards_as_json_lines_give_codes_and_string_ids(data, tmp_path, write):
    cards = json.loads((data / "codes_cards" / "deckerr_mtg_dhash.json").read_text())
    rows = [{"id": id, "hash": code} for id, code in zip(cards["ids"], cards["hashes"], strict=True)]
    path = write.jsonl(tmp_path / "cards.jsonl", rows)
    assert read_ids(f"{path}::id") == cards["ids"]
    with open_vectors(path) as source:
        assert source.is_text
        assert source.take(np.arange(source.n_rows)).tolist() == cards["hashes"]


def test_words_are_ids_and_their_vectors_the_rest(data, tmp_path, write):
    glove = json.loads((data / "glove5k" / "glove-50d-5k.json").read_text())
    path = write.lines(tmp_path / "glove.txt", [f"{word} {' '.join(map(repr, row))}" for word, row in glove.items()])
    assert read_ids(f"{path}::0") == list(glove)
    with open_vectors(path) as source:
        assert np.array_equal(source.take(np.arange(source.n_rows)), np.array(list(glove.values())))


def test_ids_of_newsgroups_agree_between_the_text_and_the_vectors(data):
    from_text = read_ids(f"{data}/newsgroups20/train.jsonl.gz::id")
    assert np.array_equal(from_text, read_ids(f"{data}/newsgroups20_minilm/train.npz::ids"))
