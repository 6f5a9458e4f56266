"""Public data sets, read from the files that their publishers have.

>>> from hashdb import datasets
>>> datasets.get("wiki").home
'http://www.svcl.ucsd.edu/projects/crossmodal/'

``load("wiki")`` reads below the folder that ``HASHDB_DATA`` names; nothing is ever downloaded but by ``fetch``.

| module | sets |
|---|---|
| `pictures` | CIFAR-10, the family of MNIST |
| `corpora` | TEXMEX, BIGANN, ann-benchmarks |
| `views` | Wiki, MIRFlickr-25K, Scene-15 |
| `nuswide` | NUS-WIDE |
| `texts` | 20 Newsgroups |
"""

from __future__ import annotations

from hashdb.datasets.catalogue import Found, find, folder_of, get, load, names
from hashdb.datasets.description import DataFile, Dataset, DatasetInfo, Download, Layout
from hashdb.datasets.fetching import FetchError, fetch

__all__ = [
    "load",
    "fetch",
    "names",
    "get",
    "find",
    "folder_of",
    "Dataset",
    "DatasetInfo",
    "DataFile",
    "Download",
    "Layout",
    "Found",
    "FetchError",
]
