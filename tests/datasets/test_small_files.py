"""Every loader on a small file in the true format."""

from __future__ import annotations

import gzip
import json
import re

import numpy as np
import pytest
from published_formats import (
    RNG,
    write_cifar,
    write_idx,
    write_mnist,
    write_nus_wide,
    write_posts,
    write_vecs,
)

from hashdb import datasets, registry
from hashdb.datasets.nuswide import read_table
from hashdb.errors import ArgumentError, InputFileError


def test_cifar10_planes_become_pixels(root, sizes):
    sizes("cifar10")
    images, labels = write_cifar(root / "cifar10")
    found = datasets.load("cifar10")
    assert (found.images == images).all()
    assert (found.vectors == images.reshape(24, -1)).all()
    assert (found.labels == labels).all()
    assert found.label_names[found.labels[0]] == datasets.load("cifar10").label_names[labels[0]]
    assert (found.n_rows, found.n_train, found.dims) == (24, 20, {"": 3072})


def test_cifar10_gist_is_computed_from_the_images(root, sizes):
    sizes("cifar10-gist")
    images, labels = write_cifar(root / "cifar10")
    told = []
    found = datasets.load("cifar10-gist", progress=lambda what, done, total: told.append((what, done, total)))
    assert (found.vectors == registry.get("gist").encode_items(list(images), {})).all()
    assert (found.labels == labels).all()
    assert told == [("computing GIST", 24, 24)]
    assert (found.image(23) == images[23]).all()
    assert found.image(24) is None


def test_stored_gist_is_taken_first_and_shows_the_images_there_are(root):
    folder = root / "cifar10"
    folder.mkdir()
    vectors = RNG.random((6, 512)).astype(np.float16)
    np.save(folder / "gist512_float16.npy", vectors)
    np.save(folder / "train_labels.npy", np.arange(4, dtype=np.uint8))
    np.save(folder / "test_labels.npy", np.array([9, 8], np.uint8))
    images = RNG.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    np.save(folder / "test_images.npy", images)
    found = datasets.load("cifar10-gist")
    assert (found.vectors == vectors).all()
    assert found.labels.tolist() == [0, 1, 2, 3, 9, 8]
    assert found.n_train == 4
    assert found.image(3) is None
    assert (found.image(5) == images[1]).all()


@pytest.mark.parametrize("end", [".gz", ""])
@pytest.mark.parametrize(("name", "folder"), [("mnist", "mnist"), ("fashion-mnist", "fashion_mnist")])
def test_the_family_of_mnist(root, name, folder, end):
    images, labels = write_mnist(root / folder, end)
    found = datasets.load(name)
    assert (found.images == images).all()
    assert (found.vectors == images.reshape(14, 784)).all()
    assert (found.labels == labels).all()
    assert found.n_train == 10


def test_texmex_with_queries_and_neighbours(root, sizes):
    sizes("siftsmall")
    folder = root / "siftsmall"
    folder.mkdir()
    base, queries = (RNG.random((n, 8)).astype("<f4") for n in (20, 3))
    truth = RNG.integers(0, 20, (3, 5)).astype("<i4")
    write_vecs(folder / "siftsmall_base.fvecs", base)
    write_vecs(folder / "siftsmall_query.fvecs", queries)
    write_vecs(folder / "siftsmall_groundtruth.ivecs", truth)
    found = datasets.load("siftsmall")
    assert (found.vectors == base).all()
    assert (found.queries == queries).all()
    assert (found.neighbours == truth).all()
    assert found.neighbours.dtype == np.int64
    assert found.metric == "l2"
    write_vecs(folder / "siftsmall_groundtruth.ivecs", truth + 20)
    with pytest.raises(InputFileError, match="names neighbours that are no rows from 0 to 19"):
        datasets.load("siftsmall")


@pytest.mark.parametrize(("name", "metric"), [("glove-25-angular", "cosine"), ("sift-128-euclidean", "l2")])
def test_ann_benchmarks(root, name, metric):
    h5py = pytest.importorskip("h5py", reason="h5py comes with hashdb[formats]")
    path = root / "ann_benchmarks" / f"{name}.hdf5"
    path.parent.mkdir()
    train, test = RNG.random((30, 4)).astype(np.float32), RNG.random((2, 4)).astype(np.float32)
    with h5py.File(path, "w") as store:
        store["train"], store["test"] = train, test
        store["neighbors"], store["distances"] = np.array([[3, 1], [29, 0]], np.int32), np.zeros((2, 2))
    for found in (datasets.load(name), datasets.load(path)):
        assert (found.vectors == train).all()
        assert (found.queries == test).all()
        assert found.neighbours.tolist() == [[3, 1], [29, 0]]
        assert found.metric == metric
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(InputFileError, match=rf"{name}.hdf5 is not a readable HDF5 file"):
        datasets.load(name)


