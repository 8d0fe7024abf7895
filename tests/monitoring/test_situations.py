"""What the report makes of ordinary trouble: nothing that a script would carry out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mlops.journal.sql import SqlJournal
from mlops.monitoring.report import Report, ReportOptions, make_report
from mlops.spec.analysis import AUTO, Analysis
from mlops.spec.attribution import Attribution
from tests.monitoring import situations
from tests.monitoring.situations import DAY_MS, START_MS, Shop

_SEEDS = range(3)


def report_on(
    folder: Path,
    seed: int,
    situation: Callable[[Shop], None],
    rules: Attribution | None = None,
    now_ms: int = START_MS + 400 * DAY_MS,
) -> Report:
    journal = SqlJournal(f"sqlite:///{folder}/{seed}.db")
    situation(Shop(journal, np.random.default_rng(seed), rules=rules or Attribution()))
    report = make_report(journal, now_ms=now_ms)
    journal.close()
    return report


@pytest.mark.parametrize("seed", _SEEDS)
@pytest.mark.parametrize("redraw", [False, True])
def test_a_sticky_ramp_names_no_winner(tmp_path: Path, seed: int, redraw: bool) -> None:
    report = report_on(tmp_path, seed, lambda shop: situations.sticky_ramp(shop, redraw=redraw))
    assert report.verdict.decision == "continue"
    assert report.sample_ratio is not None
    assert not report.sample_ratio.mismatch
    assert any("came under an earlier revision" in note for note in report.notes)


@pytest.mark.parametrize("seed", _SEEDS)
@pytest.mark.parametrize(
    ("situation", "gate", "text"),
    [
        (situations.hard_rows_fail, "failures", "fail or are refused"),
        (situations.pleased_answer_more, "feedback", "not a random sample"),
        (situations.positives_only, "feedback", "not a random sample"),
        (situations.retries, "feedback", "not a random sample"),
    ],
)
def test_a_verdict_about_some_is_withheld(
    tmp_path: Path, seed: int, situation: Callable[[Shop], None], gate: str, text: str
) -> None:
    report = report_on(tmp_path, seed, situation)
    shut = {item.name for item in report.gates if not item.passed}
    assert gate in shut
    assert report.verdict.decision in ("withheld", "continue")
    assert report.verdict.winner is None
    if report.verdict.decision == "withheld":
        assert text in report.verdict.reason
        assert report.verdict.hints


def test_slow_feedback_is_judged_when_its_window_has_closed(tmp_path: Path) -> None:
    now_ms = START_MS + 3 * DAY_MS
    report = report_on(tmp_path, 1, lambda s: situations.slow_feedback(s, days=3), now_ms=now_ms)
    # Without a window the fast half of `b` looks like all of it.
    assert report.verdict.decision == "withheld"
    assert report.verdict.withheld == "promote"
    rules = Attribution(window_s=5 * 86_400)
    (tmp_path / "window").mkdir()
    report = report_on(
        tmp_path / "window",
        1,
        lambda shop: situations.slow_feedback(shop, days=12),
        rules,
        START_MS + 12 * DAY_MS,
    )
    assert report.verdict.decision == "continue"
    assert report.verdict.n == sum(arm.n for arm in report.arms) > 3000
    assert report.open > 2000
    assert report.judged_ms == START_MS + 7 * DAY_MS


@pytest.mark.parametrize("seed", _SEEDS)
def test_positives_only_are_right_once_silence_has_a_reward(tmp_path: Path, seed: int) -> None:
    rules = Attribution(window_s=3600, missing=0.0)
    report = report_on(tmp_path, seed, situations.positives_only, rules)
    assert (report.verdict.decision, report.verdict.winner) in (
        ("promote", "b"),
        ("continue", None),
    )
    # b earns 0.18 * 26 - 0.10 * 40 = 0.68 more per request.
    (compared,) = report.comparisons
    assert compared.lower < 0.68 < compared.upper
    assert "feedback" not in [gate.name for gate in report.gates]


@pytest.mark.parametrize("seed", _SEEDS)
def test_failures_count_once_they_have_a_reward(tmp_path: Path, seed: int) -> None:
    report = report_on(tmp_path, seed, situations.hard_rows_fail, Attribution(failed=0.0))
    # Half of the hard rows would have been a success.
    assert report.verdict.decision == "continue"
    assert all(gate.passed for gate in report.gates)


@pytest.mark.parametrize("seed", _SEEDS)
def test_a_broken_split_stays_broken(tmp_path: Path, seed: int) -> None:
    report = report_on(tmp_path, seed, situations.broken_split_then_new_weights)
    assert report.verdict.decision == "invalid"


@pytest.mark.parametrize("seed", _SEEDS)
def test_a_canary_that_has_met_no_loss_does_not_win(tmp_path: Path, seed: int) -> None:
    report = report_on(tmp_path, seed, situations.rare_losses)
    assert report.verdict.decision == "continue"


def test_evidence_ends_where_the_experiment_was_ended(tmp_path: Path) -> None:
    report = report_on(tmp_path, 1, situations.deployed_again)
    assert (report.verdict.decision, report.verdict.n) == ("continue", 0)
    assert any("2,000 earlier units are left out" in note for note in report.notes)
    journal = SqlJournal(f"sqlite:///{tmp_path}/1.db")
    whole = make_report(journal, ReportOptions(whole=True))
    journal.close()
    assert (whole.verdict.decision, whole.verdict.winner) == ("promote", "b")


def test_evidence_ends_at_a_long_gap(tmp_path: Path) -> None:
    def pause(shop: Shop) -> None:
        shop.live(0.5, 0.5)
        for start_ms, n in ((START_MS, 500), (START_MS + 40 * DAY_MS, 300)):
            for i, arm in enumerate(shop.draw(n).tolist()):
                nonce = shop.ask(arm, start_ms + i)
                shop.tell(nonce, arm, start_ms + i + 1, shop.rng.normal())
        shop.flush()

    report = report_on(tmp_path, 1, pause)
    assert report.verdict.n == 300
    assert any("500 earlier units are left out" in note for note in report.notes)


def test_weekdays_are_not_a_week(tmp_path: Path) -> None:
    report = report_on(tmp_path, 1, situations.weekend_is_worse)
    assert (report.verdict.decision, report.verdict.withheld) == ("withheld", "promote")
    assert "less than 7 days" in report.verdict.reason
    # Over a whole week `b` is worse by 0.4 points: too little to be seen in so few days.
    whole = report_on(tmp_path, 2, lambda shop: situations.weekend_is_worse(shop, days=8))
    assert whole.verdict.decision != "promote"


@pytest.mark.parametrize(
    ("per_day", "min_days", "decision", "said"),
    [
        (1000, AUTO, "promote", "traffic has no daily or weekly pattern"),
        # Too few in an hour to tell that they have no rhythm.
        (100, AUTO, "withheld", "less than 7 days: weekdays"),
        (1000, 5.0, "withheld", "less than 5 days: weekdays"),
    ],
)
def test_traffic_without_a_rhythm_has_no_week(
    tmp_path: Path, per_day: int, min_days: float, decision: str, said: str
) -> None:
    def even(shop: Shop) -> None:
        shop.analysis = Analysis(min_days=min_days)
        situations.machines(shop, per_day=per_day, lift=0.8)

    report = report_on(tmp_path, 1, even)
    assert report.verdict.decision == decision
    assert said in next(gate.text for gate in report.gates if gate.name == "duration")


def test_an_end_in_days_has_the_requests_that_its_first_half_foretells(tmp_path: Path) -> None:
    def planned(shop: Shop) -> None:
        shop.horizon_days = 2.0
        situations.machines(shop, lift=0.2)

    early = report_on(tmp_path, 1, planned, now_ms=START_MS + 20 * 3_600_000)
    assert early.verdict.decision == "continue"
    assert "first part of its planned time" in early.verdict.reason
    report = report_on(tmp_path, 2, planned)
    assert "a horizon of 2 days, 2,002 at the rate" in report.verdict.because
    # A third day is not learned from: the interval stays as it was after 2,002 units.
    journal = SqlJournal(f"sqlite:///{tmp_path}/3.db")
    shop = Shop(journal, np.random.default_rng(2), horizon=2_002)
    situations.machines(shop, lift=0.2)
    same = make_report(journal, now_ms=START_MS + 400 * DAY_MS)
    journal.close()
    assert report.comparisons[0].lower == same.comparisons[0].lower
    assert report.verdict.decision == "promote"


def test_what_pleases_for_being_new_is_not_promoted(tmp_path: Path) -> None:
    report = report_on(tmp_path, 1, situations.novelty)
    assert (report.verdict.decision, report.verdict.withheld) == ("withheld", "promote")
    gate = next(gate for gate in report.gates if gate.name == "effect over time")
    assert not gate.passed
    assert "changes over time" in gate.text


def test_a_test_of_a_day_is_about_that_day(tmp_path: Path) -> None:
    def day(shop: Shop) -> None:
        shop.live(0.5, 0.5)
        for i, arm in enumerate(shop.draw(3000).tolist()):
            nonce = shop.ask(arm, START_MS + i * 10_000)
            shop.tell(nonce, arm, START_MS + i * 10_000 + 1, shop.rng.normal(0.5 * arm))
        shop.flush()

    report = report_on(tmp_path, 1, day)
    assert report.verdict.decision == "promote"
    gate = next(gate for gate in report.gates if gate.name == "duration")
    assert gate.text == ("The requests span 8.33 hours: other hours and days may differ.")
    assert report.verdict.weakest
    assert report.verdict.likely is not None
    assert 0 < report.verdict.likely < (report.verdict.effect or 0)


def _promoted_then_tested_again(shop: Shop) -> None:
    """90/10, a promotion for three days, then 50/50, where units keep the arm they had first."""
    shop.sticky = True
    shop.live(0.9, 0.1)
    first = dict(enumerate(shop.draw(4000).tolist()))
    for unit, arm in first.items():
        shop.tell(shop.ask(arm, shop.now_ms + unit, unit=unit), arm, shop.now_ms + unit, 1.0)
    shop.now_ms += DAY_MS
    shop.live(1.0, names=("b",))
    shop.now_ms += 3 * DAY_MS
    shop.live(0.5, 0.5)
    for unit, drawn in enumerate(shop.draw(3000).tolist(), start=2000):
        shop.weights = (0.9, 0.1) if unit in first else (0.5, 0.5)
        arm = first.get(unit, drawn)
        shop.tell(shop.ask(arm, shop.now_ms + unit, unit=unit), arm, shop.now_ms + unit, 1.0)
    shop.flush()


def test_units_that_kept_their_arm_through_a_promotion_are_not_new(tmp_path: Path) -> None:
    report = report_on(tmp_path, 1, _promoted_then_tested_again)
    assert report.revisions == (3,)
    assert report.sample_ratio is not None
    assert not report.sample_ratio.mismatch
    assert report.verdict.n == 1000
    assert any(note.startswith("2,000 outcomes are of units that came") for note in report.notes)


def _same_people(shop: Shop) -> None:
    """100 people who come back every day for 40 days, and then somebody new."""
    shop.sticky = True
    shop.live(0.5, 0.5)
    arms = shop.draw(101).tolist()
    for day in range(40):
        for unit, arm in enumerate(arms[: 100 + day // 39]):
            at_ms = shop.now_ms + day * DAY_MS + unit
            shop.tell(shop.ask(arm, at_ms, unit=unit), arm, at_ms, 1.0)
    shop.flush()


def test_traffic_of_the_same_people_is_no_gap(tmp_path: Path) -> None:
    assert report_on(tmp_path, 1, _same_people).verdict.n == 101


def test_only_days_that_are_judged_count_as_seen(tmp_path: Path) -> None:
    def eight_days(shop: Shop) -> None:
        shop.live(0.5, 0.5)
        for day in range(8):
            for i, arm in enumerate(shop.draw(2500).tolist()):
                at_ms = shop.now_ms + day * DAY_MS + i * 30_000
                nonce = shop.ask(arm, at_ms)
                if shop.rng.random() < 0.1 + 0.1 * arm:
                    shop.tell(nonce, arm, at_ms + 1, 1.0)
        shop.flush()

    rules = Attribution(window_s=5 * 86_400, missing=0.0)
    report = report_on(tmp_path, 1, eight_days, rules, START_MS + 8 * DAY_MS)
    assert (report.verdict.decision, report.verdict.withheld) == ("withheld", "promote")
    assert "The requests span 3 days" in report.verdict.reason


def test_a_horizon_does_not_hide_that_the_effect_fades(tmp_path: Path) -> None:
    def planned(shop: Shop) -> None:
        shop.horizon = 24_000
        situations.novelty(shop)

    report = report_on(tmp_path, 1, planned)
    assert "effect over time" in {gate.name for gate in report.gates if not gate.passed}


def test_what_an_arm_earned_before_is_no_history(tmp_path: Path) -> None:
    def again(shop: Shop) -> None:
        shop.sticky = shop.redraw = True
        shop.analysis = Analysis(adjust="history")
        shop.live(0.5, 0.5)
        # One hash draws an arm in both revisions.
        arms = shop.draw(500).tolist()
        for revision in range(2):
            for unit, arm in enumerate(arms):
                at_ms = shop.now_ms + unit
                shop.tell(shop.ask(arm, at_ms, unit=unit), arm, at_ms, shop.rng.normal(arm))
            shop.now_ms += DAY_MS
            if not revision:
                shop.live(1.0, names=("b",))
                shop.now_ms += 3 * DAY_MS
                shop.live(0.5, 0.5)
        shop.flush()

    report = report_on(tmp_path, 1, again)
    assert report.verdict.n == 500
    assert any("has a reward from before it" in note for note in report.notes)
