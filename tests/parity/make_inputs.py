"""`model` sections of input.json files, small enough to train in seconds."""

from __future__ import annotations

import copy
from typing import Any

ELEMENTS = ["O", "H", "C", "Fe", "Pt"]

DESCRIPTOR: dict[str, Any] = {
    "type": "dpa2", "seed": 1,
    "repinit": {
        "rcut": 5.0, "rcut_smth": 1.0, "nsel": 40, "neuron": [3, 6, 12], "axis_neuron": 3, "tebd_dim": 4,
        "use_three_body": True, "three_body_sel": 12, "three_body_rcut": 3.5, "three_body_rcut_smth": 2.5,
    },
    "repformer": {
        "rcut": 3.5, "rcut_smth": 2.5, "nsel": 12, "nlayers": 2, "g1_dim": 12, "g2_dim": 6, "axis_neuron": 3, "attn2_has_gate": True,
        "attn1_hidden": 4, "attn1_nhead": 2, "attn2_hidden": 4, "attn2_nhead": 2, "update_style": "res_residual", "update_residual": 0.05,
        "update_g1_has_attn": True, "update_g2_has_g1g1": False,
    },
}  # fmt: skip
DPA1: dict[str, Any] = {
    "type": "dpa1", "seed": 1, "rcut": 5.0, "rcut_smth": 1.0, "sel": 40, "neuron": [3, 6, 12], "axis_neuron": 3, "tebd_dim": 4, "attn_layer": 0,
    "set_davg_zero": False, "smooth_type_embedding": True,
}  # fmt: skip


def single_task(descriptor: dict[str, Any] = DESCRIPTOR, **changes: Any) -> dict[str, Any]:
    """One energy model; `changes` are options of the descriptor."""
    return {"type_map": list(ELEMENTS), "descriptor": copy.deepcopy(descriptor) | changes, "fitting_net": {"neuron": [12, 12], "seed": 1}}


def multi_task(descriptor: dict[str, Any] = DESCRIPTOR, **changes: Any) -> dict[str, Any]:
    """Heads `water` (alias Water1) and `metal` on one descriptor, with a case embedding."""
    fitting = {"neuron": [12, 12], "dim_case_embd": 2}
    heads = {
        name: {"type_map": "elements", "descriptor": "shared", "fitting_net": fitting | {"seed": seed}}
        for seed, name in enumerate(("water", "metal"))
    }
    heads["water"]["model_branch_alias"] = ["Default", "Water1"]
    shared = {"elements": list(ELEMENTS), "shared": copy.deepcopy(descriptor) | changes}
    return {"shared_dict": shared, "model_dict": heads}
