"""Every figure of ours that has a published one, with its band."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean

from benchmarks.crossmodal import tables as crossmodal
from benchmarks.reproduction import published
from benchmarks.reproduction.cells import Cells
from benchmarks.reproduction.published import Comparison, band

BITS = (16, 32, 64)
UNSUPERVISED = ("lsh", "pcah", "sh", "itq")
DIRECTIONS = ("image > text", "text > image")


def everything() -> list[Comparison]:
    """Give all comparisons, in the order of the page."""
    parts = (unsupervised, labels, wiki, sift, quantisers, one_bit, matched_bytes, supervised)
    return [one for part in parts for one in part()]


def unsupervised() -> Iterator[Comparison]:
    """Compare methods without labels on CIFAR-10."""
    cells = Cells("unsupervised")
    for method in UNSUPERVISED:
        for bits in BITS:
            ours = cells.mean("map_by_order", method=method, bits=bits)
            yield Comparison("Experiment 1", f"{method} {bits}", ours, *band(published.cifar(method, bits)))


def labels() -> Iterator[Comparison]:
    """Compare KSH with its published figures, and its gain over ITQ."""
    cells = Cells("labels-standard")
    gains = band(published.KSH_OVER_ITQ)
    for bits in BITS:
        ksh, itq = (cells.mean("map_by_order", method=method, bits=bits) for method in ("ksh", "itq"))
        yield Comparison("Experiment 2", f"ksh {bits}", ksh, *band(published.cifar("ksh", bits)))
        yield Comparison("Experiment 2", f"ksh / itq {bits}", ksh / itq, *gains)


def wiki() -> Iterator[Comparison]:
    """Compare cross-modal methods with an independent program, then with a remembered table."""
    groups = crossmodal.by_method(crossmodal.cells("wiki10"))
    sources = (("independent", crossmodal.INDEPENDENT), ("remembered", published.WIKI_REMEMBERED))
    for source, rows in sources:
        for (method, policy), theirs in rows.items():
            for (way, bits), value in zip(((w, b) for w in DIRECTIONS for b in BITS), theirs, strict=True):
                ours = _wiki_values(groups.get(f"`{method}`", []), policy, way, bits)
                if ours:
                    what = f"{method} {policy} {way} {bits}"
                    yield Comparison(f"Experiment 3, {source}", what, mean(ours), *band([value]))


def _wiki_values(group: crossmodal.Cells, policy: str, way: str, bits: int) -> list[float]:
    key = way if policy == "predicted" else way.split(" > ")[0]
    return [
        cell[policy][key]["map_by_order"] for cell in group if cell["n_bits"] == bits and key in cell.get(policy, {})
    ]


def sift() -> Iterator[Comparison]:
    """Compare the order of methods with that on SIFT1M, and the failing of lookups."""
    for column, name in enumerate(("sift-0.1", "sift-1")):
        cells = Cells(name)
        for number, bits in enumerate(published.SIFT_BITS):
            theirs = {scheme: values[column][number] for scheme, values in published.SIFT.items()}
            ours = {scheme: cells.mean("map_by_order", scheme=scheme, bits=bits) for scheme in theirs}
            kept, apart = published.order_kept(theirs, ours)
            yield Comparison("SIFT, order of methods", f"{name} {bits}", kept / apart, 0.8, 1.0)
    cells = Cells("sift-1")
    for scheme in published.SIFT_LOOKUP:
        found = cells.mean("recall_within_2", scheme=scheme, bits=64)
        yield Comparison("SIFT, lookups", f"{scheme} 64", found, 0.0, published.LOOKUP_FAILS_BELOW)


def quantisers() -> Iterator[Comparison]:
    """Compare the largest gains of NPQ and VBQ on LSH over the best uniform quantiser with what the papers claim."""
    cells = Cells("quantisers")
    for quantiser, most in published.AT_MOST.items():
        best = max(
            cells.mean("auprc", scheme=f"lsh+{quantiser}", bits=bits)
            / max(cells.mean("auprc", scheme=scheme, bits=bits) for scheme in ("lsh", "lsh+dbq", "lsh+mhq"))
            - 1
            for bits in BITS
        )
        yield Comparison("Quantisers", f"{quantiser} on lsh, best gain", best, 0.0, most)


def gains(quantiser: str) -> dict[tuple[str, int], float]:
    """Give the relative gain in AUPRC over one bit, by projection and width."""
    cells = Cells("quantisers")
    return {
        (method, bits): cells.mean("auprc", scheme=f"{method}+{quantiser}", bits=bits)
        / cells.mean("auprc", scheme=method, bits=bits)
        - 1
        for method in ("lsh", "pcah", "itq")
        for bits in BITS
    }


def one_bit() -> Iterator[Comparison]:
    """Compare what re-ranking recovers, what margins recover, and what the threshold is worth."""
    texts = one_bit_cells("newsgroups20-minilm")
    full = texts["float32", 0]["precision@10"]
    for codes in ("sign at zero", "sign at the mean", "itq"):
        kept = texts[codes, 100]["precision@10"] / full
        least = published.RERANKED_KEEPS
        yield Comparison("Finding (a)", f"{codes}, re-ranked", kept, least, 1 / least)
    margins = texts["itq, margins", 100]["precision@10"] / full
    yield Comparison("Finding (a)", "itq, by margins", margins, published.MARGINS_KEEP, 1.0)
    moved = (texts["sign at the mean", 0]["precision@10"] - texts["sign at zero", 0]["precision@10"]) / full
    most = published.CENTRED_MOVES
    yield Comparison("Finding (a)", "the mean for zero, centred vectors", moved, -most, most)


def one_bit_cells(data: str) -> dict[tuple[str, int], dict[str, float]]:
    """Give the cells of a data set by codes and depth."""
    return {(cell["codes"], cell["depth"]): cell for cell in Cells("one-bit").where(data=data)}


def matched_bytes() -> Iterator[Comparison]:
    """Compare re-ranked codes with re-ranked IVF-PQ of as many bytes: its best, and with eight lists."""
    cells = Cells("matched-bytes")
    for section, lists in (("Finding (b), the best of IVF-PQ", ""), ("Finding (b), IVF-PQ with 8 lists", "8 of")):
        for data, n_bytes in budgets():
            facts = {"data": data, "bytes": n_bytes}
            ours = cells.one(**facts, way="itq, re-ranked")["recall@10"]
            theirs = [
                cell["recall@10"]
                for cell in cells.where(**facts)
                if cell["way"].startswith(f"IVF-PQ, re-ranked, {lists}")
            ]
            yield Comparison(section, f"{data} {n_bytes}", ours / max(theirs), 1.0, float("inf"))


def budgets() -> list[tuple[str, int]]:
    """Give data sets with their bytes a vector, in the order measured."""
    return list(dict.fromkeys((cell["data"], cell["bytes"]) for cell in Cells("matched-bytes").all))


def supervised() -> Iterator[Comparison]:
    """Compare the best supervised code of 8 bytes with the float, under both splits."""
    for split in ("improved", "standard"):
        cells, full = Cells(f"texts-{split}"), full_precision(f"texts-{split}")
        best = max(cells.mean("map", scheme=scheme) for scheme in cells.schemes())
        yield Comparison("Finding (c)", split, best / full, published.SUPERVISED_TIMES, float("inf"))


def full_precision(experiment: str, vectors: str = "cosine") -> float:
    """Give the class mAP of uncompressed vectors."""
    return float(Cells("full-precision").one(experiment=experiment, vectors=vectors)["map"])
