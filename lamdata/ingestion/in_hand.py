"""Frames in hand, from Python or a model -> a dataset of a store, by the checks, the splits and the layout of an ingest of files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from ..catalog import Card
from ..errors import ConfigError
from ..frame import Frame, Rejection
from ..frames import Parsed
from .parse import Part, stage_frames
from .replacement import refuse_foreign_folder
from .run import Crew, IngestReport, begin, complete, staged
from .splits import read_splitter


def store_frames(
    card: Card,
    store: str,
    frames: Iterable[Frame | Parsed | Rejection],
    *,
    sources: Mapping[str, str],
    profile: Literal["lossless", "fast"] = "lossless",
    shuffled: bool = True,
    replace: bool = False,
    quiet: bool = True,
) -> IngestReport:
    """Bring frames into a store as the dataset of a card without `sources`; they are taken one by one, and memory stays bounded.

    `sources` says what they were made from, a sha256 for each thing: with the same card and the same sources the work counts as done, and
    no frame is asked for. A frame is in the split that it states, else in the one that the card deals to its group. `shuffled=False`
    keeps the order, for frames that are looked up rather than trained on. A `Rejection` is a row of the ledger.
    """
    if card.sources:
        raise ConfigError(f"the card of {card.dataset} names source files", hint="`lamdata ingest` reads them")
    refuse_foreign_folder(store)
    crew, splitter = Crew(title=card.dataset, workers=1, scheduler=None, quiet=quiet), read_splitter(card, Path.cwd())
    segment, done = begin(card, store, sources, splitter=splitter, profile=profile, replace=replace, staging=None)
    if done is not None:
        return done
    with staged(store, segment, None) as folder:
        pieces = [stage_frames(frames, Part(number=0, card=card, staging=folder, splitter=splitter, on_error="stop"))]
        return complete(card, store, segment, pieces, sources, splitter=splitter, profile=profile, crew=crew, shuffled=shuffled)