def write_wiki(folder):
    from scipy.io import savemat

    folder.mkdir()
    image, text = RNG.random((7, 128)), RNG.random((7, 10))
    labels = np.array([2, 1, 3, 3, 1, 2, 2])
    arrays = {"I_tr": image[:4], "I_te": image[4:], "T_tr": text[:4], "T_te": text[4:]}
    savemat(folder / "raw_features.mat", arrays, do_compression=True)
    lines = [f"text{row}-1\timage{row}\t{label}\n" for row, label in enumerate(labels)]
    (folder / "trainset_txt_img_cat.list").write_text("".join(lines[:4]))
    (folder / "testset_txt_img_cat.list").write_text("".join(lines[4:]))
    (folder / "categories.list").write_text("art\nbiology\ngeography\n")
    return image, text, labels, arrays


def test_wiki_from_the_published_lists(root, sizes):
    sizes("wiki")
    image, text, labels, _ = write_wiki(root / "wiki")
    found = datasets.load("wiki")
    assert (found.vectors["image"] == image).all()
    assert (found.vectors["text"] == text).all()
    assert (found.labels == labels - 1).all(), "class 1 is the first of categories.list"
    assert found.label_names == ("art", "biology", "geography")
    assert found.ids[4] == "text4-1"
    assert (found.n_rows, found.n_train, found.dims) == (7, 4, {"image": 128, "text": 10})
    (root / "wiki" / "categories.list").write_text("art\nbiology\n")
    with pytest.raises(InputFileError, match="classes from 1 to 3, expected 1 to 2"):
        datasets.load("wiki")


def test_wiki_from_wikidata(root, sizes):
    from scipy.io import savemat

    sizes("wiki")
    image, _, labels, arrays = write_wiki(root / "wiki")
    (root / "wiki" / "raw_features.mat").unlink()
    columns = {"L_tr": labels[:4, None], "L_te": labels[4:, None]}
    savemat(root / "wiki" / "wikiData.mat", {**arrays, **columns})
    found = datasets.load("wiki")
    assert (found.vectors["image"] == image).all()
    assert (found.labels == labels - 1).all()


def test_mirflickr(root, sizes):
    from scipy.io import savemat

    sizes("mirflickr25k")
    folder = root / "mirflickr25k"
    folder.mkdir()
    tags, labels = (RNG.integers(0, 2, (8, dim), dtype=np.uint8) for dim in (1386, 24))
    savemat(folder / "mirflickr25k-yall.mat", {"YAll": tags})
    savemat(folder / "mirflickr25k-lall.mat", {"LAll": labels})
    found = datasets.load("mirflickr25k")
    assert (found.vectors == tags).all()
    assert found.labels.dtype == bool
    assert (found.labels == labels).all()


def test_nus_wide_as_published(root):
    parts = write_nus_wide(root / "nus_wide")
    found = datasets.load("nus-wide")
    assert found.dims == {"image": 500, "text": 1000}
    assert (found.vectors["image"] == parts["BoW_int"]).all()
    assert (found.vectors["text"] == parts["tags"]).all()
    assert (found.labels == parts["labels"]).all()
    assert found.label_names == ("airport", "animal", "sky")
    wide = datasets.load("nus-wide-634")
    order = ("CH", "CORR", "EDH", "WT", "CM55")
    expected = np.concatenate([parts[f"Normalized_{name}"] for name in order], axis=1)
    np.testing.assert_allclose(wide.vectors["image"], expected, rtol=1e-6)
    assert wide.dims["image"] == 634


def test_nus_wide_whose_parts_do_not_fit(root):
    folder = root / "nus_wide"
    write_nus_wide(folder)
    (folder / "ConceptsList" / "Concepts81.txt").write_text("airport\nsky\nwolf\n")
    with pytest.raises(InputFileError, match=r"no file .*Labels_wolf.txt: 2 of the 3 concepts have one"):
        datasets.load("nus-wide")
    (folder / "ConceptsList" / "Concepts81.txt").write_text("sky\nairport\n")
    assert datasets.load("nus-wide").label_names == ("sky", "airport")
    label = folder / "Groundtruth/AllLabels/Labels_sky.txt"
    label.write_text("1\n0\n")
    with pytest.raises(InputFileError, match=r"Labels_sky.txt has shape \(2, 1\), expected 9 lines of 0 or 1"):
        datasets.load("nus-wide")
    words = folder / "Low_Level_Features/BoW_int.dat"
    words.write_text(words.read_text()[:-30])
    with pytest.raises(InputFileError, match=r"BoW_int.dat: line 9 has \d+ cells, expected 500"):
        datasets.load("nus-wide")


