"""The registry finds, loads, checks and lists plugins; one that is broken leaves the others usable."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hashdb import registry
from hashdb.errors import PluginClashError, PluginContractError, PluginError, PluginLoadError, UnknownMethodError
from hashdb.plugin import Plugin

THIRD_PARTY = Path(__file__).parent.parent / "third_party"

FIT = """
@hashdb.hookimpl
def fit(vectors, n_bits):
    return {"weights": np.ones((vectors.shape[1], n_bits), np.float32)}

@hashdb.hookimpl
def encode(state, vectors):
    return vectors @ state["weights"] > 0
"""


def describe(name: str = "mine", **fields: object) -> str:
    listed = "".join(f", {key}={value}" for key, value in fields.items())
    return f"""
@hashdb.hookimpl
def describe():
    return hashdb.MethodInfo(**{{**dict(name={name!r}, title="Mine", paper="", year=0), **dict({listed[2:]})}})
"""


def fit_takes(arguments: str) -> str:
    return FIT.replace("(vectors, n_bits)", f"({arguments})")


def test_names_are_listed_without_importing_any_plugin() -> None:
    code = "import sys\nfrom hashdb import registry\nprint(registry.names())\nprint('hashdb_plugins' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    assert {"codes", "cvh", "dbq", "itq", "itq-cca", "lsh", "pcah", "sbq"} <= set(eval(printed[0]))
    assert printed[1] == "False"


def test_loading_one_plugin_leaves_the_others_alone(use_folder) -> None:
    use_folder(THIRD_PARTY, THIRD_PARTY / "broken")
    assert registry.get("example").distribution == "hashdb-example"
    assert "hashdb_broken_shape" not in sys.modules


def test_built_ins_come_by_entry_point_of_this_distribution() -> None:
    for name in ("codes", "cvh", "dbq", "itq", "itq-cca", "lsh", "pcah", "sbq"):
        plugin = registry.get(name)
        assert (plugin.name, plugin.distribution) == (name, "hashdb")


def test_get_returns_one_plugin_however_often_it_is_asked() -> None:
    assert registry.get("itq") is registry.get("itq", kind="method")


def test_unknown_name_gives_the_nearest_and_all() -> None:
    with pytest.raises(UnknownMethodError, match=r"no plugin named 'itg' is installed; did you mean 'itq'\? .*pcah"):
        registry.get("itg")


def test_unknown_name_of_a_kind_lists_that_kind_only(use_folder) -> None:
    use_folder(THIRD_PARTY, THIRD_PARTY / "broken")
    with pytest.raises(UnknownMethodError) as caught:
        registry.get("dbk", kind="quantiser")
    assert str(caught.value) == (
        "no quantiser named 'dbk' is installed; did you mean 'dbq'? installed: dbq, hq, mhq, npq, sbq, vbq"
    )


def test_another_kind_is_refused() -> None:
    with pytest.raises(UnknownMethodError, match="'dbq' is of kind quantiser, expected a method"):
        registry.get("dbq", kind="method")


def test_clash_names_both_distributions_and_leaves_the_rest_usable(use_folder) -> None:
    use_folder(THIRD_PARTY / "clash")
    with pytest.raises(PluginClashError, match=r"'itq' is claimed by hashdb .* and hashdb-other-itq 2\.0"):
        registry.get("itq")
    assert registry.get("lsh").name == "lsh"
    assert {claim.distribution for claim in registry.claims_of("itq")} == {"hashdb", "hashdb-other-itq"}


def test_clash_is_found_whichever_comes_first_on_the_path(use_folder, monkeypatch) -> None:
    use_folder()
    monkeypatch.setattr(sys, "path", [*sys.path, str(THIRD_PARTY / "clash")])
    registry.refresh()
    with pytest.raises(PluginClashError):
        registry.get("itq")


def test_one_distribution_seen_twice_is_no_clash(use_folder, tmp_path: Path) -> None:
    shutil.copytree(THIRD_PARTY, tmp_path / "copy", ignore=shutil.ignore_patterns("broken", "clash", "__pycache__"))
    use_folder(THIRD_PARTY, tmp_path / "copy")
    assert len(registry.claims_of("example")) == 1
    assert registry.get("example").version == "1.0"


def test_import_failure_names_the_distribution_and_leaves_the_rest_usable(use_folder) -> None:
    use_folder(THIRD_PARTY / "broken")
    with pytest.raises(
        PluginLoadError, match=r"'no-import' of hashdb-broken 0\.1 .*a_package_that_nobody_has"
    ) as caught:
        registry.get("no-import")
    assert (caught.value.plugin, caught.value.distribution) == ("no-import", "hashdb-broken")
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    assert registry.get("itq").name == "itq"


def test_describe_all_gives_a_plugin_or_the_error_for_each_name(use_folder) -> None:
    use_folder(THIRD_PARTY, THIRD_PARTY / "broken", THIRD_PARTY / "clash")
    found = registry.describe_all()
    assert list(found) == registry.names()
    assert isinstance(found["example"], Plugin)
    assert isinstance(found["no-import"], PluginLoadError)
    assert isinstance(found["itq"], PluginClashError)
    assert isinstance(found["lsh"], Plugin)


def test_a_plugin_that_exits_on_import_is_an_error_like_any_other(install) -> None:
    with pytest.raises(PluginLoadError, match="SystemExit"):
        registry.get(install("mine", "raise SystemExit(3)"))


def test_an_entry_point_that_leads_nowhere_is_a_load_error(install) -> None:
    with pytest.raises(PluginLoadError, match="AttributeError"):
        registry.get(install("mine", describe() + FIT, value="plugin_under_test_0:nothing"))


def test_an_object_in_a_module_can_be_the_plugin(install) -> None:
    source = "class Mine:\n" + "\n".join(
        "    "
        + line.replace("(vectors, n_bits)", "(self, vectors, n_bits)")
        .replace("describe()", "describe(self)")
        .replace("encode(state", "encode(self, state")
        for line in (describe() + FIT).splitlines()
    )
    plugin = registry.get(install("mine", source + "\nmine = Mine()\n", value="plugin_under_test_0:mine"))
    assert plugin.takes("fit", "vectors")
    assert not plugin.takes("fit", "self")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (FIT, "has no describe"),
        (describe("other") + FIT, "name='other', expected 'mine'"),
        (describe(kind="'metod'") + FIT, "kind='metod', expected one of"),
        (describe(input="'rows'") + FIT, "input='rows'"),
        (describe(supervision="'some'") + FIT, "supervision='some'"),
        (describe(min_bits=0) + FIT, "min_bits=0"),
        (describe(min_bits=8, max_bits=4) + FIT, "max_bits=4, expected a whole number, at least 8"),
        (describe(default_train=0) + FIT, "default_train=0"),
        (describe(year="'2011'") + FIT, "year='2011'"),
        (describe(title="3") + FIT, "title=3"),
        (describe(params="[]") + FIT, "params that are no tuple"),
        (describe(params="(hashdb.Param('a', int, 1),) * 2") + FIT, "each name once"),
        (describe(params="(hashdb.Param('a b', int, 1),)") + FIT, "a name of letters"),
        (describe(params="(hashdb.Param('a', list, 1),)") + FIT, "type int, float, str or bool"),
        (describe(params="(hashdb.Param('a', int, 5, 0, 3),)") + FIT, "default 5 to be int from 0 to 3"),
        (describe(params="(hashdb.Param('a', int, 1, 0, 3, grid=(9,)),)") + FIT, "grid 9"),
        (describe() + fit_takes("vectors, n_bits, rate"), "rate"),
        (describe() + fit_takes("vectors, n_bits, seed=3"), "fit takes seed=3, expected plain arguments"),
        (describe() + fit_takes("vectors, n_bits, **others"), r"\*\*others"),
        (describe() + fit_takes("*, vectors, n_bits"), "expected plain arguments|positional"),
        (describe() + FIT.replace("def fit", "def fitt"), "unknown hook 'fitt'"),
        (describe() + FIT.replace("@hashdb.hookimpl\ndef encode", "def encode"), "encode is defined but not marked"),
        (describe() + FIT.split("@hashdb.hookimpl\ndef encode")[0], "needs encode or project"),
        (describe(kind="'quantiser'") + FIT, "kind quantiser needs n_projections"),
        (describe(kind="'encoder'") + FIT, "kind encoder needs encode_items"),
        ("@hashdb.hookimpl\ndef describe():\n    return {'name': 'mine'}\n" + FIT, "returned dict, expected"),
        ("@hashdb.hookimpl\ndef describe():\n    return 1 / 0\n" + FIT, "describe failed: ZeroDivisionError"),
        (
            describe() + FIT.replace("@hashdb.hookimpl\ndef fit", "@hashdb.hookimpl(wrapper=True)\ndef fit").replace(
                '    return {"weights"', '    yield\n    return {"weights"'
            ),
            "one plain function",
        ),
    ],
)  # fmt: skip
def test_a_plugin_that_is_not_as_agreed_is_refused_with_the_reason(install, source: str, message: str) -> None:
    name = install("mine", source)
    with pytest.raises(PluginContractError, match=message) as caught:
        registry.get(name)
    assert caught.value.distribution == "dist-of-mine"
    assert "\n" not in str(caught.value)
    assert registry.get("itq").name == "itq"


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        ("vectors > 0", r"encode returned bool of shape \(3, 5\), expected bool of shape \(3, 4\)"),
        ("vectors[:, :4]", r"encode returned float32 of shape \(3, 4\), expected bool"),
        ("None", "encode returned nothing"),
        ("[[True] * 4] * 3", "encode returned a list"),
    ],
)
def test_encode_is_checked(install, returns: str, message: str) -> None:
    source = describe() + FIT.replace('vectors @ state["weights"] > 0', returns)
    plugin = registry.get(install("mine", source))
    rows = np.ones((3, 5), np.float32)
    state = plugin.fit(rows, 4, {})
    with pytest.raises(PluginContractError, match=message):
        plugin.encode(state, rows, 4)


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        ("[1]", "a list, expected a dict"),
        ("{3: vectors}", "the name 3"),
        ("{'a/b': vectors}", "the name 'a/b'"),
        ("{'a': np.array([None])}", "object of shape"),
        ("{'a': np.array(['x'])}", "<U1"),
        ("{'a': vectors * np.nan}", "NaN or infinity"),
        ("{'a': 3.0}", "a float"),
        ("{'training_codes': vectors > 0}", "expected training_codes of bool"),
    ],
)
def test_state_is_checked(install, returns: str, message: str) -> None:
    source = describe() + FIT.replace('{"weights": np.ones((vectors.shape[1], n_bits), np.float32)}', returns)
    plugin = registry.get(install("mine", source))
    with pytest.raises(PluginContractError, match=message):
        plugin.fit(np.ones((3, 5), np.float32), 4, {})


def test_an_unexpected_exception_in_a_hook_becomes_a_plugin_error_with_its_cause(install) -> None:
    plugin = registry.get(install("mine", describe() + FIT.replace("np.ones", "1 / 0 *np.ones")))
    with pytest.raises(PluginError, match=r"'mine' of dist-of-mine 1\.0 failed in fit: ZeroDivisionError") as caught:
        plugin.fit(np.ones((3, 5), np.float32), 4, {})
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_what_the_progress_callback_raises_is_not_the_plugins_fault(install) -> None:
    source = describe() + FIT.replace("n_bits):\n", "n_bits, progress):\n    progress(1, 2)\n", 1)
    plugin = registry.get(install("mine", source))

    def stop(done: int, total: int) -> None:
        raise TimeoutError("enough")

    with pytest.raises(TimeoutError, match="enough"):
        plugin.fit(np.ones((3, 5), np.float32), 4, {}, progress=stop)
