"""The Python API over a whole index, against a slow oracle and a plain dict."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hashdb
from hashdb import codes as packing
from hashdb.errors import (
    ArgumentError,
    DuplicateIdError,
    HashDBError,
    IndexExistsError,
    ReadOnlyError,
    UnknownIdError,
    VersionGoneError,
)


def slow_knn(table: dict, queries: np.ndarray, k: int) -> list[list[tuple[int, object]]]:
    """Nearest by (distance, id): ids are ints, or strings by their UTF-8 bytes."""
    key = (lambda one: one.encode()) if table and isinstance(next(iter(table)), str) else (lambda one: one)
    answers = []
    for query in queries.tolist():
        scored = [
            (sum((a ^ b).bit_count() for a, b in zip(row, query, strict=True)), key(one), one)
            for one, row in table.items()
        ]
        answers.append([(distance, one) for distance, _, one in sorted(scored)[:k]])
    return answers


def as_pairs(found: hashdb.Neighbours) -> list[list[tuple[int, object]]]:
    return [list(zip(d.tolist(), i.tolist(), strict=True)) for i, d in found]


def random_codes(n: int, n_bits: int, seed: int = 0) -> np.ndarray:
    return packing.pack(np.random.default_rng(seed).random((n, n_bits)) < 0.5)


def build_codes(path: Path, codes: np.ndarray, n_bits: int, ids: object = None) -> hashdb.Index:
    return hashdb.build(path, packing.unpack(codes, n_bits), method="codes", n_bits=n_bits, ids=ids)


@pytest.mark.parametrize("n_bits", [1, 7, 63, 64, 65, 100, 1000])
def test_query_of_any_width_equals_the_slow_definition(path: Path, n_bits: int) -> None:
    codes = random_codes(200, n_bits)
    table = dict(enumerate(codes.tolist()))
    queries = np.concatenate([codes[:3], random_codes(3, n_bits, seed=1)])
    with build_codes(path, codes, n_bits) as index:
        for k in (0, 1, 10, 200, 205):
            found = index.query_codes(queries, k=k)
            assert found.ids.shape == (6, min(k, 200))
            assert as_pairs(found) == slow_knn(table, queries, k)
        for radius in (0, n_bits // 3, n_bits):
            near = index.query_codes(queries, radius=radius)
            expected = [[pair for pair in row if pair[0] <= radius] for row in slow_knn(table, queries, 200)]
            assert [list(zip(d.tolist(), i.tolist(), strict=True)) for i, d in near] == expected


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.booleans(), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_adds_upserts_and_deletes_equal_a_dict(
    tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject, strings: bool, n_bits: int, seed: int
) -> None:
    path = tmp_path_factory.mktemp("model") / "a.hashdb"
    rng = np.random.default_rng(seed)
    pool = [f"é{n:03d}" if n % 3 else f"z{n}" for n in range(40)] if strings else list(range(-5, 35))
    first = random_codes(5, n_bits, seed)
    start = rng.permutation(40)[:5]
    table = {pool[i]: row for i, row in zip(start, first.tolist(), strict=True)}
    with build_codes(path, first, n_bits, [pool[i] for i in start]) as index:
        for step in range(draw.draw(st.integers(1, 8))):
            chosen = [pool[i] for i in rng.permutation(40)[: rng.integers(1, 6)]]
            if draw.draw(st.booleans()):
                rows = random_codes(len(chosen), n_bits, seed + step + 1)
                index.add(packing.unpack(rows, n_bits), ids=chosen, upsert=True)
                table.update(zip(chosen, rows.tolist(), strict=True))
            else:
                index.delete(chosen, ignore_missing=True)
                for one in chosen:
                    table.pop(one, None)
        if draw.draw(st.booleans()):
            index.compact()
        queries = random_codes(4, n_bits, seed)
        assert len(index) == len(table)
        assert as_pairs(index.query_codes(queries, k=12)) == slow_knn(table, queries, 12)
        with hashdb.open(path) as again:
            assert as_pairs(again.query_codes(queries, k=12)) == slow_knn(table, queries, 12)
            listed = {
                one: row for ids, rows in again.codes(3) for one, row in zip(ids.tolist(), rows.tolist(), strict=True)
            }
        assert listed == table


def test_answers_do_not_depend_on_threads_segments_batches_or_compaction(path: Path, vectors: np.ndarray) -> None:
    queries = vectors[:40] + np.float32(0.3)
    with hashdb.build(path, vectors[:200], method="itq", n_bits=12) as index:
        for part in np.array_split(vectors[200:], 6):
            index.add(part, auto_compact=False)
        assert index.info()["n_segments"] == 7
        whole = index.query(queries, k=50)
        near = index.query_radius(queries, 3)
        one_thread = index.query(queries, k=50, n_threads=1)
        parts = [index.query(row, k=50) for row in np.array_split(queries, 3)]
        index.compact()
        assert index.info()["n_segments"] == 1
        compacted = index.query(queries, k=50)
        near_compacted = index.query_radius(queries, 3)
    for other in (one_thread, compacted):
        assert (other.ids == whole.ids).all()
        assert (other.distances == whole.distances).all()
    assert (np.concatenate([part.ids for part in parts]) == whole.ids).all()
    for name in ("lims", "ids", "distances"):
        assert (getattr(near, name) == getattr(near_compacted, name)).all()


def test_build_at_once_equals_build_and_add(tmp_path: Path, vectors: np.ndarray) -> None:
    model = hashdb.fit(vectors, method="itq", n_bits=20)
    once = hashdb.build(tmp_path / "once", vectors, model=model)
    parts = hashdb.build(tmp_path / "parts", vectors[:100], model=model)
    assert parts.add(vectors[100:]).tolist() == list(range(100, 500))
    assert (once.get(range(500)) == parts.get(range(500))).all()
    assert (once.get(range(500)) == model.encode(vectors)).all()


def test_unsorted_ids_keep_their_rows(path: Path, vectors: np.ndarray) -> None:
    ids = np.random.default_rng(3).permutation(500) * 7 - 100
    with hashdb.build(path, vectors, method="lsh", n_bits=32, ids=ids, store_vectors="float32") as index:
        assert (index.get(ids) == index.encode(vectors)).all()
        found = index.query(vectors, k=1, rescore=20, metric="l2")
    assert (found.ids[:, 0] == ids).all()
    assert (found.distances[:, 0] == 0).all()


def test_auto_ids_go_on_and_are_never_reused(path: Path, vectors: np.ndarray) -> None:
    with hashdb.build(path, vectors[:10], method="lsh", n_bits=16) as index:
        assert index.add(vectors[:2]).tolist() == [10, 11]
        index.delete([10, 11])
        assert index.add(vectors[:1]).tolist() == [12]
        index.add(vectors[:1], ids=[100])
        assert index.add(vectors[:1]).tolist() == [101]
        index.add(vectors[1:2], ids=[5], upsert=True)
        assert len(index) == 13
        assert (index.get(5) == index.encode(vectors[1])).all()


def test_everything_deleted_leaves_an_index_that_works(path: Path, vectors: np.ndarray) -> None:
    with hashdb.build(path, vectors[:20], method="lsh", n_bits=16) as index:
        index.delete(list(range(20)))
        assert len(index) == 0
        assert index.query(vectors[:3], k=5).ids.shape == (3, 0)
        assert index.query_radius(vectors[:3], 16).lims.tolist() == [0, 0, 0, 0]
        index.compact()
        assert index.add(vectors[:1]).tolist() == [20]
        assert index.query(vectors[:1], k=5).ids.tolist() == [[20]]


def test_one_row(path: Path, vectors: np.ndarray) -> None:
    with hashdb.build(path, vectors[:1], method="lsh", n_bits=16) as index:
        assert index.query(vectors[0], k=3).ids.tolist() == [[0]]
        assert index.query(vectors[0], k=3, rescore=2).ids.tolist() == [[0]]


def test_zero_rows_only_where_nothing_is_learnt(tmp_path: Path, vectors: np.ndarray) -> None:
    empty = np.empty((0, 24), np.float32)
    with pytest.raises(ArgumentError, match="has no rows"):
        hashdb.build(tmp_path / "a", empty, method="itq", n_bits=8)
    assert not (tmp_path / "a").exists()
    model = hashdb.fit(vectors, method="itq", n_bits=8)
    with hashdb.build(tmp_path / "a", empty, model=model) as index:
        assert len(index) == 0
        assert index.query(vectors[:2], k=3).ids.shape == (2, 0)
        assert index.add(vectors[:4]).tolist() == [0, 1, 2, 3]
    with hashdb.build(tmp_path / "b", np.empty((0, 64), bool), method="codes", n_bits=64) as index:
        assert index.add(np.ones((1, 64), bool), input_type="bool").tolist() == [0]


def test_a_million_identical_codes_are_ordered_by_id(path: Path) -> None:
    codes = np.full((1_000_000, 1), 0b1011, np.uint64)
    with hashdb.build(path, codes, method="codes", n_bits=64) as index:
        index.delete([0, 3, 999_999])
        found = index.query_codes(codes[:2], k=5)
        assert found.ids.tolist() == [[1, 2, 4, 5, 6]] * 2
        assert len(index.query_codes(codes[:1], radius=0).ids) == 999_997


def test_identical_codes_over_many_segments_are_ordered_by_id(path: Path) -> None:
    rows = np.ones((10, 64), bool)
    with hashdb.build(path, rows, method="codes", n_bits=64, ids=list(range(0, 100, 10))) as index:
        for shift in range(1, 10):
            index.add(rows, ids=list(range(shift, 100, 10)), input_type="bool", auto_compact=False)
        assert index.query(rows[:1], k=37, input_type="bool").ids.tolist() == [list(range(37))]


@pytest.mark.parametrize("kind", ["float32", "float16", "int8"])
def test_rescoring_everything_gives_the_exact_order_of_the_vectors(path: Path, vectors: np.ndarray, kind: str) -> None:
    with hashdb.build(path, vectors, method="itq", n_bits=16, store_vectors=kind) as index:
        stored = vectors if kind == "float32" else vectors.astype(np.float16).astype(np.float32)
        for metric in ("l2", "cosine", "ip"):
            found = index.query(vectors[:5], k=10, rescore=50, metric=metric)
            assert found.measure == metric
            assert found.distances.dtype == np.float32
            if kind == "int8":
                continue  # steps of 1/255 of the range reorder close neighbours
            exact = slow_scores(vectors[:5].astype(np.float64), stored.astype(np.float64), metric)
            order = np.argsort(exact, axis=1, kind="stable")[:, :10]
            assert np.allclose(found.distances, np.take_along_axis(exact, order, 1), atol=1e-4)
            assert (found.ids == order).all()
        assert found.code_distances.dtype == np.int32


def slow_scores(queries: np.ndarray, rows: np.ndarray, metric: str) -> np.ndarray:
    if metric == "l2":
        return np.sqrt(((queries[:, None] - rows) ** 2).sum(-1))
    inner = queries @ rows.T
    return (
        -inner
        if metric == "ip"
        else 1 - inner / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(rows, axis=1)
    )


def test_rescoring_int8_is_close_to_the_exact_order(path: Path, vectors: np.ndarray) -> None:
    with hashdb.build(path, vectors, method="itq", n_bits=16, store_vectors="int8", metric="l2") as index:
        found = index.query(vectors, k=10, rescore=50)
        exact = np.argsort(slow_scores(vectors.astype(np.float64), vectors.astype(np.float64), "l2"), 1)[:, :10]
        shared = [len(np.intersect1d(a, b)) for a, b in zip(found.ids, exact, strict=True)]
    assert np.mean(shared) > 9.5


def test_asymmetric_rescoring_is_the_sum_of_margins_of_differing_bits(path: Path, vectors: np.ndarray) -> None:
    with hashdb.build(path, vectors, method="itq", n_bits=16) as index:
        found = index.query(vectors[:3], k=8, rescore=5)
        margins = np.abs(index.model.project(vectors[:3])).astype(np.float64)
        bits = packing.unpack(index.encode(vectors), 16)
        first = index.query(vectors[:3], k=40).ids
    assert found.measure == "asymmetric"
    for query in range(3):
        scores = {one: (margins[query] * (bits[query] != bits[one])).sum() for one in first[query].tolist()}
        expected = sorted(scores, key=lambda one: (np.float32(scores[one]), one))[:8]
        assert found.ids[query].tolist() == expected


def test_rescoring_without_vectors_or_margins_is_refused(path: Path) -> None:
    with build_codes(path, random_codes(5, 64), 64) as index, pytest.raises(ArgumentError, match="re-ranking needs"):
        index.query(np.ones((1, 64), bool), k=2, rescore=2, input_type="bool")


def test_old_versions_stay_readable_until_pruned(path: Path, vectors: np.ndarray) -> None:
    with hashdb.build(path, vectors[:50], method="lsh", n_bits=16) as index:
        before = index.query(vectors[:2], k=60).ids
        index.delete([0, 1])
        index.add(vectors[50:60])
        old = hashdb.open(path, version=1)
        assert (old.query(vectors[:2], k=60).ids == before).all()
        with pytest.raises(ReadOnlyError):
            old.add(vectors[:1])
        old.close()
        assert [entry.version for entry in index.versions()] == [1, 2, 3]
        index.compact(prune=True)
        with pytest.raises(VersionGoneError):
            hashdb.open(path, version=1)


def test_an_open_index_is_a_snapshot_until_refreshed(path: Path, vectors: np.ndarray) -> None:
    with hashdb.build(path, vectors[:10], method="lsh", n_bits=16) as writer, hashdb.open(path) as reader:
        writer.add(vectors[10:20])
        assert len(reader) == 10
        assert reader.refresh()
        assert len(reader) == 20
        assert not reader.refresh()


def test_two_writers_lose_nothing(path: Path, vectors: np.ndarray) -> None:
    hashdb.build(path, vectors[:10], method="lsh", n_bits=16).close()
    with hashdb.open(path) as one, hashdb.open(path) as two:
        assert one.add(vectors[:3]).tolist() == [10, 11, 12]
        assert two.add(vectors[:2]).tolist() == [13, 14]
        one.delete([13])
        assert two.refresh()
        assert len(two) == 14


def test_threads_may_share_an_index(path: Path, vectors: np.ndarray) -> None:
    with hashdb.build(path, vectors, method="itq", n_bits=16) as index:
        expected = index.query(vectors[:20], k=10).ids
        failures: list[object] = []

        def work() -> None:
            for _ in range(5):
                if not (index.query(vectors[:20], k=10).ids == expected).all():
                    failures.append("another answer")

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


def test_ids_are_refused_by_name(path: Path, vectors: np.ndarray) -> None:
    with hashdb.build(path, vectors[:5], method="lsh", n_bits=8, ids=["a", "b", "c", "d", "é"]) as index:
        assert "é" in index
        assert "f" not in index
        assert 3 not in index
        with pytest.raises(DuplicateIdError, match="'c'"):
            index.add(vectors[:2], ids=["x", "c"])
        with pytest.raises(DuplicateIdError, match="'x'"):
            index.add(vectors[:2], ids=["x", "x"])
        with pytest.raises(UnknownIdError, match="'f'"):
            index.delete(["a", "f"])
        with pytest.raises(UnknownIdError, match="'f'"):
            index.query_ids(["f"], k=1)
        with pytest.raises(ArgumentError, match="string ids"):
            index.add(vectors[:1])
        assert (index.version, len(index)) == (1, 5)


@pytest.mark.parametrize("value", [-1, 1.5, True, "3", None])
def test_k_must_be_a_whole_number(path: Path, vectors: np.ndarray, value: object) -> None:
    with hashdb.build(path, vectors[:5], method="lsh", n_bits=8) as index, pytest.raises(ArgumentError, match="k is"):
        index.query(vectors[:1], k=value)


def test_wrong_input_leaves_the_index_unchanged(path: Path, vectors: np.ndarray) -> None:
    with hashdb.build(path, vectors[:5], method="lsh", n_bits=8) as index:
        broken = vectors[:3].copy()
        broken[1, 4] = np.nan
        for rows, message in (
            (vectors[:, :7], "dim 7, expected dim 24"),
            (broken, "row 1, column 4 is nan"),
            (np.array([["a"]], object), "object|numbers"),
            (np.zeros((2, 2, 2)), r"\(2, 2, 2\)|2-D|dimensions"),
        ):
            with pytest.raises(ArgumentError, match=message):
                index.add(rows)
            with pytest.raises(ArgumentError):
                index.query(rows)
        with pytest.raises(ArgumentError, match="2 ids for 3 rows"):
            index.add(vectors[:3], ids=[7, 8])
        assert (index.version, len(index)) == (1, 5)
    with pytest.raises(IndexExistsError):
        hashdb.build(path, vectors, method="lsh")
    with pytest.raises(HashDBError, match="closed"):
        index.query(vectors[:1])


def test_labels_reach_the_method_in_the_order_of_the_sample(path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 2000)
    rows = (rng.standard_normal((2000, 16)) * 3).astype(np.float32)
    rows[:, 3] = labels  # the only dimension that tells the class, and far from the largest variance
    with hashdb.build(path, rows, method="itq-cca", n_bits=3, labels=labels, train=900, seed=4) as index:
        found = index.query(rows[:200], k=20)
    assert (labels[found.ids] == labels[:200, None]).mean() > 0.4  # by chance 0.25


def test_a_build_that_fails_leaves_nothing(path: Path, vectors: np.ndarray) -> None:
    rows = vectors.copy()
    rows[-1, 0] = np.inf
    with pytest.raises(ArgumentError, match="row 499, column 0 is inf"):
        hashdb.build(path, rows, method="lsh", n_bits=8, train=20, seed=1)
    assert not path.exists()


def test_cross_modal_index_answers_either_modality(path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 600)
    centres = {"image": rng.standard_normal((5, 20)) * 3, "text": rng.standard_normal((5, 8)) * 3}
    pairs = {
        name: (at[labels] + rng.standard_normal((600, at.shape[1]))).astype(np.float32) for name, at in centres.items()
    }
    with hashdb.build(path, pairs, method="cvh", n_bits=6, store="image", store_vectors="float32") as index:
        for name in pairs:
            found = index.query(pairs[name][:50], k=20, modality=name)
            assert (labels[found.ids] == labels[:50, None]).mean() > 0.7
        assert index.query(pairs["image"][:5], k=3, rescore=5, modality="image").measure == "cosine"
        assert index.query(pairs["text"][:5], k=3, rescore=5, modality="text").measure == "asymmetric"
        with pytest.raises(ArgumentError, match=r"image.*text"):
            index.query(pairs["text"][:5])
        with pytest.raises(ArgumentError, match="'sound'"):
            index.query(pairs["text"][:5], modality="sound")


def test_input_type_of_the_build_is_the_default_afterwards(path: Path) -> None:
    texts = np.array(["00ff00ff00ff00ff", "00ff00ff00ff00fe", "ffffffffffffffff"])
    with hashdb.build(path, texts, method="codes", ids=["a", "b", "c"]) as index:
        assert index.info()["input_type"] == "hex"
        found = index.query(texts[:1], k=2)
        assert found.ids.tolist() == [["a", "b"]]
        assert found.distances.tolist() == [[0, 1]]


def test_repr_tells_something(path: Path, vectors: np.ndarray) -> None:
    with hashdb.build(path, vectors, method="itq", n_bits=16) as index:
        assert repr(index) == "<Index a.hashdb: 500 codes of 16 bits by itq, version 1>"
    assert repr(index) == "<Index a.hashdb: closed>"


def test_modalities_of_different_lengths_are_refused_before_a_sample_could_pair_the_wrong_rows(path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = {name: rng.standard_normal((n, 8)).astype(np.float32) for name, n in (("image", 500), ("text", 450))}
    with pytest.raises(ArgumentError, match="image 500, text 450"):
        hashdb.build(path, pairs, method="cvh", n_bits=4, train=300)
    assert not path.exists()


def test_a_sample_of_paired_rows_draws_the_same_rows_of_each_modality(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = rng.standard_normal((2000, 6)).astype(np.float32)
    pairs = {"image": image, "text": image @ rng.standard_normal((6, 6)).astype(np.float32)}
    with hashdb.build(tmp_path / "a", pairs, method="cvh", n_bits=6, train=500) as index:
        assert index.model.state["correlations"].min() > 0.99


def test_a_model_takes_no_options_that_only_a_fit_could_follow(tmp_path: Path, vectors: np.ndarray) -> None:
    model = hashdb.fit(vectors, method="itq", n_bits=8)
    for name, value in (("n_bits", 4), ("quantiser", "dbq"), ("normalise", "l2"), ("train", 9), ("params", {"a": 1})):
        with pytest.raises(ArgumentError, match=f"fitted already, so {name}"):
            hashdb.build(tmp_path / "a", vectors, model=model, **{name: value})
    with pytest.raises(ArgumentError, match="model is a str"):
        hashdb.build(tmp_path / "a", vectors, model="itq")


def test_rows_of_a_second_modality_for_a_fitted_model(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pairs = {name: rng.standard_normal((200, dim)).astype(np.float32) for name, dim in (("image", 8), ("text", 5))}
    model = hashdb.fit(pairs, method="cvh", n_bits=4)
    with hashdb.build(tmp_path / "a", pairs["text"], model=model, modality="text") as index:
        assert index.add({"image": pairs["image"][:3]}).tolist() == [200, 201, 202]
        with pytest.raises(ArgumentError, match="one name"):
            index.add({"image": pairs["image"][:3]}, modality="text")
        with pytest.raises(ArgumentError, match="2 modalities"):
            index.add(pairs)


def test_codes_of_another_width_are_refused_whatever_their_type(path: Path) -> None:
    with build_codes(path, random_codes(5, 64), 64) as index:
        for n_bits in (63, 65, 100, 127):
            with pytest.raises(ArgumentError, match=f"{n_bits} bits, expected 64"):
                index.add(np.zeros((3, n_bits), bool))
        assert len(index) == 5


def test_metric_without_what_it_orders_is_refused(path: Path, vectors: np.ndarray) -> None:
    with hashdb.build(path, vectors, method="itq", n_bits=8) as index:
        with pytest.raises(ArgumentError, match="give rescore too"):
            index.query(vectors[:1], k=2, metric="l2")
        with pytest.raises(ArgumentError, match="orders by stored vectors"):
            index.query(vectors[:1], k=2, rescore=2, metric="l2")


@pytest.mark.parametrize("options", [{"seed": -1}, {"seed": 1.5}, {"n_bits": 0}, {"normalise": "l3"}, {"params": [1]}])
def test_build_options_are_checked_before_anything_is_read(path: Path, vectors: np.ndarray, options: dict) -> None:
    with pytest.raises(ArgumentError):
        hashdb.build(path, vectors, method="lsh", train=10, **options)


def test_ids_at_the_ends_of_int64(path: Path) -> None:
    ids = range(2**63 - 5, 2**63)
    with build_codes(path, random_codes(5, 64), 64, ids) as index:
        assert index.query_codes(random_codes(5, 64), k=1).ids[:, 0].tolist() == list(ids)
