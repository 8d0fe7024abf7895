"""Request ids of rows of the journal, which has their parts only."""

from __future__ import annotations

from typing import Protocol

from mlops.live_page.source import Source
from mlops.spec.request_id import mint


class HasParts(Protocol):
    """What an id is made of, see `mlops.spec.request_id`."""

    @property
    def nonce(self) -> bytes:
        """Identity of the decision."""

    @property
    def time_ms(self) -> int:
        """When its arm was drawn."""

    @property
    def revision(self) -> int:
        """Which revision answered."""

    @property
    def position(self) -> int:
        """Position of the arm in it."""

    @property
    def propensity(self) -> float:
        """Probability with which it was drawn."""


def id_of(source: Source, of: HasParts) -> str:
    """Return the request id of a decision."""
    return mint(
        source.key,
        nonce=of.nonce,
        time_ms=of.time_ms,
        revision=of.revision,
        arm=of.position,
        propensity=of.propensity,
    )
