"""20 Newsgroups by date: the posts, as the published archive or as JSON lines, and their embeddings."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from hashdb.datasets import files
from hashdb.datasets.description import DataFile, Dataset, DatasetInfo, Download, Layout
from hashdb.errors import InputFileError, brief
from hashdb.inputs.files import ByteFile, open_file
from hashdb.inputs.formats import one_line, parse_spec
from hashdb.inputs.limits import check_claim
from hashdb.progress import Progress

_HOME = "http://qwone.com/~jason/20Newsgroups/"
_LICENCE = "none stated; posts to public newsgroups of 1993"
_ARCHIVE = "20news-bydate.tar.gz"
_PARTS = ("train", "test")
_N_WORDS = 2000
_MAX_DIGITS = 18  # of the number of a post

Post = tuple[str, str, str]  # id, newsgroup, text


def _read_archive(folder: Path, progress: Progress) -> Dataset:
    path = folder / _ARCHIVE
    posts: dict[str, list[Post]] = {part: [] for part in _PARTS}
    n_bytes = 0
    try:
        # Unpacked by our own reader, within bounds; tarfile would take whatever packing the file is of.
        with open_file(parse_spec(path, "text")) as file, _tape(file) as archive:
            for member in archive:
                place = member.name.removeprefix("./").split("/")
                if member.isfile() and len(place) == 3 and place[0].removeprefix("20news-bydate-") in posts:
                    stream = archive.extractfile(member)
                    n_bytes += member.size  # a sparse member has less than it says
                    check_claim(file.name, n_bytes, file.size)
                    if not place[2].isdecimal() or len(place[2]) > _MAX_DIGITS:
                        raise InputFileError(
                            f"{path} holds the post {brief(member.name)!r}, expected a number as its name"
                        )
                    text = stream.read().decode("latin-1") if stream else ""
                    posts[place[0].removeprefix("20news-bydate-")].append((place[2], place[1], text))
    except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, MemoryError) as error:
        reason = one_line(error).removeprefix(f"{path} ")
        raise InputFileError(f"{path} is no whole archive: {reason}; fetch it again") from error
    if not all(posts.values()):
        raise InputFileError(f"{path} holds no folders 20news-bydate-train and 20news-bydate-test of posts")
    # An archive has its own order: by group and number, as the folders would list them.
    ordered = {part: sorted(found, key=lambda post: (post[1], int(post[0]))) for part, found in posts.items()}
    return _newsgroups(ordered)


def _tape(file: ByteFile) -> tarfile.TarFile:
    file.handle.seek(0)
    return tarfile.open(fileobj=file.handle, mode="r:")


def _read_jsonl(folder: Path, progress: Progress) -> Dataset:
    posts: dict[str, list[Post]] = {}
    for part in _PARTS:
        path = folder / f"{part}.jsonl.gz"
        columns = files.columns(path, ("id", "label", "text"))
        posts[part] = [(str(one), str(group), str(text)) for one, group, text in zip(*columns, strict=True)]
    return _newsgroups(posts)


def _newsgroups(posts: dict[str, list[Post]]) -> Dataset:
    rows = [post for part in _PARTS for post in posts[part]]
    groups = sorted({group for _, group, _ in rows})
    numbers = {group: number for number, group in enumerate(groups)}
    texts = [text for _, _, text in rows]
    n_train = len(posts["train"])
    return Dataset(
        "newsgroups20",
        _tf_idf([_body(text) for text in texts], n_train),
        np.array([numbers[group] for _, group, _ in rows], np.int64),
        tuple(groups),
        [post[0] for post in rows],
        n_train=n_train,
        texts=texts,
    )


def _body(text: str) -> str:
    """Cut off the block of headers, which names the newsgroup or nearly so."""
    return text.replace("\r\n", "\n").partition("\n\n")[2]


def _tf_idf(texts: list[str], n_train: int) -> Any:
    """Weigh the 2,000 words that most posts of the training part use; rows of length 1, or 0 where none is used."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    weigher = TfidfVectorizer(max_features=_N_WORDS, stop_words="english", sublinear_tf=True, dtype=np.float32)
    parts = weigher.fit_transform(texts[:n_train]), weigher.transform(texts[n_train:])
    return np.concatenate([part.toarray() for part in parts])


def _read_minilm(folder: Path, progress: Progress) -> Dataset:
    paths = [folder / f"{part}.npz" for part in _PARTS]
    vectors = [files.vectors(path, "vectors") for path in paths]
    return Dataset(
        "newsgroups20-minilm",
        np.concatenate(vectors),
        np.concatenate([files.classes(path, "labels") for path in paths]),
        tuple(files.names(paths[0], "label_names")),
        [one for path in paths for one in files.names(path, "ids")],
        n_train=len(vectors[0]),
    )


NEWSGROUPS = DatasetInfo(
    name="newsgroups20",
    title="20 Newsgroups by date, weights (tf-idf) of 2,000 words",
    home=_HOME,
    licence=_LICENCE,
    folder="newsgroups20",
    layouts=(
        Layout((DataFile(_ARCHIVE),), _read_archive),
        Layout((DataFile("train.jsonl.gz"), DataFile("test.jsonl.gz")), _read_jsonl),
    ),
    downloads=(
        Download(
            "https://ndownloader.figshare.com/files/5975967",
            (_ARCHIVE,),
            sha256="8f1b2514ca22a5ade8fbb9cfa5727df95fa587f4c87b786e15c759fa66d95610",
        ),
    ),
)
MINILM = DatasetInfo(
    name="newsgroups20-minilm",
    title="20 Newsgroups by date, embeddings of 384 dimensions by all-MiniLM-L6-v2",
    home=_HOME,
    licence=f"{_LICENCE}; the model is Apache-2.0",
    folder="newsgroups20_minilm",
    layouts=(Layout((DataFile("train.npz"), DataFile("test.npz")), _read_minilm),),
    note="embed the posts of newsgroups20 without their headers; each .npz holds vectors, labels, ids, label_names",
)

ALL = (NEWSGROUPS, MINILM)
