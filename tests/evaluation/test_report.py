"""The page of an evaluation: complete in itself, true to the numbers, safe, and readable by everyone."""

from __future__ import annotations

import base64
import copy
import functools
import io
import itertools
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from hashdb.errors import ArgumentError, HashDBError, StorageError
from hashdb.evaluation.report import extra, palette, write_report, write_tour
from hashdb.evaluation.report.document import Document
from hashdb.evaluation.report.measures import meaning, ordered, stars

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

HOSTILE = "<script>alert(1)</script>--><b>$x_1$ & \"'"


def summary(values, p_holm=None):
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": mean, "sd": sd, "low": mean - 0.02, "high": mean + 0.02, "p": p_holm, "p_holm": p_holm}


def cell(
    method,
    bits,
    quality,
    *,
    quantiser=None,
    query=None,
    database=None,
    codes="predicted",
    n_runs=3,
    p=None,
    params=None,
):
    """One cell whose runs differ a little, with curves that have the shapes of real ones."""
    rng = np.random.default_rng([bits, len(method), int(quality * 1000)])
    runs = []
    for run in range(n_runs):
        value = quality + 0.01 * rng.standard_normal()
        recall = np.linspace(0, 1, bits + 1) ** 2
        candidates = np.unique(np.geomspace(1, 5000, 200).round())
        runs.append({
            "run": run,
            "seed": run,
            "chosen": {"lambda": [0.1, 1.0][run % 2]} if method == "ksh" else {},
            "metrics": {"map": value, "auprc": value - 0.02, "precision@100": value + 0.1, "empty@2": bits / 100},
            "curves": {
                "precision_recall": {"recall": recall.tolist(), "precision": (0.1 + value * (1 - recall)).tolist()},
                "candidates": {
                    "candidates": candidates.tolist(),
                    "recall": ((candidates / 5000) ** (1 - value)).tolist(),
                },
            },
            "seconds": {"fit": 0.5 * bits * quality, "encode": 0.01 * bits, "query": 0.002 * bits * (1 + quality)},
            "bytes_per_code": bits // 8,
        })  # fmt: skip
    metrics = runs[0]["metrics"]
    return {
        "method": method, "quantiser": quantiser, "bits": bits, "query": query, "database": database,
        "database_codes": codes, "params": params or {}, "runs": runs,
        "summary": {name: summary([run["metrics"][name] for run in runs], p) for name in metrics},
    }  # fmt: skip


def document(cells, **protocol):
    facts = {
        "dataset": "digits", "n_rows": 1797, "dims": {"": 64}, "split": "improved",
        "parts": {"test queries": 100, "test database": 800}, "truth": {"kind": "labels", "graded": False},
        "bits": sorted({one["bits"] for one in cells}), "runs": 3, "seed": 0, "baseline": "lsh", "tuning": None,
    }  # fmt: skip
    return {
        "format": 1, "made": "2026-01-31", "hashdb": "0.1.0", "machine": "two processors",
        "versions": {"numpy": "2.1.0"}, "protocol": {**facts, **protocol}, "cells": cells, "gallery": None,
    }  # fmt: skip


def plain_results(**protocol):
    methods = [
        ("lsh", None, 0.15, None),
        ("itq", None, 0.3, 0.004),
        ("itq", "npq", 0.27, 0.03),
        ("ksh", None, 0.42, 0.0004),
    ]
    cells = [
        cell(name, bits, quality + bits / 1000, quantiser=quantiser, p=p)
        for name, quantiser, quality, p in methods
        for bits in (16, 32, 64)
    ]
    return document(cells, **protocol)


def cross_modal_results():
    cells = [
        cell(name, bits, quality + gain, query=query, database=database, codes=codes)
        for name, quality in (("lsh", 0.15), ("cvh", 0.2), ("cmfh", 0.25))
        for bits in (16, 32)
        for query, database in (("text", "image"), ("image", "text"))
        for codes, gain in (("predicted", 0.0), ("learned", 0.2))
        if codes == "predicted" or name == "cmfh"
    ]
    return document(cells, dataset="wiki", dims={"image": 128, "text": 10})


