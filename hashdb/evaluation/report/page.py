"""Writing pages: the report of an evaluation, and what every page has in common."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hashdb.evaluation.report import charts, tables
from hashdb.evaluation.report.document import Document, Results, scheme_name
from hashdb.evaluation.report.extra import require
from hashdb.evaluation.report.gallery import Images, gallery
from hashdb.evaluation.report.measures import meaning, ordered
from hashdb.evaluation.report.palette import variables
from hashdb.evaluation.report.protocol import marks, protocol
from hashdb.evaluation.saving import write_text


def write_report(results: Results, path: str | os.PathLike[str], images: Images | None = None) -> None:
    """Write the report of an evaluation as one HTML page.

    Parameters
    ----------
    results : mapping
        What ``hashdb eval`` writes to ``results.json``, format 1.
    path : path
        Where the page goes; a file of that name is replaced, as one step.
    images : callable, optional
        Gives the image of a row of the data, uint8 of shape (height, width) or (height, width, 3). With it the page has
        a gallery of queries with their neighbours, where the results name some.

    Raises
    ------
    HashDBError
        The extra ``report`` is not installed.
    ArgumentError
        The results are not of format 1, or an image is of another kind.
    StorageError
        The file system refused.
    """
    require()
    document = Document(results)
    shown = results.get("gallery")
    write_page(
        path,
        "report.html.j2",
        document=document,
        title=f"Evaluation on {document.protocol.get('dataset') or 'data'}",
        made=results.get("made"),
        protocol=protocol(document),
        marks=marks(document),
        main_tables=tables.main_tables(document),
        comparisons=tables.comparisons(document),
        measures=tables.measures_table(document),
        meanings=[(name, meaning(name)) for name in ordered(document.metrics) if meaning(name)],
        times=tables.times_table(document),
        settings=tables.settings_table(document),
        refused=tables.refused_table(document),
        sections=[
            ("bits", "Quality against bits", charts.quality_against_bits(document)),
            ("precision-recall", "Precision and recall", charts.precision_recall(document)),
            ("candidates", "Recall against candidates", charts.recall_against_candidates(document)),
            ("time", "Quality against time", charts.quality_against_time(document)),
        ],
        gallery=gallery(shown["queries"], images) if shown and images else [],
        gallery_words=_gallery_words(document) if shown else "",
    )


def write_page(path: str | os.PathLike[str], template: str, **values: Any) -> None:
    """Fill a template and put the page in its place, as one step.

    Raises
    ------
    StorageError
        The file system refused.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("hashdb.evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(template).render(variables=variables(), **values)
    write_text(Path(path), page)


def _gallery_words(document: Document) -> str:
    shown = document.results["gallery"]
    kind = shown.get("database_codes") or (document.kinds[0] if len(document.kinds) == 1 else "")
    return f"{scheme_name(shown)}, {shown['bits']} bits{kind and f', {kind} database codes'}"
