"""Make the quickstart's raw data: small pw.x and cp2k runs, from decks with a fixed seed to two packed archives.

    python make_raw.py qe       # 270 periodic frames of Si, SiC and diamond, PBE (Quantum ESPRESSO)
    python make_raw.py cp2k     # 160 frames of molecules and pairs of molecules, LDA (CP2K), and one unconverged run
    python make_raw.py check    # net forces; forces and stress against differences of the energy; cells of several sizes
    python make_raw.py pack     # raw/qe-pbe.tar.xz and raw/cp2k-pade.tar.xz

A *group* is one strained cell, or one conformer of one molecule, with its rattled frames: a folder `<group>/` with decks and
outputs `<nn>.in`, `<nn>.out` (pw.x) or `<nn>.inp`, `<nn>.out` (cp2k). A run that has ended is not run again.
On Debian: apt-get install quantum-espresso cp2k cp2k-data.
"""

import argparse
import io
import os
import re
import subprocess
import tarfile
import zlib
from itertools import product
from pathlib import Path

import numpy as np

SEED = 20260
RAW = Path(__file__).parent / "raw"
PSEUDO = Path("/usr/share/espresso/pseudo")
RYDBERG, HARTREE, BOHR, KBAR = 13.605693123, 27.211386246, 0.529177210903, 1 / 1602.1766208  # eV, eV, Å, eV/Å^3
STEP = 0.01  # of the finite differences: Å along a unit vector of all atoms, or strain

# ---- what is computed: crystals ------------------------------------------------------------------------------------
# name: lattice constant (Å), species of the two fcc sublattices, largest rms displacement (Å)
CRYSTALS = {"Si": (5.469, ("Si", "Si"), 0.20), "SiC": (4.379, ("Si", "C"), 0.16), "C": (3.574, ("C", "C"), 0.13)}
# (atoms, volume change in %, size of the random shear strain); every crystal has all of them, 10 frames each
STRAINS = [(8, -6, 0.0), (8, -3, 0.03), (8, 0, 0.01), (8, 4, 0.04), (8, 8, 0.0), (2, -4, 0.01), (2, 2, 0.04), (2, 6, 0.02), (16, 1, 0.02)]
FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
# All three cells sample the same k points, {±1/4}^3 x 2pi/a of the cubic cell, so energies per atom are comparable.
FOLDED = [(0.25, y, z) for y, z in product((-0.25, 0.25), repeat=2)]
PRIMITIVE = [FCC[1:] @ (np.array(k) + g) for k in FOLDED for g in np.vstack([np.zeros(3), np.eye(3)])]
KPOINTS = {
    2: "K_POINTS crystal\n16\n" + "\n".join("{:9.5f}{:9.5f}{:9.5f} 1.0".format(*k) for k in PRIMITIVE),
    8: "K_POINTS automatic\n2 2 2 1 1 1",
    16: "K_POINTS automatic\n1 2 2 1 1 1",
}
QE_DECK = """&control
 calculation='scf', prefix='x', outdir='./tmp', pseudo_dir='./pseudo', disk_io='none', tprnfor=.true., tstress=.true.
/
&system
 ibrav=0
 nat={nat}, ntyp={ntyp}, ecutwfc=30, ecutrho=240, nosym=.true.
/
&electrons
 conv_thr=1.0d-9
/
ATOMIC_SPECIES
{species}
CELL_PARAMETERS angstrom
{cell}
ATOMIC_POSITIONS angstrom
{atoms}
{kpoints}
"""
SPECIES = {"Si": "Si 28.0855 Si.pbe-rrkj.UPF", "C": "C 12.011 C.pbe-rrkjus.UPF"}

