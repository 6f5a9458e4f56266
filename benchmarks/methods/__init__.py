"""The methods against each other: quality on CIFAR-10, speed and memory: ``python -m benchmarks.methods``."""
