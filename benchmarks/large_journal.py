"""A journal of millions of decisions, written straight into its tables in minutes.

Two arms for ninety days, rows of eleven features, and squared errors of a truth that comes an hour
after its prediction, for every fourth request.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops.journal.records import RevisionEvent
from mlops.journal.rows import DECISION_COLUMNS
from mlops.journal.sql import SqlJournal
from mlops.spec.deployment import Arm, DeploymentSpec, to_dict
from mlops.spec.model import ModelVersion

if TYPE_CHECKING:
    import psycopg

#: 1 March 2026, 08:00 UTC.
START_MS = 1_772_352_000_000
_SPAN_MS, _DELAY_MS = 90 * 86_400_000, 3_600_000
_AT_ONCE = 200_000
#: One request in so many has an outcome.
LABELLED_EVERY = 4
_NAMES = [f"column {number}" for number in range(11)]
_NAMES_JSON = "[" + ",".join(f'"{name}"' for name in _NAMES) + "]"
_OUTCOME = ("nonce", "row", "time_ms", "revision", "arm", "propensity", "truth")


def write_large_journal(file: Path, n: int, seed: int = 7) -> str:
    """Write an experiment of n decisions and return the URL of its journal."""
    url = f"sqlite:///{file}"
    _begin(url)
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA cache_size=-262144")
    statement = "INSERT INTO feature_columns (digest, names) VALUES (?, ?)"
    connection.execute(statement, (b"0" * 16, _NAMES_JSON))
    for decisions, outcomes in _batches(n, seed):
        connection.execute("BEGIN")
        _insert(connection, "decisions", tuple(DECISION_COLUMNS), decisions)
        _insert(connection, "outcomes", _OUTCOME, outcomes)
        connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return url


def write_into_postgresql(url: str, n: int, seed: int = 7) -> None:
    """Write an experiment of n decisions into PostgreSQL."""
    import psycopg
    from sqlalchemy import create_engine

    from mlops.journal.partitions import ROWS, make_room

    _begin(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        for last in range(1, n + ROWS, ROWS):
            make_room(connection, last)
    engine.dispose()
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        statement = "INSERT INTO feature_columns (digest, names) VALUES (%s, %s)"
        connection.execute(statement, (b"0" * 16, _NAMES_JSON))
        seq = 0
        for decisions, outcomes in _batches(n, seed):
            rows = list(decisions)
            numbered = [(seq + at, *row) for at, row in enumerate(rows, 1)]
            _copy(connection, "decisions", ("seq", *DECISION_COLUMNS), numbered)
            _copy(connection, "decision_keys", ("nonce", "seq"), [(r[1], r[0]) for r in numbered])
            _copy(connection, "outcomes", _OUTCOME, outcomes)
            seq += len(rows)
        connection.execute("SELECT setval(pg_get_serial_sequence('decisions', 'seq'), %s)", (seq,))
        connection.commit()
        connection.autocommit = True
        connection.execute("ANALYZE")


def _copy(
    connection: psycopg.Connection, table: str, names: tuple[str, ...], rows: Iterable[Any]
) -> None:
    listed = ", ".join(f'"{name}"' for name in names)
    with connection.cursor().copy(f"COPY {table} ({listed}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _begin(url: str) -> None:
    journal = SqlJournal(url)
    arms = tuple(
        Arm(name, ModelVersion(name, f"wine/{index}", "/nowhere"), 0.5)
        for index, name in enumerate(("a", "b"), 1)
    )
    spec = to_dict(DeploymentSpec("wine", arms, reward="squared-error"))
    journal.record([RevisionEvent(1, START_MS, "started", spec)])
    journal.close()


def _batches(n: int, seed: int) -> Iterator[tuple[Iterator[Any], list[Any]]]:
    for start in range(0, n, _AT_ONCE):
        chance = np.random.default_rng((seed, start))
        yield _batch(chance, start, min(_AT_ONCE, n - start), _SPAN_MS / n)


def _batch(
    chance: np.random.Generator, start: int, n: int, step_ms: float
) -> tuple[Iterator[Any], list[Any]]:
    times = (START_MS + np.arange(start, start + n) * step_ms).astype(np.int64)
    # As those of a server: the time, then chance.
    nonces = np.empty(n, dtype="S12")
    raw = np.zeros((n, 12), dtype=np.uint8)
    raw[:, :6] = times.astype(">i8").view(np.uint8).reshape(n, 8)[:, 2:]
    raw[:, 6:] = chance.integers(1, 256, (n, 6))
    nonces = raw.view("S12").reshape(n)
    drawn = chance.integers(0, 2, n)
    truths = np.round(chance.normal(6, 1, n), 1)
    predictions = truths + chance.normal(0, 0.6, n)
    statuses = np.where(chance.random(n) < 0.001, 500, 200)
    latencies = chance.integers(300, 3_000, n)
    cells = [
        "[[" + ",".join(map(str, row)) + "]]"
        for row in np.round(chance.random((1_000, len(_NAMES))) * 10, 2).tolist()
    ]
    rows = zip(
        nonces.tolist(), times.tolist(), drawn.tolist(), latencies.tolist(), statuses.tolist(),
        predictions.tolist(), strict=True,
    )  # fmt: skip
    decisions = (
        (
            nonce, time_ms, 1, arm, 0.5, 1, latency, status, "mlflow", None, None,
            cells[index % 1_000], prediction if status == 200 else None, None, 0, 1, None,
        )
        for index, (nonce, time_ms, arm, latency, status, prediction) in enumerate(rows)
    )  # fmt: skip
    told = np.flatnonzero(statuses == 200)[::LABELLED_EVERY]
    outcomes = [
        (nonces[at], 0, int(times[at]) + _DELAY_MS, 1, int(drawn[at]), 0.5, float(truths[at]))
        for at in told.tolist()
    ]
    return decisions, [(bytes(nonce), *rest) for nonce, *rest in outcomes]


def _insert(
    connection: sqlite3.Connection, table: str, names: tuple[str, ...], rows: Iterable[Any]
) -> None:
    marks = ", ".join("?" for _ in names)
    columns = ", ".join(f'"{name}"' for name in names)
    connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)
