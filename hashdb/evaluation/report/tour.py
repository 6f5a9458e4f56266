"""The page of ``hashdb demo``: a table of methods, and digits with their neighbours."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from hashdb.evaluation.report.extra import require
from hashdb.evaluation.report.gallery import Images, gallery
from hashdb.evaluation.report.page import write_page
from hashdb.evaluation.report.tables import Entry, Table


def write_tour(
    path: str | os.PathLike[str],
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    queries: Sequence[Mapping[str, Any]],
    images: Images,
    *,
    intro: str,
    shown: str,
) -> None:
    """Write a page with a table and a gallery.

    Parameters
    ----------
    path : path
        Where the page goes; a file of that name is replaced, as one step.
    head : sequence of str
        Titles of the table's columns.
    rows : sequence of sequences of str
        Its rows; the first entry names the row.
    queries : sequence of mapping
        As in ``results.json``: ``row``, ``label`` and ``neighbours``.
    images : callable
        Gives the image of a row.
    intro, shown : str
        What the page is about, and which codes the gallery shows.

    Raises
    ------
    HashDBError
        The extra ``report`` is not installed.
    StorageError
        The file system refused.
    """
    require()
    entries = [[Entry(text) for text in row] for row in rows]
    write_page(
        path,
        "tour.html.j2",
        title="A tour of hashdb",
        intro=intro,
        table=Table("The same images, coded in several ways", head, entries, 1),
        gallery=gallery(queries, images),
        gallery_words=shown,
    )
