"""Traffic of the last minutes, from the journal: what charts show before the first viewer came."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from mlops.journal.streaming import Decisions
from mlops.journal.terms import live_event
from mlops.live_page.desk import Desk
from mlops.spec.deployment import from_dict

#: The same as a server's: `mlops.serving.live_page.rates`.
_PER_CENT = (50, 95, 99)
_MOST_ROWS = 50_000


def history(desk: Desk, every_s: int, points: int) -> dict[str, Any]:
    """Return points as the server's own: requests/s, errors/s and latencies in ms, by arm.

    Args:
        desk: Has the journal.
        every_s: Seconds between two points.
        points: Most of them.
    """
    if desk.journal is None:
        return {"points": []}
    live = live_event(desk.journal.revision_events())
    if live is None or live.spec is None:
        return {"points": []}
    arms = [arm.name for arm in from_dict(live.spec).arms]
    end = desk.journal.end().decisions
    some = desk.journal.decisions(max(0, end - _MOST_ROWS), end, _MOST_ROWS)
    if not len(some):
        return {"points": []}
    last = int(time.time()) // every_s
    first = last - points
    if len(some) == _MOST_ROWS:
        # The oldest is cut off somewhere.
        first = max(first, int(some.times_ms.min()) // 1000 // every_s + 1)
    mine = some.revisions == live.revision
    slices = some.times_ms // 1000 // every_s
    found = []
    for at in range(first, last):
        chosen = mine & (slices == at)
        cells = {
            arm: _cells(some, chosen & (some.arms == i), every_s) for i, arm in enumerate(arms)
        }
        found.append({"t": (at + 1) * every_s, "arms": cells})
    return {"points": found}


def _cells(some: Decisions, chosen: Any, every_s: int) -> list[float | None]:  # noqa: ANN401 - (n,) of bool
    count = int(chosen.sum())
    errors = int((some.statuses[chosen] >= 500).sum())
    rates = [round(count / every_s, 2), round(errors / every_s, 2)]
    if not count:
        return [*rates, *(None for _ in _PER_CENT)]
    quantiles = np.percentile(some.latencies_us[chosen] / 1000, _PER_CENT)
    return [*rates, *(round(float(each), 3) for each in quantiles)]
