"""Tables of CIFAR-10 and SIFT: methods with and without labels, neighbours, quantisers."""

from __future__ import annotations

from collections.abc import Callable
from statistics import mean

from benchmarks.common import table
from benchmarks.reproduction import comparisons, published
from benchmarks.reproduction.cells import Cells, difference
from benchmarks.reproduction.comparisons import BITS, full_precision
from benchmarks.reproduction.published import Comparison


def unsupervised() -> str:
    """Lay out Experiment 1 beside published figures."""
    cells = Cells("unsupervised")
    rows = []
    for one in comparisons.unsupervised():
        method, bits = one.what.split()
        facts = {"method": method, "bits": int(bits)}
        p = cells.one(**facts)["summary"]["map"]["p_holm"]
        found = ", ".join(f"{value:.3f}" for value in published.cifar(method, int(bits)))
        independent = published.INDEPENDENT.get(method, {}).get(int(bits))
        shown = "–" if method == "pcah" else found
        rows.append(
            (
                f"`{method}`",
                bits,
                cells.spread("map_by_order", **facts),
                cells.spread("map", **facts),
                shown,
                "–" if independent is None else f"{independent:.3f}",
                _band(one),
                one.verdict,
                "" if p is None else f"{p:.3f}",
            )
        )
    head = ("method", "bits", "here", "tie-aware", "published", "independent", "band", "verdict", "p against `lsh`")
    return table(head, rows)


def flatness() -> str:
    """Lay out what the floats find that the codes are made of."""
    cells = Cells("unsupervised")
    rows = [
        (f"`{method}` codes", *(f"{cells.mean('map', method=method, bits=bits):.3f}" for bits in BITS))
        for method in comparisons.UNSUPERVISED
    ]
    rows.append(
        ("as many principal components, floats", *(f"{full_precision('unsupervised', f'pca {n}'):.3f}" for n in BITS))
    )
    rows.append(("all 512 numbers, floats", *[f"{full_precision('unsupervised', 'l2'):.3f}"] * 3))
    rows.append(
        (
            "mean correlation of `itq`'s bits",
            *(f"{cells.mean('bit_correlation', method='itq', bits=bits):.3f}" for bits in BITS),
        )
    )
    return table(("ranking by", *(f"{bits} bits" for bits in BITS)), rows)


def labels() -> str:
    """Lay out ITQ and KSH under both splits, side by side."""
    improved, standard = Cells("labels-improved"), Cells("labels-standard")
    rows = []
    for bits in BITS:
        for method in ("itq", "ksh"):
            facts = {"method": method, "bits": bits}
            both = [cells.values("map_by_order", **facts) for cells in (improved, standard)]
            gain = [
                cells.mean("map_by_order", **facts) / cells.mean("map_by_order", method="itq", bits=bits)
                for cells in (improved, standard)
            ]
            rows.append(
                (
                    f"`{method}`",
                    bits,
                    improved.spread("map_by_order", **facts),
                    standard.spread("map_by_order", **facts),
                    difference(both[1], both[0]),
                    *(("", "") if method == "itq" else (f"{value:.2f}" for value in gain)),
                )
            )
    head = ("method", "bits", "improved", "standard", "standard - improved", "over `itq`, improved", "standard")
    return table(head, rows)


def label_bands() -> str:
    """Lay out KSH beside published figures."""
    rows = []
    for one in comparisons.labels():
        method, bits = one.what.rsplit(" ", 1)
        theirs = published.cifar("ksh", int(bits)) if method == "ksh" else published.KSH_OVER_ITQ
        listed = ", ".join(f"{value:.3f}" if method == "ksh" else f"{value:.2f}" for value in theirs)
        rows.append((f"`{method}`", bits, f"{one.ours:.3f}", listed, _band(one), one.verdict))
    return table(("what", "bits", "here, standard split", "published", "band", "verdict"), rows)


