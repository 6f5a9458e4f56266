"""Which cells there are, which are left out and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from benchmarks.search import data

BITS = (64, 128, 256, 1024)
SIZES = (100_000, 1_000_000, 10_000_000, 100_000_000)
KS = (1, 10, 100, 1000)
RADII = (0, 2, 4, 8, 31)
LARGE = 100_000_000  # from here on only the narrowest codes
MOST_BYTES = 8e9  # of the codes and tables of an index
WIDE_RADIUS, WIDE_BITS = 31, 256  # a radius that is only asked for in codes at least as wide


class Group(NamedTuple):
    """Cells that share an index."""

    data: str
    n_bits: int
    n: int

    @property
    def name(self) -> str:
        """Stem of its files."""
        return "-".join(map(str, self))


class Question(NamedTuple):
    """What is asked of an index: the ``value`` nearest (kind ``k``) or all within ``value`` bits (kind ``radius``)."""

    kind: str
    value: int

    @property
    def name(self) -> str:
        """Stem of its file, and how tables call it."""
        return f"{self.kind}={self.value}"


def groups(
    bits: Iterable[int] = BITS, sizes: Iterable[int] = SIZES, datasets: Iterable[str] = data.DATASETS
) -> list[Group]:
    """List every group, small ones first, so that a run that is cut short has something of everything."""
    found = []
    for size in sizes:
        for dataset in datasets:
            most = data.most_rows(dataset) or size
            for n_bits in bits:
                if why_not(dataset, n_bits, size) is None:
                    group = Group(dataset, n_bits, min(size, most))
                    found += [] if group in found else [group]
    return found


def why_not(dataset: str, n_bits: int, size: int) -> str | None:
    """Say why there is no such group, None where there is."""
    most_bits, most_rows = data.most_bits(dataset), data.most_rows(dataset)
    if most_bits is not None and n_bits > most_bits:
        return f"{dataset} beyond {most_bits} bits: itq gives at most one bit a dimension, of 144"
    if most_rows is not None and size >= LARGE:
        return f"{dataset} beyond {most_rows:,} codes: there are no more patches"
    if size >= LARGE and n_bits > 64:
        return f"{size:,} codes of more than 64 bits: only the narrowest codes are measured at that size"
    return None


def left_out(
    bits: Iterable[int] = BITS, sizes: Iterable[int] = SIZES, datasets: Iterable[str] = data.DATASETS
) -> list[str]:
    """Give every reason why cells are left out, once."""
    reasons = [why_not(dataset, n_bits, size) for dataset in datasets for n_bits in bits for size in sizes]
    return list(dict.fromkeys(reason for reason in reasons if reason))


def questions(group: Group, ks: Iterable[int] = KS, radii: Iterable[int] = RADII) -> list[Question]:
    """List what is asked of a group; radius 3 too where a batch of near-duplicates is a target."""
    wanted = [r for r in radii if r < WIDE_RADIUS or group.n_bits >= WIDE_BITS]
    if group.n_bits == 64 and 4_000_000 <= group.n < LARGE:
        wanted = sorted({*wanted, 3})
    return [Question("k", k) for k in ks if k <= group.n] + [Question("radius", r) for r in wanted]


def chosen(group: Group, only: Mapping[str, str]) -> bool:
    """Say whether a group passes the filter, such as ``{"data": "uniform", "bits": "64"}``."""
    values = {"data": group.data, "bits": str(group.n_bits), "n": str(group.n)}
    return all(values[name] == value for name, value in only.items())


def filter_of(text: str | None) -> dict[str, str]:
    """Read ``data=…,bits=…,n=…``."""
    pairs = dict(pair.split("=", 1) for pair in text.split(",")) if text else {}
    if unknown := set(pairs) - {"data", "bits", "n"}:
        raise SystemExit(f"--only knows data, bits and n, not {sorted(unknown)[0]!r}")
    return pairs
