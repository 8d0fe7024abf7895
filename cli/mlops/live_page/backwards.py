"""The log of requests from its end backwards.

The journal is read forwards. One read ends early, at the end of an archived part and where features
are large, so what it gives of a stretch of the log is its oldest requests, and not all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from mlops.journal.sql import SqlJournal
from mlops.journal.streaming import Decisions


def newest_first(
    journal: SqlJournal, end: int, size: int, *, features: bool = False
) -> Iterator[tuple[int, list[Decisions]]]:
    """Yield stretches of the log, the newest first, until its begin.

    Args:
        journal: Is read.
        end: Offset of the newest decision.
        size: Offsets of one stretch; numbers of rows that are gone make it shorter.
        features: Whether features are read too.

    Yields:
        The offset before a stretch, and its decisions, the newest batch first.
    """
    while end > 0:
        after = at = max(0, end - size)
        batches: list[Decisions] = []
        while at < end and len(some := journal.decisions(at, end, size, features=features)):
            batches.append(some)
            at = int(some.seqs[-1])
        yield after, batches[::-1]
        end = after
