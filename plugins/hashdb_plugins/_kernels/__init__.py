"""Kernels that a method needs for its own mathematics; the only place here that imports numba."""
