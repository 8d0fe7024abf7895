from __future__ import annotations

import math
import random

import pytest

from mlops.journal.records import WHOLE_REQUEST, DrawnRequest, Observation
from mlops.monitoring.units import Units, fold
from mlops.spec.attribution import Attribution

_HOUR = 3_600_000


def request(
    number: int,
    time_ms: int,
    *,
    arm: int = 0,
    revision: int = 1,
    unit: str = "",
    status: int = 200,
) -> DrawnRequest:
    key = unit.encode().ljust(8) if unit else None
    return DrawnRequest(number.to_bytes(12, "big"), time_ms, revision, arm, 0.5, status, key)


def outcome(
    asked: DrawnRequest, time_ms: int, reward: float, *, row: int = 0, known: bool = True
) -> Observation:
    return Observation(
        0, asked.nonce, row, time_ms, asked.revision, asked.arm, asked.propensity, reward, None,
        None, asked.unit if known else None, asked.time_ms if known else None,
    )  # fmt: skip


def folded(
    requests: list[DrawnRequest],
    outcomes: list[Observation],
    rules: Attribution | None = None,
    *,
    sticky: bool = False,
    now_ms: int = 1000 * _HOUR,
) -> Units:
    return fold(
        requests, outcomes, rules or Attribution(), lambda o: o.reward, sticky=sticky, now_ms=now_ms
    )


def judged(units: Units) -> list[tuple[int, float]]:
    return [(int(units.arms[i]), float(units.rewards[i])) for i in units.judged]


def test_without_a_window_feedback_counts_as_it_arrives() -> None:
    first, second, silent = request(0, 0), request(1, 1, arm=1), request(2, 2)
    units = folded([first, second, silent], [outcome(second, 5, 2.0), outcome(first, 9, 1.0)])
    assert judged(units) == [(1, 2.0), (0, 1.0)]
    assert math.isnan(units.rewards[2])
    assert units.closed.all()


def test_with_a_window_requests_count_in_their_own_order_once_it_has_closed() -> None:
    first, second, late = request(0, 0), request(1, 1, arm=1), request(2, 10 * _HOUR)
    outcomes = [outcome(second, 5, 2.0), outcome(first, _HOUR, 1.0), outcome(late, 10 * _HOUR, 3)]
    rules = Attribution(window_s=3600)
    units = folded([first, second, late], outcomes, rules, now_ms=10 * _HOUR + 1)
    assert judged(units) == [(0, 1.0), (1, 2.0)]
    assert units.closed.tolist() == [True, True, False]
    # One millisecond beyond the window is too late.
    units = folded([first], [outcome(first, _HOUR + 1, 1.0)], rules)
    assert (judged(units), units.too_late) == ([], 1)


def test_silence_may_have_a_reward() -> None:
    bought, silent, opened = request(0, 0), request(1, 1, arm=1), request(2, 5 * _HOUR)
    rules = Attribution(window_s=3600, missing=0.0)
    units = folded([bought, silent, opened], [outcome(bought, 9, 1.0)], rules, now_ms=5 * _HOUR)
    assert judged(units) == [(0, 1.0), (1, 0.0)]


def test_a_failed_request_may_have_a_reward() -> None:
    failed, refused, answered = request(0, 0, status=500), request(1, 1, status=400), request(2, 2)
    units = folded([failed, refused, answered], [outcome(answered, 9, 1.0)])
    assert units.failed.tolist() == [True, True, False]
    assert judged(units) == [(0, 1.0)]
    rules = Attribution(failed=-1.0)
    units = folded([failed, refused, answered], [outcome(answered, 9, 1.0)], rules)
    # Failures are known at once.
    assert judged(units) == [(0, -1.0), (0, -1.0), (0, 1.0)]


@pytest.mark.parametrize(("repeated", "reward"), [("first", 1.0), ("last", 4.0), ("sum", 7.0)])
def test_several_outcomes_of_a_row(repeated: str, reward: float) -> None:
    asked = request(0, 0)
    outcomes = [outcome(asked, time, value) for time, value in ((1, 1.0), (2, 2.0), (3, 4.0))]
    units = folded([asked], outcomes, Attribution(repeated=repeated))  # type: ignore[arg-type]  # parametrised
    assert judged(units) == [(0, reward)]
    assert units.known_ms.tolist() == [1]


def test_a_correction_counts_only_within_the_window() -> None:
    asked = request(0, 0)
    rules = Attribution(window_s=3600, repeated="last")
    units = folded([asked], [outcome(asked, 1, 0.0), outcome(asked, 2 * _HOUR, 1.0)], rules)
    assert (judged(units), units.too_late) == ([(0, 0.0)], 1)


