"""Single decisions, to find out why one was made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from mlops.journal.feature_rows import ColumnNames
from mlops.journal.features import KeptRows
from mlops.journal.records import Decision
from mlops.journal.rows import predictions_of
from mlops.journal.schema import decisions

# As in `joining`: older builds of SQLite take 999 variables.
_KEYS_PER_QUERY = 900


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """A decision as the journal has it.

    Attributes:
        decision: It; its `features` are None.
        rows: The rows of its request; None where they were not kept, or are forgotten.
    """

    decision: Decision
    rows: KeptRows | None


def find_decision(
    connection: Connection, nonce: bytes, names: ColumnNames | None = None
) -> StoredDecision | None:
    """Return the decision with this nonce; None if it is not there.

    Args:
        connection: To the journal, or to an archived part of it.
        nonce: Its identity.
        names: The journal's lists of column names, where the connection is to a part.
    """
    d = decisions.c
    found = connection.execute(select(decisions).where(d.nonce == nonce)).one_or_none()
    return None if found is None else _stored(names or ColumnNames(connection), found)


def requests_named(connection: Connection, client_id: str, most: int) -> list[bytes]:
    """Return the newest decisions with a caller's own id, by nonce, those that are not archived."""
    d = decisions.c
    query = select(d.nonce).where(d.client_id == client_id).order_by(d.seq.desc()).limit(most)
    return [bytes(nonce) for nonce in connection.execute(query).scalars()]


def rows_of(
    connection: Connection, nonces: Iterable[bytes], names: ColumnNames
) -> dict[bytes, KeptRows]:
    """See `Stream.rows_of`; the caller owns the connection.

    Args:
        connection: To the journal, or to an archived part of it.
        nonces: Of the requests.
        names: The journal's lists of column names.
    """
    d = decisions.c
    keys = sorted(set(nonces))
    found = {}
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        query = select(d.nonce, d.features, d.columns_id).where(
            d.nonce.in_(keys[start : start + _KEYS_PER_QUERY]), d.features.is_not(None)
        )
        # All of them first: the names are read on the same connection.
        for nonce, features, columns_id in connection.execute(query).all():
            found[bytes(nonce)] = names.kept(features, columns_id)
    return found


def first_of_unit(
    connection: Connection, unit: bytes, revisions: Iterable[int]
) -> StoredDecision | None:
    """Return the first decision that was drawn for a unit under these revisions.

    There is no index on units: this reads all decisions of these revisions.
    """
    d = decisions.c
    query = (
        select(decisions)
        .where(d.unit == unit, d.propensity > 0, d.revision.in_(list(revisions)))
        .order_by(d.time_ms, d.seq)
        .limit(1)
    )
    found = connection.execute(query).one_or_none()
    return None if found is None else _stored(ColumnNames(connection), found)


def _stored(names: ColumnNames, row: Any) -> StoredDecision:  # noqa: ANN401 - a result row
    rows = None
    if row.features is not None:
        rows = names.kept(row.features, row.columns_id)
    decision = Decision(
        nonce=bytes(row.nonce),
        time_ms=row.time_ms,
        revision=row.revision,
        arm=row.arm,
        propensity=row.propensity,
        n_rows=row.n_rows,
        latency_us=row.latency_us,
        status=row.status,
        protocol=row.protocol,
        client_id=row.client_id,
        unit=None if row.unit is None else bytes(row.unit),
        predictions=predictions_of(row.prediction, row.predictions),
        epoch=row.epoch,
        key_id=row.key_id,
    )
    return StoredDecision(decision, rows)
