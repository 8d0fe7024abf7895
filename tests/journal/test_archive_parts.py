"""Parts of a log that are damaged, empty, of another time, or written by two at once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from mlops.journal import archive_parts
from mlops.journal.sql import SqlJournal
from tests.journal.archives import columns_of
from tests.journal.rows import T0, decision, nonce, outcome

_ROWS = 20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def journal(file: Path) -> Iterator[SqlJournal]:
    opened = _open(file)
    yield opened
    opened.close()


def _open(file: Path, rows: int = _ROWS) -> SqlJournal:
    return SqlJournal(f"sqlite:///{file}", part_rows=rows)


def _write(journal: SqlJournal) -> None:
    """Two full parts of decisions, one of outcomes; the decision of the last is still to come."""
    journal.append([decision(n, arm=n % 2) for n in range(45)], [])
    journal.append([], [outcome(n, arm=n % 2, truth=f"text {n}") for n in [*range(19), 50]])


def _seen(journal: SqlJournal) -> dict[str, Any]:
    """Return all that is read of parts, whatever the pieces are."""
    return {"traffic": journal.traffic(), **columns_of(journal)}


def _check(journal: SqlJournal, file: Path) -> None:
    tables = _open(file, 1_000_000)
    assert _seen(journal) == _seen(tables)
    tables.close()


def test_a_part_without_any_draw(journal: SqlJournal, file: Path) -> None:
    journal.append([decision(n, propensity=0.0) for n in range(_ROWS)], [])
    for _ in range(2):
        _check(journal, file)
    journal.append([decision(n) for n in range(_ROWS, 50)], [])
    _check(journal, file)
    assert len(list(file.parent.glob("journal.db-parts/*"))) == 2


def test_whatever_is_damaged_in_a_part_is_noticed(journal: SqlJournal, file: Path) -> None:
    """One byte of it at a time, all behind the middle, everything: it makes no difference.

    What is found only while rows are read is removed, and written by the next report.
    """
    _write(journal)
    whole = _seen(journal)
    found = sorted(file.parent.glob("journal.db-parts/*-000000.parquet"))
    assert len(found) == 2
    for part in found:
        good = part.read_bytes()
        flipped = [
            good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :] for at in range(0, len(good), 211)
        ]
        # Some bytes are never read, as those that name the program that wrote it.
        for bad in (*flipped, good[: len(good) // 2], os.urandom(2_000), b""):
            part.write_bytes(bad)
            assert _seen(journal) == whole, (part.name, bad)
        assert [_seen(journal), _seen(journal)] == [whole, whole]
        assert part.read_bytes() == good


@pytest.mark.parametrize("since", ["voids", "decisions"])
def test_a_part_from_after_the_backup_that_was_restored(file: Path, since: str) -> None:
    journal = _open(file)
    _write(journal)
    journal.close()
    backup = file.read_bytes()
    journal = _open(file)
    if since == "voids":
        journal.void([nonce(3)], time_ms=T0, reason="a test", by="me")
    else:
        journal.append([decision(50)], [])
    _check(journal, file)
    journal.close()
    for each in file.parent.glob("journal.db-*"):
        if each.is_file():
            each.unlink()
    file.write_bytes(backup)
    journal = _open(file)
    _check(journal, file)
    # Another decision stands where the other stood.
    journal.append([decision(60), decision(50, arm=1)], [])
    _check(journal, file)
    journal.close()


def test_two_who_write_a_part_at_once(
    journal: SqlJournal, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one replaces it, with the late decision in it, before ours is read."""
    _write(journal)
    _seen(journal)
    journal.append([decision(50, arm=0)], [])
    ours = archive_parts._outcomes

    def late(connection: Connection, part: Any) -> Any:
        monkeypatch.setattr(archive_parts, "_outcomes", ours)
        part.file.unlink()
        other = _open(file)
        _seen(other)
        other.close()
        return ours(connection, part)

    monkeypatch.setattr(archive_parts, "_outcomes", late)
    _check(journal, file)


def test_what_a_killed_writer_left_is_removed(journal: SqlJournal, file: Path) -> None:
    folder = file.parent / "journal.db-parts"
    folder.mkdir()
    old, new = folder / "tmpold", folder / "tmpnew"
    for draft in (old, new):
        draft.write_bytes(b"half")
    os.utime(old, (time.time() - 90_000,) * 2)
    _write(journal)
    _check(journal, file)
    assert [old.exists(), new.exists()] == [False, True]
