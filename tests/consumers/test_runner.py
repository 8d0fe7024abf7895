"""A consumer gets every event at least once, in order, whatever happens to it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from mlops.consumers import CONSUMERS, Batch, Consumed, Context
from mlops.consumers import runner as runners
from mlops.consumers.__main__ import made
from mlops.consumers.journal_size import JournalSize
from mlops.consumers.runner import Runner
from mlops.errors import InvalidInputError, RemoteError
from mlops.journal.consumer_records import Progress
from mlops.journal.size_limit import too_large
from mlops.journal.sql import SqlJournal
from tests.conformance.journals import JOURNALS
from tests.journal.rows import decision, nonce, outcome

Start = Literal["beginning", "end"]


class Tape:
    """Writes down what it is given; fails while it is told to."""

    start: ClassVar[Start] = "beginning"

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.rated: list[bytes] = []
        self.empty = 0
        self.failure: Exception | None = None
        self.closed = False

    def consume(self, batch: Batch) -> Consumed:
        if self.failure:
            raise self.failure
        self.seen += batch.decisions.nonces
        self.rated += [each.nonce for each in batch.outcomes]
        self.empty += not len(batch)
        return Consumed(len(batch.decisions), len(batch.outcomes), "careful" if batch else "")

    def close(self) -> None:
        self.closed = True


class LateTape(Tape):
    start: ClassVar[Start] = "end"


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=JOURNALS)
def journal(request: pytest.FixtureRequest) -> Iterator[SqlJournal]:
    opened = SqlJournal(JOURNALS[request.param](request))
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "LIMIT", 4)


def _all(runner: Runner) -> None:
    while runner.step() == 0:
        pass


def _only(journal: SqlJournal, clock: Clock) -> Progress:
    (found,) = journal.progress(int(clock() * 1000))
    return found


def test_it_takes_everything_once_and_goes_on_after_a_restart(journal: SqlJournal) -> None:
    tape, clock = Tape(), Clock()
    journal.append([decision(n) for n in range(10)], [outcome(n) for n in range(3)])
    _all(Runner(journal, "tape", tape, "one", clock))
    journal.append([decision(n) for n in range(10, 13)], [outcome(3)])
    assert _only(journal, clock).lag_events == 4
    assert _only(journal, clock).lag_seconds > 0
    # The process ended; another begins once its time is up.
    other = Runner(journal, "tape", tape, "two", clock)
    assert other.step() > 0
    assert len(tape.seen) == 10
    clock.now += 60
    _all(other)
    assert tape.seen == [nonce(n) for n in range(13)]
    assert tape.rated == [nonce(n) for n in range(4)]
    found = _only(journal, clock)
    assert (found.sent, found.dropped, found.failed) == (13, 4, 0)
    assert (found.lag_events, found.lag_seconds, found.warning) == (0, 0.0, "careful")


def test_one_that_ends_keeps_the_next_waiting_for_nothing(journal: SqlJournal) -> None:
    tape, clock = Tape(), Clock()
    runner = Runner(journal, "tape", tape, "one", clock)
    _all(runner)
    runner.stop()
    runner.run()
    journal.append([decision(1)], [])
    _all(Runner(journal, "tape", tape, "two", clock))
    assert tape.seen == [nonce(1)]


def test_one_that_cannot_release_its_lease_ends_all_the_same(
    journal: SqlJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape, clock = Tape(), Clock()
    runner = Runner(journal, "tape", tape, "one", clock)
    _all(runner)
    runner.stop()
    with monkeypatch.context() as patch:
        patch.setattr(journal, "advance", lambda *_: 1 / 0)
        runner.run()
    # Its lease expires.
    journal.append([decision(1)], [])
    clock.now += 60
    _all(Runner(journal, "tape", tape, "two", clock))
    assert tape.seen == [nonce(1)]


def test_one_that_cannot_be_made_says_why(
    journal: SqlJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_context: Context) -> None:
        raise ZeroDivisionError("by hand")

    monkeypatch.setattr(CONSUMERS, "load", lambda _name: broken)
    consumer = made("tape", Context("wine", journal, {}))
    clock = Clock()
    journal.append([decision(1)], [])
    Runner(journal, "tape", consumer, "one", clock).step()
    assert "ZeroDivisionError('by hand')" in _only(journal, clock).fault


def test_one_that_cannot_end_well_keeps_nobody_waiting(
    journal: SqlJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape, clock = Tape(), Clock()
    runner = Runner(journal, "tape", tape, "one", clock)
    _all(runner)
    runner.stop()
    with monkeypatch.context() as patch:
        patch.setattr(tape, "close", lambda: 1 / 0)
        runner.run()
    journal.append([decision(1)], [])
    _all(Runner(journal, "tape", tape, "two", clock))
    assert tape.seen == [nonce(1)]


def test_what_fails_comes_again_and_delays_only_itself(journal: SqlJournal) -> None:
    tape, clock = Tape(), Clock()
    journal.append([decision(n) for n in range(3)], [])
    runner = Runner(journal, "tape", tape, "one", clock)
    tape.failure = OSError("the sink is away")
    pauses = [runner.step() for _ in range(9)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 60
    found = _only(journal, clock)
    assert (found.failed, found.sent, found.lag_events) == (9, 0, 3)
    assert "the sink is away" in found.fault
    tape.failure = None
    _all(runner)
    assert tape.seen == [nonce(n) for n in range(3)]
    found = _only(journal, clock)
    assert (found.failed, found.sent, found.fault) == (9, 3, "")


def test_a_fault_that_no_database_takes_as_it_is(journal: SqlJournal) -> None:
    tape, clock = Tape(), Clock()
    journal.append([decision(1)], [])
    runner = Runner(journal, "tape", tape, "one", clock)
    tape.failure = RemoteError("500: \x00\x7fELF\ud800 and more")
    assert runner.step() == runners._FIRST_PAUSE_S
    assert "ELF  and more" in _only(journal, clock).fault


def test_an_error_of_the_database_ends_no_runner(
    journal: SqlJournal, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tape = Tape()
    runner = Runner(journal, "tape", tape, "one", Clock())
    monkeypatch.setattr(runners, "_FIRST_PAUSE_S", 0.0)
    runner._pause_s = 0.0
    step, tries = runner.step, itertools.count()

    def failing() -> float:
        if next(tries) < 2:
            raise ValueError("a driver's own")
        runner.stop()
        return step()

    monkeypatch.setattr(runner, "step", failing)
    runner.run()
    assert next(tries) == 3
    assert tape.closed
    assert "a driver's own" in caplog.text


class Waiter(Tape):
    at_once, wait_s, join_s = 4, 300.0, 60.0


def test_what_a_batch_has_no_room_for_does_not_wait_again(
    journal: SqlJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large features cut a batch, which has fewer events than it may have then."""
    tape, clock = Waiter(), Clock()
    read = journal.decisions
    monkeypatch.setattr(journal, "decisions", lambda after, end, _: read(after, end, 1))
    journal.append([decision(n) for n in range(3)], [])
    runner = Runner(journal, "tape", tape, "one", clock)
    assert runner.step() > 0
    assert not tape.seen
    clock.now += 301
    _all(runner)
    assert tape.seen == [nonce(n) for n in range(3)]
    journal.append([decision(3)], [])
    clock.now += 20
    _all(runner)
    assert len(tape.seen) == 3


