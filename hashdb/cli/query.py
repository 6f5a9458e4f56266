"""``hashdb query``."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import click

from hashdb.cli.explaining import explained
from hashdb.cli.options import ids_of_text, input_options, json_option, open_input, threads_option
from hashdb.cli.printing import note, say, say_json
from hashdb.cli.saving import save_jsonl, save_npz, suffix_of

_SHOWN = 20  # neighbours a line shows to people


@click.command()
@click.argument("index", type=click.Path(readable=False))
@click.argument("vectors", required=False)
@click.option("-k", type=int, help="Neighbours wanted [default: 10].")
@click.option("--radius", type=int, help="All rows within that many bits, inclusive.")
@click.option("--rescore", type=int, metavar="C", help="Re-rank the first C * k.")
@click.option("--metric", type=click.Choice(["cosine", "l2", "ip"]), help="For --rescore [default: as recorded].")
@click.option("--modality", metavar="NAME", help="Which modality the queries are of.")
@click.option("--id", "ids", multiple=True, metavar="ID", help="Query with a row of the index; repeat.")
@click.option("--codes", metavar="FILE", help="Query with codes instead of vectors.")
@click.option("--at", type=int, metavar="VERSION", help="Query an old version.")
@click.option("--explain", is_flag=True, help="Tell on stderr how each segment was searched.")
@click.option(
    "--output", type=click.Path(readable=False), metavar="FILE", help="Write .npz or .jsonl instead of printing."
)
@input_options
@threads_option
@json_option
def query(
    index: str,
    vectors: str | None,
    k: int | None,
    radius: int | None,
    ids: tuple[str, ...],
    codes: str | None,
    at: int | None,
    output: str | None,
    explain: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Find the nearest rows of INDEX for every row of VECTORS.

    Exact in Hamming distance, ordered by (distance, id). Query with --id or --codes instead of VECTORS.
    """
    import hashdb

    _check(vectors, ids, codes, k, radius, options)
    suffix = suffix_of(output)
    started = perf_counter()
    with hashdb.open(index, version=at) as opened:
        names, found = _search(opened, index, vectors, ids, codes, 10 if k is None else k, radius, options)
        stored = opened.store_vectors
    seconds = perf_counter() - started
    if getattr(found, "measure", "") == "asymmetric" and stored != "none":
        note("note: not every row has stored vectors of the queries' modality; ordered by the margins of the codes")
    if suffix == ".npz":
        save_npz(str(output), found)
    elif suffix == ".jsonl":
        save_jsonl(str(output), _records(names, found))
    else:
        _print(names, found, as_json)
    if explain:
        for line in explained(found.stats, seconds):
            note(line)


def _check(
    vectors: str | None,
    ids: tuple[str, ...],
    codes: str | None,
    k: int | None,
    radius: int | None,
    options: dict[str, Any],
) -> None:
    n_given = sum((vectors is not None, bool(ids), codes is not None))
    if not n_given:
        raise click.UsageError("Missing argument 'VECTORS' (or --id ID, or --codes FILE).")
    if n_given > 1:
        raise click.UsageError("Give the queries once: VECTORS, --id ID or --codes FILE.")
    if k is not None and radius is not None:
        raise click.UsageError("Give either -k or --radius.")
    if options["metric"] is not None and options["rescore"] is None:
        raise click.UsageError("--metric orders what --rescore re-ranks; give both.")
    if options["rescore"] is not None and (radius is not None or vectors is None):
        raise click.UsageError(
            "--rescore re-ranks the k nearest of VECTORS; it goes with neither --radius, --id nor --codes."
        )


def _search(
    opened: Any,
    index: str,
    vectors: str | None,
    ids: tuple[str, ...],
    codes: str | None,
    k: int,
    radius: int | None,
    options: dict[str, Any],
) -> tuple[list[Any], Any]:
    threads, input_type = options["threads"], options["input_type"]
    if vectors is not None:
        with open_input(vectors, options["format_"], index, items=opened.model.encoder is not None) as source:
            common = {"modality": options["modality"], "input_type": input_type, "n_threads": threads}
            if radius is None:
                found = opened.query(source, k, rescore=options["rescore"], metric=options["metric"], **common)
            else:
                found = opened.query_radius(source, radius, **common)
        return list(range(len(found))), found
    wanted = {"radius": radius} if radius is not None else {"k": k}
    if ids:
        keys = ids_of_text(ids, opened.id_kind)
        return list(ids), opened.query_ids(keys, n_threads=threads, **wanted)
    from hashdb.reading import read_codes

    with open_input(str(codes), options["format_"], index) as source:
        words = read_codes(source, opened.model.n_stored_bits, input_type or "auto")
    found = opened.query_codes(words, n_threads=threads, **wanted)
    return list(range(len(found))), found


def _records(names: list[Any], found: Any) -> Any:
    measure = getattr(found, "measure", "hamming")
    named = {} if measure == "hamming" else {"measure": measure}
    for name, (ids, distances) in zip(names, found, strict=True):
        yield {"query": name, "ids": ids.tolist(), "distances": [_finite(far) for far in distances.tolist()], **named}


def _finite(distance: float) -> float | None:
    """JSON has no infinity, which a score beyond float32 is."""
    return distance if abs(distance) != float("inf") else None


def _print(names: list[Any], found: Any, as_json: bool) -> None:
    for record in _records(names, found):
        if as_json:
            say_json(record)
            continue
        pairs = [f"{one} ({_short(far)})" for one, far in zip(record["ids"], record["distances"], strict=True)]
        more = f" … and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
        say(f"{record['query']}: {', '.join(pairs[:_SHOWN]) or 'nothing'}{more}")


def _short(distance: float | None) -> str:
    if distance is None:
        return "beyond float32"
    return str(distance) if isinstance(distance, int) else f"{distance:.4g}"
