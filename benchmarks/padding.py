"""What padding adds to the batches of a run, and how often their shapes repeat (`graphs: true`).

python benchmarks/padding.py TRAIN.YAML [--set KEY=VALUE ...] [--batches 150]

Batches of the run's own stream are made padded and, beside them, in as few chunks and without padding. Prints the atoms and the slots of the longest list that
padding adds, the shapes that there are, and the share of the batches whose shape was there before. Nothing is trained.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lamtrain.config import TrainConfig, read_config
from lamtrain.data.batch import Batch, collate
from lamtrain.data.mixture import open_training_data
from lamtrain.data.padding import WHOLE


def batches_of(config: TrainConfig, count: int) -> Iterator[tuple[Batch, Batch]]:
    """Each batch as it is, and padded."""
    data = open_training_data(config.mixture, config.store)
    model = config.model.resolve(elements=data.elements, heads=data.heads, precision=config.precision)
    frames = config.step.draws if config.step.heads == "one" else config.batch.frames
    with data.stream(seed=config.seed, batch_frames=frames, batch_atoms=config.batch.atoms, runs=config.runs(data.heads)) as stream:
        for some, _ in zip(stream, range(count)):
            mine = data.with_model_heads(some)
            yield collate(mine, model, chunk_atoms=WHOLE), collate(mine, model, padded=True)


def slots(batch: Batch) -> int:
    """Of the longest list."""
    return sum(chunk.neighbors.numel() for chunk in batch.chunks)


def main() -> None:
    """Count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--batches", type=int, default=150)
    options = parser.parse_args()
    atoms, edges, shapes = [0, 0], [0, 0], []
    for pair in batches_of(read_config(options.config, overrides=options.overrides), options.batches):
        for k, batch in enumerate(pair):
            atoms[k] += batch.natoms_total
            edges[k] += slots(batch)
        shapes.append(pair[1].shape)
    seen = sum(shape in shapes[:k] for k, shape in enumerate(shapes)) / len(shapes)
    print(
        f"atoms +{atoms[1] / atoms[0] - 1:.1%}, slots +{edges[1] / edges[0] - 1:.1%}, {len(set(shapes))} shapes of {len(shapes)} batches, {seen:.0%} seen before"
    )


if __name__ == "__main__":
    main()
