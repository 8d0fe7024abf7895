"""A journal that keeps no evidence, for a server that is one arm of another system's experiment.

The platform in front of it splits the traffic, so there is nothing here to analyse and no volume to
write on. Feedback is counted in the metrics and forgotten.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from mlops.journal.base import Journal
from mlops.journal.records import (
    Decision,
    Fact,
    Fate,
    NewOutcome,
    RevisionEvent,
    StoredOutcome,
)
from mlops.journal.sql import SqlJournal

#: Its URL.
URL = "none:"


class NullJournal(SqlJournal):
    """A `Journal` in memory: feedback that names one of its requests is accepted, also twice."""

    def __init__(self) -> None:
        # Shared by all threads of this process, gone with it.
        name = f"mlops-{secrets.token_hex(8)}"
        super().__init__(f"sqlite:///file:{name}?mode=memory&cache=shared&uri=true")

    def append(
        self, decisions: Sequence[Decision], outcomes: Sequence[NewOutcome]
    ) -> list[StoredOutcome]:
        """Drop the batch; an outcome counts if it names its request."""
        return [
            StoredOutcome(Fate.UNMATCHED if outcome.nonce else Fate.UNKNOWN, outcome)
            for outcome in outcomes
        ]

    def record(self, facts: Sequence[Fact]) -> None:
        """Keep revisions, of which there are few."""
        super().record([fact for fact in facts if isinstance(fact, RevisionEvent)])


def open_journal(url: str) -> Journal:
    """Open the journal of a URL, now or, if it is unavailable, once it is back.

    Raises:
        InvalidInputError: The URL or the tables cannot be used.
    """
    return NullJournal() if url == URL else SqlJournal(url, patient=True)
