"""Caps on outcomes: of one unit, of one key, through the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops.consumers.base import Context
from mlops.consumers.credits import CreditReader, Learner
from mlops.consumers.policy_state import PolicyState
from mlops.errors import InvalidInputError, RemoteError
from mlops.journal.consumer_records import Offset
from mlops.journal.records import RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.monitoring.evidence import Evidence, gather
from mlops.monitoring.report import make_report
from mlops.rewards import Terms
from mlops.spec.attribution import Attribution, faults, read_attribution
from mlops.spec.deployment import DeploymentSpec, from_dict, to_dict
from tests.journal.rows import T0, decision, outcome
from tests.monitoring.journals import spec_of

_DAY_MS = 86_400_000


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqlJournal]:
    made = SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}")
    yield made
    made.close()


def deploy(journal: SqlJournal, rules: Attribution, sticky_by: str = "header:user") -> None:
    spec = replace(spec_of(["a", "b"], [0.5, 0.5], "given", sticky_by), attribution=rules)
    journal.record([RevisionEvent(1, T0, "started", to_dict(spec))])


def fill(journal: SqlJournal, *sent: tuple[str, str | None, float, int]) -> None:
    """One request for each unit, key, reward, and time in milliseconds that its outcome came."""
    for number, (unit, key, reward, time_ms) in enumerate(sent):
        new = replace(outcome(number, row=0, reward=reward), time_ms=T0 + time_ms, key_id=key)
        units = unit.encode().ljust(8) if unit else None
        journal.append([decision(number, unit=units)], [new])


def rewards(found: Evidence) -> dict[str, float]:
    names = [unit[1:].decode().strip() for unit in found.units.tolist()]
    return dict(zip(names, found.rewards.tolist(), strict=True))


def test_a_unit_counts_with_its_first_outcomes(journal: SqlJournal) -> None:
    deploy(journal, Attribution(repeated="sum", max_per_unit=2))
    fill(journal, *(("ann", None, 1.0, 0) for _ in range(5)), ("bob", None, 1.0, 0))
    found = gather(journal)
    assert rewards(found) == {"ann": 2.0, "bob": 1.0}
    (note,) = found.over_caps
    name = b"ann".ljust(8).hex()
    assert note == f"3 outcomes of unit `{name}` were left out: `[feedback] max_per_unit = 2`."
    assert note in make_report(journal).notes


def test_a_key_counts_so_often_in_a_time(journal: SqlJournal) -> None:
    deploy(journal, Attribution(max_per_key=2, per_key_s=86_400))
    times = [0, 1, 2, 3, _DAY_MS, _DAY_MS + 1, _DAY_MS + 2]
    fill(
        journal,
        *((f"u{number}", "app-1", 1.0, time) for number, time in enumerate(times)),
        *((f"v{number}", "app-2", 0.0, 0) for number in range(3)),
        # Without keys there is no caller to count.
        *((f"w{number}", None, 0.5, 0) for number in range(4)),
    )
    found = gather(journal)
    assert sorted(rewards(found)) == ["u0", "u1", "u4", "u5", "v0", "v1", "w0", "w1", "w2", "w3"]
    assert found.over_caps == (
        '4 outcomes of 2 keys, 3 of `app-1`, were left out: `[feedback] max_per_key = "2/1d"`.',
    )


def test_what_a_key_may_not_send_takes_nothing_from_a_unit(journal: SqlJournal) -> None:
    deploy(journal, Attribution(repeated="sum", max_per_unit=2, max_per_key=1))
    fill(journal, *(("ann", "eve", -9.0, 0) for _ in range(3)), ("ann", "app", 1.0, 0))
    assert rewards(gather(journal)) == {"ann": -8.0}


def test_a_request_is_a_unit_without_sticky_units(journal: SqlJournal) -> None:
    deploy(journal, Attribution(max_per_unit=2), sticky_by="")
    journal.append(
        [decision(1, n_rows=4, predictions=[0.0] * 4), decision(2)],
        [outcome(1, row=row, reward=float(row)) for row in range(4)] + [outcome(2, reward=5.0)],
    )
    found = gather(journal)
    assert sorted(found.rewards.tolist()) == [0.5, 5.0]
    assert found.over_caps[0].startswith("2 outcomes of unit")


def test_without_caps_everything_counts(journal: SqlJournal) -> None:
    deploy(journal, Attribution(repeated="sum"))
    fill(journal, *(("ann", "app", 1.0, 0) for _ in range(5)))
    found = gather(journal)
    assert (rewards(found), found.over_caps) == ({"ann": 5.0}, ())


def reader(journal: SqlJournal, start: Offset) -> CreditReader:
    spec = from_dict(next(event.spec for event in journal.revision_events() if event.spec))
    return CreditReader(journal, Learner(spec, {(1, 0): 0, (1, 1): 1}, (Terms(), Terms())), start)


@pytest.mark.parametrize("restarts", [False, True])
def test_a_policy_learns_within_the_cap_of_a_key(journal: SqlJournal, restarts: bool) -> None:
    deploy(journal, Attribution(max_per_key=2), sticky_by="")
    forced = replace(outcome(99, row=0, reward=-9.0, propensity=0.0), key_id="app")
    journal.append([decision(99, propensity=0.0)], [forced])
    reading, learnt = reader(journal, Offset()), []
    sent = [("eve", -9.0)] * 5 + [("app", 1.0)] * 3
    for number, (key, reward) in enumerate(sent):
        journal.append([decision(number)], [replace(outcome(number, reward=reward), key_id=key)])
        learnt += [each.reward for each in reading.read(T0)]
        reading = reader(journal, reading.offset) if restarts else reading
    assert learnt == [-9.0, -9.0, 1.0, 1.0]


@pytest.mark.parametrize("window_s", [0.0, 60.0])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_policy_learns_within_the_cap_of_a_request(
    journal: SqlJournal, restarts: bool, window_s: float
) -> None:
    """One request of many rows would weigh as much as so many callers."""
    deploy(journal, Attribution(max_per_unit=2, window_s=window_s), sticky_by="")
    journal.append([decision(1, n_rows=5, predictions=[0.0] * 5), decision(2)], [])
    reading, learnt = reader(journal, Offset()), []
    for told in [*((1, row, -9.0) for row in range(5)), (2, 0, 1.0)]:
        journal.append([], [outcome(told[0], row=told[1], reward=told[2])])
        learnt += [each.reward for each in reading.read(T0)]
        reading = reader(journal, reading.offset) if restarts else reading
    learnt += [each.reward for each in reading.read(T0 + 120_000)]
    assert learnt == ([-9.0, 1.0] if window_s else [-9.0, -9.0, 1.0])


def test_clocks_that_differ_do_not_begin_a_cap_again(journal: SqlJournal) -> None:
    deploy(journal, Attribution(max_per_key=2, per_key_s=60))
    fill(journal, *((f"u{n}", "eve", 1.0, T0 % 60_000 + 60_000 * (n % 2)) for n in range(10)))
    assert len(rewards(gather(journal))) <= 4


@pytest.mark.parametrize("restarts", [False, True])
def test_a_policy_forgets_what_is_voided(journal: SqlJournal, restarts: bool) -> None:
    spec = replace(spec_of(["a", "b"], [0.5, 0.5], "given", ""), policy="epsilon-greedy")
    journal.record([RevisionEvent(1, T0, "started", to_dict(spec))])
    told = [(number % 2, float(number % 2)) for number in range(40)]
    for number, (arm, reward) in enumerate(told):
        journal.append([decision(number, arm=arm)], [outcome(number, arm=arm, reward=reward)])
    clock = iter(range(T0, T0 + 10**9, 5_000))
    learning = PolicyState(Context("wine", journal, {}), lambda: next(clock))
    nothing: Any = ()

    def share() -> float:
        learning.consume(nothing)
        return journal.epochs([1])[-1].probabilities[1]

    assert share() > 0.8
    eves = [decision(number).nonce for number in range(1, 30, 2)]
    assert journal.void(eves, time_ms=T0, reason="made up", by="ann@box") == 15
    if restarts:
        learning = PolicyState(Context("wine", journal, {}), lambda: next(clock))
    # Too few are left of one arm to conclude anything.
    assert share() == 0.5
    number = len(journal.epochs([1]))
    assert share() == 0.5
    assert len(journal.epochs([1])) == number


def test_a_policy_loses_nothing_where_the_journal_fails_between_two_readings(
    journal: SqlJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = Attribution(failed=0.0)
    spec = replace(spec_of(["a", "b"], [0.5, 0.5], "given", ""), policy="epsilon-greedy")
    journal.record([RevisionEvent(1, T0, "started", to_dict(replace(spec, attribution=rules)))])
    for number in range(40):
        arm = number % 2
        told = outcome(number, arm=arm, reward=float(arm))
        journal.append([decision(number, arm=arm)], [told])
    clock = iter(range(T0, T0 + 10**9, 5_000))
    learning = PolicyState(Context("wine", journal, {}), lambda: next(clock))
    nothing: Any = ()
    with monkeypatch.context() as away:
        away.setattr(SqlJournal, "decisions", _away)
        with pytest.raises(RemoteError):
            learning.consume(nothing)
    learning.consume(nothing)
    assert journal.epochs([1])[-1].probabilities[1] > 0.8


def _away(*_: object) -> None:
    raise RemoteError("The journal is away.")


def test_caps_make_another_experiment_and_their_absence_the_one_before() -> None:
    def named(**rules: object) -> DeploymentSpec:
        plain = spec_of(["a", "b"], [0.5, 0.5], "given", "")
        return replace(plain, attribution=Attribution(window_s=60.0, **rules))  # type: ignore[arg-type]  # any field

    # As it was before there were caps; else an upgrade would end every experiment with a window.
    assert named().experiment == "94e0739a30691e87"
    assert named(outcome_ids=True).experiment == named().experiment
    assert len({named(**{name: 5}).experiment for name in ("max_per_unit", "max_per_key")}) == 2
    capped = named(max_per_unit=3, max_per_key=10, per_key_s=60.0)
    assert from_dict(to_dict(capped)) == capped


@pytest.mark.parametrize("text", ["x", "-1", "5/", "5/x", "/1d", "1.5"])
def test_caps_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInputError):
        read_attribution("", "", "", "first", "0", text)


def test_caps_are_not_negative() -> None:
    assert read_attribution("", "", "", "first", "7", "10/1h") == Attribution(
        max_per_unit=7, max_per_key=10, per_key_s=3600
    )
    assert faults(Attribution(max_per_unit=-1)) == ["caps must be 0 or more"]
