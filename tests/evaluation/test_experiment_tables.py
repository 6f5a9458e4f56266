"""Tables of results, and two results side by side."""

from __future__ import annotations

import csv
import io
import json
from copy import deepcopy

import pytest

from hashdb.errors import ArgumentError, InputFileError
from hashdb.evaluation import compare, load_results
from hashdb.evaluation.experiment.side_by_side import comparison_table
from hashdb.evaluation.experiment.tables import comma_separated, default_metrics, latex, markdown


def cell(method, bits, values, p=None, quantiser=None, **more):
    summary = {"mean": sum(values) / len(values), "sd": 0.01, "low": 0.0, "high": 1.0, "p": p, "p_holm": p}
    runs = [{"run": i, "seed": i, "chosen": {}, "metrics": {"map": v, "empty@2": 1 - v}} for i, v in enumerate(values)]
    return {
        "method": method,
        "quantiser": quantiser,
        "bits": bits,
        "query": None,
        "database": None,
        "database_codes": "predicted",
        "runs": runs,
        "summary": {"map": summary, "empty@2": {**summary, "mean": 1 - summary["mean"]}},
        **more,
    }


def results(*cells, **protocol):
    facts = {"dataset": "toy_1", "split": "improved", "parts": {"training": 2000}, "truth": {"kind": "labels"}}
    return {
        "format": 1,
        "protocol": {**facts, "runs": 6, "baseline": "lsh", "seed": 0, **protocol},
        "cells": list(cells),
    }


@pytest.fixture
def toy():
    return results(
        cell("lsh", 16, [0.1] * 6), cell("lsh", 32, [0.4] * 6), cell("itq", 16, [0.3] * 6, 0.03, quantiser="npq")
    )


def test_markdown_marks_what_is_best_and_what_is_told_apart(toy):
    lines = markdown(toy).splitlines()
    assert lines[0] == "map on toy_1"
    assert lines[2:6] == [
        "| method | 16 bits | 32 bits |",
        "|---|---|---|",
        "| lsh | 0.1000 ± 0.0100 | **0.4000 ± 0.0100** |",
        "| itq+npq | **0.3000 ± 0.0100*** |  |",
    ]
    assert "| lsh | 0.9000 ± 0.0100 | **0.6000 ± 0.0100** |" in markdown(toy, ["empty@2"])
    assert "Bold (`**` in the text): the best of a column." in lines[-3]
    assert "Holm" in lines[-1]


@pytest.mark.parametrize(("runs", "least"), [(2, "0.5"), (5, "0.0625")])
def test_too_few_runs_for_any_mark_are_told(toy, runs, least):
    toy["protocol"]["runs"] = runs
    last = markdown(toy).splitlines()[-1]
    assert last == f"With {runs} runs nothing can be marked: the least possible p is {least}; take more runs."


def test_one_run_has_no_spread():
    one = cell("itq", 16, [0.5])
    one["runs"][0]["chosen"] = {"alpha": 1.0}
    text = markdown(results(one, runs=1))
    assert "| itq | 0.5000 |" in text
    assert "\n1 run; improved split" in text
    assert "(1 of 1 run)" in text
    assert not {"±", "Bold", "1 runs"} & set(text.split())
    assert "pm" not in latex(results(one, runs=1))


def test_markdown_tells_what_was_chosen_and_what_was_refused(toy):
    for run in toy["cells"][2]["runs"][:5]:
        run["chosen"] = {"alpha": 0.5}
    toy["cells"][2]["runs"][5]["chosen"] = {"alpha": 1.0}
    toy["refused"] = [
        {"method": "pcah", "quantiser": None, "bits": 64, "run": run, "reason": "too wide"} for run in (0, 1)
    ]
    text = markdown(toy)
    assert "for itq+npq, 16 bits: alpha=0.5 (5 of 6 runs); alpha=1.0 (1 of 6 runs)." in text
    assert text.count("pcah, 64 bits, was refused: too wide.") == 1


