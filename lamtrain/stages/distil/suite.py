"""Suite: a finished student beside its teacher -> what it is measured by, and for each measure whether it passes. All thresholds are the file's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lamdata.errors import ConfigError, DataError
from lamdata.frame import Frame
from lamdata.progress import Progress

from ...calculator import Calculator
from ...checkpoint import to_json
from ...files import replace_file, sha256_of
from ...prediction.model import load_model
from ...properties.crystal import repeat_to
from ...properties.nve import drift_of
from ...training.stop import Stop
from ..compress import compress
from ..sample import Sample
from .config import AcceptSpec, ExploreSpec
from .explore import BlownUp, Condition, Trajectory, follow, refuse_blown_up
from .rounds import Bench, refuse_to_go_on
from .speed import compare_speed
from .structure import apart, radial_distributions

SHOWN = 200  # frames of the dynamics at constant temperature, and points of the energy, that are kept
SETTLING = 0.2  # share of the frames that are not looked at
LEAST = 1.0  # Å, between opposite faces of a cell
NVE = 5  # what a seed is for
COMPRESSED_ON, TOLERANCE = 16, 1e-4  # frames, and how far tables may be from nets on them: eV/atom, eV/Å


def run_suite(bench: Bench, student: Path) -> dict[str, Any]:
    """{"nve", "rdf", "speed"} of a student; what was measured stays in `suite/` of the folder, and is not measured again."""
    folder, accept = bench.folder / "suite", bench.config.accept
    _begin(folder, {"student": sha256_of(student), "steps": accept.steps, "atoms": accept.atoms, "memory": accept.memory})
    condition = Condition(structure=0, supercell=(1, 1, 1), temperature=bench.config.temperatures[0], pressure=None)
    whole: Any = bench.structures[0].to_ase()
    whole = whole * bench.config.supercells[0]
    whole = whole * (repeat_to(whole, height=LEAST, atoms=accept.atoms) if whole.pbc.all() else (1, 1, 1))
    spec = bench.config.explore.model_copy(update={"steps": accept.steps, "every": max(accept.steps // SHOWN, 1)})
    models = {"teacher": bench.teacher, "student": load_model(student, device=bench.device)}
    with Progress("acceptance", total=3 * accept.steps, unit="steps", quiet=bench.quiet) as bar, Stop() as stop:

        def step() -> None:
            bar.advance()
            refuse_to_go_on(stop)

        followed = {}
        for name, model in models.items():
            path = folder / f"{name}.npz"
            if not path.exists():
                seed = [bench.config.seed, NVE]
                follow(whole.copy(), Calculator(model, head=bench.head), condition, spec, seed=seed, step=step).save(path)
            followed[name] = Trajectory.load(path)
        found: dict[str, Any] = {"condition": {"atoms": len(whole), "temperature": condition.temperature, "steps": accept.steps}}
        found["rdf"] = compare_structure(followed["teacher"], followed["student"])
        path = folder / "nve.json"
        if not path.exists():
            start = whole.copy()
            if len(followed["student"]):
                start.positions, start.cell = followed["student"].positions[-1], followed["student"].cells[-1]
            exact = Calculator(load_model(student, device=bench.device, dtype="float64"), head=bench.head)
            measured = conserve(start, exact, spec, temperature=condition.temperature, seed=bench.config.seed, step=step)
            replace_file(path, to_json(measured).encode())
        found["nve"] = json.loads(path.read_text())
    path = folder / "speed.json"
    if not path.exists():
        frames = followed["student"].frames("student", split="")[-COMPRESSED_ON:] or bench.structures
        why = compress_student(student, bench.folder / "compressed.pt", frames, quiet=bench.quiet)
        if why is None:
            models["compressed"] = load_model(bench.folder / "compressed.pt", device=bench.device)
        measured = compare_speed(models, bench.head, whole, memory=accept.memory) | {"not_compressed": why}
        replace_file(path, to_json(measured).encode())
    return found | {"speed": json.loads(path.read_text())}


def compress_student(student: Path, output: Path, frames: Sequence[Frame], *, quiet: bool = False) -> str | None:
    """Write the student with tables in place of its embedding net, as `lamtrain compress` does; why not, where it cannot be."""
    output.unlink(missing_ok=True)
    try:
        compress(student, output, Sample(list(frames), "dynamics of the student"), tolerance=TOLERANCE, quiet=quiet)
    except (ConfigError, DataError) as err:  # a net of another kind, or one that no table comes near
        return str(err)
    return None


def _begin(folder: Path, asked: dict[str, Any]) -> None:
    """Remove what was measured of another student, or otherwise."""
    path, text = folder / "asked.json", to_json(asked).encode()
    if not path.exists() or path.read_bytes() != text:
        shutil.rmtree(folder, ignore_errors=True)
        replace_file(path, text)


def compare_structure(teacher: Trajectory, student: Trajectory) -> dict[str, Any]:
    """Radial distributions of both, how far they are apart, and how far the two halves of the teacher's own trajectory are: less says nothing."""
    for name, one in (("teacher", teacher), ("student", student)):
        if one.stopped:
            return {"not_measured": f"dynamics of the {name} blew up after {one.steps} steps: {one.stopped}"}
    first, count = int(SETTLING * len(teacher)), len(teacher)
    middle = (first + count) // 2
    if middle == first:
        return {"not_measured": f"{count} frames are too few"}
    radii, of_teacher = radial_distributions(teacher, first=first)
    _, of_student = radial_distributions(student, first=first)
    halves = [radial_distributions(teacher, first=a, last=b)[1] for a, b in ((first, middle), (middle, count))]
    return {
        "apart": apart(of_student, of_teacher),
        "halves_of_teacher": apart(halves[0], halves[1]),
        "radii_angstrom": radii.tolist(),
        "teacher": {pair: values.tolist() for pair, values in of_teacher.items()},
        "student": {pair: values.tolist() for pair, values in of_student.items()},
    }


