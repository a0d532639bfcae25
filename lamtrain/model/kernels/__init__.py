"""Fused operators for the slow parts of the model: optional, chosen by name, equal to the plain formulas they replace."""
