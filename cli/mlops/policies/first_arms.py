"""The arms that sticky units had before the weights changed.

New weights are for new units: one that came under an earlier revision of the same experiment keeps
the arm it had first. Otherwise a ramp would move users in the middle of what is measured about
them. Units of the live revision need no memory, since the hash that drew their arm draws it again.

The journal is the memory, so that every replica and every restart knows the same. While replicas
are rolled out one after the other, old ones still meet new units: the journal is read on
until they have been idle for a while.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mlops.policies.drawing import Choice

_BYTES = 8
# Marks a unit that the live revision met first.
_OWN = -1
# New units that are kept in a dictionary, which takes ten times as much, before they are joined.
_NEW_UNITS = 500_000


@dataclass(frozen=True, slots=True)
class FirstArms:
    """First arms of units; 18 bytes a unit.

    Attributes:
        units: Keyed hashes of the units as numbers, (n,), ascending.
        arms: Arm of each, (n,).
        propensities: Probability with which it was drawn, (n,).
    """

    units: NDArray[np.uint64]
    arms: NDArray[np.int16]
    propensities: NDArray[np.float64]

    def of(self, unit: bytes) -> Choice | None:
        """Return the arm that a unit had first; None for one that is new, or the revision's own."""
        at = self._find(unit)
        if at is None or self.arms[at] == _OWN:
            return None
        return Choice(int(self.arms[at]), float(self.propensities[at]))

    def __contains__(self, unit: bytes) -> bool:
        """Whether a unit was met before."""
        return self._find(unit) is not None

    def only(self, arms: Iterable[int]) -> FirstArms:
        """Return the units that have one of these arms; none of the live revision's own."""
        kept = np.isin(self.arms, list(arms))
        return FirstArms(self.units[kept], self.arms[kept], self.propensities[kept])

    @property
    def digest(self) -> str:
        """Tell these units and arms from others."""
        columns = (self.units, self.arms, self.propensities)
        return hashlib.sha256(b"".join(each.tobytes() for each in columns)).hexdigest()[:16]

    def _find(self, unit: bytes) -> int | None:
        number = np.uint64(int.from_bytes(unit, "big"))
        at = int(np.searchsorted(self.units, number))
        return at if at < self.units.size and self.units[at] == number else None


@dataclass(slots=True)
class Rollout:
    """Collects first arms as requests are added to the journal; used by one thread at a time.

    Attributes:
        live: The live revision, whose own units need no memory.
        known: The first arms so far.
        after: Offset in the journal's decisions from which to read on; None before the first.
    """

    live: int
    known: FirstArms = field(
        default_factory=lambda: FirstArms(
            np.empty(0, np.uint64), np.empty(0, np.int16), np.empty(0, np.float64)
        )
    )
    after: int | None = None

    def learn(self, requests: Iterable[tuple[bytes | None, int, int, float]]) -> bool:
        """Add unit, revision, arm and propensity of requests, in the order of the draws.

        Returns:
            Whether one was answered by an earlier revision.
        """
        found: dict[bytes, tuple[int, float]] = {}
        came = False
        for unit, revision, arm, propensity in requests:
            earlier = revision != self.live
            came |= earlier
            if unit is not None and unit not in found and unit not in self.known:
                found[unit] = (arm if earlier else _OWN), propensity
                if len(found) == _NEW_UNITS:
                    self.known = _joined(self.known, found)
                    found = {}
        if found:
            self.known = _joined(self.known, found)
        return came


def _joined(known: FirstArms, found: dict[bytes, tuple[int, float]]) -> FirstArms:
    new = np.frombuffer(b"".join(found), dtype=f">u{_BYTES}").astype(np.uint64)
    units = np.concatenate([known.units, new])
    arms = np.array([arm for arm, _ in found.values()], dtype=np.int16)
    propensities = np.array([propensity for _, propensity in found.values()], dtype=np.float64)
    order = np.argsort(units)
    return FirstArms(
        units[order],
        np.concatenate([known.arms, arms])[order],
        np.concatenate([known.propensities, propensities])[order],
    )
