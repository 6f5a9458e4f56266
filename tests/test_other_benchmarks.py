"""The entries for other projects' benchmarks keep to their interfaces, and find what an exact search finds."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import hashdb

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks/ann_benchmarks"
PACKAGE = "ann_benchmarks.algorithms"


class BaseANN:
    """What ann-benchmarks gives to every algorithm: hooks that may be left out, and how results are collected."""

    def done(self) -> None:
        pass

    def fit(self, X: np.ndarray) -> None:
        raise NotImplementedError

    def query(self, q: np.ndarray, n: int) -> Any:
        raise NotImplementedError

    def batch_query(self, X: np.ndarray, n: int) -> None:
        raise NotImplementedError

    def get_batch_results(self) -> Any:
        return self.res  # type: ignore[attr-defined]

    def get_additional(self) -> dict[str, Any]:
        return {}


@pytest.fixture
def algorithms(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Our module where ann-benchmarks has it, beside a double of its base class."""
    for name in ("ann_benchmarks", PACKAGE, f"{PACKAGE}.base", f"{PACKAGE}.hashdb"):
        package = ModuleType(name)
        package.__path__ = []
        monkeypatch.setitem(sys.modules, name, package)
    base = ModuleType(f"{PACKAGE}.base.module")
    base.BaseANN = BaseANN  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, base.__name__, base)
    spec = importlib.util.spec_from_file_location(f"{PACKAGE}.hashdb.module", FOLDER / "module.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def fitted(vectors: np.ndarray, algorithms: ModuleType) -> Iterator[Callable[..., Any]]:
    made = []

    def make(metric: str = "angular", method: str = "itq", n_bits: int = 16, rescore: int = 0) -> Any:
        algorithm = algorithms.HashDB(metric, method, n_bits)
        made.append(algorithm)
        algorithm.fit(vectors)
        algorithm.set_query_arguments(rescore)
        return algorithm

    yield make
    for algorithm in made:
        algorithm.done()


def queries_beside(vectors: np.ndarray) -> np.ndarray:
    return vectors[::25] + np.random.default_rng(1).normal(0, 0.5, vectors[::25].shape).astype(np.float32)


def nearest(vectors: np.ndarray, query: np.ndarray, metric: str, n: int) -> list[int]:
    wide, wanted = vectors.astype(np.float64), query.astype(np.float64)
    cosine = -(wide @ wanted) / np.linalg.norm(wide, axis=1)
    far = cosine if metric == "angular" else ((wide - wanted) ** 2).sum(axis=1)
    return np.argsort(far)[:n].tolist()


@pytest.mark.parametrize("metric", ["angular", "euclidean"])
@pytest.mark.parametrize("method", ["itq", "lsh"])
def test_re_ranking_every_row_is_an_exact_search(
    vectors: np.ndarray, fitted: Callable[..., Any], metric: str, method: str
) -> None:
    algorithm = fitted(metric, method, rescore=50)
    for query in queries_beside(vectors):
        assert algorithm.query(query, 10).tolist() == nearest(vectors, query, metric, 10)


def test_deeper_re_ranking_finds_more(vectors: np.ndarray, fitted: Callable[..., Any]) -> None:
    algorithm = fitted()
    found = []
    for rescore in (0, 2, 10):
        algorithm.set_query_arguments(rescore)
        found.append(
            sum(
                len(set(algorithm.query(query, 10).tolist()) & set(nearest(vectors, query, "angular", 10)))
                for query in queries_beside(vectors)
            )
        )
    assert found[0] < found[1] < found[2]


def test_without_re_ranking_the_order_is_that_of_the_codes(vectors: np.ndarray, fitted: Callable[..., Any]) -> None:
    algorithm = fitted(method="lsh", n_bits=40)
    model = hashdb.fit(vectors, method="lsh", n_bits=40, normalise="l2")
    codes = hashdb.codes.unpack(model.encode(vectors), 40)
    for query in queries_beside(vectors):
        distances = (codes != hashdb.codes.unpack(model.encode(query[None]), 40)).sum(axis=1)
        assert algorithm.query(query, 10).tolist() == np.argsort(distances, kind="stable")[:10].tolist()


@pytest.mark.parametrize("rescore", [0, 5])
def test_a_batch_is_its_queries(vectors: np.ndarray, fitted: Callable[..., Any], rescore: int) -> None:
    algorithm = fitted("euclidean", rescore=rescore)
    queries = queries_beside(vectors)
    algorithm.batch_query(queries, 7)
    assert [list(one) for one in algorithm.get_batch_results()] == [list(algorithm.query(q, 7)) for q in queries]


def test_float64_vectors_are_taken(vectors: np.ndarray, algorithms: ModuleType) -> None:
    algorithm = algorithms.HashDB("euclidean", "lsh", 32)
    algorithm.fit(vectors.astype(np.float64))
    assert algorithm.query(vectors[3].astype(np.float64), 1).tolist() == [3]
    algorithm.done()


def test_the_name_of_a_run_says_its_parameters(fitted: Callable[..., Any]) -> None:
    # ITQ has no more bits than dimensions, which are 24.
    assert str(fitted(n_bits=256, rescore=5)) == "hashdb(itq, n_bits=24, rescore=5)"
    assert str(fitted(method="lsh", n_bits=256)) == "hashdb(lsh, n_bits=256, rescore=0)"


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8])
def test_bits_are_searched_exactly(algorithms: ModuleType, dtype: type) -> None:
    rng = np.random.default_rng(3)
    rows, queries = rng.random((400, 100)) < 0.4, rng.random((20, 100)) < 0.4
    algorithm = algorithms.HashDBBits("hamming")
    algorithm.fit(rows.astype(dtype))
    algorithm.batch_query(queries.astype(dtype), 10)
    for query, batched in zip(queries, algorithm.get_batch_results(), strict=True):
        distances = (rows != query).sum(axis=1)
        expected = np.argsort(distances, kind="stable")[:10].tolist()
        assert algorithm.query(query.astype(dtype), 10).tolist() == list(batched) == expected
    algorithm.done()


