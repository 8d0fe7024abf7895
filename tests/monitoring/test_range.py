"""A reward with a range, through the report: which method, its guarantee, and broken promises."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlops.errors import InvalidInputError
from mlops.journal.records import Decision, NewOutcome, RevisionEvent, Value
from mlops.journal.sql import SqlJournal
from mlops.monitoring.comparing import difference
from mlops.monitoring.evidence import Evidence, gather
from mlops.monitoring.page import report_page
from mlops.monitoring.report import Report, make_report, report_of
from mlops.spec.attribution import Attribution
from mlops.spec.deployment import check, to_dict
from mlops.stats.sequence import ConfidenceSequence
from tests.monitoring.journals import START_MS, Draw, Stage, fill, labels, numbers, spec_of
from tests.stats.tolerance import most

AB, EVEN = ["a", "b"], [Stage([0.5, 0.5], 2_000)]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqlJournal]:
    made = SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("draw", "reward", "declared", "method", "because", "bounds"),
    [
        (numbers([0, 0]), "squared-error", None, "2103.06476", "no declared range", None),
        (numbers([0, 0]), "squared-error", (-50.0, 0.0), "2010.09686", "declared to be", (-50, 0)),
        (numbers([0, 0]), "squared-error", (-50.0, -0.0), "2010.09686", "[-50, 0]", (-50, 0)),
        (labels([0.5, 0.5]), "exact", None, "2010.09686", "always in [0, 1]", (0, 1)),
        (labels([0.5, 0.5]), "exact", (0.0, 2.0), "2010.09686", "declared to be", (0, 2)),
    ],
)
def test_the_range_settles_the_method(
    journal: SqlJournal,
    draw: Draw,
    reward: str,
    declared: tuple[float, float] | None,
    method: str,
    because: str,
    bounds: tuple[float, float] | None,
) -> None:
    fill(journal, AB, EVEN, draw, reward=reward, reward_range=declared)
    report = make_report(journal)
    assert report.reward_range == bounds
    assert method in report.verdict.method
    assert because in report.verdict.because
    html = report_page(journal)
    assert method in html
    assert because in html


def test_there_is_an_interval_before_the_burn_in_would_end(journal: SqlJournal) -> None:
    few = [Stage([0.5, 0.5], 60)]
    fill(journal, AB, few, labels([0.5, 0.5]), reward="exact")
    (compared,) = make_report(journal).comparisons
    assert compared.waiting_for is None
    assert -2 < compared.lower < compared.estimate < compared.upper < 2


@pytest.mark.parametrize("horizon", [0, 60])
@pytest.mark.parametrize("n", [30, 60, 150, 2_000])
def test_intervals_are_cut_to_what_is_possible_and_verdicts_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int, horizon: int
) -> None:
    journal = SqlJournal(f"sqlite:///{tmp_path / 'cut.db'}")
    fill(journal, AB, [Stage([0.9, 0.1], n)], labels([0.5, 0.75]), reward="exact")
    evidence = gather(journal)
    evidence = replace(evidence, spec=replace(evidence.spec, horizon=horizon))
    journal.close()
    cut = report_of(evidence, evidence, 0.05)
    monkeypatch.setattr(ConfidenceSequence, "within", lambda self, *_: self)
    uncut = report_of(evidence, evidence, 0.05)
    said = replace(cut.verdict, reason="", lower=uncut.verdict.lower, upper=uncut.verdict.upper)
    assert said == replace(uncut.verdict, reason="")
    assert n > 60 or uncut.comparisons[0].upper > 1
    for ours, whole in zip(cut.comparisons + cut.looks[0], uncut.comparisons + uncut.looks[0],
                           strict=True):  # fmt: skip
        if math.isfinite(whole.lower):
            assert (ours.lower, ours.upper) == (max(whole.lower, -1), min(whole.upper, 1))
            assert ours.estimate == whole.estimate
        else:
            assert (ours.lower, ours.upper) == (whole.lower, whole.upper)
    for arm in cut.arms:
        assert arm.needs or 0 <= arm.lower <= arm.upper <= 1


def test_the_first_outcomes_are_too_few_for_any(journal: SqlJournal) -> None:
    fill(journal, AB, [Stage([0.5, 0.5], 10)], labels([0.5, 0.5]), reward="exact")
    report = make_report(journal)
    assert report.verdict.decision == "continue"
    assert "needs more than 10 outcomes, and has 10" in report.verdict.reason


def test_a_reward_outside_counts_as_the_nearest_end_and_is_told(journal: SqlJournal) -> None:
    def draw(rng: np.random.Generator, arm: int) -> tuple[Value, Value]:
        # Arm b is usually better, and once in fifty times far worse.
        error = (1.0, 0.5)[arm] if arm == 0 or rng.random() < 0.98 else 100.0
        return 6.0 + error, 6.0

    fill(journal, AB, EVEN, draw, reward_range=(-4.0, 0.0))
    evidence, report = gather(journal), make_report(journal)
    outside = sum(truth.prediction == 106.0 for truth in evidence.truths)
    assert evidence.capped == outside > 10
    assert evidence.rewards.min() == -4.0
    (note,) = [note for note in report.notes if "outside" in note]
    assert note.startswith(f"{outside} outcomes have a reward outside the range -4 to 0")
    # What is compared, and said to be, is the capped reward; the raw truth is all there.
    assert report.verdict.winner == "b"
    assert report.arms[1].quality.rmse is not None
    assert report.arms[1].quality.rmse > 10


def runs_of(rng: np.random.Generator, evidence: Evidence, n: int) -> Evidence:
    """The same experiment with other draws: equal arms at the two weights of its revisions."""
    strata = (np.arange(n) >= n // 2).astype(np.int64)
    share = evidence.weights[strata, 1]
    arms = (rng.random(n) < share).astype(np.int64)
    # The base rate moves with the weights.
    rewards = (rng.random(n) < np.where(strata, 0.15, 0.05)).astype(np.float64)
    return replace(
        evidence,
        arms=arms,
        rewards=rewards,
        propensities=np.where(arms == 1, share, 1 - share),
        strata=strata,
        times_ms=np.arange(n),
    )


def test_equal_arms_rarely_win_watched_at_every_unit(journal: SqlJournal) -> None:
    stages = [Stage([0.9, 0.1], 20), Stage([0.5, 0.5], 20)]
    fill(journal, AB, stages, labels([0.5, 0.5]), reward="exact")
    evidence, rng, runs = gather(journal), np.random.default_rng(5), 120
    wins = 0
    for _ in range(runs):
        found = difference(runs_of(rng, evidence, 3_000), 1, 0.05)
        assert found.ready[-1]
        wins += bool(found.excludes().any())
    assert wins <= most(runs, 0.05)


def test_a_real_difference_is_found_across_a_change_of_weights(journal: SqlJournal) -> None:
    stages = [Stage([0.9, 0.1], 1_500), Stage([0.5, 0.5], 1_500)]
    fill(journal, AB, stages, labels([0.5, 0.75]), reward="exact")
    report: Report = make_report(journal)
    assert (report.verdict.decision, report.verdict.winner) == ("promote", "b")
    assert report.comparisons[0].estimate == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize(
    "rules",
    [Attribution(repeated="sum"), Attribution(failed=-5.0), Attribution(60.0, missing=2.0)],
)
def test_units_keep_the_range_whatever_made_their_reward(
    journal: SqlJournal, rules: Attribution
) -> None:
    spec = replace(spec_of(AB, [0.5, 0.5], "given", "", (0.0, 1.0)), attribution=rules)
    journal.record([RevisionEvent(1, START_MS, "live", to_dict(spec))])
    for index in range(60):
        nonce, at_ms, arm = index.to_bytes(12, "big"), START_MS + index, index % 2
        status = 200 if index % 10 else 500
        decision = Decision(nonce, at_ms, 1, arm, 0.5, 1, 500, status, "mlflow", predictions=[1.0])
        told = range(2 if index % 3 and status == 200 else 0)
        outcomes = [
            NewOutcome(
                nonce, None, 0, at_ms + 1 + again, 1, arm, 0.5, 1.0, None,
                outcome_id=str(again), repeatable=rules.repeated == "sum",
            )
            for again in told
        ]  # fmt: skip
        journal.append([decision], outcomes)
    report = make_report(journal, now_ms=START_MS + 86_400_000)
    assert report.verdict.decision == "continue"
    assert any("count as its nearest end" in note for note in report.notes)


def test_what_silence_is_worth_must_lie_in_the_range() -> None:
    rules = Attribution(60.0, missing=2.0, failed=-5.0)
    spec = replace(spec_of(AB, [0.5, 0.5], "given", "", (0.0, 1.0)), attribution=rules)
    with pytest.raises(InvalidInputError, match=r"`missing = 2` is outside .*; `failed = -5` is"):
        check(spec)
