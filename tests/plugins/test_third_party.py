"""A third party's plugin, complete, and others that break: what a user sees of each."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import hashdb
from hashdb import registry
from hashdb.errors import PluginContractError, PluginLoadError
from hashdb.testing import METHOD_CHECKS, check_method

ROOT = Path(__file__).parent.parent.parent
THIRD_PARTY = ROOT / "tests/third_party"


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_the_example_keeps_the_contract(third_party, check: str) -> None:
    assert check_method("example", only=[check]) == [check]


def test_the_example_is_listed_with_its_distribution(third_party) -> None:
    plugin = registry.get("example", kind="method")
    assert (plugin.distribution, plugin.version, plugin.info.title) == ("hashdb-example", "1.0", "Example")
    assert "example" in registry.names()


def test_the_example_composes_with_a_quantiser(third_party, vectors: np.ndarray) -> None:
    model = hashdb.fit(vectors, "example", 16, quantiser="dbq", params={"scale": 2})
    assert model.n_stored_bits == 16
    assert model.params == {"scale": 2.0}


def test_the_plugin_of_the_tutorial_keeps_the_contract(install) -> None:
    page = (ROOT / "docs/plugins/tutorial.md").read_text(encoding="utf-8")
    (source,) = re.findall(r"^```python\n(.*?hookimpl.*?)^```", page, re.M | re.S)
    (entry,) = re.findall(r"^(\w+) = \"hashdb_median\"$", page, re.M)
    assert len([line for line in source.splitlines() if line.strip()]) <= 15
    check_method(install(entry, source))


def test_a_plugin_that_fails_to_import_leaves_the_rest_usable(use_folder, vectors: np.ndarray) -> None:
    use_folder(THIRD_PARTY, THIRD_PARTY / "broken")
    with pytest.raises(PluginLoadError, match="No module named 'a_package_that_nobody_has'"):
        hashdb.fit(vectors, "no-import", 8)
    assert hashdb.fit(vectors, "example", 8).encode(vectors).shape == (500, 1)


def test_a_wrong_shape_is_refused_before_anything_is_made_of_it(use_folder, vectors: np.ndarray) -> None:
    use_folder(THIRD_PARTY / "broken")
    with pytest.raises(
        PluginContractError,
        match=r"'wrong-shape' of hashdb-broken 0\.1 .* encode returned bool of shape \(16, 7\), "
        r"expected bool of shape \(16, 8\)",
    ):
        hashdb.fit(vectors, "wrong-shape", 8)


def test_nan_is_refused_before_anything_is_made_of_it(use_folder, vectors: np.ndarray) -> None:
    use_folder(THIRD_PARTY / "broken")
    with pytest.raises(PluginContractError, match=r"project returned NaN in row 0, column 0, expected no NaN"):
        hashdb.fit(vectors, "gives-nan", 8)
