"""Proofs of what docs/guarantees.md promises; the quick sizes run with the tests, the full ones with ``-m slow``."""