# ---- what is computed: molecules -----------------------------------------------------------------------------------
DIMER = "O 0 0 0  H 0.957 0 0  H -0.240 0.927 0  O 1 0 0  H 0.352 -0.469 0.757  H 0.352 -0.469 -0.757"
MIXED = "O 0 0 0  H 0.957 0 0  H -0.240 0.927 0  N 1 0 0  H 0.382 0 0.938  H 0.382 0.812 -0.469  H 0.382 -0.812 -0.469"
# name: geometry, edge of the box (Å), scales. The geometry is in Å and a group scales it as a whole; in a pair it is
# O and N in units of their distance, which is the scale, and each hydrogen in Å from its own O or N.
MOLECULES = {
    "h2o": ("O 0 0 0  H 0.957 0 0  H -0.240 0.927 0", 6.75, (0.97, 1.0, 1.02, 1.05)),
    "nh3": ("N 0 0 0.1  H 0 0.9377 -0.2816  H 0.8121 -0.4689 -0.2816  H -0.8121 -0.4689 -0.2816", 6.75, (0.97, 1.0, 1.05)),
    "ch4": ("C 0 0 0  H .629 .629 .629  H -.629 -.629 .629  H -.629 .629 -.629  H .629 -.629 -.629", 6.75, (0.97, 1.0, 1.05)),
    "h2co": ("C 0 0 0  O 0 0 1.205  H 0 0.9429 -0.5876  H 0 -0.9429 -0.5876", 6.75, (0.98, 1.03)),
    "h2o-2": (DIMER, 8.1, (2.75, 3.05)),
    "h2o-nh3": (MIXED, 8.1, (2.85, 3.1)),
}
VALENCE = {"H": 1, "C": 4, "N": 5, "O": 6}
CP2K_DECK = """&GLOBAL
  PROJECT x
  RUN_TYPE ENERGY_FORCE
  PRINT_LEVEL MEDIUM
&END GLOBAL
&FORCE_EVAL
  METHOD Quickstep
  &DFT
    BASIS_SET_FILE_NAME BASIS_MOLOPT
    POTENTIAL_FILE_NAME GTH_POTENTIALS
    &MGRID
      CUTOFF 600
      REL_CUTOFF 60
    &END MGRID
    &QS
      EPS_DEFAULT 1.0E-11
    &END QS
    &SCF
      SCF_GUESS ATOMIC
      EPS_SCF 1.0E-6
      MAX_SCF {steps}
{solver}
      &PRINT
        &RESTART OFF
        &END RESTART
      &END PRINT
    &END SCF
    &POISSON
      PERIODIC NONE
      POISSON_SOLVER WAVELET
    &END POISSON
    &XC
      &XC_FUNCTIONAL PADE
      &END XC_FUNCTIONAL
    &END XC
  &END DFT
  &SUBSYS
    &CELL
      ABC {box} {box} {box}
      PERIODIC NONE
    &END CELL
    &COORD
{atoms}
    &END COORD
{kinds}
  &END SUBSYS
  &PRINT
    &FORCES ON
    &END FORCES
  &END PRINT
&END FORCE_EVAL
"""
# Two ways to the same energy: on one pair they agree to 1e-11 Ha and 1e-6 Ha/bohr, and the second takes fewer steps.
OT = """      &OT
        MINIMIZER DIIS
        PRECONDITIONER FULL_ALL
      &END OT"""
MIXING = """      &DIAGONALIZATION
      &END DIAGONALIZATION
      &MIXING
        METHOD BROYDEN_MIXING
        ALPHA 0.4
        NBUFFER 8
      &END MIXING"""
KIND = "    &KIND {0}\n      BASIS_SET DZVP-MOLOPT-SR-GTH\n      POTENTIAL GTH-PADE-q{1}\n    &END KIND"


def generator(group: str) -> np.random.Generator:
    return np.random.default_rng([SEED, zlib.crc32(group.encode())])


def rattle(xyz: np.ndarray, rms: float, rng: np.random.Generator) -> np.ndarray:
    """Return positions (n, 3) displaced at random, about `rms` Å an atom; no tails, they would be rare broken bonds."""
    return xyz + rng.normal(size=xyz.shape).clip(-1.8, 1.8) * rms / np.sqrt(3)