@pytest.mark.parametrize(
    ("dtype", "value", "shown", "expected"),
    [
        (np.float32, "91e199", "9.1e+200", r"a number from -3.4e\+38 to 3.4e\+38"),
        (np.uint8, "256", "256", "a whole number from 0 to 255"),
        (np.uint8, "-1", "-1", "a whole number from 0 to 255"),
        (np.uint8, "0.5", "0.5", "a whole number from 0 to 255"),
        (np.uint8, "nan", "nan", "a whole number from 0 to 255"),
    ],
)
def test_a_number_of_nus_wide_that_does_not_fit_is_named(tmp_path, dtype, value, shown, expected):
    table = tmp_path / "table.txt"
    table.write_text("1 2 \n" * 5000 + f"3 {value} \n")
    place = r"table.txt: line 5,001, column 1 is "
    with pytest.raises(InputFileError, match=rf"{place}{re.escape(shown)}, expected {expected}"):
        read_table(table, dtype)


POSTS = [
    ("train", "sci.space", "20", b"From: me\nSubject: orbit\n\nThe orbit of the moon, the moon!"),
    ("train", "rec.autos", "7", b"Subject: engine\n\nAn engine and a gearbox."),
    ("train", "sci.space", "9", b"Subject: moon\r\n\r\nMoon rocks \xe9"),
    ("test", "rec.autos", "31", b"Subject: moon\n\nEngine trouble"),
]


def test_newsgroups_from_the_published_archive(root):
    folder = root / "newsgroups20"
    folder.mkdir()
    write_posts(folder / "20news-bydate.tar.gz", POSTS)
    found = datasets.load("newsgroups20")
    assert found.ids == ["7", "9", "20", "31"], "by group and number, the training part first"
    assert found.label_names == ("rec.autos", "sci.space")
    assert found.labels.tolist() == [0, 1, 1, 0]
    assert found.n_train == 3
    assert found.texts[1].endswith("Moon rocks é")
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, rtol=1e-6)
    similar = found.vectors @ found.vectors.T
    assert similar[1, 2] > 0, "both say moon in their text"
    assert similar[0, 3] > 0, "both say engine"
    assert similar[3, 1] == 0, "what headers say is no word of the text"


def test_newsgroups_from_json_lines_are_those_of_the_archive(root, tmp_path):
    folder = root / "newsgroups20"
    folder.mkdir()
    for part in ("train", "test"):
        rows = sorted((post for post in POSTS if post[0] == part), key=lambda post: (post[1], int(post[2])))
        lines = [json.dumps({"id": n, "label": group, "text": text.decode("latin-1")}) for _, group, n, text in rows]
        (folder / f"{part}.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    found = datasets.load("newsgroups20")
    write_posts(tmp_path / "20news-bydate.tar.gz", POSTS)
    published = datasets.load("newsgroups20", tmp_path)
    assert (found.vectors == published.vectors).all()
    assert found.texts == published.texts
    assert found.ids == published.ids


def test_a_half_archive_of_newsgroups(root):
    path = root / "newsgroups20" / "20news-bydate.tar.gz"
    path.parent.mkdir()
    write_posts(path, POSTS * 50)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputFileError, match=r"20news-bydate.tar.gz is no whole archive: .*fetch it again"):
        datasets.load("newsgroups20")
    write_posts(path, POSTS[:2])
    with pytest.raises(InputFileError, match="holds no folders 20news-bydate-train and 20news-bydate-test"):
        datasets.load("newsgroups20")


