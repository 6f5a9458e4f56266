"""Results as tables: Markdown and LaTeX for people, CSV for everything else."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hashdb.errors import ArgumentError
from hashdb.evaluation.experiment.gathering import KEYS

Cell = Mapping[str, Any]
Results = Mapping[str, Any]

SIGNIFICANT = 0.05
_SMALLER_IS_BETTER = ("empty@", "bit_", "constant_bits", "quantisation_error", "queries_without")
_HEAD = ("metric", "mean", "sd", "low", "high", "p", "p_holm", "runs")


def markdown(results: Results, metrics: Sequence[str] = ("map",)) -> str:
    """Lay out methods by bits, a table for each direction and metric.

    Parameters
    ----------
    results : mapping
        As :func:`~hashdb.evaluation.run_experiment` returns them.
    metrics : sequence of str

    Returns
    -------
    str
        A value is the mean over runs, with its standard deviation where there are several; the best of a column is
        bold; ``*`` tells it from the baseline with a corrected p below .05.

    Raises
    ------
    ArgumentError
        No cell has that metric.
    """
    parts = []
    for title, head, rows in _layouts(results, metrics):
        lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
        lines += ["| " + " | ".join(f"**{text}**" if best else text for text, best in row) + " |" for row in rows]
        parts.append(f"{title}\n\n" + "\n".join(lines))
    return "\n\n".join([*parts, *_notes(results)]) + "\n"


def latex(results: Results, metrics: Sequence[str] = ("map",)) -> str:
    """Lay out the same tables for LaTeX, without packages."""
    parts = []
    for title, head, rows in _layouts(results, metrics):
        lines = [f"% {title}", rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\hline"]
        lines += [" & ".join(map(_escaped, head)) + r" \\", r"\hline"]
        for row in rows:
            texts = (rf"\textbf{{{_escaped(text)}}}" if best else _escaped(text) for text, best in row)
            lines.append(" & ".join(texts) + r" \\")
        parts.append("\n".join([*lines, r"\hline", r"\end{tabular}"]))
    return "\n\n".join(parts) + "\n"


def comma_separated(results: Results) -> str:
    """Write every summary of every cell, a line each."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*KEYS, *_HEAD])
    for cell in results["cells"]:
        for metric, summary in cell["summary"].items():
            values = [summary[name] for name in _HEAD[1:-1]]
            writer.writerow([*(cell[name] for name in KEYS), metric, *values, len(cell["runs"])])
    return file.getvalue()


def default_metrics(results: Results) -> list[str]:
    """Name the metrics that a reader looks at first: those of the truth."""
    kind = results["protocol"]["truth"]["kind"]
    recalls = [name for name in _names(results) if name.startswith("recall@") and "_" not in name]
    return ["map", "map_by_order"] if kind == "labels" else ["map", *recalls]


def _layouts(results: Results, metrics: Sequence[str]) -> Iterator[tuple[str, list[str], list[list[tuple[str, bool]]]]]:
    """Give title, head and rows of each table; a text comes with whether it is the best of its column."""
    for metric in metrics:
        if metric not in _names(results):
            known = ", ".join(name for name in _names(results) if "_" not in name)
            raise ArgumentError(f"metric {metric!r} is not in the results, expected one such as {known}")
    bits = sorted({cell["bits"] for cell in results["cells"]})
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in results["cells"]:
        groups.setdefault((cell["query"], cell["database"], cell["database_codes"]), []).append(cell)
    for metric in metrics:
        for (query, database, policy), cells in groups.items():
            direction = f", {query} to {database}" if query else ""
            codes = f", {policy} codes of the database" if len(groups) > 1 else ""
            title = f"{metric} on {results['protocol']['dataset']}{direction}{codes}"
            yield title, ["method", *(f"{n} bits" for n in bits)], _rows(cells, bits, metric)


def _rows(cells: Sequence[Cell], bits: Sequence[int], metric: str) -> list[list[tuple[str, bool]]]:
    by_name: dict[str, dict[int, Cell]] = {}
    for cell in cells:
        if metric in cell["summary"]:
            by_name.setdefault(scheme_of(cell), {})[cell["bits"]] = cell
    means = {name: {n: cell["summary"][metric]["mean"] for n, cell in row.items()} for name, row in by_name.items()}
    choose = min if metric.startswith(_SMALLER_IS_BETTER) else max
    best = {n: choose((row[n] for row in means.values() if n in row), default=None) for n in bits}
    rows = []
    for name, row in by_name.items():
        texts = [
            (_value(row[n], metric), means[name][n] == best[n] and len(by_name) > 1) if n in row else ("", False)
            for n in bits
        ]
        rows.append([(name, False), *texts])
    return rows


def _value(cell: Cell, metric: str) -> str:
    summary = cell["summary"][metric]
    spread = f" ± {summary['sd']:.4f}" if len(cell["runs"]) > 1 else ""
    star = "*" if summary["p_holm"] is not None and summary["p_holm"] < SIGNIFICANT else ""
    return f"{summary['mean']:.4f}{spread}{star}"


def scheme_of(cell: Cell) -> str:
    """Name a cell's method with its quantiser."""
    return f"{cell['method']}+{cell['quantiser']}" if cell["quantiser"] else str(cell["method"])


def _names(results: Results) -> list[str]:
    return list(dict.fromkeys(name for cell in results["cells"] for name in cell["summary"]))


def _notes(results: Results) -> Iterator[str]:
    protocol = results["protocol"]
    parts = ", ".join(f"{name} {size:,}" for name, size in protocol["parts"].items())
    runs = protocol["runs"]
    shown = f"Mean ± standard deviation over {runs} runs" if runs > 1 else "1 run"
    bold = " Bold (`**` in the text): the best of a column." if len(set(map(scheme_of, results["cells"]))) > 1 else ""
    yield f"{shown}; {protocol['split']} split ({parts}).{bold}"
    if protocol["baseline"] and runs > 1:
        yield _tested(protocol["baseline"], runs)
    for cell in results["cells"]:
        texts = Counter(
            ", ".join(f"{k}={v}" for k, v in run["chosen"].items()) for run in cell["runs"] if run["chosen"]
        )
        if texts:
            of_all = f"{len(cell['runs'])} run{'' if len(cell['runs']) == 1 else 's'}"
            listed = "; ".join(f"{text} ({n} of {of_all})" for text, n in texts.most_common())
            yield f"Chosen on the validation parts for {scheme_of(cell)}, {cell['bits']} bits: {listed}."
    reasons = {(scheme_of(one), one["bits"], one["reason"]) for one in results.get("refused", ())}
    for name, n_bits, reason in sorted(reasons):
        yield f"{name}, {n_bits} bits, was refused: {reason}."


def _tested(baseline: str, runs: int) -> str:
    """Say what a star means, or that there are too few runs for one."""
    least = 2.0 ** (1 - runs)
    if least >= SIGNIFICANT:
        return f"With {runs} runs nothing can be marked: the least possible p is {least:.3g}; take more runs."
    return (
        f"`*`: other than {baseline} at the same bits, p < {SIGNIFICANT:g} by Wilcoxon's signed ranks "
        f"over runs with Holm's correction for all tests of the metric (no p is below {least:.3g} before it)."
    )


def _escaped(text: str) -> str:
    for sign in "&%$#_":
        text = text.replace(sign, "\\" + sign)
    return text.replace("±", r"$\pm$")
