"""A seed -> one random model, DPA-2 or DPA-1 without attention, in the reference's own words, and a few structures for it.

NumPy alone: both sides of the comparison import it, DeePMD-kit's interpreter and ours.
"""

from __future__ import annotations

import math

import numpy as np

ELEMENTS = ["H", "C", "N", "O", "Na", "Si", "Ti", "Fe", "Cu", "Pt", "Pb", "U"]
ACTIVATIONS = ["tanh", "gelu", "gelu_tf", "silu", "softplus", "sigmoid", "relu", "relu6", "linear"]
VACUUM = 10.0  # Å, more than any cut-off drawn below
STYLES = ["res_avg", "res_incr", "res_residual"]


def random_case(seed: int, *, descriptor: str = "dpa2", frames: int = 3) -> dict:
    """Return `{"name", "seed", "params", "systems"}`: every option of the descriptor and the fitting drawn at random."""
    rng = np.random.default_rng(seed)
    elements = sorted(rng.choice(ELEMENTS, size=int(rng.integers(1, 8)), replace=False).tolist())
    draw = {"dpa1": random_dpa1, "dpa2": random_dpa2}[descriptor]
    params = {"type_map": elements, "descriptor": draw(rng, len(elements)), "fitting_net": random_fitting(rng)}
    return {"name": f"{descriptor}-{seed}", "seed": seed, "params": params, "systems": random_systems(rng, params, frames=frames)}


def random_dpa1(rng: np.random.Generator, ntypes: int) -> dict:
    """DPA-1 without attention, under either of its names."""
    coin = lambda p=0.5: bool(rng.random() < p)  # noqa: E731
    rcut, sel = float(rng.uniform(4.0, 6.0)), int(rng.integers(8, 80))
    return {
        "type": "dpa1" if coin() else "se_atten",
        "rcut": rcut,
        "rcut_smth": float(rng.uniform(0.1, 0.9)) * rcut,
        "sel": [sel] if coin() else sel,
        "neuron": [[3, 6, 12], [4, 8], [5, 5, 10], [4, 6, 6], [11, 11]][rng.integers(5)],
        "axis_neuron": int(rng.integers(1, 5)),
        "tebd_dim": int(rng.integers(2, 7)),
        "tebd_input_mode": str(rng.choice(["concat", "strip"])),
        "attn_layer": 0,
        "attn": int(rng.integers(2, 9)),
        "attn_dotr": coin(),
        "normalize": coin(),
        "resnet_dt": coin(0.3),
        "set_davg_zero": coin(),
        "activation_function": pick_activation(rng),
        "type_one_side": coin(0.3),
        "smooth_type_embedding": coin(0.6),
        "concat_output_tebd": coin(0.8),
        "precision": "float64",
        "exclude_types": random_pairs(rng, ntypes) if coin(0.2) else [],
        "env_protection": 1e-2 if coin(0.1) else 0.0,
        "use_econf_tebd": coin(0.3),
        "use_tebd_bias": coin(0.3),
        "seed": int(rng.integers(1 << 30)),
    }


def random_dpa2(rng: np.random.Generator, ntypes: int) -> dict:
    """DPA-2 with tiny widths."""
    coin = lambda p=0.5: bool(rng.random() < p)  # noqa: E731
    descriptor = {
        "type": "dpa2",
        "precision": "float64",
        "seed": int(rng.integers(1 << 30)),
        "repinit": random_repinit(rng),
        "concat_output_tebd": coin(0.8),
        "smooth": coin(0.8),
        "exclude_types": random_pairs(rng, ntypes) if coin(0.2) else [],
        "env_protection": 1e-2 if coin(0.1) else 0.0,
        "add_tebd_to_repinit_out": coin(),
        "use_econf_tebd": coin(0.3),
        "use_tebd_bias": coin(0.3),
    }
    descriptor["repformer"] = random_repformer(rng, descriptor["repinit"])
    return descriptor


def random_fitting(rng: np.random.Generator) -> dict:
    coin = lambda p=0.5: bool(rng.random() < p)  # noqa: E731
    return {
        "type": "ener",
        "neuron": [[12, 12], [10, 20, 20], [8], [9, 9, 9]][rng.integers(4)],
        "resnet_dt": coin(),
        "precision": "float64",
        "activation_function": pick_activation(rng),
        "seed": int(rng.integers(1 << 30)),
        "dim_case_embd": int(rng.integers(2, 5)) if coin(0.3) else 0,
    }


