"""The parts of the page that are about the search, as ``python -m benchmarks`` runs them."""

from __future__ import annotations

import os
import tempfile
from argparse import Namespace
from pathlib import Path

from benchmarks.search import billion, cells, cold, page, plots, roofline, suite, tables, targets

_FIGURES = Path(__file__).parents[2] / "docs" / "figures"
_ALT = ("Time a query against the number of codes", "Recall against time a query")


def search(options: Namespace) -> str:
    """Run the grid, or what is missing of it, and make its tables and figures."""
    sizes, work = _sizes(options), _work(options)
    suite.run(work, sizes, cells.filter_of(options.only))
    results = suite.results(work, sizes)
    folder = work / "figures" if options.quick else _FIGURES
    files = plots.draw(results, folder, sizes.datasets)
    figures = [f"![{alt}](../docs/figures/{file.name})" for alt, file in zip(_ALT, files, strict=True)]
    return page.text(results, sizes, figures)


def planner_(options: Namespace) -> str:
    """Run the grid without peers, which takes a third of the time, and say how often the planner errs."""
    sizes, work = _sizes(options)._replace(peers=False, repeats=3 if options.quick else 9), _work(options)
    suite.run(work, sizes, cells.filter_of(options.only))
    return page.planner(suite.results(work, sizes))


def tables_(options: Namespace) -> str:
    """Measure the building of tables."""
    return tables.main(_work(options), 20_000 if options.quick else 10_000_000)


def cold_(options: Namespace) -> str:
    """Measure first queries."""
    large, small, repeats = (20_000, 10_000, 1) if options.quick else (100_000_000, 1_000_000, 5)
    return cold.main(_work(options), large, small, repeats, 2)


def roofline_(options: Namespace) -> str:
    """Compare the scan with the machine, and fit the cost of probes to the cells there are."""
    n, n_queries, repeats = (20_000, 100, 1) if options.quick else (10_000_000, 1000, 7)
    return roofline.main(_work(options), n, n_queries, repeats, 2, suite.results(_work(options), _sizes(options)))


def billion_(options: Namespace) -> str:
    """Measure the largest index, or two."""
    sizes = [20_000 if options.quick else 100_000_000, *([options.rows] if options.rows else [])]
    return billion.main(_work(options), sizes, 1 if options.quick else 3, 2)


def targets_(options: Namespace) -> str:
    """Collect the ratios from the cells there are."""
    work, results = _work(options), suite.results(_work(options), _sizes(options))
    if options.quick:
        return targets.main(work, 20_000, 1, results, batch_rows=20_000)
    return targets.main(work, 10_000_000, 3, results)


def _work(options: Namespace) -> Path:
    work = Path(options.work or Path(tempfile.gettempdir()) / "hashdb-benchmarks")
    work.mkdir(parents=True, exist_ok=True)
    return work


def _sizes(options: Namespace) -> suite.Sizes:
    sizes = suite.QUICK if options.quick else suite.FULL
    if options.quick and not os.environ.get("HASHDB_DATA"):
        sizes = sizes._replace(datasets=("uniform", "clustered"))
    return sizes._replace(pace=options.pace) if options.pace else sizes
