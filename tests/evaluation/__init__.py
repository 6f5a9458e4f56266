"""Splits, ground truth and measures, each against a slow definition of its own."""
