"""Experiments: methods measured on a data set, over runs with fresh splits, with tests of what differs.

| module | what |
|---|---|
| `running` | the whole, from data to results |
| `protocol` | what all cells share: split, sizes, truth, tuning |
| `material`, `rounds` | the data, and each run's split with its ground truths |
| `units`, `measuring`, `searching` | a method at a number of bits in a run; its codes searched through an index |
| `tuning` | params by the validation parts |
| `working`, `keeping` | units over processes; finished ones in files |
| `gathering`, `significance` | means, intervals and tests |
| `tables`, `side_by_side` | Markdown, LaTeX, CSV; two results compared |
"""

from __future__ import annotations

from hashdb.evaluation.experiment.protocol import Protocol
from hashdb.evaluation.experiment.running import run_experiment, write_results
from hashdb.evaluation.experiment.side_by_side import compare, load_results

__all__ = ["Protocol", "run_experiment", "write_results", "compare", "load_results"]
