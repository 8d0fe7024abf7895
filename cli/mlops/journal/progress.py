"""How far each consumer of the log is: stored beside the log, so that any process can continue.

The process that runs a consumer holds it for a while (a lease) and renews it with each step. If
it ends, another one, on another machine too, takes over once the lease expires; and one that
was thought dead finds that its step is refused.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from mlops.journal.consumer_records import Offset, Progress
from mlops.journal.rows import Row
from mlops.journal.schema import consumers, decisions, outcomes


def claim(
    connection: Connection, start: Progress, owner: str, now_ms: int, lease_ms: int
) -> Progress | None:
    """See `Consumption.claim`; the caller owns the transaction."""
    c = consumers.c
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    first = {**_row(start), "owner": owner, "until_ms": now_ms + lease_ms}
    connection.execute(dialect.insert(consumers).on_conflict_do_nothing(), first)
    taken = connection.execute(
        update(consumers)
        .where(c.name == start.name, (c.owner == owner) | (c.until_ms < now_ms))
        .values(owner=owner, until_ms=now_ms + lease_ms)
    )
    if not taken.rowcount:
        return None
    row = connection.execute(select(consumers).where(c.name == start.name)).one()
    return _progress(row)


def advance(
    connection: Connection, progress: Progress, owner: str, now_ms: int, lease_ms: int
) -> bool:
    """See `Consumption.advance`; the caller owns the transaction."""
    c = consumers.c
    done = connection.execute(
        update(consumers)
        .where(c.name == progress.name, c.owner == owner)
        .values(**_row(progress), until_ms=now_ms + lease_ms)
    )
    return bool(done.rowcount)


def read_progress(connection: Connection, now_ms: int) -> list[Progress]:
    """See `Consumption.progress`."""
    rows = list(connection.execute(select(consumers).order_by(consumers.c.name)))
    if not rows:
        return []
    ends = [
        connection.execute(select(func.max(table.c.seq))).scalar_one() or 0
        for table in (decisions, outcomes)
    ]
    return [_progress(row, *_lag(connection, row, ends, now_ms)) for row in rows]


def _lag(connection: Connection, row: Row, ends: list[int], now_ms: int) -> tuple[int, float]:
    events = max(0, ends[0] - row.decisions) + max(0, ends[1] - row.outcomes)
    waiting: list[int] = []
    for table, after in ((decisions, row.decisions), (outcomes, row.outcomes)):
        query = select(table.c.time_ms).where(table.c.seq > after).order_by(table.c.seq).limit(1)
        waiting += connection.execute(query).scalars()
    oldest_ms = min(waiting, default=now_ms)
    return events, max(0, now_ms - oldest_ms) / 1000


def _row(progress: Progress) -> dict[str, object]:
    return {
        "name": progress.name,
        "decisions": progress.offset.decisions,
        "outcomes": progress.offset.outcomes,
        "time_ms": progress.time_ms,
        "sent": progress.sent,
        "failed": progress.failed,
        "dropped": progress.dropped,
        "fault": progress.fault,
        "warning": progress.warning,
    }


def _progress(row: Row, lag_events: int = 0, lag_seconds: float = 0.0) -> Progress:
    return Progress(
        row.name, Offset(row.decisions, row.outcomes), row.time_ms, row.sent, row.failed,
        row.dropped, row.fault, row.warning, lag_events, lag_seconds,
    )  # fmt: skip
