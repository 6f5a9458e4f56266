"""Tables of sentence embeddings: one bit, equal bytes, labels."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.common import table
from benchmarks.reproduction import comparisons
from benchmarks.reproduction.cells import Cells
from benchmarks.reproduction.comparisons import full_precision


def one_bit() -> str:
    """Lay out one bit a dimension, alone and re-ranked."""
    rows = []
    for cell in Cells("one-bit").all:
        (full,) = Cells("one-bit").where(data=cell["data"], codes="float32")
        size = cell["dim"] * 4 if cell["codes"] == "float32" else cell["dim"] // 8
        kept = f"{cell['precision@10'] / full['precision@10']:.1%}"
        depth = cell["depth"] or "–"
        rows.append(
            (
                f"`{cell['data']}`",
                cell["codes"],
                size,
                depth,
                f"{cell['precision@10']:.3f}",
                kept,
                f"{cell['recall@10']:.3f}",
            )
        )
    head = (
        "data",
        "codes",
        "bytes scanned",
        "re-ranked",
        "precision@10 by class",
        "of the float's",
        "recall@10 of its neighbours",
    )
    return table(head, rows)


def matched_bytes(kind: str) -> Callable[[], str]:
    """Lay out recall, and speed in brackets, at equal bytes; ``kind`` is empty or re-ranked."""

    def rows() -> str:
        cells = Cells("matched-bytes")
        again = f"{kind}, " if kind else ""
        listed = []
        for data, n_bytes in comparisons.budgets():
            found = {cell["way"]: cell for cell in cells.where(data=data, bytes=n_bytes)}
            (n_lists,) = {way.split()[-2] for way in found if way.startswith("IVF-PQ")}
            ways = [f"IVF-PQ, {again}{n} of {n_lists} lists" for n in (1, 8, 32, n_lists)]
            shown = [found[way] for way in (f"itq, {again}".strip(", "), *ways)]
            values = (f"{cell['recall@10']:.3f} ({_times(cell['times_as_fast'])})" for cell in shown)
            listed.append((f"`{data}`", n_bytes, *values))
        lists = (f"IVF-PQ, {n}" for n in ("1 list", "8 lists", "32 lists", "all 128"))
        return table(("data", "bytes", "`itq`", *lists), listed)

    return rows


def _times(value: float) -> str:
    return f"{value:.1f}x" if value >= 1 else f"{value:.2f}x"


def supervised() -> str:
    """Lay out 8-byte codes beside the float."""
    rows = []
    for split, one in zip(("improved", "standard"), comparisons.supervised(), strict=True):
        name = f"texts-{split}"
        cells, full = Cells(name), full_precision(name)
        rows.append((split, "float32, cosine", "1,536", f"{full:.3f}", "1.00", ""))
        for scheme in cells.schemes():
            value = cells.mean("map", scheme=scheme)
            best = one.verdict if abs(value / full - one.ours) < 1e-12 else ""
            rows.append((split, f"`{scheme}`", "8", cells.spread("map", scheme=scheme), f"{value / full:.2f}", best))
    return table(("split", "codes", "bytes", "class mAP", "times the float", "verdict"), rows)
