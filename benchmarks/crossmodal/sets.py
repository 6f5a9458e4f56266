"""Data sets of paired views with labels: Wikipedia articles, scenes, Flickr tags, newsgroups."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import data

Array = Any
N_DATABASE = 5000  # of the larger sets: every method can train on that many rows, so learned codes are there for all
N_QUERIES = 1000


@dataclass(frozen=True)
class Pairs:
    """Rows that train and are searched, and rows that ask.

    Attributes
    ----------
    database, queries : dict of str to ndarray of float32, shape (n, dim)
        By modality, row i of one belonging to row i of the others.
    labels, asked : ndarray of int64, shape (n,), or of bool, shape (n, n_classes)
        Of the database and of the queries.
    """

    database: dict[str, Array]
    queries: dict[str, Array]
    labels: Array
    asked: Array

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the views."""
        return tuple(self.database)


@cache
def load(name: str) -> Pairs:
    """Read a data set by its name in ``SETS``."""
    return SETS[name][1]()


def wiki(text: str) -> Pairs:
    """Read the articles: images as 128-D SIFT histograms, texts as 10-D topics or 1,000-D TF-IDF."""
    folder = data() / "wiki"
    found = {**_mat(folder / "wikiData.mat"), **_mat(folder / "raw_features_with_tfidf1000.mat")}
    parts = [
        {"image": found[f"I_{part}"].astype(np.float32), "text": found[f"{text}_{part}"].astype(np.float32)}
        for part in ("tr", "te")
    ]
    labels, asked = (found[f"L_{part}"].reshape(-1).astype(np.int64) - 1 for part in ("tr", "te"))
    return Pairs(*parts, labels, asked)


def scenes() -> Pairs:
    """Read the scenes: three descriptors of one image; 485 of 4,485 ask."""
    found = _mat(data() / "scene15" / "Scene_15.mat")
    views = {f"view{number}": view.astype(np.float32) for number, view in enumerate(found["X"][0], 1)}
    return _split(views, found["Y"].reshape(-1).astype(np.int64) - 1, n_queries=485)


def flickr() -> Pairs:
    """Read the photographs: their tags as one view, their annotations as a second; relevant is a shared annotation."""
    folder = data() / "mirflickr25k"
    tags = _mat(folder / "mirflickr25k-yall.mat")["YAll"].astype(np.float32)
    labels = _mat(folder / "mirflickr25k-lall.mat")["LAll"].astype(np.bool_)
    return _split({"tags": tags, "annotations": labels.astype(np.float32)}, labels)


def newsgroups() -> Pairs:
    """Read the documents: sentence embeddings, and TF-IDF of the 1,000 words that most training documents have."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    generator = np.random.default_rng(0)
    kept, embedded, labels = {}, {}, {}
    for part, n in (("train", N_DATABASE), ("test", N_QUERIES)):
        with np.load(data() / "newsgroups20_minilm" / f"{part}.npz") as arrays:
            rows = np.sort(generator.choice(len(arrays["labels"]), n, replace=False))
            embedded[part] = arrays["vectors"][rows].astype(np.float32)
            labels[part] = arrays["labels"][rows].astype(np.int64)
        bodies = [document["text"].partition("\n\n")[2] for document in documents(part)]
        kept[part] = [bodies[row] for row in rows]
    words = TfidfVectorizer(max_features=1000, stop_words="english", sublinear_tf=True, dtype=np.float32)
    words.fit(kept["train"])
    counted = {part: words.transform(bodies).toarray() for part, bodies in kept.items()}
    views = [{"embedding": embedded[part], "words": counted[part]} for part in ("train", "test")]
    return Pairs(*views, labels["train"], labels["test"])


@cache
def documents(part: str) -> list[dict[str, Any]]:
    """Read the newsgroups of ``train`` or ``test``, in the order of their embeddings."""
    with gzip.open(data() / "newsgroups20" / f"{part}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _split(views: dict[str, Array], labels: Array, n_queries: int = N_QUERIES) -> Pairs:
    """Draw queries and, of the rest, at most ``N_DATABASE`` rows."""
    order = np.random.default_rng(0).permutation(len(labels))
    asked, kept = order[:n_queries], order[n_queries : n_queries + N_DATABASE]
    parts = [{name: np.ascontiguousarray(view[rows]) for name, view in views.items()} for rows in (kept, asked)]
    return Pairs(*parts, labels[kept], labels[asked])


def _mat(path: Path) -> dict[str, Array]:
    from scipy.io import loadmat

    return {name: value for name, value in loadmat(path).items() if not name.startswith("__")}


SETS: dict[str, tuple[str, Callable[[], Pairs]]] = {
    "wiki10": ("Wikipedia articles, text as 10 topics", lambda: wiki("T")),
    "wiki1000": ("Wikipedia articles, text as TF-IDF of 1,000 words", lambda: wiki("T_tfidf")),
    "scene15": ("Scenes, three views", scenes),
    "mirflickr": ("Flickr photographs, tags and annotations", flickr),
    "newsgroups": ("Newsgroups, sentence embedding and words", newsgroups),
}
