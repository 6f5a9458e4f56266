"""Tables, words and pictures of the page of an evaluation are true to its results."""

from __future__ import annotations

import base64
import copy
import io
import math
import re
from pathlib import Path

import numpy as np
import pytest

from hashdb.errors import ArgumentError
from hashdb.evaluation.report import write_report
from hashdb.evaluation.report.document import Document
from hashdb.evaluation.report.measures import stars

from .report_kit import cross_modal_results, images, plain_results, with_gallery, written

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a page without its charts: drawing them takes a second."""
    monkeypatch.setattr("hashdb.evaluation.report.charts.draw", lambda *arguments: "")
    return lambda results, shown=None: written(tmp_path, results, shown)


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


def test_numbers_that_are_missing_leave_a_dash_not_an_error(write) -> None:
    results = plain_results()
    first = results["cells"][0]
    first["summary"]["map"] = {"mean": None, "sd": None, "low": None, "high": None, "p": None, "p_holm": None}
    first["runs"] = [{"run": 0, "seed": 0, "chosen": None, "metrics": {}}]
    del results["cells"][1]["summary"]["map"]
    results["cells"][2]["summary"]["map"]["mean"] = math.nan
    row = next(row for row in write(results).table("16 bits") if row[0] == "lsh")
    assert [text.split()[0] for text in row[2:]] == ["–", "–", "–"]


def test_the_document_is_not_changed(write) -> None:
    results = with_gallery(plain_results())
    before = copy.deepcopy(results)
    write(results, images)
    assert results == before


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
