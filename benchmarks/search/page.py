"""The tables of the grid, and what they come to in a few lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.common import table
from benchmarks.search import cells, data, ours
from benchmarks.search.cells import Group
from benchmarks.search.measure import ALL_WAYS, SLOW, WORTH
from benchmarks.search.peers import PEERS
from benchmarks.search.suite import Sizes

Results = Mapping[Group, Mapping[str, Any]]
WITHIN = 1.25  # times the better way that the planner may take
_FEW = 32  # a batch of fewer queries is marked
LEGEND = """Times are µs a query. *batch*: up to 1,000 queries in one call, as many as the time of a measurement allows,
the median of three interleaved repeats; `*` marks fewer than 32 queries, from which the rest is extrapolated in
proportion. *single*: one query a call, the median over the queries (each the median of three repeats) and the largest;
*1 thread*: the same with one thread, otherwise everyone has {threads}. *k-th or found*: median distance of the k-th
neighbour, or mean number of rows within the radius. *planner / best*: the planner's time over the shorter of scan and
buckets, for batches and single queries; in brackets where the planner takes less than {worth:.0f} µs. *over {slow}*:
single queries that take the planner more than {slow} times what they take the scan, and more than {worth:.0f} µs, of
those compared. A way without a time took over 3 s a query at a smaller k or radius."""
PEERS_LEGEND = """Each entry is batch / single (recall). A row as near as the true k-th counts as found, whichever row
it is. Recall is left out where it is 1 by construction and was found to be. Peers hold the same codes in memory.
NumPy answers a single query on one thread."""


def text(results: Results, sizes: Sizes, figures: Sequence[str] = ()) -> str:
    """Make the section."""
    expected = cells.groups(sizes.bits, sizes.sizes, sizes.datasets)
    legend = LEGEND.format(threads=sizes.n_threads, worth=WORTH * 1e6, slow=SLOW)
    parts = [
        _summary(results),
        *figures,
        "### Cells left out",
        _left_out(results, expected, sizes),
        "### hashdb",
        legend,
    ]
    for dataset in sizes.datasets:
        parts += [f"**{dataset}**", table(_OURS, [_ours(*cell) for cell in _cells(results, dataset)])]
    parts += ["### Peers", PEERS_LEGEND]
    for dataset in sizes.datasets:
        head = ("bits", "codes", "asked", "hashdb", "FAISS flat", "FAISS flat, 1 thread", *_peer_labels())
        parts += [f"**{dataset}**", table(head, [_peers(*cell) for cell in _cells(results, dataset)])]
    parts += [f"### Peers asked another way, {ALL_WAYS.name}", _further(results)]
    parts += ["### Building and the first query", _BUILD_LEGEND, table(_BUILD, list(_build(results)))]
    return "\n\n".join(parts)


def per_query(seconds: float | None, few: bool = False) -> str:
    """Write a time a query in microseconds, to three digits."""
    if seconds is None:
        return "–"
    value = seconds * 1e6
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}{'*' if few else ''}"


def _cells(results: Results, dataset: str) -> Iterator[tuple[Group, Mapping[str, Any]]]:
    for group in sorted(results):
        if group.data == dataset:
            for name, cell in results[group].items():
                if name != "build":
                    yield group, cell


def _summary(results: Results) -> str:
    found = [(group, cell) for group in results for name, cell in results[group].items() if name != "build"]
    lines = [
        f"{len(found)} cells over {len(results)} sets of codes. In each, the planner, the forced scan and the forced "
        "buckets gave the same ids and distances, and FAISS flat the same distances; a difference stops the run."
    ]
    return "\n".join(f"* {line}" for line in [*lines, *_errors(found)])


def planner(results: Results) -> str:
    """Make the section about the planner alone: how often it errs, and where."""
    found = [(group, cell) for group in results for name, cell in results[group].items() if name != "build"]
    rows = [
        (group.name, cell["question"], kind, f"{cell['planner'][kind]:.2f}", *_ways(cell[kind]))
        for group, cell in found
        for kind in ("batch", "single")
        if cell["planner"][f"{kind} counts"] and cell["planner"][kind] > WITHIN
    ]
    head = ("codes", "asked", "as", "planner / best", "planner", "scan", "buckets")
    rows.sort(key=lambda row: float(row[3]), reverse=True)
    parts = [
        f"{len(found)} cells over {len(results)} sets of codes, hashdb alone. Times are µs a query.",
        "\n".join(f"* {line}" for line in _errors(found)),
        table(head, rows) if rows else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _errors(found: Sequence[tuple[Group, Mapping[str, Any]]]) -> Iterator[str]:
    """Say how far the planner is from the better way, in lines."""
    for kind in ("batch", "single"):
        ratios = [(cell["planner"][kind], group, cell) for group, cell in found if cell["planner"][f"{kind} counts"]]
        if ratios:
            worst, group, cell = max(ratios, key=lambda one: one[0])
            within = sum(ratio <= WITHIN for ratio, _, _ in ratios)
            yield (
                f"Planner / best, {kind}: {within} of {len(ratios)} cells above {WORTH * 1e6:.0f} µs within {WITHIN}, "
                f"worst {worst:.2f} ({group.name}, {cell['question']})."
            )
    slow = sum(cell["planner"]["slow"] for _, cell in found)
    compared = sum(cell["planner"]["compared"] for _, cell in found)
    yield f"Single queries above {SLOW} x scan: {slow} of {compared:,}."


def _ways(times: Mapping[str, Any]) -> list[str]:
    return [per_query(times[f"hashdb {way}"]["median"]) if f"hashdb {way}" in times else "–" for way in ours.WAYS]


def _left_out(results: Results, expected: Sequence[Group], sizes: Sizes) -> str:
    lines = list(cells.left_out(sizes.bits, sizes.sizes, sizes.datasets))
    for group, one in sorted(results.items()):
        if "left out" in one.get("build", {}):
            lines.append(f"{group.name}: codes and tables take {one['build']['left out']}")
    reasons: dict[str, list[str]] = {}
    for group, one in sorted(results.items()):
        for peer in PEERS:
            if why := one.get("build", {}).get(peer.name, {}).get("left out"):
                reasons.setdefault(f"{peer.name}: {why}", []).append(group.name)
    lines += [f"{why} ({', '.join(names)})" for why, names in reasons.items()]
    lines += [f"{peer.name}: k up to {peer.most_k}" for peer in PEERS if peer.most_k < 1000]
    lines += [f"{peer.name}: no radius search" for peer in PEERS if not peer.has_radius]
    missing = [group.name for group in expected if group not in results]
    return "\n".join(f"* {line}" for line in lines + ([f"not run yet: {', '.join(missing)}"] if missing else []))


_OURS = (
    *("bits", "codes", "asked", "k-th or found"),
    *("planner, batch", "single", "max", "1 thread"),
    *("scan, batch", "single", "1 thread", "buckets, batch", "single", "max", "1 thread"),
    *("planner / best, batch", "single", f"over {SLOW}", "path of a batch"),
)


def _where(group: Group, cell: Mapping[str, Any]) -> list[str]:
    return [str(group.n_bits), f"{group.n:,}", cell["question"]]


def _ours(group: Group, cell: Mapping[str, Any]) -> list[str]:
    planner = cell["planner"]
    single, alone = cell["single"], cell["alone"]

    def of(times: Mapping[str, Any], way: str, value: str) -> str:
        return per_query(times.get(f"hashdb {way}", {}).get(value))

    return [
        *_where(group, cell),
        ", ".join(f"{value:,.1f}".removesuffix(".0") for value in cell["truth"].values()),
        *(_batch(cell, "hashdb planner"), of(single, "planner", "median"), of(single, "planner", "max")),
        of(alone, "planner", "median"),
        *(_batch(cell, "hashdb scan"), of(single, "scan", "median"), of(alone, "scan", "median")),
        *(_batch(cell, "hashdb buckets"), of(single, "buckets", "median"), of(single, "buckets", "max")),
        of(alone, "buckets", "median"),
        *(_ratio(planner[kind], planner[f"{kind} counts"]) for kind in ("batch", "single")),
        f"{planner['slow']} of {planner['compared']}",
        str(cell["stats"]["planner"].get("path", "–")),
    ]


def _ratio(value: float, counts: bool) -> str:
    return f"{value:.2f}" if counts else f"({value:.2f})"


def _batch(cell: Mapping[str, Any], label: str) -> str:
    found = cell["batch"].get(label)
    return per_query(found["median"], found["queries"] < _FEW) if found else "–"


def _peer_labels(ways: slice = slice(1)) -> list[str]:
    return [f"{peer.name} {way}".strip() for peer in PEERS if peer.name != "FAISS flat" for way in peer.ways[ways]]


def _further(results: Results) -> str:
    labels = ["hashdb planner", *_peer_labels(slice(1, None))]
    rows = [
        [group.data, *_where(group, cell), *(_entry(cell, label) for label in labels)]
        for dataset in data.DATASETS
        for group, cell in _cells(results, dataset)
        if cell["question"] == ALL_WAYS.name
    ]
    return table(("data", "bits", "codes", "asked", *labels), rows)


def _peers(group: Group, cell: Mapping[str, Any]) -> list[str]:
    alone = cell["alone"].get("FAISS flat", {}).get("median")
    labels = ("hashdb planner", "FAISS flat")
    entries = [_entry(cell, label) for label in labels]
    return [*_where(group, cell), *entries, per_query(alone), *(_entry(cell, label) for label in _peer_labels())]


def _entry(cell: Mapping[str, Any], label: str) -> str:
    if label not in cell["batch"]:
        return "–"
    recall = cell["batch"][label]["recall"]
    exact = label.startswith("hashdb") or any(peer.exact and label.startswith(peer.name) for peer in PEERS)
    shown = "" if recall is None or (exact and recall == 1) else f" ({recall:.3f})"
    return f"{_batch(cell, label)} / {per_query(cell['single'][label]['median'])}{shown}"


_BUILD = ("data", "bits", "codes", "what", "build", "bytes a code", "peak private memory", "first query cold / warm")
_BUILD_LEGEND = """hashdb builds from a file of codes to an index on disk, with its tables; the others from the mapped
file to memory. Peak private memory is what the process holds beyond its imports, mapped files apart (hashdb's codes and
tables are mapped: the line *asked* says what the queries took and how much of the files they touched). The first query
(k = 100) is asked in a fresh process that has imported everything and opened nothing, with the files dropped from the
page cache (in brackets what stayed) or in it; opening included."""


def _build(results: Results) -> Iterator[list[str]]:
    for group in sorted(results):
        build = results[group].get("build", {})
        for name in ("hashdb", "hashdb, asked", *(peer.name for peer in PEERS)):
            if name not in build or "left out" in build[name] or name in ("usearch exact", "NumPy"):
                continue  # the last two build nothing
            one = build[name]
            where = [group.data, str(group.n_bits), f"{group.n:,}", name]
            if name == "hashdb, asked":
                held = f"{_mebibytes(one['private'])}, mapped {_mebibytes(one['mapped'])}"
                yield [*where, "", "", held, ""]
                continue
            yield [
                *where,
                f"{one['seconds']:.2f} s",
                f"{one['bytes']:.1f}",
                _mebibytes(one["peak"]),
                _first(build) if name == ours.Ours.name else "",
            ]


def _first(build: Mapping[str, Any]) -> str:
    cold, warm = build.get("cold"), build.get("warm")
    if not cold or not warm:
        return ""
    times = [f"{(one['open'] + one['first']) * 1e3:.1f}" for one in (cold, warm)]
    return f"{times[0]} ({cold['cached']:.0%}) / {times[1]} ms"


def _mebibytes(size: float) -> str:
    return f"{size / 2**20:,.0f} MiB"
