"""extxyz by ASE: text, read from its start to its end."""

from __future__ import annotations

from .data import starts


def write(data, folder: str) -> None:
    """With ASE's own writer."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write as write_file

    offsets, frames = starts(data), []
    for i in range(len(data["natoms"])):
        atoms = slice(offsets[i], offsets[i + 1])
        frame = Atoms(data["numbers"][atoms], data["positions"][atoms], cell=data["cell"][i], pbc=True)
        stress = (data["virial"][i] / -frame.get_volume()).ravel()[[0, 4, 8, 5, 2, 1]]
        frame.calc = SinglePointCalculator(frame, energy=data["energy"][i], forces=data["forces"][atoms], stress=stress)
        frames.append(frame)
    write_file(f"{folder}/data.extxyz", frames)
