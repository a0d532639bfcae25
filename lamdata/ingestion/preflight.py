"""Preflight: what a catalog promises that is not there."""

from __future__ import annotations

from ..catalog import Catalog
from ..errors import ConfigError, ConfigErrors, SourceError
from ..sources import expand, reader


def missing_sources(catalog: Catalog) -> None:
    """Raise every source that matches no file and every format that no reader has; remote sources are not asked for."""
    errors: list[ConfigError] = []
    for name, card in catalog.cards.items():
        file = catalog.files[name]
        for i, spec in enumerate(card.sources):
            where = f"{file} (sources.{i})"
            try:
                if spec.format != "auto":
                    reader(spec.format)
                if "://" not in spec.path or spec.path.startswith("package://"):
                    expand(spec, base=file.parent)
            except (ConfigError, SourceError) as err:
                errors.append(ConfigError(err.message, where=where, hint=err.hint))
    if errors:
        raise ConfigErrors(errors)
