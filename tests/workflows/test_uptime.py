"""When each revision really answered, out of what servers wrote down."""

from __future__ import annotations

from mlops.journal.records import RevisionEvent
from mlops.workflows.uptime import Span, spans

SPEC = {"name": "wine"}


def events(*rows: tuple[int, int, str], server: str = "") -> list[RevisionEvent]:
    spec = {**SPEC, "server": server} if server else SPEC
    return [RevisionEvent(number, at, event, spec) for number, at, event in rows]


def together(*lists: list[RevisionEvent]) -> list[RevisionEvent]:
    return sorted((each for one in lists for each in one), key=lambda each: each.time_ms)


def test_what_answers_now_goes_on() -> None:
    found = spans(
        events((1, 10, "started"), (2, 20, "live"), (2, 25, "note")), place="", alive=True
    )
    assert found == {1: [Span(10, 20, "replaced")], 2: [Span(20)]}


def test_a_stop_and_a_start_are_two_stretches() -> None:
    rows = events((1, 10, "started"), (1, 30, "stopped"), (1, 50, "started"))
    assert spans(rows, place="", alive=True) == {1: [Span(10, 30, "stopped"), Span(50)]}
    assert spans(rows[:2], place="", alive=False) == {1: [Span(10, 30, "stopped")]}


def test_a_crash_has_no_time() -> None:
    rows = events((1, 10, "started"), (1, 50, "started"))
    found = spans(rows, place="", alive=False)
    assert found == {1: [Span(10, None, "crashed"), Span(50, None, "crashed")]}


def test_servers_that_share_a_journal_overlap() -> None:
    """The first goes on while another begins and ends; nothing tells whether a third runs."""
    found = spans(
        together(
            events((1, 10, "started"), (2, 60, "live"), server="box:/a"),
            events((1, 20, "started"), (1, 50, "stopped"), server="box:/b"),
            events((1, 30, "started"), server="hut:/a"),
        ),
        place="box:/a",
        alive=True,
    )
    assert found == {
        1: [
            Span(10, 60, "replaced"),
            Span(20, 50, "stopped", "box:/b"),
            Span(30, None, "unknown", "hut:/a"),
        ],
        2: [Span(60)],
    }


def test_a_crash_is_one_at_its_own_place() -> None:
    rows = together(
        events((1, 10, "started"), (1, 50, "started"), server="box:/a"),
        events((1, 20, "started"), (1, 30, "started"), server="box:/b"),
    )
    assert spans(rows, place="box:/a", alive=False) == {
        1: [
            Span(10, None, "crashed"),
            Span(20, None, "crashed", "box:/b"),
            Span(30, None, "unknown", "box:/b"),
            Span(50, None, "crashed"),
        ]
    }


def test_an_older_version_did_not_record_which_server_it_was() -> None:
    rows = together(
        events((1, 10, "started"), (1, 20, "stopped"), (1, 30, "started")),
        events((1, 50, "started"), server="box:/a"),
    )
    assert spans(rows, place="box:/a", alive=True) == {
        1: [Span(10, 20, "stopped"), Span(30, None, "unknown"), Span(50)]
    }


def test_nothing_was_ever_here() -> None:
    assert spans([], place="", alive=False) == {}
