"""Archiving while others write, ask and archive, and after it was stopped."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from mlops.deployment.archiving import _alone
from mlops.errors import ConflictError, RemoteError
from mlops.journal import (
    archive_lookup,
    archived,
    archiving,
)
from mlops.journal.base import ArchiveAwayError
from mlops.journal.inserting import table_name
from mlops.journal.records import Fate
from mlops.journal.sql import SqlJournal
from mlops.journal.writer import JournalWriter
from mlops.settings import load_settings
from tests.conformance.journals import JOURNALS
from tests.journal.archives import BOTH, SQLITE, Pair, append, late, truth, void
from tests.journal.rows import T0, decision, named, outcome


@SQLITE
def test_a_store_that_is_away_loses_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_lookup, "_AWAY_S", 0.0)
    pair.archive(50)
    kept = pair.store.root.parent / "moved.db-archive"
    shutil.rmtree(kept, ignore_errors=True)
    pair.store.away = True
    with pytest.raises(RemoteError, match=r"archived in `.*`, which cannot be read: .* not there"):
        list(pair.moved.joined_rows())
    with pytest.raises(RemoteError, match="archived in"):
        pair.moved.append([], [outcome(3, arm=1)])
    # What is not about the archive goes on.
    new = [decision(200)], [outcome(200), outcome(59, arm=1)]
    pair.both(lambda journal: journal.append(*new))
    pair.store.away = False
    pair.both(lambda journal: journal.append([], [outcome(3, arm=1)]))
    pair.check()


@BOTH
def test_feedback_for_an_archive_that_is_away_delays_no_other(pair: Pair) -> None:
    pair.archive(50)
    shutil.rmtree(pair.store.root.parent / "moved.db-archive", ignore_errors=True)
    pair.moved.close()
    pair.moved, pair.store.away = pair.reopen(), True
    writer = JournalWriter(pair.moved, lambda stored: None)
    writer.add_decision(decision(200))
    late, now = writer.add_outcomes([outcome(3, arm=1)]), writer.add_outcomes([outcome(200)])
    by_name = writer.add_outcomes([named("id 7")])
    assert [each.fate for each in now.result(20)] == [Fate.ACCEPTED]
    for refused in (late, by_name):
        with pytest.raises(ArchiveAwayError, match="archived in"):
            refused.result(20)
    asked = len(pair.store.fetched)
    # It is not asked for with each such request.
    with pytest.raises(ArchiveAwayError):
        writer.add_outcomes([outcome(3, arm=1)]).result(20)
    assert len(pair.store.fetched) == asked
    assert not writer.fault
    assert writer.close(5)


@BOTH
def test_other_feedback_does_not_wait_until_an_archive_is_read(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.archive(50)
    shutil.rmtree(pair.store.root.parent / "moved.db-archive", ignore_errors=True)
    gate, begun, fetch = threading.Event(), threading.Event(), pair.store.fetch

    def slow(location: str, key: str, target: Path) -> None:
        begun.set()
        assert gate.wait(20)
        fetch(location, key, target)

    monkeypatch.setattr(pair.store, "fetch", slow)
    pair.moved.close()
    pair.moved = pair.reopen()
    stored: list[Fate] = []
    writer = JournalWriter(pair.moved, lambda told: stored.extend(each.fate for each in told))
    late = [writer.add_outcomes([outcome(n, arm=n % 2, reward=0.5)]) for n in (3, 5)]
    mixed = writer.add_outcomes([outcome(201), outcome(7, arm=1, reward=0.5)])
    by_name = writer.add_outcomes([named("id 11", reward=0.5)])
    writer.add_decision(decision(200))
    assert [each.fate for each in writer.add_outcomes([outcome(200)]).result(20)] == [Fate.ACCEPTED]
    # Nor does what comes later, with more feedback for the archive.
    assert begun.wait(20)
    more = writer.add_outcomes([outcome(13, arm=1, reward=0.5)])
    assert [each.fate for each in writer.add_outcomes([outcome(202)]).result(10)]
    assert not any(each.done() for each in (*late, mixed, by_name, more))
    gate.set()
    # Closing waits for them.
    assert writer.close(20)
    new = [decision(200)], [outcome(200)]
    pair.plain.append(*new)
    for future, some in (
        (late[0], [outcome(3, arm=1, reward=0.5)]),
        (late[1], [outcome(5, arm=1, reward=0.5)]),
        (mixed, [outcome(201), outcome(7, arm=1, reward=0.5)]),
        (by_name, [named("id 11", reward=0.5)]),
        (more, [outcome(13, arm=1, reward=0.5)]),
    ):
        told = pair.plain.append([], some)
        assert future.result(0) == told
    assert not writer.pending
    assert writer.add_outcomes([outcome(9)]).exception(1) is not None


@BOTH
def test_nobody_waits_until_archiving_is_over(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are deleted more often than a busy machine looks something up."""
    pair.archive(50)
    stages = itertools.count()

    def changing(_connection: Connection) -> tuple[int, int]:
        stage = next(stages)
        assert stage < 30
        return 1, stage

    monkeypatch.setattr(archived, "read_stage", changing)
    for batch in late():
        pair.both(partial(append, batch=batch))
    stages = itertools.count()
    assert pair.both(partial(void, number=1)) > 0
    monkeypatch.undo()
    pair.check()


