"""``hashdb build`` and ``hashdb add``."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import click

from hashdb.cli.options import check_file, input_options, json_option, open_input, pairs
from hashdb.cli.printing import count, note, say, say_json
from hashdb.cli.progress import bars
from hashdb.errors import ArgumentError


@click.command()
@click.argument("index", type=click.Path(readable=False))
@click.argument("vectors", required=False)
@click.option("--method", metavar="NAME", help="Hashing method; `hashdb methods` lists them [default: itq].")
@click.option("--bits", type=int, metavar="N", help="Bits of a code [default: 64, or the width of given codes].")
@click.option("--quantiser", metavar="NAME", help="Quantiser for the method's projections [default: sign].")
@click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="Param of the method or quantiser; repeat.")
@click.option("--encoder", metavar="NAME", help="Encoder that turns images or strings into vectors first.")
@click.option("--labels", metavar="FILE", help="One label a row, for methods that learn from labels.")
@click.option("--ids", metavar="FILE", help="One id a row [default: 0 to n - 1].")
@click.option("--train", type=int, metavar="N", help="Rows of the training sample [default: by method].")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the sample and the method.")
@click.option("--like", type=click.Path(), metavar="INDEX", help="Take the fitted model of another index.")
@click.option("--normalise", type=click.Choice(["none", "l2"]), default="none", show_default=True)
@click.option("--metric", type=click.Choice(["cosine", "l2", "ip"]), default="cosine", show_default=True)
@click.option(
    "--store-vectors",
    type=click.Choice(["none", "float32", "float16", "int8"]),
    default="none",
    show_default=True,
    help="Keep vectors for re-ranking.",
)
@click.option(
    "--table-budget",
    type=float,
    metavar="BYTES",
    help="Bytes a code that bucket tables may take; 0 for none [default: 96].",
)
@click.option(
    "--modality", "modalities", multiple=True, metavar="NAME=FILE", help="Paired input of one modality; repeat."
)
@click.option("--store", metavar="NAME", help="Modality that goes into the index [default: the first].")
@click.option("--database-codes", type=click.Choice(["predicted", "learned"]), default="predicted", show_default=True)
@input_options
@json_option
def build(
    index: str,
    vectors: str | None,
    params: tuple[str, ...],
    modalities: tuple[str, ...],
    like: str | None,
    bits: int | None,
    format_: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Learn codes from VECTORS and write them as the new index INDEX.

    VECTORS is a .npy, .npz, .fvecs, .bvecs, .fbin, .u8bin, idx, .mat, .h5, .parquet, .zarr, .jsonl, .csv or text file,
    a list of hex codes, or - for stdin; FILE::NAME picks an array, column or key. With --encoder it may hold images
    (uint8) or strings.
    """
    from pathlib import Path

    import hashdb
    from hashdb.storage.folder import check_free

    check_file("--ids", options["ids"])
    check_file("--labels", options["labels"])
    if index:
        check_free(Path(index))  # before stdin is spooled
    options["method"], model = _model(like, bits, params, options)
    chosen = pairs(params, "--param")
    with ExitStack() as stack, bars() as progress:
        takes_items = options["encoder"] is not None or (model is not None and model.encoder is not None)
        inputs = _inputs(stack, index, vectors, modalities, format_, takes_items)
        built = hashdb.build(
            index,
            inputs,
            n_bits=bits,
            model=model,
            params=chosen,
            progress=progress,
            **{**options, "input_type": options["input_type"] or "auto"},
        )
    with built:
        if as_json:
            say_json({"index": index, "version": built.version, "rows": len(built)})
        else:
            say(f"{index}: {_summary(built)}")


@click.command()
@click.argument("index", type=click.Path(readable=False))
@click.argument("vectors")
@click.option("--ids", metavar="FILE", help="One id a row [default: on from the index's next id].")
@click.option("--upsert", is_flag=True, help="Replace rows whose ids are in the index.")
@click.option("--modality", metavar="NAME", help="Which modality the rows are of.")
@input_options
@json_option
def add(
    index: str,
    vectors: str,
    ids: str | None,
    upsert: bool,
    modality: str | None,
    input_type: str | None,
    format_: str | None,
    as_json: bool,
) -> None:
    """Add the rows of VECTORS to INDEX in one commit."""
    import hashdb

    check_file("--ids", ids)
    with hashdb.open(index) as opened, bars() as progress:
        added = opened.add(
            open_input(vectors, format_, index, items=opened.model.encoder is not None),
            ids=ids,
            upsert=upsert,
            modality=modality,
            input_type=input_type,
            progress=progress,
        )
        if as_json:
            say_json({"index": index, "version": opened.version, "ids": added})
        elif len(added):
            rows, in_all = count(len(added), "row"), count(len(opened), "row")
            say(f"{index}: added {rows}, version {opened.version}, {in_all} in all")
        else:
            say(f"{index}: nothing to add")


def _inputs(
    stack: ExitStack,
    index: str,
    vectors: str | None,
    modalities: tuple[str, ...],
    format_: str | None,
    takes_items: bool,
) -> Any:
    """Open the input, or one a modality, to be closed with the stack."""
    if modalities and vectors:
        raise ArgumentError(f"give either VECTORS ({vectors}) or --modality NAME=FILE, not both")
    if modalities:
        return {
            name: stack.enter_context(open_input(spec, format_, index))
            for name, spec in pairs(modalities, "--modality", "NAME=FILE").items()
        }
    if vectors is None:
        raise click.UsageError("Missing argument 'VECTORS' (or --modality NAME=FILE).")
    return stack.enter_context(open_input(vectors, format_, index, items=takes_items))


def _model(like: str | None, bits: int | None, params: tuple[str, ...], options: dict[str, Any]) -> tuple[str, Any]:
    """Fit a method of that name, or take the model of another index."""
    import hashdb

    method: str | None = options["method"]
    if like is None:
        return method or "itq", None
    for name, given in (
        ("--method", method),
        ("--bits", bits),
        ("--param", params),
        ("--quantiser", options["quantiser"]),
        ("--encoder", options["encoder"]),
    ):
        if given:
            raise ArgumentError(f"--like takes the model of {like} as it is; leave out {name}")
    if options["labels"]:
        note("note: --labels serves fitting only, and --like fits nothing; ignored")
        options["labels"] = None
    with hashdb.open(like) as other:
        return "itq", other.model


def _summary(index: Any) -> str:
    model = index.model
    method = model.method + (f" + {model.quantiser}" if model.quantiser else "")
    learned = "learned " if any(part["database_codes"] == "learned" for part in index.info()["segments"]) else ""
    codes = f"{count(len(index), learned + 'code')} of {count(model.n_bits, 'bit')}"
    return f"{codes} by {method}, version {index.version}"
