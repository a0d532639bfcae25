"""Two statements of one label -> one value, or why they cannot both be right."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamdata.frame import F64
from lamdata.units import STRESS

from ..build import Unusable, tensor

CLOSE = 0.02  # relative; both are printed with few digits by some
FINEST = 5e-5  # eV/Å^3 (0.008 GPa): a stress is seldom printed more finely


def same(one: Any, other: Any) -> bool:
    """Say whether two energies, charges or arrays are equal but for the last digits that were printed."""
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-8, atol=1e-6, equal_nan=True))


def virial_of_both(virial: Any, stress: Any, *, volume: float) -> F64:
    """The virial in eV, once -V x the stress (eV/Å^3) is known to be the same."""
    stated, expected = tensor(virial), -volume * tensor(stress)
    room = CLOSE * max(np.abs(stated).max(), np.abs(expected).max()) + FINEST * volume
    if np.abs(stated - expected).max() <= room or not np.isfinite(stated + expected).all():
        return stated
    ratio = float((stated * expected).sum() / max(float((expected**2).sum()), 1e-300))
    alike = bool(np.abs(stated - ratio * expected).max() <= CLOSE * np.abs(stated).max())
    if alike and abs(ratio + 1) < CLOSE:
        raise Unusable("virial and stress have opposite signs: say `options: {stress: pressure}`, or `keys: {stress: ''}`")
    unit = next((name for name, size in STRESS.items() if alike and size != 1.0 and abs(abs(ratio) / size - 1) < CLOSE), None)
    if unit is not None:
        raise Unusable(
            f"virial and stress disagree: the stress looks like {unit}{' of the other sign' * (ratio < 0)}", f"factor {ratio:.5g}"
        )
    raise Unusable("virial and stress disagree", f"virial xx {stated[0, 0]:.6g} eV, of the stress {expected[0, 0]:.6g} eV")
