"""Quantisers: where the thresholds of a projection are, and how many bits it gets."""
