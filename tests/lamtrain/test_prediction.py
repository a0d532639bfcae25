"""`load_model(...).predict(...)`: structures of any kind, size and number, in any batches; the numbers of `lamtrain test`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from lamdata.errors import ConfigError, DataError
from lamdata.frame import Frame
from lamdata.frames import MASKED, Frames
from lamtrain import load_model
from lamtrain.prediction.model import Model
from tests.lamtrain.model_cases import evaluate, structure
from tests.lamtrain.prediction_cases import write_model

SIZES = (3, 9, 1, 6, 4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(write_model(tmp_path_factory.mktemp("model") / "model.pt"), device="cpu")


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return [structure(size, seed=size, periodic=(size != 4,) * 3) for size in SIZES]


def test_every_kind_of_structures_gives_the_model_s_own_numbers(model: Model, frames: list[Frame]) -> None:
    want = evaluate(model.net, frames)
    for given in (frames, Frames.from_list(frames), [frame.to_ase() for frame in frames]):
        for batch_atoms in (1, 10, 1000):
            found = model.predict(given, batch_atoms=batch_atoms)
            assert len(found) == len(SIZES) and found.starts.tolist() == np.cumsum([0, *SIZES]).tolist()
            np.testing.assert_allclose(found.energies, want.energy, atol=1e-12)
            np.testing.assert_allclose(found.forces, want.forces, atol=1e-12)
            np.testing.assert_allclose(found.virials, want.virial, atol=1e-12)
            np.testing.assert_allclose(np.add.reduceat(found.atomic_energies, found.starts[:-1]), found.energies, atol=1e-12)


def test_one_structure_is_a_prediction_of_one(model: Model, frames: list[Frame]) -> None:
    want = model.predict(frames)
    for one in (frames[1], frames[1].to_ase()):
        found = model.predict(one)
        assert found.energies.tolist() == pytest.approx([want.energies[1]], abs=1e-12)
    assert len(model.predict([])) == 0


def test_what_can_be_iterated_is_a_list_of_structures(model: Model, frames: list[Frame], tmp_path: Path) -> None:
    from ase.io.trajectory import Trajectory

    with Trajectory(str(tmp_path / "a.traj"), "w") as written:
        for frame in frames:
            written.write(frame.to_ase())
    for given in (Trajectory(str(tmp_path / "a.traj")), tuple(frames), dict(enumerate(frames)).values()):
        np.testing.assert_allclose(model.predict(given).energies, model.predict(frames).energies, atol=1e-12)
    with pytest.raises(TypeError, match="ase.Atoms or lamdata.Frame, not str"):
        model.predict(["Cu"])  # type: ignore[list-item]


def test_an_iterator_is_read_as_it_is_asked(model: Model) -> None:
    read = []

    def structures() -> Iterator[Frame]:
        for seed in range(1000):
            read.append(seed)
            yield structure(4, seed=seed)

    parts = list(islice(model.predict(structures(), batch_atoms=8), 3))
    assert [len(part) for part in parts] == [2, 2, 2] and len(read) == 7
    want = model.predict([structure(4, seed=seed) for seed in range(6)])
    np.testing.assert_allclose(np.concatenate([part.energies for part in parts]), want.energies, atol=1e-12)


def test_atoms_come_back_with_all_they_had_and_results_that_ase_gives(model: Model) -> None:
    given = structure(5, seed=3).to_ase()
    given.info["name"] = "mine"
    given.set_tags([0, 1, 2, 3, 4])
    [back] = model.predict([given]).to_ase()
    assert back.info["name"] == "mine" and back.get_tags().tolist() == [0, 1, 2, 3, 4] and given.calc is None
    want = model.predict(given)
    assert back.get_potential_energy() == want.energies[0]
    assert back.get_potential_energies().sum() == pytest.approx(want.energies[0], abs=1e-12)
    np.testing.assert_array_equal(back.get_forces(), want.forces)
    np.testing.assert_allclose(back.get_stress(voigt=False) * -back.get_volume(), want.virials[0], atol=1e-12)
    assert model.predict(structure(5, seed=3)).to_ase()[0].get_potential_energy() == want.energies[0]


def test_labels_that_structures_carry_are_not_looked_at(model: Model, frames: list[Frame]) -> None:
    from dataclasses import replace

    labelled = [replace(frame, energy=1e6, forces=np.ones_like(frame.positions)) for frame in frames]
    np.testing.assert_array_equal(model.predict(labelled).energies, model.predict(frames).energies)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"charge": 1}, "structure 1: charge 1"),
        ({"multiplicity": 5}, "structure 1: spin multiplicity 5"),
        ({"numbers": np.array([1, 26, 79], np.uint8)}, "structure 1: the model does not know Fe, Au; it knows H, C, O"),
        ({"numbers": np.array([1, MASKED, 1], np.uint8)}, "structure 1: the model does not know a hidden element"),
        ({"positions": np.full((3, 3), np.inf)}, "structure 1: positions or cell are not finite"),
        ({"cell": np.zeros((3, 3))}, "structure 1: cell has no volume"),
    ],
)
def test_what_the_model_does_not_know_is_an_error(model: Model, change: dict, words: str) -> None:
    from dataclasses import replace

    with pytest.raises(DataError, match=words):
        model.predict([structure(4), replace(structure(3), **change)])


@pytest.mark.parametrize(("symbols", "multiplicity"), [("OH", 2), ("CO", 1), ("CO", None)])
def test_the_lowest_spin_that_the_electrons_allow_is_no_choice(model: Model, symbols: str, multiplicity: int | None) -> None:
    atoms = Atoms(symbols, [[0, 0, 0], [0, 0, 1.1]])
    frame = Frame(numbers=atoms.numbers.astype(np.uint8), positions=atoms.positions, multiplicity=multiplicity)
    assert np.isfinite(model.predict(frame).energies).all()


def test_features_are_the_descriptor_whatever_else_is_asked(model: Model, frames: list[Frame]) -> None:
    together, head = Frames.from_list(frames), model.heads[0]
    found = model.evaluate(together, head=head, features=True, edges=model.neighbors(together))
    alone = [model.evaluate(Frames.from_list([frame]), head=head, features=True, forces=False) for frame in frames]
    assert found.features is not None and found.features.shape == (len(together.numbers), model.config.descriptor.dim_out)
    np.testing.assert_allclose(found.features, np.concatenate([one.features for one in alone]), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.forces, model.evaluate(together, head=head).forces)
    assert not any(one.frames.has_forces.any() or one.frames.has_virial.any() for one in alone)
    assert model.evaluate(together, head=head).features is None


def test_atoms_without_all_their_neighbours_are_counted(tmp_path: Path) -> None:
    path = write_model(tmp_path / "few.pt", repinit={"nsel": 26}, repformer={"nsel": 24})
    dense = structure(12, seed=2)
    model = load_model(path, device="cpu")
    assert model.predict(dense).truncated > 0
    assert model.predict(structure(3, periodic=(False,) * 3)).truncated == 0


def test_a_precision_and_kernels_that_do_not_exist_are_named(tmp_path: Path) -> None:
    path = write_model(tmp_path / "model.pt")
    with pytest.raises(ConfigError, match="no precision called 'half'"):
        load_model(path, device="cpu", dtype="half")  # type: ignore[arg-type]
    with pytest.raises(ImportError, match="no kernels called 'fast'"):
        load_model(path, device="cpu", kernels="fast")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no such model"):
        load_model(tmp_path / "none.pt")
    assert "energy (H C O)" in repr(load_model(path, device="cpu"))


def test_importing_the_package_brings_in_nothing_heavy() -> None:
    code = "import sys, lamtrain; print([m for m in ('torch', 'ase', 'vesin') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
