"""Every hook: what an implementation is given, and that the documentation lists it as it is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import numpy as np
import pytest

from hashdb import hookspecs, registry
from hashdb.errors import ArgumentError, PluginContractError
from hashdb.model import fit

PAGE = Path(__file__).parent.parent.parent / "docs/plugins/hooks.md"

METHOD = """
seen = {}

@hashdb.hookimpl
def describe():
    return hashdb.MethodInfo(name="mine", title="Mine", paper="", year=0, supervision="optional labels",
                             params=(hashdb.Param("rate", float, 0.5, 0, 1),))

@hashdb.hookimpl
def fit(progress, seed, labels, params, n_bits, vectors):
    seen.update(progress=progress, seed=seed, labels=labels, params=params, n_bits=n_bits, vectors=vectors)
    progress(1, 1)
    return {"n_bits": np.array(n_bits)}

@hashdb.hookimpl
def encode(modality, vectors, state):
    seen.update(encode=(modality, vectors, state))
    return vectors[:, : int(state["n_bits"])] > 0

@hashdb.hookimpl
def project(modality, vectors, state):
    seen.update(project=(modality, vectors, state))
    return vectors[:, : int(state["n_bits"])].copy()

@hashdb.hookimpl
def partial_fit(state, vectors, labels, params, seed):
    seen.update(partial_fit=(state, vectors, labels, params, seed))
    return {"n_bits": state["n_bits"] + 1}
"""

QUANTISER = """
seen = {}

@hashdb.hookimpl
def describe():
    return hashdb.MethodInfo(name="halves", title="Halves", paper="", year=0, kind="quantiser", max_bits=64,
                             params=(hashdb.Param("rate", float, 0.5, 0, 1),))

@hashdb.hookimpl
def n_projections(n_bits, params):
    seen.update(n_projections=(n_bits, params))
    if n_bits % 2:
        raise hashdb.errors.ArgumentError(f"n_bits is {n_bits}, expected an even number: {n_bits + 1}")
    return n_bits // 2

@hashdb.hookimpl
def fit_quantiser(projections, n_bits, neighbours, params, seed):
    seen.update(fit_quantiser=(projections, n_bits, neighbours, params, seed))
    return {"low": np.quantile(projections, 0.25, axis=0), "high": np.quantile(projections, 0.75, axis=0)}

@hashdb.hookimpl
def quantise(state, projections):
    seen.update(quantise=(state, projections))
    middle = 0 * projections
    return np.hstack([projections - state["low"], middle, projections - state["high"]]).astype(np.float32)
"""

ENCODER = """
@hashdb.hookimpl
def describe():
    return hashdb.MethodInfo(name="letters", title="Letters", paper="", year=0, kind="encoder", input="items",
                             params=(hashdb.Param("letters", str, "abc"),))

@hashdb.hookimpl
def encode_items(items, params):
    return np.array([[text.count(letter) for letter in params["letters"]] for text in items], np.float32)
