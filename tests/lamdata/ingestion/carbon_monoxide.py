"""Small raw files for tests: CO molecules in extended XYZ, a file a group, and a card for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lamdata import ingest, open_card
from lamdata.ingestion import IngestReport
from lamdata.store import Dataset, open_dataset

SOURCE = '{{path: "{path}", format: extxyz, group: {group}, units: {{energy: eV, length: Angstrom, force: eV/Angstrom}}{more}}}'
CARD = "dataset: co\ntitle: Carbon monoxide\nsources:\n"


def source(path: str = "co-*.xyz", *, group: str = "file", more: str = "") -> str:
    """A row of `sources:`."""
    return "  - " + SOURCE.format(path=path, group=group, more=f", {more}" if more else "") + "\n"


def frame(energy: float, *, stretch: float = 0.0, force: float = 0.25, words: str = "") -> str:
    """One frame."""
    comment = f'Properties=species:S:1:pos:R:3:forces:R:3 energy={energy} pbc="F F F" {words}'.rstrip()
    return f"2\n{comment}\nO 0.0 0.0 0.0 {force} 0.0 0.0\nC {1.1 + stretch:.3f} 0.0 0.0 {-force} 0.0 0.0\n"


def atom(symbol: str, energy: float, *, words: str = "config_type=IsolatedAtom") -> str:
    """A free atom in a large box."""
    comment = f'Lattice="60 0 0 0 60 0 0 0 60" Properties=species:S:1:pos:R:3:forces:R:3 energy={energy} pbc="T T T" {words}'.rstrip()
    return f"1\n{comment}\n{symbol} 0.0 0.0 0.0 0.0 0.0 0.0\n"


def write(folder: Path, *, groups: int = 6, frames: int = 3, sources: str = "", rest: str = "split: {validation: 0.3, seed: 4}") -> Path:
    """Write `co-0.xyz`, ... and `co.yaml`; return the card."""
    for g in range(groups):
        texts = (frame(-10.5 - 0.25 * g - 0.125 * f, stretch=0.02 * f + 0.01 * g) for f in range(frames))
        (folder / f"co-{g}.xyz").write_text("".join(texts))
    (folder / "co.yaml").write_text(CARD + (sources or source()) + rest + "\n")
    return folder / "co.yaml"


def run(card: Path, **options: Any) -> IngestReport:
    """Ingest a card into `s.zarr` beside it."""
    return ingest(open_card(card), str(card.parent / "s.zarr"), base=card.parent, quiet=True, **options)


def stored(card: Path, split: str | None = None) -> Dataset:
    """What `run` stored."""
    return open_dataset(card.parent / "s.zarr", split=split)


def origins(dataset: Dataset) -> set[str]:
    """Where its frames come from."""
    return {dataset[i].origin for i in range(len(dataset))}
