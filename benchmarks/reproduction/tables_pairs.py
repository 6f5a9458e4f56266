"""Tables of Wikipedia: cross-modal methods."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.common import table
from benchmarks.crossmodal import tables as crossmodal
from benchmarks.reproduction import comparisons, published
from benchmarks.reproduction.cells import Cells
from benchmarks.reproduction.comparisons import BITS, DIRECTIONS
from benchmarks.reproduction.published import Comparison


def wiki_published(source: str) -> Callable[[], str]:
    """Lay out ours and theirs at each width; ``source`` is independent or remembered."""

    def rows() -> str:
        groups: dict[str, list[Comparison]] = {}
        for one in comparisons.wiki():
            if one.section.endswith(source):
                method, policy = one.what.split()[:2]
                groups.setdefault(f"`{method}` | {policy}", []).append(one)
        sources = crossmodal.INDEPENDENT if source == "independent" else published.WIKI_REMEMBERED
        listed = []
        for name, found in groups.items():
            method, policy = name.replace("`", "").split(" | ")
            theirs = dict(zip(((w, b) for w in DIRECTIONS for b in BITS), sources[method, policy], strict=True))
            columns = []
            for way, bits in theirs:
                (one,) = [each for each in found if each.what.endswith(f"{way} {bits}")] or [None]
                columns.append("–" if one is None else _beside(one, theirs[way, bits]))
            listed.append((name, *columns))
        head = ("method", "database codes", *(f"{way.replace(' > ', ' → ')}, {n}" for way in DIRECTIONS for n in BITS))
        return table(head, listed)

    return rows


def wiki_improved() -> str:
    """Lay out the cross-modal methods where the database has nothing that was learned from."""
    cells = Cells("wiki-fast", "wiki-slow")
    order = {method: number for number, method in enumerate(crossmodal_order())}
    rows = []
    for scheme in sorted(cells.schemes(), key=lambda name: order.get(name, len(order))):
        values = [
            cells.spread("map_by_order", scheme=scheme, bits=bits, query=way.split(" > ")[0])
            for way in DIRECTIONS
            for bits in BITS
        ]
        runs = len(cells.where(scheme=scheme)[0]["runs"])
        rows.append((f"`{scheme}`", runs, *values))
    head = ("method", "runs", *(f"{way.replace(' > ', ' → ')}, {n}" for way in DIRECTIONS for n in BITS))
    return table(head, rows)


def crossmodal_order() -> list[str]:
    """Name the methods in the order of the table of the given split."""
    return list(dict.fromkeys(cell["method"] for cell in crossmodal.cells("wiki10")))


def _beside(one: Comparison, theirs: float) -> str:
    shown = f"{one.ours:.3f} ({theirs:.3f})"
    return shown if one.is_inside else f"**{shown}**"