"""


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32)


def seen_by(name: str) -> dict:
    import sys

    return sys.modules[registry.claims_of(name)[0].value].seen


def test_every_hook_has_a_test() -> None:
    specified = {name for name, value in vars(hookspecs).items() if hasattr(value, "hashdb_spec")}
    assert specified == set(registry.HOOKS)
    assert {f"test_hook_{name}" for name in specified} <= set(globals())


def test_the_hooks_page_lists_every_hook_with_its_arguments() -> None:
    headings = re.findall(r"^## (\w+\(.*\))$", PAGE.read_text(encoding="utf-8"), re.M)
    assert headings == [f"{name}({', '.join(registry.hook_arguments(name))})" for name in registry.HOOKS]


def test_every_hook_documents_its_arguments() -> None:
    for name in registry.HOOKS:
        text = inspect.getdoc(getattr(hookspecs, name)) or ""
        assert "Returns\n-------" in text
        for argument in registry.hook_arguments(name):
            assert re.search(rf"^{argument} :", text, re.M), f"{name} does not document {argument}"


def test_hook_describe(install) -> None:
    info = registry.get(install("mine", METHOD)).info
    assert (info.title, info.kind, info.input, info.takes_labels, info.needs_labels) == (
        "Mine",
        "method",
        "vectors",
        True,
        False,
    )


def test_hook_fit(install, rows: np.ndarray) -> None:
    calls = []
    model = fit(
        rows.astype(np.float64),
        install("mine", METHOD),
        4,
        params={"rate": "0.25"},
        labels=np.arange(50) % 3 - 1,
        seed=5,
        progress=lambda done, total: calls.append((done, total)),
    )
    seen = seen_by("mine")
    assert (seen["n_bits"], seen["seed"], seen["params"]) == (4, 5, {"rate": 0.25})
    assert seen["vectors"].dtype == np.float32
    assert seen["vectors"].flags.c_contiguous
    np.testing.assert_array_equal(seen["vectors"], rows)
    np.testing.assert_array_equal(seen["labels"], np.arange(50) % 3 - 1)
    assert seen["labels"].dtype == np.int64
    assert calls == [(1, 1)]
    assert model.state["n_bits"] == 4


def test_hook_encode(install, rows: np.ndarray) -> None:
    model = fit(rows, install("mine", METHOD), 4)
    codes = model.encode(rows[:3])
    modality, vectors, state = seen_by("mine")["encode"]
    assert modality is None
    np.testing.assert_array_equal(vectors, rows[:3])
    assert set(state) == {"n_bits"}
    assert codes[:, 0].tolist() == [sum(1 << j for j in range(4) if row[j] > 0) for row in rows[:3]]


def test_hook_project(install, rows: np.ndarray) -> None:
    model = fit(rows, install("mine", METHOD), 4)
    np.testing.assert_array_equal(model.project(rows[:3]), rows[:3, :4])


def test_hook_partial_fit(install, rows: np.ndarray) -> None:
    plugin = registry.get(install("mine", METHOD))
    assert plugin.partial_fit({"n_bits": np.array(4)}, rows, {"rate": 0.5}, None, 3)["n_bits"] == 5
    assert seen_by("mine")["partial_fit"][2:] == (None, {"rate": 0.5}, 3)


def test_hook_n_projections(install, rows: np.ndarray) -> None:
    name = install("halves", QUANTISER)
    assert registry.get(name).n_projections(8, {"rate": 0.5}) == 4
    with pytest.raises(ArgumentError, match="expected an even number: 8"):
        fit(rows, "lsh", 7, quantiser=name)


@pytest.mark.parametrize("number", ["0", "2.0", "True", "None"])
def test_n_projections_is_checked(install, number: str) -> None:
    name = install("halves", QUANTISER.replace("n_bits // 2", number))
    with pytest.raises(PluginContractError, match=r"n_projections returned .*, expected a whole number, at least 1"):
        registry.get(name).n_projections(8, {})


def test_hook_fit_quantiser(install, rows: np.ndarray) -> None:
    name = install("halves", QUANTISER)
    model = fit(rows, "lsh", 8, quantiser=name, params={"rate": 0.25}, seed=2)
    projections, n_bits, neighbours, params, seed = seen_by(name)["fit_quantiser"]
    assert (n_bits, params, seed) == (8, {"rate": 0.25}, 2)
    np.testing.assert_array_equal(projections, fit(rows, "lsh", 4, seed=2).project(rows))
    assert neighbours.dtype == np.int64
    assert (neighbours[:, 0] < neighbours[:, 1]).all()
    assert set(model.quantiser_state) == {"low", "high"}


def test_hook_quantise(install, rows: np.ndarray) -> None:
    model = fit(rows, "lsh", 8, quantiser=install("halves", QUANTISER))
    assert (model.n_bits, model.n_stored_bits) == (8, 12)
    projections = fit(rows, "lsh", 4).project(rows)
    low, high = (np.quantile(projections, share, axis=0) for share in (0.25, 0.75))
    expected = np.hstack([projections - low, 0 * projections, projections - high]).astype(np.float32)
    np.testing.assert_array_equal(model.project(rows), expected)
    assert model.encode(rows)[:, 0].tolist() == [sum(1 << int(j) for j in np.flatnonzero(row > 0)) for row in expected]


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        ("projections.astype(float)", "float64"),
        ("projections[:, :0]", "1 to 4096 bits"),
        ("np.repeat(projections, 2000, axis=1)", "1 to 4096 bits"),
        ("np.nan * projections", "NaN in row 0, column 0"),
        ("projections[:1]", "shape"),
    ],
)
def test_quantise_is_checked(install, rows: np.ndarray, returns: str, message: str) -> None:
    source = QUANTISER.replace("    middle", f"    return {returns}\n    middle")
    with pytest.raises(PluginContractError, match=message):
        fit(rows, "lsh", 8, quantiser=install("halves", source))


def test_hook_encode_items(install) -> None:
    plugin = registry.get(install("letters", ENCODER), kind="encoder")
    vectors = plugin.encode_items(["abca", "b"], {"letters": "ab"})
    np.testing.assert_array_equal(vectors, np.array([[2, 1], [0, 1]], np.float32))


@pytest.mark.parametrize("returns", ["[[1.0]]", "np.ones((5, 2), np.float32)", "np.full((1, 2), np.inf, np.float32)"])
def test_encode_items_is_checked(install, returns: str) -> None:
    source = re.sub(r"return np\.array\(\[\[text.*", f"return {returns}", ENCODER)
    with pytest.raises(PluginContractError, match="encode_items returned"):
        registry.get(install("letters", source)).encode_items(["a"], {"letters": "a"})
