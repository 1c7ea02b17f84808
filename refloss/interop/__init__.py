"""Other libraries' arrays: metatensor's TensorMaps as data, torch tensors with the golden gradient behind them.

Arrays of torch, JAX and CuPy need nothing from here: every entry point takes them (`refloss.arrays`).
"""