def random_repinit(rng: np.random.Generator) -> dict:
    rcut = float(rng.uniform(4.5, 6.0))
    nsel = int(rng.integers(12, 80))
    return {
        "rcut": rcut,
        "rcut_smth": float(rng.uniform(0.3, 0.9)) * rcut,
        "nsel": nsel,
        "neuron": [[3, 6, 12], [4, 8], [5, 5, 10], [4, 6, 6]][rng.integers(4)],
        "axis_neuron": int(rng.integers(1, 5)),
        "tebd_dim": int(rng.integers(2, 7)),
        "tebd_input_mode": str(rng.choice(["concat", "strip"])),
        "set_davg_zero": bool(rng.random() < 0.6),
        "activation_function": pick_activation(rng),
        "type_one_side": bool(rng.random() < 0.2),
        "resnet_dt": bool(rng.random() < 0.3),
        "use_three_body": bool(rng.random() < 0.6),
        "three_body_neuron": [[2, 4, 8], [3, 3], [2, 4]][rng.integers(3)],
        "three_body_rcut": float(rng.uniform(2.5, rcut - 1.0)),
        "three_body_rcut_smth": 1.5,
        "three_body_sel": int(rng.integers(4, min(nsel, 24))),
    }


def random_repformer(rng: np.random.Generator, repinit: dict) -> dict:
    """Its cut-off may be below, above or equal to the three-body one; slots must then be ordered as cut-offs are."""
    coin = lambda p=0.5: bool(rng.random() < p)  # noqa: E731
    rcut, nsel = float(rng.uniform(2.5, repinit["rcut"] - 0.5)), int(rng.integers(4, min(repinit["nsel"], 30)))
    if coin(0.4):
        rcut = repinit["three_body_rcut"]
    slots = sorted((nsel, repinit["three_body_sel"]))
    nsel, repinit["three_body_sel"] = slots if rcut <= repinit["three_body_rcut"] else slots[::-1]
    style = str(rng.choice(STYLES))
    return {
        "rcut": rcut,
        "rcut_smth": float(rng.uniform(0.3, 0.9)) * rcut,
        "nsel": nsel,
        "nlayers": int(rng.integers(1, 4)),
        "g1_dim": int(rng.integers(6, 12)),
        "g2_dim": int(rng.integers(4, 8)),
        "axis_neuron": int(rng.integers(1, 4)),
        "direct_dist": coin(0.2),
        "update_g1_has_conv": coin(0.7),
        "update_g1_has_drrd": coin(0.7),
        "update_g1_has_grrg": True,  # linear1 needs at least one input
        "update_g1_has_attn": coin(),
        "update_g2_has_g1g1": coin(),
        "update_g2_has_attn": coin(0.7),
        "update_h2": coin(0.3),
        "attn1_hidden": int(rng.integers(2, 6)),
        "attn1_nhead": int(rng.integers(1, 4)),
        "attn2_hidden": int(rng.integers(2, 6)),
        "attn2_nhead": int(rng.integers(1, 4)),
        "attn2_has_gate": coin(),
        "activation_function": pick_activation(rng),
        "update_style": style,
        "update_residual": 0.3,
        "update_residual_init": str(rng.choice(["norm", "const"])),
        "set_davg_zero": coin(0.6),
        "use_sqrt_nnei": coin(),
        "g1_out_conv": coin(),
        "g1_out_mlp": coin(),
        "ln_eps": 1e-3 if coin(0.2) else None,
    }


def pick_activation(rng: np.random.Generator) -> str:
    return "tanh" if rng.random() < 0.4 else str(rng.choice(ACTIVATIONS))


def random_pairs(rng: np.random.Generator, ntypes: int) -> list[list[int]]:
    a, b = rng.integers(ntypes, size=2)
    return [[int(a), int(b)]]


def random_systems(rng: np.random.Generator, params: dict, *, frames: int) -> list[dict]:
    """Periodic, sheared, dense, tiny-celled, open, layered and single-atom structures, `frames` of them."""
    kinds = ["cubic", "triclinic", "small cell", "open", "slab", "single"]
    systems: list[dict] = []
    while len(systems) < frames:
        system = random_system(rng, str(rng.choice(kinds, p=[0.15, 0.35, 0.15, 0.15, 0.1, 0.1])), len(params["type_map"]))
        if not has_tied_cut(system, params["descriptor"]):
            systems.append(system)
    return systems