@pytest.mark.parametrize(
    ("constructor", "arguments"), [("HashDB", ("jaccard", "itq", 8)), ("HashDBBits", ("angular",))]
)
def test_a_metric_it_does_not_have_is_refused(
    algorithms: ModuleType, constructor: str, arguments: tuple[Any, ...]
) -> None:
    with pytest.raises(NotImplementedError, match=f"no metric {arguments[0]}"):
        getattr(algorithms, constructor)(*arguments)


def test_done_removes_the_index(vectors: np.ndarray, algorithms: ModuleType) -> None:
    algorithm = algorithms.HashDB("angular", "lsh", 16)
    algorithm.done()  # nothing was built yet
    algorithm.fit(vectors)
    folder = Path(algorithm._folder.name)
    assert folder.is_dir()
    algorithm.done()
    algorithm.done()
    assert not folder.exists()


def definitions() -> Iterator[tuple[str, str, dict[str, Any]]]:
    yaml = pytest.importorskip("yaml", reason="PyYAML reads the configuration")
    config = yaml.safe_load((FOLDER / "config.yml").read_text(encoding="utf-8"))
    for point_type, metrics in config.items():
        for metric, algorithms in metrics.items():
            for one in algorithms:
                yield point_type, metric, one


def combinations(arguments: list[Any]) -> list[tuple[Any, ...]]:
    return list(itertools.product(*(one if isinstance(one, list) else [one] for one in arguments)))


def test_every_combination_of_the_configuration_can_be_made(algorithms: ModuleType) -> None:
    seen = []
    for point_type, metric, one in definitions():
        seen.append((point_type, metric))
        assert (one["module"], one["docker_tag"]) == (f"{PACKAGE}.hashdb", "ann-benchmarks-hashdb")
        constructor = getattr(algorithms, one["constructor"])
        for group in one["run_groups"].values():
            for arguments in combinations(group["args"]):
                base = [metric if argument == "@metric" else argument for argument in one["base_args"]]
                algorithm = constructor(*base, *arguments)
                assert hasattr(algorithm, "set_query_arguments") == ("query_args" in group)
                for query_arguments in combinations(group.get("query_args", [])):
                    if query_arguments:
                        algorithm.set_query_arguments(*query_arguments)
    assert sorted(seen) == [("bit", "hamming"), ("float", "angular"), ("float", "euclidean")]


