"""State that consumers keep of the log, and the alarms that they raised."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from mlops.journal.consumer_records import Alarm, Reading
from mlops.journal.json_text import as_json
from mlops.journal.schema import alarms, consumer_state

#: Part of a consumer's state that holds its readings: `[family, labels, value]` of each.
READINGS = "readings"


def remember(connection: Connection, consumer: str, parts: Mapping[str, Any], now_ms: int) -> None:
    """See `Memory.remember`; the caller owns the transaction."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    rows = [
        {"consumer": consumer, "part": part, "time_ms": now_ms, "document": as_json(document)}
        for part, document in parts.items()
    ]
    statement = dialect.insert(consumer_state)
    new = {name: statement.excluded[name] for name in ("time_ms", "document")}
    keys = ["consumer", "part"]
    if rows:
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=new), rows)


def settle(connection: Connection, consumer: str, part: str, document: Any, now_ms: int) -> Any:  # noqa: ANN401 - JSON data
    """See `Memory.settle`; the caller owns the transaction."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    row = {"consumer": consumer, "part": part, "time_ms": now_ms, "document": as_json(document)}
    connection.execute(dialect.insert(consumer_state).values(row).on_conflict_do_nothing())
    return remembered(connection, consumer, [part])[part]


def remembered(connection: Connection, consumer: str, parts: Iterable[str]) -> dict[str, Any]:
    """See `Memory.remembered`."""
    c = consumer_state.c
    query = select(c.part, c.document).where(c.consumer == consumer, c.part.in_(list(parts)))
    return {row.part: json.loads(row.document) for row in connection.execute(query)}


def read_readings(connection: Connection, consumers: Iterable[str]) -> list[Reading]:
    """See `Memory.readings`."""
    c = consumer_state.c
    query = select(c.document).where(c.part == READINGS, c.consumer.in_(list(consumers)))
    return [
        Reading(family, tuple(labels), float(value))
        for text in connection.execute(query.order_by(c.consumer)).scalars()
        for family, labels, value in json.loads(text)
    ]


def as_document(readings: Iterable[Reading]) -> list[list[Any]]:
    """Write readings as their part of a consumer's state."""
    return [[each.family, list(each.labels), each.value] for each in readings]


def raise_alarms(connection: Connection, raised: Iterable[Alarm]) -> None:
    """See `Memory.raise_alarms`; the caller owns the transaction."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    rows = [
        {
            "id": each.id,
            "time_ms": each.time_ms,
            "consumer": each.consumer,
            "revision": each.revision,
            "message": each.message,
            "details": as_json(each.details),
        }
        for each in raised
    ]
    if rows:
        connection.execute(dialect.insert(alarms).on_conflict_do_nothing(), rows)


def read_alarms(connection: Connection) -> list[Alarm]:
    """See `Memory.alarms`."""
    query = select(alarms).order_by(alarms.c.time_ms, alarms.c.id)
    return [
        Alarm(
            row.id, row.time_ms, row.consumer, row.revision, row.message, json.loads(row.details),
            row.sent_ms,
        )
        for row in connection.execute(query)
    ]  # fmt: skip


def alarms_sent(connection: Connection, ids: Iterable[str], now_ms: int) -> None:
    """See `Memory.alarms_sent`; the caller owns the transaction."""
    rows = [{"sent": key} for key in ids]
    update_one = update(alarms).where(alarms.c.id == bindparam("sent")).values(sent_ms=now_ms)
    if rows:
        connection.execute(update_one, rows)
