"""Everything of the core that numba compiles; nothing else of the core imports numba.

Kernels take arrays and scalars, allocate at most small scratch tiles, release the GIL and run on one thread. They are
compiled when first called, see :mod:`hashdb.search.kernels.compile`. Importing this package imports no numba, its
modules do.
"""
