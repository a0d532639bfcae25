"""DeePMD-kit as a command: systems in its format, input.json files, and `dp --pt ...` with its log checked."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np

from lamdata.frame import Frame
from lamdata.frames import Frames
from lamtrain.model.elements import NUMBERS

PYTHON = os.environ.get("LAM_DEEPMD_PYTHON")

# The second is what DeePMD-kit prints before it goes on with random weights, or with weights it does not use.
MARK = "==== next command ===="
BAD_LINES = ("missing keys", "unexpected keys", "Missing keys", "Unexpected keys", "re-init")


def run_dp(*arguments: str, cwd: Path) -> str:
    """Run `dp --pt ARGUMENTS` in `cwd`; return its log, and fail on an error or on a warning about keys."""
    done = run_python("-m", "deepmd", "--pt", *arguments, cwd=cwd)
    refuse_bad_lines(done)
    return done


def run_all(*commands: list[str], cwd: Path) -> list[str]:
    """Run several `dp --pt` commands in one process, which is most of their time; return their logs."""
    script = (
        "import json, sys\nfrom deepmd.main import main\nfor c in json.loads(sys.argv[1]): print('"
        + MARK
        + "', file=sys.stderr, flush=True); main(c)"
    )
    whole = run_python("-c", script, json.dumps([["--pt", *command] for command in commands]), cwd=cwd)
    logs = whole.split(MARK)[1:]
    for log in logs:
        refuse_bad_lines(log)
    return logs


def refuse_bad_lines(log: str) -> None:
    for line in BAD_LINES:
        assert line not in log, log


def run_python(*arguments: str, cwd: Path, **environment: str) -> str:
    """Run DeePMD-kit's interpreter; return stdout and stderr together."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "DP_INTRA_OP_PARALLELISM_THREADS", "DP_INTER_OP_PARALLELISM_THREADS"), "1")
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | threads | environment
    done = subprocess.run([PYTHON, *arguments], cwd=cwd, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout


def run_oracle(cases: list[dict], folder: Path) -> list[Path]:
    """Evaluate `cases` in DeePMD-kit's interpreter; return one .npz for each."""
    job = folder / "job.json"
    job.write_text(json.dumps(cases, default=lambda array: array.tolist()))
    run_python(str(Path(__file__).with_name("oracle.py")), str(job), str(folder), cwd=folder)
    return [folder / f"{case['name']}.npz" for case in cases]


def write_system(folder: Path, *, elements: list[str], natoms: int, frames: int, seed: int, per_atom: float = -3.0) -> Path:
    """Write `frames` periodic structures with labels of a soft pair potential; `per_atom` (eV) is what tells two heads apart."""
    rng = np.random.default_rng(seed)
    types = rng.integers(len(elements), size=natoms)
    length = (natoms * 14.0) ** (1 / 3)
    grid = int(np.ceil(natoms ** (1 / 3)))
    sites = np.stack(np.meshgrid(*[np.arange(grid)] * 3, indexing="ij"), -1).reshape(-1, 3)[:natoms] * length / grid
    coord = sites + rng.normal(0, 0.25, (frames, natoms, 3))
    energy, force, virial = zip(*[pair_labels(x, types, length) for x in coord], strict=True)
    data = {
        "coord": coord.reshape(frames, -1),
        "box": np.tile((np.eye(3) * length).ravel(), (frames, 1)),
        "energy": np.array(energy) + per_atom * natoms,
        "force": np.array(force).reshape(frames, -1),
        "virial": np.array(virial).reshape(frames, 9),
    }
    (folder / "set.000").mkdir(parents=True)
    for name, value in data.items():
        np.save(folder / "set.000" / f"{name}.npy", value)
    (folder / "type.raw").write_text("\n".join(map(str, types)) + "\n")
    (folder / "type_map.raw").write_text("\n".join(elements) + "\n")
    return folder


def read_frames(folder: Path) -> Frames:
    """The frames of such a system, with their labels."""
    numbers = np.array([NUMBERS[symbol] for symbol in (folder / "type_map.raw").read_text().split()], np.uint8)
    types = np.loadtxt(folder / "type.raw", dtype=int)
    data = {path.stem: np.load(path) for path in (folder / "set.000").glob("*.npy")}
    shapes = {"coord": (-1, 3), "box": (3, 3), "force": (-1, 3), "virial": (3, 3)}
    rows = [{key: value[i].reshape(shapes.get(key, ())) for key, value in data.items()} for i in range(len(data["energy"]))]
    return Frames.from_list(
        Frame(
            numbers=numbers[types], positions=row["coord"], cell=row["box"], pbc=(True, True, True),
            energy=float(row["energy"]), forces=row["force"], virial=row["virial"],
        )
        for row in rows
    )  # fmt: skip


def pair_labels(x: np.ndarray, types: np.ndarray, length: float) -> tuple[float, np.ndarray, np.ndarray]:
    """Return energy (eV), forces (A, 3) and virial (3, 3) of sum_ij c_ij exp(-r_ij^2), minimum image."""
    diff = x[None] - x[:, None]  # (A, A, 3), from i to j
    diff -= length * np.round(diff / length)
    strength = (1.0 + types[:, None] + types[None]) * (1 - np.eye(len(x)))
    pair = strength * np.exp(-(diff**2).sum(-1))
    slope = (-2 * pair)[..., None] * diff  # dE_ij/d(diff)
    return 0.5 * float(pair.sum()), slope.sum(1), -0.5 * np.einsum("ija,ijb->ab", diff, slope)


def write_input(
    path: Path, model: dict, *, systems, steps: int, loss: dict | None = None, rate: dict | None = None, batch: int = 2, **training
) -> Path:
    """Write an input.json; `systems` is one folder, or head -> folder for a multi-task model."""
    loss = loss or {
        "type": "ener",
        "start_pref_e": 0.02,
        "limit_pref_e": 1,
        "start_pref_f": 100,
        "limit_pref_f": 1,
        "start_pref_v": 0.02,
        "limit_pref_v": 1,
    }
    rate = rate or {"type": "exp", "decay_steps": 20, "start_lr": 1e-3, "stop_lr": 1e-5}
    data = lambda folder: {"training_data": {"systems": [str(folder)], "batch_size": batch}}  # noqa: E731
    shown = {"numb_steps": steps, "seed": 10, "disp_file": "lcurve.out", "disp_freq": 1, "save_freq": 100000, "save_ckpt": "model"}
    whole = {"model": model, "learning_rate": rate}
    if isinstance(systems, dict):
        whole |= {
            "loss_dict": dict.fromkeys(systems, loss),
            "training": shown | {"data_dict": {head: data(f) for head, f in systems.items()}} | training,
        }
    else:
        whole |= {"loss": loss, "training": shown | data(systems) | training}
    path.write_text(json.dumps(whole, indent=1))
    return path
