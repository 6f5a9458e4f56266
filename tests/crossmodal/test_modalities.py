"""An index of two modalities: unpaired items of either, queries with either, one code an id, re-ranking, bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
from hashdb.search import rerank
from tests.crossmodal.conftest import both


@pytest.fixture
def index(path, pairs):
    """300 images of 400 pairs, with their vectors; cvh of all."""
    model = hashdb.fit(pairs, "cvh", 5)
    with hashdb.build(path, pairs["image"][:300], model=model, modality="image", store_vectors="float32") as opened:
        yield opened


def by_hand(index, codes, ids, rows, modality, k):
    """Rank codes by distance, then id."""
    asked = index.model.encode(rows, modality)
    far = np.bitwise_count(asked[:, None] ^ codes[None]).sum(axis=2)
    order = np.lexsort((np.broadcast_to(ids, far.shape), far), axis=1)[:, :k]
    return np.asarray(ids)[order]


def test_unpaired_items_of_either_modality_are_added_and_either_asks(index, pairs):
    texts = index.add(pairs["text"][300:350], modality="text")
    images = index.add(pairs["image"][350:], modality="image")
    ids = np.concatenate([np.arange(300), texts, images])
    codes = np.concatenate(
        [
            index.model.encode(rows, name)
            for name, rows in (
                ("image", pairs["image"][:300]),
                ("text", pairs["text"][300:350]),
                ("image", pairs["image"][350:]),
            )
        ]
    )
    np.testing.assert_array_equal(index.get(ids), codes)
    for name in pairs:
        found = index.query(pairs[name][:20], k=400, modality=name)
        np.testing.assert_array_equal(found.ids, by_hand(index, codes, ids, pairs[name][:20], name, 400))


def test_a_partner_is_nearer_than_most(index, pairs):
    found = index.query(pairs["text"][:300], k=300, modality="text")
    ranks = (found.ids == np.arange(300)[:, None]).argmax(axis=1)
    assert np.median(ranks) < 30


def test_an_id_has_one_code_whatever_its_modality(index, pairs):
    with pytest.raises(ArgumentError, match="7"):
        index.add(pairs["text"][7:8], ids=[7], modality="text")
    index.add(pairs["text"][7:8], ids=[7], upsert=True, modality="text")
    assert len(index) == 300
    np.testing.assert_array_equal(index.get([7]), index.model.encode(pairs["text"][7:8], "text"))
    assert (index.query(pairs["text"][7:8], k=300, modality="text").ids == 7).sum() == 1


def test_within_a_modality_stored_vectors_rank_and_across_modalities_margins_do(index, pairs):
    asked = pairs["image"][300:310]
    found = index.query(asked, k=5, rescore=60, modality="image")
    assert found.measure == "cosine"
    lengths = np.linalg.norm(asked, axis=1)[:, None] * np.linalg.norm(pairs["image"][:300], axis=1)
    np.testing.assert_array_equal(found.ids, np.argsort(-(asked @ pairs["image"][:300].T / lengths), axis=1)[:, :5])
    asked = pairs["text"][300:310]
    found = index.query(asked, k=5, rescore=60, modality="text")
    assert found.measure == "asymmetric"
    margins, codes = index.model.project(asked, "text"), index.model.encode(asked, "text")
    stored = index.get(range(300))
    for row in range(10):
        scores = rerank.asymmetric_scores(margins[row], codes[row], stored)
        np.testing.assert_array_equal(found.ids[row], np.lexsort((np.arange(300), scores))[:5])


def test_one_item_of_another_modality_makes_every_score_asymmetric_until_it_is_gone(index, pairs):
    (one,) = index.add(pairs["text"][:1], modality="text")
    assert index.query(pairs["image"][:3], k=2, rescore=3, modality="image").measure == "asymmetric"
    with pytest.raises(ArgumentError, match="orders by stored vectors"):
        index.query(pairs["image"][:3], k=2, rescore=3, metric="l2", modality="image")
    index.delete([one])
    assert index.query(pairs["image"][:3], k=2, rescore=3, modality="image").measure == "cosine"


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
def test_vectors_of_each_modality_are_kept_in_their_own_range(tmp_path, pairs, kind):
    wide = {"image": pairs["image"], "text": pairs["text"] * 100}
    with hashdb.build(tmp_path / "a", wide, "cvh", 5, store_vectors=kind) as index:
        index.delete(range(400))
        ids = index.add(wide["text"][:300], modality="text")
    with hashdb.open(tmp_path / "a") as index:
        found = index.query(wide["text"][:50], k=1, rescore=300, metric="l2", modality="text")
    assert found.measure == "l2"
    np.testing.assert_array_equal(found.ids[:, 0], ids[:50])
    step = (wide["text"].max() - wide["text"].min()) / 255 if kind == "int8" else 0.1
    assert found.distances.max() < 7**0.5 * step


def test_int8_of_a_modality_whose_range_was_never_learned_is_not_kept(path, pairs):
    model = hashdb.fit(pairs, "cvh", 5)
    with hashdb.build(path, pairs["image"], model=model, modality="image", store_vectors="int8") as index:
        assert index.query(pairs["image"][:2], k=2, rescore=3, modality="image").measure == "cosine"
        index.add(pairs["text"][:5], modality="text")
        index.delete(range(400))
        assert index.query(pairs["text"][:2], k=2, rescore=3, modality="text").measure == "asymmetric"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: {"image": v["image"], "text": v["text"][:-3]}, "image 400, text 397"),
        (lambda v: {"image": v["image"]}, "two modalities or more to vectors, got image; .*--modality NAME=FILE"),
        (lambda v: v["image"], "two modalities or more to vectors, got one array"),
        (lambda v: {"": v["image"], "text": v["text"]}, "a modality has no name"),
        (lambda v: {"a b": v["image"], "text": v["text"]}, "modality 'a b' is no name"),
        (lambda v: {"image": v["image"], "text": v["text"][:0]}, "image 400, text 0"),
        (lambda v: {"image": v["image"], "text": np.where(v["text"] > 2, np.nan, v["text"])}, "row .* is nan"),
    ],
)
def test_pairs_that_cannot_be_used_are_refused_and_nothing_is_left(path, pairs, change, message):
    with pytest.raises(ArgumentError, match=message):
        hashdb.build(path, change(pairs), "cvh", 5)
    assert not Path(path).exists()


def test_a_modality_that_is_unknown_gets_the_nearest_name(index, pairs):
    for call in (
        index.add,
        index.query,
        index.encode,
        lambda rows, modality: index.query_radius(rows, 1, modality=modality),
    ):
        with pytest.raises(ArgumentError, match="'txet' is unknown, expected one of: image, text; did you mean 'text'"):
            call(pairs["text"][:1], modality="txet")
    with pytest.raises(ArgumentError, match=r"'imgae' is unknown, .* did you mean 'image'"):
        index.model.encode(pairs["image"][:1], "imgae")
    assert index.version == 1


def test_rows_of_another_dim_are_told_whose_dim_that_is(index, pairs):
    with pytest.raises(ArgumentError, match=r"dim 12, expected dim 7 of modality 'text' \(dim 12 is that of image\)"):
        index.query(pairs["image"][:1], modality="text")
    with pytest.raises(ArgumentError, match="dim 5, expected dim 12 of modality 'image' as in the build"):
        index.add(pairs["image"][:1, :5], modality="image")
    assert index.version == 1


def test_more_bits_than_the_smaller_view_has_are_the_methods_to_refuse(path, unified, pairs):
    with pytest.raises(ArgumentError, match="n_bits is 8, expected at most 7"):
        hashdb.build(path, pairs, unified, 8)
    assert not Path(path).exists()


def test_the_command_line_from_files_to_answers(run, pairs):
    built = run("build", "a.hashdb", *both(), "--method", "cvh", "--bits", "5", "--store-vectors", "float32")
    assert built.code == 0
    assert run("add", "a.hashdb", "new-text.npy", "--modality", "text").out.startswith("a.hashdb: added 100 rows")
    asked = run("query", "a.hashdb", "new-image.npy", "--modality", "image", "-k", "400", "--json").json
    with hashdb.open("a.hashdb") as index:
        found = index.query(pairs["image"][300:], k=400, modality="image")
    assert [record["ids"] for record in asked] == found.ids.tolist()
    done = run("query", "a.hashdb", "new-image.npy", "--modality", "image", "--rescore", "3", "--output", "o.npz")
    assert done.err.startswith("note: not every row has stored vectors of the queries' modality")
    assert run("verify", "a.hashdb", "--deep").code == 0


def test_the_model_of_one_index_builds_one_of_the_other_modality(run, pairs):
    run("build", "a.hashdb", *both(), "--method", "cvh", "--bits", "5")
    assert run("build", "b.hashdb", "--like", "a.hashdb", "--modality", "text=new-text.npy").code == 0
    assert "text, predicted: 100 rows" in run("info", "b.hashdb").out
    asked = run("query", "b.hashdb", "new-image.npy", "--modality", "image", "-k", "3", "--json")
    assert len(asked.json) == 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--modality", "image=image.npy", "--modality", "text=new-text.npy"), "image 300, text 100"),
        (("--modality", "image=image.npy"), "got image; on the command line give --modality NAME=FILE for each"),
        (("image.npy",), "got one array; on the command line give --modality NAME=FILE for each"),
        (
            (*both(), "--store", "txt"),
            "store is 'txt', expected one of the modalities given: image, text; did you mean",
        ),
        ((*both(), "--database-codes", "learned"), "learns no codes of its training rows"),
        ((*both("nothing.npy"),), "nothing.npy"),
        (("--modality", "image=image.npy", "--modality", "image=text.npy"), "names 'image' twice"),
        ((*both(), "--quantiser", "dbq"), "works on one modality"),
    ],
)
def test_the_command_line_refuses_in_one_line_and_leaves_nothing(run, arguments, message):
    done = run("build", "a.hashdb", *arguments, "--method", "cvh", "--bits", "4")
    assert (done.code, done.out, done.err.count("\n")) == (1, "", 1)
    assert message in done.err
    assert not Path("a.hashdb").exists()


def test_labels_are_asked_for_by_the_methods_that_need_them(run, install):
    from tests.crossmodal.conftest import UNIFIED

    taught = UNIFIED.replace('"paired modalities"', '"paired modalities and labels"').replace('"unified"', '"taught"')
    install("taught", taught)
    arguments = ("build", "a.hashdb", *both(), "--method", "taught", "--bits", "4")
    done = run(*arguments)
    assert (done.code, done.err) == (1, "hashdb: method taught learns from labels, got none (labels=, --labels FILE)\n")
    np.save("labels.npy", np.arange(299) % 3)
    assert "299 labels for 300 rows" in run(*arguments, "--labels", "labels.npy").err
    assert not Path("a.hashdb").exists()
    np.save("labels.npy", np.arange(300) % 3)
    assert run(*arguments, "--labels", "labels.npy").code == 0


def test_queries_without_a_modality_are_told_which_there_are(run):
    run("build", "a.hashdb", *both(), "--method", "cvh", "--bits", "4")
    for command in ("query", "add"):
        done = run(command, "a.hashdb", "new-text.npy")
        assert done.code == 1
        assert "modalities image, text: name one (modality=, --modality)" in done.err
