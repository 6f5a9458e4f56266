"""The benchmark of the scan runs at a tiny size, and its peers agree."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest


def test_benchmark_of_the_scan_makes_its_table(monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    from benchmarks import scan

    sizes = ["--bits", "64", "192", "--rows", "500", "--queries", "12", "1", "-k", "9", "--repeats", "1"]
    lines = scan.main(sizes).splitlines()
    assert lines[0] == "k = 9, 2 threads each."
    assert len(lines) == 2 + 2 + 4
    assert lines[4].startswith("| 64 | 500 | 12 |")
    assert "faiss" in sys.modules


TINY = {"bits": (64,), "sizes": (400, 66_000), "ks": (1, 20), "radii": (0, 3), "pace": 0.002}


@pytest.fixture
def suite(monkeypatch):
    for peer in ("faiss", "usearch", "matplotlib"):
        pytest.importorskip(peer)
    root = str(Path(__file__).parents[2])
    monkeypatch.syspath_prepend(root)
    monkeypatch.setenv("PYTHONPATH", root)  # contenders are processes of their own
    from benchmarks.search import suite

    return suite


def test_benchmark_of_the_search_measures_every_cell_and_goes_on_where_it_stopped(suite, tmp_path):
    from benchmarks.search import cells, page, plots

    sizes = suite.Sizes(**TINY, datasets=("uniform",))
    suite.run(tmp_path, sizes, {"n": "400"})
    assert [group.n for group in suite.results(tmp_path, sizes)] == [400]
    suite.run(tmp_path, sizes)
    found = suite.results(tmp_path, sizes)
    assert list(found) == [cells.Group("uniform", 64, 400), cells.Group("uniform", 64, 66_000)]
    for group in found:
        assert list(found[group]) == ["build", "k=1", "k=20", "radius=0", "radius=3"]
        for name in ("hashdb planner", "hashdb scan", "FAISS flat", "NumPy"):
            for question in list(found[group])[1:]:
                assert found[group][question]["batch"][name]["recall"] in (None, 1.0)
        assert 0 < found[group]["k=20"]["batch"]["FAISS MultiHash nflip 1"]["recall"] <= 1
    assert not list(tmp_path.glob("indexes/*"))

    files = {file: file.stat().st_mtime_ns for file in tmp_path.glob("cells/*/*")}
    suite.run(tmp_path, sizes)
    assert files == {file: file.stat().st_mtime_ns for file in tmp_path.glob("cells/*/*")}

    text = page.text(found, sizes)
    assert text.startswith("* 8 cells over 2 sets of codes.")
    assert "| 64 | 66,000 | radius=3 |" in text
    assert all(file.read_text().startswith("<?xml") for file in plots.draw(found, tmp_path / "figures", ("uniform",)))


def test_benchmark_of_the_search_stops_where_ways_differ(suite):
    from benchmarks.search import measure
    from benchmarks.search.cells import Question

    lists = (np.array([0, 2]), np.array([3, 4]))

    class Stub:
        def __init__(self, differing=None, found=lists):
            self.answers = {"differing": differing, "lists": found}

        def call(self, method, *_):
            return self.answers[method]

    def runs(ours, flat):
        contenders = measure.Contender("hashdb", ours, ("scan",)), measure.Contender("FAISS flat", flat, ("",))
        return [measure._Run(one, one.ways[0], 1, 0.0, 0.0) for one in contenders]

    question = Question("k", 2)
    assert measure._agreed(runs(Stub(), Stub()), question) is lists
    with pytest.raises(RuntimeError, match="buckets"):
        measure._agreed(runs(Stub("buckets"), Stub()), question)
    with pytest.raises(RuntimeError, match="FAISS flat"):
        measure._agreed(runs(Stub(), Stub(found=(np.array([0, 2]), np.array([3, 5])))), question)


def test_recall_counts_a_row_as_near_as_the_last_of_the_truth(suite):
    from benchmarks.search import measure
    from benchmarks.search.cells import Question

    truth = np.array([0, 3, 6]), np.array([1, 2, 2, 5, 6, 7])
    found = np.array([0, 3]), np.array([2, 2, 3])
    assert measure._recall(truth, found, Question("k", 3)) == pytest.approx(2 / 3)
    assert measure._recall(truth, (np.array([0, 2, 5]), np.zeros(5, int)), Question("radius", 7)) == pytest.approx(
        5 / 6
    )


@pytest.mark.parametrize("dataset", ["uniform", "clustered", "natural"])
def test_a_small_data_set_of_the_benchmark_begins_a_large_one_and_queries_are_held_out(
    suite, tmp_path, dataset, request
):
    from benchmarks.search import data

    if dataset == "natural":
        request.getfixturevalue("data")
    small, large = (
        np.load(data.codes(tmp_path / name, dataset, 64, n)) for name, n in (("small", 100), ("large", 300))
    )
    assert large.shape == (300, 1)
    assert np.array_equal(small, large[:100])
    assert len(data.queries(dataset, 64)) == data.N_QUERIES


def test_the_other_parts_of_the_benchmark_of_the_search_make_their_tables(suite, tmp_path):
    from benchmarks.search import billion, cold, roofline, tables, targets

    assert "index on disk with tables | uniform" in tables.main(tmp_path, 3000)
    assert "whole process, 500 x 64 bits" in cold.main(tmp_path, 2000, 500, 1, 2)
    assert "| peak |" in roofline.main(tmp_path, 4096, 20, 1, 2, {})
    assert "| 3,000 | 10 | scan, warm" in billion.main(tmp_path, [3000], 1, 2)
    assert "batch scan, 500 x 1024 bits" in targets.main(tmp_path, 4096, 1, {}, batch_rows=500)


def test_benchmark_of_the_planner_has_no_peers_and_names_the_cells_that_miss(suite, tmp_path):
    from benchmarks.search import page

    sizes = suite.Sizes(**TINY, datasets=("uniform",), peers=False)
    suite.run(tmp_path, sizes, {"n": "66000"})
    (group,) = found = suite.results(tmp_path, sizes)
    cell = found[group]["k=20"]
    assert set(cell["batch"]) == {"hashdb planner", "hashdb scan", "hashdb buckets"}
    assert not suite.results(tmp_path, sizes._replace(peers=True))
    cell["planner"] |= {"batch": 1.5, "batch counts": True, "single": 1.2, "single counts": True}
    for other in ("k=1", "radius=0", "radius=3"):
        found[group][other]["planner"] |= {"batch counts": False, "single counts": False}
    lines = page.planner(found).splitlines()
    where = "(uniform-64-66000, k=20)."
    assert f"* Planner / best, batch: 0 of 1 cells above 50 µs within 1.25, worst 1.50 {where}" in lines
    assert f"* Planner / best, single: 1 of 1 cells above 50 µs within 1.25, worst 1.20 {where}" in lines
    (row,) = [line for line in lines if line.startswith("| uniform")]
    assert row.startswith("| uniform-64-66000 | k=20 | batch | 1.50")