def crystal(name: str, natoms: int, volume: float, shear: float, rng: np.random.Generator):
    """Return species, positions (n, 3) and cell (3, 3) in Å of a zincblende cell, strained to `volume` % more."""
    a, pair, _ = CRYSTALS[name]
    if natoms == 2:
        cell, sites = FCC[1:], np.zeros((1, 3))
    else:
        cell, sites = np.eye(3), FCC
    if natoms == 16:
        cell, sites = np.diag([2.0, 1, 1]), np.vstack([sites, sites + [1, 0, 0]])
    xyz = np.vstack([sites, sites + 0.25])
    strain = rng.uniform(-shear, shear, (3, 3))
    strain = (strain + strain.T) / 2
    deform = np.eye(3) + strain - np.eye(3) * np.trace(strain) / 3
    deform *= ((1 + volume / 100) / np.linalg.det(deform)) ** (1 / 3)
    return [s for s in pair for _ in sites], a * xyz @ deform, a * cell @ deform


def molecule(name: str, scale: float):
    """Return species and positions (n, 3) in Å of a scaled molecule, or of a pair at this distance."""
    words = MOLECULES[name][0].split()
    species, xyz = words[::4], np.array([w for i, w in enumerate(words) if i % 4], float).reshape(-1, 3)
    if not name.startswith("h2o-"):
        return species, xyz * scale
    hydrogen = np.array(species) == "H"
    own = np.maximum.accumulate(np.where(hydrogen, 0, np.arange(len(species))))
    return species, xyz[own] * scale + np.where(hydrogen[:, None], xyz, 0)


def lines(species: list[str], xyz: np.ndarray) -> str:
    return "\n".join("{:2} {:13.8f} {:13.8f} {:13.8f}".format(s, *r) for s, r in zip(species, xyz, strict=True))


def qe_deck(species: list[str], xyz: np.ndarray, cell: np.ndarray) -> str:
    kinds = sorted(set(species), key=species.index)
    rows = "\n".join("{:13.8f} {:13.8f} {:13.8f}".format(*r) for r in cell)
    masses = "\n".join(SPECIES[k] for k in kinds)
    atoms, kpoints = lines(species, xyz), KPOINTS[len(species)]
    return QE_DECK.format(nat=len(species), ntyp=len(kinds), species=masses, cell=rows, atoms=atoms, kpoints=kpoints)


def cp2k_deck(species: list[str], xyz: np.ndarray, box: float, steps: int = 60) -> str:
    kinds = "\n".join(KIND.format(k, VALENCE[k]) for k in sorted(set(species)))
    solver = OT if len(species) < 6 else MIXING
    return CP2K_DECK.format(steps=steps, solver=solver, box=box, atoms=lines(species, xyz), kinds=kinds)


def qe_frames() -> dict[str, tuple]:
    """Return species, positions and cell of every pw.x frame by the name of its deck."""
    frames = {}
    for name, (natoms, volume, shear) in product(CRYSTALS, STRAINS):
        group = f"{name.lower()}{natoms}-v{volume:+d}"
        rng = generator(group)
        species, xyz, cell = crystal(name, natoms, volume, shear, rng)
        for i, rms in enumerate(np.linspace(0.02, CRYSTALS[name][2], 10)):
            frames[f"{group}/{i:02d}.in"] = (species, rattle(xyz, rms, rng), cell)
    return frames


