"""Graph regularised hashing: the contract, and what the paper promises."""

from __future__ import annotations

import numpy as np
import pytest

import hashdb
from hashdb.errors import ArgumentError
from hashdb.testing import METHOD_CHECKS, check_method
from hashdb_plugins import _graph_regularised as graph
from hashdb_plugins._labels import labelled

KERNELS = ("rbf", "linear")


@pytest.mark.parametrize("check", METHOD_CHECKS)
def test_contract(check):
    check_method("grh", params={"iterations": 1, "initial": "itq"}, only=[check])


@pytest.mark.parametrize(
    "check", ["encode_is_sign_of_project", "row_independence", "degenerate", "labels", "round_trip"]
)
def test_contract_with_a_linear_kernel(check):
    check_method("grh", params={"iterations": 1, "kernel": "linear"}, only=[check])


@pytest.fixture(scope="module")
def task():
    """300 rows whose five classes lie in directions that vary little beside the rest."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 300)
    vectors = rng.standard_normal((300, 20)) * np.linspace(5, 1, 20) + 2
    vectors[:, -6:] += 3 * rng.standard_normal((5, 6))[labels]
    return vectors.astype(np.float32), labels


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("several", [False, True])
def test_smooths_codes_by_the_row_normalised_affinity(task, alpha, several, monkeypatch):
    vectors, labels = task
    rng = np.random.default_rng(1)
    if several:
        labels = rng.random((300, 4)) < 0.3
        labels[~labels.any(axis=1), 0] = True
    share = (labels[:, None] & labels[None]).any(axis=2) if several else labels[:, None] == labels
    bits, first = rng.random((300, 6)) < 0.6, rng.random((300, 6)) < 0.5
    b, b_0 = np.where(bits, 1.0, -1.0), np.where(first, 1.0, -1.0)
    # Class means are fractions of small numbers: exact zeros do occur, and round alike in both sums.
    expected = np.round(alpha * (share / share.sum(axis=1, keepdims=True)) @ b + (1 - alpha) * b_0, 12) >= 0
    monkeypatch.setattr(graph, "_BLOCK_PAIRS", 7_000)
    found = graph.smoothed(bits, first, graph.class_averages(labelled("grh", vectors, labels)), alpha)
    usable = expected.any(axis=0) & ~expected.all(axis=0)
    assert (found == np.where(usable, expected, bits)).mean() > 0.999


def test_a_bit_that_the_graph_makes_constant_stays_as_it_was(task):
    vectors, _ = task
    bits = np.tile(np.arange(300)[:, None] % 3 > 0, (1, 2))
    labels = np.arange(300) // 30 % 2
    averages = graph.class_averages(labelled("grh", vectors, labels))
    assert np.array_equal(graph.smoothed(bits, bits, averages, 1.0), bits)


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_weight_on_the_graph_predicts_the_first_codes(task, kernel):
    vectors, labels = task
    params = {"kernel": kernel, "initial": "itq", "alpha": 0.0, "c": 100.0, "iterations": 2}
    first = hashdb.fit(vectors, "itq", 8).encode(vectors)
    codes = hashdb.fit(vectors, "grh", 8, labels=labels, params=params).encode(vectors)
    assert np.bitwise_count(first ^ codes).sum() < 0.06 * 300 * 8


@pytest.mark.parametrize("kernel", KERNELS)
def test_margins_are_those_of_the_machines(task, kernel):
    """One turn, done here with scikit-learn on the rows as they are."""
    from sklearn.svm import SVC, LinearSVC

    vectors, labels = task
    model = hashdb.fit(vectors, "grh", 6, labels=labels, params={"kernel": kernel, "iterations": 1})
    first = hashdb.codes.unpack(hashdb.fit(vectors, "lsh", 6).encode(vectors), 6)
    averages = graph.class_averages(labelled("grh", vectors, labels))
    wanted = graph.smoothed(first, first, averages, model.params["alpha"])
    x = vectors - vectors.mean(axis=0, dtype=np.float64)
    mean_square = (x**2).sum(axis=1).mean()
    for bit in range(6):
        if kernel == "rbf":
            machine = SVC(C=model.params["c"], gamma=model.params["gamma"] / mean_square, class_weight="balanced")
            margins = machine.fit(x, wanted[:, bit]).decision_function(x)
        else:
            machine = LinearSVC(C=model.params["c"], dual=False, class_weight="balanced")
            scale = np.sqrt(mean_square)
            margins = machine.fit(x / scale, wanted[:, bit]).decision_function(x / scale) * scale
        np.testing.assert_allclose(model.project(vectors)[:, bit], margins, atol=0.02 * np.abs(margins).max())


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("initial", ["itq", "lsh"])
def test_finds_classes_better_than_the_codes_it_starts_from(task, kernel, initial):
    vectors, labels = task
    train, unseen = slice(0, 200), slice(200, 300)

    def precision(method, **more):
        codes = hashdb.codes.unpack(hashdb.fit(vectors[train], method, 16, **more).encode(vectors), 16)
        distances = (codes[unseen][:, None] != codes[train][None]).sum(axis=2)
        nearest = np.argsort(distances, axis=1, kind="stable")[:, :10]
        return (labels[train][nearest] == labels[unseen][:, None]).mean()

    params = {"kernel": kernel, "initial": initial}
    assert precision("grh", labels=labels[train], params=params) > precision(initial) + 0.15


@pytest.mark.parametrize("kernel", KERNELS)
def test_machines_are_trained_again_where_their_bit_has_changed(task, kernel, monkeypatch):
    """Against turns that train every machine; smoothing that leaves more of the first codes keeps bits moving."""
    vectors, labels = task
    params = {"kernel": kernel, "gamma": 1.0, "c": 1.0}
    machines = graph.Machines.on("grh", vectors, params)
    first = np.random.default_rng(3).random((300, 12)) < 0.5
    averages = graph.class_averages(labelled("grh", vectors, labels))
    bits = before = first
    changed = []
    for turn in range(3):
        wanted = graph.smoothed(bits, first, averages, 0.6)
        changed.append(12 if turn == 0 else np.count_nonzero((wanted != before).any(axis=0)))
        weights, bias = machines.learn(wanted, lambda done: None)
        bits, before = machines.bits(weights, bias), wanted
    trained = []
    learn = graph.Machines.learn
    monkeypatch.setattr(
        graph.Machines, "learn", lambda self, bits, told: trained.append(bits.shape[1]) or learn(self, bits, told)
    )
    ours = graph.take_turns(machines, first, averages, 0.6, 3, lambda done: None)
    assert np.array_equal(ours[0], weights)
    assert np.array_equal(ours[1], bias)
    assert trained == [count for count in changed if count]
    assert sum(trained) < 36


def test_keeps_support_vectors_only(task):
    vectors, labels = task
    state = hashdb.fit(vectors, "grh", 4, labels=labels).state
    assert len(state["anchors"]) < len(vectors)
    assert (state["weights"] != 0).any(axis=1).all()


def test_unlabelled_rows_are_left_out(task):
    vectors, labels = task
    partly = np.where(np.arange(300) < 200, labels, -1)
    some = hashdb.fit(vectors, "grh", 8, labels=partly)
    assert np.array_equal(
        some.encode(vectors), hashdb.fit(vectors[:200], "grh", 8, labels=labels[:200]).encode(vectors)
    )


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("exponent", [-40, 40])
def test_the_scale_of_the_data_changes_hardly_a_code(task, kernel, exponent):
    vectors, labels = task
    scaled = np.ldexp(vectors, exponent)
    ours, theirs = (
        hashdb.fit(x, "grh", 8, labels=labels, params={"kernel": kernel}).encode(x) for x in (vectors, scaled)
    )
    assert np.bitwise_count(ours ^ theirs).sum() < 0.01 * 300 * 8


def test_more_bits_than_dimensions_cannot_start_from_itq(task):
    vectors, labels = task
    with pytest.raises(ArgumentError, match="n_bits is 32, the vectors have dim 20; ask for fewer bits or use"):
        hashdb.fit(vectors, "grh", 32, labels=labels, params={"initial": "itq"})
    model = hashdb.fit(vectors, "grh", 32, labels=labels)
    assert model.encode(vectors).shape == (300, 1)


def test_too_many_rows_for_a_matrix_of_pairs_are_refused(task, monkeypatch):
    vectors, labels = task
    monkeypatch.setattr(graph, "_MOST_KERNEL_ROWS", 299)
    with pytest.raises(ArgumentError, match="got 300, expected at most 299; train on fewer or use kernel=linear"):
        hashdb.fit(vectors, "grh", 8, labels=labels)
    hashdb.fit(vectors, "grh", 8, labels=labels, params={"kernel": "linear"})


def test_one_class_is_refused(task):
    with pytest.raises(ArgumentError, match="the labels have 1 class, expected 2 or more for grh"):
        hashdb.fit(task[0], "grh", 8, labels=np.zeros(300, int))


def test_progress_counts_machines(task):
    seen = []
    hashdb.fit(
        *(task[0], "grh", 4),
        labels=task[1],
        params={"iterations": 2},
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(done, 8) for done in range(1, 9)]


def test_cifar_images_find_their_class(data):
    """Mean average precision over the whole ranking at 32 bits; that of itq is .17."""
    gist = np.load(data / "cifar10" / "gist512_float16.npy", mmap_mode="r")
    labels = np.concatenate([np.load(data / "cifar10" / f"{part}_labels.npy").ravel() for part in ("train", "test")])
    order = np.random.default_rng(0).permutation(len(gist))
    queries, train, rest = (np.sort(order[part]) for part in (slice(0, 100), slice(100, 1100), slice(1100, 6100)))
    for kernel, low in (("rbf", 0.24), ("linear", 0.2)):
        model = hashdb.fit(gist[train].astype(np.float32), "grh", 32, labels=labels[train], params={"kernel": kernel})
        codes, scores = model.encode(gist[rest].astype(np.float32)), []
        for query, label in zip(model.encode(gist[queries].astype(np.float32)), labels[queries], strict=True):
            hits = labels[rest][np.argsort(np.bitwise_count(codes ^ query).sum(axis=1), kind="stable")] == label
            scores.append((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())
        assert low < np.mean(scores) < 0.36
