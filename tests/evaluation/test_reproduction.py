"""The reproduction page: its bands by hand, its own measures against slow ones, its tables against the kept results."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.reproduction import comparisons, one_bit, page, published, running, tables, vectors
from benchmarks.reproduction.experiments import EXPERIMENTS, Experiment

TEXT = page.PAGE.read_text(encoding="utf-8")


def test_a_band_is_the_published_range_widened_at_both_ends():
    assert published.band([0.2, 0.1], 0.5) == pytest.approx((0.05, 0.3))
    assert published.cifar("lsh", 32) == [0.1288, 0.120]
    assert published.cifar("pcah", 64) == [0.128]


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [(0.1, "inside"), (0.0996, "inside"), (0.0994, "**below**"), (0.2, "inside"), (0.21, "**above**")],
)
def test_a_figure_is_inside_to_the_digits_that_are_shown(ours, verdict):
    assert published.Comparison("", "", ours, 0.1, 0.2).verdict == verdict


def test_only_pairs_that_the_published_table_tells_apart_count():
    theirs = {"a": 1.0, "b": 1.05, "c": 2.0}
    assert published.order_kept(theirs, {"a": 1.0, "b": 2.0, "c": 3.0}) == (2, 2)
    assert published.order_kept(theirs, {"a": 4.0, "b": 2.0, "c": 3.0}) == (1, 2)


def test_class_map_is_the_mean_precision_at_each_relevant_row():
    rng = np.random.default_rng(0)
    asked, rows = rng.standard_normal((7, 5)), rng.standard_normal((40, 5))
    asked_classes, classes = np.arange(7) % 3, rng.integers(0, 3, 40)
    values = []
    for query, own in zip(asked, asked_classes, strict=True):
        found, hits = [], 0
        for rank, row in enumerate(sorted(range(40), key=lambda row: -(rows[row] @ query)), 1):
            if classes[row] == own:
                hits += 1
                found.append(hits / rank)
        values.append(sum(found) / len(found))
    assert vectors.class_map(asked, rows, asked_classes, classes) == pytest.approx(np.mean(values), rel=1e-12)


def test_a_product_with_one_more_column_orders_rows_by_distance():
    rng = np.random.default_rng(1)
    asked, rows = (rng.standard_normal((n, 6)).astype(np.float32) for n in (4, 30))
    left, right = vectors._by_l2(asked, rows)
    distances = ((asked[:, None] - rows[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(np.argsort(-(left @ right.T), axis=1), np.argsort(distances, axis=1))


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_re_ranking_all_candidates_gives_the_nearest(metric):
    rng = np.random.default_rng(2)
    base, queries = (rng.standard_normal((n, 6)).astype(np.float32) for n in (50, 3))
    candidates = np.tile(rng.permutation(50), (3, 1))
    near = [
        [row @ query / np.linalg.norm(row) if metric == "cosine" else -((row - query) ** 2).sum() for row in base]
        for query in queries
    ]
    expected = np.argsort(-np.array(near), axis=1)[:, : one_bit.K]
    np.testing.assert_array_equal(one_bit.rescored(candidates, 50, base, queries, metric), expected)
    np.testing.assert_array_equal(one_bit.rescored(candidates, 0, base, queries, metric), candidates[:, : one_bit.K])


def test_the_memory_of_children_is_counted_with_that_of_their_parent():
    if running.held_by(1) == 0 and not Path("/proc/self/statm").exists():
        pytest.skip("reads /proc, which this system has not")
    hold = "import time; held = bytearray({size}); held[::4096] = b'x' * len(held[::4096]); {then}time.sleep(1.2)"
    inner = hold.format(size=120 << 20, then="")
    outer = f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {inner!r}]); "
    outer += hold.format(size=80 << 20, then="") + "; child.wait()"
    found = running.watched([sys.executable, "-c", outer])
    assert 200 << 20 < found["peak_bytes"] < 300 << 20
    assert found["seconds"] > 1


def test_a_failed_child_ends_the_run():
    with pytest.raises(SystemExit, match="ended with 3"):
        running.watched([sys.executable, "-c", "raise SystemExit(3)"])


def test_an_experiment_is_measured_once_and_kept_without_its_curves(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    labels = np.arange(300) % 3
    rows = rng.standard_normal((300, 8)) + 2 * rng.standard_normal((3, 8))[labels]
    np.savez(tmp_path / "mine.npz", vectors=rows, labels=labels)
    monkeypatch.setattr(running, "RESULTS", tmp_path / "kept")
    monkeypatch.setitem(EXPERIMENTS, "mine", Experiment(str(tmp_path / "mine.npz"), ("lsh", "pcah"), (8,), 2))
    running.run("mine", tmp_path, jobs=1)
    found = running.read("mine")
    assert [(cell["method"], len(cell["runs"])) for cell in found["cells"]] == [("lsh", 2), ("pcah", 2)]
    assert set(found["cells"][0]["runs"][0]) == set(found["cells"][0]["summary"]) == {"map", "map_by_order"}
    assert found["cells"][1]["summary"]["map"]["p"] is not None
    assert found["measured"]["cpu_seconds"] > 0
    monkeypatch.setattr(running, "watched", lambda command: pytest.fail("it was measured again"))
    before = running.read("mine")
    running.run("mine", tmp_path)
    assert running.read("mine")["cells"] == before["cells"]


def test_a_table_replaces_what_stands_between_its_marks():
    text = "a\n<!-- table: one -->\nold\n<!-- end -->\nb\n<!-- table: two -->\nkept\n<!-- end -->\n"
    assert page.replaced(text, "one", "new") == text.replace("old", "new")


def test_every_experiment_is_kept_and_all_together_are_small():
    files = {file.stem: file for file in running.RESULTS.glob("*.json")}
    assert set(EXPERIMENTS) <= set(files)
    assert sum(file.stat().st_size for file in files.values()) < 500_000
    for name, experiment in EXPERIMENTS.items():
        kept = json.loads(files[name].read_text(encoding="utf-8"))
        assert kept["command"] == "hashdb eval " + " ".join(experiment.arguments)
        assert all(len(cell["runs"]) == experiment.runs for cell in kept["cells"])


def test_experiment_1_keeps_within_its_memory():
    assert 0 < running.read("unsupervised")["measured"]["peak_bytes"] < 4e9


@pytest.mark.parametrize("name", tables.TABLES)
def test_the_page_shows_what_the_results_say(name):
    shown = TEXT.split(f"<!-- table: {name} -->\n")[1].split("\n<!-- end -->")[0]
    assert shown == tables.TABLES[name](), "python -m benchmarks.reproduction --work DIR page writes the tables again"


def test_the_page_has_no_table_that_nothing_makes():
    marks = [line for line in TEXT.splitlines() if line.startswith("<!-- table: ")]
    assert sorted(marks) == sorted(f"<!-- table: {name} -->" for name in tables.TABLES)


def test_a_figure_outside_its_band_is_marked_in_the_page():
    outside = [one for one in comparisons.unsupervised() if not one.is_inside]
    shown = tables.TABLES["unsupervised"]()
    assert shown.count("**below**") + shown.count("**above**") == len(outside)
