"""Sums over decisions of one arm of one revision, which may be taken in parts and added."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, case, distinct, func, select

from mlops.journal.records import Traffic
from mlops.journal.schema import decisions


class Sums(NamedTuple):
    """As `Traffic`, but for `alone`, drawn requests without a sticky unit, and for sums of latency.

    Those of several parts of the log can be added where none of them has sticky units.
    """

    revision: int
    arm: int
    drawn: int
    units: int
    alone: int
    forced: int
    errors: int
    refused: int
    rows: int
    latency_us: int
    first_ms: int
    last_ms: int


def read_traffic(connection: Connection) -> list[Traffic]:
    """See `Sums.traffic` of `mlops.journal.base`."""
    return [_traffic(sums) for sums in read_sums(connection)]


def read_sums(connection: Connection, after: int = 0, upto: int | None = None) -> list[Sums]:
    """Sum decisions by revision and arm.

    Args:
        connection: To the journal.
        after: Offset after which they begin.
        upto: Offset of the last of them; that of the log by default.
    """
    d = decisions.c
    drawn = d.propensity > 0
    query = (
        select(
            d.revision,
            d.arm,
            _count(drawn),
            func.count(distinct(case((drawn, d.unit)))),
            _count(and_(drawn, d.unit.is_(None))),
            _count(d.propensity == 0),
            _count(d.status >= 500),
            _count(and_(drawn, d.status >= 400, d.status < 500)),
            func.sum(d.n_rows),
            func.coalesce(func.sum(case((drawn, d.latency_us))), 0),
            func.min(d.time_ms),
            func.max(d.time_ms),
        )
        .group_by(d.revision, d.arm)
        .order_by(d.revision, d.arm)
    )
    if after:
        query = query.where(d.seq > after)
    if upto is not None:
        query = query.where(d.seq <= upto)
    return [Sums(*map(int, row)) for row in connection.execute(query)]


def added(parts: Iterable[Sums]) -> list[Traffic]:
    """Add sums of parts of the log; at most one of the parts has sticky units."""
    found: dict[tuple[int, int], Sums] = {}
    for part in parts:
        before = found.get(part[:2])
        found[part[:2]] = part if before is None else _both(before, part)
    return [_traffic(found[key]) for key in sorted(found)]


def _both(one: Sums, other: Sums) -> Sums:
    sums = {name: getattr(one, name) + getattr(other, name) for name in Sums._fields[2:-2]}
    return one._replace(
        **sums,
        first_ms=min(one.first_ms, other.first_ms),
        last_ms=max(one.last_ms, other.last_ms),
    )


def _traffic(sums: Sums) -> Traffic:
    return Traffic(
        revision=sums.revision,
        arm=sums.arm,
        drawn=sums.drawn,
        # A decision without a sticky unit is its own unit.
        units=sums.units + sums.alone,
        forced=sums.forced,
        errors=sums.errors,
        rows=sums.rows,
        latency_us_mean=sums.latency_us / sums.drawn if sums.drawn else 0.0,
        first_ms=sums.first_ms,
        last_ms=sums.last_ms,
        refused=sums.refused,
        alone=sums.alone,
    )


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count(case((condition, 1)))
