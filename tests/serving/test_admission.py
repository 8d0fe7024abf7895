"""How many requests a busy event loop takes on in a turn, by a clock that the tests turn."""

from __future__ import annotations

import pytest

from mlops.serving.admission import ALWAYS, BURST_S, Admission


class Loop:
    """An event loop whose requests take this long each."""

    def __init__(self, each_s: float) -> None:
        self.now = 100.0
        self.each_s = each_s
        self.admission = Admission(lambda: self.now)

    def turn(self, waiting: int) -> int:
        """Take on requests that wait, as `Lockstep` does; return how many were answered."""
        admitted = self.admission.begin(waiting)
        done = 0
        together = self.admission.together(32)
        while done < admitted and not self.admission.is_over(done):
            following = min(done + together, admitted)
            self.now += self.each_s * (following - done)
            done = following
        self.admission.end(done, waiting - done)
        return done


def _warm(each_s: float) -> Loop:
    loop = Loop(each_s)
    for _ in range(100):
        loop.turn(16)
        loop.now += 0.01
    return loop


@pytest.mark.parametrize("each_s", [0.00004, 0.001, 0.02])
def test_few_are_always_answered(each_s: float) -> None:
    loop = _warm(each_s)
    assert {loop.turn(ALWAYS) for _ in range(100)} == {ALWAYS}


@pytest.mark.parametrize(("each_s", "answered"), [(0.00004, 500), (0.001, 101), (0.02, ALWAYS)])
def test_a_burst_may_take_long(each_s: float, answered: int) -> None:
    loop = _warm(each_s)
    for _ in range(3):
        loop.now += 1
        assert loop.turn(500) == pytest.approx(answered, abs=1)


@pytest.mark.parametrize(
    ("each_s", "answered"), [(0.00001, 500), (0.00004, 250), (0.0005, ALWAYS), (0.02, 8)]
)
def test_a_standing_queue_is_kept_short(each_s: float, answered: int) -> None:
    loop = _warm(each_s)
    until = loop.now + 3 * BURST_S
    while loop.now < until:
        loop.turn(500)
        # What reading them takes.
        loop.now += 0.004
    for _ in range(50):
        assert loop.turn(500) == pytest.approx(answered, abs=2)
        loop.now += 0.004
    # A short turn now and then changes nothing.
    assert loop.turn(1) == 1
    assert loop.turn(500) == pytest.approx(answered, abs=2)
    # After a while without a queue the next crowd is a burst again.
    until = loop.now + BURST_S + 0.02
    while loop.now < until:
        loop.turn(1)
        loop.now += 0.01
    assert loop.turn(500) >= min(500, int(BURST_S / each_s), 2 * answered)


@pytest.mark.parametrize("each_s", [0.0005, 0.0007])
def test_a_turn_ends_by_the_clock_where_others_take_the_core(each_s: float) -> None:
    loop = _warm(each_s)
    for _ in range(20):
        loop.turn(500)
    loop.each_s *= 8
    began = loop.now
    assert 8 <= loop.turn(500) < 20
    assert loop.now - began < 0.09


def test_one_slow_request_is_soon_forgotten() -> None:
    loop = _warm(0.00004)
    loop.each_s = 0.5
    loop.turn(1)
    loop.each_s = 0.00004
    for _ in range(1_000):
        loop.turn(32)
    for _ in range(50):
        assert loop.turn(200) == 200


def test_the_first_turn_knows_no_time() -> None:
    assert Loop(0.00004).turn(1_000) == 1_000
