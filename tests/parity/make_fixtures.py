"""Write tests/parity/fixtures/*.npz: small models and structures with what DeePMD-kit 3.2.0 says of them.

    $LAM_DEEPMD_PYTHON tests/parity/make_fixtures.py [NAME ...]      # DeePMD-kit's interpreter (build_deepmd.sh); half a minute for all

Each configuration is the base below with a few options changed, so that a failing name says where to look. Weights, structures and
statistics are drawn from the seed in the table; nothing is taken from elsewhere.
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import cases
import oracle

FOLDER = Path(__file__).parent / "fixtures"

BASE = {
    "type_map": ["O", "H", "C", "Fe", "Pt"],
    "descriptor": {
        "type": "dpa2", "precision": "float64", "seed": 1,
        "repinit": {
            "rcut": 5.0, "rcut_smth": 1.0, "nsel": 40, "neuron": [3, 6, 12], "axis_neuron": 3, "tebd_dim": 4, "use_three_body": True,
            "three_body_neuron": [2, 4, 8], "three_body_sel": 14, "three_body_rcut": 3.5, "three_body_rcut_smth": 2.5,
        },
        "repformer": {
            "rcut": 3.5, "rcut_smth": 2.5, "nsel": 14, "nlayers": 2, "g1_dim": 10, "g2_dim": 6, "axis_neuron": 3,
            "attn1_hidden": 4, "attn1_nhead": 2, "attn2_hidden": 5, "attn2_nhead": 2, "attn2_has_gate": True,
            "update_g1_has_attn": False, "update_g2_has_g1g1": False, "update_style": "res_residual", "update_residual": 0.2,
        },
    },
    "fitting_net": {"neuron": [12, 12], "precision": "float64", "seed": 1},
}  # fmt: skip

DPA1 = {
    "type": "dpa1", "precision": "float64", "seed": 1, "rcut": 4.5, "rcut_smth": 1.0, "sel": 30, "neuron": [4, 8], "axis_neuron": 3,
    "tebd_dim": 4, "attn_layer": 0,
}  # fmt: skip

# name: {section: options that differ from the base}; a `descriptor` with a type of its own stands for the whole section
CONFIGURATIONS: dict[str, dict[str, dict]] = {
    "as_shipped": {},
    "all_updates": {"repformer": {"update_g1_has_attn": True, "update_g2_has_g1g1": True, "update_h2": True, "nlayers": 3}},
    "strip": {"repinit": {"tebd_input_mode": "strip", "type_one_side": True, "resnet_dt": True}},
    "no_three_body": {"repinit": {"use_three_body": False}, "repformer": {"rcut": 4.2, "nsel": 25, "update_g2_has_attn": False}},
    "averaged": {
        "repformer": {"update_style": "res_avg", "attn2_has_gate": False, "update_g1_has_attn": True, "use_sqrt_nnei": False}
    },
    "increments": {"repformer": {"update_style": "res_incr", "update_g2_has_g1g1": True, "update_h2": True}},
    "constant_residual": {"repformer": {"update_residual_init": "const", "update_g1_has_attn": True}},
    "old_layout": {"repformer": {"g1_out_conv": False, "g1_out_mlp": False, "use_sqrt_nnei": False, "update_g1_has_attn": True}},
    "few_updates": {"repformer": {"update_g1_has_conv": False, "update_g1_has_drrd": False, "update_g2_has_attn": False}},
    "no_grrg": {"repformer": {"update_g1_has_grrg": False, "update_h2": True, "update_g2_has_attn": False}},
    "centred": {"repinit": {"set_davg_zero": False}, "repformer": {"set_davg_zero": False, "update_g1_has_attn": True}},
    "not_smooth": {
        "descriptor": {"smooth": False},
        "repinit": {"tebd_input_mode": "strip", "set_davg_zero": False},
        "repformer": {"update_g1_has_attn": True, "update_g2_has_g1g1": True},
    },
    "types": {
        "descriptor": {"add_tebd_to_repinit_out": True, "use_econf_tebd": True, "use_tebd_bias": True, "concat_output_tebd": False},
        "model": {"type_map": ["H", "U", "Pd", "Cr", "Og", "Zn", "Al"]},
    },
    "excluded": {"descriptor": {"exclude_types": [[0, 1], [2, 2]], "env_protection": 0.01}, "model": {"pair_exclude_types": [[3, 4]]}},
    "type_skip": {"repinit": {"tebd_dim": 10}, "descriptor": {"add_tebd_to_repinit_out": True}},  # as wide as twice the elements
    "direct_distance": {"repformer": {"direct_dist": True, "update_g1_has_attn": True, "ln_eps": 1e-3}},
    "cases": {"fitting": {"dim_case_embd": 3, "resnet_dt": False, "neuron": [8, 16, 16]}},
    "activations": {
        "repinit": {"activation_function": "gelu"},
        "repformer": {"activation_function": "silu"},
        "fitting": {"activation_function": "softplus"},
    },
    "more_activations": {
        "repinit": {"activation_function": "sigmoid"},
        "repformer": {"activation_function": "silut:2.0"},
        "fitting": {"activation_function": "relu6"},
    },
    "truncated": {
        "repinit": {"nsel": 11, "three_body_sel": 5, "three_body_rcut": 4.0},
        "repformer": {"nsel": 4, "update_g1_has_attn": True},
    },
    "float32": {"descriptor": {"precision": "float32"}, "fitting": {"precision": "float32"}},
    "dpa1": {
        "descriptor": DPA1 | {"type_one_side": True, "use_tebd_bias": True, "activation_function": "gelu"},
        "model": {"pair_exclude_types": [[1, 3], [4, 4]]},
    },
    "dpa1_centred": {
        "descriptor": DPA1 | {"type": "se_atten", "set_davg_zero": False, "exclude_types": [[0, 1], [2, 2]], "concat_output_tebd": False}
    },
    "dpa1_strip": {
        "descriptor": DPA1
        | {"tebd_input_mode": "strip", "set_davg_zero": False, "smooth_type_embedding": True, "resnet_dt": True, "sel": [9], "use_econf_tebd": True}
    },
    "dpa1_float32": {"descriptor": DPA1 | {"precision": "float32", "stripped_type_embedding": True, "neuron": [6, 12], "rcut_smth": 3.0}, "fitting": {"precision": "float32"}},
}  # fmt: skip
KINDS = ("triclinic", "open", "small cell", "slab", "single")


def configure(changes: dict[str, dict]) -> dict:
    """Return the base with `changes`."""
    params = copy.deepcopy(BASE)
    for section, values in changes.items():
        if section == "descriptor" and "type" in values:
            params["descriptor"] = dict(values)
            continue
        target = {"model": params, "descriptor": params["descriptor"], "fitting": params["fitting_net"]}.get(section)
        (params["descriptor"][section] if target is None else target).update(values)
    return params


def draw_systems(rng: np.random.Generator, params: dict) -> list[dict]:
    """One structure of each kind, without a tie where a list is cut."""
    systems = []
    for kind in KINDS:
        while True:
            system = cases.random_system(rng, kind, len(params["type_map"]))
            if not cases.has_tied_cut(system, params["descriptor"]):
                break
        systems.append(system)
    return systems


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    wanted = sys.argv[1:] or list(CONFIGURATIONS)
    for seed, (name, changes) in enumerate(CONFIGURATIONS.items(), start=1):
        if name not in wanted:
            continue
        params = configure(changes)
        case = {"name": name, "seed": seed, "params": params, "systems": draw_systems(np.random.default_rng(seed), params)}
        np.savez_compressed(FOLDER / f"{name}.npz", **oracle.run_case(case))


if __name__ == "__main__":
    main()
