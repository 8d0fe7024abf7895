"""A journal that is away is told once, and callers do not learn where it is."""

from __future__ import annotations

import logging

import pytest

from mlops.errors import PUBLIC, InvalidInputError, RemoteError
from mlops.journal.base import JournalFullError
from mlops.journal.outage import AWAY, FULL, OutageLog, for_callers

_ADDRESS = "The journal at `postgresql://mlops@10.0.0.7/mlops` cannot be opened: refused."


def test_one_line_when_it_goes_and_one_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    outage = OutageLog()
    for _ in range(3):
        for who in ("writer", "policy", "drift"):
            outage.away(who, RemoteError(_ADDRESS))
        outage.met(RemoteError(_ADDRESS))
    outage.back("policy")
    outage.back("drift")
    assert _lines(caplog) == [("WARNING", f"journal: {_ADDRESS}")]
    outage.back("writer")
    outage.back("writer")
    assert _lines(caplog)[1:] == [("INFO", "journal: it can be used again")]
    outage.away("writer", RemoteError("It is away again."))
    assert _lines(caplog)[2:] == [("WARNING", "journal: It is away again.")]


def test_requests_that_meet_an_outage_are_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    outage = OutageLog(lambda: now[0])
    for now[0] in (0.0, 1.0, 59.0, 60.0, 61.0):
        outage.met(RemoteError(_ADDRESS))
    assert len(caplog.records) == 2


def test_what_callers_are_told() -> None:
    assert for_callers(RemoteError(_ADDRESS, hint="Ask 10.0.0.7.")) == AWAY
    assert for_callers(JournalFullError("/srv/journal is full.")) == FULL
    assert for_callers(RemoteError("Too much.", hint="Later.", reason=PUBLIC)) == "Too much. Later."
    assert for_callers(InvalidInputError("There is no arm `x`.")) == "There is no arm `x`."


def _lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(each.levelname, each.getMessage()) for each in caplog.records]
