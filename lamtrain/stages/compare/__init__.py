"""Compare: models, or predictions that others hand in, on a benchmark -> a table with ranks, of numbers that are computed here.

benchmark (YAML) -> exam (frames of a store) -> entrant (checkpoint or submission) -> predictions -> errors -> board -> report
"""