def cp2k_frames() -> dict[str, tuple]:
    """Return species, positions and edge of the box of every cp2k frame by the name of its deck."""
    frames = {}
    for name, (_, box, scales) in MOLECULES.items():
        for scale in scales:
            group = f"{name}-s{scale:.2f}"
            rng = generator(group)
            species, xyz = molecule(name, scale)
            for i, rms in enumerate(np.linspace(0.02, 0.10, 10)):
                turns = [np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(50 if name.startswith("h2o-") else 1)]
                turn = min(turns, key=lambda t: np.ptp(xyz @ t, axis=0).max())  # a pair lies far from all faces of its box
                atoms = rattle(xyz, rms, rng) @ (turn * np.linalg.det(turn))
                atoms += box / 2 - (atoms.max(0) + atoms.min(0)) / 2
                frames[f"{group}/{i:02d}.inp"] = (species, atoms, box)
    return frames


CODES = {"qe": (["pw.x", "-in"], qe_frames, qe_deck), "cp2k": (["cp2k.psmp", "-i"], cp2k_frames, cp2k_deck)}


def decks(code: str) -> dict[str, str]:
    """Return all decks of a code by name; for cp2k with a run whose SCF stops unconverged (2023.1 warns and goes on)."""
    _, frames, deck = CODES[code]
    found = {name: deck(*frame) for name, frame in frames().items()}
    if code == "cp2k":
        species, xyz = molecule("h2o", 1.0)
        short = cp2k_deck(species, xyz + 3, 6.75, steps=3)
        found["h2o-not-converged/00.inp"] = short
    return found


def run(code: str, work: Path, texts: dict[str, str]) -> None:
    """Write each deck to `work` and run it there, one process of one thread at a time."""
    work.mkdir(parents=True, exist_ok=True)
    if code == "qe" and not (work / "pseudo").exists():
        (work / "pseudo").symlink_to(PSEUDO)
    for name, text in texts.items():
        deck, out = work / name, (work / name).with_suffix(".out")
        deck.parent.mkdir(exist_ok=True)
        if out.exists() and re.search("JOB DONE|PROGRAM ENDED", out.read_text()) and deck.read_text() == text:
            continue
        deck.write_text(text)
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with out.open("w") as stdout:
            subprocess.run([*CODES[code][0], name], cwd=work, stdout=stdout, env=environment, check=True)


def numbers(text: str) -> np.ndarray:
    return np.array([line.split() for line in text.strip().splitlines()], float)


def read(deck: Path):
    """Return energy (eV), forces (n, 3) in eV/Å and stress (3, 3) in eV/Å^3 as pw.x prints it, None for cp2k."""
    text = deck.with_suffix(".out").read_text()
    if deck.suffix == ".in":
        energy = float(re.search(r"!\s+total energy\s+=\s+(\S+)", text)[1]) * RYDBERG
        natoms = int(re.search(r"number of atoms/cell\s+=\s+(\d+)", text)[1])
        forces = numbers("\n".join(re.findall(r"atom .* force =(.*)", text)[:natoms])) * RYDBERG / BOHR
        return energy, forces, numbers(re.search(r"P=.*\n((.*\n){3})", text)[1])[:, 3:] * KBAR
    if "SCF run converged" not in text:
        raise ValueError(f"{deck}: the SCF has not converged")
    energy = float(re.search(r"ENERGY\|.*:\s+(\S+)", text)[1]) * HARTREE
    table = re.search(r"# Atom   Kind.*\n((.*\n)*?) SUM OF", text)[1]
    return energy, numbers(re.sub(r"[A-Z][a-z]?", "", table))[:, 2:] * HARTREE / BOHR, None


