"""Memory and time of large builds and opens, each in a process of its own."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.common import table

HEAD = ("what", "size", "time", "peak memory of the process")

_BUILD = """
import json, resource, sys, time
import hashdb
start = time.perf_counter()
hashdb.build(sys.argv[1], sys.argv[2], method=sys.argv[3], n_bits=64).close()
print(json.dumps([time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""
_OPEN = """
import json, resource, sys, time
import hashdb.index, hashdb.api
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
index = hashdb.open(sys.argv[1])
n = len(index)
seconds = time.perf_counter() - start
print(json.dumps([seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]))
"""


def rows(n_vectors: int, dim: int, n_codes: int) -> list[tuple[object, ...]]:
    """Build from a .npy and a .fvecs file larger than the bound on memory, then open an index of many codes."""
    folder = Path(tempfile.mkdtemp(prefix="hashdb-bench-"))
    try:
        npy, fvecs = folder / "rows.npy", folder / "rows.fvecs"
        _write(npy, fvecs, n_vectors, dim)
        size = f"{n_vectors:,} x {dim} float32 ({npy.stat().st_size / 1e9:.1f} GB)"
        found = []
        for file in (npy, fvecs):
            seconds, peak = _run(_BUILD, folder / f"{file.suffix}.hashdb", file, "itq")
            found.append((f"build, itq 64 bits, {file.suffix}", size, f"{seconds:.1f} s", f"{peak:,.0f} MiB"))
            file.unlink()
        codes = folder / "codes.npy"
        _write_codes(codes, n_codes)
        seconds, peak = _run(_BUILD, folder / "codes.hashdb", codes, "codes")
        found.append(("build, codes as they are", f"{n_codes:,} x 64 bits", f"{seconds:.1f} s", f"{peak:,.0f} MiB"))
        seconds, growth = _run(_OPEN, folder / "codes.hashdb")
        found.append(("open", f"{n_codes:,} x 64 bits", f"{seconds * 1e3:.1f} ms", f"{growth:,.1f} MiB more"))
        return found
    finally:
        shutil.rmtree(folder)


def _write(npy: Path, fvecs: Path, n: int, dim: int) -> None:
    rng = np.random.default_rng(0)
    header = {"descr": "<f4", "fortran_order": False, "shape": (n, dim)}
    with npy.open("wb") as plain, fvecs.open("wb") as vecs:
        np.lib.format.write_array_header_1_0(plain, header)
        for first in range(0, n, 100_000):
            block = rng.standard_normal((min(100_000, n - first), dim), dtype=np.float32)
            plain.write(block.tobytes())
            record = np.empty((len(block), dim + 1), np.float32)
            record[:, 0] = np.array([dim], np.int32).view(np.float32)
            record[:, 1:] = block
            vecs.write(record.tobytes())


def _write_codes(path: Path, n: int) -> None:
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<u8", "fortran_order": False, "shape": (n, 1)})
        for first in range(0, n, 10_000_000):
            file.write(rng.integers(0, 2**63, min(10_000_000, n - first), dtype=np.uint64).tobytes())


def _run(code: str, *arguments: object) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    seconds, mebibytes = json.loads(done.stdout.splitlines()[-1])
    return seconds, mebibytes


def main(argv: list[str] | None = None) -> str:
    """Run and return the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vectors", type=int, default=10_000_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--codes", type=int, default=100_000_000)
    options = parser.parse_args(argv)
    return table(HEAD, rows(options.vectors, options.dim, options.codes))


if __name__ == "__main__":
    print(main())
