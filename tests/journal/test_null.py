"""A journal that keeps nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlops.journal.null import URL, NullJournal, open_journal
from mlops.journal.records import Fate, RevisionEvent
from mlops.journal.sql import SqlJournal
from tests.journal.rows import decision, named, outcome


def test_what_names_a_request_counts_and_is_forgotten() -> None:
    journal = open_journal(URL)
    assert isinstance(journal, NullJournal)
    stored = journal.append([decision(1)], [outcome(1, reward=0.0), named("mine")])
    assert [item.fate for item in stored] == [Fate.UNMATCHED, Fate.UNKNOWN]
    assert stored[0].outcome.reward == 0.0
    assert list(journal.observations()) == []
    assert journal.traffic() == []
    assert journal.revision_events() == []


def test_other_urls_are_databases(tmp_path: Path) -> None:
    journal = open_journal(f"sqlite:///{tmp_path / 'journal.db'}")
    assert isinstance(journal, SqlJournal)
    journal.close()


def test_threads_wait_for_each_other_and_nothing_is_left() -> None:
    """In memory each was refused what another one read or wrote, and feedback with it."""
    journal = NullJournal()
    folder = Path(str(journal._engine.url.database)).parent

    def use(thread: int) -> None:
        for at in range(30):
            journal.record([RevisionEvent(thread, at, "note", {"name": "wine"})])
            journal.revision_events()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(use, range(4)))
    assert len(journal.revision_events()) == 120
    journal.close()
    assert not folder.exists()
