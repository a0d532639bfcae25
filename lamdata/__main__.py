"""`python -m lamdata`: the `lamdata` command, for launchers such as torchrun."""

from .cli import main

main()
