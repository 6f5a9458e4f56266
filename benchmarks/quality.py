"""Quality of the codes on real data: the tables of docs/results.md.

Recall is measured against the exact neighbours that come with the data, precision by label. The survey's protocol
(splits, mean average precision, repeats with significance) is not in here: ``python -m benchmarks.quality [PART]…``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

import hashdb
from benchmarks.common import data, table

SEEDS = (0, 1, 2, 3, 4)


def spread(measure: Callable[[int], float]) -> str:
    """Mean and standard deviation over the seeds."""
    values = [measure(seed) for seed in SEEDS]
    return f"{mean(values):.3f} ± {stdev(values):.3f}"


def sift() -> str:
    """Recall@10 on SIFT, before and after re-ranking."""
    folder = data() / "sift_bigann10k"
    base, queries, truth = (_only(folder, name) for name in ("base", "quer", "g"))
    exact = _rows(truth)[:, :10].astype(np.int64)
    asked = _rows(queries)
    head = ("method", "bits (stored)", "recall@10", "--rescore 10", "--rescore 50")
    rows = []
    for method, quantiser in (("lsh", None), ("pcah", None), ("itq", None), ("itq", "dbq")):

        def recalls(seed: int, method: str = method, quantiser: str | None = quantiser) -> list[float]:
            with tempfile.TemporaryDirectory() as temporary:
                index = hashdb.build(
                    Path(temporary) / "sift.hashdb",
                    str(base),
                    method=method,
                    n_bits=64,
                    quantiser=quantiser,
                    seed=seed,
                    store_vectors="float32",
                    metric="l2",
                )
                found = [index.query(asked, k=10, rescore=times).ids for times in (None, 10, 50)]
                index.close()
            return [_recall(ids, exact) for ids in found] + [float(index.model.n_stored_bits)]

        each = [recalls(seed) for seed in SEEDS]
        columns = [f"{mean(column):.3f} ± {stdev(column):.3f}" for column in list(zip(*each, strict=True))[:3]]
        name = method + (f" + {quantiser}" if quantiser else "")
        rows.append((name, f"64 ({each[0][3]:.0f})", *columns))
    return table(head, rows)


def cifar() -> str:
    """Precision by label on CIFAR-10 GIST, 59,000 rows searched by 1,000."""
    folder = data() / "cifar10"
    gist = np.load(folder / "gist512_float16.npy").astype(np.float32)
    labels = np.concatenate([np.load(folder / f"{part}_labels.npy").reshape(-1) for part in ("train", "test")])
    head = ("method", "16 bits", "32 bits", "64 bits")

    def precision(method: str, n_bits: int, seed: int) -> float:
        order = np.random.default_rng(seed).permutation(len(gist))
        queries, database = order[:1000], order[1000:]
        with tempfile.TemporaryDirectory() as temporary:
            index = hashdb.build(
                Path(temporary) / "cifar.hashdb",
                gist[database],
                method=method,
                n_bits=n_bits,
                labels=labels[database] if method == "itq-cca" else None,
                train=5000,
                seed=seed,
            )
            found = index.query(gist[queries], k=100)
            index.close()
        return float((labels[database][found.ids] == labels[queries][:, None]).mean())

    rows = []
    for method in ("lsh", "pcah", "itq", "itq-cca"):
        cells = [spread(lambda seed, m=method, b=bits: precision(m, b, seed)) for bits in (16, 32, 64)]  # type: ignore[misc]
        rows.append((method, *cells))
    return table(head, rows)


def fashion() -> str:
    """Precision at 10 on Fashion-MNIST by the labels, test images asking training images."""
    folder = data() / "fashion_mnist"
    labels, asked = (_labels(folder / f"{part}-labels-idx1-ubyte.gz") for part in ("train", "t10k"))
    queries = str(folder / "t10k-images-idx3-ubyte.gz")

    def precision(method: str, seed: int) -> float:
        with tempfile.TemporaryDirectory() as temporary:
            index = hashdb.build(
                Path(temporary) / "fashion.hashdb",
                str(folder / "train-images-idx3-ubyte.gz"),
                method=method,
                n_bits=64,
                labels=labels if method == "itq-cca" else None,
                seed=seed,
            )
            found = index.query(queries, k=10)
            index.close()
        return float((labels[found.ids] == asked[:, None]).mean())

    rows = [
        (method, spread(lambda seed, m=method: precision(m, seed)))  # type: ignore[misc]
        for method in ("lsh", "pcah", "itq", "itq-cca")
    ]
    return table(("method", "precision@10"), rows)


def wiki() -> str:
    """Precision at 50 by class on Wikipedia pairs, both directions; 2,173 rows searched by 693."""
    folder = data() / "wiki"
    features = folder / "raw_features.mat"
    pairs = {"image": f"{features}::I_tr", "text": f"{features}::T_tr"}
    asked = {"image": f"{features}::I_te", "text": f"{features}::T_te"}
    known, wanted = (_rows(f"{folder / 'wikiData.mat'}::{name}").reshape(-1) for name in ("L_tr", "L_te"))

    def precision(stored: str, query: str, n_bits: int, seed: int) -> float:
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "wiki.hashdb"
            index = hashdb.build(path, pairs, method="cvh", n_bits=n_bits, store=stored, seed=seed)
            found = index.query(asked[query], k=50, modality=query)
            index.close()
        return float((known[found.ids] == wanted[:, None]).mean())

    chance = float((np.bincount(known.astype(int)) / len(known))[wanted.astype(int)].mean())
    rows: list[tuple[Any, ...]] = []
    for stored, query in (("text", "image"), ("image", "text")):
        cells = [
            spread(lambda seed, s=stored, q=query, b=bits: precision(s, q, b, seed))  # type: ignore[misc]
            for bits in (8, 16, 32)
        ]
        rows.append((f"{query} → {stored}", *cells, f"{chance:.3f}"))
    return table(("cvh", "8 bits", "16 bits", "32 bits", "chance"), rows)


PARTS = {"sift": sift, "cifar": cifar, "fashion": fashion, "wiki": wiki}


def _only(folder: Path, stem: str) -> Path:
    (found,) = sorted(path for path in folder.iterdir() if path.name.lower().startswith(stem))
    return found


def _rows(spec: Any) -> Any:
    from hashdb.inputs import open_vectors

    with open_vectors(spec) as source:
        return np.concatenate(list(source.batches(1 << 16)))


def _labels(path: Path) -> Any:
    from hashdb.inputs import read_labels

    return read_labels(path)


def _recall(ids: Any, exact: Any) -> float:
    hits = [len(np.intersect1d(found, true)) for found, true in zip(ids, exact, strict=True)]
    return float(np.mean(hits)) / exact.shape[1]


def write(tables: dict[str, str]) -> None:
    """Put tables between their marks in docs/results.md."""
    page = Path(__file__).parent.parent / "docs" / "results.md"
    text = page.read_text(encoding="utf-8")
    for name, made in tables.items():
        before, rest = text.split(f"<!-- part: {name} -->\n")
        text = f"{before}<!-- part: {name} -->\n{made}\n<!-- end -->{rest.split('<!-- end -->', 1)[1]}"
    page.write_text(text, encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    """Run the parts named, or all, and write their tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    chosen = parser.parse_args(argv).parts or list(PARTS)
    unknown = set(chosen) - set(PARTS)
    if unknown:
        parser.error(f"no part {sorted(unknown)[0]!r}, expected {', '.join(PARTS)}")
    write({name: PARTS[name]() for name in chosen})


if __name__ == "__main__":
    main()
