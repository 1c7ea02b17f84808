"""Numba kernels: plain arrays in, plain arrays out. They check nothing and import nothing but each other and numpy."""
