"""hashdb as entries of bitbudget; docs/other-benchmarks.md has the figures."""
