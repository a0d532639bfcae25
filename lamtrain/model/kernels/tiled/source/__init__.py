"""The kernels themselves, in Triton's dialect: each with the formulas that it computes. Needs triton."""
