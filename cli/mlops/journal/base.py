"""The contracts of a journal: a log to append to, and readers of what it holds.

Code that needs one of them takes that one alone, so that a substitute for a journal is small; a
`Journal` is all of them. The methods that read may be called from any thread, and raise a
`RemoteError` if the store cannot be read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mlops.errors import RemoteError
from mlops.journal.consumer_records import Alarm, Offset, Progress, Reading
from mlops.journal.features import KeptRows
from mlops.journal.records import (
    Decision,
    DrawnRequest,
    Fact,
    LabelledRow,
    NewOutcome,
    Observation,
    PolicyEpoch,
    RevisionEvent,
    ShadowPair,
    ShadowTruth,
    StoredOutcome,
    Traffic,
    TrafficSlice,
    Value,
    Void,
)

if TYPE_CHECKING:
    from mlops.journal.columns import OutcomeColumns, RequestColumns
    from mlops.journal.streaming import Decisions


class JournalUnavailableError(RemoteError):
    """The journal could not be written; nothing of this batch was stored."""


class ArchiveAwayError(JournalUnavailableError):
    """Outcomes are about requests in an archive that cannot be read; the others can be stored.

    Attributes:
        nonces: Decisions that are out of reach.
        names: The callers' own ids of such decisions.
    """

    def __init__(
        self, message: str, *, hint: str | None, nonces: Collection[bytes], names: Collection[str]
    ) -> None:
        super().__init__(message, hint=hint)
        self.nonces, self.names = nonces, names

    def concerns(self, outcome: NewOutcome) -> bool:
        """Whether an outcome is about one of them."""
        return outcome.nonce in self.nonces if outcome.nonce else outcome.client_id in self.names


class JournalFullError(JournalUnavailableError):
    """There is no space left to write it; it works again once there is."""


class Log(Protocol):
    """Append-only store of decisions and outcomes.

    One writer thread in each process, and any number of readers. Processes that write at once,
    where the store allows it, get the same answers as one that writes for all of them.
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
            The status of each outcome, in order.

        Raises:
            JournalUnavailableError: Nothing of the batch was stored; it may be tried again.
                `JournalFullError` where it is for lack of space.
        """
        ...

    def far(self, outcomes: Sequence[NewOutcome]) -> list[bool]:
        """Say of each outcome whether `append` would have to read an archive for it first.

        Raises:
            JournalUnavailableError: It cannot be told now.
        """
        ...

    def look_up(self, outcomes: Sequence[NewOutcome]) -> None:
        """Read what an archive has of the requests of outcomes, which may take seconds.

        `append` then finds it at once. May be called from any thread.

        Raises:
            ArchiveAwayError: It cannot be read.
            JournalUnavailableError: The journal cannot be read.
        """
        ...

    def openings(self) -> int:
        """Return how often this process has opened the store, or found a connection to it broken.

        Another number than before: another store may be in its place, as from a backup. May be
        called from any thread.

        Raises:
            JournalUnavailableError: It cannot be opened now.
        """
        ...

    def record(self, facts: Sequence[Fact]) -> None:
        """Store other facts in one durable commit.

        A shadow's answer and a policy epoch are stored once, however often they are sent; a
        revision that goes live has epoch 0, the weights of its spec. So of two processes that
        publish the same epoch one succeeds.

        Args:
            facts: Any number.

        Raises:
            ConflictError: Another policy epoch has this number; nothing was stored.
            JournalUnavailableError: Nothing of them was stored; it may be tried again.
        """
        ...

    def void(self, nonces: Iterable[bytes], *, time_ms: int, reason: str, by: str) -> int:
        """Exclude the present outcomes of these decisions from all later reads.

        The outcomes stay in the store. A new outcome of such a row is accepted.

        Args:
            nonces: Identities of the decisions.
            time_ms: Now, milliseconds since 1970 in UTC.
            reason: Why.
            by: Who does it.

        Returns:
            The number of outcomes that no longer count.

        Raises:
            JournalUnavailableError: Nothing was stored.
        """
        ...

    def close(self) -> None:
        """Close the database."""
        ...


class Stream(Protocol):
    """The log in its order, for readers that continue where they were.

    Any number of readers may read at once, each from an offset of its own.
    """

    def end(self) -> Offset:
        """Return the last rows that can be read: none will be stored before them.

        Raises:
            RemoteError: The journal cannot be read now, or its writers are too busy.
        """
        ...

    def begin(self, revisions: Iterable[int]) -> Offset:
        """Return an offset behind which all decisions and outcomes of these revisions are.

        It is the end where there are none yet.

        Args:
            revisions: Their numbers.
        """
        ...

    def decisions(self, after: int, end: int, limit: int) -> Decisions:
        """Read decisions in the order of the log.

        Args:
            after: Offset of the last decision that was read; 0 for none.
            end: Offset of the last that may be read, from `end`.
            limit: Most to read, at least 1; large features, and the end of an archived part, may
                make it fewer. Where there is none there are no more up to `end`.
        """
        ...

    def outcomes(self, after: int, end: int, limit: int) -> tuple[list[Observation], int]:
        """Read outcomes that count, joined to their decisions, in the order of the log.

        Args:
            after: Offset of the last outcome that was read; 0 for none.
            end: Offset of the last that may be read, from `end`.
            limit: Most to read, at least 1.

        Returns:
            The outcomes, and the offset up to which there is no other.
        """
        ...

    def rows_of(self, nonces: Iterable[bytes]) -> dict[bytes, KeptRows]:
        """Read the rows of requests whose features were kept, and are not forgotten.

        Args:
            nonces: Of the requests.
        """
        ...

    def count_outcomes(self, nonces: Iterable[bytes], upto: int) -> Counter[bytes]:
        """Count the outcomes of requests that count, up to an offset.

        Args:
            nonces: Of the requests.
            upto: Offset of the last outcome that is counted.
        """
        ...


class Evidence(Protocol):
    """What experiments are judged by."""

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

    def request_columns(self, revisions: Iterable[int]) -> Iterator[RequestColumns]:
        """Read every request for which the policy drew an arm, some at a time, as columns.

        They come in the order of the log, which is nearly, and not always, that of the draws.

        Args:
            revisions: Only requests that these answered.
        """
        ...

    def outcome_columns(self, revisions: Iterable[int]) -> Iterator[OutcomeColumns]:
        """Read outcomes of drawn requests that count, in order of arrival, some at a time.

        Args:
            revisions: Only outcomes of these revisions.
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


