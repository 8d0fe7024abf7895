from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from mlops.errors import InvalidInputError, NotFoundError
from mlops.journal.records import WHOLE_REQUEST, Decision, NewOutcome, RevisionEvent, Value
from mlops.journal.sql import SqlJournal
from mlops.monitoring.evidence import Evidence, gather
from mlops.monitoring.quality import measure, over_time
from mlops.monitoring.report import ReportOptions, make_report
from mlops.monitoring.truths import Truth, Truths
from mlops.rewards import NO_TERMS
from mlops.spec.deployment import Arm, DeploymentSpec, to_dict
from mlops.spec.model import ModelVersion


@dataclass
class Diary:
    """Writes a journal step by step; every step takes a second."""

    journal: SqlJournal
    names: tuple[str, ...] = ("a", "b")
    reward: str = "squared-error"
    sticky_by: str = ""
    now_ms: int = 1_000
    revision: int = 0
    weights: tuple[float, ...] = (0.5, 0.5)
    ids: dict[bytes, tuple[int, int, float]] = field(default_factory=dict)

    def live(self, *weights: float, event: str = "live") -> None:
        self.now_ms += 1_000
        self.revision, self.weights = self.revision + 1, weights
        arms = tuple(
            Arm(name, ModelVersion(name, f"wine/{name}", f"/{name}"), weight)
            for name, weight in zip(self.names, weights, strict=True)
        )
        spec = DeploymentSpec("wine", arms, reward=self.reward, sticky_by=self.sticky_by)
        self.journal.record([RevisionEvent(self.revision, self.now_ms, event, to_dict(spec))])

    def decide(
        self,
        arm: int,
        *predictions: Value,
        unit: bytes | None = None,
        forced: bool = False,
        nonce: bytes = b"",
        status: int = 200,
    ) -> bytes:
        self.now_ms += 1_000
        nonce = nonce or len(self.ids).to_bytes(12, "big")
        propensity = 0.0 if forced else self.weights[arm]
        self.ids[nonce] = (self.revision, arm, propensity)
        decision = Decision(
            nonce, self.now_ms, self.revision, arm, propensity, max(len(predictions), 1), 1_000,
            status, "mlflow", unit=unit, predictions=list(predictions) or None,
        )  # fmt: skip
        self.journal.append([decision], [])
        return nonce

    def rate(
        self, nonce: bytes, truth: Value = None, *, reward: float | None = None, row: int = 0
    ) -> None:
        self.now_ms += 1_000
        revision, arm, propensity = self.ids[nonce]
        outcome = NewOutcome(
            nonce, None, row, self.now_ms, revision, arm, propensity, reward, truth
        )
        self.journal.append([], [outcome])

    def read(self) -> Evidence:
        return gather(self.journal)


@pytest.fixture
def diary(tmp_path: Path) -> Iterator[Diary]:
    journal = SqlJournal(f"sqlite:///{tmp_path}/wine.db")
    yield Diary(journal)
    journal.close()


def test_an_empty_journal(diary: Diary) -> None:
    with pytest.raises(NotFoundError):
        gather(diary.journal)
    with pytest.raises(NotFoundError):
        make_report(diary.journal)


def test_deployed_without_requests(diary: Diary) -> None:
    diary.live(0.5, 0.5, event="started")
    report = make_report(diary.journal)
    assert (report.verdict.decision, report.verdict.n, report.sample_ratio) == ("continue", 0, None)
    assert (report.first_ms, report.quality, report.looks) == (0, (), ((),))
    assert [(arm.n, arm.requests) for arm in report.arms] == [(0, 0), (0, 0)]
    with pytest.raises(InvalidInputError):
        make_report(diary.journal, ReportOptions(baseline="c"))


def test_the_reward_is_derived_from_the_truth_or_sent(diary: Diary) -> None:
    diary.live(0.5, 0.5)
    diary.rate(diary.decide(0, 5.0), 6.0)
    diary.rate(diary.decide(1, 5.0), 7.0, reward=3.0)
    diary.rate(diary.decide(1, 5.0), reward=4.0)
    # No prediction to compare with, and no numbers to compare.
    diary.rate(diary.decide(0), 6.0)
    diary.rate(diary.decide(0, "red"), "white")
    found = diary.read()
    assert found.arms.tolist() == [0, 1, 1]
    assert found.rewards.tolist() == [-1.0, 3.0, 4.0]
    assert found.propensities.tolist() == [0.5, 0.5, 0.5]
    assert [each.count for each in found.underived] == [1, 1]
    assert len(found.truths) == 3
    notes = make_report(diary.journal).notes
    assert any("1 outcome: no reward can be derived: prediction is text, truth" in n for n in notes)


def test_rows_of_one_request_are_one_unit(diary: Diary) -> None:
    diary.live(0.5, 0.5)
    request = diary.decide(0, 1.0, 2.0, 3.0)
    for row, truth in enumerate((1.0, 4.0, 3.0)):
        diary.rate(request, truth, row=row)
    found = diary.read()
    assert found.rewards.tolist() == [pytest.approx(-4 / 3)]
    assert len(found.truths) == 3
    # One about the whole request has no single prediction.
    other = diary.decide(1, 1.0, 2.0)
    diary.rate(other, 1.0, row=WHOLE_REQUEST)
    assert [each.count for each in diary.read().underived] == [1]


