"""Single-bit quantisation: the contract, and what the paper promises."""

from __future__ import annotations

import numpy as np
import pytest

import hashdb
from hashdb.testing import QUANTISER_CHECKS, check_quantiser


@pytest.mark.parametrize("check", QUANTISER_CHECKS)
def test_contract(check):
    check_quantiser("sbq", only=[check])


@pytest.mark.parametrize("method", ["lsh", "pcah", "itq"])
def test_codes_are_those_without_a_quantiser(vectors, method):
    plain, quantised = (hashdb.fit(vectors, method, 16, quantiser=name) for name in (None, "sbq"))
    assert np.array_equal(plain.encode(vectors), quantised.encode(vectors))
    assert quantised.n_stored_bits == 16
