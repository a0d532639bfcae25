"""Collections of structures with labels: extended XYZ, ASE's and DeePMD-kit's files, OC20, Materials Project."""
