"""The figures of the proofs count what has passed, and name what this machine skips."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.guarantees import Proof, page

PROOF = """
import pytest

def test_passes(record_property):
    record_property("fault points", 7)

@pytest.mark.skipif(True, reason="no disk")
def test_skipped_by_a_mark():
    pass

@pytest.mark.parametrize("n", [1, 2])
def test_skips_itself(n):
    pytest.skip("no\\nmounts")
"""


def run(folder: Path, text: str) -> tuple[Proof, bool]:
    """Run a proof of this text, and give what was kept and whether nothing failed."""
    module = folder / f"test_{folder.name}.py"
    module.write_text(text)
    sys.modules.pop(module.stem, None)
    ended = Proof(module, folder).run()
    return Proof(module, folder), ended


def test_a_skipped_test_is_not_kept_as_passed_and_is_named_with_its_reason(tmp_path):
    proof, ended = run(tmp_path, PROOF)
    assert ended
    assert [name.split("::")[1] for name in proof.passed] == ["test_passes"]
    assert sorted(proof.skipped.values()) == ["no disk", "no mounts", "no mounts"]
    assert (proof.is_whole, proof.is_done()) == (True, False)
    made, name = page([proof]), proof.module.name
    assert "| fault points | 7 |\n| tests passed | 1 |\n| tests skipped | 3 |" in made
    assert made.endswith(
        f"Skipped on this machine, so not shown:\n\n- `{name}::test_skipped_by_a_mark`: no disk\n"
        f"- `{name}::test_skips_itself[1]`: no mounts\n- `{name}::test_skips_itself[2]`: no mounts"
    )


def test_a_rerun_tries_what_was_skipped_and_nothing_else(tmp_path):
    run(tmp_path, PROOF)
    able = PROOF.replace("True, reason", "False, reason").replace('pytest.skip("', 'print("')
    # What has passed before would fail now.
    proof, ended = run(tmp_path, able.replace("record_property(", "missing("))
    assert ended
    assert len(proof.passed) == 4
    assert proof.is_done()
    assert "tests skipped | 0 |" in page([proof])
    assert "Skipped" not in page([proof])


@pytest.mark.parametrize("line", ["pytest.skip('no such system', allow_module_level=True)", "import pytest_no_such"])
def test_a_module_that_is_skipped_as_a_whole_or_broken_is_not_taken_for_shown(tmp_path, line):
    proof, ended = run(tmp_path, f"import pytest\n{line}\n{PROOF}")
    assert not proof.is_done()
    assert ended == proof.is_whole == ("skip" in line)
    assert list(proof.skipped.values()) == ["no such system"] * ("skip" in line)
