"""The request log: the newest first, a page at a time; and one request in detail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mlops.errors import ConflictError, InvalidInputError, NotFoundError
from mlops.journal.records import Observation
from mlops.journal.sql import SqlJournal
from mlops.journal.streaming import Decisions
from mlops.journal.terms import is_spec
from mlops.live_page.backwards import newest_first
from mlops.live_page.request_ids import id_of
from mlops.live_page.source import Source
from mlops.live_page.templates import render
from mlops.spec.deployment import from_dict
from mlops.spec.request_id import read as read_id

#: Requests of one page.
PAGE = 50
# A page of few matches reads no more of the log than this.
_MOST_READ = 10_000
_AT_ONCE = 500
_NAMED = 20
#: Rows of a request that are shown, and explained.
_ROWS = 20
_ONLY = {"failed": (500, 1_000), "refused": (400, 500), "answered": (200, 400)}


@dataclass(frozen=True, slots=True)
class Line:
    """One request of the list.

    Attributes:
        seq: Its offset in the log.
        nonce: Its identity.
        time_ms: When its arm was drawn, milliseconds since 1970 in UTC.
        revision: Which revision answered.
        position: Position of the arm in it.
        arm: Name of the arm.
        propensity: Probability with which it was drawn; 0 if forced.
        status: HTTP status of the answer.
        latency_us: From request read to answer written, microseconds.
        n_rows: Its rows.
        answers: What was answered; None after a failure.
    """

    seq: int
    nonce: bytes
    time_ms: int
    revision: int
    position: int
    arm: str
    propensity: float
    status: int
    latency_us: int
    n_rows: int
    answers: list[Any] | None


def requests(source: Source, q: str, arm: str, only: str, before: str) -> dict[str, Any]:
    """Return `html` and `title` of a page of the list.

    Args:
        source: Has the journal.
        q: A request id, or a caller's own; empty for all.
        arm: Name of an arm; empty for all.
        only: A name of `_ONLY`; empty for all.
        before: Offset that the page ends before; empty for the newest.
    """
    journal = _journal(source)
    arms = _arms(journal)
    if q.strip():
        found, upto = _searched(source, journal, arms, q.strip()), 0
    else:
        end = journal.end().decisions
        last = min(end, int(before) - 1) if before.isdecimal() else end
        found, upto = _listed(journal, arms, last, arm, only)
    labelled = journal.count_outcomes([each.nonce for each in found], journal.end().outcomes)
    html = render(
        "requests",
        lines=[(each, id_of(source, each), labelled[each.nonce]) for each in found],
        q=q.strip(),
        arm=arm,
        only=only,
        before=before,
        older=upto + 1 if upto else 0,
        names=list(dict.fromkeys(name for names in arms.values() for name in names)),
        kinds=list(_ONLY),
        page=PAGE,
    )
    return {"html": html, "title": "Requests"}


def request(source: Source, request_id: str, *, explains: bool = True) -> dict[str, Any]:
    """Return `html` and `title` of one request.

    Args:
        source: Has the journal.
        request_id: Its id.
        explains: Whether its reader may have it explained.

    Raises:
        NotFoundError: It is not in the journal.
    """
    journal = _journal(source)
    nonce = _nonce(source, request_id)
    stored = journal.decision(nonce)
    if stored is None:
        raise NotFoundError(
            "This request is not in the journal.",
            hint="It was shed under load, or its row was pruned, or it is still being written.",
        )
    arms = _arms(journal)
    one = stored.decision
    line = Line(
        0, one.nonce, one.time_ms, one.revision, one.arm, _name(arms, one.revision, one.arm),
        one.propensity, one.status, one.latency_us, one.n_rows, one.predictions,
    )  # fmt: skip
    rows = None
    if stored.rows is not None:
        rows = [stored.rows.row(at) for at in range(min(one.n_rows, _ROWS))]
    html = render(
        "request",
        id=id_of(source, line),
        line=line,
        decision=one,
        unit=one.unit.hex() if one.unit else "",
        names=_columns(rows),
        rows=rows,
        hidden=max(0, one.n_rows - _ROWS),
        outcomes=_outcomes(journal.outcomes_of(nonce)),
        explains=explains,
        # Its revision may be written after it.
        is_live=one.revision >= max(arms, default=0),
    )
    return {"html": html, "title": "Request"}


def rows(source: Source, request_id: str) -> dict[str, Any]:
    """Return `rows` of a request, to be explained, and the `arm` that answered it.

    Rows are objects, or lists where it had no names.

    Raises:
        NotFoundError: They are not in the journal.
    """
    nonce = _nonce(source, request_id)
    kept = _journal(source).rows_of([nonce]).get(nonce)
    found = (
        [row for row in (kept.row(at) for at in range(_ROWS)) if row is not None] if kept else []
    )
    if not found:
        raise NotFoundError(
            "The journal has no features of this request: they were not kept, or are pruned."
        )
    asked = read_id(source.key, request_id)
    names = _arms(_journal(source)).get(asked.revision, [])
    return {"rows": found, "arm": names[asked.arm] if asked.arm < len(names) else ""}


def _journal(source: Source) -> SqlJournal:
    if source.journal is None:
        raise ConflictError("No journal is kept, so there is no log of requests.")
    return source.journal


def _nonce(source: Source, request_id: str) -> bytes:
    try:
        return read_id(source.key, request_id).nonce
    except InvalidInputError as error:
        raise NotFoundError(error.message, hint=error.hint) from error


def _arms(journal: SqlJournal) -> Mapping[int, list[str]]:
    """Return the names of the arms of each revision."""
    events = [each for each in journal.revision_events() if is_spec(each)]
    return {e.revision: [arm.name for arm in from_dict(e.spec or {}).arms] for e in events}


def _name(arms: Mapping[int, list[str]], revision: int, position: int) -> str:
    names = arms.get(revision, [])
    return names[position] if position < len(names) else f"arm {position}"


def _searched(
    source: Source, journal: SqlJournal, arms: Mapping[int, list[str]], q: str
) -> list[Line]:
    """Find a request by its id, or requests by their caller's own."""
    try:
        nonces = [read_id(source.key, q).nonce]
    except InvalidInputError:
        nonces = journal.requests_named(q, _NAMED)
    stored = (journal.decision(nonce) for nonce in nonces)
    return [
        Line(
            0, d.nonce, d.time_ms, d.revision, d.arm, _name(arms, d.revision, d.arm),
            d.propensity, d.status, d.latency_us, d.n_rows, d.predictions,
        )
        for d in (each.decision for each in stored if each is not None)
    ]  # fmt: skip


