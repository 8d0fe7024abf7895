"""The arms that sticky units had before the weights changed.

New weights are for new units: one that came under an earlier revision of the same experiment keeps
the arm it had first. Otherwise a ramp would move people in the middle of what is measured about
them. Units of the live revision need no memory, since the hash that drew their arm draws it again.

The journal is the memory, so that every replica and every restart knows the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops.journal.records import DrawnRequest
from mlops.policies.base import Choice

_BYTES = 8


@dataclass(frozen=True, slots=True)
class FirstArms:
    """Where units were first; 18 bytes a unit.

    Attributes:
        units: Keyed hashes of the units as numbers, (n,), ascending.
        arms: Arm of each, (n,).
        propensities: Probability with which it was drawn, (n,).
    """

    units: NDArray[np.uint64]
    arms: NDArray[np.int16]
    propensities: NDArray[np.float64]

    def of(self, unit: bytes) -> Choice | None:
        """Return the arm that a unit had first; None for one that is new."""
        number = np.uint64(int.from_bytes(unit, "big"))
        at = int(np.searchsorted(self.units, number))
        if at == self.units.size or self.units[at] != number:
            return None
        return Choice(int(self.arms[at]), float(self.propensities[at]))


def first_arms(requests: Iterable[DrawnRequest]) -> FirstArms:
    """Find the first arm of every sticky unit.

    Args:
        requests: In the order of the draws.
    """
    found: dict[bytes, tuple[int, float]] = {}
    for request in requests:
        if request.unit is not None and request.unit not in found:
            found[request.unit] = request.arm, request.propensity
    units = np.frombuffer(b"".join(found), dtype=f">u{_BYTES}").astype(np.uint64)
    arms = np.array([arm for arm, _ in found.values()], dtype=np.int16)
    propensities = np.array([propensity for _, propensity in found.values()], dtype=np.float64)
    order = np.argsort(units)
    return FirstArms(units[order], arms[order], propensities[order])
