"""A journal that is away when its server starts, and comes back by itself."""

from __future__ import annotations

import contextlib
import gc
import shutil
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from mlops.errors import RemoteError
from mlops.journal import database
from mlops.journal.base import Journal, JournalUnavailableError
from mlops.journal.engine import open_engine
from mlops.journal.null import open_journal
from mlops.journal.records import Decision, Fate, RevisionEvent
from mlops.journal.scratch import Scratch
from mlops.journal.sql import SqlJournal
from mlops.journal.writer import JournalWriter
from mlops.protocols.base import Columns
from tests.journal.rows import T0, decision, nonce, outcome
from tests.postgresql import PostgreSQL
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_REOPEN_S", 0.05)


def _away(url: str) -> tuple[Journal, JournalWriter]:
    """What cannot be stored is refused with a reason; the rest waits."""
    journal = open_journal(url)
    with pytest.raises(RemoteError):
        journal.revision_events()
    writer = JournalWriter(journal, lambda stored: None)
    writer.add_fact(RevisionEvent(1, T0, "started", {"arms": [{"name": "a", "weight": 1.0}]}))
    writer.add_decision(decision(1))
    with pytest.raises(JournalUnavailableError) as caught:
        writer.add_outcomes([outcome(1)]).result(30)
    assert caught.value.hint
    assert writer.fault == caught.value.message
    return journal, writer


def _back(url: str, journal: Journal, writer: JournalWriter) -> None:
    """What came meanwhile is there."""
    wait_until(lambda: not writer.fault, 30)
    (stored,) = writer.add_outcomes([outcome(1)]).result(10)
    assert stored.fate in (Fate.ACCEPTED, Fate.UNMATCHED)
    assert writer.close(10)
    journal.close()
    read = SqlJournal(url)
    assert read.traffic()[0].drawn == 1
    assert [event.event for event in read.revision_events()] == ["started"]
    read.close()


