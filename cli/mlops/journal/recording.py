"""Recording what is neither a decision nor an outcome."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects import postgresql, sqlite

from mlops.errors import ConflictError
from mlops.journal.json_text import as_json
from mlops.journal.records import Fact, Loss, PolicyEpoch, RevisionEvent, ShadowDecision
from mlops.journal.rows import shadow_row
from mlops.journal.schema import epochs, losses, revisions, shadow_decisions

_WEIGHTS_IN_FORCE = ("live", "started")


def record_facts(connection: Connection, facts: Iterable[Fact]) -> None:
    """See `Log.record`; the caller owns the transaction."""
    facts = list(facts)
    rows: dict[Table, list[dict[str, Any]]] = {}
    for fact in facts:
        for table, row in _rows(fact):
            rows.setdefault(table, []).append(row)
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    for table, some in rows.items():
        connection.execute(dialect.insert(table).on_conflict_do_nothing(), some)
    _check_ours(connection, [each for each in facts if isinstance(each, PolicyEpoch)])


def _check_ours(connection: Connection, published: Iterable[PolicyEpoch]) -> None:
    """Check that epochs are stored as they were sent; epoch 0, the weights of the spec, may be not.

    Raises:
        ConflictError: Another process has published another epoch of this number before.
    """
    for epoch in published:
        sent, e = _epoch_row(epoch), epochs.c
        query = select(epochs).where(e.revision == epoch.revision, e.epoch == epoch.epoch)
        stored = connection.execute(query).mappings().one()
        if epoch.epoch and any(stored[name] != value for name, value in sent.items()):
            raise ConflictError(
                f"Another process has published policy epoch {epoch.epoch} of revision "
                f"{epoch.revision} already.",
                hint="It learns in place of this one.",
            )


def weights_of(event: RevisionEvent) -> PolicyEpoch | None:
    """Return epoch 0 of a revision, the weights of its spec; None if the event holds no spec."""
    if event.spec is None or event.event not in _WEIGHTS_IN_FORCE:
        return None
    try:
        weights = tuple(float(arm["weight"]) for arm in event.spec["arms"])
    except (KeyError, TypeError, ValueError):
        return None  # a spec of a later version; the reader of the spec reports what is wrong
    return PolicyEpoch(event.revision, 0, event.time_ms, weights)


def _rows(fact: Fact) -> list[tuple[Table, dict[str, Any]]]:
    match fact:
        case ShadowDecision():
            return [(shadow_decisions, shadow_row(fact))]
        case Loss(kind, count, time_ms):
            return [(losses, {"time_ms": time_ms, "kind": kind, "n": count})]
        case PolicyEpoch():
            return [(epochs, _epoch_row(fact))]
        case RevisionEvent(revision, time_ms, event, spec):
            text = None if spec is None else as_json(spec)
            row = {"revision": revision, "time_ms": time_ms, "event": event, "spec": text}
            first = weights_of(fact)
            return [(revisions, row), *([(epochs, _epoch_row(first))] if first else [])]


def _epoch_row(epoch: PolicyEpoch) -> dict[str, Any]:
    return {
        "revision": epoch.revision,
        "epoch": epoch.epoch,
        "time_ms": epoch.time_ms,
        "probabilities": as_json(epoch.probabilities),
        "parameters": None if epoch.parameters is None else as_json(epoch.parameters),
    }
