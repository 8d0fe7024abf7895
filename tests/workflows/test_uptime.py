"""When each revision really answered, out of what servers wrote down."""

from __future__ import annotations

from mlops.journal.records import RevisionEvent
from mlops.workflows.uptime import Span, spans

SPEC = {"name": "wine"}


def events(*rows: tuple[int, int, str]) -> list[RevisionEvent]:
    return [RevisionEvent(number, at, event, SPEC) for number, at, event in rows]


def test_what_answers_now_goes_on() -> None:
    found = spans(events((1, 10, "started"), (2, 20, "live"), (2, 25, "note")), alive=True)
    assert found == {1: [Span(10, 20, "replaced")], 2: [Span(20)]}


def test_a_stop_and_a_start_are_two_stretches() -> None:
    rows = events((1, 10, "started"), (1, 30, "stopped"), (1, 50, "started"))
    assert spans(rows, alive=True) == {1: [Span(10, 30, "stopped"), Span(50)]}
    assert spans(rows[:2], alive=False) == {1: [Span(10, 30, "stopped")]}


def test_a_crash_has_no_time() -> None:
    rows = events((1, 10, "started"), (1, 50, "started"))
    found = spans(rows, alive=False)
    assert found == {1: [Span(10, None, "crashed"), Span(50, None, "crashed")]}


def test_nothing_was_ever_here() -> None:
    assert spans([], alive=False) == {}
