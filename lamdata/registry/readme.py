"""README: an entry and its card -> Markdown whose front matter Hugging Face reads: dataset cards and model cards."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .entry import Entry
from .licences import CREATIVE, identifier

# https://huggingface.co/docs/hub/repositories-licenses: what the hub calls by an identifier of its own
HUB = frozenset(
    """apache-2.0 mit afl-3.0 artistic-2.0 bsl-1.0 bsd-2-clause bsd-3-clause cc0-1.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 ecl-2.0
    epl-1.0 epl-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gpl-2.0 gpl-3.0 lgpl-2.1 lgpl-3.0 isc mpl-2.0 ncsa odc-by pddl unlicense zlib""".split()
)
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"), (10**8, "10M<n<100M"))


def readme(entry: Entry, card: Mapping[str, Any]) -> str:
    """The whole file."""
    front = _front(entry)
    parts = [f"# {_plain(entry.title)}", _facts(entry), *(_of_dataset(entry, card) if entry.kind == "dataset" else _of_model(entry))]
    if entry.citations:
        parts.append("## Cite\n\n" + "\n".join(f"- {_plain(text)}" for text in entry.citations))
    return f"---\n{front}---\n\n" + "\n\n".join(parts) + "\n"


def _front(entry: Entry) -> str:
    from ruamel.yaml import YAML

    values: dict[str, Any] = _license(entry.license) | {"pretty_name": entry.title}
    values["tags"] = ["chemistry", "materials-science", "interatomic-potentials"]
    if entry.kind == "dataset":
        frames = sum(entry.frames.values())
        values["size_categories"] = [next((name for bound, name in SIZES if frames < bound), "100M<n<1B")]
    else:
        values |= {"library_name": "lamtrain", "datasets": list(entry.data)}
        if entry.parents:
            values |= {"base_model": list(entry.parents), "base_model_relation": "finetune"}
    writer, text = YAML(), io.StringIO()
    writer.width = 4096
    writer.dump(values, text)
    return text.getvalue()


def _license(licence: str | None) -> dict[str, str]:
    if licence is None:
        return {"license": "unknown"}
    name = identifier(licence)
    name = {"odc-by-1.0": "odc-by", "pddl-1.0": "pddl"}.get(name, name)
    return {"license": name} if name in HUB or CREATIVE.fullmatch(name) else {"license": "other", "license_name": licence}


def _facts(entry: Entry) -> str:
    rows: list[tuple[str, str]] = [
        ("address", f"`{entry.address}`"),
        ("published", entry.published),
        ("licence", entry.license or "unknown"),
    ]
    rows += [("accepted", ", ".join(entry.accepted))] if entry.accepted else []
    rows += [("elements", " ".join(entry.elements)), ("theory", "; ".join(entry.theory)), ("content", f"`{entry.content}`")]
    return _table(("what", "is"), rows)


def _of_dataset(entry: Entry, card: Mapping[str, Any]) -> list[str]:
    counts = [*entry.frames.items(), *((f"with {label}", count) for label, count in entry.labels.items()), ("atoms", entry.atoms)]
    parts = [
        "## Frames\n\n" + _table(("frames", "number"), [(name, f"{count:,}") for name, count in counts]),
        f"eV, Å, eV/Å; virials in eV. A store of lamdata: `open_store('{entry.address}/store')`, or any reader of Zarr v3.",
    ]
    said = [*card.get("known_defects", []), *card.get("notes", [])]
    return parts + (["## To know\n\n" + "\n".join(f"- {_plain(text)}" for text in said)] if said else [])


def _of_model(entry: Entry) -> list[str]:
    heads = _table(("head", "task"), list(entry.heads.items()))
    data = _table(("trained on", "licence"), [(name, licence or "unknown") for name, licence in entry.licenses.items()])
    parents = [f"Made from {', '.join(entry.parents)}."] if entry.parents else []
    usage = "`load_model('model.pt')` of lamtrain; the same weights without a pickle are in `model.safetensors`, all that is known in `model.json`."
    return [f"## Heads\n\n{heads}", f"## Data\n\n{data}", *parents, usage]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines)


def _plain(text: str) -> str:
    """One line that closes no table and begins no HTML."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;")