def test_a_set_of_the_users_own(tmp_path):
    path = tmp_path / "mine.npz"
    vectors = RNG.random((5, 3))
    images = RNG.integers(0, 256, (5, 8, 8), dtype=np.uint8)
    np.savez(
        path, vectors=vectors, labels=[0, 1, 1, 0, 2], ids=list("abcde"), label_names=["x", "y", "z"], images=images
    )
    found = datasets.load(str(path))
    assert found.name == "mine"
    assert (found.vectors == vectors).all()
    assert found.labels.tolist() == [0, 1, 1, 0, 2]
    assert found.ids == list("abcde")
    assert found.label_names == ("x", "y", "z")
    assert (found.image(4) == images[4]).all()
    np.savez(path, vectors=vectors, labels=[[1, 0], [0, 1], [1, 1], [0, 0], [1, 0]])
    assert datasets.load(path).labels.shape == (5, 2)
    np.savez(path, vectors=vectors, queries=vectors[:2], neighbours=[[0, 4], [1, 2]])
    assert datasets.load(path).neighbours.tolist() == [[0, 4], [1, 2]]
    np.savez(path, vectors=vectors, labels=[0, 1])
    with pytest.raises(InputFileError, match=r"different numbers of rows \(vectors 5, labels 2\)"):
        datasets.load(path)
    np.savez(path, vectors=vectors, queries=vectors[:2], neighbours=[[0, 4]])
    with pytest.raises(InputFileError, match="2 queries and neighbours of 1"):
        datasets.load(path)
    np.savez(path, features=vectors)
    with pytest.raises(InputFileError, match="has no 'vectors': it holds features"):
        datasets.load(path)
    with pytest.raises(InputFileError, match=r"no file .*other.npz"):
        datasets.load(tmp_path / "other.npz")


def test_an_unknown_name_gives_the_nearest():
    with pytest.raises(ArgumentError, match=r"unknown data set 'fashion_mnist'; did you mean 'fashion-mnist'\?"):
        datasets.load("fashion_mnist")
    with pytest.raises(ArgumentError, match=r"unknown data set 'zzzzzz'; there are cifar10, "):
        datasets.get("zzzzzz")


def test_files_of_another_size_are_named_before_anything_is_read(root):
    write_cifar(root / "cifar10", n=1)
    with pytest.raises(
        InputFileError,
        match=r"data_batch_1.bin is there only in part: it has 3,073 bytes, expected 30,730,000; .*fetch cifar10`",
    ):
        datasets.load("cifar10")


def test_missing_files_are_named_with_where_to_get_them(root):
    with pytest.raises(InputFileError, match=r"wiki cannot be read: there is no folder .*wiki; `hashdb datasets fetch"):
        datasets.load("wiki")
    (root / "mnist").mkdir()
    write_idx(root / "mnist" / "train-images-idx3-ubyte", np.zeros((1, 28, 28), np.uint8))
    with pytest.raises(InputFileError, match=r"lacks train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels"):
        datasets.load("mnist")
    with pytest.raises(
        InputFileError, match=r"get it from http://corpus-texmex.irisa.fr/, or with a checksum that you"
    ):
        datasets.load("sift1m")
    with pytest.raises(InputFileError, match=r"its publishers ask to fill in a form"):
        datasets.load("nus-wide")


def test_without_a_folder_the_remedy_is_named(monkeypatch):
    monkeypatch.delenv("HASHDB_DATA", raising=False)
    with pytest.raises(InputFileError, match="HASHDB_DATA names no folder; set HASHDB_DATA"):
        datasets.load("wiki")


def test_a_download_that_broke_off_is_told_by_its_size(root):
    write_mnist(root / "fashion_mnist")
    path = root / "fashion_mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(
        InputFileError,
        match=r"train-images-idx3-ubyte.gz cannot be .*; train-images-idx3-ubyte.gz has 500 bytes, .* one 26,421,880",
    ):
        datasets.load("fashion-mnist")


def test_damaged_batches_of_cifar10(root, sizes):
    sizes("cifar10")
    write_cifar(root / "cifar10")
    path = root / "cifar10" / "cifar-10-batches-bin" / "data_batch_2.bin"
    raw = path.read_bytes()
    path.write_bytes(raw[:-1])
    with pytest.raises(InputFileError, match=r"data_batch_2.bin is truncated .* 12,291 are 3 images and 3,072 bytes"):
        datasets.load("cifar10")
    path.write_bytes(b"\x0b" + raw[1:])
    with pytest.raises(InputFileError, match=r"data_batch_2.bin gives image 0 the class 11, expected 0 to 9"):
        datasets.load("cifar10")


def test_every_description_is_complete():
    for name in datasets.names():
        info = datasets.get(name)
        assert info.name == name
        assert info.title
        assert info.home.startswith("http")
        assert info.licence
        assert info.downloads or info.note, f"{name}: say how to get it"
        files = {file.path for layout in info.layouts for file in layout.files}
        for one in info.downloads:
            assert set(one.gives) <= files, f"{name} fetches what no loader reads"
            assert one.sha256 is None or len(one.sha256) == 64
