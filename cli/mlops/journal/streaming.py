"""Reading decisions and outcomes in the order of the log, from an offset on.

An offset is the `seq` of the last row that was read. For that to skip nothing, rows must become
visible in the order of their `seq`. In SQLite they do: an insert holds the only write lock
until the commit. PostgreSQL assigns numbers before the commit, so that row 5 may be seen
while row 4 is still to come. Writers there hold a shared advisory lock from before their first row
to the commit, and `log_end` takes the same lock alone for a moment: the rows it then sees are all
that will ever be before the next. It gives up after 0.1 s, so that a writer that hangs delays
its readers only.

Read in columns: a row of Python objects for each decision would take several times as long.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import DBAPIError

from mlops.errors import RemoteError
from mlops.journal.consumer_records import Offset
from mlops.journal.feature_rows import ColumnNames
from mlops.journal.feature_tables import FeatureTable, feature_table, old_tables
from mlops.journal.features import KeptRows, old_form
from mlops.journal.inserting import table_name
from mlops.journal.reading import observations_query
from mlops.journal.records import Observation
from mlops.journal.rows import observation_of, predictions_of
from mlops.journal.schema import decisions, outcomes

#: Features of one batch beyond this wait for the next, bytes.
MAX_BATCH_BYTES = 16 * 1024 * 1024
_AT_ONCE = 500
# As in `joining`: older builds of SQLite take 999 variables.
_KEYS_PER_QUERY = 900
_LOCK_CLASS = 0x6D6C6F67  # "mlog"
_LOCK_TIMEOUT = "55P03"
_TRIES = 5
_COLUMNS = (
    "seq", "nonce", "time_ms", "revision", "arm", "propensity", "n_rows", "latency_us", "status",
    "protocol", "client_id", "unit", "features", "prediction", "predictions", "epoch", "columns_id",
)  # fmt: skip
_FEATURES = _COLUMNS.index("features")


@dataclass(frozen=True)
class Decisions:
    """Decisions in the order of the log, n of them, column by column.

    Attributes:
        seqs: Their offsets, (n,), ascending.
        nonces: Identities, by which a reader knows one that it has seen.
        times_ms: When each arm was drawn, (n,), milliseconds since 1970 in UTC.
        revisions: Which revision answered, (n,).
        arms: Position of the arm in it, (n,).
        propensities: Probability with which it was drawn, (n,); 0 if forced.
        epochs: Policy epoch of the revision, (n,).
        n_rows: Rows of the request, (n,).
        latencies_us: From request read to answer written, (n,), microseconds.
        statuses: HTTP status of the answer, (n,).
        protocols: Names of the codecs.
        client_ids: The callers' own ids.
        units: Keyed hashes of the sticky units.
        predictions: What was predicted where that is one number, (n,), else NaN.
    """

    seqs: NDArray[np.int64]
    nonces: Sequence[bytes]
    times_ms: NDArray[np.int64]
    revisions: NDArray[np.int64]
    arms: NDArray[np.int64]
    propensities: NDArray[np.float64]
    epochs: NDArray[np.int64]
    n_rows: NDArray[np.int64]
    latencies_us: NDArray[np.int64]
    statuses: NDArray[np.int64]
    protocols: Sequence[str]
    client_ids: Sequence[str | None]
    units: Sequence[bytes | None]
    predictions: NDArray[np.float64]
    _prediction_texts: Sequence[str | None]
    _features: Sequence[str | None]
    _columns_ids: Sequence[int | None]
    _names: dict[int, list[str] | None]

    def __len__(self) -> int:
        """Return n."""
        return len(self.nonces)

    @property
    def features_size(self) -> int:
        """Length of all features as JSON, characters."""
        return sum(len(each) for each in self._features if each is not None)

    def predictions_of(self, position: int) -> list[Any] | None:
        """Return all predictions of one request, one per row; None after a failure."""
        number = float(self.predictions[position])
        text = self._prediction_texts[position]
        return predictions_of(None if number != number else number, text)

    def kept(self, position: int) -> KeptRows | None:
        """Read the features of one request; None where none were kept."""
        text, key = self._features[position], self._columns_ids[position]
        if text is None:
            return None
        document = orjson.loads(text)
        return old_form(document) if key is None else KeptRows(self._names[key], document)

    def features(self) -> list[FeatureTable]:
        """Read the features that were kept, one table for all requests with the same columns."""
        found: dict[int | None, list[int]] = {}
        for position, (kept, key) in enumerate(zip(self._features, self._columns_ids, strict=True)):
            if kept is not None:
                found.setdefault(key, []).append(position)
        return [table for key, some in found.items() for table in self._tables(key, some)]

    def _tables(self, key: int | None, positions: list[int]) -> Iterator[FeatureTable]:
        texts = [self._features[position] or "" for position in positions]
        if key is None:
            yield from old_tables(texts, positions)
        else:
            at = np.array(positions, dtype=np.int64)
            yield feature_table(self._names[key], texts, at, self.n_rows[at])


def log_lock(connection: Connection, *, alone: bool = False) -> None:
    """Lock the log until the end of the transaction; not needed in SQLite.

    Args:
        connection: In a transaction.
        alone: Without any writer beside it.
    """
    if connection.dialect.name != "sqlite":
        _lock(connection, f"pg_advisory_xact_lock{'' if alone else '_shared'}", _LOCK_CLASS)


def archive_lock(connection: Connection) -> bool:
    """Be the only one that changes the archive, until the end of the transaction, if nobody does.

    A file of SQLite has one machine, whose commands exclude each other.
    """
    if connection.dialect.name == "sqlite":
        return True
    return bool(_lock(connection, "pg_try_advisory_xact_lock", _LOCK_CLASS + 1))


def _lock(connection: Connection, function: str, kind: int) -> Any:  # noqa: ANN401 - as it returns
    translated = connection.get_execution_options().get("schema_translate_map") or {}
    name = zlib.crc32(str(translated.get(None) or "").encode()) - 2**31
    statement = f"SELECT {function}(CAST(:kind AS int), CAST(:name AS int))"
    return connection.execute(text(statement), {"kind": kind, "name": name}).scalar_one()


def log_end(connection: Connection) -> Offset:
    """See `Stream.end`; the caller owns the connection."""
    for _ in range(_TRIES):
        try:
            with connection.begin():
                if connection.dialect.name != "sqlite":
                    connection.execute(text("SET LOCAL lock_timeout = '100ms'"))
                log_lock(connection, alone=True)
                # Outcomes first: their decisions are then among those that are seen.
                last = [
                    connection.execute(select(func.max(table.c.seq))).scalar_one() or 0
                    for table in (outcomes, decisions)
                ]
            return Offset(last[1], last[0])
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", "") != _LOCK_TIMEOUT:
                raise
    raise RemoteError("The end of the journal cannot be found while its writers are this busy.")


def first_of(connection: Connection, revisions: Iterable[int], last: Offset) -> Offset:
    """Return the offset before the first rows of revisions, those that are here.

    Args:
        connection: To the journal.
        revisions: Their numbers.
        last: The end of the log; the offset where there are none.
    """
    found = []
    for table, end in ((decisions, last.decisions), (outcomes, last.outcomes)):
        its = table.c.revision.in_(list(revisions))
        query = select(table.c.seq).where(its, table.c.seq <= end).order_by(table.c.seq).limit(1)
        first = connection.execute(query).scalar_one_or_none()
        found.append(end if first is None else first - 1)
    return Offset(*found)


def read_decisions(
    connection: Connection,
    after: int,
    end: int,
    limit: int,
    names: ColumnNames | None = None,
    *,
    features: bool = True,
) -> Decisions:
    """See `Stream.decisions`; the caller owns the connection.

    Args:
        connection: Has the decisions.
        after: As there.
        end: As there.
        limit: As there.
        names: Of the columns of features, where they are in another database.
        features: Whether to read them; none are kept otherwise.
    """
    columns = [each if features or each != "features" else "NULL AS features" for each in _COLUMNS]
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    statement = (
        f"SELECT {', '.join(columns)} FROM {table_name(connection, decisions.name)} "  # noqa: S608 - constants
        f"WHERE seq > {mark} AND seq <= {mark} ORDER BY seq LIMIT {mark}"
    )
    rows = _rows(connection, statement, (after, end, limit))
    return _as_columns(rows, names or ColumnNames(connection))


def _rows(connection: Connection, statement: str, values: tuple[int, ...]) -> list[Any]:
    """Fetch rows until their features are too large for one batch."""
    options = {"stream_results": True}
    result = connection.exec_driver_sql(statement, values, execution_options=options)
    # SQLite's driver gives tuples, which need no more work.
    fetch = result.cursor.fetchmany if connection.dialect.name == "sqlite" else result.fetchmany
    rows: list[Any] = []
    size = 0
    while some := fetch(_AT_ONCE):
        for index, row in enumerate(some):
            size += len(row[_FEATURES] or "")
            if size > MAX_BATCH_BYTES and (rows or index):
                rows += some[:index]
                result.close()
                return rows
        rows += some
    result.close()
    return rows


def _as_columns(rows: list[Any], names: ColumnNames) -> Decisions:
    columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(_COLUMNS)
    by_name = dict(zip(_COLUMNS, columns, strict=True))
    keys = {key for key in by_name["columns_id"] if key is not None}

    def whole(name: str) -> NDArray[np.int64]:
        return np.array(by_name[name], dtype=np.int64)

    def numbers(name: str) -> NDArray[np.float64]:
        return np.array(by_name[name], dtype=np.float64)

    return Decisions(
        seqs=whole("seq"),
        nonces=by_name["nonce"],
        times_ms=whole("time_ms"),
        revisions=whole("revision"),
        arms=whole("arm"),
        propensities=numbers("propensity"),
        epochs=whole("epoch"),
        n_rows=whole("n_rows"),
        latencies_us=whole("latency_us"),
        statuses=whole("status"),
        protocols=by_name["protocol"],
        client_ids=by_name["client_id"],
        units=by_name["unit"],
        predictions=numbers("prediction"),
        _prediction_texts=by_name["predictions"],
        _features=by_name["features"],
        _columns_ids=by_name["columns_id"],
        _names={key: names.of(key) for key in keys},
    )


def read_outcomes(
    connection: Connection, after: int, end: int, limit: int
) -> tuple[list[Observation], int]:
    """See `Stream.outcomes`; the caller owns the connection."""
    query = (
        observations_query()
        .where(outcomes.c.seq > after, outcomes.c.seq <= end)
        .order_by(outcomes.c.seq)
        .limit(limit)
    )
    found = [observation_of(row) for row in connection.execute(query)]
    # The offset also passes what is left out, such as voided outcomes.
    return found, found[-1].seq if len(found) == limit else end


def outcomes_of(connection: Connection, nonce: bytes) -> list[Observation]:
    """See `SqlJournal.outcomes_of`; the caller owns the connection."""
    query = observations_query().where(outcomes.c.nonce == nonce).order_by(outcomes.c.seq)
    return [observation_of(row) for row in connection.execute(query)]


def count_outcomes(connection: Connection, nonces: Iterable[bytes], upto: int) -> Counter[bytes]:
    """See `Stream.count_outcomes`; the caller owns the connection."""
    return Counter(nonce for nonce, _ in outcome_seqs(connection, nonces, upto))


def outcome_seqs(
    connection: Connection, nonces: Iterable[bytes], upto: int
) -> list[tuple[bytes, int]]:
    """Return decision and offset of each outcome of some decisions, those that count."""
    found: list[tuple[bytes, int]] = []
    keys = sorted(set(nonces))
    o = outcomes.c
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        chunk = keys[start : start + _KEYS_PER_QUERY]
        query = (
            observations_query()
            .with_only_columns(o.nonce, o.seq, maintain_column_froms=True)
            .where(o.nonce.in_(chunk), o.seq <= upto)
        )
        found += [(bytes(nonce), seq) for nonce, seq in connection.execute(query)]
    return found
