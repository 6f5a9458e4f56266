"""``hashdb demo``: a tour on real images, from vectors to answers one can look at."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from hashdb.cli.printing import note, say, size, table
from hashdb.cli.saving import check_target
from hashdb.errors import HashDBError

_BITS = 32
_K = 10
_N_DATABASE = 1500
_METHODS = (
    ("lsh", "random directions: nothing is learned"),
    ("pcah", "directions of largest variance"),
    ("itq", "the same, rotated to fit the corners of a cube"),
    ("itq-cca", "directions that agree with the labels"),
)
_HEAD = ["method", f"precision@{_K}", "bytes/item", "time", "what it learns"]
_SHADES = " ░▒▓█"
_PAGE = "hashdb-demo.html"


@click.command()
@click.option("--keep", type=click.Path(), metavar="INDEX", help="Keep the index of the tour at this path.")
@click.option("--html", metavar="FILE", help=f"Where the page goes [default: {_PAGE}].")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def demo(keep: str | None, html: str | None, seed: int) -> None:
    """Take a tour on images of handwritten digits.

    Learn codes four ways, build, add, delete, reopen, and look at what a query finds.
    With the extra report installed (matplotlib, jinja2) it also writes an HTML page with pictures.
    """
    from hashdb.storage.folder import check_free

    if keep:
        check_free(Path(keep))
    if html:
        _check_page(html)
    with tempfile.TemporaryDirectory() as folder:
        images, labels = _digits(seed)
        n_queries = len(images) - _N_DATABASE
        say(f"{len(images):,} handwritten digits of 8 x 8 pixels (scikit-learn); {n_queries} are queries.")
        say(f"Each becomes a code of {_BITS} bits; a query finds the {_K} nearest codes.\n")
        rows = _compare(Path(folder), images, labels)
        path = Path(keep) if keep else Path(folder) / "digits.hashdb"
        _live(path, images, labels)
        say()
        _write_page(html, path, rows, images, labels)
    say("Next: hashdb build INDEX VECTORS, then hashdb query INDEX QUERIES; hashdb methods lists the methods.")


def _digits(seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    data, target = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(data))
    return data[order].astype(np.float32), target[order].astype(np.int64)


def _compare(folder: Path, images: NDArray[np.float32], labels: NDArray[np.int64]) -> list[list[str]]:
    """Build one index a method, print and return how many of the neighbours show the same digit."""
    import hashdb

    rows = []
    for method, idea in _METHODS:
        start = time.perf_counter()
        with hashdb.build(
            folder / method, images[:_N_DATABASE], method=method, n_bits=_BITS, labels=_labels_for(method, labels)
        ) as index:
            found = index.query(images[_N_DATABASE:], k=_K)
            seconds = time.perf_counter() - start
            hits = labels[found.ids] == labels[_N_DATABASE:, None]
            n_bytes = index.info()["bytes"]["codes"] / len(index)
        rows.append([method, f"{hits.mean():.3f}", f"{n_bytes:.0f} B", f"{seconds:.2f} s", idea])
    rows.append(
        ["(floats)", f"{_exact(images, labels):.3f}", f"{images.shape[1] * 4} B", "", "exact Euclidean neighbours"]
    )
    say(table(_HEAD, rows))
    say()
    return rows


def _labels_for(method: str, labels: NDArray[np.int64]) -> NDArray[np.int64] | None:
    return labels[:_N_DATABASE] if method == "itq-cca" else None


def _exact(images: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    database, queries = images[:_N_DATABASE], images[_N_DATABASE:]
    squared = (database**2).sum(1) - 2 * queries @ database.T
    nearest = np.argsort(squared, axis=1, kind="stable")[:, :_K]
    return float((labels[nearest] == labels[_N_DATABASE:, None]).mean())


def _live(path: Path, images: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    """Walk an index through its life and show what it answers."""
    import hashdb

    database, queries = images[:_N_DATABASE], images[_N_DATABASE:]
    with hashdb.build(path, database, method="itq", n_bits=_BITS, store_vectors="float32", metric="l2") as index:
        say(f"build     {index!r}")
        added = index.add(queries[:100])
        say(f"add       100 rows, ids {added[0]} to {added[-1]}: {len(index):,} rows, version {index.version}")
        index.delete(added[:50])
        say(f"delete    50 of them: {len(index):,} rows, version {index.version}")
    with hashdb.open(path) as index:
        described = index.info()
        say(f"reopen    {index!r}, {size(sum(described['bytes'].values()))} on disk with the vectors")
        found = index.query(queries[100:103], k=6, rescore=10)
        say("query     three digits that are not in the index; right of the bar their 6 nearest, re-ranked\n")
        for query, ids in zip(queries[100:103], found.ids, strict=True):
            say(_pictures(query, [images[one] for one in ids.tolist()]))
            say()


def _check_page(html: str) -> None:
    """Refuse a page that cannot be written before the tour begins."""
    from hashdb.evaluation.report.extra import require

    require()
    check_target("--html", html, is_stream=False)


def _write_page(
    html: str | None, index: Path, rows: list[list[str]], images: NDArray[np.float32], labels: NDArray[np.int64]
) -> None:
    """Write the page with pictures; without --html the tour does not fail for want of it."""
    from hashdb.evaluation.report import missing, write_tour
    from hashdb.evaluation.report.extra import INSTALL

    if missing():
        say(f"page      none: an HTML page with pictures needs {' and '.join(missing())} ({INSTALL})")
        return
    pixels = (images.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    try:
        write_tour(
            html or _PAGE,
            _HEAD,
            rows,
            _queries(index, images, labels),
            pixels.__getitem__,
            intro=f"{len(images):,} handwritten digits of 8 x 8 pixels (scikit-learn): {len(images) - _N_DATABASE} are "
            f"queries, {_N_DATABASE:,} are searched, by codes of {_BITS} bits. precision@{_K} is the share of the {_K} "
            "nearest codes that show the digit of the query. All database codes are predicted.",
            shown=f"itq, {_BITS} bits, predicted database codes, with the digits that were added and stayed",
        )
    except HashDBError as error:
        if html:
            raise
        note(f"hashdb: no page: {error}")
        return
    say(f"page      {html or _PAGE}: digits with their neighbours, to open in a browser")


def _queries(index: Path, images: NDArray[np.float32], labels: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Ask for the first digit of each kind that is not in the index, and lay the answers out as results do."""
    import hashdb

    asked = [int(np.flatnonzero(labels[_N_DATABASE + 100 :] == digit)[0]) + _N_DATABASE + 100 for digit in range(10)]
    with hashdb.open(index) as opened:
        found = opened.query(images[asked], k=_K)
    return [
        {
            "row": row,
            "label": int(labels[row]),
            "neighbours": [
                {
                    "row": one,
                    "label": int(labels[one]),
                    "distance": distance,
                    "relevant": bool(labels[one] == labels[row]),
                }
                for one, distance in zip(ids, distances, strict=True)
            ],
        }
        for row, ids, distances in zip(asked, found.ids.tolist(), found.distances.tolist(), strict=True)
    ]


def _pictures(query: NDArray[np.float32], answers: list[Any]) -> str:
    columns = [_picture(query), ["│"] * 8, *map(_picture, answers)]
    return "\n".join(("  ".join(parts)).rstrip() for parts in zip(*columns, strict=True))


def _picture(image: NDArray[np.float32]) -> list[str]:
    """Draw an 8 x 8 image of values 0 to 16, two characters a pixel."""
    levels = np.minimum((image.reshape(8, 8) / 16 * len(_SHADES)).astype(int), len(_SHADES) - 1)
    return ["".join(_SHADES[level] * 2 for level in row) for row in levels.tolist()]
