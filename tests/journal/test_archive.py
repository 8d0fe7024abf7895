"""An archived journal beside one that is not: whatever is asked, both give the same answer."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, create_engine, text

from mlops.deployment.archiving import _alone
from mlops.errors import ConflictError, NotFoundError, RemoteError
from mlops.journal import (
    archivable,
    archive_cleanup,
    archive_files,
    archive_lookup,
    archived,
    archiving,
    database,
    partitions,
)
from mlops.journal.archiving import Planned
from mlops.journal.base import ArchiveAwayError
from mlops.journal.columns import OutcomeColumns, RequestColumns, names
from mlops.journal.consumer_records import Offset
from mlops.journal.feature_tables import FeatureTable
from mlops.journal.inserting import table_name
from mlops.journal.records import Decision, Fate, NewOutcome, RevisionEvent, ShadowDecision
from mlops.journal.schema import decisions
from mlops.journal.sql import SqlJournal
from mlops.journal.streaming import Decisions
from mlops.journal.writer import JournalWriter
from mlops.protocols.base import Records
from mlops.settings import load_settings
from tests.conformance.test_journals import JOURNALS
from tests.journal.rows import T0, decision, named, nonce, outcome

_PART_ROWS = 20
_PARTITIONS = (
    "SELECT relname FROM pg_partition_tree(to_regclass(:name)) t JOIN pg_class c ON c.oid = t.relid"
)
_NUMBERS = itertools.count()


class Folder:
    """A store, and how often it was asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.fetched: list[str] = []
        self.away = False

    def put(self, file: Path, key: str) -> None:
        target = self.root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)

    def fetch(self, location: str, key: str, target: Path) -> None:
        assert location == str(self.root)
        self.fetched.append(key)
        if self.away or not (self.root / key).exists():
            raise NotFoundError(f"`{key}` is not there.")
        shutil.copy(self.root / key, target)


@dataclass
class Pair:
    """Two journals with the same rows, one of which is archived up to some row."""

    plain: SqlJournal
    moved: SqlJournal
    store: Folder
    reopen: Callable[[], SqlJournal]

    def archive(self, before: int, rows: int = 15, *, clear: bool = True) -> int:
        count = 0
        planned = self.moved.plan_archive(T0 + before, rows)
        while True:
            with tempfile.TemporaryDirectory() as folder:
                found = self.moved.write_part(T0 + before, rows, str(self.store.root), Path(folder))
                if found is None:
                    parts = self.moved.archived_parts()[
                        -count or len(self.moved.archived_parts()) :
                    ]
                    assert planned == Planned(
                        count, sum(p.requests for p in parts), sum(p.outcomes for p in parts)
                    )
                    return count
                part = archiving.store_files(found.part, found.files, "wine/id", self.store.put)
                self.moved.note_part(part, found)
                if clear:
                    assert self.moved.remove_rows(part)
                count += 1

    def both(self, do: Callable[[SqlJournal], Any]) -> Any:
        one, other = do(self.plain), do(self.moved)
        assert one == other
        return one

    def check(self) -> None:
        self.both(self.seen)

    def seen(self, journal: SqlJournal) -> dict[str, Any]:
        """PostgreSQL gives numbers also to what turns out to be a duplicate, if it has to look."""
        found = seen(journal)
        if not self.moved.is_file:
            shown = {"end", "OutcomeColumns.seqs"}
            shown |= {f"{what} {n}" for what in ("outcomes", "seqs") for n in (0, 33, 58)}
            found = {name: value for name, value in found.items() if name not in shown}
            found["observations"] = [replace(each, seq=0) for each in found["observations"]]
        return found


