"""An index with a model, two segments and deletes, to be damaged."""

import shutil

import numpy as np
import pytest
from storage_kit import make_codes, new_index, put


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    path = tmp_path_factory.mktemp("master") / "i"
    with new_index(path, make_codes(9), list(range(0, 18, 2)), model=({"m": 1}, {"w": np.arange(4.0)})) as store:
        put(store, make_codes(5, seed=1))
        store.commit_delete([4, 18])
    return path


@pytest.fixture
def path(master, tmp_path):
    shutil.copytree(master, tmp_path / "i")
    return tmp_path / "i"
