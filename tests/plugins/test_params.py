"""Params: text and Python values become complete, typed, checked sets; each goes to whichever declares it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashdb.errors import ArgumentError
from hashdb.hookspecs import MethodInfo, Param
from hashdb.params import describe_range, fault_of, parse_assignments, resolve, split

PARAMS = (
    Param("n_anchors", int, 300, minimum=1, maximum=5000, grid=(100, 300)),
    Param("sigma", float, None, minimum=0, help="width of the kernel; none: from the data"),
    Param("kernel", str, "rbf", choices=("rbf", "linear")),
    Param("balanced", bool, False),
    Param("rate", float, 1),
)
INFO = MethodInfo("toy", "Toy", "nobody", 2020, params=PARAMS)
DEFAULTS = {"n_anchors": 300, "sigma": None, "kernel": "rbf", "balanced": False, "rate": 1.0}


def test_defaults_make_a_complete_set_of_the_declared_types() -> None:
    resolved = resolve(INFO)
    assert resolved == DEFAULTS
    assert list(resolved) == [param.name for param in PARAMS]
    assert type(resolved["rate"]) is float


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("n_anchors", "12", 12),
        ("n_anchors", np.int16(12), 12),
        ("sigma", "0.5", 0.5),
        ("sigma", 2, 2.0),
        ("sigma", np.float32(0.5), 0.5),
        ("sigma", "none", None),
        ("sigma", None, None),
        ("kernel", "linear", "linear"),
        ("balanced", "yes", True),
        ("balanced", "False", False),
        ("balanced", np.True_, True),
    ],
)
def test_values_become_the_declared_type(name: str, given: Any, expected: Any) -> None:
    found = resolve(INFO, {name: given})[name]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("n_anchors", 0, "'n_anchors' of toy is 0, expected int from 1 to 5000"),
        ("n_anchors", "5001", "'5001', expected int from 1 to 5000"),
        ("n_anchors", 3.0, "3.0, expected int"),
        ("n_anchors", True, "True, expected int"),
        ("n_anchors", "", "'', expected int"),
        ("n_anchors", None, "None, expected int"),
        ("sigma", -0.1, "-0.1, expected float, at least 0 or none"),
        ("sigma", "nan", "'nan', expected float"),
        ("sigma", float("inf"), "inf, expected float"),
        ("kernel", "poly", "'poly', expected one of: rbf, linear"),
        ("kernel", 3, "3, expected one of"),
        ("balanced", 1, "1, expected true or false"),
        ("balanced", "maybe", "'maybe', expected true or false"),
        ("n_anchor", 3, "'n_anchor' is unknown; did you mean 'n_anchors'"),
        ("zzz", 3, "'zzz' is unknown; toy has n_anchors, sigma"),
    ],
)
def test_values_that_cannot_be_used_are_refused(name: str, given: Any, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        resolve(INFO, {name: given})
    assert message in str(caught.value)


@given(st.integers(-(10**6), 10**6))
def test_a_bound_is_inclusive(value: int) -> None:
    if 1 <= value <= 5000:
        assert resolve(INFO, {"n_anchors": value})["n_anchors"] == value
        assert resolve(INFO, {"n_anchors": str(value)})["n_anchors"] == value
    else:
        with pytest.raises(ArgumentError):
            resolve(INFO, {"n_anchors": value})


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_survives_as_text(value: float) -> None:
    assert resolve(INFO, {"rate": repr(value)})["rate"] == value


QUANTISER = MethodInfo("steps", "Steps", "", 2020, "quantiser", params=(Param("rate", float, 3.0), Param("q", int, 2)))


def test_a_param_goes_to_whichever_declares_it() -> None:
    own, quantisers = split(INFO, QUANTISER, {"kernel": "linear", "q": "4"})
    assert own == {**DEFAULTS, "kernel": "linear"}
    assert quantisers == {"rate": 3.0, "q": 4}
    assert split(INFO, None, {"rate": 2}) == ({**DEFAULTS, "rate": 2.0}, {})


@pytest.mark.parametrize(
    ("key", "which"), [("method.rate", 0), ("toy.rate", 0), ("quantiser.rate", 1), ("steps.rate", 1)]
)
def test_a_param_that_both_declare_is_written_with_its_owner(key: str, which: int) -> None:
    found = split(INFO, QUANTISER, {key: 9})
    assert found[which]["rate"] == 9
    assert found[1 - which]["rate"] != 9


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rate": 1}, "'rate' belongs to toy and to steps, expected method.rate or quantiser.rate"),
        ({"method.q": 1}, "'q' is unknown"),
        ({"kernle": 1}, "did you mean 'kernel'? toy has n_anchors, sigma, kernel, balanced, rate; steps has rate, q"),
        ({"q": 1, "steps.q": 2}, "'q' of the quantiser is given twice"),
    ],
)
def test_params_without_one_owner_are_refused(given: dict, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        split(INFO, QUANTISER, given)
    assert message in str(caught.value)


def test_quantiser_params_without_a_quantiser_are_unknown() -> None:
    with pytest.raises(ArgumentError, match=r"'quantiser\.q' is unknown"):
        split(INFO, None, {"quantiser.q": 1})


def test_assignments_are_split_at_the_first_equals() -> None:
    assert parse_assignments(["a=1", "b = x=y ", "c="]) == {"a": "1", "b": "x=y", "c": ""}


@pytest.mark.parametrize(
    ("assignments", "message"),
    [(["a"], "'a' cannot be read, expected KEY=VALUE"), (["=1"], "'=1'"), (["a=1", "a=2"], "twice")],
)
def test_assignments_that_cannot_be_read_are_refused(assignments: list[str], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        parse_assignments(assignments)


def test_ranges_are_said_in_words() -> None:
    assert [describe_range(param) for param in PARAMS] == [
        "int from 1 to 5000",
        "float, at least 0 or none",
        "one of: rbf, linear",
        "true or false",
        "float",
    ]
    assert describe_range(Param("a", int, 1, maximum=3)) == "int, at most 3"


@pytest.mark.parametrize("param", PARAMS, ids=lambda param: param.name)
def test_sound_declarations_have_no_fault(param: Param) -> None:
    assert fault_of(param) == ""


@pytest.mark.parametrize(
    "param",
    [
        Param("a", complex, 1),
        Param("a", int, "1"),
        Param("a", int, 1.5),
        Param("a", int, 9, maximum=3),
        Param("a", str, "x", choices=("y",)),
        Param("a", str, "x", choices=()),
        Param("a", str, "x", minimum=1),
        Param("a", int, 1, grid=[1, 2]),
        Param("a", int, 1, minimum=0, grid=(-1,)),
        Param("a", int, 1, help=None),
    ],
    ids=repr,
)
def test_faulty_declarations_are_noticed(param: Param) -> None:
    assert fault_of(param)
