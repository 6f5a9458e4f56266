"""A third-party method, as someone might publish it: random directions through the mean, without linear algebra."""

import numpy as np

import hashdb


@hashdb.hookimpl
def describe():
    return hashdb.MethodInfo(
        name="example",
        title="Example",
        paper="none",
        year=2026,
        params=(hashdb.Param("scale", float, 1.0, 0.5, 2.0, grid=(0.5, 1.0, 2.0), help="length of the directions"),),
        when="to try the plugin door",
    )


@hashdb.hookimpl
def fit(vectors, n_bits, params, seed):
    directions = np.random.default_rng(seed).standard_normal((vectors.shape[1], n_bits))
    return {"mean": vectors.mean(axis=0), "weights": (params["scale"] * directions).astype(np.float32)}


@hashdb.hookimpl
def encode(state, vectors):
    return hashdb.margins.encode(vectors, state["weights"], mean=state["mean"])


@hashdb.hookimpl
def project(state, vectors):
    return hashdb.margins.project(vectors, state["weights"], mean=state["mean"])
