"""Names of the readers that come with lamdata, and where each is: the module is imported when the name is used.

The order is the order in which formats are guessed: the more telling signs first.
"""

from __future__ import annotations

BUILTIN: dict[str, str] = {
    "aflow/prototypes": "prototypes:AflowPrototypes",
    "qe/pw": "qe:PwReader",
    "cp2k/output": "cp2k:Cp2kReader",
}
