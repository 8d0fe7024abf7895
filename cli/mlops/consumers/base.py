"""The contract of a consumer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from mlops.journal.base import Journal
from mlops.journal.consumer_records import Offset
from mlops.journal.records import Observation
from mlops.journal.streaming import Decisions


@dataclass(frozen=True, slots=True)
class Batch:
    """What the journal holds after what a consumer has taken.

    Attributes:
        decisions: In the order of the journal; their `nonces` identify them.
        outcomes: In the order of the journal, joined to their decisions; identified by nonce, row
            and ordinal. An outcome may come in an earlier batch than its decision.
    """

    decisions: Decisions
    outcomes: list[Observation]

    def __len__(self) -> int:
        """Return the number of events."""
        return len(self.decisions) + len(self.outcomes)


class Consumed(NamedTuple):
    """What a consumer did with a batch.

    Attributes:
        sent: Events that it took.
        dropped: Events that it left out, which it may only where the user asked for a sample.
        warning: What the operator should look at; stays until the next batch.
        offset: Of a consumer that reads the journal itself: its offset.
        behind: Whether it has more to read there now.
    """

    sent: int = 0
    dropped: int = 0
    warning: str = ""
    offset: Offset | None = None
    behind: bool = False


@dataclass(frozen=True, slots=True)
class Context:
    """What a consumer works with.

    Attributes:
        deployment: Name of the deployment.
        journal: For questions beyond the batch.
        options: What the user wrote for it.
        key: The deployment's key, which request ids and hashes are made with; empty without one.
    """

    deployment: str
    journal: Journal
    options: Mapping[str, Any]
    key: bytes = b""


class Consumer(Protocol):
    """Takes the events of one deployment.

    Used by one thread of the runner's process, in which other consumers run too.

    Attributes:
        start: Whether it takes what the journal held before it was first used: `beginning`, or
            `end` for what comes from now on.
        looks_only: Optional. Whether it takes no events, but looks at the journal at intervals:
            none are read for it, and its batches are empty.
        taken_outcomes: Optional. Up to which outcome one that looks only has taken them, or None:
            its lag is counted from there while it fails.
        at_once: Optional. Most decisions, and most outcomes, of a batch.
        wait_s: Optional. How long events may wait until a batch is full, seconds.
        join_s: Optional. How long an outcome waits for its decision, which another worker may store
            later, seconds; the outcomes behind it wait too. Without it none waits.
        heartbeat_s: Optional. After so many seconds without events an empty batch comes.
    """

    @property
    def start(self) -> Literal["beginning", "end"]:
        """See above; a class has it, too."""
        ...

    def consume(self, batch: Batch) -> Consumed:
        """Take a batch; it returns once the batch is delivered.

        Called at least once for each event, in the order of the journal: after a crash the last
        batch comes again, perhaps cut otherwise, so what is sent must be idempotent by the identity
        of the event. Called with an empty batch at intervals. It may raise anything, and is then
        given the same events again after a pause.

        Args:
            batch: At most some thousand events, and 16 MiB of features.
        """
        ...

    def close(self) -> None:
        """Release everything."""
        ...


class Maker(Protocol):
    """Makes a consumer."""

    def __call__(self, context: Context) -> Consumer:
        """Return a consumer that is ready.

        Raises:
            MlopsError: Its options will not do.
        """
        ...
