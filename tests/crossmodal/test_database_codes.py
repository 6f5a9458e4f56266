"""Whether a row's code was learned or predicted: who decides, what is stored, what every view of an index says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
from tests.crossmodal.conftest import both


@pytest.fixture
def training_codes(unified, pairs):
    return hashdb.fit(pairs, unified, 6).training_codes


def policies(index):
    return [
        (part["modality"], part["database_codes"], part["rows"] - part["deleted_rows"])
        for part in index.info()["segments"]
    ]


def test_learned_codes_are_neither_modality_predicted(unified, pairs, training_codes):
    model = hashdb.fit(pairs, unified, 6)
    for name, rows in pairs.items():
        assert (model.encode(rows, name) != training_codes).any(axis=1).mean() > 0.2


@pytest.mark.parametrize("store", ["image", "text"])
def test_an_index_holds_the_learned_codes_of_its_rows_and_predicts_every_query(
    path, unified, pairs, training_codes, store
):
    with hashdb.build(path, pairs, unified, 6, store=store, database_codes="learned") as index:
        np.testing.assert_array_equal(index.get(range(400)), training_codes)
        assert policies(index) == [(store, "learned", 400)]
        for name, rows in pairs.items():
            asked = index.model.encode(rows[:9], name)
            found = index.query(rows[:9], k=400, modality=name)
            exact = np.bitwise_count(asked[:, None] ^ training_codes[None]).sum(axis=2)
            np.testing.assert_array_equal(found.distances, np.sort(exact, axis=1))


def test_learned_codes_follow_ids_that_are_out_of_order(path, unified, pairs, training_codes):
    ids = np.random.default_rng(1).permutation(10_000)[:400]
    with hashdb.build(path, pairs, unified, 6, ids=ids, database_codes="learned") as index:
        np.testing.assert_array_equal(index.get(ids), training_codes)


def test_predicted_is_the_default(path, unified, pairs):
    with hashdb.build(path, pairs, unified, 6, store="text") as index:
        np.testing.assert_array_equal(index.get(range(400)), index.model.encode(pairs["text"], "text"))
        assert policies(index) == [("text", "predicted", 400)]


def test_rows_added_to_learned_ones_are_predicted_and_the_manifest_says_so(path, unified, pairs, training_codes):
    with hashdb.build(path, pairs, unified, 6, database_codes="learned") as index:
        ids = index.add(pairs["text"][:5], modality="text")
        np.testing.assert_array_equal(index.get(ids), index.model.encode(pairs["text"][:5], "text"))
    manifests = sorted((Path(path) / "manifests").glob("0*.json"))
    segments = json.loads(manifests[-1].read_text(encoding="utf-8"))["segments"]
    assert [(part["modality"], part["database_codes"], part["n"]) for part in segments] == [
        ("image", "learned", 400),
        ("text", "predicted", 5),
    ]


def test_compacting_keeps_learned_and_predicted_apart(path, unified, pairs, training_codes):
    with hashdb.build(path, pairs, unified, 6, database_codes="learned") as index:
        for first in range(0, 40, 10):
            index.add(pairs["image"][first : first + 10], modality="image", auto_compact=False)
        index.delete([0])
        index.compact()
        assert sorted(policies(index)) == [("image", "learned", 399), ("image", "predicted", 40)]
        np.testing.assert_array_equal(index.get(range(1, 400)), training_codes[1:])


def test_an_upsert_over_a_learned_row_makes_it_predicted(path, unified, pairs):
    with hashdb.build(path, pairs, unified, 6, database_codes="learned") as index:
        index.add(pairs["text"][:2], ids=[7, 8], upsert=True, modality="text")
        assert len(index) == 400
        np.testing.assert_array_equal(index.get([7, 8]), index.model.encode(pairs["text"][:2], "text"))
        assert sorted(policies(index)) == [("image", "learned", 398), ("text", "predicted", 2)]


def test_learned_needs_every_row_in_training(path, unified, pairs):
    with pytest.raises(ArgumentError, match=r"needs every row in training: 100 of 400 do; give train=400"):
        hashdb.build(path, pairs, unified, 6, train=100, database_codes="learned")
    assert not Path(path).exists()


def test_learned_is_refused_where_the_method_learns_none(path, pairs):
    with pytest.raises(ArgumentError, match="method cvh learns no codes of its training rows"):
        hashdb.build(path, pairs, "cvh", 6, database_codes="learned")
    assert not Path(path).exists()


def test_learned_is_refused_with_a_model_that_trained_on_who_knows_what(path, unified, pairs):
    model = hashdb.fit(pairs, unified, 6)
    with pytest.raises(ArgumentError, match=r"fitted already, so database_codes \('learned'\) cannot be followed"):
        hashdb.build(path, pairs["image"], model=model, modality="image", database_codes="learned")
    assert not Path(path).exists()


def test_an_unknown_policy_is_refused_with_those_there_are(path, pairs):
    with pytest.raises(ArgumentError, match="database_codes is 'learnt', expected one of predicted, learned"):
        hashdb.build(path, pairs, "cvh", 6, database_codes="learnt")


def test_the_command_line_names_the_policy_at_build_and_in_info(run, unified):
    built = run("build", "a.hashdb", *both(), "--method", unified, "--bits", "6", "--database-codes", "learned")
    assert built == (0, "a.hashdb: 300 learned codes of 6 bits by unified, version 1\n", "")
    assert run("add", "a.hashdb", "new-text.npy", "--modality", "text").code == 0
    listed = run("info", "a.hashdb", "--json").json[0]["segments"]
    assert [(part["modality"], part["database_codes"]) for part in listed] == [
        ("image", "learned"),
        ("text", "predicted"),
    ]
    told = run("info", "a.hashdb").out
    assert "image, learned: 300 rows; text, predicted: 100 rows" in told


def test_the_command_line_refuses_learned_codes_of_rows_that_did_not_train(run, unified):
    done = run(
        "build", "a.hashdb", *both(), "--method", unified, "--bits", "6", "--train", "50", "--database-codes", "learned"
    )
    assert (done.code, done.out) == (1, "")
    assert "50 of 300 do" in done.err
    assert "--train 300" in done.err
    assert not Path("a.hashdb").exists()


def test_adding_takes_no_policy_for_added_rows_are_always_predicted(run, unified):
    run("build", "a.hashdb", *both(), "--method", unified, "--bits", "6", "--database-codes", "learned")
    done = run("add", "a.hashdb", "new-text.npy", "--modality", "text", "--database-codes", "learned")
    assert done.code == 2
    assert run("info", "a.hashdb", "--json").json[0]["version"] == 1
