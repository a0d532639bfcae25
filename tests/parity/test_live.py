"""Random configurations and structures, live: what the model and DeePMD-kit say of them is the same."""

from __future__ import annotations

import json

import deviation as compare
import numpy as np
import pytest
from cases import random_case
from dp import run_oracle

from lamtrain.data.batch import collate

pytestmark = pytest.mark.deepmd

COUNTS = {"dpa2": 240, "dpa1": 100}


@pytest.fixture(scope="module", params=list(COUNTS))
def answers(request, tmp_path_factory):
    """Paths of what the oracle left, one for each case of a type of descriptor."""
    cases = [random_case(seed, descriptor=request.param) for seed in range(COUNTS[request.param])]
    return run_oracle(cases, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("kernels", ["plain", "cpp"])
def test_random_models_agree_on_random_structures(answers, kernels):
    apart = {path.stem: compare.compare_case(path, kernels=kernels) for path in answers}
    worst = {key: max(getattr(one, key) for one in apart.values()) for key in ("energy", "forces", "virial", "gradient")}
    print(
        f"\n{answers[0].stem.partition('-')[0]}, {kernels}: {len(apart)} configurations, {3 * len(apart)} structures; largest deviations: {worst}"
    )
    wrong = {name: one for name, one in apart.items() if not (max(one.energy, one.forces, one.virial) < 1e-10 and one.gradient < 1e-8)}
    assert not wrong


def test_the_random_structures_are_of_every_kind(answers):
    """Truncated lists, five or more elements, open, layered, small-celled and single-atom structures are among them."""
    seen = dict.fromkeys(("truncated", "five elements", "open", "slab", "periodic", "single", "images of itself"), 0)
    for path in answers:
        case = np.load(path)
        model, frames = compare.load_model(case), compare.load_frames(case)
        seen["truncated"] += any(collate(frames, model.config).truncated.values())
        seen["five elements"] += len(json.loads(str(case["params"]))["type_map"]) >= 5
        for frame in frames:
            seen["open"] += not any(frame.pbc)
            seen["slab"] += any(frame.pbc) and not all(frame.pbc)
            seen["periodic"] += all(frame.pbc)
            seen["single"] += len(frame.numbers) == 1
            seen["images of itself"] += all(frame.pbc) and frame.volume < next(iter(model.config.descriptor.lists.values())).rcut ** 3
    assert min(seen.values()) >= len(answers) // 12, seen