def _url(request: pytest.FixtureRequest, name: str) -> str:
    if request.param == "sqlite":
        return JOURNALS["sqlite"](request).replace("journal.db", f"{name}.db")
    server: str = request.getfixturevalue("postgresql_url")
    schema = f"archive_{os.getpid()}_{next(_NUMBERS)}"
    url = f"{server}?schema={schema}"
    if request.param == "one table":
        SqlJournal(url).close()
        engine = create_engine(server)
        with engine.begin() as connection:
            connection.execute(text(f"DROP TABLE {schema}.decisions"))
            named = connection.execution_options(schema_translate_map={None: schema})
            decisions.create(named)
        engine.dispose()
    return url


# A journal of an older release, and one where no partition could be made ahead.
_ALL = pytest.mark.parametrize("pair", [*JOURNALS, "one table", "no room"], indirect=True)
_BOTH = pytest.mark.parametrize("pair", JOURNALS, indirect=True)
_SQLITE = pytest.mark.parametrize("pair", ["sqlite"], indirect=True)


@pytest.fixture
def pair(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pair]:
    # In PostgreSQL a part is a partition.
    monkeypatch.setattr(partitions, "ROWS", 15)
    if request.param == "no room":
        monkeypatch.setattr(database, "make_room", lambda _connection, _last: 1_000)
    store = Folder(tmp_path / "store")
    url = _url(request, "moved")

    def opened() -> SqlJournal:
        return SqlJournal(url, fetch=store.fetch, part_rows=_PART_ROWS)

    made = Pair(SqlJournal(_url(request, "plain"), part_rows=_PART_ROWS), opened(), store, opened)
    made.both(_fill)
    yield made
    made.plain.close()
    made.moved.close()


def _fill(journal: SqlJournal) -> Any:
    """Requests of every kind, with feedback of every kind, some of it late or of lost requests."""
    rng = np.random.default_rng(5)
    journal.record([RevisionEvent(1, T0, "live", {"arms": [{"weight": 0.5}, {"weight": 0.5}]})])
    told = []
    for start in range(0, 60, 6):
        batch = [_request(n, rng) for n in range(start, start + 6)]
        late = [int(rng.integers(0, start + 6)) for _ in range(4)]
        some = [outcome(n, arm=n % 2, truth=_truth(n), row=-1) for n in late]
        told += journal.append(batch, [*some, outcome(900 + start)])
        journal.record([
            ShadowDecision(nonce(n), 1, 0, T0 + n, 50, 200, [float(n + 1)])
            for n in range(start, start + 6) if n % 3 == 0
        ])  # fmt: skip
    return told


def _request(n: int, rng: np.random.Generator) -> Decision:
    rows = 3 if n % 7 == 0 else 1
    kinds: list[Any] = [[0.5 + i for i in range(rows)], ["red"] * rows, [[1, 2]] * rows]
    return decision(
        n, arm=n % 2, n_rows=rows, status=500 if n % 11 == 0 else 200,
        predictions=None if n % 11 == 0 else kinds[n % 3],
        client_id="constant" if n % 4 == 0 else f"id {n}",
        unit=bytes(7) + bytes([n % 5 + 1]) if n % 13 == 0 else None,
        propensity=0.0 if n % 10 == 9 else 0.5, epoch=n // 30, key_id="shop" if n % 2 else None,
        features=None if n % 6 == 5 else Records([{"a": n, "b": f"text {n}"}] * rows),
        latency_us=int(rng.integers(100, 900)),
    )  # fmt: skip


def _truth(n: int) -> Any:
    return [float(n), f"text {n}", True, None][n % 4]


