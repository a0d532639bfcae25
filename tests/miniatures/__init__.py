"""Miniatures of the report's 29 datasets: real frames, written in the format in which each dataset is published."""
