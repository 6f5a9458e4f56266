"""Tables of the finished cells, each number under the policy of database codes that it holds for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.common import table
from benchmarks.crossmodal.cells import BITS
from benchmarks.methods.kept import read
from benchmarks.methods.lines import spread

RESULTS = Path(__file__).parent / "results.json"
Cells = list[dict[str, Any]]

# Of an independent program, for the same file and definition of mean average precision: image to text, then text to
# image, at each width.
INDEPENDENT = {
    ("cvh", "predicted"): (0.1651, 0.1511, 0.1497, 0.1581, 0.1410, 0.1301),
    ("imh", "predicted"): (0.1625, 0.1466, 0.1362, 0.1471, 0.1251, 0.1116),
    ("cmfh", "predicted"): (0.2187, 0.2354, 0.2425, 0.2020, 0.2240, 0.2342),
    ("cmfh", "learned"): (0.2061, 0.2222, 0.2303, 0.4770, 0.5121, 0.5260),
    ("scm", "predicted"): (0.2232, 0.2387, 0.2458, 0.2157, 0.2397, 0.2491),
    ("sephkm", "learned"): (0.3190, 0.3413, 0.3479, 0.6993, 0.7449, 0.7420),
}


def cells(data: str) -> Cells:
    """Give the finished cells of a data set, in the order of the grid."""
    return [cell for cell in read(RESULTS) if cell["data"] == data]


def by_method(found: Cells) -> dict[str, Cells]:
    """Group cells by method and variant, as people read it."""
    groups: dict[str, Cells] = {}
    for cell in found:
        groups.setdefault(f"`{cell['method']}` {cell['variant']}".strip(), []).append(cell)
    return groups


def quality(data: str, measure: str) -> str:
    """Lay out one row a method and policy, with every direction of two modalities at every width."""
    found = cells(data)
    directions = _across(found)
    queries = [direction.split(" > ")[0] for direction in directions]
    head = [
        "method",
        "learns from",
        "database codes",
        *(f"{way.replace(' > ', ' → ')}, {n}" for way in directions for n in BITS),
    ]
    rows = []
    for method, group in by_method(found).items():
        for policy, ways in (("predicted", directions), ("learned", queries)):
            values = [_spread(group, policy, way, n_bits, measure) for way in ways for n_bits in BITS]
            if any(value != "–" for value in values):
                rows.append([method, _learned_from(group), policy, *values])
    return table(head, rows)


def quality_of_three(data: str, measure: str) -> str:
    """Lay out the mean over all ordered pairs of more than two modalities, and the worst of them."""
    found = cells(data)
    head = ["method", "learns from", "database codes", *(f"{n} bits" for n in BITS), *(f"{n}, worst" for n in BITS)]
    rows = []
    for method, group in by_method(found).items():
        for policy, ways in (("predicted", _across(found)), ("learned", _queries(found))):
            columns: list[list[str]] = [[], []]
            for n_bits in BITS:
                values = [_values(group, policy, way, n_bits, measure) for way in ways]
                together = [mean(seed) for seed in zip(*values, strict=True)] if all(values) else []
                columns[0].append(spread(together))
                columns[1].append(spread(min(values, key=mean)) if all(values) and values else "–")
            if any(value != "–" for value in columns[0]):
                method = method if group[0]["n_models"] == 1 else f"{method}, two at a time"
                rows.append([method, _learned_from(group), policy, *columns[0], *columns[1]])
    return table(head, rows)


def policies(data: str, n_bits: int, measure: str) -> str:
    """Lay out, for each direction, codes predicted of rows that did not train and that did, and learned codes."""
    found = cells(data)
    directions = _across(found)
    head = ["method", "learns from"]
    for way in directions:
        shown = way.replace(" > ", " → ")
        head += [f"{shown}: predicted, unseen", "predicted, trained", "learned"]
    rows = []
    for method, group in by_method(found).items():
        values = [
            _spread(group, policy, way if policy != "learned" else way.split(" > ")[0], n_bits, measure)
            for way in directions
            for policy in ("unseen", "predicted", "learned")
        ]
        rows.append([method, _learned_from(group), *values])
    return table(head, rows)


def against_independent() -> str:
    """Lay out our figures of Wikipedia beside those of an independent program, ties by order."""
    groups = by_method(cells("wiki10"))
    directions = _across(cells("wiki10"))
    head = ["method", "database codes", *(f"{way.replace(' > ', ' → ')}, {n}" for way in directions for n in BITS)]
    rows = []
    for (method, policy), theirs in INDEPENDENT.items():
        ways = [way if policy == "predicted" else way.split(" > ")[0] for way in directions]
        ours = [_values(groups.get(f"`{method}`", []), policy, way, n, "map_by_order") for way in ways for n in BITS]
        pairs = zip(ours, theirs, strict=True)
        rows.append([f"`{method}`", policy, *(f"{mean(one):.3f} ({two:.3f})" if one else "–" for one, two in pairs)])
    return table(head, rows)


def refusals(data: str) -> str:
    """List what was refused, with the methods' own words."""
    lines: dict[str, list[str]] = {}
    for cell in cells(data):
        if "refused" in cell:
            lines.setdefault(f"`{cell['method']}` {cell['variant']}: {cell['refused']}", []).append(str(cell["n_bits"]))
    return "\n".join(f"* {line} ({', '.join(dict.fromkeys(widths))} bits)" for line, widths in lines.items())


def bias(data: str, n_bits: int) -> str:
    """Lay out how codes of unseen pairs lean to a modality, means over seeds."""
    found = [cell for cell in cells(data) if cell["n_bits"] == n_bits and cell.get("bias")]
    names = list(found[0]["bias"]["ones"]) if found else []
    head = [
        "method",
        *(f"{name}: bits off balance" for name in names),
        "difference of shares",
        "agreement",
        "bits that agree",
        *(f"{name}: own modality in 10" for name in names),
    ]
    rows = []
    for method, group in by_method(found).items():
        each = [_leaning(cell["bias"], names) for cell in group]
        rows.append([method, *(f"{mean(column):.2f}" for column in zip(*each, strict=True))])
    return table(head, rows)


def _learned_from(group: Cells) -> str:
    return "labels" if group[0]["takes_labels"] else "pairs"


def _leaning(found: dict[str, Any], names: list[str]) -> Iterator[float]:
    ones, kappa = found["ones"], next(iter(found["agreement"].values()))
    for name in names:
        yield mean(abs(share - 0.5) for share in ones[name])
    yield mean(abs(one - other) for one, other in zip(ones[names[0]], ones[names[1]], strict=True))
    yield mean(kappa)
    yield mean(float(value >= 0.1) for value in kappa)
    for name in names:
        yield found["own"][name]


def _across(found: Cells) -> list[str]:
    ways = next((list(cell["predicted"]) for cell in found if "predicted" in cell), [])
    return [way for way in ways if way.split(" > ")[0] != way.split(" > ")[1]]


def _queries(found: Cells) -> list[str]:
    return list(dict.fromkeys(way.split(" > ")[0] for way in _across(found)))


def _values(group: Cells, policy: str, way: str, n_bits: int, measure: str) -> list[float]:
    return [cell[policy][way][measure] for cell in group if cell["n_bits"] == n_bits and way in cell.get(policy, {})]


def _spread(group: Cells, policy: str, way: str, n_bits: int, measure: str) -> str:
    return spread(_values(group, policy, way, n_bits, measure))
