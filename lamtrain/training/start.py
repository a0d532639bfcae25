"""The first state of a run: a new model, one adapted from another's checkpoint, or the run itself where it stopped."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ..checkpoint import load
from ..config import TrainConfig
from ..data.mixture import TrainingData
from ..evaluation.metrics import Metrics
from ..kernels import use_kernels
from .adapt import adapted_model, trained_part
from .average import build_average
from .new import new_model
from .optimizer import build_optimizer
from .ranks import Ranks
from .resume import go_on_with_references, refuse_another_run
from .schedule import Schedule
from .state import TrainState

PARTS = ("test-", "validation")
OF_A_RUN = (
    "last.pt", "best.pt", "checkpoints", "metrics.csv", "test.json", "parity.png", "curves.png", "config.yaml", "catalog.lock",
    "tensorboard", "wandb.id", "mlflow.id",
)  # fmt: skip


def start_run(
    config: TrainConfig, data: TrainingData, out: Path, *, resume: str, stream: dict[str, Any], ranks: Ranks, quiet: bool = False
) -> TrainState:
    """The state that a run begins with: where it stopped, if there is such a run in `out`, else a new one. `stream` is its fingerprint."""
    path = out / "last.pt" if resume == "auto" else Path(resume)
    checkpoint = None if resume == "never" or (resume == "auto" and not path.exists()) else load(path)
    quiet = quiet or not ranks.first
    others: dict[str, dict[str, Any]] = {}
    started: dict[str, dict[str, Any]] = {}
    config.check_heads(data.heads)
    if checkpoint is not None:
        checkpoint.refuse_compressed(where=str(path), done="trained")
        refuse_another_run(config, data, checkpoint, stream=stream, where=str(path))
        model, others = checkpoint.build(), {head: row for head, row in checkpoint.heads.items() if head not in data.heads}
        model.load_state_dict(checkpoint.model if checkpoint.latest is None else checkpoint.latest)
        started = go_on_with_references(data, checkpoint)
    elif config.start is not None:
        adapted = adapted_model(config, config.start, data, device=ranks.device, quiet=quiet)
        model, others, started = adapted.model, adapted.others, adapted.started
    else:
        model = new_model(config, data, quiet=quiet)
    model = model.to(ranks.device)
    ranks.share_weights(model)
    use_kernels(model, config.kernels)
    lora = trained_part(model, config)
    optimizer = build_optimizer(model, config, lora)
    state = TrainState(
        config=config,
        data=data,
        model=model,
        optimizer=optimizer,
        average=build_average(model, config, optimizer),
        runs=config.runs(data.heads),
        schedule=Schedule(config.learning_rate, config.steps),
        metrics=Metrics(data.heads),
        lora=lora,
        stream=stream,
        others=others,
        started=started,
    )
    if checkpoint is not None:
        state.restore(checkpoint)
        if not ranks.first:
            state.metrics, state.truncated = Metrics(data.heads), [0, 0]  # a checkpoint holds the sums of all ranks
    return state


def clear(out: Path) -> None:
    """Remove what an earlier run left in its folder, so that nothing of it stands beside a new model."""
    parts = [found.parent for part in PARTS for found in out.glob(f"{part}*/test.json")]  # what `lamtrain test` says of one head or dataset
    parts += [found.parent for found in out.glob("cover-*/cover.json")]
    for path in [*(out / name for name in OF_A_RUN), *parts]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
