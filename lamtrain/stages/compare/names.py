"""Names of errors, as they stand in submissions, tables and files, each with its unit."""

from __future__ import annotations

from lamdata.located import did_you_mean

METRICS = {  # label -> its errors
    "energy": ("energy_mae_mev_per_atom", "energy_rmse_mev_per_atom"),
    "force": ("force_mae_mev_per_angstrom", "force_rmse_mev_per_angstrom", "force_cosine"),
    "virial": ("virial_mae_mev_per_atom", "virial_rmse_mev_per_atom"),
}
ALL = [name for names in METRICS.values() for name in names]


def check_metrics(tasks: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Refuse the name of an error that there is none of."""
    for task, errors in tasks.items():
        for name in errors:
            if name not in ALL:
                raise ValueError(f"{task}: no error is called {name!r}; {did_you_mean(name, ALL)}")
    return tasks
