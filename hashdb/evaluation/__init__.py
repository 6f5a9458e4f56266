"""Splits, ground truth, metrics, significance and reports."""
