"""Results as an evaluation gives them, made up, and a reader of the pages that are made of them."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from hashdb.evaluation.report import write_report


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