def conserve(atoms: Any, calculator: Any, spec: ExploreSpec, *, temperature: float, seed: int, step: Any = lambda: None) -> dict[str, Any]:
    """Dynamics at constant energy from velocities of a temperature: the slope of the total energy after a fifth of the steps, and its scatter."""
    from ase import units
    from ase.md.velocitydistribution import Stationary, thermalize_momenta
    from ase.md.verlet import VelocityVerlet

    atoms.calc = calculator
    energies: list[float] = []

    def look() -> None:
        refuse_blown_up(atoms, spec, temperature=temperature)
        energies.append(float(atoms.get_total_energy() / len(atoms)))
        if run.nsteps:
            step()

    thermalize_momenta(atoms, temperature_K=temperature, rng=np.random.default_rng([seed, NVE]))
    Stationary(atoms)
    run: Any = VelocityVerlet(atoms, timestep=spec.timestep * units.fs)
    run.attach(look)
    stopped = None
    try:
        run.run(spec.steps)
    except (BlownUp, DataError) as err:
        stopped = str(err)
    times = np.arange(len(energies)) * spec.timestep / 1000
    every = max(len(times) // SHOWN, 1)
    series = {"times_ps": times[::every].tolist(), "energies_ev_per_atom": energies[::every]}
    found: dict[str, Any] = {"steps": spec.steps, "steps_done": max(len(energies) - 1, 0), "stopped_by": stopped, "series": series}
    return found if stopped else found | drift_of(times, energies)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the verdict."""

    name: str  # the key of `accept`
    what: str
    value: float | None  # None where it could not be measured
    threshold: float
    passed: bool
    note: str = ""


def verdicts(accept: AcceptSpec, suite: Mapping[str, Any], *, errors: Mapping[str, Any], rounds: list[dict[str, Any]]) -> list[Check]:
    """A line for each check that the file asks for; what could not be measured has not passed."""
    nve, rdf, speed = suite["nve"], suite["rdf"], suite["speed"]
    key = "force_rmse_mev_per_angstrom"
    teacher, student = (errors.get(name, {}).get(key) for name in ("teacher", "student"))
    drift = nve.get("drift_ev_per_atom_per_ps")
    pair, worst = max(rdf.get("apart", {}).items(), key=lambda item: item[1], default=(None, None))
    noise = "" if pair is None else f"worst pair {pair}; halves of the teacher's: {max(rdf['halves_of_teacher'].values(), default=0.0):.3g}"
    fastest = "compressed" if "compressed" in speed["times_faster"] else "student"
    asked: list[tuple[str, str, float | None, str, bool]] = [
        ("force_ratio", "force RMSE against DFT, by the teacher's", student / teacher if student and teacher else None, "", True),
        ("force_rmse", "force RMSE against the teacher on new trajectories, meV/Å", rounds[-1].get(key), "", True),
        ("drift", "drift of the energy, eV/atom/ps", None if drift is None else abs(drift), nve["stopped_by"] or "", True),
        ("rdf", "radial distributions apart from the teacher's", worst, noise or rdf.get("not_measured", ""), True),
        (
            "faster",
            f"times faster than the teacher: {fastest}",
            speed["times_faster"][fastest][0],
            f"{speed['atoms']} atoms, one thread",
            False,
        ),
    ]
    checks = []
    for name, what, value, note, at_most in asked:
        threshold = getattr(accept, name)
        if threshold is not None:
            passed = value is not None and (value <= threshold if at_most else value >= threshold)
            checks.append(Check(name=name, what=what, value=value, threshold=threshold, passed=passed, note=note))
    return checks