def seen(journal: SqlJournal) -> dict[str, Any]:
    """Return all that can be read of a journal, but for its size."""
    end = journal.end()
    found: dict[str, Any] = {
        "end": end,
        "begin": journal.begin([1]),
        "observations": list(journal.observations()),
        "some": list(journal.observations([2])),
        "drawn": list(journal.drawn_requests([1])),
        "cells": list(journal.cells([1], "a")),
        "labelled": list(journal.labelled_rows([1])),
        "traffic": journal.traffic(),
        "over time": journal.traffic_over_time([1], 7),
        "pairs": list(journal.shadow_pairs([1])),
        "truths": list(journal.shadow_truths([1])),
        "joined": list(journal.joined_rows()),
        "decisions": [journal.decision(nonce(n)) for n in (7, 30, 59, 77)],
        "rows": [each.row(0) for _, each in sorted(journal.rows_of(map(nonce, range(70))).items())],
        "of unit": journal.first_of_unit(bytes(7) + b"\x01", [1]),
        "voids": journal.voids(),
        "void": journal.count_voids(),
        "totals": journal.totals(),
        "events": journal.revision_events(),
        "epochs": journal.epochs(),
        "told": [
            [replace(o, seq=0) for o in journal.outcomes_of(nonce(n))] for n in range(0, 60, 3)
        ],
        "counted": journal.count_outcomes([nonce(n) for n in range(60)], end.outcomes),
    }
    for after in (0, 33, 58):
        found[f"outcomes {after}"] = journal.outcomes(after, end.outcomes, 15)
        some = list(_batches(journal, after, end.decisions))
        rows = [zip(each.nonces, each.units, strict=True) for each in some]
        found[f"seqs {after}"] = [seq for each in some for seq in each.seqs.tolist()]
        found[f"stream {after}"] = list(itertools.chain(*rows))
        tables = itertools.chain.from_iterable(each.features() for each in some)
        found[f"features {after}"] = [(t.names, cell) for t in tables for cell in _rows(t)]
    for kind, pieces in (
        (RequestColumns, list(journal.request_columns([1]))),
        (OutcomeColumns, list(journal.outcome_columns([1]))),
    ):
        for name in names(kind):
            values = [repr(value) for piece in pieces for value in list(getattr(piece, name))]
            found[f"{kind.__name__}.{name}"] = values
    return found


def _batches(journal: SqlJournal, after: int, end: int) -> Iterator[Decisions]:
    """Read to the end; a batch may stop where a part does."""
    while len(batch := journal.decisions(after, end, 12)):
        assert len(batch) <= 12
        yield batch
        after = int(batch.seqs[-1])
    assert after == end


def _rows(table: FeatureTable) -> Iterator[tuple[Any, ...]]:
    return zip(*(table.column(name) for name in table.names or ()), strict=True)


@_ALL
def test_what_is_read_stays_the_same(pair: Pair) -> None:
    pair.check()
    partitioned = pair.moved._open().partitioned
    whole = [15] if partitioned else [15, 10]
    assert pair.archive(25) == len(whole)
    assert [part.requests for part in pair.moved.archived_parts()] == whole
    # Another process, and the rest; the last request, or the last partition, always stays.
    pair.moved.close()
    pair.moved = pair.reopen()
    assert pair.archive(10_000) == (2 if partitioned else 3)
    there = sum(part.requests for part in pair.moved.archived_parts())
    assert there == (45 if partitioned else 59)
    pair.check()
    assert pair.archive(10_000) == 0
    if partitioned:
        # Their partitions are gone; those of 46 to 60 and after them are there.
        with pair.moved._engine.connect() as connection:
            name = {"name": table_name(connection, "decisions")}
            found = set(connection.execute(text(_PARTITIONS), name).scalars())
            assert "decisions_rest" in found
            assert not {"decisions_000000", "decisions_000002"} & found
    more = [decision(n, arm=n % 2) for n in range(60, 100)]
    pair.both(lambda journal: journal.append(more, [outcome(n, arm=n % 2) for n in (61, 2)]))
    pair.check()


def _append(journal: SqlJournal, batch: list[NewOutcome]) -> Any:
    return journal.append([], batch)


def _void(journal: SqlJournal, number: int) -> int:
    return journal.void([nonce(number)], time_ms=T0, reason="why", by="me")


