"""Names of the readers that come with lamdata, and where each is: the module is imported when the name is used.

The order is the order in which formats are guessed: the more telling signs first.
"""

from __future__ import annotations

BUILTIN: dict[str, str] = {
    "aflow/prototypes": "prototypes:AflowPrototypes",
    "qe/pw": "qe:PW",
    "cp2k/output": "cp2k:Cp2kReader",
    "vasp/xml": "vasp_xml:VasprunReader",
    "vasp/outcar": "vasp_outcar:OUTCAR",
    "siesta/output": "siesta:SIESTA",
    "fhi_aims/output": "fhi_aims:AIMS",
    "castep/output": "castep:CASTEP",
    "abacus/log": "abacus:ABACUS",
    "oc20/s2ef": "oc20:S2efReader",
    "oc20/lmdb": "oc20:Oc20LmdbReader",
    "extxyz": "extxyz:ExtxyzReader",
    "deepmd/npy": "deepmd:NpyReader",
    "deepmd/raw": "deepmd:RawReader",
    "deepmd/hdf5": "deepmd:Hdf5Reader",
    "deepmd/lmdb": "deepmd_lmdb:LmdbReader",
    "ase/db": "ase_files:AseDbReader",
    "ase/json": "ase_files:AseJsonReader",
    "ase/lmdb": "ase_files:AseLmdbReader",
    "ase/traj": "ase_files:AseTrajReader",
    "mp/task": "mp:TaskReader",
    "pymatgen/json": "pymatgen_json:PymatgenReader",
    "aflow/aflux": "aflow:AfluxReader",
    "optimade": "optimade:OptimadeReader",
    "jarvis": "jarvis:JarvisReader",
    "mc2d": "mc2d:Mc2dReader",
    "aiida": "aiida:AiidaReader",
    "cif": "cif:CifReader",
    "xsf": "xsf:XsfReader",
    "calypso": "calypso:CalypsoReader",
    "vasp/poscar": "poscar:PoscarReader",
}
