"""hashdb as an algorithm of ann-benchmarks; docs/other-benchmarks.md says where the file goes.

``HashDB`` takes float data: it learns codes, searches them exactly, and re-ranks what is nearest by the vectors.
``HashDBBits`` takes codes as they are; its answers are exact.
"""

import tempfile

import numpy as np

import hashdb

from ..base.module import BaseANN

METRICS = {"angular": "cosine", "euclidean": "l2"}


class _Searcher(BaseANN):
    """What both have in common: an index in a temporary folder, and the two kinds of queries."""

    def __init__(self):
        self._folder = None
        self._index = None
        self._options = {}

    def _build(self, rows, **options):
        self.done()
        self._folder = tempfile.TemporaryDirectory(prefix="hashdb-")
        self._index = hashdb.build(f"{self._folder.name}/index.hashdb", rows, **options)
        self.query(rows[0], 1)  # kernels are compiled and files mapped on first use

    def _prepare(self, rows):
        return rows

    def query(self, q, n):
        """Return the row numbers of the n nearest, the nearest first, by one thread."""
        return self._index.query(self._prepare(q), n, n_threads=1, **self._options).ids[0]

    def batch_query(self, X, n):
        """Look for all of X at once, by every processor that the process may use."""
        self.res = self._index.query(self._prepare(X), n, **self._options).ids

    def done(self):
        """Close the index and remove its folder."""
        if self._index is not None:
            self._index.close()
            self._folder.cleanup()
        self._index = self._folder = None


class HashDB(_Searcher):
    """Learned codes, searched exactly, then re-ranked by the stored vectors.

    Parameters
    ----------
    metric : {"angular", "euclidean"}
    method : str
        A hashing method without labels, such as ``itq`` or ``lsh``.
    n_bits : int
        Bits of a code. ``itq`` can give as many as there are dimensions; more are cut to that.
    """

    def __init__(self, metric, method, n_bits):
        super().__init__()
        if metric not in METRICS:
            raise NotImplementedError(f"hashdb has no metric {metric} for float data, only {', '.join(METRICS)}")
        self._metric, self._method, self._n_bits = metric, method, n_bits
        self._rescore = 0

    def fit(self, X):
        """Learn codes and write the index."""
        if self._method == "itq":
            self._n_bits = min(self._n_bits, X.shape[1])
        self._build(
            np.asarray(X, np.float32),
            method=self._method,
            n_bits=self._n_bits,
            normalise="l2" if self._metric == "angular" else "none",
            metric=METRICS[self._metric],
            store_vectors="float32",
        )

    def set_query_arguments(self, rescore):
        """Re-rank the first ``rescore`` times n of the codes; 0 keeps the order of the codes."""
        self._rescore = rescore
        self._options = {"rescore": rescore} if rescore else {}

    def __str__(self):
        return f"hashdb({self._method}, n_bits={self._n_bits}, rescore={self._rescore})"


class HashDBBits(_Searcher):
    """Codes as they are, searched exactly."""

    def __init__(self, metric):
        super().__init__()
        if metric != "hamming":
            raise NotImplementedError(f"hashdb has no metric {metric} for bits, only hamming")

    def fit(self, X):
        """Write the codes as an index."""
        self._build(self._prepare(X), method="codes", input_type="bool")

    def _prepare(self, rows):
        return np.atleast_2d(rows).astype(bool)  # one query is one dimension

    def __str__(self):
        return "hashdb(codes)"