def many_results(n_methods=9):
    names = ["lsh", *(f"method{place}" for place in range(n_methods - 1))]
    return document([cell(name, bits, 0.1 + place / 50) for place, name in enumerate(names) for bits in (16, 32)])


def with_gallery(results):
    neighbours = [
        {"row": row, "label": row % 3, "distance": row // 2, "relevant": row % 3 == 0} for row in range(4)
    ]  # fmt: skip
    queries = [{"row": 17, "label": 0, "neighbours": neighbours}, {"row": 18, "label": 0, "neighbours": neighbours[:2]}]
    return {**results, "gallery": {"method": "itq", "quantiser": None, "bits": 32, "queries": queries}}


def images(row):
    return np.full((8, 8), row * 10, np.uint8)


class Page(HTMLParser):
    """Tags with attributes, texts, and tables as lists of rows; what is opened must be closed in order."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, text):
        super().__init__()
        self.text, self.tags, self.words, self.tables, self._open = text, [], [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if any(tag in ("td", "th") for tag in self._open):
            self.tables[-1][-1][-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def table(self, head):
        return next(rows for rows in self.tables if head in rows[0])


def written(folder: Path, results, shown=None):
    path = folder / "report.html"
    write_report(results, path, shown)
    assert [one.name for one in folder.iterdir()] == ["report.html"]
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a page without its charts: drawing them takes a second."""
    monkeypatch.setattr("hashdb.evaluation.report.charts.draw", lambda *arguments: "")
    return lambda results, shown=None: written(tmp_path, results, shown)


EVERY = {
    "cross-modal": cross_modal_results,
    "many": many_results,
    "gallery": lambda: with_gallery(plain_results()),
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory):
    """Give the whole pages of EVERY, each made once."""

    @functools.cache
    def make(name):
        return written(tmp_path_factory.mktemp(name), EVERY[name](), images)

    return make


@pytest.fixture(params=EVERY)
def page(request: pytest.FixtureRequest, drawn):
    return drawn(request.param)


def test_the_page_loads_nothing_and_runs_nothing(page) -> None:
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
    assert "http:" not in page.text
    assert "https:" not in page.text
    assert "url(" not in page.text.replace("url(#", "")
    assert "@import" not in page.text


def test_ids_are_unique_and_whatever_is_referred_to_is_there(page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    named = [part for _, attributes in page.tags for part in attributes.get("aria-labelledby", "").split()]
    referred = [one["href"][1:] for _, one in page.tags if "href" in one] + re.findall(r"url\(#([^)]+)\)", page.text)
    assert {*named, *referred} <= set(ids)
    assert named


def test_charts_images_and_tables_speak(page) -> None:
    assert all(one.get("alt") for one in page.all("img"))
    charts = page.all("svg")
    assert charts
    assert all(one["role"] == "img" and one["aria-labelledby"] for one in charts)
    assert len(page.all("desc")) == len(charts)
    assert all(one.get("scope") in ("col", "row") for one in page.all("th"))
    assert len(page.all("caption")) == len(page.tables)
    assert page.all("html") == [{"lang": "en"}]
    assert page.text.count("<h1>") == 1


def test_rows_of_a_table_are_as_long_as_its_head(page) -> None:
    assert all(len(row) == len(rows[0]) for rows in page.tables for row in rows)


def test_the_same_results_give_the_same_bytes(tmp_path, drawn) -> None:
    assert written(tmp_path, with_gallery(plain_results()), images).text == drawn("gallery").text


def test_every_mean_is_in_the_tables_beside_its_kind_of_database_codes(write) -> None:
    results = cross_modal_results()
    page = write(results)
    main = [rows for rows in page.tables if "16 bits" in rows[0]]
    assert len(main) == 2
    every = page.table("auprc")
    place = every[0].index("map")
    for one in results["cells"]:
        mean = f"{one['summary']['map']['mean']:.3f}"
        rows = main[0 if one["query"] == "text" else 1]
        found = next(row for row in rows if row[:2] == [one["method"], one["database_codes"]])
        assert found[rows[0].index(f"{one['bits']} bits")].startswith(mean)
        names = [one["method"], str(one["bits"]), f"{one['query']} → {one['database']}", one["database_codes"]]
        assert next(row for row in every if row[:4] == names)[place].startswith(mean)


def test_every_table_names_the_kind_of_database_codes(write) -> None:
    page = write(cross_modal_results())
    assert all("database codes" in rows[0] for rows in page.tables)


def test_charts_name_learned_and_predicted_codes(drawn) -> None:
    page = drawn("cross-modal")
    charts = page.text.split("<svg ")[1:]
    assert all("cmfh, learned codes" in one and "cmfh, predicted codes" in one for one in charts)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page.text)
    assert re.search(r"Highest: 0\.\d+ with predicted codes \(cmfh, .* bits\), 0\.4\d+ with learned codes", captions[0])


def test_the_highest_mean_is_bold_among_its_kind_of_codes_only(write) -> None:
    bold = re.findall(r"<strong>([\d.]+)", write(cross_modal_results()).text)
    assert len(bold) == 2 * 2 * 2  # directions, lengths, kinds


def test_significance_is_marked_by_holms_p_with_its_side(write) -> None:
    results = plain_results(runs=10)
    worse = next(one for one in results["cells"] if one["method"] == "itq" and one["bits"] == 64)
    worse["summary"]["map"] |= {"mean": 0.05, "p": 0.01, "p_holm": 0.02}
    rows = write(results).table("16 bits")
    found = {row[0]: row[2:] for row in rows[1:]}
    assert "▲** (higher than lsh, p below 0.01)" in found["itq"][0]
    assert "▲* (" in found["itq+npq"][0]
    assert "▲*** (" in found["ksh"][0]
    assert "▼* (lower than lsh, p below 0.05)" in found["itq"][2]
    assert all("▲" not in text and "▼" not in text for text in found["lsh"])


def test_p_values_are_written_where_there_was_a_test(write) -> None:
    page = write(plain_results(runs=10))
    rows = {tuple(row[:2]): row for row in page.table("p, Holm")}
    assert rows["itq", "16"][-1].startswith("0.004")
    assert rows["ksh", "64"][-1].startswith("< 0.001")
    assert not any("p, Holm" in table[0] for table in write(cross_modal_results()).tables)


@pytest.mark.parametrize(("p", "mark"), [
    (None, ""), (0.05, ""), (0.049, "*"), (0.01, "*"), (0.0099, "**"), (0.001, "**"), (0.0009, "***"),
])  # fmt: skip
def test_stars(p, mark) -> None:
    assert stars(p) == mark


@pytest.mark.parametrize(("protocol", "words"), [
    ({}, "digits, 1,797 rows, 64 dimensions"),
    ({}, "test queries 100, test database 800"),
    ({}, "that shares no row with what was learned or tuned on"),
    ({"split": "standard"}, "training and validation rows included"),
    ({"split": "given"}, "the partition that comes with the data"),
    ({"unmatched": "count"}, "kept and count as 0"),
    ({"train_by_method": True}, "or from fewer of its rows by default"),
    ({}, "they share a label (graded=false)"),
    ({"truth": {"kind": "nearest", "k": 50, "metric": "l2"}}, "by their vectors are relevant (k=50, metric=l2)"),
    ({}, "expected values over all orders of rows at equal distance"),
    ({}, "3, seed 0, seeds of the runs 0, 1, 2"),
    ({}, "with 3 runs p is never below 0.25, so nothing can be marked"),
    ({"runs": 10}, "Holm's correction for the number of tests of a measure"),
    ({"runs": 1}, "none: a test needs several runs"),
    ({"baseline": None}, "none: no baseline was evaluated"),
    ({}, "none: parameters are those given, else the defaults"),
    ({"tuning": {"search": "grid", "metric": "map", "trials": 9}}, "by map on the validation parts, 9 trials"),
    ({}, "two processors"),
    ({}, "hashdb 0.1.0, numpy 2.1.0"),
    ({}, "predicted: each database row is encoded from its own vector"),
])  # fmt: skip
def test_the_protocol_is_stated_in_words(write, protocol, words) -> None:
    assert words in "".join(write(plain_results(**protocol)).words)


def test_what_tuning_chose_is_counted_over_the_runs(write) -> None:
    rows = write(plain_results()).table("tuned")
    assert ["ksh", "16", "predicted", "defaults", "lambda=0.1 (2 of 3 runs); lambda=1.0 (1 of 3 runs)"] in rows


def test_times_are_medians_over_the_runs(write) -> None:
    results = plain_results()
    for run, taken in zip(results["cells"][0]["runs"], (7.0, 1.0, 250.0), strict=True):
        run["seconds"]["fit"] = taken
    assert ["lsh", "16", "predicted", "7", "0.16", "0.0373", "–", "2"] in write(results).table("fit, s")


def test_schemes_that_differ_in_parameters_are_told_apart() -> None:
    cells = [cell("sh", 16, 0.2, params=params) for params in ({}, {"a": 1})] + [cell("itq", 16, 0.2, params={"b": 2})]
    assert Document(document(cells)).schemes == ["sh (defaults)", "sh (a=1)", "itq"]


def test_curves_are_means_over_runs_point_by_point() -> None:
    one = cell("itq", 16, 0.3)
    for run, precision in zip(one["runs"], (0.2, 0.4, 0.9), strict=True):
        run["curves"]["precision_recall"] = {"recall": [0.0, 0.5], "precision": [precision, precision / 2]}
    recall, precision = Document(document([one])).cells[0].curve("precision_recall", "recall", "precision")
    assert recall.tolist() == [0.0, 0.5]
    np.testing.assert_allclose(precision, [0.5, 0.25])


def test_curves_of_different_lengths_are_averaged_where_all_reach() -> None:
    one = cell("itq", 16, 0.3, n_runs=2)
    curves = (
        {"recall": [0.0, 0.5, 1.0], "precision": [1.0, 0.6, 0.2]},
        {"recall": [0.25, 1.0], "precision": [0.8, 0.2]},
    )
    for run, curve in zip(one["runs"], curves, strict=True):
        run["curves"]["precision_recall"] = curve
    recall, precision = Document(document([one])).cells[0].curve("precision_recall", "recall", "precision")
    assert recall.tolist() == [0.5, 1.0]
    np.testing.assert_allclose(precision, [0.6, 0.2])


def test_a_figure_draws_six_schemes_and_the_baseline_at_most(drawn) -> None:
    page = drawn("many")
    charts = [one.split("</svg>")[0] for one in page.text.split("<svg ")[1:]]
    assert len(charts) == 2 * 4  # parts, kinds of chart
    for place in range(8):
        assert sum(f">method{place}<" in one for one in charts) == 4
    assert all(">lsh<" in one for one in charts)
    assert max(int(slot) for slot in re.findall(r"var\(--series-(\d+)\)", page.text)) == palette.N_HUES


def test_text_of_charts_stays_text_and_colours_come_from_the_page(drawn) -> None:
    page = drawn("gallery")
    for chart in page.text.split("<svg ")[1:]:
        chart = chart.split("</svg>")[0]
        assert ">itq+npq<" in chart
        assert "DejaVu" not in chart
        assert set(re.findall(r"#[0-9a-f]{6}\b", chart)) == set()


def test_pages_are_small(drawn) -> None:
    assert len(drawn("gallery").text) < 200_000
    assert len(drawn("many").text) < 400_000


def test_the_gallery_shows_the_pixels_it_is_given(write) -> None:
    from PIL import Image

    page = write(with_gallery(plain_results()), images)
    shown = page.all("img")
    assert shown[0]["alt"] == "Query: row 17, label 0"
    assert [one["alt"] for one in shown[1:3]] == [
        "Row 0, label 0, distance 0, relevant", "Row 1, label 1, distance 0, not relevant",
    ]  # fmt: skip
    for one, row in zip(shown, (17, 0, 1, 2, 3), strict=False):
        stored = Image.open(io.BytesIO(base64.b64decode(one["src"].partition(",")[2])))
        np.testing.assert_array_equal(np.asarray(stored), images(row))
    assert "itq, 32 bits, predicted database codes" in page.text


def test_a_row_without_a_picture_says_so(write) -> None:
    page = write(with_gallery(plain_results()), lambda row: None if row == 0 else images(row))
    assert "Row 0, label 0, distance 0, relevant, no picture" in page.text
    assert "the data have none of this row" in page.text
    assert "the data have none of this row" not in write(with_gallery(plain_results()), images).text


def test_there_is_no_gallery_without_images(write) -> None:
    assert write(with_gallery(plain_results())).all("img") == []
    assert write(plain_results(), images).all("img") == []


def test_large_images_are_made_smaller_and_colour_is_kept(write) -> None:
    from PIL import Image

    page = write(with_gallery(plain_results()), lambda row: np.full((300, 200, 3), (200, 10, 30), np.uint8))
    stored = Image.open(io.BytesIO(base64.b64decode(page.all("img")[0]["src"].partition(",")[2])))
    assert (stored.size, stored.mode) == ((64, 96), "RGB")


@pytest.mark.parametrize("image", [np.zeros((8, 8)), np.zeros(8, np.uint8), np.zeros((8, 8, 2), np.uint8)])
def test_an_image_of_another_kind_is_refused(tmp_path, image) -> None:
    with pytest.raises(ArgumentError, match="expected uint8"):
        write_report(with_gallery(plain_results()), tmp_path / "page.html", lambda row: image)
    assert list(tmp_path.iterdir()) == []


def test_names_are_text_never_markup(tmp_path) -> None:
    results = with_gallery(plain_results(dataset=HOSTILE, baseline=HOSTILE))
    results["cells"] = [one for one in results["cells"] if one["bits"] == 16]
    results["machine"] = HOSTILE
    for one in results["cells"]:
        one["method"] = HOSTILE if one["method"] == "lsh" else one["method"]
        one["params"] = {HOSTILE: HOSTILE}
        one["summary"][HOSTILE] = one["summary"]["map"]
    results["gallery"]["queries"][0]["label"] = HOSTILE
    results["gallery"]["method"] = HOSTILE
    page = written(tmp_path, results, images)
    assert not {"script", "b"} & {tag for tag, _ in page.tags}
    assert "".join(page.words).count(HOSTILE) > len(page.all("svg")) == 4


def test_a_baseline_may_have_a_quantiser(write) -> None:
    results = plain_results(runs=10, baseline="itq+npq")
    assert Document(results).baseline == "itq+npq"
    rows = write(results).table("16 bits")
    assert "higher than itq+npq" in next(row for row in rows if row[0] == "ksh")[2]


def test_learned_codes_are_never_compared_with_predicted_ones(write) -> None:
    results = cross_modal_results()
    for one in results["cells"]:
        one["summary"]["map"] |= {"p": 0.001, "p_holm": 0.001}
    page = write(results)
    main = [row for rows in page.tables if "16 bits" in rows[0] for row in rows[1:]]
    assert all(("▲" in row[2]) == (row[0] != "lsh" and row[1] == "predicted") for row in main)


def test_what_could_not_be_measured_is_listed_with_its_reason_once(write) -> None:
    reasons = [
        {"method": "sdh", "quantiser": None, "bits": 64, "run": run, "reason": "more bits than <rows>"}
        for run in (0, 1)
    ]
    assert write({**plain_results(), "refused": reasons}).table("reason")[1:] == [
        ["sdh", "64", "more bits than <rows>"]
    ]
    assert not any("reason" in rows[0] for rows in write(plain_results()).tables)


def test_curves_begin_where_something_is_found() -> None:
    one = cell("itq", 16, 0.3, n_runs=2)
    for run, first in zip(one["runs"], (0.0, 0.1), strict=True):
        run["curves"]["precision_recall"] = {"recall": [0.0, first, 1.0], "precision": [0.0, 9 * first, 0.1]}
    recall, precision = Document(document([one])).cells[0].curve("precision_recall", "recall", "precision")
    assert (recall.tolist(), precision.tolist()) == ([1.0], [0.1])


def test_numbers_that_are_missing_leave_a_dash_not_an_error(write) -> None:
    results = plain_results()
    first = results["cells"][0]
    first["summary"]["map"] = {"mean": None, "sd": None, "low": None, "high": None, "p": None, "p_holm": None}
    first["runs"] = [{"run": 0, "seed": 0, "chosen": None, "metrics": {}}]
    del results["cells"][1]["summary"]["map"]
    results["cells"][2]["summary"]["map"]["mean"] = math.nan
    row = next(row for row in write(results).table("16 bits") if row[0] == "lsh")
    assert [text.split()[0] for text in row[2:]] == ["–", "–", "–"]


def test_results_with_one_cell_and_neither_curves_nor_times(tmp_path) -> None:
    only = cell("itq", 32, 0.3, n_runs=1)
    only["runs"][0] = {"run": 0, "seed": 0, "metrics": {"map": 0.3}}
    page = written(tmp_path, document([only], runs=1, baseline=None))
    assert len(page.all("svg")) == 1


def test_the_document_is_not_changed(write) -> None:
    results = with_gallery(plain_results())
    before = copy.deepcopy(results)
    write(results, images)
    assert results == before


@pytest.mark.parametrize(("change", "message"), [
    ({"format": 2}, "format 2, expected 1"), ({"cells": []}, "no cells"), ({"protocol": None}, "no protocol"),
    ({"cells": [{"method": "itq"}]}, "cell 0 of the results lacks bits, runs, summary"),
    ({"cells": [{**cell("itq", 16, 0.3), "database_codes": "both"}]}, "'both', expected predicted or learned"),
])  # fmt: skip
def test_other_documents_are_refused(tmp_path, change, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        write_report({**plain_results(), **change}, tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_cannot_be_written_keeps_what_was_there(tmp_path) -> None:
    folder = tmp_path / "page.html"
    folder.mkdir()
    with pytest.raises(StorageError, match=r"page\.html cannot be written"):
        write_report(plain_results(), folder)
    assert list(tmp_path.iterdir()) == [folder]


def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(extra, "find_spec", lambda name: None if name == "jinja2" else object())
    with pytest.raises(HashDBError, match=r"needs jinja2: pip install hashdb\[report\]"):
        write_report(plain_results(), tmp_path / "page.html")
    with pytest.raises(HashDBError, match=r"needs jinja2: pip install hashdb\[report\]"):
        write_tour(tmp_path / "page.html", [], [], [], images, intro="", shown="")


def test_importing_the_report_imports_neither_library() -> None:
    import subprocess
    import sys

    code = (
        "import hashdb.evaluation.report, sys\n"
        "print([name for name in ('matplotlib', 'jinja2', 'PIL', 'click') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_drawing_leaves_the_settings_of_matplotlib_alone(tmp_path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    written(tmp_path, document([cell("itq", 16, 0.3)]))
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(("low", "high", "ticks"), [
    (1, 5000, [1, 10, 100, 1000]), (0.9, 60, [1, 3, 10, 30]), (0.15, 0.33, [0.15, 0.2, 0.3]), (4, 30, [5, 10, 20]),
    (0.0342, 0.0361, [0.035, 0.036]), (0.00047, 0.0007, [0.0005, 0.0006, 0.0007]),
    (2e-4, 0.02, [3e-4, 1e-3, 3e-3, 1e-2]), (1e-4, 1e6, [1e-4, 1e-1, 1e2, 1e5]),
])  # fmt: skip
def test_logarithmic_axes_have_a_few_round_numbers(low, high, ticks) -> None:
    from hashdb.evaluation.report.charts import _log_ticks

    assert _log_ticks(low, high) == ticks


def test_measures_are_known_by_pattern_and_ordered() -> None:
    assert meaning("precision@500") == "share of the first 500 rows that is relevant"
    assert meaning("empty@2") == meaning("nothing_within_2") == "share of the queries with no row within distance 2"
    assert meaning("map@10_by_order").startswith("mean average precision of the first 10 rows")
    assert meaning("new_one") == ""
    names = ["new_one", "recall@5", "precision@100", "precision@20", "map_by_order", "map"]
    assert ordered(names) == ["map", "map_by_order", "precision@20", "precision@100", "recall@5", "new_one"]


# Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def linear(colour):
    channels = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def oklab(rgb):
    to_lms = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.array(to_lab) @ np.cbrt(np.array(to_lms) @ np.clip(rgb, 0, 1))


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("colours", [palette.LIGHT, palette.DARK], ids=["light", "dark"])
def test_series_are_told_apart_with_every_kind_of_colour_vision(colours, vision) -> None:
    seen = [oklab(np.array(VISION[vision]) @ linear(colour)) for colour in colours]
    assert min(float(np.linalg.norm(one - two)) for one, two in itertools.combinations(seen, 2)) > 0.11
    assert len(set(palette.MARKERS)) == len(palette.MARKERS) == len(colours)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_lines_and_text_stand_out_from_the_page(mode) -> None:
    def light(colour):
        return float(linear(colour) @ [0.2126, 0.7152, 0.0722]) + 0.05

    def contrast(colour):
        pair = light(colour), light(palette.TONES["page"][mode])
        return max(pair) / min(pair)

    assert all(contrast(colour) > 3 for colour in (palette.LIGHT, palette.DARK)[mode])
    assert all(contrast(palette.TONES[name][mode]) > 4.5 for name in ("ink", "quiet", "good", "bad"))


class TestDemo:
    """The page of ``hashdb demo``."""

    @pytest.fixture
    def demo(self, tmp_path, monkeypatch):
        from click.testing import CliRunner

        from hashdb.cli.demo import demo

        monkeypatch.chdir(tmp_path)
        return lambda *arguments: CliRunner().invoke(demo, arguments)

    def test_it_writes_a_page_and_says_so_in_one_line(self, demo) -> None:
        done = demo("--seed", "3")
        assert done.exit_code == 0, done
        lines = [line for line in done.output.splitlines() if "hashdb-demo.html" in line]
        assert lines == ["page      hashdb-demo.html: digits with their neighbours, to open in a browser"]
        assert [one.name for one in Path().iterdir()] == ["hashdb-demo.html"]
        page = Page(Path("hashdb-demo.html").read_text(encoding="utf-8"))
        table, shown = page.tables
        assert table[0][:2] == ["method", "precision@10"]
        assert all(" ".join(row[:2]) in " ".join(done.output.split()) for row in table[1:])
        assert [row[0].strip() for row in shown[1:]] == [str(digit) for digit in range(10)]
        assert len(page.all("img")) == 10 * 11

    def test_without_the_extra_it_does_the_tour_and_names_the_extra(self, demo, monkeypatch) -> None:
        monkeypatch.setattr(extra, "find_spec", lambda name: None)
        done = demo()
        assert done.exit_code == 0, done
        assert "reopen" in done.output
        assert "needs matplotlib and jinja2 (pip install hashdb[report])" in done.output
        assert list(Path().iterdir()) == []

    def test_a_page_that_was_asked_for_and_cannot_be_is_refused_before_the_tour(self, demo, monkeypatch) -> None:
        done = demo("--html", "nowhere/page.html")
        assert isinstance(done.exception, ArgumentError)
        assert done.output == ""
        monkeypatch.setattr(extra, "find_spec", lambda name: None)
        done = demo("--html", "page.html")
        assert r"pip install hashdb[report]" in str(done.exception)
        assert done.output == ""

    def test_the_tour_does_not_fail_where_the_folder_refuses_the_page(self, demo) -> None:
        Path("hashdb-demo.html").mkdir()
        done = demo()
        assert done.exit_code == 0
        assert "no page: hashdb-demo.html cannot be written" in done.output
