"""Storing outcomes: the first of a row at once, what comes after it with care.

Nearly every outcome is the first of its row, and all of those go in with one statement. The others
are looked at one by one: the same outcome again is a duplicate, and another one is a correction or
an addition where its revision takes those, else a conflict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from sqlalchemy import Connection, Insert, select

from mlops.journal.joining import join
from mlops.journal.records import Fate, NewOutcome, StoredOutcome
from mlops.journal.rows import Row, outcome_row, truth_of
from mlops.journal.schema import outcomes, voids

_Key: TypeAlias = tuple[bytes | None, int]

# Another process may store a correction of the same row in between; it cannot do so for ever.
_TRIES = 20


def store(
    connection: Connection, insert_new: Insert, batch: Sequence[NewOutcome]
) -> list[StoredOutcome]:
    """Join a batch to its decisions, insert what can be stored, and return the status of each.

    Args:
        connection: In a transaction.
        insert_new: Inserts rows of `outcomes` that are not there, and returns nonce and row of
            those it inserted.
        batch: In order of arrival.
    """
    joined = join(connection, batch)
    rows: dict[_Key, dict[str, Any]] = {}
    for item in joined:
        if _is_storable(item):
            rows.setdefault(_key(item), outcome_row(item.outcome))
    fresh: set[_Key] = set()
    if rows:
        inserted = connection.execute(insert_new, list(rows.values()))
        fresh = {(bytes(nonce), row) for nonce, row in inserted}
    return [_settle(connection, insert_new, item, fresh) for item in joined]


def _settle(
    connection: Connection, insert_new: Insert, item: StoredOutcome, fresh: set[_Key]
) -> StoredOutcome:
    if not _is_storable(item):
        return item
    if _key(item) in fresh:
        fresh.discard(_key(item))
        return item
    return _store_again(connection, insert_new, item)


def _store_again(connection: Connection, insert_new: Insert, item: StoredOutcome) -> StoredOutcome:
    """Store an outcome of a row that has one."""
    for _ in range(_TRIES):
        earlier = _earlier(connection, _key(item))
        if _is_among(item.outcome, earlier):
            return replace(item, fate=Fate.DUPLICATE)
        if not item.outcome.repeatable and any(row.voided is None for row in earlier):
            return replace(item, fate=Fate.CONFLICT)
        ordinal = int(earlier[-1].ordinal) + 1 if earlier else 0
        row = outcome_row(item.outcome, ordinal)
        if list(connection.execute(insert_new, [row])):
            return replace(item, ordinal=ordinal)
    return replace(item, fate=Fate.CONFLICT)


def _earlier(connection: Connection, key: _Key) -> list[Row]:
    o = outcomes.c
    query = (
        select(
            o.ordinal, o.outcome_id, o.reward, o.truth, o.truth_json,
            voids.c.seq.label("voided"),
        )
        .select_from(outcomes.outerjoin(voids, voids.c.outcome == o.seq))
        .where(o.nonce == key[0], o.row == key[1])
        .order_by(o.ordinal)
    )  # fmt: skip
    return list(connection.execute(query))


def _is_among(outcome: NewOutcome, earlier: Sequence[Row]) -> bool:
    """Whether an outcome was stored before: by its id, else by what the last one says."""
    if outcome.outcome_id is not None:
        return any(row.outcome_id == outcome.outcome_id for row in earlier)
    if not earlier:
        return False
    last = earlier[-1]
    return (last.reward, truth_of(last)) == (outcome.reward, outcome.truth)


def _is_storable(item: StoredOutcome) -> bool:
    return item.fate in (Fate.ACCEPTED, Fate.UNMATCHED)


def _key(item: StoredOutcome) -> _Key:
    return item.outcome.nonce, item.outcome.row