def test_an_outcome_waits_for_its_decision_for_a_while(journal: SqlJournal) -> None:
    """Another worker may store the outcome first."""
    tape, clock = Waiter(), Clock()
    tape.wait_s = 0.0
    runner = Runner(journal, "tape", tape, "one", clock)
    now_ms = int(clock.now * 1000)
    early = [replace(outcome(n), time_ms=now_ms) for n in (0, 1, 2, 3, 4, 5)]
    journal.append([decision(0)], early)
    _all(runner)
    assert (tape.seen, tape.rated) == ([nonce(0)], [nonce(0)])
    journal.append([decision(1), decision(2)], [])
    clock.now += 2
    _all(runner)
    assert tape.rated == [nonce(n) for n in range(3)]
    # It was shed, or is on its way for too long.
    clock.now += 60
    _all(runner)
    assert tape.rated == [nonce(n) for n in range(6)]
    assert _only(journal, clock).lag_events == 0
    # A clock that is ahead holds up nothing.
    journal.append([], [replace(outcome(9), time_ms=now_ms + 10**9)])
    _all(runner)
    assert tape.rated[-1] == nonce(9)


def test_a_process_that_was_thought_dead_moves_no_offset(journal: SqlJournal) -> None:
    tape, clock = Tape(), Clock()
    journal.append([decision(n) for n in range(3)], [])
    first, second = (Runner(journal, "tape", tape, name, clock) for name in ("one", "two"))
    known = first._claim()
    assert known is not None
    clock.now += 60
    _all(second)
    before = _only(journal, clock)
    first._store(known)
    assert _only(journal, clock) == before
    assert [first.step() for _ in range(5)] == [1, 2, 4, 8, runners._LONGEST_CLAIM_PAUSE_S]