def _late() -> list[list[NewOutcome]]:
    """Feedback of every kind for requests that are archived, and some that are not."""
    same = outcome(1, arm=1, truth=_truth(1))
    corrected = replace(same, reward=9.0, repeatable=True)
    return [
        [outcome(n, arm=n % 2, truth=_truth(n)) for n in range(60)],
        [same, corrected, replace(corrected, outcome_id="a"), replace(corrected, outcome_id="a")],
        [outcome(7, arm=1, row=row, reward=2.0) for row in (0, 1, 2, 3, -1)],
        [outcome(3, arm=0, reward=4.0), outcome(3, arm=1, reward=4.0), outcome(901)],
        [named(f"id {n}") for n in (1, 2, 58, 400)] + [named("constant")],
        [named("id 2", reward=5.0), replace(named("id 3", reward=5.0), repeatable=True)],
    ]  # fmt: skip


@_BOTH
def test_late_feedback_meets_the_same_fate(pair: Pair) -> None:
    pair.archive(50)
    for batch in _late():
        pair.both(partial(_append, batch=batch))
    pair.check()
    # And as it is archived itself.
    pair.archive(10_000)
    pair.check()


@_BOTH
def test_a_retry_of_an_archived_request_is_no_new_one(pair: Pair) -> None:
    pair.archive(50)
    again = [decision(n, arm=1 - n % 2) for n in (3, 55, 70)]
    pair.both(lambda journal: journal.append(again, [outcome(3, arm=0)]))
    pair.check()


@_SQLITE
def test_voiding_what_is_archived(pair: Pair) -> None:
    def void(journal: SqlJournal, numbers: range) -> int:
        told = [nonce(n) for n in numbers]
        return journal.void(told, time_ms=T0, reason="test traffic", by="me")

    assert pair.both(lambda journal: void(journal, range(3))) > 0
    pair.archive(50)
    assert pair.both(lambda journal: void(journal, range(12))) > 0
    pair.check()
    # It is taken again, and may go to the archive with the next part.
    pair.both(lambda journal: journal.append([], [outcome(n, arm=n % 2) for n in range(12)]))
    pair.archive(10_000)
    pair.check()


@_SQLITE
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


@_BOTH
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


@_BOTH
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


