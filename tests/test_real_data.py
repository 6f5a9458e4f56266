"""hashdb on the real sets that docs/contributing.md lists; skipped where HASHDB_DATA is not set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import hashdb
from hashdb.inputs import read_labels


def lines(path: Path, records: list[dict]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def oracle_distances(codes: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """All distances by NumPy, independent of the kernels."""
    return np.bitwise_count(queries[:, None, :] ^ codes[None, :, :]).sum(-1, dtype=np.int64)


@pytest.fixture
def cards(data: Path, tmp_path: Path) -> Path:
    """30,126 perceptual hashes of cards as JSON lines: id, hash."""
    found = json.loads((data / "codes_cards" / "deckerr_mtg_dhash.json").read_text(encoding="utf-8"))
    pairs = zip(found["ids"], found["hashes"], strict=True)
    return lines(tmp_path / "cards.jsonl", [{"id": one, "hash": text} for one, text in pairs])


def test_sift_rescoring_lifts_recall(data: Path, path: Path) -> None:
    folder = data / "sift_bigann10k"
    truth = np.load(folder / "groundtruth.npy")[:, :10]
    recalls = []
    with hashdb.build(
        path, folder / "base.npy", method="itq", n_bits=64, store_vectors="float32", metric="l2"
    ) as index:
        for times in (None, 10, 50):
            found = index.query(folder / "queries.npy", k=10, rescore=times)
            recalls.append(np.mean([len(np.intersect1d(a, b)) for a, b in zip(found.ids, truth, strict=True)]) / 10)
    assert recalls[0] > 0.25
    assert recalls[0] < recalls[1] < recalls[2]
    assert recalls[2] > 0.95


@pytest.mark.parametrize("n_bits", [16, 32, 64])
def test_cifar_adds_and_compaction_do_not_change_answers(data: Path, path: Path, n_bits: int) -> None:
    gist = np.load(data / "cifar10" / "gist512_float16.npy")
    with hashdb.build(path, gist[:50_000], method="itq", n_bits=n_bits, train=5000) as index:
        for part in np.array_split(gist[50_000:], 5):
            index.add(part)
        assert len(index) == 60_000
        before = index.query(gist[:100], k=50)
        index.compact()
        after = index.query(gist[:100], k=50)
        assert (before.ids == after.ids).all()
        assert (before.distances == after.distances).all()
        codes = np.concatenate([words for _, words in index.codes()])
        exact = oracle_distances(codes, index.encode(gist[:20]))
        order = np.lexsort((np.broadcast_to(np.arange(60_000), exact.shape), exact), axis=1)[:, :50]
        assert (after.ids[:20] == order).all()


def test_cifar_labels_help_retrieval(data: Path, tmp_path: Path) -> None:
    gist = np.load(data / "cifar10" / "gist512_float16.npy")
    labels = np.concatenate(
        [np.load(data / "cifar10" / f"{part}_labels.npy").reshape(-1) for part in ("train", "test")]
    )
    precision = {}
    for method in ("itq", "itq-cca"):
        with hashdb.build(
            tmp_path / method, gist[:59_000], method=method, n_bits=32, labels=labels[:59_000], train=5000
        ) as index:
            found = index.query(gist[59_000:], k=100)
        precision[method] = (labels[found.ids] == labels[59_000:, None]).mean()
    assert precision["itq-cca"] > precision["itq"] + 0.05


def test_fashion_mnist_straight_from_idx_gz(data: Path, path: Path) -> None:
    folder = data / "fashion_mnist"
    known, asked = (read_labels(folder / f"{part}-labels-idx1-ubyte.gz") for part in ("train", "t10k"))
    with hashdb.build(path, folder / "train-images-idx3-ubyte.gz", method="itq", n_bits=64) as index:
        assert (len(index), index.info()["dim"]) == (60_000, 784)
        found = index.query(folder / "t10k-images-idx3-ubyte.gz", k=10)
    assert (known[found.ids] == asked[:, None]).mean() > 0.75


@pytest.mark.parametrize(("stored", "query"), [("image", "text"), ("text", "image")])
def test_wiki_finds_across_modalities_better_than_chance(data: Path, path: Path, stored: str, query: str) -> None:
    features = data / "wiki" / "raw_features.mat"
    pairs = {"image": f"{features}::I_tr", "text": f"{features}::T_tr"}
    known, asked = (read_labels(f"{data / 'wiki' / 'wikiData.mat'}::{name}") for name in ("L_tr", "L_te"))
    with hashdb.build(path, pairs, method="cvh", n_bits=10, store=stored) as index:
        found = index.query(f"{features}::{'I' if query == 'image' else 'T'}_te", k=20, modality=query)
    chance = np.mean([(known == label).mean() for label in asked])
    assert (known[found.ids] == asked[:, None]).mean() > 1.5 * chance


def test_cards_near_duplicates_by_string_id(cards: Path, path: Path) -> None:
    with hashdb.build(path, f"{cards}::hash", method="codes", ids=f"{cards}::id") as index:
        assert len(index) == 30_126
        ids = np.concatenate([part for part, _ in index.codes()])
        codes = np.concatenate([part for _, part in index.codes()])
        near = index.query_codes(codes, radius=4)
        for query in range(0, len(codes), 301):
            exact = oracle_distances(codes, codes[query : query + 1])[0]
            inside = np.flatnonzero(exact <= 4)
            expected = inside[np.lexsort((inside, exact[inside]))]
            found, distances = near[query]
            assert found.tolist() == ids[expected].tolist()
            assert distances.tolist() == exact[expected].tolist()
        one = str(ids[5])
        old = index.get([one])
        index.delete([one])
        assert one not in index
        index.add(np.array([hashdb.codes.format_hex(old, 64)[0]]), ids=[one])
        assert (index.get([one]) == old).all()
        index.add(np.array(["00" * 8]), ids=[one], upsert=True)
        assert not index.get([one]).any()
        assert len(index) == 30_126


def test_pdq_radius_is_symmetric(data: Path, path: Path) -> None:
    haystack = data / "codes_pdq" / "haystack.txt"
    with hashdb.build(path, haystack, method="codes") as index:
        n = len(index)
        assert index.model.n_bits == 256
        found = index.query_ids(list(range(n)), radius=31)
        pairs = {(query, one) for query, (ids, _) in enumerate(found) for one in ids.tolist()}
        codes = np.concatenate([words for _, words in index.codes()])
    assert pairs == {(b, a) for a, b in pairs}
    assert pairs == set(map(tuple, np.argwhere(oracle_distances(codes, codes) <= 31).tolist()))


def test_glove_words_find_words(data: Path, tmp_path: Path) -> None:
    words = json.loads((data / "glove5k" / "glove-50d-5k.json").read_text(encoding="utf-8"))
    file = lines(tmp_path / "words.jsonl", [{"word": word, "vector": row} for word, row in words.items()])
    with hashdb.build(
        tmp_path / "words.hashdb", f"{file}::vector", method="itq", n_bits=50, ids=f"{file}::word", normalise="l2"
    ) as index:
        near = index.query_ids(["france"], k=10).ids[0].tolist()
    assert near[0] == "france"
    assert {"french", "belgium", "spain", "italy", "germany", "britain", "netherlands", "paris"} & set(near[1:])
