"""What a repair can derive that the storage does not know of: settings, codes of vectors, codes in bucket tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.codes import INPUT_TYPES, Codes
from hashdb.model import Model
from hashdb.search import TableMaker
from hashdb.stored_vectors import METRICS, VECTOR_STORES

Arrays = Mapping[str, NDArray[Any]]


class Knowledge:
    """What :func:`hashdb.storage.repair.repair` asks of the layers above; nothing of it is trusted without a digest."""

    def settings(self, document: dict[str, Any]) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Give the (n_bits, n_stored_bits, settings) that an index with a model may have."""
        n_bits, n_stored_bits = document.get("n_bits"), document.get("n_stored_bits")
        if type(n_bits) is not int or type(n_stored_bits) is not int:
            return
        for metric, input_type, kept, budget in product(METRICS, INPUT_TYPES, ("none", *VECTOR_STORES), _BUDGETS):
            settings = {"metric": metric, "input_type": input_type, "store_vectors": kept, **budget}
            yield n_bits, n_stored_bits, settings

    def maker(self, settings: dict[str, Any]) -> TableMaker:
        """Return what makes the bucket tables of an index."""
        return TableMaker(settings.get("table_budget"))

    def codes_in(self, tables: Sequence[tuple[dict[str, Any], Arrays]], n: int, n_words: int) -> Codes | None:
        """Return the codes of a segment by its bucket tables, uint64 (n, n_words); None where they do not hold them."""
        for _, arrays in tables:
            rows, codes = arrays.get("rows"), arrays.get("codes")
            if rows is None or codes is None or rows.shape != (n,) or codes.shape != (n, n_words):
                continue
            if codes.dtype != np.uint64 or not np.array_equal(np.sort(rows), np.arange(n)):
                continue
            found = np.empty((n, n_words), np.uint64)
            found[rows] = codes
            return found
        return None

    def encode(self, model: tuple[dict[str, Any], Arrays], vectors: NDArray[Any], modality: str | None) -> Codes:
        """Return the codes of stored float32 vectors, uint64 (m, n_words)."""
        return Model.from_document(*model).encode(vectors, modality=modality)


_BUDGETS: list[dict[str, float]] = [{}, *({"table_budget": float(bytes_a_code)} for bytes_a_code in range(129))]
