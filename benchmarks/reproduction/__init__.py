"""Published figures measured again: ``python -m benchmarks.reproduction``, which makes docs/reproduction.md."""