@_BOTH
def test_nobody_waits_until_archiving_is_over(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are deleted more often than a busy machine looks something up."""
    pair.archive(50)
    stages = itertools.count()

    def changing(_connection: Connection) -> tuple[int, int]:
        stage = next(stages)
        assert stage < 30
        return 1, stage

    monkeypatch.setattr(archived, "read_stage", changing)
    for batch in _late():
        pair.both(partial(_append, batch=batch))
    stages = itertools.count()
    assert pair.both(partial(_void, number=1)) > 0
    monkeypatch.undo()
    pair.check()


@_SQLITE
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
        pair.both(partial(_void, number=number))
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


@_BOTH
def test_a_request_is_found_in_any_row_group(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_files, "_AT_ONCE", 4)
    monkeypatch.setattr(archive_lookup, "_GROUPS", 2)
    monkeypatch.setattr(archive_lookup, "_REQUESTS", 3)
    monkeypatch.setattr(archive_lookup, "_OPEN_FILES", 1)
    pair.archive(50)
    for n in (*range(44, 0, -3), *range(45)):
        some = [outcome(n, arm=n % 2, truth=_truth(n), row=-1), named(f"id {n}", reward=1.0)]
        pair.both(partial(_append, batch=some))
    pair.check()


@_BOTH
def test_a_part_whose_last_offsets_are_of_no_decision(pair: Pair) -> None:
    """PostgreSQL gives numbers also to what is rolled back."""
    pair.archive(30)
    last = pair.moved.archived_parts()[-1]
    with pair.moved._engine.begin() as connection:
        gone = [table_name(connection, name) for name in ("decisions", "archives")]
        connection.execute(text(f"DELETE FROM {gone[0]} WHERE seq <= {last.upto + 3}"))
        longer = f"UPDATE {gone[1]} SET upto = {last.upto + 3} WHERE part = {last.part}"
        connection.execute(text(longer))
    found = pair.moved.decisions(last.upto, 60, 5)
    assert found.seqs.tolist() == [last.upto + 4 + n for n in range(5)]
    assert not len(pair.moved.decisions(last.upto, last.upto + 2, 5))


@_SQLITE
def test_a_file_that_was_changed_is_refused(pair: Pair) -> None:
    pair.archive(50)
    for file in pair.store.root.rglob("*-features-*"):
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    with pytest.raises(RemoteError, match="not what was archived: its SHA-256 differs"):
        list(pair.moved.joined_rows())


@_BOTH
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


@_SQLITE
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


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delete few rows in each commit, and do not pause."""
    monkeypatch.setattr(archivable, "Pace", lambda: archive_cleanup.Pace(11))
    monkeypatch.setattr(archive_cleanup.Pace, "took", lambda _self, _seconds: None)


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
    late = [outcome(n, arm=n % 2, truth=_truth(n)) for n in range(60)]
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
            pair.both(partial(_append, batch=some))
            if steps % 3 == 0:
                pair.both(partial(_void, number=steps))
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


@_BOTH
def test_what_is_forgotten_in_the_meantime_does_not_reach_the_archive(
    pair: Pair, tmp_path: Path
) -> None:
    draft = pair.moved.write_part(T0 + 50, 15, str(pair.store.root), tmp_path)
    assert draft is not None
    assert sum(pair.moved.forget_units({bytes(7) + b"\x01"})) > 0
    part = archiving.store_files(draft.part, draft.files, "wine/id", pair.store.put)
    with pytest.raises(ConflictError, match="archiving or pruning"):
        pair.moved.note_part(part, draft)


@_SQLITE
def test_features_are_forgotten_there_too(pair: Pair) -> None:
    pair.archive(50)
    pair.both(lambda journal: sum(journal.forget_features(T0 + 20)) >= 0)
    for part in pair.moved.archived_parts():
        if part.first_ms < T0 + 20:
            archiving.forget_features(pair.moved, part, T0 + 20, pair.store.put)
    pair.check()
    doomed = [key for part in pair.moved.archived_parts() for key in part.doomed]
    assert len(doomed) == 2
    manifests = [json.loads(file.read_text()) for file in pair.store.root.rglob("*.json")]
    assert ["features" in each["files"] for each in sorted(manifests, key=_number)][:3] == [
        False, True, True
    ]  # fmt: skip


@_BOTH
def test_what_another_process_pruned_is_not_read_from_a_copy(pair: Pair) -> None:
    pair.archive(30)
    there = max(part.upto for part in pair.moved.archived_parts())
    live = {nonce(n) for n in range(there, 45)}
    assert live & {each for each, _ in pair.moved.cells([1], "a")}
    other = pair.reopen()
    assert sum(other.forget_features(T0 + 45)) > 0
    other.close()
    assert not live & {each for each, _ in pair.moved.cells([1], "a")}


def _number(manifest: dict[str, Any]) -> int:
    return int(manifest["part"])


@_SQLITE
def test_consumers_do_not_unpack_everything(pair: Pair) -> None:
    """They ask each second for what is new."""
    pair.archive(50)
    pair.both(lambda journal: journal.append([], [outcome(5, arm=1)]))
    pair.store.fetched.clear()
    end = pair.moved.end()
    last = max(part.last_outcome for part in pair.moved.archived_parts())
    at = Offset(50, last)
    pair.both(lambda journal: journal.outcomes(at.outcomes, end.outcomes, 50))
    pair.both(lambda journal: list(journal.decisions(at.decisions, end.decisions, 50).nonces))
    assert len({key for key in pair.store.fetched if "features" not in key}) <= 6
    assert not any("features" in key for key in pair.store.fetched)
