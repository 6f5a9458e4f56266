"""The cross-modal methods against each other, on several data sets: ``python -m benchmarks.crossmodal``."""