def test_requests_of_one_sticky_unit_are_one_unit(diary: Diary) -> None:
    diary.sticky_by = "header:x"
    diary.live(0.5, 0.5)
    ann, bob = b"ann     ", b"bob     "
    first, second = diary.decide(0, 5.0, unit=ann), diary.decide(1, 5.0, unit=bob)
    third, stranger = diary.decide(0, 5.0, unit=ann), diary.decide(0, 5.0)
    for request, truth in ((second, 6.0), (first, 7.0), (third, 5.0), (stranger, 5.0)):
        diary.rate(request, truth)
    found = diary.read()
    # In the order in which units first sent any.
    assert found.arms.tolist() == [1, 0, 0]
    assert found.rewards.tolist() == [-1.0, -2.0, 0.0]
    # A change of weights moved her; she counts once, in the revision that she met first.
    diary.live(0.1, 0.9)
    diary.rate(diary.decide(1, 5.0, unit=ann), 5.0)
    found = diary.read()
    assert (found.arms.tolist(), found.left_out) == ([1, 0, 0], (1, 0, 0))
    assert found.asked.all.tolist() == [[2, 1], [0, 0]]
    assert found.strata.tolist() == [0, 0, 0]
    assert found.propensities.tolist() == [0.5, 0.5, 0.5]
    # Traffic counts her once.
    assert [(t.arm, t.drawn, t.units) for t in found.traffic if t.revision == 1] == [
        (0, 3, 2),
        (1, 1, 1),
    ]


def test_forced_arms_do_not_count(diary: Diary) -> None:
    diary.live(0.5, 0.5)
    diary.rate(diary.decide(0, 5.0, forced=True), 6.0)
    found = diary.read()
    assert (found.arms.size, len(found.truths)) == (0, 0)
    report = make_report(diary.journal)
    assert (report.arms[0].forced, report.arms[0].requests, report.arms[0].n) == (1, 0, 0)


def test_late_feedback_is_credited_to_its_revision_and_counted(diary: Diary) -> None:
    diary.live(0.5, 0.5)
    early, late = diary.decide(0, 5.0), diary.decide(1, 5.0)
    diary.rate(early, 6.0)
    diary.live(0.9, 0.1)
    diary.rate(late, 7.0)
    diary.rate(diary.decide(0, 5.0), 5.0)
    found = diary.read()
    assert found.late == 1
    assert found.strata.tolist() == [0, 0, 1]
    assert found.propensities.tolist() == [0.5, 0.5, 0.9]
    # A server that starts again replaces nothing.
    diary.revision -= 1
    diary.live(0.9, 0.1, event="started")
    assert diary.read().late == 1


def test_a_retry_that_another_arm_answered(diary: Diary) -> None:
    """The decision that stands is the first, and its unit counts there or nowhere."""
    diary.live(0.5, 0.5)
    nonce = diary.decide(0, 5.0)
    diary.live(0.0, 1.0)
    diary.decide(1, 9.0, nonce=nonce)
    diary.rate(nonce, 6.0, reward=-1.0)
    found = diary.read()
    assert (found.arms.tolist(), found.left_out) == ([], (1, 0, 0))
    # It is joined to no prediction: that of the other arm would be wrong.
    assert len(found.truths) == 0


def test_other_arms_or_another_reward_are_another_experiment(diary: Diary) -> None:
    diary.live(0.5, 0.5)
    diary.rate(diary.decide(0, 5.0), 6.0)
    first = diary.read()
    diary.reward = "absolute-error"
    diary.live(0.5, 0.5)
    assert diary.read().arms.size == 0
    assert diary.read().revisions == (2,)
    diary.reward = "squared-error"
    diary.live(0.2, 0.8)
    again = diary.read()
    assert again.spec.experiment == first.spec.experiment
    assert (again.revisions, again.arms.tolist()) == ((1, 3), [0])
    assert again.weights.tolist() == [[0.5, 0.5], [0.2, 0.8]]


def test_notes_belong_to_their_experiment_and_are_said_once(diary: Diary) -> None:
    diary.live(0.5, 0.5)
    for text in ("simulated", "simulated", "sale"):
        event = RevisionEvent(diary.revision, diary.now_ms, "note", {"text": text})
        diary.journal.record([event])
    assert diary.read().notes == ("simulated", "sale")
    diary.reward = "exact"
    diary.live(0.5, 0.5)
    assert diary.read().notes == ()


def test_one_arm_is_measured_and_not_compared(diary: Diary) -> None:
    diary.names, diary.weights = ("a",), (1.0,)
    diary.live(1.0)
    rng = np.random.default_rng(1)
    for truth in rng.normal(5, 1, 80):
        diary.rate(diary.decide(0, 5.0), float(truth))
    report = make_report(diary.journal)
    assert (report.verdict.decision, report.comparisons) == ("continue", ())
    assert report.sample_ratio is None
    (arm,) = report.arms
    assert (arm.n, arm.p_best) == (80, None)
    assert arm.lower < -1 < arm.upper


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[SqlJournal]:
    journal = SqlJournal(f"sqlite:///{tmp_path}/crowd.db")
    yield journal
    journal.close()


