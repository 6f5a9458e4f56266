"""The figure of modality bias: the share of unseen pairs that has each bit, by modality, and how far the two agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.crossmodal.tables import by_method, cells

FOLDER = Path(__file__).parents[2] / "docs" / "figures"
_COLUMNS = 5


def draw(data: str = "wiki10", n_bits: int = 32, folder: Path = FOLDER) -> Path | None:
    """Write the figure as SVG, a panel for each method; None where nothing was measured."""
    found = [cell for cell in cells(data) if (cell["n_bits"], cell["seed"]) == (n_bits, 0) and cell.get("bias")]
    if not found:
        return None
    import matplotlib

    matplotlib.use("Agg")
    # Text stays text and names do not change from run to run.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "hashdb", "font.size": 8})
    from matplotlib import pyplot

    n_rows = -(-len(found) // _COLUMNS)
    figure, axes = pyplot.subplots(
        n_rows, _COLUMNS, figsize=(10, 1.9 * n_rows + 0.5), sharex=True, sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axis, (method, group) in zip(axes.flat, by_method(found).items(), strict=False):
        _panel(axis, method, group[0]["bias"], n_bits)
    for axis in axes.flat[len(found) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("share of pairs")
    for axis in axes[-1]:
        axis.set_xlabel("bit")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "cross-modal-bias.svg"
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def _panel(axis: Any, method: str, found: dict[str, Any], n_bits: int) -> None:
    places = np.arange(1, n_bits + 1)
    (pair, kappa), *_ = found["agreement"].items()
    axis.bar(places, kappa, width=1.0, color="0.8", label=f"agreement beyond chance, {pair}")
    for (name, share), colour, marker in zip(found["ones"].items(), ("tab:blue", "tab:orange"), "ox", strict=False):
        axis.plot(
            places, share, color=colour, marker=marker, markersize=2.5, linewidth=0.6, label=f"{name} has the bit"
        )
    axis.axhline(0.5, color="0.5", linewidth=0.5, linestyle=":")
    axis.set_title(f"{method.replace('`', '')}: {np.mean(kappa):.2f}")
    axis.set_ylim(-0.2, 1.05)
