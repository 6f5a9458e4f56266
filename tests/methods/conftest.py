"""Data that the tests of methods share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def digits():
    """1,797 images of handwritten digits, 64 values and a class each."""
    from sklearn.datasets import load_digits

    return load_digits()
