"""What the consumer `drift` found last, kept in the journal for the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mlops.journal.base import Journal
from mlops.journal.terms import live_event
from mlops.monitoring.drift import CONSUMER, DriftReport
from mlops.monitoring.drift_streams import Stream

#: Part of the consumer's state.
REPORT = "report"


@dataclass(frozen=True, slots=True)
class DriftPanel:
    """The result of the last look.

    Attributes:
        time_ms: When that was, milliseconds since 1970 in UTC.
        alpha: P(any alarm, ever, without drift) is at most this.
        threshold: E-value of an alarm.
        requests: Requests that were examined.
        streams: The features and answers of each arm, as `DriftReport.shown`.
        more: How many streams there are beside them.
    """

    time_ms: int
    alpha: float
    threshold: float
    requests: int
    streams: Sequence[Stream]
    more: int = 0

    @property
    def arms(self) -> list[str]:
        """Names of the arms."""
        return list(dict.fromkeys(each.arm for each in self.streams))

    @property
    def drifted(self) -> list[str]:
        """Names of what alarms."""
        return list(dict.fromkeys(each.feature for each in self.streams if each.alarm))


def report_document(report: DriftReport, time_ms: int) -> dict[str, Any]:
    """Write a report as a part of the consumer's state."""
    return {
        "time_ms": time_ms,
        "revision": report.revision,
        "alpha": report.alpha,
        "threshold": report.threshold,
        "requests": report.requests,
        "streams": [asdict(each) for each in report.shown],
        "more": len(report.streams) - len(report.shown),
    }


def read_panel(journal: Journal) -> DriftPanel | None:
    """Read what the consumer found about what is live; None if there is nothing."""
    document = journal.remembered(CONSUMER, [REPORT]).get(REPORT)
    live = live_event(journal.revision_events())
    if document is None or live is None or document.pop("revision") != live.revision:
        return None
    streams = [_stream(each) for each in document.pop("streams")]
    return DriftPanel(**document, streams=streams)


def _stream(document: dict[str, Any]) -> Stream:
    # JSON has no NaN: what is not known is null.
    numbers = {
        name: float("nan") if document[name] is None else document[name]
        for name in ("psi", "missing", "missing_before")
    }
    unseen = tuple((str(name), int(count)) for name, count in document["unseen"])
    return Stream(**{**document, **numbers, "unseen": unseen, "path": tuple(document["path"])})