def differences(code: str, work: Path, name: str, frame: tuple, strain: bool) -> str:
    """Return dE by a central difference and from the labels, along one random direction of atoms (eV/Å) or strain (eV).

    The labels give -F.d for the atoms, and -V s:e for the strain with the sign in which pw.x prints the stress.
    """
    species, xyz, cell = frame
    rng = generator(f"{name}{strain}")
    d = rng.normal(size=(3, 3) if strain else xyz.shape)
    d = (d + d.T) / 2 if strain else d
    d /= np.linalg.norm(d)
    texts = {}
    for sign in (-1, 1):
        grow = np.eye(3) + sign * STEP * d if strain else None
        new = (xyz @ grow, cell @ grow) if strain else (xyz + sign * STEP * d, cell)
        key = f"{Path(name).parent}-{Path(name).stem}{'-strain' if strain else ''}/{sign:+d}{Path(name).suffix}"
        texts[key] = CODES[code][2](species, *new)
    apart = work / f"{code}-differences"
    run(code, apart, texts)
    low, high = (read(apart / key)[0] for key in texts)
    _, forces, stress = read(work / code / name)
    label = -np.linalg.det(cell) * np.sum(stress * d) if strain else -np.sum(forces * d)
    return f"{(high - low) / 2 / STEP:.4f} / {label:.4f}"


def check(code: str, work: Path) -> None:
    """Print a table row for each compound: spread of the labels, largest net force, finite differences."""
    frames = CODES[code][1]()
    compounds = {}
    for name in frames:
        compounds.setdefault(re.sub(r"\d*-v.*|-s.*", "", name), []).append(name)
    columns = ["groups", "frames", "atoms", "energy std (eV/atom)", "force std (eV/Å)", "max force (eV/Å)", "max net force (eV/Å)"]
    columns += ["dE/dx (eV/Å)"] + ["dE/dstrain (eV)"] * (code == "qe")
    print("", " | ".join([f"| {code}", *columns]) + " |", "|---" * (len(columns) + 1) + "|", sep="\n")
    for compound, names in compounds.items():
        energies, forces, _ = zip(*(read(work / code / n) for n in names), strict=True)
        natoms = np.array([len(f) for f in forces])
        every, net = np.vstack(forces), max(np.linalg.norm(f.sum(0)) for f in forces)
        row = [f"| {compound}", len({n.split("/")[0] for n in names}), len(names), ", ".join(map(str, np.unique(natoms)))]
        row += [f"{np.std(energies / natoms):.3f}", f"{every.std():.2f}", f"{np.linalg.norm(every, axis=1).max():.1f}", f"{net:.4f}"]
        row += [differences(code, work, names[6], frames[names[6]], strain) for strain in (False, True)[: 1 + (code == "qe")]]
        print(" | ".join(map(str, row)), "|")


def sizes(work: Path) -> None:
    """Print the energy per atom of each perfect crystal from its cells of 2, 8 and 16 atoms."""
    print("", "| energy (eV/atom) | 2 atoms | 8 atoms | 16 atoms |", "|---|---|---|---|", sep="\n")
    for name in CRYSTALS:
        frames = {f"{name.lower()}/{n:02d}.in": crystal(name, n, 0, 0, generator("")) for n in KPOINTS}
        run("qe", work / "qe-sizes", {key: qe_deck(*frame) for key, frame in frames.items()})
        energies = [read(work / "qe-sizes" / key)[0] / len(frame[0]) for key, frame in frames.items()]
        print(" | ".join([f"| {name.lower()}", *(f"{e:.4f}" for e in energies)]), "|")


def pack(folder: Path, names: list[str], archive: Path) -> None:
    """Write decks and outputs to a tar.xz whose bytes depend on nothing else."""
    with tarfile.open(archive, "w:xz", preset=9, format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(names):
            data = (folder / name).read_bytes()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["qe", "cp2k", "check", "pack"])
    parser.add_argument("--work", type=Path, default=Path("/tmp/quickstart"), help="where the codes run")
    args = parser.parse_args()
    for code, archive in (("qe", "qe-pbe.tar.xz"), ("cp2k", "cp2k-pade.tar.xz")):
        if args.step == code:
            run(code, args.work / code, decks(code))
        elif args.step == "check":
            check(code, args.work)
            if code == "qe":
                sizes(args.work)
        elif args.step == "pack":
            names = [name for deck in decks(code) for name in (deck, str(Path(deck).with_suffix(".out")))]
            pack(args.work / code, names, RAW / archive)


if __name__ == "__main__":
    main()
