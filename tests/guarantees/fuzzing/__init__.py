"""Fuzzing of every reader of hashdb: what is read (targets), how it is harmed (mutators), and who does it (child)."""