def test_directions_have_tables_of_their_own():
    facts = {"query": "text", "database": "image"}
    one = cell("cvh", 16, [0.2, 0.2], **facts)
    two = cell("cvh", 16, [0.3, 0.3], **{**facts, "database_codes": "learned"})
    text = markdown(results(one, two))
    assert "map on toy_1, text to image, predicted codes of the database" in text
    assert "map on toy_1, text to image, learned codes of the database" in text


def test_latex_escapes_and_balances(toy):
    text = latex(toy)
    assert text.startswith("% map on toy_1\n\\begin{tabular}{lrr}")
    assert r"itq+npq & \textbf{0.3000 $\pm$ 0.0100*} &  \\" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1


def test_csv_has_every_summary(toy):
    rows = list(csv.DictReader(io.StringIO(comma_separated(toy))))
    assert len(rows) == 6
    row = rows[4]
    assert (row["method"], row["quantiser"], row["bits"], row["metric"]) == ("itq", "npq", "16", "map")
    assert float(row["mean"]) == pytest.approx(0.3)
    assert (row["p_holm"], row["runs"], rows[0]["p_holm"]) == ("0.03", "6", "")


def test_the_metrics_shown_first_are_those_of_the_truth(toy):
    assert default_metrics(toy) == ["map", "map_by_order"]
    toy["protocol"]["truth"]["kind"] = "nearest"
    for one in toy["cells"]:
        one["summary"] |= {"recall@10": one["summary"]["map"], "recall@10_by_order": one["summary"]["map"]}
    assert default_metrics(toy) == ["map", "recall@10"]


def test_an_unknown_metric_is_refused(toy):
    with pytest.raises(ArgumentError, match="metric 'maps' is not in the results, expected one such as map, empty@2"):
        markdown(toy, ["maps"])
    with pytest.raises(ArgumentError, match="metric 'maps' is in no cell of the two results"):
        compare(toy, toy, ["maps"])


def test_two_results_lie_side_by_side(toy):
    other = deepcopy(toy)
    other["cells"][1:] = [cell("lsh", 32, [0.5] * 6), cell("sh", 16, [0.2] * 6)]
    compared = compare(toy, other)
    rows = {(row["method"], row["bits"]): row for row in compared["rows"]}
    assert rows["lsh", 32]["difference"] == pytest.approx(0.1)
    assert rows["lsh", 32]["p"] == pytest.approx(2 / 2**6)
    assert rows["lsh", 32]["p_holm"] == pytest.approx(4 / 2**6)
    assert rows["lsh", 16]["p"] == 1
    assert (rows["itq", 16]["second"], rows["sh", 16]["first"]) == (None, None)
    assert compared["differences"] == {}
    head, lines = comparison_table(compared)
    assert head == ["method", "bits", "codes", "metric", "A", "B", "B - A", "p (Holm)"]
    assert lines[1] == ["lsh", "32", "predicted", "map", "0.4000", "0.5000", "+0.1000", "0.0625"]


def test_results_of_other_splits_are_compared_without_a_test(toy):
    other = deepcopy(toy)
    other["protocol"] |= {"seed": 1}
    compared = compare(toy, other)
    assert compared["differences"] == {"seed": (0, 1)}
    assert all(row["p"] is None for row in compared["rows"])
    assert "p (Holm)" not in comparison_table(compared)[0]


def test_results_are_read_from_a_file_or_its_folder(tmp_path, toy):
    (tmp_path / "results.json").write_text(json.dumps(toy))
    assert load_results(tmp_path) == load_results(tmp_path / "results.json") == toy
    for text, message in (
        ("{", "cannot be read as results"),
        ('{"format": 7}', "the format 7, expected"),
        ("[]", "None"),
    ):
        (tmp_path / "results.json").write_text(text)
        with pytest.raises(InputFileError, match=message):
            load_results(tmp_path)
    with pytest.raises(InputFileError, match="there is no such file"):
        load_results(tmp_path / "nowhere")