def _listed(
    journal: SqlJournal, arms: Mapping[int, list[str]], last: int, arm: str, only: str
) -> tuple[list[Line], int]:
    """Read backwards; return a page, and the offset up to which there may be more, 0 at the end."""
    low, high = _ONLY.get(only, (0, 1_000))
    found: list[Line] = []
    upto = last
    for after, batches in newest_first(journal, last, _AT_ONCE):
        for line in (each for some in batches for each in _backwards(some, arms)):
            if low <= line.status < high and arm in ("", line.arm):
                found.append(line)
                if len(found) == PAGE:
                    return found, line.seq - 1
        upto = after
        if last - upto >= _MOST_READ:
            break
    return found, upto


def _backwards(some: Decisions, arms: Mapping[int, list[str]]) -> Iterator[Line]:
    for at in reversed(range(len(some))):
        revision, position = int(some.revisions[at]), int(some.arms[at])
        yield Line(
            seq=int(some.seqs[at]),
            nonce=some.nonces[at],
            time_ms=int(some.times_ms[at]),
            revision=revision,
            position=position,
            arm=_name(arms, revision, position),
            propensity=float(some.propensities[at]),
            status=int(some.statuses[at]),
            latency_us=int(some.latencies_us[at]),
            n_rows=int(some.n_rows[at]),
            answers=some.predictions_of(at),
        )


def _columns(rows: list[Any] | None) -> list[str]:
    named = [row for row in rows or () if isinstance(row, dict)]
    if named:
        return list(dict.fromkeys(name for row in named for name in row))
    width = max((len(row) for row in rows or () if isinstance(row, list)), default=0)
    return [f"column {at + 1}" for at in range(width)]


def _outcomes(seen: list[Observation]) -> list[Observation]:
    return seen[:_ROWS]
