"""What the consumers of the log keep in the journal: how far they are, and what they found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Offset(NamedTuple):
    """The offset of a reader of the log: its last decision and its last outcome; 0 for none."""

    decisions: int = 0
    outcomes: int = 0


_START = Offset()


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a consumer.

    Attributes:
        name: Its name.
        offset: Its last event.
        time_ms: When it last took something or tried to, milliseconds since 1970 in UTC.
        sent: Events that it took, of all times.
        failed: Batches that it could not take, and that were sent again.
        dropped: Events that it left out, as configured.
        fault: Why it could not take the last batch; empty if it could.
        warning: What the operator should look at; empty if nothing.
        lag_events: Events that it has not taken yet, about; 0 if not asked for.
        lag_seconds: How long the oldest of those waits.
    """

    name: str
    offset: Offset = _START
    time_ms: int = 0
    sent: int = 0
    failed: int = 0
    dropped: int = 0
    fault: str = ""
    warning: str = ""
    lag_events: int = 0
    lag_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What a consumer measured last, for `/metrics`.

    Attributes:
        family: Name of a family of `mlops.spec.metrics`.
        labels: Values of its labels but the first, the deployment's.
        value: The value.
    """

    family: str
    labels: tuple[str, ...]
    value: float


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that a consumer found and the operator should know. It is raised once.

    Attributes:
        id: Identity: what alarms, about what.
        time_ms: Time of the request or outcome that it became certain with, milliseconds since 1970
            in UTC.
        consumer: The one that found it.
        revision: What was live then.
        message: A sentence.
        details: JSON data, for a program.
        sent_ms: When a webhook accepted it; None if none did.
    """

    id: str
    time_ms: int
    consumer: str
    revision: int
    message: str
    details: Mapping[str, Any]
    sent_ms: int | None = None
