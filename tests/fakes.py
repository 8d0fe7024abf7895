"""Stand-ins for what the parts are given from outside."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from mlops.journal.base import JournalUnavailableError
from mlops.journal.records import (
    Decision,
    Fact,
    Fate,
    Loss,
    NewOutcome,
    ShadowDecision,
    StoredOutcome,
)


class FakeJournal:
    """A journal in memory that fails, or waits, when told to.

    Attributes:
        batches: How many decisions and outcomes each commit held.
        failure: Raised by the next commits, while it is set.
        shadow_failure: The same for what shadows answered.
        gate: Commits wait until it is open.
        entered: Set whenever a commit begins.
        opened: How often it was opened.
    """

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.outcomes: list[NewOutcome] = []
        self.shadows: list[ShadowDecision] = []
        self.batches: list[tuple[int, int]] = []
        self.lost: dict[str, int] = {}
        self.size = 0
        self.failure: Exception | None = None
        self.shadow_failure: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.opened = 1

    def openings(self) -> int:
        return self.opened

    def append(
        self, decisions: Sequence[Decision], outcomes: Sequence[NewOutcome]
    ) -> list[StoredOutcome]:
        self.entered.set()
        self.gate.wait(120)
        if self.failure is not None:
            raise self.failure
        self.batches.append((len(decisions), len(outcomes)))
        self.decisions += decisions
        self.outcomes += outcomes
        return [StoredOutcome(Fate.ACCEPTED, outcome) for outcome in outcomes]

    def far(self, outcomes: Sequence[NewOutcome]) -> list[bool]:
        return [False] * len(outcomes)

    def look_up(self, outcomes: Sequence[NewOutcome]) -> None:
        return

    def record(self, facts: Sequence[Fact]) -> None:
        shadows = [fact for fact in facts if isinstance(fact, ShadowDecision)]
        if shadows and self.shadow_failure is not None:
            raise self.shadow_failure
        if not shadows and self.failure is not None:
            raise JournalUnavailableError("The journal is out of order.")
        self.shadows += shadows
        for fact in facts:
            if isinstance(fact, Loss):
                self.lost[fact.kind] = self.lost.get(fact.kind, 0) + fact.count

    def void(self, nonces: Iterable[bytes], *, time_ms: int, reason: str, by: str) -> int:
        return 0

    def losses(self) -> dict[str, int]:
        return dict(self.lost)

    def size_bytes(self) -> int:
        return self.size

    def close(self) -> None:
        return