def test_a_file_that_somebody_holds(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    url = f"sqlite:///{path}?timeout=0.1"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE t (x)")
        other.execute("BEGIN EXCLUSIVE")
        journal, writer = _away(url)
        other.execute("ROLLBACK")
    _back(url, journal, writer)


def test_a_file_that_is_damaged_and_mended(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"no database" * 1_000)
    journal, writer = _away(f"sqlite:///{path}")
    path.unlink()
    _back(f"sqlite:///{path}", journal, writer)


def test_a_file_that_is_damaged_while_it_is_open(tmp_path: Path) -> None:
    path, backup = tmp_path / "journal.db", tmp_path / "backup.db"
    journal = _with_features(path, backup)
    _damage(journal, path)
    for old in tmp_path.glob("journal.db*"):
        old.unlink()
    shutil.copy(backup, path)
    stored = journal.append([_of("b", 1_000)], [outcome(1)])
    assert [item.fate for item in stored] == [Fate.ACCEPTED]
    _assert_names(journal)
    assert journal.totals()["requests"] == 203
    journal.close()


def test_a_file_that_is_damaged_and_removed_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal = _with_features(path, tmp_path / "backup.db")
    _damage(journal, path)
    for old in tmp_path.glob("journal.db*"):
        old.unlink()
    journal.append([_of("b", 1_000)], [])
    _assert_names(journal)
    assert journal.totals() == {"requests": 2, "outcomes": 0}
    journal.close()


def test_a_file_that_is_replaced_while_it_is_open(tmp_path: Path) -> None:
    """Nothing is lost in the file that has no name any more."""
    path, backup = tmp_path / "journal.db", tmp_path / "backup.db"
    journal = _with_features(path, backup)
    for old in tmp_path.glob("journal.db-*"):
        old.unlink()
    backup.replace(path)
    journal.append([_of("b", 1_000)], [])
    _assert_names(journal)
    assert journal.totals()["requests"] == 203
    journal.close()


def test_what_cannot_be_read_in_its_place(tmp_path: Path) -> None:
    """It is no reason to lose decisions: another repair may come."""
    path, backup = tmp_path / "journal.db", tmp_path / "backup.db"
    journal = _with_features(path, backup)
    with contextlib.closing(sqlite3.connect(backup)) as newer, newer:
        newer.execute("UPDATE journal_meta SET version = 1000")
    backup.replace(path)
    with pytest.raises(JournalUnavailableError, match="tables of version 1000"):
        journal.append([_of("b", 1_000)], [])
    path.unlink()
    wait_until(lambda: not _refuses(journal))
    journal.append([_of("b", 1_000)], [])
    _assert_names(journal)
    journal.close()


def _of(column: str, number: int) -> Decision:
    """A decision with one feature, whose value is the number."""
    return decision(number, features=Columns({column: [number]}))


def _with_features(path: Path, backup: Path) -> SqlJournal:
    """A journal that stored lists of columns after its backup was made."""
    first = SqlJournal(f"sqlite:///{path}")
    first.append([decision(n) for n in range(200)] + [_of("a", 200)], [])
    first.close()
    shutil.copy(path, backup)
    journal = SqlJournal(f"sqlite:///{path}")
    journal.append([_of("b", 300)], [])
    return journal


def _damage(journal: SqlJournal, path: Path) -> None:
    """Overwrite all but the first page, so that a write fails."""
    journal.drain_log()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    with pytest.raises(JournalUnavailableError, match="malformed"):
        journal.append([decision(n) for n in range(500, 900)], [outcome(1)])


def _assert_names(journal: SqlJournal) -> None:
    """What is stored now, and what comes later, is read under its own name."""
    journal.append([_of("c", 1_001)], [])
    kept = journal.rows_of([nonce(1_000), nonce(1_001)])
    found = [kept[nonce(number)] for number in (1_000, 1_001)]
    assert [(each.names, each.rows) for each in found] == [(["b"], [[1_000]]), (["c"], [[1_001]])]


def test_a_server_that_is_away(database: PostgreSQL) -> None:
    url = f"{database.url}?schema=away"
    database.stop()
    try:
        journal, writer = _away(url)
    finally:
        database.start()
    _back(url, journal, writer)


def test_a_server_that_comes_back_with_a_backup(database: PostgreSQL) -> None:
    """Another connection may be to another database, in which lists of columns have other ids."""
    url = f"{database.url}?schema=restored"
    journal = SqlJournal(url)
    journal.append([_of("b", 300)], [])
    database.stop()
    database.start()
    engine = create_engine(database.url)
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE restored.feature_columns RESTART IDENTITY"))
        connection.execute(text("TRUNCATE restored.decisions, restored.decision_keys"))
        connection.execute(
            text("INSERT INTO restored.feature_columns (digest, names) VALUES ('d', '[\"a\"]')")
        )
    engine.dispose()
    journal.append([_of("b", 1_000)], [])
    _assert_names(journal)
    journal.close()


def test_a_server_whose_connection_breaks(database: PostgreSQL) -> None:
    """It is the same database: what was prepared for it stays, and readers notice nothing."""
    url = f"{database.url}?schema=broken"
    journal = SqlJournal(url)
    journal.append([_of("b", 300)], [])
    opened, openings = journal._opened, journal.openings()
    _break_connections(database)
    assert journal.totals()["requests"] == 1
    _break_connections(database)
    with journal._connected() as connection:
        assert journal._of(connection) is opened
    _break_connections(database)
    journal.append([_of("b", 1_000)], [])
    _assert_names(journal)
    assert journal._opened is opened
    assert journal.openings() == openings + 3
    journal.close()


@pytest.mark.parametrize("restored", [True, False])
def test_a_server_whose_tables_are_replaced(database: PostgreSQL, restored: bool) -> None:
    """A dump is restored into other tables; connections end while that is done."""
    url = f"{database.url}?schema=dumped_{restored}"
    journal = SqlJournal(url)
    journal.append([_of("b", 300)], [])
    first = journal._opened
    engine = create_engine(database.url)
    with engine.begin() as connection:
        connection.execute(text(f'ALTER SCHEMA "dumped_{restored}" RENAME TO before_{restored}'))
    engine.dispose()
    if restored:
        SqlJournal(url).close()
    _break_connections(database)
    if not restored:
        assert journal.totals()["requests"] == 0
    journal.append([_of("a", 301)], [])
    assert journal._opened is not first
    assert journal.totals()["requests"] == 1
    journal.append([_of("b", 1_000)], [])
    _assert_names(journal)
    journal.close()


def _break_connections(database: PostgreSQL) -> None:
    """End all of them, as a network does that forgets idle ones."""
    # Without a transaction, which would see one moment of the statistics.
    engine = create_engine(database.url, isolation_level="AUTOCOMMIT")
    others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND application_name = 'mlops'"
    with engine.connect() as connection:
        connection.execute(text(f"SELECT pg_terminate_backend(pid) {others}"))
        wait_until(lambda: not connection.execute(text(f"SELECT count(*) {others}")).scalar_one())
    engine.dispose()


def test_many_threads_open_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, threads = tmp_path / "journal.db", 8
    journal = SqlJournal(f"sqlite:///{path}")
    opened: list[str] = []

    def counted(url: str) -> Engine:
        opened.append(url)
        return open_engine(url)

    monkeypatch.setattr(database, "open_engine", counted)
    for old in tmp_path.glob("journal.db*"):
        old.unlink()
    barrier, found = threading.Barrier(threads), []

    def read() -> None:
        barrier.wait(60)
        found.append(journal.totals())

    readers = [threading.Thread(target=read) for _ in range(threads)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert found == threads * [{"requests": 0, "outcomes": 0}]
    assert len(opened) == 1
    journal.close()


def test_what_was_unpacked_goes_with_the_file(tmp_path: Path) -> None:
    """At once, for it may have features that are forgotten, but not while it is read."""
    path = tmp_path / "journal.db"
    journal = SqlJournal(f"sqlite:///{path}")
    scratch = Scratch()
    folder = Path(scratch._folder)
    assert journal._opened is not None
    journal._opened.archive._opened[0, ""] = scratch
    del scratch
    gc.disable()
    try:
        with journal._reading() as connection:
            journal._of(connection)
            path.unlink()
            journal.append([_of("b", 1_000)], [])
            assert folder.exists()
        del connection
        assert not folder.exists()
    finally:
        gc.enable()
    journal.close()


def _refuses(journal: object) -> bool:
    assert isinstance(journal, SqlJournal)
    try:
        journal.totals()
    except RemoteError:
        return True
    return False
