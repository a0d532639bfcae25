"""Card: a store -> one HTML page for people: what is in it, by statistics and a bounded sample; nothing but the page is needed to read it.

content.py (plain data, what `--json` prints) <- sample.py (histograms, compositions, examples), refused.py (rows of the ledger)
dataset.py -> page.py (headings, tables, pictures -> bytes), which model cards use too
"""

from __future__ import annotations

from .content import content_of
from .dataset import dataset_page
from .page import Page, Picture, write_page

__all__ = ["Page", "Picture", "content_of", "dataset_page", "write_page"]
