"""Figures of the grid: time a query against the number of codes, and recall against time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.search.cells import Group
from benchmarks.search.measure import ALL_WAYS
from benchmarks.search.peers import PEERS

_BITS, _K = 64, 100
_LINES = (
    "hashdb planner",
    "hashdb scan",
    "hashdb buckets",
    "FAISS flat",
    "FAISS MultiHash nflip 1",
    "FAISS IVF nprobe 8",
)
_STYLES = {"hashdb planner": ("black", "o", 2.0), "hashdb scan": ("tab:blue", ".", 1.0)}
Results = Mapping[Group, Mapping[str, Any]]


def draw(results: Results, folder: Path, datasets: Sequence[str]) -> list[Path]:
    """Write the figures as SVG and give their files."""
    import matplotlib

    matplotlib.use("Agg")
    # Text stays text and names do not change from run to run.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "hashdb", "font.size": 8})
    folder.mkdir(parents=True, exist_ok=True)
    return [_against_n(results, folder, datasets), _against_recall(results, folder, datasets)]


def _against_n(results: Results, folder: Path, datasets: Sequence[str]) -> Path:
    figure, axes = _panels(datasets)
    for axis, dataset in zip(axes, datasets, strict=True):
        groups = [g for g in sorted(results) if (g.data, g.n_bits) == (dataset, _BITS) and f"k={_K}" in results[g]]
        for label in _LINES:
            cells = [(group.n, results[group][f"k={_K}"]["batch"].get(label)) for group in groups]
            points = [(n, found["median"] * 1e6) for n, found in cells if found]
            if points:
                axis.plot(*zip(*points, strict=True), **_style(label))
        axis.set(xscale="log", yscale="log", title=dataset, xlabel="codes")
    axes[0].set_ylabel(f"µs a query in a batch, {_BITS} bits, k = {_K}")
    return _save(figure, axes, folder / "search-time.svg")


def _against_recall(results: Results, folder: Path, datasets: Sequence[str]) -> Path:
    figure, axes = _panels(datasets)
    ours = ("hashdb planner", "FAISS flat")
    labels = [*ours, *(f"{peer.name} {way}" for peer in PEERS if not peer.exact for way in peer.ways)]
    for axis, dataset in zip(axes, datasets, strict=True):
        group = _recall_group(results, dataset)
        batch = results[group][ALL_WAYS.name]["batch"] if group else {}
        for label in labels:
            if label in batch:
                axis.plot(
                    [batch[label]["median"] * 1e6], [batch[label]["recall"]], **{**_style(label), "linestyle": ""}
                )
        axis.set(
            xscale="log", title=f"{dataset}, {group.n:,} codes" if group else dataset, xlabel="µs a query in a batch"
        )
        axis.set_ylim(-0.03, 1.03)
    axes[0].set_ylabel(f"recall, {_BITS} bits, {ALL_WAYS.name}")
    return _save(figure, axes, folder / "search-recall.svg")


def _recall_group(results: Results, dataset: str) -> Group | None:
    """Choose the largest set of codes of which graphs were built too."""
    found = [
        group
        for group in sorted(results)
        if (group.data, group.n_bits) == (dataset, _BITS)
        and "FAISS HNSW ef 64" in results[group].get(ALL_WAYS.name, {}).get("batch", {})
    ]
    return found[-1] if found else None


def _panels(datasets: Sequence[str]) -> tuple[Any, Any]:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(datasets), figsize=(3.1 * len(datasets), 3.0), sharey=True, squeeze=False, layout="constrained"
    )
    return figure, axes[0]


def _style(label: str) -> dict[str, Any]:
    markers = "o.s^vDx+*<>ph"
    every = [*_LINES, *(f"{peer.name} {way}".strip() for peer in PEERS for way in peer.ways)]
    number = list(dict.fromkeys(every)).index(label)
    colour, marker, width = _STYLES.get(label, (f"C{number % 10}", markers[number % len(markers)], 1.0))
    return {"color": colour, "marker": marker, "linewidth": width, "markersize": 4, "label": label}


def _save(figure: Any, axes: Any, path: Path) -> Path:
    from matplotlib import pyplot

    entries: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
        axis.grid(alpha=0.3)
    if entries:
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path
