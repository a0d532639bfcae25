"""Doctor: what this machine and this installation have, and what will be slow or missing, each with what to do about it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from .cores import usable_threads

ENOUGH_DISK = 10 * 2**30  # bytes: a store of a million frames, and checkpoints
ENOUGH_MEMORY = 2 * 2**30  # bytes beside what is in use


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that was looked at."""

    name: str
    found: str
    advice: str | None = None
    """What is slow or missing, and the remedy; None where all is well."""


def examine() -> list[Fact]:
    """Look at everything; needs no network, and torch only where it is installed."""
    return [
        Fact("lam", version("lam")),
        Fact("Python", f"{platform.python_version()}, {sys.executable}"),
        _cores(),
        *_of_torch(),
        _copies(),
        _texts(),
        _memory(),
        _disk(),
        *_extras(),
    ]


def _cores() -> Fact:
    cores, usable = os.cpu_count() or 1, usable_threads()
    return Fact(
        "cores", f"{usable} usable of {cores}", f"a quota or an affinity leaves {usable} of {cores} cores" if usable < cores else None
    )


def _of_torch() -> Iterator[Fact]:
    """PyTorch, its device and compiled operators."""
    if importlib.util.find_spec("torch") is None:
        yield Fact("PyTorch", "not installed", "data can be read and written; training needs it: pip install 'lam[train]'")
        return
    import torch

    from .model.kernels.native import native

    yield Fact("PyTorch", torch.__version__)
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            yield Fact(f"GPU {index}", f"{card.name}, {card.total_memory / 2**30:.0f} GiB")
    elif torch.version.cuda is not None:
        yield Fact(
            "GPU",
            "none that PyTorch can use",
            f"this PyTorch is for CUDA {torch.version.cuda}; `nvidia-smi` says whether a driver is there",
        )
    else:
        yield Fact("GPU", "none: this PyTorch is for CPUs")
    try:
        module = native()
    except RuntimeError as err:
        yield Fact("operators", "PyTorch's own", f"several times slower on a CPU: {err}")
        return
    kind, best = module.__name__.rsplit("_", 1)[1], module.processor()  # type: ignore[attr-defined]  # it is a module
    advice = None if kind == best else f"the processor could run {best}: reinstall with a C++20 compiler, or unset LAM_KERNELS_FOR"
    yield Fact("operators", f"compiled for {kind}", advice)


def _copies() -> Fact:
    from lamdata.store import rows

    if rows.compiled is not None:
        return Fact("copying of frames", "compiled")
    return Fact("copying of frames", "NumPy", "streams are several times slower: reinstall with a C compiler")


def _texts() -> Fact:
    from lamdata.reading import text_is_compiled

    if text_is_compiled():
        return Fact("reading of text", "compiled")
    return Fact("reading of text", "Python", "an ingest of text is several times slower: reinstall with a C compiler")


def _memory() -> Fact:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return Fact("memory", "not known here")
    facts = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.endswith("kB")}
    free = facts.get("MemAvailable", 0)
    advice = None if free >= ENOUGH_MEMORY else "set batch.at_once in the training config: a step is then done in parts"
    return Fact("memory", f"{free / 2**30:.1f} GiB free of {facts.get('MemTotal', 0) / 2**30:.1f}", advice)


def _disk() -> Fact:
    free = shutil.disk_usage(".").free
    advice = None if free >= ENOUGH_DISK else "stores and runs are written here unless -o and --runs say another place"
    return Fact("disk here", f"{free / 2**30:.0f} GiB free", advice)


def _extras() -> Iterator[Fact]:
    """The optional parts of the package, and whether what they need is there."""
    wanted: dict[str, list[str]] = {extra: [] for extra in metadata("lam").get_all("Provides-Extra") or []}
    for line in requires("lam") or []:
        name, _, marker = line.partition(";")
        for extra in wanted:
            if f"extra == '{extra}'" in marker.replace('"', "'"):
                wanted[extra].append(_bare(name))
    for extra, packages in sorted(wanted.items()):
        missing = [package for package in packages if not _installed(package)]
        found = "there" if not missing else f"without {', '.join(missing)}"
        yield Fact(f"extra {extra}", found, f"pip install 'lam[{extra}]'" if missing else None)


def _bare(requirement: str) -> str:
    """The name in a requirement, as `phonopy` in `phonopy>=3`."""
    return "".join(c if c.isalnum() or c in "-_." else " " for c in requirement).split()[0]


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
