"""The tables of a report as heads and rows of text; the template lays them out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hashdb.evaluation.report.document import CODES, Cell, Document, scheme_name, settings_text
from hashdb.evaluation.report.measures import chance, decimals, ordered, seconds, stars


@dataclass(frozen=True)
class Entry:
    """A cell of a table: its text, a second line, a significance mark and that mark in words, whether it is best."""

    text: str
    note: str = ""
    mark: str = ""
    spoken: str = ""
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table: the first ``n_headers`` entries of a row say what it is about."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Entry]]
    n_headers: int


def main_tables(document: Document) -> list[Table]:
    """Lay out mean average precision: a row for each scheme and kind of codes, a column for each length of code."""
    return [_main(document, direction) for direction in document.directions]


def comparisons(document: Document) -> Table | None:
    """Lay out the tests against the baseline; None where nothing was tested."""
    pairs = [(cell, document.reference(cell)) for cell in document.cells if cell.summary("map", "p") is not None]
    rows = [
        [
            *_names(document, cell),
            Entry(decimals(cell.summary("map", "mean"))),
            Entry(decimals(other.summary("map", "mean")) if other else "–", CODES[other.codes] if other else ""),
            Entry(chance(cell.summary("map", "p"))),
            _marked(document, cell, "map", chance(cell.summary("map", "p_holm"))),
        ]
        for cell, other in pairs
    ]
    if not rows:
        return None
    head = [*_heads(document), "mAP", f"mAP of {document.baseline}", "p", "p, Holm"]
    return Table(f"Mean average precision against {document.baseline}", head, rows, len(_heads(document)))


def measures_table(document: Document) -> Table:
    """Lay out every measure, mean and standard deviation over the runs."""
    names = ordered(document.metrics)
    rows = [
        [
            *_names(document, cell),
            *(
                _marked(document, cell, name, decimals(cell.summary(name, "mean")), _deviation(cell, name))
                for name in names
            ),
        ]
        for cell in document.cells
    ]
    return Table(
        "Every measure: mean ± standard deviation over runs", [*_heads(document), *names], rows, len(_heads(document))
    )


def times_table(document: Document) -> Table:
    """Lay out times and sizes."""
    rows = [
        [
            *_names(document, cell),
            *(Entry(seconds(cell.seconds(step))) for step in ("fit", "encode", "query")),
            Entry(str(cell.raw.get("n_stored_bits") or "–")),
            Entry(_size(cell)),
        ]
        for cell in document.cells
    ]
    head = [*_heads(document), "fit, s", "encode, s", "query, s", "stored bits", "bytes per code"]
    return Table("Seconds, median over runs, and size of a code", head, rows, len(_heads(document)))


def settings_table(document: Document) -> Table:
    """Lay out the parameters that were given, and those that tuning chose with the number of runs that chose them."""
    rows = [
        [*_names(document, cell), Entry(settings_text(cell.raw.get("params") or {}) or "defaults"), Entry(chosen(cell))]
        for cell in document.cells
    ]
    head = [*_heads(document), "given", "tuned"]
    return Table("Parameters of each scheme", head, rows, len(_heads(document)))


def refused_table(document: Document) -> Table | None:
    """Lay out what could not be measured, and why; None where all was."""
    refused = document.results.get("refused") or []
    lines = dict.fromkeys((scheme_name(one), str(one["bits"]), one["reason"]) for one in refused)
    if not lines:
        return None
    return Table("Not measured", ["scheme", "bits", "reason"], [[Entry(text) for text in line] for line in lines], 2)


def chosen(cell: Cell) -> str:
    """Say what tuning chose, most often chosen first."""
    texts = Counter(settings_text(run["chosen"]) for run in cell.raw["runs"] if run.get("chosen"))
    n_runs = len(cell.raw["runs"])
    return "; ".join(f"{text} ({count} of {n_runs} runs)" for text, count in texts.most_common()) or "–"


def _main(document: Document, direction: str) -> Table:
    here = [cell for cell in document.cells if cell.direction == direction]
    found = {(cell.scheme, cell.codes, cell.bits): cell for cell in here}
    means = {key: cell.summary("map", "mean") for key, cell in found.items()}
    keys = list(dict.fromkeys((cell.scheme, cell.codes) for cell in here))
    rows = []
    for scheme, codes in keys:
        row = [Entry(scheme), Entry(codes)]
        for bits in document.bits:
            cell, mean = found.get((scheme, codes, bits)), means.get((scheme, codes, bits))
            rivals = [
                value for (_, kind, n), value in means.items() if (kind, n) == (codes, bits) and value is not None
            ]
            row.append(_value(document, cell, best=mean is not None and mean == max(rivals)) if cell else Entry("–"))
        rows.append(row)
    caption = f"Mean average precision{direction and f', {direction}'}"
    return Table(caption, ["scheme", "database codes", *(f"{bits} bits" for bits in document.bits)], rows, 2)


def _value(document: Document, cell: Cell, best: bool) -> Entry:
    low, high = (cell.summary("map", key) for key in ("low", "high"))
    interval = f"{decimals(low)} to {decimals(high)}" if low is not None and high is not None else ""
    text = f"{decimals(cell.summary('map', 'mean'))} {_deviation(cell, 'map')}".strip()
    marked = _marked(document, cell, "map", text)
    return Entry(text, interval, marked.mark, marked.spoken, best)


def _deviation(cell: Cell, metric: str) -> str:
    deviation = cell.summary(metric, "sd")
    return "" if deviation is None else f"± {decimals(deviation)}"


def _marked(document: Document, cell: Cell, metric: str, text: str, after: str = "") -> Entry:
    """Mark a value that differs from the baseline's after Holm's correction, and say on which side it lies."""
    text = f"{text} {after}".strip()
    mark, other = stars(cell.summary(metric, "p_holm")), document.reference(cell)
    mean, reference = cell.summary(metric, "mean"), other.summary(metric, "mean") if other else None
    if not mark or mean is None or reference is None:
        return Entry(text)
    side, word = ("▲", "higher") if mean > reference else ("▼", "lower")
    limit = {"*": "0.05", "**": "0.01", "***": "0.001"}[mark]
    return Entry(text, mark=f"{side}{mark}", spoken=f"{word} than {document.baseline}, p below {limit}")


def _heads(document: Document) -> list[str]:
    return ["scheme", "bits", *(["direction"] if document.directions != [""] else []), "database codes"]


def _names(document: Document, cell: Cell) -> list[Entry]:
    direction = [Entry(cell.direction or "–")] if document.directions != [""] else []
    return [Entry(cell.scheme), Entry(str(cell.bits)), *direction, Entry(cell.codes)]


def _size(cell: Cell) -> str:
    sizes = {run["bytes_per_code"] for run in cell.raw["runs"] if run.get("bytes_per_code") is not None}
    return " or ".join(f"{size:g}" for size in sorted(sizes)) or "–"
