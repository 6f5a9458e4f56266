"""The ordered product and the guard, against plain Python and against each other, bit for bit."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from hashdb import margins
from hashdb.errors import ArgumentError

PROPERTY = settings(max_examples=150, deadline=None)
LARGEST = float(np.finfo(np.float32).max)


def oracle(x, w, offset=None, mean=None):
    """The definition, one Python float at a time; the rounding to float32 is NumPy's."""
    result = np.empty((len(x), w.shape[1]), np.float32)
    for i, row in enumerate(x):
        z = [float(v) for v in (row if mean is None else row - mean)]
        for k in range(w.shape[1]):
            total = 0.0
            for value, weight in zip(z, w[:, k], strict=True):
                total += value * float(weight)
            total -= 0.0 if offset is None else float(offset[k])
            result[i, k] = np.float32(min(max(total, -LARGEST), LARGEST))
    return result


def same_bits(a, b):
    return a.dtype == b.dtype == np.float32 and np.array_equal(a.view(np.uint32), b.view(np.uint32))


def near_threshold(rng, n, w, mean=None, offset=None):
    """Rows whose last value is chosen, to a few units in the last place, so that one projection is at the threshold."""
    dim, m = w.shape
    x = rng.standard_normal((n, dim)).astype(np.float32)
    column = rng.integers(0, m, n)
    centre = np.zeros(dim) if mean is None else mean.astype(np.float64)
    target = np.zeros(n) if offset is None else offset[column]
    rest = np.einsum("ij,ij->i", x[:, :-1] - centre[:-1], w.T[column][:, :-1].astype(np.float64))
    last = (target - rest) / w[-1, column] + centre[-1]
    x[:, -1] = last
    return np.nextafter(x, np.float32(np.inf), where=rng.random(x.shape) < 0.02, out=x)


