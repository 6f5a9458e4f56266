"""Gives one bit too few."""

import numpy as np

import hashdb


@hashdb.hookimpl
def describe():
    return hashdb.MethodInfo(name="wrong-shape", title="Wrong shape", paper="", year=0)


@hashdb.hookimpl
def fit(n_bits):
    return {"n_bits": np.array(n_bits)}


@hashdb.hookimpl
def encode(state, vectors):
    return vectors[:, : int(state["n_bits"]) - 1] > 0
