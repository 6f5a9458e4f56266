"""Codes as given: the contract, and what the paper promises."""

from __future__ import annotations

import numpy as np
import pytest

import hashdb
from hashdb.testing import METHOD_CHECKS, check_method


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_contract(check):
    check_method("codes", only=[check])


def test_the_bits_are_the_code():
    bits = np.random.default_rng(0).random((20, 70)) < 0.5
    model = hashdb.fit(bits, "codes", 70)
    assert np.array_equal(hashdb.codes.unpack(model.encode(bits), 70), bits)
    assert not model.has_project


def test_needs_no_rows():
    model = hashdb.fit(np.zeros((0, 9), bool), "codes", 9)
    assert model.encode(np.ones((1, 9), bool)).tolist() == [[511]]
