"""All tables of docs/reproduction.md, by name."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.common import table
from benchmarks.crossmodal import tables as crossmodal
from benchmarks.reproduction import comparisons, tables_embeddings, tables_pairs, tables_vectors
from benchmarks.reproduction.cells import Cells
from benchmarks.reproduction.published import Comparison


def summary() -> str:
    """Count the figures inside their bands, by section."""
    sections: dict[str, list[Comparison]] = {}
    for one in comparisons.everything():
        sections.setdefault(one.section, []).append(one)
    rows = []
    for section, found in sections.items():
        outside = [f"{one.what} ({one.verdict.strip('*')})" for one in found if not one.is_inside]
        listed = "; ".join(outside) if len(outside) <= 4 else f"{len(outside)}, listed below"
        rows.append((section, len(found), sum(one.is_inside for one in found), listed or "none"))
    return table(("what", "figures", "inside", "outside"), rows)


def resources() -> str:
    """Lay out the time and memory of Experiment 1."""
    results = Cells("unsupervised").results[0]
    used = results["measured"]
    facts = (
        ("fits, each with an index that 1,000 queries rank whole", sum(len(cell["runs"]) for cell in results["cells"])),
        ("processes that measure", used["jobs"]),
        ("processor time, all processes", f"{used['cpu_seconds']:.0f} s"),
        ("wall time, the machine shared with other work", f"{used['seconds']:.0f} s"),
        ("most memory at once, all processes together", f"{used['peak_bytes'] / 2**30:.2f} GiB"),
    )
    return table(("what", "measured"), facts)


TABLES: dict[str, Callable[[], str]] = {
    "summary": summary,
    "unsupervised": tables_vectors.unsupervised,
    "flatness": tables_vectors.flatness,
    "resources": resources,
    "labels": tables_vectors.labels,
    "label-bands": tables_vectors.label_bands,
    "share": tables_vectors.share,
    "wiki-given": lambda: crossmodal.quality("wiki10", "map_by_order"),
    "wiki-independent": tables_pairs.wiki_published("independent"),
    "wiki-remembered": tables_pairs.wiki_published("remembered"),
    "wiki-improved": tables_pairs.wiki_improved,
    "wiki-bias": lambda: crossmodal.bias("wiki10", 32),
    "sift-0.1": tables_vectors.sift_order("sift-0.1", 0),
    "sift-1": tables_vectors.sift_order("sift-1", 1),
    "sift-recall": tables_vectors.sift_recall,
    "sift-lookup": tables_vectors.sift_lookup,
    "quantisers": tables_vectors.quantisers,
    "quantiser-claims": tables_vectors.quantiser_claims,
    "one-bit": tables_embeddings.one_bit,
    "matched-bytes": tables_embeddings.matched_bytes(""),
    "matched-bytes-re-ranked": tables_embeddings.matched_bytes("re-ranked"),
    "supervised": tables_embeddings.supervised,
}