def share() -> str:
    """Lay out what 20,000 training rows in the database do."""
    rows = []
    for method in ("itq", "sdh"):
        both = [
            Cells(f"share-{split}").values("map_by_order", method=method, bits=32) for split in ("improved", "standard")
        ]
        rows.append((f"`{method}`", *(f"{mean(values):.3f}" for values in both), difference(both[1], both[0])))
    return table(("method", "improved", "standard", "standard - improved"), rows)


def sift_order(name: str, column: int) -> Callable[[], str]:
    """Lay out mean average precision, ours beside the published."""

    def rows() -> str:
        cells = Cells(name)
        listed = []
        for scheme, values in published.SIFT.items():
            ours = [cells.mean("map_by_order", scheme=scheme, bits=bits) for bits in published.SIFT_BITS]
            pairs = zip(ours, values[column], strict=True)
            listed.append((f"`{scheme}`", *(f"{one:.3f} ({two:.3f})" for one, two in pairs)))
        kept = [one for one in comparisons.sift() if one.what.startswith(f"{name} ")]
        listed.append(("pairs in the published order", *(f"{one.ours:.0%}, {one.verdict}" for one in kept)))
        return table(("method", *(f"{bits} bits" for bits in published.SIFT_BITS)), listed)

    return rows


def sift_recall() -> str:
    """Lay out recall against bits and candidates."""
    cells = Cells("sift-1")
    at = (50, 100, 500, 1000)
    rows = [
        (f"`{scheme}`", bits, *(f"{cells.mean(f'recall@{n}', scheme=scheme, bits=bits):.3f}" for n in at))
        for scheme in ("lsh", "sh", "itq", "sph")
        for bits in (16, 32, 64, 128)
    ]
    return table(("method", "bits", *(f"{n} candidates" for n in at)), rows)


def sift_lookup() -> str:
    """Lay out lookups within radius 2."""
    cells = Cells("sift-1")
    rows = []
    for scheme, (short, long) in published.SIFT_LOOKUP.items():
        found = [cells.mean("recall_within_2", scheme=scheme, bits=bits) for bits in (16, 32, 48, 64)]
        empty = [cells.mean("empty@2", scheme=scheme, bits=bits) for bits in (16, 64)]
        rows.append(
            (
                f"`{scheme}`",
                f"{found[0]:.3f} ({short:.3f})",
                *(f"{value:.3f}" for value in found[1:3]),
                f"{found[3]:.4f} ({long:.4f})",
                *(f"{value:.0%}" for value in empty),
            )
        )
    head = ("method", "recall, 16 bits", "32", "48", "64", "queries that find nothing, 16 bits", "64 bits")
    return table(head, rows)


def quantiser_claims() -> str:
    """Lay out the largest gains on LSH beside what the papers claim at most."""
    rows = [(one.what, f"{one.ours:+.0%}", f"{one.high:+.0%}", one.verdict) for one in comparisons.quantisers()]
    return table(("what", "here", "published: up to", "verdict"), rows)


def quantisers() -> str:
    """Lay out the area under the curve by projection, quantiser and width."""
    cells = Cells("quantisers")
    rows = []
    for method in ("lsh", "pcah", "itq"):
        for quantiser in ("sbq", "dbq", "mhq", "npq", "vbq"):
            scheme = method if quantiser == "sbq" else f"{method}+{quantiser}"
            over = (
                [""] * 3
                if quantiser == "sbq"
                else [f"{comparisons.gains(quantiser)[method, bits]:+.0%}" for bits in BITS]
            )
            values = [cells.spread("auprc", scheme=scheme, bits=bits) for bits in BITS]
            rows.append((f"`{method}`", f"`{quantiser}`", *values, *over))
    head = ("projections", "quantiser", *(f"{n} bits" for n in BITS), *(f"over `sbq`, {n}" for n in BITS))
    return table(head, rows)


def _band(one: Comparison) -> str:
    return f"{one.low:.3f} to {one.high:.3f}"
