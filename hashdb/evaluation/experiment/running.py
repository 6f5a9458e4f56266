"""An experiment from data to results."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hashdb import __version__, datasets
from hashdb.codes import check_n_bits
from hashdb.errors import ArgumentError
from hashdb.evaluation.experiment import tables
from hashdb.evaluation.experiment.gathering import gather, surroundings
from hashdb.evaluation.experiment.keeping import Cells
from hashdb.evaluation.experiment.material import Material, load
from hashdb.evaluation.experiment.measuring import check_metrics
from hashdb.evaluation.experiment.protocol import Protocol
from hashdb.evaluation.experiment.rounds import Round, check_round, prepare
from hashdb.evaluation.experiment.units import Scheme, check_schemes, schemes_of, units_of
from hashdb.evaluation.metrics import whole_numbers
from hashdb.evaluation.saving import write_text
from hashdb.inputs.formats import nearest
from hashdb.progress import Progress, silent

Results = dict[str, Any]


def run_experiment(
    data: str | os.PathLike[str] | datasets.Dataset,
    methods: Iterable[str],
    bits: int | Iterable[int] = 32,
    *,
    protocol: Protocol | None = None,
    runs: int = 10,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    baseline: str | None = None,
    jobs: int = 1,
    output: str | os.PathLike[str] | None = None,
    metrics: Sequence[str] | None = None,
    progress: Progress = silent,
) -> Results:
    """Measure hashing methods on a data set, with fresh splits and seeds in each run.

    Parameters
    ----------
    data : str, path or Dataset
        A name of :func:`hashdb.datasets.names`, a ``.npz`` file with ``vectors`` and ``labels``, or what
        :func:`hashdb.datasets.load` gives.
    methods : iterable of str
        ``METHOD`` or ``METHOD+QUANTISER``; for data of paired modalities cross-modal methods.
    bits : int or several
        Information bits.
    protocol : Protocol, optional
        Split, truth, tuning and what else all methods share. Default: the improved split, labels where there are any.
    runs : int
        Run r draws its split and fits with the protocol's seed plus r.
    params : mapping of plugin name to mapping, optional
        Params other than the defaults; tuning leaves them alone.
    baseline : str, optional
        The method that others are tested against. Default: ``lsh`` where it takes part, else the first.
    jobs : int
        Processes that measure. They change times, not results. A script that asks for several starts below
        ``if __name__ == "__main__":``.
    output : path, optional
        Folder of finished cells, splits and results, see :func:`write_results`. An experiment that stopped goes on
        there.
    metrics : sequence of str, optional
        Of the tables; by default those of the truth.
    progress : callable, optional
        Called with (what, done, total).

    Returns
    -------
    dict
        What ``results.json`` holds: ``protocol``, ``cells`` (a method at a number of bits, in one direction), each with
        ``runs`` and ``summary``, ``refused``, ``gallery``, ``versions``, ``machine``.

    Raises
    ------
    ArgumentError
        Something does not fit; all that can be known is said before anything is learned.
    PluginError
        A method is missing or broken.
    StorageError
        The output folder cannot be written.

    Examples
    --------
    >>> import numpy as np
    >>> from hashdb.datasets import Dataset
    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(300) % 3
    >>> data = Dataset("toy", rng.standard_normal((300, 8)) + 3 * np.eye(8)[labels], labels)
    >>> results = run_experiment(data, ["lsh", "pcah"], 8, runs=2)
    >>> [(cell["method"], len(cell["runs"])) for cell in results["cells"]]
    [('lsh', 2), ('pcah', 2)]
    """
    widths = _widths(bits)
    runs = whole_numbers("runs", runs, 1)[0]
    jobs = whole_numbers("jobs", jobs, 1)[0]
    asked = protocol or Protocol()
    asked.check()
    schemes = schemes_of(methods, params or {})
    baseline = _baseline(baseline, schemes)
    progress("reading the data", 0, 1)
    dataset = load(data, progress)
    material = Material.of(dataset)
    settled = asked.settled(material)
    check_schemes(schemes, widths, material, settled)
    check_metrics(metrics or (), settled, material)
    with tempfile.TemporaryDirectory() as scratch:
        facts = {"hashdb": __version__, "dataset": material.name, "data": material.digest(), **asdict(settled)}
        cells = Cells(Path(scratch if output is None else output), facts)
        cells.open()
        first = _prepare(cells, material, settled, runs, progress)
        _measure(cells, schemes, widths, runs, (material, settled), jobs, progress)
        found, refused, gallery = gather(cells, schemes, widths, runs, baseline, settled.seed)
    if not found:
        raise ArgumentError(f"nothing could be measured: {refused[0]['reason']}")
    shown = {"bits": widths, "runs": runs, "baseline": baseline, "methods": [scheme.name for scheme in schemes]}
    described = _described(material, settled, first, facts["data"]) | shown
    results: Results = {**surroundings(schemes), "protocol": described, "cells": found, "refused": refused}
    results["gallery"] = gallery if dataset.images is not None else None
    if output is not None:
        progress("writing the results", 0, 1)
        write_results(results, output, dataset=dataset, metrics=metrics)
    return results


def write_results(
    results: Results,
    folder: str | os.PathLike[str],
    *,
    dataset: datasets.Dataset | None = None,
    metrics: Sequence[str] | None = None,
) -> list[Path]:
    """Write ``results.json``, ``tables.md``, ``tables.tex``, ``tables.csv`` and, with the extra, ``report.html``.

    Parameters
    ----------
    results : dict
        As :func:`run_experiment` returns them.
    folder : path
    dataset : Dataset, optional
        Where it has images, the report shows some.
    metrics : sequence of str, optional
        Of the tables; by default those of the truth.

    Returns
    -------
    list of Path
        What was written; no report where matplotlib or jinja2 is missing.

    Raises
    ------
    ArgumentError
        A metric is in no cell.
    StorageError
        The file system refused.
    """
    place = Path(folder)
    chosen = list(metrics or tables.default_metrics(results))
    texts = {
        "results.json": json.dumps(results, indent=1, allow_nan=False) + "\n",
        "tables.md": tables.markdown(results, chosen),
        "tables.tex": tables.latex(results, chosen),
        "tables.csv": tables.comma_separated(results),
    }
    for name, text in texts.items():
        write_text(place / name, text)
    written = [place / name for name in texts]
    from hashdb.evaluation.report import missing, write_report

    if not missing():
        write_report(results, place / "report.html", images=_images(dataset))
        written.append(place / "report.html")
    return written


def _widths(bits: int | Iterable[int]) -> list[int]:
    widths = [check_n_bits(n) for n in ([bits] if isinstance(bits, int) else bits)]
    if not widths or len(set(widths)) < len(widths):
        raise ArgumentError(f"bits are {widths}, expected one or several different numbers")
    return widths


def _baseline(name: str | None, schemes: Sequence[Scheme]) -> str | None:
    names = [scheme.name for scheme in schemes]
    if name is None:
        return "lsh" if "lsh" in names else names[0]
    if name not in names:
        raise ArgumentError(
            f"baseline is {name!r}, expected one of the methods: {', '.join(names)}{nearest(name, names)}"
        )
    return name


def _prepare(cells: Cells, material: Material, protocol: Protocol, runs: int, progress: Progress) -> Round:
    """Draw and keep the split of every run, and refuse truths that leave queries without an answer."""
    for run in range(runs):
        progress("splits and ground truth", run, runs)
        one = prepare(material, protocol, run, cells.truths)
        check_round(one, protocol)
        one.split.save(cells.folder / "splits" / f"run-{run:02d}.npz")
        if run == 0:
            first = one
    progress("splits and ground truth", runs, runs)
    return first


def _measure(
    cells: Cells,
    schemes: Sequence[Scheme],
    widths: Sequence[int],
    runs: int,
    shared: tuple[Material, Protocol],
    jobs: int,
    progress: Progress,
) -> None:
    from hashdb.evaluation.experiment.working import work

    units = list(units_of(schemes, widths, runs))
    left = [unit for unit in units if not cells.has(unit)]
    progress("measuring", len(units) - len(left), len(units))
    for done, _ in enumerate(work(left, *shared, cells, jobs), len(units) - len(left) + 1):
        progress("measuring", done, len(units))


def _described(material: Material, protocol: Protocol, first: Round, digest: str) -> dict[str, Any]:
    """Describe the protocol as results do."""
    parts = {part.replace("_", " "): len(rows) for part, rows in first.split.parts.items()}
    if first.own is not None:
        parts["test queries"] = len(first.own)
    tuning = None
    if protocol.tune is not None:
        trials = protocol.trials if protocol.tune == "random" else None
        tuning = {"search": protocol.tune, "metric": "map", "trials": trials}
    return {
        "dataset": material.name,
        "data": digest,
        "n_rows": material.n_rows,
        "dims": material.dims,
        "split": protocol.split,
        "parts": parts,
        "queries": protocol.queries,
        "truth": _truth(protocol, first),
        "unmatched": protocol.unmatched,
        "database_codes": protocol.database_codes,
        "train_by_method": protocol.train_by_method,
        "at": list(protocol.at),
        "radius": list(protocol.radius),
        "seed": protocol.seed,
        "tuning": tuning,
    }


def _truth(protocol: Protocol, first: Round) -> dict[str, Any]:
    if protocol.truth == "nearest":
        return {"kind": "nearest", "neighbours": protocol.neighbours, "metric": protocol.metric}
    if protocol.truth == "epsilon":
        sizes = {"neighbour": protocol.epsilon_neighbour, "sample": protocol.epsilon_sample}
        return {"kind": "epsilon", **sizes, "metric": "l2", "epsilon": first.epsilon}
    return {"kind": "labels"}


def _images(dataset: datasets.Dataset | None) -> Callable[[int], Any] | None:
    """Give what finds the image of a row, or None where no row has one."""
    if dataset is None or dataset.images is None or not len(dataset.images):
        return None
    return dataset.image
