"""What a search did, in words: the lines of ``hashdb query --explain``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hashdb.cli.printing import count


def explained(stats: dict[str, Any], seconds: float) -> Iterator[str]:
    """Tell how each segment was searched.

    Parameters
    ----------
    stats : dict
        Of a result.
    seconds : float
        That the whole took, opening and encoding included.
    """
    version, segments = stats.get("version"), stats.get("plan", [])
    yield f"version {version}, {count(len(segments), 'segment')} searched by {stats['path']} in {_time(1e3 * seconds)}"
    for entry in segments:
        yield f"segment {entry['segment']}: {count(entry['rows'], 'row')}, tables: {entry['tables']}"
        buckets = entry["buckets_estimate_ms"]
        either = "no buckets" if buckets is None else f"buckets {_time(buckets)}"
        yield f"  plan: {entry['plan']} ({entry['reason']})"
        yield f"  estimate for each query: scan {_time(entry['scan_estimate_ms'])}, {either}"
        yield f"  done: {entry['path']}; {_done(entry)}"


def _done(entry: dict[str, Any]) -> str:
    scanned = f"{entry['n_scanned']:,} of {count(entry['n_queries'], 'query', 'queries')} scanned"
    if entry["substring_radius"] < 0:
        return scanned
    looked = f"{count(entry['n_probes'], 'probe')}, {count(entry['n_candidates'], 'candidate')}"
    return f"{looked}, substring radius up to {entry['substring_radius']}, {scanned}"


def _time(milliseconds: float) -> str:
    if milliseconds >= 1000:
        return f"{milliseconds / 1e3:,.1f} s"
    return f"{milliseconds:.3g} ms" if milliseconds >= 1 else f"{milliseconds * 1e3:.3g} µs"
