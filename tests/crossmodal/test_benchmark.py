"""The comparison of the cross-modal methods: its measures by hand, its grid, its tables."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.crossmodal import cells, measure, page, sets, tables
from benchmarks.methods.kept import gather
from hashdb.codes import pack


def test_agreement_is_cohens_kappa_and_a_constant_bit_says_nothing():
    one = np.array([[1, 1, 0, 1], [1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 1]], bool)
    other = np.array([[1, 0, 0, 0], [1, 1, 0, 1], [0, 1, 0, 1], [0, 0, 0, 1]], bool)
    same, half, never, nearly = measure._kappa(one, other)
    assert same == 1
    assert half == 0  # agrees in two of four, as independent bits would
    assert never == 0
    assert nearly == pytest.approx(0)  # 3 of 4 agree, and (1 · 3/4 + 0) by chance


def test_bias_tells_codes_that_know_their_modality():
    rng = np.random.default_rng(0)
    bits = rng.random((200, 8)) < 0.5
    fair = {"image": pack(bits), "text": pack(bits)}
    found = measure.bias(fair, fair, 8)
    assert found["agreement"]["image = text"] == [1.0] * 8
    assert found["own"] == {"image": 0.5, "text": 0.5}
    apart = {"image": pack(bits & False), "text": pack(bits | True)}
    found = measure.bias(apart, apart, 8)
    assert found["own"] == {"image": 1.0, "text": 1.0}
    assert found["ones"] == {"image": [0.0] * 8, "text": [1.0] * 8}
    assert found["agreement"]["image = text"] == [0.0] * 8


def test_chance_is_the_precision_of_any_order():
    labels = np.arange(60) % 4
    pairs = sets.Pairs({}, {}, labels, labels[:8])
    rng = np.random.default_rng(1)
    drawn = []
    for _ in range(3000):
        hits = rng.permutation(labels) == 0
        drawn.append((np.cumsum(hits) / np.arange(1, 61))[hits].mean())
    assert measure.chance(pairs) == pytest.approx(np.mean(drawn), abs=0.004)


def test_a_split_keeps_pairs_together_and_apart_from_the_queries(monkeypatch):
    monkeypatch.setattr(sets, "N_DATABASE", 30)
    rows = np.arange(50, dtype=np.float32)[:, None]
    pairs = sets._split({"one": rows, "other": rows * 2}, np.arange(50), n_queries=10)
    for part, labels in ((pairs.database, pairs.labels), (pairs.queries, pairs.asked)):
        np.testing.assert_array_equal(part["one"][:, 0], labels)
        np.testing.assert_array_equal(part["other"], part["one"] * 2)
    assert (len(pairs.labels), len(pairs.asked)) == (30, 10)
    assert not set(pairs.labels) & set(pairs.asked)


def test_methods_that_are_not_random_are_measured_twice_and_others_more_often(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "methods", lambda: ("cvh", "cmssh"))
    for seed in (0, 1):
        for method, state in (("cvh", "same"), ("cmssh", f"of {seed}")):
            file = tmp_path / f"wiki10-{method}-16-{seed}.json"
            file.write_text(json.dumps({"state": state}))
    grid = [cell for cell in cells.grid(tmp_path) if (cell.data, cell.n_bits, cell.variant) == ("wiki10", 16, "")]
    assert [cell.seed for cell in grid if cell.method == "cvh"] == [0, 1]
    assert [cell.seed for cell in grid if cell.method == "cmssh"] == [0, 1, 2, 3, 4]


def test_variants_say_what_is_learned_from():
    assert cells.Cell("wiki10", "cmssh", 16, 0).takes_labels
    assert not cells.Cell("wiki10", "cmssh", 16, 0, cells.ONLY_PAIRS).takes_labels
    assert not cells.Cell("wiki10", "cvh", 16, 0).takes_labels
    assert cells.Cell("wiki10", "scm", 16, 0, "orthogonal").params == {"solution": "orthogonal"}
    assert {cells.Cell("a", "m", 8, 0).name, cells.Cell("a", "m", 8, 0, "x y").name} == {"a-m-8-0", "a-m+x_y-8-0"}


@pytest.fixture
def two_cells(tmp_path, monkeypatch):
    """Two seeds of one method with learned codes, at 16 bits."""
    found = []
    for seed, value in ((0, 0.2), (1, 0.4)):
        numbers = {"map": value, "map_by_order": value + 0.1}
        ways = {f"{one} > {other}": numbers for one in ("image", "text") for other in ("image", "text")}
        found.append(
            {
                "data": "wiki10",
                "method": "cmfh",
                "variant": "",
                "takes_labels": False,
                "n_bits": 16,
                "seed": seed,
                "n_models": 1,
                "predicted": ways,
                "unseen": dict.fromkeys(ways, numbers),
                "learned": {"image": numbers, "text": {"map": 0.8, "map_by_order": 0.9}},
                "bias": {},
                "state": str(seed),
            }
        )
    listed = [cells.Cell("wiki10", "cmfh", 16, seed) for seed in (0, 1)]
    for cell, one in zip(listed, found, strict=True):
        (tmp_path / f"{cell.name}.json").write_text(json.dumps(one))
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "results.json")
    gather(tmp_path, listed, tables.RESULTS)


def test_every_number_of_a_table_names_its_policy(two_cells):
    lines = tables.quality("wiki10", "map").splitlines()
    assert lines[0].startswith("| method | learns from | database codes | image → text, 16 |")
    assert lines[2].startswith("| `cmfh` | pairs | predicted | 0.300 ± 0.141 | – | – | 0.300 ± 0.141 |")
    assert lines[3].startswith("| `cmfh` | pairs | learned | 0.300 ± 0.141 | – | – | 0.800 ± 0.000 |")
    assert "0.400 (0.219)" in tables.against_independent()
    assert tables.policies("wiki10", 16, "map").splitlines()[2].count("0.300 ± 0.141") == 5


def test_a_table_replaces_what_stands_between_its_marks(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
    page.PAGE.write_text("a\n<!-- part: one -->\nold\n<!-- end -->\nb\n<!-- part: two -->\nkept\n<!-- end -->\n")
    page.write("one", "new")
    assert page.PAGE.read_text() == (
        "a\n<!-- part: one -->\nnew\n<!-- end -->\nb\n<!-- part: two -->\nkept\n<!-- end -->\n"
    )
