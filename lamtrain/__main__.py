"""`python -m lamtrain`: the `lamtrain` command, for launchers such as torchrun."""

from .cli import main

main()
