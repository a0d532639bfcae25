"""Croissant: a dataset's entry, card and files -> `croissant.json`, JSON-LD by the Croissant format 1.1.

https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html. Each file stands with its size and hash. Arrays of Zarr are no record sets that
the format can extract, so what they hold is said by schema.org's `variableMeasured`, with units.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .entry import Entry, Listed

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
TERMS = (
    "arrayShape citeAs column containedIn equivalentProperty extract field fileProperty fileObject fileSet format includes isArray "
    "isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator source subField transform"
).split()
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
} | {term: f"cr:{term}" for term in TERMS}
FORMATS = {"json": "application/json", "yaml": "application/yaml", "md": "text/markdown", "jsonl": "application/jsonl"}
UNITS = {"energy": "eV", "forces": "eV/Angstrom", "virial": "eV"}


def croissant(entry: Entry, card: Mapping[str, Any], files: Mapping[str, Listed]) -> bytes:
    """The document of a dataset; `files` are those that it lists."""
    said = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": entry.name,
        "description": f"{entry.title}. Theory: {'; '.join(entry.theory)}. A store of lamdata, which is a Zarr v3 group.",
        "version": entry.version,
        "datePublished": entry.published,
        "license": entry.license,
        "url": card.get("url") or (f"https://doi.org/{card['doi']}" if card.get("doi") else None),
        "citeAs": "; ".join(entry.citations) or None,
        "creator": [{"@type": "sc:Person", "name": name} for name in card.get("contributors", [])] or None,
        "keywords": ["interatomic potentials", *entry.elements],
        "isLiveDataset": False,
        "variableMeasured": [
            {"@type": "sc:PropertyValue", "name": label, "unitText": UNITS[label], "value": count} for label, count in entry.labels.items()
        ],
        "distribution": [_file(path, file) for path, file in sorted(files.items())],
    }
    return (json.dumps({key: value for key, value in said.items() if value is not None}, indent=1, ensure_ascii=False) + "\n").encode()


def _file(path: str, file: Listed) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": path,
        "contentSize": f"{file.bytes} B",
        "encodingFormat": FORMATS.get(path.rpartition(".")[2], "application/octet-stream"),
        "sha256": file.sha256,
    }
