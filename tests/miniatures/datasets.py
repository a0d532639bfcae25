"""The 29 datasets: which structures stand for each, in which format, and where its card's example source looks for them."""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from lamdata import open_card
from lamdata.catalog import Card, SourceSpec
from lamdata.frame import Frame
from lamdata.located import parse_yaml

from . import formats
from .structures import from_runs, labelled, prototype

CARDS = Path(__file__).resolve().parents[2] / "catalogs" / "openlam-2024q0" / "cards"
CHARGES = (-1, 0, 1, 2)
Systems = list[list[Frame]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Miniature:
    """One dataset in small."""

    name: str
    format: str  # what kind of files, one word for each distinct format
    systems: Callable[[], Systems]
    write: Callable[[Systems, Path], None]  # into the folder that the card's paths start from
    labels: tuple[str, ...] = ("energy", "forces")  # that the format keeps
    charges: tuple[int, ...] = ()  # of the frames of each system
    rejected: dict[str, int] = field(default_factory=dict)  # a word of the reason -> frames
    example: dict[str, Any] | None = None  # a source where the card has none, its native format being unknown
    archive: str | None = None  # the published archive, packed from the folder of the same name

    def prepare(self, folder: Path) -> Systems:
        """Write its files into `folder` and return what is in them."""
        systems = self.systems()
        folder.mkdir(parents=True)
        self.write(systems, folder)
        if self.archive:
            inside = folder / PurePosixPath(self.archive).stem
            kind = "zip" if self.archive.endswith(".zip") else "tar"
            shutil.make_archive(str(inside), kind, inside)
        return systems

    def card(self, sources: Sequence[SourceSpec] | None = None) -> Card:
        """The real card with sources, by default those of its commented example."""
        card = open_card(CARDS / f"{self.name}.yaml")
        checks = card.checks.model_copy(update={"max_refused": 0.3})  # one bad frame of a few is much
        split = card.split.model_copy(update={"validation": 0.0, "test": 0.0})  # of three groups a share is none or too many
        return card.model_copy(update={"sources": list(sources or self.example_sources()), "checks": checks, "split": split})

    def example_sources(self) -> list[SourceSpec]:
        """The sources that stand as an example in the card, comment marks taken away."""
        if self.example is not None:
            return [SourceSpec(**self.example)]
        text = (CARDS / f"{self.name}.yaml").read_text(encoding="utf-8")
        lines = re.findall(r"^# (sources:.*|  - .*)$", text, flags=re.MULTILINE)
        return [SourceSpec(**source) for source in parse_yaml("\n".join(lines), where=self.name)[0]["sources"]]

    def unpacked(self, below: str = "") -> list[SourceSpec]:
        """Its sources as folders and the files in them, below a folder or URL that ends with a slash."""
        return [self._moved(spec, path=f"{below}{folder}" or ".", members=members) for spec, folder, members in self._places()]

    def packed(self, archive: str) -> list[SourceSpec]:
        """Its sources inside one archive of all its files."""
        return [self._moved(spec, path=archive, members=f"{folder}{members}") for spec, folder, members in self._places()]

    def _places(self) -> list[tuple[SourceSpec, str, str]]:
        """Each source, the folder it names with a slash at its end, and the pattern of its files there."""
        out = []
        for spec in self.example_sources():
            path = PurePosixPath(spec.path)
            if path.name == self.archive:
                path = path.with_suffix("")
            folder, members = (path.parent, path.name) if "*" in path.name else (path, spec.members)
            out.append((spec, "" if str(folder) == "." else f"{folder}/", members))
        return out

    @staticmethod
    def _moved(spec: SourceSpec, *, path: str, members: str) -> SourceSpec:
        return spec.model_copy(update={"path": path, "members": members})


def pack_tar(folder: Path, archive: Path) -> Path:
    """Put all files of a folder, but no archives, into a tar."""
    with tarfile.open(archive, "w") as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix not in (".tar", ".zip"):
                tar.add(path, str(path.relative_to(folder)))
    return archive


def _deepmd(name: str, systems: Callable[[], Systems], *, mixed: bool = False, inside: str = "", published: bool = True) -> Miniature:
    writer = formats.deepmd_mixed if mixed else formats.deepmd
    return Miniature(
        name=name,
        format="deepmd/mixed" if mixed else "deepmd/npy",
        systems=systems,
        write=lambda found, folder: writer(found, folder / "raw" / name / inside),
        labels=("energy", "forces", "virial"),
        example=None if published else {"path": f"raw/{name}", "members": "**/coord.npy"},
    )


def _of(*structures: Callable[[], Any], frames: int = 3) -> Callable[[], Systems]:
    return lambda: [labelled(make(), frames=frames) for make in structures]


def _metal(*symbols: str, size: Sequence[int] = (1, 2)) -> Callable[[], Systems]:
    from ase.build import bulk

    return _of(*(partial(lambda s, n: bulk(s) * (1, 1, n), s, n) for s in symbols for n in size))


def _crystals(*labels: str, frames: int = 3, **changes: Any) -> Callable[[], Systems]:
    return _of(*(partial(prototype, label, **changes) for label in labels), frames=frames)


def _clusters(*symbols: str) -> Callable[[], Systems]:
    from ase.cluster import Octahedron

    return _of(*(partial(Octahedron, symbol, 2) for symbol in symbols))


def _slabs() -> Systems:
    from ase.build import add_adsorbate, fcc111, molecule

    out = []
    for metal, adsorbate, lowest in (("Cu", "CO", 1), ("Pt", "O", 0), ("Pd", "H", 0)):
        slab = fcc111(metal, (1, 1, 3), vacuum=6.0, periodic=True)
        add_adsorbate(slab, molecule(adsorbate), 1.9, "ontop", mol_index=lowest)
        out.append([replace(frame, virial=None) for frame in labelled(slab)])
    return out


def _layers() -> Systems:
    from ase.build import graphene, mx2

    made = (mx2("MoS2", vacuum=8.0), mx2("WSe2", vacuum=8.0), graphene("C2", vacuum=8.0), graphene("BN", vacuum=8.0))
    for atoms in made:
        atoms.pbc = True  # a CIF knows nothing else
    return [labelled(atoms, frames=2) for atoms in made]


def _isomers() -> Systems:
    from ase.cluster import Octahedron

    return [
        labelled(Octahedron(symbol, 2, latticeconstant=a), frames=len(CHARGES))
        for symbol, a in (("Na", 5.3), ("Mg", 4.5), ("Si", 3.6), ("Al", 4.0))
    ]


def _write_aflow_mp(systems: Systems, folder: Path) -> None:
    formats.aflux_pages(systems[:2], folder / "raw/aflow")
    formats.mp_summaries(systems[2:3], folder / "raw/mp/summary.json.gz")
    formats.mp_tasks(systems[3:], folder / "raw/mp/tasks.json.gz")


RUTILE, ANATASE, FLUORITE, WURTZITE, HALITE = (
    "Rutile A2B_tP6_136_f_a", "Anatase A2B_tI12_141_e_a", "Fluorite AB2_cF12_225_a_c", "Wurtzite AB_hP4_186_b_b", "Halite, Rock Salt AB_cF8_225_a_b"
)  # fmt: skip
PEROVSKITE, LAYERED = "(Cubic) Perovskite AB3C_cP5_221_a_c_b", "Caswellsilverite ABC2_hR4_166_a_b_c"
MOLECULES = partial(from_runs, "cp2k-pade")

MINIATURES = {
    miniature.name: miniature
    for miniature in (
        _deepmd("Alloy_DPA_v1_0", _crystals("AB3_cP4_221_a_c", "Tetraauricupride AB_tP2_123_a_d", "A3B2_hP5_164_ad_d"), mixed=True),
        _deepmd("Cluster_DPA_v1_0", _clusters("Cu", "Pt", "Au")),
        _deepmd(
            "Cathode(Anode)_DPA_v1_0",
            lambda: [
                *_crystals(LAYERED, replace={"S": "O"}, scale=0.85)(),
                *_crystals(LAYERED, replace={"S": "O", "Na": "Li", "Cr": "Co"}, scale=0.82)(),
            ],
        ),
        _deepmd("FerroEle_DPA_v1_0", _crystals(PEROVSKITE, "Pb(Zr_(1-x)Ti_x)O3 A3BC_tP5_99_bc_a_b")),
        _deepmd("AgAu-PBE(unitary)_DPA_v1_0", _metal("Ag", "Au")),
        _deepmd("Cu_DPA_v1_0", _metal("Cu")),
        _deepmd("Sn_DPA_v1_0", _crystals("beta Sn A_tI4_141_a", "Hg_xSn A_hP1_191_a")),
        _deepmd("Ti_DPA_v1_0", _metal("Ti")),
        _deepmd("AlMgCu_DPA_v1_0", _metal("Al", "Mg", "Cu", size=(1,))),
        _deepmd("V_DPA_v1_0", _metal("V")),
        _deepmd("W_DPA_v1_0", _metal("W")),
        _deepmd("C12H26_DPA_v1_0", lambda: MOLECULES("ch4-s0.97", "ch4-s1.00")),
        _deepmd("SSE-PBE_DPA_v1_0", _crystals(FLUORITE, "A3B_hP4_191_bc_a", replace={"Ca": "S", "F": "Li", "N": "P"})),
        _deepmd("HfO2_DPA_v1_0", _crystals(FLUORITE, RUTILE, replace={"Ca": "Hf", "F": "O", "Ti": "Hf"}), mixed=True),
        _deepmd("SemiCond_DPA_v1_0", lambda: from_runs("qe-pbe", "si2-v+2", "c8-v+0", "sic2-v-4")),
        _deepmd("Drug(drug-like-molecule)_DPA_v1_0", lambda: MOLECULES("h2co-s0.98", "nh3-s1.00", "h2o-nh3-s2.85")),
        Miniature(
            name="Open_Catalyst_2020(OC20_Dataset)",
            format="oc20/s2ef",
            systems=_slabs,
            write=lambda systems, folder: formats.s2ef(systems, folder / "s2ef_train_2M" / "s2ef_train_2M"),
            archive="s2ef_train_2M.tar",
        ),
        _deepmd("H2O-PD_DPA_v1_0", lambda: MOLECULES("h2o-s1.00", "h2o-2-s2.75", "h2o-2-s3.05")),
        _deepmd("Electrolyte", lambda: MOLECULES("h2co-s1.03", "h2o-nh3-s3.10"), mixed=True),
        _deepmd("Solid_State_Electrolyte", _crystals(HALITE, "A3B_hP4_191_bc_a", replace={"Na": "Li"}), published=False),
        _deepmd("Organic_reactions_dataset", lambda: MOLECULES("h2co-s0.98", "nh3-s1.05", "ch4-s1.05"), mixed=True, inside="mixdata/train"),
        _deepmd("CHO-methane-combustion", lambda: MOLECULES("ch4-s1.05", "h2o-s1.05", "h2co-s1.03"), published=False),
        Miniature(
            name="AFLOW_MP",
            format="aflux and mp",
            systems=_crystals(RUTILE, FLUORITE, WURTZITE, PEROVSKITE),
            write=_write_aflow_mp,
            labels=(),
            rejected={"ask AFLUX": 1},
        ),
        Miniature(name="MC2D", format="cif", systems=_layers, write=formats.mc2d, labels=(), archive="optimized_2d_structures.zip"),
        Miniature(
            name="MC3D",
            format="cif",
            systems=_crystals(RUTILE, WURTZITE, HALITE, PEROVSKITE, frames=2),
            write=lambda systems, folder: formats.mc3d(systems, folder / "MC3D-cifs"),
            labels=(),
            rejected={"disorder": 1},
            archive="MC3D-cifs.zip",
        ),
        Miniature(
            name="ChemicalSimilarity",
            format="pymatgen/json",
            systems=_crystals(ANATASE, FLUORITE, WURTZITE, LAYERED, PEROVSKITE, frames=2),
            write=formats.entries,
            labels=("energy",),
            rejected={"zero volume": 1, "-10 eV/atom": 1},
        ),
        Miniature(
            name="ClusterIsomer",
            format="extxyz",
            systems=_isomers,
            write=lambda systems, folder: formats.charged_extxyz(systems, folder / "raw/ClusterIsomer", charges=CHARGES),
            charges=CHARGES,
            example={"path": "raw/ClusterIsomer", "members": "*.extxyz"},
        ),
        Miniature(
            name="MolecularCrystal",
            format="extxyz",
            systems=_crystals("Cubic alpha N2 A_cP8_205_c", "alpha carbon monoxide AB_cP8_198_a_a"),
            write=lambda systems, folder: formats.charged_extxyz(systems, folder / "raw/MolecularCrystal"),
            labels=("energy", "forces", "virial"),
            example={"path": "raw/MolecularCrystal", "members": "*.extxyz", "group": "frame"},
        ),
        Miniature(
            name="CALYPSO_database",
            format="calypso",
            systems=_of(*[partial(prototype, "AB3_cP4_221_a_c")] * 2),
            write=lambda systems, folder: formats.calypso(systems, folder / "raw"),
            labels=(),
            rejected={"failed relaxation": 2},
        ),
    )
}
