"""Prediction: a trained model and structures -> energies, forces and virials, in Python and from files."""
