"""A journal that keeps nothing, for a server that is one arm of somebody else's experiment.

The platform in front of it splits the traffic, so there is nothing here to analyse and no volume to
write on. Feedback is counted in the metrics and forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mlops.journal.base import Journal
from mlops.journal.records import (
    Decision,
    DrawnRequest,
    Fate,
    LabelledRow,
    NewOutcome,
    Observation,
    RevisionEvent,
    ShadowDecision,
    ShadowPair,
    ShadowTruth,
    StoredOutcome,
    Traffic,
    TrafficSlice,
    Value,
    Void,
)

#: The URL that means it.
URL = "none:"


class NoJournal:
    """A `Journal` without memory: whatever names a request of ours is accepted, also twice."""

    def append(
        self, decisions: Sequence[Decision], outcomes: Sequence[NewOutcome]
    ) -> list[StoredOutcome]:
        """Forget the batch; an outcome counts if it says which request it is about."""
        return [
            StoredOutcome(Fate.UNMATCHED if outcome.nonce else Fate.UNKNOWN, outcome)
            for outcome in outcomes
        ]

    def append_shadows(self, decisions: Sequence[ShadowDecision]) -> None:
        """Forget them."""

    def record_loss(self, kind: str, count: int, time_ms: int) -> None:
        """Forget it."""

    def record_revision(self, event: RevisionEvent) -> None:
        """Forget it."""

    def observations(self, revisions: Iterable[int] | None = None) -> Iterator[Observation]:
        """Yield nothing."""
        return iter(())

    def drawn_requests(self, revisions: Iterable[int]) -> Iterator[DrawnRequest]:
        """Yield nothing."""
        return iter(())

    def cells(self, revisions: Iterable[int], column: str) -> Iterator[tuple[bytes, Value]]:
        """Yield nothing."""
        return iter(())

    def labelled_rows(self, revisions: Iterable[int]) -> Iterator[LabelledRow]:
        """Yield nothing."""
        return iter(())

    def traffic(self) -> list[Traffic]:
        """Return nothing."""
        return []

    def traffic_over_time(self, revisions: Iterable[int], width_ms: int) -> list[TrafficSlice]:
        """Return nothing."""
        return []

    def shadow_pairs(self, revisions: Iterable[int]) -> Iterator[ShadowPair]:
        """Yield nothing."""
        return iter(())

    def shadow_truths(self, revisions: Iterable[int]) -> Iterator[ShadowTruth]:
        """Yield nothing."""
        return iter(())

    def revision_events(self) -> list[RevisionEvent]:
        """Return nothing."""
        return []

    def void(self, nonces: Iterable[bytes], *, time_ms: int, reason: str, by: str) -> int:
        """Return 0: there is none."""
        return 0

    def voids(self) -> list[Void]:
        """Return nothing."""
        return []

    def losses(self) -> dict[str, int]:
        """Return nothing."""
        return {}

    def totals(self) -> dict[str, int]:
        """Return nothing."""
        return {}

    def size_bytes(self) -> int:
        """Return 0."""
        return 0

    def close(self) -> None:
        """Do nothing."""


def open_journal(url: str) -> Journal:
    """Open the journal that a URL names.

    Raises:
        InvalidInputError: The URL or the tables are not ours to use.
        RemoteError: The database cannot be reached.
    """
    if url == URL:
        return NoJournal()
    from mlops.journal.sql import SqlJournal

    return SqlJournal(url)
