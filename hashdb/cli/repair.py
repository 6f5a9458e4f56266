"""``hashdb repair``."""

from __future__ import annotations

import sys
from typing import Any

import click

from hashdb.cli.options import json_option
from hashdb.cli.printing import count, note, say, say_json
from hashdb.cli.progress import bars

_SHOWN = 8  # ranges of ids that a line shows


@click.command()
@click.argument("index", type=click.Path(readable=False))
@click.option("--drop", is_flag=True, help="Give up what cannot be saved, in a version without it.")
@click.option("--dry-run", is_flag=True, help="Write nothing; tell what would be done.")
@click.option("--lost", metavar="FILE", help="Write the ids of what cannot be saved to FILE, one a line.")
@json_option
def repair(index: str, drop: bool, dry_run: bool, lost: str | None, as_json: bool) -> None:
    """Put back what is damaged in INDEX as far as that is proven.

    Nothing is lost unless --drop says so. Exit 1 where damage is left.
    """
    import hashdb
    from hashdb.cli.saving import check_target, save_lines

    if lost is not None:
        check_target("--lost", lost)
    with bars() as progress:
        report = hashdb.repair(index, drop=drop, dry_run=dry_run, progress=progress)
    if lost is not None:
        save_lines(lost, (str(one) for loss in report.losses for one in _ids(loss)))
    if as_json:
        say_json(_for_machines(index, report))
    else:
        _tell(index, report)
    if not report.ok:
        note(_verdict(index, report))
        sys.exit(1)


def _tell(index: str, report: Any) -> None:
    would = "would be " if report.dry_run else ""
    for file, how in report.restored:
        say(f"{would}restored: {file}: {how}")
    for folder, why in report.renewed:
        say(f"{would}renewed: {folder}: {why}")
    for loss in report.losses:
        say(f"{'lost' if report.dropped else 'cannot be saved'}: {loss.message}{_whose(loss)}")
    if report.losses:
        return
    if report.restored or report.renewed:
        made = f"; version {report.version}" if report.committed else ""
        say(f"{index}: {would}repaired, nothing lost{made}")
    else:
        say(f"{index}: nothing to repair; version {report.version}")


def _whose(loss: Any) -> str:
    """Say which rows a loss is about."""
    if not loss.n_rows:
        return ""
    most = "" if loss.certain else "up to "
    rows = f" ({most}{count(loss.n_rows, 'row')}"
    if loss.ids is None:
        return f"{rows}; their ids cannot be read)"
    ranges = _ranges(loss.ids)
    shown = [_shown(first, last) for first, last in ranges[:_SHOWN]]
    more = f" and {len(ranges) - _SHOWN:,} more; --lost FILE writes all" if len(ranges) > _SHOWN else ""
    doubt = "" if loss.certain else ", as far as can be read"
    return f"{rows}{doubt}: ids {', '.join(shown)}{more})"


def _ids(loss: Any) -> list[Any]:
    return [] if loss.ids is None else loss.ids.tolist()


def _ranges(ids: Any) -> list[tuple[Any, Any]]:
    """Give ids as (first, last), integers that follow each other together."""
    import numpy as np

    if ids.dtype.kind == "U" or not len(ids):
        return [(one, one) for one in ids.tolist()]
    ids = np.sort(ids)
    ends = np.flatnonzero(ids[1:] != ids[:-1] + 1)
    firsts, lasts = np.append(ids[:1], ids[ends + 1]), np.append(ids[ends], ids[-1:])
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))


def _shown(first: Any, last: Any) -> str:
    if isinstance(first, str):
        return repr(first)[:80]
    return f"{first}" if first == last else f"{first} to {last}"


def _verdict(index: str, report: Any) -> str:
    if any(loss.what == "index" for loss in report.losses):
        return f"hashdb: {index} cannot be repaired; restore the files named above from a copy of the index"
    if report.losses and not report.dropped:
        things = count(len(report.losses), "thing")
        return f"hashdb: {index} has {things} that cannot be saved; --drop gives them up and keeps the rest"
    return f"hashdb: {index} is still damaged: {count(len(report.problems), 'problem')}; {report.problems[0][1]}"


def _for_machines(index: str, report: Any) -> dict[str, Any]:
    return {
        "index": index,
        "ok": report.ok,
        "version": report.version,
        "committed": report.committed,
        "dry_run": report.dry_run,
        "dropped": report.dropped,
        "restored": report.restored,
        "renewed": report.renewed,
        "losses": [
            {
                "what": loss.what,
                "file": loss.file,
                "message": loss.message,
                "n_rows": loss.n_rows,
                "certain": loss.certain,
                "ids": None if loss.ids is None else _ranges(loss.ids) if loss.ids.dtype.kind != "U" else _ids(loss),
            }
            for loss in report.losses
        ],
        "problems": report.problems,
    }
