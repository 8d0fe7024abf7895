"""Two journals that hold the same, of which one is archived."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import create_engine, text

from mlops.errors import NotFoundError
from mlops.journal import (
    archivable,
    archive_cleanup,
    archiving,
    database,
    partitions,
)
from mlops.journal.archiving import Planned
from mlops.journal.columns import OutcomeColumns, RequestColumns, names
from mlops.journal.feature_tables import FeatureTable
from mlops.journal.records import Decision, NewOutcome, RevisionEvent, ShadowDecision
from mlops.journal.schema import decisions
from mlops.journal.sql import SqlJournal
from mlops.journal.streaming import Decisions
from mlops.protocols.base import Records
from tests.conformance.journals import JOURNALS
from tests.journal.rows import T0, decision, named, nonce, outcome

_PART_ROWS = 20

PARTITIONS = (
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
ALL = pytest.mark.parametrize("pair", [*JOURNALS, "one table", "no room"], indirect=True)
BOTH = pytest.mark.parametrize("pair", JOURNALS, indirect=True)
SQLITE = pytest.mark.parametrize("pair", ["sqlite"], indirect=True)


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
        some = [outcome(n, arm=n % 2, truth=truth(n), row=-1) for n in late]
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


def truth(n: int) -> Any:
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
    return found | columns_of(journal)


def columns_of(journal: SqlJournal) -> dict[str, Any]:
    """Return every value of the columns that reports read, whatever the pieces are."""
    found = {}
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


def append(journal: SqlJournal, batch: list[NewOutcome]) -> Any:
    return journal.append([], batch)


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delete few rows in each commit, and do not pause."""
    monkeypatch.setattr(archivable, "Pace", lambda: archive_cleanup.Pace(11))
    monkeypatch.setattr(archive_cleanup.Pace, "took", lambda _self, _seconds: None)


def void(journal: SqlJournal, number: int) -> int:
    return journal.void([nonce(number)], time_ms=T0, reason="why", by="me")


def late() -> list[list[NewOutcome]]:
    """Feedback of every kind for requests that are archived, and some that are not."""
    same = outcome(1, arm=1, truth=truth(1))
    corrected = replace(same, reward=9.0, repeatable=True)
    return [
        [outcome(n, arm=n % 2, truth=truth(n)) for n in range(60)],
        [same, corrected, replace(corrected, outcome_id="a"), replace(corrected, outcome_id="a")],
        [outcome(7, arm=1, row=row, reward=2.0) for row in (0, 1, 2, 3, -1)],
        [outcome(3, arm=0, reward=4.0), outcome(3, arm=1, reward=4.0), outcome(901)],
        [named(f"id {n}") for n in (1, 2, 58, 400)] + [named("constant")],
        [named("id 2", reward=5.0), replace(named("id 3", reward=5.0), repeatable=True)],
    ]  # fmt: skip
