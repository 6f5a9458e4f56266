"""The page of an evaluation is complete in itself, safe, readable by everyone, or refused as a whole."""

from __future__ import annotations

import functools
import re

import pytest

from hashdb.errors import ArgumentError, HashDBError, StorageError
from hashdb.evaluation.report import extra, palette, write_report, write_tour

from .report_kit import cell, cross_modal_results, document, images, plain_results, with_gallery, written

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

HOSTILE = "<script>alert(1)</script>--><b>$x_1$ & \"'"


def many_results(n_methods=9):
    names = ["lsh", *(f"method{place}" for place in range(n_methods - 1))]
    return document([cell(name, bits, 0.1 + place / 50) for place, name in enumerate(names) for bits in (16, 32)])


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


def test_charts_name_learned_and_predicted_codes(drawn) -> None:
    page = drawn("cross-modal")
    charts = page.text.split("<svg ")[1:]
    assert all("cmfh, learned codes" in one and "cmfh, predicted codes" in one for one in charts)
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page.text)
    assert re.search(r"Highest: 0\.\d+ with predicted codes \(cmfh, .* bits\), 0\.4\d+ with learned codes", captions[0])


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


def test_results_with_one_cell_and_neither_curves_nor_times(tmp_path) -> None:
    only = cell("itq", 32, 0.3, n_runs=1)
    only["runs"][0] = {"run": 0, "seed": 0, "metrics": {"map": 0.3}}
    page = written(tmp_path, document([only], runs=1, baseline=None))
    assert len(page.all("svg")) == 1


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
