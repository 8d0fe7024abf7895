"""Deleting the rows of a part once it is archived, a few in each commit.

Writers wait for one such commit at most, however large the part is. Until all are gone, rows are in
the archive and in the database, and readers count them once:

- decisions up to the last archived offset are left out, or replaced by their copy;
- an outcome is known by its offset, which is the same in both;
- `archives.outcomes_left` says how many outcomes are in both.

Decisions go first. So an outcome that arrives finds either its decision with all outcomes in the
database, or the decision in the archive, which has them. Each commit counts `archives.step` up, by
which a writer notices that what it has looked up no longer holds. A process killed in between has
left a part that is not `cleared`, and the next `mlops journal archive` continues with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, delete, func, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from mlops.journal import partitions
from mlops.journal.archived import ArchivedPart
from mlops.journal.schema import archived_requests, archives, decisions, outcomes, shadow_decisions
from mlops.journal.voiding import counts

_KEYS_PER_QUERY = 900
#: How long one commit should take, seconds.
_AIM_S = 0.05
_FEWEST, _MOST = 50, 50_000


class Pace:
    """How many rows to delete at once, from how long the last ones took."""

    def __init__(self, rows: int = 500) -> None:
        self.rows = rows

    def took(self, seconds: float) -> None:
        """Take note of one commit, and let writers go first for as long as it took."""
        factor = min(2.0, _AIM_S / max(seconds, 1e-4))
        self.rows = max(_FEWEST, min(_MOST, int(self.rows * factor)))
        time.sleep(min(max(seconds, 0.002), 1.0))


@dataclass(frozen=True, slots=True)
class Removal:
    """What is to be deleted of one part.

    Attributes:
        part: The part.
        outcomes: Offsets of its outcomes, ascending.
        shadows: Offsets of what shadows answered.
    """

    part: ArchivedPart
    outcomes: Sequence[int]
    shadows: Sequence[int]


#: Deletes up to so many rows in the caller's transaction; returns whether there may be more.
Step = Callable[[Connection, int], bool]


def steps_before_drop(removal: Removal) -> Iterator[Step]:
    """Yield what is done while partitions are there: the callers' own ids are kept."""
    after = removal.part.after

    def keep_ids(connection: Connection, rows: int) -> bool:
        nonlocal after
        upto = min(after + rows, removal.part.upto)
        _keep_requests(connection, removal.part, after, upto)
        _count_step(connection, removal.part)
        after = upto
        return after < removal.part.upto

    yield keep_ids


def steps(removal: Removal) -> Iterator[Step]:
    """Yield what deletes decisions, answers of shadows and outcomes, each until it is done."""
    part = removal.part

    def remove_decisions(connection: Connection, rows: int) -> bool:
        seq = decisions.c.seq
        oldest = select(seq).where(seq <= part.upto).order_by(seq).limit(rows).subquery()
        first, last = connection.execute(
            select(func.min(oldest.c.seq), func.max(oldest.c.seq))
        ).one()
        if first is None:
            return False
        _keep_requests(connection, part, first - 1, last)
        connection.execute(delete(decisions).where(seq.between(first, last)))
        _count_step(connection, part)
        return True

    at = 0

    def remove_shadows(connection: Connection, rows: int) -> bool:
        nonlocal at
        some = removal.shadows[at : at + rows]
        _delete(connection, shadow_decisions, some)
        at += len(some)
        return at < len(removal.shadows)

    def remove_outcomes(connection: Connection, rows: int) -> bool:
        chosen = archives.c.part == part.part
        left = int(connection.execute(select(archives.c.outcomes_left).where(chosen)).scalar_one())
        start = len(removal.outcomes) - left
        some = removal.outcomes[start : start + rows]
        gone = _delete(connection, outcomes, some, counts())
        connection.execute(
            update(archives).where(chosen).values(
                outcomes_left=left - len(some),
                # What was voided in the meantime stays in the database, and counts there.
                outcomes=archives.c.outcomes - (len(some) - gone),
                step=archives.c.step + 1,
            )
        )  # fmt: skip
        return left > len(some)

    yield remove_decisions
    yield remove_shadows
    yield remove_outcomes


def note_cleared(connection: Connection, part: ArchivedPart) -> None:
    """Take note that no row of a part is left."""
    connection.execute(update(archives).where(archives.c.part == part.part).values(cleared=1))


def _keep_requests(connection: Connection, part: ArchivedPart, after: int, upto: int) -> None:
    """Take note of archived decisions; where there are partitions, `decision_keys` has the most."""
    d = decisions.c
    known = select(d.nonce, literal(part.part), d.client_id).where(d.seq > after, d.seq <= upto)
    if partitions.is_partitioned(connection):
        known = known.where(d.client_id.is_not(None))
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    names = ["nonce", "part", "client_id"]
    kept = dialect.insert(archived_requests).from_select(names, known)
    connection.execute(kept.on_conflict_do_nothing())


def _count_step(connection: Connection, part: ArchivedPart) -> None:
    chosen = update(archives).where(archives.c.part == part.part)
    connection.execute(chosen.values(step=archives.c.step + 1))


def _delete(connection: Connection, table: Table, seqs: Sequence[int], *conditions: Any) -> int:  # noqa: ANN401 - as `where` takes them
    """Delete rows; return how many were there."""
    done = 0
    for start in range(0, len(seqs), _KEYS_PER_QUERY):
        chosen = table.c.seq.in_(seqs[start : start + _KEYS_PER_QUERY])
        done += connection.execute(delete(table).where(chosen, *conditions)).rowcount
    return done