class ShadowReader(Protocol):
    """What shadows made of the requests."""

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


class History(Protocol):
    """Events other than decisions and outcomes."""

    def revision_events(self) -> list[RevisionEvent]:
        """Return every administrative row, oldest first."""
        ...

    def epochs(self, revisions: Iterable[int] | None = None) -> list[PolicyEpoch]:
        """Return the policy epochs, by revision and number.

        Each revision has an epoch 0; in a journal of an older version, made from its spec.

        Args:
            revisions: Only those of these revisions; all by default.
        """
        ...

    def newer_epoch(self, revision: int, after: int) -> PolicyEpoch | None:
        """Return the newest policy epoch of a revision that was published; None if none is newer.

        Args:
            revision: Its number.
            after: Number of the epoch that is known.
        """
        ...

    def voids(self) -> list[Void]:
        """Count voided outcomes by revision, time and reason, oldest first."""
        ...

    def count_voids(self) -> int:
        """Count all voided outcomes."""
        ...

    def losses(self) -> dict[str, int]:
        """Return how many rows of each kind were shed in total."""
        ...


class Sums(Protocol):
    """Counts and sizes."""

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

    def totals(self) -> dict[str, int]:
        """Count all decisions as `requests`, and all `outcomes`."""
        ...

    def size_bytes(self) -> int:
        """Return its size on disk, without what is free for new rows where that is known."""
        ...


class Consumption(Protocol):
    """Progress of the consumers of the log."""

    def claim(self, start: Progress, owner: str, now_ms: int, lease_ms: int) -> Progress | None:
        """Acquire or renew the lease of a consumer.

        Args:
            start: Where it begins if it is new.
            owner: Who asks.
            now_ms: Now, milliseconds since 1970 in UTC.
            lease_ms: For how long.

        Returns:
            How far it is; None if another process has it.

        Raises:
            JournalUnavailableError: It could not be taken.
        """
        ...

    def advance(self, step: Progress, owner: str, now_ms: int, lease_ms: int) -> bool:
        """Store how far a consumer is and renew its lease; return False if another has it.

        A negative `lease_ms` releases it.

        Raises:
            JournalUnavailableError: It was not stored.
        """
        ...

    def progress(self, now_ms: int) -> list[Progress]:
        """Return the progress of each consumer, with its lag, by name."""
        ...


class Memory(Protocol):
    """State that consumers keep of the log, and what they found in it."""

    def remember(self, consumer: str, parts: Mapping[str, Any], now_ms: int) -> None:
        """Store parts of a consumer's state, each replacing its former value; all or none.

        Args:
            consumer: Its name.
            parts: Name to JSON data.
            now_ms: Now, milliseconds since 1970 in UTC.

        Raises:
            JournalUnavailableError: They were not stored.
        """
        ...

    def settle(self, consumer: str, part: str, document: Any, now_ms: int) -> Any:  # noqa: ANN401 - JSON data
        """Store a part unless it is there; return the one that is there then.

        Of several processes that do so at once, all get the same answer.

        Args:
            consumer: Its name.
            part: Name of the part.
            document: JSON data.
            now_ms: Now, milliseconds since 1970 in UTC.

        Raises:
            JournalUnavailableError: It was not stored.
        """
        ...

    def remembered(self, consumer: str, parts: Iterable[str]) -> dict[str, Any]:
        """Return the stored parts of a consumer's state."""
        ...

    def readings(self, consumers: Iterable[str]) -> list[Reading]:
        """Return what consumers measured last: their parts `READINGS`."""
        ...

    def raise_alarms(self, alarms: Iterable[Alarm]) -> None:
        """Store alarms, each id once.

        Raises:
            JournalUnavailableError: They were not stored.
        """
        ...

    def alarms(self) -> list[Alarm]:
        """Return every alarm, oldest first."""
        ...

    def alarms_sent(self, ids: Iterable[str], now_ms: int) -> None:
        """Record that a webhook accepted alarms; all or none.

        Args:
            ids: Of the alarms.
            now_ms: Now, milliseconds since 1970 in UTC.

        Raises:
            JournalUnavailableError: They were not stored.
        """
        ...


class Journal(Log, Stream, Consumption, Memory, Evidence, ShadowReader, History, Sums, Protocol):
    """Everything that a journal does for a server and its report."""
