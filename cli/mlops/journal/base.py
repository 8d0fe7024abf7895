"""The contract of a journal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from mlops.errors import RemoteError
from mlops.journal.records import (
    Decision,
    DrawnRequest,
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


class JournalUnavailableError(RemoteError):
    """The journal could not be written; nothing of this batch was stored."""


class JournalFullError(JournalUnavailableError):
    """There is no space left to write it; it works again by itself once there is."""


class Journal(Protocol):
    """Append-only store of decisions and outcomes.

    One writer thread in each process, and any number of readers. Processes that write at once,
    where the store allows it, get the same answers as one that writes for all of them. The methods
    that read raise a `RemoteError` if the store cannot be read.
    """

    def append(
        self, decisions: Sequence[Decision], outcomes: Sequence[NewOutcome]
    ) -> list[StoredOutcome]:
        """Store a batch in one durable commit; once it returns, the batch survives a power cut.

        Decisions come first, so that an outcome may name a decision of its own batch. Storing
        the same decision or outcome again changes nothing.

        Args:
            decisions: Any number.
            outcomes: Any number.

        Returns:
            The fate of each outcome, in order.

        Raises:
            JournalUnavailableError: Nothing of the batch was stored; it may be tried again.
                `JournalFullError` where it is for want of space.
        """
        ...

    def append_shadows(self, decisions: Sequence[ShadowDecision]) -> None:
        """Store what shadows answered; storing the same again changes nothing.

        Raises:
            JournalUnavailableError: Nothing of the batch was stored; it may be tried again.
        """
        ...

    def record_loss(self, kind: str, count: int, time_ms: int) -> None:
        """Write down that `count` rows of a kind had to be shed.

        Raises:
            JournalUnavailableError: It was not stored.
        """
        ...

    def record_revision(self, event: RevisionEvent) -> None:
        """Copy an event of the ledger, to align times.

        Raises:
            JournalUnavailableError: It was not stored.
        """
        ...

    def observations(self, revisions: Iterable[int] | None = None) -> Iterator[Observation]:
        """Read stored outcomes in order of arrival, joined to their decisions.

        Args:
            revisions: Only outcomes of these revisions; all by default.
        """
        ...

    def drawn_requests(self, revisions: Iterable[int]) -> Iterator[DrawnRequest]:
        """Read every request for which the policy drew an arm, in the order of the draws.

        Args:
            revisions: Only requests that these answered.
        """
        ...

    def cells(self, revisions: Iterable[int], column: str) -> Iterator[tuple[bytes, Value]]:
        """Read one feature of the first row of every drawn request that has it, with its nonce.

        Args:
            revisions: Only requests that these answered.
            column: Name of the feature.
        """
        ...

    def labelled_rows(self, revisions: Iterable[int]) -> Iterator[LabelledRow]:
        """Read rows whose features and truth are both known, in order of the truth's arrival.

        Args:
            revisions: Only decisions of these revisions.
        """
        ...

    def traffic(self) -> list[Traffic]:
        """Count decisions by revision and arm, in that order."""
        ...

    def traffic_over_time(self, revisions: Iterable[int], width_ms: int) -> list[TrafficSlice]:
        """Count decisions that the policy drew by stretch of time, revision and arm, in that order.

        Stretches and arms without any are left out.

        Args:
            revisions: Only decisions of these.
            width_ms: Width of a stretch in milliseconds, at least 1; stretches start at multiples
                of it since 1970 in UTC.
        """
        ...

    def shadow_pairs(self, revisions: Iterable[int]) -> Iterator[ShadowPair]:
        """Read what shadows answered beside what was served, in order of arrival.

        Args:
            revisions: Only answers of these revisions.
        """
        ...

    def shadow_truths(self, revisions: Iterable[int]) -> Iterator[ShadowTruth]:
        """Read rows whose truth is known and that a shadow got a copy of.

        Args:
            revisions: Only answers of these revisions.
        """
        ...

    def revision_events(self) -> list[RevisionEvent]:
        """Return every administrative row, oldest first."""
        ...

    def void(self, nonces: Iterable[bytes], *, time_ms: int, reason: str, by: str) -> int:
        """Leave every outcome that these decisions have now out of all that is read from now on.

        The outcomes stay in the store. A new outcome of such a row is taken again.

        Args:
            nonces: Identities of the decisions.
            time_ms: Now, milliseconds since 1970 in UTC.
            reason: Why.
            by: Who does it.

        Returns:
            How many outcomes counted before and do not any more.

        Raises:
            JournalUnavailableError: Nothing was stored.
        """
        ...

    def voids(self) -> list[Void]:
        """Count voided outcomes by revision, time and reason, oldest first."""
        ...

    def losses(self) -> dict[str, int]:
        """Return how many rows of each kind were shed in all."""
        ...

    def totals(self) -> dict[str, int]:
        """Count all decisions as `requests`, and all `outcomes`."""
        ...

    def size_bytes(self) -> int:
        """Return what it takes on disk."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...
