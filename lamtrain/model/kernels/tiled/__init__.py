"""Kernels for a GPU, in Triton: each keeps the edges of an atom, or a tile of atoms, in registers from what is read to what is written."""
