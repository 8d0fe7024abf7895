"""A journal that keeps nothing."""

from __future__ import annotations

from pathlib import Path

from mlops.journal.null import URL, NullJournal, open_journal
from mlops.journal.records import Fate
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