@SQLITE
@pytest.mark.usefixtures("small_steps")
def test_nobody_waits_until_an_archive_is_unpacked(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.archive(50, clear=False)
    parts, rows = pair.moved.archived_parts(), archived.Archive.outcome_rows
    left = iter(parts)
    other = pair.reopen()

    def unpacked(*given: Any) -> Any:
        found = rows(*given)
        # Were the write lock held, as by another process, this would end with an error.
        for part in itertools.islice(left, 1):
            assert other.remove_rows(part)
        return found

    monkeypatch.setattr(archived.Archive, "outcome_rows", unpacked)
    for number in range(0, 50, 7):
        pair.both(partial(void, number=number))
    pair.check()
    assert next(left, None) is None
    other.close()


@pytest.mark.parametrize("pair", ["postgresql"], indirect=True)
def test_two_machines_archive_one_after_the_other(pair: Pair, tmp_path: Path) -> None:
    other, settings = pair.reopen(), load_settings(tmp_path, environ={})
    with (
        other.archive_held() as held,
        pytest.raises(ConflictError, match="Another command archives"),
        _alone(settings, "wine", pair.moved),
    ):
        assert held
    with _alone(settings, "wine", pair.moved):
        pass
    # Another journal in the same database is another one.
    with other.archive_held(), pair.plain.archive_held() as ours:
        assert ours
    other.close()


@BOTH
def test_two_that_archive_at_once(pair: Pair, tmp_path: Path) -> None:
    store = pair.store
    drafts = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        found = pair.moved.write_part(T0 + 50, 8, str(store.root), tmp_path / name)
        assert found is not None
        part = archiving.store_files(found.part, found.files, "wine/id", store.put)
        drafts.append((part, found))
    # Feedback that comes in between stays in the journal.
    pair.both(lambda journal: journal.append([], [outcome(n, arm=n % 2) for n in range(9)]))
    pair.moved.note_part(*drafts[0])
    assert pair.moved.remove_rows(drafts[0][0])
    with pytest.raises(ConflictError, match="Another process is archiving"):
        pair.moved.note_part(*drafts[1])
    pair.check()


@SQLITE
def test_one_stopped_before_the_commit_has_changed_nothing(pair: Pair) -> None:
    put = pair.store.put
    stored: list[str] = []
    for last in range(5):

        def put_some(file: Path, key: str, last: int = last) -> None:
            if len(stored) == last:
                raise KeyboardInterrupt
            put(file, key)
            stored.append(key)

        stored.clear()
        pair.store.put = put_some  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            pair.archive(50)
        assert pair.moved.archived_parts() == []
    pair.store.put = put  # type: ignore[method-assign]
    pair.check()
    before = {file.name for file in pair.store.root.rglob("*.*")}
    pair.archive(50)
    # What was stored in vain is what is stored again.
    assert before <= {file.name for file in pair.store.root.rglob("*.*")}
    pair.check()


class _KilledError(Exception):
    pass


@pytest.mark.parametrize("pair", [*JOURNALS, "one table"], indirect=True)
@pytest.mark.usefixtures("small_steps")
def test_whoever_is_stopped_after_the_commit_is_continued(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each step everything reads the same, and feedback meets the same status."""
    pair.archive(32, clear=False)
    pair.check()
    parts = pair.moved.archived_parts()
    assert parts
    assert not any(part.cleared for part in parts)
    alone = SqlJournal._alone
    late = [outcome(n, arm=n % 2, truth=truth(n)) for n in range(60)]
    late += [replace(outcome(n, arm=n % 2, reward=n), outcome_id=f"{n}") for n in range(30)]
    late += [named(f"id {n}", reward=float(n)) for n in range(30)]
    steps = 0
    for part in parts:
        while not pair.moved.archived_parts()[part.part].cleared:
            left = 1 + steps % 9

            def killed(journal: SqlJournal) -> Any:
                nonlocal left
                if journal is pair.moved and not left:
                    raise _KilledError
                left -= journal is pair.moved
                return alone(journal)

            monkeypatch.setattr(SqlJournal, "_alone", killed)
            with contextlib.suppress(_KilledError):
                pair.moved.remove_rows(part)
            monkeypatch.setattr(SqlJournal, "_alone", alone)
            # A process that knows nothing of what the one before did.
            pair.moved.close()
            pair.moved = pair.reopen()
            some = late[steps % 7 :: 7]
            pair.both(partial(append, batch=some))
            if steps % 3 == 0:
                pair.both(partial(void, number=steps))
            if steps % 5 == 0:
                pair.check()
            steps += 1
            assert steps < 60
    pair.check()
    assert steps >= 3
    upto = parts[-1].upto
    with pair.moved._engine.connect() as connection:
        table = table_name(connection, "decisions")
        assert not list(connection.execute(text(f"SELECT seq FROM {table} WHERE seq <= {upto}")))


@pytest.mark.parametrize("pair", ["postgresql"], indirect=True)
def test_a_report_that_runs_delays_the_drop_of_a_partition_only(pair: Pair) -> None:
    with pair.moved._engine.connect() as report:
        name = table_name(report, "decisions")
        report.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()
        pair.archive(20, clear=False)
        (part,) = pair.moved.archived_parts()
        assert not pair.moved.remove_rows(part, patience_s=0.0)
        pair.check()
    assert pair.moved.remove_rows(part)
    pair.check()
