"""Exact Hamming search over the codes of segments, and what joins, re-ranks and speeds it up.

Importing this package imports no numba: the kernels are loaded when there is enough work for them.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules

from hashdb.search.layouts import check_budget
from hashdb.search.scan import Lists, knn, radius
from hashdb.search.table_making import TableMaker
from hashdb.search.threads import n_threads_default

__all__ = ["Lists", "TableMaker", "check_budget", "knn", "n_threads_default", "radius", "warmup"]


def warmup(progress: Callable[[int, int, str], None] | None = None) -> list[str]:
    """Compile every kernel, use them from now on, and cache the machine code so that no later process has to.

    Parameters
    ----------
    progress : callable, optional
        Called as ``progress(n_done, n_kernels, name)`` before each kernel and, with an empty name, at the end.

    Returns
    -------
    list of str
        The kernels, as ``module.function``; those that were cached are listed too.
    """
    from hashdb.search import kernels, scan

    for module in iter_modules(kernels.__path__):
        import_module(f"{kernels.__name__}.{module.name}")
    every = import_module(f"{kernels.__name__}.compile").all_kernels()
    names = []
    for number, kernel in enumerate(every):
        if progress is not None:
            progress(number, len(every), kernel.name)
        kernel.compile()
        names.append(kernel.name)
    scan.use_kernels()
    if progress is not None:
        progress(len(every), len(every), "")
    return names
