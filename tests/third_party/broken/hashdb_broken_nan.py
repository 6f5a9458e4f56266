"""Projects to NaN."""

import numpy as np

import hashdb


@hashdb.hookimpl
def describe():
    return hashdb.MethodInfo(name="gives-nan", title="Gives NaN", paper="", year=0)


@hashdb.hookimpl
def fit(n_bits):
    return {"n_bits": np.array(n_bits)}


@hashdb.hookimpl
def project(state, vectors):
    return np.full((len(vectors), int(state["n_bits"])), np.nan, np.float32)
