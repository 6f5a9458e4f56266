"""Every cross-modal method on Wikipedia articles: a part of them here, all of them in the slow tests."""

from __future__ import annotations

from importlib import metadata

import numpy as np
import pytest
from scipy.io import loadmat

import hashdb
from hashdb.describing import describe_plugin
from hashdb.evaluation import LabelTruth, evaluate
from hashdb.inputs import read_labels

METHODS = sorted(
    point.name
    for point in metadata.entry_points(group="hashdb")
    if point.value.startswith("hashdb_plugins.crossmodal.")
)
LEARNING = {"cmfh", "scratch", "sephkm"}  # methods that give a pair one code
N_TRAIN, N_ASKED, BITS = 700, 250, 16
LIFT = 0.02  # of mean average precision above what no code at all gives, which is .115


@pytest.fixture(scope="module")
def wiki(data):
    """The first articles of the training set and of the test set."""
    found = loadmat(data / "wiki" / "wikiData.mat")
    rows = {"tr": N_TRAIN, "te": N_ASKED}
    cut = {name: found[name][: rows[name[2:]]] for name in ("I_tr", "T_tr", "L_tr", "I_te", "T_te", "L_te")}
    return {name: part.astype(np.float32) for name, part in cut.items()}


def labels_of(wiki):
    return wiki["L_te"].ravel().astype(int), wiki["L_tr"].ravel().astype(int)


def precision_of(ids, asked, known):
    """Average precision of whole rankings by hand, the mean over the queries."""
    hits = known[ids] == asked[:, None]
    ranks = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return float(((ranks * hits).sum(axis=1) / hits.sum(axis=1)).mean())


@pytest.mark.parametrize("method", METHODS)
def test_each_modality_finds_the_other_from_files_to_answers(run, wiki, method):
    """Build, query and evaluate in both directions; where the method learns codes, under both policies."""
    for name, part in wiki.items():
        np.save(f"{name}.npy", part)
    arguments = ["--modality", "image=I_tr.npy", "--modality", "text=T_tr.npy", "--method", method, "--bits", str(BITS)]
    if "labels" in describe_plugin(method)["supervision"]:
        np.save("L_tr.npy", wiki["L_tr"].ravel().astype(np.int64))
        arguments += ["--labels", "L_tr.npy"]
    learns = method in LEARNING
    arguments += ["--database-codes", "learned" if learns else "predicted"]
    assert run("build", "trained.hashdb", *arguments).code == 0
    asked, known = labels_of(wiki)
    truth = LabelTruth(asked, known)
    predicted = {}
    for query, stored in (("image", "text"), ("text", "image")):
        rows, queries = f"{stored[0].upper()}_tr.npy", f"{query[0].upper()}_te.npy"
        like = ("--like", "trained.hashdb", "--modality", f"{stored}={rows}")
        assert run("build", f"{stored}.hashdb", *like).code == 0
        answers = {}
        for path in (f"{stored}.hashdb", *["trained.hashdb"] * learns):
            ask = ("query", path, queries, "--modality", query, "-k", str(N_TRAIN), "--output", "found.npz")
            assert run(*ask).code == 0
            with np.load("found.npz") as found:
                answers[path] = precision_of(found["ids"], asked, known)
            with hashdb.open(path) as index:
                codes, queried = index.get(range(N_TRAIN)), index.encode(queries, modality=query)
            measured = evaluate(codes, queried, truth, n_bits=BITS)
            assert answers[path] == pytest.approx(measured["map_by_order"], abs=1e-9)
            assert measured["map_pessimistic"] <= measured["map"] <= measured["map_optimistic"]
            constant = evaluate(0 * codes, 0 * queried, truth, n_bits=BITS)["map"]
            assert measured["map"] > constant + LIFT, f"{query} asks {path}"
        predicted[query] = answers
    if learns:
        better = predicted["text"]["trained.hashdb"] - predicted["text"]["image.hashdb"]
        assert better > 0.1, "learned codes have seen the text of their article, which predicted ones have not"


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_all_articles_give_the_figures_of_the_tables(data, method):
    from benchmarks.crossmodal.cells import BITS as widths
    from benchmarks.crossmodal.cells import Cell, variants
    from benchmarks.crossmodal.measure import measure
    from benchmarks.crossmodal.tables import cells

    kept = {(cell["method"], cell["variant"], cell["n_bits"], cell["seed"]): cell for cell in cells("wiki10")}
    for variant in variants(method):
        for n_bits in widths:
            table, now = kept[method, variant, n_bits, 0], measure(Cell("wiki10", method, n_bits, 0, variant))
            assert set(now["learned"]) == ({"image", "text"} if method in LEARNING else set())
            for policy in ("predicted", "learned"):
                for way, found in now[policy].items():
                    assert found["map"] == pytest.approx(table[policy][way]["map"], abs=0.01), (variant, n_bits, way)


def test_the_files_themselves_are_read(data, run):
    file = data / "wiki" / "wikiData.mat"
    pairs = ("--modality", f"image={file}::I_tr", "--modality", f"text={file}::T_tr")
    assert run("build", "w.hashdb", *pairs, "--method", "cvh", "--bits", "8", "--store-vectors", "int8").code == 0
    known, asked = (read_labels(f"{file}::{name}") for name in ("L_tr", "L_te"))
    run("query", "w.hashdb", f"{file}::T_te", "--modality", "text", "-k", "20", "--rescore", "5", "--output", "o.npz")
    with np.load("o.npz") as found:
        assert (known[found["ids"]] == asked[:, None]).mean() > 0.2
    assert run("add", "w.hashdb", f"{file}::T_te", "--modality", "text").code == 0
    assert "image, predicted: 2,173 rows; text, predicted: 693 rows" in run("info", "w.hashdb").out
