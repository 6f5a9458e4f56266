"""check_method and check_quantiser notice what they are there to notice."""

from __future__ import annotations

import pytest

from hashdb.errors import ArgumentError
from hashdb.testing import METHOD_CHECKS, QUANTISER_CHECKS, CheckFailure, check_method, check_quantiser

LINEAR = """
calls = []

@hashdb.hookimpl
def describe():
    return hashdb.MethodInfo(name="mine", title="Mine", paper="", year=0, default_train=None,
                             params=(hashdb.Param("rate", float, 0.5, 0, 1),))

@hashdb.hookimpl
def fit(vectors, n_bits, seed, params, progress):
    weights = np.random.default_rng(seed).standard_normal((vectors.shape[1], n_bits)).astype(np.float32)
    progress(1, 2)
    progress(2, 2)
    return {"mean": vectors.mean(axis=0), "weights": weights}

@hashdb.hookimpl
def encode(state, vectors):
    return hashdb.margins.encode(vectors, state["weights"], mean=state["mean"])

@hashdb.hookimpl
def project(state, vectors):
    return hashdb.margins.project(vectors, state["weights"], mean=state["mean"])
"""

QUANTISER = """
@hashdb.hookimpl
def describe():
    return hashdb.MethodInfo(name="mine", title="Mine", paper="", year=0, kind="quantiser", max_bits=128)

@hashdb.hookimpl
def n_projections(n_bits):
    if n_bits % 2:
        raise hashdb.errors.ArgumentError(f"n_bits is {n_bits}, expected an even number: {n_bits + 1}")
    return n_bits // 2

@hashdb.hookimpl
def fit_quantiser(projections):
    return {"low": np.quantile(projections, 0.3, axis=0), "high": np.quantile(projections, 0.7, axis=0)}

@hashdb.hookimpl
def quantise(state, projections):
    return np.hstack([projections - state["low"], projections - state["high"]]).astype(np.float32)
"""

# What to replace in the sound plugin, so that it breaks one promise.
BROKEN_METHODS = {
    "reproducible": ("np.random.default_rng(seed)", "np.random.default_rng()"),
    "input_unchanged": ("    weights = ", "    vectors[0, 0] += 1\n    weights = "),
    "encode_is_sign_of_project": ("margins.encode(vectors", "margins.encode(1.001 * vectors"),
    "row_independence": (
        'margins.encode(vectors, state["weights"]',
        'margins.encode(vectors - vectors[0], state["weights"]',
    ),
    "threads": (
        "return hashdb.margins.project(vectors",
        "calls.append(1)\n    return np.float32(1 + len(calls)) * hashdb.margins.project(vectors",
    ),
    "degenerate": ('"mean": vectors.mean(axis=0)', '"mean": vectors.mean(axis=0) + 0 / vectors.std(axis=0)'),
    "progress": ("progress(2, 2)", "progress(0, 2)"),
    "better_than_chance": ('return {"mean"', 'weights *= 0\n    return {"mean"'),
}
BROKEN_QUANTISERS = {
    "n_projections": ("{n_bits + 1}", "or not"),
    "margins": ("return np.hstack", 'state = {"low": projections.mean(), "high": 1}\n    return np.hstack'),
    "projections_unchanged": ('    return {"low"', '    projections[0] = 0\n    return {"low"'),
    "degenerate_projections": ('projections - state["low"]', 'projections - state["low"] / state["high"]'),
}


def test_a_sound_method_passes_every_check(install) -> None:
    assert check_method(install("mine", LINEAR)) == list(METHOD_CHECKS)


def test_a_sound_quantiser_passes_every_check(install) -> None:
    assert check_quantiser(install("mine", QUANTISER), "lsh") == list(QUANTISER_CHECKS)


@pytest.mark.parametrize("check", BROKEN_METHODS)
def test_check_method_notices(install, check: str) -> None:
    before, after = BROKEN_METHODS[check]
    assert before in LINEAR
    name = install("mine", LINEAR.replace(before, after))
    with pytest.raises(CheckFailure, match=rf"^mine failed 1 of 1 checks\n  {check}: "):
        check_method(name, only=[check])


def test_check_method_notices_params_that_break_the_plugin(install) -> None:
    source = LINEAR.replace("0.5, 0, 1)", "0.5, 0, 1, grid=(0.1,))")
    source = source.replace("    weights = ", "    assert params['rate'] == 0.5\n    weights = ")
    with pytest.raises(CheckFailure, match=r"params: rate=0\.1 of its grid"):
        check_method(install("mine", source), only=["params"])


@pytest.mark.parametrize("check", BROKEN_QUANTISERS)
def test_check_quantiser_notices(install, check: str) -> None:
    before, after = BROKEN_QUANTISERS[check]
    assert before in QUANTISER
    name = install("mine", QUANTISER.replace(before, after))
    with pytest.raises(CheckFailure, match=rf"^mine failed 1 of 1 checks\n  {check}: "):
        check_quantiser(name, "lsh", only=[check])


def test_failures_are_listed_together(install) -> None:
    name = install(
        "mine", LINEAR.replace("default_rng(seed)", "default_rng()").replace("progress(2, 2)", "progress(9, 2)")
    )
    with pytest.raises(CheckFailure, match=r"mine failed 2 of \d+ checks\n  reproducible: .*\n  progress: "):
        check_method(name)


def test_a_plain_matrix_product_is_noticed(install) -> None:
    plain = 'return (vectors - state["mean"]) @ state["weights"] > 0'
    source = LINEAR.replace('return hashdb.margins.encode(vectors, state["weights"], mean=state["mean"])', plain)
    with pytest.raises(CheckFailure, match="encode is not project > 0"):
        check_method(install("mine", source), only=["encode_is_sign_of_project"])
    with pytest.raises(CheckFailure, match=r"row_independence: codes, .* of 520 dimensions"):
        check_method("mine", only=["row_independence"])


def test_an_unknown_check_is_refused() -> None:
    with pytest.raises(ArgumentError, match="check 'shape' is unknown, expected some of: shapes"):
        check_method("lsh", only=["shape"])
