"""The loaders on the real files, where HASHDB_DATA has them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from hashdb import datasets


def load(name, data):
    if datasets.find(datasets.get(name)).layout is None:
        pytest.skip(f"{name} is not in HASHDB_DATA")
    return datasets.load(name)


@pytest.mark.parametrize(
    ("name", "n_rows", "dims", "n_train", "n_classes"),
    [
        ("cifar10-gist", 60_000, {"": 512}, 50_000, 10),
        ("fashion-mnist", 70_000, {"": 784}, 60_000, 10),
        ("wiki", 2866, {"image": 128, "text": 10}, 2173, 10),
        ("newsgroups20-minilm", 18_846, {"": 384}, 11_314, 20),
        ("mirflickr25k", 20_015, {"": 1386}, None, 24),
        ("scene15", 4485, {"view1": 20, "view2": 59, "view3": 40}, None, 15),
    ],
)
def test_shapes_and_classes(data, name, n_rows, dims, n_train, n_classes):
    found = load(name, data)
    assert (found.n_rows, found.dims, found.n_train) == (n_rows, dims, n_train)
    if found.labels.ndim == 2:
        assert found.labels.shape[1] == n_classes
    else:
        assert np.unique(found.labels).tolist() == list(range(n_classes))
        assert len(found.label_names) in (0, n_classes)


def test_fashion_mnist_pictures_belong_to_their_labels(data):
    found = load("fashion-mnist", data)
    means = np.array([found.images[found.labels == label].mean(axis=(0, 1)) for label in range(10)])
    assert means[found.label_names.index("trouser")][14] > 2 * means[found.label_names.index("trouser")][2]
    assert (found.vectors[17].reshape(28, 28) == found.images[17]).all()


def test_wiki_is_the_same_from_both_files(data, tmp_path):
    found = load("wiki", data)
    if not (data / "wiki" / "wikiData.mat").exists():
        pytest.skip("wikiData.mat is not in HASHDB_DATA")
    (tmp_path / "wikiData.mat").symlink_to(data / "wiki" / "wikiData.mat")
    other = datasets.load("wiki", tmp_path)
    assert (found.labels == other.labels).all()
    assert all((found.vectors[name] == other.vectors[name]).all() for name in ("image", "text"))


def test_published_neighbours_are_the_nearest(data):
    found = load("sift-bigann10k", data)
    base, queries = found.vectors.astype(np.int64), found.queries.astype(np.int64)
    for number in range(0, 100, 7):
        far = ((base - queries[number]) ** 2).sum(axis=1)
        assert (far[found.neighbours[number]] == np.sort(far)[:100]).all()


def test_newsgroups_texts_and_embeddings_are_row_by_row_the_same_posts(data):
    texts, embedded = load("newsgroups20", data), load("newsgroups20-minilm", data)
    assert texts.ids == embedded.ids
    assert (texts.labels == embedded.labels).all()
    assert texts.label_names == embedded.label_names
    assert texts.vectors.shape == (18_846, 2000)


@pytest.mark.parametrize("name", ["wiki", "mirflickr25k", "scene15", "sift-bigann10k"])
def test_checksums_are_those_of_the_files(data, name):
    found = datasets.find(datasets.get(name))
    if found.layout is None:
        pytest.skip(f"{name} is not in HASHDB_DATA")
    for file in found.layout.files:
        path = found.folder / file.path
        assert path.stat().st_size == file.size
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
