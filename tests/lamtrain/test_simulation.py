"""The model of torch-sim: the calculator's numbers, of many structures at once, and its own check of models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

ts = pytest.importorskip("torch_sim", reason="extra torch-sim is not installed")

from ase import Atoms, units  # noqa: E402
from ase.build import bulk  # noqa: E402

from lamdata.errors import ConfigError, DataError  # noqa: E402
from lamtrain import Calculator  # noqa: E402
from lamtrain.simulation import TorchSimModel  # noqa: E402
from tests.lamtrain.model_cases import structure  # noqa: E402
from tests.lamtrain.prediction_cases import TWO, write_model  # noqa: E402


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "model.pt")


def several(*, periodic: bool = True) -> list[Atoms]:
    return [structure(size, seed=size, periodic=(periodic,) * 3).to_ase() for size in (3, 7, 1, 5)]


def state_of(atoms: list[Atoms], dtype: torch.dtype = torch.float64):
    for one in atoms:
        one.calc = None
    return ts.io.atoms_to_state(atoms, torch.device("cpu"), dtype)


@pytest.mark.parametrize("periodic", [True, False])
def test_many_at_once_have_the_numbers_of_the_calculator(path: Path, periodic: bool) -> None:
    atoms = several(periodic=periodic)
    found = TorchSimModel(path, device="cpu", dtype="float64")(state_of(atoms))
    start = 0
    for row, one in enumerate(atoms):
        one.calc = Calculator(path, device="cpu", dtype="float64")
        part = slice(start, start + len(one))
        assert float(found["energy"][row]) == pytest.approx(one.get_potential_energy(), abs=1e-12)
        np.testing.assert_allclose(found["forces"][part], one.get_forces(), atol=1e-12)
        np.testing.assert_allclose(found["energies"][part], one.get_potential_energies(), atol=1e-12)
        want = one.get_stress(voigt=False) if periodic else np.zeros((3, 3))
        np.testing.assert_allclose(found["stress"][row], want, atol=1e-12)
        start += len(one)


def test_it_passes_the_check_that_torch_sim_has_for_models(tmp_path: Path) -> None:
    from torch_sim.models.interface import validate_model_outputs

    from lamtrain.model.config import ModelConfig
    from tests.lamtrain.model_cases import model_config
    from tests.lamtrain.prediction_cases import save_model

    config = ModelConfig.model_validate(model_config().model_dump(mode="json") | {"elements": ["Si", "Fe", "O"]})
    model = TorchSimModel(save_model(tmp_path / "model.pt", config), device="cpu", dtype="float64")
    validate_model_outputs(model, torch.device("cpu"), torch.float64)
    assert {value.dtype for value in model(state_of([bulk("Si")])).values()} == {torch.float64}


def test_structures_move_together_as_each_would_alone(path: Path) -> None:
    atoms, model = several(), TorchSimModel(path, device="cpu", dtype="float64")
    together, alone = ([one for some in parts for one in _moved(some, model)] for parts in ([atoms], [[one] for one in atoms]))
    for one, other, start in zip(together, alone, atoms, strict=True):
        np.testing.assert_allclose(one.positions, other.positions, atol=1e-10)
        assert len(start) == 1 or np.abs(one.positions - start.positions).max() > 1e-4


def _moved(atoms: list[Atoms], model: TorchSimModel) -> list[Atoms]:
    """Positions after five steps downhill, of a step each that is a part of the force."""
    state = state_of([one.copy() for one in atoms])
    for _ in range(5):
        state.positions = state.positions + 1e-3 * model(state)["forces"]
    return state.to_atoms()


def test_what_the_model_does_not_know_is_an_error(path: Path, tmp_path: Path) -> None:
    model = TorchSimModel(path, device="cpu", dtype="float64")
    with pytest.raises(DataError, match="structure 1: the model does not know Fe"):
        model(state_of([structure(3).to_ase(), bulk("Fe")]))
    with pytest.raises(ConfigError, match="2 heads give energies"):
        TorchSimModel(write_model(tmp_path / "two.pt", heads=TWO), device="cpu")


def test_single_precision_stays_single(path: Path) -> None:
    model = TorchSimModel(path, device="cpu", dtype="float32")
    found = model(state_of(several(), torch.float32))
    assert model.dtype == torch.float32 and {value.dtype for value in found.values()} == {torch.float32}


def test_dynamics_of_torch_sim_move_all_systems(path: Path) -> None:
    atoms = [structure(6, seed=5).to_ase(), structure(4, seed=6).to_ase()]
    model = TorchSimModel(path, device="cpu", dtype="float64")
    before = state_of(atoms)
    after = ts.integrate(system=before.clone(), model=model, integrator=ts.nve, n_steps=5, temperature=300, timestep=2e-4)
    assert after.n_systems == 2 and 0 < float((after.positions - before.positions).abs().max()) < 0.1
    at_start, at_end = (float(model(state)["energy"].sum()) for state in (before, after))
    heat = 10 * 1.5 * 300 * units.kB
    assert abs(at_end - at_start) < 3 * heat
