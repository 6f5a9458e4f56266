"""The measures by name: their order, what they mean, and how their values are written."""

from __future__ import annotations

import re

# In the order of the tables; {} stands for what follows the name.
_MEANINGS = (
    (r"map", "mean average precision over the whole ranking, expected over all orders of ties"),
    (r"map_by_order", "mean average precision with ties in the order of the rows, as most papers publish it"),
    (r"map_optimistic", "mean average precision where ties have their best order"),
    (r"map_pessimistic", "mean average precision where ties have their worst order"),
    (r"map@(\d+)", "mean average precision of the first {} rows, expected over ties"),
    (r"map@(\d+)_(\w+)", "mean average precision of the first {} rows, with another order of ties"),
    (
        r"auprc",
        "area under the precision-recall curve of all pairs of a query and a row, from the first recall it reaches",
    ),
    (r"precision@(\d+)", "share of the first {} rows that is relevant"),
    (r"precision@(\d+)_by_order", "share of the first {} rows that is relevant, with ties in the order of the rows"),
    (r"recall@(\d+)", "share of the relevant rows that is among the first {}"),
    (r"recall@(\d+)_by_order", "share of the relevant rows among the first {}, with ties in the order of the rows"),
    (r"ndcg@(\d+)", "normalised discounted cumulative gain of the first {} rows"),
    (r"precision_within_(\d+)", "share that is relevant of the rows within distance {}; 0 where there are none"),
    (r"recall_within_(\d+)", "share of the relevant rows within distance {}"),
    (r"f1_within_(\d+)", "harmonic mean of precision and recall within distance {}"),
    (r"queries_without_relevant", "number of queries to which nothing is relevant"),
    (r"bit_balance_mean", "how far from a half the share of ones in a bit is, mean over the bits"),
    (r"bit_balance_worst", "how far from a half the share of ones in a bit is, of the worst bit"),
    (r"bit_correlation", "mean absolute correlation of two bits"),
    (r"constant_bits", "number of bits that are the same in every code"),
    (r"distinct_codes", "number of different codes"),
    (r"quantisation_error", "mean squared distance of a row's projections from their signs"),
    (r"quantisation_error_scaled", "the same a bit, after the scaling that makes it least"),
    (r"(?:empty@|nothing_within_)(\d+)", "share of the queries with no row within distance {}"),
)
_MARKS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


def ordered(names: list[str]) -> list[str]:
    """Put measures in the order of the tables: known ones first, by cut, then the others as they came."""
    return sorted(names, key=_place)


def meaning(name: str) -> str:
    """Say what a measure is; empty for one that is not known here."""
    found = _match(name)
    return found[1].format(*found[2].groups()) if found else ""


def decimals(value: float | None) -> str:
    """Write a measure with three decimals; a large one, such as a number of codes, without."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3f}"


def seconds(value: float | None) -> str:
    """Write a time in seconds with three digits."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def chance(p: float | None) -> str:
    """Write a p-value."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def stars(p: float | None) -> str:
    """Mark a p-value: ``*`` below .05, ``**`` below .01, ``***`` below .001."""
    return next((mark for limit, mark in _MARKS if p is not None and p < limit), "")


def _match(name: str) -> tuple[int, str, re.Match[str]] | None:
    for place, (pattern, text) in enumerate(_MEANINGS):
        match = re.fullmatch(pattern, name)
        if match:
            return place, text, match
    return None


def _place(name: str) -> tuple[int, int]:
    found = _match(name)
    if not found:
        return len(_MEANINGS), 0
    cut = found[2].group(1) if found[2].groups() else "0"
    return found[0], int(cut)
