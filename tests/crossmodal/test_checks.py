"""The checks of paired methods and of learned codes notice what they are there to notice."""

from __future__ import annotations

import pytest

from hashdb.testing import CheckFailure, check_method
from tests.crossmodal.conftest import UNIFIED

CHECKS = ("modalities", "training_codes")

# What to replace in the sound plugin, so that it breaks one promise; and what the check says.
BROKEN = {
    "confused names": (
        "modalities",
        'what + "_" + modality',
        'what + "_" + modality[:4]',
        "other names",
    ),
    "a third left out": ("modalities", "if len(vectors) != 2:", "if False:", "three modalities"),
    "by the name": (
        "modalities",
        "for name, directions in",
        'left = left * (-1) ** (one == "view")\n    for name, directions in',
        "renamed",
    ),
    "random learned codes": (
        "training_codes",
        '"training_codes": together > 0',
        '"training_codes": np.random.default_rng().random((len(together), n_bits)) > 0.5',
        "differ in training codes",
    ),
    "learned codes of other rows": (
        "training_codes",
        '"training_codes": together > 0',
        '"training_codes": np.roll(together, 1, axis=0) > 0',
        "precision at 10 among learned codes",
    ),
}


def test_a_sound_method_passes(install):
    assert check_method(install("unified", UNIFIED), only=CHECKS) == list(CHECKS)


def test_methods_of_one_modality_or_without_learned_codes_have_nothing_to_show():
    assert check_method("pcah", only=CHECKS) == list(CHECKS)


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_promise_is_noticed(install, what):
    check, sound, broken, message = BROKEN[what]
    assert sound in UNIFIED
    with pytest.raises(CheckFailure, match=message):
        check_method(install("unified", UNIFIED.replace(sound, broken)), only=[check])
