"""The writer: batches, shedding, refusals, closing, and what survives a kill."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from mlops.journal.base import JournalUnavailableError
from mlops.journal.records import Fate
from tests.journal.rows import decision, named, nonce, outcome
from tests.journal.writers import SHADOW, House, store
from tests.waiting import wait_until


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_it_stands_back_for_requests() -> None:
    # Not their idents, which are given again.
    before = threading.enumerate()
    house = House()
    store(house.writer, 1)
    (thread,) = (
        each for each in threading.enumerate() if each.name == "journal" and each not in before
    )
    assert thread.native_id is not None
    ours = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert os.getpriority(os.PRIO_PROCESS, thread.native_id) == min(ours + 5, 19)
    assert house.writer.close(60)


def test_decisions_are_written_in_order(house: House) -> None:
    for number in range(50):
        assert house.writer.add_decision(decision(number))
    wait_until(lambda: len(house.journal.decisions) == 50)
    assert [d.nonce for d in house.journal.decisions] == [nonce(n) for n in range(50)]
    assert len(house.journal.batches) < 10


def test_an_outcome_is_answered_once_it_is_stored(house: House) -> None:
    house.hold()
    future = house.writer.add_outcomes([outcome(1), outcome(2)])
    assert not future.done()
    house.journal.gate.set()
    stored = future.result(60)
    assert [item.outcome for item in stored] == [outcome(1), outcome(2)]
    # Metrics know of it by the time its sender does.
    assert [item.outcome for item in house.counted] == [outcome(0), outcome(1), outcome(2)]


def test_outcomes_that_arrive_during_a_commit_share_the_next(house: House) -> None:
    house.hold()
    futures = [house.writer.add_outcomes([outcome(n)] * (1 + n % 3)) for n in range(1, 31)]
    house.journal.gate.set()
    answers = [future.result(60) for future in futures]
    assert house.journal.batches == [(0, 1), (0, 60)]
    # Each sender gets its own.
    for number, answer in enumerate(answers, 1):
        assert [item.outcome for item in answer] == [outcome(number)] * (1 + number % 3)


def test_decisions_come_along_with_their_outcomes(house: House) -> None:
    house.hold()
    for number in range(1, 20):
        house.writer.add_decision(decision(number))
        house.writer.add_outcomes([outcome(number)])
    house.journal.gate.set()
    wait_until(lambda: len(house.journal.batches) == 2)
    assert house.journal.batches[1] == (19, 19)


def test_the_last_space_of_a_disk_is_for_feedback(house: House) -> None:
    space: list[int] = []
    house.writer.has_space = lambda: bool(space)
    for number in range(1, 20):
        house.writer.add_decision(decision(number))
    assert store(house.writer, 30).fate is Fate.ACCEPTED
    assert house.journal.decisions == []
    assert house.writer.pending == 19
    # What outcomes are about comes along, whichever way they name it.
    assert store(house.writer, 7).fate is Fate.ACCEPTED
    house.writer.add_decision(decision(40, client_id="order 40"))
    house.writer.add_outcomes([named("order 40")]).result(60)
    assert [each.nonce for each in house.journal.decisions] == [nonce(7), nonce(40)]
    assert house.writer.pending == 18
    space.append(1)
    wait_until(lambda: len(house.journal.decisions) == 20)
    space.clear()
    # Who asks for all to be durable gets that.
    house.writer.add_decision(decision(41))
    assert house.writer.add_outcomes([]).result(60) == []
    assert len(house.journal.decisions) == 21
    # A server that stops tries all the same.
    house.writer.add_decision(decision(20))
    assert house.writer.close(60)
    assert len(house.journal.decisions) == 22


def test_no_outcomes_are_answered_too(house: House) -> None:
    house.writer.add_decision(decision(1))
    assert house.writer.add_outcomes([]).result(60) == []


def test_decisions_are_shed_and_counted() -> None:
    house = House(max_pending=10)
    house.hold()
    kept = [house.writer.add_decision(decision(number)) for number in range(1, 15)]
    assert kept == [True] * 10 + [False] * 4
    assert (house.writer.shed, house.writer.pending) == (4, 10)
    house.journal.gate.set()
    wait_until(lambda: house.journal.lost)
    assert house.journal.losses() == {"decision": 4}
    house.writer.close()
    assert [d.nonce for d in house.journal.decisions] == [nonce(n) for n in range(1, 11)]
    assert house.journal.losses() == {"decision": 4}


def test_decisions_of_a_commit_that_is_under_way_are_pending(house: House) -> None:
    house.journal.failure = JournalUnavailableError("It is away.")
    house.journal.gate.clear()
    house.journal.entered.clear()
    house.writer.add_decision(decision(1))
    assert house.journal.entered.wait(60)
    assert house.writer.pending == 1
    house.journal.gate.set()
    wait_until(lambda: house.writer.fault)
    # It was refused, and stays in the queue.
    assert house.writer.pending == 1
    house.journal.failure = None
    wait_until(lambda: not house.writer.pending)
    assert [each.nonce for each in house.journal.decisions] == [nonce(1)]


def test_answers_of_shadows_come_last_and_delay_no_decision(house: House) -> None:
    house.writer.add_decision(decision(1))
    house.writer.add_shadow(SHADOW)
    wait_until(lambda: house.journal.shadows)
    # Its table is out of order; the others are not.
    house.journal.shadow_failure = JournalUnavailableError("It is away.")
    house.writer.add_shadow(SHADOW)
    for number in range(5):
        assert len(house.writer.add_outcomes([outcome(number)]).result(60)) == 1
    assert house.writer.pending == 1
    house.journal.shadow_failure = None
    wait_until(lambda: len(house.journal.shadows) == 2)


def test_closing_ends_where_what_shadows_answered_cannot_be_written(house: House) -> None:
    house.journal.shadow_failure = JournalUnavailableError("It is away.")
    house.writer.add_shadow(SHADOW)
    assert house.writer.close(60)


def test_copies_that_were_dropped_are_written_down_by_kind(house: House) -> None:
    house.writer.count_shed("shadow", 3)
    house.writer.add_decision(decision(1))
    wait_until(lambda: house.journal.lost)
    assert house.journal.losses() == {"shadow": 3}
    assert house.writer.shed == 0


def test_outcomes_beyond_the_queue_are_refused() -> None:
    house = House(max_pending=10)
    house.hold()
    taken = house.writer.add_outcomes([outcome(n) for n in range(8)])
    refused = house.writer.add_outcomes([outcome(n) for n in range(3)])
    assert isinstance(refused.exception(0), JournalUnavailableError)
    fitting = house.writer.add_outcomes([outcome(n) for n in range(2)])
    house.journal.gate.set()
    assert len(taken.result(60)) == 8
    assert len(fitting.result(60)) == 2
    # There is room again.
    assert len(house.writer.add_outcomes([outcome(n) for n in range(10)]).result(60)) == 10
    house.writer.close()
    assert len(house.journal.outcomes) == 21


def test_feedback_by_client_id_delays_no_other(house: House) -> None:
    """Each batch of it is looked up for long; others wait for one of them at most."""
    house.journal.gate.clear()
    house.journal.entered.clear()
    floods = [[named(f"{turn} {n}") for n in range(10)] for turn in range(6)]
    futures = [house.writer.add_outcomes(floods[0])]
    assert house.journal.entered.wait(60)
    futures += [house.writer.add_outcomes(flood) for flood in floods[1:]]
    futures += [house.writer.add_outcomes([outcome(n)]) for n in range(3)]
    house.journal.gate.set()
    for future in futures:
        future.result(60)
    commits = [outcomes for _, outcomes in house.journal.batches]
    assert commits.index(3) <= 2
    assert sum(commits) == 6 * 10 + 3