@st.composite
def tasks(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    dim, m = draw(st.sampled_from((1, 2, 7, 8, 9, 40, 130))), draw(st.sampled_from((1, 3, 8, 33)))
    n = draw(st.sampled_from((0, 1, 2, 33, 70)))
    w = rng.standard_normal((dim, m)).astype(np.float32)
    w *= np.float32(2.0) ** rng.integers(-draw(st.sampled_from((0, 3, 100))), 20, m).astype(np.float32)
    mean = (
        (rng.standard_normal(dim) * 10 ** draw(st.integers(-3, 4))).astype(np.float32) if draw(st.booleans()) else None
    )
    offset = rng.standard_normal(m) * 10.0 ** draw(st.integers(-3, 3)) if draw(st.booleans()) else None
    x = near_threshold(rng, n, w, mean, offset)
    if mean is None and offset is None:
        with np.errstate(over="ignore", under="ignore"):
            scaled = x * np.float32(2.0) ** np.float32(draw(st.integers(-148, 127)))
        x = np.clip(scaled, -LARGEST, LARGEST).astype(np.float32)
    if n > 2:
        x[0] = 0 if mean is None else mean
        w[:, 0] = draw(st.sampled_from((0.0, 1e-45, 1.0)))
    return x, w, offset, mean


@PROPERTY
@given(tasks())
def test_encode_is_the_sign_of_project_at_the_threshold(task):
    x, w, offset, mean = task
    assert np.array_equal(margins.encode(x, w, offset, mean=mean), margins.project(x, w, offset, mean=mean) > 0)


@settings(PROPERTY, max_examples=40)
@given(tasks())
def test_project_is_its_definition(task):
    x, w, offset, mean = task
    x = x[:8]
    assert same_bits(margins.project(x, w, offset, mean=mean), oracle(x, w, offset, mean))


def test_a_plain_product_would_flip_bits():
    rng = np.random.default_rng(0)
    w = rng.standard_normal((128, 64)).astype(np.float32)
    x = near_threshold(rng, 5000, w)
    bits = margins.encode(x, w)
    assert np.array_equal(bits, margins.project(x, w) > 0)
    assert (bits != (x @ w > 0)).any()


@pytest.mark.parametrize(("n", "dim", "m"), [(1, 1, 1), (31, 7, 5), (33, 8, 64), (70, 31, 257), (5, 130, 300)])
@pytest.mark.parametrize("shifted", [False, True])
def test_the_kernel_gives_the_bits_of_numpy(monkeypatch, n, dim, m, shifted):
    rng = np.random.default_rng(n)
    w = rng.standard_normal((dim, m)).astype(np.float32)
    mean = (100 * rng.standard_normal(dim)).astype(np.float32) if shifted else None
    offset = rng.standard_normal(m) if shifted else None
    x = near_threshold(rng, n, w, mean, offset)
    x[0] *= np.float32(1e-42)
    x[-1] = LARGEST
    expected = margins.project(x, w, offset, mean=mean)
    monkeypatch.setattr(margins, "_SMALL_WORK", 0)
    assert same_bits(margins.project(x, w, offset, mean=mean), expected)
    monkeypatch.setattr(margins, "_THREADED_WORK", 0)
    monkeypatch.setenv("HASHDB_NUM_THREADS", "3")
    assert same_bits(margins.project(x, w, offset, mean=mean), expected)
    assert np.array_equal(margins.encode(x, w, offset, mean=mean), expected > 0)


def test_a_row_is_the_same_in_any_batch_block_and_number_of_threads(monkeypatch):
    rng = np.random.default_rng(1)
    w, mean = rng.standard_normal((96, 48)).astype(np.float32), rng.standard_normal(96).astype(np.float32)
    x = near_threshold(rng, 700, w, mean)
    bits, values = margins.encode(x, w, mean=mean), margins.project(x, w, mean=mean)
    for rows in (slice(0, 1), slice(5, 8), slice(100, 611), slice(None, None, 7)):
        assert np.array_equal(margins.encode(x[rows], w, mean=mean), bits[rows])
        assert same_bits(margins.project(x[rows], w, mean=mean), np.ascontiguousarray(values[rows]))
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            assert np.array_equal(margins.encode(x, w, mean=mean), bits)
    monkeypatch.setattr(margins, "_BLOCK_VALUES", 1000)
    assert np.array_equal(margins.encode(x, w, mean=mean), bits)


@pytest.mark.parametrize("compiled", [False, True])
def test_directions_without_variance_are_summed_in_order(monkeypatch, compiled):
    """Half of the projections are 0 but for rounding, so that most of the work is near the threshold."""
    if compiled:
        monkeypatch.setattr(margins, "_SMALL_WORK", 0)
    rng = np.random.default_rng(2)
    x = (rng.standard_normal((400, 10)) @ rng.standard_normal((10, 20))).astype(np.float32)
    w = np.linalg.svd(x)[2].T.astype(np.float32)
    assert np.array_equal(margins.encode(x, w), oracle(x, w) > 0)


@pytest.mark.parametrize("exponent", [-149, -140, -80, -64, 60, 100, 127])
@pytest.mark.parametrize("weight_exponent", [-149, -130, 0, 100])
def test_extreme_sizes_stay_finite_and_agree(exponent, weight_exponent):
    rng = np.random.default_rng(3)
    with np.errstate(over="ignore"):
        x = np.clip(np.ldexp(rng.standard_normal((50, 12)), exponent), -LARGEST, LARGEST).astype(np.float32)
    w = np.ldexp(rng.standard_normal((12, 9)), weight_exponent).astype(np.float32)
    values = margins.project(x, w)
    assert np.isfinite(values).all()
    assert same_bits(values, oracle(x, w))
    assert np.array_equal(margins.encode(x, w), values > 0)


def test_a_difference_beyond_float32_is_drawn_in():
    x = np.full((2, 3), LARGEST, np.float32)
    x[1] *= -1
    w = np.array([[1, 1], [1, -1], [1, 1]], np.float32)
    values = margins.project(x, w, mean=-x[0])
    assert np.isfinite(values).all()
    assert np.array_equal(margins.encode(x, w, mean=-x[0]), values > 0)
    assert values[0].tolist() == [np.float32(LARGEST)] * 2
    assert values[1].tolist() == [0, 0]


def test_data_far_from_the_origin_keep_their_digits():
    rng = np.random.default_rng(4)
    mean = np.full(64, 4096, np.float32)
    x = (mean + rng.standard_normal((300, 64))).astype(np.float32)
    w = rng.standard_normal((64, 16)).astype(np.float32)
    exact = (x.astype(np.float64) - mean) @ w
    np.testing.assert_allclose(margins.project(x, w, mean=mean), exact, rtol=1e-6, atol=1e-6)


def test_takes_read_only_strided_and_wider_arrays_and_leaves_them_alone():
    rng = np.random.default_rng(5)
    wide = rng.standard_normal((40, 24))
    w = rng.standard_normal((12, 8)).astype(np.float32)
    expected = margins.project(np.ascontiguousarray(wide[:, ::2], dtype=np.float32), w)
    kept = wide.copy()
    wide.setflags(write=False)
    w.setflags(write=False)
    assert same_bits(margins.project(wide[:, ::2], np.asfortranarray(w)), expected)
    assert np.array_equal(margins.encode(wide[:, ::2], w), expected > 0)
    assert np.array_equal(wide, kept)


def test_no_rows_give_no_rows():
    w = np.ones((3, 2), np.float32)
    assert margins.project(np.empty((0, 3), np.float32), w).shape == (0, 2)
    assert margins.encode(np.empty((0, 3), np.float32), w).shape == (0, 2)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"vectors": np.ones((2, 4))}, r"vectors have shape \(2, 4\), expected \(n, 3\)"),
        ({"vectors": np.ones(3)}, r"vectors have shape \(3,\)"),
        ({"weights": np.ones(3)}, r"weights have shape \(3,\)"),
        ({"weights": np.ones((3, 0))}, r"weights have shape \(3, 0\)"),
        ({"offset": np.ones(3)}, r"offset has shape \(3,\), expected \(2,\)"),
        ({"mean": np.ones(2)}, r"mean has shape \(2,\), expected \(3,\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(changed, message):
    arguments = {"vectors": np.ones((2, 3)), "weights": np.ones((3, 2)), "offset": None, "mean": None} | changed
    mean = arguments.pop("mean")
    for function in (margins.project, margins.encode):
        with pytest.raises(ArgumentError, match=message):
            function(*arguments.values(), mean=mean)


def run(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_small_work_compiles_nothing():
    assert (
        run(
            """
            import sys
            import numpy as np
            from hashdb import margins
            x, w = np.ones((100, 512), np.float32), np.ones((512, 64), np.float32)
            margins.encode(x, w), margins.project(x, w)
            print("numba" in sys.modules)
            """
        )
        == "False"
    )


def test_works_in_a_forked_child_of_a_process_that_used_it():
    assert (
        run(
            """
            import os
            import warnings
            import numpy as np
            from hashdb import margins
            warnings.simplefilter("ignore")
            margins._SMALL_WORK = margins._THREADED_WORK = 0
            os.environ["HASHDB_NUM_THREADS"] = "2"
            x = np.random.default_rng(0).standard_normal((5000, 16)).astype(np.float32)
            expected = margins.project(x, x[:16])
            child = os.fork()
            if child == 0:
                os._exit(0 if (margins.project(x, x[:16]) == expected).all() else 1)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            """
        )
        == "0"
    )
