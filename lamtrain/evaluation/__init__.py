"""A model and frames -> what it can do, as numbers, tables and pictures."""
