"""Voiding outcomes: a row beside each says that it no longer counts, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, exists, func, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from mlops.journal.records import Void
from mlops.journal.schema import archives, outcomes, voids

# As in `joining`: older builds of SQLite take 999 variables.
_KEYS_PER_QUERY = 900


def counts() -> ColumnElement[bool]:
    """Condition on `outcomes`: it has not been voided."""
    return ~exists().where(voids.c.outcome == outcomes.c.seq)


def void_outcomes(
    connection: Connection, nonces: Iterable[bytes], time_ms: int, reason: str, by: str
) -> int:
    """See `Log.void`; the caller owns the transaction."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    done = 0
    keys = sorted(set(nonces))
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        chunk = keys[start : start + _KEYS_PER_QUERY]
        chosen: Select[tuple[int, int, str, str]] = select(
            outcomes.c.seq, literal(time_ms, voids.c.time_ms.type), literal(reason), literal(by)
        ).where(outcomes.c.nonce.in_(chunk), counts())
        names = ["outcome", "time_ms", "reason", "by"]
        insert = dialect.insert(voids).from_select(names, chosen).on_conflict_do_nothing()
        # PostgreSQL's driver does not count what such an insert has done.
        done += len(list(connection.execute(insert.returning(voids.c.seq))))
    return done


def bring_back(connection: Connection, part: int, rows: Sequence[dict[str, Any]]) -> None:
    """Put archived outcomes back into the journal, with the offsets that they had.

    Args:
        connection: In the caller's transaction.
        part: Number of the part that has them.
        rows: They, as rows of the table; any that is back already stays as it is.
    """
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    insert = dialect.insert(outcomes).on_conflict_do_nothing().returning(outcomes.c.seq)
    back = len(list(connection.execute(insert, list(rows)))) if rows else 0
    left = archives.c.outcomes - back
    connection.execute(update(archives).where(archives.c.part == part).values(outcomes=left))


def read_voids(connection: Connection) -> list[Void]:
    """See `History.voids`."""
    v = voids.c
    query = (
        select(outcomes.c.revision, v.time_ms, v.reason, v.by, func.count())
        .select_from(voids.join(outcomes, v.outcome == outcomes.c.seq))
        .group_by(outcomes.c.revision, v.time_ms, v.reason, v.by)
        .order_by(v.time_ms, outcomes.c.revision)
    )
    return [Void(*row) for row in connection.execute(query)]


def count_voids(connection: Connection) -> int:
    """Count all voided outcomes."""
    return int(connection.execute(select(func.count()).select_from(voids)).scalar_one())
