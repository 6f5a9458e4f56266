"""``hashdb delete``, ``info``, ``versions``, ``verify`` and ``compact``."""

from __future__ import annotations

import sys
from typing import Any

import click

from hashdb.cli.options import check_file, ids_of_text, json_option
from hashdb.cli.printing import count, note, say, say_json, size, table
from hashdb.cli.progress import bars


@click.command()
@click.argument("index", type=click.Path(readable=False))
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--ids", "file", metavar="FILE", help="File of ids, one a line or an array.")
@click.option("--ignore-missing", is_flag=True, help="Pass over ids that are not in the index.")
@json_option
def delete(index: str, ids: tuple[str, ...], file: str | None, ignore_missing: bool, as_json: bool) -> None:
    """Delete rows of INDEX by id, in one commit.

    Write -- before ids that begin with a dash.
    """
    from pathlib import Path

    import hashdb

    if bool(ids) == (file is not None):
        raise click.UsageError("Name the ids, as arguments or by --ids FILE, and not by both; ids like -5 go after --.")
    check_file("--ids", file)
    with hashdb.open(index) as opened:
        wanted = Path(file) if file is not None else ids_of_text(ids, opened.id_kind)
        n_deleted = opened.delete(wanted, ignore_missing=ignore_missing)
        if as_json:
            say_json({"index": index, "version": opened.version, "deleted": n_deleted})
        else:
            gone, left = count(n_deleted, "row"), count(len(opened), "row")
            say(f"{index}: deleted {gone}, version {opened.version}, {left} left")


@click.command()
@click.argument("index", type=click.Path(readable=False))
@click.option("--at", type=int, metavar="VERSION", help="Describe an old version.")
@json_option
def info(index: str, at: int | None, as_json: bool) -> None:
    """Tell what INDEX holds: rows, model, settings, bytes."""
    import hashdb

    with hashdb.open(index, version=at) as opened:
        described = opened.info()
    if as_json:
        say_json(described)
        return
    for name, value in described.items():
        if name == "segments":
            continue
        say(f"{name.replace('_', ' '):<20} {_for_people(name, value)}")
    say(f"{'codes':<20} {_codes(described['segments'])}")
    say(f"{'bucket tables':<20} {_tables(described['segments'])}")


@click.command()
@click.argument("index", type=click.Path(readable=False))
@json_option
def versions(index: str, as_json: bool) -> None:
    """List the versions of INDEX that can still be opened."""
    import hashdb

    with hashdb.open(index) as opened:
        listed = [vars_of(entry) for entry in opened.versions()]
    if as_json:
        say_json({"index": index, "versions": listed})
    else:
        head = list(listed[0])
        say(table(head, [[entry[name] for name in head] for entry in listed]))


@click.command()
@click.argument("index", type=click.Path(readable=False))
@click.option("--deep", is_flag=True, help="Read every byte: checksums, order of ids, an independent Zarr reader.")
@json_option
def verify(index: str, deep: bool, as_json: bool) -> None:
    """Check INDEX; exit 1 where something is damaged."""
    import hashdb

    with bars() as progress:
        report = hashdb.verify(index, deep=deep, progress=progress)
    if as_json:
        say_json({**vars_of(report), "ok": report.ok})
    elif report.ok:
        looked = "every byte" if deep else "metadata, presence and size"
        files = f"{count(report.n_files, 'file')}, {size(report.n_bytes)}"
        say(f"{index}: well; version {report.version}, {files}, {looked} checked")
    if not as_json:
        for _, problem in report.problems:
            say(problem)
        for hint in report.notes:
            say(f"note: {hint}")
    if not report.ok:
        problems = count(len(report.problems), "problem")
        note(f"hashdb: {index} is damaged: {problems}; `hashdb repair` tells what can be saved")
        sys.exit(1)


@click.command()
@click.argument("index", type=click.Path(readable=False))
@click.option("--prune", is_flag=True, help="Remove old versions and the files only they use.")
@click.option("--keep", type=int, metavar="N", help="Newest versions that --prune keeps [default: 1].")
@click.option(
    "--table-budget",
    type=float,
    metavar="BYTES",
    help="Make or drop bucket tables as so many bytes a code allow, this once [default: keep those there are].",
)
@json_option
def compact(index: str, prune: bool, keep: int | None, table_budget: float | None, as_json: bool) -> None:
    """Merge segments, fold deletes, make missing or damaged bucket tables, sweep leftovers."""
    import hashdb

    if keep is not None and not prune:
        raise click.UsageError("--keep says what --prune keeps; give both.")
    with hashdb.open(index) as opened, bars() as progress:
        report = opened.compact(
            prune=prune, keep=1 if keep is None else keep, table_budget=table_budget, progress=progress
        )
    if as_json:
        say_json(vars_of(report))
        return
    before, after = count(report.n_segments_before, "segment"), report.n_segments
    done = _compacted(before, after, report)
    removed = f", removed {count(report.n_versions_removed, 'old version')}" if prune else ""
    freed = f", freed {size(report.n_bytes_freed)}" if report.n_bytes_freed else ""
    say(f"{index}: {done}{removed}{freed}; version {report.version}, {count(report.n_rows, 'row')}")


def _codes(segments: list[dict[str, Any]]) -> str:
    """Say of which modality the rows are, and whether their codes were predicted or learned."""
    rows: dict[tuple[str | None, str], int] = {}
    for entry in segments:
        kind = entry["modality"], entry["database_codes"]
        rows[kind] = rows.get(kind, 0) + entry["rows"] - entry["deleted_rows"]
    parts = [
        f"{f'{modality}, ' if modality else ''}{policy}: {count(n, 'row')}" for (modality, policy), n in rows.items()
    ]
    return "; ".join(parts) or "none"


def _tables(segments: list[dict[str, Any]]) -> str:
    """Say which bucket tables the segments have, those that have some."""
    with_tables = [(number, entry) for number, entry in enumerate(segments) if entry["tables"]]
    parts = []
    for number, entry in with_tables:
        tables = entry["tables"]
        if "problem" in tables:
            parts.append(f"segment {number}: {tables['problem']}")
        else:
            shape = f"{tables['n_substrings']} {tables['layout']} tables, {tables['bytes_per_code']} bytes a code"
            parts.append(f"segment {number}: {shape}, {count(entry['rows'], 'row')}")
    return "; ".join(parts) or "none: no segment is large enough for tables within the budget"


def _compacted(before: str, after: int, report: Any) -> str:
    if not report.committed:
        return "nothing to merge"
    if report.n_segments_before == after:
        return f"folded deletes or renewed tables of {before}"
    return f"merged {before} into {after}"


def vars_of(report: Any) -> dict[str, Any]:
    """Turn a report into a dict."""
    from dataclasses import asdict

    return asdict(report)


def _for_people(name: str, value: Any) -> str:
    if isinstance(value, dict):
        if name == "bytes":
            return ", ".join(f"{key} {size(count)}" for key, count in value.items())
        return ", ".join(f"{key}={inner}" for key, inner in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:,}" if isinstance(value, int) else str(value)