def test_a_sticky_unit_counts_once_in_its_first_revision() -> None:
    first = request(0, 0, unit="ann")
    again = request(1, 1, unit="ann")
    moved = request(2, 2, unit="ann", revision=2, arm=1)
    stayed = request(3, 3, unit="ann", revision=2)
    outcomes = [
        outcome(first, 5, 1.0),
        outcome(again, 6, 2.0),
        outcome(moved, 7, 50.0),
        outcome(stayed, 8, 60.0),
    ]
    units = folded([first, again, moved, stayed], outcomes, sticky=True)
    assert judged(units) == [(0, 1.5)]
    assert (units.returning, units.outcomes.tolist()) == (2, [2])


def test_a_request_that_is_not_known_is_a_unit_of_its_own_unless_units_are_sticky() -> None:
    lost = request(7, 0, arm=1)
    outcomes = [outcome(lost, 5, 2.0, row=row, known=False) for row in (0, 1)]
    units = folded([request(0, 0)], outcomes)
    assert judged(units) == [(1, 2.0)]
    units = folded([request(0, 0, unit="ann")], outcomes, sticky=True)
    assert (judged(units), units.unknown) == ([], 2)


def test_a_retry_that_another_arm_answered_is_not_credited_twice() -> None:
    asked = request(0, 0)
    retried = request(0, 0, arm=1)
    outcomes = [outcome(asked, 5, 1.0), outcome(retried, 6, 9.0, row=WHOLE_REQUEST, known=False)]
    units = folded([asked], outcomes)
    assert (judged(units), units.returning) == ([(0, 1.0)], 1)


def test_nothing() -> None:
    units = folded([], [])
    assert (units.judged.size, units.arms.size) == (0, 0)
    assert folded([], [outcome(request(1, 0), 5, 1.0, known=False)], sticky=True).unknown == 1


def _plainly(
    requests: list[DrawnRequest], outcomes: list[Observation], rules: Attribution, now_ms: int
) -> list[tuple[int, float]]:
    """The same, written for clarity and not for speed."""
    first: dict[bytes, DrawnRequest] = {}
    by_nonce = {r.nonce: r for r in requests}
    for asked in sorted(requests, key=lambda r: r.time_ms):
        first.setdefault(asked.unit or asked.nonce, asked)
    credited: dict[bytes, dict[tuple[bytes, int], list[float]]] = {}
    known: dict[bytes, int] = {}
    window_ms = rules.window_s * 1000
    for seen in outcomes:
        asked = by_nonce[seen.nonce]
        key = asked.unit or asked.nonce
        owner = first[key]
        if (asked.revision, asked.arm) != (owner.revision, owner.arm):
            continue
        if window_ms and seen.time_ms > owner.time_ms + window_ms:
            continue
        assert seen.reward is not None
        rows = credited.setdefault(key, {})
        rows.setdefault((seen.nonce, seen.row), []).append(seen.reward)
        known.setdefault(key, seen.time_ms)
    found = []
    for key, owner in first.items():
        if window_ms and owner.time_ms + window_ms > now_ms:
            continue
        lists = list(credited.get(key, {}).values())
        if not lists:
            if isinstance(rules.missing, float):
                found.append((owner.time_ms, owner.arm, rules.missing))
            continue
        order = owner.time_ms if window_ms else known[key]
        if rules.repeated == "sum":
            reward = sum(map(sum, lists))
        else:
            values = [each[0 if rules.repeated == "first" else -1] for each in lists]
            reward = sum(values) / len(values)
        found.append((order, owner.arm, reward))
    return [(arm, reward) for _, arm, reward in sorted(found, key=lambda item: item[0])]


@pytest.mark.parametrize("seed", range(30))
def test_random_journals_fold_as_written_plainly(seed: int) -> None:
    chance = random.Random(seed)
    sticky = chance.random() < 0.5
    window_s = chance.choice([0, 0.05, 0.5])
    rules = Attribution(
        window_s=window_s,
        missing=0.25 if window_s and chance.random() < 0.5 else None,
        repeated=chance.choice(["first", "last", "sum"]),
    )
    requests = [
        request(
            number,
            number * 10,
            arm=chance.randrange(3),
            revision=1 + number // 60,
            unit=f"u{chance.randrange(40)}" if sticky else "",
        )
        for number in range(120)
    ]
    times = iter(range(0, 10_000, 7))
    outcomes = [
        outcome(chance.choice(requests), next(times), chance.random(), row=chance.randrange(2))
        for _ in range(200)
    ]
    now_ms = chance.randrange(2000)
    units = folded(requests, outcomes, rules, sticky=sticky, now_ms=now_ms)
    expected = _plainly(requests, outcomes, rules, now_ms)
    assert [arm for arm, _ in judged(units)] == [arm for arm, _ in expected]
    assert [reward for _, reward in judged(units)] == pytest.approx([r for _, r in expected])
