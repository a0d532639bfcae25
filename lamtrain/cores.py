"""Cores that this process may use: a container may have less than the machine."""

from __future__ import annotations

import math
import os
from pathlib import Path


def usable_threads(root: Path = Path("/")) -> int:
    """Cores of this process's affinity, or as many as its cgroups' quotas allow, where that is less; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> list[float]:
    """Cores that each cgroup of this process allows, of both versions of the interface; none where there is no limit."""
    found = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, place = line.split(":", 2)
        version2 = not controllers
        if not version2 and "cpu" not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / ("" if version2 else "cpu")
        path = base / place.strip("/")
        for folder in [path, *path.parents]:  # inside a container the outer folders may be missing
            if folder == base.parent:
                break
            found.append(_quota2(folder) if version2 else _quota1(folder))
    return [quota for quota in found if quota is not None]


def _quota2(folder: Path) -> float | None:
    words = _read(folder / "cpu.max").split()
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0] != "max" else None


def _quota1(folder: Path) -> float | None:
    quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota and period and int(quota) > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
