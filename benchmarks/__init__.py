"""Figures of hashdb beside its peers; `python -m benchmarks` makes them all."""
