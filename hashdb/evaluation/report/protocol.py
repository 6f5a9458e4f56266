"""The protocol in words: what was measured, on what, against what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hashdb.evaluation.report.document import Document, settings_text

_SPLITS = {
    "improved": "improved: the test queries search a database that shares no row with what was learned or tuned on",
    "standard": "standard: the test queries search every other row, training and validation rows included",
    "given": "given: the partition that comes with the data, whose training rows are the database",
}
_TRUTHS = {
    "labels": "a row is relevant to a query when they share a label",
    "nearest": "the nearest rows by their vectors are relevant",
    "epsilon": "rows closer than a distance epsilon by their vectors are relevant",
}
_UNMATCHED = {
    "error": "refused: something is relevant to every query",
    "count": "queries to which nothing is relevant are kept and count as 0",
}
_CODES = {
    "predicted": "predicted: each database row is encoded from its own vector, as any new row would be",
    "learned": "learned: the database rows were trained on, and keep the codes that training gave them",
}
_TIES = (
    "mAP and other measures of rankings are expected values over all orders of rows at equal distance; names that end "
    "in _optimistic and _pessimistic take the best and the worst order, _by_order the order of the rows"
)
_FEWEST_RUNS = 6  # two-sided, exact: 2 / 2^5 is above 0.05


def protocol(document: Document) -> list[tuple[str, str]]:
    """State the protocol as terms and what they are.

    Parameters
    ----------
    document : Document

    Returns
    -------
    list of (str, str)
    """
    facts = document.protocol
    lines = [
        ("Data", _data(facts)),
        ("Split", _SPLITS.get(facts.get("split", ""), str(facts.get("split") or "not stated"))),
        ("Parts", _parts(facts.get("parts") or {})),
        ("Relevant", _truth(facts.get("truth") or {})),
        ("No relevant row", _UNMATCHED.get(facts.get("unmatched") or "", "")),
        ("Queries and databases", "; ".join(direction for direction in document.directions if direction)),
        ("Training", _training(facts.get("train_by_method"))),
        ("Codes", f"{_listed(document.bits)} bits"),
        ("Database codes", "; ".join(_CODES[kind] for kind in document.kinds)),
        ("Runs", _runs(document)),
        ("Ties", _TIES),
        ("Intervals", "95 %, by bootstrap over the queries, of the mean over the runs"),
        ("Test", _test(document)),
        ("Tuning", _tuning(facts.get("tuning"))),
        ("Machine", str(document.results.get("machine") or "not stated")),
        ("Software", _software(document.results)),
    ]
    return [(term, text) for term, text in lines if text]


def marks(document: Document) -> str:
    """Explain the significance marks; empty where nothing could be marked."""
    if document.baseline is None or all(cell.summary("map", "p_holm") is None for cell in document.cells):
        return ""
    return (
        f"▲ higher and ▼ lower than {document.baseline} at the same number of bits: * p < 0.05, ** p < 0.01, "
        "*** p < 0.001 after Holm's correction. Without a mark no difference was shown, or none was tested."
    )


def _data(facts: Mapping[str, Any]) -> str:
    rows = facts.get("n_rows")
    dims = facts.get("dims") or {}
    widths = [f"{name} of {dim:,} dimensions" if name else f"{dim:,} dimensions" for name, dim in dims.items()]
    counted = [f"{rows:,} rows"] if isinstance(rows, int) else []
    return ", ".join([str(facts.get("dataset") or "not stated"), *counted, *widths])


def _parts(parts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {size:,}" if isinstance(size, int) else f"{name} {size}" for name, size in parts.items())


def _truth(truth: Mapping[str, Any]) -> str:
    settings = settings_text({name: value for name, value in truth.items() if name != "kind" and value is not None})
    kind = truth.get("kind") or "not stated"
    return f"{_TRUTHS.get(kind, kind)}{settings and f' ({settings})'}"


def _training(by_method: Any) -> str:
    if by_method is None:
        return ""
    return "every method learns from the training part" + (
        ", or from fewer of its rows by default" if by_method else ""
    )


def _runs(document: Document) -> str:
    seeds = sorted({run["seed"] for cell in document.cells for run in cell.raw["runs"] if run.get("seed") is not None})
    n_runs = document.protocol.get("runs")
    parts = [f"{n_runs}" if n_runs is not None else "not stated"]
    parts += [f"seed {document.protocol['seed']}"] if document.protocol.get("seed") is not None else []
    parts += [f"seeds of the runs {_listed(seeds)}"] if len(seeds) > 1 else []
    return ", ".join(parts)


def _listed(values: list[Any]) -> str:
    whole = all(isinstance(value, int) for value in values)
    if whole and len(values) > 3 and values == list(range(values[0], values[-1] + 1)):
        return f"{values[0]} to {values[-1]}"
    return ", ".join(map(str, values))


def _test(document: Document) -> str:
    n_runs = document.protocol.get("runs")
    if document.baseline is None:
        return "none: no baseline was evaluated"
    if not isinstance(n_runs, int) or n_runs < 2:
        return "none: a test needs several runs"
    text = (
        f"Wilcoxon's signed-rank test against {document.baseline} at the same number of bits, two-sided, paired over "
        "the runs, with Holm's correction for the number of tests of a measure"
    )
    if n_runs < _FEWEST_RUNS:
        return f"{text}; with {n_runs} runs p is never below {2 / 2**n_runs:.3g}, so nothing can be marked"
    return text


def _tuning(tuning: Mapping[str, Any] | None) -> str:
    if not tuning:
        return "none: parameters are those given, else the defaults"
    trials = tuning.get("trials")
    searched = f"{tuning.get('search', 'a')} search by {tuning.get('metric', 'map')} on the validation parts"
    limit = f", {trials} trials for a scheme" if trials else ""
    return f"{searched}{limit}; what was chosen stands with the parameters"


def _software(results: Mapping[str, Any]) -> str:
    versions = {"hashdb": results.get("hashdb"), **(results.get("versions") or {})}
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)