def test_a_new_one_begins_where_it_wants(journal: SqlJournal) -> None:
    late, clock = LateTape(), Clock()
    journal.append([decision(1)], [outcome(1)])
    runner = Runner(journal, "late", late, "one", clock)
    _all(runner)
    journal.append([decision(2)], [outcome(2)])
    _all(runner)
    assert (late.seen, late.rated) == ([nonce(2)], [nonce(2)])


def test_an_empty_batch_comes_now_and_then(journal: SqlJournal) -> None:
    tape, clock = Tape(), Clock()
    runner = Runner(journal, "tape", tape, "one", clock)
    for _ in range(10):
        runner.step()
        clock.now += 6
    assert tape.empty == 3


def test_an_idle_one_writes_seldom(journal: SqlJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, claims = Clock(), itertools.count()
    claim = journal.claim

    def counted(*args: Any) -> Progress | None:
        next(claims)
        return claim(*args)

    monkeypatch.setattr(journal, "claim", counted)
    runner = Runner(journal, "tape", Tape(), "one", clock)
    for _ in range(100):
        runner.step()
        clock.now += 0.1
    assert next(claims) <= 2


def test_one_that_only_looks_is_given_nothing_and_has_no_lag(journal: SqlJournal) -> None:
    clock = Clock()

    class Looker(Tape):
        looks_only: ClassVar[bool] = True

    looker = Looker()
    runner = Runner(journal, "looker", looker, "one", clock)
    for _ in range(3):
        journal.append([decision(n) for n in range(9)], [outcome(0)])
        assert runner.step() > 0
        assert _only(journal, clock).lag_events == 0
        clock.now += 30
    assert not looker.seen
    assert not looker.rated
    assert looker.empty == 3


def test_the_size_of_the_journal_is_told_once_each_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = SqlJournal(f"sqlite:///{tmp_path}/journal.db")
    sizes = itertools.chain((0, 2_000_000, 3_000_000, 10, 2_000_000))
    monkeypatch.setattr(journal, "size_bytes", lambda: next(sizes))
    clock = Clock()
    watch = JournalSize(Context("wine", journal, {"max_mb": 1}), clock)
    batch = Batch(journal.decisions(0, 0, 1), [])
    told = []
    for _ in range(5):
        told.append(bool(watch.consume(batch).warning))
        assert bool(watch.consume(batch).warning) is told[-1]  # looks once a minute
        clock.now += 61
    assert told == [False, True, True, False, True]
    assert len(caplog.records) == 2
    assert "2.0 MB" in caplog.messages[0]
    journal.close()


@pytest.mark.parametrize(
    ("size", "max_mb", "told"),
    [(1_000_000, 1, False), (1_000_001, 1, True), (10**12, 0, False), (0, 1, False)],
)
def test_the_cap(size: int, max_mb: int, told: bool) -> None:
    assert bool(too_large(size, max_mb, "wine")) is told


def test_every_consumer_has_a_name_and_a_start() -> None:
    for name in CONSUMERS:
        made: Callable[[Context], object] = CONSUMERS.load(name)
        assert made.start in ("beginning", "end")  # type: ignore[attr-defined]  # a class
    with pytest.raises(InvalidInputError, match="consumer"):
        CONSUMERS.load("journal-sise")
