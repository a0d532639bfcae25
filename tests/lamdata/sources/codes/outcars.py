"""A small OUTCAR, in VASP's columns."""

HEAD = """ vasp.5.4.4.18Apr17-6-g9f103f2a35 (build Jun 05 2020 11:42:50) complex

 executed on             LinuxIFC date 2020.07.01  11:42:23
 POTCAR:    PAW_PBE O 08Apr2002
 POTCAR:    PAW_PBE H 15Jun2001
   VRHFIN =O: s2p4
   LEXCH  = PE
   TITEL  = PAW_PBE O 08Apr2002
   POMASS =   16.000; ZVAL   =    6.000    mass and valenz
   VRHFIN =H: ultrasoft test
   LEXCH  = PE
   TITEL  = PAW_PBE H 15Jun2001
   POMASS =    1.000; ZVAL   =    1.000    mass and valenz
   number of dos      NEDOS =    301   number of ions     NIONS =      3
   ions per type =               1   2
   ISPIN  =      1    spin polarized calculation?
   ENCUT  =  400.0 eV  29.40 Ry    5.42 a.u.
   NELM   =      3;   NELMIN=  2; NELMDL= -5     # of ELM steps
   EDIFF  = 0.1E-03   stopping-criterion for ELM
   NELECT =       8.0000    total number of electrons
   GGA     =    --    GGA type
   LHFCALC =     F    Hartree Fock is set to
"""
CELL = """  VOLUME and BASIS-vectors are now :
      direct lattice vectors                 reciprocal lattice vectors
     5.000000000  0.000000000  0.000000000     0.200000000  0.000000000  0.000000000
     1.000000000  5.000000000-10.000000000     0.000000000  0.200000000  0.000000000
     0.000000000  0.000000000  5.000000000     0.000000000  0.000000000  0.200000000
"""


def step(n, loops=2, change=1e-5, energy=-14.0, positions=True, vdw=False):
    """One ab initio step."""
    text = "".join(
        f"--------------------------------------- Iteration {n:6d}({i + 1:4d})  ---------------------------------------\n"
        f" total energy-change (2. order) :{change:14.7E}  (-0.1E-06)\n  free energy    TOTEN  =       {energy - 1:14.8f} eV\n"
        for i in range(loops)
    )
    text += "  in kB      10.00000    20.00000    30.00000     1.00000     2.00000     3.00000\n" + CELL
    if positions:
        text += (
            " POSITION                                       TOTAL-FORCE (eV/Angst)"
            + (",  FORCE-w/o vdW (eV/Angst)" if vdw else "")
            + "\n ------\n"
        )
        extra = "     9.0 9.0 9.0" if vdw else ""
        text += f"      0.00000      0.00000      0.00000         0.500000     -0.500000   -1000.500000{extra}\n"
        text += f"      1.00000      0.00000      0.00000        -0.250000      0.250000-1000.250000{extra}\n"
        text += f"      0.00000      1.00000      0.00000        -0.250000      0.250000   2000.750000{extra}\n ------\n"
    note = f"    w/o vdW = {energy + 1:14.8f} eV" if vdw else ""
    text += f"  free  energy   TOTEN  =   {energy:18.8f} eV{note}\n\n"
    return text + f"  energy  without entropy=   {energy - 0.1:16.8f}  energy(sigma->0) =   {energy - 0.05:16.8f}\n"


def learned(energy=-99.0):
    """What a machine-learned force field prints for a step."""
    return (
        "  ML FORCE on cell =-STRESS in cart. coord. units (eV/cell)\n  in kB       9.00000     9.00000     9.00000     9.00000     9.00000     9.00000\n"
        + CELL
        + "  POSITION                                       TOTAL-FORCE (eV/Angst) (ML)\n ------\n" + " 9 9 9 9 9 9\n" * 3
        + f"  free  energy ML TOTEN  =   {energy:16.8f} eV\n\n  ML energy  without entropy=  {energy:16.8f}  ML energy(sigma->0) =  {energy:16.8f}\n"
    )  # fmt: skip
