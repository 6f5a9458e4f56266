"""Machines for bits: what several threads learn is what one learns, and bits of one value need no machine."""

import numpy as np
import pytest

from hashdb_plugins import _svm


@pytest.fixture
def problem():
    """Rows, and bits that a plane tells apart with some errors; bit 3 is true for all rows and bit 5 for none."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((300, 20))
    bits = rows @ rng.standard_normal((20, 8)) + rng.standard_normal((300, 8)) > 0
    bits[:, 3], bits[:, 5] = True, False
    return rows, bits


@pytest.mark.parametrize("kernel", [False, True])
def test_machines_do_not_depend_on_the_number_of_threads(problem, kernel, monkeypatch):
    rows, bits = problem
    learn, given = (_svm.kernel_planes, rows @ rows.T) if kernel else (_svm.planes, rows)
    found, done = [], []
    for n_threads in ("1", "4"):
        monkeypatch.setenv("HASHDB_NUM_THREADS", n_threads)
        found.append(learn(given, bits, 1.0, progress=done.append))
    assert np.array_equal(found[0][0], found[1][0])
    assert np.array_equal(found[0][1], found[1][1])
    assert done == [*range(1, 9), *range(1, 9)]
    right = (given @ found[0][0] + found[0][1] > 0) == bits
    assert right.mean() > 0.85
    assert right[:, [3, 5]].all()


def test_an_error_of_one_machine_is_told(problem):
    rows, bits = problem
    rows[7, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        _svm.planes(rows, bits, 1.0)
