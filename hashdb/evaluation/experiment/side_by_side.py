"""Two results laid side by side: what changed between them, cell by cell."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hashdb.errors import ArgumentError, InputFileError, brief
from hashdb.evaluation.experiment.gathering import FORMAT, KEYS, key_of
from hashdb.evaluation.experiment.significance import holm, paired_p
from hashdb.evaluation.experiment.tables import scheme_of
from hashdb.inputs.formats import one_line

Results = Mapping[str, Any]
Cell = Mapping[str, Any]
_MAX_BYTES = 1 << 29  # a cell takes some 10 KB a run
_PLAIN = (str, int, float, type(None))

_PAIRED = ("dataset", "n_rows", "split", "parts", "truth", "seed", "data")


def load_results(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the results of an experiment.

    Parameters
    ----------
    path : path
        A ``results.json``, or the folder that holds it.

    Raises
    ------
    InputFileError
        There is no such file, or it holds no results of this format.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "results.json"
    try:
        found = json.loads(_read(file).decode())
    except FileNotFoundError as error:
        raise InputFileError(f"{file}: there is no such file; `hashdb eval --output DIR` writes it") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InputFileError(f"{file} cannot be read as results: {one_line(error)}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT or not {"protocol", "cells"} <= set(found):
        written = found.get("format") if isinstance(found, dict) else None
        raise InputFileError(
            f"{file} has the format {brief(repr(written))}, expected results of `hashdb eval`, format {FORMAT}"
        )
    fault = _fault(found)
    if fault is not None:
        raise InputFileError(f"{file} cannot be read as results: {fault}")
    return found


def _read(file: Path) -> bytes:
    # Without waiting: a named pipe would wait for somebody to write.
    with open(os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as opened:
        facts = os.fstat(opened.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise ValueError("it is no regular file")
        if facts.st_size > _MAX_BYTES:
            raise ValueError(f"it has {facts.st_size:,} bytes, expected at most {_MAX_BYTES:,}")
        return opened.read(facts.st_size)


def _fault(found: Mapping[str, Any]) -> str | None:
    """Say what is not as `hashdb eval` writes it, of what is compared."""
    if not isinstance(found["protocol"], dict) or not isinstance(found["cells"], list):
        return "protocol is no object, or cells are no list"
    for number, cell in enumerate(found["cells"]):
        if not isinstance(cell, dict) or not {*KEYS, "summary", "runs"} <= set(cell):
            return f"cell {number} is no object with {', '.join(KEYS)}, summary, runs"
        if not all(isinstance(cell[name], _PLAIN) for name in KEYS):
            return f"cell {number} has a key that is no text or number"
        summary, runs = cell["summary"], cell["runs"]
        if not isinstance(summary, dict) or not isinstance(runs, list):
            return f"cell {number} has no object as summary, or no list of runs"
        if not all(isinstance(one, dict) and _is_number(one.get("mean")) for one in summary.values()):
            return f"cell {number} has a summary without a mean"
        for run in runs:
            metrics = run.get("metrics") if isinstance(run, dict) else None
            if not isinstance(metrics, dict) or not isinstance(run.get("run"), int):
                return f"cell {number} has a run without number or metrics"
            if not all(_is_number(metrics.get(name)) for name in summary):
                return f"cell {number} has a run that lacks a metric of the summary"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def compare(first: Results, second: Results, metrics: Sequence[str] = ("map",)) -> dict[str, Any]:
    """Lay the cells of two results side by side.

    Parameters
    ----------
    first, second : mapping
    metrics : sequence of str

    Returns
    -------
    dict
        ``differences``: names of the protocol with both values. ``rows``: dicts of method, quantiser, bits, query,
        database, database_codes, metric, first, second (means, None where a result lacks the cell), difference (second
        minus first), p and p_holm (paired by run, where both have the same splits).

    Raises
    ------
    ArgumentError
        A metric is in no cell.
    """
    ones, others = ({key_of(cell): cell for cell in each["cells"]} for each in (first, second))
    names = {**first["protocol"], **second["protocol"]}
    differences = {
        name: (first["protocol"].get(name), second["protocol"].get(name))
        for name in names
        if first["protocol"].get(name) != second["protocol"].get(name)
    }
    paired = not any(name in differences for name in _PAIRED)
    rows = []
    for metric in metrics:
        pairs = [(ones.get(key), others.get(key)) for key in {**ones, **others}]
        found = [
            _row(cell, other, metric, paired) for cell, other in pairs if _has(cell, metric) or _has(other, metric)
        ]
        if not found:
            raise ArgumentError(f"metric {metric!r} is in no cell of the two results")
        tested = [row for row in found if row["p"] is not None]
        for row, value in zip(tested, holm([row["p"] for row in tested]), strict=True):
            row["p_holm"] = value
        rows += found
    return {"differences": differences, "rows": rows}


def comparison_table(compared: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Give head and rows of a comparison as text."""
    head = ["method", "bits", "direction", "codes", "metric", "A", "B", "B - A", "p (Holm)"]
    rows = [
        [
            scheme_of(row),
            str(row["bits"]),
            f"{row['query']} to {row['database']}" if row["query"] else "",
            row["database_codes"],
            row["metric"],
            _shown(row["first"], ".4f"),
            _shown(row["second"], ".4f"),
            _shown(row["difference"], "+.4f"),
            _shown(row["p_holm"], ".3g"),
        ]
        for row in compared["rows"]
    ]
    kept = [place for place in range(len(head)) if any(row[place] for row in rows)]
    return [head[place] for place in kept], [[row[place] for place in kept] for row in rows]


def _has(cell: Cell | None, metric: str) -> bool:
    return cell is not None and metric in cell["summary"]


def _row(cell: Cell | None, other: Cell | None, metric: str, paired: bool) -> dict[str, Any]:
    """Lay two cells side by side, one of which may be missing."""
    there = [one for one in (cell, other) if one is not None]
    means = [one["summary"][metric]["mean"] if one is not None and _has(one, metric) else None for one in (cell, other)]
    row = {**dict(zip(KEYS, key_of(there[0]), strict=True)), "metric": metric, "first": means[0], "second": means[1]}
    row |= {"difference": None, "p": None, "p_holm": None}
    if means[0] is not None and means[1] is not None:
        row["difference"] = means[1] - means[0]
        if paired:
            values = [{run["run"]: run["metrics"][metric] for run in one["runs"]} for one in there]
            common = sorted(set(values[0]) & set(values[1]))
            row["p"] = paired_p([values[1][run] for run in common], [values[0][run] for run in common])
    return row


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