def random_system(rng: np.random.Generator, kind: str, ntypes: int) -> dict:
    """Return positions (A, 3) Å, types (A,), cell (3, 3) Å or None, pbc (3,); no two atoms closer than 0.9 Å.

    The reference is periodic in all directions or in none. It sees a slab with so much vacuum that its third direction might
    as well be open; we see the same cell, and `pbc` says so.
    """
    natoms = {"single": 1, "small cell": int(rng.integers(1, 5))}.get(kind, int(rng.integers(4, 25)))
    volume = natoms * float(rng.uniform(8.0, 25.0))
    shape = np.eye(3) if kind in ("cubic", "open", "single") else np.eye(3) + rng.uniform(-0.25, 0.25, (3, 3))
    cell = shape * (volume / abs(np.linalg.det(shape))) ** (1 / 3)
    if kind == "small cell":
        cell *= max(1.0, 2.2 / float(np.linalg.svd(cell)[1].min()))
    pbc = {"open": [False] * 3, "single": [False] * 3, "slab": [True, True, False]}.get(kind, [True] * 3)
    positions = place_atoms(rng, natoms, cell, pbc=np.array(pbc))
    if kind == "slab":
        cell[2] *= 1.0 + 2 * VACUUM / float(np.linalg.norm(cell[2]))
    return {"positions": positions, "types": rng.integers(ntypes, size=natoms), "cell": cell if any(pbc) else None, "pbc": pbc}


def has_tied_cut(system: dict, descriptor: dict, *, apart: float = 1e-6) -> bool:
    """Whether a full neighbour list is cut between two neighbours at one distance, such as an atom's own images at +a and -a.

    Which of the two stays is then left to rounding, in the reference as here: such a structure has no right answer.
    """
    lists = neighbor_lists(descriptor)
    for near in sorted_distances(system, max(rcut for rcut, _ in lists)):
        for rcut, nsel in lists:
            if len(near) > nsel and near[nsel - 1] < rcut and near[nsel] - near[nsel - 1] < apart:
                return True
    return False


def neighbor_lists(descriptor: dict) -> list[tuple[float, int]]:
    """(cutoff in Å, neighbours kept) of each block of a descriptor."""
    if "repinit" not in descriptor:
        return [(descriptor["rcut"], int(np.sum(descriptor["sel"])))]
    wide, narrow = descriptor["repinit"], descriptor["repformer"]
    three = [(wide["three_body_rcut"], wide["three_body_sel"])] if wide["use_three_body"] else []
    return [(wide["rcut"], wide["nsel"]), (narrow["rcut"], narrow["nsel"]), *three]


def sorted_distances(system: dict, rcut: float) -> list[np.ndarray]:
    """Distances (Å) from each atom to all others, images included, up to `rcut`."""
    x, cell, images = system["positions"], system["cell"], np.zeros((1, 3))
    if cell is not None:
        heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
        x = x - np.floor(x @ np.linalg.inv(cell)) @ cell
        counts = [np.arange(-n, n + 1) for n in np.ceil(rcut / heights).astype(int) + 1]
        images = np.stack(np.meshgrid(*counts, indexing="ij"), -1).reshape(-1, 3) @ cell
    others = (x[None] + images[:, None]).reshape(-1, 3)
    found = [np.sort(np.linalg.norm(others - center, axis=1)) for center in x]
    return [near[(near > 1e-6) & (near < rcut)] for near in found]


def place_atoms(rng: np.random.Generator, natoms: int, cell: np.ndarray, *, pbc: np.ndarray, apart: float = 0.9) -> np.ndarray:
    """Return (A, 3) Å, drawn one by one with a least distance `apart`; some lie outside the cell, as raw data does."""
    around = np.array([[i, j, k] for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)])
    images = around[(around[:, ~pbc] == 0).all(1)] @ cell
    placed: list[np.ndarray] = []
    while len(placed) < natoms:
        point = rng.random(3) @ cell
        if all(math.sqrt(float(((point - other + images) ** 2).sum(-1).min())) > apart for other in placed):
            placed.append(point)
    return np.array(placed) + (rng.integers(-1, 2, (natoms, 3)) * pbc) @ cell
