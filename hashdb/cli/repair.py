"""``hashdb repair``."""

from __future__ import annotations

import json
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
@click.option("--dry-run", is_flag=True, help="Write nothing to INDEX; tell what would be done.")
@click.option(
    "--lost",
    metavar="FILE",
    help="Write the ids of what cannot be saved to FILE, one a line, before anything is given up. "
    "--drop needs it, or --json, where there are more than a line shows.",
)
@json_option
def repair(index: str, drop: bool, dry_run: bool, lost: str | None, as_json: bool) -> None:
    """Put back what is damaged in INDEX as far as that is proven.

    Nothing is lost unless --drop says so. Exit 1 where damage is left, or would be left.
    """
    import hashdb
    from hashdb.cli.saving import check_target

    if lost is not None:
        check_target("--lost", lost)
    told: list[str] = []
    foretold: list[str] = []
    if drop and not dry_run:
        # What is given up must be known for good before it is: who is stopped meanwhile cannot tell.
        with bars() as progress:
            plan = hashdb.repair(index, drop=True, dry_run=True, progress=progress)
        if lost is None and not as_json:
            _refuse_unnamed(plan)
        told = _save(lost, plan, told)
        foretold = _foretell(plan, lost, as_json)
    with bars() as progress:
        report = hashdb.repair(index, drop=drop, dry_run=dry_run, progress=progress)
    _save(lost, report, told)  # others may have written meanwhile
    if as_json:
        say_json(_for_machines(index, report))
    else:
        _tell(index, report, lost, foretold)
    if lost is not None:
        _note_unread(report, lost)
    if not report.ok:
        note(_verdict(index, report))
        sys.exit(1)


def _refuse_unnamed(report: Any) -> None:
    """Raise ArgumentError where more ids would be lost than a line shows."""
    from hashdb.errors import ArgumentError

    for loss in report.losses if report.dropped else ():
        if loss.ids is not None and len(_ranges(loss.ids)) > _SHOWN:
            raise ArgumentError(
                f"--drop would give up {count(loss.n_rows, 'row')} of {loss.file}, whose ids do not fit in a line; "
                "name a file for them with --lost FILE; nothing was changed"
            )


def _save(lost: str | None, report: Any, told: list[str]) -> list[str]:
    """Write the ids of what is lost, if there are any and they are not those that were told before; return them."""
    from hashdb.cli.saving import save_lines

    ids = [str(one) for loss in report.losses for one in _ids(loss)]
    if lost is not None and ids and ids != told:
        save_lines(lost, ids, flushed=True)
    return ids


def _foretell(plan: Any, lost: str | None, as_json: bool) -> list[str]:
    """Say what is going to be given up, on stderr where stdout is for JSON; return what was said."""
    losses = plan.losses if plan.dropped else []
    if as_json:
        for loss in losses:
            note(f"giving up: {json.dumps(_loss_for_machines(loss))}")
        return []
    said = [f"{loss.message}{_whose(loss, lost)}" for loss in losses]
    for text in said:
        say(f"giving up: {text}")
    return said


def _note_unread(report: Any, lost: str) -> None:
    unread = sum(loss.n_rows for loss in report.losses if loss.ids is None)
    if unread:
        note(f"note: the ids of up to {count(unread, 'row')} cannot be read; {lost} does not have them")


def _tell(index: str, report: Any, lost: str | None, foretold: list[str]) -> None:
    would = "would be " if report.dry_run else ""
    for file, how in report.restored:
        say(f"{would}restored: {file}: {how}")
    for folder, why in report.renewed:
        say(f"{would}renewed: {folder}: {why}")
    for loss in report.losses:
        text = f"{loss.message}{_whose(loss, lost)}"
        if not report.dropped or text not in foretold:
            say(f"{f'{would}lost' if report.dropped else 'cannot be saved'}: {text}")
    if report.losses and not report.dropped:
        return
    if report.losses or report.restored or report.renewed:
        made = f"; version {report.version}" if report.committed or report.losses else ""
        say(f"{index}: {would}repaired, {_sum(report.losses)}{made}")
    else:
        say(f"{index}: nothing to repair; version {report.version}")


def _sum(losses: list[Any]) -> str:
    """Say how much is lost in all."""
    parts = []
    for what, thing in (("rows", "row"), ("vectors", "vector"), ("deletes", "delete")):
        mine = [loss for loss in losses if loss.what == what]
        n_rows = sum(loss.n_rows for loss in mine)
        if n_rows:
            parts.append(f"{'' if all(loss.certain for loss in mine) else 'up to '}{count(n_rows, thing)} lost")
    # How many rows went with versions that cannot be read is not known.
    parts += ["versions given up"] if any(loss.what == "versions" for loss in losses) else []
    return ", ".join(parts) or ("no row lost" if losses else "nothing lost")


def _whose(loss: Any, lost: str | None) -> str:
    """Say which rows a loss is about."""
    if not loss.n_rows:
        return ""
    most = "" if loss.certain else "up to "
    rows = f" ({most}{count(loss.n_rows, 'row')}"
    if loss.ids is None:
        return f"{rows}; their ids cannot be read)"
    ranges = _ranges(loss.ids)
    shown = [_shown(first, last) for first, last in ranges[:_SHOWN]]
    where = "--lost FILE writes all" if lost is None else f"all are in {lost}"
    more = f" and {len(ranges) - _SHOWN:,} more; {where}" if len(ranges) > _SHOWN else ""
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
        things, them = count(len(report.losses), "thing"), "it" if len(report.losses) == 1 else "them"
        return f"hashdb: {index} has {things} that cannot be saved; --drop gives {them} up and keeps the rest"
    if not report.verified:
        return f"hashdb: {index}: {report.problems[0][1]}"
    return f"hashdb: {index} is still damaged: {count(len(report.problems), 'problem')}; {report.problems[0][1]}"


def _for_machines(index: str, report: Any) -> dict[str, Any]:
    return {
        "index": index,
        "ok": report.ok,
        "version": report.version,
        "committed": report.committed,
        "dry_run": report.dry_run,
        "dropped": report.dropped,
        "verified": report.verified,
        "restored": report.restored,
        "renewed": report.renewed,
        "losses": [_loss_for_machines(loss) for loss in report.losses],
        "problems": report.problems,
    }


def _loss_for_machines(loss: Any) -> dict[str, Any]:
    return {
        "what": loss.what,
        "file": loss.file,
        "message": loss.message,
        "n_rows": loss.n_rows,
        "certain": loss.certain,
        "ids": None if loss.ids is None else _ranges(loss.ids) if loss.ids.dtype.kind != "U" else _ids(loss),
    }
