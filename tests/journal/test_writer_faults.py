"""What a writer does, and whom it answers, where its journal is away, hangs, is full or refuses."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mlops.journal import writer as writer_module
from mlops.journal.base import JournalFullError, JournalUnavailableError
from mlops.journal.records import Fact, Fate, NewOutcome, StoredOutcome
from mlops.journal.sql import SqlJournal
from mlops.journal.waiting import LookupThread
from mlops.journal.writer import JournalWriter
from mlops.protocols.base import Outcome
from mlops.serving.dataplane import DataPlane
from mlops.serving.feedback_service import FeedbackService
from mlops.serving.metrics import Metrics
from tests.fakes import FakeJournal
from tests.journal.rows import decision, nonce, outcome
from tests.journal.writers import CHECKOUT, SHADOW, Answer, House, store
from tests.requirements import require
from tests.waiting import wait_until


def test_a_journal_that_is_away(house: House) -> None:
    house.journal.failure = JournalFullError("The disk is full.", hint="Free space.")
    house.writer.add_decision(decision(1))
    future = house.writer.add_outcomes([outcome(1)])
    error = future.exception(60)
    assert isinstance(error, JournalFullError)
    assert error.message == "The disk is full."
    assert house.journal.decisions == []
    # Until it is tried again, no caller has to wait.
    assert house.writer.add_outcomes([outcome(1)]).exception(1) is error
    # Decisions wait for it to come back, in order.
    house.writer.add_decision(decision(2))
    house.journal.failure = None
    assert store(house.writer, 2).fate is Fate.ACCEPTED
    wait_until(lambda: len(house.journal.decisions) == 2)
    assert [d.nonce for d in house.journal.decisions] == [nonce(1), nonce(2)]
    assert house.writer.shed == 0


def test_a_journal_that_stays_away_is_logged_once(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer_module, "_RETRY_S", 0.001)
    house.journal.failure = JournalFullError("The disk is full.")
    for _ in range(5):
        assert house.writer.add_outcomes([outcome(1)]).exception(60)
        time.sleep(0.002)
    assert [each.levelname for each in caplog.records] == ["WARNING"]
    house.journal.failure = None
    assert store(house.writer, 2).fate is Fate.ACCEPTED


def test_decisions_that_find_no_room_after_a_failure_are_counted() -> None:
    house = House(max_pending=10)
    house.hold()
    space: list[int] = []
    house.writer.has_space = lambda: bool(space)
    house.journal.gate.set()
    wait_until(lambda: house.journal.batches)
    for number in range(10):
        house.writer.add_decision(decision(number))
    house.journal.gate.clear()
    house.journal.entered.clear()
    house.journal.failure = JournalUnavailableError("It is away.")
    space.append(1)
    assert house.journal.entered.wait(60)  # all ten decisions are in this batch
    for number in range(10, 17):
        assert house.writer.add_decision(decision(number))
    house.journal.gate.set()
    wait_until(lambda: house.writer.shed)
    # The oldest are kept as far as there is room.
    assert house.writer.shed == 7
    house.journal.failure = None
    store(house.writer, 1)
    house.writer.close()
    assert len(house.journal.decisions) == 10
    assert house.journal.losses() == {"decision": 7}


def test_a_batch_that_breaks_the_journal_stops_no_other(house: House) -> None:
    house.journal.failure = ZeroDivisionError("a fault of ours")
    house.writer.add_decision(decision(1))
    error = house.writer.add_outcomes([outcome(1)]).exception(60)
    assert isinstance(error, JournalUnavailableError)
    house.journal.failure = None
    assert len(house.writer.add_outcomes([outcome(2)]).result(60)) == 1
    wait_until(lambda: house.journal.lost or house.journal.decisions)
    assert len(house.journal.decisions) + house.journal.losses().get("decision", 0) == 1


def test_a_fault_in_the_counting_stops_no_batch() -> None:
    journal = FakeJournal()

    def fail(stored: Sequence[StoredOutcome]) -> None:
        raise OverflowError("a fault of ours")

    writer = JournalWriter(journal, fail)
    for number in range(3):
        assert len(writer.add_outcomes([outcome(number)]).result(60)) == 1
    writer.close()


@pytest.mark.parametrize("taken", [False, True])
def test_a_sender_that_goes_away_stops_no_other(house: House, taken: bool) -> None:
    async def leave() -> None:
        if not taken:
            house.hold()
        house.journal.gate.clear()
        house.journal.entered.clear()
        leaving = asyncio.wrap_future(house.writer.add_outcomes([outcome(1)]))
        if taken:
            assert await asyncio.to_thread(house.journal.entered.wait, 5)
        leaving.cancel()
        await asyncio.sleep(0)  # the loop tells the writer
        staying = asyncio.wrap_future(house.writer.add_outcomes([outcome(2)]))
        house.journal.gate.set()
        assert [item.outcome for item in await staying] == [outcome(2)]

    asyncio.run(asyncio.wait_for(leave(), 10))


def test_closing_writes_what_waits(house: House) -> None:
    house.hold()
    for number in range(1, 60):
        house.writer.add_decision(decision(number))
    futures = [house.writer.add_outcomes([outcome(n)]) for n in range(1, 60)]
    closing = threading.Thread(target=house.writer.close)
    closing.start()
    house.journal.gate.set()
    closing.join(60)
    assert not closing.is_alive()
    assert all(future.result(0) for future in futures)
    assert len(house.journal.decisions) == 59
    late = house.writer.add_outcomes([outcome(99)])
    assert isinstance(late.exception(0), JournalUnavailableError)


def test_closing_ends_where_the_journal_is_away(house: House) -> None:
    house.journal.failure = JournalUnavailableError("It is away.")
    house.writer.add_decision(decision(1))
    future = house.writer.add_outcomes([outcome(1)])
    closing = threading.Thread(target=house.writer.close)
    closing.start()
    closing.join(60)
    assert not closing.is_alive()
    assert isinstance(future.exception(0), JournalUnavailableError)


def test_closing_does_not_wait_for_ever_for_a_journal_that_hangs(house: House) -> None:
    house.hold()
    assert not house.writer.close(0.05)
    house.journal.gate.set()
    assert house.writer.close(60)


def test_a_sender_does_not_wait_for_ever_for_a_journal_that_hangs(house: House) -> None:
    engine = SimpleNamespace(key=bytes(32))
    desk = FeedbackService(cast(DataPlane, engine), Metrics("wine", dict), {}, patience_s=0.05)
    house.hold()
    feedback = [Outcome(None, "mine", None, 1.0, None)]
    with pytest.raises(JournalUnavailableError) as caught:
        asyncio.run(desk.take(feedback, house.writer))
    assert "0.05 s" in caught.value.message


def test_what_serves_is_told_before_the_first_commit_into_another_journal(house: House) -> None:
    """And again where that could not be done."""
    told: list[int] = []

    def tell() -> None:
        told.append(len(house.journal.batches))
        if len(told) == 2:
            raise JournalUnavailableError("It is away.")

    house.writer.on_opened = tell
    store(house.writer, 1)
    store(house.writer, 2)
    house.journal.opened += 1
    store(house.writer, 3)
    assert told == [0, 2, 2]
    assert len(house.journal.batches) == 3


def test_everybody_is_answered_while_it_closes() -> None:
    """Senders that race with the close are either stored or refused."""
    for _ in range(20):
        journal = FakeJournal()
        writer = JournalWriter(journal, lambda stored: None)
        futures: list[Answer] = []

        def send(writer: JournalWriter = writer, futures: list[Answer] = futures) -> None:
            futures.extend(writer.add_outcomes([outcome(n)]) for n in range(300))

        threads = [threading.Thread(target=send) for _ in range(3)]
        for thread in threads:
            thread.start()
        writer.close()
        for thread in threads:
            thread.join()
        stored = [future for future in futures if future.exception(60) is None]
        assert len(stored) == len(journal.outcomes)


# Death and a full disk, with the real journal.


def test_no_acknowledged_outcome_is_lost_to_a_kill(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    generator = random.Random(11)
    acknowledged: list[int] = []
    for round_ in range(5):
        first = round_ * 1_000_000
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.journal.append_forever", url, str(first)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=CHECKOUT,
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(generator.randint(1, 300))]
        process.kill()
        lines += process.stdout.readlines()
        process.stdout.close()
        process.wait()
        # The last line may be half.
        acknowledged += [int(line) for line in lines if line.endswith("\n")]
        journal = SqlJournal(url)
        seen = [observation.nonce for observation in journal.observations()]
        rewards = {o.nonce: o.reward for o in journal.observations()}
        journal.close()
        assert len(set(seen)) == len(seen)
        assert {nonce(number) for number in acknowledged} <= set(seen)
        assert all(rewards[nonce(number)] == number for number in acknowledged)
    assert len(acknowledged) > 100


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    require("tmpfs", mounted, "a file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk(small_disk: Path) -> None:
    journal = SqlJournal(f"sqlite:///{small_disk / 'journal.db'}")
    writer = JournalWriter(journal, lambda stored: None)
    acknowledged, error, number = [], None, 0
    while error is None:
        number += 1
        assert number < 100_000
        batch = [outcome(number, row=row, truth="x" * 500) for row in range(50)]
        error = writer.add_outcomes(batch).exception(60)
        if error is None:
            acknowledged.append(number)
    assert isinstance(error, JournalFullError)
    assert acknowledged

    # A reader sees what was acknowledged.
    def stored() -> list[int]:
        return [int.from_bytes(o.nonce, "big") for o in journal.observations() if o.row == 0]

    assert stored() == acknowledged
    # Space returns, and it goes on by itself.
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    writer.add_decision(decision(number))
    assert store(writer, number, row=0).fate is Fate.ACCEPTED
    assert stored() == [*acknowledged, number]
    writer.close()
    journal.close()


def test_bytes_are_limited_as_well_as_numbers() -> None:
    house = House(max_bytes=100)
    house.hold()
    # One that is larger than all the room there is may wait alone.
    assert house.writer.add_decision(decision(1), 1_000)
    assert not house.writer.add_decision(decision(2), 1)
    house.journal.gate.set()
    wait_until(lambda: not house.writer.pending)
    house.hold()
    assert [house.writer.add_decision(decision(n), 40) for n in range(3, 7)] == [
        True,
        True,
        False,
        False,
    ]
    texts = [replace(outcome(n), truth="x" * 60) for n in range(7, 10)]
    first, second = (house.writer.add_outcomes([text]) for text in texts[:2])
    refusal = second.exception(60)
    assert isinstance(refusal, JournalUnavailableError)
    assert "Too much" in refusal.message
    house.journal.gate.set()
    assert first.exception(60) is None
    assert house.writer.add_outcomes([texts[2]]).exception(60) is None
    house.writer.close()
    assert [d.nonce for d in house.journal.decisions] == [nonce(n) for n in (1, 3, 4)]
    assert house.writer.shed == 3


def test_names_of_outputs_count_as_bytes() -> None:
    house = House(max_bytes=1_000)
    house.hold()
    named: Any = {"x" * 600: 1.0, "y": 2.0}
    first, second = (
        house.writer.add_outcomes([replace(outcome(n), truth=named)]) for n in range(2)
    )
    assert isinstance(second.exception(60), JournalUnavailableError)
    house.journal.gate.set()
    assert first.exception(60) is None
    house.writer.close()


def test_what_a_journal_refused_waits_within_the_bytes_there_are() -> None:
    house = House(max_bytes=100)
    house.journal.failure = JournalUnavailableError("out of order")
    for number in (1, 2):
        house.writer.add_decision(decision(number), 40)
    wait_until(house.journal.entered.is_set)
    wait_until(lambda: house.writer.pending == 2)
    assert not house.writer.add_decision(decision(3), 40)
    house.journal.failure = None
    wait_until(lambda: not house.writer.pending)
    assert house.writer.add_decision(decision(4), 100)
    house.writer.close()
    assert [d.nonce for d in house.journal.decisions] == [nonce(n) for n in (1, 2, 4)]


def test_answers_of_shadows_that_break_the_journal_are_counted(house: House) -> None:
    house.journal.shadow_failure = ZeroDivisionError("by hand")
    house.writer.add_shadow(SHADOW)
    wait_until(lambda: house.writer.pending == 0)
    house.writer.add_decision(decision(1))
    wait_until(lambda: house.journal.lost)
    assert house.journal.losses() == {"shadow": 1}


def test_losses_that_cannot_be_written_are_written_with_the_next_batch(house: House) -> None:
    record, broken = house.journal.record, iter([True])

    def refuse_once(facts: Sequence[Fact]) -> None:
        if next(broken, False):
            raise ZeroDivisionError("by hand")
        record(facts)

    house.journal.record = refuse_once  # type: ignore[method-assign]
    house.writer.count_shed("shadow", 3)
    house.writer.add_decision(decision(1))
    wait_until(lambda: len(house.journal.decisions) == 1)
    assert house.journal.losses() == {}
    house.writer.add_decision(decision(2))
    wait_until(lambda: house.journal.lost)
    assert house.journal.losses() == {"shadow": 3}


def test_an_archive_that_cannot_be_read_is_told_to_whom_it_concerns_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    journal, told = FakeJournal(), []
    thread = LookupThread(journal, lambda _, fault: told.append(fault))
    broken = iter([ZeroDivisionError("by hand")])

    def look_up(_outcomes: Sequence[NewOutcome]) -> None:
        for error in broken:
            raise error

    monkeypatch.setattr(journal, "look_up", look_up)
    for number in range(2):
        assert thread.add(([outcome(number)], Future()))
    wait_until(lambda: len(told) == 2)
    assert "ZeroDivisionError('by hand')" in str(told[0])
    assert told[1] is None
    wait_until(lambda: not thread.busy)
