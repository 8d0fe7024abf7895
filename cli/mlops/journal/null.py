"""A journal that keeps no evidence, for a server that is one arm of another system's experiment.

The platform in front of it splits the traffic, so there is nothing here to analyse and no volume to
write on. Feedback is counted in the metrics and forgotten.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
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
    """A `Journal` of this process: feedback that names one of its requests is accepted, also twice.

    What little it keeps is in a temporary file, gone when it is closed or with the process. In
    memory SQLite refuses a thread what another one has locked, instead of waiting for it
    (https://sqlite.org/sharedcache.html#shared_cache_locking_model).
    """

    def __init__(self) -> None:
        folder = tempfile.mkdtemp(prefix="mlops-")
        self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        super().__init__(f"sqlite:///{folder}/journal.db")

    def close(self) -> None:
        """See `Log.close`."""
        super().close()
        self._remove()

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
