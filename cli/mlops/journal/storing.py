"""Storing outcomes: the first of a row at once, later ones with checks.

Nearly every outcome is the first of its row, and all of those go in with one statement. The others
are checked one by one: the same outcome again is a duplicate, and another one is a correction or
an addition where its revision takes those, else a conflict, as is another one with the same id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from sqlalchemy import Connection, Insert, Select, select

from mlops.journal.earlier import Earlier
from mlops.journal.joining import join
from mlops.journal.records import Fate, NewOutcome, StoredOutcome
from mlops.journal.rows import Row, outcome_row, truth_of
from mlops.journal.schema import outcomes, voids
from mlops.rewards.kinds import pairs_of, same

_Key: TypeAlias = tuple[bytes | None, int]

# Another process may store a correction of the same row in between; it cannot do so forever.
_TRIES = 20


def store(
    connection: Connection, insert_new: Insert, batch: Sequence[NewOutcome], archived: Earlier
) -> list[StoredOutcome]:
    """Join a batch to its decisions, insert what can be stored, and return the status of each.

    Args:
        connection: In a transaction.
        insert_new: Inserts rows of `outcomes` that are not there, and returns nonce and row of
            those it inserted.
        batch: In order of arrival.
        archived: What is known of decisions that are archived.
    """
    joined = join(connection, batch, archived)
    rows: dict[_Key, dict[str, Any]] = {}
    for item in joined:
        if _is_storable(item) and not _archived(archived, _key(item)):
            rows.setdefault(_key(item), outcome_row(item.outcome))
    fresh: set[_Key] = set()
    if rows:
        inserted = connection.execute(insert_new, list(rows.values()))
        fresh = {(bytes(nonce), row) for nonce, row in inserted}
    return [_settle(connection, insert_new, item, fresh, archived) for item in joined]


def _settle(
    connection: Connection,
    insert_new: Insert,
    item: StoredOutcome,
    fresh: set[_Key],
    archived: Earlier,
) -> StoredOutcome:
    if not _is_storable(item):
        return item
    if _key(item) in fresh:
        fresh.discard(_key(item))
        return item
    return _store_again(connection, insert_new, item, archived)


def _store_again(
    connection: Connection, insert_new: Insert, item: StoredOutcome, archived: Earlier
) -> StoredOutcome:
    """Store an outcome of a row that has one."""
    for _ in range(_TRIES):
        earlier = _earlier(connection, _key(item), archived)
        if _is_among(item.outcome, earlier):
            return replace(item, fate=Fate.DUPLICATE)
        if _has_its_id(item.outcome, earlier):
            return replace(item, fate=Fate.CONFLICT, id_taken=True)
        if not item.outcome.repeatable and any(row.voided is None for row in earlier):
            return replace(item, fate=Fate.CONFLICT)
        ordinal = int(earlier[-1].ordinal) + 1 if earlier else 0
        row = outcome_row(item.outcome, ordinal)
        if list(connection.execute(insert_new, [row])):
            return replace(item, ordinal=ordinal)
    return replace(item, fate=Fate.CONFLICT)


def earlier_query() -> Select[Any]:
    """Return what asks for outcomes as those that come after them are held against; in no order."""
    o = outcomes.c
    return select(
        o.nonce, o.row, o.ordinal, o.outcome_id, o.reward, o.truth, o.truth_json,
        voids.c.seq.label("voided"),
    ).select_from(outcomes.outerjoin(voids, voids.c.outcome == o.seq))  # fmt: skip


def _earlier(connection: Connection, key: _Key, archived: Earlier) -> list[Row]:
    o = outcomes.c
    query = earlier_query().where(o.nonce == key[0], o.row == key[1])
    # What was brought back to be voided is in both.
    found = {row.ordinal: row for row in (*_archived(archived, key), *connection.execute(query))}
    return [found[ordinal] for ordinal in sorted(found)]


def _archived(archived: Earlier, key: _Key) -> list[Row]:
    rows = archived.outcomes.get(key[0] or b"", ())
    return [row for row in rows if row.row == key[1]]


def _is_among(outcome: NewOutcome, earlier: Sequence[Row]) -> bool:
    """Whether an outcome was stored before: as one with its id, else as the last one."""
    if outcome.outcome_id is None:
        return bool(earlier) and _is_same(outcome, earlier[-1])
    return any(row.outcome_id == outcome.outcome_id and _is_same(outcome, row) for row in earlier)


def _has_its_id(outcome: NewOutcome, earlier: Sequence[Row]) -> bool:
    """Whether an outcome has the id of another one that counts."""
    ids = {row.outcome_id for row in earlier if row.voided is None}
    return outcome.outcome_id is not None and outcome.outcome_id in ids


def _is_same(outcome: NewOutcome, row: Row) -> bool:
    """Whether two outcomes say the same; a text that is a number is the same label as that."""
    stored, truth = truth_of(row), outcome.truth
    # A list is not the same as an object, though it may be the truth of one.
    alike_form = isinstance(stored, Mapping) == isinstance(truth, Mapping)
    pairs = pairs_of(stored, truth) if alike_form else None
    alike = all(same(*pair) for pair in pairs) if pairs else stored == truth
    return alike and bool(row.reward == outcome.reward)


def _is_storable(item: StoredOutcome) -> bool:
    return item.fate in (Fate.ACCEPTED, Fate.UNMATCHED)


def _key(item: StoredOutcome) -> _Key:
    return item.outcome.nonce, item.outcome.row
