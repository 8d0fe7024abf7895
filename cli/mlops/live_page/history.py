"""Traffic of the last minutes, from the journal: what charts show before the first viewer came."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlops.journal.records import RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.journal.streaming import Decisions
from mlops.journal.terms import is_spec, live_event
from mlops.live_page.backwards import newest_first
from mlops.live_page.source import Source
from mlops.spec.deployment import from_dict

#: The same as a server's: `mlops.serving.live_page.rates`.
_PER_CENT = (50, 95, 99)
_MOST_ROWS = 50_000
_AT_ONCE = 5_000
#: Columns of requests, one in each column: revision, arm, slice of time, status, latency.
_Table: TypeAlias = NDArray[np.int64]


def history(source: Source, every_s: int, points: int) -> dict[str, Any]:
    """Return points as the server's own, by arm; see `mlops.serving.live_page.rates`.

    Requests of all revisions, by the name of the arm: those of the live one, and of earlier ones
    where they had requests.

    Args:
        source: Has the journal.
        every_s: Seconds between two points.
        points: Most of them.
    """
    if source.journal is None:
        return {"points": []}
    events = source.journal.revision_events()
    live = live_event(events)
    if live is None or live.spec is None:
        return {"points": []}
    last = int(time.time()) // every_s
    table, is_cut = _since(source.journal, last - points, every_s)
    if not table.size:
        return {"points": []}
    first = last - points
    if is_cut:
        # The oldest is cut off somewhere.
        first = max(first, int(table[2].min()) + 1)
    recent = table[:, table[2] >= first]
    by_arm = _by_arm(recent, events, [arm.name for arm in from_dict(live.spec).arms])
    found = []
    for at in range(first, last):
        cells = {arm: _cells(own[:, own[2] == at], every_s) for arm, own in by_arm.items()}
        found.append({"t": (at + 1) * every_s, "arms": cells})
    return {"points": found}


def _by_arm(
    table: _Table, events: Sequence[RevisionEvent], live: Sequence[str]
) -> dict[str, _Table]:
    """Part requests by the name of their arm; the live arms are first, and always there."""
    specs = {each.revision: from_dict(each.spec) for each in events if each.spec and is_spec(each)}
    places: dict[str, list[tuple[int, int]]] = {name: [] for name in live}
    for revision, index in np.unique(table[:2], axis=1).T.tolist():
        # Another server may have made it known since the events were read.
        if revision in specs:
            name = specs[revision].arms[index].name
            places.setdefault(name, []).append((revision, index))
    found = {}
    for name, some in places.items():
        chosen = np.zeros(table.shape[1], bool)
        for revision, index in some:
            chosen |= (table[0] == revision) & (table[1] == index)
        found[name] = table[:, chosen]
    return found


def _since(journal: SqlJournal, first: int, every_s: int) -> tuple[_Table, bool]:
    """Read from the end back to a slice of time; return also whether that was too much."""
    end = journal.end().decisions
    found, is_cut = [np.empty((5, 0), np.int64)], False
    for after, batches in newest_first(journal, end, _AT_ONCE):
        found += [_columns(each, every_s) for each in batches]
        if batches and int(found[-1][2].max()) < first:
            break
        if is_cut := after > 0 and end - after >= _MOST_ROWS:
            break
    return np.concatenate(found, axis=1), is_cut


def _columns(some: Decisions, every_s: int) -> _Table:
    slices = some.times_ms // 1000 // every_s
    return np.stack([some.revisions, some.arms, slices, some.statuses, some.latencies_us])


def _cells(chosen: _Table, every_s: int) -> list[float | None]:
    count = chosen.shape[1]
    errors = int((chosen[3] >= 500).sum())
    refused = int((chosen[3] >= 400).sum()) - errors
    requests_s, errors_s, refused_s = (
        round(each / every_s, 2) for each in (count, errors, refused)
    )
    if not count:
        return [requests_s, errors_s, *(None for _ in _PER_CENT), refused_s]
    quantiles = np.percentile(chosen[4] / 1000, _PER_CENT)
    return [requests_s, errors_s, *(round(float(each), 3) for each in quantiles), refused_s]
