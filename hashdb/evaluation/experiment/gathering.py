"""From finished cells to ``results.json``: means, spreads, intervals and tests."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb import __version__, registry
from hashdb.evaluation.experiment.keeping import Cells
from hashdb.evaluation.experiment.significance import holm, interval, paired_p, resamples
from hashdb.evaluation.experiment.units import Scheme, Unit
from hashdb.evaluation.saving import Arrays

Cell = dict[str, Any]

FORMAT = 1
KEYS = ("method", "quantiser", "bits", "query", "database", "database_codes")
_LIBRARIES = ("numpy", "scipy", "scikit-learn", "numba", "zarr")


def gather(
    cells: Cells, schemes: Sequence[Scheme], bits: Sequence[int], runs: int, baseline: str | None, seed: int
) -> tuple[list[Cell], list[Cell], dict[str, Any] | None]:
    """Read the finished cells and sum them up.

    Parameters
    ----------
    cells : Cells
    schemes, bits, runs
        What was asked for; all of it is finished.
    baseline : str, optional
        Name of the scheme that others are tested against.
    seed : int
        Of the protocol.

    Returns
    -------
    found : list of dict
        The cells of the results.
    refused : list of dict
        Those that a method refused, with the reason.
    gallery : dict or None
        Queries of the first run with their neighbours, by the best cell with most bits.
    """
    found: dict[tuple[Any, ...], Cell] = {}
    refused: list[Cell] = []
    drawn: dict[tuple[int, int], NDArray[np.float64]] = {}
    for scheme in schemes:
        for n_bits in bits:
            for run in range(runs):
                record, arrays = cells.read(Unit(scheme, n_bits, run))
                if "refused" in record:
                    facts = {"method": scheme.method, "quantiser": scheme.quantiser, "bits": n_bits}
                    refused.append({**facts, "run": run, "reason": record["refused"]})
                    continue
                for number, part in enumerate(record["parts"]):
                    _add(found, record, part, _replicates(arrays, number, part, seed + run, drawn), seed)
    _drop_partial(found, refused)
    listed = list(found.values())
    gallery = _best_gallery(listed)
    for cell in listed:
        _summarise(cell)
    _test(listed, baseline)
    for cell in listed:
        del cell["_replicates"]
    return listed, refused, gallery


def surroundings(schemes: Sequence[Scheme]) -> dict[str, Any]:
    """Say when, by which versions and on which machine results are made."""
    versions = {"python": platform.python_version()}
    versions |= {name: importlib.metadata.version(name) for name in _LIBRARIES}
    for plugin in (registry.get(name) for scheme in schemes for name in (scheme.method, scheme.quantiser) if name):
        versions[plugin.distribution] = plugin.version
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    made = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"format": FORMAT, "made": made, "hashdb": __version__, "machine": machine, "versions": versions}


def key_of(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    """Give what tells a cell from others."""
    return tuple(cell[name] for name in KEYS)


def _replicates(
    arrays: Arrays, number: int, part: Cell, seed: int, drawn: dict[tuple[int, int], NDArray[np.float64]]
) -> dict[str, NDArray[np.float64]]:
    """Give each metric's value in every resample of the run's queries."""
    values = arrays[f"{number}.values"]
    n_queries = values.shape[1]
    if (seed, n_queries) not in drawn:
        drawn[seed, n_queries] = resamples(n_queries, seed)
    means = drawn[seed, n_queries] @ values.T / n_queries
    return {**dict(zip(part["by_query"], means.T, strict=True)), "auprc": arrays[f"{number}.auprc"]}


def _add(
    found: dict[tuple[Any, ...], Cell],
    record: Cell,
    part: Cell,
    replicates: dict[str, NDArray[np.float64]],
    seed: int,
) -> None:
    facts = {**{name: record[name] for name in KEYS[:3]}, **{name: part[name] for name in KEYS[3:]}}
    cell = found.setdefault(
        key_of(facts),
        {**facts, "n_stored_bits": part["n_stored_bits"], "params": record["params"], "runs": [], "_replicates": []},
    )
    run = {"run": record["run"], "seed": seed + record["run"]}
    run |= {name: record[name] for name in ("chosen", "all_params", "trials")}
    run |= {name: part[name] for name in ("metrics", "curves", "seconds", "bytes_per_code")}
    cell["runs"].append(run)
    cell["_replicates"].append(replicates)
    cell.setdefault("_gallery", part["gallery"])


def _drop_partial(found: dict[tuple[Any, ...], Cell], refused: list[Cell]) -> None:
    """Leave out cells that were refused in some runs: a mean over the others would be of other splits."""
    partial = {(one["method"], one["quantiser"], one["bits"]) for one in refused}
    for key in [key for key in found if key[:3] in partial]:
        del found[key]


def _summarise(cell: Cell) -> None:
    summary: dict[str, dict[str, float | None]] = {}
    runs = [run["metrics"] for run in cell["runs"]]
    for name in runs[0]:
        values = np.array([metrics[name] for metrics in runs], np.float64)
        low: float | None = None
        high: float | None = None
        if name in cell["_replicates"][0]:
            low, high = interval([one[name] for one in cell["_replicates"]])
        sd = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        summary[name] = {"mean": float(values.mean()), "sd": sd, "low": low, "high": high, "p": None, "p_holm": None}
    cell["summary"] = summary


def _test(cells: Sequence[Cell], baseline: str | None) -> None:
    """Test each cell against the baseline's, and correct for the number of tests of a metric."""
    references = {key_of(cell)[2:]: cell for cell in cells if _scheme_name(cell) == baseline}
    for metric in dict.fromkeys(name for cell in cells for name in cell["_replicates"][0]):
        tested = []
        for cell in cells:
            reference = references.get(key_of(cell)[2:])
            if reference is None or reference is cell:
                continue
            mine, others = ([run["metrics"][metric] for run in one["runs"]] for one in (cell, reference))
            p = paired_p(mine, others)
            if p is not None:
                cell["summary"][metric]["p"] = p
                tested.append(cell)
        corrected = holm([cell["summary"][metric]["p"] for cell in tested])
        for cell, value in zip(tested, corrected, strict=True):
            cell["summary"][metric]["p_holm"] = value


def _scheme_name(cell: Mapping[str, Any]) -> str:
    return Scheme(cell["method"], cell["quantiser"]).name


def _best_gallery(cells: Sequence[Cell]) -> dict[str, Any] | None:
    """Take the gallery of the best cell with most bits, in the first run."""
    galleries = {id(cell): cell.pop("_gallery") for cell in cells}
    most = max((cell["bits"] for cell in cells), default=0)
    widest = [cell for cell in cells if cell["bits"] == most]
    if not widest:
        return None
    best = max(widest, key=lambda cell: cell["runs"][0]["metrics"]["map"])
    queries = galleries[id(best)]
    facts = {name: best[name] for name in ("method", "quantiser", "bits", "database_codes")}
    return {**facts, "queries": queries} if queries else None
