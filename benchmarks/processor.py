"""The processor of a measurement, as its table names it."""

from __future__ import annotations

import platform
from pathlib import Path

UNITS = ("avx512f", "avx2", "fma", "avx", "sse4_2", "sse2", "sve", "asimd")  # as /proc/cpuinfo calls them


def processor() -> str:
    """Name and vector units, for instance `AMD EPYC, avx2 fma avx`; what the operating system calls it where /proc is missing."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = facts.get("flags", facts.get("Features", "")).split()
    return f"{facts.get('model name', platform.machine())}, {' '.join(unit for unit in UNITS if unit in flags)}"


if __name__ == "__main__":
    print(processor())
