"""Joining outcomes to their decisions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, and_, select, text

from mlops.journal.earlier import Earlier
from mlops.journal.inserting import table_name
from mlops.journal.output_lists import as_outputs
from mlops.journal.records import WHOLE_REQUEST, Fate, NewOutcome, StoredOutcome, Value
from mlops.journal.rows import Row, is_kept, prediction_at, predictions_of
from mlops.journal.schema import decisions, outcomes
from mlops.rewards.kinds import is_single, pairs_of

# SQLite allows 32,766 variables in a statement since 3.32; older builds 999.
_KEYS_PER_QUERY = 900
_IDS_PER_QUERY = 5_000
_JOINED = (
    decisions.c.nonce,
    decisions.c.revision,
    decisions.c.arm,
    decisions.c.propensity,
    decisions.c.n_rows,
    decisions.c.prediction,
    decisions.c.predictions,
    decisions.c.unit,
    decisions.c.time_ms,
)


def join(
    connection: Connection, batch: Sequence[NewOutcome], archived: Earlier
) -> list[StoredOutcome]:
    """Join outcomes to the decisions that are stored; what was stored before is not looked at."""
    nonces = {o.nonce for o in batch if o.nonce is not None}
    matches = {**archived.decisions, **decisions_of(connection, nonces)}
    named = _by_client_id(connection, {o.client_id for o in batch if o.nonce is None})
    for client_id, rows in archived.named.items():
        # While rows are deleted, a decision may be in the archive and here.
        here = {bytes(row.nonce) for row in named[client_id]}
        named[client_id] += [row for row in rows if bytes(row.nonce) not in here]
    predictions: dict[bytes, list[Any] | None] = {}
    joined = [_join(outcome, matches, named, predictions) for outcome in batch]
    early = _whole_requests(connection, nonces)
    early |= {
        nonce
        for nonce, rows in archived.outcomes.items()
        if nonce in nonces and any(row.row == WHOLE_REQUEST for row in rows)
    }
    return [_as_before(item, early) for item in as_outputs(joined)]


def same_decision() -> ColumnElement[bool]:
    """Join condition of outcomes and decisions.

    A retry after a change of weights may have been answered by another arm than the decision
    that counts; its outcome keeps the arm of its own request id and is joined to no prediction.
    """
    return and_(
        decisions.c.nonce == outcomes.c.nonce,
        decisions.c.revision == outcomes.c.revision,
        decisions.c.arm == outcomes.c.arm,
    )


def decisions_of(connection: Connection, nonces: Iterable[bytes]) -> dict[bytes, Row]:
    """Return what outcomes are joined to, by nonce; a decision that is not there is left out."""
    found = {}
    keys = sorted(nonces)
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        chunk = keys[start : start + _KEYS_PER_QUERY]
        query = select(*_JOINED).where(decisions.c.nonce.in_(chunk))
        found.update({bytes(row.nonce): row for row in connection.execute(query)})
    return found


def _by_client_id(
    connection: Connection, client_ids: set[str | None]
) -> dict[str | None, list[Row]]:
    found: dict[str | None, list[Row]] = {client_id: [] for client_id in client_ids}
    keys = [each for each in client_ids if each is not None and is_kept(each)]
    for start in range(0, len(keys), _IDS_PER_QUERY):
        _look_up(connection, keys[start : start + _IDS_PER_QUERY], found)
    return found


def _look_up(
    connection: Connection, client_ids: Sequence[str], found: dict[str | None, list[Row]]
) -> None:
    """Find the first and the last decision of each id, which say whether it is unique.

    A constant id may have a million decisions, which must not be read one by one.
    """
    name = table_name(connection, decisions.name)
    is_sqlite = connection.dialect.name == "sqlite"
    ids = "json_each(:ids)" if is_sqlite else "unnest(CAST(:ids AS text[])) AS value"
    query = text(
        f"SELECT (SELECT min(seq) FROM {name} WHERE client_id = value),"  # noqa: S608 - constants
        f" (SELECT max(seq) FROM {name} WHERE client_id = value) FROM {ids}"
    )
    given = orjson.dumps(client_ids).decode() if is_sqlite else list(client_ids)
    ends = {end for row in connection.execute(query, {"ids": given}) for end in row}
    keys = sorted(end for end in ends if end is not None)
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        chunk = keys[start : start + _KEYS_PER_QUERY]
        rows = select(decisions.c.client_id, *_JOINED).where(decisions.c.seq.in_(chunk))
        for row in connection.execute(rows):
            found[row.client_id].append(row)


def _join(
    outcome: NewOutcome,
    matches: dict[bytes, Row],
    named: dict[str | None, list[Row]],
    predictions: dict[bytes, list[Any] | None],
) -> StoredOutcome:
    if outcome.nonce is not None:
        decision = matches.get(outcome.nonce)
        if decision is None or (decision.revision, decision.arm) != (outcome.revision, outcome.arm):
            return StoredOutcome(Fate.UNMATCHED, outcome)
    else:
        candidates = named[outcome.client_id]
        if len(candidates) != 1:
            return StoredOutcome(Fate.AMBIGUOUS if candidates else Fate.UNKNOWN, outcome)
        decision = candidates[0]
        outcome = replace(
            outcome,
            nonce=bytes(decision.nonce),
            revision=decision.revision,
            arm=decision.arm,
            propensity=decision.propensity,
        )
    n_rows = decision.n_rows
    if outcome.of_rows not in (0, n_rows):
        first = _prediction(decision, 0, predictions)
        return StoredOutcome(Fate.MISFIT, outcome, first, n_rows == 1, n_rows=n_rows)
    if outcome.row >= n_rows:
        return StoredOutcome(Fate.NO_SUCH_ROW, outcome)
    single = n_rows == 1
    if single:
        # Its only row and the whole request are the same, and must not be credited twice.
        outcome = replace(outcome, row=0)
    prediction = _prediction(decision, outcome.row, predictions)
    fits = is_single(outcome.truth) or prediction is None or pairs_of(prediction, outcome.truth)
    fate = Fate.ACCEPTED if fits else Fate.MISFIT
    decided_ms = int(decision.time_ms)
    return StoredOutcome(fate, outcome, prediction, single, n_rows=n_rows, decided_ms=decided_ms)


def _whole_requests(connection: Connection, nonces: set[bytes]) -> set[bytes | None]:
    """Which of these requests have feedback about the whole of them already."""
    found: set[bytes | None] = set()
    keys = sorted(nonces)
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        chunk = keys[start : start + _KEYS_PER_QUERY]
        query = select(outcomes.c.nonce).where(
            outcomes.c.nonce.in_(chunk), outcomes.c.row == WHOLE_REQUEST
        )
        found.update(bytes(nonce) for (nonce,) in connection.execute(query))
    return found


def _as_before(item: StoredOutcome, early: set[bytes | None]) -> StoredOutcome:
    """Treat feedback about the only row of a request like that about the whole request.

    Feedback about the whole came before its decision was known to have a single row.
    """
    if not (item.fate is Fate.ACCEPTED and item.single_row and item.outcome.nonce in early):
        return item
    return replace(item, outcome=replace(item.outcome, row=WHOLE_REQUEST))


def _prediction(decision: Row, index: int, known: dict[bytes, list[Any] | None]) -> Value:
    """Return the prediction of a row; those of a request are read once, however many rows it has.

    Args:
        decision: Decision about the request.
        index: The row, or `WHOLE_REQUEST`.
        known: Predictions by nonce, as far as they were read; added to.
    """
    nonce = bytes(decision.nonce)
    if nonce not in known:
        known[nonce] = predictions_of(decision.prediction, decision.predictions)
    return prediction_at(known[nonce], 0 if decision.prediction is not None else index)
