"""Frames with a score and features -> those that are worth labelling: the ones that are not covered first, each as far as can be from all before.

The table is what `lamtrain cover` leaves; any CSV with the columns `origin`, `score` and `f1`, `f2`, ... will do.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError

COVERED = 1.0  # the score up to which a frame is like those that a model was trained on
CANDIDATES = 50_000  # frames among which is chosen; of more, as many at random
HINT = "`lamtrain cover MODEL STORE DATASET` leaves cover.frames.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """F frames with K features each."""

    origins: list[str]  # "file#index"
    scores: NDArray[np.float64]  # (F,) above COVERED where a frame is not like those of the training
    features: NDArray[np.float32]  # (F, K)

    def __len__(self) -> int:
        return len(self.origins)


def read_scored(path: str | Path, *, among: Collection[str] | None = None) -> Scored:
    """Read a table, or the rows of some origins; a row without a score is of a frame that was refused, and left out.

    Raises ConfigError for a file that is no such table.
    """
    origins, scores, features = list[str](), list[float](), list[NDArray[np.float32]]()
    for origin, score, row in _rows(Path(path)):
        if among is None or origin in among:
            origins.append(origin)
            scores.append(score)
            features.append(row)
    table = np.stack(features) if features else np.empty((0, 0), np.float32)
    return Scored(origins=origins, scores=np.array(scores, np.float64), features=table)


def _rows(path: Path) -> Iterator[tuple[str, float, NDArray[np.float32]]]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            table = csv.reader(file)
            columns = next(table, [])
            places = [i for i, name in enumerate(columns) if name[:1] == "f" and name[1:].isdigit()]
            if "origin" not in columns or "score" not in columns or not places:
                raise ConfigError("is no table of frames with origin, score and f1, f2, ...", where=str(path), hint=HINT)
            origin, score = columns.index("origin"), columns.index("score")
            for line in table:
                if line[score]:
                    yield line[origin], float(line[score]), np.array([line[i] for i in places], np.float32)
    except OSError as err:
        raise ConfigError(err.strerror or "cannot be read", where=str(path), hint=HINT) from None
    except (UnicodeDecodeError, csv.Error, ValueError, IndexError) as err:
        if isinstance(err, ConfigError):
            raise
        raise ConfigError(f"is no table of frames: {err}", where=str(path), hint=HINT) from None


def worth_labelling(scored: Scored, count: int, *, seed: int = 0) -> NDArray[np.int64]:
    """(n,) rows, the most worth first: `count` of them, or fewer where the others are copies of these.

    Frames that are not covered come first, and of these the one with the highest score. Each next is the farthest from all that were
    chosen, by its features (greedy k-center; Gonzalez, Theor. Comput. Sci. 38, 293 (1985)). Whatever the order of the table, the same
    frames are chosen, but for ties and for more than CANDIDATES frames, where the seed decides.
    """
    order = np.random.default_rng(seed).permutation(len(scored))
    outside = scored.scores[order] > COVERED
    tiers = [order[outside][:CANDIDATES], order[~outside][:CANDIDATES]]
    rows = np.concatenate(tiers)
    scores, features = scored.scores[rows], scored.features[rows]
    nearest = np.full(len(rows), np.inf)  # squared distance to what was chosen
    chosen: list[int] = []
    for tier in (slice(0, len(tiers[0])), slice(len(tiers[0]), len(rows))):
        for _ in range(min(count - len(chosen), len(rows[tier]))):
            best = tier.start + int(np.argmax(nearest[tier] if chosen else scores[tier]))
            if nearest[best] == 0.0:  # all that are left here are copies
                break
            chosen.append(best)
            np.minimum(nearest, np.square(features - features[best], dtype=np.float64).sum(1), out=nearest)
    return rows[chosen]
