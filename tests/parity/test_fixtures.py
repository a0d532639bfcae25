"""The model gives DeePMD-kit's numbers: energies, forces, virials and parameter gradients of the fixtures."""

from __future__ import annotations

import json
from pathlib import Path

import deviation as compare
import numpy as np
import pytest

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("*.npz"))


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_energies_forces_virials_and_gradients_are_deepmds(path):
    apart = compare.compare_case(path)
    # DeePMD-kit rounds to float32 in one of them; here it is computed in float64, from the same weights.
    limit, relative = (1e-4, 1e-5) if path.stem.endswith("float32") else (1e-10, 1e-8)
    assert max(apart.energy, apart.forces, apart.virial) < limit and apart.gradient < relative, apart


def test_a_changed_weight_is_seen():
    """The comparison itself: one weight in 1e6 is noticed."""
    case = np.load(next(path for path in FIXTURES if path.stem == "as_shipped"))
    model, frames = compare.load_model(case), compare.load_frames(case)
    batch = compare.collate(frames, model.config)
    before = model(batch).forces
    model.descriptor.repformer.layers[0].linear1.weight.data *= 1 + 1e-6
    assert compare.largest(model(batch).forces - before) > 1e-9


def test_fixtures_cover_every_switch():
    """Each on/off option of each type of descriptor stands both ways in some fixture; those of attention layers say nothing here."""
    seen: dict[tuple[str, str], set] = {}
    for path in FIXTURES:
        descriptor = json.loads(str(np.load(path)["params"]))["descriptor"]
        kind = "dpa1" if descriptor["type"] == "se_atten" else descriptor["type"]
        for section in (descriptor, descriptor.get("repinit", {}), descriptor.get("repformer", {})):
            for key, value in section.items():
                if isinstance(value, bool) or key in ("tebd_input_mode", "update_style", "update_residual_init"):
                    seen.setdefault((kind, key), set()).add(value)
    silent = {"trainable", "trainable_ln", "attn_dotr", "attn_mask", "normalize", "stripped_type_embedding"}
    once = {key for key, values in seen.items() if len(values) < 2 and key[1] not in silent}
    assert {kind for kind, _ in seen} == {"dpa1", "dpa2"} and not once


def test_fixtures_hold_no_pickles_and_stay_small():
    assert sum(path.stat().st_size for path in FIXTURES) < 3_000_000
    for path in FIXTURES:
        assert all(array.dtype != object for array in np.load(path, allow_pickle=False).values())
