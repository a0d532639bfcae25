"""Card: a model, and what its run and its tests left beside it -> one HTML page for people.

reports.py, content.py (plain data, what `--json` prints) -> page.py (by `lamdata.card`)
"""
