"""``hashdb eval``: methods measured on a data set, and two results compared."""

from __future__ import annotations

from typing import Any

import click

from hashdb.cli.options import check_file, json_option, pairs
from hashdb.cli.printing import note, say, say_json, table
from hashdb.cli.progress import bars
from hashdb.errors import ArgumentError, brief

# What serves one choice of another option only.
_ONLY_WITH = {
    "trials": ("tune", "random"),
    "neighbours": ("truth", "nearest"),
    "metric": ("truth", "nearest"),
    "epsilon_neighbour": ("truth", "epsilon"),
    "epsilon_sample": ("truth", "epsilon"),
}
_COUNTS = ("runs", "jobs", "trials", "neighbours", "epsilon_neighbour", "epsilon_sample")
_PARTS = ("test_queries", "validation_queries", "training", "validation_database")


@click.command("eval")
@click.argument("data", required=False)
@click.option("--methods", metavar="NAMES", help="Methods, METHOD or METHOD+QUANTISER, with commas between.")
@click.option("--bits", default="32", show_default=True, metavar="NUMBERS", help="Bits of a code, with commas between.")
@click.option(
    "--split",
    type=click.Choice(["improved", "standard", "given"]),
    default="improved",
    show_default=True,
    help="Five disjoint parts; test queries against everything else; or the partition that comes with the data.",
)
@click.option(
    "--truth",
    type=click.Choice(["labels", "nearest", "epsilon"]),
    help="What is relevant: rows of the same label, the nearest rows, or those within epsilon [default: labels where "
    "there are any, else nearest].",
)
@click.option("--runs", type=int, default=10, show_default=True, help="Runs, each with a fresh split and seed.")
@click.option("--output", type=click.Path(), metavar="DIR", help="Keep cells and results here; go on where it stopped.")
@click.option("--tune", type=click.Choice(["grid", "random"]), help="Search for params on the validation parts.")
@click.option("--trials", type=int, default=20, show_default=True, help="Combinations that --tune random tries.")
@click.option(
    "--param", "params", multiple=True, metavar="NAME.KEY=VALUE", help="Param of a method or quantiser; repeat."
)
@click.option(
    "--baseline", metavar="NAME", help="Method that others are tested against [default: lsh, else the first]."
)
@click.option("--train", metavar="N", help="Training rows, for all methods; `all` that remain of a standard split.")
@click.option("--test-queries", type=int, metavar="N", help="Test queries [default: 1000].")
@click.option("--validation-queries", type=int, metavar="N", help="Validation queries [default: 1000].")
@click.option("--validation-database", type=int, metavar="N", help="Rows that these search [default: 10000].")
@click.option("--neighbours", type=int, default=50, show_default=True, help="Relevant rows where the truth is nearest.")
@click.option("--metric", type=click.Choice(["l2", "cosine", "ip"]), help="Of the truth nearest [default: the data's].")
@click.option(
    "--epsilon-neighbour", type=int, default=50, show_default=True, help="Epsilon is the mean distance to it,"
)
@click.option("--epsilon-sample", type=int, default=100, show_default=True, help="of so many rows.")
@click.option(
    "--queries",
    type=click.Choice(["own", "drawn"]),
    default="own",
    show_default=True,
    help="Test queries that come with the data, where the truth is not labels, or drawn ones.",
)
@click.option(
    "--unmatched",
    type=click.Choice(["error", "count"]),
    help="Queries to which nothing is relevant: refuse, or count as 0 [default: error; count where truth is epsilon].",
)
@click.option(
    "--database-codes",
    type=click.Choice(["predicted", "learned", "both"]),
    default="predicted",
    show_default=True,
    help="Learned codes need the database to be the training rows: not with the improved split.",
)
@click.option("--at", default="100,1000", show_default=True, metavar="NUMBERS", help="Where rankings are cut.")
@click.option("--radius", default="2", show_default=True, metavar="NUMBERS", help="Radii of lookups.")
@click.option("--measures", metavar="NAMES", help="Measures of the tables [default: those of the truth].")
@click.option("--jobs", type=int, metavar="N", help="Processes [default: HASHDB_NUM_THREADS, else the CPUs].")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the first run; each run adds one.")
@click.option("--compare", nargs=2, type=click.Path(), metavar="A B", help="Lay two results side by side instead.")
@json_option
def evaluate(
    data: str | None,
    methods: str | None,
    output: str | None,
    measures: str | None,
    compare: tuple[str, str] | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Measure hashing methods on DATA: quality, ties, tests of what differs, time and size.

    DATA is the name of a data set (`hashdb datasets` lists them), such as cifar10-gist, or a .npz file with `vectors`
    and `labels`. With --output there are results.json, tables as Markdown, LaTeX and CSV, and with matplotlib and
    jinja2 a report in HTML; what is finished is kept, and the same command goes on where it stopped.
    """
    if compare is not None:
        if data is not None or methods is not None:
            raise click.UsageError("--compare takes two results and nothing else to measure.")
        for name in compare:
            check_file("--compare", name)
        _compare(*compare, _names(measures) or ["map"], as_json)
        return
    if data is None:
        raise click.UsageError("Missing argument 'DATA' (or --compare A B).")
    if methods is None:
        raise click.UsageError("Missing option '--methods'.")
    check_file("--output", output)
    _check(options)
    results = _run(data, _names(methods), output, _names(measures), options)
    if as_json:
        say_json(results)
        return
    from hashdb.evaluation.experiment.tables import default_metrics, markdown

    say(markdown(results, _names(measures) or default_metrics(results)).rstrip())
    if output is not None:
        _tell_written(output)


def _check(options: dict[str, Any]) -> None:
    """Refuse options that would be ignored, and counts of nothing, by the names that they have here."""
    context = click.get_current_context()
    for name, (other, value) in _ONLY_WITH.items():
        is_given = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
        if is_given and options[other] != value:
            raise click.UsageError(f"{_flag(name)} serves --{other} {value} only; give both or neither.")
    for name in _COUNTS:
        if options[name] is not None and options[name] < 1:
            raise ArgumentError(f"{_flag(name)} is {options[name]}, expected a whole number from 1")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _run(data: str, methods: list[str], output: str | None, measures: list[str], options: dict[str, Any]) -> Any:
    from hashdb.evaluation import Protocol, run_experiment
    from hashdb.search import n_threads_default

    names = ["split", "truth", "neighbours", "metric", "epsilon_neighbour", "epsilon_sample", "queries", "unmatched"]
    names += ["database_codes", "tune", "trials", "seed"]
    protocol = Protocol(
        **{name: options[name] for name in names},
        sizes=_sizes(options),
        train_by_method=options["train"] is None,
        at=tuple(_numbers("--at", options["at"])),
        radius=tuple(_numbers("--radius", options["radius"])),
    )
    with bars() as progress:
        return run_experiment(
            data,
            methods,
            _numbers("--bits", options["bits"]),
            protocol=protocol,
            runs=options["runs"],
            params=_params(options["params"]),
            baseline=options["baseline"],
            jobs=n_threads_default() if options["jobs"] is None else options["jobs"],
            output=output,
            metrics=measures or None,
            progress=progress,
        )


def _compare(first: str, second: str, measures: list[str], as_json: bool) -> None:
    from hashdb.evaluation import compare, load_results
    from hashdb.evaluation.experiment.side_by_side import comparison_table

    compared = compare(load_results(first), load_results(second), measures)
    if as_json:
        say_json({"first": first, "second": second, **compared})
        return
    say(f"A is {first}, B is {second}")
    for name, (one, other) in compared["differences"].items():
        say(f"{name.replace('_', ' ')}: A has {one}, B has {other}")
    say()
    say(table(*comparison_table(compared)))


def _tell_written(output: str) -> None:
    from hashdb.evaluation.report import missing

    if absent := missing():
        note(f"note: no report.html, which needs {' and '.join(absent)}: pip install hashdb[report]")
    report = "" if absent else "report.html, "
    say(f"\n{output}: {report}results.json, tables.md, tables.tex, tables.csv")


def _sizes(options: dict[str, Any]) -> dict[str, int | None]:
    """Take the sizes that were given; training of None is all that remains."""
    sizes: dict[str, int | None] = {part: options[part] for part in _PARTS if options.get(part) is not None}
    if (train := options["train"]) is not None:
        try:
            sizes["training"] = None if train == "all" else int(train)
        except ValueError:
            raise ArgumentError(f"--train is {brief(repr(train))}, expected one whole number, or all") from None
    return sizes


def _params(texts: tuple[str, ...]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for key, value in pairs(texts, "--param", "NAME.KEY=VALUE").items():
        name, dot, param = key.partition(".")
        if not dot or not name or not param:
            raise ArgumentError(f"--param {key!r} names no method, expected NAME.KEY=VALUE such as itq.iterations=20")
        found.setdefault(name, {})[param] = value
    return found


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(one) for one in _names(text)]
    except ValueError:
        raise ArgumentError(f"{option} is {text!r}, expected whole numbers with commas between") from None
