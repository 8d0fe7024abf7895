"""The comparison on the same rows, kept when an experiment ends.

Its arms answer no more after that, so it cannot be made again. What ends an experiment by its
verdict writes it into the journal, and a report on what is over reads it there.
"""

from __future__ import annotations

import dataclasses

from mlops.journal.base import History, Log
from mlops.journal.records import RevisionEvent
from mlops.monitoring.json_records import finite, read_record
from mlops.monitoring.paired import PairedReport

_EVENT = "paired"


def keep_pairs(journal: Log, revision: int, paired: PairedReport, *, now_ms: int) -> None:
    """Write a comparison into a journal.

    Args:
        journal: Of the deployment.
        revision: The experiment's newest revision.
        paired: The comparison.
        now_ms: When it was made, milliseconds since 1970 in UTC.

    Raises:
        MlopsError: It cannot be written.
    """
    document = finite(dataclasses.asdict(paired))
    journal.record([RevisionEvent(revision, now_ms, _EVENT, document)])


def kept_pairs(
    journal: History, revisions: tuple[int, ...], baseline: str
) -> tuple[PairedReport, int] | None:
    """Return the comparison that was kept last, and when it was made; None if none was.

    Args:
        journal: Of the deployment.
        revisions: Those of the experiment.
        baseline: The arm that the others are compared with.

    Raises:
        InvalidInputError: It is of another form.
    """
    for event in reversed(journal.revision_events()):
        if event.event == _EVENT and event.revision in revisions and event.spec:
            found: PairedReport = read_record(PairedReport, event.spec)
            if all(each.baseline == baseline for each in found.comparisons):
                return found, event.time_ms
    return None
