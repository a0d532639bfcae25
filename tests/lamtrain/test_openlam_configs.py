"""The report's two runs as training configs: the paper's sizes, what is known of the runs, and what is not, said beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lamdata.augment import PRESETS, AugmentSpec
from lamdata.catalog import open_mixture
from lamdata.elements import SYMBOLS
from lamtrain.config import TrainConfig, read_config
from lamtrain.model.lam import LamModel
from lamtrain.tasks import kinds_of

CATALOG = Path(__file__).resolve().parents[2] / "catalogs" / "openlam-2024q0"


def config(heads: int) -> TrainConfig:
    return read_config(CATALOG / f"train-{heads}.yaml")


@pytest.mark.parametrize(("heads", "millions"), [(18, 7.51), (29, 8.32)])
def test_the_network_has_the_papers_size(heads, millions):
    """About 5 million in the descriptor with one net, and about 7.68 with 18 (second hand)."""
    run = config(heads)
    mixture, _ = open_mixture(run.mixture)
    resolved = run.model.resolve(elements=list(SYMBOLS[1:74]), heads={t.head: t.task for t in mixture.heads}, precision=run.precision)
    with torch.device("meta"):
        model = LamModel(resolved)
    count = sum(p.numel() for p in model.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.01)
    one = sum(p.numel() for net in (model.descriptor, model.energy_head("Cu")) for p in net.parameters())
    assert one / 1e6 == pytest.approx(4.975, abs=0.001)
    assert resolved.descriptor.lists["repinit"].rcut == 9.0 and resolved.descriptor.lists["repformer"].nsel == 40
    assert "three_body" not in resolved.descriptor.lists and resolved.descriptor.repformer.nlayers == 12


@pytest.mark.parametrize(("heads", "steps"), [(18, 1_000_000), (29, 1_840_000)])
def test_a_run_has_the_reports_steps_and_the_papers_recipe(heads, steps):
    run = config(heads)
    assert (run.steps, run.batch.frames, run.clip_norm) == (steps, 8, 5.0)
    assert (run.learning_rate.start, run.learning_rate.stop) == (2e-4, 3.51e-8)
    assert (run.loss.energy, run.loss.force) == ((0.02, 1.0), (1000.0, 1.0))


def test_denoising_is_that_of_the_public_code():
    run = config(29)
    mixture, _ = open_mixture(run.mixture)
    denoise = [task for task in mixture.heads if task.task == "denoise"]
    assert len(denoise) == 7
    assert {str(task.augment) for task in denoise} == {str(AugmentSpec.model_validate(PRESETS["openlam-2024"]))}
    kinds = kinds_of({"a": "denoise"}).values()
    assert {name: run.loss.pair(name, kinds) for name in ("displacement", "displacement_vector", "types")} == {
        "displacement": (5.0, 5.0),
        "displacement_vector": (0.0, 0.0),
        "types": (1.0, 1.0),
    }
    assert run.loss.huber == 1.0


@pytest.mark.parametrize(
    ("heads", "words"), [(18, ["Second hand", "precision", "seed"]), (29, ["number of GPUs", "noise", "weights of the denoise"])]
)
def test_what_is_not_known_is_said(heads, words):
    text = (CATALOG / f"train-{heads}.yaml").read_text()
    assert "Not known" in text and all(word in text.replace("\n# ", " ") for word in words)
