"""What ``hashdb eval`` does not measure: full precision, re-ranking, other libraries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.reproduction import matched_bytes, one_bit, vectors

OWN: dict[str, Callable[[Path], dict[str, Any]]] = {
    "one-bit": one_bit.measure,
    "matched-bytes": matched_bytes.measure,
    "full-precision": vectors.ceilings,
}
