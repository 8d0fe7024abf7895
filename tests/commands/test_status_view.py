"""`mlops status` shows what needs attention, and names the rest."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from mlops.commands.status_view import render_statuses
from mlops.deployment.status import Status


def _consumer(name: str, **more: Any) -> dict[str, Any]:
    usual = {"lag_events": 0, "lag_seconds": 0.0, "sent": 9, "failed": 0, "fault": None}
    return {"name": name, **usual, **more}


def _shown(*consumers: dict[str, Any]) -> list[str]:
    found = Status(
        *("wine", "running", "http://here", 1, 7, 0, (), {}, ""), consumers=tuple(consumers)
    )
    text = io.StringIO()
    render_statuses(Console(file=text, width=200), [found])
    return [line.strip() for line in text.getvalue().splitlines() if "consumer" in line]


def test_consumers_that_are_well_have_one_line() -> None:
    just_now = _consumer("policy", lag_events=3, lag_seconds=1.0)
    assert _shown(_consumer("drift"), just_now, _consumer("ramp")) == [
        "consumers keep up: drift, policy, ramp"
    ]
    assert _shown() == []


def test_those_that_are_behind_or_fail_are_shown() -> None:
    lines = _shown(
        _consumer("log:lake", lag_events=1_200, lag_seconds=95.0),
        _consumer("drift"),
        _consumer("webhook", failed=2, fault="refused"),
        # What failed before stays to be seen, though it goes well now.
        _consumer("log:search", failed=3),
    )
    assert lines == [
        "consumer log:lake  1,200 events behind, 9 taken, 0 failures",
        "consumer webhook  0 events behind, 9 taken, 2 failures",
        "consumer log:search  0 events behind, 9 taken, 3 failures",
        "consumers keep up: drift",
    ]
