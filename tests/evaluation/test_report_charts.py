"""Charts of an evaluation: curves are means over runs, axes have round numbers, and colours are told apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hashdb.evaluation.report import palette
from hashdb.evaluation.report.document import Document
from hashdb.evaluation.report.measures import meaning, ordered

from .report_kit import cell, document

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")


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


def test_curves_begin_where_something_is_found() -> None:
    one = cell("itq", 16, 0.3, n_runs=2)
    for run, first in zip(one["runs"], (0.0, 0.1), strict=True):
        run["curves"]["precision_recall"] = {"recall": [0.0, first, 1.0], "precision": [0.0, 9 * first, 0.1]}
    recall, precision = Document(document([one])).cells[0].curve("precision_recall", "recall", "precision")
    assert (recall.tolist(), precision.tolist()) == ([1.0], [0.1])


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