def test_the_methods_of_the_configuration_learn_without_labels() -> None:
    groups = [group for _, _, one in definitions() for group in one["run_groups"].values() if group["args"]]
    names = {name for group in groups for name in group["args"][0]}
    rows = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    assert names == {"itq", "lsh"}
    assert all(hashdb.fit(rows, method=name, n_bits=8).n_bits == 8 for name in names)


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Our entries, registered with a double of bitbudget."""
    double: Any = ModuleType("bitbudget")
    double.indexes, double.methods = {}, {}

    def register(into: dict[str, Any]) -> Callable[..., Any]:
        return lambda name, **about: lambda function: into.setdefault(name, function)

    double.index, double.method = register(double.indexes), register(double.methods)
    monkeypatch.setitem(sys.modules, "bitbudget", double)
    monkeypatch.delitem(sys.modules, "benchmarks.bitbudget.entries", raising=False)
    monkeypatch.syspath_prepend(str(ROOT))
    module = importlib.import_module("benchmarks.bitbudget.entries")
    yield SimpleNamespace(indexes=double.indexes, methods=double.methods, module=module)
    sys.modules.pop("benchmarks.bitbudget.entries", None)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_an_index_entry_gives_rows_bytes_and_speed(vectors: np.ndarray, entries: SimpleNamespace) -> None:
    base, queries = unit(vectors), unit(queries_beside(vectors))
    for name, (n_bits, _) in entries.module.INDEXES.items():
        found, stored, speed = entries.indexes[name](base, queries, 10)
        assert found.shape == (len(queries), 10)
        assert n_bits / 8 <= stored < n_bits / 8 + 1  # the vectors are not counted, headers of files are
        assert speed > 0


def test_an_index_entry_that_re_ranks_every_row_is_exact(vectors: np.ndarray, entries: SimpleNamespace) -> None:
    base, queries = unit(vectors), unit(queries_beside(vectors))
    found, _, _ = entries.module.search(base, queries, 10, n_bits=16, depth=500)
    assert found.tolist() == [nearest(base, query, "angular", 10) for query in queries]


def test_a_method_entry_scores_by_the_codes(vectors: np.ndarray, entries: SimpleNamespace) -> None:
    queries = queries_beside(vectors)
    scores, stored = entries.methods["hashdb-itq"](vectors, queries)
    model = hashdb.fit(vectors, method="itq", n_bits=24)
    codes, asked = (hashdb.codes.unpack(model.encode(rows), 24) for rows in (vectors, queries))
    expected = [[24 - 2 * int((one != other).sum()) for other in codes] for one in asked]
    assert stored == 3
    assert scores.tolist() == expected


def test_an_asymmetric_entry_weighs_bits_by_the_margins(vectors: np.ndarray, entries: SimpleNamespace) -> None:
    queries = queries_beside(vectors)
    scores, stored = entries.methods["hashdb-itq-asymmetric"](vectors, queries)
    model = hashdb.fit(vectors, method="itq", n_bits=24)
    codes, margins = hashdb.codes.unpack(model.encode(vectors), 24), model.project(queries)
    expected = [[sum(m if bit else -m for m, bit in zip(one, code, strict=True)) for code in codes] for one in margins]
    assert stored == 3
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-3)


def test_a_method_entry_re_ranks_the_first_hundred(vectors: np.ndarray, entries: SimpleNamespace) -> None:
    queries = queries_beside(vectors)
    by_codes, _ = entries.methods["hashdb-itq"](vectors, queries)
    scores, stored = entries.methods["hashdb-itq+rerank"](vectors, queries)
    assert stored == 3
    for query, codes, row in zip(queries, by_codes, scores, strict=True):
        ranked = np.flatnonzero(np.isfinite(row))
        assert len(ranked) == 100
        assert codes[ranked].min() >= np.delete(codes, ranked).max()
        np.testing.assert_allclose(row[ranked], vectors[ranked] @ query, rtol=1e-4, atol=1e-4)


def test_bitbudget_runs_the_entries(vectors: np.ndarray, tmp_path: Path) -> None:
    pytest.importorskip("bitbudget", reason="pip install bitbudget")
    np.savez(tmp_path / "rows.npz", base=vectors, query=queries_beside(vectors))
    arguments = ["--threads", "1", "bench-index", "--npz", str(tmp_path / "rows.npz"), "--out", str(tmp_path)]
    command = [sys.executable, "-m", "benchmarks.bitbudget", *arguments, "--indexes", "hashdb-64", "hashdb-64+rerank"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = {row["method"]: row for row in json.loads((tmp_path / "index_card.json").read_text("utf-8"))["rows"]}
    assert set(rows) == {"hashdb-64", "hashdb-64+rerank"}
    assert rows["hashdb-64"]["recall"] < rows["hashdb-64+rerank"]["recall"] > 0.9