def fill(
    journal: SqlJournal, revision: int, weights: tuple[float, float], rewards: list[list[float]],
    actual: float | None = None, base: float = 0.0,
) -> None:  # fmt: skip
    """Draw with `actual` as the share of b, though `weights` was promised."""
    arms = tuple(
        Arm(name, ModelVersion(name, f"wine/{name}", f"/{name}"), weight)
        for name, weight in zip("ab", weights, strict=True)
    )
    spec = DeploymentSpec("wine", arms, reward="given")
    journal.record([RevisionEvent(revision, revision * 10_000, "live", to_dict(spec))])
    rng = np.random.default_rng(revision)
    decisions, outcomes = [], []
    for number, pair in enumerate(rewards):
        arm = int(rng.random() < (weights[1] if actual is None else actual))
        nonce = (revision << 32 | number).to_bytes(12, "big")
        at = (revision * 10_000 + number, revision, arm, weights[arm])
        decisions.append(Decision(nonce, *at, 1, 1_000, 200, "mlflow", predictions=[1.0]))
        outcomes.append(NewOutcome(nonce, None, 0, at[0], *at[1:], base + pair[arm], None))
    journal.append(decisions, outcomes)


def pairs(n: int, lift: float, seed: int = 3) -> list[list[float]]:
    noise = np.random.default_rng(seed).normal(0, 1, (n, 2))
    values: list[list[float]] = (noise + np.array([0.0, lift])).tolist()
    return values


def test_weights_changed_while_the_base_rate_moved(crowd: SqlJournal) -> None:
    """Equal arms: pooled, b looks much better because it got its traffic on the better days."""
    fill(crowd, 1, (0.9, 0.1), pairs(1_500, 0.0, 4))
    fill(crowd, 2, (0.5, 0.5), pairs(1_500, 0.0, 5), base=2.0)
    report = make_report(crowd)
    evidence = gather(crowd)
    assert evidence is not None
    pooled = [evidence.rewards[evidence.arms == arm].mean() for arm in (0, 1)]
    assert pooled[1] - pooled[0] > 0.5
    (comparison,) = report.comparisons
    assert comparison.lower < 0 < comparison.upper
    assert abs(comparison.estimate) < 0.3
    assert report.verdict.decision == "continue"
    # Beliefs know no propensities, so there are none.
    assert [arm.p_best for arm in report.arms] == [None, None]
    assert report.sample_ratio is not None
    assert not report.sample_ratio.mismatch


def test_a_better_arm_is_found_across_a_change_of_weights(crowd: SqlJournal) -> None:
    fill(crowd, 1, (0.9, 0.1), pairs(1_500, 0.6, 4))
    fill(crowd, 2, (0.5, 0.5), pairs(1_500, 0.6, 5), base=2.0)
    verdict = make_report(crowd).verdict
    assert (verdict.decision, verdict.winner) == ("promote", "b")
    turned = make_report(crowd, ReportOptions(baseline="b")).verdict
    assert (turned.decision, turned.winner) == ("keep", "b")


def test_traffic_that_did_not_split_as_promised(crowd: SqlJournal) -> None:
    fill(crowd, 1, (0.5, 0.5), pairs(1_500, 0.6), actual=0.65)
    report = make_report(crowd)
    assert report.verdict.decision == "invalid"
    assert report.verdict.winner is None
    assert report.sample_ratio is not None
    assert report.sample_ratio.mismatch


def test_quality_in_windows_of_equal_count() -> None:
    truths = Truths()
    # Labels of all requests came at once, the newest request first.
    for time in reversed(range(100)):
        truths.append(Truth(time, time % 2, 5.0, 5.0 + (time >= 50)))
    windows = over_time(truths, [NO_TERMS] * 2)
    assert len(windows) == 8
    assert [(each.start_ms, each.end_ms) for each in windows][:2] == [(0, 12), (13, 25)]
    assert windows[-1].end_ms == 99
    assert [each.arms[0].rmse for each in windows][::7] == [0.0, 1.0]
    assert sum(arm.n for each in windows for arm in each.arms) == 100
    assert over_time(Truths(), [NO_TERMS] * 2) == ()


def test_quality_of_numbers_and_of_labels() -> None:
    numbers = measure([Truth(0, 0, 5.0, 6.0), Truth(1, 0, 5.0, 2.0), Truth(2, 1, 0.0, 9.0)], 0)
    assert (numbers.n, numbers.mae, numbers.accuracy) == (2, 2.0, None)
    assert numbers.rmse == pytest.approx(5**0.5)
    labels = measure([Truth(0, 0, "red", "red"), Truth(1, 0, "red", "white")], 0)
    assert (labels.n, labels.rmse, labels.accuracy) == (2, None, 0.5)
    assert measure([], 0).n == 0
