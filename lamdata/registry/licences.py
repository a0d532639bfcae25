"""Licences of data -> what stands against publishing what is made of them: not known, non-commercial, no derivatives."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

from ..errors import ConfigError, DataError
from ..places import open_place
from ..places.published import SCHEME, registry_url
from .entry import read_entry

Problem = Literal["unknown", "NC", "ND"]
PROBLEMS: tuple[Problem, ...] = ("unknown", "NC", "ND")
FREE = frozenset(
    """0bsd afl-3.0 apache-2.0 artistic-2.0 bsd-2-clause bsd-3-clause bsl-1.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0
    ecl-2.0 epl-1.0 epl-2.0 eupl-1.1 eupl-1.2 gpl-2.0 gpl-3.0 agpl-3.0 lgpl-2.1 lgpl-3.0 isc mit mpl-2.0 ncsa odbl-1.0 odc-by-1.0 pddl-1.0
    unlicense zlib""".split()
)  # identifiers of SPDX, in small letters, without `-only` and `-or-later`
CREATIVE = re.compile(r"cc-by(-nc)?(-sa|-nd)?-[1-4]\.0(-igo|-[a-z]{2})?")  # of Creative Commons


def identifier(licence: str) -> str:
    """As SPDX writes it, in small letters: "CC BY 4.0" is cc-by-4.0."""
    return re.sub(r"-(only|or-later)$", "", "-".join(licence.casefold().split()))


def problems_of(licence: str | None) -> list[Problem]:
    """What stands against a licence: of `A AND B` what stands against either, of `A OR B` what stands against the better one."""
    choices = [re.split(r"\s+AND\s+", choice) for choice in re.split(r"\s+OR\s+", licence or "")]
    found = [[problem for part in parts for problem in _problems(part)] for parts in choices]
    best = min(found, key=len)
    return [problem for problem in PROBLEMS if problem in best]


def _problems(licence: str) -> list[Problem]:
    name = identifier(licence)
    if name in FREE:
        return []
    found = CREATIVE.fullmatch(name)
    if found is None:
        return ["unknown"]
    stands: dict[Problem, bool] = {"NC": bool(found[1]), "ND": found[2] == "-nd"}
    return [problem for problem, does in stands.items() if does]


def accepted_of(licences: Mapping[str, str | None], accept: Iterable[str], *, where: str) -> list[Problem]:
    """What stands against some licences and was accepted by name; raises DataError for what was not.

    `licences`: dataset -> its licence.
    """
    accept = list(accept)
    if odd := [word for word in accept if word not in PROBLEMS]:
        raise ConfigError(f"{odd[0]!r} is nothing that can be accepted", where="--accept", hint=f"one of {', '.join(PROBLEMS)}")
    wrong = {name: problems_of(licence) for name, licence in licences.items()}
    refused = {name: left for name, found in wrong.items() if (left := [problem for problem in found if problem not in accept])}
    if refused:
        said = "; ".join(f"{name} is {_words(licences[name], found)}" for name, found in refused.items())
        flags = " ".join(f"--accept {problem}" for problem in PROBLEMS if any(problem in found for found in refused.values()))
        raise DataError(f"the licence of {said}", where=where, hint=f"state it in the card and ingest again, or publish with `{flags}`")
    return [problem for problem in PROBLEMS if any(problem in found for found in wrong.values())]


def _words(licence: str | None, problems: list[Problem]) -> str:
    if licence is None:
        return "not known"
    meant = {"unknown": "which is none that is known", "NC": "non-commercial", "ND": "without derivatives"}
    return f"{licence!r}, {' and '.join(meant[problem] for problem in problems)}"


def licences_of_parent(model: str) -> dict[str, str | None]:
    """Licences of all that a parent model was trained on: as its registry has them, or not known where it is a file."""
    if not model.startswith(SCHEME):
        return {f"parent {model}": None}
    try:
        entry = read_entry(open_place(registry_url()), model.removeprefix(SCHEME))
    except ConfigError as err:
        raise ConfigError(f"parent {model} is not found: {err.message}", where=err.where, hint=err.hint) from None
    return {f"{name} (of {entry.address})": licence for name, licence in entry.licenses.items()}
