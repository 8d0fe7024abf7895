"""A journal that an older release has written is brought up to date when it is opened."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, text

from mlops.errors import MlopsError
from mlops.journal import migration
from mlops.journal.records import Fate
from mlops.journal.schema import VERSION
from mlops.journal.sql import SqlJournal
from mlops.protocols.base import Records
from tests.conformance.journals import JOURNALS
from tests.journal.rows import T0, decision, nonce, outcome


def _turn_back(url: str) -> None:
    """Give the outcomes the columns and the key they had in version 1."""
    engine = create_engine(url)
    with engine.begin() as connection:
        bytes_, double = ("BLOB", "FLOAT") if "sqlite" in url else ("BYTEA", "DOUBLE PRECISION")
        seq = "INTEGER PRIMARY KEY" if "sqlite" in url else "BIGSERIAL PRIMARY KEY"
        kept = 'seq, nonce, "row", time_ms, revision, arm, propensity, reward, truth, truth_json'
        connection.execute(text("ALTER TABLE outcomes RENAME TO newer"))
        connection.execute(
            text(
                f"CREATE TABLE outcomes (seq {seq}, nonce {bytes_} NOT NULL,"
                f' "row" INTEGER NOT NULL, time_ms BIGINT NOT NULL, revision INTEGER NOT NULL,'
                f" arm SMALLINT NOT NULL, propensity {double} NOT NULL, reward {double},"
                f' truth {double}, truth_json TEXT, UNIQUE (nonce, "row"))'
            )
        )
        connection.execute(text(f"INSERT INTO outcomes ({kept}) SELECT {kept} FROM newer"))
        connection.execute(text("DROP TABLE newer"))
        if "sqlite" not in url:
            counter = "pg_get_serial_sequence('outcomes', 'seq')"
            connection.execute(text(f"SELECT setval({counter}, 100)"))
        _drop_new_columns(connection)
        _set_version(connection, 1)
    engine.dispose()


def _drop_new_columns(connection: Connection) -> None:
    for name in ("epoch", "columns_id"):
        connection.execute(text(f"ALTER TABLE decisions DROP COLUMN {name}"))
    _drop_key_ids(connection, "decisions")


def _set_version(connection: Connection, version: int) -> None:
    connection.execute(text("ALTER TABLE journal_meta DROP COLUMN forgotten"))
    connection.execute(text(f"UPDATE journal_meta SET version = {version}"))


def _drop_key_ids(connection: Connection, *tables: str) -> None:
    for table in tables:
        connection.execute(text(f"ALTER TABLE {table} DROP COLUMN key_id"))


@pytest.mark.parametrize("kind", JOURNALS)
def test_a_journal_of_version_1(request: pytest.FixtureRequest, kind: str) -> None:
    url = JOURNALS[kind](request)
    first = SqlJournal(url)
    first.append([decision(1), decision(2)], [outcome(1, reward=1), outcome(2, reward=2)])
    before = list(first.observations())
    first.close()
    _turn_back(url)
    journal = SqlJournal(url)
    assert list(journal.observations()) == before
    again = [outcome(1, reward=1), replace(outcome(1, reward=5), repeatable=True)]
    assert [item.fate for item in journal.append([], again)] == [Fate.DUPLICATE, Fate.ACCEPTED]
    assert [seen.reward for seen in journal.observations()] == [1, 2, 5]
    journal.close()
    SqlJournal(url).close()


@pytest.mark.parametrize("kind", JOURNALS)
def test_a_journal_of_version_2(request: pytest.FixtureRequest, kind: str) -> None:
    url = JOURNALS[kind](request)
    first = SqlJournal(url)
    first.append([decision(1)], [outcome(1, reward=1), outcome(2, reward=2)])
    first.close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE voids"))
        _drop_new_columns(connection)
        _drop_key_ids(connection, "outcomes")
        _set_version(connection, 2)
    journal = SqlJournal(url)
    assert journal.void([nonce(2)], time_ms=1, reason="why", by="who") == 1
    assert [seen.reward for seen in journal.observations()] == [1]
    journal.close()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version FROM journal_meta")).scalar_one() == VERSION
    engine.dispose()


@pytest.mark.parametrize("kind", JOURNALS)
def test_a_journal_of_version_4(request: pytest.FixtureRequest, kind: str) -> None:
    url = JOURNALS[kind](request)
    first = SqlJournal(url)
    first.append([decision(1)], [outcome(1, reward=1)])
    first.close()
    engine = create_engine(url)
    with engine.begin() as connection:
        _drop_key_ids(connection, "decisions", "outcomes")
        _set_version(connection, 4)
    journal = SqlJournal(url)
    journal.append([decision(2, key_id="ab")], [replace(outcome(2, reward=2), key_id="cd")])
    journal.close()
    with engine.connect() as connection:
        for table, key in (("decisions", "ab"), ("outcomes", "cd")):
            ids = connection.execute(text(f"SELECT key_id FROM {table} ORDER BY seq"))
            assert [each for (each,) in ids] == [None, key]
    engine.dispose()


@pytest.mark.parametrize("kind", JOURNALS)
def test_a_journal_of_version_7(request: pytest.FixtureRequest, kind: str) -> None:
    url = JOURNALS[kind](request)
    SqlJournal(url).close()
    engine = create_engine(url)
    with engine.begin() as connection:
        for name in ("outcomes_left", "step", "cleared"):
            connection.execute(text(f"ALTER TABLE archives DROP COLUMN {name}"))
        values = "0, 0, 5, 1, 5, 2, 1, 2, 'file:///x', '{}', '[]', '[]'"
        connection.execute(text(f"INSERT INTO archives VALUES ({values})"))
        _set_version(connection, 7)
    engine.dispose()
    journal = SqlJournal(url)
    assert [part.cleared for part in journal.archived_parts()] == [True]
    assert journal.totals() == {"requests": 5, "outcomes": 2}
    journal.close()


def test_a_migration_that_is_interrupted_has_changed_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/journal.db"
    first = SqlJournal(url)
    first.append([decision(1)], [outcome(1, reward=1)])
    first.close()
    _turn_back(url)
    with monkeypatch.context() as broken:
        # Fails after the old table was renamed, before its rows were copied.
        broken.setattr(migration, "_KEPT", "no_such_column")
        with pytest.raises(MlopsError):
            SqlJournal(url)
    journal = SqlJournal(url)
    assert [seen.reward for seen in journal.observations()] == [1]
    journal.close()


def test_a_journal_that_version_3_wrote(tmp_path: Path) -> None:
    """Made by its release; the features of old requests stay as they are, and are read."""
    path = tmp_path / "journal.db"
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.executescript(Path(__file__).with_name("version_3.sql").read_text())
    journal = SqlJournal(f"sqlite:///{path}")
    labelled = [(row.features, row.truth) for row in journal.labelled_rows([1])]
    assert labelled == [
        ({"alcohol": 7.4, "colour": "red", "pH": None}, 1.0),
        ([1.5, 2.0], 2.0),
        ({"alcohol": 7.4, "colour": "white", "pH": None}, 3.0),
        ({"alcohol": 1.5, "colour": "red"}, 4.0),
        ([1.0, 2.0, 3.0], 5.0),
        ({"alcohol": 1, "colour": None, "pH": 3.1}, 9.5),
    ]
    exported = [row.features for row in journal.joined_rows()]
    assert exported[:3] == [labelled[0][0], labelled[1][0], [3.0, 4.25]]
    assert exported[-5:] == [None] * 5  # a list of numbers, two without features, one unknown
    assert [cell for _, cell in journal.cells([1], "alcohol")] == [7.4, 7.4, 1.5]
    assert [(each.epoch, each.probabilities) for each in journal.epochs()] == [(0, (0.25, 0.75))]
    assert journal.voids()[0].outcomes == 1
    # It goes on in today's form.
    journal.append([decision(50, features=Records([{"alcohol": 5.5}]))], [outcome(50, truth=6.0)])
    assert [row.features for row in journal.labelled_rows([1])][-1] == {"alcohol": 5.5}
    assert sum(journal.forget_features(T0 + 40)) == 6
    assert len(list(journal.labelled_rows([1]))) == 1
    journal.close()
